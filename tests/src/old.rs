//! The hand-over as processes speak it that do not know that connections can move.
//!
//! It is written down once more here, byte by byte, since it must not change.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{self, Command};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use crate::{LIMIT, Server};

/// Set for a successor, whose standard input is the channel.
const VARIABLE: &str = "GRACEFUL_HANDOVER";

/// More than are ever sent.
const DESCRIPTORS_MAX: usize = 253;

/// A channel between two processes; a packet that does not come within [`LIMIT`] is a panic.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Takes one end; packets come whole.
    pub fn new(end: OwnedFd) -> Self {
        let limit = Some(LIMIT);
        sockopt::set_socket_timeout(&end, sockopt::Timeout::Recv, limit).expect("it is a socket");
        Self(end)
    }

    /// Receives a packet, and the descriptors beside it; an empty one is the end.
    pub fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut bytes = vec![0; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("the other process says something");
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        bytes.truncate(received.bytes);
        (bytes, descriptors)
    }

    /// Sends a packet, with descriptors beside it.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let sent = sendmsg(
            &self.0,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        );
        sent.expect("the other process is there");
    }
}

/// Hands `listener` over, which `command` asks for as `asked`, and returns the successor when that serves, with the channel:
/// when it is dropped, the successor takes this process for gone.
#[track_caller]
pub fn hand_over(mut command: Command, listener: &TcpListener, asked: &str) -> (Server, Channel) {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .expect("there are descriptors left");
    let channel = Channel::new(ours);
    let this = pidfd_open(getpid(), PidfdFlags::empty()).expect("this process runs");
    channel.send(&greeting(asked), &[listener.as_fd(), this.as_fd()]);
    command.env(VARIABLE, "1").stdin(theirs);
    let server = Server::spawn(command);
    assert_eq!(channel.receive().0, b"r", "ready:\n{}", server.log());
    channel.send(b"g", &[]);
    assert_eq!(channel.receive().0, b"s", "serving:\n{}", server.log());
    (server, channel)
}

fn greeting(asked: &str) -> Vec<u8> {
    let length = u16::try_from(asked.len()).expect("it is short");
    // The version; the state, which there is none of; one predecessor.
    let mut bytes = b"hgraceful\x01".to_vec();
    bytes.extend_from_slice(&process::id().to_le_bytes());
    bytes.extend_from_slice(&[0, 1]);
    // Nobody else keeps the listener.
    bytes.push(0);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(asked.as_bytes());
    bytes
}

/// Takes over from the process at the other end of `channel`, and returns its listener.
///
/// What it is given beyond that is closed, as by any program that does not know it.
#[track_caller]
pub fn take_over(channel: &Channel) -> TcpListener {
    let (greeting, descriptors) = channel.receive();
    assert!(greeting.starts_with(b"hgraceful\x01"), "{greeting:?}");
    let listener = descriptors.into_iter().next().expect("there is a listener");
    channel.send(b"r", &[]);
    assert_eq!(channel.receive().0, b"g");
    channel.send(b"s", &[]);
    listener.into()
}
