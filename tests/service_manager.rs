//! I1 and I2: what a service manager gives to a process, and what it is told; any manager that keeps to the protocol.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use graceful_tests::deployment::Generation;
use graceful_tests::log::Log;
use graceful_tests::process::{activated, activated_as, activated_with};
use graceful_tests::{
    Address, Connection, DeafManager, LIMIT, Manager, SOON, Server, Signal, command, get,
};

#[test]
fn i1_a_socket_is_found_by_name_and_by_address_blocking_or_not() {
    for is_nonblocking in [false, true] {
        let by_name = |_: &Address| "systemd:web".to_owned();
        for asked in [by_name, Address::to_string] {
            let (socket, address) = socket();
            socket.set_nonblocking(is_nonblocking).expect("it is ours");
            let server = start_with(&socket, &asked(&address));
            assert_eq!(server.address(), &address);
            server.wait_until_ready();
            stop(server);
        }
    }
}

#[test]
fn i1_a_grandchild_sees_nothing_of_it() {
    let (socket, address) = socket();
    let name = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()));
    let name = name.expect("it is open").display().to_string();
    let server = start_with(&socket, &address.to_string());
    let mut connection = server.wait_until_ready();
    assert_eq!(private_variables(&mut connection), [""; 0]);
    let descriptors = connection.get("/descriptors").text();
    assert!(!descriptors.contains(&name), "{name} in {descriptors}");
    stop(server);
}

#[test]
fn i1_a_socket_of_a_manager_goes_on_when_the_server_has_ended() {
    let (socket, address) = socket();
    stop(start_with(&socket, "systemd:web"));
    let mut connection = Connection::open(&address);
    connection.send(get("/"));
    let server = start_with(&socket, "systemd:web");
    assert_eq!(connection.response().text(), "hello");
    stop(server);
}

#[test]
fn i1_a_socket_for_another_process_is_none() {
    let (socket, address) = socket();
    for (asked, said) in [
        ("systemd:web".to_owned(), "systemd:web"),
        (address.to_string(), "in use"),
    ] {
        let command = command!("echo", format!("listen={asked}"));
        let socket = socket.try_clone().expect("it is open");
        let log = Server::spawn(activated(socket, "$PPID", command)).exit();
        let log = log.expect(1);
        assert!(log.has(said), "{log}");
        assert!(log.has("LISTEN_FDS is ignored: LISTEN_PID is "), "{log}");
    }
}

#[test]
fn i1_a_name_that_was_not_given_is_answered_with_those_that_were() {
    let (socket, _) = socket();
    let command = command!("echo", "listen=systemd:nope");
    let log = Server::spawn(activated(socket, "$$", command))
        .exit()
        .expect(1);
    assert!(log.has("failed to listen on `systemd:nope`: "), "{log}");
    assert!(
        log.has("the service manager has given systemd:web"),
        "{log}"
    );
}

#[test]
fn i1_what_is_no_listener_is_named_and_ignored() {
    let file = File::open("/dev/null").expect("it is always there");
    let server = Server::start(activated(file, "$$", command!("echo")));
    server.wait_for("descriptor 3 (web) of the service manager is ignored: ");
    stop(server);
}

#[test]
fn i1_a_descriptor_that_is_not_open_is_named_and_the_others_are_used() {
    let (socket, address) = socket();
    for (count, names, closed) in [
        (
            "2",
            "web:admin",
            "descriptor 4 (admin) of the service manager is",
        ),
        ("2", "", "descriptor 4 (unknown) of the service manager is"),
        (
            "1000",
            "",
            "descriptor 4 (unknown) of the service manager and ",
        ),
    ] {
        let command = command!("echo", format!("listen={address}"));
        let socket = socket.try_clone().expect("it is open");
        let server = Server::start(activated_with(count, names, socket, command));
        let said = server.wait_for(closed);
        let why = format!("not open; LISTEN_FDS is {count}, which counts from 3 on");
        assert!(said.contains(&why), "{said}");
        assert_eq!(server.address(), &address);
        stop(server);
    }
}

