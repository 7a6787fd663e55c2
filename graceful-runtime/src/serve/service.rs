//! The user's service with every request counted from its call to the end of its response's body.

use std::error::Error;
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::service::TowerToHyperService;
use pin_project_lite::pin_project;

use super::connection::Connection;
use super::connection::in_flight::InFlightGuard;
use super::streams::hold_upgraded;
use crate::net::stream::Peer;

type BoxError = Box<dyn Error + Send + Sync>;

/// What [`serve`](crate::serve()) takes: a hyper service (such as `service_fn`), or a tower service
/// (such as axum's `Router`).
///
/// Every connection gets a clone. `M` only tells the two apart and is always inferred.
///
/// ```
/// use std::convert::Infallible;
/// use http_body_util::Full;
/// use hyper::body::{Bytes, Incoming};
/// use hyper::service::service_fn;
/// use hyper::{Request, Response};
///
/// fn is_service<M>(_: impl graceful::IntoService<M>) {}
///
/// is_service(service_fn(|_: Request<Incoming>| async {
///     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
/// }));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer HTTP requests",
    note = "`graceful::serve` takes a hyper service (`hyper::service::service_fn`) or a tower service \
            (`axum::Router`) of `Request<hyper::body::Incoming>` that is `Clone + Send + 'static`",
    note = "in place of axum's `into_make_service_with_connect_info`, pass the `Router` itself and call \
            `.connect_info()` on the server"
)]
pub trait IntoService<M> {
    /// The service as hyper takes it.
    #[doc(hidden)]
    type Service: HttpService;

    /// Turns it into the service that hyper takes.
    #[doc(hidden)]
    fn into_service(self) -> Self::Service;
}

/// The bounds on a service, in one name.
#[doc(hidden)]
pub trait HttpService:
    Service<
        Request<Incoming>,
        Response = Response<<Self as HttpService>::Body>,
        Error: Into<BoxError>,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// What its responses carry.
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error: Into<BoxError>,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

/// The markers of the implementations.
#[allow(
    missing_debug_implementations,
    missing_docs,
    reason = "never built, never named"
)]
pub(crate) mod marker {
    pub enum Hyper {}
    pub enum Tower {}
}

impl<S: HttpService> IntoService<marker::Hyper> for S {
    type Service = S;

    fn into_service(self) -> S {
        self
    }
}

impl<S, B> IntoService<marker::Tower> for S
where
    S: tower_service::Service<
            Request<Incoming>,
            Response = Response<B>,
            Error: Into<BoxError>,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Service = TowerToHyperService<S>;

    fn into_service(self) -> Self::Service {
        TowerToHyperService::new(self)
    }
}

/// The service of one connection.
#[derive(Debug)]
pub(super) struct Tracked<S> {
    service: S,
    connection: Arc<Connection>,
}

impl<S> Tracked<S> {
    pub(super) fn new(service: S, connection: Arc<Connection>) -> Self {
        Self {
            service,
            connection,
        }
    }
}

impl<S: HttpService> Service<Request<Incoming>> for Tracked<S> {
    type Response = Response<TrackedBody<S::Body>>;
    type Error = BoxError;
    type Future = Tracking<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let guard = Some(self.connection.begin(&request));
        let is_connect = request.method() == Method::CONNECT;
        if self.connection.policy.options.connect_info {
            add_connect_info(&mut request, self.connection.peer());
        }
        // A panic here would take the other streams of an HTTP/2 connection with it.
        let future = catch_unwind(AssertUnwindSafe(|| self.service.call(request)));
        Tracking {
            future: future.ok(),
            is_connect,
            guard,
        }
    }
}

/// Tells the handler of `request` who asks.
fn add_connect_info(request: &mut Request<Incoming>, peer: Peer) {
    if let Peer::Tcp(address) = peer {
        let extensions = request.extensions_mut();
        extensions.insert(address);
        #[cfg(feature = "axum")]
        extensions.insert(axum::extract::ConnectInfo(address));
    }
}

