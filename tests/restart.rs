//! H. Restart: a new process takes over, and nobody notices.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use graceful_tests::deployment::Generation;
use graceful_tests::load::Style;
use graceful_tests::{
    Address, Connection, Deployment, Footprint, LISTENING, Load, SOON, Server, Signal, command,
    get, process,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_restart");

/// Long enough that a client which a busy machine does not let run for a while is not taken for an idle one.
const PATIENT: &str = "grace=10s";

fn start(settings: &[&str]) -> Deployment {
    Deployment::start(PROGRAM, settings)
}

#[test]
fn h1_five_restarts_under_load_lose_nothing_and_refuse_nobody() {
    survive_five_restarts(&[PATIENT]);
}

#[test]
fn h1_the_same_on_a_current_thread_runtime() {
    survive_five_restarts(&[PATIENT, "flavor=current_thread"]);
}

#[test]
fn h1_the_same_over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let listen = format!("listen=unix:{}/socket", directory.path().display());
    survive_five_restarts(&[PATIENT, &listen]);
}

fn survive_five_restarts(settings: &[&str]) {
    let mut server = start(settings);
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

#[test]
fn h1_restarts_that_follow_each_other_at_once_lose_nothing() {
    let mut server = start(&[PATIENT]);
    let load = Load::start(&server.addresses()[0], 8, Style::KeepAlive);
    load.wait_until_served(256);
    let earlier: Vec<_> = (0..5).map(|_| server.restart()).collect();
    for generation in earlier {
        generation.wait(server.log());
    }
    load.wait_until_served(load.served() + 256);
    load.expect_nobody_refused();
    server.stop();
    load.expect_nothing_lost();
}

/// What may be found in the place of the program, its mode, and what is then said of it.
const BROKEN: [(&str, u32, &str); 8] = [
    ("exit 1", 0o755, "ended (exit status: 1) before it served"),
    ("kill -SEGV $$", 0o755, "ended (signal: 11 (SIGSEGV)"),
    ("exit 0", 0o644, "Permission denied"),
    (
        "exec sleep 1000 <&-",
        0o755,
        "closed the channel before it served",
    ),
    (
        "echo hello >&0; exec sleep 1000",
        0o755,
        "cannot be understood",
    ),
    ("printf s >&0; exec sleep 1000", 0o755, "spoke out of turn"),
    (
        "printf r >&0; exit 4",
        0o755,
        "ended (exit status: 4) before it served",
    ),
    ("printf 'f\\002\\000no' >&0; exit 1", 0o755, "says: no"),
];

#[test]
fn h2_a_broken_program_leaves_the_old_process_serving_until_it_is_mended() {
    let mut server = start(&[PATIENT]);
    let load = Load::start(&server.addresses()[0], 4, Style::Reconnect);
    for (script, mode, reason) in BROKEN {
        server.deploy_script(script, mode);
        expect_failure(&mut server, reason);
    }
    server.deploy_nothing();
    expect_failure(&mut server, "No such file or directory");
    server.deploy();
    server.restart().expect_exit(0, server.log());
    load.wait_until_served(load.served() + 256);
    load.expect_nobody_refused();
    server.stop();
    load.expect_nothing_lost();
}

#[test]
fn h2_a_start_that_fails_after_it_inherited_leaves_the_old_process_serving() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let listen = format!("listen=unix:{}/socket", directory.path().display());
    let mut server = start(&["listen=127.0.0.1:0", &listen]);
    for (how, reason) in [
        ("error", "no database"),
        ("panic", "`main` panicked"),
        ("abort", "ended (signal: 6 (SIGABRT)"),
    ] {
        server.set(&["listen=127.0.0.1:0", &listen, &format!("start={how}")]);
        expect_failure(&mut server, reason);
        server.connect_to(&server.addresses()[1]);
    }
    assert!(server.log().has("no database") && server.log().has("no luck"));
    server.set(&["listen=127.0.0.1:0", &listen]);
    server.restart().expect_exit(0, server.log());
    server.connect_to(&server.addresses()[1]);
    server.stop();
}

#[test]
fn h2_a_program_that_hangs_is_killed_after_the_restart_timeout() {
    hang(|server| server.deploy_script("exec sleep 1000", 0o755));
}

#[test]
fn h2_a_start_that_hangs_after_it_inherited_is_killed_after_the_restart_timeout() {
    hang(|server| server.set(&["restart_timeout=3s", "start=pending"]));
}

#[test]
fn h2_a_start_that_blocks_is_killed_after_the_restart_timeout() {
    hang(|server| server.set(&["restart_timeout=3s", "start=blocking"]));
}

