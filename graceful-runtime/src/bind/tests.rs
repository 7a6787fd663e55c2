//! The seal and its fallbacks, on real sockets.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tokio::runtime::{Builder, Runtime};

use socket2::SockRef;

use super::*;
use crate::net::stream::Stream;
use crate::os::sockets;

/// How many clients wait in the accept queue.
const QUEUED: usize = 3;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs on a thread without any privilege, whoever runs the tests.
fn as_an_ordinary_user(test: impl FnOnce() + Send) {
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            set_capabilities(None, nothing).expect("everybody may give up privileges");
            runtime().block_on(async { test() });
        });
    });
}

/// Listens on `address`; returns the addresses by which it is reached, too.
fn listen(address: &str) -> (Listener, Vec<SocketAddr>) {
    let bound = bind_tcp(address.parse().unwrap()).expect("the address is there");
    let listener = Listener::from(bound);
    let at = listener.local_addr().unwrap();
    let reached = match at.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]
        }
        ip => vec![ip],
    };
    let reached = reached.into_iter().map(|ip| (ip, at.port()).into());
    (listener, reached.collect())
}

fn is_refused<S>(connected: &io::Result<S>) -> bool {
    connected
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn accept(listener: &Listener) -> Option<Stream> {
    let accepted = listener.accept_now().expect("the queue can be read");
    accepted.map(|(stream, _)| stream)
}

#[test]
fn the_seal_keeps_the_queue_and_refuses_the_rest() {
    as_an_ordinary_user(|| {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let (listener, reached) = listen(address);
            let connect = |_| reached.iter().map(|at| TcpStream::connect(at).unwrap());
            let mut queued: Vec<_> = (0..QUEUED).flat_map(connect).collect();
            assert!(listener.seal(), "{address} can be sealed");

            for at in &reached {
                assert!(is_refused(&TcpStream::connect(at)), "{at} after the seal");
            }
            for client in &mut queued {
                client.write_all(b"?").unwrap();
                let Some(Stream::Tcp(served)) = accept(&listener) else {
                    panic!("{address} has lost a connection");
                };
                SockRef::from(&served).send(b"!").unwrap();
                client.read_exact(&mut [0]).expect("the connection works");
            }
            assert!(accept(&listener).is_none());
            assert!(bind_tcp(reached[0]).is_err(), "the port stays taken");
        }
    });
}

#[test]
fn the_seal_keeps_handshakes_under_way() {
    as_an_ordinary_user(|| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, reached) = listen(address);
            // For the kernel, a handshake lasts until the first byte then.
            sockets::defer_accept(listener.as_fd(), 60).expect("Linux has it");
            let mut client = TcpStream::connect(reached[0]).unwrap();
            assert!(accept(&listener).is_none(), "the handshake is under way");
            assert!(listener.seal());
            client.write_all(b"?").unwrap();
            assert!(accept(&listener).is_some(), "{address} has lost it");
        }
    });
}

