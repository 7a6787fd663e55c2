//! HTTP/2 frame by frame, because the frames are what a drain is made of.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use crate::{Address, Connection, SOON, Server};

/// The first bytes of a client.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The client's side of an HTTP/2 connection, which answers SETTINGS by itself and nothing else.
#[derive(Debug)]
pub struct Http2 {
    connection: Connection,
}

/// What a server sends, as far as a drain is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The head of a response.
    Headers {
        /// The stream it belongs to.
        stream: u32,
        /// The status, where it is one of the few with a name in the static table.
        status: Option<u16>,
    },
    /// A piece of a response.
    Data {
        /// The stream it belongs to.
        stream: u32,
        /// Whether it is the last piece.
        end: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The server gave up on a stream.
    Reset {
        /// The stream it belongs to.
        stream: u32,
    },
    /// A PING that wants an answer.
    Ping(Vec<u8>),
    /// No streams beyond `last` are looked at.
    GoAway {
        /// The last stream that is.
        last: u32,
        /// Why; 0 is "no error".
        error: u32,
    },
    /// Anything else.
    Other(u8),
}

impl Frame {
    fn ends(&self, stream: u32) -> bool {
        matches!(self, Self::Data { stream: of, end: true, .. } if *of == stream)
    }
}

impl Http2 {
    /// Begins to speak HTTP/2, by prior knowledge or after ALPN.
    #[track_caller]
    pub fn over(mut connection: Connection) -> Self {
        connection.send(PREFACE);
        let mut http2 = Self { connection };
        http2.send(SETTINGS, 0, 0, &[]);
        http2
    }

    /// Sends a GET request on `stream`, an odd number that grows.
    #[track_caller]
    pub fn get(&mut self, stream: u32, path: &str) {
        let sent = self.try_get(stream, path);
        sent.expect("the connection takes what is sent");
    }

    /// Sends a HEAD request on `stream`.
    #[track_caller]
    pub fn head(&mut self, stream: u32, path: &str) {
        // A literal `:method`.
        let sent = self.try_ask(stream, END_HEADERS | END_STREAM, b"\x02\x04HEAD", path);
        sent.expect("the connection takes what is sent");
    }

    /// Sends the beginning of the head of a GET request on `stream`, which says that more comes.
    #[track_caller]
    pub fn half_head(&mut self, stream: u32, path: &str) {
        let sent = self.try_ask(stream, END_STREAM, &[0x82], path);
        sent.expect("the connection takes what is sent");
    }

    /// Begins a POST request on `stream`, whose body is to come.
    #[track_caller]
    pub fn upload(&mut self, stream: u32, path: &str) {
        // `:method: POST`.
        let sent = self.try_ask(stream, END_HEADERS, &[0x83], path);
        sent.expect("the connection takes what is sent");
    }

    fn try_get(&mut self, stream: u32, path: &str) -> std::io::Result<()> {
        // `:method: GET`.
        self.try_ask(stream, END_HEADERS | END_STREAM, &[0x82], path)
    }

    fn try_ask(
        &mut self,
        stream: u32,
        flags: u8,
        method: &[u8],
        path: &str,
    ) -> std::io::Result<()> {
        let length = u8::try_from(path.len()).ok().filter(|length| *length < 127);
        // `:scheme: http`, a literal `:authority` and a literal `:path`, as RFC 7541 numbers them.
        let mut block = [method, &[0x86, 0x01, 4], b"test"].concat();
        block.extend_from_slice(&[0x04, length.expect("the paths of tests are short")]);
        block.extend_from_slice(path.as_bytes());
        self.try_send(HEADERS, flags, stream, &block)
    }

