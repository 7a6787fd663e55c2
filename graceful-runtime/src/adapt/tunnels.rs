//! The streams of HTTP/2 that were upgraded, such as WebSockets (RFC 8441).
//!
//! That such a stream is open is known from the frames of its connection, and it is waited for. But of which request
//! it was made, no framework tells, nor when it ends; so the requests are kept, and the oldest is dropped when there are
//! more than streams are open. Some of those may be other requests, whose end is known as well: they are left out of the
//! count before somebody is told of it ([`Tunnels::tidy`]), but not at once, since a request whose client has reset its
//! stream goes on until its task is polled.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The requests of type `R` by which streams were upgraded.
pub(super) struct Tunnels<R> {
    /// How many streams are open on all connections.
    open: AtomicUsize,
    /// How many of them are requests whose response has not been made to its end.
    requests: AtomicUsize,
    state: Mutex<State<R>>,
}

struct State<R> {
    upgraded: VecDeque<R>,
    /// How many seem to have ended, and since when.
    suspected: Option<(usize, Instant)>,
}

/// How long a request may go on whose stream has ended; less than lies between two looks that somebody is told of.
const SETTLE_TIME: Duration = Duration::from_millis(900);

impl<R> Tunnels<R> {
    pub(super) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            state: Mutex::new(State {
                upgraded: VecDeque::new(),
                suspected: None,
            }),
        }
    }

    /// Notes that a connection has `after` streams open where it had `before`.
    pub(super) fn note_streams(&self, before: usize, after: usize) {
        if after >= before {
            self.open.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.open.fetch_sub(before - after, Ordering::Relaxed);
            self.drop_surplus();
        }
    }

    /// Counts a request in flight until the guard is released.
    pub(super) fn request(self: &Arc<Self>) -> RequestGuard<R> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard {
            tunnels: Arc::clone(self),
            is_released: AtomicBool::new(false),
        }
    }

    /// Keeps a request by which a stream was upgraded.
    pub(super) fn add(&self, request: R) {
        self.state().upgraded.push_back(request);
        self.drop_surplus();
    }

    /// Drops what seems to have ended for long enough.
    pub(super) fn tidy(&self) {
        let requests = self.requests.load(Ordering::Relaxed);
        let mut state = self.state();
        let surplus = self.surplus(&state, requests);
        let now = Instant::now();
        let (suspected, since) = state.suspected.unwrap_or((surplus, now));
        let surplus = surplus.min(suspected);
        state.suspected = (surplus > 0).then_some((surplus, since));
        if since + SETTLE_TIME <= now {
            state.suspected = None;
            Self::drop_oldest(state, surplus);
        }
    }

    /// Drops what is more than streams are open.
    fn drop_surplus(&self) {
        let state = self.state();
        let surplus = self.surplus(&state, 0);
        Self::drop_oldest(state, surplus);
    }

    /// Returns how many are more than there can be, with so many requests among the streams.
    fn surplus(&self, state: &State<R>, requests: usize) -> usize {
        let most = self.open.load(Ordering::Relaxed).saturating_sub(requests);
        state.upgraded.len().saturating_sub(most)
    }

    fn drop_oldest(mut state: MutexGuard<'_, State<R>>, count: usize) {
        let oldest: Vec<R> = state.upgraded.drain(..count).collect();
        // Before the drop of those, which wakes tasks.
        drop(state);
        drop(oldest);
    }

    // Nothing that could panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> fmt::Debug for Tunnels<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnels")
    }
}

/// Counts a request.
pub(super) struct RequestGuard<R> {
    tunnels: Arc<Tunnels<R>>,
    is_released: AtomicBool,
}

impl<R> RequestGuard<R> {
    /// Notes that the response has been made to its end.
    pub(super) fn release(&self) {
        if !self.is_released.swap(true, Ordering::Relaxed) {
            self.tunnels.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<R> fmt::Debug for RequestGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestGuard")
    }
}

impl<R> Drop for RequestGuard<R> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    fn kept(tunnels: &Tunnels<&'static str>) -> Vec<&'static str> {
        tunnels.state().upgraded.iter().copied().collect()
    }

    #[test]
    fn as_many_are_kept_as_streams_are_open() {
        let tunnels = Arc::new(Tunnels::new());
        tunnels.note_streams(0, 3);
        tunnels.add("a");
        tunnels.add("b");
        assert_eq!(kept(&tunnels), ["a", "b"]);
        tunnels.note_streams(3, 2);
        assert_eq!(kept(&tunnels), ["a", "b"]);
        tunnels.note_streams(2, 1);
        assert_eq!(kept(&tunnels), ["b"]);
        tunnels.note_streams(1, 0);
        assert_eq!(kept(&tunnels), [""; 0]);
        tunnels.add("whose connection nobody follows");
        assert_eq!(kept(&tunnels), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn other_requests_are_left_out_where_they_stay() {
        let tunnels = Arc::new(Tunnels::new());
        tunnels.note_streams(0, 5);
        let [reset, sent, slow] = [(); 3].map(|()| tunnels.request());
        tunnels.add("a");
        tunnels.add("b");
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["a", "b"]);
        // The client resets one, and its request goes on for a moment.
        tunnels.note_streams(5, 4);
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["a", "b"]);
        drop(reset);
        // The response of another one has been made, but is kept until it is sent.
        sent.release();
        tunnels.note_streams(4, 3);
        sleep(SETTLE_TIME).await;
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["a", "b"]);
        drop(sent);
        // The client resets the oldest one that was upgraded, and nothing tells but that this stays.
        tunnels.note_streams(3, 2);
        for _ in 0..2 {
            tunnels.tidy();
            assert_eq!(kept(&tunnels), ["a", "b"]);
            sleep(SETTLE_TIME / 2).await;
        }
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["b"]);
        // What is suspected anew begins anew.
        tunnels.note_streams(2, 1);
        drop(slow);
        let _other = tunnels.request();
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["b"]);
    }
}