#[test]
fn i1_what_the_variables_of_a_manager_do_not_say_is_named() {
    for (count, names, said) in [
        ("two", "web", "LISTEN_FDS is not a number: two"),
        (
            "1",
            "web:admin",
            "LISTEN_FDNAMES has 2 names for LISTEN_FDS=1",
        ),
    ] {
        let (socket, address) = socket();
        let command = command!("echo", "listen=127.0.0.1:0");
        let server = Server::start(activated_with(count, names, socket, command));
        server.wait_for(said);
        assert_ne!(server.address(), &address);
        stop(server);
    }
}

#[test]
fn i1_systemd_socket_activate_starts_the_server() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let [web, admin] = ["web", "admin"].map(|name| directory.path().join(name));
    let mut command = Command::new("systemd-socket-activate");
    if let Err(error) = command.arg("--version").output() {
        return eprintln!("skipped: systemd-socket-activate: {error}");
    }
    let mut command = Command::new("systemd-socket-activate");
    command
        .arg("--listen")
        .arg(&web)
        .arg("--listen")
        .arg(&admin)
        .arg("--fdname=web:admin")
        .args([env!("CARGO_BIN_EXE_echo"), "listen=systemd:admin"]);
    let server = Server::spawn(command);
    server.wait_for_times("Listening on", 2);
    // The first connection starts the program, which asks for one of the two.
    let mut connection = Connection::open(&Address::Unix(admin));
    assert_eq!(connection.get("/pid").text(), server.id().to_string());
    assert_eq!(private_variables(&mut connection), [""; 0]);
    server.wait_for("systemd:web was inherited and is not used any more: closed");
    Address::Unix(web).wait_until_refused();
    stop(server);
}

#[test]
fn i2_a_manager_is_told_of_the_start_of_the_drain_and_of_its_progress() {
    let manager = Manager::start();
    let told = manager.log();
    let server = Server::start(notifying(&manager, command!("echo", "timeout=60s")));
    told.wait_for("READY=1");
    let mut uploads = [(); 2].map(|()| begin_upload(&server));
    server.signal(Signal::TERM);
    told.wait_for("STOPPING=1");
    // A request in flight is worth waiting for, whether or not anything else ends.
    told.wait_for_times("draining 2 requests", 3);
    told.wait_for_times("EXTEND_TIMEOUT_USEC=10000000", 3);
    let [first, second] = &mut uploads;
    finish_upload(first);
    told.wait_for("draining 1 request");
    finish_upload(second);
    server.exit().expect(0);
    assert!(told.position("READY=1") < told.position("STOPPING=1"));
}

#[test]
fn i2_a_restart_that_is_vetoed_is_a_reload_that_ends() {
    let manager = Manager::start();
    let vetoing = command!("restart", "restart=USR2", "leave=error");
    let server = Server::start(notifying(&manager, vetoing));
    server.wait_until_ready();
    server.signal(Signal::USR2);
    let told = manager.log();
    told.wait_for("STATUS=restart failed: a migration is under way");
    // What `Type=notify-reload` waits for: both of the first two, and then the third.
    assert_eq!(told.lines_with("RELOADING=1").len(), 1);
    assert_eq!(told.lines_with("MONOTONIC_USEC=").len(), 1);
    assert_eq!(told.lines_with("READY=1").len(), 2);
    stop(server);
}

/// How a process ends that a manager looks after, only that one knows.
#[test]
fn i2_two_restarts_within_one_drain_are_no_loss() {
    let manager = Manager::start();
    let restart = command!("restart", "restart=USR2", "timeout=60s");
    let server = Server::start(notifying(&manager, restart));
    let mut connection = server.sleeping(3000);
    server.signal(Signal::USR2);
    let successor = |line: String| {
        let id = line
            .rsplit([' ', '='])
            .next()
            .and_then(|id| id.parse().ok());
        Generation::new(id.expect("it ends with a process id"))
    };
    let second = successor(server.wait_for("handed over to process "));
    let id = second.id();
    second.signal(Signal::USR2);
    server.wait_for(&format!("process {id}) ended while"));
    // Its connection goes on with the third.
    assert_eq!(connection.response().status, 200);
    server.wait_for(&format!("process {id} took over and has ended since"));
    // The output is that of all of them.
    let third = successor(manager.log().wait_for_times("MAINPID=", 2));
    third.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}

