//! From the accept to the close of one connection.
//!
//! hyper decides alone what HTTP is; we decide when a connection may end. hyper's own graceful
//! shutdown closes an idle connection without a look at the socket, throws half a request head away,
//! and has no bound on a head that never ends. So:
//!
//! 1. hyper gets a connection only when its first bytes are there, and in a drain it is taken from hyper
//!    as soon as it is idle. In between, the socket is ours: [`first_bytes`] is the one place where a
//!    connection waits for a request.
//! 2. Whether it is idle is known, not inferred from how hyper ends (see [`framing`](super::framing)): no
//!    response is owed, every request has come to its end, and hyper has looked for more and found
//!    nothing. Any other connection is never used again.
//! 3. Each wait ends on an event or on a bound that the user knows.

use std::mem;
use std::sync::Arc;

use futures_lite::future::poll_once;
use tokio::io::AsyncWriteExt;

use super::beginning::Beginning;
use super::close::close;
use super::connection::Connection;
use super::first_bytes::{First, first_bytes};
use super::http1::{self, Ended};
use super::http2;
use super::parking::ParkingDelay;
use super::passage::depart;
use super::security::{Security, secure};
use super::service::HttpService;
use super::transport::Transport;
use crate::lifecycle::registry::Member;
use crate::model::stage::Stage;
use crate::net::stream::Stream;

const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Serves a connection in a task of its own until it is closed or cut, and then drops `permit`.
///
/// `beginning` is what another process has read of a request.
pub(super) fn spawn<S: HttpService>(
    stream: Stream,
    beginning: Beginning,
    security: Security,
    member: Member<Connection>,
    service: S,
    permit: impl Send + 'static,
) {
    let connection = Arc::clone(&member);
    let task = tokio::spawn(serve(stream, beginning, security, member, service, permit));
    connection.set_task(task.abort_handle());
    // Whoever cuts reached no task before this, where the place was kept in another one.
    if connection.has_reached(Stage::Cut) {
        connection.cut();
    }
}

async fn serve<S: HttpService>(
    stream: Stream,
    beginning: Beginning,
    security: Security,
    member: Member<Connection>,
    service: S,
    _permit: impl Send,
) {
    let connection = &*member;
    connection.remember_task().await;
    let Some(stream) = secure(stream, security, connection).await else {
        return;
    };
    if let Some(stream) = exchange(stream, beginning, connection, service).await {
        Box::pin(close(stream, connection)).await;
    }
}

/// Exchanges requests and responses; returns the socket when it is to be closed, and not where a successor has it.
async fn exchange<S: HttpService>(
    mut stream: Stream,
    mut beginning: Beginning,
    connection: &Arc<Connection>,
    service: S,
) -> Option<Stream> {
    let mut delay = ParkingDelay::of(connection.policy.options);
    loop {
        let parked = connection.was_asked().then(|| connection.park());
        let begun = mem::take(&mut beginning);
        let first = first_bytes(&mut stream, begun, parked.is_some(), connection).await;
        if parked.is_some() {
            delay.learn(connection.last_active().elapsed());
        }
        drop(parked);
        match first {
            First::Nothing => return Some(stream),
            First::TooSlow => return Some(too_slow(stream, connection).await),
            First::Leaves(begun, index) => {
                let departed = Box::pin(depart(stream, begun, index, connection));
                (stream, beginning) = departed.await?;
            }
            First::Http2(bytes) => {
                let io = Transport::new(stream, bytes, Arc::clone(connection));
                Box::pin(http2::exchange(io, service, connection)).await;
                return Some(connection.returned().await);
            }
            First::Http1(Beginning { bytes, begun }) => {
                let io = Transport::new(stream, bytes.into(), Arc::clone(connection));
                let hyper = http1::begin(io, service.clone(), connection);
                let ended = http1::exchange(hyper, begun, connection, delay).await;
                stream = connection.returned().await;
                match ended {
                    Ended::Idle => {}
                    Ended::Begun(begun) => beginning = begun,
                    Ended::Closed => return Some(stream),
                    Ended::TooSlow => return Some(too_slow(stream, connection).await),
                }
            }
        }
    }
}

async fn too_slow(mut stream: Stream, connection: &Connection) -> Stream {
    connection.note_timed_out();
    // One poll: with a full socket, the peer reads as little as it writes, and misses nothing.
    let _ = poll_once(stream.write_all(TOO_SLOW)).await;
    stream
}
