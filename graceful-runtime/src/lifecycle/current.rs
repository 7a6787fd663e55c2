//! How a thread finds its lifecycle, and how `main` is told from its tasks.
//!
//! The threads of a runtime carry their lifecycle, so that two of them in one process do not meet.
//! Threads that nobody has given one, such as those of another runtime, belong to that of `main` with the
//! attribute, if there is one: such a process has no other purpose.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::surroundings::Surroundings;
use super::{Lifecycle, Settings};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Lifecycle>>> = const { RefCell::new(None) };
    /// This thread polls `main`, not one of its tasks.
    static IS_MAIN: Cell<bool> = const { Cell::new(false) };
}

/// Something in `main` that ends by the shutdown, so that `main` is not dropped at a signal; for as long as this
/// lives.
#[derive(Debug)]
pub(crate) struct Attendance(Arc<Lifecycle>);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.attendances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `main`, so that what it does is told from what tasks do.
pub(crate) async fn as_main<F: Future>(main: F) -> F::Output {
    struct Poll;

    impl Drop for Poll {
        fn drop(&mut self) {
            IS_MAIN.set(false);
        }
    }

    let mut main = pin!(main);
    poll_fn(|cx| {
        IS_MAIN.set(true);
        let _poll = Poll;
        main.as_mut().poll(cx)
    })
    .await
}

/// The lifecycle of a `main` with the attribute, which the process is there for.
static PROCESS: OnceLock<Arc<Lifecycle>> = OnceLock::new();

impl Lifecycle {
    /// Returns the lifecycle of the runtime that this thread belongs to, or else that of the process.
    pub(crate) fn current() -> Option<Arc<Self>> {
        // A thread that is being torn down has lost its own already.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
            .or_else(|| PROCESS.get().cloned())
    }

    /// Returns the current lifecycle, or one that nobody will ever trigger.
    ///
    /// So a handler or a server under test works without a lifecycle around it.
    pub(crate) fn current_or_detached() -> Arc<Self> {
        Self::current().unwrap_or_else(|| Self::new(Settings::default(), Surroundings::default()).0)
    }

    /// Makes this the lifecycle of the calling thread and returns the one before.
    pub(crate) fn occupy_thread(lifecycle: Option<Arc<Self>>) -> Option<Arc<Self>> {
        CURRENT.with(|current| current.replace(lifecycle))
    }

    /// Makes this the lifecycle of all threads that have none, because it stands for the process.
    pub(crate) fn occupy_process(self: &Arc<Self>) {
        let _ = PROCESS.set(Arc::clone(self));
    }

    /// Notes that the caller ends by the shutdown; `None` where it is not `main` that calls. Tasks and servers
    /// are waited for without a note.
    pub(crate) fn attend(self: &Arc<Self>) -> Option<Attendance> {
        // A thread that is being torn down polls nothing.
        let is_main = IS_MAIN.try_with(Cell::get).unwrap_or(false);
        is_main.then(|| {
            self.attendances.fetch_add(1, Ordering::Relaxed);
            Attendance(Arc::clone(self))
        })
    }
}
