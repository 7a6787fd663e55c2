//! How long an HTTP/2 client may take to learn of the end of its connection.

use tokio::time::Instant;

use super::connection::{Connection, PingAnswer};

/// Bounds the end of a connection whose client has been told of it.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// When the client was last seen to have taken something, and after how often.
    moved: Option<(Instant, u32)>,
    /// The same, when it got the PING.
    asked: Option<Instant>,
    /// Since when no stream has been open.
    quiet: Option<Instant>,
}

/// What there is to do when a client has had its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It may have opened streams before it learnt of the end, but opens no more.
    Answer,
    /// It has nothing in flight, and neither answers nor reads.
    End,
}

impl Leaving {
    /// Returns what is due next, and when, for a client that was told at `told`.
    pub(crate) fn next(
        &mut self,
        connection: &Connection,
        told: Instant,
    ) -> Option<(Instant, Due)> {
        let now = Instant::now();
        let moved = self.moved(connection, now);
        match connection.is_busy() {
            true => self.quiet = None,
            false => drop(self.quiet.get_or_insert(now)),
        }
        let (since, due) = match connection.http2().answer() {
            // Whatever is before the PING has the time that it takes.
            PingAnswer::Far => (moved, Due::Answer),
            // What it takes afterwards does not count.
            PingAnswer::Due => (*self.asked.get_or_insert(moved), Due::Answer),
            // Whoever takes what was written for it may still be there.
            PingAnswer::Presumed => (self.quiet?.max(moved), Due::End),
        };
        Some((told.max(since) + connection.policy.goaway_limit(), due))
    }

    /// Returns when the client was last seen to have taken something.
    fn moved(&mut self, connection: &Connection, now: Instant) -> Instant {
        let progress = connection.http2().progress();
        match self.moved {
            Some((moved, seen)) if seen == progress => moved,
            _ => {
                self.moved = Some((now, progress));
                now
            }
        }
    }
}
