//! When a connection that waits for a request is taken from hyper, which keeps some 14 KB for each.

use std::task::{Context, Poll};
use std::time::Duration;

use super::connection::Connection;
use super::options::Options;
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
        let longest = DELAY_MAX.max(self.shortest);
        self.now = match idle < self.now.saturating_mul(SOON) {
            true => self.now.saturating_mul(2).min(longest),
            false => self.shortest,
        };
    }
}

/// Waits until a connection that hyper has is to be parked.
#[derive(Debug)]
pub(super) struct UntilParked {
    delay: Duration,
    timer: Timer,
}

impl UntilParked {
    pub(super) fn new(delay: ParkingDelay) -> Self {
        Self {
            delay: delay.now,
            timer: Timer::default(),
        }
    }

    /// Ready when the last request of an idle connection has ended so long ago.
    ///
    /// The timer is not moved with each request: it is looked at when it has fired.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        match self.timer.is_running() {
            true => Poll::Pending,
            false => self.look(cx, connection),
        }
    }

    #[cold]
    fn look(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        let Some(limit) = connection.last_active().checked_add(self.delay) else {
            return Poll::Pending;
        };
        self.timer.poll(limit, cx)
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
