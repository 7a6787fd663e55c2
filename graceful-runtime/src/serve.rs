//! The HTTP server: a listener and a service, drained without losing a request.

mod close;
mod connection;
mod conversation;
mod drain;
mod first_bytes;
mod followed;
mod frames;
mod framing;
mod http1;
mod http2;
mod leaving;
mod options;
mod policy;
mod requests;
mod security;
mod service;
mod shared;
mod strays;
mod streams;
mod taking;
#[cfg(feature = "tls")]
mod tls;
mod transport;

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::lifecycle::Lifecycle;
use crate::lifecycle::current::Attendance;
use crate::lifecycle::registry::Member;
use crate::lifecycle::report;
use crate::lifecycle::server::Server;
use crate::model::phase::Phase;
use crate::net::accept::{ACCEPT_PAUSE, Complaints, is_of_one_connection};
use crate::net::listener::Listener;
use crate::net::stream::{Peer, Stream};
use crate::os::shortage::Shortage;
use crate::timer::wait_until;

#[cfg(feature = "adapt")]
pub(crate) use self::close::{close, may_close_at_once};
#[cfg(feature = "adapt")]
pub(crate) use self::connection::Connection;
#[cfg(feature = "adapt")]
pub(crate) use self::connection::in_flight::InFlightGuard;
#[cfg(feature = "adapt")]
pub(crate) use self::drain::HEAD_LIMIT;
pub(crate) use self::drain::{BUSY, HANDSHAKES};
#[cfg(feature = "adapt")]
pub(crate) use self::first_bytes::{HTTP2_PREFACE, Preface, has_unread, preface};
#[cfg(feature = "adapt")]
pub(crate) use self::followed::Followed;
#[cfg(feature = "adapt")]
pub(crate) use self::leaving::{Due, Leaving};
use self::options::KeepAlive;
pub(crate) use self::options::Options;
use self::security::Security;
pub(crate) use self::service::HttpService;
pub use self::service::IntoService;
#[cfg(feature = "adapt")]
pub(crate) use self::service::{Guard, Held, announce_close};
pub(crate) use self::shared::Shared;
#[cfg(feature = "tls")]
pub use self::tls::Tls;
#[cfg(feature = "adapt")]
pub(crate) use self::transport::Transport;
pub(crate) use crate::model::stage::Stage;

#[cfg(test)]
pub(crate) mod tests;

/// How long connections that cannot be refused are accepted in a drain.
const UNSEALED_LIMIT: Duration = Duration::from_millis(100);
/// A server to be returned from `main` or awaited; see [`serve()`].
///
/// ```no_run
/// # use graceful::doc::app;
/// # async fn example() -> std::io::Result<()> {
/// let listener = graceful::bind("127.0.0.1:3000").await?;
/// let server = graceful::serve(listener, app()).max_connections(10_000);
/// server.await
/// # }
/// ```
#[must_use = "a server does nothing until it is returned from `main` or awaited"]
pub struct Serve<S> {
    listener: Listener,
    service: S,
    security: Security,
    max_connections: usize,
    options: Options,
    drains_last: bool,
}

/// Serves HTTP/1 and HTTP/2 (in clear text by prior knowledge) on `listener`.
///
/// `service` is a hyper service, a tower service such as axum's `Router`, or a `service_fn`. The
/// server runs when it is awaited or returned from `main`, and ends with its drain, or with an error
/// of the listener.
///
/// At the shutdown every request that the kernel has accepted is answered: in flight, in the socket of
/// an idle connection, on a connection that was silent so far, in the accept queue. Connections are
/// closed so that the last response arrives. Upgraded connections, such as WebSockets, are waited for
/// and learn of the shutdown by [`shutdown`](crate::shutdown()); so are upgraded streams of HTTP/2 (RFC 8441).
///
/// A `main` that serves in its own body ends by itself: a signal does not drop it any more, so whatever else it
/// waits for has to end by [`shutdown`](crate::shutdown()), too. A server in a task, as for health checks, is
/// waited for, but keeps no `main` that is still starting.
///
/// # Cancel safety
///
/// A drop of the running server closes its listener and cuts its connections.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use std::convert::Infallible;
/// use http_body_util::Full;
/// use hyper::body::{Bytes, Incoming};
/// use hyper::service::service_fn;
/// use hyper::{Request, Response};
///
/// let app = service_fn(|_: Request<Incoming>| async {
///     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
/// });
/// let listener = graceful::bind("127.0.0.1:3000").await?;
/// graceful::serve(listener, app).await
/// # }
/// ```
pub fn serve<S, M>(listener: Listener, service: S) -> Serve<S::Service>
where
    S: IntoService<M>,
{
    Serve {
        listener,
        service: service.into_service(),
        security: Security::ClearText,
        max_connections: Semaphore::MAX_PERMITS,
        options: Options::default(),
        drains_last: false,
    }
}

