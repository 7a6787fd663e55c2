//! L. Connections that outlive the process: at a restart those of HTTP/1 in clear text move to the successor.

use std::path::Path;
use std::time::Instant;

use graceful_tests::deployment::{Generation, finish_upload};
use graceful_tests::load::Style;
use graceful_tests::{
    Certificate, Connection, Deployment, HEAD_LIMIT, Http2, Listen, Load, get, http2,
    try_until_in_time,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_restart");

/// Nothing waits for a bound: neither a client that a busy machine does not let run, nor a process.
const PATIENT: [&str; 2] = ["grace=10s", "timeout=60s"];

fn start(settings: &[&str]) -> Deployment {
    let settings: Vec<_> = PATIENT.iter().chain(settings).copied().collect();
    Deployment::start(PROGRAM, &settings)
}

#[test]
fn l2_clients_in_closed_loops_keep_their_connections() {
    keep_connections(&[]);
}

#[test]
fn l2_the_same_on_a_current_thread_runtime() {
    keep_connections(&["flavor=current_thread"]);
}

#[test]
fn l2_the_same_over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    keep_connections(&[&unix(directory.path())]);
}

fn unix(directory: &Path) -> String {
    format!("listen=unix:{}/socket", directory.display())
}

fn keep_connections(settings: &[&str]) {
    const CLIENTS: usize = 32;
    let mut server = start(settings);
    let load = Load::start(&server.addresses()[0], CLIENTS, Style::KeepAlive);
    let serve_some = || load.wait_until_served(load.served() + 8 * CLIENTS);
    for _ in 0..10 {
        serve_some();
        server.restart().expect_exit(0, server.log());
    }
    serve_some();
    assert_eq!(load.connections(), CLIENTS, "{}", server.log());
    // Some wait for a response when the others are told of.
    server
        .log()
        .wait_for_times("idle connections to process ", 10);
    server.log().wait_for_times(", 32 connections moved", 10);
    assert!(!server.log().has(" back that process "), "{}", server.log());
    server.stop();
    load.expect_nothing_lost();
}

#[test]
fn l2_idle_connections_move_and_the_log_says_so() {
    let mut server = start(&[]);
    let mut connections: Vec<_> = (0..300).map(|_| server.connect()).collect();
    for _ in 0..2 {
        let old = server.restart();
        let moved = format!(
            "graceful[{}]: moved 300 idle connections to process {}",
            old.id(),
            server.serving().id()
        );
        server.log().wait_for(&moved);
        old.expect_exit(0, server.log());
        for connection in &mut connections {
            let response = connection.get("/pid");
            assert!(!response.says_close());
            assert_eq!(response.text(), server.serving().id().to_string());
        }
    }
    drop(connections);
    server.stop();
}

/// A request whose head may be cut anywhere; the first byte could be the first of HTTP/2, too.
const HEAD: &str = "POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\n";

#[test]
fn l3_what_was_read_of_a_head_moves_wherever_it_is_cut() {
    let mut server = start(&[]);
    let mut connections = Vec::new();
    for first in ["", HEAD] {
        for begin in ["", "\r", "\r\n\r\n"] {
            for cut in (0..HEAD.len()).step_by(if begin.is_empty() { 1 } else { 7 }) {
                let mut connection = server.open();
                let rest = match begin {
                    "\r" if cut == 0 => format!("\n{HEAD}hi"),
                    "\r" => continue,
                    _ => format!("{}hi", &HEAD[cut..]),
                };
                let first = format!("{first}{}", if first.is_empty() { "" } else { "hi" });
                connection.send(format!("{first}{begin}{}", &HEAD[..cut]));
                if !first.is_empty() {
                    assert_eq!(connection.response().status, 200);
                }
                connections.push((connection, rest));
            }
        }
    }
    server.wait_until_read(connections.iter().map(|(connection, _)| connection));
    // Half a head moves on, too.
    let first = server.restart();
    let second = server.restart();
    first.wait(server.log());
    second.wait(server.log());
    assert!(!server.log().has(" back that process "), "{}", server.log());
    for (connection, rest) in &mut connections {
        connection.send(&*rest);
        let response = connection.response();
        let expected = format!("{} hi", server.serving().id());
        assert_eq!(response.text(), expected, "{rest:?}\n{}", server.log());
        assert!(!response.says_close(), "{rest:?}");
    }
    drop(connections);
    server.stop();
}

