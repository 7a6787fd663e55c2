//! The servers as processes: started, stopped, and killed on every path.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, pidfd_open,
    setrlimit, waitid,
};

/// How long a server may take to say its address; generous, for those which run under valgrind.
const START_MAX: Duration = Duration::from_secs(60);

/// A server program that can be measured.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What the tables call it.
    pub name: &'static str,
    /// The binary's name.
    binary: &'static str,
}

/// A server that listens, stopped by force when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The address on which it listens.
    pub address: SocketAddr,
}

/// Ours.
pub const GRACEFUL: Program = Program {
    name: "graceful",
    binary: "server-graceful",
};
/// Ours, restarted by a signal.
pub const GRACEFUL_RESTART: Program = Program {
    name: "graceful",
    binary: "server-graceful-restart",
};
/// ecdysis around hyper-util's connections, restarted by the same signal.
pub const ECDYSIS: Program = Program {
    name: "ecdysis",
    binary: "server-ecdysis",
};
/// `axum::serve(..).with_graceful_shutdown(..)`.
pub const AXUM: Program = Program {
    name: "axum",
    binary: "server-axum",
};
/// hyper-util's `GracefulShutdown`, with the accept loop of its example.
pub const HYPER_UTIL: Program = Program {
    name: "hyper-util",
    binary: "server-hyper-util",
};
/// hyper-util's `auto` connections without any shutdown: what serving itself costs.
pub const BARE: Program = Program {
    name: "bare hyper-util",
    binary: "server-bare",
};
/// actix-web, where it has been built (feature `actix`).
pub const ACTIX: Program = Program {
    name: "actix-web",
    binary: "server-actix",
};
/// axum's own server, made loss-free from outside.
pub const AXUM_ADAPTER: Program = Program {
    name: "axum + adapter",
    binary: "server-axum-adapter",
};

impl Program {
    /// Where the program is: beside this executable, or above it for one in cargo's `deps`.
    pub fn path(self) -> io::Result<PathBuf> {
        let mut directory = std::env::current_exe()?;
        directory.pop();
        if directory.ends_with("deps") {
            directory.pop();
        }
        Ok(directory.join(self.binary))
    }

    /// Whether the program has been built.
    pub fn exists(self) -> bool {
        self.path().is_ok_and(|path| path.exists())
    }

    /// Starts the program and waits until it listens.
    ///
    /// # Errors
    ///
    /// Fails where the program cannot be started or does not say its address.
    pub fn start(self) -> io::Result<Server> {
        Server::start(&mut Command::new(self.path()?))
    }
}

/// Returns those of `programs` that have been built.
pub fn built<const N: usize>(programs: [Program; N]) -> Vec<Program> {
    programs
        .into_iter()
        .filter(|program| program.exists())
        .collect()
}

impl Server {
    /// Runs `command` and waits until it has printed `addr ADDRESS`.
    ///
    /// # Errors
    ///
    /// Fails where the command cannot be started or does not say its address in time.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let name = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| named(&name, error))?;
        // The address is filled in below; until then the guard already kills the child.
        let mut server = Self {
            child,
            address: ([0, 0, 0, 0], 0).into(),
        };
        server.address = server.read_address().map_err(|error| named(&name, error))?;
        Ok(server)
    }

    fn read_address(&mut self) -> io::Result<SocketAddr> {
        let stdout = self.child.stdout.take().expect("standard output is piped");
        if !readable(&stdout, START_MAX)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("addr ")
            .and_then(|address| address.parse().ok());
        address.ok_or_else(|| io::Error::other("the server did not say its address"))
    }

    /// The process identifier.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// Fails where the process no longer exists.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Stops the process as `SIGSTOP` does, and waits until it has stopped.
    ///
    /// # Errors
    ///
    /// Fails where the process no longer exists.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED)?;
        Ok(())
    }

    /// Waits until the process has ended; `None` if it has not within `limit`.
    ///
    /// # Errors
    ///
    /// Fails where the process cannot be waited for.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let process = pidfd_open(self.pid(), PidfdFlags::empty())?;
        if readable(&process, limit)? {
            self.child.wait().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Sends a signal and returns how long the process then took to be gone.
    ///
    /// # Errors
    ///
    /// Fails where it is still there after 30 seconds.
    pub fn time_to_exit(&mut self, signal: Signal) -> io::Result<Duration> {
        let start = Instant::now();
        self.signal(signal)?;
        self.gone(start)
    }

    /// Returns how long after `start` the process was gone.
    ///
    /// # Errors
    ///
    /// Fails where it is still there after 30 seconds.
    pub fn gone(&mut self, start: Instant) -> io::Result<Duration> {
        match self.wait(Duration::from_secs(30))? {
            Some(_) => Ok(start.elapsed()),
            None => Err(io::Error::other("the server did not end within 30 s")),
        }
    }

    /// The resident memory of the process, in bytes.
    ///
    /// # Errors
    ///
    /// Fails where the process no longer exists.
    pub fn resident_bytes(&self) -> io::Result<usize> {
        // Not `status`, which is out of date by some pages for each thread.
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let kilobytes = text
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| io::Error::other("no `Rss` in smaps_rollup"))
    }

    /// The processor time that the threads of the process have used so far.
    ///
    /// # Errors
    ///
    /// Fails where the process no longer exists.
    pub fn processor_time(&self) -> io::Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds = text
                .split(' ')
                .next()
                .and_then(|first| first.parse::<u64>().ok());
            total += nanoseconds.ok_or_else(|| io::Error::other("schedstat is not a number"))?;
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Raises the limit on open files as far as it goes; the servers inherit it.
///
/// # Errors
///
/// Fails where fewer than `needed` are allowed.
pub fn allow_open_files(needed: usize) -> io::Result<()> {
    let maximum = raise_open_files()?;
    if maximum < needed {
        return Err(io::Error::other(format!(
            "{needed} open files are needed and {maximum} allowed; see `ulimit -Hn`"
        )));
    }
    Ok(())
}

/// Raises the limit on open files as far as it goes, and returns how many of the `wanted`
/// connections it allows: each of them is one file for the client and one for the server.
///
/// # Errors
///
/// Fails where the limit cannot be raised to what is allowed.
pub fn allow_connections(wanted: usize) -> io::Result<usize> {
    /// What a process needs for everything else.
    const OTHERS: usize = 100;
    Ok(wanted.min(raise_open_files()?.saturating_sub(OTHERS)))
}

/// What a table says about a number of connections that is smaller than what was asked for.
pub fn shortfall(connections: usize, wanted: usize) -> String {
    if connections < wanted {
        format!(" (of {wanted} wanted: `ulimit -Hn` allows no more)")
    } else {
        String::new()
    }
}

fn raise_open_files() -> io::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let maximum = limit.maximum.map(usize::try_from);
    Ok(maximum.and_then(Result::ok).unwrap_or(usize::MAX))
}

/// Waits until `file` is readable, and says whether it was within `limit`.
fn readable(file: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut files = [PollFd::new(file, PollFlags::IN)];
    Ok(poll(&mut files, Some(&timeout))? > 0)
}

fn named(program: &OsStr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", program.display()))
}