fn hang(break_it: impl FnOnce(&Deployment)) {
    let mut server = start(&["restart_timeout=3s"]);
    break_it(&server);
    expect_failure(&mut server, "did not become ready within `restart_timeout`");
    server.deploy();
    server.set(&[]);
    server.restart().expect_exit(0, server.log());
    server.connect();
    server.stop();
}

/// Restarts in vain, and fails unless `reason` is said and the same process serves on.
#[track_caller]
fn expect_failure(server: &mut Deployment, reason: &str) {
    let said = server.fail_to_restart();
    assert!(said.contains(reason), "{said}\n{}", server.log());
    assert!(said.ends_with("this process serves on"), "{said}");
    server.connect();
    assert!(server.serving().zombies().is_empty(), "{}", server.log());
}

#[test]
fn h2_a_program_behind_a_wrapper_that_was_killed_does_not_serve_later() {
    let mut server = start(&["restart_timeout=1s"]);
    let gate = server.set_gate(&[]);
    server.deploy_script(&format!("\"{PROGRAM}\" \"$@\"; exit"), 0o755);
    server.serving().signal(Signal::USR2);
    let (successor, held) = server.successor_at(&gate);
    let said = server.failed();
    assert!(
        said.contains("did not become ready within `restart_timeout`"),
        "{said}"
    );
    drop(held);
    successor.wait(server.log());
    let id = server.connect().get("/pid").text();
    assert_eq!(id, server.serving().id().to_string());
    server.stop();
}

#[test]
fn h3_a_second_restart_while_one_is_under_way_is_refused() {
    let mut server = start(&[]);
    let gate = server.set_gate(&[]);
    server.serving().signal(Signal::USR2);
    let (_, held) = server.successor_at(&gate);
    let said = server.fail_to_restart();
    assert!(said.contains("a restart is under way already"), "{said}");
    let response = server.connect().get("/restart");
    assert_eq!(response.status, 503);
    assert_eq!(response.text(), "a restart is under way already");
    drop(held);
    server.handed_over().expect_exit(0, server.log());
    server.connect();
    server.stop();
}

#[test]
fn h3_a_restart_works_while_predecessors_drain_and_their_number_is_bounded() {
    let mut server = start(&["timeout=300s"]);
    let mut draining = Vec::new();
    for _ in 0..8 {
        let request = server.sleeping(600_000);
        draining.push((server.restart(), request));
    }
    let said = server.fail_to_restart();
    assert!(said.contains("8 earlier processes still drain"), "{said}");
    assert!(
        draining
            .iter()
            .all(|(generation, _)| generation.is_running())
    );
    let (in_the_middle, request) = draining.remove(4);
    drop(request);
    in_the_middle.wait(server.log());
    draining.push((server.restart(), server.sleeping(600_000)));
    server.serving().signal(Signal::TERM);
    drop(draining);
    server.serving().wait(server.log());
    server.log().wait_for_end();
}

#[test]
fn h4_a_request_on_the_old_process_is_answered_by_it() {
    let mut server = start(&["timeout=60s"]);
    let mut request = server.sleeping(3000);
    let old = server.restart();
    server.connect();
    assert!(old.is_running());
    assert_eq!(request.response().status, 200);
    old.expect_exit(0, server.log());
    server.stop();
}

#[test]
fn h4_a_request_beyond_the_timeout_is_cut_and_the_exit_code_says_so() {
    let mut server = start(&["timeout=1s"]);
    let mut request = server.sleeping(60_000);
    let old = server.restart();
    old.expect_exit(124, server.log());
    server.log().wait_for("cutting 1 request: GET /sleep");
    assert!(request.rest().unwrap_or_default().is_empty());
    server.connect();
    server.stop();
}

#[test]
fn h5_fifty_restarts_leak_nothing() {
    let mut server = start(&["pid_file=server.pid", "leave=state"]);
    let restart = |server: &mut Deployment| server.restart().expect_exit(0, server.log());
    (0..3).for_each(|_| restart(&mut server));
    let before = Footprint::of(&server);
    (0..47).for_each(|_| restart(&mut server));
    before.expect_at_least(&server);
    server.stop();
}

#[test]
fn h5_fifty_failed_restarts_leak_nothing() {
    let mut server = start(&["leave=state"]);
    // Successors have more than the first: a channel, and a predecessor.
    server.restart().expect_exit(0, server.log());
    let fail = |server: &mut Deployment, times| {
        for (script, mode, _) in BROKEN.into_iter().cycle().take(times) {
            server.deploy_script(script, mode);
            server.fail_to_restart();
        }
    };
    fail(&mut server, BROKEN.len());
    let before = Footprint::of(&server);
    fail(&mut server, 50 - BROKEN.len());
    before.expect_at_least(&server);
    server.deploy();
    server.restart().expect_exit(0, server.log());
    before.expect_at_least(&server);
    server.stop();
}

