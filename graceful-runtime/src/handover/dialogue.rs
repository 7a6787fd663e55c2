//! The dialogue of a hand-over: what each side says in which state. Pure: no clock, no descriptor, no process.
//!
//! ```text
//! predecessor                                        successor
//!   Starting    ── Hello + listeners ──────────────▶   Starting
//!   Starting    ◀───────────────────────── Ready ──    Waiting
//!   Announcing     MAINPID=successor, BARRIER=1 to the service manager
//!   Going       ── Go ─────────────────────────────▶   Serving: pid file
//!   HandedOver  ◀─────────────────────── Serving ──    Serving: accepts, READY=1
//!   drains, exits ── end of file ──────────────────▶   Alone
//! ```
//!
//! Until `Serving` arrives the predecessor goes on as before, so every failure is a roll-back: it stops the successor, which
//! has accepted nothing, and nobody noticed. A successor whose predecessor ends before `Go` takes over by itself.
//!
//! `Serving` is what decides. A successor accepts only after it was sent. A predecessor that gives up first closes its end for
//! receiving; if `Serving` is there all the same, it has handed over.

/// Where the predecessor is with its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuccessorState {
    /// The successor was started and has said nothing yet.
    Starting,
    /// The successor is ready; the service manager is being told.
    Announcing,
    /// The successor may serve, and has not confirmed it.
    Going,
    /// The successor serves; this process drains.
    HandedOver,
    /// It is over: rolled back, or the successor ended after it took over.
    Over,
}

/// What happens to the predecessor during a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuccessorEvent {
    Ready,
    /// The service manager has read everything sent to it, or there is none.
    Announced,
    Serving,
    /// The successor says that it cannot start.
    Failed,
    /// End of file on the channel, or the end of the process.
    Ended,
    /// The successor said what cannot be understood.
    Garbled,
    /// `restart_timeout` elapsed.
    TimedOut,
    /// This process was told to stop.
    Aborted,
}

/// What the predecessor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuccessorStep {
    /// Nothing but wait.
    Wait,
    /// Tell the service manager whose process is the main one now.
    Announce,
    /// Tell the successor to serve.
    SayGo,
    /// Begin the drain: the successor serves.
    Finish,
    /// Stop the successor at once and go on as before.
    RollBack(Cause),
    /// Stop the successor gently, because this process stops as well.
    Abort,
    /// Say that the successor has ended while this process was draining.
    ReportLoss,
}

/// Why a hand-over was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Failed,
    Ended,
    Garbled,
    TimedOut,
}

impl SuccessorState {
    /// Returns the state after `event`, and what is to be done.
    pub(crate) fn after(self, event: SuccessorEvent) -> (Self, SuccessorStep) {
        use SuccessorEvent as E;
        match (self, event) {
            (Self::Over, _) => (self, SuccessorStep::Wait),
            (Self::HandedOver, E::Ended) => (Self::Over, SuccessorStep::ReportLoss),
            (Self::HandedOver, _) => (self, SuccessorStep::Wait),

            (Self::Starting, E::Ready) => (Self::Announcing, SuccessorStep::Announce),
            (Self::Announcing, E::Announced) => (Self::Going, SuccessorStep::SayGo),
            (Self::Going, E::Serving) => (Self::HandedOver, SuccessorStep::Finish),

            (_, E::Aborted) => (Self::Over, SuccessorStep::Abort),
            (_, E::Failed) => (Self::Over, SuccessorStep::RollBack(Cause::Failed)),
            (_, E::Ended) => (Self::Over, SuccessorStep::RollBack(Cause::Ended)),
            (_, E::TimedOut) => (Self::Over, SuccessorStep::RollBack(Cause::TimedOut)),
            // Out of turn is as bad as not understood: such a successor cannot be relied on.
            (_, E::Garbled | E::Ready | E::Announced | E::Serving) => {
                (Self::Over, SuccessorStep::RollBack(Cause::Garbled))
            }
        }
    }
}

/// Where a successor is with the process that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PredecessorState {
    /// This process is being set up.
    Starting,
    /// As `Starting`, but the predecessor is gone already.
    Orphaned,
    /// Ready was said; the word to serve has not come.
    Waiting,
    /// This process serves, and the old one drains.
    Serving,
    /// Nobody is left to talk to.
    Alone,
    /// This process was told to stop.
    Stopped,
}

/// What happens to a successor during a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PredecessorEvent {
    /// This process is set up.
    Ready,
    Go,
    Abort,
    /// End of file: the predecessor is gone.
    Ended,
    /// The predecessor said what cannot be understood.
    Garbled,
    /// `Serving` could not be sent: the predecessor has given up, or is gone, and the next event says which.
    Unheard,
}

/// What a successor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PredecessorStep {
    /// Nothing but wait.
    Wait,
    SayReady,
    /// Say `Serving`, then accept and tell the service manager.
    TakeOver,
    /// As `TakeOver`, with nobody left to say it to.
    TakeOverAlone,
    /// Say that the predecessor has ended, nothing else.
    ReportEnd,
    /// Shut down as if by a signal.
    Stop,
}

impl PredecessorState {
    /// Returns the state after `event`, and what is to be done.
    pub(crate) fn after(self, event: PredecessorEvent) -> (Self, PredecessorStep) {
        use PredecessorEvent as E;
        match (self, event) {
            (Self::Starting, E::Ready) => (Self::Waiting, PredecessorStep::SayReady),
            (Self::Waiting, E::Go) => (Self::Serving, PredecessorStep::TakeOver),
            (Self::Serving, E::Unheard) => (Self::Waiting, PredecessorStep::Wait),

            (Self::Starting, E::Ended) => (Self::Orphaned, PredecessorStep::ReportEnd),
            (Self::Orphaned, E::Ready) => (Self::Alone, PredecessorStep::TakeOverAlone),
            (Self::Waiting, E::Ended) => (Self::Alone, PredecessorStep::TakeOverAlone),
            (Self::Serving, E::Ended) => (Self::Alone, PredecessorStep::ReportEnd),

            // Until this process serves, an old one that makes no sense still serves, and does it better.
            (Self::Starting, E::Go | E::Garbled) => (Self::Stopped, PredecessorStep::Stop),
            (Self::Waiting, E::Garbled) => (Self::Stopped, PredecessorStep::Stop),
            (Self::Starting | Self::Waiting | Self::Serving, E::Abort) => {
                (Self::Stopped, PredecessorStep::Stop)
            }

            (Self::Starting | Self::Waiting, E::Unheard)
            | (Self::Waiting, E::Ready)
            | (Self::Serving, E::Ready | E::Go | E::Garbled) => (self, PredecessorStep::Wait),
            (Self::Orphaned, _) | (Self::Alone | Self::Stopped, _) => (self, PredecessorStep::Wait),
        }
    }
}

#[cfg(test)]
mod tests;
