//! Other frameworks' servers: adapted, they lose nothing; as they are, they run.

use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use graceful_tests::http2::{self, Frame, GOODBYE, Http2, body_of, expect_no_loss, is_goodbye};
use graceful_tests::load::Style;
use graceful_tests::{
    Address, Connection, Deployment, LIMIT, Load, Response, SOON, Server, Signal, command, get,
    try_until_in_time,
};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

macro_rules! with_axum_and_tonic {
    ($($name:ident)*) => {
        mod axum {
            $(#[test] fn $name() { super::$name("framework=axum"); })*
        }

        mod tonic {
            $(#[test] fn $name() { super::$name("framework=tonic"); })*
        }
    };
}

with_axum_and_tonic! {
    a_request_in_flight_finishes_and_is_named
    a_server_as_it_is_finishes_what_is_in_flight
    an_upload_under_way_is_read
    c14_a_queue_waits_for_a_descriptor_and_is_named
    clients_that_connect_for_each_request_lose_nothing
    half_a_head_is_ended
    half_a_head_may_be_completed
    http2_clients_that_do_not_follow_are_ended
    http2_clients_that_do_not_follow_and_go_on_asking_are_ended
    http2_clients_that_flood_pings_and_never_read_are_ended
    http2_streams_finish
    k8_a_response_of_one_piece_is_in_flight_until_the_kernel_has_it
    idle_connections_are_closed
    k7_what_is_dropped_because_its_client_has_gone_is_counted
    k7_what_is_cut_has_not_been_left
    k7_a_large_response_that_was_read_is_no_request
    k7_a_panic_over_http1_is_counted
    k7_what_is_answered_has_not_been_left
    k7_who_does_not_read_on_has_left
    k7_what_an_offence_ends_has_not_finished
    k7_who_resets_a_small_response_is_named
    http2_clients_whose_head_never_ends_are_ended
    keep_alive_clients_lose_nothing
    lame_duck_goes_on_accepting
    pipelined_requests_are_answered
    pipelined_requests_are_answered_whatever_came_before
    pipelined_requests_are_answered_wherever_hyper_pauses
    requests_in_flight_are_counted
    restarts_under_load_lose_nothing
    restarts_that_fail_under_load_lose_nothing
    silent_connections_are_closed
    the_accept_queue_is_served
    the_socket_of_an_idle_connection_is_read
    unix_sockets_are_adapted_too
    with_a_server_of_ours_beside
}

fn c14_a_queue_waits_for_a_descriptor_and_is_named(framework: &str) {
    let server = start(framework, &[]);
    // Longer than anything else of the adapter.
    let mut holder = server.sleeping(4000);
    server.exhaust_descriptors();
    let mut waiting = server.freeze(|| {
        let waiting = asking(&server, &get("/"));
        server.signal(Signal::TERM);
        waiting
    });
    let line = server.wait_for("waiting for");
    let queue = format!("1 connection in the queue of http://{}", server.address());
    assert!(line.contains(&queue), "{line}");
    holder.response().expect_last();
    assert_eq!(waiting.response().text(), "hello");
    waiting.expect_eof();
    server.exit_within(SOON).expect(0);
}

fn the_accept_queue_is_served(framework: &str) {
    let server = start(framework, &[]);
    let connections = server.freeze(|| {
        let connections: Vec<_> = (0..100).map(|_| asking(&server, &get("/"))).collect();
        server.signal(Signal::TERM);
        connections
    });
    for mut connection in connections {
        assert_eq!(connection.response().text(), "hello");
        connection.expect_eof();
    }
    server.exit_within(SOON).expect(0);
}

fn keep_alive_clients_lose_nothing(framework: &str) {
    for _ in 0..5 {
        lose_nothing(framework, Style::KeepAlive);
    }
}

fn clients_that_connect_for_each_request_lose_nothing(framework: &str) {
    for _ in 0..5 {
        lose_nothing(framework, Style::Reconnect);
    }
}

fn a_request_in_flight_finishes_and_is_named(framework: &str) {
    let server = start(framework, &[]);
    let mut connection = server.sleeping(2000);
    server.drain();
    connection.response().expect_last();
    connection.expect_eof();
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("draining 1 request;"), "{log}");
    assert!(
        log.has("waiting for 1 request: GET /sleep from 127.0.0.1:"),
        "{log}"
    );
    assert!(log.has("1 request finished, 0 cut"), "{log}");
}

fn requests_in_flight_are_counted(framework: &str) {
    let server = start(framework, &[]);
    let _sleeping = server.sleeping(600_000);
    assert_eq!(server.connect().get("/requests").text(), "2");
}

fn pipelined_requests_are_answered(framework: &str) {
    let server = start(framework, &["grace=30s"]);
    let mut connection = server.connect();
    connection.send(get("/sleep?ms=300").repeat(3));
    server.wait_for("handling /sleep");
    server.drain();
    for _ in 0..2 {
        let response = connection.response();
        assert!(
            response.status == 200 && !response.says_close(),
            "{response:?}"
        );
    }
    connection.response().expect_last();
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

/// HTTP/2 calls from tasks of its own, and behind long pipelines a task has moved to another thread.
fn pipelined_requests_are_answered_whatever_came_before(framework: &str) {
    const CONNECTIONS: usize = 8;
    let server = start(framework, &["grace=30s"]);
    let mut http2 = Http2::over(server.connect());
    http2.get(1, "/");
    http2.wait_for_data(1);
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = server.connect();
                for _ in 0..5 {
                    connection.send(get("/sleep?ms=1") + &get("/").repeat(300));
                    for _ in 0..=300 {
                        assert_eq!(connection.response().status, 200);
                    }
                }
            });
        }
    });
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| asking(&server, &(get("/sleep?ms=300&from=drain") + &get("/"))))
        .collect();
    server.wait_for_times("handling /sleep", 6 * CONNECTIONS);
    server.drain();
    for connection in &mut connections {
        assert_eq!(connection.response().status, 200);
        connection.response().expect_last();
        connection.expect_eof();
    }
    drop(http2);
    server.exit_within(SOON).expect(0);
}

