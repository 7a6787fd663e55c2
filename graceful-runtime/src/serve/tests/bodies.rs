//! K1: what is left of a request's body is never taken for a request, in whatever phase its handler
//! answers without having read it (RFC 9112, sections 9.3 and 9.6).

use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::*;

/// What a body holds that must not be served.
const INTERNAL: &str = "GET /internal HTTP/1.1\r\nhost: test\r\n\r\n";

/// How the body of a request is sent.
#[derive(Clone, Copy, Debug)]
enum Coding {
    Length,
    Chunked,
}

/// A request for `path` whose body is `empty lines` and then a request.
fn upload(path: &str, coding: Coding, fields: &str, length: usize) -> (String, String) {
    let mut body = "\r\n".repeat((length - INTERNAL.len()) / 2);
    body.push_str(INTERNAL);
    let (field, body) = match coding {
        Coding::Length => (format!("content-length: {}", body.len()), body),
        Coding::Chunked => {
            let chunks = body.as_bytes().chunks(INTERNAL.len()).map(|chunk| {
                let chunk = std::str::from_utf8(chunk).unwrap();
                format!("{:x}\r\n{chunk}\r\n", chunk.len())
            });
            let chunks: String = chunks.collect();
            ("transfer-encoding: chunked".into(), chunks + "0\r\n\r\n")
        }
    };
    let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\n{fields}{field}\r\n\r\n");
    (head, body)
}

/// At which of these moments the drain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    BeforeTheHead,
    BehindTheHead,
    WithinTheBody,
    BehindTheBody,
    /// When the server has done what it can.
    Later,
}

const MOMENTS: [Drain; 5] = [
    Drain::BeforeTheHead,
    Drain::BehindTheHead,
    Drain::WithinTheBody,
    Drain::BehindTheBody,
    Drain::Later,
];

/// Sends the two, and drains at `moment`.
async fn send(pair: &mut Pair, head: &str, body: &str, moment: Drain, first: usize) {
    let (begin, end) = body.split_at(first.min(body.len()));
    let pieces = [
        (Drain::BeforeTheHead, head),
        (Drain::BehindTheHead, begin),
        (Drain::WithinTheBody, end),
        (Drain::BehindTheBody, ""),
    ];
    for (before, piece) in pieces {
        if before == moment {
            pair.drain();
        }
        // Fails where the connection is closed already, as it should be.
        let _ = pair.client.write_all(piece.as_bytes()).await;
    }
    if moment == Drain::Later {
        sleep(GRACE / 2).await;
        pair.drain();
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_body_is_never_served() {
    let handlers = ["/early", "/slow", "/begin", "/panic", "/read-on", "/hold"];
    for path in handlers {
        for coding in [Coding::Length, Coding::Chunked] {
            for fields in ["", "expect: 100-continue\r\n", "connection: close\r\n"] {
                for (length, first) in [(100, 20), (5000, 4000), (60_000, 10), (60_000, 12_345)] {
                    for moment in MOMENTS {
                        let (head, body) = upload(path, coding, fields, length);
                        let mut pair = Pair::new();
                        send(&mut pair, &head, &body, moment, first).await;
                        let (rest, _) = pair.rest().await;
                        let case = format!("{path} {coding:?} {fields:?} {length} {moment:?}");
                        assert_eq!(*pair.asked.lock().unwrap(), [path], "{case}");
                        let finals = count(&rest, "HTTP/1.1") - count(&rest, "HTTP/1.1 100");
                        assert_eq!(finals, 1, "{case}: {rest}");
                    }
                }
            }
        }
    }
}

/// Each turn of the runtime may be the one between two steps of the server.
#[tokio::test(start_paused = true)]
async fn behind_a_body_that_nobody_read_the_connection_ends_whenever_the_drain_begins() {
    for turns in 0..12 {
        for (coding, first) in [
            (Coding::Length, 5000),
            (Coding::Chunked, 5000),
            // It has come to its end, but it was not read to its end.
            (Coding::Chunked, usize::MAX),
        ] {
            for is_used in [false, true] {
                let (head, body) = upload("/early", coding, "", 6000);
                let (begin, end) = body.split_at(first.min(body.len()));
                let mut pair = match is_used {
                    true => Pair::idle_for(GRACE / 4).await,
                    false => Pair::new(),
                };
                pair.send(&(head + begin)).await;
                for _ in 0..turns {
                    yield_now().await;
                }
                pair.drain();
                let _ = pair.client.write_all(end.as_bytes()).await;
                let (rest, took) = pair.rest().await;
                let case = format!("{coding:?} {first} {is_used} {turns}");
                assert_eq!(count(&rest, "HTTP/1.1"), 1, "{case}: {rest}");
                assert_eq!(took, Duration::ZERO, "{case}");
                assert_eq!(
                    pair.asked.lock().unwrap().last().unwrap(),
                    "/early",
                    "{case}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_read_in_the_drain_is_the_last_one() {
    for coding in [Coding::Length, Coding::Chunked] {
        for length in [100, 5000, 60_000] {
            for moment in MOMENTS {
                let mut pair = Pair::idle_for(Duration::ZERO).await;
                let (head, body) = upload("/read-slowly", coding, "", length);
                send(&mut pair, &head, &body, moment, length / 2).await;
                let (rest, _) = pair.rest().await;
                let case = format!("{coding:?} {length} {moment:?}: {rest}");
                assert_eq!(count(&rest, "200 OK"), 1, "{case}");
                assert_eq!(count(&rest, "connection: close"), 1, "{case}");
                assert_eq!(*pair.asked.lock().unwrap(), ["/", "/read-slowly"], "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_behind_a_body_may_bring_one_request() {
    for coding in [Coding::Length, Coding::Chunked] {
        for length in [100, 5000, 60_000] {
            let (head, body) = upload("/read", coding, "", length);
            let mut pair = Pair::new();
            pair.send(&(head + &body)).await;
            pair.response().await;
            sleep(GRACE / 4).await;
            pair.drain();
            sleep(GRACE / 2).await;
            pair.send(GET).await;
            let (rest, _) = pair.rest().await;
            assert_eq!(count(&rest, "200 OK"), 1, "{coding:?} {length}: {rest}");
            assert!(rest.contains("connection: close"), "{rest}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_since_its_body_was_read_is_closed() {
    for coding in [Coding::Length, Coding::Chunked] {
        let (head, body) = upload("/read-on", coding, "", 5000);
        let mut pair = Pair::new();
        pair.send(&(head + &body)).await;
        pair.response().await;
        sleep(SLOW * 2).await;
        pair.drain();
        assert_eq!(
            pair.rest().await,
            (String::new(), Duration::ZERO),
            "{coding:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_somebody_holds_costs_a_second() {
    // A small body has gone to the one who holds it, and the connection is idle.
    for (length, expected) in [(100, GRACE), (60_000, HEAD_LIMIT)] {
        let (head, body) = upload("/hold", Coding::Length, "", length);
        let mut pair = Pair::new();
        pair.send(&(head + &body)).await;
        pair.response().await;
        pair.drain();
        assert_eq!(pair.rest().await, (String::new(), expected), "{length}");
    }
}
