//! A connection whose frames are followed, where it is HTTP/2.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::stream::Io;
#[cfg(feature = "adapt")]
use super::stream::Stream;

/// What hyper reads and writes where it is, or may be, HTTP/2.
#[derive(Debug)]
pub(crate) struct Followed {
    io: Io,
    frames: Option<Box<Frames>>,
    /// What is left of an answer that hyper is to read before anything else.
    answer: Bytes,
}

impl Followed {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            frames: None,
            answer: Bytes::new(),
        }
    }

    /// Begins to follow the frames, behind so many bytes that are still to be read of the preface. What has been sent
    /// before, if anything, were whole frames.
    pub(crate) fn follow(&mut self, preface: usize) {
        self.frames = Some(Box::new(Frames::behind_preface(preface)));
        self.io.connection().note_open_streams(0);
    }

    /// Notes bytes of frames that are read.
    pub(crate) fn note_read(&mut self, bytes: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.receive(bytes);
            self.io.connection().note_open_streams(frames.open());
        }
    }

    fn note_written(&mut self, count: usize, slices: &[IoSlice<'_>]) {
        let Some(frames) = &mut self.frames else {
            return;
        };
        let mut left = count;
        for slice in slices {
            let (taken, _) = slice.split_at(left.min(slice.len()));
            frames.send(taken);
            left -= taken.len();
        }
        self.io.connection().note_open_streams(frames.open());
    }

    /// Has hyper read the answer to its PING that the client owes, if that is due; tells whether it has.
    fn read_answer(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(frames) = &mut self.frames else {
            return false;
        };
        if self.io.connection().presumes_answer()
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
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        match &mut self.frames {
            Some(frames) if is_end => frames.receive_end(),
            _ => self.note_read(&buffer.filled()[before..]),
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
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.note_written(count, &[IoSlice::new(bytes)]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        self.note_written(count, slices);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
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
