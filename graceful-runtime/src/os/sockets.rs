//! What the kernel knows of sockets, and no crate in use asks for.
//!
//! # Safety
//!
//! Every function here is safe to call. Descriptors come in as [`BorrowedFd`], so they are open for
//! the time of the call; no pointer outlives its call.
#![allow(unsafe_code, reason = "this folder is the place for it")]

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Makes the kernel refuse new connects to a listener, while its accept queue and the handshakes
/// under way stay: it is bound to a network interface that does not exist.
///
/// The port stays taken until the listener is closed.
///
/// # Errors
///
/// `EPERM` or `ENOPROTOOPT` before Linux 5.7 and where the socket is bound to an interface already.
///
/// # References
///
/// `SO_BINDTOIFINDEX` in Linux's include/uapi/asm-generic/socket.h, `sock_bindtoindex` in net/core/sock.c
pub(crate) fn refuse_connects(listener: BorrowedFd<'_>) -> io::Result<()> {
    // Interfaces are numbered upwards from 1, so the last number is free.
    const NO_INTERFACE: libc::c_int = libc::c_int::MAX;
    set_option(
        listener,
        libc::SOL_SOCKET,
        libc::SO_BINDTOIFINDEX,
        NO_INTERFACE,
    )
}

/// Sets `TCP_DEFER_ACCEPT`: a connection shows in the accept queue with its first byte, or after `seconds`; 0
/// switches that off.
///
/// # References
///
/// `TCP_DEFER_ACCEPT` in tcp(7)
pub(crate) fn defer_accept(listener: BorrowedFd<'_>, seconds: libc::c_int) -> io::Result<()> {
    set_option(listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

/// Tells whether a socket that this process does not have listens at `address`, too.
///
/// # References
///
/// `/proc/net/tcp` in proc_net(5), which has listeners first; `/proc/pid/fd` in proc_pid_fd(5)
pub(crate) fn others_listen_at(address: SocketAddr) -> bool {
    const LISTENING: &str = "0A";

    // The addresses are there as the machine's numbers.
    let word = |word: &[u8; 4]| format!("{:08X}", u32::from_ne_bytes(*word));
    let (table, ip) = match address.ip() {
        IpAddr::V4(ip) => ("/proc/net/tcp", word(&ip.octets())),
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let (words, _) = octets.as_chunks();
            ("/proc/net/tcp6", words.iter().map(word).collect())
        }
    };
    let wanted = format!("{ip}:{:04X}", address.port());
    let table = fs::read_to_string(table).unwrap_or_default();
    let sockets = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        Some((fields.next()?, fields.nth(1)?, fields.nth(5)?))
    });
    let listening = sockets.take_while(|(_, state, _)| *state == LISTENING);
    let mut inodes = listening
        .filter(|(local, ..)| *local == wanted)
        .map(|(.., inode)| inode);
    let own: Vec<_> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect();
    inodes.any(|inode| !own.contains(&format!("socket:[{inode}]").into()))
}

/// Returns how many received bytes nobody has read yet.
///
/// # References
///
/// `FIONREAD` in tcp(7) and unix(7)
pub(crate) fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    ask(socket, libc::FIONREAD)
}

/// Returns how many sent bytes, the end of the stream included, the peer has not acknowledged yet.
///
/// # References
///
/// `SIOCOUTQ` in tcp(7)
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    ask(socket, libc::TIOCOUTQ)
}

/// Returns how many connections the accept queue of a TCP listener holds.
///
/// # References
///
/// `tcp_get_info` in Linux's net/ipv4/tcp.c: for a listener, `tcpi_unacked` is the length of its queue
pub(crate) fn queue_length(listener: BorrowedFd<'_>) -> io::Result<usize> {
    let info = tcp_info(listener)?;
    Ok(usize::try_from(info.tcpi_unacked).unwrap_or(usize::MAX))
}

