//! D. The deadline holds whatever is stuck, on both flavors of the runtime (D6).

use std::time::{Duration, Instant};

use graceful_tests::log::Log;
use graceful_tests::{Connection, SOON, Server, Signal, command, get, process};

/// What every server of this file is given.
const TIMEOUT: Duration = Duration::from_secs(1);

macro_rules! on_both_flavors {
    ($($name:ident)*) => {
        mod multi_thread {
            $(#[test] fn $name() { super::$name(super::MULTI_THREAD); })*
        }

        mod d6_current_thread {
            $(#[test] fn $name() { super::$name(super::CURRENT_THREAD); })*
        }
    };
}

on_both_flavors! {
    d1_a_request_is_cut_and_named
    d2_every_worker_blocked
    d3_spawn_blocking
    d3_a_blocked_read_of_standard_input
    d3_a_destructor_that_sleeps
    d4_hooks_that_never_end_or_panic_do_not_keep_the_others
    d4_a_drain_hook_that_never_ends_holds_up_the_drain_for_half_of_the_budget
    d5_a_timeout_of_nothing_is_immediate
}

type Flavor = (&'static str, usize);
const MULTI_THREAD: Flavor = ("workers=2", 2);
const CURRENT_THREAD: Flavor = ("flavor=current_thread", 1);

fn d1_a_request_is_cut_and_named((flavor, _): Flavor) {
    let server = Server::start(command!("echo", "timeout=1s", flavor));
    let mut connection = server.sleeping(600_000);
    let log = expect_gone_at_the_deadline(server);
    let named = log.lines_with("GET /sleep");
    assert!(!named.is_empty(), "the report names the request:\n{log}");
    assert!(log.has("1 cut"), "and counts it:\n{log}");
    assert!(connection.try_response().is_err(), "it was cut");
}

fn d2_every_worker_blocked((flavor, workers): Flavor) {
    let server = Server::start(command!("echo", "timeout=1s", flavor));
    // More than there are workers, and all at once: whatever a worker has in its own hands when it
    // is blocked is lost for the others.
    let mut connections = server.connect_accepted(8);
    server.freeze(|| {
        for connection in &mut connections {
            connection.send(get("/block?ms=600000"));
        }
    });
    server.wait_for_times("handling /block", workers);
    expect_gone_at_the_deadline(server);
}

fn d3_spawn_blocking((flavor, _): Flavor) {
    let server = Server::start(command!("echo", "timeout=1s", flavor));
    assert_eq!(
        server.connect().get("/spawn_blocking?ms=600000").status,
        200
    );
    expect_gone_at_the_deadline(server);
}

fn d3_a_blocked_read_of_standard_input((flavor, _): Flavor) {
    let mut command = command!("stuck", "stuck=stdin", "timeout=1s", flavor);
    // A pipe whose other end stays open and silent.
    command.stdin(std::process::Stdio::piped());
    let server = Server::start(command);
    server.wait_for("reading standard input");
    expect_gone_at_the_deadline(server);
}

fn d3_a_destructor_that_sleeps((flavor, _): Flavor) {
    expect_gone_at_the_deadline(Server::start(command!(
        "stuck",
        "stuck=destructor",
        "timeout=1s",
        flavor
    )));
}

fn d4_hooks_that_never_end_or_panic_do_not_keep_the_others((flavor, _): Flavor) {
    let mut command = command!("stuck", "stuck=hook", "timeout=3s", flavor);
    // To find the names for one takes a second of a loaded machine, and the hooks' thread.
    command.env("RUST_BACKTRACE", "0");
    let server = Server::start(command);
    let log = expect_gone_at_the_deadline(server);
    for hook in ["first", "third", "fifth"] {
        assert!(
            log.has(&format!("hook: {hook}")),
            "the {hook} hook ran:\n{log}"
        );
    }
}

fn d4_a_drain_hook_that_never_ends_holds_up_the_drain_for_half_of_the_budget((flavor, _): Flavor) {
    let server = Server::start(command!("stuck", "stuck=drain_hook", "timeout=6s", flavor));
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut upload = server.connect();
    upload.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\n");
    server.wait_for("handling /upload");
    let begin = Instant::now();
    server.signal(Signal::TERM);
    idle.expect_eof();
    assert!(begin.elapsed() >= Duration::from_secs(3), "it had its half");
    server.address().wait_until_refused();
    upload.send("hello");
    upload.response().expect_last();
    upload.expect_eof();
    let log = server.exit_within(SOON).expect(124);
    assert!(begin.elapsed() >= Duration::from_secs(6), "and the rest");
    assert!(
        log.has("cutting 1 hook: the one registered at"),
        "the hook is named:\n{log}"
    );
    assert!(log.has("1 request finished, 1 cut"), "nothing else:\n{log}");
}

fn d5_a_timeout_of_nothing_is_immediate((flavor, _): Flavor) {
    let server = Server::start(command!("echo", "timeout=0s", flavor));
    let mut connection = server.sleeping(600_000);
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(124);
    assert!(connection.try_response().is_err(), "it was cut");
}

#[test]
fn d4_a_hook_that_ends_at_the_deadline_leaves_one_code() {
    for _ in 0..10 {
        let server = Server::start(command!("last_hook", "until=deadline", "timeout=300ms"));
        server.signal(Signal::TERM);
        let exit = server.exit_within(SOON);
        let is_forced = exit.log.has("the deadline of");
        exit.expect(if is_forced { 124 } else { 0 });
    }
}

#[test]
fn a_log_that_nobody_reads_does_not_use_up_the_budget() {
    let command = command!("echo", "timeout=60s");
    let server = Server::spawn(process::with_full_stderr(command));
    let mut connection = Connection::open(&server.wait_until_bound());
    assert_eq!(connection.get("/").text(), "hello");
    server.signal(Signal::TERM);
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn an_error_that_nobody_reads_ends_the_process_all_the_same() {
    let failing = Server::spawn(process::with_full_stderr(command!("hooks", "timeout=60s")));
    let mut connection = Connection::open(&failing.wait_until_bound());
    assert_eq!(connection.get("/fail").status, 200);
    let log = failing.exit_within(SOON).expect(1);
    assert!(log.has("hook drain ends"), "{log}");

    let erring = command!("restart", "start=error", "timeout=60s");
    let erring = Server::spawn(process::with_full_stderr(erring));
    erring.exit_within(SOON).expect(1);
}

/// Sends `SIGTERM` and waits for the process to use up its budget.
#[track_caller]
fn expect_gone_at_the_deadline(server: Server) -> Log {
    let begin = Instant::now();
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(124);
    assert!(
        begin.elapsed() >= TIMEOUT,
        "the budget is there to be used:\n{log}"
    );
    log
}
