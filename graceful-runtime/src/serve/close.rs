//! Closing a connection so that its last response arrives.
//!
//! A close while something is unread makes the kernel send a reset, and a reset destroys what the
//! peer has not read yet (RFC 9112, section 9.6). A UNIX socket does the same in its way: the peer's
//! next read or write fails with ECONNRESET or EPIPE. So the connection is closed half, what still comes
//! is thrown away, and the rest is closed when nothing can be lost any more.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::future::FutureExt;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::stream::Stream;
use crate::sys;
use crate::timer::Timer;

/// How long a peer that has everything may be silent before it is taken for one that neither sends nor closes.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a peer may go on sending what nobody wants, or take nothing of what it was sent; nginx' `lingering_time`.
const TIME: Duration = Duration::from_secs(30);
/// The same in a drain.
const TIME_DRAINING: Duration = Duration::from_secs(2);
/// How many bytes are thrown away at most.
const BYTES: usize = 64 << 20;

/// Closes a connection that hyper has done with.
pub(crate) async fn close(mut stream: Stream, connection: &Connection) {
    connection.note_closing();
    if may_close_at_once(&stream, connection) {
        return;
    }
    let mut patience = Patience::with(&stream);
    let shutdown = poll_fn(|cx| {
        patience.look(&stream, connection);
        // Fails where the peer has gone, and then the rest ends at once, too.
        let done = Pin::new(&mut stream).poll_shutdown(cx).map(drop);
        match done {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => patience.poll(cx, &stream, connection).map(|()| false),
        }
    });
    if !shutdown.await {
        return;
    }
    if let Some(socket) = stream.lingering() {
        let lost = poll_fn(|cx| patience.poll(cx, &stream, connection));
        linger(socket, connection.may_be_sending()).or(lost).await;
    }
}

/// How long a close may take: it goes on as long as the peer takes something of what it was sent.
struct Patience {
    /// When it last did.
    since: Instant,
    unacknowledged: usize,
    timer: Timer,
}

impl Patience {
    fn with(stream: &Stream) -> Self {
        Self {
            since: Instant::now(),
            unacknowledged: unacknowledged(stream),
            timer: Timer::default(),
        }
    }

    fn look(&mut self, stream: &Stream, connection: &Connection) {
        let count = unacknowledged(stream);
        connection.note_unread_by_client(count > 0);
        if count < self.unacknowledged {
            self.since = Instant::now();
        }
        self.unacknowledged = count;
    }

    fn time_draining(&self, connection: &Connection) -> Duration {
        // A client of HTTP/2 that has everything in its kernel says how it reads on, and may have a PING to answer.
        match self.unacknowledged == 0 && connection.is_http2() {
            true => connection.shared.goaway_limit().max(TIME_DRAINING),
            false => TIME_DRAINING,
        }
    }

    /// Ready when the peer has had its time.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &Stream, connection: &Connection) -> Poll<()> {
        loop {
            self.look(stream, connection);
            let limit = match connection.drain() {
                Some(drain) => drain.max(self.since) + self.time_draining(connection),
                None => self.since + TIME,
            };
            ready!(self.timer.poll(limit, cx));
            let before = self.since;
            self.look(stream, connection);
            if self.since == before {
                return Poll::Ready(());
            }
        }
    }
}

fn unacknowledged(stream: &Stream) -> usize {
    stream.unacknowledged().unwrap_or(0)
}

/// Tells whether nothing can be lost by a close.
pub(crate) fn may_close_at_once(stream: &Stream, connection: &Connection) -> bool {
    is_settled(stream) && !connection.may_be_sending() && !stream.has_farewell()
}

/// Tells whether nothing is unread and everything that was sent has arrived.
fn is_settled(stream: &Stream) -> bool {
    stream.socket().is_none_or(|socket| {
        sys::unread(socket).is_ok_and(|count| count == 0) && stream.unacknowledged() == Some(0)
    })
}

/// A socket to read from until its close loses nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lingering<'a> {
    Tcp(&'a TcpStream),
    Unix(&'a UnixStream),
}

impl Lingering<'_> {
    async fn readable(self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    fn try_read(self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buffer),
            Self::Unix(socket) => socket.try_read(buffer),
        }
    }

    /// Tells whether the peer has everything that was sent, or will never have.
    fn has_arrived(self) -> bool {
        let socket = match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        };
        !matches!(sys::unacknowledged(socket), Ok(1..))
    }

    /// Waits until the peer has what was sent, as far as a close could destroy it.
    async fn arrived(self) {
        match self {
            Self::Tcp(socket) => acknowledged(socket).await,
            // What was sent is in the peer's queue already; only what is unread here makes it a reset.
            Self::Unix(_) => {}
        }
    }
}

/// Reads and discards until the peer has closed, or has everything and sends nothing.
async fn linger(socket: Lingering<'_>, may_be_sending: bool) {
    let arrived = async {
        if may_be_sending {
            std::future::pending::<()>().await;
        }
        socket.arrived().await;
        // One more look at what has come meanwhile.
        let _ = discard_now(socket);
    };
    arrived.or(discard(socket)).await;
}

/// Waits until the peer has acknowledged the end of the stream, or will never do.
async fn acknowledged(tcp: &TcpStream) {
    // The kernel wakes a half-closed socket's writers at the acknowledgement. A socket that was reset
    // stays ready for ever and acknowledges nothing any more, so that has to be looked for.
    while tcp
        .ready(Interest::WRITABLE)
        .await
        .is_ok_and(|ready| !ready.is_write_closed())
    {
        // An error that says "would block" makes `ready` wait for the next wake-up.
        let has_arrived = || match Lingering::Tcp(tcp).has_arrived() {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        };
        if tcp.try_io(Interest::WRITABLE, has_arrived).is_ok() {
            return;
        }
    }
}

async fn discard(socket: Lingering<'_>) {
    let mut left = BYTES;
    while left > 0 {
        let silence = async {
            sleep(SILENCE).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        match socket.readable().or(silence).await {
            // It is read on, without a word; `Patience` bounds that.
            Err(error) if error.kind() == io::ErrorKind::TimedOut && !socket.has_arrived() => {}
            Err(_) => return,
            Ok(()) => match discard_now(socket) {
                Ok(count) => left = left.saturating_sub(count),
                Err(_) => return,
            },
        }
    }
}

/// Reads what is there; an error where the stream has ended in whatever way.
fn discard_now(socket: Lingering<'_>) -> io::Result<usize> {
    let mut buffer = [0; 16 << 10];
    let mut count = 0;
    loop {
        match socket.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error),
        }
        if count > 1 << 20 {
            return Ok(count);
        }
    }
}
