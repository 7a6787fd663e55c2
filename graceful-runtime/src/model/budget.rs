//! The one budget of a shutdown, as arithmetic on points in time.

use std::time::{Duration, Instant};

/// The share of the budget that is kept for hooks, where there are any: a tenth.
const HOOKS_SHARE: u32 = 10;
/// When the first line on what is waited for is due; the next ones each after twice the time.
const FIRST_PROGRESS: Duration = Duration::from_secs(1);

/// From the trigger to the deadline. Set once, never extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    begin: Instant,
    timeout: Duration,
}

impl Budget {
    pub(crate) fn new(begin: Instant, timeout: Duration) -> Self {
        // A century is as good as for ever, and an `Instant` can hold it.
        Self {
            begin,
            timeout: timeout.min(Duration::from_secs(100 * 365 * 24 * 3600)),
        }
    }

    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns when the process has to be gone.
    pub(crate) fn deadline(&self) -> Instant {
        self.begin + self.timeout
    }

    /// Returns when connections and tasks are cut so that the hooks still get their turn.
    pub(crate) fn cut_off(&self) -> Instant {
        self.deadline() - self.timeout / HOOKS_SHARE
    }

    /// Returns what is left at `now`.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        self.deadline().saturating_duration_since(now)
    }

    /// Returns what may be spent before the drain, at most.
    pub(crate) fn half(&self) -> Duration {
        self.timeout / 2
    }

    /// Returns when the first line after `now` on what is waited for is due.
    pub(crate) fn next_progress(&self, now: Instant) -> Instant {
        let mut after = FIRST_PROGRESS;
        while self.begin + after <= now {
            after *= 2;
        }
        self.begin + after
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use std::time::{Duration, Instant};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_points_of_a_budget_of_ten_seconds() {
        let begin = Instant::now();
        let budget = Budget::new(begin, 10 * SECOND);
        assert_eq!(budget.deadline(), begin + 10 * SECOND);
        assert_eq!(budget.cut_off(), begin + 9 * SECOND);
        assert_eq!(budget.remaining(begin + 4 * SECOND), 6 * SECOND);
        assert_eq!(budget.remaining(begin + 11 * SECOND), Duration::ZERO);
    }

    #[test]
    fn progress_is_told_at_doubling_distances() {
        let begin = Instant::now();
        let budget = Budget::new(begin, 60 * SECOND);
        for (now, next) in [(0, 1), (1, 2), (2, 4), (3, 4), (4, 8), (40, 64)] {
            assert_eq!(
                budget.next_progress(begin + now * SECOND),
                begin + next * SECOND
            );
        }
    }

    #[test]
    fn an_endless_timeout_does_not_overflow() {
        let budget = Budget::new(Instant::now(), Duration::MAX);
        assert!(budget.deadline() > Instant::now());
    }
}