    /// Asks for a WebSocket on `stream` (RFC 8441).
    #[track_caller]
    pub fn websocket(&mut self, stream: u32, path: &str) {
        // `:scheme: http`, and the rest literally, as in `get`.
        let mut block = vec![0x86];
        for (name, value) in [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":authority", "test"),
            (":path", path),
            ("sec-websocket-version", "13"),
        ] {
            block.push(0);
            for text in [name, value] {
                let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
                block.push(length.expect("the paths of tests are short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        self.send(HEADERS, END_HEADERS, stream, &block);
    }

    /// Sends a piece of a request, or of what it was upgraded to.
    #[track_caller]
    pub fn data(&mut self, stream: u32, bytes: &[u8], is_end: bool) {
        self.send(DATA, if is_end { END_STREAM } else { 0 }, stream, bytes);
    }

    /// Breaks the protocol, which has no DATA without a stream (RFC 9113, section 6.1).
    #[track_caller]
    pub fn offend(&mut self) {
        self.send(DATA, 0, 0, b"no stream");
    }

    /// Gives up on a stream.
    #[track_caller]
    pub fn reset(&mut self, stream: u32) {
        self.send(RESET, 0, stream, &[0, 0, 0, 8]);
    }

    /// Opens a stream whenever something comes of another one, so that there is always one open, and answers no PING;
    /// returns all frames to the end of the connection.
    #[track_caller]
    pub fn asks_on_and_on(&mut self, first: u32, path: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut next = first;
        self.get(next, path);
        while let Some(frame) = self.next() {
            if matches!(frame, Frame::Headers { .. }) {
                next += 2;
                // Fails where the server has closed, and then there is an end.
                let _ = self.try_get(next, path);
            }
            frames.push(frame);
        }
        frames
    }

    /// Answers a PING.
    #[track_caller]
    pub fn pong(&mut self, payload: &[u8]) {
        self.send(PING, ACK, 0, payload);
    }

    /// Makes room for `count` more bytes of the response on `stream`.
    #[track_caller]
    pub fn make_room(&mut self, stream: u32, count: u32) {
        for stream in [0, stream] {
            self.send(WINDOW_UPDATE, 0, stream, &count.to_be_bytes());
        }
    }

    /// Reads frames up to the first that `wanted` accepts.
    #[track_caller]
    pub fn wait_for(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let found = self.find(wanted);
        found.expect("the connection does not end before the frame that is waited for")
    }

    /// Reads frames up to the first piece of the response on `stream`.
    #[track_caller]
    pub fn wait_for_data(&mut self, stream: u32) {
        self.wait_for(|frame| matches!(frame, Frame::Data { stream: of, .. } if *of == stream));
    }

    /// Reads frames up to the end of the response on `stream`.
    #[track_caller]
    pub fn wait_for_end(&mut self, stream: u32) {
        self.wait_for(|frame| frame.ends(stream));
    }

    /// Reads frames up to a PING, and returns what is to be answered.
    #[track_caller]
    pub fn wait_for_ping(&mut self) -> Vec<u8> {
        match self.wait_for(|frame| matches!(frame, Frame::Ping(_))) {
            Frame::Ping(payload) => payload,
            other => unreachable!("{other:?} was not waited for"),
        }
    }

    /// Reads up to the end of the connection, with a pause behind each piece of a response, and says of each that it
    /// has been read; answers every PING. Behind the `asking`th piece it asks for `/` on stream 3.
    #[track_caller]
    pub fn read_slowly(&mut self, pause: Duration, asking: Option<usize>) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut pieces = 0;
        while let Some(frame) = self.next() {
            match &frame {
                // As in `rest`, for both.
                Frame::Ping(payload) => drop(self.try_send(PING, ACK, 0, payload)),
                Frame::Data { bytes, .. } => {
                    sleep(pause);
                    let count = u32::try_from(bytes.len()).expect("a frame is small");
                    drop(self.try_send(WINDOW_UPDATE, 0, 0, &count.max(1).to_be_bytes()));
                    pieces += 1;
                    if Some(pieces) == asking {
                        self.get(3, "/");
                    }
                }
                _ => {}
            }
            frames.push(frame);
        }
        frames
    }

    /// Reads up to the end of the connection, answering every PING.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next() {
            if let Frame::Ping(payload) = &frame {
                // The server may close at any time now, and needs no answer where it has.
                let _ = self.try_send(PING, ACK, 0, payload);
            }
            frames.push(frame);
        }
        frames
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: Vec<u8>) -> Option<Frame> {
        let end = flags & END_STREAM != 0;
        Some(match kind {
            SETTINGS if flags & ACK == 0 => {
                // As above: a server that has closed needs no answer.
                let _ = self.try_send(SETTINGS, ACK, 0, &[]);
                return None;
            }
            PING if flags & ACK == 0 => Frame::Ping(payload),
            DATA => Frame::Data {
                stream,
                end,
                bytes: payload,
            },
            HEADERS => Frame::Headers {
                stream,
                status: status(&payload),
            },
            RESET => Frame::Reset { stream },
            GOAWAY => Frame::GoAway {
                last: number(&payload[..4]),
                error: number(&payload[4..8]),
            },
            other => Frame::Other(other),
        })
    }

