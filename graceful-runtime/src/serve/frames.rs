//! Which streams of an HTTP/2 connection are open, known from the frames that pass by.
//!
//! hyper tells neither when the last byte of a response is written, nor when a stream that was upgraded ends, nor
//! whether the client has learnt of the end of the connection. So both directions are followed from frame to frame
//! (RFC 9113, section 4.1). Nothing is looked at but their heads, and the payloads of PING and GOAWAY.
//!
//! 1. A stream is open from the end of its header block on until the server's side of it ends, or either side resets it. What is
//!    sent counts when the socket has taken the whole frame. From then on it is half-closed, until the client ends its
//!    side, too, or somebody resets it.
//! 2. A server leaves by a GOAWAY that takes back nothing, with a PING behind it; when that is answered, by a second
//!    GOAWAY with the last stream (section 6.8). For a client that does not answer in its time, the answer is made
//!    here ([`Frames::answer`]), and the connection ends as if it had.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

#[cfg(test)]
mod tests;

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// How much of a payload is ever looked at.
const PAYLOAD: usize = 8;
/// The stream of a GOAWAY that takes back nothing.
const ALL: u32 = u32::MAX >> 1;

/// A frame with a payload of eight bytes: PING, or a GOAWAY that says nothing more.
pub(super) type Short = [u8; HEAD + PAYLOAD];

/// What is known of the streams on an HTTP/2 connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    received: Direction,
    sent: Direction,
    open: BTreeMap<u32, Client>,
    /// The streams on which only the client may go on.
    half_closed: BTreeSet<u32>,
    /// Something has come on one of those, that nobody has taken note of.
    goes_on: bool,
    /// A frame of a response has been sent, that nobody has taken note of.
    has_responded: bool,
    /// How many of them the client has given up on or has broken, that nobody has taken note of.
    given_up: usize,
    /// The highest stream that the client has opened.
    last: u32,
    leave: Leave,
}

/// Whether a client may send more on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Sends,
    HasEnded,
}

/// How far the server has come in saying that it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leave {
    #[default]
    Stays,
    /// The client is to open no more streams.
    Announced,
    /// It has been asked whether it knows.
    Asked([u8; PAYLOAD]),
    /// It does, or is taken to.
    Answered,
    /// Streams behind this one are not looked at.
    Said(u32),
    /// The client sends no more.
    Gone,
}

impl Frames {
    /// Follows a connection of which so many bytes of the preface are still to be received.
    pub(super) fn behind_preface(left: usize) -> Self {
        let mut frames = Self::default();
        frames.received.skip = left;
        frames
    }

    /// Takes what the server is about to see.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.received.next(&mut bytes) {
            match frame.kind {
                HEADERS | DATA => self.comes(frame),
                RST_STREAM => {
                    self.given_up += usize::from(self.open.remove(&frame.stream).is_some());
                    self.half_closed.remove(&frame.stream);
                }
                PING if frame.has(ACK) && self.leave == Leave::Asked(frame.payload) => {
                    self.leave = Leave::Answered;
                }
                _ => {}
            }
        }
    }

    /// Takes that the client sends no more, which is the end of all streams.
    pub(super) fn receive_end(&mut self) {
        self.leave = Leave::Gone;
        self.given_up += mem::take(&mut self.open).len();
        self.half_closed.clear();
    }

    /// Returns how many streams the client has given up on, or has broken, since the last call.
    pub(super) fn take_given_up(&mut self) -> usize {
        mem::take(&mut self.given_up)
    }

    fn comes(&mut self, frame: Frame) {
        if frame.kind == HEADERS {
            self.opened(frame.stream);
        }
        self.goes_on |= self.half_closed.contains(&frame.stream);
        if frame.has(END_STREAM) {
            self.half_closed.remove(&frame.stream);
            if let Some(client) = self.open.get_mut(&frame.stream) {
                *client = Client::HasEnded;
            }
        }
    }

    fn opened(&mut self, stream: u32) {
        // An even one is an error, and a lower one has been seen: these are trailers.
        if stream.is_multiple_of(2) || stream <= self.last {
            return;
        }
        self.last = stream;
        if !matches!(self.leave, Leave::Said(last) if stream > last) {
            self.open.insert(stream, Client::Sends);
        }
    }

    /// The server has ended its side of `stream`.
    fn ends(&mut self, stream: u32) {
        if self.open.remove(&stream) == Some(Client::Sends) {
            self.half_closed.insert(stream);
        }
    }

    /// Takes what the socket has taken.
    pub(super) fn send(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.sent.next(&mut bytes) {
            self.has_responded |= matches!(frame.kind, DATA | HEADERS);
            match (frame.kind, self.leave) {
                (DATA | HEADERS, _) if frame.has(END_STREAM) => self.ends(frame.stream),
                (RST_STREAM, _) => {
                    let [a, b, c, d, ..] = frame.payload;
                    let is_open = self.open.remove(&frame.stream).is_some();
                    let is_broken = is_fault_of_client(u32::from_be_bytes([a, b, c, d]));
                    self.given_up += usize::from(is_open && is_broken);
                    self.half_closed.remove(&frame.stream);
                }
                (PING, Leave::Announced) if !frame.has(ACK) => {
                    self.leave = Leave::Asked(frame.payload);
                }
                (GOAWAY, _) => self.leaves(frame.payload),
                _ => {}
            }
        }
    }

    fn leaves(&mut self, payload: [u8; PAYLOAD]) {
        let [a, b, c, d, error @ ..] = payload;
        let last = u32::from_be_bytes([a, b, c, d]) & ALL;
        let error = u32::from_be_bytes(error);
        if error != 0 {
            // Nothing comes of any stream any more.
            self.given_up += mem::take(&mut self.open).len();
            self.half_closed.clear();
        }
        self.leave = match (last, error) {
            (ALL, 0) => Leave::Announced,
            _ => Leave::Said(last),
        };
        if let Leave::Said(last) = self.leave {
            self.open.retain(|stream, _| *stream <= last);
        }
    }

    /// Returns on how many streams the server has ended, and the client has not.
    pub(super) fn half_closed(&self) -> usize {
        self.half_closed.len()
    }

    /// Tells whether a frame of a response has been sent since the last call.
    pub(super) fn take_responded(&mut self) -> bool {
        mem::take(&mut self.has_responded)
    }

    /// Tells whether something has come on those since the last call.
    pub(super) fn take_goes_on(&mut self) -> bool {
        mem::take(&mut self.goes_on)
    }

    /// Tells whether a request has begun to come.
    pub(super) fn has_half_request(&self) -> bool {
        self.received.is_within_block()
    }

    /// Returns how many streams the server owes something on.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Tells whether the client has been asked whether it knows of the end, and has not answered.
    pub(super) fn asks(&self) -> bool {
        matches!(self.leave, Leave::Asked(_))
    }

    /// Returns the answer to the PING behind the first GOAWAY, for the server to receive instead of the client's,
    /// where it waits for that and a frame may come now.
    pub(super) fn answer(&mut self) -> Option<Short> {
        let Leave::Asked(payload) = self.leave else {
            return None;
        };
        if !self.received.is_between_frames() {
            return None;
        }
        self.leave = Leave::Answered;
        Some(short(PING, ACK, payload))
    }

    /// Returns the GOAWAY with the last stream that the server has seen, where nobody has sent one, the client may read
    /// it, and a frame may be sent now.
    pub(super) fn goaway(&self) -> Option<Short> {
        if matches!(self.leave, Leave::Said(_) | Leave::Gone) || !self.sent.is_between_frames() {
            return None;
        }
        let [a, b, c, d] = self.last.to_be_bytes();
        Some(short(GOAWAY, 0, [a, b, c, d, 0, 0, 0, 0]))
    }
}

