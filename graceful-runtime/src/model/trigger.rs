//! What starts a shutdown, and what it begins with.

use std::fmt;
use std::time::Duration;

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

/// The shutdown that was triggered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trigger {
    pub(crate) reason: Reason,
    pub(crate) budget: Budget,
    /// How long new connections are accepted before the drain begins.
    pub(crate) lame_duck: Duration,
    /// `main` is dropped: it has not returned, and nothing of it waits for the shutdown.
    pub(crate) cancels_start_up: bool,
}

/// How long new connections are accepted after a request for the shutdown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LameDuck {
    Chosen(Duration),
    /// By what the process runs in.
    Automatic(Duration),
}

impl LameDuck {
    pub(crate) fn of(chosen: Option<Duration>, in_kubernetes: bool) -> Self {
        // Endpoints are removed there at the same time as the signal is sent, not before it.
        let automatic = Duration::from_secs(if in_kubernetes { 5 } else { 0 });
        chosen.map_or(Self::Automatic(automatic), Self::Chosen)
    }

    pub(crate) fn length(self, reason: Reason, is_terminal: bool) -> Duration {
        match self {
            Self::Chosen(length) => length,
            // A human waits for it, and nobody has sent traffic.
            Self::Automatic(_) if is_terminal && reason == Reason::Signal(Signal::Int) => {
                Duration::ZERO
            }
            Self::Automatic(length) => length,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LameDuck, Reason};
    use crate::model::signal::Signal;

    #[test]
    fn a_human_at_a_terminal_waits_for_no_lame_duck_that_nobody_has_chosen() {
        let length = Duration::from_secs(5);
        let [int, term] = [Signal::Int, Signal::Term].map(Reason::Signal);
        for (lame_duck, reason, is_terminal, expected) in [
            (LameDuck::Automatic(length), int, true, Duration::ZERO),
            (LameDuck::Automatic(length), int, false, length),
            (LameDuck::Automatic(length), term, true, length),
            (LameDuck::Automatic(length), Reason::Call, true, length),
            (LameDuck::Chosen(length), int, true, length),
        ] {
            assert_eq!(
                lame_duck.length(reason, is_terminal),
                expected,
                "{lame_duck:?} {reason}"
            );
        }
    }
}
