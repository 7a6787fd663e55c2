//! Where a server listens, as it printed it.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;
use std::{fmt, io};

use crate::LIMIT;
use crate::client::Transport;

/// A TCP address or the path of a UNIX socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address with its real port.
    Tcp(SocketAddr),
    /// A UNIX stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads `127.0.0.1:3000` or `unix:/path`.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(
                text.parse()
                    .expect("a server prints `IP:PORT` or `unix:PATH`"),
            ),
        }
    }

    /// Returns the TCP address that it is.
    #[track_caller]
    pub fn tcp(&self) -> SocketAddr {
        match self {
            Self::Tcp(address) => *address,
            Self::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    /// Connects, and says nothing yet.
    ///
    /// # Errors
    ///
    /// Those of the system call; see [`is_refusal`] for the one that means "not here any more".
    pub fn connect(&self) -> io::Result<Box<dyn Transport>> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path)?)),
        }
    }

    /// Connects again and again until nobody listens any more.
    ///
    /// A connect that still succeeds in the moment before the seal is given up at once.
    #[track_caller]
    pub fn wait_until_refused(&self) {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            match self.connect() {
                Ok(connection) => drop(connection),
                Err(error) if is_refusal(&error) => return,
                Err(error) => panic!("neither accepted nor refused: {error}"),
            }
        }
        panic!("connects to {self} succeed after {LIMIT:?}");
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Returns whether a connect failed because nobody listens, which is safe to retry elsewhere.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}