#[test]
fn i2_the_watchdog_hears_of_a_runtime_as_long_as_it_is_alive() {
    let manager = Manager::start();
    let mut command = notifying(&manager, command!("echo", "flavor=current_thread"));
    command.env("WATCHDOG_USEC", "100000");
    let server = Server::start(command);
    let mut connection = server.wait_until_ready();
    manager.log().wait_for_times("WATCHDOG=1", 3);
    connection.send(get("/block?ms=600000"));
    server.wait_for("handling /block");
    let heard = || manager.log().lines_with("WATCHDOG=1").len();
    let deadline = Instant::now() + LIMIT;
    loop {
        let before = heard();
        // Twenty times as long as it takes a runtime that is alive.
        sleep(Duration::from_secs(1));
        if heard() == before {
            return;
        }
        assert!(Instant::now() < deadline, "it is still told");
    }
}

/// It is told of the stop, and every second how that gets on.
#[test]
fn i2_a_manager_that_does_not_listen_holds_nothing_up() {
    let manager = DeafManager::start();
    let start = || {
        let mut command = command!("echo", "timeout=3s");
        command.env("NOTIFY_SOCKET", manager.address());
        command.env("WATCHDOG_USEC", "100000");
        let server = Server::start(command);
        server.wait_until_ready();
        server
    };
    let idle = start();
    idle.signal(Signal::TERM);
    idle.exit().expect(0);

    let busy = start();
    let mut client = busy.connect();
    client.send(get("/sleep?ms=60000"));
    busy.wait_for("handling /sleep");
    busy.signal(Signal::INT);
    busy.wait_for("draining 1 request");
    // Later than a second press of the same Ctrl-C.
    busy.wait_for("waiting for 1 request");
    busy.signal(Signal::INT);
    busy.exit().expect(130);
}

#[test]
fn i2_without_a_manager_there_is_nothing_of_it() {
    let manager = Manager::start();
    let with = Server::start(notifying(&manager, command!("echo")));
    let mut command = command!("echo");
    command
        .env_remove("NOTIFY_SOCKET")
        .env("WATCHDOG_USEC", "100000");
    let without = Server::start(command);
    let mut connections = [&with, &without].map(Server::wait_until_ready);
    for connection in &mut connections {
        assert_eq!(private_variables(connection), [""; 0]);
    }
    // The one to speak to the manager.
    assert_eq!(sockets(&without), sockets(&with) - 1);
    stop(with);
    stop(without);
}

fn socket() -> (TcpListener, Address) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = Address::Tcp(socket.local_addr().expect("it is bound"));
    (socket, address)
}

/// Starts a server that asks for `asked`, with `socket` as the one of its manager.
#[track_caller]
fn start_with(socket: &TcpListener, asked: &str) -> Server {
    let socket = socket.try_clone().expect("it is open");
    let command = command!("echo", format!("listen={asked}"));
    Server::start(activated(socket, "$$", command))
}

#[track_caller]
fn stop(server: Server) -> Log {
    server.signal(Signal::TERM);
    server.exit().expect(0)
}

fn notifying(manager: &Manager, mut command: Command) -> Command {
    command.env("NOTIFY_SOCKET", manager.address());
    command
}