/// Who goes on asking is answered for a second of the drain, so that a try that takes longer says nothing.
fn pipelined_requests_are_answered_wherever_hyper_pauses(framework: &str) {
    // More than it answers without a pause, after which another thread may go on.
    const COUNT: usize = 150;
    try_until_in_time(|| {
        let server = start(framework, &["grace=30s"]);
        let mut connections: Vec<_> = (0..8).map(|_| server.connect()).collect();
        for connection in &mut connections {
            connection.send(get("/sleep?ms=1&from=drain") + &get("/").repeat(COUNT));
        }
        server.wait_for_times("handling /sleep", connections.len());
        let begin = Instant::now();
        server.drain();
        let read = |mut connection: Connection| {
            let mut responses = Vec::new();
            while let Ok(response) = connection.try_response() {
                responses.push(response);
            }
            responses
        };
        let read: Vec<_> = connections.into_iter().map(read).collect();
        let is_in_time = begin.elapsed() < Duration::from_secs(1);
        for responses in read.iter().filter(|_| is_in_time) {
            assert_eq!(responses.len(), COUNT + 1);
            let (last, others) = responses.split_last().expect("there are some");
            let is_open = |response: &Response| response.status == 200 && !response.says_close();
            assert!(others.iter().all(is_open), "{others:?}");
            last.expect_last();
        }
        server.exit_within(SOON).expect(0);
        is_in_time
    });
}

fn restarts_under_load_lose_nothing(framework: &str) {
    let program = env!("CARGO_BIN_EXE_framework");
    let mut server = Deployment::start(program, &["timeout=60s", "grace=20s", framework]);
    let loads = [Style::KeepAlive, Style::Reconnect]
        .map(|style| Load::start(&server.addresses()[0], 8, style));
    let serve_some = || {
        for load in &loads {
            load.wait_until_served(load.served() + 256);
        }
    };
    for _ in 0..5 {
        serve_some();
        server.restart().expect_exit(0, server.log());
    }
    serve_some();
    loads.iter().for_each(Load::expect_nobody_refused);
    server.stop();
    loads.into_iter().for_each(Load::expect_nothing_lost);
}

fn restarts_that_fail_under_load_lose_nothing(framework: &str) {
    let program = env!("CARGO_BIN_EXE_framework");
    let settings = [
        "lame_duck=1s",
        "pid_file=missing/pid",
        "grace=20s",
        framework,
    ];
    let mut server = Deployment::start(program, &settings);
    let load = Load::start(&server.addresses()[0], 8, Style::Reconnect);
    for _ in 0..20 {
        load.wait_until_served(load.served() + 64);
        server.fail_to_restart();
    }
    load.expect_nobody_refused();
    server.stop();
    load.expect_nothing_lost();
}

