//! L. What may go wrong while connections move: whatever it is, no request is lost.

use std::net::TcpListener;
use std::thread;

use graceful_tests::deployment::{Generation, finish_upload};
use graceful_tests::old::hand_over;
use graceful_tests::process::HUMAN;
use graceful_tests::{Address, Connection, Deployment, Footprint, SOON, Signal, command, get};

const PROGRAM: &str = env!("CARGO_BIN_EXE_restart");

/// Nothing waits for a bound: neither a client that a busy machine does not let run, nor a process.
const PATIENT: [&str; 2] = ["grace=30s", "timeout=60s"];

const COUNT: usize = 12;

fn start(settings: &[&str]) -> Deployment {
    Deployment::start(PROGRAM, &patient(settings))
}

fn patient<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    PATIENT.iter().chain(settings).copied().collect()
}

/// A server whose successor stands still while connections are on their way to it.
struct OnTheWay {
    server: Deployment,
    old: Generation,
    connections: Vec<Connection>,
}

impl OnTheWay {
    #[track_caller]
    fn begin() -> Self {
        let mut server = start(&[]);
        let mut connections: Vec<_> = (0..COUNT).map(|_| server.uploading()).collect();
        let old = server.restart();
        server.serving().freeze();
        for connection in &mut connections {
            assert!(!finish_upload(connection).says_close());
        }
        let under_way = format!("{COUNT} connections that the successor is to take");
        server.log().wait_for(&under_way);
        Self {
            server,
            old,
            connections,
        }
    }

    fn go_on(&self) {
        self.server.serving().signal(Signal::CONT);
    }

    /// Fails unless the successor goes on with all of them.
    #[track_caller]
    fn expect_moved(&mut self) {
        for connection in &mut self.connections {
            let response = connection.response();
            let id = self.server.serving().id();
            assert_eq!(response.text(), id.to_string(), "{}", self.server.log());
            assert!(!response.says_close(), "{}", self.server.log());
        }
        assert!(!self.was_any_taken_back(), "{}", self.server.log());
    }

    /// Fails unless the successor goes on with all of them when the old process has gone.
    #[track_caller]
    fn outlives_the_old_process(mut self) {
        self.old.wait(self.server.log());
        self.go_on();
        self.expect_moved();
        self.stop();
    }

    fn stop(self) {
        drop(self.connections);
        self.server.stop();
    }

    fn was_any_taken_back(&self) -> bool {
        self.server.log().has(" back that process ")
    }

    fn send_all(&mut self) {
        for connection in &mut self.connections {
            connection.send(get("/pid"));
        }
    }
}

#[test]
fn l5_what_a_killed_successor_has_not_taken_is_taken_back() {
    let mut way = OnTheWay::begin();
    let (early, late) = way.connections.split_at_mut(COUNT / 2);
    for connection in &mut *early {
        connection.send(get("/pid"));
    }
    let successor = way.server.serving().id();
    way.server.serving().signal(Signal::KILL);
    let said = format!(
        "took {COUNT} connections back that process {successor} did not take; they end here"
    );
    way.server.log().wait_for(&said);
    // It has heard that the successor is lost before it ends.
    way.server
        .log()
        .wait_for("ended (signal: 9 (SIGKILL)) while this process was draining");
    for connection in &mut *late {
        connection.send(get("/census"));
    }
    for connection in early {
        let response = connection.response();
        response.expect_last();
        assert_eq!(response.text(), way.old.id().to_string());
        connection.expect_eof();
    }
    for connection in late {
        let response = connection.response();
        response.expect_last();
        let said = format!("0 moved, {COUNT} taken back");
        assert!(response.text().contains(&said), "{response:?}");
        connection.expect_eof();
    }
    // As without connections that move: it was to serve and is lost.
    way.old.expect_exit(1, way.server.log());
}

#[test]
fn l5_a_successor_that_hangs_and_goes_on_takes_all_of_them() {
    let mut way = OnTheWay::begin();
    for connection in way.connections.iter_mut().step_by(2) {
        connection.send(get("/pid"));
    }
    way.go_on();
    for connection in way.connections.iter_mut().skip(1).step_by(2) {
        connection.send(get("/pid"));
    }
    way.expect_moved();
    way.old.expect_exit(0, way.server.log());
    way.stop();
}

#[test]
fn l5_clients_that_go_while_they_move_disturb_no_others() {
    let mut way = lose_some();
    way.go_on();
    way.expect_moved();
    way.old.expect_exit(0, way.server.log());
    let rest = format!("{} connections (", way.connections.len());
    let mut asking = way.connections.pop().expect("some are left");
    // Nothing tells that the successor has noticed that the others have gone.
    while !asking.get("/census").text().contains(&rest) {}
    drop((asking, way.connections));
    way.server.stop();
}

