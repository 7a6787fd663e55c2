//! Closing a connection so that its last response arrives.
//!
//! A close while something is unread makes the kernel send a reset, and a reset destroys what the
//! peer has not read yet (RFC 9112, section 9.6). A UNIX socket does the same in its way: the peer's
//! next read or write fails with ECONNRESET or EPIPE. So the connection is closed half, what still comes
//! is thrown away, and the rest is closed when nothing can be lost any more.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::future::FutureExt;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::taking::Taking;
use crate::net::stream::{Lingering, Stream};
use crate::os::sockets;
use crate::timer::Timer;

/// How long a peer that has everything may be silent before it is taken for one that neither sends nor closes.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long a peer may go on sending what nobody wants, or take nothing of what it was sent; nginx' `lingering_time`.
const LINGER_MAX: Duration = Duration::from_secs(30);
/// The same in a drain.
const LINGER_MAX_DRAINING: Duration = Duration::from_secs(2);
/// How many bytes are thrown away at most.
const DISCARD_MAX: usize = 64 << 20;

/// Closes a connection that hyper has done with.
pub(crate) async fn close(mut stream: Stream, connection: &Connection) {
    connection.note_closing();
    if may_close_at_once(&stream, connection) {
        return;
    }
    let mut patience = ClosePatience::with(connection);
    let shutdown = poll_fn(|cx| {
        patience.look(&stream);
        // Fails where the peer has gone, and then the rest ends at once, too.
        let done = Pin::new(&mut stream).poll_shutdown(cx).map(drop);
        match done {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => patience.poll(cx, &stream).map(|()| false),
        }
    });
    if !shutdown.await {
        return;
    }
    if let Some(socket) = stream.lingering() {
        let is_sending = patience.is_sending;
        let lost = poll_fn(|cx| patience.poll(cx, &stream));
        linger(socket, is_sending).or(lost).await;
    }
}

/// Bounds a close. Where the peer may still be sending, which would make a reset of it, we wait as long as it
/// reads on; else the kernel delivers the rest.
struct ClosePatience<'a> {
    connection: &'a Connection,
    is_sending: bool,
    /// When the peer last took something.
    since: Instant,
    taking: Taking,
    timer: Timer,
}

impl<'a> ClosePatience<'a> {
    fn with(connection: &'a Connection) -> Self {
        Self {
            connection,
            is_sending: connection.may_be_sending(),
            since: Instant::now(),
            taking: Taking::default(),
            timer: Timer::default(),
        }
    }

    fn look(&mut self, stream: &Stream) {
        if self.taking.look(0, stream, self.connection) && self.is_sending {
            self.since = Instant::now();
        }
    }

    /// Ready when the peer has had its time.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<()> {
        // A drain may begin meanwhile.
        self.connection.remember(cx.waker());
        loop {
            self.look(stream);
            let since = self.since;
            ready!(self.timer.poll(self.limit(), cx));
            self.look(stream);
            if self.since == since {
                return Poll::Ready(());
            }
        }
    }

    fn limit(&self) -> Instant {
        let Some(drain) = self.connection.drain_began() else {
            return self.since + LINGER_MAX;
        };
        // Between two signs of a client of HTTP/2 that reads is what it may take for any other.
        let time = match self.is_sending && self.connection.is_http2() {
            true => self
                .connection
                .policy
                .goaway_limit()
                .max(LINGER_MAX_DRAINING),
            false => LINGER_MAX_DRAINING,
        };
        drain.max(self.since) + time
    }
}

/// Tells whether nothing can be lost by a close.
pub(crate) fn may_close_at_once(stream: &Stream, connection: &Connection) -> bool {
    is_settled(stream) && !connection.may_be_sending() && !stream.has_close_notify()
}

/// Tells whether nothing is unread and everything that was sent has arrived.
fn is_settled(stream: &Stream) -> bool {
    stream.socket().is_none_or(|socket| {
        sockets::unread(socket).is_ok_and(|count| count == 0) && stream.unacknowledged() == Some(0)
    })
}

/// Waits until the peer has what was sent, as far as a close could destroy it.
async fn arrived(socket: Lingering<'_>) {
    match socket {
        Lingering::Tcp(socket) => acknowledged(socket).await,
        // What was sent is in the peer's queue already; only what is unread here makes it a reset.
        Lingering::Unix(_) => {}
    }
}

/// Reads and discards until the peer has closed, or has everything and sends nothing.
async fn linger(socket: Lingering<'_>, may_be_sending: bool) {
    let arrived = async {
        if may_be_sending {
            std::future::pending::<()>().await;
        }
        arrived(socket).await;
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
    let mut left = DISCARD_MAX;
    while left > 0 {
        let silence = async {
            sleep(SILENCE_MAX).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        match socket.readable().or(silence).await {
            // It is read on, without a word; `ClosePatience` bounds that.
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
