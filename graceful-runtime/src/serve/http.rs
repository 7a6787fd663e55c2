//! From the accept to the close of one connection.
//!
//! hyper decides alone what HTTP is; we decide when a connection may end. hyper's own graceful
//! shutdown closes an idle connection without a look at the socket, throws half a request head away,
//! and has no bound on a head that never ends. So:
//!
//! 1. hyper gets a connection only when its first bytes are there, and in a drain it is taken from hyper
//!    as soon as it is idle. In between, the socket is ours: [`first_bytes`] is the one place where a
//!    connection waits for a request.
//! 2. Whether it is idle is known, not inferred from how hyper ends (see [`framing`](super::framing)): no
//!    response is owed, every request has come to its end, and hyper has looked for more and found
//!    nothing. Any other connection is never used again.
//! 3. Each wait ends on an event or on a bound that the user knows.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::poll_once;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::close::close;
use super::connection::Connection;
use super::framing::Awaits;
use super::http2;
use super::service::{HttpService, Tracked};
use super::transport::Io;
use crate::lifecycle::registry::Member;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
use crate::timer::Timer;

/// The first bytes of HTTP/2 (RFC 9113, section 3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long, in a drain, the rest of a request head may take.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(1);
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Serves a connection in a task of its own until it is closed or cut, and then drops `permit`.
pub(super) fn spawn<S: HttpService>(
    stream: Stream,
    security: Security,
    member: Member<Connection>,
    service: S,
    permit: impl Send + 'static,
) {
    let connection = Arc::clone(&member);
    let task = tokio::spawn(serve(stream, security, member, service, permit));
    connection.set_task(task.abort_handle());
}

async fn serve<S: HttpService>(
    stream: Stream,
    security: Security,
    member: Member<Connection>,
    service: S,
    _permit: impl Send,
) {
    let connection = &*member;
    connection.remember_task().await;
    let Some(stream) = secure(stream, security, connection).await else {
        return;
    };
    let stream = exchange(stream, connection, service).await;
    close(stream, connection).await;
}

/// What lies between the socket and HTTP.
#[derive(Clone, Debug)]
pub(super) enum Security {
    ClearText,
    #[cfg(feature = "tls")]
    Tls(super::tls::Tls),
}

impl Security {
    /// Says where `listener` is reached, as a person would type it.
    pub(super) fn url(&self, listener: &Listener) -> String {
        let url = listener.to_string();
        match self {
            Self::ClearText => url,
            #[cfg(feature = "tls")]
            Self::Tls(_) => url.replacen("http:", "https:", 1),
        }
    }
}

#[cfg_attr(
    not(feature = "tls"),
    allow(unused_variables, reason = "only a handshake waits")
)]
async fn secure(stream: Stream, security: Security, connection: &Connection) -> Option<Stream> {
    match security {
        Security::ClearText => Some(stream),
        // Boxed, as it is over when the connection's long life begins.
        #[cfg(feature = "tls")]
        Security::Tls(tls) => Box::pin(tls.handshake(stream, connection)).await,
    }
}

/// Exchanges requests and responses; returns the socket when it is to be closed.
async fn exchange<S: HttpService>(
    mut stream: Stream,
    connection: &Arc<Connection>,
    service: S,
) -> Stream {
    let mut is_http1 = false;
    loop {
        match first_bytes(&mut stream, is_http1, connection).await {
            First::Nothing => return stream,
            First::TooSlow => return too_slow(stream, connection).await,
            First::Http2(bytes) => {
                let io = Io::new(stream, bytes, Arc::clone(connection));
                // Boxed, so that it takes no room in the many connections of HTTP/1.
                Box::pin(http2::exchange(io, service, connection)).await;
                return connection.returned().await;
            }
            First::Http1(bytes) => {
                is_http1 = true;
                let io = Io::new(stream, bytes, Arc::clone(connection));
                let ended = http1(io, service.clone(), connection).await;
                stream = connection.returned().await;
                match ended {
                    Ended::Idle => {}
                    Ended::Closed => return stream,
                    Ended::TooSlow => return too_slow(stream, connection).await,
                }
            }
        }
    }
}

