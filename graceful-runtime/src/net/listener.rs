//! What accepts, and how it ends without losing what it holds.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockRef, Socket};
use tokio::net::{TcpListener, UnixListener};

use super::inherited::{ListenerId, Registration};
use super::path::SocketFile;
use crate::net::stream::{Peer, Stream};
use crate::os::sockets;

/// A socket that accepts connections.
///
/// Made by [`bind`](crate::bind()), or from a listener of the standard library or of tokio. A drop closes it,
/// and loses the connections in its queue; [`serve`](crate::serve()) and an adapted server empty that first.
/// A successor inherits those that `bind` made, and no others.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let ours: graceful::Listener = graceful::bind("127.0.0.1:0").await?;
/// let from_tokio = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let from_tokio = graceful::Listener::from(from_tokio);
/// assert!(from_tokio.to_string().starts_with("http://127.0.0.1:"));
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    /// The place among those that a successor gets.
    registration: Option<Registration>,
    /// Others accept from the same socket, as its owner knows.
    is_shared: bool,
}

#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    pub(crate) fn new(socket: Bound, registration: Option<Registration>) -> Self {
        Self {
            socket,
            registration,
            is_shared: false,
        }
    }

    /// Returns the address that a TCP listener is bound to, with the real port where 0 was asked for.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a UNIX listener, which has a path.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:0").await?;
    /// println!("http://{}", listener.local_addr()?);
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Bound::Tcp(listener) => listener.local_addr(),
            Bound::Unix(..) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a UNIX listener has a path, not a socket address",
            )),
        }
    }

    /// Says that other processes accept from the same socket, as those of a pre-fork server do.
    ///
    /// Such a listener is left to them: it is not sealed, its queue is not emptied, and the path of a
    /// UNIX socket stays. What [`bind`](crate::bind()) has from a service manager or a predecessor is known to be shared.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let ours = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let theirs = ours.try_clone()?;
    /// let listener = graceful::Listener::try_from(ours)?.shared();
    /// # drop((listener, theirs));
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// Polls for the next connection.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match &self.socket {
            Bound::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                // Fails only where the peer has gone already.
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), Peer::Tcp(peer))
            }),
            Bound::Unix(listener, _) => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), Peer::Unix)),
        }
    }

    /// Accepts a connection that the kernel holds at this moment, whatever the runtime has heard.
    pub(crate) fn accept_now(&self) -> io::Result<Option<(Stream, Peer)>> {
        let (socket, peer) = match SockRef::from(self).accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        socket.set_nonblocking(true)?;
        match &self.socket {
            Bound::Tcp(_) => {
                let stream = tokio::net::TcpStream::from_std(socket.into())?;
                let _ = stream.set_nodelay(true);
                let peer = peer.as_socket().map_or(Peer::Unix, Peer::Tcp);
                Ok(Some((Stream::Tcp(stream), peer)))
            }
            Bound::Unix(..) => {
                let stream = tokio::net::UnixStream::from_std(socket.into())?;
                Ok(Some((Stream::Unix(stream), Peer::Unix)))
            }
        }
    }

    /// Returns how many connections the kernel holds at this moment; of a UNIX listener at most 1 is known.
    pub(crate) fn queue_length(&self) -> usize {
        let mut listener = [PollFd::new(self, PollFlags::IN)];
        let is_empty = poll(&mut listener, Some(&Timespec::default())) == Ok(0);
        match &self.socket {
            _ if is_empty => 0,
            Bound::Tcp(listener) => sockets::queue_length(listener.as_fd()).unwrap_or(1),
            Bound::Unix(..) => 1,
        }
    }

    /// Turns new connects away, so that the accept queue can be emptied for good.
    ///
    /// TCP: the kernel refuses them from now on, or, where it cannot be told to or must not, they go on coming
    /// and the result is `false`. UNIX: the path is removed, unless it means another's socket by now.
    pub(crate) fn seal(&self) -> bool {
        if self.is_shared() {
            return false;
        }
        match &self.socket {
            // The kernel would go on to choose it for its share of the connects, and throw them away.
            Bound::Tcp(_) if self.has_siblings() => false,
            Bound::Tcp(listener) => {
                // Connections that have not sent anything would stay invisible, and be lost.
                let _ = sockets::defer_accept(listener.as_fd(), 0);
                sockets::refuse_connects(listener.as_fd()).is_ok()
            }
            Bound::Unix(_, path) => {
                if let Some(path) = path {
                    path.unlink();
                }
                true
            }
        }
    }

    /// Tells whether clients may be in the middle of connecting, to whom a close would be a reset.
    pub(crate) fn may_have_handshakes(&self) -> bool {
        match &self.socket {
            Bound::Tcp(listener) => {
                let address = listener.local_addr();
                // Where the kernel does not tell, there may be some.
                address.and_then(sockets::has_handshakes).unwrap_or(true)
            }
            // A connect is one step.
            Bound::Unix(..) => false,
        }
    }

    /// Tells whether sockets of other processes listen on the same port, to which the kernel spreads the connects
    /// (`SO_REUSEPORT` in socket(7)). Those of this process leave together with this one.
    pub(crate) fn has_siblings(&self) -> bool {
        let Bound::Tcp(listener) = &self.socket else {
            return false;
        };
        let is_in_group = SockRef::from(listener).reuse_port().unwrap_or(false);
        let address = listener.local_addr().ok().filter(|_| is_in_group);
        address.is_some_and(sockets::others_listen_at)
    }

    /// Returns what it is known by to those who hand over.
    pub(crate) fn id(&self) -> Option<ListenerId> {
        self.registration.as_ref().map(Registration::id)
    }

    /// Returns the index in the greeting of the process before this one, where it is inherited from that.
    pub(crate) fn before(&self) -> Option<u16> {
        self.registration.as_ref().and_then(Registration::before)
    }

    /// Tells whether other processes accept from the same socket.
    pub(crate) fn is_shared(&self) -> bool {
        let registration = self.registration.as_ref();
        self.is_shared || registration.is_some_and(Registration::is_shared)
    }
}