#[test]
fn the_seal_of_a_unix_listener_is_the_end_of_its_path() {
    runtime().block_on(async {
        let name = format!("graceful-seal-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = Listener::from(bind_unix(&path).await.unwrap());
        assert_eq!(listener.queue_length(), 0);
        let _queued = UnixStream::connect(&path).unwrap();
        assert_eq!(listener.queue_length(), 1);
        assert!(listener.seal());
        let error = UnixStream::connect(&path).expect_err("the path is gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(accept(&listener).is_some());
        assert!(accept(&listener).is_none());
    });
}

#[test]
fn what_waits_is_known_without_a_descriptor_for_it() {
    runtime().block_on(async {
        let (listener, addresses) = listen("127.0.0.1:0");
        assert_eq!(listener.queue_length(), 0);
        let _clients: Vec<_> = (0..QUEUED)
            .map(|_| TcpStream::connect(addresses[0]).unwrap())
            .collect();
        assert_eq!(listener.queue_length(), QUEUED);
        listener.seal();
        assert_eq!(listener.queue_length(), QUEUED);
        while accept(&listener).is_some() {}
        assert_eq!(listener.queue_length(), 0);
    });
}

#[test]
fn a_shared_listener_is_left_to_the_others() {
    runtime().block_on(async {
        let ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = ours.try_clone().unwrap();
        let listener = Listener::try_from(ours).unwrap().shared();
        assert!(!listener.seal());
        drop(listener);
        TcpStream::connect(theirs.local_addr().unwrap()).expect("they still accept");
    });
}

#[test]
fn what_is_bound_to_an_interface_needs_a_privilege_to_be_sealed() {
    as_an_ordinary_user(|| {
        let (listener, reached) = listen("127.0.0.1:0");
        SockRef::from(&listener)
            .bind_device(Some(b"lo"))
            .expect("the first time, everybody may");
        assert!(!listener.seal(), "the caller has to fall back");
        TcpStream::connect(reached[0]).expect("it goes on accepting");
    });
}

#[test]
fn what_cannot_be_read_as_an_address_has_a_remedy() {
    let too_long = format!("unix:/{}", "x".repeat(108));
    for (address, remedy) in [
        ("", "the address is empty; write `127.0.0.1:3000`"),
        (" ", "` `: the address is empty; write `127.0.0.1:3000`"),
        (
            "127.0.0.1:3000 ",
            "`127.0.0.1:3000 `: not an address; take the blanks out",
        ),
        (
            "127.0.0.1:3000\n",
            r"`127.0.0.1:3000\n`: not an address; take the blanks out",
        ),
        (" [::1]:3000", "take the blanks out: `[::1]:3000`"),
        ("localhost :3000", "take the blanks out: `localhost:3000`"),
        ("localhost: 3000", "take the blanks out: `localhost:3000`"),
        (
            " unix:/run/an app ",
            "take the blanks out: `unix:/run/an app`",
        ),
        (" 3000", "write `127.0.0.1:3000`"),
        ("3000", "write `127.0.0.1:3000`"),
        (":http", "write `127.0.0.1:3000`"),
        (":3000", "write `0.0.0.0:3000` or `[::]:3000`"),
        ("*:3000", "write `0.0.0.0:3000` or `[::]:3000`"),
        ("http://127.0.0.1:3000", "write it without `http://`"),
        ("https://localhost:3000/", "write it without `https://`"),
        ("/run/app.sock", "write `unix:/run/app.sock`"),
        ("unix:@app", "abstract sockets are not offered"),
        ("unix:", "the path is empty; write `unix:/path`"),
        (&too_long, "it may be 107 bytes long, see unix(7)"),
    ] {
        let error = runtime().block_on(bind(address)).expect_err(address);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn an_address_that_cannot_be_bound_has_a_remedy() {
    for (address, kind, remedy) in [
        (
            "[fe80::1]:3000",
            ErrorKind::InvalidInput,
            "on `[fe80::1]:3000`: Invalid argument (os error 22); a link-local address needs its \
             interface: write `[fe80::1%eth0]:3000`",
        ),
        // What the remedy says is understood.
        (
            "[fe80::1234%lo]:3000",
            ErrorKind::AddrNotAvailable,
            "no interface of this machine has that address",
        ),
        (
            "192.0.2.1:3000",
            ErrorKind::AddrNotAvailable,
            "no interface of this machine has that address",
        ),
    ] {
        let error = runtime().block_on(bind(address)).expect_err(address);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
    let error = runtime().block_on(bind("[fe80::1%nope]:3000")).unwrap_err();
    assert!(
        error.to_string().contains("`getent hosts fe80::1%nope`"),
        "{error}"
    );
}

#[test]
fn an_address_is_made_from_what_a_program_has_at_hand() {
    let socket: SocketAddr = "127.0.0.1:3000".parse().unwrap();
    let path = PathBuf::from("/run/app.sock");
    for (address, text) in [
        (Address::from(&socket), "127.0.0.1:3000"),
        (("localhost".to_owned(), 3000).into(), "localhost:3000"),
        (path.as_path().into(), "unix:/run/app.sock"),
        ((&path).into(), "unix:/run/app.sock"),
        (path.into(), "unix:/run/app.sock"),
    ] {
        assert_eq!(address.to_string(), text);
        assert_eq!(Address::from(text), address);
    }
}

#[test]
fn a_path_need_not_be_utf8() {
    let name = format!("graceful-{}-", std::process::id()).into_bytes();
    let [one, other] = [b'\xfe', b'\xff'].map(|last| {
        let name = OsString::from_vec([name.as_slice(), &[last]].concat());
        std::env::temp_dir().join(name)
    });
    let names = [&one, &other].map(|path| Address::from(path).to_string());
    assert_ne!(names[0], names[1], "each is inherited by its own name");
    runtime().block_on(async {
        let _listener = bind(&one).await.unwrap();
        UnixStream::connect(&one).expect("the file has the very same bytes");
    });
    assert!(!one.exists(), "the file goes with the listener");
}

/// Listens on `address`, together with others.
fn listen_in_group(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(BACKLOG).unwrap();
    socket
}

fn in_group(address: SocketAddr) -> Listener {
    let socket = listen_in_group(address).into();
    Bound::Tcp(TcpListener::from_std(socket).unwrap()).into()
}

#[test]
fn n15_siblings_on_the_same_port_do_not_suffer() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        runtime().block_on(async {
            let leaving = in_group(address.parse().unwrap());
            let at = leaving.local_addr().unwrap();
            assert!(!leaving.has_siblings(), "it is alone");
            // The other one is in a process of its own, which need not accept for a connect to succeed.
            let mut other = Command::new("sleep")
                .arg("60")
                .stdin(OwnedFd::from(listen_in_group(at)))
                .spawn()
                .unwrap();
            assert!(leaving.has_siblings());
            assert!(
                !leaving.seal(),
                "the kernel would send it connects all the same"
            );
            while accept(&leaving).is_some() {}
            drop(leaving);
            for _ in 0..20 {
                let client = TcpStream::connect(at).unwrap();
                // None was lost on the way to the one that has gone.
                assert_eq!(sockets::retransmitted(client.as_fd()).unwrap(), 0);
            }
            other.kill().unwrap();
            other.wait().unwrap();
        });
    }
}

#[test]
fn n15_siblings_in_the_same_process_leave_together_and_are_sealed() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        runtime().block_on(async {
            let first = in_group(address.parse().unwrap());
            let at = first.local_addr().unwrap();
            let group = [first, in_group(at), in_group(at)];
            let queued: Vec<_> = (0..QUEUED * 3)
                .map(|_| TcpStream::connect(at).unwrap())
                .collect();
            assert!(group.iter().all(Listener::seal));
            assert!(is_refused(&TcpStream::connect(at)));
            let accepted = group
                .iter()
                .flat_map(|one| std::iter::from_fn(|| accept(one)));
            assert_eq!(accepted.count(), queued.len());
        });
    }
}
