//! hyper is the judge: whatever it is fed, in whatever pieces, a [`Framing`] knows what it waits for.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, duplex};

use super::{Awaits, Framing, KEPT, RequestBody, Told, head_length};
use crate::lifecycle::surroundings::Surroundings;
use crate::lifecycle::{Lifecycle, Settings};
use crate::net::stream::{Peer, Stream};
use crate::serve::connection::Connection;
use crate::serve::options::Options;
use crate::serve::policy::Policy;
use crate::serve::service::Tracked;
use crate::serve::transport::Transport;

/// What a handler does with the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Reads,
    /// Answers without having read it.
    Ignores,
}

/// What was known when hyper could do nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// `None`: hyper has ended the connection.
    awaits: Option<Awaits>,
    /// What hyper itself shows: `None` where it has ended.
    truth: Option<Awaits>,
    requests: usize,
}

/// Feeds hyper with `pieces`, one after the other.
fn serve(pieces: &[&[u8]], handler: Handler) -> Known {
    let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
    let policy = Arc::new(Policy::new(lifecycle, Options::default(), None));
    let connection = Arc::new(Connection::new(policy, Peer::Unix));
    connection.becomes_http1();
    let requests = Arc::new(AtomicUsize::new(0));
    let read = Arc::new(AtomicUsize::new(0));
    let counters = (Arc::clone(&requests), Arc::clone(&read));
    let service = service_fn(move |request: Request<Incoming>| {
        counters.0.fetch_add(1, Ordering::Relaxed);
        let read = Arc::clone(&counters.1);
        async move {
            if handler == Handler::Reads && request.into_body().collect().await.is_ok() {
                read.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let (mut client, server) = duplex(1 << 20);
    let io = Transport::new(
        Stream::Duplex(server),
        Bytes::new(),
        Arc::clone(&connection),
    );
    let service = Tracked::new(service, Arc::clone(&connection));
    let mut hyper = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let woken = Arc::new(Woken::default());
    for piece in pieces {
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let written = pin!(&mut client).poll_write(&mut cx, piece);
        assert!(matches!(written, Poll::Ready(Ok(count)) if count == piece.len()));
        woken.0.store(true, Ordering::Relaxed);
        while woken.0.swap(false, Ordering::Relaxed) {
            if Pin::new(&mut hyper).poll(&mut cx).is_ready() {
                return Known {
                    awaits: None,
                    truth: None,
                    requests: requests.load(Ordering::Relaxed),
                };
            }
        }
    }
    assert!(!connection.is_busy() || handler == Handler::Reads);
    let awaits = match connection.is_busy() {
        true => Awaits::RestOfBody,
        false => connection.awaits(),
    };
    let requests = requests.load(Ordering::Relaxed);
    let left = hyper.into_parts().expect("it is not upgraded").read_buf;
    let truth = match handler {
        Handler::Reads if read.load(Ordering::Relaxed) < requests => Awaits::RestOfBody,
        _ if left.iter().all(|byte| b"\r\n".contains(byte)) => Awaits::Request,
        _ => Awaits::RestOfHead,
    };
    Known {
        awaits: Some(awaits),
        truth: Some(truth),
        requests,
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Fails where a framing does not know what hyper shows.
fn compare(pieces: &[&[u8]]) -> Known {
    let text = || {
        let pieces = pieces.iter().map(|piece| String::from_utf8_lossy(piece));
        format!("{:?}", pieces.collect::<Vec<_>>())
    };
    let reads = serve(pieces, Handler::Reads);
    assert_eq!(reads.awaits, reads.truth, "{}", text());
    // Who reads nothing may have to end the connection, but must never take less than hyper would for a
    // whole request.
    let ignores = serve(pieces, Handler::Ignores);
    if matches!(ignores.awaits, Some(Awaits::Request | Awaits::RestOfHead)) && reads.truth.is_some()
    {
        assert_eq!(ignores, reads, "ignored: {}", text());
    }
    reads
}

/// Conversations, with the number of their requests.
const CONVERSATIONS: &[(&str, usize)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 1),
    ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1),
    ("GET / HTTP/1.1\nhost:a\n\n", 1),
    ("GET / HTTP/1.1\r\nhost:a\n\r\n", 1),
    ("GET / HTTP/1.1\nhost:a\r\n\n", 1),
    ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 1),
    ("\n\n\nGET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 1),
    ("GET / HTTP/1.1\r\nhost:   a  \t\r\nx:\r\ny: \r\n\r\n", 1),
    (
        "GET http://a:80/b?c HTTP/1.1\r\nhost: a:80\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        1,
    ),
    (
        "OPTIONS * HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody",
        1,
    ),
    ("POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n\r\n\r\nx", 1),
    (
        "POST / HTTP/1.1\r\nCoNtEnT-LeNgTh:\t007  \r\n\r\nabcdefg",
        1,
    ),
    (
        "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        1,
    ),
    ("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 1),
    (
        "PUT / HTTP/1.1\r\ncontent-length: 18\r\nx-content-length: 4\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        1,
    ),
    (
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        1,
    ),
    (
        "POST / HTTP/1.1\r\nTransfer-Encoding:gzip, CHUNKED\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n00;x\r\n\r\n",
        1,
    ),
    (
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5  \t\r\n\r\n\r\n0\r\n3\r\nabc\r\n0\r\na: b\r\nc: d\r\n\r\n",
        1,
    ),
    (
        "POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n00A\r\n0123456789\r\n0\r\n\r\n",
        1,
    ),
    (
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        2,
    ),
    ("GET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n", 2),
    (
        "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
        2,
    ),
    (
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n\
      POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhiGET / HTTP/1.1\n\n",
        4,
    ),
];

#[test]
fn every_split_of_a_conversation_is_known() {
    for (text, requests) in CONVERSATIONS {
        let bytes = text.as_bytes();
        let known = compare(&[bytes]);
        let expected = (Some(Awaits::Request), *requests);
        assert_eq!((known.awaits, known.requests), expected, "{text:?}");
        for cut in 1..bytes.len() {
            compare(&[&bytes[..cut]]);
            let (begin, end) = bytes.split_at(cut);
            let known = compare(&[begin, end]);
            assert_eq!(
                (known.awaits, known.requests),
                expected,
                "{begin:?} {end:?}"
            );
        }
        compare(&bytes.chunks(1).collect::<Vec<_>>());
    }
}

#[test]
fn whatever_hyper_takes_is_known() {
    let mut random = Random(1);
    for _ in 0..3000 {
        let conversation = random.conversation();
        compare(&random.pieces(&conversation));
    }
}

#[test]
fn whatever_is_wrong_is_never_taken_for_less_than_hyper_takes() {
    let mut random = Random(2);
    for _ in 0..3000 {
        let mut conversation = random.conversation();
        for _ in 0..1 + random.below(2) {
            random.spoil(&mut conversation);
        }
        compare(&random.pieces(&conversation));
    }
}

#[test]
fn what_hyper_does_not_take_for_a_chunk_is_unknown() {
    for chunks in [
        "\r\n",
        ";a\r\n",
        " 1\r\n",
        "1 1\r\n",
        "1\n",
        "1;a\n",
        "1\r\nab",
        "1\r\na\n",
        "10000000000000000\r\n",
        "0\r\n\r\r",
        "0\r\na\r\r",
    ] {
        let mut framing = Framing::default();
        framing.feed(b"POST / HTTP/1.1\r\n\r\n");
        framing.begin(RequestBody::new(None));
        framing.feed(chunks.as_bytes());
        assert_eq!(framing.body, RequestBody::Unknown, "{chunks:?}");
        framing.feed(b"0\r\n\r\n");
        assert_eq!(
            framing.body,
            RequestBody::Unknown,
            "{chunks:?}: it stays unknown"
        );
    }
}

#[test]
fn what_hyper_was_not_fed_is_unknown() {
    let mut framing = Framing::default();
    framing.feed(b"GET / HTTP/1.1\r\n");
    framing.begin(RequestBody::Complete);
    assert_eq!(framing.awaits(), Awaits::Unknown);
    framing.feed(b"\r\nGET / HTTP/1.1\r\n\r\n");
    framing.begin(RequestBody::Complete);
    assert_eq!(framing.awaits(), Awaits::Unknown, "it stays unknown");
}

#[test]
fn a_request_within_a_body_is_unknown() {
    let mut framing = Framing::default();
    framing.feed(b"POST / HTTP/1.1\r\n\r\nbo");
    framing.begin(RequestBody::Length(4));
    assert_eq!(framing.awaits(), Awaits::RestOfBody);
    framing.begin(RequestBody::Complete);
    framing.feed(b"dy");
    assert_eq!(framing.awaits(), Awaits::Unknown);
}

#[test]
fn little_is_kept_of_what_was_fed() {
    let mut framing = Framing::default();
    let head = b"POST / HTTP/1.1\r\n\r\n";
    framing.feed(&[head.as_slice(), &[b'x'; 400_000]].concat());
    framing.begin(RequestBody::Length(1_000_000));
    assert!(framing.fed.capacity() <= KEPT, "a part of a body");
    for _ in 0..6 {
        framing.feed(&[b'x'; 100_000]);
    }
    assert_eq!(framing.awaits(), Awaits::Request);
    framing.feed(&[head.as_slice(), &[b'x'; 400_000]].concat());
    framing.begin(RequestBody::Length(400_000));
    assert!(framing.fed.capacity() <= KEPT, "a whole body");
}

#[test]
fn little_is_kept_where_each_read_ends_in_a_head() {
    let mut framing = Framing::default();
    framing.feed(b"GET / HT");
    for _ in 0..100_000 {
        framing.feed(b"TP/1.1\r\n\r\nGET / HT");
        framing.begin(RequestBody::Complete);
    }
    assert_eq!(framing.awaits(), Awaits::RestOfHead);
    assert_eq!(framing.rest(), b"GET / HT");
    assert!(framing.fed.capacity() <= KEPT);
}

#[test]
fn what_nobody_tells_of_is_not_kept() {
    let mut framing = Framing::new(Told::Late);
    for _ in 0..20 {
        framing.feed(&[b'x'; 100_000]);
    }
    assert!(framing.fed.capacity() <= KEPT);
    assert_eq!(framing.awaits(), Awaits::Unknown);
}

#[test]
fn a_pipeline_of_any_length_is_followed() {
    let mut framing = Framing::default();
    let get: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    framing.feed(&get.repeat(100_000));
    for _ in 0..100_000 {
        assert_eq!(framing.awaits(), Awaits::RestOfHead);
        framing.begin(RequestBody::Complete);
    }
    assert_eq!(framing.awaits(), Awaits::Request);
}

#[test]
fn a_request_may_be_told_of_late() {
    let mut framing = Framing::new(Told::Late);
    let get: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    framing.feed(&get.repeat(2));
    framing.begin(RequestBody::Complete);
    // The second one is under way between hyper and the one who tells.
    framing.feed(get);
    assert_eq!(framing.awaits(), Awaits::RestOfHead);
    framing.begin(RequestBody::Complete);
    assert_eq!(framing.awaits(), Awaits::RestOfHead);
    framing.begin(RequestBody::Complete);
    assert_eq!(framing.awaits(), Awaits::Request);
}

#[test]
fn empty_lines_between_requests_are_not_kept() {
    let mut framing = Framing::default();
    for _ in 0..100 {
        framing.feed(b"\r\n\n");
        framing.feed(b"\nGET / HTTP/1.1\r\n\r\n\r\n");
        framing.begin(RequestBody::Complete);
        assert_eq!(framing.awaits(), Awaits::Request);
        assert_eq!(framing.fed, b"");
    }
}

#[test]
fn a_head_ends_with_its_first_empty_line() {
    for (bytes, expected) in [
        ("", None),
        ("\r\n\r\n", None),
        ("a\r\n", None),
        ("a\r\nb\r\n\r", None),
        ("a\r\n\r\nb", Some(5)),
        ("a\n\nb", Some(3)),
        ("a\n\r\n", Some(4)),
        ("\r\n\na\r\n\n", Some(7)),
        ("a\r\r\n\n", Some(5)),
    ] {
        assert_eq!(head_length(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

/// Makes conversations; the same ones in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn is_one_of(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Some letters in upper case.
    fn spelt(&mut self, text: &str) -> String {
        let spell = |letter: char| match self.is_one_of(2) {
            true => letter.to_ascii_uppercase(),
            false => letter,
        };
        text.chars().map(spell).collect()
    }

    fn padded(&mut self, value: &str) -> String {
        const SPACE: [&str; 5] = ["", " ", "  ", "\t", " \t "];
        format!("{}{value}{}", self.pick(&SPACE), self.pick(&SPACE))
    }

    /// One to four requests, legal but odd.
    fn conversation(&mut self) -> Vec<u8> {
        let requests = 1 + self.below(4);
        let requests = (0..requests).map(|_| self.request());
        requests.collect::<String>().into_bytes()
    }

    fn request(&mut self) -> String {
        let mut lines = vec![format!(
            "{} {} HTTP/1.1",
            self.pick(&["GET", "POST", "PUT", "DELETE", "X-Y", "OPTIONS", "HEAD"]),
            self.pick(&["/", "/a?b=c", "http://h/p", "/%20//..", "/\u{e9}"]),
        )];
        for _ in 0..self.below(4) {
            let name = self.pick(&[
                "host",
                "t",
                "c",
                "te",
                "content-length-x",
                "upgrade",
                "expect",
            ]);
            let value = match name {
                "expect" => self.pick(&["100-continue", "x"]),
                _ => self.pick(&["", "a", "chunked", "7", "\u{e9}", "a: b", "x,\ty"]),
            };
            lines.push(format!("{}:{}", self.spelt(name), self.padded(value)));
        }
        let body = match self.below(6) {
            0 | 1 => String::new(),
            2 | 3 => self.with_length(&mut lines),
            _ => self.chunked(&mut lines),
        };
        lines.push(String::new());
        let mixes = self.is_one_of(5);
        let usual = self.pick(&["\r\n", "\r\n", "\r\n", "\n"]);
        let mut text = self.pick(&["", "", "", "\r\n", "\n\r\n"]).to_owned();
        for line in lines {
            text.push_str(&line);
            text.push_str(if mixes {
                self.pick(&["\r\n", "\n"])
            } else {
                usual
            });
        }
        text + &body
    }

    fn content(&mut self) -> String {
        const PIECES: [&str; 7] = [
            "\r",
            "\n",
            "\r\n",
            "0",
            "a",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ];
        let count = self.below(40);
        (0..count).map(|_| self.pick(&PIECES)).collect()
    }

    fn with_length(&mut self, lines: &mut Vec<String>) -> String {
        let content = self.content();
        for _ in 0..1 + usize::from(self.is_one_of(6)) {
            let length = format!("{}{}", self.pick(&["", "0", "000"]), content.len());
            let (name, value) = (self.spelt("content-length"), self.padded(&length));
            lines.push(format!("{name}:{value}"));
        }
        content
    }

    fn chunked(&mut self, lines: &mut Vec<String>) -> String {
        let (name, coding) = (self.spelt("transfer-encoding"), self.spelt("chunked"));
        let codings = format!("{}{coding}", self.pick(&["", "", "gzip,", "identity,\t"]));
        lines.push(format!("{name}:{}", self.padded(&codings)));
        let content = self.content();
        let mut rest = content.as_str();
        let mut text = String::new();
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at((1 + self.below(20)).min(rest.len()));
            rest = left;
            let size = self.spelt(&format!("{:x}", chunk.len()));
            let zeros = self.pick(&["", "0", "00"]);
            let extension = self.pick(&["", "", " ", "\t ", ";a", ";a=b;c=\"\t d\"", ";"]);
            text.push_str(&format!("{zeros}{size}{extension}\r\n{chunk}\r\n"));
        }
        text.push_str(self.pick(&["0", "000", "0 ", "0;x=y"]));
        text.push_str("\r\n");
        for _ in 0..self.below(3) {
            text.push_str(self.pick(&["a: b\r\n", "content-length: 5\r\n", "x:\r\n"]));
        }
        text + "\r\n"
    }

    /// Removes, adds or changes a byte.
    fn spoil(&mut self, conversation: &mut Vec<u8>) {
        let odd = b"\r\n :;0\0,\tg"[self.below(10)];
        let at = self.below(conversation.len());
        match self.below(3) {
            0 => conversation[at] = odd,
            1 => conversation.insert(at, odd),
            _ if conversation.len() > 1 => drop(conversation.remove(at)),
            _ => {}
        }
    }

    /// Cuts `bytes`, and sometimes leaves the end away.
    fn pieces<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = [1, 7, 60, 100_000][self.below(4)];
        if self.is_one_of(3) {
            bytes = &bytes[..1 + self.below(bytes.len())];
        }
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at((1 + self.below(longest)).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}
