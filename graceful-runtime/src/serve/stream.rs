//! The sockets that connections come on, as one type, and what hyper reads and writes through.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::close::Lingering;
use super::connection::Connection;
#[cfg(feature = "tls")]
use super::tls::Recorded;
use crate::os::sockets;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<Recorded>>),
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
    pub(super) fn unacknowledged(&self) -> Option<usize> {
        sockets::unacknowledged(self.socket()?).ok()
    }

    /// Returns the socket under it, to read from before its close.
    pub(super) fn lingering(&self) -> Option<Lingering<'_>> {
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
    fn below_tls(&mut self) -> &mut Self {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &mut stream.get_mut().0.stream,
            other => other,
        }
    }

    /// Looks for what the peer has sent, without reading it: 0 bytes where it has closed its side. The
    /// task is woken when there is something.
    pub(super) fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
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
    fn unread(&mut self) -> usize {
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
    pub(super) fn holds_back(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self, Self::Tls(stream) if stream.get_ref().0.is_within_record());
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Tells whether a read that leaves room in its buffer has not emptied the socket.
    fn reads_in_parts(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self, Self::Tls(_));
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Tells whether the end of the stream has to be written, because the peer would take a bare end
    /// of the connection for an attack (RFC 8446, section 6.1).
    pub(super) fn has_farewell(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self, Self::Tls(_));
        #[cfg(not(feature = "tls"))]
        false
    }
}

/// Returns how many bytes TLS has decrypted and nobody has read.
#[cfg(feature = "tls")]
fn plaintext(stream: &mut tokio_rustls::server::TlsStream<Recorded>) -> usize {
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

/// What hyper, or a task that a connection was upgraded to, reads and writes.
///
/// It lets the connection know what hyper would not tell, does not let hyper close the socket, and
/// gives the socket back when it is dropped, wherever that happens.
#[derive(Debug)]
pub(crate) struct Io {
    /// `Some` until the drop.
    stream: Option<Stream>,
    /// What was read before hyper came.
    prefix: Bytes,
    connection: Arc<Connection>,
    /// Where the client sends no more: notices that it has gone.
    loss: Option<Loss>,
}

impl Io {
    pub(crate) fn new(stream: Stream, prefix: Bytes, connection: Arc<Connection>) -> Self {
        Self {
            stream: Some(stream),
            prefix,
            connection,
            loss: None,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn get_ref(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// Takes the socket, for one who closes it.
    #[cfg(feature = "adapt")]
    pub(crate) fn take(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    /// Tells whether [`poll_flush`](AsyncWrite::poll_flush) fails when the client has gone.
    pub(super) fn notices_the_end(&self) -> bool {
        matches!(self.stream, Some(Stream::Tcp(_) | Stream::Unix(_)))
    }

    /// Notes whether the socket took what hyper wrote.
    fn note_written<T>(&self, written: &Poll<io::Result<T>>) {
        self.connection.note_write(written.is_pending());
        if matches!(written, Poll::Ready(Err(_))) {
            self.connection.note_failure();
        }
    }

    /// Notes what is left behind a read: pipelined requests that have come, too.
    fn note_unread(&mut self) {
        if !self.connection.is_http2() && !self.connection.is_upgraded() {
            let count = self.stream().unread();
            self.connection.note_unread(count);
        }
    }

    /// Tells whether the client of the request in flight has gone; if not, the task is woken when it has.
    fn has_lost_client(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(loss) = &mut self.loss {
            let is_lost = loss.poll(cx).is_ready();
            self.note_unread();
            return is_lost;
        }
        if !self.connection.shared.half_close {
            return match self.stream().poll_unread(cx) {
                Poll::Ready(Ok(0) | Err(_)) => true,
                Poll::Ready(Ok(count)) => {
                    self.connection.note_unread(count);
                    false
                }
                Poll::Pending => false,
            };
        }
        match self.stream().below_tls().poll_unread(cx) {
            Poll::Pending => false,
            Poll::Ready(Err(_)) => true,
            // It would hide whatever comes after it.
            Poll::Ready(Ok(_)) => {
                let socket = self.stream.as_ref().and_then(Stream::socket);
                self.loss = socket.and_then(|socket| Loss::of(socket).ok());
                // Without descriptors for it, the handler is not dropped, which loses nothing.
                self.loss.is_some() && self.has_lost_client(cx)
            }
        }
    }

    fn stream(&mut self) -> Pin<&mut Stream> {
        Pin::new(
            self.stream
                .as_mut()
                .expect("the socket is there until the drop"),
        )
    }
}

/// Waits for a connection to break, whatever has come on it: a TCP socket that was reset, a UNIX socket that the
/// peer has closed.
///
/// tokio's readiness of the socket itself does not show it, because the end of what the peer sends stays set.
struct Loss(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Loss {
    fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // A registration of its own needs a descriptor of its own. Whatever kind of socket it is, nothing is
        // asked for but its readiness.
        let socket = std::net::TcpStream::from(socket.try_clone_to_owned()?);
        let socket = TcpStream::from_std(socket)?;
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        Ok(Self(Box::pin(async move {
            // An error: the runtime ends.
            while let Ok(ready) = socket.ready(Interest::WRITABLE).await
                && !ready.is_write_closed()
            {
                // Or else it would be ready again at once.
                let _ = socket.try_io(Interest::WRITABLE, nothing);
            }
        })))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loss")
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let length = self.prefix.len().min(buffer.remaining());
            let bytes = self.prefix.split_to(length);
            buffer.put_slice(&bytes);
            self.connection.note_read(&bytes);
            if self.prefix.is_empty() {
                self.note_unread();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = self.stream().poll_read(cx, buffer) else {
            self.connection.note_waiting();
            return Poll::Pending;
        };
        read.inspect_err(|_| self.connection.note_loss())?;
        self.connection.note_read(&buffer.filled()[before..]);
        if buffer.remaining() == 0 || self.stream().reads_in_parts() {
            self.note_unread();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, slices);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes at the end of each of its polls: a request that is still in flight is being slow.
        if self.connection.awaits_response() && self.has_lost_client(cx) {
            self.connection.note_loss();
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let flushed = self.stream().poll_flush(cx);
        // hyper flushes when it has written everything; TLS may still hold some of it.
        self.note_written(&flushed);
        if flushed.is_ready() {
            self.connection.settle_if_written();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Closing is ours, so that nothing unread destroys the last response; but who was given the
        // connection for good may close it half.
        if self.connection.is_upgraded() {
            self.stream().poll_shutdown(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.connection.give_back(stream);
        }
    }
}
