//! hyper is the judge: whatever it is fed, in whatever pieces, a `Framing` knows what it waits for.
//!
//! The input is what a client sends; a byte 0xFF, which no head may hold, is the border of two pieces.

#![no_main]

// The file itself; a target needs a part of it.
#[allow(dead_code)]
#[path = "../../graceful-runtime/src/serve/framing.rs"]
mod framing;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use framing::{Awaits, Framing, RequestBody};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let pieces: Vec<&[u8]> = input
        .split(|byte| *byte == 0xff)
        .filter(|piece| !piece.is_empty())
        .collect();
    if pieces.is_empty() {
        return;
    }
    let reads = serve(&pieces, Handler::Reads);
    assert_eq!(reads.awaits, reads.truth);
    // Who reads nothing may have to end the connection, but must never take less than hyper would for a whole request.
    let ignores = serve(&pieces, Handler::Ignores);
    if matches!(ignores.awaits, Some(Awaits::Request | Awaits::RestOfHead)) && reads.truth.is_some() {
        assert_eq!(ignores, reads);
    }
});

/// What a handler does with the body of a request.
#[derive(Clone, Copy, PartialEq)]
enum Handler {
    Reads,
    Ignores,
}

/// What was known when hyper could do nothing more.
#[derive(Debug, PartialEq)]
struct Known {
    /// `None`: hyper has ended the connection.
    awaits: Option<Awaits>,
    /// What hyper itself shows.
    truth: Option<Awaits>,
    requests: usize,
}

/// What the client, the handler and the judge share.
#[derive(Default)]
struct Shared {
    framing: Framing,
    unread: VecDeque<u8>,
    is_waiting: bool,
    requests: usize,
    answered: usize,
}

struct Feed(Rc<RefCell<Shared>>);

impl Read for Feed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        let count = shared.unread.len().min(buffer.remaining());
        shared.is_waiting = count == 0;
        if count == 0 {
            return Poll::Pending;
        }
        let bytes: Vec<u8> = shared.unread.drain(..count).collect();
        buffer.put_slice(&bytes);
        shared.framing.feed(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl Write for Feed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn serve(pieces: &[&[u8]], handler: Handler) -> Known {
    let shared = Rc::new(RefCell::new(Shared::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let body = match request.body().is_end_stream() {
            true => RequestBody::Complete,
            false => RequestBody::new(request.body().size_hint().exact()),
        };
        shared.borrow_mut().requests += 1;
        shared.borrow_mut().framing.begin(body);
        let shared = &shared;
        async move {
            let is_read = handler == Handler::Ignores || request.into_body().collect().await.is_ok();
            shared.borrow_mut().answered += usize::from(is_read);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let mut hyper = http1::Builder::new()
        .half_close(true)
        .serve_connection(Feed(Rc::clone(&shared)), service);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    for piece in pieces {
        shared.borrow_mut().unread.extend(*piece);
        woken.0.store(true, Ordering::Relaxed);
        while woken.0.swap(false, Ordering::Relaxed) {
            if Pin::new(&mut hyper).poll(&mut cx).is_ready() {
                let requests = shared.borrow().requests;
                return Known { awaits: None, truth: None, requests };
            }
        }
    }
    let left = hyper.into_parts().read_buf;
    let mut shared = shared.borrow_mut();
    let is_owed = shared.answered < shared.requests;
    let awaits = match (is_owed, shared.is_waiting) {
        (true, _) => Awaits::RestOfBody,
        (false, true) => shared.framing.awaits(),
        (false, false) => Awaits::Unknown,
    };
    let truth = match handler {
        Handler::Reads if is_owed => Awaits::RestOfBody,
        _ if left.iter().all(|byte| b"\r\n".contains(byte)) => Awaits::Request,
        _ => Awaits::RestOfHead,
    };
    Known {
        awaits: Some(awaits),
        truth: Some(truth),
        requests: shared.requests,
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