#[test]
fn l3_half_a_preface_moves_and_its_rest_begins_http2() {
    let mut server = start(&[]);
    let (begin, rest) = http2::PREFACE.split_at(7);
    let mut connection = server.open();
    connection.send(begin);
    server.wait_until_read([&connection]);
    server.restart().expect_exit(0, server.log());
    connection.send(rest);
    // An empty SETTINGS.
    connection.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let frame = connection.exactly(9).expect("it answers").expect("so");
    assert_eq!(frame[3], 4, "the server begins with its SETTINGS");
    drop(connection);
    server.stop();
}

#[test]
fn l3_a_long_head_moves() {
    for is_first in [true, false] {
        let mut server = start(&[]);
        let mut connection = begin_long_head(&server, 30_000, is_first);
        server.restart().expect_exit(0, server.log());
        connection.send("\r\n\r\n");
        let response = connection.response();
        assert_eq!(response.text(), server.serving().id().to_string());
        assert!(!response.says_close());
        drop(connection);
        server.stop();
    }
}

#[test]
fn l3_a_head_that_is_too_long_to_move_is_completed_and_its_connection_moves() {
    for is_first in [true, false] {
        try_until_in_time(|| {
            let mut server = start(&[]);
            let mut connection = begin_long_head(&server, 40_000, is_first);
            let begin = Instant::now();
            let old = server.restart();
            // Fails where the process could not wait any longer.
            let sent = connection.try_send("\r\n\r\n");
            let is_in_time = begin.elapsed() < HEAD_LIMIT;
            if is_in_time {
                sent.expect("a server that waits takes what is sent");
                let response = connection.response();
                assert_eq!(response.text(), old.id().to_string());
                assert!(!response.says_close());
                server.expect_moved(&mut connection);
            }
            is_in_time
        });
    }
}

/// Opens a connection with a head that is complete but for its end, and has been read.
fn begin_long_head(server: &Deployment, length: usize, is_first: bool) -> Connection {
    let mut connection = server.open();
    if !is_first {
        connection.get("/pid");
    }
    let filler = "x".repeat(length);
    connection.send(format!("GET /pid HTTP/1.1\r\nhost: test\r\nx: {filler}"));
    server.wait_until_read([&connection]);
    connection
}

/// Fails unless the connection goes on with the successor, and `old` ends well for it.
#[track_caller]
fn expect_handed_on(server: Deployment, old: &Generation, mut connection: Connection) {
    server.expect_moved(&mut connection);
    old.expect_exit(0, server.log());
    drop(connection);
    server.stop();
}

#[test]
fn l4_a_slow_response_does_not_say_close_and_its_connection_moves() {
    let mut server = start(&[]);
    let mut request = server.sleeping(300);
    let old = server.restart();
    let response = request.response();
    assert!(
        response.status == 200 && !response.says_close(),
        "{response:?}"
    );
    expect_handed_on(server, &old, request);
}

#[test]
fn l4_an_upload_goes_on_and_its_connection_moves() {
    let mut server = start(&[]);
    let mut request = server.uploading();
    let old = server.restart();
    assert!(!finish_upload(&mut request).says_close());
    expect_handed_on(server, &old, request);
}

/// Whether the client has been told to continue before the restart or is told in the drain.
#[test]
fn l4_an_upload_that_waits_for_leave_goes_on_and_its_connection_moves() {
    for wait in ["now", "drain"] {
        let mut server = start(&[]);
        let mut request = server.connect();
        let head = format!(
            "POST /upload?wait={wait} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n"
        );
        request.send(head);
        server.log().wait_for("handling /upload");
        if wait == "now" {
            assert_eq!(request.head().status, 100);
        }
        let old = server.restart();
        if wait == "drain" {
            assert_eq!(request.head().status, 100);
        }
        request.send("01234");
        assert!(!finish_upload(&mut request).says_close());
        expect_handed_on(server, &old, request);
    }
}

#[test]
fn l4_a_download_that_fills_its_socket_goes_on_and_its_connection_moves() {
    const BYTES: usize = 20_000_000;
    let mut server = start(&[]);
    let mut request = server.connect();
    let mut fresh = Connection::open(&server.addresses()[0]);
    for request in [&mut request, &mut fresh] {
        request.send(get(&format!("/big?bytes={BYTES}")));
    }
    server.log().wait_for_times("finished /big", 2);
    let old = server.restart();
    server.connect();
    assert!(old.is_running());
    for request in [&mut request, &mut fresh] {
        assert_eq!(request.response().body.len(), BYTES);
        server.expect_moved(request);
    }
    old.expect_exit(0, server.log());
    drop((request, fresh));
    server.stop();
}

