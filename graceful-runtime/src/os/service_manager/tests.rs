use std::{
    env, fs, io::IoSliceMut, os::linux::net::SocketAddrExt, os::unix::net::SocketAddr,
    path::PathBuf, sync::atomic::AtomicU32,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::*;

/// A service manager that notes what it is told, and keeps no descriptors.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("graceful-notify-{}-{number}", process::id()));
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            path,
        }
    }

    fn connect(&self, watchdog: Option<Duration>) -> ServiceManager {
        ServiceManager::new(Some(self.path.clone().into()), watchdog).unwrap()
    }

    fn hear(&self) -> String {
        self.hear_with_descriptors().0
    }

    fn hear_with_descriptors(&self) -> (String, Vec<OwnedFd>) {
        hear(&self.socket)
    }
}

fn hear(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        flags,
    )
    .unwrap();
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    (
        String::from_utf8(bytes[..received.bytes].to_vec()).unwrap(),
        descriptors,
    )
}

impl Drop for Manager {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap();
    }
}

#[test]
fn each_message_has_the_words_of_the_protocol() {
    let manager = Manager::new();
    let service = manager.connect(None);
    service.ready("listening");
    assert_eq!(manager.hear(), "READY=1\nSTATUS=listening\n");
    service.status("two\nlines");
    assert_eq!(manager.hear(), "STATUS=two\\nlines\n");
    service.stopping("draining");
    assert_eq!(manager.hear(), "STOPPING=1\nSTATUS=draining\n");
    service.extend_timeout(Duration::from_millis(1500));
    assert_eq!(manager.hear(), "EXTEND_TIMEOUT_USEC=1500000\n");
    service.extend_timeout(Duration::MAX);
    assert_eq!(manager.hear(), "EXTEND_TIMEOUT_USEC=4294967295\n");
    service.keep_alive();
    assert_eq!(manager.hear(), "WATCHDOG=1\n");
    service.remove_stored("graceful@a");
    assert_eq!(manager.hear(), "FDSTOREREMOVE=1\nFDNAME=graceful@a\n");
    service.announce_rollback("failed");
    assert_eq!(
        manager.hear(),
        format!("MAINPID={}\nREADY=1\nSTATUS=failed\n", process::id())
    );
}

#[test]
fn nothing_is_waited_for_but_a_flush() {
    let manager = Manager::new();
    let service = manager.connect(None);
    let count = QUEUE_MAX + 100;
    (0..count).for_each(|number| service.status(&number.to_string()));
    // The manager does not listen, so that this ends by its limit.
    service.flush(Duration::from_millis(1));
    let first = manager.hear();
    assert_eq!(first, "STATUS=0\n");
    let heard = thread::spawn(move || {
        std::iter::repeat_with(|| manager.hear())
            .take_while(|heard| heard != "STATUS=last\n")
            .count()
    });
    // There is room again at some time.
    while !heard.is_finished() {
        service.status("last");
        service.flush(Duration::from_secs(60));
    }
    let heard = heard.join().unwrap();
    assert!(
        (QUEUE_MAX - 1..count).contains(&heard),
        "{heard} of {count}"
    );
}

#[test]
fn a_reload_says_when_it_began() {
    let manager = Manager::new();
    manager.connect(None).reloading();
    let heard = manager.hear();
    let rest = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    let (time, rest) = rest.split_once('\n').unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    assert_eq!(rest, "STATUS=restarting\n");
}

#[test]
fn a_barrier_is_passed_when_the_manager_closes_it() {
    let manager = Manager::new();
    let barrier = manager.connect(None).announce_main_process(4711).unwrap();
    assert_eq!(manager.hear(), "MAINPID=4711\n");
    let (heard, descriptors) = manager.hear_with_descriptors();
    assert_eq!((heard.as_str(), descriptors.len()), ("BARRIER=1\n", 1));
    assert!(!barrier.wait(Duration::ZERO));
    drop(descriptors);
    assert!(barrier.wait(Duration::from_secs(60)));
}