#[test]
fn l5_clients_that_go_while_they_are_taken_back_disturb_no_others() {
    let mut way = lose_some();
    way.server.serving().signal(Signal::KILL);
    for connection in &mut way.connections {
        let response = connection.response();
        response.expect_last();
        assert_eq!(response.text(), way.old.id().to_string());
        connection.expect_eof();
    }
    // With what code depends on whether it hears of the kill before it has drained.
    way.old.wait(way.server.log());
}

/// Has a part of the clients close or reset their connections, and the others send a request.
fn lose_some() -> OnTheWay {
    let mut way = OnTheWay::begin();
    let all = std::mem::take(&mut way.connections);
    for (number, mut connection) in all.into_iter().enumerate() {
        if number % 4 != 3 {
            connection.send(get("/pid"));
        }
        match number % 4 {
            0 => way.connections.push(connection),
            1 => drop(connection),
            2 => connection.reset(),
            // With nothing sent.
            _ if number % 8 == 3 => drop(connection),
            _ => connection.reset(),
        }
    }
    way
}

#[test]
fn l5_a_successor_that_is_killed_among_many_has_only_what_it_said_that_it_took() {
    for _ in 0..3 {
        let mut server = start(&[]);
        let mut connections: Vec<_> = (0..500).map(|_| server.connect()).collect();
        server.serving().signal(Signal::USR2);
        let old = server.handed_over();
        server.serving().signal(Signal::KILL);
        server.serving().wait(server.log());
        let mut lost = 0;
        for connection in &mut connections {
            // Fails where the connection went down with the successor.
            let sent = connection.try_send(get("/pid"));
            match sent.and_then(|()| connection.try_response()) {
                Ok(response) => assert_eq!(response.text(), old.id().to_string()),
                Err(_) => lost += 1,
            }
        }
        drop(connections);
        old.wait(server.log());
        let moved = match lost {
            0 => String::from(" 0 cut"),
            1 => String::from(", 1 connection moved"),
            _ => format!(", {lost} connections moved"),
        };
        // Whether it hears of the kill before or not.
        let last = server.log().wait_for("; this one drained in ");
        assert!(last.ends_with(&moved), "{lost} lost\n{}", server.log());
    }
}

#[test]
fn l8_a_successor_that_is_told_to_stop_while_they_move_loses_nothing() {
    let mut way = OnTheWay::begin();
    way.send_all();
    way.server.serving().signal(Signal::TERM);
    way.go_on();
    let ids = [way.old.id(), way.server.serving().id()].map(|id| id.to_string());
    for connection in &mut way.connections {
        let response = connection.response();
        assert_eq!(response.status, 200);
        assert!(ids.contains(&response.text()), "{response:?}");
        // It may have been answered before the stop was heard of.
        if response.says_close() {
            connection.expect_eof();
        }
    }
    way.connections.clear();
    // Either may end first.
    way.server.serving().wait(way.server.log());
    way.old.expect_exit(0, way.server.log());
}

#[test]
fn l8_a_predecessor_that_is_told_to_stop_while_they_move_goes_on() {
    let mut way = OnTheWay::begin();
    for signal in [Signal::TERM, Signal::TERM, Signal::USR2] {
        way.old.signal(signal);
    }
    let said = way.server.failed();
    assert!(said.contains("this process stops already"), "{said}");
    way.send_all();
    way.go_on();
    way.expect_moved();
    way.old.expect_exit(0, way.server.log());
    way.stop();
}

#[test]
fn l8_what_a_predecessor_has_sent_arrives_though_it_is_killed() {
    let mut way = OnTheWay::begin();
    way.send_all();
    way.old.signal(Signal::KILL);
    way.outlives_the_old_process();
}

#[test]
fn l8_what_a_predecessor_has_sent_arrives_though_it_is_forced_to_stop() {
    let mut way = OnTheWay::begin();
    way.send_all();
    way.old.signal(Signal::INT);
    way.server.log().wait_for("SIGINT: already stopping");
    // Two within a moment are one.
    thread::sleep(HUMAN);
    way.old.signal(Signal::INT);
    way.outlives_the_old_process();
}

#[test]
fn l8_a_second_restart_while_they_move_takes_them_along() {
    let mut way = OnTheWay::begin();
    way.send_all();
    way.server.serving().signal(Signal::USR2);
    way.go_on();
    let second = way.server.handed_over();
    let ids = [second.id(), way.server.serving().id()].map(|id| id.to_string());
    for connection in &mut way.connections {
        let response = connection.response();
        assert!(ids.contains(&response.text()), "{response:?}");
        assert!(!response.says_close(), "{}", way.server.log());
        way.server.expect_moved(connection);
    }
    assert!(!way.was_any_taken_back(), "{}", way.server.log());
    way.old.wait(way.server.log());
    second.wait(way.server.log());
    way.stop();
}

