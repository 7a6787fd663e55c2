//! What the kernel tells of the TCP sockets of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

/// A connection in the kernel's table, as the side sees it that `local` is.
#[derive(Clone, Copy, Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    is_established: bool,
    /// How many bytes have come and were not read.
    unread: usize,
}

/// Returns those clients from which the server at `server` has read everything that has come.
///
/// All at once: the table is long where many connections have ended lately.
pub fn all_read(server: SocketAddr) -> BTreeSet<SocketAddr> {
    let sockets = table().into_iter();
    let read = sockets
        .filter(|socket| socket.local == server && socket.is_established && socket.unread == 0);
    read.map(|socket| socket.remote).collect()
}

/// Returns from which ports there are connections to `server`.
pub fn clients(server: SocketAddr) -> BTreeSet<u16> {
    let sockets = table().into_iter();
    let of_server = sockets.filter(|socket| socket.local == server && socket.is_established);
    of_server.map(|socket| socket.remote.port()).collect()
}

/// Reads the connections over IPv4; see proc_net_tcp.txt of the kernel.
fn table() -> Vec<Socket> {
    let text = fs::read_to_string("/proc/net/tcp").expect("Linux has this file");
    text.lines().skip(1).filter_map(socket).collect()
}

fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let is_established = fields.next()? == "01";
    let (_, unread) = fields.next()?.split_once(':')?;
    Some(Socket {
        local,
        remote,
        is_established,
        unread: usize::from_str_radix(unread, 16).ok()?,
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    // In the byte order of the machine.
    let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((Ipv4Addr::from(address), port).into())
}
