//! K2 and K3: what has been received behind a request is known for every legal spelling of it, and so
//! is when a response is the last one.

use super::*;

/// Requests for `PATH`, as a client may write them.
const SPELLINGS: &[&str] = &[
    "GET PATH HTTP/1.1\r\nhost: test\r\n\r\n",
    "GET PATH HTTP/1.1\r\nhost:test\r\na:b\r\nc:d\r\n\r\n",
    "GET PATH HTTP/1.1\r\nhost:    test   \r\nx:\r\n\r\n",
    "GET PATH HTTP/1.1\r\nhost:\t\ttest\t\r\n\r\n",
    "GET PATH HTTP/1.1\nhost: test\n\n",
    "GET PATH HTTP/1.1\r\nhost: test\n\r\n",
    "\r\n\r\nGET PATH HTTP/1.1\r\nhost: test\r\n\r\n",
    "GET http://test:80PATH HTTP/1.1\r\nhost: test:80\r\n\r\n",
    "GET PATH?a=/%20//.. HTTP/1.1\r\n\r\n",
    "GET PATH HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    "POST PATH HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\na\r\n\r\nbcd",
    "POST PATH HTTP/1.1\r\nhost:test\r\ncontent-length:   008 \r\nContent-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n",
    "POST PATH HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST PATH HTTP/1.1\r\nhost: test\r\ntransfer-encoding:gzip , Chunked\r\n\r\n\
     02;a=\"b\r\n\r\n\r\n1 ;c\r\nd\r\n0\r\na: b\r\nc: d\r\n\r\n",
];

fn spelt(spelling: &str, path: &str) -> String {
    spelling.replace("PATH", path)
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_any_spelling_is_answered() {
    for spelling in SPELLINGS {
        for next in ["GET / HTTP/1.1\r\nhost: test\r\n\r\n", "GET / HTTP/1.1\n\n"] {
            let mut pair = Pair::new();
            pair.send(&(spelt(spelling, "/read-slowly") + next)).await;
            sleep(Duration::from_secs(1)).await;
            pair.drain();
            let (rest, _) = pair.rest().await;
            assert_eq!(count(&rest, "200 OK"), 2, "{spelling:?}: {rest}");
            assert_eq!(count(&rest, "connection: close"), 1, "{spelling:?}: {rest}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_split_of_any_spelling_is_answered() {
    for spelling in SPELLINGS {
        let text = spelt(spelling, "/read-slowly") + GET;
        for cut in 1..text.len() {
            let (begin, end) = text.split_at(cut);
            let mut pair = Pair::new();
            pair.send(begin).await;
            sleep(Duration::from_millis(1)).await;
            pair.send(end).await;
            sleep(Duration::from_millis(1)).await;
            pair.drain();
            let (rest, _) = pair.rest().await;
            assert_eq!(count(&rest, "200 OK"), 2, "{begin:?} {end:?}: {rest}");
            assert_eq!(count(&rest, "connection: close"), 1, "{rest}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn behind_any_spelling_the_last_response_says_close() {
    for spelling in SPELLINGS {
        for repeated in [1, 40] {
            let mut pair = Pair::new();
            for _ in 0..repeated {
                pair.send(&spelt(spelling, "/read")).await;
                assert!(!pair.response().await.contains("connection: close"));
            }
            pair.shared.reach(Stage::LameDuck);
            pair.send(&spelt(spelling, "/read")).await;
            let (rest, took) = pair.rest().await;
            assert_eq!(count(&rest, "200 OK"), 1, "{spelling:?}: {rest}");
            assert_eq!(count(&rest, "connection: close"), 1, "{spelling:?}: {rest}");
            assert_eq!(took, Duration::ZERO, "{spelling:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_response_that_ends_the_connection_says_close() {
    for field in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut pair = Pair::new();
        pair.shared.reach(Stage::LameDuck);
        pair.send(&format!("POST / HTTP/1.1\r\n{field}\r\n\r\n"))
            .await;
        let (rest, took) = pair.rest().await;
        assert_eq!(count(&rest, "connection: close"), 1, "{field}: {rest}");
        assert_eq!(took, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_answered_wherever_hyper_pauses() {
    for spelling in [SPELLINGS[0], SPELLINGS[10], SPELLINGS[13]] {
        for length in [15, 16, 17, 32, 33, 100] {
            let mut pair = Pair::new();
            let pipeline = spelt(spelling, "/read").repeat(length);
            pair.send(&(spelt(spelling, "/read-slowly") + &pipeline))
                .await;
            sleep(Duration::from_secs(1)).await;
            pair.drain();
            let (rest, _) = pair.rest().await;
            assert_eq!(count(&rest, "200 OK"), length + 1, "{spelling:?} {length}");
            assert_eq!(
                count(&rest, "connection: close"),
                1,
                "{spelling:?} {length}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_not_bounded_by_empty_lines_or_bodies() {
    for spelling in SPELLINGS {
        let mut pair = Pair::new();
        pair.send(&(spelt(spelling, "/read") + "\r\n")).await;
        assert!(pair.response().await.contains("200 OK"));
        sleep(HEADER_TIMEOUT * 2).await;
        pair.send(GET).await;
        assert!(pair.response().await.contains("200 OK"), "{spelling:?}");
        // What has begun is bounded, also where it came with the end of the request before it.
        pair.send(&(spelt(spelling, "/read") + "G")).await;
        let (rest, took) = pair.rest().await;
        assert_eq!(count(&rest, "HTTP/1.1 408"), 1, "{spelling:?}: {rest}");
        assert_eq!(took, HEADER_TIMEOUT, "{spelling:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_pipeline_of_any_length_the_last_response_says_close() {
    for spelling in [SPELLINGS[0], SPELLINGS[12]] {
        let mut pair = Pair::with_room_for(16 << 20);
        // More than hyper reads at once.
        const COUNT: usize = 60_000;
        pair.send(&spelt(spelling, "/read").repeat(COUNT)).await;
        sleep(Duration::from_millis(1)).await;
        pair.shared.reach(Stage::LameDuck);
        pair.send(GET).await;
        let (rest, _) = pair.rest().await;
        assert_eq!(count(&rest, "200 OK"), COUNT + 1, "{spelling:?}");
        assert_eq!(count(&rest, "connection: close"), 1, "{spelling:?}");
    }
}
