//! I. A real systemd, with the unit files that ship in `examples`.
//!
//! Each test boots a systemd of its own (see `graceful_tests::systemd`). Where a machine cannot do that, it says so and passes.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use graceful_tests::address::is_refusal;
use graceful_tests::deployment::Gate;
use graceful_tests::load::Style;
use graceful_tests::systemd::Systemd;
use graceful_tests::{Address, Connection, LIMIT, Load, SOON, get};

const SERVER: &str = env!("CARGO_BIN_EXE_restart");
const UNIT: &str = include_str!("../examples/systemd/graceful.service");
const SOCKET_UNIT: &str = include_str!("../examples/systemd/graceful.socket");
const SERVICE: &str = "graceful.service";

/// A systemd with the shipped service in it, started.
struct Service {
    systemd: Systemd,
    address: Address,
}

impl Service {
    /// Starts the service with `extra` lines in its `[Service]` section; `None` where this machine cannot boot a systemd.
    #[track_caller]
    fn start(extra: &str) -> Option<Self> {
        Self::start_with("", extra)
    }

    /// As [`start`](Self::start), with `settings` of the server.
    #[track_caller]
    fn start_with(settings: &str, extra: &str) -> Option<Self> {
        let address = free_address();
        let unit = unit(&format!("listen={address} {settings}"));
        let extra = format!("[Service]\n{extra}");
        let units = [
            (SERVICE, unit.as_str()),
            ("graceful.service.d/test.conf", &extra),
        ];
        let service = Self::boot(address, &units)?;
        service.systemd.must(&["start", SERVICE]);
        Some(service)
    }

    fn boot(address: Address, units: &[(&str, &str)]) -> Option<Self> {
        let systemd = match Systemd::boot(units) {
            Ok(systemd) => systemd,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return None;
            }
        };
        systemd.deploy(Path::new(SERVER), "server");
        let service = Self { systemd, address };
        service.set("");
        Some(service)
    }

    /// Makes the next generation read `setting`.
    fn set(&self, setting: &str) {
        fs::write(self.systemd.shared().join("settings"), setting).expect("it can be written");
    }

    fn reload(&self) {
        let before = self.main_pid();
        self.systemd.must(&["reload", SERVICE]);
        assert_ne!(self.main_pid(), before, "{}", self.systemd.journal());
    }

    /// Reloads, which has to end soon, with `reason` in the status and the same process serving.
    #[track_caller]
    fn reload_in_vain(&self, reason: &str) {
        let before = self.main_pid();
        let begin = Instant::now();
        self.systemd.must(&["reload", SERVICE]);
        assert!(begin.elapsed() < SOON, "{}", self.systemd.journal());
        let text = self.property("StatusText");
        let says_why = text.starts_with("restart failed: ") && text.contains(reason);
        assert!(says_why, "{text}\n{}", self.systemd.journal());
        assert_eq!(self.property("ActiveState"), "active");
        assert_eq!(self.main_pid(), before);
        assert_eq!(self.pid(), before);
    }

    fn property(&self, name: &str) -> String {
        self.systemd.property(SERVICE, name)
    }

    fn main_pid(&self) -> String {
        self.property("MainPID")
    }

    fn pid(&self) -> String {
        Connection::open(&self.address).get("/pid").text()
    }

    /// Asks until the main process answers: right after a reload the one before it may still accept.
    #[track_caller]
    fn wait_until_main_answers(&self) {
        let start = Instant::now();
        while self.pid() != self.main_pid() {
            let late = start.elapsed() > LIMIT;
            assert!(!late, "another process answers\n{}", self.systemd.journal());
        }
    }

    /// Fails unless systemd is content with how the service ended.
    #[track_caller]
    fn expect_success(&self) {
        let journal = self.systemd.journal();
        assert_eq!(self.property("ActiveState"), "inactive", "{journal}");
        assert_eq!(self.property("Result"), "success", "{journal}");
    }

    /// Waits until a property is as wanted.
    #[track_caller]
    fn wait_for(&self, name: &str, wanted: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let value = self.property(name);
            if wanted(&value) {
                return;
            }
            let late = start.elapsed() > LIMIT;
            assert!(
                !late,
                "{name} is still `{value}`\n{}",
                self.systemd.journal()
            );
        }
    }

    /// Sends a request but for its last byte, and returns when it is in flight.
    #[track_caller]
    fn begin_upload(&self) -> Connection {
        let mut connection = Connection::open(&self.address);
        connection.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
        assert_eq!(connection.head().status, 100);
        connection.send("x");
        connection
    }

    /// Asks for an answer of one second, and returns when its first piece has arrived.
    fn begin_long_answer(&self) -> Connection {
        let mut connection = Connection::open(&self.address);
        connection.send(get("/stream?n=20&ms=50"));
        assert_eq!(connection.head().status, 200);
        connection.some_bytes();
        connection
    }
}

