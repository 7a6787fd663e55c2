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
//! What is not had from outside: an answer 408 to half a head. Under a framework's own TLS, bytes mean
//! nothing here, so such connections are left to the framework when the grace is over.

mod io;
mod layer;
mod listener;
mod origin;
mod tunnels;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::lifecycle::Lifecycle;
use crate::lifecycle::registry::{Member, Registry};
use crate::lifecycle::server::Server;
use crate::model::phase::Phase;
use crate::serve::{HANDSHAKES, HEAD_LIMIT, Mood, Shared};

#[cfg(feature = "tonic")]
pub use self::io::ConnectInfo;
pub use self::io::Io;
use self::layer::Ticket;
pub use self::layer::{Body, Layer, Layered, Responding};
pub use self::listener::Listener;
#[cfg(feature = "axum")]
pub use self::listener::PeerAddr;
use self::listener::{Acceptor, Queue};
use self::tunnels::Tunnels;

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
/// A drop of the future leaves a server that does not stop before it is cut.
pub fn adapt(
    listener: crate::Listener,
) -> (Listener, Layer, impl Future<Output = ()> + Send + 'static) {
    let lifecycle = Lifecycle::current_or_detached();
    let shared = Arc::new(Shared::new(lifecycle, HEAD_LIMIT));
    let registration = Arc::new(Registration::new(Arc::clone(&shared)));
    let adapter = Arc::new(Adapter::new(shared));
    let (acceptor, queue) = Acceptor::new(listener, Arc::clone(&adapter), registration);
    let acceptor = Arc::new(acceptor);
    let drain = Drain {
        adapter: Arc::clone(&adapter),
        acceptor: Arc::downgrade(&acceptor),
        queue,
    };
    (Listener::new(acceptor), Layer::new(adapter), drain.run())
}

/// The server as the report knows it, as long as it accepts or has a connection.
struct Registration {
    shared: Arc<Shared>,
    _member: Member<dyn Server>,
}

impl Registration {
    fn new(shared: Arc<Shared>) -> Self {
        let member = shared
            .lifecycle
            .serving
            .enter_shared(Arc::clone(&shared) as _);
        Self {
            shared,
            _member: member,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.note_last_closed();
    }
}

/// What the three parts know of each other.
struct Adapter {
    shared: Arc<Shared>,
    /// The connections that have to be gone before the framework may be told.
    undecided: Arc<Registry<()>>,
    /// The requests of HTTP/1 without a response yet that may switch protocols.
    upgrading: Arc<Registry<()>>,
    /// When the framework was told.
    told: OnceLock<Instant>,
    /// There has been a request of HTTP/1 of which nobody knows on what connection it came.
    has_strays: AtomicBool,
    strays: Mutex<Strays>,
    tunnels: Arc<Tunnels<Ticket>>,
}

/// Requests of which nobody knows on what connection they came.
#[derive(Clone, Copy)]
struct Strays {
    count: usize,
    /// When the last of them ended.
    ended: Instant,
}

impl Adapter {
    fn new(shared: Arc<Shared>) -> Self {
        let strays = Strays {
            count: 0,
            ended: Instant::now(),
        };
        let tunnels = Arc::new(Tunnels::<Ticket>::new());
        let tidied = Arc::downgrade(&tunnels);
        shared.tidy_by(move || tidied.upgrade().iter().for_each(|tunnels| tunnels.tidy()));
        Self {
            shared,
            undecided: Arc::default(),
            upgrading: Arc::default(),
            told: OnceLock::new(),
            has_strays: AtomicBool::new(false),
            strays: Mutex::new(strays),
            tunnels,
        }
    }

    fn tell(&self) {
        let _ = self.told.set(Instant::now());
        self.wake_connections();
    }

    fn has_strays(&self) -> bool {
        self.has_strays.load(Ordering::Relaxed)
    }

    fn note_stray(&self) {
        self.has_strays.store(true, Ordering::Relaxed);
    }

