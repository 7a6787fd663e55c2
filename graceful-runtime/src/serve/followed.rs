//! A connection whose frames are followed, where it is HTTP/2.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Answer;
use super::frames::Frames;
use super::stream::{Io, Stream};

/// What hyper reads and writes where it is, or may be, HTTP/2.
#[derive(Debug)]
pub(crate) struct Followed {
    io: Io,
    frames: Option<Box<Frames>>,
    /// How far the client is behind what was sent, in a drain.
    arrivals: Arrivals,
    /// What is left of an answer that hyper is to read before anything else.
    answer: Bytes,
}

/// How much of what was sent the client has.
///
/// Counted in bytes above TLS, which is less than what is on its way, by less than a hundredth.
#[derive(Debug, Default)]
struct Arrivals {
    sent: u64,
    /// Where the PING behind the GOAWAY ends, while it is on its way.
    ping: Option<u64>,
    unacknowledged: u64,
}

/// What has arrived between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrived {
    is_some: bool,
    /// The PING has, and everything before it.
    is_ping: bool,
}

impl Arrivals {
    fn look(&mut self, unacknowledged: u64) -> Arrived {
        let before = mem::replace(&mut self.unacknowledged, unacknowledged);
        let count = self.sent.saturating_sub(unacknowledged);
        let is_ping = self
            .ping
            .is_some_and(|end| unacknowledged == 0 || count >= end);
        if is_ping {
            self.ping = None;
        }
        Arrived {
            is_some: unacknowledged < before,
            is_ping,
        }
    }
}

impl Followed {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            frames: None,
            arrivals: Arrivals::default(),
            answer: Bytes::new(),
        }
    }

    /// Begins to follow the frames, behind so many bytes that are still to be read of the preface. What has been sent
    /// before, if anything, were whole frames.
    pub(crate) fn follow(&mut self, preface: usize) {
        self.frames = Some(Box::new(Frames::behind_preface(preface)));
        self.io.connection().note_streams(0, 0);
    }

    /// Notes bytes of frames that are read.
    pub(crate) fn note_read(&mut self, bytes: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.receive(bytes);
            self.note_frames();
        }
    }

    /// Notes that the client has gone, in whatever way.
    #[cold]
    fn note_end(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.receive_end();
            self.note_frames();
        }
    }

    fn note_frames(&mut self) {
        if let Some(frames) = &mut self.frames {
            let connection = self.io.connection();
            connection.note_streams(frames.open(), frames.half_closed());
            connection.note_begin(frames.has_half_request());
            connection.note_given_up(frames.take_given_up());
            if frames.take_goes_on() {
                connection.note_progress();
            }
        }
    }

    fn note_written(&mut self, count: usize, slices: &[IoSlice<'_>]) {
        let Some(frames) = &mut self.frames else {
            return;
        };
        let was_asked = frames.asks();
        let mut left = count;
        for slice in slices {
            let (taken, _) = slice.split_at(left.min(slice.len()));
            frames.send(taken);
            left -= taken.len();
        }
        self.arrivals.sent += count as u64;
        if frames.asks() && !was_asked {
            self.arrivals.ping = Some(self.arrivals.sent);
        }
        self.note_frames();
    }

    /// Looks how much the client has taken, where it is to be told of the end of the connection.
    fn look<T>(&mut self, polled: &Poll<T>) {
        if polled.is_pending() && self.frames.is_some() && self.io.connection().drain().is_some() {
            self.look_in_drain();
        }
    }

    #[cold]
    fn look_in_drain(&mut self) {
        // What cannot be known counts as taken.
        let unacknowledged = self.io.get_ref().and_then(Stream::unacknowledged);
        let unacknowledged = unacknowledged.unwrap_or(0);
        let connection = self.io.connection();
        connection.note_unread_by_client(unacknowledged > 0);
        let arrived = self.arrivals.look(unacknowledged as u64);
        if arrived.is_some {
            connection.note_progress();
        }
        if arrived.is_ping {
            connection.note_asked();
        }
    }

    /// Has hyper read the answer to its PING that the client owes, if that is due; tells whether it has.
    fn read_answer(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(frames) = &mut self.frames else {
            return false;
        };
        if self.io.connection().answer() == Answer::Presumed
            && let Some(answer) = frames.answer()
        {
            self.answer = Bytes::copy_from_slice(&answer);
        }
        let length = self.answer.len().min(buffer.remaining());
        buffer.put_slice(&self.answer.split_to(length));
        length > 0
    }

    /// Tells an HTTP/2 client which of its streams have been looked at, if nobody has, and if that can be written now.
    fn say_goodbye(&mut self) {
        let goaway = self.frames.as_ref().and_then(|frames| frames.goaway());
        if let Some(goaway) = goaway {
            self.frames = None;
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.io).poll_write(&mut cx, &goaway);
        }
    }

    #[cfg(feature = "adapt")]
    pub(crate) fn get_ref(&self) -> Option<&Stream> {
        self.io.get_ref()
    }

    /// Takes the socket, for one who closes it.
    #[cfg(feature = "adapt")]
    pub(crate) fn take(&mut self) -> Option<Stream> {
        self.say_goodbye();
        self.io.take()
    }
}

impl AsyncRead for Followed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_answer(buffer) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.look(&polled);
        ready!(polled).inspect_err(|_| self.note_end())?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        match is_end {
            true => self.note_end(),
            false => self.note_read(&buffer.filled()[before..]),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Followed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.look(&polled);
        let count = ready!(polled).inspect_err(|_| self.note_end())?;
        self.note_written(count, &[IoSlice::new(bytes)]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.look(&polled);
        let count = ready!(polled).inspect_err(|_| self.note_end())?;
        self.note_written(count, slices);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.look(&polled);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Arrived};

    #[test]
    fn the_ping_has_arrived_when_everything_before_it_has() {
        let mut arrivals = Arrivals {
            sent: 1000,
            ..Arrivals::default()
        };
        let mut look = |sent, ping, unacknowledged| {
            arrivals.sent = sent;
            arrivals.ping = arrivals.ping.or(ping);
            let Arrived { is_some, is_ping } = arrivals.look(unacknowledged);
            (is_some, is_ping)
        };
        assert_eq!(look(1000, None, 1000), (false, false));
        assert_eq!(look(1000, Some(900), 1000), (false, false));
        assert_eq!(look(1000, None, 500), (true, false));
        // What is behind it does not count.
        assert_eq!(look(2000, None, 1500), (false, false));
        assert_eq!(look(2000, None, 1101), (true, false));
        assert_eq!(look(2000, None, 1100), (true, true));
        assert_eq!(look(2000, None, 1100), (false, false));
        assert_eq!(look(2000, None, 0), (true, false));
        assert_eq!(look(2017, Some(2017), 0), (false, true));
    }
}
