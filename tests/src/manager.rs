//! A service manager's ear: what a process says at `NOTIFY_SOCKET`.

use std::io::{self, Read};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::log::Log;

/// A service manager that does not listen: whoever waits for room in its queue waits for ever.
#[derive(Debug)]
pub struct DeafManager {
    directory: TempDir,
    _socket: UnixDatagram,
}

impl DeafManager {
    /// Binds its address, and fills its queue.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let address = address(directory.path());
        let socket = UnixDatagram::bind(&address).expect("a new directory can be written to");
        let sender = UnixDatagram::unbound().expect("there are descriptors");
        sender.set_nonblocking(true).expect("it is ours");
        while sender.send_to(b"STATUS=full", &address).is_ok() {}
        Self {
            directory,
            _socket: socket,
        }
    }

    /// Returns what is to be in `NOTIFY_SOCKET`.
    pub fn address(&self) -> PathBuf {
        address(self.directory.path())
    }
}

/// A service manager that notes what it is told, and keeps no descriptors.
#[derive(Debug)]
pub struct Manager {
    directory: TempDir,
    log: Log,
}

impl Manager {
    /// Begins to listen.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let socket = UnixDatagram::bind(address(directory.path()));
        let log = Log::default();
        log.follow(Messages(socket.expect("a new directory can be written to")));
        Self { directory, log }
    }

    /// Returns what is to be in `NOTIFY_SOCKET`.
    pub fn address(&self) -> PathBuf {
        address(self.directory.path())
    }

    /// Returns the lines of all messages so far.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // An empty message is the end; without it the thread that listens would stay, and do no harm.
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(&[], self.address()));
    }
}

fn address(directory: &Path) -> PathBuf {
    directory.join("notify")
}

/// Messages one after the other; each ends its last line.
struct Messages(UnixDatagram);

impl Read for Messages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer)
    }
}
