//! Real processes: a shell script in the place of the successor says, or does not say, what the dialogue wants.

use std::{fs, net::TcpListener, os::unix::net::UnixDatagram, sync::mpsc};

use super::*;
use crate::net::inherited::Listeners;

/// A limit that only ever fails a test.
const LIMIT: Duration = Duration::from_secs(60);

/// Reads one packet of the predecessor; what it brings in descriptors is closed.
const HEAR: &str = "dd bs=65536 count=1 2>/dev/null";

fn plan(script: &str) -> Plan {
    Plan {
        program: Program::new("/bin/sh", &["sh", "-c", script]),
        listeners: Vec::new(),
        state: None,
        predecessors: Vec::new(),
        way: PlannedWay::new(&Manifest::default(), Vec::new()).unwrap(),
        timeout: LIMIT,
        service_manager: ServiceManager::default(),
    }
}

fn start(plan: Plan) -> (Handover, mpsc::Receiver<HandoverReport>) {
    let (reports, received) = mpsc::channel();
    let handover = Handover::start(plan, move |report| reports.send(report).unwrap()).unwrap();
    (handover, received)
}

fn failure_of(plan: Plan) -> String {
    let (_handover, reports) = start(plan);
    match reports.recv_timeout(LIMIT).unwrap() {
        HandoverReport::Failed(failure) => failure.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_successor_that_keeps_to_the_dialogue_takes_over_and_is_missed_when_it_ends() {
    let listener = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = [0, 1, 2].map(listener);
    let listeners = Listeners::default();
    let register = |socket: &TcpListener| {
        listeners
            .register("127.0.0.1:0", false, socket.as_fd())
            .unwrap()
    };
    let _registrations = sockets.each_ref().map(register);
    // It did not ask for the second of the three.
    let script = format!(
        "{HEAR} >&2; printf r >&0; [ \"$({HEAR})\" = g ] && printf 's\\001\\000' >&0; exit 5"
    );
    let handed = listeners.handed().unwrap();
    let ids: Vec<_> = handed.iter().map(|handed| handed.id).collect();
    let (_handover, reports) = start(Plan {
        listeners: handed,
        ..plan(&script)
    });
    let HandoverReport::HandedOver { pid, taken, way } = reports.recv_timeout(LIMIT).unwrap()
    else {
        panic!("no hand-over")
    };
    assert_eq!(taken, [(0, ids[0]), (2, ids[2])]);
    assert!(way.unwrap().is_over(), "it knows nothing of connections");
    let HandoverReport::Lost { pid: lost, end } = reports.recv_timeout(LIMIT).unwrap() else {
        panic!("no loss")
    };
    assert_eq!(
        (lost, end.to_string()),
        (pid, "ended (exit status: 5)".into())
    );
    assert!(reports.recv().is_err(), "nothing comes after the end");
}

#[test]
fn every_way_to_fail_is_told_apart() {
    let cases = [
        ("exit 3", "ended (exit status: 3) before it served"),
        (
            "kill -KILL $$",
            "ended (signal: 9 (SIGKILL)) before it served",
        ),
        ("exec sleep 600 <&-", "closed the channel before it served"),
        (
            "printf x >&0; exec sleep 600",
            "cannot be understood: no message begins with 0x78",
        ),
        (
            "printf rr >&0; exec sleep 600",
            "cannot be understood: a message goes on after its end",
        ),
        ("printf s >&0; exec sleep 600", "spoke out of turn"),
        (
            "printf r >&0; exit 4",
            "ended (exit status: 4) before it served",
        ),
        (
            "printf 'f\\005\\000sorry' >&0; exec sleep 600",
            "says: sorry",
        ),
        ("printf 'f\\005\\000sorry' >&0; exit 1", "says: sorry"),
    ];
    for (script, words) in cases {
        let failure = failure_of(plan(script));
        assert!(failure.contains(words), "{script}: {failure}");
    }
}

#[test]
fn a_successor_that_is_late_is_killed_whatever_it_has_said() {
    for script in [
        "exec sleep 600",
        "printf r >&0; exec sleep 600",
        "trap '' TERM INT; exec sleep 600",
    ] {
        let failure = failure_of(Plan {
            timeout: Duration::from_millis(100),
            ..plan(script)
        });
        assert!(
            failure.contains("did not become ready within `restart_timeout`"),
            "{script}: {failure}"
        );
    }
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let program = Program::new("/nowhere/server", &["server"]);
    let failure = failure_of(Plan {
        program,
        ..plan("")
    });
    assert_eq!(
        failure,
        "cannot start /nowhere/server: No such file or directory (os error 2)"
    );
}

#[test]
fn an_abort_asks_first_and_then_kills() {
    for script in [
        "exec sleep 600",
        "printf r >&0; exec sleep 600",
        "trap '' TERM; exec sleep 600",
    ] {
        let (handover, reports) = start(plan(script));
        handover.abort();
        let report = reports.recv_timeout(LIMIT).unwrap();
        assert!(
            matches!(
                report,
                HandoverReport::Failed(HandoverFailure::Aborted { .. })
            ),
            "{report:?}"
        );
    }
}

#[test]
fn an_abort_after_the_hand_over_is_too_late() {
    let script = format!("{HEAR} >&2; printf r >&0; {HEAR} >&2; printf s >&0; read line <&0");
    let (handover, reports) = start(plan(&script));
    assert!(matches!(
        reports.recv_timeout(LIMIT),
        Ok(HandoverReport::HandedOver { .. })
    ));
    handover.abort();
    // The successor runs on: only its own end would be reported.
    assert!(reports.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn the_service_manager_is_told_in_the_order_that_it_needs() {
    let path = std::env::temp_dir().join(format!("graceful-handover-notify-{}", process::id()));
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let hear = || {
        let mut bytes = [0; 4096];
        // A descriptor that comes with it is closed at once, which passes the barrier.
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let service_manager = ServiceManager::new(Some(path.clone().into()), None).unwrap();

    let script = format!("{HEAR} >&2; printf r >&0; {HEAR} >&2; exit 3");
    let (_handover, reports) = start(Plan {
        service_manager: service_manager.clone(),
        ..plan(&script)
    });
    let heard = hear();
    let pid: u32 = heard
        .strip_prefix("MAINPID=")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_ne!(pid, process::id());
    assert_eq!(hear(), "BARRIER=1\n");
    let HandoverReport::Failed(failure) = reports.recv_timeout(LIMIT).unwrap() else {
        panic!("no failure")
    };
    assert_eq!(
        failure.to_string(),
        format!("the successor (process {pid}) ended before it served")
    );
    let rollback = format!(
        "MAINPID={}\nREADY=1\nSTATUS=restart failed: {failure}\n",
        process::id()
    );
    assert_eq!(hear(), rollback);

    let script = format!("{HEAR} >&2; printf r >&0; {HEAR} >&2; {HEAR} >&2");
    let (handover, reports) = start(Plan {
        service_manager: service_manager.clone(),
        ..plan(&script)
    });
    assert!(hear().starts_with("MAINPID="));
    assert_eq!(hear(), "BARRIER=1\n");
    handover.abort();
    let stopping = format!("MAINPID={}\nSTOPPING=1\nSTATUS=stopping\n", process::id());
    assert_eq!(hear(), stopping);
    assert!(reports.recv_timeout(LIMIT).is_ok());

    let script = format!("{HEAR} >&2; printf r >&0; {HEAR} >&2; printf s >&0");
    let (_handover, reports) = start(Plan {
        service_manager: service_manager.clone(),
        ..plan(&script)
    });
    assert!(hear().starts_with("MAINPID="));
    assert_eq!(hear(), "BARRIER=1\n");
    assert!(matches!(
        reports.recv_timeout(LIMIT),
        Ok(HandoverReport::HandedOver { .. })
    ));
    service_manager.stopping("never heard");
    manager.set_nonblocking(true).unwrap();
    assert!(
        manager.recv(&mut [0; 1]).is_err(),
        "the predecessor is silent"
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn the_time_that_the_service_manager_takes_is_not_the_successors() {
    let path = std::env::temp_dir().join(format!("graceful-handover-deaf-{}", process::id()));
    let _deaf = UnixDatagram::bind(&path).unwrap();
    let service_manager = ServiceManager::new(Some(path.clone().into()), None).unwrap();
    let script = format!("{HEAR} >&2; printf r >&0; {HEAR} >&2; printf s >&0");
    let (_handover, reports) = start(Plan {
        service_manager,
        timeout: BARRIER_TIMEOUT - Duration::from_secs(1),
        ..plan(&script)
    });
    let report = reports.recv_timeout(LIMIT);
    assert!(
        matches!(report, Ok(HandoverReport::HandedOver { .. })),
        "{report:?}"
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn who_gives_up_has_handed_over_where_the_successor_has_said_that_it_serves() {
    for (state, expected) in [
        (SuccessorState::Going, SuccessorEvent::Serving),
        // Out of turn.
        (SuccessorState::Announcing, SuccessorEvent::TimedOut),
    ] {
        let words = format!("{HEAR} >&2; printf 's\\000\\000' >&0; printf s >&0; {HEAR} >&2");
        let plan = plan(&words);
        let timeout = plan.timeout;
        let (channel, successor, way, deadline) = super::start(plan).unwrap();
        let mut driver = HandoverRun {
            way: Some(way),
            listeners: Vec::new(),
            state,
            channel,
            is_deaf: false,
            successor,
            abort: Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap()),
            barrier: None,
            deadline,
            left: timeout,
            timeout,
            service_manager: ServiceManager::default(),
            said: Said::default(),
            report: |_: HandoverReport| {},
        };
        while !driver.wait(None).channel {}
        assert_eq!(driver.unless_it_serves(SuccessorEvent::TimedOut), expected);
        assert_eq!(
            driver.unless_it_serves(SuccessorEvent::Aborted),
            SuccessorEvent::Aborted
        );
        assert!(!driver.wait(Some(Duration::ZERO)).channel);
        driver.successor.kill();
    }
}
