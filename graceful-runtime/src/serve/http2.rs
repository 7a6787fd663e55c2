//! One connection of HTTP/2, from its preface to its end.
//!
//! hyper does most of its end: a GOAWAY that takes back nothing and a PING, a GOAWAY with the last stream when the PING is
//! answered, the close when no stream is left. We say when, which is at the beginning of the drain or before
//! ([`retiring`](super::retiring)). hyper has no bound on a client that answers nothing, or reads nothing, so that is here,
//! too ([`leaving`](super::leaving)).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::connection::Connection;
use super::first_bytes::HTTP2_PREFACE;
use super::followed::Followed;
use super::leaving::{Due, Leaving};
use super::options::{Http2, KeepAlive};
use super::retiring::UntilRetired;
use super::service::{HttpService, Tracked};
use super::streams::Streams;
use super::transport::Transport;
use crate::lifecycle::server::Activity;
use crate::timer::Timer;

/// How far a connection has come.
enum Course {
    Stays(UntilRetired),
    /// Its client is told of the end, since then.
    Leaves(Instant, Leaving),
}

/// Exchanges requests and responses until the connection has ended.
pub(super) async fn exchange<S: HttpService>(
    io: Transport,
    service: S,
    connection: &Arc<Connection>,
) {
    connection.becomes_http2();
    let mut io = Followed::new(io);
    io.follow(HTTP2_PREFACE.len());
    run(io, service, connection).await;
    if connection.drain_began().is_some() {
        connection.streams_ended().await;
    }
    connection.settle();
}

/// Has hyper serve the connection; afterwards only tasks of streams that have ended are left of it.
async fn run<S: HttpService>(io: Followed, service: S, connection: &Arc<Connection>) {
    let service = Tracked::new(service, Arc::clone(connection));
    let builder = builder(connection.policy.options.http2);
    let mut hyper = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut course = Course::Stays(UntilRetired::new(connection));
    let mut timer = Timer::default();
    poll_fn(|cx| {
        loop {
            if hyper.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let (told, leaving) = match &mut course {
                Course::Stays(until_retired) => {
                    let told = match connection.leaves_since() {
                        Some(told) => told,
                        None => {
                            ready!(until_retired.poll(cx, connection));
                            connection.retire()
                        }
                    };
                    hyper.as_mut().graceful_shutdown();
                    course = Course::Leaves(told, Leaving::default());
                    continue;
                }
                Course::Leaves(told, leaving) => (*told, leaving),
            };
            if !connection.is_busy() {
                connection.settle();
            }
            let Some((limit, due)) = leaving.next(connection, told) else {
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

fn builder(options: Http2) -> Builder<Streams> {
    let mut builder = Builder::new(Streams);
    // WebSockets (RFC 8441).
    builder.enable_connect_protocol();
    if let Some(count) = options.max_concurrent_streams {
        builder.max_concurrent_streams(count);
    }
    if let Some(KeepAlive { interval, timeout }) = options.keep_alive {
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_timeout(timeout);
    }
    builder
}