pin_project! {
    /// The response that is being made.
    pub(super) struct Tracking<F> {
        // `None`: the service panicked before it had one.
        #[pin]
        future: Option<F>,
        is_connect: bool,
        // `None`: the response has been made.
        guard: Option<InFlightGuard>,
    }
}

impl<F, B, E> Future for Tracking<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<TrackedBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = match this.future.as_pin_mut() {
            Some(future) => catch_unwind(AssertUnwindSafe(|| future.poll(cx))).ok(),
            None => None,
        };
        let mut response = match polled {
            Some(polled) => ready!(polled)
                .map_err(|error| {
                    this.guard.iter().for_each(InFlightGuard::finish);
                    error.into()
                })?
                .map(Some),
            // The panic hook has printed why; the client gets an answer all the same.
            None => server_error(),
        };
        let status = response.status();
        let is_upgrade =
            status == StatusCode::SWITCHING_PROTOCOLS || (*this.is_connect && status.is_success());
        let guard = match this.guard.take() {
            Some(guard) if is_upgrade && guard.is_http2() => {
                hold_upgraded(guard);
                None
            }
            Some(guard) => {
                if is_upgrade {
                    guard.upgrade();
                } else if guard.connection().is_last_response() {
                    announce_close(&mut response);
                }
                Some(Held::new(guard))
            }
            None => None,
        };
        Poll::Ready(Ok(response.map(|body| TrackedBody { body, guard })))
    }
}

/// Says that the connection ends with this response.
pub(crate) fn announce_close<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

fn server_error<B>() -> Response<Option<B>> {
    let mut response = Response::new(None);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// What keeps a request in flight while its response is sent: a guard, or something with one in it.
#[derive(Debug)]
pub(crate) enum Held<G> {
    Http1(G),
    /// h2 takes a body whole and sends it as the client makes room, so every piece of it holds on, too.
    Http2(Arc<G>),
}

/// Something with a guard in it.
pub(crate) trait Guard: AsMut<InFlightGuard> {
    fn is_http2(&self) -> bool;

    /// Notes that the body is at its end.
    fn finish(&self);
}

impl Guard for InFlightGuard {
    fn is_http2(&self) -> bool {
        Self::is_http2(self)
    }

    fn finish(&self) {
        Self::finish(self);
    }
}

impl<G: Guard> Held<G> {
    pub(crate) fn new(guard: G) -> Self {
        match guard.is_http2() {
            true => Self::Http2(Arc::new(guard)),
            false => Self::Http1(guard),
        }
    }

    /// Notes that the body is at its end.
    pub(crate) fn finish(&self) {
        if let Self::Http2(guard) = self {
            guard.finish();
        }
    }

    /// Takes note of a piece of the body; returns what has to go with it.
    pub(crate) fn piece(&mut self, size: usize) -> Option<Arc<G>> {
        match self {
            Self::Http1(guard) => {
                guard.as_mut().add(size);
                None
            }
            Self::Http2(guard) => Some(Arc::clone(guard)),
        }
    }
}

/// A piece of a body.
pub(super) struct Piece<D: Buf> {
    data: D,
    /// Where it is sent on a stream of HTTP/2.
    guard: Option<Arc<InFlightGuard>>,
}

impl<D: Buf> Drop for Piece<D> {
    fn drop(&mut self) {
        if let Some(guard) = &self.guard
            && self.data.has_remaining()
        {
            guard.give_up();
        }
    }
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

pin_project! {
    /// The body of a response; the request is in flight until it is dropped.
    pub(super) struct TrackedBody<B> {
        // `None`: empty.
        #[pin]
        body: Option<B>,
        guard: Option<Held<InFlightGuard>>,
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece<B::Data>>, B::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(body.poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            this.guard.iter().for_each(Held::finish);
        }
        let hold = |data: B::Data| {
            let size = data.remaining();
            let guard = this.guard.as_mut().and_then(|guard| guard.piece(size));
            Piece { data, guard }
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(hold))))
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.body.as_ref().is_none_or(Body::is_end_stream);
        // A caller that sees `true` does not ask for more, so this is the end.
        if is_end {
            self.guard.iter().for_each(Held::finish);
        }
        is_end
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
