//! G. Several servers in one process, and readiness.

use std::time::{Duration, Instant};

use graceful_tests::{Address, Connection, LIMIT, SOON, Server, Signal, command, get, server};

#[test]
fn g1_two_listeners_drain_side_by_side() {
    let server = two_listeners("timeout=60s");
    let connections = sleeping_on_both(&server, 700);
    server.drain();
    for mut connection in connections {
        connection.response().expect_last();
        connection.expect_eof();
    }
    server.exit_within(SOON).expect(0);
}

#[test]
fn g1_two_listeners_have_one_deadline() {
    let server = two_listeners("timeout=1s");
    let _connections = sleeping_on_both(&server, 600_000);
    let begin = Instant::now();
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(124);
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "it had its second"
    );
    assert!(log.has("2 cut"), "both are in the report:\n{log}");
}

#[test]
fn g2_an_admin_server_stays_up_to_the_end() {
    let server = server!("echo", "timeout=60s", "admin=127.0.0.1:0");
    let [main, admin] = server.addresses() else {
        panic!("two addresses")
    };
    let mut upload = Connection::open(main);
    upload.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\n");
    server.wait_for("handling /upload");
    server.drain();
    let readiness = Connection::open(admin).get("/status");
    assert_eq!((readiness.status, &*readiness.text()), (503, "not ready"));
    upload.send("hello");
    upload.response().expect_last();
    upload.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn g3_lame_duck_turns_readiness_off_and_goes_on_accepting() {
    let server = server!("echo", "timeout=60s", "lame_duck=3s");
    let mut kept = server.wait_until_ready();
    assert!(!kept.get("/").says_close());
    let begin = Instant::now();
    server.signal(Signal::TERM);
    wait_until_not_ready(server.address());
    kept.get("/").expect_last();
    kept.expect_eof();
    let mut new = server.connect();
    new.get("/").expect_last();
    new.expect_eof();
    let log = server.exit_within(SOON).expect(0);
    assert!(
        begin.elapsed() >= Duration::from_secs(3),
        "it accepted for all of its time"
    );
    for said in [
        "SIGTERM: accepting for 3 s more, then draining",
        "waiting for the end of the lame duck",
    ] {
        assert!(log.has(said), "{log}");
    }
}

#[test]
fn g3_an_early_health_server_does_not_speak_for_the_process() {
    let server = Server::spawn(command!(
        "startup",
        "early=127.0.0.1:0",
        "start=USR1",
        "timeout=60s"
    ));
    server.wait_for("warming up");
    let mut health = Connection::open(&server.wait_until_bound());
    // More than once: what would make the process ready may take a moment.
    for _ in 0..100 {
        assert_eq!(health.get("/status").text(), "not ready");
    }
    server.signal(Signal::USR1);
    let deadline = Instant::now() + LIMIT;
    while health.get("/status").text() != "ready" {
        assert!(Instant::now() < deadline, "not ready within {LIMIT:?}");
    }
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}

#[test]
fn threads_of_others_belong_to_the_process() {
    let server = Server::start(command!("threads"));
    server.wait_until_ready();
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("the other runtime drains"), "{log}");
}

fn two_listeners(timeout: &str) -> Server {
    server!("echo", timeout, "listen=127.0.0.1:0", "listen=127.0.0.1:0")
}

fn sleeping_on_both(server: &Server, ms: u32) -> Vec<Connection> {
    let ask = |address| {
        let mut connection = Connection::open(address);
        connection.send(get(&format!("/sleep?ms={ms}")));
        connection
    };
    let connections = server.addresses().iter().map(ask).collect();
    server.wait_for_times("handling /sleep", 2);
    connections
}

/// Asks again and again, as a load balancer does.
fn wait_until_not_ready(address: &Address) {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let response = Connection::open(address).get("/status");
        // The first of them may come before the listener has heard that it is a lame duck.
        if response.status == 503 && response.says_close() {
            return;
        }
    }
    panic!("ready after {LIMIT:?}");
}