fn an_upload_under_way_is_read(framework: &str) {
    let server = start(framework, &[]);
    let mut upload = server.connect_accepted(1).remove(0);
    upload.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhe");
    server.drain();
    upload.send("llo");
    let response = upload.response();
    response.expect_last();
    assert_eq!(response.text(), "5");
    upload.expect_eof();
    server.exit_within(SOON).expect(0);
}

fn idle_connections_are_closed(framework: &str) {
    let server = start(framework, &[]);
    let mut connection = server.connect();
    assert_eq!(connection.get("/").status, 200);
    server.drain();
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

fn the_socket_of_an_idle_connection_is_read(framework: &str) {
    let server = start(framework, &["grace=50ms"]);
    let mut connections = server.connect_accepted(2);
    assert_eq!(connections[0].get("/").status, 200);
    sleep(Duration::from_millis(100));
    server.freeze(|| {
        for connection in &mut connections {
            connection.send(get("/"));
        }
        server.signal(Signal::TERM);
    });
    for mut connection in connections {
        assert_eq!(connection.response().status, 200);
        connection.expect_eof();
    }
    server.exit_within(SOON).expect(0);
}

fn silent_connections_are_closed(framework: &str) {
    for http1 in ["http1=yes", "http1=no"] {
        let server = start(framework, &[http1]);
        let connections: Vec<_> = (0..10).map(|_| server.connect()).collect();
        // Accepted after the others, so that they have been, too.
        let mut client = Http2::over(server.connect());
        client.get(1, "/");
        client.wait_for_data(1);
        drop(client);
        server.drain();
        for mut connection in connections {
            // tonic without HTTP/1 says something first.
            connection.rest().expect("an orderly close");
        }
        server.exit_within(SOON).expect(0);
    }
}

const HALF_HEADS: [&str; 4] = ["G", "P", "PRI * HT", "GET / HTTP/1.1\r\nhost: te"];

fn half_a_head_is_ended(framework: &str) {
    for first in HALF_HEADS {
        for is_used in [false, true] {
            let server = start(framework, &[]);
            let mut connection = begin(&server, first, is_used);
            server.drain();
            connection.rest().expect("an orderly close");
            let log = server.exit_within(SOON).expect(0);
            let counted = ": 0 requests finished, 0 cut, 1 half request timed out";
            assert!(log.has(counted), "{first:?}: {log}");
        }
    }
}

fn half_a_head_may_be_completed(framework: &str) {
    for first in ["G", "GET / HTTP/1.1\r\nhost: te"] {
        for is_used in [false, true] {
            try_until_in_time(|| {
                let server = start(framework, &["grace=30s"]);
                let mut connection = begin(&server, first, is_used);
                let drain = Instant::now();
                server.drain();
                let is_in_time = connection.complete_in_time(&get("/")[first.len()..], drain);
                if is_in_time {
                    server.exit_within(SOON).expect(0);
                }
                is_in_time
            });
        }
    }
}

fn lame_duck_goes_on_accepting(framework: &str) {
    let server = start(framework, &["lame_duck=2s"]);
    assert_eq!(server.connect().get("/").status, 200);
    server.signal(Signal::TERM);
    server.wait_for("draining");
    while !server.connect().get("/").says_close() {}
    server.exit_within(SOON).expect(0);
}

fn http2_streams_finish(framework: &str) {
    let server = start(framework, &[]);
    let mut client = Http2::over(server.connect());
    client.get(1, "/sleep?ms=700");
    server.wait_for("handling /sleep");
    server.drain();
    let frames = client.rest();
    assert_eq!(body_of(1, &frames), "slept");
    assert!(has_goaway(&frames), "{frames:?}");
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("1 request finished, 0 cut"), "{log}");
}

