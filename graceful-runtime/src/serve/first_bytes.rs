//! Where a connection waits for a request: the one place for it.

use std::future::poll_fn;
use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::beginning::Beginning;
use super::connection::Connection;
use super::limits::HEAD_LIMIT;
use crate::model::stage::Stage;
use crate::net::stream::Stream;
use crate::timer::Timer;

/// The first bytes of HTTP/2 (RFC 9113, section 3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many bytes are read at once: most request heads, whole.
const READ_MAX: usize = 8 << 10;

/// How far the first bytes of a connection are those of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preface {
    /// So many of them have come, and nothing else.
    Part(usize),
    Whole,
    /// They are not.
    Other,
}

/// Tells what a connection begins with, of which `seen` bytes of HTTP/2's preface have come and then `bytes`.
pub(crate) fn preface(seen: usize, bytes: &[u8]) -> Preface {
    let rest = &HTTP2_PREFACE[seen..];
    match bytes.len().min(rest.len()) {
        length if bytes[..length] != rest[..length] => Preface::Other,
        length if length == rest.len() => Preface::Whole,
        length => Preface::Part(seen + length),
    }
}

/// What a connection begins with.
#[derive(Debug)]
pub(super) enum First {
    Http1(Beginning),
    Http2(Bytes),
    /// The successor is to go on, with what has come.
    Leaves(Beginning, u16),
    /// The peer has closed, or has said nothing in its time.
    Nothing,
    /// The peer has said too little in its time.
    TooSlow,
}

/// Waits for the bytes that tell HTTP/1 from HTTP/2, as long as the connection may wait; `beginning` has come before.
///
/// Once it has spoken HTTP/1, there is nothing to tell any more.
pub(super) async fn first_bytes(
    stream: &mut Stream,
    beginning: Beginning,
    is_http1: bool,
    connection: &Connection,
) -> First {
    let mut first = FirstBytes {
        bytes: beginning.bytes,
        is_http1,
        patience: HeadPatience::since(beginning.begun),
    };
    let first = poll_fn(|cx| first.poll(cx, stream, connection)).await;
    connection.note_partial(false);
    first
}

struct FirstBytes {
    /// What has come, unless it is a whole preface or anything of HTTP/1.
    bytes: Vec<u8>,
    is_http1: bool,
    patience: HeadPatience,
}

impl FirstBytes {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        connection: &Connection,
    ) -> Poll<First> {
        loop {
            // Before a read, so that who goes on asking does not stay; and before a look at what has come, which would
            // go back to hyper, from which it has been taken to leave.
            if let Some(index) = destination(stream, connection) {
                return Poll::Ready(First::Leaves(self.take(), index));
            }
            if let Some(first) = self.tell() {
                return Poll::Ready(first);
            }
            while let Poll::Ready(read) = self.poll_read(cx, stream) {
                if !matches!(read, Ok(1..)) {
                    return Poll::Ready(First::Nothing);
                }
                if let Some(first) = self.tell() {
                    return Poll::Ready(first);
                }
            }
            // TLS may have the beginning of a request in a record that is not complete.
            let has_begun = self.has_begun() || stream.holds_back();
            connection.note_partial(has_begun);
            match has_begun {
                true => self.patience.begin(),
                false => self.patience.began = None,
            }
            ready!(self.patience.poll(cx, connection));
            // The drain may have begun in another thread, after the look at the top.
            if destination(stream, connection).is_some() {
                continue;
            }
            if self.has_begun() {
                return Poll::Ready(First::TooSlow);
            }
            if !self.patience.take_last_look(stream) {
                return Poll::Ready(First::Nothing);
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        // On the stack, so that a connection that waits keeps no memory for it.
        let mut buffer = [MaybeUninit::uninit(); READ_MAX];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        self.bytes.extend_from_slice(buffer.filled());
        self.skip_empty_lines();
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Throws away empty lines, which are the beginning of nothing; only HTTP/1 allows them (RFC 9112,
    /// section 2.2).
    fn skip_empty_lines(&mut self) {
        while let Some(length) = self.empty_line() {
            self.bytes.drain(..length);
            self.is_http1 = true;
        }
    }

    fn empty_line(&self) -> Option<usize> {
        match &self.bytes[..] {
            [b'\n', ..] => Some(1),
            [b'\r', b'\n', ..] => Some(2),
            _ => None,
        }
    }

    /// Tells whether something has come but the beginning of an empty line.
    fn has_begun(&self) -> bool {
        !matches!(self.bytes[..], [] | [b'\r'])
    }

    fn tell(&mut self) -> Option<First> {
        if !self.has_begun() {
            return None;
        }
        let preface = match self.is_http1 {
            true => Preface::Other,
            false => preface(0, &self.bytes),
        };
        match preface {
            Preface::Part(_) => None,
            Preface::Whole => Some(First::Http2(mem::take(&mut self.bytes).into())),
            Preface::Other => Some(First::Http1(self.take())),
        }
    }

    fn take(&mut self) -> Beginning {
        Beginning {
            bytes: mem::take(&mut self.bytes),
            begun: self.patience.began,
        }
    }
}

/// How long a connection may take to bring a request head, or a handshake.
#[derive(Default)]
pub(super) struct HeadPatience {
    /// When the first byte came.
    began: Option<Instant>,
    /// Until when to wait for bytes that the kernel has and the runtime has not heard of.
    last_look: Option<Instant>,
    timer: Timer,
}

impl HeadPatience {
    pub(super) fn begun() -> Self {
        Self::since(Some(Instant::now()))
    }

    pub(super) fn since(began: Option<Instant>) -> Self {
        Self {
            began,
            ..Self::default()
        }
    }

    /// Returns when the first byte came, where it has.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// Ready when the time is up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        match self.limit(connection) {
            Some(limit) => self.timer.poll(limit, cx),
            None => Poll::Pending,
        }
    }

    /// Tells whether a connection whose time is up has sent something all the same.
    fn take_last_look(&mut self, stream: &Stream) -> bool {
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
                if !self.take_last_look(stream) {
                    return Poll::Ready(false);
                }
            }
        })
        .await
    }

    fn limit(&self, connection: &Connection) -> Option<Instant> {
        let header_timeout = connection.policy.options.header_timeout;
        // A request may begin in the moment in which the one before it ends.
        let began = self.began.map(|began| began.max(connection.last_active()));
        Some(match (connection.drain_began(), began, self.last_look) {
            (_, _, Some(last_look)) => last_look,
            (None, Some(began), _) => began + header_timeout,
            (None, None, _) => return connection.idle_end(),
            (Some(drain), Some(began), _) => connection.policy.head_end(drain.max(began)),
            (Some(_), None, _) => connection.grace_end(),
        })
    }
}

/// Returns where a connection is to go that waits in a drain.
fn destination(stream: &Stream, connection: &Connection) -> Option<u16> {
    let may_go = stream.is_bare() && connection.has_reached(Stage::Draining);
    may_go.then(|| connection.destination()).flatten()
}

/// Tells whether the kernel holds something that the peer has sent.
pub(crate) fn has_unread(stream: &Stream) -> bool {
    stream
        .socket()
        .is_some_and(|socket| crate::os::sockets::unread(socket).is_ok_and(|count| count > 0))
}