    #[track_caller]
    fn read(&mut self, count: usize) -> Option<Vec<u8>> {
        let read = self.connection.exactly(count);
        read.unwrap_or_else(|error| panic!("the connection broke: {error}"))
    }

    #[track_caller]
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let sent = self.try_send(kind, flags, stream, payload);
        sent.expect("the connection takes what is sent");
    }

    fn try_send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).expect("the frames of tests are short");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.connection.try_send(bytes)
    }
}

impl Iterator for Http2 {
    type Item = Frame;

    /// Reads the next frame; `None` at the end of the connection.
    fn next(&mut self) -> Option<Frame> {
        loop {
            let header = self.read(9)?;
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let stream = number(&header[5..9]);
            let payload = self.read(length as usize).expect("a frame has its payload");
            let (kind, flags) = (header[3], header[4]);
            if let Some(frame) = self.frame(kind, flags, stream, payload) {
                return Some(frame);
            }
        }
    }
}

/// Connects, and sends PINGs without reading until neither side can send any more.
///
/// # Panics
///
/// Panics where the server does not listen.
#[must_use]
pub fn flood(address: &Address) -> TcpStream {
    let mut client = TcpStream::connect(address.tcp()).expect("the server listens");
    let begin = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
    client.write_all(&begin).expect("it is there");
    let pings = b"\0\0\x08\x06\0\0\0\0\0ping_pin".repeat(1000);
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("it is no zero");
    while client.write_all(&pings).is_ok() {}
    client
}

/// A WebSocket's last frame: "normal closure" (RFC 6455, section 7.4.1), masked with zeros.
pub const GOODBYE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// Tells whether it is the beginning of a WebSocket's last frame on `stream`.
#[must_use]
pub fn is_goodbye(stream: u32, frame: &Frame) -> bool {
    matches!(frame, Frame::Data { stream: of, bytes, .. } if *of == stream && bytes.first() == Some(&0x88))
}

/// Fails unless the server has left without an error, by two GOAWAYs at least, and has ended every stream up to the
/// last that it has named, and no other.
#[track_caller]
pub fn expect_no_loss(frames: &[Frame]) {
    let goaways = frames.iter().filter_map(|frame| match frame {
        Frame::GoAway { last, error } => Some((*last, *error)),
        _ => None,
    });
    let goaways: Vec<_> = goaways.collect();
    let (last, error) = *goaways.last().expect("the server says that it leaves");
    assert!(goaways.len() > 1 && error == 0, "{goaways:?}");
    for frame in frames {
        match frame {
            Frame::Headers { stream, .. } => {
                assert!(*stream <= last, "{stream} behind {goaways:?}");
                let has_ended = frames.iter().any(|frame| frame.ends(*stream));
                assert!(has_ended, "{stream} is cut: {goaways:?}");
            }
            Frame::Reset { stream } => panic!("{stream} was reset; {goaways:?}"),
            _ => {}
        }
    }
    let answered = |wanted: &u32| {
        let is_head =
            |frame: &Frame| matches!(frame, Frame::Headers { stream, .. } if stream == wanted);
        frames.iter().any(is_head)
    };
    let lost: Vec<_> = (1..=last).step_by(2).filter(|s| !answered(s)).collect();
    assert!(lost.is_empty(), "{lost:?} are lost of {goaways:?}");
}

