//! A request in flight, and the connection that it came on.

use std::sync::Arc;

use super::strays::Strays;
use super::tunnels::RequestGuard;
use crate::lifecycle::registry::Member;
use crate::model::stage::Stage;
use crate::net::stream::Peer;
use crate::serve::connection::Connection;
use crate::serve::connection::in_flight::InFlightGuard;
use crate::serve::service::Guard;

/// Keeps a request in flight.
#[derive(Debug)]
pub(super) struct Ticket {
    // Dropped first: whoever is woken by the end of the origin finds the request ended.
    pub(super) guard: InFlightGuard,
    /// Where it is a stream of HTTP/2 whose end is seen.
    pub(super) request: Option<RequestGuard<Self>>,
    pub(super) origin: RequestOrigin,
}

impl Guard for Ticket {
    fn is_http2(&self) -> bool {
        self.guard.is_http2()
    }

    fn finish(&self) {
        self.guard.finish();
        // Before the end of its stream is sent, so that the streams never seem to be fewer than the requests.
        self.request.iter().for_each(RequestGuard::release);
    }
}

impl AsMut<InFlightGuard> for Ticket {
    fn as_mut(&mut self) -> &mut InFlightGuard {
        &mut self.guard
    }
}

/// The connection that a request came on.
#[derive(Debug)]
pub(super) enum RequestOrigin {
    Known(Arc<Connection>),
    /// A stand-in for the time of the request.
    Stray(Member<Connection>, Arc<Strays>),
}

impl RequestOrigin {
    pub(super) fn new(connection: Option<Arc<Connection>>, strays: &Arc<Strays>) -> Self {
        connection.map_or_else(|| Self::stray(Arc::clone(strays)), Self::Known)
    }

    fn stray(strays: Arc<Strays>) -> Self {
        strays.add();
        let shared = strays.shared();
        Self::Stray(shared.connect(Peer::Unknown), strays)
    }

    /// Tells whether the streams of an HTTP/2 connection are seen, as far as that is known.
    pub(super) fn shows_streams(&self) -> bool {
        match self {
            Self::Known(connection) => connection.open_streams().is_some(),
            Self::Stray(..) => true,
        }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        match self {
            Self::Known(connection) => connection,
            Self::Stray(connection, _) => connection,
        }
    }
}

impl Drop for RequestOrigin {
    fn drop(&mut self) {
        match self {
            // It may be idle now, and its time may run.
            Self::Known(connection) if connection.has_reached(Stage::Draining) => connection.wake(),
            Self::Known(_) => {}
            Self::Stray(connection, strays) => {
                connection.settle();
                strays.remove();
            }
        }
    }
}
