//! Connections on their way to the successor, as the process sees it that gives them away.
//!
//! It keeps each descriptor until the successor says that it has taken it, and reads nothing from it meanwhile. When the channel
//! ends without that, nobody else has read from it either: a successor says it before it does. So what is taken back has lost
//! nothing.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_io::Async;
use futures_lite::future::FutureExt;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;

use super::channel::{Channel, Received, is_end, receive, send};
use super::parcel::{Note, Parcels, Receipt};
use crate::net::inherited::ListenerId;

/// How many connections may be under way at a time: descriptors under way count as open files of this user.
const UNDER_WAY_MAX: usize = 512;

/// How long after the last connection was taken it is told of them.
const QUIET: Duration = Duration::from_millis(10);

/// The way to the successor.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    way: Mutex<Way>,
    closed: Notify,
}

#[derive(Debug, Default)]
enum Way {
    /// There is no successor that takes connections, or none any more.
    #[default]
    Closed,
    Open {
        departures: mpsc::UnboundedSender<Departure>,
        /// Those whose connections the successor takes, each with its index in the greeting.
        listeners: Vec<(u16, ListenerId)>,
    },
}

/// A connection that is to be moved.
#[derive(Debug)]
struct Departure {
    descriptor: OwnedFd,
    note: Note,
    answer: oneshot::Sender<Departed>,
}

/// What has become of a connection that was to be moved.
#[derive(Debug)]
pub(crate) enum Departed {
    /// The successor has it.
    Moved,
    /// It stays, as it was.
    Back(OwnedFd, Note),
    /// Nobody knows whether the successor has it, so this process must not go on with it.
    Lost,
}

/// What there is to tell of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutboundEvent {
    Moved(usize),
    TakenBack(usize),
    /// All that were idle have moved.
    Quiet,
}

impl Outbound {
    /// Opens the way to a successor that takes connections of these listeners; `None` where it does not know how.
    pub(crate) fn open(
        self: &Arc<Self>,
        channel: Channel,
        listeners: Vec<(u16, ListenerId)>,
    ) -> Option<Carrier> {
        if channel.is_over() {
            return None;
        }
        let (departures, inbox) = mpsc::unbounded_channel();
        *self.way() = Way::Open {
            departures,
            listeners,
        };
        Some(Carrier {
            outbound: Arc::clone(self),
            channel: Some(channel),
            load: Load::default(),
            inbox,
        })
    }

    /// Returns the index of a listener whose connections the successor takes.
    pub(crate) fn index_of(&self, listener: ListenerId) -> Option<u16> {
        match &*self.way() {
            Way::Closed => None,
            Way::Open { listeners, .. } => {
                let mut listeners = listeners.iter();
                let found = listeners.find(|(_, id)| *id == listener);
                found.map(|(index, _)| *index)
            }
        }
    }

    /// Moves a connection. It waits for the successor, as long as that is there.
    ///
    /// # Cancel safety
    ///
    /// A drop leaves the connection to the successor, if that takes it.
    pub(crate) async fn depart(&self, descriptor: OwnedFd, note: Note) -> Departed {
        let (answer, answered) = oneshot::channel();
        let departure = Departure {
            descriptor,
            note,
            answer,
        };
        let refused = match &*self.way() {
            Way::Closed => Some(departure),
            Way::Open { departures, .. } => departures.send(departure).err().map(|error| error.0),
        };
        match refused {
            Some(departure) => Departed::Back(departure.descriptor, departure.note),
            None => answered.await.unwrap_or(Departed::Lost),
        }
    }

    fn close(&self) {
        *self.way() = Way::Closed;
        self.closed.notify_waiters();
    }

    /// Waits until no connection can be moved.
    ///
    /// # Cancel safety
    ///
    /// A drop loses nothing.
    #[cfg(feature = "adapt")]
    pub(crate) async fn closed(&self) {
        let mut closed = std::pin::pin!(self.closed.notified());
        // Registered before the look, so that a close cannot slip out between.
        closed.as_mut().enable();
        if matches!(*self.way(), Way::Open { .. }) {
            closed.await;
        }
    }

    // Nothing that could panic runs under the lock.
    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries connections to the successor.
#[derive(Debug)]
pub(crate) struct Carrier {
    outbound: Arc<Outbound>,
    channel: Option<Channel>,
    load: Load,
    inbox: mpsc::UnboundedReceiver<Departure>,
}

/// What has departed and not arrived.
#[derive(Debug, Default)]
struct Load {
    waiting: VecDeque<Departure>,
    /// What was sent, by the number of its packet.
    under_way: BTreeMap<u64, Vec<Departure>>,
    next: u64,
    /// The kernel carries no more before something has arrived (`ETOOMANYREFS` in unix(7), among others).
    is_held_up: bool,
    /// Something has moved of which has not been told.
    is_news: bool,
}

/// Why nothing is carried any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayEnd {
    /// The successor has ended, or takes no more: what it has not said to have taken it never will.
    Closed,
    /// It says what cannot be understood: what is under way may be its own.
    Garbled,
}

enum Step {
    Received(io::Result<Received>),
    Sent(io::Result<usize>),
    Departed(Departure),
    Quiet,
}

