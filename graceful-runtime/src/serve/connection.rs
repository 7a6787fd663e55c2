//! One connection, from its accept to its close, as the code that serves it, the drain and the report know
//! it.
//!
//! Each of its parts knows one thing: [`Arrivals`] what has come of requests, [`Ledger`] which requests there are,
//! [`Link`] what the socket tells, [`Http2Client`] what frames tell, [`Driver`] which task serves it. Here is
//! what it takes several of them to say. Their parts are written by the task of the connection alone, so they
//! need no ordering; but streams of HTTP/2 end in tasks of their own: see [`InFlightCount`].

mod arrivals;
mod driver;
mod http2_client;
pub(crate) mod in_flight;
mod ledger;
mod life;
mod link;
mod moving;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

#[cfg(feature = "adapt")]
use tokio::task;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::arrivals::{Arrivals, Following};
use self::driver::Driver;
use self::http2_client::Http2Client;
use self::ledger::Ledger;
use self::link::{Condition, Link, Passage};
use super::framing::{Awaits, Framing, Told};
use super::policy::Policy;
use crate::lifecycle::server::{Activity, View};
use crate::lifecycle::tally::Tally;
use crate::model::phase::Phase;
use crate::model::stage::{InFlightCount, Stage};
use crate::net::stream::{Peer, Stream};

pub(crate) use self::http2_client::PingAnswer;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) policy: Arc<Policy>,
    peer: Peer,
    accepted: Instant,
    protocol: AtomicU8,
    arrivals: Arrivals,
    link: Link,
    http2: Http2Client,
    driver: Driver,
    in_flight: InFlightCount,
    state: Mutex<State>,
    /// Requests that ended, whose responses may not have been written yet. Before the trigger that is only a
    /// last one with a large response; since the trigger all of them.
    unsettled: AtomicU32,
    /// How many streams of HTTP/2 the client has given up in the drain, of which the requests have not ended yet.
    given_up: AtomicUsize,
}

/// What several look at and change, under one lock, as each request takes it.
#[derive(Debug)]
struct State {
    following: Following,
    ledger: Ledger,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Protocol {
    /// Or nothing yet, or what another framework decrypts.
    Http1,
    Http2,
    /// Whatever it was upgraded to.
    Upgraded,
}

/// Counts a connection as parked until it is dropped.
#[derive(Debug)]
pub(super) struct Parked<'a>(&'a Tally);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

