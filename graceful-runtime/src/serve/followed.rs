//! A connection whose frames are followed, where it is HTTP/2.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::PingAnswer;
use super::frames::Frames;
use super::taking::Taking;
use super::transport::Transport;
#[cfg(feature = "adapt")]
use crate::net::stream::Stream;

/// What hyper reads and writes where it is, or may be, HTTP/2.
#[derive(Debug)]
pub(crate) struct Followed {
    io: Transport,
    frames: Option<Box<Frames>>,
    /// How many bytes have been sent.
    sent: u64,
    /// Where the last frame of a response ends among them.
    response: u64,
    /// Where the PING behind the GOAWAY does.
    ping: Option<u64>,
    taking: Taking,
    /// It has been looked what the client has taken, since it is to learn of the end.
    has_looked: bool,
    /// What is left of an answer that hyper is to read before anything else.
    answer: Bytes,
}

impl Followed {
    pub(crate) fn new(io: Transport) -> Self {
        Self {
            io,
            frames: None,
            sent: 0,
            response: 0,
            ping: None,
            taking: Taking::default(),
            has_looked: false,
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
            let was_asked = frames.asks();
            frames.receive(bytes);
            let has_answered = was_asked && !frames.asks();
            if has_answered && self.ping.is_some_and(|ping| self.response <= ping) {
                // It has read everything that was before the PING.
                self.io.connection().http2().note_reading(false);
            }
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
            connection.note_partial(frames.has_half_request());
            connection.note_given_up(frames.take_given_up());
            if frames.take_goes_on() {
                connection.http2().note_progress();
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
        self.sent += count as u64;
        if frames.asks() && !was_asked {
            self.ping = Some(self.sent);
        }
        let connection = self.io.connection();
        if frames.take_responded() {
            self.response = self.sent;
            connection.http2().note_reading(true);
        }
        connection
            .http2()
            .note_behind_response((self.sent - self.response) as usize);
        self.note_frames();
    }

    /// Looks how much the client has taken, where it is to be told of the end of the connection.
    fn look<T>(&mut self, polled: &Poll<T>) {
        if polled.is_pending()
            && self.frames.is_some()
            && self.io.connection().leaves_since().is_some()
        {
            self.look_at_client();
        }
    }

    #[cold]
    fn look_at_client(&mut self) {
        let (Some(stream), connection) = (self.io.get_ref(), self.io.connection()) else {
            return;
        };
        if self.taking.look(self.sent, stream, connection) {
            connection.http2().note_progress();
        }
        let is_first = !mem::replace(&mut self.has_looked, true);
        if is_first && !connection.is_untaken() {
            // The responses before the GOAWAY have arrived.
            connection.http2().note_reading(false);
        }
        if self.ping.is_some_and(|ping| self.taking.has(ping)) {
            connection.http2().note_asked();
        }
    }

    /// Has hyper read the answer to its PING that the client owes, if that is due; tells whether it has.
    fn read_answer(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(frames) = &mut self.frames else {
            return false;
        };
        if self.io.connection().http2().answer() == PingAnswer::Presumed
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