impl Bound {
    pub(crate) fn from_inherited(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        if socket.domain()? == Domain::UNIX {
            let listener = UnixListener::from_std(socket.into())?;
            let path = SocketFile::of_listener(&listener);
            return Ok(Self::Unix(listener, path));
        }
        TcpListener::from_std(socket.into()).map(Self::Tcp)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let (Bound::Unix(_, Some(path)), false) = (&self.socket, self.is_shared()) {
            path.unlink();
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// The address as a person would type it: `http://127.0.0.1:3000` or `unix:/run/app.sock`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Bound::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}"),
                Err(_) => f.write_str("a TCP socket"),
            },
            Bound::Unix(_, Some(path)) => write!(f, "unix:{}", path.path.display()),
            Bound::Unix(_, None) => f.write_str("a UNIX socket"),
        }
    }
}

impl From<Bound> for Listener {
    fn from(socket: Bound) -> Self {
        Self::new(socket, None)
    }
}

impl From<TcpListener> for Listener {
    /// The listener is taken to be this process' alone: it is sealed before it is closed, and then refuses
    /// the connects that are meant for others; see [`shared`](Self::shared).
    fn from(listener: TcpListener) -> Self {
        Bound::Tcp(listener).into()
    }
}

impl From<UnixListener> for Listener {
    /// The path is removed at the end, as for a listener of [`bind`](crate::bind()), unless it is [`shared`](Self::shared).
    fn from(listener: UnixListener) -> Self {
        let path = SocketFile::of_listener(&listener);
        Bound::Unix(listener, path).into()
    }
}

impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    /// Makes the listener non-blocking. Panics outside a tokio runtime, as tokio's own conversion does.
    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::from)
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::from)
    }
}
