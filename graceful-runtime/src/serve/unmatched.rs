//! How requests end of which it is not known on what connection they came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lifecycle::Lifecycle;

/// Streams of HTTP/2 in a drain that another framework serves.
///
/// What a client gives up is seen on its connection, and what ends for that in a task of the framework; either may be
/// first, so that what is seen first waits for the other.
#[derive(Debug)]
pub(super) struct UnmatchedEnds {
    lifecycle: Arc<Lifecycle>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many clients have given up on, of which the requests have not ended yet.
    given_up: usize,
    /// Requests that ended before their responses were made to their end, and that no client has been seen to give up.
    unmade: Vec<String>,
    /// No connection will tell of any more.
    is_over: bool,
}

/// How a request has ended whose response was not made to its end.
#[derive(Debug)]
pub(super) enum Unmade {
    /// Its client has given it up; it had this name.
    GivenUp(String),
    /// Its handler ended it.
    Ended,
    /// It will be known later, and counted then.
    Open,
}

impl UnmatchedEnds {
    pub(super) fn new(lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            lifecycle,
            state: Mutex::default(),
        }
    }

    /// Notes that clients have given up on so many streams.
    pub(super) fn note_given_up(&self, streams: usize) {
        let mut state = self.state();
        let known = streams.min(state.unmade.len());
        state.given_up += streams - known;
        let gone: Vec<_> = state.unmade.drain(..known).collect();
        drop(state);
        for name in gone {
            self.lifecycle.tally.gone.add(|| name);
        }
    }

    /// Tells how the request of that name has ended, as far as that can be told.
    pub(super) fn end(&self, name: String) -> Unmade {
        let mut state = self.state();
        if let Some(less) = state.given_up.checked_sub(1) {
            state.given_up = less;
            return Unmade::GivenUp(name);
        }
        if state.is_over {
            return Unmade::Ended;
        }
        state.unmade.push(name);
        Unmade::Open
    }

    /// Notes that no connection is left: requests that nobody has given up have ended as they should.
    #[cfg(feature = "adapt")]
    pub(super) fn note_last_closed(&self) {
        let mut state = self.state();
        state.is_over = true;
        let finished = std::mem::take(&mut state.unmade).len();
        drop(state);
        self.lifecycle.tally.add_finished(finished);
    }

    // Nothing that could panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
