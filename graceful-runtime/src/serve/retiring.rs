//! When a connection of HTTP/2 ends although its server goes on.
//!
//! A GOAWAY loses nothing, so it is said whatever the connection is doing: when it has brought its requests, is as old
//! as it may be, or has been idle for long.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::connection::Connection;
use crate::timer::Timer;

/// Waits until a connection is to end for one of these reasons.
#[derive(Debug)]
pub(super) struct UntilRetired {
    /// When it is as old as it may be.
    life_end: Option<Instant>,
    /// `None`: a stream is open.
    idle_since: Option<Instant>,
    /// Never moved while it runs: requests leave it alone, and what they have changed is looked at when it fires.
    timer: Timer,
}

impl UntilRetired {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            life_end: connection.life_end(),
            idle_since: Some(connection.last_active()),
            timer: Timer::default(),
        }
    }

    /// Ready when the connection is to end. To be called whenever hyper has looked at it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        match connection.has_streams() {
            true => self.idle_since = None,
            false => drop(self.idle_since.get_or_insert_with(Instant::now)),
        }
        if connection.has_brought_its_requests() {
            return Poll::Ready(());
        }
        match self.timer.is_running() {
            true => Poll::Pending,
            false => self.look(cx, connection),
        }
    }

    #[cold]
    fn look(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        let ends = [self.life_end, self.idle_end(connection)];
        match ends.into_iter().flatten().min() {
            Some(end) => self.timer.poll(end, cx),
            None => Poll::Pending,
        }
    }

    /// Returns the earliest moment at which it can have been idle for as long as it may be.
    fn idle_end(&self, connection: &Connection) -> Option<Instant> {
        let timeout = connection.policy.options.keep_alive_timeout?;
        let since = match self.idle_since {
            // A request may have come and gone between two looks.
            Some(since) => since.max(connection.last_active()),
            None => Instant::now(),
        };
        since.checked_add(timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use http_body_util::Empty;
    use hyper::Request;
    use hyper::body::Bytes;
    use tokio::time::advance;

    use super::*;
    use crate::lifecycle::surroundings::Surroundings;
    use crate::lifecycle::{Lifecycle, Settings};
    use crate::net::stream::Peer;
    use crate::serve::options::Options;
    use crate::serve::policy::Policy;

    /// As where another thread answers while hyper reads on.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_came_and_went_between_two_looks_counts() {
        let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
        let options = Options::default();
        let timeout = options.keep_alive_timeout.unwrap();
        let policy = Arc::new(Policy::new(lifecycle, options, None));
        let connection = Arc::new(Connection::new(policy, Peer::Unix));
        let until_retired = UntilRetired::new(&connection);
        for _ in 0..2 {
            let end = until_retired.idle_end(&connection);
            assert_eq!(end, Some(Instant::now() + timeout));
            advance(Duration::from_secs(1)).await;
            drop(connection.begin(&Request::new(Empty::<Bytes>::new())));
        }
    }
}
