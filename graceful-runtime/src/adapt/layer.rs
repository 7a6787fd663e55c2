//! What the framework answers, counted, and with the end of the connection announced.

use std::any::Any;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use hyper::header::UPGRADE;
use hyper::{Method, Request, Response, StatusCode, Version};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::adapter::Adapter;
use super::origin;
use super::ticket::{RequestOrigin, Ticket};
use super::tunnels::Tunnels;
use crate::lifecycle::registry::Member;
use crate::serve::service::{Guard, Held, announce_close};

/// The layer of [`adapt`](crate::adapt()), which has to be the outermost one.
///
/// It counts a request as in flight until the body of its response is dropped, and from the trigger on
/// it adds `connection: close` to what is answered over HTTP/1.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use axum::{Router, routing::get};
///
/// let listener = graceful::bind("127.0.0.1:0").await?;
/// let (listener, layer, shutdown) = graceful::adapt(listener);
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layer {
    adapter: Arc<Adapter>,
}

impl Layer {
    pub(super) fn new(adapter: Arc<Adapter>) -> Self {
        Self { adapter }
    }
}

impl<S> tower_layer::Layer<S> for Layer {
    type Service = Layered<S>;

    fn layer(&self, service: S) -> Layered<S> {
        Layered {
            service,
            adapter: Arc::clone(&self.adapter),
        }
    }
}

/// A service under the [`Layer`], for those who have to name it.
///
/// ```
/// fn wrap<S>(layer: &graceful::adapt::Layer, service: S) -> graceful::adapt::Layered<S> {
///     tower_layer::Layer::layer(layer, service)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Layered<S> {
    service: S,
    adapter: Arc<Adapter>,
}

impl<S, B, R> Service<Request<B>> for Layered<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: hyper::body::Body,
{
    type Response = Response<Body<R>>;
    type Error = S::Error;
    type Future = Responding<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        #[cfg(feature = "tonic")]
        let (request, told) = super::connect_info::ConnectInfo::unpack(request);
        #[cfg(not(feature = "tonic"))]
        let told = None;
        let is_http1 = request.version() < Version::HTTP_2;
        let known = told.or_else(origin::touched).or_else(|| {
            let shared = self.adapter.may_search(is_http1)?;
            origin::searched(shared)
        });
        if known.is_none() && is_http1 {
            self.adapter.strays.note_http1();
        }
        let origin = RequestOrigin::new(known, &self.adapter.strays);
        let is_upgrading = is_http1 && request.headers().contains_key(UPGRADE);
        let is_stream = !is_http1 && origin.shows_streams();
        let ticket = Ticket {
            guard: origin.connection().begin(&request),
            request: is_stream.then(|| self.adapter.tunnels.request()),
            origin,
        };
        Responding {
            is_http1,
            is_connect: request.method() == Method::CONNECT,
            tunnels: Arc::clone(&self.adapter.tunnels),
            future: self.service.call(request),
            _upgrading: is_upgrading.then(|| self.adapter.upgrading.enter(())),
            ticket: Some(ticket),
        }
    }
}

pin_project! {
    /// The response of a [`Layered`] service that is being made.
    ///
    /// ```
    /// type Future<S, R> = graceful::adapt::Responding<<S as tower_service::Service<R>>::Future>;
    /// ```
    #[derive(Debug)]
    pub struct Responding<F> {
        #[pin]
        future: F,
        is_http1: bool,
        is_connect: bool,
        tunnels: Arc<Tunnels<Ticket>>,
        // Where the request is one of HTTP/1 that may switch protocols.
        _upgrading: Option<Member<()>>,
        // `None`: the response has been made.
        ticket: Option<Ticket>,
    }
}

impl<F, B, E> Future for Responding<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Body<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = ready!(this.future.poll(cx));
        let ticket = this.ticket.take();
        if polled.is_err() {
            ticket.iter().for_each(Ticket::finish);
        }
        let mut response = polled?;
        let status = response.status();
        let is_upgrade =
            status == StatusCode::SWITCHING_PROTOCOLS || (*this.is_connect && status.is_success());
        let held = match ticket {
            Some(mut ticket) if is_upgrade && ticket.request.is_some() => {
                ticket.guard.upgrade();
                ticket.request = None;
                this.tunnels.add(ticket);
                None
            }
            Some(ticket) => {
                if is_upgrade {
                    ticket.guard.upgrade_connection();
                } else if *this.is_http1 && ticket.origin.connection().is_last_response() {
                    announce_close(&mut response);
                }
                Some(Held::new(ticket))
            }
            None => None,
        };
        Poll::Ready(Ok(response.map(|body| Body {
            body,
            rest: Bytes::new(),
            held,
        })))
    }
}

/// How much of a body goes to the framework at once: what is with it is not known to be sent. A frame of HTTP/2 holds as
/// much (RFC 9113, section 4.2).
const PIECE: usize = 16 << 10;

/// Gives `look` a piece of a body, where it is made of [`Bytes`], as those of axum and tonic are.
fn with_bytes<D: 'static, R>(piece: &mut D, look: impl FnOnce(&mut Bytes) -> R) -> Option<R> {
    (piece as &mut dyn Any).downcast_mut::<Bytes>().map(look)
}

/// Turns bytes into a piece of a body that is made of them.
fn piece_of<D: 'static>(bytes: Bytes) -> Option<D> {
    let mut bytes = Some(bytes);
    let piece = (&mut bytes as &mut dyn Any).downcast_mut::<Option<D>>();
    piece.and_then(Option::take)
}

/// A piece of a body.
struct Piece {
    bytes: Bytes,
    _ticket: Arc<Ticket>,
}

impl Piece {
    /// Has `bytes` keep the request of `ticket` in flight.
    fn attach(bytes: &mut Bytes, ticket: Arc<Ticket>) {
        let piece = Self {
            bytes: mem::take(bytes),
            _ticket: ticket,
        };
        *bytes = Bytes::from_owner(piece);
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pin_project! {
    /// The body of a response of a [`Layered`] service; the request is in flight until it is dropped.
    ///
    /// Over HTTP/2 until its pieces have been sent as well, where they are [`Bytes`]; others count as sent when
    /// the framework has them.
    ///
    /// ```
    /// type Response<B> = hyper::Response<graceful::adapt::Body<B>>;
    /// ```
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        body: B,
        // What is left of a large piece.
        rest: Bytes,
        held: Option<Held<Ticket>>,
    }
}

impl<B> hyper::body::Body for Body<B>
where
    B: hyper::body::Body<Data: 'static>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let left = mem::take(this.rest);
        let mut polled = match left.is_empty() {
            true => this.body.poll_frame(cx),
            false => Poll::Ready(piece_of(left).map(|piece| Ok(Frame::data(piece)))),
        };
        if let Poll::Ready(None | Some(Err(_))) = polled {
            this.held.iter().for_each(Held::finish);
        }
        if let (Poll::Ready(Some(Ok(frame))), Some(held)) = (&mut polled, this.held)
            && let Some(piece) = frame.data_mut()
            && let Some(ticket) = held.piece(piece.remaining())
        {
            with_bytes(piece, |bytes| {
                *this.rest = bytes.split_off(bytes.len().min(PIECE));
                Piece::attach(bytes, ticket);
            });
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.rest.is_empty() && self.body.is_end_stream();
        if is_end {
            // A caller that sees `true` does not ask for more, so this is the end.
            self.held.iter().for_each(Held::finish);
        }
        is_end
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let left = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + left);
        }
        hint.set_lower(hint.lower() + left);
        hint
    }
}