impl<S> Serve<S> {
    /// Limits how many connections are open at the same time (no limit).
    ///
    /// Further ones wait in the accept queue, also during the drain; they are not refused.
    ///
    /// # Panics
    ///
    /// Panics if `count` is 0: such a server could serve nobody.
    ///
    /// ```no_run
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).max_connections(10_000).await
    /// # }
    /// ```
    pub fn max_connections(mut self, count: usize) -> Self {
        assert!(count > 0, "`max_connections(0)` would serve nobody");
        self.max_connections = count.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Limits how long a request head, or the silence of a new connection, may take (30 s).
    ///
    /// Then the answer is 408, or a close where nothing has come. In a drain the limit for the rest of
    /// a head is 1 s, or this where it is shorter.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).header_timeout(Duration::from_secs(10)).await
    /// # }
    /// ```
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.options.header_timeout = timeout;
        self
    }

    /// Gives every request its client's [`SocketAddr`](std::net::SocketAddr) as an extension (off).
    ///
    /// Behind a proxy it is the proxy's. On a UNIX socket there is none, and an extractor that needs one
    /// fails. It costs each request a few allocations, so it has to be asked for.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// use std::convert::Infallible;
    /// use std::net::SocketAddr;
    /// use hyper::body::Incoming;
    /// use hyper::service::service_fn;
    /// use hyper::{Request, Response};
    ///
    /// let app = service_fn(|request: Request<Incoming>| async move {
    ///     let client = request.extensions().get::<SocketAddr>();
    ///     Ok::<_, Infallible>(Response::new(format!("hello {client:?}")))
    /// });
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app).connect_info().await
    /// # }
    /// ```
    ///
    /// With the feature `axum`, axum's `ConnectInfo<SocketAddr>` is there, too. The server takes the
    /// `Router` itself, without `into_make_service_with_connect_info`:
    ///
    #[cfg_attr(feature = "axum", doc = "```no_run")]
    #[cfg_attr(not(feature = "axum"), doc = "```ignore")]
    /// # async fn example() -> std::io::Result<()> {
    /// use std::net::SocketAddr;
    /// use axum::{Router, extract::ConnectInfo, routing::get};
    ///
    /// async fn hello(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
    ///     format!("hello {client}")
    /// }
    ///
    /// let app = Router::new().route("/", get(hello));
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app).connect_info().await
    /// # }
    /// ```
    pub fn connect_info(mut self) -> Self {
        self.options.connect_info = true;
        self
    }

    /// Answers HTTP/1 clients that close their side of the connection behind a request (off).
    ///
    /// `nc -N`, `socat` and some proxies send a request, then the end of the stream, and wait for the answer,
    /// as TCP allows (RFC 9293, section 3.6). But the same end of the stream is all that is seen of a client that
    /// goes away, such as a browser whose user does not wait. So by default it drops the handler, which frees what
    /// that holds; with `true` the handler goes on, and only a reset drops it, or a UNIX socket that is closed.
    ///
    /// TLS clients close their side by `close_notify`, the end of the stream, or both. HTTP/2 has streams for it.
    ///
    /// ```no_run
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).half_close(true).await
    /// # }
    /// ```
    pub fn half_close(mut self, is_answered: bool) -> Self {
        self.options.half_close = is_answered;
        self
    }

    /// Limits how many requests one HTTP/2 client may have in flight on one connection (200).
    ///
    /// A client that keeps to it lets further ones wait; others are refused and may be sent again
    /// (`SETTINGS_MAX_CONCURRENT_STREAMS` and `REFUSED_STREAM`, RFC 9113, sections 5.1.2 and 8.7). WebSockets and other
    /// upgraded streams count as long as they are open.
    ///
    /// # Panics
    ///
    /// Panics if `count` is 0: such a server could serve nobody.
    ///
    /// ```no_run
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).max_concurrent_streams(1000).await
    /// # }
    /// ```
    pub fn max_concurrent_streams(mut self, count: u32) -> Self {
        assert!(count > 0, "`max_concurrent_streams(0)` would serve nobody");
        self.options.http2.max_concurrent_streams = Some(count);
        self
    }

    /// Asks an HTTP/2 client from which nothing has come for `interval` whether it is still there, and ends the
    /// connection where it does not answer within `timeout` (off).
    ///
    /// A client that has vanished, by a crash or a change of networks, sends no end of the connection. Without this
    /// option a stream of events to it is in flight until the kernel gives up, which takes a quarter of an hour
    /// (`tcp_retries2` in tcp(7)), or until the deadline of a drain. gRPC servers use 20 s for the timeout.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// let server = graceful::serve(listener, app());
    /// server.http2_keep_alive(Duration::from_secs(30), Duration::from_secs(20)).await
    /// # }
    /// ```
    pub fn http2_keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.http2.keep_alive = Some(KeepAlive { interval, timeout });
        self
    }

    /// Speaks TLS with this certificate, HTTP/2 and HTTP/1.1 by ALPN.
    ///
    /// A handshake may take as long as a request head, and in a drain it may finish.
    ///
    /// ```no_run
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let tls = graceful::Tls::from_pem_files("/etc/app/cert.pem", "/etc/app/key.pem")?;
    /// let listener = graceful::bind("0.0.0.0:443").await?;
    /// graceful::serve(listener, app()).tls(tls).await
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<Tls>) -> Self {
        self.security = Security::Tls(tls.into());
        self
    }

    /// Keeps this server up until the others have drained, as an admin or health server should.
    ///
    /// ```no_run
    /// # use graceful::doc::app;
    /// #[graceful::main]
    /// async fn main() -> std::io::Result<(impl graceful::Server, impl graceful::Server)> {
    ///     let public = graceful::bind("0.0.0.0:3000").await?;
    ///     let health = graceful::bind("127.0.0.1:3001").await?;
    ///     Ok((graceful::serve(public, app()), graceful::serve(health, app()).drain_last()))
    /// }
    /// ```
    pub fn drain_last(mut self) -> Self {
        self.drains_last = true;
        self
    }
}

