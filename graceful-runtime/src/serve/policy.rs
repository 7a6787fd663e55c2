//! How one server treats its connections: what its user has chosen, and how far it has come in ending them.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::{GOAWAY_LIMIT, HEAD_LIMIT};
use super::options::Options;
use super::unmatched::UnmatchedEnds;
use crate::lifecycle::Lifecycle;
use crate::model::stage::{CurrentStage, Stage};
use crate::net::inherited::ListenerId;

/// What the connections of one server share.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(super) options: Options,
    /// What its connections belong to, where they may move to a successor.
    pub(super) listener: Option<ListenerId>,
    pub(super) stage: CurrentStage,
    drain: OnceLock<DrainBegin>,
    /// For what is to be different for each connection.
    random: RandomState,
    /// Streams of HTTP/2 of which it is not known on what connection they are.
    pub(super) unmatched: UnmatchedEnds,
}

/// What is known of a drain from its begin on.
#[derive(Clone, Copy, Debug)]
struct DrainBegin {
    begin: Instant,
    /// Requests were answered just before it, or are in flight.
    was_busy: bool,
}

impl Policy {
    pub(super) fn new(
        lifecycle: Arc<Lifecycle>,
        options: Options,
        listener: Option<ListenerId>,
    ) -> Self {
        Self {
            listener,
            unmatched: UnmatchedEnds::new(Arc::clone(&lifecycle)),
            lifecycle,
            options,
            stage: CurrentStage::new(),
            drain: OnceLock::new(),
            random: RandomState::new(),
        }
    }

    #[inline]
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.stage.has_reached(stage)
    }

    /// Returns a time that is up to a tenth shorter or longer, so that connections that were accepted together do not end
    /// together.
    pub(super) fn spread(&self, time: Duration, accepted: Instant) -> Duration {
        let random = self.random.hash_one(accepted);
        let more = (time / 5).mul_f64(random as f64 / u64::MAX as f64);
        (time / 10 * 9).saturating_add(more)
    }

    /// Notes that the drain begins; only the first call counts.
    pub(super) fn begin_drain(&self, begin: Instant, was_busy: impl FnOnce() -> bool) {
        self.drain.get_or_init(|| DrainBegin {
            begin,
            was_busy: was_busy(),
        });
    }

    /// Returns when the drain began.
    #[inline]
    pub(crate) fn drain_began(&self) -> Option<Instant> {
        self.has_reached(Stage::Draining)
            .then(|| self.drain.get().map(|drain| drain.begin))
            .flatten()
    }

    /// Returns the index of its listener in the greeting, where a successor takes its connections.
    pub(crate) fn destination(&self) -> Option<u16> {
        self.lifecycle.outbound.index_of(self.listener?)
    }

    /// Returns until when a connection, idle since `last_active` or new since then, may still bring a request while
    /// draining.
    ///
    /// Where requests came just before the drain, more will come, and a proxy may use any of the connections
    /// that it keeps, even one that was long idle. So each gets the grace.
    pub(super) fn grace_end(&self, last_active: Instant) -> Instant {
        let begin = match self.drain.get() {
            Some(drain) if drain.was_busy => drain.begin.max(last_active),
            _ => last_active,
        };
        begin + self.lifecycle.keep_alive_grace
    }

    /// Returns until when, in a drain, the rest of a request head may come that began at `begun`.
    pub(crate) fn head_end(&self, begun: Instant) -> Instant {
        begun + HEAD_LIMIT.min(self.options.header_timeout)
    }

    /// Returns how long an HTTP/2 client may take to learn of the end of its connection: to open streams, and to be silent
    /// when all have ended.
    ///
    /// One that does what it should needs a round trip, which ends the wait; a request of its own may cross the GOAWAY.
    pub(crate) fn goaway_limit(&self) -> Duration {
        let trigger = self.lifecycle.trigger();
        let budget = trigger.map_or(Duration::MAX, |trigger| trigger.budget.timeout());
        GOAWAY_LIMIT.min(budget / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Settings;
    use crate::lifecycle::surroundings::Surroundings;

    #[test]
    fn half_a_head_has_a_second_in_a_drain_or_less_where_it_has_less_otherwise() {
        let begun = Instant::now();
        for (header_timeout, limit) in [
            (HEAD_LIMIT * 30, HEAD_LIMIT),
            (HEAD_LIMIT / 2, HEAD_LIMIT / 2),
        ] {
            let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
            let options = Options {
                header_timeout,
                ..Options::default()
            };
            let policy = Policy::new(lifecycle, options, None);
            assert_eq!(policy.head_end(begun), begun + limit);
        }
    }

    #[test]
    fn the_grace_runs_from_the_drain_where_the_server_was_in_use() {
        let last_active = Instant::now();
        let drain = last_active + HEAD_LIMIT;
        for (was_busy, begin) in [(true, drain), (false, last_active)] {
            let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
            let grace = lifecycle.keep_alive_grace;
            let policy = Policy::new(lifecycle, Options::default(), None);
            assert_eq!(policy.grace_end(last_active), last_active + grace);
            policy.begin_drain(drain, || was_busy);
            assert_eq!(policy.grace_end(last_active), begin + grace);
        }
    }
}
