//! The streams of HTTP/2 that were upgraded, such as WebSockets (RFC 8441).
//!
//! That such a stream is open is known from the frames of its connection, and it is waited for. But of which request
//! it was made, no framework tells, nor when it ends; so the requests are kept, and the oldest is dropped when there are
//! more than streams are open. Some of those may be other requests, whose end is known as well: they are left out of the
//! count before somebody is told of it ([`Tunnels::tidy`]).

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
    /// When a client has ended a stream the last time.
    given_up: Option<Instant>,
}

/// Who has ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// Its response has been made before.
    Server,
    /// Its request, if it was one, may go on for a moment.
    Client,
}

/// How long that may be, where no handler keeps its thread.
const MOMENT: Duration = Duration::from_millis(100);

impl<R> Tunnels<R> {
    pub(super) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            state: Mutex::new(State {
                upgraded: VecDeque::new(),
                given_up: None,
            }),
        }
    }

    /// Notes that a connection has `after` streams open where it had `before`.
    pub(super) fn note_streams(&self, before: usize, after: usize, ended_by: EndedBy) {
        if after >= before {
            self.open.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.open.fetch_sub(before - after, Ordering::Relaxed);
            if ended_by == EndedBy::Client {
                self.state().given_up = Some(Instant::now());
            }
            self.drop_surplus(0);
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
        self.drop_surplus(0);
    }

    /// Drops what has ended, as far as that is known.
    pub(super) fn tidy(&self) {
        let given_up = self.state().given_up;
        if given_up.is_none_or(|last| last.elapsed() >= MOMENT) {
            self.drop_surplus(self.requests.load(Ordering::Relaxed));
        }
    }

    /// Drops what is more than there can be, with so many requests among the streams.
    fn drop_surplus(&self, requests: usize) {
        let most = self.open.load(Ordering::Relaxed).saturating_sub(requests);
        let mut state = self.state();
        let count = state.upgraded.len().saturating_sub(most);
        let surplus: Vec<R> = state.upgraded.drain(..count).collect();
        // Before the drop of those, which wakes tasks.
        drop(state);
        drop(surplus);
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
    use super::EndedBy::{Client, Server};
    use super::*;
    use tokio::time::sleep;

    fn kept(tunnels: &Tunnels<&'static str>) -> Vec<&'static str> {
        tunnels.state().upgraded.iter().copied().collect()
    }

    #[test]
    fn as_many_are_kept_as_streams_are_open() {
        let tunnels = Arc::new(Tunnels::new());
        tunnels.note_streams(0, 3, Client);
        tunnels.add("a");
        tunnels.add("b");
        assert_eq!(kept(&tunnels), ["a", "b"]);
        tunnels.note_streams(3, 2, Server);
        assert_eq!(kept(&tunnels), ["a", "b"]);
        tunnels.note_streams(2, 1, Server);
        assert_eq!(kept(&tunnels), ["b"]);
        tunnels.note_streams(1, 0, Server);
        assert_eq!(kept(&tunnels), [""; 0]);
        tunnels.add("whose connection nobody follows");
        assert_eq!(kept(&tunnels), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn other_requests_are_left_out_when_all_is_quiet() {
        let tunnels = Arc::new(Tunnels::new());
        tunnels.note_streams(0, 5, Client);
        let [reset, sent, _slow] = [(); 3].map(|()| tunnels.request());
        tunnels.add("a");
        tunnels.add("b");
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["a", "b"]);
        // The client resets one, and its request goes on for a moment.
        tunnels.note_streams(5, 4, Client);
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["a", "b"]);
        drop(reset);
        // The response of another one has been made, but is kept until it is sent.
        sent.release();
        tunnels.note_streams(4, 3, Server);
        sleep(MOMENT).await;
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["a", "b"]);
        drop(sent);
        // The client resets the oldest one that was upgraded.
        tunnels.note_streams(3, 2, Client);
        assert_eq!(kept(&tunnels), ["a", "b"]);
        sleep(MOMENT).await;
        tunnels.tidy();
        assert_eq!(kept(&tunnels), ["b"]);
    }
}
