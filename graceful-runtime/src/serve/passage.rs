//! How a connection gets from this process to the successor, and how one from the predecessor begins here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::connection::Connection;
use super::conversation;
use super::security::Security;
use super::service::HttpService;
use super::shared::Shared;
use crate::handover::inbound::{Begin, Taker};
use crate::handover::outbound::Departed;
use crate::handover::parcel::Note;
use crate::model::stage::Stage;
use crate::net::stream::{Peer, Stream};

/// What has come of a request head, and nobody has used.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    pub(super) bytes: Vec<u8>,
    /// When the first byte came.
    pub(super) begun: Option<Instant>,
}

impl From<Note> for Beginning {
    fn from(note: Note) -> Self {
        Self {
            bytes: note.bytes,
            begun: note.begun.and_then(before),
        }
    }
}

/// Gives a connection to the successor; returns it where that does not take it.
pub(super) async fn depart(
    stream: Stream,
    beginning: Beginning,
    index: u16,
    connection: &Connection,
) -> Option<(Stream, Beginning)> {
    let note = connection.note(index, beginning);
    connection.note_moving();
    // Where the runtime does not give it back, the runtime is at its end.
    let descriptor = stream.into_descriptor().ok()?;
    let outbound = &connection.policy.lifecycle.outbound;
    match outbound.depart(descriptor, note).await {
        Departed::Moved | Departed::Lost => None,
        Departed::Back(descriptor, note) => {
            connection.note_refused();
            Some((Stream::from_descriptor(descriptor).ok()?, note.into()))
        }
    }
}

/// Returns what takes connections for a server in clear text.
pub(super) fn taker<S: HttpService>(
    shared: &Arc<Shared>,
    service: &S,
    room: &Arc<Semaphore>,
) -> Taker {
    let (shared, service, room) = (Arc::clone(shared), service.clone(), Arc::clone(room));
    Box::new(move |note, descriptor| {
        if shared.policy.has_reached(Stage::Draining) {
            return None;
        }
        // Whoever has gone is not missed.
        let peer = Peer::of(descriptor).ok()?;
        let member = shared.continue_with(peer, note);
        let (service, room) = (service.clone(), Arc::clone(&room));
        let begin: Begin = Box::new(move |descriptor, note| {
            let Ok(stream) = Stream::from_descriptor(descriptor) else {
                return;
            };
            let (permit, security) = (Permit::for_moved(&room), Security::ClearText);
            conversation::spawn(stream, note.into(), security, member, service, permit);
        });
        Some(begin)
    })
}

/// Returns the moment that was so long ago.
pub(super) fn before(age: Duration) -> Option<Instant> {
    Instant::now().checked_sub(age)
}

/// Counts a moved connection among those that may be open.
enum Permit {
    Got(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit),
    /// There are more than there may be; it gets the next that is free, and is served meanwhile.
    Awaited(#[expect(dead_code, reason = "it is held")] oneshot::Sender<()>),
}

impl Permit {
    fn for_moved(room: &Arc<Semaphore>) -> Self {
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Self::Got(permit);
        }
        let (held, ended) = oneshot::channel();
        let room = Arc::clone(room);
        tokio::spawn(async move {
            use futures_lite::future::FutureExt;

            let ended = async {
                let _ = ended.await;
            };
            let mut ended = std::pin::pin!(ended);
            let permit = async { room.acquire_owned().await.ok() };
            let none = async {
                ended.as_mut().await;
                None
            };
            if let Some(_permit) = none.or(permit).await {
                ended.await;
            }
        });
        Self::Awaited(held)
    }
}
