//! The private channel between the two processes: packets with descriptors, and an end that is seen.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
        recvmsg, sendmsg, shutdown, socketpair, sockopt,
    },
};

use super::wire::MESSAGE_MAX;

/// The most descriptors that the kernel carries in one packet.
const DESCRIPTORS_MAX: usize = 253;

/// One end of the channel. Neither sending nor receiving ever blocks.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What was waiting on a channel.
#[derive(Debug)]
pub(crate) enum Received {
    Packet {
        bytes: Vec<u8>,
        descriptors: Vec<OwnedFd>,
    },
    /// Nothing yet.
    Nothing,
    /// The other process is gone.
    End,
}

impl Channel {
    /// Opens a channel: the end of this process, and the one for the other.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// Takes an end that another process opened.
    ///
    /// # Errors
    ///
    /// Where the descriptor is not of the kind that [`pair`](Self::pair) opens.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let domain = sockopt::socket_domain(&socket)?;
        let kind = sockopt::socket_type(&socket)?;
        if (domain, kind) != (AddressFamily::UNIX, SocketType::SEQPACKET) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a socket of another kind",
            ));
        }
        Ok(Self(socket))
    }

    /// Sends one packet.
    ///
    /// # Errors
    ///
    /// Where the packet is too long, the other process is gone, or does not read what it is sent.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.len() > MESSAGE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the message is too long",
            ));
        }
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many descriptors",
            ));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags)?;
        Ok(())
    }

    /// Takes nothing more: what the other process has sent can be received, and what it sends from now on fails there.
    pub(crate) fn close_for_receiving(&self) {
        // Fails only where the other process is gone.
        let _ = shutdown(&self.0, Shutdown::Read);
    }

    /// Receives what is waiting; the descriptors are close-on-exec from the start.
    ///
    /// # Errors
    ///
    /// Where a packet arrived incomplete: it is too long, or this process may not open as many descriptors.
    pub(crate) fn receive(&self) -> io::Result<Received> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        ) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            // The other process is gone, and left unread what was sent to it. That is said once, before its last words.
            Err(Errno::CONNRESET) => return self.receive(),
            Err(error) => return Err(error.into()),
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(io::Error::other(
                "a message did not arrive whole (limit of open files?)",
            ));
        }
        if received.bytes == 0 {
            return Ok(Received::End);
        }
        bytes.truncate(received.bytes);
        Ok(Received::Packet { bytes, descriptors })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
