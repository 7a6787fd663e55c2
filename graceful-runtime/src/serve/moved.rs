//! How a connection goes on here that the predecessor has given away.

use std::sync::Arc;

use futures_lite::future::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::connection::Connection;
use super::conversation;
use super::security::Security;
use super::service::HttpService;
use super::shared::Shared;
use crate::handover::inbound::Taker;
use crate::handover::parcel::Note;
use crate::lifecycle::registry::Member;
use crate::model::stage::Stage;
use crate::net::stream::{Peer, Stream};

/// Returns what takes connections for a server, and has them begin by `begin` when the predecessor has been told.
pub(crate) fn taker<B>(shared: &Arc<Shared>, begin: B) -> Taker
where
    B: FnOnce(Stream, Note, Member<Connection>) + Clone + Send + 'static,
{
    let shared = Arc::clone(shared);
    Box::new(move |note, descriptor| {
        if shared.policy.has_reached(Stage::Draining) {
            return None;
        }
        let Some(peer) = Peer::of(descriptor) else {
            // Nobody misses it, and to give it back would be a warning about nothing.
            return Some(Box::new(|_, _| ()));
        };
        let member = shared.continue_with(peer, note);
        let begin = begin.clone();
        Some(Box::new(move |descriptor, note| {
            if let Ok(stream) = Stream::from_descriptor(descriptor) {
                begin(stream, note, member);
            }
        }))
    })
}

/// Returns what takes connections for a server in clear text, as if it had accepted them.
pub(super) fn serving_taker<S: HttpService>(
    shared: &Arc<Shared>,
    service: &S,
    room: &Arc<Semaphore>,
) -> Taker {
    let (service, room) = (service.clone(), Arc::clone(room));
    taker(shared, move |stream, note, member| {
        let (permit, security) = (Permit::for_moved(&room), Security::ClearText);
        conversation::spawn(stream, note.into(), security, member, service, permit);
    })
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