#[test]
fn h6_arguments_environment_and_directory_are_kept() {
    let mut server = Deployment::start_by(PROGRAM, &[], "current/server", |command| {
        command.args(["note=with a blank", "note=ü", "note="]);
        command.env("NOTE", "a\nb").env("EMPTY", "");
    });
    let seen = |server: &Deployment| {
        let arguments = fs::read(server.serving().proc("cmdline")).expect("it runs");
        let directory = fs::read_link(server.serving().proc("cwd")).expect("it runs");
        (arguments, directory, environment(server))
    };
    let before = seen(&server);
    assert!(before.2.contains("EMPTY="));
    for _ in 0..2 {
        server.restart();
        assert_eq!(seen(&server), before);
    }
    server.stop();
}

#[test]
fn h6_a_link_that_is_turned_to_a_new_release_is_followed() {
    let mut server = start(&[]);
    for name in ["second", "third"] {
        server.deploy_copy(name);
        server.restart();
        let program = fs::read_link(server.serving().proc("exe")).expect("it runs");
        let directory = fs::canonicalize(server.path()).expect("it exists");
        assert_eq!(program, directory.join(name).join("server"));
    }
    server.stop();
}

#[test]
fn h6_a_program_that_was_found_in_the_path_is_found_again() {
    let mut server = Deployment::start_by(PROGRAM, &[], "server", |command| {
        let directory = command.get_current_dir().expect("it is set");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}/current:{path}", directory.display()));
    });
    server.deploy_copy("second");
    server.restart();
    let program = fs::read_link(server.serving().proc("exe")).expect("it runs");
    assert!(program.ends_with("second/server"), "{}", program.display());
    server.stop();
}

#[test]
fn h7_a_grandchild_sees_nothing_of_it() {
    let settings = ["leave=state", "listen=127.0.0.1:0", "listen=127.0.0.1:0"];
    let mut server = start(&settings);
    let seen = |server: &Deployment| (descriptors(server), environment(server));
    let before = seen(&server);
    for _ in 0..2 {
        let gate = server.set_gate(&settings);
        server.serving().signal(Signal::USR2);
        // Now the channel and the copies of the listeners are open in the old process.
        let (_, held) = server.successor_at(&gate);
        assert_eq!(seen(&server), before);
        drop(held);
        server.handed_over();
        assert_eq!(seen(&server), before);
    }
    server.stop();
}

/// Returns what the descriptors of a process stand for that the server starts, but for the one that it opens to tell.
fn descriptors(server: &Deployment) -> Vec<String> {
    let listing = server.ask("/descriptors");
    let links = listing.lines().filter_map(|line| line.split_once(" -> "));
    // A pipe has another number each time.
    let targets = links.filter_map(|(_, target)| target.split('[').next());
    let targets = targets.filter(|target| !target.starts_with("/proc/"));
    targets.map(str::to_owned).collect()
}

fn environment(server: &Deployment) -> BTreeSet<String> {
    server
        .ask("/environment")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn h7_forged_variables_are_ignored_and_scrubbed() {
    let mut server = Deployment::start_by(PROGRAM, &[], "current/server", |command| {
        command.env("GRACEFUL_HANDOVER", "1");
        command.env("LISTEN_PID", "1").env("LISTEN_FDS", "3");
    });
    let log = server.log();
    assert!(
        log.has("GRACEFUL_HANDOVER is set, but standard input is no hand-over"),
        "{log}"
    );
    for _ in 0..2 {
        let environment = environment(&server);
        let is_private =
            |line: &&String| line.starts_with("GRACEFUL") || line.starts_with("LISTEN_");
        assert_eq!(environment.iter().find(is_private), None);
        server.restart();
    }
    server.stop();
}

#[test]
fn h8_the_pid_file_is_right_at_every_moment() {
    let mut server = start(&["pid_file=server.pid"]);
    let path = server.path().join("server.pid");
    let is_over = AtomicBool::new(false);
    let (served, seen) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch_pid_file(&path, &is_over));
        let mut served = vec![server.serving().id()];
        for _ in 0..5 {
            server.restart();
            served.push(server.serving().id());
            assert_eq!(pid_in(&path), server.serving().id());
            server.deploy_script("exit 1", 0o755);
            server.fail_to_restart();
            assert_eq!(pid_in(&path), server.serving().id());
            server.deploy();
        }
        is_over.store(true, Ordering::Relaxed);
        (served, watching.join().expect("the file is right"))
    });
    let mut order = served.iter();
    assert!(
        seen.iter().all(|id| order.any(|served| served == id)),
        "{seen:?} is not a part of {served:?}"
    );
    assert!(!server.log().has("which still runs"), "{}", server.log());
    server.stop_and(|directory| assert!(!directory.join("server.pid").exists()));
}

