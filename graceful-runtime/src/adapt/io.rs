//! What the framework reads from and writes to.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::adapter::Adapter;
use super::entry::ServerEntry;
use super::offers::Offer;
use super::origin;
use crate::lifecycle::registry::Member;
use crate::lifecycle::server::Activity;
use crate::model::stage::Stage;
use crate::net::stream::{Peer, Stream};
use crate::serve::beginning::Beginning;
use crate::serve::close::{close, may_close_at_once};
use crate::serve::connection::Connection;
use crate::serve::first_bytes::{HTTP2_PREFACE, Preface, has_unread, preface};
use crate::serve::followed::Followed;
use crate::serve::leaving::{Due, Leaving};
use crate::serve::passage::depart;
use crate::serve::transport::Transport;

/// The first byte of a TLS connection: a record that holds a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// A connection of the adapted [`Listener`](super::Listener).
///
/// In the drain it reads an end of file where the connection has nothing in flight and its time is
/// over. It closes itself when it is dropped, so that the last response arrives.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use tokio::io::AsyncReadExt;
///
/// let listener = graceful::bind("127.0.0.1:3000").await?;
/// let (mut listener, layer, shutdown) = graceful::adapt(listener);
/// let mut connection = listener.accept().await;
/// let first = connection.read_u8().await?;
/// # Ok(()) }
/// ```
pub struct Io {
    pub(super) io: Followed,
    connection: Arc<Connection>,
    /// Its place among the connections, until it has been moved or closed.
    member: Option<Member<Connection>>,
    adapter: Arc<Adapter>,
    entry: Arc<ServerEntry>,
    /// As long as the framework must not be told because of this connection.
    undecided: Option<Member<()>>,
    sniffed: Sniffed,
    /// When the first byte of a request head came that is not complete.
    began: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Where it is HTTP/2.
    leaving: Leaving,
    /// How many of its streams of HTTP/2 the adapter knows of.
    streams: usize,
}

/// What the first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sniffed {
    /// This many bytes have come, and all of them belong to HTTP/2's preface.
    Unknown(usize),
    Http1,
    Http2,
    Tls,
}

impl Sniffed {
    fn after(self, bytes: &[u8]) -> Self {
        match (self, bytes) {
            (Self::Unknown(0), [TLS_HANDSHAKE, ..]) => Self::Tls,
            (Self::Unknown(seen), bytes) => match preface(seen, bytes) {
                Preface::Part(seen) => Self::Unknown(seen),
                Preface::Whole => Self::Http2,
                Preface::Other => Self::Http1,
            },
            (known, _) => known,
        }
    }
}

impl Io {
    /// `read` is what somebody else has read of it.
    pub(super) fn new(
        stream: Stream,
        read: Bytes,
        connection: Member<Connection>,
        adapter: Arc<Adapter>,
        entry: Arc<ServerEntry>,
    ) -> Self {
        connection.may_become_http1();
        Self {
            io: Followed::new(Transport::new(stream, read, Arc::clone(&connection))),
            undecided: Some(adapter.undecided.enter(())),
            connection: Arc::clone(&connection),
            member: Some(connection),
            adapter,
            entry,
            sniffed: Sniffed::Unknown(0),
            began: None,
            timer: None,
            leaving: Leaving::default(),
            streams: 0,
        }
    }

