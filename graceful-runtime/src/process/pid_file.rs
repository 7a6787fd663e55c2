//! The file with the id of the process: right at every moment, and never removed by somebody else.
//!
//! Whatever lies at its path, and whatever file system that is on, must hold up neither signals nor the deadline. So
//! a thread of its own works on it, and who waits for that thread does so with a limit.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::os::process::{is_running, process_descriptor};

/// More than a process id and an end of line, which is all that such a file holds.
const LENGTH_MAX: u64 = 32;

/// The thread that works on the file of this process. A clone speaks to the same one.
#[derive(Clone, Debug)]
pub(crate) struct PidFileThread {
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
}

enum Job {
    Write {
        predecessor: Option<u32>,
        done: Done<Option<u32>>,
    },
    Restore {
        successor: u32,
    },
    Forget,
    Remove(Done<()>),
}

type Done<T> = Box<dyn FnOnce(io::Result<T>) + Send>;

impl PidFileThread {
    /// Starts the thread; it writes nothing yet.
    ///
    /// # Errors
    ///
    /// Where there is no thread to be had.
    pub(crate) fn start(path: PathBuf) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let at = path.clone();
        thread::Builder::new()
            .name("graceful-pid-file".into())
            .spawn(move || work(&at, queue))?;
        Ok(Self { path, jobs })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file in the name of this process, and then calls `done` with the process that it named before, where
    /// that still runs and is not the `predecessor`.
    pub(crate) fn write(
        &self,
        predecessor: Option<u32>,
        done: impl FnOnce(io::Result<Option<u32>>) + Send + 'static,
    ) {
        let done = Box::new(done);
        self.send(Job::Write { predecessor, done });
    }

    /// Writes it again where it was written and a `successor` that came to nothing has changed it.
    pub(crate) fn restore(&self, successor: u32) {
        self.send(Job::Restore { successor });
    }

    /// Leaves the file to a successor.
    pub(crate) fn forget(&self) {
        self.send(Job::Forget);
    }

    /// Has the file removed, where it still names this process.
    pub(crate) fn remove(&self) -> Removal {
        let (sender, answer) = mpsc::channel();
        self.send(Job::Remove(Box::new(move |result| {
            // Nobody waits where it took too long.
            let _ = sender.send(result);
        })));
        Removal(answer)
    }

    fn send(&self, job: Job) {
        // The thread ends only with the last sender.
        let _ = self.jobs.send(job);
    }
}

/// A removal that was asked for.
pub(crate) struct Removal(mpsc::Receiver<io::Result<()>>);

impl Removal {
    /// Waits for it, at most for `limit`.
    ///
    /// # Errors
    ///
    /// Where the file is ours and cannot be removed, or not in that time.
    pub(crate) fn wait(self, limit: Duration) -> io::Result<()> {
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        self.0.recv_timeout(limit).unwrap_or_else(late)
    }
}

