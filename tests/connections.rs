//! C. Connections in every state that a drain can find them in.
//!
//! Most of it holds for TCP and for UNIX sockets (C12), and runs over both.

use std::thread::sleep;
use std::time::{Duration, Instant};

use graceful_tests::address::is_refusal;
use graceful_tests::load::Style;
use graceful_tests::process::raise_descriptor_limit;
use graceful_tests::{
    Certificate, Connection, LIMIT, Listen, Load, SOON, Server, Signal, command, get,
    try_until_in_time,
};

/// A server that would need a minute if anything had to wait for the deadline.
macro_rules! start {
    ($listen:expr $(, $setting:expr)*) => { $listen.start(command!("echo"), &[$($setting),*]) };
}

macro_rules! over_tcp_and_unix {
    ($($name:ident)*) => {
        mod over_tcp {
            $(#[test] fn $name() { super::$name(&graceful_tests::Listen::tcp()); })*
        }

        mod c12_over_unix {
            $(#[test] fn $name() { super::$name(&graceful_tests::Listen::unix()); })*
        }
    };
}

over_tcp_and_unix! {
    c1_idle_beyond_the_grace_is_closed
    c1_a_request_in_the_socket_of_an_idle_connection_is_answered
    c2_idle_within_the_grace_may_bring_one_request
    c2_what_becomes_idle_in_the_drain_may_bring_one_request
    c3_keep_alive_clients_lose_nothing
    c4_a_flood_of_silent_connects_at_the_stop_holds_nothing_up
    c4_accepted_and_silent_is_closed_after_the_grace
    c5_accepted_before_and_speaking_after_the_signal_is_answered
    c6_half_a_head_may_be_completed
    c6_a_head_that_trickles_in_is_ended
    c6_half_a_head_that_is_never_completed_is_ended
    c7_pipelined_requests_are_answered
    c7_pipelined_requests_with_bodies_are_answered
    c7_a_pipelined_request_that_comes_in_pieces_is_answered
    c7_a_pipeline_is_answered_wherever_the_server_pauses
    c7_a_pipeline_of_thousands_is_answered
    c7_a_pipeline_of_thousands_is_answered_by_a_lame_duck
    c8_a_connect_after_the_seal_is_refused
    c9_connect_per_request_clients_lose_nothing
    c10_the_accept_queue_is_served
    c15_a_connection_limit_holds_and_the_waiting_are_served
    l1_an_idle_connection_parks_and_is_served_again
    l10_clients_in_closed_loops_lose_nothing
    l10_what_is_pipelined_beyond_a_limit_is_answered
    l10_an_idle_connection_is_closed_at_its_limit
    l10_a_request_in_the_socket_at_the_limit_is_answered
}

/// TLS hides what has come and was not read yet, which pipelining depends on.
mod over_tls {
    macro_rules! over_tls {
        ($($name:ident)*) => {
            $(#[test] fn $name() { super::$name(&graceful_tests::Listen::tls()); })*
        };
    }

    over_tls! {
        c7_a_pipeline_of_thousands_is_answered
        c7_a_pipeline_of_thousands_is_answered_by_a_lame_duck
        c7_a_pipelined_request_that_comes_in_pieces_is_answered
        c7_pipelined_requests_are_answered
        c7_pipelined_requests_with_bodies_are_answered
        l1_an_idle_connection_parks_and_is_served_again
        l10_what_is_pipelined_beyond_a_limit_is_answered
        l10_an_idle_connection_is_closed_at_its_limit
        l10_a_request_in_the_socket_at_the_limit_is_answered
    }
}

fn c1_idle_beyond_the_grace_is_closed(listen: &Listen) {
    let server = start!(listen, "grace=50ms");
    let mut connection = server.connect();
    assert_eq!(connection.get("/").status, 200);
    sleep(Duration::from_millis(100));
    server.drain();
    connection.expect_eof();
    listen.expect_clean_end(server);
}

fn c1_a_request_in_the_socket_of_an_idle_connection_is_answered(listen: &Listen) {
    let server = start!(listen, "grace=50ms");
    let mut connection = server.connect();
    assert_eq!(connection.get("/").status, 200);
    sleep(Duration::from_millis(100));
    server.freeze(|| {
        connection.send(get("/"));
        server.signal(Signal::TERM);
    });
    // Whether it says `close` depends on which of the two the process sees first.
    assert_eq!(connection.response().status, 200);
    connection.expect_eof();
    listen.expect_clean_end(server);
}

fn c2_idle_within_the_grace_may_bring_one_request(listen: &Listen) {
    let server = start!(listen, "grace=30s");
    let mut connection = server.connect();
    assert!(!connection.get("/").says_close());
    server.drain();
    connection.get("/").expect_last();
    connection.expect_eof();
    listen.expect_clean_end(server);
}

fn c2_what_becomes_idle_in_the_drain_may_bring_one_request(listen: &Listen) {
    let server = start!(listen, "grace=30s");
    let mut connection = server.connect();
    connection.send(get("/stream?n=5&ms=100"));
    let head = connection.head();
    assert!(
        !head.says_close(),
        "its head went out before the drain: {head:?}"
    );
    server.drain();
    connection.body(&head).expect("the stream completes");
    connection.get("/").expect_last();
    connection.expect_eof();
    listen.expect_clean_end(server);
}

fn c3_keep_alive_clients_lose_nothing(listen: &Listen) {
    for _ in 0..3 {
        lose_nothing(listen, 32, Style::KeepAlive);
    }
}

fn c4_accepted_and_silent_is_closed_after_the_grace(listen: &Listen) {
    let server = start!(listen, "grace=200ms");
    let connections = server.connect_accepted(10);
    server.drain();
    for mut connection in connections {
        connection.expect_eof();
    }
    listen.expect_clean_end(server);
}

fn c4_a_flood_of_silent_connects_at_the_stop_holds_nothing_up(listen: &Listen) {
    let server = start!(listen);
    let mut upload = begin_upload(&server);
    let connections = server.freeze(|| {
        let connections: Vec<_> = (0..100).map(|_| server.connect()).collect();
        server.signal(Signal::TERM);
        connections
    });
    for mut connection in connections {
        connection.expect_eof();
    }
    end_upload(&mut upload);
    listen.expect_clean_end(server);
}

fn c5_accepted_before_and_speaking_after_the_signal_is_answered(listen: &Listen) {
    let server = start!(listen, "grace=30s");
    let mut connection = server.connect_accepted(1).remove(0);
    server.drain();
    sleep(Duration::from_millis(100));
    connection.get("/").expect_last();
    connection.expect_eof();
    listen.expect_clean_end(server);
}

const HALF_HEADS: [&str; 4] = [
    "GET / HTTP/1.1\r\nhost: te",
    "G",
    "\r\n",
    "GET / HTTP/1.1\r\nhost: test\r\n\r\nGET / HTT",
];

fn c6_half_a_head_may_be_completed(listen: &Listen) {
    for first in HALF_HEADS {
        let request = get("/");
        let begun = (0..request.len())
            .rev()
            .find(|end| first.ends_with(&request[..*end]));
        try_until_in_time(|| {
            let server = start!(listen, "grace=30s");
            let begin = Instant::now();
            let mut connection = half_a_head(&server, first);
            sleep(Duration::from_millis(100));
            let is_in_time = connection.complete_in_time(&request[begun.unwrap_or(0)..], begin);
            if is_in_time {
                listen.expect_clean_end(server);
            }
            is_in_time
        });
    }
}

fn c6_half_a_head_that_is_never_completed_is_ended(listen: &Listen) {
    for first in HALF_HEADS {
        let server = start!(listen);
        let mut connection = half_a_head(&server, first);
        let rest = connection.rest().expect("an orderly close");
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "),
            "{rest:?}"
        );
        let log = listen.expect_clean_end(server);
        let is_counted = log.has(", 1 half request timed out");
        assert_eq!(is_counted, !rest.is_empty(), "{first:?}: {log}");
    }
}

fn c6_a_head_that_trickles_in_is_ended(listen: &Listen) {
    let server = start!(listen);
    let mut upload = begin_upload(&server);
    let mut connection = half_a_head(&server, "GET / HTTP/1.1\r\nhost: test\r\nx: ");
    connection.trickle();
    end_upload(&mut upload);
    listen.expect_clean_end(server);
}

fn c7_pipelined_requests_are_answered(listen: &Listen) {
    let server = start!(listen);
    let mut connection = listen.connect(&server);
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
    listen.expect_clean_end(server);
}

fn c7_pipelined_requests_with_bodies_are_answered(listen: &Listen) {
    let server = start!(listen);
    let mut connection = listen.connect(&server);
    // What looks like the end of a head is a part of the first body.
    let post =
        "POST /upload?wait=drain HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\na\r\n\r\nbcd";
    connection.send(post.repeat(2) + &get("/sleep?ms=500"));
    server.wait_for("handling /upload");
    server.drain();
    for _ in 0..2 {
        let response = connection.response();
        assert_eq!((response.status, &*response.text()), (200, "8"));
    }
    connection.response().expect_last();
    connection.expect_eof();
    listen.expect_clean_end(server);
}

fn c7_a_pipelined_request_that_comes_in_pieces_is_answered(listen: &Listen) {
    let next = get("/");
    for first in [1, 10, next.len() - 2] {
        let server = start!(listen);
        let mut connection = listen.connect(&server);
        connection.send(get("/sleep?ms=1000"));
        server.wait_for("handling /sleep");
        for piece in [&next[..first], &next[first..]] {
            connection.send(piece);
            sleep(Duration::from_millis(100));
        }
        server.drain();
        assert_eq!(connection.response().status, 200);
        assert_eq!(
            connection.response().status,
            200,
            "after a first piece of {first}"
        );
        connection.expect_eof();
        listen.expect_clean_end(server);
    }
}

fn c7_a_pipeline_of_thousands_is_answered(listen: &Listen) {
    for offset in OFFSETS {
        let server = start!(listen);
        let mut connection = listen.connect(&server);
        connection.send(pipeline(&format!("/sleep?ms=200&from=drain&{offset}")));
        server.wait_for("handling /sleep");
        server.drain();
        expect_responses(&mut connection, PIPELINED + 1);
        listen.expect_clean_end(server);
    }
}

fn c7_a_pipeline_of_thousands_is_answered_by_a_lame_duck(listen: &Listen) {
    for offset in OFFSETS {
        let server = start!(listen, "lame_duck=1s", "grace=30s");
        let [mut connection, mut kept, mut silent] = [(); 3].map(|()| listen.connect(&server));
        connection.send(pipeline(&format!("/wait?{offset}")));
        server.wait_for("handling /wait");
        server.signal(Signal::TERM);
        while !kept.get("/").says_close() {}
        silent.get("/go").expect_last();
        expect_responses(&mut connection, PIPELINED + 1);
        listen.expect_clean_end(server);
    }
}

fn c7_a_pipeline_is_answered_wherever_the_server_pauses(listen: &Listen) {
    const COUNT: usize = 700;
    let server = start!(listen);
    // tokio lets a task work on a socket 128 times, which is after 4 × 128 requests of 32 bytes in the
    // middle of what the server reads at once.
    let connections: Vec<_> = (0..32)
        .map(|offset| {
            let mut connection = listen.connect(&server);
            let first = get(&format!("/sleep?ms=200&from=drain&{}", "x".repeat(offset)));
            connection.send(first + &get("/?a").repeat(COUNT));
            connection
        })
        .collect();
    server.wait_for_times("handling /sleep", connections.len());
    server.drain();
    for mut connection in connections {
        expect_responses(&mut connection, COUNT + 1);
    }
    listen.expect_clean_end(server);
}

/// So many bytes more before a pipeline, so that the server's reads cut it here and there.
const OFFSETS: [&str; 3] = ["", "0123456789", "01234567890123456789"];

/// As many requests as the buffer of a socket takes while nobody reads: all have been received.
const PIPELINED: usize = 2000;

fn pipeline(first: &str) -> String {
    get(first) + &get("/").repeat(PIPELINED)
}

/// Expects all of them, and that the last one says `close`.
#[track_caller]
fn expect_responses(connection: &mut Connection, count: usize) {
    for number in 1..=count {
        let response = connection.try_response();
        let response = response.unwrap_or_else(|error| panic!("response {number}: {error}"));
        assert_eq!(
            (response.status, response.says_close()),
            (200, number == count),
            "response {number}"
        );
    }
    connection.expect_eof();
}

fn c8_a_connect_after_the_seal_is_refused(listen: &Listen) {
    let server = start!(listen, "grace=50ms");
    let mut upload = begin_upload(&server);
    server.drain();
    for _ in 0..20 {
        let begin = Instant::now();
        let error = Connection::try_open(server.address()).expect_err("it stays refused");
        assert!(
            is_refusal(&error) && begin.elapsed() < SOON,
            "{error} {:?}",
            begin.elapsed()
        );
    }
    end_upload(&mut upload);
    listen.expect_clean_end(server);
}

fn c9_connect_per_request_clients_lose_nothing(listen: &Listen) {
    for _ in 0..3 {
        lose_nothing(listen, 48, Style::Reconnect);
    }
}

fn c10_the_accept_queue_is_served(listen: &Listen) {
    let server = start!(listen);
    let connections = server.freeze(|| {
        let connections: Vec<_> = (0..100).map(|_| asking(&server, &get("/"))).collect();
        server.signal(Signal::TERM);
        connections
    });
    for mut connection in connections {
        // Those that are served before the signal is seen do not say `close`.
        assert_eq!(connection.response().text(), "hello");
        connection.expect_eof();
    }
    listen.expect_clean_end(server);
}

#[test]
fn c11_a_tls_handshake_under_way_completes_and_is_served() {
    let certificate = Certificate::new();
    let server = start!(Listen::tcp(), "grace=30s", &certificate.setting());
    // Nothing yet, the beginning of the first message, all of it.
    let handshakes = [0, 50, usize::MAX].map(|bytes| {
        let mut handshake = certificate.handshake(server.address(), "http/1.1");
        handshake.send_some(bytes);
        handshake
    });
    // Accepted after the others, so that they are under way now.
    assert_eq!(
        certificate
            .connect(server.address(), "http/1.1")
            .get("/")
            .status,
        200
    );
    server.drain();
    for handshake in handshakes {
        let mut connection = handshake
            .finish()
            .expect("a handshake under way may finish");
        connection.get("/").expect_last();
        connection.expect_eof();
    }
    server.exit_within(SOON).expect(0);
}

#[test]
fn c11_a_tls_handshake_that_is_never_completed_is_ended() {
    let certificate = Certificate::new();
    let server = start!(Listen::tcp(), &certificate.setting());
    let handshakes = [0, 50, usize::MAX].map(|bytes| {
        let mut handshake = certificate.handshake(server.address(), "http/1.1");
        handshake.send_some(bytes);
        handshake
    });
    assert_eq!(
        certificate
            .connect(server.address(), "http/1.1")
            .get("/")
            .status,
        200
    );
    server.drain();
    server.exit_within(SOON).expect(0);
    drop(handshakes);
}

#[test]
fn c11_an_idle_tls_connection_is_closed_in_order() {
    let certificate = Certificate::new();
    let server = start!(Listen::tcp(), "grace=50ms", &certificate.setting());
    let mut connection = certificate.connect(server.address(), "http/1.1");
    assert_eq!(connection.get("/").status, 200);
    server.drain();
    // A close without `close_notify` would be an error.
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn c13_nine_thousand_idle_connections_are_closed() {
    let limit = raise_descriptor_limit();
    let count = limit.saturating_sub(1000).min(9000);
    if count < 9000 {
        eprintln!("only {count} connections: no more than {limit} descriptors are allowed");
    }
    let listen = Listen::tcp();
    let server = start!(listen);
    let ask = |_| {
        let mut connection = server.connect();
        assert_eq!(connection.get("/").status, 200);
        connection
    };
    let connections: Vec<_> = (0..count).map(ask).collect();
    server.drain();
    for mut connection in connections {
        connection.expect_eof();
    }
    listen.expect_clean_end(server);
}

#[test]
fn c14_a_failing_accept_does_not_stop_the_drain() {
    let listen = Listen::tcp();
    let server = start!(listen);
    let mut upload = begin_upload(&server);
    server.exhaust_descriptors();
    let mut waiting = server.freeze(|| {
        let waiting = asking(&server, &get("/"));
        server.signal(Signal::TERM);
        waiting
    });
    server.wait_for("draining");
    let said = server.wait_for("failed to accept on ");
    assert!(said.contains("; raise the limit of open files"), "{said}");
    // Long enough for some accepts to fail; the result does not depend on it.
    sleep(Duration::from_millis(200));
    end_upload(&mut upload);
    // The descriptor of the upload is free now.
    waiting.response().expect_last();
    waiting.expect_eof();
    listen.expect_clean_end(server);
}

#[test]
fn c14_a_queue_waits_for_descriptors_that_another_server_holds() {
    for flavor in ["flavor=current_thread", "workers=1"] {
        let server = two_listeners(flavor);
        let mut upload = begin_upload(&server);
        let mut waiting = short_of_descriptors(&server);
        // The server of the upload is told of the drain by the thread that the other one must not keep.
        server.address().wait_until_refused();
        end_upload(&mut upload);
        waiting.response().expect_last();
        waiting.expect_eof();
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn c14_a_queue_that_nobody_could_accept_is_reported() {
    let server = two_listeners("timeout=2s");
    let _upload = begin_upload(&server);
    let _waiting = short_of_descriptors(&server);
    let queue = server.addresses()[1].to_string();
    let log = server.exit_within(SOON).expect(124);
    let queue = format!("1 connection in the queue of http://{queue}");
    assert!(log.has(&queue), "{log}");
    assert!(
        log.has("2 cut"),
        "one in flight and one in the queue:\n{log}"
    );
}

fn c15_a_connection_limit_holds_and_the_waiting_are_served(listen: &Listen) {
    let server = start!(listen, "limit=2");
    let connections: Vec<_> = (0..6)
        .map(|_| asking(&server, &get("/sleep?ms=200")))
        .collect();
    server.wait_for("handling /sleep");
    server.drain();
    for mut connection in connections {
        let response = connection.response();
        response.expect_last();
        assert!(
            ["slept beside 0", "slept beside 1"].contains(&&*response.text()),
            "{response:?}"
        );
        connection.expect_eof();
    }
    listen.expect_clean_end(server);
}

fn l1_an_idle_connection_parks_and_is_served_again(listen: &Listen) {
    let server = start!(listen);
    let [mut kept, mut asking] = [(); 2].map(|()| listen.connect(&server));
    for times in 1..=3 {
        assert_eq!(kept.get("/").text(), "hello");
        wait_until_parked(&mut asking, 1);
        kept.send(get("/wait"));
        server.wait_for_times("handling /wait", times);
        assert_eq!(asking.get("/parked").text(), "0");
        assert_eq!(asking.get("/go").text(), "go");
        assert_eq!(kept.response().text(), "waited");
    }
    let mut others: Vec<_> = (0..20).map(|_| listen.connect(&server)).collect();
    for other in &mut others {
        assert_eq!(other.get("/").text(), "hello");
    }
    wait_until_parked(&mut asking, 21);
    for other in &mut others {
        assert_eq!(other.get("/").text(), "hello");
    }
    server.drain();
    for mut connection in others.into_iter().chain([kept, asking]) {
        connection.expect_eof();
    }
    listen.expect_clean_end(server);
}

/// Asks until so many connections are parked, beside the one that asks.
#[track_caller]
fn wait_until_parked(asking: &mut Connection, count: usize) {
    let deadline = Instant::now() + LIMIT;
    while asking.get("/parked").text() != count.to_string() {
        assert!(Instant::now() < deadline, "{count} are to be parked");
    }
}

fn l10_clients_in_closed_loops_lose_nothing(listen: &Listen) {
    const CLIENTS: usize = 16;
    const MAX_REQUESTS: usize = 10;
    for is_pipelined in [false, true] {
        for limit in [&*format!("max_requests={MAX_REQUESTS}"), "max_age=20ms"] {
            let server = start!(listen, limit);
            let load = match is_pipelined {
                true => Load::pipelined(server.address(), CLIENTS),
                false => Load::start(server.address(), CLIENTS, Style::KeepAlive),
            };
            // Each of them has been told several times, or else one has been told more often.
            load.wait_until_connected(CLIENTS * 6);
            load.wait_until_served(CLIENTS * MAX_REQUESTS * 6);
            server.signal(Signal::TERM);
            load.expect_nothing_lost();
            listen.expect_clean_end(server);
        }
    }
}

fn l10_what_is_pipelined_beyond_a_limit_is_answered(listen: &Listen) {
    for limit in ["max_requests=3", "max_age=1ms"] {
        let server = start!(listen, limit);
        let mut connection = listen.connect(&server);
        connection.send(get("/sleep?ms=100") + &get("/").repeat(24));
        expect_responses(&mut connection, 25);
        server.drain();
        listen.expect_clean_end(server);
    }
}

fn l10_an_idle_connection_is_closed_at_its_limit(listen: &Listen) {
    let server = start!(listen, "keep_alive_timeout=200ms");
    let mut connection = listen.connect(&server);
    assert!(!connection.get("/").says_close());
    connection.expect_eof();
    server.drain();
    listen.expect_clean_end(server);
}

fn l10_a_request_in_the_socket_at_the_limit_is_answered(listen: &Listen) {
    const LIMIT: Duration = Duration::from_secs(1);
    try_until_in_time(|| {
        let server = start!(listen, "keep_alive_timeout=1s");
        let mut connection = listen.connect(&server);
        let begin = Instant::now();
        assert_eq!(connection.get("/").status, 200);
        let is_in_time = server.freeze(|| {
            let sent = connection.try_send(get("/"));
            let is_in_time = sent.is_ok() && begin.elapsed() < LIMIT;
            sleep(LIMIT);
            is_in_time
        });
        if is_in_time {
            assert_eq!(connection.response().status, 200);
            connection.expect_eof();
            server.drain();
            listen.expect_clean_end(server);
        }
        is_in_time
    });
}

#[test]
fn c10_the_accept_queue_is_served_over_ipv6() {
    for address in ["[::1]:0", "[::]:0"] {
        let listen = Listen::at(address);
        c10_the_accept_queue_is_served(&listen);
        c8_a_connect_after_the_seal_is_refused(&listen);
    }
}

#[test]
fn c12_the_path_is_removed_at_the_end() {
    let listen = Listen::unix();
    let server = start!(listen);
    let path = listen.path().expect("a UNIX socket has a path");
    assert!(path.exists());
    server.drain();
    listen.expect_clean_end(server);
}

/// A server with two listeners that would need a minute if anything had to wait for the deadline.
fn two_listeners(setting: &str) -> Server {
    const FREE: &str = "listen=127.0.0.1:0";
    Server::start(command!("echo", setting, "timeout=60s", FREE, FREE))
}

/// Has the second listener drain while it can accept nothing of its queue, where a request waits.
fn short_of_descriptors(server: &Server) -> Connection {
    server.exhaust_descriptors();
    let waiting = server.freeze(|| {
        let mut waiting = Connection::open(&server.addresses()[1]);
        waiting.send(get("/"));
        server.signal(Signal::TERM);
        waiting
    });
    server.wait_for("draining");
    waiting
}

/// Opens a connection and sends `request` on it.
fn asking(server: &Server, request: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(request);
    connection
}

/// Opens a connection with a request in flight that ends with [`end_upload`].
fn begin_upload(server: &Server) -> Connection {
    let mut upload = server.connect();
    upload.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\n");
    server.wait_for("handling /upload");
    upload
}

fn end_upload(upload: &mut Connection) {
    upload.send("hello");
    upload.response().expect_last();
    upload.expect_eof();
}

/// Sends `first`, of which only a part of a request is not yet answered, and begins the drain.
fn half_a_head(server: &Server, first: &str) -> Connection {
    let mut connection = server.connect_accepted(1).remove(0);
    connection.send(first);
    if first.contains("\r\n\r\n") {
        assert_eq!(connection.response().status, 200);
    }
    server.drain();
    connection
}

/// Stops a server under load.
fn lose_nothing(listen: &Listen, clients: usize, style: Style) {
    let server = start!(listen);
    let load = Load::start(server.address(), clients, style);
    load.wait_until_served(2000);
    server.signal(Signal::TERM);
    load.expect_nothing_lost();
    listen.expect_clean_end(server);
}