impl Connection {
    pub(crate) fn new(policy: Arc<Policy>, peer: Peer) -> Self {
        let accepted = Instant::now();
        Self {
            policy,
            peer,
            accepted,
            protocol: AtomicU8::new(Protocol::Http1 as u8),
            arrivals: Arrivals::new(),
            link: Link::new(),
            http2: Http2Client::new(),
            driver: Driver::default(),
            in_flight: InFlightCount::new(),
            state: Mutex::new(State {
                following: Following::Nothing { has_body: false },
                ledger: Ledger::new(accepted),
            }),
            unsettled: AtomicU32::new(0),
            given_up: AtomicUsize::new(0),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    // For the report.

    /// Returns what there is to say of it.
    pub(crate) fn view(&self) -> View {
        let state = self.state();
        let requests = state.ledger.named();
        let is_owing = state.ledger.is_owing();
        let upgraded_by = state.ledger.upgraded_by.as_ref();
        let upgraded_by = upgraded_by.map(ToString::to_string);
        drop(state);
        let activity = if self.is_upgraded() {
            Activity::Upgraded(upgraded_by.unwrap_or_default())
        } else if is_owing {
            Activity::Owing
        } else if !requests.is_empty() || self.open_streams().unwrap_or(0) > 0 {
            Activity::Busy
        } else {
            self.activity()
        };
        View {
            peer: self.peer,
            accepted: self.accepted,
            requests,
            activity,
        }
    }

    /// Returns what a connection does that has no request in flight.
    pub(crate) fn activity(&self) -> Activity {
        let half_closed = self.http2.half_closed_streams();
        match self.link.is_untaken() {
            true if self.link.is_closing() => Activity::Untaken,
            false if self.link.is_closing() => Activity::Closing,
            _ if self.link.is_passage(Passage::UnderWay) => Activity::Moving,
            _ if half_closed > 0 => Activity::HalfClosed(half_closed),
            _ if self.is_half_request() => Activity::HalfRequest,
            true => Activity::Untaken,
            false => Activity::Idle,
        }
    }

    fn is_half_request(&self) -> bool {
        self.arrivals.is_half_request(&mut self.state().following)
    }

    /// Tells whether the connection was used less than `grace` before `now`, or is in use.
    pub(super) fn is_used(&self, now: Instant, grace: Duration) -> bool {
        let last_active = self.last_active();
        let was_asked = last_active > self.accepted && last_active + grace > now;
        self.in_flight() > 0 || was_asked
    }

    // What is spoken.

    /// Begins to follow requests: hyper begins with HTTP/1.
    pub(super) fn becomes_http1(&self) {
        self.follow(Told::AtOnce);
    }

    /// Begins to follow requests, as long as they may be HTTP/1, of which only a layer tells.
    #[cfg(feature = "adapt")]
    pub(crate) fn may_become_http1(&self) {
        self.follow(Told::Late);
    }

    fn follow(&self, told: Told) {
        self.state().following = Following::Requests(Framing::new(told));
        self.arrivals.note_new();
    }

    /// Follows requests no longer: what comes does not show them.
    #[cfg(feature = "adapt")]
    pub(crate) fn becomes_opaque(&self) {
        self.state().following.unfollow();
    }

    /// Follows requests no longer: what comes is HTTP/2.
    pub(crate) fn becomes_http2(&self) {
        self.state().following.unfollow();
        self.set_protocol(Protocol::Http2);
    }

    /// Follows requests no longer, and keeps nothing for it: nothing has come of the next one.
    pub(super) fn park(&self) -> Parked<'_> {
        self.state().following = Following::Nothing { has_body: false };
        let tally = &self.policy.lifecycle.tally;
        tally.park();
        Parked(tally)
    }

    fn set_protocol(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
    }

    #[inline]
    fn speaks(&self, protocol: Protocol) -> bool {
        self.protocol.load(Ordering::Relaxed) == protocol as u8
    }

    #[inline]
    pub(super) fn is_http2(&self) -> bool {
        self.speaks(Protocol::Http2)
    }

    #[inline]
    pub(crate) fn is_upgraded(&self) -> bool {
        self.speaks(Protocol::Upgraded)
    }

    // What has come.

    /// Notes bytes that hyper is about to see.
    #[inline]
    pub(super) fn note_read(&self, bytes: &[u8]) {
        if bytes.is_empty() && !self.policy.options.half_close {
            self.note_client_ended();
        }
        if !self.is_http2() {
            self.arrivals.note_read(&mut self.state().following, bytes);
        }
    }

    /// Notes that hyper has found nothing to read.
    #[inline]
    pub(super) fn note_waiting(&self) {
        self.arrivals.note_waiting();
    }

    /// Notes how many bytes have come that hyper has not asked for yet.
    #[inline]
    pub(super) fn note_unread(&self, count: usize) {
        self.arrivals.note_unread(count);
    }

    /// Notes whether the beginning of something has come that cannot be given to hyper yet.
    pub(super) fn note_partial(&self, has_begun: bool) {
        self.arrivals.note_partial(has_begun);
    }

    /// Tells whether it is known where requests begin and end.
    #[cfg(any(feature = "adapt", test))]
    pub(crate) fn follows_requests(&self) -> bool {
        matches!(self.state().following, Following::Requests(_))
    }

    /// Tells what hyper waits for, where no response is owed.
    #[inline]
    pub(super) fn awaits(&self) -> Awaits {
        if !self.arrivals.is_waiting() {
            return Awaits::Unknown;
        }
        let awaits = self.state().following.awaits();
        awaits.unwrap_or(Awaits::Unknown)
    }

    /// Tells whether something may have come of a request that hyper has not handed out, without a look at
    /// what has come.
    #[inline]
    pub(super) fn may_have_begun(&self) -> bool {
        self.arrivals.may_have_begun()
    }

    /// Tells whether something has come of a request that has not been handed out, or may have.
    #[cfg(feature = "adapt")]
    pub(crate) fn has_begun(&self) -> bool {
        let awaits = self.state().following.awaits();
        matches!(awaits, None | Some(Awaits::RestOfHead | Awaits::Unknown))
    }

    /// Notes that the rest of a request did not come in its time, which ends the connection.
    #[cold]
    pub(crate) fn note_timed_out(&self) {
        let lifecycle = &self.policy.lifecycle;
        if !self.link.note_closing() && lifecycle.phase() >= Phase::LameDuck {
            lifecycle.tally.add_timed_out();
        }
    }

    // What the socket tells.

    /// Notes that the client has closed its side, or has gone.
    #[cold]
    pub(super) fn note_client_ended(&self) {
        self.link.worsen(Condition::Ended);
    }

    /// Notes that the socket takes nothing any more.
    #[cold]
    pub(super) fn note_write_failed(&self) {
        self.link.worsen(Condition::Broken);
    }

    /// Notes whether the socket took what hyper wrote.
    #[inline]
    pub(super) fn note_write(&self, is_blocked: bool) {
        if self.link.note_write(is_blocked) {
            self.note_owing();
        }
    }

    /// Notes whether the client has not taken the whole of a response; returns whether it had not before.
    pub(super) fn note_untaken(&self, is_untaken: bool) -> bool {
        self.link.note_untaken(is_untaken)
    }

    pub(super) fn is_untaken(&self) -> bool {
        self.link.is_untaken()
    }

    /// Notes that the connection is being closed.
    pub(crate) fn note_closing(&self) {
        self.link.note_closing();
    }

    // What frames tell.

    /// What is known of the client where it speaks HTTP/2.
    pub(super) fn http2(&self) -> &Http2Client {
        &self.http2
    }

    /// Notes on how many streams of HTTP/2 the server owes something, and on how many only the client may go on.
    pub(super) fn note_streams(&self, open: usize, half_closed: usize) {
        self.http2.note_streams(open, half_closed);
        if self.link.is_blocked() {
            self.note_owing();
        }
    }

    /// Tells whether a stream of HTTP/2 is open, if only for what the client still sends.
    #[inline]
    pub(super) fn has_streams(&self) -> bool {
        self.open_streams().is_some_and(|count| count > 0) || self.http2.half_closed_streams() > 0
    }

    /// Takes an HTTP/2 client for one that has answered the PING behind the GOAWAY.
    pub(crate) fn presume_answer(&self) {
        self.http2.presume_answer();
    }

    /// Returns how many streams of HTTP/2 are open, where that is known.
    #[inline]
    pub(crate) fn open_streams(&self) -> Option<usize> {
        self.http2.open_streams()
    }

    // For those who serve it.

    pub(super) fn set_task(&self, task: AbortHandle) {
        self.driver.set_task(task);
    }

    /// Notes the first task that has touched the connection.
    #[cfg(feature = "adapt")]
    pub(crate) fn note_task_id(&self, task: task::Id) {
        self.driver.note_id(task);
    }

    #[cfg(feature = "adapt")]
    pub(crate) fn is_of_task(&self, task: task::Id) -> bool {
        self.driver.has_id(task)
    }

    /// Gives the connection up, whatever it is doing.
    pub(super) fn cut(&self) {
        self.driver.abort();
    }

    /// Lets [`wake`](Self::wake) find the calling task.
    pub(super) async fn remember_task(&self) {
        poll_fn(|cx| {
            self.remember(cx.waker());
            Poll::Ready(())
        })
        .await;
    }

    pub(crate) fn remember(&self, task: &Waker) {
        self.driver.remember(task);
    }

    pub(crate) fn wake(&self) {
        self.driver.wake();
    }

    /// Takes the socket back.
    pub(super) fn give_back(&self, stream: Stream) {
        self.driver.give_back(stream);
    }

    /// Waits until the socket has come back, for an upgraded connection as long as that takes.
    pub(super) async fn returned(&self) -> Stream {
        poll_fn(|_| match self.driver.take_returned() {
            Some(stream) => Poll::Ready(stream),
            // `give_back` wakes the task that was remembered, and this is the one.
            None => {
                // hyper has passed it on, with whatever status; requests come no more.
                self.state().following.unfollow();
                Poll::Pending
            }
        })
        .await
    }

    // For the drain.

    #[inline]
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.policy.has_reached(stage)
    }

