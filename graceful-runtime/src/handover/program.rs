//! The program that this process runs, as it can be started again, and a process that runs it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, kill_process, pidfd_send_signal},
};

use crate::os::environment;
use crate::os::process::{process_descriptor, start_as_orphan, timespec, unblock_signals};

/// How this process was started: the file, the arguments, the environment and the directory, as names and not as what
/// they meant then.
///
/// A name keeps its symbolic links, so that a deployment which moves `current` to a new release restarts into that one.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    /// Not that of now: what a program has read from a file, such as `.env`, would outlive every edit of it.
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

/// Who is the parent of a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parentage {
    /// This process: it learns the exit status.
    Child,
    /// The process that adopts orphans. systemd kills a main process that is not its own child at the next stop.
    Orphan,
}

/// A process that was started as a successor.
#[derive(Debug)]
pub(crate) struct Started {
    pid: u32,
    /// `None` for an orphan.
    child: Option<Child>,
    /// `None` where the kernel has no descriptors for processes (before Linux 5.3).
    pidfd: Option<OwnedFd>,
}

impl Program {
    /// Notes how this process was started. Has to be called before it changes its directory.
    pub(crate) fn of_this_process() -> Self {
        let arguments: Vec<_> = env::args_os().collect();
        let directory = logical_directory();
        let name = arguments
            .first()
            .map(OsString::as_os_str)
            .unwrap_or_default();
        let this = env::current_exe().ok();
        let environment = environment::of_the_start();
        let path = environment.iter().find(|(name, _)| name == "PATH");
        let path = path.map(|(_, path)| path.as_os_str());
        let found = find(name, directory.as_deref(), path);
        // Who starts a program may give it any name, even that of another one.
        let found = found.filter(|found| this.as_deref().is_none_or(|this| is_same(found, this)));
        let path = found.or(this).unwrap_or_else(|| name.into());
        Self {
            path,
            arguments,
            environment,
            directory,
        }
    }

    /// A program for tests, started in the directory of this process.
    #[cfg(test)]
    pub(crate) fn new(path: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(OsString::from).collect();
        Self {
            path: path.into(),
            arguments,
            environment: env::vars_os().collect(),
            directory: None,
        }
    }

    /// Returns the file that a restart would run.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Starts the program with `stdin` as its standard input and `variables` added to its environment.
    ///
    /// # Errors
    ///
    /// Where the file cannot be run; this process is then as it was before.
    pub(crate) fn start(
        &self,
        parentage: Parentage,
        stdin: OwnedFd,
        variables: &[(&str, OsString)],
    ) -> io::Result<Started> {
        let mut command = self.command(stdin, variables);
        unblock_signals(&mut command);
        match parentage {
            Parentage::Child => Ok(Started::new_child(command.spawn()?)),
            Parentage::Orphan => {
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
                start_as_orphan(&mut command, writer);
                // Fails only where the user has the kernel wait for all children: then it has been waited for.
                let _ = command.spawn()?.wait();
                let mut pid = [0; 4];
                File::from(reader).read_exact(&mut pid)?;
                Ok(Started::new_orphan(u32::from_ne_bytes(pid)))
            }
        }
    }

    fn command(&self, stdin: OwnedFd, variables: &[(&str, OsString)]) -> Command {
        let mut command = Command::new(&self.path);
        if let Some((name, arguments)) = self.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        if let Some(directory) = self
            .directory
            .as_deref()
            .filter(|directory| directory.is_dir())
        {
            command.current_dir(directory);
        }
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(environment);
        for name in environment::PRIVATE {
            command.env_remove(name);
        }
        command
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(stdin);
        command
    }
}

/// Returns the directory by the name that it was entered by, where the shell or the service manager told us.
fn logical_directory() -> Option<PathBuf> {
    let physical = env::current_dir().ok();
    let logical = env::var_os("PWD")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    match (logical, physical) {
        (Some(logical), Some(physical)) if is_same(&logical, &physical) => Some(logical),
        (_, physical) => physical,
    }
}

/// Tells whether two names mean the same file or directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Finds the file that the shell meant by `name`.
fn find(name: &OsStr, directory: Option<&Path>, path: Option<&OsStr>) -> Option<PathBuf> {
    let here =
        |file: &Path| directory.map_or_else(|| file.to_owned(), |directory| directory.join(file));
    if name.as_bytes().contains(&b'/') {
        return Some(here(Path::new(name))).filter(|file| is_executable(file));
    }
    if name.is_empty() {
        return None;
    }
    env::split_paths(path?)
        .map(|entry| here(&entry).join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

impl Started {
    fn new_child(child: Child) -> Self {
        Self {
            pid: child.id(),
            pidfd: process_descriptor(child.id()),
            child: Some(child),
        }
    }

    fn new_orphan(pid: u32) -> Self {
        Self {
            pid,
            pidfd: process_descriptor(pid),
            child: None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns a descriptor that becomes readable when the process ends.
    pub(crate) fn end(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process and forgets it.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }

    /// Waits for the end of the process, at most for `limit`. An orphan has no status for us.
    pub(crate) fn wait(&mut self, limit: Duration) -> Wait {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => return Wait::Exited(status),
                Some(Err(_)) => return Wait::Unknown,
                Some(Ok(None)) | None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(pidfd) = &self.pidfd else {
                return Wait::Unknown;
            };
            match poll(
                &mut [PollFd::new(pidfd, PollFlags::IN)],
                Some(&timespec(left)),
            ) {
                Ok(0) if left.is_zero() => return Wait::Running,
                Ok(1..) if self.child.is_none() => return Wait::Unknown,
                _ => {}
            }
        }
    }

    /// The process cannot have been replaced by another with its number: either it is our child and not waited for yet, or
    /// its descriptor stands for it alone. Without one there is the number; the caller knows from the channel that it runs.
    fn signal(&self, signal: Signal) {
        let _ = match (&self.pidfd, Pid::from_raw(self.pid.cast_signed())) {
            (Some(pidfd), _) => pidfd_send_signal(pidfd, signal),
            (None, Some(pid)) => kill_process(pid, signal),
            (None, None) => Ok(()),
        };
    }
}

/// How a wait for the end of a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Exited(ExitStatus),
    /// It ended, or cannot be watched, and the status went to somebody else.
    Unknown,
    Running,
}

#[cfg(test)]
mod tests;