fn k8_a_response_of_one_piece_is_in_flight_until_the_kernel_has_it(framework: &str) {
    const SIZE: u32 = 5_000_000;
    let server = start(framework, &[]);
    let mut client = Http2::over(server.connect());
    client.get(1, &format!("/big?bytes={SIZE}"));
    // All of it is in the hands of the framework's HTTP/2 from here on.
    let mut frames = Vec::new();
    while !matches!(frames.last(), Some(Frame::Data { .. })) {
        frames.extend(client.next());
    }
    server.drain();
    let line = server.wait_for("waiting for");
    assert!(line.contains("1 request: GET /big"), "{line}");
    // Longer than a connection is kept that has no stream.
    sleep(Duration::from_secs(2));
    for _ in 0..5 {
        client.make_room(1, SIZE / 5);
        sleep(Duration::from_millis(100));
    }
    frames.extend(client.rest());
    assert_eq!(body_of(1, &frames).len(), SIZE as usize);
    assert!(has_goaway(&frames), "{frames:?}");
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("1 request finished, 0 cut"), "{log}");
}

fn k7_what_is_dropped_because_its_client_has_gone_is_counted(framework: &str) {
    let server = start(framework, &[]);
    let mut leaving = server.connect();
    leaving.send(get("/sleep?ms=50000"));
    let mut client = Http2::over(server.connect());
    client.get(1, "/sleep?ms=50000");
    client.get(3, "/sleep?ms=1500");
    server.wait_for_times("handling /sleep", 3);
    server.drain();
    drop(leaving);
    client.reset(1);
    client.rest();
    let log = server.exit_within(SOON).expect(0);
    let counted = "1 request finished, 0 cut, 2 left by their clients: GET /sleep from ";
    assert!(log.has(counted), "{log}");
}

fn k7_a_large_response_that_was_read_is_no_request(framework: &str) {
    let server = start(framework, &[]);
    let read = || {
        let mut connection = server.connect();
        assert_eq!(connection.get("/big?bytes=100000").body.len(), 100_000);
        connection
    };
    let idle = [(); 5].map(|()| read());
    // The server learns that the last one is written a moment after the client has it.
    let mut asking = server.connect();
    try_until_in_time(|| asking.get("/requests").text() == "1");
    server.drain();
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has(": no request was in flight"), "{log}");
    drop(idle);
}

fn k7_a_panic_over_http1_is_counted(framework: &str) {
    let server = start(framework, &[]);
    let mut connection = server.connect();
    connection.send(get("/panic?ms=1000"));
    server.wait_for("handling /panic");
    server.drain();
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has(": 1 request finished, 0 cut"), "{log}");
}

/// Nobody asks for the body of a response to HEAD, and a handler that panics makes none.
fn k7_what_is_answered_has_not_been_left(framework: &str) {
    let server = start(framework, &[]);
    let mut client = Http2::over(server.connect());
    client.head(1, "/sleep?ms=1000");
    client.get(3, "/panic?ms=1000");
    server.wait_for("handling /sleep");
    server.wait_for("handling /panic");
    server.drain();
    client.rest();
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has(": 2 requests finished, 0 cut"), "{log}");
    assert!(!log.has("left by"), "{log}");
}

fn k7_who_does_not_read_on_has_left(framework: &str) {
    for is_reset in [true, false] {
        let server = start(framework, &[]);
        let client = Http2::over(server.connect());
        http2::expect_who_reads_no_further_to_be_counted(server, client, is_reset);
    }
}

fn k7_what_an_offence_ends_has_not_finished(framework: &str) {
    let server = start(framework, &[]);
    let client = Http2::over(server.connect());
    http2::expect_offence_to_finish_nothing(server, client);
}

/// Not another one, of which nobody asks for the body either.
fn k7_who_resets_a_small_response_is_named(framework: &str) {
    let server = start(framework, &[]);
    // One of less than a frame is as good as sent.
    let mut clients = ["/big?bytes=60000", "/big?bytes=10000"].map(|path| {
        let mut client = Http2::over(server.connect());
        // Uses up most of the window of the connection.
        client.get(1, "/big?bytes=60000");
        client.wait_for_end(1);
        client.get(3, path);
        client.wait_for_data(3);
        client
    });
    let mut other = Http2::over(server.connect());
    other.head(1, "/sleep?ms=1000");
    server.wait_for("handling /sleep");
    server.drain();
    for client in &mut clients {
        client.reset(3);
        client.rest();
    }
    other.rest();
    let log = server.exit_within(SOON).expect(0);
    let counted = "0 cut, 1 left by its client: GET /big from ";
    assert!(log.has(counted), "{log}");
}