impl Carrier {
    /// Carries until the successor takes no more; afterwards the way is closed, and everything has its answer.
    pub(crate) async fn run(mut self, mut tell: impl FnMut(OutboundEvent)) {
        let channel = self.channel.take().map(Async::new);
        let end = match &channel {
            Some(Ok(channel)) => self.carry(channel, &mut tell).await,
            _ => WayEnd::Closed,
        };
        // Closed here as well, before anything is read from again.
        drop(channel);
        self.outbound.close();
        self.inbox.close();
        let mut back = Vec::from(mem::take(&mut self.load.waiting));
        let under_way = mem::take(&mut self.load.under_way).into_values().flatten();
        match end {
            WayEnd::Closed => back.extend(under_way),
            WayEnd::Garbled => drop(under_way.collect::<Vec<_>>()),
        }
        while let Some(departure) = self.inbox.recv().await {
            back.push(departure);
        }
        if !back.is_empty() {
            tell(OutboundEvent::TakenBack(back.len()));
        }
        back.into_iter().for_each(Departure::take_back);
    }

    async fn carry(
        &mut self,
        channel: &Async<Channel>,
        tell: &mut impl FnMut(OutboundEvent),
    ) -> WayEnd {
        loop {
            match self.next(channel).await {
                Step::Departed(departure) => self.load.waiting.push_back(departure),
                Step::Sent(Ok(count)) => self.load.sent(count),
                Step::Sent(Err(error)) if is_end(&error) => {
                    return self.load.settle_rest(channel.get_ref(), tell);
                }
                Step::Sent(Err(_)) => self.load.hold_up(tell),
                Step::Received(Ok(Received::Packet { bytes, .. })) => {
                    if !self.load.settle(&bytes, tell) {
                        return WayEnd::Garbled;
                    }
                }
                Step::Received(Ok(Received::End)) => return WayEnd::Closed,
                Step::Received(Ok(Received::Nothing)) => {}
                Step::Received(Err(_)) => return WayEnd::Garbled,
                Step::Quiet => {
                    self.load.is_news = false;
                    tell(OutboundEvent::Quiet);
                }
            }
        }
    }

    async fn next(&mut self, channel: &Async<Channel>) -> Step {
        while let Ok(departure) = self.inbox.try_recv() {
            self.load.waiting.push_back(departure);
        }
        let load = &self.load;
        let received = async { Step::Received(receive(channel).await) };
        let sent = async {
            match load.may_send() {
                true => Step::Sent(load.send(channel).await),
                false => pending().await,
            }
        };
        let departed = async {
            match self.inbox.recv().await {
                Some(departure) => Step::Departed(departure),
                None => pending().await,
            }
        };
        let quiet = async {
            match load.is_news && load.is_empty() {
                true => sleep(QUIET).await,
                false => pending().await,
            }
            Step::Quiet
        };
        received.or(sent).or(departed).or(quiet).await
    }
}

impl Load {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    fn may_send(&self) -> bool {
        let under_way: usize = self.under_way.values().map(Vec::len).sum();
        !self.waiting.is_empty() && !self.is_held_up && under_way < UNDER_WAY_MAX
    }

    /// Sends as many as a packet takes; returns how many those are.
    async fn send(&self, channel: &Async<Channel>) -> io::Result<usize> {
        let notes = self.waiting.iter().map(|departure| &departure.note);
        let (bytes, count) = Parcels::encode(self.next, notes);
        let descriptors: Vec<_> = self
            .waiting
            .iter()
            .take(count)
            .map(|departure| departure.descriptor.as_fd())
            .collect();
        send(channel, &bytes, &descriptors).await?;
        Ok(count)
    }

    fn sent(&mut self, count: usize) {
        let sent = self.waiting.drain(..count).collect();
        self.under_way.insert(self.next, sent);
        self.next += 1;
    }

    /// Waits for something to arrive, which makes room; where nothing will, nothing moves.
    fn hold_up(&mut self, tell: &mut impl FnMut(OutboundEvent)) {
        if !self.under_way.is_empty() {
            self.is_held_up = true;
            return;
        }
        tell(OutboundEvent::TakenBack(self.waiting.len()));
        self.waiting.drain(..).for_each(Departure::take_back);
    }

    /// Takes note of what was said before the end of the channel.
    fn settle_rest(&mut self, channel: &Channel, tell: &mut impl FnMut(OutboundEvent)) -> WayEnd {
        loop {
            match channel.receive_some() {
                Ok(Received::Packet { bytes, .. }) if self.settle(&bytes, tell) => {}
                Ok(Received::Packet { .. }) | Err(_) => return WayEnd::Garbled,
                Ok(Received::Nothing | Received::End) => return WayEnd::Closed,
            }
        }
    }

    /// Takes note of a receipt; false where it is none.
    fn settle(&mut self, bytes: &[u8], tell: &mut impl FnMut(OutboundEvent)) -> bool {
        let Ok(Receipt { number, taken }) = Receipt::decode(bytes) else {
            return false;
        };
        let departures = match self.under_way.get(&number) {
            Some(departures) if departures.len() == taken.len() => self.under_way.remove(&number),
            _ => return false,
        };
        self.is_held_up = false;
        let count = taken.iter().filter(|taken| **taken).count();
        if count > 0 {
            self.is_news = true;
            tell(OutboundEvent::Moved(count));
        }
        if count < taken.len() {
            tell(OutboundEvent::TakenBack(taken.len() - count));
        }
        for (departure, is_taken) in departures.into_iter().flatten().zip(taken) {
            match is_taken {
                true => departure.arrive(),
                false => departure.take_back(),
            }
        }
        true
    }
}

impl Departure {
    // Who has given the connection up meanwhile does not wait for the answer.

    fn arrive(self) {
        drop(self.descriptor);
        let _ = self.answer.send(Departed::Moved);
    }

    fn take_back(self) {
        let _ = self.answer.send(Departed::Back(self.descriptor, self.note));
    }
}

#[cfg(test)]
mod tests;