fn finish_long_answer(mut connection: Connection) {
    let rest = connection.rest().expect("the answer comes whole");
    let rest = String::from_utf8(rest).expect("the answer is text");
    assert!(
        rest.contains("19;") && rest.ends_with("0\r\n\r\n"),
        "{rest:?}"
    );
}

fn finish_upload(mut connection: Connection) {
    connection.send("x");
    let response = connection.response();
    // Whether it is the last one depends on whether a successor goes on with the connection.
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), "2");
}

/// Asks again and again while something is done, and fails where one of the questions did.
fn meanwhile(ask: impl Fn() -> io::Result<()> + Sync, act: impl FnOnce()) {
    let is_done = AtomicBool::new(false);
    let ask_on = || {
        while !is_done.load(Ordering::Relaxed) {
            ask()?;
        }
        Ok::<_, io::Error>(())
    };
    thread::scope(|scope| {
        let clients = [(); 4].map(|()| scope.spawn(ask_on));
        act();
        is_done.store(true, Ordering::Relaxed);
        for client in clients {
            client
                .join()
                .expect("no client panics")
                .expect("nothing is refused or lost");
        }
    });
}

/// The shipped unit for the server of the tests. Of two settings with one name the first counts.
fn unit(settings: &str) -> String {
    let settings = format!("settings=/rig/settings {settings} timeout=10s");
    let start = format!("ExecStart=/rig/server restart=USR2 {settings}");
    UNIT.replace("ExecStart=/usr/local/bin/server", &start)
}

/// An address that nobody listens on, at this moment.
fn free_address() -> Address {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    Address::Tcp(listener.local_addr().expect("it is bound"))
}

#[test]
fn i2_start_is_over_when_the_server_accepts() {
    let Some(service) = Service::start("") else {
        return;
    };
    service.wait_until_main_answers();
    assert_eq!(service.property("ActiveState"), "active");
}

#[test]
fn i3_reload_hands_over_under_load_and_nothing_is_lost() {
    let Some(service) = Service::start("") else {
        return;
    };
    let loads =
        [Style::KeepAlive, Style::Reconnect].map(|style| Load::start(&service.address, 8, style));
    for round in 1..=5 {
        loads
            .iter()
            .for_each(|load| load.wait_until_served(round * 200));
        service.reload();
        service.wait_until_main_answers();
    }
    service.systemd.must(&["stop", SERVICE]);
    service.expect_success();
    loads.into_iter().for_each(Load::expect_nothing_lost);
}

#[test]
fn i3_reload_is_over_when_the_successor_serves() {
    let Some(service) = Service::start("") else {
        return;
    };
    let before = service.main_pid();
    let gate = Gate::at(&service.systemd.shared().join("gate"));
    service.set("gate=/rig/gate");
    service.systemd.must(&["reload", "--no-block", SERVICE]);
    let (_, held) = gate.wait();
    assert_eq!(service.property("ActiveState"), "reloading");
    assert_eq!(service.property("StatusText"), "restarting");
    assert_eq!(service.main_pid(), before);
    assert_eq!(service.pid(), before);
    drop(held);
    service.wait_for("ActiveState", |state| state == "active");
    assert_ne!(service.main_pid(), before);
    service.wait_until_main_answers();
}

#[test]
fn i3_stop_after_a_reload_finishes_the_requests_of_both_processes() {
    let Some(service) = Service::start("") else {
        return;
    };
    let on_the_old = service.begin_long_answer();
    service.reload();
    let on_the_new = service.begin_long_answer();
    service.systemd.must(&["stop", SERVICE]);
    finish_long_answer(on_the_old);
    finish_long_answer(on_the_new);
    service.expect_success();
}

#[test]
fn i3_a_reload_that_fails_says_so_and_the_next_one_works() {
    let Some(service) = Service::start("") else {
        return;
    };
    let before = service.main_pid();
    service.systemd.deploy(Path::new("/bin/false"), "server");
    service.systemd.systemctl(&["reload", SERVICE]);
    service.wait_for("StatusText", |text| text.starts_with("restart failed: "));
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.main_pid(), before);
    assert_eq!(service.pid(), before);

    service.systemd.deploy(Path::new(SERVER), "server");
    service.reload();
    service.wait_until_main_answers();
}

#[test]
fn i3_a_reload_that_a_hook_vetoes_ends_and_says_why() {
    let Some(service) = Service::start_with("leave=error", "") else {
        return;
    };
    service.reload_in_vain("a migration is under way");
    service.reload_in_vain("a migration is under way");
    service.systemd.must(&["stop", SERVICE]);
    service.expect_success();
}