fn k7_what_is_cut_has_not_been_left(framework: &str) {
    let server = start(framework, &["timeout=3s", "hook=yes"]);
    let mut connection = server.connect();
    connection.send(get("/sleep?ms=50000"));
    let mut client = Http2::over(server.connect());
    client.get(1, "/sleep?ms=50000");
    server.wait_for_times("handling /sleep", 2);
    server.drain();
    let log = server.exit_within(SOON).log;
    assert!(log.has("hook runs"), "{log}");
    let lines = log.lines_with("stopped in");
    assert!(
        lines.concat().ends_with(": 0 requests finished, 2 cut"),
        "{lines:?}"
    );
}

fn http2_clients_that_do_not_follow_are_ended(framework: &str) {
    let server = start(framework, &[]);
    let mut client = Http2::over(server.connect());
    client.get(1, "/");
    client.wait_for_end(1);
    server.drain();
    // Reads everything and answers no PING.
    let frames: Vec<_> = client.by_ref().collect();
    assert!(has_goaway(&frames), "{frames:?}");
    server.exit_within(SOON).expect(0);
}

fn http2_clients_that_do_not_follow_and_go_on_asking_are_ended(framework: &str) {
    let server = start(framework, &["timeout=8s"]);
    let mut client = Http2::over(server.connect());
    client.get(1, "/sleep?ms=100");
    server.wait_for("handling /sleep");
    server.drain();
    let frames = client.asks_on_and_on(3, "/sleep?ms=100");
    expect_no_loss(&frames);
    server.exit_within(SOON).expect(0);
}

fn http2_clients_whose_head_never_ends_are_ended(framework: &str) {
    for is_before in [true, false] {
        let server = start(framework, &["timeout=8s"]);
        let client = Http2::over(server.connect());
        http2::expect_half_head_to_time_out(server, client, is_before);
    }
}

fn http2_clients_that_flood_pings_and_never_read_are_ended(framework: &str) {
    let server = start(framework, &[]);
    let client = http2::flood(server.address());
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
    drop(client);
}

#[test]
fn k9_axums_websockets_over_http2_are_told_named_and_waited_for() {
    let server = start("framework=axum", &["timeout=6s"]);
    let mut client = Http2::over(server.connect());
    client.get(1, "/sleep?ms=5000");
    server.wait_for("handling /sleep");
    for stream in [3, 5] {
        client.websocket(stream, "/ws");
    }
    server.wait_for_times("socket open", 2);
    client.reset(3);
    // Is read behind it.
    client.get(7, "/");
    client.wait_for_data(7);
    server.drain();
    client.wait_for(|frame| is_goodbye(5, frame));
    let line = server.wait_for("waiting for");
    assert!(line.contains("1 request: GET /sleep from"), "{line}");
    let named = "1 upgraded connection: CONNECT /ws from";
    assert!(line.contains(named), "{line}");
    // Longer than a connection is kept that has no stream.
    client.reset(1);
    sleep(Duration::from_secs(3));
    assert!(server.is_running(), "{}", server.log());
    client.data(5, GOODBYE, true);
    client.wait_for(|frame| {
        matches!(
            frame,
            Frame::Data {
                stream: 5,
                end: true,
                ..
            }
        )
    });
    client.rest();
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("socket task ends"), "{log}");
}

/// Ends a request on the same connection or on another one, in the way that a client chooses.
#[test]
fn k9_axums_websockets_are_named_whatever_ends_beside_them() {
    type End = fn(&mut Http2, Http2);
    let ends: [End; 3] = [
        |client, _other| {
            client.get(3, "/big?bytes=3000000");
            client.make_room(3, 3_000_000);
            client.wait_for(|frame| {
                matches!(
                    frame,
                    Frame::Data {
                        stream: 3,
                        end: true,
                        ..
                    }
                )
            });
        },
        |client, _other| {
            client.get(3, "/sleep?ms=60000");
            client.reset(3);
        },
        |_client, mut other| other.get(1, "/sleep?ms=60000"),
    ];
    for end in ends {
        let server = start("framework=axum", &["timeout=6s"]);
        let mut client = Http2::over(server.connect());
        client.websocket(1, "/ws");
        server.wait_for("socket open");
        end(&mut client, Http2::over(server.connect()));
        // Is read behind it.
        client.get(5, "/");
        client.wait_for_data(5);
        server.drain();
        client.wait_for(|frame| is_goodbye(1, frame));
        let line = server.wait_for("waiting for 1 upgraded connection");
        assert!(line.contains(": CONNECT /ws from"), "{line}");
        client.data(1, GOODBYE, true);
        client.rest();
        server.exit_within(SOON).expect(0);
    }
}

