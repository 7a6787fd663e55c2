//! A timer that costs nothing until it is needed.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Made at the first poll, and moved when the limit moves.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `limit` has passed.
    pub(super) fn poll(&mut self, limit: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // A timer is dear, and rounds up to whole milliseconds.
        if self.0.is_none() && limit <= Instant::now() {
            return Poll::Ready(());
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if sleep.deadline() != limit {
            sleep.as_mut().reset(limit);
        }
        sleep.as_mut().poll(cx)
    }
}