#[test]
fn i3_a_reload_that_is_refused_ends_and_says_why() {
    let Some(service) = Service::start_with("timeout=300s", "") else {
        return;
    };
    let mut on_the_old = Vec::new();
    for _ in 0..8 {
        service.wait_until_main_answers();
        on_the_old.push(service.begin_upload());
        service.reload();
    }
    service.wait_until_main_answers();
    service.reload_in_vain("8 earlier processes still drain");
    on_the_old.into_iter().for_each(finish_upload);
    service.systemd.must(&["stop", SERVICE]);
    service.expect_success();
}

#[test]
fn i3_stop_during_a_reload_stops_both() {
    let Some(service) = Service::start("") else {
        return;
    };
    let hang = service.systemd.shared().join("hang");
    fs::write(&hang, "#!/bin/sh\nexec sleep 600\n").expect("it can be written");
    fs::set_permissions(&hang, fs::Permissions::from_mode(0o755)).expect("it is ours");
    service.systemd.deploy(&hang, "server");
    service.systemd.must(&["reload", "--no-block", SERVICE]);
    service.wait_for("StatusText", |text| text == "restarting");
    service.systemd.must(&["stop", SERVICE]);
    service.expect_success();
}

#[test]
fn i4_listeners_in_the_store_outlive_restart_and_sigkill() {
    // A killed process takes with it the requests that it had accepted; a refused connect is what must not be.
    let Some(service) = Service::start("Restart=always\nRestartSec=0\nStartLimitInterval=0\n")
    else {
        return;
    };
    service.wait_for("NFileDescriptorStore", |count| count == "1");
    let connect = || match service.address.connect() {
        Err(error) if is_refusal(&error) => Err(error),
        _ => Ok(()),
    };
    meanwhile(connect, || {
        for _ in 0..3 {
            let before = service.main_pid();
            service.systemd.must(&["kill", "--signal=KILL", SERVICE]);
            service.wait_for("MainPID", |pid| pid != "0" && pid != before);
            service.wait_for("ActiveState", |state| state == "active");
            service.systemd.must(&["restart", SERVICE]);
            service.reload();
        }
    });
    service.wait_until_main_answers();
    assert_eq!(service.property("NFileDescriptorStore"), "1");
}

#[test]
fn n8_a_store_that_is_too_small_keeps_what_it_has_room_for() {
    let settings = "listen=127.0.0.1:0";
    let Some(service) = Service::start_with(settings, "FileDescriptorStoreMax=1\n") else {
        return;
    };
    service.wait_for("NFileDescriptorStore", |count| count == "1");
    service.reload();
    service.wait_until_main_answers();
    assert_eq!(service.property("NFileDescriptorStore"), "1");
}

#[test]
fn i2_stop_asks_for_more_time_and_says_what_it_waits_for() {
    let Some(service) = Service::start("TimeoutStopSec=500ms\n") else {
        return;
    };
    let answer = service.begin_long_answer();
    service.systemd.must(&["stop", "--no-block", SERVICE]);
    service.wait_for("StatusText", |text| text.contains("1 request"));
    assert_eq!(service.property("ActiveState"), "deactivating");
    finish_long_answer(answer);
    service.wait_for("ActiveState", |state| state == "inactive");
    service.expect_success();
}

#[test]
fn i2_the_watchdog_hears_from_every_generation() {
    let Some(service) = Service::start("WatchdogSec=1\n") else {
        return;
    };
    for _ in 0..2 {
        for _ in 0..2 {
            let before = service.property("WatchdogTimestampMonotonic");
            service.wait_for("WatchdogTimestampMonotonic", |time| time != before);
        }
        service.reload();
    }
    assert_eq!(service.property("NRestarts"), "0");
}

#[test]
fn i1_a_socket_unit_is_found_by_name_and_handed_over() {
    let address = free_address();
    let socket = SOCKET_UNIT.replace("127.0.0.1:3000", &address.to_string());
    let units = [
        ("graceful.socket", socket.as_str()),
        (SERVICE, &unit("listen=systemd:web")),
    ];
    let Some(service) = Service::boot(address, &units) else {
        return;
    };
    service.systemd.must(&["start", "graceful.socket"]);
    // The first connection starts the service.
    service.wait_until_main_answers();
    let ask = || {
        let mut connection = Connection::try_open(&service.address)?;
        connection.try_send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
        connection.try_response().map(|_| ())
    };
    meanwhile(ask, || {
        for _ in 0..3 {
            service.reload();
            service.systemd.must(&["restart", SERVICE]);
        }
    });
}

#[test]
fn nothing_of_it_is_left_on_the_host() {
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("it can be read");
    let before = mounts();
    let Some(service) = Service::start("") else {
        return;
    };
    let shared = service.systemd.shared().to_owned();
    drop(service);
    assert_eq!(mounts(), before);
    assert!(!shared.exists());
}
