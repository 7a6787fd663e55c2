//! Waiting for a point in time.
//!
//! A timer of the runtime is dear, and rounds up to whole milliseconds, so there is none for what is over.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is made at the first poll, and moved when the limit moves.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `limit` has passed.
    pub(crate) fn poll(&mut self, limit: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if limit <= Instant::now() {
            return Poll::Ready(());
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if sleep.deadline() != limit {
            sleep.as_mut().reset(limit);
        }
        // Or else a task that has done much without a pause would be kept waiting, by a timer that does not run.
        pin!(unconstrained(sleep.as_mut())).poll(cx)
    }

    /// Tells whether it has been polled, and has not fired since.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|sleep| !sleep.is_elapsed())
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.0.as_ref().is_some_and(|sleep| sleep.is_elapsed())
    }
}

/// Waits until `limit`, not at all where that has passed.
///
/// # Cancel safety
///
/// A drop loses nothing.
pub(crate) async fn wait_until(limit: Instant) {
    if limit > Instant::now() {
        sleep_until(limit).await;
    }
}
