//! The race that loses requests elsewhere: the server closes, and a request has just come.
//!
//! All orders of "drain", "request" and "end of the grace", a millisecond apart and at the same
//! instant, with the head in one piece and in two, on a new and on a used connection: a request that
//! the client could still write is answered in full.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

use super::{GET, GRACE};

/// One of these orders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Race {
    /// The connection has served a request already.
    pub(crate) is_used: bool,
    drain_at: Duration,
    request_at: Duration,
    /// Where the request is cut in two.
    cut: Option<usize>,
}

impl Race {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let cuts = [None, Some(1), Some(GET.len() / 2), Some(GET.len() - 1)];
        let kinds = [false, true]
            .into_iter()
            .flat_map(move |is_used| cuts.map(|cut| (is_used, cut)));
        kinds.flat_map(|(is_used, cut)| {
            moments().flat_map(move |drain_at| {
                moments().map(move |request_at| Self {
                    is_used,
                    drain_at,
                    request_at,
                    cut,
                })
            })
        })
    }

    /// Calls `drain` when its time has come.
    pub(crate) fn drain(self, drain: impl FnOnce() + Send + 'static) {
        tokio::spawn(async move {
            sleep(self.drain_at).await;
            drain();
        });
    }

    /// Writes the request when its time has come.
    ///
    /// A write that fails is a client that knows, and sends the request elsewhere.
    pub(crate) async fn request(self, client: &mut DuplexStream) -> io::Result<()> {
        sleep(self.request_at).await;
        let (first, second) = GET.split_at(self.cut.unwrap_or(0));
        client.write_all(first.as_bytes()).await?;
        if self.cut.is_some() {
            sleep(Duration::from_millis(1)).await;
        }
        client.write_all(second.as_bytes()).await
    }
}

fn moments() -> impl Iterator<Item = Duration> {
    const STEP: Duration = Duration::from_millis(1);
    let points = [Duration::ZERO, GRACE / 2, GRACE, GRACE * 2];
    points
        .into_iter()
        .flat_map(|point| [point.saturating_sub(STEP), point, point + STEP])
}