    /// Returns who is at the other end; `None` on a UNIX socket.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// let (mut listener, layer, shutdown) = graceful::adapt(listener);
    /// println!("{:?} is here", listener.accept().await.peer_addr());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self.connection().peer() {
            Peer::Tcp(address) => Some(address),
            Peer::Unix | Peer::Unknown => None,
        }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn note_read(&mut self, bytes: &[u8]) {
        self.timer = None;
        if let Sniffed::Unknown(seen) = self.sniffed {
            self.sniffed = self.sniffed.after(bytes);
            if self.sniffed == Sniffed::Http2 {
                self.io.follow(0);
                self.io.note_read(&bytes[HTTP2_PREFACE.len() - seen..]);
            }
        }
        match self.sniffed {
            Sniffed::Http2 if self.undecided.take().is_some() => self.connection().becomes_http2(),
            Sniffed::Tls => self.connection().becomes_opaque(),
            // Which requests come on it is not known, so neither is where they end.
            Sniffed::Http1 if self.adapter.strays.has_http1() => {
                self.connection().becomes_opaque();
            }
            _ => {}
        }
        if self.connection().has_reached(Stage::Draining) && self.began.is_none() {
            self.began = Some(Instant::now());
        }
    }

    fn note_streams(&mut self) {
        let streams = self.connection().open_streams().unwrap_or(0);
        if streams != self.streams {
            let tunnels = &self.adapter.tunnels;
            tunnels.note_streams(self.streams, streams);
            self.streams = streams;
        }
    }

    /// Gives the connection to the successor, if that is to have it and nothing of it is with the framework, for which it is at
    /// its end.
    fn leave(&mut self) -> bool {
        let connection = &self.connection;
        let may_leave = connection.has_reached(Stage::Draining)
            && matches!(self.sniffed, Sniffed::Unknown(0) | Sniffed::Http1)
            && self.io.get_ref().is_some_and(Stream::is_bare)
            && !connection.is_busy()
            && !connection.has_begun();
        let (true, Some(index)) = (may_leave, connection.destination()) else {
            return false;
        };
        let (Some(stream), Some(member)) = (self.io.take(), self.member.take()) else {
            return false;
        };
        let (adapter, undecided) = (Arc::clone(&self.adapter), self.undecided.take());
        let entry = Arc::clone(&self.entry);
        tokio::spawn(async move {
            let nothing = Beginning::default();
            if let Some((stream, _)) = depart(stream, nothing, index, &member).await {
                adapter.offers.add(Offer {
                    stream,
                    read: Bytes::new(),
                    connection: member,
                });
            }
            drop((undecided, entry));
        });
        true
    }

    /// Tells whether the framework has no part in the connection any more.
    fn has_left(&self) -> bool {
        self.member.is_none()
    }

    /// Ready when something is due although the peer has not asked for it.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let Some((limit, due)) = self.next() else {
                self.timer = None;
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(limit)));
            if timer.deadline() != limit {
                timer.as_mut().reset(limit);
            }
            ready!(timer.as_mut().poll(cx));
            if self.sniffed == Sniffed::Tls && self.undecided.take().is_some() {
                // The framework ends it, and properly, when it is told.
                continue;
            }
            if due == Due::Answer {
                self.connection().presume_answer();
                return Poll::Ready(due);
            }
            let has_unread = self.io.get_ref().is_some_and(has_unread);
            if has_unread && self.sniffed != Sniffed::Http2 {
                // The runtime has not heard of it yet, and will; of HTTP/2 nobody reads it any more.
                return Poll::Pending;
            }
            if self.connection().activity() == Activity::HalfRequest {
                self.connection().note_timed_out();
            }
            return Poll::Ready(due);
        }
    }

    /// Ready when the connection is to end although its peer does not read what is written; the task is woken then.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sniffed != Sniffed::Http2 || !self.connection().has_reached(Stage::Draining) {
            return Poll::Pending;
        }
        self.connection().remember(cx.waker());
        while ready!(self.poll_due(cx)) != Due::End {}
        Poll::Ready(())
    }

    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Followed>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.has_left() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        origin::touch(self.connection());
        let written = write(Pin::new(&mut self.io), cx);
        self.note_streams();
        if written.is_pending() {
            ready!(self.poll_stuck(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }

    /// Returns what is due next, and when; `None` where nothing is.
    fn next(&mut self) -> Option<(Instant, Due)> {
        if self.sniffed == Sniffed::Http2 {
            self.connection.drain_began()?;
            let told = *self.adapter.told.get()?;
            return self.leaving.next(&self.connection, told);
        }
        self.limit().map(|limit| (limit, Due::End))
    }

    /// Returns until when a connection of anything else may go on; `None` where nothing limits it now.
    fn limit(&self) -> Option<Instant> {
        let connection = self.connection();
        let drain = connection.drain_began()?;
        if connection.is_busy() || connection.is_upgraded() {
            return None;
        }
        let is_http1 = matches!(self.sniffed, Sniffed::Unknown(_) | Sniffed::Http1);
        match &self.undecided {
            Some(_) if is_http1 && connection.has_begun() => {
                let begun = self.began.map_or(drain, |began| began.max(drain));
                let begun = begun.max(self.adapter.strays.ended()?);
                let limit = self.adapter.shared.policy.head_end(begun);
                // Where it may as well be idle, it has at least the time that it would have then.
                Some(match connection.follows_requests() {
                    true => limit,
                    false => limit.max(connection.grace_end()),
                })
            }
            Some(_) => Some(connection.grace_end()),
            None => {
                let told = *self.adapter.told.get()?;
                let quiet = connection.grace_end().max(self.adapter.strays.ended()?);
                Some(told.max(quiet) + self.adapter.shared.policy.goaway_limit())
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.has_left() {
            return Poll::Ready(Ok(()));
        }
        origin::touch(this.connection());
        loop {
            let before = buffer.filled().len();
            if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, buffer) {
                this.note_read(&buffer.filled()[before..]);
                this.note_streams();
                return Poll::Ready(read);
            }
            if this.connection().is_upgraded() {
                this.undecided = None;
                return Poll::Pending;
            }
            // So that the drain finds the task, before the look at whether there is one.
            this.connection().remember(cx.waker());
            if !this.connection().is_busy() {
                this.connection().settle();
            }
            if this.leave() {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.poll_due(cx)) {
                // It is read.
                Due::Answer => {}
                // No byte is an end of file.
                Due::End => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |io, cx| io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |io, cx| io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_left() {
            return Poll::Ready(Ok(()));
        }
        self.write(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_left() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.adapter.tunnels.note_streams(self.streams, 0);
        let (Some(stream), Some(connection)) = (self.io.take(), self.member.take()) else {
            return;
        };
        connection.note_closing();
        connection.settle();
        if may_close_at_once(&stream, &connection) {
            return;
        }
        // Without a runtime, nobody waits any more.
        if let Ok(runtime) = Handle::try_current() {
            let entry = Arc::clone(&self.entry);
            runtime.spawn(async move {
                close(stream, &connection).await;
                drop(connection);
                drop(entry);
            });
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("protocol", &self.sniffed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Sniffed::{self, Http1, Http2, Tls, Unknown};
    use crate::serve::first_bytes::HTTP2_PREFACE;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (bytes, expected) in [
            ("", Unknown(0)),
            ("P", Unknown(1)),
            ("PO", Http1),
            ("GET / HTTP/1.1", Http1),
            ("\r\n", Http1),
            ("PRI * HTTP/2.0\r\n\r\n", Unknown(18)),
            ("\u{16}\u{3}\u{1}", Tls),
        ] {
            assert_eq!(Unknown(0).after(bytes.as_bytes()), expected, "{bytes:?}");
        }
        for cut in 0..=HTTP2_PREFACE.len() {
            let (first, second) = HTTP2_PREFACE.split_at(cut);
            let sniffed: Sniffed = Unknown(0).after(first).after(second).after(b"frames");
            assert_eq!(sniffed, Http2, "cut at {cut}");
        }
    }
}