/// Reads the file again and again, and returns what it said, without repetitions.
fn watch_pid_file(path: &Path, is_over: &AtomicBool) -> Vec<u32> {
    let mut seen = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let id = pid_in(path);
        // Between the two looks it may have been replaced by its successor, and ended.
        assert!(is_alive(id) || pid_in(path) != id, "process {id} is dead");
        seen.push(id);
        seen.dedup();
    }
    seen
}

#[track_caller]
fn pid_in(path: &Path) -> u32 {
    let text = fs::read_to_string(path).expect("the pid file is there at every moment");
    let id = text.strip_suffix('\n').and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("{text:?} is no pid file"))
}

fn is_alive(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn h9_a_listener_more_and_one_fewer_and_a_unix_socket_is_the_same_file() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = |name: &str| directory.path().join(name);
    let unix = |name: &str| format!("listen=unix:{}", path(name).display());
    let inode = || {
        fs::metadata(path("kept"))
            .expect("the socket is there")
            .ino()
    };
    let mut server = start(&[
        PATIENT,
        "listen=127.0.0.1:0",
        "listen=127.0.0.1:0",
        &unix("kept"),
        &unix("old"),
    ]);
    let [first, second, ..] = server.addresses() else {
        panic!("it listens on four addresses");
    };
    let (first, second, before) = (first.clone(), second.clone(), inode());
    let load = Load::start(&second, 8, Style::Reconnect);
    load.wait_until_served(256);

    server.set(&[&unix("new"), &unix("kept"), "listen=127.0.0.1:0"]);
    server.restart().expect_exit(0, server.log());
    load.expect_nothing_lost();
    second.wait_until_refused();
    assert!(!path("old").exists());
    assert_eq!(inode(), before);
    for address in [
        first,
        Address::Unix(path("kept")),
        Address::Unix(path("new")),
    ] {
        server.connect_to(&address);
    }

    server.set(&[&unix("kept")]);
    server.restart().expect_exit(0, server.log());
    assert_eq!(inode(), before);
    server.connect_to(&Address::Unix(path("kept")));
    server.stop_and(|_| assert!(!path("kept").exists() && !path("new").exists()));
}

#[test]
fn h10_when_the_old_process_is_killed_during_a_restart_the_new_one_serves() {
    let mut server = start(&["pid_file=server.pid"]);
    let gate = server.set_gate(&["pid_file=server.pid"]);
    server.serving().signal(Signal::USR2);
    let (successor, held) = server.successor_at(&gate);
    let old = server.succeeded_by(successor);
    old.signal(Signal::KILL);
    old.wait(server.log());
    let mut request = Connection::open(&server.addresses()[0]);
    request.send(get("/pid"));
    drop(held);
    assert_eq!(request.response().text(), server.serving().id().to_string());
    // It answers requests before it is ready, as any successor does.
    server.wait_until_ready();
    assert_eq!(
        pid_in(&server.path().join("server.pid")),
        server.serving().id()
    );
    server.set(&["pid_file=server.pid"]);
    server.restart().expect_exit(0, server.log());
    server.connect();
    server.stop();
}

#[test]
fn h10_when_the_old_process_is_killed_at_any_moment_of_the_start_the_new_one_serves() {
    for word in ["main", "bound", LISTENING] {
        let mut server = start(&[]);
        server.serving().signal(Signal::USR2);
        server.log().wait_for_times(word, 2);
        let old = server.serving();
        old.signal(Signal::KILL);
        old.wait(server.log());
        let id = Connection::open(&server.addresses()[0]).get("/pid").text();
        let id = id.parse().expect("it is a process id");
        assert_ne!(id, server.serving().id());
        server.succeeded_by(Generation::new(id));
        server.stop();
    }
}

#[test]
fn h10_when_the_new_process_is_killed_during_a_restart_the_old_one_serves() {
    let mut server = start(&[]);
    let gate = server.set_gate(&[]);
    server.serving().signal(Signal::USR2);
    let (successor, _held) = server.successor_at(&gate);
    successor.signal(Signal::KILL);
    let said = server.failed();
    assert!(
        said.contains("ended (signal: 9 (SIGKILL)) before it served"),
        "{said}"
    );
    server.connect();
    assert!(server.serving().zombies().is_empty());
    server.set(&[]);
    server.restart().expect_exit(0, server.log());
    server.connect();
    server.stop();
}