    /// Returns when the drain began.
    #[inline]
    pub(crate) fn drain_began(&self) -> Option<Instant> {
        self.policy.drain_began()
    }

    /// Returns until when the connection, idle or new, may still bring a request while draining.
    pub(crate) fn grace_end(&self) -> Instant {
        self.policy.grace_end(self.last_active())
    }

    /// Tells whether a response is owed or not completely handed to the kernel.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        match self.open_streams() {
            // A client that makes the server write and does not read, such as one that floods PING, is no reason
            // to wait.
            Some(count) => count > 0,
            None => self.in_flight() > 0 || self.link.is_blocked(),
        }
    }

    /// Tells whether an HTTP/1 request is in flight.
    #[inline]
    pub(super) fn awaits_response(&self) -> bool {
        self.in_flight() > 0 && self.speaks(Protocol::Http1)
    }

    /// Waits until no request is in flight, once hyper has done with HTTP/2: its tasks end the streams.
    pub(super) async fn streams_ended(&self) {
        poll_fn(|_| match self.in_flight() {
            0 => Poll::Ready(()),
            // The end of each wakes the task in a drain, and this is the one that was remembered.
            _ => Poll::Pending,
        })
        .await;
    }

    #[inline]
    fn in_flight(&self) -> usize {
        self.in_flight.get() as usize
    }

    /// Tells whether the peer may still be sending: a body that nobody reads, or how it gets on with a response over
    /// HTTP/2.
    pub(super) fn may_be_sending(&self) -> bool {
        match self.is_http2() {
            true => self.http2.is_reading(),
            false => self.state().following.may_leave_body(),
        }
    }

    /// Notes that the peer has just done something, as if it had come anew.
    #[cfg(feature = "tls")]
    pub(super) fn note_activity(&self) {
        self.state().ledger.last_active = Instant::now();
    }

    /// Returns when the last request ended, or the connection was accepted.
    #[inline]
    pub(super) fn last_active(&self) -> Instant {
        self.state().ledger.last_active
    }

    // Nothing that could panic runs under the lock.
    #[inline]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
