//! The task that serves a connection, and how it is reached.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

#[cfg(feature = "adapt")]
use tokio::task;
use tokio::task::AbortHandle;

use crate::net::stream::Stream;

#[derive(Debug, Default)]
pub(super) struct Driver {
    /// Ends the task, where it is one of ours.
    abort: OnceLock<AbortHandle>,
    /// The task of another framework.
    #[cfg(feature = "adapt")]
    id: OnceLock<task::Id>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The same task for the whole life of the connection.
    waker: Option<Waker>,
    /// The socket, when hyper or the upgraded task has done with it.
    returned: Option<Stream>,
}

impl Driver {
    pub(super) fn set_task(&self, task: AbortHandle) {
        // Set once, where the task is spawned.
        let _ = self.abort.set(task);
    }

    /// Tells whether the task is one of ours.
    pub(super) fn is_ours(&self) -> bool {
        self.abort.get().is_some()
    }

    /// Ends the task, whatever it is doing.
    pub(super) fn abort(&self) {
        if let Some(task) = self.abort.get() {
            task.abort();
        }
    }

    /// Notes the first task that has touched the connection.
    #[cfg(feature = "adapt")]
    pub(super) fn note_id(&self, id: task::Id) {
        let _ = self.id.set(id);
    }

    #[cfg(feature = "adapt")]
    pub(super) fn has_id(&self, id: task::Id) -> bool {
        self.id.get() == Some(&id)
    }

    /// Lets [`wake`](Self::wake) find the task.
    pub(super) fn remember(&self, waker: &Waker) {
        let known = &mut self.state().waker;
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.state().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the socket back.
    pub(super) fn give_back(&self, stream: Stream) {
        self.state().returned = Some(stream);
        self.wake();
    }

    /// Returns the socket where it has come back.
    pub(super) fn take_returned(&self) -> Option<Stream> {
        self.state().returned.take()
    }

    // Nothing that could panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
