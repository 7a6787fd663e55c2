//! What starts a shutdown, and what it begins with.

use std::fmt;
use std::time::{Duration, Instant};

use crate::model::budget::Budget;
use crate::model::signal::Signal;

/// Why a shutdown was triggered.
///
/// ```
/// let reason = graceful::Reason::Signal(graceful::Signal::Term);
/// assert_eq!(reason.to_string(), "SIGTERM");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A signal of the list came.
    Signal(Signal),
    /// [`stop`](crate::stop) was called.
    Call,
    /// The servers ended by themselves.
    Finished,
    /// `main` or a server failed or panicked.
    Failed,
    /// A successor serves.
    HandedOver,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(f),
            Self::Call => f.write_str("stop requested"),
            Self::Finished => f.write_str("server finished"),
            Self::Failed => f.write_str("server failed"),
            Self::HandedOver => f.write_str("handed over"),
        }
    }
}

impl Reason {
    /// Tells whether somebody wants the shutdown, as opposed to something that has come to its end.
    pub(crate) fn is_request(self) -> bool {
        matches!(self, Self::Signal(_) | Self::Call)
    }
}

/// The shutdown that was triggered, with everything that is decided by that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trigger {
    pub(crate) reason: Reason,
    pub(crate) budget: Budget,
    /// How long new connections are accepted before the drain begins.
    pub(crate) lame_duck: Duration,
    /// `main` is dropped: it has not returned, and nothing of it waits for the shutdown.
    pub(crate) cancels_start_up: bool,
}

/// How far a process has come when its shutdown is triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// `main` has not returned, and nothing of it waits for the shutdown.
    StartsUp,
    /// Another process accepts until this one does, and goes on now.
    AwaitsTurn,
    /// New connections may come, or something else may that `main` waits for.
    Serves,
}

impl Trigger {
    /// Decides what a shutdown begins with.
    pub(crate) fn new(
        reason: Reason,
        progress: Progress,
        budget: Budget,
        lame_duck: LameDuck,
    ) -> Self {
        let is_request = reason.is_request();
        let lame_duck = match progress {
            Progress::Serves if is_request => lame_duck.length(reason).min(budget.half()),
            // A server has ended, or nobody comes here.
            _ => Duration::ZERO,
        };
        Self {
            reason,
            budget,
            lame_duck,
            cancels_start_up: is_request && progress == Progress::StartsUp,
        }
    }

    /// Returns when new connections are accepted no more.
    pub(crate) fn lame_duck_end(&self) -> Instant {
        self.budget.begin() + self.lame_duck
    }
}

/// How long new connections are to be accepted after a request for the shutdown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LameDuck {
    Chosen(Duration),
    /// By what the process runs in.
    Automatic {
        length: Duration,
        is_terminal: bool,
    },
}

impl LameDuck {
    /// `is_terminal`: a human reads what the process prints.
    pub(crate) fn of(chosen: Option<Duration>, in_kubernetes: bool, is_terminal: bool) -> Self {
        let automatic = Self::Automatic {
            // Endpoints are removed there at the same time as the signal is sent, not before it.
            length: Duration::from_secs(if in_kubernetes { 5 } else { 0 }),
            is_terminal,
        };
        chosen.map_or(automatic, Self::Chosen)
    }

    fn length(self, reason: Reason) -> Duration {
        match self {
            Self::Chosen(length) => length,
            // A human waits for it, and nobody has sent traffic.
            Self::Automatic {
                is_terminal: true, ..
            } if reason == Reason::Signal(Signal::Int) => Duration::ZERO,
            Self::Automatic { length, .. } => length,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LameDuck, Progress, Reason, Trigger};
    use crate::model::budget::Budget;
    use crate::model::signal::Signal;

    const SECOND: Duration = Duration::from_secs(1);

    fn lame_duck(
        reason: Reason,
        progress: Progress,
        timeout: Duration,
        wish: LameDuck,
    ) -> Duration {
        let begin = Instant::now();
        let trigger = Trigger::new(reason, progress, Budget::new(begin, timeout), wish);
        assert_eq!(trigger.lame_duck_end(), begin + trigger.lame_duck);
        trigger.lame_duck
    }

    #[test]
    fn a_human_at_a_terminal_waits_for_no_lame_duck_that_nobody_has_chosen() {
        let [int, term] = [Signal::Int, Signal::Term].map(Reason::Signal);
        let automatic = |is_terminal| LameDuck::Automatic {
            length: 5 * SECOND,
            is_terminal,
        };
        for (wish, reason, expected) in [
            (automatic(true), int, 0),
            (automatic(false), int, 5),
            (automatic(true), term, 5),
            (automatic(true), Reason::Call, 5),
            (LameDuck::Chosen(5 * SECOND), int, 5),
        ] {
            let length = lame_duck(reason, Progress::Serves, 60 * SECOND, wish);
            assert_eq!(length, expected * SECOND, "{wish:?} {reason}");
        }
    }

    #[test]
    fn a_lame_duck_never_takes_more_than_half() {
        for (wish, expected) in [(0, 0), (2, 2), (3, 3), (5, 3), (600, 3)] {
            let wish = LameDuck::Chosen(wish * SECOND);
            let length = lame_duck(Reason::Call, Progress::Serves, 6 * SECOND, wish);
            assert_eq!(length, expected * SECOND, "{wish:?}");
        }
    }

    #[test]
    fn there_is_a_lame_duck_only_where_clients_may_come_and_something_serves() {
        let wish = LameDuck::Chosen(SECOND);
        for reason in [Reason::Finished, Reason::Failed, Reason::HandedOver] {
            let length = lame_duck(reason, Progress::Serves, 60 * SECOND, wish);
            assert_eq!(length, Duration::ZERO, "{reason}");
        }
        for progress in [Progress::StartsUp, Progress::AwaitsTurn] {
            let length = lame_duck(Reason::Call, progress, 60 * SECOND, wish);
            assert_eq!(length, Duration::ZERO, "{progress:?}");
        }
    }

    #[test]
    fn only_a_request_cancels_a_start_up() {
        let budget = Budget::new(Instant::now(), SECOND);
        let cancels = |reason, progress| {
            let wish = LameDuck::Chosen(SECOND);
            Trigger::new(reason, progress, budget, wish).cancels_start_up
        };
        assert!(cancels(Reason::Call, Progress::StartsUp));
        assert!(cancels(Reason::Signal(Signal::Term), Progress::StartsUp));
        assert!(!cancels(Reason::Failed, Progress::StartsUp));
        assert!(!cancels(Reason::Call, Progress::AwaitsTurn));
        assert!(!cancels(Reason::Call, Progress::Serves));
    }
}