fn work(path: &Path, queue: mpsc::Receiver<Job>) {
    let mut file = None;
    for job in queue {
        match job {
            Job::Write { predecessor, done } => {
                let written = PidFile::write(path, predecessor);
                done(written.map(|(written, displaced)| {
                    file = Some(written);
                    displaced
                }));
            }
            Job::Restore { successor } => {
                // Whoever looks for it learns of a failure: the file names a process that has ended.
                let _ = file.as_ref().map(|file| file.restore(successor));
            }
            Job::Forget => file = None,
            Job::Remove(done) => done(file.take().map_or(Ok(()), PidFile::remove)),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// A file that names this process.
#[derive(Debug)]
struct PidFile {
    path: PathBuf,
    content: String,
}

impl PidFile {
    /// Writes the file in one step, over the one of a predecessor. A reader sees the old content or the new, never a part.
    ///
    /// Returns which process it named before, too, where that runs and is neither this one nor the `predecessor`.
    ///
    /// # Errors
    ///
    /// Where the path is a directory or names no file, and where its directory does not exist or may not be written to.
    fn write(path: &Path, predecessor: Option<u32>) -> io::Result<(Self, Option<u32>)> {
        let file = Self {
            path: path.into(),
            content: format!("{}\n", process::id()),
        };
        // What cannot be read is replaced as well.
        let before = named(path).unwrap_or_default();
        let is_other = |pid: &u32| *pid != process::id() && Some(*pid) != predecessor;
        let displaced = before.filter(|pid| is_other(pid) && runs(*pid));
        file.replace().map(|()| (file, displaced))
    }

    /// Writes the file again after a `successor` has failed, unless it names another process that runs: that is another
    /// instance, which was started meanwhile with the same file.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn restore(&self, successor: u32) -> io::Result<()> {
        match named(&self.path) {
            Ok(Some(pid)) if pid == process::id() => Ok(()),
            Ok(Some(pid)) if pid != successor && runs(pid) => Ok(()),
            _ => self.replace(),
        }
    }

    fn replace(&self) -> io::Result<()> {
        let draft = draft_of(&self.path)?;
        // Left by a process with our id that did not get to the end of this function.
        let _ = fs::remove_file(&draft);
        let written =
            write_new(&draft, &self.content).and_then(|()| fs::rename(&draft, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    /// Removes the file if it still names this process.
    ///
    /// # Errors
    ///
    /// Where the file is ours and cannot be removed.
    fn remove(self) -> io::Result<()> {
        match read(&self.path) {
            Ok(content) if content == self.content => fs::remove_file(&self.path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the process that the file names, if it names one.
fn named(path: &Path) -> io::Result<Option<u32>> {
    Ok(read(path)?.trim().parse().ok())
}

/// Tells whether there is a process of that id which has not ended.
fn runs(pid: u32) -> bool {
    process_descriptor(pid).is_some_and(|process| is_running(&process))
}

/// Reads what may be a pid file; empty where it is something else, such as a pipe that would be waited for.
fn read(path: &Path) -> io::Result<String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        // A link, or a pipe's end that nobody has opened.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Ok(String::new());
        }
        opened => opened?,
    };
    match is_small(&file)? {
        true => io::read_to_string(file.take(LENGTH_MAX)),
        false => Ok(String::new()),
    }
}

fn is_small(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.len() <= LENGTH_MAX)
}

/// Returns a name beside `path`, so that the rename stays within one file system.
///
/// # Errors
///
/// Where `path` is no place for a file.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    if path.as_os_str().is_empty() {
        return Err(invalid("the path is empty"));
    }
    // A link to a directory, such as /var/run, would give way to the file.
    if path.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    let is_file = !path.as_os_str().as_bytes().ends_with(b"/");
    let name = path.file_name().filter(|_| is_file);
    let name = name.ok_or_else(|| invalid("the path names no file"))?;
    Ok(path.with_file_name(format!(".{}.{}", name.to_string_lossy(), process::id())))
}

fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        os::unix::fs::symlink,
        process::{Child, Command},
    };

    use super::*;

    /// A directory of its own for one test, removed afterwards.
    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Self {
            let path = env::temp_dir().join(format!("graceful-pid-file-{test}-{}", process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn it_names_this_process_and_goes_with_it() {
        let directory = Directory::new("names");
        let path = directory.0.join("server.pid");
        let (file, _) = PidFile::write(&path, None).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", process::id())
        );
        assert_eq!(directory.names(), ["server.pid"]);
        file.remove().unwrap();
        assert!(directory.names().is_empty());
    }

    #[test]
    fn the_file_of_another_process_is_replaced_at_the_start_and_kept_at_the_end() {
        let directory = Directory::new("another");
        let path = directory.0.join("server.pid");
        fs::write(&path, "1\n").unwrap();
        let (file, _) = PidFile::write(&path, None).unwrap();
        assert_ne!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::write(&path, "2\n").unwrap();
        file.remove().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    /// Returns the id of a process that has ended.
    fn ended() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    /// A process that runs until this is dropped.
    struct Other(Child);

    impl Other {
        fn start() -> Self {
            Self(Command::new("sleep").arg("60").spawn().unwrap())
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn a_successor_that_failed_is_not_named_any_more() {
        let directory = Directory::new("restored");
        let path = directory.0.join("server.pid");
        let (file, _) = PidFile::write(&path, None).unwrap();
        let successor = Other::start();
        for content in [
            Some(format!("{}\n", successor.0.id())),
            Some(format!("{}\n", ended())),
            Some("nobody".into()),
            None,
        ] {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            file.restore(successor.0.id()).unwrap();
            assert_eq!(named(&path).unwrap(), Some(process::id()));
        }
        file.remove().unwrap();
        assert!(directory.names().is_empty());
    }

    #[test]
    fn another_instance_stays_named_when_a_successor_fails() {
        let directory = Directory::new("instance");
        let path = directory.0.join("server.pid");
        let (file, _) = PidFile::write(&path, None).unwrap();
        let (successor, instance) = (Other::start(), Other::start());
        fs::write(&path, format!("{}\n", instance.0.id())).unwrap();
        file.restore(successor.0.id()).unwrap();
        assert_eq!(named(&path).unwrap(), Some(instance.0.id()));
        file.remove().unwrap();
        assert_eq!(named(&path).unwrap(), Some(instance.0.id()));
    }

    #[test]
    fn whoever_still_runs_is_said_to_have_been_named() {
        let directory = Directory::new("displaced");
        let path = directory.0.join("server.pid");
        let other = Other::start();
        for (content, predecessor, expected) in [
            (other.0.id().to_string(), None, Some(other.0.id())),
            (other.0.id().to_string(), Some(1), Some(other.0.id())),
            (other.0.id().to_string(), Some(other.0.id()), None),
            (process::id().to_string(), None, None),
            (ended().to_string(), None, None),
            ("nobody".into(), None, None),
            ("0".into(), None, None),
        ] {
            fs::write(&path, &content).unwrap();
            let (_, displaced) = PidFile::write(&path, predecessor).unwrap();
            assert_eq!(displaced, expected, "{content} {predecessor:?}");
        }
        // As it is between its end and the moment when whoever started it takes note of that.
        let mut zombie = Command::new("true").spawn().unwrap();
        fs::write(&path, zombie.id().to_string()).unwrap();
        let ended = process_descriptor(zombie.id()).unwrap();
        while is_running(&ended) {}
        let (_, displaced) = PidFile::write(&path, None).unwrap();
        assert_eq!(displaced, None);
        zombie.wait().unwrap();
    }

    #[test]
    fn a_file_that_is_gone_already_is_no_error() {
        let directory = Directory::new("gone");
        let path = directory.0.join("server.pid");
        let (file, _) = PidFile::write(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        file.remove().unwrap();
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let directory = Directory::new("failure");
        let path = directory.0.join("server.pid");
        fs::create_dir(&path).unwrap();
        PidFile::write(&path, None).unwrap_err();
        assert_eq!(directory.names(), ["server.pid"]);
        PidFile::write(&directory.0.join("missing/server.pid"), None).unwrap_err();
    }

    #[test]
    fn what_names_no_file_is_an_error_of_its_own() {
        let directory = Directory::new("nothing");
        let link = directory.0.join("link");
        symlink(&directory.0, &link).unwrap();
        for (path, kind) in [
            (Path::new(""), io::ErrorKind::InvalidInput),
            (Path::new("/"), io::ErrorKind::IsADirectory),
            (Path::new(".."), io::ErrorKind::IsADirectory),
            (&directory.0, io::ErrorKind::IsADirectory),
            (&link, io::ErrorKind::IsADirectory),
            (&directory.0.join("missing/"), io::ErrorKind::InvalidInput),
            (&directory.0.join("missing/.."), io::ErrorKind::InvalidInput),
        ] {
            let error = PidFile::write(path, None).unwrap_err();
            assert_eq!(error.kind(), kind, "{path:?}: {error}");
        }
        assert_eq!(directory.names(), ["link"]);
    }

    #[test]
    fn what_is_no_pid_file_any_more_is_neither_waited_for_nor_removed() {
        let directory = Directory::new("other");
        let path = directory.0.join("server.pid");
        let put: [fn(&Path); 3] = [
            |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap(),
            |path| fs::write(path, "1".repeat(1 << 20)).unwrap(),
            |path| symlink("/dev/zero", path).unwrap(),
        ];
        for put in put {
            let (file, _) = PidFile::write(&path, None).unwrap();
            fs::remove_file(&path).unwrap();
            put(&path);
            file.remove().unwrap();
            let (file, _) = PidFile::write(&path, None).unwrap();
            fs::remove_file(&path).unwrap();
            put(&path);
            file.restore(process::id()).unwrap();
            assert_eq!(read(&path).unwrap(), file.content);
            file.remove().unwrap();
        }
        assert!(directory.names().is_empty());
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let directory = Directory::new("link");
        let (path, target) = (directory.0.join("server.pid"), directory.0.join("precious"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &path).unwrap();
        PidFile::write(&path, None).unwrap().0.remove().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }
}