/// Tells whether a stream ends by this error because of what the client has sent on it (RFC 9113, section 7): a protocol,
/// flow control or frame size error, a closed stream, or too much.
fn is_fault_of_client(error: u32) -> bool {
    matches!(error, 1 | 3 | 5 | 6 | 11)
}

fn short(kind: u8, flags: u8, payload: [u8; PAYLOAD]) -> Short {
    let mut frame = [0; HEAD + PAYLOAD];
    frame[2] = PAYLOAD as u8;
    frame[3] = kind;
    frame[4] = flags;
    frame[HEAD..].copy_from_slice(&payload);
    frame
}

/// The frames that go one way.
#[derive(Debug, Default)]
struct Direction {
    /// How many bytes come before the next head.
    skip: usize,
    /// The head of the frame that has begun, and the first bytes of its payload.
    begin: [u8; HEAD + PAYLOAD],
    /// How many bytes of the frame have come.
    seen: usize,
    /// The HEADERS of a block that goes on. Its frames must have no other ones in between (RFC 9113, section 4.3), and
    /// it means nothing before it is whole.
    block: Option<Frame>,
}

impl Direction {
    /// Takes bytes up to the end of a frame, which is returned; `None` where they end before. The frames of a header
    /// block are one.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next_single(bytes)?;
            match frame.kind {
                HEADERS if !frame.has(END_HEADERS) => self.block = Some(frame),
                CONTINUATION if !frame.has(END_HEADERS) => {}
                CONTINUATION if self.block.is_some() => return self.block.take(),
                _ => return Some(frame),
            }
        }
    }

    fn next_single(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = self.skip.min(bytes.len());
        *bytes = &bytes[skipped..];
        self.skip -= skipped;
        loop {
            let end = match self.seen {
                ..HEAD => HEAD,
                _ => HEAD + self.length(),
            };
            if self.seen == end {
                return Some(self.take());
            }
            if bytes.is_empty() {
                return None;
            }
            let (taken, rest) = bytes.split_at(bytes.len().min(end - self.seen));
            if let Some(begin) = self.begin.get_mut(self.seen..) {
                let kept = taken.len().min(begin.len());
                begin[..kept].copy_from_slice(&taken[..kept]);
            }
            self.seen += taken.len();
            *bytes = rest;
        }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.begin;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn take(&mut self) -> Frame {
        let [_, _, _, kind, flags, a, b, c, d, payload @ ..] = self.begin;
        let frame = Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]) & ALL,
            payload,
        };
        self.seen = 0;
        frame
    }

    fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.seen == 0 && self.block.is_none()
    }

    /// Tells whether a part of a header block has come.
    fn is_within_block(&self) -> bool {
        self.block.is_some() || (self.seen > 3 && self.begin[3] == HEADERS)
    }
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: [u8; PAYLOAD],
}

impl Frame {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
