//! A. Signals and exit codes.

use std::fs;
use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use graceful_tests::settings::SIGNALS;
use graceful_tests::{Connection, LISTENING, SOON, Server, Signal, command, get, process, server};
use rustix::fs::{CWD, mkfifoat};

#[test]
fn a1_a_listed_signal_with_nothing_connected_ends_the_process_at_once() {
    let server = server!("echo", "timeout=60s");
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}

#[test]
fn a1_the_attribute_does_the_same() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = server!("attribute");
        server.signal(signal);
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn a2_every_signal_that_can_be_listed_ends_the_process() {
    for (name, _) in SIGNALS {
        let server = server!("echo", "timeout=60s", format!("signals={name}"));
        server.signal(number_of(name));
        let log = server.exit_within(SOON).expect(0);
        assert!(
            log.has(&format!("SIG{name}")),
            "the log names SIG{name}:\n{log}"
        );
    }
}

#[test]
fn a3_an_unlisted_signal_keeps_its_default() {
    let server = server!("echo", "signals=TERM");
    server.signal(Signal::USR1);
    let exit = server.exit();
    assert_eq!(
        exit.signal,
        Some(Signal::USR1.as_raw()),
        "killed by it:\n{}",
        exit.log
    );
}

#[test]
fn a3_an_ignored_hangup_stays_ignored() {
    for signals in ["signals=TERM", "signals=HUP,TERM"] {
        let server = Server::start(process::ignoring_hangup(command!("echo", signals)));
        let mut connection = server.wait_until_ready();
        server.signal(Signal::HUP);
        // Had it been taken, it would have been so before TERM.
        assert_eq!(connection.get("/status").text(), "ready");
        server.signal(Signal::TERM);
        let log = server.exit_within(SOON).expect(0);
        assert!(
            !log.has("SIGHUP: ") && log.has("SIGTERM: "),
            "only TERM counts:\n{log}"
        );
    }
}

#[test]
fn n4_an_ignored_hangup_is_told_where_it_was_to_do_something() {
    for (settings, told) in [
        (["signals=TERM", "restart=USR2"], None),
        (
            ["signals=HUP,TERM", "restart=USR2"],
            Some("SIGHUP stops nothing here"),
        ),
        (
            ["signals=TERM", "restart=HUP"],
            Some("SIGHUP restarts nothing here"),
        ),
    ] {
        let [signals, restart] = settings;
        let server = Server::start(process::ignoring_hangup(command!("echo", signals, restart)));
        server.signal(Signal::TERM);
        let log = server.exit_within(SOON).expect(0);
        assert_eq!(
            log.lines_with("SIGHUP").len(),
            usize::from(told.is_some()),
            "{log}"
        );
        assert!(told.is_none_or(|told| log.has(told)), "{log}");
    }
}

#[test]
fn a4_a_signal_during_exec_never_kills_what_runs_main_already() {
    for delay in [0, 1, 3, 10, 20].repeat(4) {
        let server = Server::spawn(command!("attribute"));
        sleep(Duration::from_millis(delay));
        server.signal(Signal::TERM);
        let exit = server.exit_within(SOON);
        let before_main = exit.log.is_empty() && exit.signal == Some(Signal::TERM.as_raw());
        assert!(
            before_main || exit.code == Some(0),
            "after {delay} ms: {exit:?}"
        );
    }
}

