//! Another framework's server, made to lose nothing at its stop, from outside.
//!
//! [`serve`](crate::serve()) decides for each connection itself. A framework does so behind a closed
//! door, and with hyper's graceful shutdown, which closes an idle connection without a look at its
//! socket and waits for ever for the rest of a request head. From outside there are three handles:
//! what it accepts, what it reads, and what it answers. [`adapt`](fn@adapt) holds all three.
//!
//! 1. From the trigger on, every HTTP/1 response says `connection: close` ([`Layer`]).
//! 2. When the drain begins, the listener is sealed, and the framework goes on accepting until the
//!    queue is empty ([`Listener`]).
//! 3. A connection of HTTP/1 without a request in flight reads an end of file when its time is over
//!    ([`Io`]): the rest of `keep_alive_grace` where it is idle or new, 1 s where it has begun a
//!    request head. The look at the socket and the end are one step, so no request is overlooked.
//! 4. When no connection of HTTP/1 is left, or `keep_alive_grace` and 1 s are over, the framework is
//!    told; up to 5 s later, or a quarter of the budget, where a request in flight may switch protocols.
//!    HTTP/2 has its own way to end (GOAWAY). For a client that does not answer it in the same time, the
//!    answer is made, and one that reads nothing is closed.
//! 5. What the framework closes is closed so that the last response arrives, and the process waits
//!    for that.
//!
//! 6. At a restart a connection of HTTP/1 in clear text reads its end of file as soon as nothing of it is with the
//!    framework, moves to the successor, and is yielded by the listener there, as a new one. The framework is told
//!    when all have moved, unless there is one of HTTP/2 or TLS: to tell it would end those in flight, too.
//!
//! Two things are not possible from outside: an answer 408 to half a head; and to read what is encrypted.
//! Under a framework's own TLS, bytes mean nothing here, so such connections are left to the framework when
//! the grace is over.

mod adapter;
#[cfg(feature = "tonic")]
mod connect_info;
mod drain;
mod entry;
mod io;
mod layer;
mod listener;
mod offers;
mod origin;
mod strays;
mod ticket;
mod tunnels;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::adapter::Adapter;
use self::drain::Drain;
use self::entry::ServerEntry;
use self::listener::Acceptor;
use crate::lifecycle::Lifecycle;
use crate::serve::limits::HEAD_LIMIT;
use crate::serve::options::Options;
use crate::serve::shared::Shared;

#[cfg(feature = "tonic")]
pub use self::connect_info::ConnectInfo;
pub use self::io::Io;
pub use self::layer::{Body, Layer, Layered, Responding};
pub use self::listener::Listener;
#[cfg(feature = "axum")]
pub use self::listener::PeerAddr;

/// Makes the server of another framework lose nothing at its stop.
///
/// Returns the listener that the framework accepts from, the layer around its service, and the future
/// that tells it of the shutdown. They belong together, and one of them without the others loses
/// requests. The layer has to be the outermost one, which with axum is the last `.layer(..)`.
///
/// The server's connections and requests are in [`status`](crate::status()) and in the report.
///
/// With axum (feature `axum`):
///
#[cfg_attr(feature = "axum", doc = "```no_run")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use axum::{Router, routing::get};
///
/// #[graceful::main]
/// async fn main() -> std::io::Result<impl graceful::Server> {
///     let app = Router::new().route("/", get(|| async { "hello" }));
///     let listener = graceful::bind("127.0.0.1:3000").await?;
///     let (listener, layer, shutdown) = graceful::adapt(listener);
///     Ok(axum::serve(listener, app.layer(layer)).with_graceful_shutdown(shutdown))
/// }
/// ```
///
#[cfg_attr(
    feature = "axum",
    doc = "Handlers learn the address of their client there by [`PeerAddr`]."
)]
///
/// With tonic (feature `tonic`):
///
#[cfg_attr(feature = "tonic", doc = "```no_run")]
#[cfg_attr(not(feature = "tonic"), doc = "```ignore")]
/// use tonic::transport::Server;
/// # use std::convert::Infallible;
/// # use hyper::{Request, Response};
/// # use tonic::body::Body;
/// # use tower_service::Service;
///
/// # async fn example<S>(service: S) -> Result<(), Box<dyn std::error::Error>>
/// # where
/// #     S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
/// #     S: Clone + Send + 'static,
/// #     S::Future: Send,
/// # {
/// let listener = graceful::bind("127.0.0.1:50051").await?;
/// let (listener, layer, shutdown) = graceful::adapt(listener);
/// Server::builder()
///     .layer(layer)
///     .serve_with_incoming_shutdown(service, listener, shutdown)
///     .await?;
/// # Ok(()) }
/// ```
///
/// Any other server that takes a `Stream` of connections, a tower layer and a future (feature
/// `adapt`) is adapted in the same way.
///
/// # Cancel safety
///
/// If the future is dropped, the server is not told to stop, and is cut at the deadline.
pub fn adapt(
    listener: crate::net::listener::Listener,
) -> (Listener, Layer, impl Future<Output = ()> + Send + 'static) {
    let lifecycle = Lifecycle::current_or_detached();
    let id = listener.id();
    let shared = Arc::new(Shared::of_listener(lifecycle, options(), id));
    let entry = Arc::new(ServerEntry::new(Arc::clone(&shared)));
    let adapter = Arc::new(Adapter::new(shared));
    let (acceptor, queue) = Acceptor::new(listener, Arc::clone(&adapter), entry);
    let acceptor = Arc::new(acceptor);
    let drain = Drain {
        adapter: Arc::clone(&adapter),
        acceptor: Arc::downgrade(&acceptor),
        queue,
    };
    (Listener::new(acceptor), Layer::new(adapter), drain.run())
}

/// What an adapted server chooses: a framework has its own options.
fn options() -> Options {
    Options {
        header_timeout: HEAD_LIMIT,
        ..Options::default()
    }
}