#[test]
fn a_stored_listener_arrives_under_its_name_and_is_withdrawn_by_it() {
    let manager = Manager::new();
    let service = manager.connect(None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(service.store("127.0.0.1:0", listener.as_fd()));
    let (heard, mut descriptors) = manager.hear_with_descriptors();
    assert_eq!(heard, "FDSTORE=1\nFDNAME=graceful@127.0.0.1%3a0\n");
    let stored = std::net::TcpListener::from(descriptors.pop().unwrap());
    assert_eq!(stored.local_addr().unwrap(), listener.local_addr().unwrap());
    service.withdraw("127.0.0.1:0");
    assert_eq!(
        manager.hear(),
        "FDSTOREREMOVE=1\nFDNAME=graceful@127.0.0.1%3a0\n"
    );
    assert!(!service.store(&"x".repeat(STORE_NAME_MAX), listener.as_fd()));
}

#[test]
fn whether_the_manager_stores_descriptors_is_found_out() {
    for keeps in [true, false] {
        let manager = Manager::new();
        let service = manager.connect(None);
        let asked = thread::spawn(move || service.has_room());
        let (heard, probe) = manager.hear_with_descriptors();
        assert_eq!(heard, "FDSTORE=1\nFDNAME=graceful-probe\n");
        let kept = keeps.then_some(probe);
        let (heard, barrier) = manager.hear_with_descriptors();
        assert_eq!(heard, "BARRIER=1\n");
        drop(barrier);
        assert_eq!(asked.join().unwrap(), keeps);
        drop(kept);
    }
}

#[test]
fn a_muted_process_says_nothing() {
    let manager = Manager::new();
    let service = manager.connect(None);
    service.clone().mute();
    service.stopping("never heard");
    service.unmute();
    service.status("heard");
    assert_eq!(manager.hear(), "STATUS=heard\n");
    service.mute();
    service.ready("and heard again");
    assert_eq!(manager.hear(), "READY=1\nSTATUS=and heard again\n");
}

#[test]
fn an_abstract_address_is_reached() {
    let name = format!("graceful-notify-{}", process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let service = ServiceManager::new(Some(format!("@{name}").into()), None).unwrap();
    service.status("heard");
    assert_eq!(hear(&socket).0, "STATUS=heard\n");
}

#[test]
fn a_manager_that_is_gone_or_never_was_does_no_harm() {
    let gone = Manager::new().connect(None);
    for service in [gone, ServiceManager::default()] {
        service.ready("nobody hears");
        assert!(!service.has_room());
        let _ = service.announce_main_process(1);
    }
    assert!(ServiceManager::default().variables().is_empty());
    assert!(ServiceManager::new(Some("vsock:2:1".into()), None).is_err());
    assert!(ServiceManager::new(Some("x".repeat(200).into()), None).is_err());
}

#[test]
fn a_successor_learns_where_the_manager_is_and_how_often_it_wants_to_hear() {
    let manager = Manager::new();
    let service = manager.connect(Some(Duration::from_secs(3)));
    let variables = [
        ("NOTIFY_SOCKET", manager.path.clone().into()),
        ("WATCHDOG_USEC", "3000000".into()),
    ];
    assert_eq!(service.variables(), variables);
    assert_eq!(
        service.watchdog_interval(),
        Some(Duration::from_millis(1500))
    );
}

#[test]
fn a_name_in_the_store_has_no_colon_and_can_be_read_back() {
    for asked in [
        "127.0.0.1:3000",
        "[::1]:0",
        "unix:/run/a b%.sock",
        "localhost:http",
        "ä",
    ] {
        let name = store_name(asked).unwrap();
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':'),
            "{name}"
        );
        assert_eq!(asked_by_store_name(&name).as_deref(), Some(asked));
    }
    assert_eq!(store_name(&"x".repeat(STORE_NAME_MAX)), None);
    for foreign in ["web", "graceful@%4", "graceful@%zz", "graceful@%ff"] {
        assert_eq!(asked_by_store_name(foreign), None, "{foreign}");
    }
}

/// Keeps `room` descriptors, as systemd does, until the process ends its side.
fn keep(manager: &Manager, room: usize) -> Vec<String> {
    let mut store: Vec<(String, OwnedFd)> = Vec::new();
    loop {
        let (heard, descriptors) = manager.hear_with_descriptors();
        let name = heard.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or_default().to_owned();
        if heard.starts_with("FDSTORE=1") && store.len() < room {
            store.extend(descriptors.into_iter().map(|kept| (name.clone(), kept)));
        } else if heard.starts_with("FDSTOREREMOVE=1") {
            store.retain(|(kept, _)| *kept != name);
        } else if heard.starts_with("STOPPING=1") {
            return store.into_iter().map(|(name, _)| name).collect();
        }
    }
}

#[test]
fn n8_only_what_the_store_has_room_for_counts_as_stored() {
    use crate::net::inherited::Listeners;

    for room in 0..4 {
        let manager = Manager::new();
        let service = manager.connect(None);
        let listeners = Listeners::default();
        let sockets = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let registrations: Vec<_> = ["a", "b", "c"]
            .iter()
            .zip(&sockets)
            .map(|(asked, socket)| listeners.register(asked, false, socket.as_fd()).unwrap())
            .collect();
        let kept = thread::scope(|scope| {
            let kept = scope.spawn(|| keep(&manager, room));
            listeners.store(&service);
            service.stopping("done");
            kept.join().unwrap()
        });
        let shared = registrations.iter().filter(|one| one.is_shared()).count();
        assert_eq!((kept.len(), shared), (room.min(3), room.min(3)), "{kept:?}");
        assert!(
            kept.iter().all(|name| name.starts_with("graceful@")),
            "{kept:?}"
        );
    }
}