#[test]
fn l8_a_lame_duck_takes_none() {
    let mut server = start(&[]);
    let mut requests: Vec<_> = (0..COUNT).map(|_| server.uploading()).collect();
    server.set(&patient(&["lame_duck=20s"]));
    let old = server.restart();
    server.serving().signal(Signal::TERM);
    server.log().wait_for("lame duck");
    for request in &mut requests {
        let mut response = finish_upload(request);
        // Where it has not heard yet that none are taken.
        if !response.says_close() {
            response = request.get("/pid");
            assert_eq!(response.text(), old.id().to_string());
        }
        response.expect_last();
        request.expect_eof();
    }
    old.expect_exit(0, server.log());
    assert!(server.serving().is_running());
    assert!(!server.log().has(" moved"), "{}", server.log());
}

#[test]
fn l8_fifty_restarts_with_connections_leak_nothing() {
    let mut server = start(&[]);
    let mut connections: Vec<_> = (0..100).map(|_| server.connect()).collect();
    let mut restart = |server: &mut Deployment| {
        let mut request = server.uploading();
        let old = server.restart();
        assert!(!finish_upload(&mut request).says_close());
        old.expect_exit(0, server.log());
        drop(request);
        for connection in connections.iter_mut().step_by(10) {
            let id = connection.get("/pid").text();
            assert_eq!(id, server.serving().id().to_string(), "{}", server.log());
        }
    };
    (0..3).for_each(|_| restart(&mut server));
    let before = Footprint::of(&server);
    (0..47).for_each(|_| restart(&mut server));
    before.expect_at_least(&server);
    for connection in &mut connections {
        assert_eq!(connection.get("/").text(), "hello");
    }
    drop(connections);
    server.stop();
}

#[test]
fn l6_a_successor_short_of_descriptors_takes_what_it_can() {
    let mut server = start(&[]);
    let mut connections: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let gate = server.set_gate(&PATIENT);
    server.serving().signal(Signal::USR2);
    let (successor, held) = server.successor_at(&gate);
    successor.leave_descriptors(100);
    drop(held);
    let old = server.handed_over();
    server.log().wait_for(" back that process ");
    let mut moved = 0;
    for connection in &mut connections {
        let response = connection.get("/pid");
        assert_eq!(response.status, 200);
        if response.text() == server.serving().id().to_string() {
            assert!(!response.says_close());
            moved += 1;
        } else {
            response.expect_last();
            connection.expect_eof();
        }
    }
    assert!(
        (50..=110).contains(&moved),
        "{moved} moved\n{}",
        server.log()
    );
    old.expect_exit(0, server.log());
    server.serving().leave_descriptors(100);
    server.connect();
    drop(connections);
    server.stop();
}

#[test]
fn l7_an_old_successor_takes_over_and_connections_end_as_before() {
    let mut server = start(&[]);
    let mut idle: Vec<_> = (0..COUNT).map(|_| server.connect()).collect();
    let mut probe = server.connect();
    assert_eq!(probe.get("/pid").status, 200);
    let mut requests: Vec<_> = (0..COUNT).map(|_| server.uploading()).collect();
    server.deploy_script(&format!("exec {}", env!("CARGO_BIN_EXE_old")), 0o755);
    let old = server.restart();
    server.connect();
    // The hand-over is told of a moment before the drain begins.
    while !probe.get("/pid").says_close() {}
    for request in &mut requests {
        match finish_upload(request).says_close() {
            true => request.expect_eof(),
            false => old.expect_to_end(request),
        }
    }
    for connection in &mut idle {
        old.expect_to_end(connection);
    }
    old.expect_exit(0, server.log());
    assert!(!server.log().has(" moved"), "{}", server.log());
    assert!(!server.log().has(" back that process "), "{}", server.log());
}

#[test]
fn l7_an_old_predecessor_hands_over_as_before() {
    const ASKED: &str = "127.0.0.1:0";
    let listener = TcpListener::bind(ASKED).expect("this machine has a port left");
    let address = Address::Tcp(listener.local_addr().expect("it is bound"));
    let mut queued = Connection::open(&address);
    queued.send(get("/pid"));
    let listen = format!("listen={ASKED}");
    let (server, predecessor) = hand_over(command!("restart", listen), &listener, ASKED);
    drop(listener);
    assert_eq!(queued.response().text(), server.id().to_string());
    server.wait_for("took over from process ");
    drop(predecessor);
    server.wait_for("the one before this, has ended");
    assert_eq!(queued.get("/pid").text(), server.id().to_string());
    drop(queued);
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}
