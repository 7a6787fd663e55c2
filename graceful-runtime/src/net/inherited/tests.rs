use std::{
    env,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process,
};

use super::*;

fn tcp() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn given(listener: &TcpListener, asked: &str, index: u16) -> Inherited {
    let socket = listener.as_fd().try_clone_to_owned().unwrap();
    Inherited::new(
        socket,
        asked.into(),
        Keeper::Nobody,
        Origin::Predecessor(index),
    )
    .unwrap()
}

fn port(socket: &OwnedFd) -> u16 {
    SockRef::from(socket)
        .local_addr()
        .unwrap()
        .as_socket()
        .unwrap()
        .port()
}

/// A path of its own for one test, gone afterwards.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(test: &str) -> Self {
        Self(env::temp_dir().join(format!("graceful-listeners-{test}-{}", process::id())))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn port_0_is_matched_by_the_order_of_asking() {
    let (first, second) = (tcp(), tcp());
    let asked = "127.0.0.1:0";
    let zero: SockAddr = "127.0.0.1:0".parse::<SocketAddr>().unwrap().into();
    let listeners = Listeners::new(vec![given(&first, asked, 0), given(&second, asked, 1)]);
    for expected in [&first, &second] {
        let claimed = listeners.claim(asked, std::slice::from_ref(&zero)).unwrap();
        assert_eq!(port(&claimed.socket), expected.local_addr().unwrap().port());
    }
    assert!(listeners.claim(asked, &[zero]).is_none());
}

#[test]
fn an_address_is_found_under_another_name() {
    let listener = tcp();
    let bound = listener.local_addr().unwrap();
    let listeners = Listeners::new(vec![given(&listener, "localhost:0", 0)]);
    let other: SocketAddr = ([127, 0, 0, 1], bound.port() ^ 1).into();
    assert!(listeners.claim("elsewhere", &[other.into()]).is_none());
    assert!(
        listeners
            .claim("here", &[other.into(), bound.into()])
            .is_some()
    );
}

#[test]
fn the_name_asked_for_goes_before_the_address() {
    let (one, two) = (tcp(), tcp());
    let listeners = Listeners::new(vec![given(&one, "a", 0), given(&two, "b", 1)]);
    let claimed = listeners
        .claim("b", &[one.local_addr().unwrap().into()])
        .unwrap();
    assert_eq!(port(&claimed.socket), two.local_addr().unwrap().port());
}

#[test]
fn a_unix_listener_is_found_by_its_path_and_its_file_stays() {
    let path = SocketPath::new("path");
    let listener = UnixListener::bind(&path.0).unwrap();
    let inherited = Inherited::new(
        listener.into(),
        "unix:x".into(),
        Keeper::Nobody,
        Origin::Predecessor(0),
    )
    .unwrap();
    let listeners = Listeners::new(vec![inherited]);
    let claimed = listeners
        .claim("unix:y", &[SockAddr::unix(&path.0).unwrap()])
        .unwrap();
    assert!(listeners.close_unclaimed().is_empty());
    drop(claimed);
    assert!(path.0.exists());
}

#[test]
fn what_nobody_asked_for_is_closed_and_named() {
    let (path, kept_path) = (SocketPath::new("unclaimed"), SocketPath::new("kept"));
    let listener = tcp();
    let unix = UnixListener::bind(&path.0).unwrap();
    let kept = UnixListener::bind(&kept_path.0).unwrap();
    let store = Origin::Store("graceful@c".into());
    let listeners = Listeners::new(vec![
        given(&listener, "a", 0),
        Inherited::new(
            unix.into(),
            "b".into(),
            Keeper::Nobody,
            Origin::Predecessor(1),
        )
        .unwrap(),
        Inherited::new(kept.into(), "c".into(), Keeper::Store, store.clone()).unwrap(),
    ]);
    assert!(listeners.claim("a", &[]).is_some());
    // Before it is decided who serves, nothing is touched.
    assert_eq!(listeners.unclaimed(), [1]);
    assert!(path.0.exists());
    let closed = listeners.close_unclaimed();
    let expected = [("b", Origin::Predecessor(1)), ("c", store)];
    assert_eq!(
        closed,
        expected.map(|(name, origin)| Unclaimed {
            name: name.into(),
            origin,
            is_lost: false,
        })
    );
    assert!(!path.0.exists() && kept_path.0.exists());
    assert!(listeners.close_unclaimed().is_empty());
}

#[test]
fn what_is_handed_over_is_what_is_open_in_the_order_of_asking() {
    let (one, two, three) = (tcp(), tcp(), tcp());
    let listeners = Listeners::default();
    let first = listeners.register("first", false, one.as_fd()).unwrap();
    let second = listeners.register("second", true, two.as_fd()).unwrap();
    let third = listeners.register("third", false, three.as_fd()).unwrap();
    drop(second);
    let handed = listeners.handed().unwrap();
    let names: Vec<_> = handed
        .iter()
        .map(|handed| (handed.asked.as_str(), handed.keeper))
        .collect();
    assert_eq!(
        names,
        [("first", Keeper::Nobody), ("third", Keeper::Nobody)]
    );
    drop((first, third));
    assert!(listeners.handed().unwrap().is_empty());
}