/// What a connection begins with.
#[derive(Debug)]
enum First {
    Http1(Bytes),
    Http2(Bytes),
    /// The peer has closed, or has said nothing in its time.
    Nothing,
    /// The peer has said too little in its time.
    TooSlow,
}

/// Waits for the bytes that tell HTTP/1 from HTTP/2, as long as the connection may wait.
///
/// Once it has spoken HTTP/1, there is nothing to tell any more.
async fn first_bytes(stream: &mut Stream, is_http1: bool, connection: &Connection) -> First {
    let mut first = FirstBytes {
        bytes: [0; HTTP2_PREFACE.len()],
        length: 0,
        is_http1,
        patience: Patience::default(),
    };
    let first = poll_fn(|cx| first.poll(cx, stream, connection)).await;
    connection.note_begin(false);
    first
}

struct FirstBytes {
    bytes: [u8; HTTP2_PREFACE.len()],
    length: usize,
    is_http1: bool,
    patience: Patience,
}

impl FirstBytes {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        connection: &Connection,
    ) -> Poll<First> {
        loop {
            while let Poll::Ready(read) = self.poll_read(cx, stream) {
                if !matches!(read, Ok(1..)) {
                    return Poll::Ready(First::Nothing);
                }
                if let Some(first) = self.tell() {
                    return Poll::Ready(first);
                }
            }
            // TLS may have the begin of a request in a record that is not complete.
            let has_begun = self.has_begun() || stream.holds_back();
            connection.note_begin(has_begun);
            match has_begun {
                true => self.patience.begin(),
                false => self.patience.began = None,
            }
            ready!(self.patience.poll(cx, connection));
            if self.has_begun() {
                return Poll::Ready(First::TooSlow);
            }
            if !self.patience.has_last_look(stream) {
                return Poll::Ready(First::Nothing);
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.bytes[self.length..]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        self.length += count;
        self.skip_empty_lines();
        Poll::Ready(Ok(count))
    }

    /// Throws away empty lines, which are the begin of nothing; only HTTP/1 allows them (RFC 9112,
    /// section 2.2).
    fn skip_empty_lines(&mut self) {
        while let Some(length) = self.empty_line() {
            self.bytes.copy_within(length..self.length, 0);
            self.length -= length;
            self.is_http1 = true;
        }
    }

    fn empty_line(&self) -> Option<usize> {
        match &self.bytes[..self.length] {
            [b'\n', ..] => Some(1),
            [b'\r', b'\n', ..] => Some(2),
            _ => None,
        }
    }

    /// Tells whether something has come but the begin of an empty line.
    fn has_begun(&self) -> bool {
        !matches!(self.bytes[..self.length], [] | [b'\r'])
    }

    fn tell(&self) -> Option<First> {
        let bytes = &self.bytes[..self.length];
        if !self.has_begun() {
            None
        } else if self.is_http1 {
            Some(First::Http1(Bytes::copy_from_slice(bytes)))
        } else if bytes == HTTP2_PREFACE {
            Some(First::Http2(Bytes::from_static(HTTP2_PREFACE)))
        } else if HTTP2_PREFACE.starts_with(bytes) {
            None
        } else {
            Some(First::Http1(Bytes::copy_from_slice(bytes)))
        }
    }
}

/// How long a connection may take to bring a request head, or a handshake.
#[derive(Default)]
pub(super) struct Patience {
    /// When the first byte came.
    began: Option<Instant>,
    /// Until when to wait for bytes that the kernel has and the runtime has not heard of.
    last_look: Option<Instant>,
    timer: Timer,
}

impl Patience {
    pub(super) fn begun() -> Self {
        let mut patience = Self::default();
        patience.begin();
        patience
    }

    fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// Ready when the time is up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        let limit = self.limit(connection);
        self.timer.poll(limit, cx)
    }

    /// Tells whether a connection whose time is up has sent something all the same.
    fn has_last_look(&mut self, stream: &Stream) -> bool {
        let is_first = self.last_look.is_none();
        self.last_look = Some(Instant::now() + HEAD_LIMIT);
        is_first && has_unread(stream)
    }

    /// Waits for the first byte without reading it; false where none came in time.
    #[cfg(feature = "tls")]
    pub(super) async fn first_byte(
        &mut self,
        stream: &mut Stream,
        connection: &Connection,
    ) -> bool {
        poll_fn(|cx| {
            loop {
                // Not its readiness, which a socket has from the accept on, whatever has come.
                if let Poll::Ready(unread) = stream.poll_unread(cx) {
                    return Poll::Ready(unread.is_ok());
                }
                ready!(self.poll(cx, connection));
                if !self.has_last_look(stream) {
                    return Poll::Ready(false);
                }
            }
        })
        .await
    }

    fn limit(&self, connection: &Connection) -> Instant {
        let header_timeout = connection.shared.header_timeout;
        // A request may begin in the moment in which the one before it ends.
        let began = self.began.map(|began| began.max(connection.last_active()));
        match (connection.drain(), began, self.last_look) {
            (_, _, Some(last_look)) => last_look,
            (None, began, _) => began.unwrap_or_else(|| connection.accepted()) + header_timeout,
            (Some(drain), Some(began), _) => drain.max(began) + HEAD_LIMIT.min(header_timeout),
            (Some(_), None, _) => connection.grace_end(),
        }
    }
}