/// Fails unless `frames` hold a whole 200 on `stream`, and returns its body.
#[track_caller]
pub fn body_of(stream: u32, frames: &[Frame]) -> String {
    let head = Frame::Headers {
        stream,
        status: Some(200),
    };
    assert!(
        frames.contains(&head),
        "no 200 on stream {stream}: {frames:?}"
    );
    let pieces = frames.iter().filter_map(|frame| match frame {
        Frame::Data {
            stream: of,
            end,
            bytes,
        } if *of == stream => Some((*end, &bytes[..])),
        _ => None,
    });
    let (ends, bytes): (Vec<_>, Vec<_>) = pieces.unzip();
    assert_eq!(
        ends.last(),
        Some(&true),
        "stream {stream} is not complete: {frames:?}"
    );
    String::from_utf8_lossy(&bytes.concat()).into_owned()
}

/// Fails unless a client that breaks the protocol in a drain is counted as one that has left what it asked for.
#[track_caller]
pub fn expect_offence_to_finish_nothing(server: Server, mut client: Http2) {
    client.get(1, "/sleep?ms=50000");
    client.get(3, "/big?bytes=3000000");
    server.wait_for("handling /sleep");
    server.wait_for("finished /big");
    server.drain();
    client.offend();
    client.rest();
    let log = server.exit_within(SOON).expect(0);
    let counted = ": 0 requests finished, 0 cut, 2 left by their clients: GET /";
    assert!(log.has(counted), "{log}");
}

/// Fails unless a client that gives up on a response, or goes, in the middle of it is counted and named.
#[track_caller]
pub fn expect_who_reads_no_further_to_be_counted(
    server: Server,
    mut client: Http2,
    is_reset: bool,
) {
    client.get(1, "/big?bytes=3000000");
    // Made to its end, in one piece, of which the window has room for 64 kB.
    server.wait_for("finished /big");
    client.wait_for_data(1);
    server.drain();
    if is_reset {
        client.reset(1);
        client.rest();
    }
    drop(client);
    let log = server.exit_within(SOON).expect(0);
    let counted = ": 0 requests finished, 0 cut, 1 left by its client: GET /big from ";
    assert!(log.has(counted), "{log}");
}

/// Fails unless a client that begins a head before a drain or in it, and is silent then, is ended in time.
#[track_caller]
pub fn expect_half_head_to_time_out(server: Server, mut client: Http2, is_before: bool) {
    client.get(1, "/");
    client.wait_for_end(1);
    if is_before {
        client.half_head(3, "/");
    }
    server.drain();
    if !is_before {
        client.half_head(3, "/");
    }
    client.by_ref().count();
    let log = server.exit_within(SOON).expect(0);
    let counted = ": 0 requests finished, 0 cut, 1 half request timed out";
    assert!(log.has(counted), "{log}");
}

/// Returns the first 31 bits, which are all that HTTP/2 uses of its numbers.
fn number(bytes: &[u8]) -> u32 {
    let bytes = bytes.try_into().expect("four bytes");
    u32::from_be_bytes(bytes) & (u32::MAX >> 1)
}

/// Reads the status out of a header block, where it is the indexed `:status` it usually is.
fn status(block: &[u8]) -> Option<u16> {
    // RFC 7541, appendix A, 8 to 14. A table size update may come first.
    let names = [200, 204, 206, 304, 400, 404, 500];
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20)?;
    let index = (first & 0x7f)
        .checked_sub(8)
        .filter(|_| first & 0x80 != 0)?;
    names.get(usize::from(index)).copied()
}
