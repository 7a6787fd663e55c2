//! The private channel between the two processes: packets with descriptors, and an end that is seen.

use std::{
    borrow::Borrow,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use async_io::Async;
use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
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
        /// In the order in which they were sent. Where this process may not open as many, the first of them.
        descriptors: Vec<OwnedFd>,
        has_all: bool,
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

    /// Tells whether the other process has closed its end.
    pub(crate) fn is_over(&self) -> bool {
        let mut ends = [PollFd::new(self, PollFlags::empty())];
        let _ = poll(&mut ends, Some(&Timespec::default()));
        ends[0].revents().contains(PollFlags::HUP)
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
        match self.receive_some()? {
            Received::Packet { has_all: false, .. } => Err(incomplete()),
            received => Ok(received),
        }
    }

    /// As [`receive`](Self::receive), for who has a use for a part of the descriptors.
    ///
    /// # Errors
    ///
    /// Where a packet is too long.
    pub(crate) fn receive_some(&self) -> io::Result<Received> {
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
            Err(Errno::CONNRESET) => return self.receive_some(),
            Err(error) => return Err(error.into()),
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(incomplete());
        }
        if received.bytes == 0 {
            return Ok(Received::End);
        }
        bytes.truncate(received.bytes);
        Ok(Received::Packet {
            bytes,
            descriptors,
            has_all: !received.flags.contains(ReturnFlags::CTRUNC),
        })
    }
}

/// Waits for what comes on a channel.
///
/// # Errors
///
/// As [`Channel::receive_some`].
///
/// # Cancel safety
///
/// A drop loses nothing.
pub(crate) async fn receive<C: Borrow<Channel>>(channel: &Async<C>) -> io::Result<Received> {
    let now = |channel: &C| match channel.borrow().receive_some()? {
        Received::Nothing => Err(io::ErrorKind::WouldBlock.into()),
        received => Ok(received),
    };
    channel.read_with(now).await
}

/// Sends one packet, when there is room for it.
///
/// # Errors
///
/// As [`Channel::send`], but for a channel that is full.
///
/// # Cancel safety
///
/// A drop sends nothing.
pub(crate) async fn send<C: Borrow<Channel>>(
    channel: &Async<C>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let now = |channel: &C| channel.borrow().send(bytes, descriptors);
    channel.write_with(now).await
}

/// Tells whether a send has failed because nobody holds the other end any more.
pub(crate) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

fn incomplete() -> io::Error {
    io::Error::other("a message did not arrive whole (limit of open files?)")
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