impl<S> fmt::Debug for Serve<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl<S: HttpService> IntoFuture for Serve<S> {
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Running::start(self).run().await })
    }
}

/// A server that runs.
struct Running<S> {
    listener: Listener,
    service: S,
    security: Security,
    lifecycle: Arc<Lifecycle>,
    /// `main` itself serves.
    _attendance: Option<Attendance>,
    /// The server as the report knows it, with its connections.
    shared: CutOnDrop,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
    drains_last: bool,
    accepted: Option<Instant>,
    complaints: Complaints,
}

impl<S: HttpService> Running<S> {
    fn start(serve: Serve<S>) -> Self {
        let lifecycle = Lifecycle::current_or_detached();
        let attendance = lifecycle.attend();
        if serve.drains_last {
            lifecycle.count_servers(|servers| servers.last += 1);
        }
        let shared = Shared::new(Arc::clone(&lifecycle), serve.options);
        lifecycle.say(report::listening(&serve.security.url(&serve.listener)));
        Self {
            listener: serve.listener,
            service: serve.service,
            security: serve.security,
            shared: CutOnDrop::new(shared),
            lifecycle,
            _attendance: attendance,
            room: Arc::new(Semaphore::new(serve.max_connections)),
            drains_last: serve.drains_last,
            accepted: None,
            complaints: Complaints::default(),
        }
    }

    async fn run(mut self) -> io::Result<()> {
        let lifecycle = Arc::clone(&self.lifecycle);
        let shared = Arc::clone(&self.shared);
        let drains_last = self.drains_last;
        lifecycle.serves_in_main();
        if !lifecycle.has_its_turn().await {
            // What is in the queue is the predecessor's.
            return Ok(());
        }
        self.accept_until(wait_for_drain(&lifecycle, &shared, drains_last))
            .await;
        self.drain().or(cut_short(&lifecycle, &shared)).await;
        Ok(())
    }

    /// Accepts connections until `end`.
    async fn accept_until(&mut self, end: impl Future<Output = ()>) {
        let accepting = async {
            loop {
                self.accept().await;
            }
        };
        end.or(accepting).await;
    }

