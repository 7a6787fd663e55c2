//! hyper's part of a connection of HTTP/1, and its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::beginning::Beginning;
use super::connection::Connection;
use super::first_bytes::HeadPatience;
use super::framing::Awaits;
use super::limits::HEAD_LIMIT;
use super::parking::{ParkingDelay, UntilParked};
use super::service::{HttpService, Tracked};
use super::transport::Transport;
use crate::timer::Timer;

/// How hyper's part of an HTTP/1 connection came to its end.
pub(super) enum Ended {
    /// It waits for a request of which nothing has come, and is to be parked, or drained.
    Idle,
    /// In a drain it waits for the rest of a request head, of which this has come.
    Begun(Beginning),
    Closed,
    /// The rest of a request head did not come in its time.
    TooSlow,
}

/// hyper's part of a connection of HTTP/1.
type Hyper<S> = UpgradeableConnection<TokioIo<Transport>, Tracked<S>>;

/// Has hyper take over a connection. It is boxed, so that it takes no room in the many connections that are idle.
pub(super) fn begin<S: HttpService>(
    io: Transport,
    service: S,
    connection: &Arc<Connection>,
) -> Box<Hyper<S>> {
    connection.becomes_http1();
    let service = Tracked::new(service, Arc::clone(connection));
    // Without `half_close` hyper would read in the middle of every request, to notice that the client has
    // gone, and allocate a buffer for it. `Transport` notices that as well, and only where a handler takes
    // its time.
    let hyper = Builder::new()
        .half_close(io.notices_the_end() || connection.policy.options.half_close)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    Box::new(hyper)
}

/// Exchanges requests and responses until the connection is idle for its `delay`, or over. The first head has `begun` before, where
/// that is known.
pub(super) async fn exchange<S: HttpService>(
    mut hyper: Box<Hyper<S>>,
    begun: Option<Instant>,
    connection: &Arc<Connection>,
    delay: ParkingDelay,
) -> Ended {
    let mut patience = begun.map(|begun| HeadPatience::since(Some(begun)));
    let mut timer = Timer::default();
    let mut until_parked = UntilParked::new(delay);
    let ended = poll_fn(|cx| {
        if Pin::new(&mut *hyper).poll(cx).is_ready() {
            // What went wrong, if anything, is the client's business and has been answered by hyper.
            return Poll::Ready(Ended::Closed);
        }
        if connection.is_busy() {
            patience = None;
            return Poll::Pending;
        }
        let drain = connection.drain_began();
        // The usual case, in which nobody looks at what has come.
        if drain.is_none() && !connection.may_have_begun() {
            patience = None;
            ready!(until_parked.poll(cx, connection));
        }
        let awaits = connection.awaits();
        if awaits != Awaits::RestOfHead {
            patience = None;
        }
        match (awaits, drain) {
            (Awaits::Request, Some(_)) => Poll::Ready(Ended::Idle),
            (Awaits::Request, None) => until_parked.poll(cx, connection).map(|()| Ended::Idle),
            (Awaits::RestOfHead, _) => {
                let patience = patience.get_or_insert_with(HeadPatience::begun);
                if drain.is_some()
                    && connection.destination().is_some()
                    && let Some(bytes) = connection.take_rest_of_head()
                {
                    let begun = patience.began();
                    return Poll::Ready(Ended::Begun(Beginning { bytes, begun }));
                }
                ready!(patience.poll(cx, connection));
                Poll::Ready(Ended::TooSlow)
            }
            // The response is complete, and whoever reads the request on has a little time for it.
            (Awaits::RestOfBody | Awaits::Unknown, Some(drain)) => {
                let limit = drain.max(connection.last_active()) + HEAD_LIMIT;
                ready!(timer.poll(limit, cx));
                Poll::Ready(Ended::Closed)
            }
            (Awaits::RestOfBody | Awaits::Unknown, None) => Poll::Pending,
        }
    })
    .await;
    connection.settle();
    // Nothing is kept of hyper; the socket comes back by the drop of `Transport`.
    ended
}
