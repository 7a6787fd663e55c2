//! What is counted as it happens, so that nobody has to look at every connection to know.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::gone::Gone;
use crate::text::count;

/// The requests of all servers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Those whose responses have not been handed to the kernel.
    in_flight: AtomicUsize,
    /// Idle connections that hyper does not have.
    parked: AtomicUsize,
    /// Connections that the successor has taken.
    moved: AtomicUsize,
    /// It has been told of them.
    is_moved_told: AtomicBool,
    /// Those that it has not.
    taken_back: AtomicUsize,
    /// Those that were answered since the trigger.
    finished: AtomicUsize,
    /// Those that had begun to come since the trigger, and did not come to their end in time.
    timed_out: AtomicUsize,
    /// Those that were dropped since the trigger because their clients had gone.
    pub(crate) gone: Gone,
}

impl Tally {
    #[inline]
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn end(&self, count: usize) {
        self.in_flight.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn park(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unpark(&self) {
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    pub(crate) fn add_moved(&self, count: usize) {
        self.moved.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn moved(&self) -> usize {
        self.moved.load(Ordering::Relaxed)
    }

    /// Notes that somebody tells of them; returns whether nobody has before.
    pub(crate) fn tell_moved(&self) -> bool {
        !self.is_moved_told.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn add_taken_back(&self, count: usize) {
        self.taken_back.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn taken_back(&self) -> usize {
        self.taken_back.load(Ordering::Relaxed)
    }

    pub(crate) fn add_finished(&self, count: usize) {
        self.finished.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::Relaxed)
    }

    pub(crate) fn add_timed_out(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests have ended since the trigger that were not cut, in whatever way.
    pub(super) fn ended(&self) -> usize {
        self.finished() + self.gone.count() + self.timed_out.load(Ordering::Relaxed)
    }

    /// Says how what there was since the trigger has ended, where `cut` pieces of work were cut.
    pub(super) fn counts(&self, cut: usize) -> impl fmt::Display {
        let finished = count(self.finished(), "request");
        let mut text = format!("{finished} finished, {cut} cut");
        if self.gone.count() > 0 {
            let _ = write!(text, ", {}", self.gone);
        }
        match self.timed_out.load(Ordering::Relaxed) {
            0 => {}
            half => {
                let _ = write!(text, ", {} timed out", count(half, "half request"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn what_has_begun_ends_alone_or_with_others() {
        let tally = Tally::default();
        (0..3).for_each(|_| tally.begin());
        tally.end(1);
        assert_eq!(tally.in_flight(), 2);
        tally.end(2);
        assert_eq!(tally.in_flight(), 0);
    }
}
