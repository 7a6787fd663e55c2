//! One server with all its connections.

#[cfg(feature = "adapt")]
use std::fmt;
use std::io;
#[cfg(feature = "adapt")]
use std::sync::OnceLock;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::connection::Connection;
use super::options::Options;
use super::policy::Policy;
use crate::handover::parcel::Note;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::registry::{Member, Registry};
use crate::lifecycle::server::{Backlog, RunningServer, View};
use crate::model::phase::Phase;
use crate::model::stage::Stage;
use crate::net::inherited::ListenerId;
use crate::net::listener::Listener;
use crate::net::stream::Peer;

/// What those share who accept, serve and drain.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) policy: Arc<Policy>,
    pub(crate) connections: Arc<Registry<Connection>>,
    /// What its listener holds and cannot accept.
    backlog: Mutex<Option<Backlog>>,
    /// Drops what has ended, before somebody is told of it.
    #[cfg(feature = "adapt")]
    tidy: OnceLock<Tidy>,
}

#[cfg(feature = "adapt")]
struct Tidy(Box<dyn Fn() + Send + Sync>);

#[cfg(feature = "adapt")]
impl fmt::Debug for Tidy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tidy")
    }
}

impl Shared {
    #[cfg(test)]
    pub(crate) fn new(lifecycle: Arc<Lifecycle>, options: Options) -> Self {
        Self::of_listener(lifecycle, options, None)
    }

    /// A server whose connections may move to a successor that has the listener.
    pub(crate) fn of_listener(
        lifecycle: Arc<Lifecycle>,
        options: Options,
        listener: Option<ListenerId>,
    ) -> Self {
        Self {
            policy: Arc::new(Policy::new(lifecycle, options, listener)),
            connections: Arc::default(),
            backlog: Mutex::default(),
            #[cfg(feature = "adapt")]
            tidy: OnceLock::new(),
        }
    }

    pub(crate) fn lifecycle(&self) -> &Arc<Lifecycle> {
        &self.policy.lifecycle
    }

    /// Has the lifecycle see the server, until the member is dropped.
    pub(crate) fn register(self: &Arc<Self>) -> Member<dyn RunningServer> {
        let server = Arc::clone(self);
        self.lifecycle().serving.enter_shared(server)
    }

    /// Adds a connection.
    pub(crate) fn connect(&self, peer: Peer) -> Member<Connection> {
        let connection = Connection::new(Arc::clone(&self.policy), peer);
        self.connections.enter(connection)
    }

    /// Adds a connection that another process has had until now.
    pub(crate) fn continue_with(&self, peer: Peer, note: &Note) -> Member<Connection> {
        let connection = Connection::continued(Arc::clone(&self.policy), peer, note);
        self.connections.enter(connection)
    }

    #[cfg(feature = "adapt")]
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.policy.has_reached(stage)
    }

    /// Takes the server to `stage`, and lets every connection know.
    pub(crate) fn reach(&self, stage: Stage) {
        if stage == Stage::Draining {
            let begin = Instant::now();
            let grace = self.lifecycle().keep_alive_grace;
            let is_used = |connection: &Connection| connection.is_used(begin, grace);
            let was_busy = || self.connections.find(is_used).is_some();
            self.policy.begin_drain(begin, was_busy);
        }
        self.policy.stage.set(stage);
        for connection in self.connections.members() {
            match stage {
                Stage::Cut => connection.cut(),
                _ => connection.wake(),
            }
        }
    }

    /// Waits until the server has to drain, takes it there, and through the lame duck on the way.
    pub(crate) async fn go_to_drain(&self) {
        let lifecycle = self.lifecycle();
        lifecycle.reached(Phase::LameDuck).await;
        self.reach(Stage::LameDuck);
        lifecycle.reached(Phase::Draining).await;
        // A listener that a successor may accept from must not be sealed.
        lifecycle.restart_decided().await;
        self.reach(Stage::Draining);
    }

    #[cfg(feature = "adapt")]
    pub(crate) fn tidy_by(&self, tidy: impl Fn() + Send + Sync + 'static) {
        let _ = self.tidy.set(Tidy(Box::new(tidy)));
    }

    /// Notes that no connection is left.
    #[cfg(feature = "adapt")]
    pub(crate) fn note_last_closed(&self) {
        self.policy.unmatched.note_last_closed();
    }

    /// Notes that what the listener holds can be accepted.
    pub(crate) fn note_accepts(&self) {
        *self.lock_backlog() = None;
    }

    /// Notes what `listener` holds that could not be accepted.
    pub(crate) fn note_accept_failed(&self, listener: &Listener, error: &io::Error) {
        let length = listener.queue_length();
        *self.lock_backlog() = (length > 0).then(|| Backlog {
            listener: listener.to_string(),
            length,
            error: error.to_string(),
        });
    }

    // Nothing that could panic runs under the lock.
    fn lock_backlog(&self) -> std::sync::MutexGuard<'_, Option<Backlog>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningServer for Shared {
    fn connection_count(&self) -> usize {
        self.connections.len()
    }

    fn connections(&self) -> Vec<View> {
        #[cfg(feature = "adapt")]
        self.tidy.get().into_iter().for_each(|Tidy(tidy)| tidy());
        let connections = self.connections.members();
        connections
            .iter()
            .map(|connection| connection.view())
            .collect()
    }

    fn wake_connections(&self) {
        for connection in self.connections.members() {
            connection.wake();
        }
    }

    fn backlog(&self) -> Option<Backlog> {
        self.lock_backlog().clone()
    }
}
