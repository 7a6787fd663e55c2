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
