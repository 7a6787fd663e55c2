//! What the guardian is told.

use std::io;

use tokio::sync::oneshot;

use crate::handover::dialogue::PredecessorEvent;
use crate::handover::error::RestartError;
use crate::handover::successor::HandoverReport;
use crate::model::phase::Event;
use crate::model::trigger::Reason;

/// Where the answer to somebody who asked for a restart goes.
pub(crate) type RestartAnswer = oneshot::Sender<Result<(), RestartError>>;

/// What the guardian is told; it alone changes the phase.
#[derive(Debug)]
pub(crate) enum Message {
    /// Somebody wants the shutdown.
    Trigger(Reason),
    /// Something of the table happened.
    Happened(Event),
    /// Somebody wants a restart, and perhaps an answer.
    Restart(Option<RestartAnswer>),
    /// What the successor inherits is made, or could not be.
    State(Result<Option<Vec<u8>>, RestartError>),
    /// What the thread of the hand-over reports.
    Handover(HandoverReport),
    /// The pid file names this process, in place of another that runs if it says so, or cannot be written.
    PidFile(io::Result<Option<u32>>),
    /// The process before this one has said something.
    Predecessor(PredecessorEvent),
    /// The lifecycle is over and its caller goes on.
    Dismissed,
}
