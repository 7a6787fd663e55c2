//! E. Hooks, tasks and long streams.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use graceful_tests::log::Log;
use graceful_tests::{LIMIT, SOON, Server, Signal, get, server};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

#[test]
fn e1_hooks_run_in_reverse_order_after_a_signal() {
    let server = server!("hooks", "timeout=60s");
    let mut connection = server.sleeping(700);
    server.signal(Signal::TERM);
    connection.response().expect_last();
    let log = server.exit_within(SOON).expect(0);
    expect_drain_hook_before("finished /sleep", &log);
    expect_stop_hooks_after("finished /sleep", &log);
}

#[test]
fn e1_hooks_run_in_reverse_order_after_a_call_of_stop() {
    let server = server!("hooks", "timeout=60s");
    let mut connection = server.sleeping(700);
    assert_eq!(server.connect().get("/stop").status, 200);
    connection.response().expect_last();
    let log = server.exit_within(SOON).expect(0);
    expect_drain_hook_before("finished /sleep", &log);
    expect_stop_hooks_after("finished /sleep", &log);
}

#[test]
fn e1_hooks_run_in_reverse_order_after_an_error() {
    let server = server!("hooks", "timeout=60s");
    let mut connection = server.sleeping(700);
    assert_eq!(server.connect().get("/fail").status, 200);
    connection.response().expect_last();
    let log = server.exit_within(SOON).expect(1);
    expect_drain_hook_before("finished /sleep", &log);
    expect_stop_hooks_after("finished /sleep", &log);
}

#[test]
fn e1_hooks_run_in_reverse_order_when_the_deadline_cuts_a_request() {
    // A tenth of it is left for the hooks, which a busy machine may well need.
    let server = server!("hooks", "timeout=5s");
    let _connection = server.sleeping(600_000);
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(124);
    expect_stop_hooks_after("hook drain ends", &log);
}

#[test]
fn e2_a_hook_sees_how_much_of_the_budget_is_left() {
    let server = server!("hooks", "timeout=60s");
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(0);
    let left = ["drain", "third", "second", "first"].map(|hook| milliseconds_left(hook, &log));
    assert!(
        left.is_sorted_by(|earlier, later| earlier > later),
        "it shrinks: {left:?}"
    );
    assert!(
        left[0] <= 60_000 && left[3] > 50_000,
        "it is what is left of a minute: {left:?}"
    );
}

#[test]
fn e3_a_tracked_task_is_waited_for_and_an_untracked_one_is_not() {
    let server = server!("echo", "timeout=60s");
    assert_eq!(server.connect().get("/spawn?ms=700").status, 200);
    assert_eq!(server.connect().get("/detach?ms=600000").status, 200);
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(0);
    assert!(
        log.has("tracked task done") && !log.has("untracked task done"),
        "{log}"
    );
}

#[test]
fn e4_a_websocket_learns_of_the_drain_and_is_counted_until_it_ends() {
    let server = server!("upgrade", "timeout=60s");
    let mut socket = websocket(&server, "/ws");
    server.wait_for("socket open");
    server.drain();
    let message = socket.read().expect("the server says goodbye");
    let Message::Close(Some(goodbye)) = message else {
        panic!("not a goodbye: {message:?}")
    };
    assert_eq!(goodbye.code, CloseCode::Away);
    sleep(Duration::from_millis(300));
    assert!(
        server.is_running(),
        "the socket's task waits for an answer:\n{}",
        server.log()
    );
    // Sends the answer, and then finds the connection closed.
    assert!(socket.read().is_err());
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("socket task ends"), "{log}");
}

#[test]
fn e5_an_event_stream_ends_cleanly() {
    let server = server!("echo", "timeout=60s");
    let mut connection = server.connect();
    connection.send(get("/events"));
    server.wait_for("finished /events");
    server.drain();
    let events = connection.response().text();
    assert_eq!(events, "data: hello\n\ndata: goodbye\n\n");
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn e6_an_upgraded_connection_that_takes_no_notice_is_cut_and_named() {
    let server = server!("upgrade", "timeout=3s");
    let _socket = websocket(&server, "/ignore");
    server.wait_for("socket open");
    let begin = Instant::now();
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(124);
    assert!(begin.elapsed() >= Duration::from_secs(3), "it had its time");
    assert!(log.has("/ignore"), "the connection is named:\n{log}");
}

#[track_caller]
fn expect_drain_hook_before(event: &str, log: &Log) {
    assert!(
        log.position("hook drain ends") < log.position(event),
        "{log}"
    );
}

/// Checks as well that each runs once, is awaited, and is at work alone.
#[track_caller]
fn expect_stop_hooks_after(event: &str, log: &Log) {
    let moments = [
        event,
        "hook third begins",
        "hook third ends",
        "hook second begins",
        "hook second ends",
        "hook first begins",
        "hook first ends",
    ];
    let places = moments.map(|moment| log.position(moment));
    assert!(places.is_sorted(), "in this order: {moments:?}\n{log}");
}

#[track_caller]
fn milliseconds_left(hook: &str, log: &Log) -> u64 {
    let lines = log.lines_with(&format!("hook {hook} begins with "));
    let number = lines
        .first()
        .and_then(|line| line.split(' ').nth(4)?.parse().ok());
    number.unwrap_or_else(|| panic!("hook {hook} says what is left:\n{log}"))
}

fn websocket(server: &Server, path: &str) -> WebSocket<TcpStream> {
    let address = server.address().tcp();
    let stream = TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(LIMIT))
        .expect("a socket has this option");
    let (socket, _) = tungstenite::client(format!("ws://{address}{path}"), stream)
        .unwrap_or_else(|error| panic!("no WebSocket: {error}"));
    socket
}

#[test]
fn a_tracked_task_that_panics_is_told_of() {
    let server = server!("echo", "timeout=60s");
    assert_eq!(server.connect().get("/spawn_panic").status, 200);
    let line = server.wait_for("graceful: the tracked task spawned at ");
    assert!(
        line.contains("echo.rs:") && line.contains("panicked"),
        "{line}"
    );
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}
