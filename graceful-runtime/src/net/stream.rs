//! The sockets that connections come on, as one type.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

#[cfg(feature = "tls")]
use super::records::Recorded;
use crate::os::sockets;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<Recorded<Self>>>),
    #[cfg(test)]
    Duplex(tokio::io::DuplexStream),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Unix,
    /// Somebody whose connection another framework serves, and did not tell.
    #[cfg(feature = "adapt")]
    Unknown,
}

impl Peer {
    /// Returns who is at the other end of a connected socket; `None` where nobody is any more.
    pub(crate) fn of(socket: BorrowedFd<'_>) -> Option<Self> {
        let address = SockRef::from(&socket).peer_addr().ok()?;
        Some(address.as_socket().map_or(Self::Unix, Self::Tcp))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("a UNIX socket"),
            #[cfg(feature = "adapt")]
            Self::Unknown => f.write_str("a client"),
        }
    }
}

impl Stream {
    /// Takes a socket that another process has served until now.
    ///
    /// # Errors
    ///
    /// Where it is of no kind that can be served, or its peer has gone.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        socket.set_nonblocking(true)?;
        match socket.domain()? {
            Domain::UNIX => UnixStream::from_std(socket.into()).map(Self::Unix),
            _ => TcpStream::from_std(socket.into()).map(Self::Tcp),
        }
    }

    /// Tells whether the socket is all that there is of the connection.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    /// Returns the socket for another process, where it [is all](Self::is_bare) that there is; nothing of the runtime is left
    /// on it.
    ///
    /// # Errors
    ///
    /// Where there is more, or the runtime does not give it back.
    pub(crate) fn into_descriptor(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
            #[cfg(any(feature = "tls", test))]
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the socket under it, to ask the kernel about.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Unix(stream) => Some(stream.as_fd()),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.stream.socket(),
            #[cfg(test)]
            Self::Duplex(_) => None,
        }
    }

    /// Returns how many bytes the peer has not acknowledged of what was sent; `None` where that cannot be known.
    pub(crate) fn unacknowledged(&self) -> Option<usize> {
        sockets::unacknowledged(self.socket()?).ok()
    }

    /// Returns the socket under it, to read from before its close.
    pub(crate) fn lingering(&self) -> Option<Lingering<'_>> {
        match self {
            Self::Tcp(stream) => Some(Lingering::Tcp(stream)),
            Self::Unix(stream) => Some(Lingering::Unix(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.stream.lingering(),
            #[cfg(test)]
            Self::Duplex(_) => None,
        }
    }

    /// Returns the socket as it was accepted.
    pub(crate) fn below_tls(&mut self) -> &mut Self {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &mut stream.get_mut().0.stream,
            other => other,
        }
    }

    /// Looks for what the peer has sent, without reading it: 0 bytes where it has closed its side. The
    /// task is woken when there is something.
    pub(crate) fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => {
                let mut byte = [0];
                match ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)))? {
                    0 => Poll::Ready(Ok(0)),
                    _ => Poll::Ready(sockets::unread(stream.as_fd())),
                }
            }
            Self::Unix(stream) => loop {
                ready!(stream.poll_read_ready(cx))?;
                let peek = || SockRef::from(&*stream).peek(&mut [MaybeUninit::uninit()]);
                match stream.try_io(Interest::READABLE, peek) {
                    Ok(0) => return Poll::Ready(Ok(0)),
                    Ok(_) => return Poll::Ready(sockets::unread(stream.as_fd())),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            },
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                if plaintext(stream) == 0 {
                    let tls = stream.get_mut().0;
                    match tls.stream.poll_unread(cx)? {
                        // Whether the peer closed in order is for TLS to say, at the next read.
                        Poll::Ready(0) => return Poll::Pending,
                        // What has come is within rustls, and the rest wakes the task.
                        Poll::Pending if tls.is_within_record() => {}
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(_) => {}
                    }
                }
                Poll::Ready(Ok(self.unread()))
            }
            #[cfg(test)]
            Self::Duplex(_) => Poll::Pending,
        }
    }

    /// Returns how many bytes have come and were not read; under TLS at least as many.
    pub(crate) fn unread(&mut self) -> usize {
        let socket = self.socket();
        let received = socket.map_or(0, |socket| sockets::unread(socket).unwrap_or(0));
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                let held_back = usize::from(stream.get_ref().0.is_within_record());
                received + plaintext(stream) + held_back
            }
            _ => received,
        }
    }

    /// Tells whether a part of something has come that cannot be read before the rest of it has.
    pub(crate) fn holds_back(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self, Self::Tls(stream) if stream.get_ref().0.is_within_record());
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Tells whether a read that leaves room in its buffer has not emptied the socket.
    pub(crate) fn reads_in_parts(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self, Self::Tls(_));
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Tells whether the end of the stream has to be written, because the peer would take a bare end
    /// of the connection for an attack (RFC 8446, section 6.1).
    pub(crate) fn has_close_notify(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self, Self::Tls(_));
        #[cfg(not(feature = "tls"))]
        false
    }
}

/// Returns how many bytes TLS has decrypted and nobody has read.
#[cfg(feature = "tls")]
fn plaintext(stream: &mut tokio_rustls::server::TlsStream<Recorded<Stream>>) -> usize {
    // Nothing new is put in, so this only asks.
    let state = stream.get_mut().1.process_new_packets();
    state.map_or(0, |state| state.plaintext_bytes_to_read())
}

/// Calls the same method on whatever socket it is.
macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            Stream::Unix($inner) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($inner) => $call,
            #[cfg(test)]
            Stream::Duplex($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, inner => inner.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_shutdown(cx))
    }
}

/// A socket to read from until its close loses nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lingering<'a> {
    Tcp(&'a TcpStream),
    Unix(&'a UnixStream),
}

impl Lingering<'_> {
    pub(crate) async fn readable(self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    pub(crate) fn try_read(self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buffer),
            Self::Unix(socket) => socket.try_read(buffer),
        }
    }

    /// Tells whether the peer has everything that was sent, or will never have.
    pub(crate) fn has_arrived(self) -> bool {
        let socket = match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        };
        !matches!(sockets::unacknowledged(socket), Ok(1..))
    }
}