/// Tells whether a client is in the middle of connecting to the TCP port of `address`: it may take itself for connected, and the
/// kernel waits for its answer.
///
/// Takes about a millisecond: the kernel looks through the connections of the whole machine. Those of another
/// network namespace than this thread's are not seen.
///
/// # Errors
///
/// Where the kernel does not tell, such as in a sandbox.
///
/// # References
///
/// sock_diag(7), netlink(7); `inet_diag_dump_icsk` in Linux's net/ipv4/inet_diag.c
pub(crate) fn has_handshakes(address: SocketAddr) -> io::Result<bool> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const HEADER: usize = 16;
    const REQUEST: usize = 72;
    /// One bit for each state of a connection.
    const SYN_RECEIVED: u32 = 1 << 3;

    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let type_and_flags = [
        SOCK_DIAG_BY_FAMILY,
        (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16,
    ];
    let mut request = Vec::with_capacity(REQUEST);
    request.extend((REQUEST as u32).to_ne_bytes());
    request.extend(type_and_flags.map(u16::to_ne_bytes).as_flattened());
    // The number of the request, and nobody's address.
    request.extend([0; 8]);
    request.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    request.extend(SYN_RECEIVED.to_ne_bytes());
    request.extend(address.port().to_be_bytes());
    // Whatever else could be asked for.
    request.resize(REQUEST, 0);

    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    send(&kernel, &request, SendFlags::empty())?;
    // The first answer tells, and what does not fit is thrown away.
    let mut answer = [0; HEADER];
    recv(&kernel, &mut answer, RecvFlags::TRUNC)?;
    match u16::from_ne_bytes([answer[4], answer[5]]) {
        SOCK_DIAG_BY_FAMILY => Ok(true),
        done if i32::from(done) == libc::NLMSG_DONE => Ok(false),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Tells whether a TCP connection has something to send and waits for nothing but the peer to make room: everything that
/// was sent is acknowledged, and the peer answers when it is asked for room, so it is there and reads no further.
///
/// # References
///
/// `tcp_get_info` in Linux's net/ipv4/tcp.c: `tcpi_unacked` counts the segments under way, and `tcpi_probes` what has been
/// asked since the last answer
pub(crate) fn waits_for_room(socket: BorrowedFd<'_>) -> io::Result<bool> {
    if unacknowledged(socket)? == 0 {
        return Ok(false);
    }
    let info = tcp_info(socket)?;
    // The answer to the last one may be on its way.
    Ok(info.tcpi_unacked == 0 && info.tcpi_probes < 2)
}

/// Returns how often something had to be sent again on a TCP connection, its SYN included.
#[cfg(test)]
pub(crate) fn retransmitted(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(tcp_info(socket)?.tcpi_total_retrans)
}

fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    // SAFETY: an all-zero `tcp_info` is a valid value of this plain C struct.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).expect("a small struct");
    // SAFETY: `info` is valid for writes of `length` bytes during the call, and any bytes are a valid value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(info),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ask(socket: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<usize> {
    let mut answer: libc::c_int = 0;
    // SAFETY: both requests write one `int`, for which `answer` is valid during the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut answer) };
    if result == 0 {
        Ok(usize::try_from(answer).unwrap_or(0))
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("an int is small");
    // SAFETY: `value` is valid for reads of `length` bytes during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::{defer_accept, has_handshakes};

    #[test]
    fn who_is_in_the_middle_of_connecting_is_seen() {
        for any_port in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            // An address of a family that this machine does not have.
            let Ok(listener) = TcpListener::bind(any_port) else {
                continue;
            };
            let address = listener.local_addr().unwrap();
            // A sandbox may keep the kernel from telling.
            let Ok(are_some) = has_handshakes(address) else {
                return;
            };
            assert!(!are_some, "{any_port}");
            let connected = TcpStream::connect(("localhost", address.port()));
            let connected = connected.or_else(|_| TcpStream::connect(address));
            assert!(!has_handshakes(address).unwrap(), "{any_port}");
            // A handshake ends with the first byte then.
            defer_accept(listener.as_fd(), 10).unwrap();
            let mut connecting = TcpStream::connect(address).unwrap();
            assert!(has_handshakes(address).unwrap(), "{any_port}");
            connecting.write_all(b"x").unwrap();
            assert!(!has_handshakes(address).unwrap(), "{any_port}");
            drop(connected);
        }
    }
}
