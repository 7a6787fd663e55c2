//! The transports that most behaviours hold for: TCP, UNIX sockets, TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::log::Log;
use crate::{Certificate, Connection, SOON, Server};

/// Where a server under test listens.
#[derive(Debug)]
pub struct Listen {
    setting: String,
    unix: Option<(TempDir, PathBuf)>,
    certificate: Option<Certificate>,
}

impl Listen {
    /// On a TCP port of this machine.
    pub fn tcp() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// On the TCP address `address`.
    pub fn at(address: &str) -> Self {
        Self {
            setting: format!("listen={address}"),
            unix: None,
            certificate: None,
        }
    }

    /// On a TCP port, with TLS.
    pub fn tls() -> Self {
        Self {
            certificate: Some(Certificate::new()),
            ..Self::tcp()
        }
    }

    /// On a UNIX socket in a directory of its own.
    pub fn unix() -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let path = directory.path().join("socket");
        Self {
            setting: format!("listen=unix:{}", path.display()),
            unix: Some((directory, path)),
            certificate: None,
        }
    }

    /// Starts `command` with `settings`, as a server that would need a minute if anything had to wait for
    /// the deadline.
    #[track_caller]
    pub fn start(&self, mut command: Command, settings: &[&str]) -> Server {
        command.args(settings);
        // What is given first holds.
        command.args(["timeout=60s", &self.setting]);
        command.args(self.certificate.as_ref().map(Certificate::setting));
        Server::start(command)
    }

    /// Opens a connection to a server of [`start`](Self::start).
    #[track_caller]
    pub fn connect(&self, server: &Server) -> Connection {
        match &self.certificate {
            Some(certificate) => certificate.connect(server.address(), "http/1.1"),
            None => server.connect(),
        }
    }

    /// Returns the path of the UNIX socket, where it is one.
    pub fn path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, path)| path.as_path())
    }

    /// Waits for the process to end, well before its deadline, with nothing left behind; returns what it
    /// printed.
    #[track_caller]
    pub fn expect_clean_end(&self, server: Server) -> Log {
        let log = server.exit_within(SOON).expect(0);
        if let Some(path) = self.path() {
            assert!(!path.exists(), "the socket's path is removed at the end");
        }
        log
    }
}
