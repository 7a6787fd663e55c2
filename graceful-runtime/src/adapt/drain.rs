//! When the framework is told.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::adapter::Adapter;
use super::listener::{Acceptor, Queue};
use crate::serve::limits::{HANDSHAKES, HEAD_LIMIT};

/// From the trigger to the moment at which the framework is told.
pub(super) struct Drain {
    pub(super) adapter: Arc<Adapter>,
    /// Gone when the framework has dropped its listener, because it failed or was cut.
    pub(super) acceptor: Weak<Acceptor>,
    pub(super) queue: watch::Receiver<Queue>,
}

impl Drain {
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.adapter.shared);
        let lifecycle = shared.lifecycle();
        let _attendance = lifecycle.attend();
        self.with_acceptor(Acceptor::report);
        lifecycle.announce_serving_in_main();
        if !lifecycle.wait_for_turn().await {
            // What is in the queue is the predecessor's.
            return self.adapter.tell();
        }
        if lifecycle.has_predecessor {
            self.with_acceptor(Acceptor::open);
        }
        shared.go_to_drain().await;
        self.adapter.moved().await;
        let begin = Instant::now();
        let limit = begin + lifecycle.keep_alive_grace + HEAD_LIMIT;
        // What is left at the limit is busy, and the framework lets it finish.
        let _ = timeout_at(limit, self.emptied()).await;
        // Told, it drops its listener, and with that what the kernel has accepted and it could not, for want of
        // descriptors.
        if self.with_acceptor(Acceptor::has_queue) == Some(true) {
            self.empty_queue().await;
        }
        // hyper writes `close` beside `upgrade` when it has been told.
        let limit = begin + shared.policy.goaway_limit();
        let _ = timeout_at(limit, self.adapter.upgrading.empty()).await;
        self.adapter.tell();
    }

    /// Waits until neither the accept queue nor a connection holds what the framework would lose.
    async fn emptied(&mut self) {
        let Some(was_busy) = self.with_acceptor(Acceptor::seal).flatten() else {
            return self.adapter.undecided.empty().await;
        };
        let sealed = Instant::now();
        let mut handshakes = sealed + if was_busy { HANDSHAKES } else { Duration::ZERO };
        loop {
            self.empty_queue().await;
            if self.adapter.undecided.len() == 0 && Instant::now() >= handshakes {
                return;
            }
            self.adapter.undecided.empty().await;
            match self.with_acceptor(Acceptor::may_have_handshakes) {
                Some(true) => sleep_until(handshakes).await,
                _ => handshakes = sealed,
            }
        }
    }

    /// Has the framework accept everything that the kernel holds, and waits for that.
    async fn empty_queue(&mut self) {
        self.with_acceptor(Acceptor::look);
        // An error: there is no listener any more.
        let _ = self.queue.wait_for(|queue| *queue == Queue::Empty).await;
    }

    fn with_acceptor<T>(&self, ask: impl FnOnce(&Acceptor) -> T) -> Option<T> {
        self.acceptor.upgrade().map(|acceptor| ask(&acceptor))
    }
}