#[test]
fn what_is_no_listener_is_refused_with_a_reason() {
    let refused = |socket: OwnedFd| {
        Inherited::new(socket, "x".into(), Keeper::Nobody, Origin::Unit)
            .unwrap_err()
            .to_string()
    };
    let file = fs::File::open("/dev/null").unwrap();
    assert!(refused(file.into()).contains("non-socket"));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(refused(udp.into()), "it does not listen");
    let (stream, _other) = UnixStream::pair().unwrap();
    assert_eq!(refused(stream.into()), "it does not listen");
    let connected = std::net::TcpStream::connect(tcp().local_addr().unwrap()).unwrap();
    assert_eq!(refused(connected.into()), "it does not listen");
}

#[test]
fn a_listener_is_the_predecessors_until_this_process_has_taken_over() {
    let (inherited, fresh) = (tcp(), tcp());
    let listeners = Listeners::new(vec![given(&inherited, "a", 0)]);
    let claimed = listeners.claim("a", &[]).unwrap();
    let borrowed = listeners
        .register("a", claimed.kept, claimed.socket.as_fd())
        .unwrap();
    let own = listeners.register("b", false, fresh.as_fd()).unwrap();
    listeners.withdraw(&ServiceManager::default());
    assert!(borrowed.is_shared() && !own.is_shared());
    listeners.take_ownership();
    assert!(!borrowed.is_shared() && !own.is_shared());
}

#[test]
fn a_listener_is_shared_once_a_successor_took_it() {
    let (one, two, three) = (tcp(), tcp(), tcp());
    let listeners = Listeners::default();
    let first = listeners.register("first", false, one.as_fd()).unwrap();
    let second = listeners.register("second", false, two.as_fd()).unwrap();
    let kept = listeners.register("kept", true, three.as_fd()).unwrap();
    let handed = listeners.handed().unwrap();
    drop(first);
    let shared = || [second.is_shared(), kept.is_shared()];
    assert_eq!(shared(), [false, true]);
    listeners.mark_shared(&[handed[0].id]);
    assert_eq!(shared(), [false, true]);
    listeners.mark_shared(&[handed[1].id]);
    assert_eq!(shared(), [true, true]);
}

#[test]
fn a_stored_listener_can_be_taken_back_and_one_of_a_unit_cannot() {
    let (one, two) = (tcp(), tcp());
    let socket = |listener: &TcpListener| listener.as_fd().try_clone_to_owned().unwrap();
    let origin = Origin::Store("graceful@stored".into());
    let listeners = Listeners::new(vec![
        Inherited::new(socket(&one), "stored".into(), Keeper::Store, origin).unwrap(),
        Inherited::new(
            socket(&two),
            "systemd:web".into(),
            Keeper::Unit,
            Origin::Unit,
        )
        .unwrap(),
    ]);
    let register = |asked| {
        let claimed = listeners.claim(asked, &[]).unwrap();
        listeners
            .register(asked, claimed.kept, claimed.socket.as_fd())
            .unwrap()
    };
    let (stored, unit) = (register("stored"), register("systemd:web"));
    let keepers = || {
        listeners
            .handed()
            .unwrap()
            .into_iter()
            .map(|handed| handed.keeper)
            .collect::<Vec<_>>()
    };
    assert_eq!(keepers(), [Keeper::Store, Keeper::Unit]);
    assert!(stored.is_shared() && unit.is_shared());
    listeners.withdraw(&ServiceManager::default());
    assert_eq!(keepers(), [Keeper::Nobody, Keeper::Unit]);
    assert!(!stored.is_shared() && unit.is_shared());
}

#[test]
fn a_unix_listener_whose_file_is_gone_is_left_and_keeps_the_place_of_the_next() {
    let path = SocketPath::new("lost");
    let asked = format!("unix:{}", path.0.display());
    let listener = UnixListener::bind(&path.0).unwrap();
    let given = |asked: &str| {
        let socket = listener.as_fd().try_clone_to_owned().unwrap();
        let origin = Origin::Predecessor(0);
        Inherited::new(socket, asked.into(), Keeper::Nobody, origin).unwrap()
    };
    let place = SockAddr::unix(&path.0).unwrap();
    let listeners = Listeners::new(vec![given(&asked), given("systemd:web")]);
    fs::remove_file(&path.0).unwrap();
    assert!(listeners.claim(&asked, &[place]).is_none());
    assert!(
        listeners.claim("systemd:web", &[]).is_none(),
        "it is lost by its place, too"
    );
    let next = UnixListener::bind(&path.0).unwrap();
    let unclaimed = listeners.close_unclaimed();
    assert!(unclaimed.iter().all(|unclaimed| unclaimed.is_lost));
    UnixStream::connect(&path.0).expect("the next one is there");
    drop(next);
}
