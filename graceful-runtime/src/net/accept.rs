//! What an accept that fails means.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::listener::Listener;
use crate::os::shortage::WithRemedy;
use crate::output::Line;

/// How long to wait where the process has run out of descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The shortest time between two lines about a failing accept.
const ACCEPT_SILENCE: Duration = Duration::from_secs(10);

/// Limits how often a failing accept is told of.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    /// Returns what there is to say now, if anything.
    pub(crate) fn about(&mut self, listener: &Listener, error: &io::Error) -> Option<Line> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now <= last + ACCEPT_SILENCE) {
            return None;
        }
        self.last = Some(now);
        Some(Line::warn(format!(
            "failed to accept on {listener}: {}; trying again",
            WithRemedy(error)
        )))
    }
}

/// Tells whether only the connection failed that was to be accepted; see "Error handling" in accept(2).
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
