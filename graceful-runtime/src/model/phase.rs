//! The phases of a process and the one table that says which event leads from which to which.
//!
//! Pure: no clock, no runtime, no descriptors. [`lifecycle`](crate::lifecycle) holds the current
//! phase, and the guardian in [`process`](crate::process) is the only one who feeds it.
//!
//! 1. A phase never goes back, but for a failed hand-over, which returns to [`Phase::Ready`].
//! 2. A forced end is not in it: the deadline and a second Ctrl-C end the process in whatever phase.

/// How far a process has got in its life.
///
/// The order is the order of life: `phase >= Phase::Draining` asks whether the drain has begun.
///
/// ```
/// use graceful::Phase;
///
/// assert!(Phase::Ready < Phase::Draining);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Phase {
    /// `main` has not returned its server yet, or the server has not begun to accept.
    Starting,
    /// The servers accept: send traffic.
    Ready,
    /// A restart is under way: a successor is being started, or is not ready yet; this process serves as
    /// before.
    HandingOver,
    /// A shutdown was triggered; connections are still accepted, responses announce the close.
    LameDuck,
    /// No new connections; what is in flight finishes.
    Draining,
    /// Servers and tracked tasks are done, or were cut; the hooks finish.
    Stopping,
    /// Nothing is left to wait for.
    Stopped,
}

/// What can happen to a process, as far as its phase is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The servers accept.
    Ready,
    /// A shutdown was asked for, by whatever means.
    Trigger,
    /// A hand-over to a new process was asked for.
    Restart,
    /// The successor did not become ready.
    HandoverFailed,
    /// The lame duck's time is over and the hooks before the drain are done.
    LameDuckOver,
    /// The last connection and the last tracked task are gone.
    Drained,
    /// What is left of the budget belongs to the hooks: connections and tasks are cut.
    CutOff,
    /// The hooks are done.
    Finished,
}

impl Phase {
    /// Returns the phase after `event`, or `None` where the event means nothing.
    pub(crate) fn after(self, event: Event) -> Option<Self> {
        Some(match (self, event) {
            (Self::Starting, Event::Ready) => Self::Ready,
            (Self::Starting | Self::Ready | Self::HandingOver, Event::Trigger) => Self::LameDuck,
            (Self::Ready, Event::Restart) => Self::HandingOver,
            (Self::HandingOver, Event::HandoverFailed) => Self::Ready,
            (Self::LameDuck, Event::LameDuckOver) => Self::Draining,
            (Self::Draining, Event::Drained) => Self::Stopping,
            (Self::LameDuck | Self::Draining, Event::CutOff) => Self::Stopping,
            (Self::Stopping, Event::Finished) => Self::Stopped,
            _ => return None,
        })
    }

    /// Tells whether a shutdown has been triggered.
    ///
    /// ```
    /// use graceful::Phase;
    ///
    /// assert!(!Phase::Ready.is_triggered() && Phase::Draining.is_triggered());
    /// ```
    #[must_use]
    pub fn is_triggered(self) -> bool {
        self >= Self::LameDuck
    }

    /// Returns its name in a log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::HandingOver => "handing over",
            Self::LameDuck => "lame duck",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// The inverse of `self as u8`, for the copy of the phase that hot paths read.
    pub(crate) fn from_u8(number: u8) -> Self {
        const ALL: [Phase; 7] = [
            Phase::Starting,
            Phase::Ready,
            Phase::HandingOver,
            Phase::LameDuck,
            Phase::Draining,
            Phase::Stopping,
            Phase::Stopped,
        ];
        ALL[usize::from(number)]
    }
}

#[cfg(test)]
mod tests;
