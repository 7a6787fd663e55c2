//! The streams of HTTP/2 that were upgraded, such as WebSockets (RFC 8441).
//!
//! That such a stream is open is known from the frames of its connection, and it is waited for. But of which request
//! it was made, no framework tells, nor when it ends; so the requests are kept, and the oldest is dropped when there are
//! more than upgraded streams can be open.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The requests of type `R` by which streams were upgraded.
pub(super) struct Tunnels<R> {
    /// How many streams are open on all connections.
    open: AtomicUsize,
    /// How many of them are requests in flight.
    requests: AtomicUsize,
    upgraded: Mutex<VecDeque<R>>,
}

impl<R> Tunnels<R> {
    pub(super) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            upgraded: Mutex::default(),
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

    /// Counts a request in flight until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> RequestGuard<R> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// Keeps a request by which a stream was upgraded.
    pub(super) fn add(&self, request: R) {
        self.with_upgraded(|upgraded| upgraded.push_back(request));
        self.drop_surplus();
    }

    fn drop_surplus(&self) {
        let requests = self.requests.load(Ordering::Relaxed);
        let most = self.open.load(Ordering::Relaxed).saturating_sub(requests);
        // Dropped without the lock, as that wakes tasks.
        let surplus: Vec<R> = self.with_upgraded(|upgraded| {
            let count = upgraded.len().saturating_sub(most);
            upgraded.drain(..count).collect()
        });
        drop(surplus);
    }

    // Nothing that could panic runs under the lock.
    fn with_upgraded<T>(&self, look: impl FnOnce(&mut VecDeque<R>) -> T) -> T {
        look(&mut self.upgraded.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<R> fmt::Debug for Tunnels<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnels")
    }
}

/// Counts a request.
pub(super) struct RequestGuard<R>(Arc<Tunnels<R>>);

impl<R> fmt::Debug for RequestGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestGuard")
    }
}

impl<R> Drop for RequestGuard<R> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_kept_as_streams_can_be_upgraded() {
        let tunnels = Arc::new(Tunnels::new());
        let kept =
            || tunnels.with_upgraded(|upgraded| upgraded.iter().copied().collect::<Vec<_>>());
        tunnels.note_streams(0, 3);
        let request = tunnels.request();
        tunnels.add("a");
        tunnels.add("b");
        assert_eq!(kept(), ["a", "b"]);
        tunnels.note_streams(3, 2);
        assert_eq!(kept(), ["b"]);
        drop(request);
        tunnels.note_streams(2, 1);
        assert_eq!(kept(), ["b"]);
        tunnels.note_streams(1, 0);
        assert_eq!(kept(), [""; 0]);
        tunnels.add("whose connection nobody follows");
        assert_eq!(kept(), [""; 0]);
    }
}