fn unix_sockets_are_adapted_too(framework: &str) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("socket");
    let server = start(framework, &[&format!("listen=unix:{}", path.display())]);
    let mut kept = server.connect();
    assert_eq!(kept.get("/").status, 200);
    let connections = server.freeze(|| {
        let connections: Vec<_> = (0..20).map(|_| asking(&server, &get("/"))).collect();
        server.signal(Signal::TERM);
        connections
    });
    for mut connection in connections {
        assert_eq!(connection.response().text(), "hello");
        connection.expect_eof();
    }
    kept.expect_eof();
    server.exit_within(SOON).expect(0);
    assert!(!path.exists(), "the path is removed at the end");
}

#[test]
fn k7_what_a_server_of_ours_cuts_has_not_been_left() {
    k7_what_is_cut_has_not_been_left("framework=graceful");
}

fn web_socket(address: &Address) -> WebSocket<TcpStream> {
    let address = address.tcp();
    let stream = TcpStream::connect(address).expect("the server listens");
    let limited = stream.set_read_timeout(Some(LIMIT));
    limited.expect("a socket has this option");
    let (socket, _) = tungstenite::client(format!("ws://{address}/ws"), stream)
        .unwrap_or_else(|error| panic!("no WebSocket: {error}"));
    socket
}

#[test]
fn axums_websockets_are_waited_for() {
    let server = start("framework=axum", &[]);
    let mut socket = web_socket(server.address());
    server.wait_for("socket open");
    server.drain();
    let message = socket.read().expect("the server says goodbye");
    assert!(
        matches!(&message, Message::Close(Some(goodbye)) if goodbye.code == CloseCode::Away),
        "{message:?}"
    );
    // Longer than anything else of the adapter.
    sleep(Duration::from_millis(1500));
    assert!(server.is_running(), "{}", server.log());
    // Sends the answer, and then finds the connection closed.
    assert!(socket.read().is_err());
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("socket task ends"), "{log}");
}

#[test]
fn an_upgrade_in_a_drain_does_not_say_close() {
    let server = start("framework=axum", &[]);
    let mut connection = server.connect();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    connection.send(format!(
        "GET /slow_ws?ms=2500 HTTP/1.1\r\nhost: test\r\n{upgrade}\r\n"
    ));
    server.wait_for("handling /sleep");
    server.drain();
    let head = connection.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.header("connection"), Some("upgrade"));
    connection.send(GOODBYE);
    server.exit_within(SOON).expect(0);
}

fn with_a_server_of_ours_beside(framework: &str) {
    let server = start(framework, &["beside=graceful"]);
    let mut connections: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| {
            let mut connection = Connection::open(address);
            connection.send(get("/sleep?ms=700"));
            connection
        })
        .collect();
    server.wait_for_times("handling /sleep", 2);
    server.drain();
    for connection in &mut connections {
        connection.response().expect_last();
        connection.expect_eof();
    }
    server.exit_within(SOON).expect(0);
}

