//! What listener, connections and layer know of each other.

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_lite::future::FutureExt;
use tokio::time::Instant;

use super::offers::Offers;
use super::strays::Strays;
use super::ticket::Ticket;
use super::tunnels::Tunnels;
use crate::lifecycle::registry::Registry;
use crate::lifecycle::server::RunningServer;
use crate::model::stage::Stage;
use crate::serve::shared::Shared;

/// One adapted server.
pub(super) struct Adapter {
    pub(super) shared: Arc<Shared>,
    /// The connections that have to be gone before the framework may be told.
    pub(super) undecided: Arc<Registry<()>>,
    /// The requests of HTTP/1 without a response yet that may switch protocols.
    pub(super) upgrading: Arc<Registry<()>>,
    /// When the framework was told.
    pub(super) told: OnceLock<Instant>,
    pub(super) strays: Arc<Strays>,
    pub(super) tunnels: Arc<Tunnels<Ticket>>,
    pub(super) offers: Offers,
}

impl Adapter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let tunnels = Arc::new(Tunnels::<Ticket>::new());
        let tidied = Arc::downgrade(&tunnels);
        shared.tidy_by(move || tidied.upgrade().iter().for_each(|tunnels| tunnels.tidy()));
        Self {
            strays: Arc::new(Strays::new(Arc::clone(&shared))),
            shared,
            undecided: Arc::default(),
            upgrading: Arc::default(),
            told: OnceLock::new(),
            tunnels,
            offers: Offers::new(),
        }
    }

    /// Waits, in a drain, for connections to move to a successor: a framework that is told would end those in flight behind their
    /// responses. Over at once where there is one that the framework has to be told for.
    pub(super) async fn moved(&self) {
        let shared = &self.shared;
        let is_each_undecided = || shared.connections.len() <= self.undecided.len();
        if shared.policy.destination().is_some() && is_each_undecided() {
            let closed = shared.lifecycle().outbound.closed();
            shared.connections.empty().or(closed).await;
        }
    }

    pub(super) fn tell(&self) {
        let _ = self.told.set(Instant::now());
        self.offers.close();
        self.shared.wake_connections();
    }

    /// Returns where to look for the connection of a request, if that is worth it. HTTP/2 has a task for each
    /// stream, and a framework that has called from another task once will do so again; but from the lame
    /// duck on we look anyway.
    pub(super) fn may_search(&self, is_http1: bool) -> Option<&Shared> {
        let is_worth_it =
            self.shared.has_reached(Stage::LameDuck) || (is_http1 && !self.strays.has_http1());
        is_worth_it.then_some(&*self.shared)
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("connections", &self.shared.connections.len())
            .finish_non_exhaustive()
    }
}
