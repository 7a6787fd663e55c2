//! Connections that the framework is to go on with, as if they had just been accepted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::lifecycle::registry::Member;
use crate::net::stream::Stream;
use crate::serve::connection::Connection;

/// A connection that somebody else has had until now.
pub(super) struct Offer {
    pub(super) stream: Stream,
    /// What has been read of it.
    pub(super) read: Bytes,
    pub(super) connection: Member<Connection>,
}

/// Those that the framework has not taken yet.
pub(super) struct Offers(Mutex<State>);

enum State {
    Open {
        waiting: VecDeque<Offer>,
        /// The task that accepts.
        task: Option<Waker>,
    },
    /// The framework takes none any more.
    Closed,
}

impl Offers {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State::Open {
            waiting: VecDeque::new(),
            task: None,
        }))
    }

    /// Offers a connection; it ends where the framework takes none any more.
    pub(super) fn add(&self, offer: Offer) {
        let woken = match &mut *self.state() {
            State::Open { waiting, task } => {
                waiting.push_back(offer);
                task.take()
            }
            State::Closed => None,
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ready with the next one; the task is woken when there is one.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Offer> {
        match &mut *self.state() {
            State::Open { waiting, task } => match waiting.pop_front() {
                Some(offer) => Poll::Ready(offer),
                None => {
                    *task = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
            State::Closed => Poll::Pending,
        }
    }

    /// Takes no more, and ends those that wait.
    pub(super) fn close(&self) {
        let state = std::mem::replace(&mut *self.state(), State::Closed);
        // Not under the lock, as the end of a connection has its own.
        drop(state);
    }

    // Nothing that could panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offers")
    }
}