    /// Returns where to look for the connection of a request, if that is worth it: HTTP/2 has a task for each
    /// stream, and who calls elsewhere once does it again, but in a lame duck it is worth it all the same.
    fn may_search(&self, is_http1: bool) -> Option<&Shared> {
        let is_worth_it = self.shared.is(Mood::LameDuck) || (is_http1 && !self.has_strays());
        is_worth_it.then_some(&*self.shared)
    }

    fn add_stray(&self) {
        self.with_strays(|strays| strays.count += 1);
    }

    fn remove_stray(&self) {
        let strays = self.with_strays(|strays| {
            strays.count -= 1;
            strays.ended = Instant::now();
            *strays
        });
        if strays.count == 0 && self.shared.is(Mood::Draining) {
            self.wake_connections();
        }
    }

    /// Returns when the last stray request ended; `None` while there is one.
    fn strays_ended(&self) -> Option<Instant> {
        self.with_strays(|strays| (strays.count == 0).then_some(strays.ended))
    }

    // Nothing that could panic runs under the lock.
    fn with_strays<T>(&self, look: impl FnOnce(&mut Strays) -> T) -> T {
        look(&mut self.strays.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake_connections(&self) {
        for connection in self.shared.connections.members() {
            connection.wake();
        }
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("connections", &self.shared.connections.len())
            .finish_non_exhaustive()
    }
}

/// From the trigger to the moment at which the framework is told.
struct Drain {
    adapter: Arc<Adapter>,
    /// Gone when the framework has dropped its listener, because it failed or was cut.
    acceptor: Weak<Acceptor>,
    queue: watch::Receiver<Queue>,
}

impl Drain {
    async fn run(mut self) {
        let shared = Arc::clone(&self.adapter.shared);
        let lifecycle = &shared.lifecycle;
        let _attendance = lifecycle.attend();
        self.with_acceptor(Acceptor::report);
        lifecycle.serves_in_main();
        if !lifecycle.has_its_turn().await {
            // What is in the queue is the predecessor's.
            return self.adapter.tell();
        }
        if lifecycle.has_predecessor {
            self.with_acceptor(Acceptor::open);
        }
        lifecycle.reached(Phase::LameDuck).await;
        shared.set_mood(Mood::LameDuck);
        lifecycle.reached(Phase::Draining).await;
        // A listener that a successor may accept from must not be sealed.
        lifecycle.restart_decided().await;
        shared.set_mood(Mood::Draining);
        let begin = Instant::now();
        let limit = begin + lifecycle.keep_alive_grace + HEAD_LIMIT;
        // What is left at the limit is busy, and the framework lets it finish.
        let _ = timeout_at(limit, self.emptied()).await;
        // Told, it drops its listener, and with that what the kernel has accepted and it could not, for want of
        // descriptors.
        if self.with_acceptor(Acceptor::has_queue) == Some(true) {
            self.accepted().await;
        }
        // hyper writes `close` beside `upgrade` when it has been told.
        let limit = begin + shared.goaway_limit();
        let _ = timeout_at(limit, self.adapter.upgrading.empty()).await;
        self.adapter.tell();
    }

    /// Waits until neither the accept queue nor a connection holds what the framework would lose.
    async fn emptied(&mut self) {
        let Some(was_busy) = self.with_acceptor(Acceptor::seal).flatten() else {
            return self.adapter.undecided.empty().await;
        };
        let sealed = Instant::now();
        let handshakes = sealed + if was_busy { HANDSHAKES } else { Duration::ZERO };
        loop {
            self.accepted().await;
            if self.adapter.undecided.len() == 0 && Instant::now() >= handshakes {
                return;
            }
            self.adapter.undecided.empty().await;
            sleep_until(handshakes).await;
        }
    }

    /// Waits until the framework has accepted everything that the kernel holds.
    async fn accepted(&mut self) {
        self.with_acceptor(Acceptor::look);
        // An error: there is no listener any more.
        let _ = self.queue.wait_for(|queue| *queue == Queue::Empty).await;
    }

    fn with_acceptor<T>(&self, ask: impl FnOnce(&Acceptor) -> T) -> Option<T> {
        self.acceptor.upgrade().map(|acceptor| ask(&acceptor))
    }
}
