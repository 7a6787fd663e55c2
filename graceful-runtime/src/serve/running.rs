//! A server that runs: it accepts, seals its listener, empties the queue, and waits for its last connection.

use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::handover::inbound::TakerGuard;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::current::Attendance;
use crate::lifecycle::registry::Member;
use crate::lifecycle::report;
use crate::lifecycle::server::RunningServer;
use crate::model::phase::Phase;
use crate::model::stage::Stage;
use crate::net::accept::{ACCEPT_PAUSE, Complaints, is_of_one_connection};
use crate::net::listener::Listener;
use crate::net::stream::{Peer, Stream};
use crate::os::shortage::Shortage;
use crate::timer::wait_until;

use super::beginning::Beginning;
use super::conversation;
use super::limits::{BUSY, HANDSHAKES};
use super::moved;
use super::options::Options;
use super::security::Security;
use super::service::HttpService;
use super::shared::Shared;

/// How long connections that cannot be refused are accepted in a drain.
const UNSEALED_LIMIT: Duration = Duration::from_millis(100);

/// What the user has put together before the server runs.
pub(super) struct Parts<S> {
    pub(super) listener: Listener,
    pub(super) service: S,
    pub(super) security: Security,
    pub(super) max_connections: usize,
    pub(super) options: Options,
    pub(super) drains_last: bool,
}

/// A server that runs.
pub(super) struct Running<S> {
    listener: Listener,
    service: S,
    security: Security,
    lifecycle: Arc<Lifecycle>,
    /// `main` itself serves.
    _attendance: Option<Attendance>,
    /// The server as the report knows it, with its connections.
    shared: CutOnDrop,
    /// Lets connections of the predecessor come.
    moved: Option<TakerGuard>,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
    drains_last: bool,
    accepted: Option<Instant>,
    complaints: Complaints,
}

impl<S: HttpService> Running<S> {
    pub(super) fn start(parts: Parts<S>) -> Self {
        let lifecycle = Lifecycle::current_or_detached();
        let attendance = lifecycle.attend();
        if parts.drains_last {
            lifecycle.change_server_counts(|servers| servers.last += 1);
        }
        // What is encrypted does not move: another process would have to have its keys.
        let moves = parts.security.is_clear_text();
        let listener = parts.listener.id().filter(|_| moves);
        let shared = Shared::of_listener(Arc::clone(&lifecycle), parts.options, listener);
        let shared = CutOnDrop::new(shared);
        let room = Arc::new(Semaphore::new(parts.max_connections));
        let before = parts.listener.before().filter(|_| moves);
        let guard = before.map(|index| {
            let taker = moved::serving_taker(&shared, &parts.service, &room);
            lifecycle.inbound.register(index, taker)
        });
        lifecycle.say(report::listening(&parts.security.url(&parts.listener)));
        Self {
            listener: parts.listener,
            service: parts.service,
            security: parts.security,
            shared,
            moved: guard,
            lifecycle,
            _attendance: attendance,
            room,
            drains_last: parts.drains_last,
            accepted: None,
            complaints: Complaints::default(),
        }
    }

    pub(super) async fn run(mut self) -> io::Result<()> {
        let lifecycle = Arc::clone(&self.lifecycle);
        let shared = Arc::clone(&self.shared);
        let drains_last = self.drains_last;
        lifecycle.announce_serving_in_main();
        if !lifecycle.wait_for_turn().await {
            // What is in the queue is the predecessor's.
            return Ok(());
        }
        self.accept_until(wait_for_drain(&lifecycle, &shared, drains_last))
            .await;
        self.drain().or(cut_short(&lifecycle, &shared)).await;
        Ok(())
    }

    /// Accepts connections until `end`.
    async fn accept_until(&mut self, end: impl Future<Output = ()>) {
        let accepting = async {
            loop {
                self.accept().await;
            }
        };
        end.or(accepting).await;
    }

    /// Ends the listener and then the last connection.
    async fn drain(mut self) {
        // What another process accepts from needs nothing but to be left to it.
        if !self.listener.is_shared() {
            self.empty_queue().await;
        }
        let Self {
            listener,
            shared,
            moved,
            ..
        } = self;
        drop(listener);
        shared.connections.empty().await;
        drop(moved);
        // One may have come at the last moment.
        shared.connections.empty().await;
    }