fn a_server_as_it_is_finishes_what_is_in_flight(framework: &str) {
    let server = start(framework, &["as=is"]);
    let mut connection = server.sleeping(700);
    // Not `drain`: a listener that nobody seals resets the connects that meet its end.
    server.signal(Signal::TERM);
    connection.response().expect_last();
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

/// Starts a server that would need a minute if anything had to wait for the deadline.
fn start(framework: &str, settings: &[&str]) -> Server {
    let mut command = command!("framework", framework);
    // The first one counts.
    command.args(settings).arg("timeout=60s");
    Server::start(command)
}

/// Opens a connection and sends `request` on it.
fn asking(server: &Server, request: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(request);
    connection
}

/// Sends a part of a request, as the first or as the second on its connection.
fn begin(server: &Server, first: &str, is_used: bool) -> Connection {
    let mut connection = server.connect_accepted(1).remove(0);
    if is_used {
        assert_eq!(connection.get("/").status, 200);
    }
    connection.send(first);
    connection
}

/// Stops a server under load.
fn lose_nothing(framework: &str, style: Style) {
    // So that it does not matter how long the machine keeps a client from running.
    let server = start(framework, &["grace=20s"]);
    let load = Load::start(server.address(), 32, style);
    load.wait_until_served(2000);
    server.signal(Signal::TERM);
    load.expect_nothing_lost();
    server.exit_within(SOON).expect(0);
}

fn has_goaway(frames: &[Frame]) -> bool {
    frames
        .iter()
        .any(|frame| matches!(frame, Frame::GoAway { error: 0, .. }))
}

/// The process that has answered.
fn process_of(connection: &mut Connection) -> String {
    let response = connection.get("/pid");
    assert!(!response.says_close(), "{response:?}");
    response.text()
}

#[test]
fn l4_connections_of_an_adapted_server_move() {
    let program = env!("CARGO_BIN_EXE_framework");
    let mut server = Deployment::start(program, &["timeout=60s", "framework=axum"]);
    let mut idle: Vec<_> = (0..20)
        .map(|_| server.connect_to(&server.addresses()[0]))
        .collect();
    let mut unused = server.connect_to(&server.addresses()[0]);
    let mut busy = server.connect_to(&server.addresses()[0]);
    let first = server.serving().id().to_string();
    assert!(
        idle.iter_mut()
            .all(|connection| process_of(connection) == first)
    );
    for _ in 0..3 {
        // It takes longer than an adapted framework waits otherwise.
        busy.send("GET /sleep?ms=2500&from=drain HTTP/1.1\r\nhost: test\r\n\r\n");
        server.log().wait_for("handling /sleep");
        let before = server.restart();
        let slept = busy.response();
        assert_eq!(
            (slept.text().as_str(), slept.says_close()),
            ("slept", false)
        );
        before.expect_exit(0, server.log());
        let now = server.serving().id().to_string();
        let connections = idle.iter_mut().chain([&mut unused, &mut busy]);
        for connection in connections {
            assert_eq!(process_of(connection), now);
        }
    }
    server.stop();
}

#[test]
fn l5_what_an_adapted_server_takes_back_is_answered_and_ends() {
    const COUNT: usize = 8;

    let program = env!("CARGO_BIN_EXE_framework");
    let settings = ["timeout=60s", "grace=30s", "framework=axum"];
    let mut server = Deployment::start(program, &settings);
    let address = &server.addresses()[0];
    let mut connections: Vec<_> = (0..COUNT).map(|_| server.connect_to(address)).collect();
    for connection in &mut connections {
        // Longer than it takes to stop the successor.
        connection.send(get("/sleep?ms=3000&from=drain"));
    }
    server.log().wait_for_times("handling /sleep", COUNT);
    let old = server.restart();
    server.serving().freeze();
    for connection in &mut connections {
        assert!(!connection.response().says_close());
    }
    let under_way = format!("{COUNT} connections that the successor is to take");
    server.log().wait_for(&under_way);
    for connection in &mut connections {
        connection.send(get("/pid"));
    }
    server.serving().signal(Signal::KILL);
    for connection in &mut connections {
        let response = connection.response();
        response.expect_last();
        assert_eq!(response.text(), old.id().to_string());
        connection.expect_eof();
    }
    old.expect_exit(1, server.log());
}

#[test]
fn l4_an_upgraded_connection_stays_until_it_ends() {
    let program = env!("CARGO_BIN_EXE_framework");
    for framework in ["framework=graceful", "framework=axum"] {
        let mut server = Deployment::start(program, &["timeout=60s", framework]);
        let mut idle = server.connect_to(&server.addresses()[0]);
        let first = process_of(&mut idle);
        let mut socket = web_socket(&server.addresses()[0]);
        server.log().wait_for("socket open");
        let old = server.restart();
        let message = socket.read().expect("the old process says goodbye");
        assert!(matches!(message, Message::Close(_)), "{message:?}");
        // What is beside it moves.
        while process_of(&mut idle) == first {}
        assert!(old.is_running(), "{}", server.log());
        // Sends the answer, and then finds the connection closed.
        assert!(socket.read().is_err());
        old.expect_exit(0, server.log());
        assert_eq!(process_of(&mut idle), server.serving().id().to_string());
        server.stop();
    }
}
