//! Connections that a predecessor gives away, as the process sees it that goes on with them.
//!
//! A connection is taken in this order: a server keeps a place for it, the predecessor is told, and only then is anything read
//! from it. The predecessor gives it up when it is told, and takes it back when the channel ends before that; so never do two
//! processes read from one connection, and never does none.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_io::Async;

use super::channel::{Channel, Received, is_end, receive};
use super::parcel::{Manifest, Note, Parcels, Receipt, Translation};
use crate::net::inherited::Handed;

/// Keeps a place at a server for a connection that is described so; `None` where the server does not take it.
pub(crate) type Taker = Box<dyn FnMut(&Note, BorrowedFd<'_>) -> Option<Begin> + Send>;

/// Begins to serve a connection at the place that was kept for it.
pub(crate) type Begin = Box<dyn FnOnce(OwnedFd, Note) + Send>;

/// The ways on which connections come, and who takes them.
#[derive(Default)]
pub(crate) struct Inbound {
    ways: Mutex<Vec<Way>>,
    /// By the index of the listener in the greeting of the predecessor.
    takers: Mutex<HashMap<u16, Taker>>,
}

/// A way from one of the processes before this one.
#[derive(Clone, Debug)]
struct Way {
    channel: Arc<Channel>,
    /// From its indexes to those of the predecessor, where it is another one.
    translation: Option<Translation>,
}

/// Lets connections come until it is dropped.
#[derive(Debug)]
pub(crate) struct TakerGuard {
    inbound: Arc<Inbound>,
    index: u16,
}

impl Drop for TakerGuard {
    fn drop(&mut self) {
        self.inbound.takers().remove(&self.index);
    }
}

impl Inbound {
    /// Takes what came at the end of the greeting; nothing of it where it cannot be understood.
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self {
            ways: Mutex::new(Self::ways_of(descriptors).unwrap_or_default()),
            takers: Mutex::default(),
        }
    }

    fn ways_of(descriptors: Vec<OwnedFd>) -> Option<Vec<Way>> {
        let mut descriptors = descriptors.into_iter();
        let first = Channel::new(descriptors.next()?).ok()?;
        let Ok(Received::Packet { bytes, .. }) = first.receive() else {
            return None;
        };
        let manifest = Manifest::decode(&bytes).ok()?;
        let mut ways = vec![Way {
            channel: Arc::new(first),
            translation: None,
        }];
        for (translation, descriptor) in manifest.others.into_iter().zip(descriptors) {
            ways.push(Way {
                channel: Arc::new(Channel::new(descriptor).ok()?),
                translation: Some(translation),
            });
        }
        Some(ways)
    }

    /// Has connections of a listener taken, which had this index in the greeting.
    pub(crate) fn register(self: &Arc<Self>, index: u16, taker: Taker) -> TakerGuard {
        self.takers().insert(index, taker);
        TakerGuard {
            inbound: Arc::clone(self),
            index,
        }
    }

    /// Returns what a successor gets, which has listeners in this order: the ways, and what to say of them.
    ///
    /// # Errors
    ///
    /// Where a descriptor cannot be duplicated.
    pub(crate) fn handed(&self, listeners: &[Handed]) -> io::Result<(Manifest, Vec<OwnedFd>)> {
        let index_now = |before: u16| {
            let index = listeners
                .iter()
                .position(|listener| listener.before == Some(before));
            index.and_then(|index| u16::try_from(index).ok())
        };
        let mut manifest = Manifest::default();
        let mut descriptors = Vec::new();
        for way in self.ways().iter() {
            descriptors.push(way.channel.as_fd().try_clone_to_owned()?);
            manifest.others.push(match &way.translation {
                Some(translation) => translation
                    .iter()
                    .filter_map(|(from, before)| Some((*from, index_now(*before)?)))
                    .collect(),
                None => (0..)
                    .zip(listeners)
                    .filter_map(|(now, listener)| Some((listener.before?, now)))
                    .collect(),
            });
        }
        Ok((manifest, descriptors))
    }

    /// Returns what has to run for connections to come; they end with the processes that the connections come from. A drop
    /// takes no more, so that whoever gives connections away keeps those that have not been taken.
    pub(crate) fn receivers(self: &Arc<Self>) -> Vec<impl Future<Output = ()> + use<>> {
        let ways = self.ways().clone();
        ways.into_iter()
            .map(|way| {
                let inbound = Arc::clone(self);
                let receiver = Receiver { inbound, way };
                async move { receiver.run().await }
            })
            .collect()
    }

    /// Takes the connections of one packet, as far as they have arrived and somebody wants them; `None` where the channel is of
    /// no use any more: the packet cannot be understood, or not be answered.
    fn take(&self, way: &Way, bytes: &[u8], descriptors: Vec<OwnedFd>) -> Option<()> {
        let Parcels { number, notes } = Parcels::decode(bytes).ok()?;
        let mut descriptors = descriptors.into_iter();
        let mut taken = Vec::new();
        let mut beginnings = Vec::new();
        for note in notes {
            // Those for which there was no descriptor left are the last.
            let place = descriptors.next().and_then(|descriptor| {
                let begin = self.place(way, &note, descriptor.as_fd())?;
                Some((begin, descriptor))
            });
            taken.push(place.is_some());
            beginnings.extend(place.map(|(begin, descriptor)| (begin, descriptor, note)));
        }
        let receipt = Receipt { number, taken };
        match way.channel.send(&receipt.encode(), &[]) {
            // Where nobody is left to be told, nobody else has the connections.
            Err(error) if !is_end(&error) => return None,
            Ok(()) | Err(_) => {}
        }
        for (begin, descriptor, note) in beginnings {
            begin(descriptor, note);
        }
        Some(())
    }

    fn place(&self, way: &Way, note: &Note, descriptor: BorrowedFd<'_>) -> Option<Begin> {
        let index = match &way.translation {
            None => note.listener,
            Some(translation) => {
                let mut translation = translation.iter();
                translation.find(|(from, _)| *from == note.listener)?.1
            }
        };
        self.takers().get_mut(&index)?(note, descriptor)
    }

    fn ways(&self) -> MutexGuard<'_, Vec<Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takers(&self) -> MutexGuard<'_, HashMap<u16, Taker>> {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what comes on one way, which ends with it.
struct Receiver {
    inbound: Arc<Inbound>,
    way: Way,
}

impl Receiver {
    async fn run(self) {
        let Ok(channel) = Async::new(Arc::clone(&self.way.channel)) else {
            return;
        };
        // With room for the receipt there is nothing to wait for between a packet and its answer. A drop in between would
        // leave connections that nobody has, where a successor holds the channel as well.
        while channel.writable().await.is_ok()
            && let Ok(Received::Packet {
                bytes, descriptors, ..
            }) = receive(&channel).await
            && self.inbound.take(&self.way, &bytes, descriptors).is_some()
        {}
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let is_other = |other: &Way| !Arc::ptr_eq(&other.channel, &self.way.channel);
        self.inbound.ways().retain(is_other);
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("ways", &self.ways())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
