//! One connection of HTTP/2, from its preface to its end.
//!
//! hyper does most of it: a GOAWAY that takes back nothing and a PING at the begin of the drain, a GOAWAY with the
//! last stream when the PING is answered, the end when no stream is left. It has no bound on a client that answers
//! nothing, or reads nothing, so that is here ([`Leaving`]).

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::connection::{Answer, Connection, InFlightGuard};
use super::followed::Followed;
use super::http::HTTP2_PREFACE;
use super::service::{HttpService, Tracked};
use super::transport::Io;
use crate::lifecycle::server::Activity;
use crate::timer::Timer;

/// What a server may choose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// `None`: hyper's own limit.
    pub(super) max_concurrent_streams: Option<u32>,
    pub(super) keep_alive: Option<KeepAlive>,
}

/// How to notice that a client has vanished.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    /// After how long without a frame it is asked.
    pub(super) interval: Duration,
    /// How long its answer may take.
    pub(super) timeout: Duration,
}

impl Settings {
    fn builder(self) -> Builder<Streams> {
        let mut builder = Builder::new(Streams);
        // WebSockets (RFC 8441).
        builder.enable_connect_protocol();
        if let Some(count) = self.max_concurrent_streams {
            builder.max_concurrent_streams(count);
        }
        if let Some(KeepAlive { interval, timeout }) = self.keep_alive {
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(interval)
                .keep_alive_timeout(timeout);
        }
        builder
    }
}

/// Exchanges requests and responses until the connection has ended.
pub(super) async fn exchange<S: HttpService>(io: Io, service: S, connection: &Arc<Connection>) {
    connection.becomes_http2();
    let mut io = Followed::new(io);
    io.follow(HTTP2_PREFACE.len());
    run(io, service, connection).await;
    if connection.drain().is_some() {
        connection.streams_ended().await;
    }
    connection.settle();
}

/// Has hyper serve the connection; nothing is left of that afterwards but tasks for streams that have ended.
async fn run<S: HttpService>(io: Followed, service: S, connection: &Arc<Connection>) {
    let service = Tracked::new(service, Arc::clone(connection));
    let builder = connection.shared.http2.builder();
    let mut hyper = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut is_told = false;
    let mut leaving = Leaving::default();
    let mut timer = Timer::default();
    poll_fn(|cx| {
        loop {
            if hyper.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(drain) = connection.drain() else {
                return Poll::Pending;
            };
            if !is_told {
                is_told = true;
                hyper.as_mut().graceful_shutdown();
                continue;
            }
            if !connection.is_busy() {
                connection.settle();
            }
            let Some((limit, due)) = leaving.next(connection, drain) else {
                return Poll::Pending;
            };
            ready!(timer.poll(limit, cx));
            match due {
                Due::Answer => connection.presume_answer(),
                Due::End => {
                    if connection.activity() == Activity::HalfRequest {
                        connection.note_timed_out();
                    }
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

/// Bounds the end of a connection whose client has been told of it.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// When the client was last seen to have taken something, and after how often.
    moved: Option<(Instant, u32)>,
    /// The same, when it got the PING.
    asked: Option<Instant>,
    /// Since when no stream has been open.
    quiet: Option<Instant>,
}

/// What there is to do when a client has had its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It may have opened streams before it learnt of the end, but opens no more.
    Answer,
    /// It has nothing in flight, and neither answers nor reads.
    End,
}

impl Leaving {
    /// Returns what is due next, and when, for a client that was told at `told`.
    pub(crate) fn next(
        &mut self,
        connection: &Connection,
        told: Instant,
    ) -> Option<(Instant, Due)> {
        let now = Instant::now();
        let moved = self.moved(connection, now);
        match connection.is_busy() {
            true => self.quiet = None,
            false => drop(self.quiet.get_or_insert(now)),
        }
        let (since, due) = match connection.answer() {
            // Whatever is before the PING has the time that it takes.
            Answer::Far => (moved, Due::Answer),
            // What it takes afterwards does not count.
            Answer::Due => (*self.asked.get_or_insert(moved), Due::Answer),
            // Whoever takes what was written for it may still be there.
            Answer::Presumed => (self.quiet?.max(moved), Due::End),
        };
        Some((told.max(since) + connection.shared.goaway_limit(), due))
    }

    /// Returns when the client was last seen to have taken something.
    fn moved(&mut self, connection: &Connection, now: Instant) -> Instant {
        let progress = connection.progress();
        match self.moved {
            Some((moved, seen)) if seen == progress => moved,
            _ => {
                self.moved = Some((now, progress));
                now
            }
        }
    }
}

thread_local! {
    /// The request by which the stream was upgraded that this thread polls.
    static UPGRADED: Cell<Option<InFlightGuard>> = const { Cell::new(None) };
}

/// Keeps a request in flight until the stream that was upgraded by it has ended.
///
/// To be called where hyper is about to be given the response.
pub(super) fn hold_upgraded(guard: InFlightGuard) {
    guard.upgrade();
    UPGRADED.set(Some(guard));
}

/// Spawns hyper's tasks: one for each stream, which makes the response, and another one for what is sent on a stream
/// that was upgraded by that response.
///
/// hyper spawns the second one while it polls the first one, and it ends with the stream.
#[derive(Clone, Debug)]
struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(StreamTask {
            future,
            _upgraded: UPGRADED.take(),
        });
    }
}

pin_project! {
    struct StreamTask<F> {
        #[pin]
        future: F,
        _upgraded: Option<InFlightGuard>,
    }
}

impl<F: Future> Future for StreamTask<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.project().future.poll(cx);
        // hyper has refused to upgrade.
        drop(UPGRADED.take());
        polled
    }
}
