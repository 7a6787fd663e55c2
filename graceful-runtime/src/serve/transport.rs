//! What hyper reads and writes through.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;
use crate::net::stream::Stream;

/// What hyper, or a task that a connection was upgraded to, reads and writes.
///
/// It lets the connection know what hyper would not tell, does not let hyper close the socket, and
/// gives the socket back when it is dropped, wherever that happens.
#[derive(Debug)]
pub(crate) struct Transport {
    /// `Some` until the drop.
    stream: Option<Stream>,
    /// What was read before hyper came.
    prefix: Bytes,
    connection: Arc<Connection>,
    /// Where the client sends no more: notices that it has gone.
    loss: Option<Loss>,
}

impl Transport {
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
            self.connection.note_write_failed();
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
        if !self.connection.policy.options.half_close {
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

impl AsyncRead for Transport {
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
        read.inspect_err(|_| self.connection.note_client_ended())?;
        self.connection.note_read(&buffer.filled()[before..]);
        if buffer.remaining() == 0 || self.stream().reads_in_parts() {
            self.note_unread();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
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
            self.connection.note_client_ended();
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

impl Drop for Transport {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.connection.give_back(stream);
        }
    }
}