#[test]
fn h10_when_the_new_process_is_killed_while_the_old_one_drains_it_says_so() {
    let mut server = start(&["timeout=60s"]);
    let mut request = server.sleeping(1500);
    let old = server.restart();
    let successor = server.serving().id();
    server.serving().signal(Signal::KILL);
    server
        .log()
        .wait_for("ended (signal: 9 (SIGKILL)) while this process was draining");
    request.response().expect_last();
    // Whoever watches over it may start it again.
    old.expect_exit(1, server.log());
    let last = format!(": process {successor} was to serve and is lost; this one drained in ");
    server.log().wait_for(&last);
    assert!(!server.log().has(" serves; "), "{}", server.log());
}

#[test]
fn h10_when_the_new_process_stops_while_the_old_one_drains_it_says_so() {
    let mut server = start(&["timeout=60s"]);
    let mut request = server.sleeping(1500);
    let old = server.restart();
    let successor = server.serving().id();
    server.serving().signal(Signal::TERM);
    server
        .log()
        .wait_for("ended (exit status: 0) while this process was draining");
    request.response().expect_last();
    old.expect_exit(0, server.log());
    let last = format!(": process {successor} took over and has ended since; this one drained in ");
    server.log().wait_for(&last);
}

#[test]
fn h11_as_pid_1_a_restart_is_refused_with_the_reason() {
    if !process::can_unshare() {
        eprintln!("skipped: this user may not create a PID namespace with unshare(1)");
        return;
    }
    let server = Server::start(process::as_pid_1(command!("restart", "restart=USR2")));
    let mut connection = server.wait_until_ready();
    let first = server.wait_for_child();
    process::signal_if_alive(first, Signal::USR2);
    let said = server.wait_for("restart failed: ");
    assert!(
        said.contains("this is process 1: its end would end the container"),
        "{said}"
    );
    assert_eq!(connection.get("/pid").text(), "1");
    let response = connection.get("/restart");
    assert_eq!(response.status, 503);
    assert!(response.text().contains("restart the container"));
    process::signal_if_alive(first, Signal::TERM);
    server.exit_within(SOON).expect(0);
}

#[test]
fn h11_under_an_init_of_one_child_a_restart_is_refused_with_the_reason() {
    if !process::can_unshare() {
        eprintln!("skipped: this user may not create a PID namespace with unshare(1)");
        return;
    }
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let init = directory.path().join("tini");
    let served = command!("restart", "restart=USR2");
    refuse_to_restart(
        process::under_init(&init, served),
        "the container ends with this process",
    );
}

#[test]
fn h12_a_signal_during_a_restart_ends_both() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = start(&["timeout=60s"]);
        let gate = server.set_gate(&[]);
        let mut request = server.sleeping(700);
        server.serving().signal(Signal::USR2);
        let (successor, _held) = server.successor_at(&gate);
        server.serving().signal(signal);
        successor.wait(server.log());
        request.response().expect_last();
        server.serving().expect_exit(0, server.log());
        let log = server.log();
        assert!(!log.has("handed over") && !log.has("took over"), "{log}");
        log.wait_for_end();
    }
}

/// The successor cannot stop, so that it is there when the second one comes.
#[test]
fn h12_a_second_int_during_a_restart_ends_both() {
    let server = start(&["timeout=60s"]);
    let gate = server.set_gate(&["start=blocking", "timeout=60s"]);
    let _request = server.sleeping(60_000);
    server.serving().signal(Signal::USR2);
    let (successor, held) = server.successor_at(&gate);
    drop(held);
    server.log().wait_for("blocking");
    server.serving().signal(Signal::INT);
    // Seen by then, so that the second one is not taken for the same.
    server.log().wait_for("draining 1 request");
    thread::sleep(process::HUMAN);
    server.serving().signal(Signal::INT);
    server.serving().expect_exit(130, server.log());
    successor.wait(server.log());
    server.addresses()[0].wait_until_refused();
}

#[test]
fn h12_a_signal_to_all_of_them_during_a_restart_ends_both() {
    let server = start(&["timeout=60s"]);
    let gate = server.set_gate(&[]);
    let mut request = server.sleeping(700);
    server.serving().signal(Signal::USR2);
    let (successor, _held) = server.successor_at(&gate);
    server.signal_all(Signal::TERM);
    successor.wait(server.log());
    request.response().expect_last();
    server.serving().expect_exit(0, server.log());
    server.log().wait_for_end();
}

