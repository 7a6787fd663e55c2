//! The requests of one connection: which are in flight, and which have ended without its being known how.

use tokio::time::Instant;

use crate::lifecycle::request::InFlight;
use crate::serve::requests::{Key, Requests};

/// The requests of one connection. What few connections have is boxed, since idle ones are many. Callers bring the tally up to date by what its methods return.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) in_flight: Requests,
    /// The last request, where its response is so large that it may not have been written yet.
    unwritten: Option<Box<InFlight>>,
    /// Responses have not been written that were too small to keep their requests for; how many is not known.
    is_owing: bool,
    /// Requests of HTTP/2 that ended in the drain before their responses were made to their end.
    unmade: Vec<InFlight>,
    /// The request by which the connection was upgraded.
    pub(super) upgraded_by: Option<Box<InFlight>>,
    /// How many requests there have been.
    pub(super) begun: u64,
    /// When the last request ended, or the connection was accepted.
    pub(super) last_active: Instant,
}

impl Ledger {
    pub(super) fn new(accepted: Instant) -> Self {
        Self {
            in_flight: Requests::default(),
            unwritten: None,
            is_owing: false,
            unmade: Vec::new(),
            upgraded_by: None,
            begun: 0,
            last_active: accepted,
        }
    }

    /// Adds a request; returns how many others are in flight no more, since it is the one that is waited for now.
    #[inline]
    pub(super) fn begin(&mut self, request: InFlight) -> (Key, usize) {
        let over = match self.unwritten.is_some() || self.is_owing {
            true => self.forget(),
            false => 0,
        };
        self.begun += 1;
        (self.in_flight.insert(request), over)
    }

    /// Forgets what has not been written; returns how many requests that was.
    #[cold]
    pub(super) fn forget(&mut self) -> usize {
        let was_owing = self.owe(false);
        usize::from(self.unwritten.take().is_some()) + usize::from(was_owing)
    }

    /// Takes out a request that has ended.
    #[inline]
    pub(super) fn end(&mut self, key: Key) -> Option<InFlight> {
        self.last_active = Instant::now();
        self.in_flight.remove(key)
    }

    /// Keeps a request whose response may not have been written yet; returns the one that was kept before.
    pub(super) fn keep_unwritten(&mut self, request: InFlight) -> Option<Box<InFlight>> {
        self.unwritten.replace(Box::new(request))
    }

    /// Notes whether responses are owed that were too small to keep their requests for; tells whether that has changed.
    pub(super) fn owe(&mut self, is_owing: bool) -> bool {
        std::mem::replace(&mut self.is_owing, is_owing) != is_owing
    }

    pub(super) fn is_owing(&self) -> bool {
        self.is_owing
    }

    pub(super) fn keep_unmade(&mut self, request: InFlight) {
        self.unmade.push(request);
    }

    /// Tells whether nothing is in flight that could be named.
    pub(super) fn has_no_names(&self) -> bool {
        self.in_flight.len() == 0 && self.unwritten.is_none()
    }

    /// Takes out what is kept of requests that have ended.
    pub(super) fn settle(&mut self) -> (Option<Box<InFlight>>, Vec<InFlight>) {
        (self.unwritten.take(), std::mem::take(&mut self.unmade))
    }

    /// Returns those whose response is not completely handed to the kernel.
    pub(super) fn named(&self) -> Vec<InFlight> {
        self.in_flight
            .iter()
            .chain(self.unwritten.as_deref())
            .cloned()
            .collect()
    }
}