/// Tells whether the kernel holds something that the peer has sent.
pub(crate) fn has_unread(stream: &Stream) -> bool {
    stream
        .socket()
        .is_some_and(|socket| crate::os::sockets::unread(socket).is_ok_and(|count| count > 0))
}

async fn too_slow(mut stream: Stream, connection: &Connection) -> Stream {
    connection.note_timed_out();
    // One poll: with a full socket, the peer reads as little as it writes, and misses nothing.
    let _ = poll_once(stream.write_all(TOO_SLOW)).await;
    stream
}

/// How hyper's part of an HTTP/1 connection came to its end.
enum Ended {
    /// A drain found it waiting for a request of which nothing has come.
    Idle,
    Closed,
    /// The rest of a request head did not come in its time.
    TooSlow,
}

async fn http1<S: HttpService>(io: Io, service: S, connection: &Arc<Connection>) -> Ended {
    connection.becomes_http1();
    let service = Tracked::new(service, Arc::clone(connection));
    // Or else hyper tries to read in the middle of every request, to notice that the client has gone,
    // and allocates a buffer for it. `Io` notices that as well, and only where a handler takes its time.
    let mut hyper = http1::Builder::new()
        .half_close(io.notices_the_end() || connection.shared.half_close)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut patience = None;
    let mut timer = Timer::default();
    let ended = poll_fn(|cx| {
        if Pin::new(&mut hyper).poll(cx).is_ready() {
            // What went wrong, if anything, is the client's business and has been answered by hyper.
            return Poll::Ready(Ended::Closed);
        }
        if connection.is_busy() {
            patience = None;
            return Poll::Pending;
        }
        let drain = connection.drain();
        // As it mostly is, so that nobody looks at each request.
        if drain.is_none() && !connection.may_have_begun() {
            patience = None;
            return Poll::Pending;
        }
        let awaits = connection.awaits();
        if awaits != Awaits::RestOfHead {
            patience = None;
        }
        match (awaits, drain) {
            (Awaits::Request, Some(_)) => Poll::Ready(Ended::Idle),
            (Awaits::RestOfHead, _) => {
                let patience = patience.get_or_insert_with(Patience::begun);
                ready!(patience.poll(cx, connection));
                Poll::Ready(Ended::TooSlow)
            }
            // The response is complete, and whoever reads the request on has a little time for it.
            (Awaits::RestOfBody | Awaits::Unknown, Some(drain)) => {
                let limit = drain.max(connection.last_active()) + HEAD_LIMIT;
                ready!(timer.poll(limit, cx));
                Poll::Ready(Ended::Closed)
            }
            (_, None) => Poll::Pending,
        }
    })
    .await;
    connection.settle();
    // Nothing is kept of hyper; the socket comes back by the drop of `Io`.
    ended
}