/// The old one accepts on for its lame duck, from the same queue.
#[test]
fn h12_a_successor_that_is_stopped_before_its_turn_accepts_nothing() {
    let server = start(&["timeout=60s", "lame_duck=2s"]);
    let gate = server.set_gate(&["ready=manual"]);
    let old = server.serving().id().to_string();
    server.serving().signal(Signal::USR2);
    let (_, _held) = server.successor_at(&gate);
    server.log().wait_for_times(LISTENING, 2);
    server.serving().signal(Signal::TERM);
    // By word of the old one or by its signal, whichever comes first.
    server.log().wait_for("draining; at most 25 s");
    for _ in 0..50 {
        let mut connection = Connection::open(&server.addresses()[0]);
        assert_eq!(connection.get("/pid").text(), old);
    }
    server.serving().expect_exit(0, server.log());
}

#[test]
fn h12_successors_that_fail_at_their_turn_lose_nothing() {
    let pid_file = "pid_file=missing/pid";
    let mut server = start(&["timeout=60s", "lame_duck=1s", pid_file, PATIENT]);
    let load = Load::start(&server.addresses()[0], 8, Style::Reconnect);
    for _ in 0..20 {
        load.wait_until_served(load.served() + 64);
        let said = server.fail_to_restart();
        assert!(said.contains("missing/pid"), "{said}");
    }
    load.expect_nobody_refused();
    server.stop();
    load.expect_nothing_lost();
}

#[test]
fn h12_a_signal_to_the_successor_alone_leaves_the_old_process_serving() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let listen = format!("listen=unix:{}/socket", directory.path().display());
    // Stopped while it is in `main`, and while it serves but has not said that it is ready.
    for ready in ["", "ready=manual"] {
        let settings = ["listen=127.0.0.1:0", &listen, ready, "hooks=yes"];
        let mut server = start(&settings);
        let gate = server.set_gate(&settings);
        server.serving().signal(Signal::USR2);
        let (successor, _held) = server.successor_at(&gate);
        if !ready.is_empty() {
            server.log().wait_for_times(LISTENING, 4);
        }
        successor.signal(Signal::TERM);
        let said = server.failed();
        assert!(
            said.contains("ended (exit status: 0) before it served"),
            "{said}"
        );
        for address in server.addresses() {
            server.connect_to(address);
        }
        // Its own affairs it has ended; those of the service are the old process'.
        let log = server.log();
        assert!(log.has("hook: closes the database"), "{log}");
        assert!(!log.has("hook: leaves the registry"), "{log}");
        server.stop();
    }
}

#[test]
fn h12_a_successor_that_blocks_does_not_hold_up_the_end() {
    let server = start(&["timeout=60s"]);
    server.set(&["start=blocking", "timeout=60s"]);
    server.serving().signal(Signal::USR2);
    server.log().wait_for_times("bound", 2);
    let begin = Instant::now();
    server.serving().signal(Signal::TERM);
    server.serving().expect_exit(0, server.log());
    server.log().wait_for_end();
    assert!(begin.elapsed() < SOON, "{}", server.log());
}

#[test]
fn h12_a_hook_that_takes_its_time_does_not_hold_up_the_end() {
    let server = start(&["timeout=60s", "leave=pending"]);
    server.serving().signal(Signal::USR2);
    server.log().wait_for("restarting");
    server.connect();
    let begin = Instant::now();
    server.serving().signal(Signal::TERM);
    server.serving().expect_exit(0, server.log());
    assert!(begin.elapsed() < SOON, "{}", server.log());
}

#[test]
fn a_signal_to_both_generations_finishes_the_requests_of_both() {
    let mut server = start(&["timeout=60s"]);
    let mut first = server.sleeping(1500);
    let old = server.restart();
    let mut second = server.sleeping(1500);
    server.signal_all(Signal::TERM);
    for request in [&mut first, &mut second] {
        request.response().expect_last();
        request.expect_eof();
    }
    old.expect_exit(0, server.log());
    server.serving().wait(server.log());
    server.log().wait_for_times("0 cut", 2);
}

#[test]
fn signals_to_a_predecessor_that_drains_are_harmless() {
    let mut server = start(&["timeout=60s"]);
    let mut request = server.sleeping(1500);
    let old = server.restart();
    for signal in [Signal::TERM, Signal::TERM, Signal::USR2, Signal::INT] {
        old.signal(signal);
    }
    assert!(server.failed().contains("this process stops already"));
    assert_eq!(request.response().status, 200);
    old.expect_exit(0, server.log());
    server.connect();
    server.stop();
}