/// Returns what a process that the server starts would take for a message of a manager to itself.
fn private_variables(connection: &mut Connection) -> Vec<String> {
    let environment = connection.get("/environment").text();
    let is_private = |line: &&str| {
        ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    environment
        .lines()
        .filter(is_private)
        .map(str::to_owned)
        .collect()
}

fn sockets(server: &Server) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.id())).expect("it runs");
    // One that was closed meanwhile is none.
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// Sends a request but for its last byte, and returns when it is in flight.
#[track_caller]
fn begin_upload(server: &Server) -> Connection {
    let mut connection = server.connect();
    connection.send(
        "POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.head().status, 100);
    connection.send("x");
    connection
}

#[track_caller]
fn finish_upload(connection: &mut Connection) {
    connection.send("x");
    connection.response().expect_last();
}

#[test]
fn n5_a_long_start_is_given_its_time() {
    for start in ["start=USR1", "start=blocking"] {
        let manager = Manager::start();
        let startup = command!("startup", start, "start_timeout=7s", "timeout=1s");
        let server = Server::spawn(notifying(&manager, startup));
        let told = manager.log();
        told.wait_for_times("EXTEND_TIMEOUT_USEC=", 2);
        let asked = told.lines_with("EXTEND_TIMEOUT_USEC=");
        let asked: Vec<u64> = asked
            .iter()
            .map(|line| line.rsplit('=').next().unwrap().trim().parse().unwrap())
            .collect();
        // Half of the patience later, there is less than that left.
        assert!(asked[0] <= 7_000_000 && asked[1] <= 2_000_000, "{asked:?}");
        server.signal(Signal::TERM);
        server.exit();
    }
}

#[test]
fn n5_who_is_ready_asks_for_no_time() {
    let manager = Manager::start();
    let server = Server::start(notifying(&manager, command!("echo")));
    let told = manager.log();
    told.wait_for("READY=1");
    let asked = told.lines_with("EXTEND_TIMEOUT_USEC=").len();
    assert!(asked <= 1, "{told}");
    sleep(Duration::from_secs(6));
    assert_eq!(
        told.lines_with("EXTEND_TIMEOUT_USEC=").len(),
        asked,
        "{told}"
    );
    stop(server);
}

#[test]
fn n5_a_slow_successor_is_given_its_time() {
    let manager = Manager::start();
    let restart = ["restart=USR2", "restart_timeout=600s", "leave=pending"];
    let [restart, limit, leave] = restart;
    let server = Server::start(notifying(
        &manager,
        command!("restart", restart, limit, leave),
    ));
    server.wait_until_ready();
    let told = manager.log();
    let asked = told.lines_with("EXTEND_TIMEOUT_USEC=").len();
    server.signal(Signal::USR2);
    told.wait_for("RELOADING=1");
    told.wait_for_times("EXTEND_TIMEOUT_USEC=10000000", asked + 2);
    stop(server);
}

#[test]
fn n6_a_socket_of_a_manager_whose_file_is_gone_is_bound_anew() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("socket");
    let socket = UnixListener::bind(&path).expect("a new directory can be written to");
    fs::remove_file(&path).expect("it was just made");
    let listen = format!("listen=unix:{}", path.display());
    let server = Server::start(activated(socket, "$$", command!("echo", listen)));
    assert_eq!(server.connect().get("/pid").text(), server.id().to_string());
    server.wait_for("was inherited, but its file is gone: bound anew");
    stop(server);
    assert!(!path.exists());
}

#[test]
fn n7_a_changed_address_is_bound_in_place_of_the_stored_one() {
    let (socket, address) = socket();
    let old = address.tcp();
    let manager = Manager::start();
    let listen = format!("listen=0.0.0.0:{}", old.port());
    let name = format!("graceful@{}", old.to_string().replace(':', "%3a"));
    let copy = socket.try_clone().expect("it is open");
    let command = activated_as(&name, copy, "$$", command!("echo", listen));
    let server = Server::spawn(notifying(&manager, command));
    // As a manager does it.
    manager.log().wait_for("FDSTOREREMOVE=1");
    manager.log().wait_for(&format!("FDNAME={name}"));
    drop(socket);
    server.wait_for(": listening on http://0.0.0.0:");
    let mut connection = Connection::open(&address);
    assert_eq!(connection.get("/").status, 200);
    stop(server);
}

#[test]
fn i2_a_start_that_fails_leaves_its_reason_in_the_status() {
    let manager = Manager::start();
    let server = Server::spawn(notifying(&manager, command!("startup", "start=error")));
    server.exit().expect(1);
    let told = manager.log();
    told.wait_for("STATUS=failed: no database");
    assert!(!told.has("STATUS=draining"), "{told}");
}