    /// Turns new connects away and accepts what the kernel has accepted already.
    async fn empty_queue(&mut self) {
        let begin = Instant::now();
        if self.listener.seal() {
            // The listener stays as long as there are connections anyway, so that handshakes under way
            // have all that time, and at least a little. The kernel is asked for them only where it was busy, as
            // that takes it longer than all the rest.
            let was_busy = self
                .accepted
                .is_some_and(|accepted| accepted + BUSY > begin);
            let handshakes = begin + if was_busy { HANDSHAKES } else { Duration::ZERO };
            loop {
                let connections = Arc::clone(&self.shared.connections);
                self.accept_until(connections.empty()).await;
                if Instant::now() < handshakes && self.listener.may_have_handshakes() {
                    self.accept_until(wait_until(handshakes)).await;
                    continue;
                }
                if !self.accept_queued().await {
                    return;
                }
            }
        }
        // They go on coming, so some may be lost; the queue as it is now is served. Where others listen on the
        // same port, the sooner they get all of them the better.
        if !self.listener.has_siblings() {
            let connections = Arc::clone(&self.shared.connections);
            self.accept_until(connections.empty().or(sleep(UNSEALED_LIMIT)))
                .await;
        }
        let rest = async {
            while self.accept_queued().await {
                yield_now().await;
            }
        };
        rest.or(sleep(UNSEALED_LIMIT)).await;
    }

    /// Waits for room and a connection, and spawns the task that serves it.
    async fn accept(&mut self) {
        // Never closed, so there is always a permit to come.
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return;
        };
        let accepted = poll_fn(|cx| {
            let accepted = self.listener.poll_accept(cx);
            if accepted.is_pending() {
                self.shared.note_accepts();
            }
            accepted
        });
        match accepted.await {
            Ok((stream, peer)) => self.spawn(stream, peer, permit),
            Err(error) => self.accept_failed(&error).await,
        }
    }

    /// Accepts one of the connections that the kernel holds at this moment, or pauses where it cannot; tells
    /// whether there may be more.
    async fn accept_queued(&mut self) -> bool {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return false;
        };
        match self.listener.accept_now() {
            Ok(Some((stream, peer))) => {
                self.spawn(stream, peer, permit);
                true
            }
            Ok(None) => false,
            Err(error) => {
                // The end of a connection may mend it.
                let is_short = Shortage::of(&error).is_some();
                // The kernel looks for a free descriptor before it looks at the queue.
                if is_short && self.listener.queue_length() == 0 {
                    return false;
                }
                self.accept_failed(&error).await;
                is_short || is_of_one_connection(&error)
            }
        }
    }

    fn spawn(&mut self, stream: Stream, peer: Peer, permit: OwnedSemaphorePermit) {
        self.accepted = Some(Instant::now());
        self.shared.note_accepts();
        let connection = self.shared.connect(peer);
        let service = self.service.clone();
        let security = self.security.clone();
        let nothing = Beginning::default();
        conversation::spawn(stream, nothing, security, connection, service, permit);
    }

    async fn accept_failed(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        let complaint = self.complaints.about(&self.listener, error);
        complaint
            .into_iter()
            .for_each(|line| self.lifecycle.say(line));
        self.shared.note_accept_failed(&self.listener, error);
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Gives up the connections of a server that is dropped before its end.
struct CutOnDrop {
    shared: Arc<Shared>,
    _member: Member<dyn RunningServer>,
}

impl CutOnDrop {
    fn new(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        Self {
            _member: shared.register(),
            shared,
        }
    }
}

impl Deref for CutOnDrop {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.shared.reach(Stage::Cut);
    }
}

/// Waits until this server has to drain.
async fn wait_for_drain(lifecycle: &Lifecycle, shared: &Shared, drains_last: bool) {
    if !drains_last {
        return shared.go_to_drain().await;
    }
    lifecycle.reached(Phase::Draining).await;
    lifecycle.others_drained().await;
    lifecycle.restart_decided().await;
    shared.reach(Stage::Draining);
}

/// Waits until the connections are given up, and ends them.
async fn cut_short(lifecycle: &Lifecycle, shared: &Shared) {
    lifecycle.reached(Phase::Stopping).await;
    shared.reach(Stage::Cut);
    shared.connections.empty().await;
}