#[test]
fn a_call_of_restart_is_the_same_as_a_signal_and_gets_the_answer() {
    let mut server = start(&[]);
    server.deploy_script("exit 7", 0o755);
    let response = server.connect().get("/restart");
    assert_eq!(response.status, 503);
    assert!(
        response
            .text()
            .contains("ended (exit status: 7) before it served")
    );
    server.failed();
    server.deploy();
    let mut connection = server.connect();
    assert_eq!(connection.get("/restart").text(), "restarted");
    server.handed_over().expect_exit(0, server.log());
    server.connect();
    server.stop();
}

#[test]
fn the_successor_inherits_what_was_left_to_it() {
    let mut server = start(&["leave=first words"]);
    assert_eq!(server.connect().get("/inherited").status, 404);
    server.set(&["leave=second words"]);
    for words in ["first words", "second words"] {
        server.restart();
        assert_eq!(server.ask("/inherited"), words);
        assert_eq!(server.ask("/inherited"), words, "as often as one likes");
    }
    server.stop();
}

#[test]
fn a_successor_that_warms_up_takes_over_when_it_says_so() {
    let mut server = start(&[]);
    let gate = server.set_gate(&["ready=manual"]);
    server.serving().signal(Signal::USR2);
    let (_, held) = server.successor_at(&gate);
    server.log().wait_for_times(LISTENING, 2);
    server.connect();
    assert!(!server.log().has("handed over"));
    drop(held);
    server.handed_over().expect_exit(0, server.log());
    server.connect();
    server.stop();
}

#[test]
fn a_hook_that_fails_vetoes_the_restart() {
    for (leave, reason) in [
        ("error", "a migration is under way"),
        ("panic", "the hook panicked"),
        ("megabytes", "at most 16777216 are allowed"),
        ("pending", "the hook for the hand-over took too long"),
    ] {
        let mut server = start(&["restart_timeout=1s", &format!("leave={leave}")]);
        expect_failure(&mut server, reason);
        let response = server.connect().get("/restart");
        assert_eq!(response.status, 503);
        assert!(response.text().contains(reason), "{response:?}");
        server.stop();
    }
}

#[test]
fn n2_a_blocked_mask_is_not_handed_on_to_a_successor() {
    const SCRIPT: &str = r#"exec env --block-signal=TERM,INT,USR1,USR2 current/server "$@""#;
    let mut server = Deployment::start_by(PROGRAM, &[], "./wrapper", |command| {
        let directory = command
            .get_current_dir()
            .expect("it has a place of its own");
        write_script(&directory.join("wrapper"), SCRIPT);
    });
    server.restart().expect_exit(0, server.log());
    assert_eq!(server.ask("/mask"), "SigBlk:\t0000000000000000\n");
    server.stop();
}