    /// Ends the listener and then the last connection.
    async fn drain(mut self) {
        // What another process accepts from needs nothing but to be left to it.
        if !self.listener.is_shared() {
            self.empty_queue().await;
        }
        let Self {
            listener, shared, ..
        } = self;
        drop(listener);
        shared.connections.empty().await;
    }

    /// Turns new connects away and accepts what the kernel has accepted already.
    async fn empty_queue(&mut self) {
        let begin = Instant::now();
        if self.listener.seal() {
            // The listener stays as long as there are connections anyway, so that handshakes under way
            // have all that time, and at least a little where more may be under way.
            let was_busy = self
                .accepted
                .is_some_and(|accepted| accepted + BUSY > begin);
            let handshakes = begin + if was_busy { HANDSHAKES } else { Duration::ZERO };
            loop {
                let connections = Arc::clone(&self.shared.connections);
                let settled = async {
                    connections.empty().await;
                    wait_until(handshakes).await;
                };
                self.accept_until(settled).await;
                if !self.accept_queued().await {
                    return;
                }
            }
        }
        // They go on coming, so some may be lost; the queue as it is now is served. Where others listen on the
        // same port, the sooner they get all of them the better.
        if !self.listener.has_siblings() {
            let connections = Arc::clone(&self.shared.connections);
            self.accept_until(connections.empty().or(sleep(UNSEALED_LIMIT)))
                .await;
        }
        let rest = async {
            while self.accept_queued().await {
                yield_now().await;
            }
        };
        rest.or(sleep(UNSEALED_LIMIT)).await;
    }

    /// Waits for room and a connection, and spawns the task that serves it.
    async fn accept(&mut self) {
        // Never closed, so there is always a permit to come.
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return;
        };
        let accepted = poll_fn(|cx| {
            let accepted = self.listener.poll_accept(cx);
            if accepted.is_pending() {
                self.shared.note_accepts();
            }
            accepted
        });
        match accepted.await {
            Ok((stream, peer)) => self.spawn(stream, peer, permit),
            Err(error) => self.accept_failed(&error).await,
        }
    }

    /// Accepts one of the connections that the kernel holds at this moment, or pauses where it cannot; tells
    /// whether there may be more.
    async fn accept_queued(&mut self) -> bool {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return false;
        };
        match self.listener.accept_now() {
            Ok(Some((stream, peer))) => {
                self.spawn(stream, peer, permit);
                true
            }
            Ok(None) => false,
            Err(error) => {
                // The end of a connection may mend it.
                let is_short = Shortage::of(&error).is_some();
                // The kernel looks for a free descriptor before it looks at the queue.
                if is_short && self.listener.queue_length() == 0 {
                    return false;
                }
                self.accept_failed(&error).await;
                is_short || is_of_one_connection(&error)
            }
        }
    }

    fn spawn(&mut self, stream: Stream, peer: Peer, permit: OwnedSemaphorePermit) {
        self.accepted = Some(Instant::now());
        self.shared.note_accepts();
        let connection = self.shared.connect(peer);
        let service = self.service.clone();
        let security = self.security.clone();
        conversation::spawn(stream, security, connection, service, permit);
    }

    async fn accept_failed(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        let complaint = self.complaints.about(&self.listener, error);
        complaint
            .into_iter()
            .for_each(|line| self.lifecycle.say(line));
        self.shared.note_accept_failed(&self.listener, error);
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Gives up the connections of a server that is dropped before its end.
struct CutOnDrop {
    shared: Arc<Shared>,
    _registration: Member<dyn Server>,
}

impl CutOnDrop {
    fn new(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let registration = shared
            .lifecycle()
            .serving
            .enter_shared(Arc::clone(&shared) as _);
        Self {
            shared,
            _registration: registration,
        }
    }
}

impl Deref for CutOnDrop {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.shared.reach(Stage::Cut);
    }
}

/// Waits until this server has to drain.
async fn wait_for_drain(lifecycle: &Lifecycle, shared: &Shared, drains_last: bool) {
    if !drains_last {
        return shared.drain_begins().await;
    }
    lifecycle.reached(Phase::Draining).await;
    lifecycle.others_drained().await;
    lifecycle.restart_decided().await;
    shared.reach(Stage::Draining);
}

/// Waits until the connections are given up, and ends them.
async fn cut_short(lifecycle: &Lifecycle, shared: &Shared) {
    lifecycle.reached(Phase::Stopping).await;
    shared.reach(Stage::Cut);
    shared.connections.empty().await;
}
