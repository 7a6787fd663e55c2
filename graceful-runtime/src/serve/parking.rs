//! When a connection that waits for a request is taken from hyper, which keeps some 14 KB for each.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::options::Options;
use super::sweep::Busy;
use crate::timer::Timer;

/// A connection that was parked for less than so many times its delay would better have stayed.
const SOON: u32 = 16;
/// The longest delay that comes of that.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// How long a connection stays with hyper after a response.
///
/// Short, since all that are there at the same time need their memory at the same time; longer for a client that
/// comes again soon after, because taking the connection from hyper and back costs as much as a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParkingDelay {
    shortest: Duration,
    now: Duration,
}

impl ParkingDelay {
    pub(super) fn of(options: Options) -> Self {
        // The limit of the idle time is looked at where a connection is parked.
        let longest = options.keep_alive_timeout.unwrap_or(Duration::MAX);
        Self::new(options.park_after.min(longest))
    }

    fn new(shortest: Duration) -> Self {
        Self {
            shortest,
            now: shortest,
        }
    }

    /// Learns from a request that came when the connection had been idle for so long, and was parked.
    pub(super) fn learn(&mut self, idle: Duration) {
        self.now = match idle < self.now.saturating_mul(SOON) {
            true => longer(self.now),
            false => self.shortest,
        };
    }
}

fn longer(delay: Duration) -> Duration {
    delay.saturating_mul(2).min(DELAY_MAX).max(delay)
}

/// Waits until a connection that hyper has is to be parked.
#[derive(Debug)]
pub(super) struct UntilParked {
    delay: Duration,
    look: Look,
}

/// When it is looked next whether a connection has been idle for its delay.
#[derive(Debug)]
enum Look {
    /// When the timer fires.
    Timed(Timer),
    /// Requests came while that ran, and perhaps go on coming: when a sweep finds it idle.
    Swept(Arc<Busy>),
    /// It was idle for so long.
    Over,
}

impl UntilParked {
    pub(super) fn new(delay: ParkingDelay) -> Self {
        Self {
            delay: delay.now,
            look: Look::Timed(Timer::default()),
        }
    }

    /// Ready when the last request of an idle connection has ended so long ago.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, connection: &Arc<Connection>) -> Poll<()> {
        match &self.look {
            Look::Timed(timer) if timer.is_running() => Poll::Pending,
            Look::Swept(busy) if !busy.take_idle() => Poll::Pending,
            _ => self.look(cx, connection),
        }
    }

    #[cold]
    fn look(&mut self, cx: &mut Context<'_>, connection: &Arc<Connection>) -> Poll<()> {
        let Some(limit) = connection.last_active().checked_add(self.delay) else {
            return Poll::Pending;
        };
        match &mut self.look {
            _ if limit <= Instant::now() => {
                self.look = Look::Over;
                Poll::Ready(())
            }
            Look::Timed(timer) if !timer.has_fired() => timer.poll(limit, cx),
            Look::Swept(_) => Poll::Pending,
            Look::Timed(_) | Look::Over => {
                self.look = Look::Swept(Busy::new(connection));
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DELAY_MAX, Duration, ParkingDelay};

    #[test]
    fn who_comes_again_soon_is_parked_later() {
        let shortest = Duration::from_millis(5);
        let mut delay = ParkingDelay::new(shortest);
        delay.learn(shortest * 16);
        assert_eq!(delay.now, shortest);
        delay.learn(shortest * 2);
        assert_eq!(delay.now, shortest * 2);
        for _ in 0..100 {
            delay.learn(delay.now);
        }
        assert_eq!(delay.now, DELAY_MAX);
        delay.learn(DELAY_MAX * 16);
        assert_eq!(delay.now, shortest);
    }

    #[test]
    fn no_delay_is_too_long() {
        let mut delay = ParkingDelay::new(Duration::MAX);
        delay.learn(Duration::ZERO);
        assert_eq!(delay.now, Duration::MAX);
    }
}
