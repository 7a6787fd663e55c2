//! B. Requests in flight.

use std::io::Write;
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::Duration;

use graceful_tests::{SOON, Signal, get, server};

/// A server that would need a minute if anything had to wait for the deadline.
macro_rules! echo {
    ($($argument:expr),*) => { server!("echo", "timeout=60s" $(, $argument)*) };
}

#[test]
fn b1_a_request_in_flight_is_answered_and_the_process_ends_with_it() {
    let server = echo!();
    let mut connection = server.sleeping(700);
    server.drain();
    connection.response().expect_last();
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn b2_a_chunked_stream_completes_with_its_terminator() {
    let server = echo!();
    let mut connection = server.connect();
    connection.send(get("/stream?n=10&ms=100"));
    // Its head and first chunk are out before the drain, and cannot say `close` any more.
    server.wait_for("finished /stream");
    server.drain();
    let response = connection.response();
    assert_eq!(
        (response.status, &*response.text()),
        (200, "0;1;2;3;4;5;6;7;8;9;")
    );
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn b3_an_upload_half_sent_completes() {
    let server = echo!();
    let mut connection = server.connect();
    connection.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 200000\r\n\r\n");
    connection.send(vec![b'x'; 100_000]);
    server.wait_for("handling /upload");
    server.drain();
    connection.send(vec![b'x'; 100_000]);
    let response = connection.response();
    response.expect_last();
    assert_eq!(response.text(), "200000");
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn b3_an_upload_that_trickles_in_completes() {
    let server = echo!();
    let mut connection = server.connect();
    connection.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\n");
    server.wait_for("handling /upload");
    server.drain();
    for byte in ["a", "b", "c"] {
        // Longer than a request head may take; a body has until the deadline.
        sleep(Duration::from_millis(1100));
        connection.send(byte);
    }
    let response = connection.response();
    response.expect_last();
    assert_eq!(response.text(), "3");
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn b4_a_pending_expect_continue_is_continued() {
    // The server asks for the body before the drain, and in it.
    for wait in ["", "wait=drain"] {
        let server = echo!();
        let mut connection = server.connect();
        connection.send(format!(
            "POST /upload?{wait} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n\
             content-length: 5\r\n\r\n"
        ));
        server.wait_for("handling /upload");
        server.drain();
        assert_eq!(connection.head().status, 100);
        connection.send("hello");
        let response = connection.response();
        response.expect_last();
        assert_eq!(response.text(), "5");
        connection.expect_eof();
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn b5_a_handler_that_panics_ends_only_its_own_request() {
    let server = echo!("grace=30s");
    let mut connection = server.sleeping(1000);
    let mut first = server.connect();
    assert_eq!(first.get("/panic").status, 500);
    drop(first);
    let mut second = server.connect_accepted(1).remove(0);
    server.drain();
    let response = second.get("/panic");
    assert!(
        response.status == 500 && response.says_close(),
        "{response:?}"
    );
    second.expect_eof();
    connection.response().expect_last();
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn b6_http_1_0_is_answered_and_closed() {
    for header in ["", "connection: keep-alive\r\n"] {
        let server = echo!();
        let mut connection = server.connect();
        connection.send(format!("GET /sleep?ms=700 HTTP/1.0\r\n{header}\r\n"));
        server.wait_for("handling /sleep");
        server.drain();
        let response = connection.response();
        assert_eq!(response.status, 200);
        assert_ne!(response.header("connection"), Some("keep-alive"));
        connection.expect_eof();
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn b7_a_client_that_goes_away_while_draining_is_not_waited_for() {
    let server = echo!();
    let connection = server.sleeping(600_000);
    server.drain();
    drop(connection);
    server.exit_within(SOON).expect(0);
}

#[test]
fn b7_clients_that_reset_their_connections_do_no_harm() {
    // An unread response makes the kernel of the client answer with a reset.
    for bytes in [
        &*get("/big?bytes=100000"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let server = echo!();
        for _ in 0..100 {
            server.connect().send(bytes);
        }
        assert_eq!(server.connect().get("/").status, 200);
        server.drain();
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn b7_clients_that_reset_their_connections_in_the_drain_are_not_waited_for() {
    let server = echo!();
    let mut kept = server.sleeping(1000);
    let handled = server.sleeping(600_000);
    let mut uploading = server.connect();
    uploading.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhe");
    server.wait_for("handling /upload");
    let mut reading = server.connect();
    reading.send(get("/big?bytes=50000000"));
    reading.head();
    server.drain();
    for connection in [handled, uploading, reading] {
        connection.reset();
    }
    kept.response().expect_last();
    kept.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn b8_a_slow_reader_of_a_large_body_gets_all_of_it() {
    const SIZE: usize = 50_000_000;
    let server = echo!();
    let mut connection = server.connect();
    connection.send(get(&format!("/big?bytes={SIZE}")));
    let head = connection.head();
    assert_eq!(head.header("content-length"), Some(&*SIZE.to_string()));
    server.drain();
    for _ in 0..5 {
        let piece = connection.exactly(SIZE / 5).expect("nothing is cut");
        assert!(piece.is_some_and(|piece| piece.len() == SIZE / 5));
        sleep(Duration::from_millis(100));
    }
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

/// What the kernel has it sends on when the process has ended, since the client says nothing more.
#[test]
fn b8_a_response_that_the_kernel_has_waits_for_its_reader_without_the_process() {
    const SIZE: usize = 2_000_000;
    let server = server!("echo", "timeout=60s");
    let mut connection = server.connect();
    connection.send(get(&format!("/big?bytes={SIZE}")));
    server.wait_for("finished /big");
    server.drain();
    server.exit_within(SOON).expect(0);
    assert_eq!(connection.response().body.len(), SIZE);
}

#[test]
fn b8_a_reader_that_stopped_is_cut_at_the_deadline() {
    let server = server!("echo", "timeout=1s");
    let mut connection = server.connect();
    connection.send(get("/big?bytes=50000000"));
    connection.head();
    server.drain();
    let log = server.exit_within(SOON).expect(124);
    assert!(log.has("GET /big"), "the request is named:\n{log}");
}

#[test]
fn b8_clients_that_hold_on_to_the_deadline_take_nothing_from_the_others() {
    let server = server!("echo", "timeout=5s");
    let mut reading = server.connect();
    reading.send(get("/big?bytes=50000000"));
    reading.head();
    let mut uploading = server.connect();
    uploading.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n");
    server.wait_for("handling /upload");
    let mut other = server.sleeping(1000);
    server.drain();
    let uploading = thread::spawn(move || uploading.trickle());
    other.response().expect_last();
    other.expect_eof();
    let log = server.exit_within(SOON).expect(124);
    uploading.join().expect("it ends with the process");
    assert!(
        log.has("GET /big") && log.has("POST /upload"),
        "both are named:\n{log}"
    );
    assert!(log.has("1 request finished, 2 cut"), "and counted:\n{log}");
}

#[test]
fn b9_a_large_last_response_arrives_whole_where_the_client_sent_more_than_was_read() {
    let server = echo!();
    let mut connection = server.connect();
    server.freeze(|| {
        connection.send("POST /early?bytes=1000000 HTTP/1.1\r\nhost: test\r\n");
        connection.send("content-length: 100000000\r\n\r\n");
        connection.send(vec![b'x'; 100_000]);
        server.signal(Signal::TERM);
    });
    let response = connection.response();
    assert_eq!((response.status, response.body.len()), (413, 1_000_000));
    drop(connection);
    server.exit_within(SOON).expect(0);
}

#[test]
fn b9_an_upload_that_nobody_wants_and_that_never_ends_holds_up_nothing() {
    let server = echo!();
    let mut connection = server.connect();
    connection.send("POST /early?bytes=2 HTTP/1.1\r\nhost: test\r\n");
    connection.send("content-length: 8000000000\r\n\r\n");
    assert_eq!(connection.response().status, 413);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Fails when the server has gone.
            while connection.try_send("x").is_ok() {
                sleep(Duration::from_millis(10));
            }
        });
        server.signal(Signal::TERM);
        server.exit_within(SOON).expect(0);
    });
}

#[test]
fn n16_nothing_that_a_client_has_chosen_reaches_the_log_raw_or_at_length() {
    let server = server!("echo", "timeout=2s");
    let method = "M".repeat(5_000);
    let paths = [
        "\u{9b}31m",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        "\u{feff}",
        &"x".repeat(5_000),
    ];
    let mut connections = Vec::new();
    for (number, path) in (1..).zip(paths.iter().cycle().take(20)) {
        let mut connection = server.connect();
        connection.send(format!(
            "{method} /named/{path} HTTP/1.1\r\nhost: test\r\n\r\n"
        ));
        connections.push(connection);
        server.wait_for_times("handling /named/", number);
    }
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(124);
    let lines = log.lines_with("graceful: ");
    assert!(
        lines.iter().any(|line| line.contains(r"/named/\u{9b}31m")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("20 cut")),
        "{lines:#?}"
    );
    for line in lines {
        assert!(line.len() <= 400 + "graceful: ".len(), "{line}");
        let is_raw = |one: char| one.is_control() || "\u{2028}\u{202e}\u{feff}".contains(one);
        assert!(!line.contains(is_raw), "{line:?}");
    }
}

#[test]
fn n14_small_responses_that_nobody_reads_are_counted_as_cut() {
    let server = server!("echo", "timeout=2s");
    let address = server.address().tcp();
    let mut client = TcpStream::connect(address).expect("the server listens");
    let timeout = Some(Duration::from_millis(500));
    client.set_write_timeout(timeout).expect("it is no zero");
    let requests = get("/").repeat(1000);
    while client.write_all(requests.as_bytes()).is_ok() {}
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(124);
    assert!(log.has("1 request: "), "{log}");
    assert!(!log.has("0 cut"), "{log}");
}

#[test]
fn k7_what_is_dropped_because_its_client_has_gone_is_counted_and_named() {
    // By the end of the stream, and by a reset, which is what a close makes of something unread.
    for path in ["/sleep?ms=50000&who=me", "/stream?n=1000&ms=50"] {
        let server = server!("echo", "timeout=60s");
        let mut leaving = server.connect();
        leaving.send(get(path));
        let mut staying = server.sleeping(1000);
        let handled = path.split('?').next().unwrap_or_default();
        server.wait_for(&format!("handling {handled}"));
        server.drain();
        drop(leaving);
        staying.response().expect_last();
        let log = server.exit_within(SOON).expect(0);
        let counted = format!(
            "1 request finished, 0 cut, 1 left by its client: GET {handled} from 127.0.0.1:"
        );
        assert!(log.has(&counted), "{log}");
    }
}

#[test]
fn k7_what_has_been_left_is_counted_at_a_forced_end_too() {
    let server = server!("echo", "timeout=60s");
    let mut leaving = server.connect();
    leaving.send(get("/sleep?ms=50000&who=me"));
    let _staying = server.sleeping(50000);
    server.wait_for_times("handling /sleep", 2);
    server.signal(Signal::INT);
    server.wait_for("draining 2 requests");
    drop(leaving);
    server.wait_for("dropped /sleep");
    // Later than a second press of the same Ctrl-C.
    server.wait_for("waiting for 1 request");
    server.signal(Signal::INT);
    let log = server.exit_within(SOON).expect(130);
    let counted = "; 0 requests finished, 1 cut, 1 left by its client: GET /sleep from 127.0.0.1:";
    assert!(log.has(counted), "{log}");
}

#[test]
fn k7_a_response_that_is_being_written_at_the_signal_is_counted() {
    let path = "/big?bytes=20000000";
    let start = || {
        let server = server!("echo", "timeout=60s");
        let mut client = server.connect();
        client.send(get(path));
        server.wait_for("finished /big");
        // The kernel has taken what it can.
        client.head();
        server.drain();
        server.wait_for("draining 1 request");
        (server, client)
    };
    let (server, client) = start();
    client.reset();
    let log = server.exit_within(SOON).expect(0);
    let counted = ": 0 requests finished, 0 cut, 1 left by its client: GET /big from 127.0.0.1:";
    assert!(log.has(counted), "{log}");

    let (server, client) = start();
    drop(client);
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has(counted), "{log}");

    let (server, mut client) = start();
    assert_eq!(client.rest().expect("no reset").len(), 20_000_000);
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has(": 1 request finished, 0 cut"), "{log}");
    assert!(!log.has("left by"), "{log}");
}

#[test]
fn k7_a_response_without_a_body_has_not_been_left() {
    let server = server!("echo", "timeout=60s");
    let mut connection = server.connect();
    connection.send("HEAD /sleep?ms=1000 HTTP/1.1\r\nhost: test\r\n\r\n");
    server.wait_for("handling /sleep");
    server.drain();
    let head = connection.rest().expect("an orderly close");
    assert!(String::from_utf8_lossy(&head).contains("200 OK"));
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("1 request finished, 0 cut"), "{log}");
}

#[test]
fn with_nothing_in_flight_the_last_line_says_so() {
    let server = server!("echo", "timeout=60s");
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has(": no request was in flight"), "{log}");
}
