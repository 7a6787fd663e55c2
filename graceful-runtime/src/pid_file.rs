//! The file with the id of the process: right at every moment, and never removed by somebody else.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

/// A file that names this process.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    content: String,
}

impl PidFile {
    /// Writes the file in one step, over the one of a predecessor. A reader sees the old content or the new, never a part.
    ///
    /// # Errors
    ///
    /// Where the directory does not exist or may not be written to.
    pub(crate) fn write(path: impl Into<PathBuf>) -> io::Result<Self> {
        let file = Self {
            path: path.into(),
            content: format!("{}\n", process::id()),
        };
        file.replace().map(|()| file)
    }

    /// Writes the file again where it does not name this process any more.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub(crate) fn restore(&self) -> io::Result<()> {
        match fs::read_to_string(&self.path) {
            Ok(content) if content == self.content => Ok(()),
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
    /// After a hand-over it names the successor: either drop this, or call it all the same.
    ///
    /// # Errors
    ///
    /// Where the file is ours and cannot be removed.
    pub(crate) fn remove(self) -> io::Result<()> {
        match fs::read_to_string(&self.path) {
            Ok(content) if content == self.content => fs::remove_file(&self.path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns a name beside `path`, so that the rename stays within one file system.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "the pid file has no name");
    let name = path.file_name().ok_or_else(no_name)?;
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
    use std::{env, os::unix::fs::symlink};

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
        let file = PidFile::write(&path).unwrap();
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
        let file = PidFile::write(&path).unwrap();
        assert_ne!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::write(&path, "2\n").unwrap();
        file.remove().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_file_that_names_another_process_by_now_can_be_restored() {
        let directory = Directory::new("restored");
        let path = directory.0.join("server.pid");
        let file = PidFile::write(&path).unwrap();
        for content in [Some("2\n"), None] {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            file.restore().unwrap();
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                format!("{}\n", process::id())
            );
        }
        file.remove().unwrap();
        assert!(directory.names().is_empty());
    }

    #[test]
    fn a_file_that_is_gone_already_is_no_error() {
        let directory = Directory::new("gone");
        let path = directory.0.join("server.pid");
        let file = PidFile::write(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.remove().unwrap();
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let directory = Directory::new("failure");
        let path = directory.0.join("server.pid");
        fs::create_dir(&path).unwrap();
        PidFile::write(&path).unwrap_err();
        assert_eq!(directory.names(), ["server.pid"]);
        PidFile::write(directory.0.join("missing/server.pid")).unwrap_err();
        PidFile::write("/").unwrap_err();
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let directory = Directory::new("link");
        let (path, target) = (directory.0.join("server.pid"), directory.0.join("precious"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &path).unwrap();
        PidFile::write(&path).unwrap().remove().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }
}
