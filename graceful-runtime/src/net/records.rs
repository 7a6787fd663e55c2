//! Whether a TLS connection is in the middle of a record, which rustls does not tell.
//!
//! rustls keeps the beginning of a record until the rest has come, so neither the kernel nor HTTP has it: the
//! connection looks idle, although its peer has begun to send a request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket that follows the records which come on it.
#[derive(Debug)]
pub(crate) struct Recorded<S> {
    pub(super) stream: S,
    records: Records,
}

impl<S> Recorded<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            records: Records::default(),
        }
    }

    /// Tells whether a part of a record has come.
    pub(super) fn is_within_record(&self) -> bool {
        self.records != Records::default()
    }
}

/// A place in a stream of records: each has a type, a version and a length before its data (RFC 8446,
/// section 5.1, and RFC 5246, section 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Records {
    /// How many bytes of the header have come.
    header: usize,
    /// The last two bytes of it.
    length: [u8; 2],
    /// How many bytes of the data have come.
    data: usize,
}

impl Records {
    const HEADER: usize = 5;

    fn feed(&mut self, mut bytes: &[u8]) {
        while let [byte, rest @ ..] = bytes {
            if self.header < Self::HEADER {
                self.header += 1;
                self.length = [self.length[1], *byte];
                bytes = rest;
            } else {
                let left = usize::from(u16::from_be_bytes(self.length)) - self.data;
                let count = left.min(bytes.len());
                self.data += count;
                bytes = &bytes[count..];
            }
            if self.header == Self::HEADER
                && self.data == usize::from(u16::from_be_bytes(self.length))
            {
                *self = Self::default();
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.records.feed(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Records;

    #[test]
    fn every_cut_but_those_between_records_is_within_one() {
        let record = |length: u16| {
            let [high, low] = length.to_be_bytes();
            let data = vec![0xff; usize::from(length)];
            [&[23, 3, 3, high, low], &*data].concat()
        };
        let lengths = [1, 0, 2, 300, 16_640];
        let stream = lengths.map(record).concat();
        let mut ends = vec![0];
        for length in lengths {
            ends.push(ends[ends.len() - 1] + Records::HEADER + usize::from(length));
        }
        let mut byte_by_byte = Records::default();
        for cut in 0..=stream.len() {
            let mut records = Records::default();
            let (begin, end) = stream.split_at(cut);
            records.feed(begin);
            assert_eq!(
                records == Records::default(),
                ends.contains(&cut),
                "cut at {cut}"
            );
            assert_eq!(records, byte_by_byte, "cut at {cut}");
            records.feed(end);
            assert_eq!(records, Records::default(), "cut at {cut}");
            byte_by_byte.feed(&end[..end.len().min(1)]);
        }
    }
}
