//! How long a connection goes on: until when it may be idle, and which response is its last one.

use tokio::time::Instant;

use super::Connection;
use crate::model::stage::Stage;
use crate::serve::limits::HEAD_LIMIT;

impl Connection {
    /// Has a connection of HTTP/2 end although the server goes on; returns since when it leaves.
    pub(in crate::serve) fn retire(&self) -> Instant {
        self.http2.retire()
    }

    /// Returns since when a client of HTTP/2 is told that its connection ends: since that was retired, or since the drain
    /// began.
    #[inline]
    pub(in crate::serve) fn leaves_since(&self) -> Option<Instant> {
        self.http2.retired().or_else(|| self.drain_began())
    }

    /// Tells whether the response that is about to be sent is the last one of an HTTP/1 connection:
    /// the server wants to close, and no further request has been received.
    ///
    /// Where it is not known whether one has, the connection ends later, when it is idle, which loses
    /// nothing.
    #[inline]
    pub(crate) fn is_last_response(&self) -> bool {
        let is_ending = self.has_reached(Stage::LameDuck) && !self.moves_on()
            || (self.policy.options.life.is_some() && self.has_had_its_life());
        is_ending && !self.is_http2() && !self.has_more_requests()
    }

    /// Tells whether it is as old, or has brought as many requests, as it may.
    #[cold]
    pub(in crate::serve) fn has_had_its_life(&self) -> bool {
        self.has_brought_its_requests() || self.life_end().is_some_and(|end| end <= Instant::now())
    }

    /// Tells whether it has brought as many requests as it may.
    #[inline]
    pub(in crate::serve) fn has_brought_its_requests(&self) -> bool {
        let max_requests = self.policy.options.life.and_then(|life| life.max_requests);
        max_requests.is_some_and(|max| self.state().ledger.begun >= max)
    }

    /// Returns when it is as old as it may be.
    pub(in crate::serve) fn life_end(&self) -> Option<Instant> {
        let max_age = self.policy.options.life?.max_age?;
        self.accepted
            .checked_add(self.policy.spread(max_age, self.accepted))
    }

    /// Tells whether there was a request.
    pub(in crate::serve) fn was_asked(&self) -> bool {
        self.state().ledger.begun > 0
    }

    /// Returns until when the connection may be idle; `None` where that has no limit.
    pub(in crate::serve) fn idle_end(&self) -> Option<Instant> {
        let ledger = &self.state().ledger;
        match ledger.begun {
            0 => Some(self.accepted + self.policy.options.header_timeout),
            _ => ledger
                .last_active
                .checked_add(self.policy.options.keep_alive_timeout?),
        }
    }

    /// Tells whether a further request has been received, or may have been.
    #[cold]
    fn has_more_requests(&self) -> bool {
        // Who goes on asking must not hold the drain for it.
        let has_time = || {
            let drain = self.drain_began();
            drain.is_none_or(|drain| Instant::now() < drain + HEAD_LIMIT)
        };
        let following = &mut self.state().following;
        self.arrivals.has_more_requests(following, has_time)
    }
}