#[test]
fn h8_a_successor_that_cannot_write_the_pid_file_does_not_take_over() {
    let mut server = start(&["pid_file=server.pid"]);
    let path = server.path().join("server.pid");
    let named = || fs::read_to_string(&path).expect("it is there");
    let before = named();
    server.set(&["pid_file=missing/server.pid"]);
    let said = server.fail_to_restart();
    assert!(
        said.contains("failed to write the pid file `missing/server.pid`: No such file or directory (os error 2); create"),
        "{said}"
    );
    assert_eq!(named(), before);
    server.connect();
    server.set(&["pid_file=server.pid"]);
    server.restart().expect_exit(0, server.log());
    assert_ne!(named(), before);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn h8_a_pid_file_that_another_instance_has_taken_is_left_to_it() {
    let mut server = start(&["pid_file=server.pid"]);
    let path = server.path().join("server.pid");
    let other = Server::start(command!("restart", format!("pid_file={}", path.display())));
    other.wait_for(&format!(
        "named process {}, which still runs",
        server.serving().id()
    ));
    other.wait_until_ready();
    assert_eq!(pid_in(&path), other.id());
    server.deploy_script("exit 1", 0o755);
    server.fail_to_restart();
    server.set(&["pid_file=server.pid", "start=error"]);
    server.deploy();
    server.fail_to_restart();
    assert_eq!(pid_in(&path), other.id());
    server.stop_and(|_| assert_eq!(pid_in(&path), other.id()));
    other.signal(Signal::TERM);
    other.exit_within(SOON).expect(0);
}

#[test]
fn n13_a_restart_short_of_descriptors_says_what_to_raise() {
    let mut server = start(&["leave=state"]);
    server.deploy_script("exit 7", 0o755);
    let mut failures = 0;
    // From one that cannot even begin to one that starts the program.
    for count in 0.. {
        server.serving().leave_descriptors(count);
        let said = server.fail_to_restart();
        if said.contains("exit status: 7") {
            break;
        }
        failures += 1;
        assert!(
            said.contains("raise the limit of open files"),
            "{count}: {said}"
        );
    }
    assert!(failures > 3, "each step needs one: {failures}");
    server.stop();
}

#[test]
fn n11_the_successor_gets_the_environment_of_the_start() {
    let mut server = start(&["dotenv=first"]);
    assert!(environment(&server).contains("DOTENV=first"));
    for value in ["second", "third"] {
        server.set(&[&format!("dotenv={value}")]);
        server.restart().expect_exit(0, server.log());
        let environment = environment(&server);
        assert!(
            environment.contains(&format!("DOTENV={value}")),
            "{environment:?}"
        );
    }
    server.stop();
}

/// As `exec -a` of a shell has it.
#[test]
fn n12_a_name_that_is_another_programs_restarts_this_one() {
    let mut server = Deployment::start_by(PROGRAM, &[], "./wrapper", |command| {
        let directory = command
            .get_current_dir()
            .expect("it has a place of its own")
            .to_owned();
        write_script(
            &directory.join("wrapper"),
            r#"exec -a web current/server "$@""#,
        );
        write_script(&directory.join("web"), "exit 7");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", directory.display()));
    });
    for _ in 0..2 {
        server.restart().expect_exit(0, server.log());
    }
    server.stop();
}

fn write_script(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/bash\n{script}\n")).expect("the directory is ours");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("its owner may");
}

#[test]
fn n6_a_listener_whose_file_is_gone_is_bound_anew_by_the_successor() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("socket");
    let mut server = start(&[&format!("listen=unix:{}", path.display())]);
    let mut kept = server.connect();
    fs::remove_file(&path).expect("the server listens there");
    let mut old = server.restart();
    assert_eq!(kept.get("/pid").text(), old.id().to_string());
    old.expect_exit(0, server.log());
    assert!(
        server
            .log()
            .has("was inherited, but its file is gone: bound anew")
    );
    old = server.restart();
    old.expect_exit(0, server.log());
    server.connect();
    server.stop_and(|_| assert!(!path.exists()));
}

#[test]
fn n7_a_changed_address_that_the_predecessor_is_in_the_way_of_is_said_so() {
    let mut server = start(&["listen=127.0.0.1:0"]);
    let old = server.addresses()[0].tcp();
    server.set(&[&format!("listen=0.0.0.0:{}", old.port())]);
    let said = server.fail_to_restart();
    assert!(
        said.contains("the process before this one listens on 127.0.0.1:0"),
        "{said}"
    );
    server.connect();
    server.stop();
}

#[test]
fn n9_under_a_shell_that_is_process_1_a_restart_is_refused_with_the_reason() {
    if !process::can_unshare() {
        eprintln!("skipped: this user may not create a PID namespace with unshare(1)");
        return;
    }
    let served = command!("restart", "restart=USR2");
    refuse_to_restart(
        process::under_shell_as_pid_1(served),
        "the container ends with this process",
    );
}

#[test]
fn n9_under_a_shell_that_systemd_has_started_a_restart_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let script = directory.path().join("start");
    write_script(&script, "export SYSTEMD_EXEC_PID=$$\n\"$@\"; exit");
    let mut command = Command::new(script);
    command.args([PROGRAM, "restart=USR2"]);
    refuse_to_restart(command, "write `exec` before the program");
}

/// Fails unless the server of `command` says `reason` in place of a restart, and serves on.
fn refuse_to_restart(command: Command, reason: &str) {
    let server = Server::start(command);
    let mut connection = server.wait_until_ready();
    let response = connection.get("/restart");
    assert_eq!(response.status, 503);
    let said = response.text();
    assert!(said.contains(reason), "{said}");
    connection.get("/stop");
    server.exit_within(SOON).expect(0);
}

#[test]
fn n17_the_lines_of_two_processes_in_one_log_are_told_apart() {
    let mut server = start(&[]);
    let predecessor = server.restart();
    let [first, second] = [&predecessor, server.serving()].map(Generation::id);
    predecessor.expect_exit(0, server.log());
    for (pid, line) in [
        (first, ": listening on http://".to_owned()),
        (first, format!(": handed over to process {second}")),
        (
            first,
            format!(": process {second} serves; this one drained in "),
        ),
        (second, ": listening on http://".to_owned()),
        (second, format!(": took over from process {first}")),
    ] {
        server.log().wait_for(&format!("graceful[{pid}]{line}"));
    }
    assert!(!server.log().has("graceful: "), "{}", server.log());
    server.stop();
}
