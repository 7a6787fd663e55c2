//! The HTTP server: a listener and a service, drained without losing a request.

pub(crate) mod beginning;
pub(crate) mod close;
pub(crate) mod connection;
mod conversation;
pub(crate) mod first_bytes;
pub(crate) mod followed;
mod frames;
mod framing;
mod http1;
mod http2;
pub(crate) mod leaving;
pub(crate) mod limits;
pub(crate) mod moved;
pub(crate) mod options;
mod parking;
pub(crate) mod passage;
mod policy;
mod requests;
mod retiring;
mod running;
mod security;
pub(crate) mod service;
pub(crate) mod shared;
mod streams;
mod sweep;
mod taking;
#[cfg(feature = "tls")]
mod tls;
pub(crate) mod transport;
mod unmatched;

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::net::listener::Listener;

use self::options::{KeepAlive, Options};
use self::running::{Parts, Running};
use self::security::Security;
pub(crate) use self::service::HttpService;
pub use self::service::IntoService;
#[cfg(feature = "tls")]
pub use self::tls::Tls;

#[cfg(test)]
pub(crate) mod tests;

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
pub struct Serve<S>(Parts<S>);

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
/// At a restart connections of HTTP/1 in clear text go to the successor instead, idle ones at once and others behind their
/// response, so that clients do not notice; those of TLS and HTTP/2 end as at a shutdown.
///
/// A `main` that serves in its own body ends by itself: a signal does not drop it any more, so whatever else it
/// waits for has to end by [`shutdown`](crate::shutdown()), too. A server in a task of its own, as for health
/// checks, is waited for in the drain, but does not keep a signal from cancelling the start-up.
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
    Serve(Parts {
        listener,
        service: service.into_service(),
        security: Security::ClearText,
        max_connections: Semaphore::MAX_PERMITS,
        options: Options::default(),
        drains_last: false,
    })
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
        self.0.max_connections = count.min(Semaphore::MAX_PERMITS);
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
        self.0.options.header_timeout = timeout;
        self
    }

    /// Limits how long a connection may be idle between two requests (75 s); [`Duration::ZERO`] is no limit.
    ///
    /// Then it is closed, unless something has come. A request that its client sends at that very moment is lost, which
    /// HTTP/1 cannot prevent (RFC 9112, section 9.5); so the limit has to be longer than the client's or the proxy's own:
    /// 60 s is usual there, Google's load balancers have 600 s. The default is that of nginx. Over HTTP/2 the client is told first.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).keep_alive_timeout(Duration::from_secs(620)).await
    /// # }
    /// ```
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.0.options.keep_alive_timeout = (!timeout.is_zero()).then_some(timeout);
        self
    }

    /// Limits how many requests a connection may bring (no limit).
    ///
    /// The last response says `connection: close`, unless a further request has come already, which is answered first; an
    /// HTTP/2 client gets a GOAWAY, and its requests are answered. Nothing is lost. The client opens another connection, and a
    /// balancer may choose another server for it.
    ///
    /// # Panics
    ///
    /// Panics if `count` is 0: such a server could serve nobody.
    ///
    /// ```no_run
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).max_requests(10_000).await
    /// # }
    /// ```
    pub fn max_requests(mut self, count: u64) -> Self {
        assert!(count > 0, "`max_requests(0)` would serve nobody");
        self.0.options.life.get_or_insert_default().max_requests = Some(count);
        self
    }

    /// Limits how old a connection may get (no limit), for each by up to a tenth more or less, so that those which were
    /// opened together do not end together.
    ///
    /// It ends with the first response after that, as with [`max_requests`](Self::max_requests); one that is idle is left
    /// to [`keep_alive_timeout`](Self::keep_alive_timeout), as a close could lose a request. An HTTP/2 client gets its
    /// GOAWAY at once, which loses nothing.
    ///
    /// # Panics
    ///
    /// Panics if `age` is zero: such a server could serve nobody.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).max_connection_age(Duration::from_secs(600)).await
    /// # }
    /// ```
    pub fn max_connection_age(mut self, age: Duration) -> Self {
        assert!(!age.is_zero(), "`max_connection_age(0)` would serve nobody");
        self.0.options.life.get_or_insert_default().max_age = Some(age);
        self
    }

    /// Chooses how long after a response an idle connection of HTTP/1 stays ready for the next request (5 ms).
    ///
    /// Then it is *parked*: its buffers are given up, which makes it some 2 KB of memory in place of 16 KB, and costs its
    /// next request about as much processor time as another request. For a client that comes again soon after that, the
    /// time is doubled, up to 1 s; so there is hardly ever a reason to change it. [`Duration::MAX`] never parks.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use graceful::doc::app;
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:3000").await?;
    /// graceful::serve(listener, app()).park_after(Duration::from_millis(50)).await
    /// # }
    /// ```
    pub fn park_after(mut self, idle: Duration) -> Self {
        self.0.options.park_after = idle;
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
        self.0.options.connect_info = true;
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
        self.0.options.half_close = is_answered;
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
        self.0.options.http2.max_concurrent_streams = Some(count);
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
        self.0.options.http2.keep_alive = Some(KeepAlive { interval, timeout });
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
        self.0.security = Security::Tls(tls.into());
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
        self.0.drains_last = true;
        self
    }
}

impl<S> fmt::Debug for Serve<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.0.listener)
            .finish_non_exhaustive()
    }
}

impl<S: HttpService> IntoFuture for Serve<S> {
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Running::start(self.0).run().await })
    }
}