#[test]
fn a4_a_signal_right_at_the_start_of_main_ends_it() {
    for _ in 0..20 {
        let server = Server::spawn(command!("attribute"));
        server.wait_for("main");
        server.signal(Signal::TERM);
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn a4_a_signal_between_two_system_calls_of_the_installation_is_not_lost() {
    if !process::can_delay_handlers() {
        eprintln!("skipped: there is no strace(1), or it may not trace");
        return;
    }
    let server = Server::spawn(process::delaying_handlers(command!("attribute")));
    server.wait_until_caught("attribute", Signal::TERM);
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}

#[test]
fn a4_the_same_as_pid_1() {
    if !process::can_unshare() {
        eprintln!("skipped: this user may not create a PID namespace with unshare(1)");
        return;
    }
    for delay in [0, 1, 3, 10, 20] {
        let server = Server::spawn(process::as_pid_1(command!("attribute")));
        let first = server.wait_for_child();
        sleep(Duration::from_millis(delay));
        // The kernel drops a signal to PID 1 that has no handler yet, which is no death either.
        process::signal_if_alive(first, Signal::TERM);
        server.log().wait_for_or_end("main");
        process::signal_if_alive(first, Signal::TERM);
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn a5_a_repeated_term_changes_nothing() {
    let server = server!("echo", "timeout=60s");
    let mut connection = server.sleeping(1500);
    for _ in 0..3 {
        server.signal(Signal::TERM);
    }
    server.wait_for("draining");
    server.signal(Signal::TERM);
    connection.response().expect_last();
    connection.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn a6_term_and_int_together_lose_nothing() {
    for [first, second] in [[Signal::TERM, Signal::INT], [Signal::INT, Signal::TERM]] {
        let server = server!("echo", "timeout=60s");
        let mut connection = server.sleeping(700);
        server.signal(first);
        server.wait_for("draining");
        server.signal(second);
        connection.response().expect_last();
        connection.expect_eof();
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn a7_a_second_int_ends_it_at_once_and_the_report_names_what_was_cut() {
    let server = server!("echo", "timeout=60s");
    let _connection = server.sleeping(60_000);
    server.signal(Signal::INT);
    server.wait_for("draining");
    server.interrupt_again();
    let log = server.exit_within(SOON).expect(130);
    assert!(log.has("GET /sleep"), "the request is named:\n{log}");
    assert!(log.has("1 cut"), "the report counts it:\n{log}");
    assert!(!log.has("ms=60000"), "the query may hold secrets:\n{log}");
}

#[test]
fn a7_a_second_int_that_meets_the_end_leaves_one_code() {
    for _ in 0..10 {
        let server = server!("last_hook", "until=interrupt", "timeout=60s");
        server.signal(Signal::INT);
        server.wait_for("waiting for an interrupt");
        server.interrupt_again();
        let exit = server.exit_within(SOON);
        let is_forced = exit.log.has("stopping now");
        exit.expect(if is_forced { 130 } else { 0 });
    }
}

#[test]
fn a8_a_call_of_stop_is_the_same_as_a_signal() {
    let server = server!("echo", "timeout=60s");
    let mut sleeping = server.sleeping(700);
    let mut stopping = server.connect();
    assert_eq!(stopping.get("/stop").text(), "stopping");
    stopping.expect_eof();
    sleeping.response().expect_last();
    sleeping.expect_eof();
    server.exit_within(SOON).expect(0);
}

#[test]
fn a9_a_signal_during_an_asynchronous_start_up_drops_it() {
    let server = Server::spawn(command!("startup", "start=slow", "timeout=60s"));
    server.wait_for("main");
    server.signal(Signal::TERM);
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("start-up dropped"), "its destructors run:\n{log}");
}

#[test]
fn n1_whoever_else_waits_for_the_shutdown_keeps_no_start_up() {
    for other in ["cron=yes", "adapted=127.0.0.1:0", "early=127.0.0.1:0"] {
        let server = Server::spawn(command!("startup", "start=USR1", other, "timeout=60s"));
        server.wait_for("warming up");
        server.signal(Signal::TERM);
        let log = server.exit_within(SOON).expect(0);
        assert!(log.has("start-up dropped"), "{other}:\n{log}");
    }
}

#[test]
fn n1_a_server_in_a_task_drains_when_the_start_up_is_dropped() {
    let early = "early=127.0.0.1:0";
    let server = Server::spawn(command!("startup", "start=USR1", early, "timeout=60s"));
    server.wait_for("warming up");
    let mut sleeping = Connection::open(&server.wait_until_bound());
    sleeping.send(get("/sleep?ms=100&from=drain"));
    server.wait_for("handling /sleep");
    server.signal(Signal::TERM);
    sleeping.response().expect_last();
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("start-up dropped"), "{log}");
}

#[test]
fn n1_a_main_that_waits_for_the_shutdown_is_not_dropped() {
    for (start, end) in [
        ("start=asking", "worked to the end"),
        ("start=shutdown", "bound"),
    ] {
        let server = Server::spawn(command!("startup", start, "timeout=60s"));
        server.wait_for("waits");
        server.signal(Signal::TERM);
        let log = server.exit_within(SOON).expect(0);
        assert!(log.has(end), "{start}:\n{log}");
    }
}

#[test]
fn n2_a_blocked_mask_is_not_inherited() {
    for signal in [Signal::TERM, Signal::INT, Signal::USR2] {
        let settings = command!("echo", "timeout=60s", "signals=TERM,INT,USR2");
        let server = Server::start(process::blocking_signals(settings));
        server.signal(signal);
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn n2_a_blocked_mask_is_not_handed_on() {
    let server = Server::start(process::blocking_signals(command!("attribute")));
    let mask = server.connect().get("/mask").text();
    assert_eq!(mask, "SigBlk:\t0000000000000000\n");
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}

/// As npm has it, which sends its child what the terminal has sent it already.
#[test]
fn n3_two_ints_within_moments_are_one() {
    // On a busy machine a moment may be long.
    for _ in 0..10 {
        let server = server!("echo", "timeout=60s", "grace=30s");
        let mut connection = server.connect_accepted(1).remove(0);
        server.signal(Signal::INT);
        server.wait_for("draining");
        server.signal(Signal::INT);
        // The server has read both, or the second too late.
        sleep(process::HUMAN);
        if server.is_running() {
            connection.get("/").expect_last();
            return server.exit_within(SOON).expect(0).wait_for_end();
        }
    }
    panic!("the second one has ended it each time");
}

#[test]
fn n13_a_start_short_of_descriptors_fails_with_a_remedy() {
    let mut failures = 0;
    for limit in 5..30 {
        failures += usize::from(start_short_of("-n", limit));
    }
    assert!(failures > 0, "there was always enough");
}

#[test]
fn n13_a_start_short_of_threads_fails_with_a_remedy() {
    let mut failures = 0;
    // No thread without memory for its stack.
    for megabytes in 8..40 {
        failures += usize::from(start_short_of("-v", megabytes * 1024));
    }
    assert!(failures > 0, "there was always enough");
}

/// Starts a server with a limit; tells whether it has failed in order, and not just served.
#[track_caller]
fn start_short_of(option: &str, limit: u32) -> bool {
    let server = Server::spawn(process::limited(option, limit, command!("attribute")));
    server.log().wait_for_or_end(LISTENING);
    let is_serving = server.log().has(LISTENING);
    if is_serving {
        server.signal(Signal::TERM);
    }
    let exit = server.exit_within(SOON);
    let is_failure = exit.log.has("Error: failed to ");
    if is_failure {
        let log = exit.expect(1);
        assert!(log.has("ulimit"), "{option} {limit}:\n{log}");
        assert!(!log.has("{ code: "), "{option} {limit}:\n{log}");
        if option == "-n" {
            let said = "Too many open files (os error 24); raise the limit of open files";
            assert!(log.has(said), "{option} {limit}:\n{log}");
        }
        return true;
    }
    // Or the loader or an allocation has failed, which nobody can put into words.
    assert_ne!(exit.code, Some(101), "{option} {limit}:\n{}", exit.log);
    false
}

#[test]
fn a10_a_signal_during_a_blocking_start_up_ends_it_at_the_deadline() {
    let server = Server::spawn(command!("startup", "start=blocking", "timeout=1s"));
    server.wait_for("main");
    let begin = Instant::now();
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(124);
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "it had its second"
    );
}

#[test]
fn a11_an_error_of_main_is_exit_1_and_its_message() {
    let log = Server::spawn(command!("startup", "start=error"))
        .exit_within(SOON)
        .expect(1);
    assert!(
        log.has("Error: ") && log.has("no database"),
        "as Rust prints it:\n{log}"
    );
}

#[test]
fn a11_a_panic_of_main_is_exit_101() {
    let log = Server::spawn(command!("startup", "start=panic"))
        .exit_within(SOON)
        .expect(101);
    assert!(log.has("no luck"), "the message of the panic:\n{log}");
}

#[test]
fn a11_when_one_server_fails_the_other_drains() {
    for (how, code) in [("error", 1), ("panic", 101)] {
        let server = server!(
            "echo",
            "timeout=200s",
            format!("beside={how}"),
            "lame_duck=100s"
        );
        let mut sleeping = server.sleeping(700);
        assert_eq!(server.connect().get("/fail").status, 200);
        sleeping.response().expect_last();
        sleeping.expect_eof();
        let log = server.exit_within(SOON).expect(code);
        // The reason of the drain says it, too.
        let said = match how {
            "error" => "server 2 of 2 failed: the second server failed",
            _ => "server 2 of 2 panicked: the second server panicked",
        };
        assert!(log.has(&format!("Error: {said}")), "{log}");
        assert!(
            log.has(&format!("graceful: {said}; draining 1 request")),
            "{log}"
        );
        assert!(!log.has("Custom {"), "{log}");
    }
}

#[test]
fn a11_a_server_that_fails_at_once_is_named() {
    let server = Server::spawn(command!("echo", "timeout=60s", "beside=now"));
    let log = server.exit_within(SOON).expect(1);
    assert!(
        log.has("Error: server 2 of 2 failed: the second server failed"),
        "{log}"
    );
}

#[test]
fn a11_a_lifecycle_that_cannot_start_is_exit_1_and_one_line() {
    for (how, said) in [
        (
            "nested",
            "cannot start inside a tokio runtime; remove `#[tokio::main]`",
        ),
        (
            "second",
            "another lifecycle of this process listens to signals already",
        ),
        ("both", "SIGTERM cannot both shut down and restart"),
    ] {
        let log = Server::spawn(command!("misuse", format!("how={how}")))
            .exit()
            .expect(1);
        assert_eq!(log.lines_with("Error: ").len(), 1, "{log}");
        assert!(log.has(said), "{log}");
    }
}

#[test]
fn a12_a_taken_port_is_exit_1_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("a bound listener has an address");
    let server = Server::spawn(command!("echo", format!("listen={address}")));
    let log = server.exit_within(SOON).expect(1);
    let named = log
        .lines_with("Error: ")
        .iter()
        .any(|line| line.contains(&address.to_string()));
    assert!(named, "the error names {address}:\n{log}");
}

#[test]
fn a12_whatever_an_address_is_its_error_is_one_line() {
    for address in [
        "127.0.0.1:3000\n",
        "unix:/missing\n\u{1b}[2J/socket",
        "a\nb:1",
    ] {
        let log = Server::spawn(command!("echo", format!("listen={address}")))
            .exit_within(SOON)
            .expect(1);
        let said = log.lines_with("");
        assert_eq!(said.len(), 2, "`main`, and the error:\n{log}");
        let error = log.lines_with("Error: failed to listen on ");
        assert!(
            error[0].contains(r"\n") && !error[0].contains('\u{1b}'),
            "{log}"
        );
    }
}

#[test]
fn a13_two_thousand_usr1_for_somebody_else_do_not_hide_term() {
    let server = server!("echo", "timeout=60s", "count=USR1");
    for _ in 0..2000 {
        server.signal(Signal::USR1);
    }
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
}

#[test]
fn a13_two_thousand_listed_usr1_do_not_hide_the_second_int() {
    let server = server!("echo", "timeout=60s", "signals=INT,TERM,USR1");
    let _connection = server.sleeping(60_000);
    server.signal(Signal::INT);
    server.wait_for("draining");
    for _ in 0..2000 {
        server.signal(Signal::USR1);
    }
    server.interrupt_again();
    server.exit_within(SOON).expect(130);
}

fn number_of(name: &str) -> Signal {
    match name {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "ALRM" => Signal::ALARM,
        "TERM" => Signal::TERM,
        "CONT" => Signal::CONT,
        "TSTP" => Signal::TSTP,
        "TTIN" => Signal::TTIN,
        "TTOU" => Signal::TTOU,
        "URG" => Signal::URG,
        "XCPU" => Signal::XCPU,
        "XFSZ" => Signal::XFSZ,
        "VTALRM" => Signal::VTALARM,
        "PROF" => Signal::PROF,
        "WINCH" => Signal::WINCH,
        "IO" => Signal::IO,
        _ => panic!("`{name}` has no number here"),
    }
}

#[test]
fn n10_the_pid_file_is_gone_after_every_stop() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("server.pid");
    for _ in 0..100 {
        let server = server!("pid_file", path);
        server.wait_until_ready();
        assert!(path.exists());
        server.signal(Signal::TERM);
        server.exit_within(SOON).expect(0);
        assert!(!path.exists(), "it stays behind");
    }
}

#[test]
fn n10_what_lies_in_the_place_of_the_pid_file_holds_nothing_up() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("server.pid");
    for is_forced in [false, true] {
        let setting = format!("pid_file={}", path.display());
        let server = server!("echo", setting, "timeout=60s");
        server.wait_until_ready();
        fs::remove_file(&path).expect("it was written before the process was ready");
        mkfifoat(CWD, &path, 0o600.into()).expect("a new directory can be written to");
        let _sleeping = is_forced.then(|| server.sleeping(60_000));
        server.signal(Signal::INT);
        server.wait_for("SIGINT: draining");
        if is_forced {
            server.interrupt_again();
        }
        server
            .exit_within(SOON)
            .expect(if is_forced { 130 } else { 0 });
        assert!(path.exists(), "it is another's");
        fs::remove_file(&path).expect("it is there");
    }
}
