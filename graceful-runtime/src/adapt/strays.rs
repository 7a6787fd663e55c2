//! Requests of which nobody knows on what connection they came.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::lifecycle::server::RunningServer;
use crate::model::stage::Stage;
use crate::serve::shared::Shared;

/// How many there are, and when the last of them ended.
pub(super) struct Strays {
    shared: Arc<Shared>,
    /// There has been one of HTTP/1.
    has_http1: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    count: usize,
    /// When the last of them ended.
    ended: Instant,
}

impl Strays {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            has_http1: AtomicBool::new(false),
            state: Mutex::new(State {
                count: 0,
                ended: Instant::now(),
            }),
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tells whether there has been one of HTTP/1, so that more are to be expected.
    pub(super) fn has_http1(&self) -> bool {
        self.has_http1.load(Ordering::Relaxed)
    }

    pub(super) fn note_http1(&self) {
        self.has_http1.store(true, Ordering::Relaxed);
    }

    pub(super) fn add(&self) {
        self.with_state(|state| state.count += 1);
    }

    pub(super) fn remove(&self) {
        let state = self.with_state(|state| {
            state.count -= 1;
            state.ended = Instant::now();
            *state
        });
        if state.count == 0 && self.shared.has_reached(Stage::Draining) {
            self.shared.wake_connections();
        }
    }

    /// Returns when the last one ended; `None` while there is one.
    pub(super) fn ended(&self) -> Option<Instant> {
        self.with_state(|state| (state.count == 0).then_some(state.ended))
    }

    // Nothing that could panic runs under the lock.
    fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Strays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Strays")
    }
}
