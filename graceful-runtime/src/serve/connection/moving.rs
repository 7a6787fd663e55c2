//! A connection between two processes: what the successor has to know of it, and whether it goes there.

use std::sync::Arc;

use tokio::time::Instant;

use super::arrivals::Following;
use super::link::Passage;
use super::{Connection, Protocol};
use crate::handover::parcel::{BEGUN_MAX, Note};
use crate::net::stream::Peer;
use crate::serve::beginning::Beginning;
use crate::serve::limits::HEAD_LIMIT;
use crate::serve::policy::Policy;

impl Connection {
    /// A connection that another process has had until now.
    pub(in crate::serve) fn continued(policy: Arc<Policy>, peer: Peer, note: &Note) -> Self {
        let mut connection = Self::new(policy, peer);
        // Both from the same moment: where nothing was asked, they are the same.
        let now = connection.accepted;
        let accepted = now.checked_sub(note.accepted).unwrap_or(now);
        connection.accepted = accepted;
        let mut state = connection.state();
        state.ledger.begun = note.requests;
        state.ledger.last_active = now.checked_sub(note.idle).unwrap_or(accepted);
        drop(state);
        connection
    }

    /// Returns the index of the listener by which a successor takes the connection as soon as it is idle; `None` where it
    /// stays.
    pub(crate) fn destination(&self) -> Option<u16> {
        let may_go = self.speaks(Protocol::Http1) && self.link.is_passage(Passage::Possible);
        may_go.then(|| self.policy.destination()).flatten()
    }

    /// Returns what a successor has to know of it.
    pub(in crate::serve) fn note(&self, listener: u16, beginning: Beginning) -> Note {
        let now = Instant::now();
        let age = |instant: Instant| now.saturating_duration_since(instant);
        let ledger = &self.state().ledger;
        Note {
            listener,
            requests: ledger.begun,
            accepted: age(self.accepted),
            idle: age(ledger.last_active),
            begun: beginning.begun.map(age),
            bytes: beginning.bytes,
        }
    }

    /// Notes that the connection is on its way to the successor.
    pub(in crate::serve) fn note_moving(&self) {
        self.link.set_passage(Passage::UnderWay);
    }

    /// Notes that the successor has not taken the connection.
    pub(in crate::serve) fn note_refused(&self) {
        self.link.set_passage(Passage::Refused);
    }

    /// Takes what hyper has of a request head that is not complete; `None` where that is too much to be moved.
    pub(in crate::serve) fn take_rest_of_head(&self) -> Option<Vec<u8>> {
        let Following::Requests(framing) = &mut self.state().following else {
            return None;
        };
        (framing.rest().len() <= BEGUN_MAX).then(|| framing.take_rest())
    }

    /// Tells whether the connection goes to the successor behind the response that is about to be sent.
    #[cold]
    pub(super) fn moves_on(&self) -> bool {
        // One that is never idle, as requests come behind one another all the time, would never get there.
        let is_late = |drain| {
            let limit = drain + HEAD_LIMIT;
            let state = self.state();
            let mut requests = state.ledger.in_flight.iter();
            requests.any(|request| request.started > limit)
        };
        self.destination().is_some() && !self.drain_began().is_some_and(is_late)
    }
}