#[test]
fn l4_a_stream_goes_on_and_its_connection_moves() {
    let mut server = start(&[]);
    let mut request = server.connect();
    request.send(get("/stream?n=30&ms=20"));
    let head = request.head();
    let old = server.restart();
    let body = request.body(&head).expect("the stream completes");
    assert!(body.ends_with(b"29;"));
    expect_handed_on(server, &old, request);
}

#[test]
fn l4_pipelined_requests_are_answered_and_their_connection_moves() {
    let mut server = start(&[]);
    let mut request = server.uploading();
    let rest = get("/").repeat(20);
    let old = server.restart();
    request.send(format!("56789{rest}"));
    for _ in 0..21 {
        let response = request.response();
        assert!(
            response.status == 200 && !response.says_close(),
            "{response:?}"
        );
    }
    expect_handed_on(server, &old, request);
}

#[test]
fn l4_a_request_that_outlives_two_restarts_goes_to_the_third_process() {
    outlive_two_restarts(true);
}

#[test]
fn l4_a_request_that_outlives_the_second_process_goes_to_the_third() {
    outlive_two_restarts(false);
}

/// Restarts twice during requests to two listeners, which the three processes know in different orders.
fn outlive_two_restarts(second_stays: bool) {
    let unix = Listen::unix();
    let unix = format!("listen=unix:{}", unix.path().expect("it has one").display());
    let (tcp, more) = ("listen=127.0.0.1:0", "listen=[::1]:0");
    let mut server = start(&[more, tcp, &unix]);
    let addresses = server.addresses()[1..].to_vec();
    let upload = |server: &Deployment| -> Vec<_> {
        let upload = |address| {
            let mut request = server.connect_to(address);
            server.begin_upload(&mut request);
            request
        };
        addresses.iter().map(upload).collect()
    };
    let mut of_first = upload(&server);
    server.set(&[PATIENT[0], PATIENT[1], &unix, tcp, more]);
    let first = server.restart();
    let mut of_second = upload(&server);
    server.set(&[PATIENT[0], PATIENT[1], tcp, &unix]);
    let second = server.restart();
    let finish = |requests: &mut Vec<Connection>, server: &Deployment| {
        for request in requests {
            assert!(!finish_upload(request).says_close(), "{}", server.log());
            server.expect_moved(request);
        }
    };
    if second_stays {
        finish(&mut of_first, &server);
        first.wait(server.log());
        assert!(second.is_running());
        finish(&mut of_second, &server);
    } else {
        finish(&mut of_second, &server);
        second.wait(server.log());
        assert!(first.is_running());
        finish(&mut of_first, &server);
    }
    first.wait(server.log());
    second.wait(server.log());
    assert!(!server.log().has(" back that process "), "{}", server.log());
    drop((of_first, of_second));
    server.stop();
}

#[test]
fn what_cannot_move_over_tls_ends_as_before() {
    let certificate = Certificate::new();
    let tls = certificate.setting();
    let mut server = Deployment::start_tls(PROGRAM, &[PATIENT[0], PATIENT[1], &tls]);
    let address = server.addresses()[0].clone();
    let mut idle = certificate.connect(&address, "http/1.1");
    assert_eq!(idle.get("/").status, 200);
    let old = server.restart();
    old.expect_to_end(&mut idle);
    old.expect_exit(0, server.log());
    assert!(!server.log().has(" moved"), "{}", server.log());
}

#[test]
fn what_cannot_move_as_http2_ends_as_before() {
    let mut server = start(&[]);
    let mut client = Http2::over(server.open());
    client.get(1, "/sleep?ms=100&from=drain");
    server.log().wait_for("handling /sleep");
    let old = server.restart();
    let frames = client.rest();
    http2::expect_no_loss(&frames);
    assert_eq!(http2::body_of(1, &frames), "slept beside 0");
    old.expect_exit(0, server.log());
    assert!(!server.log().has(" moved"), "{}", server.log());
    server.stop();
}

#[test]
fn what_cannot_move_of_a_listener_that_is_dropped_ends_as_before() {
    let (kept, dropped) = ("listen=127.0.0.1:0", "listen=[::1]:0");
    let mut server = start(&[kept, dropped]);
    let mut of_kept = server.connect();
    let mut of_dropped = server.connect_to(&server.addresses()[1]);
    server.set(&[PATIENT[0], PATIENT[1], kept]);
    let old = server.restart();
    server.expect_moved(&mut of_kept);
    old.expect_to_end(&mut of_dropped);
    old.expect_exit(0, server.log());
    server.log().wait_for(", 1 connection moved");
    drop(of_kept);
    server.stop();
}
