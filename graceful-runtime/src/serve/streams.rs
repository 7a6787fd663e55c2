//! hyper's tasks for the streams of HTTP/2, and the requests by which some of them are upgraded.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use super::connection::in_flight::InFlightGuard;

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
pub(super) struct Streams;

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
