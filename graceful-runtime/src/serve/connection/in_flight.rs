//! From the beginning of a request to the moment at which it is known how it has ended.

use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Method, Request, Version};
use tokio::time::Instant;

use super::Connection;
use super::link::Condition;
use super::{Protocol, State};
use crate::lifecycle::request::InFlight;
use crate::lifecycle::tally::Tally;
use crate::model::phase::Phase;
use crate::model::stage::Stage;
use crate::serve::framing::RequestBody;
use crate::serve::requests::Key;
use crate::serve::unmatched::Unmade;

/// Responses up to this size fit into a socket's buffer (`tcp_wmem`'s initial size), so that they are
/// as good as written when hyper has them.
const SMALL_RESPONSE: usize = 16 << 10;

/// Whether it is known how a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Counted,
    /// Its response may not have been written yet, or its stream not have been seen to end.
    Open,
}

impl Connection {
    /// Notes that a request begins; it is in flight until the guard is dropped.
    #[inline]
    pub(crate) fn begin<B: hyper::body::Body>(
        self: &Arc<Self>,
        request: &Request<B>,
    ) -> InFlightGuard {
        let body = match request.body().is_end_stream() {
            true => RequestBody::Complete,
            false => RequestBody::new(request.body().size_hint().exact()),
        };
        // Nobody may ask for the body of a response to HEAD.
        let stream = (request.version() == Version::HTTP_2)
            .then(|| AtomicBool::new(request.method() == Method::HEAD));
        let request = InFlight {
            started: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            is_upgraded: false,
        };
        self.tally().begin();
        self.in_flight.begin();
        let mut state = self.state();
        self.arrivals.begin(&mut state.following, body);
        let (key, over) = state.ledger.begin(request);
        drop(state);
        if over > 0 {
            self.tally().end(over);
        }
        InFlightGuard {
            connection: Arc::clone(self),
            key,
            size: 0,
            stream,
        }
    }

    /// Notes the end of a request; `is_made`: whether its response was made to its end, where that is known.
    #[inline]
    fn end(&self, key: Key, size: usize, is_made: Option<bool>) {
        let mut state = self.state();
        let request = state.ledger.end(key);
        let is_draining = self.policy.lifecycle.phase() >= Phase::LameDuck;
        match is_draining || size > SMALL_RESPONSE {
            true => self.leave_open(state, request, size, is_made, is_draining),
            false => {
                drop(state);
                self.tally().end(1);
            }
        }
        let is_elsewhere = match self.is_http2() {
            true => self.in_flight.end_elsewhere(&self.policy.stage),
            false => {
                self.in_flight.end();
                false
            }
        };
        if self.link.is_blocked() {
            self.note_owing();
        }
        if is_elsewhere {
            // hyper has no reason to look at the connection when its last stream ends.
            self.wake();
        }
    }

    /// Ends a request in a drain, or with a large response: counts it where it is known how it has ended, and
    /// keeps it for [`settle`](Self::settle) where it is not.
    #[cold]
    fn leave_open(
        &self,
        mut state: MutexGuard<'_, State>,
        request: Option<InFlight>,
        size: usize,
        is_made: Option<bool>,
        is_draining: bool,
    ) {
        let fate = match is_draining {
            true => self.end_in_drain(request.as_ref(), is_made),
            false => Fate::Open,
        };
        let mut is_over = true;
        if fate == Fate::Open {
            match request {
                Some(request) if is_draining && is_made == Some(false) => {
                    state.ledger.keep_unmade(request);
                }
                // A small one is not kept: it would keep hyper's buffer, too.
                Some(request) if size > SMALL_RESPONSE => {
                    is_over = state.ledger.keep_unwritten(request).is_some();
                }
                _ => {}
            }
            self.unsettled.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        if is_over {
            self.tally().end(1);
        }
        if self.link.is_closing() {
            // A handler that panicked, or kept its thread: nobody looks at the connection any more.
            self.settle();
        }
    }

    /// Counts a request that ends since the trigger, if it is known how.
    #[cold]
    fn end_in_drain(&self, request: Option<&InFlight>, is_made: Option<bool>) -> Fate {
        if self.is_cut() {
            return Fate::Counted;
        }
        let has_gone = match is_made {
            Some(is_made) => !is_made && self.take_given_up(),
            None => self.link.has_reached(Condition::Ended),
        };
        match request {
            Some(request) if has_gone => {
                self.tally().gone.add(|| self.name(request));
                Fate::Counted
            }
            _ => Fate::Open,
        }
    }

    /// Tells whether what is in flight is given up, and counted and named as such.
    fn is_cut(&self) -> bool {
        self.policy.lifecycle.is_cut() || self.has_reached(Stage::Cut)
    }

    /// Says what is asked, and who asks.
    fn name(&self, request: &InFlight) -> String {
        format!("{request} from {}", self.peer)
    }

    /// Notes that the client has given up on so many streams of HTTP/2, or has gone with them.
    pub(in crate::serve) fn note_given_up(&self, streams: usize) {
        if streams > 0 && self.policy.lifecycle.phase() >= Phase::LameDuck {
            self.given_up.fetch_add(streams, Ordering::Relaxed);
            self.policy.unmatched.note_given_up(streams);
        }
    }

    /// Counts a stream that was given up for a request whose response was not made to its end; tells whether
    /// there was one left.
    fn take_given_up(&self) -> bool {
        let less = |count: usize| count.checked_sub(1);
        self.given_up
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    /// Notes that the response switches protocols, for the rest of the connection.
    fn upgrade(&self, key: Key) {
        let mut state = self.state();
        state.ledger.upgraded_by = state.ledger.in_flight.get(key).cloned().map(Box::new);
        state.following.unfollow();
        drop(state);
        self.set_protocol(Protocol::Upgraded);
    }

    /// Notes whether responses are owed that were too small to keep their requests for. To be called when the socket does not
    /// take something, when it does again, and when a request or a stream ends in between.
    #[cold]
    pub(super) fn note_owing(&self) {
        let mut state = self.state();
        let ledger = &mut state.ledger;
        let is_owing = self.link.is_blocked()
            && !self.is_upgraded()
            && match self.open_streams() {
                // Another framework's requests may be known, but not that they came on this connection.
                Some(open) => self.driver.is_ours() && open > ledger.in_flight.len(),
                None => ledger.has_no_names() && !self.is_http2(),
            };
        let has_changed = ledger.owe(is_owing);
        drop(state);
        match is_owing {
            true if has_changed => self.tally().begin(),
            false if has_changed => self.tally().end(1),
            _ => {}
        }
    }

    /// Notes that nothing more of what hyper was given will be handed to the kernel.
    #[inline]
    pub(crate) fn settle(&self) {
        if self.unsettled.load(Ordering::Relaxed) > 0 {
            self.settle_requests();
        }
    }

    /// Calls [`settle`](Self::settle) where all responses have been handed to the kernel.
    #[inline]
    pub(in crate::serve) fn settle_if_written(&self) {
        if self.unsettled.load(Ordering::Relaxed) > 0 && !self.is_busy() {
            self.settle_requests();
        }
    }

    #[cold]
    fn settle_requests(&self) {
        let mut count = self.unsettled.swap(0, Ordering::Relaxed) as usize;
        let (unwritten, unmade) = self.state().ledger.settle();
        if unwritten.is_some() {
            self.tally().end(1);
        }
        let lifecycle = &self.policy.lifecycle;
        if lifecycle.phase() < Phase::LameDuck {
            return;
        }
        for request in unmade {
            if self.count_unmade(&request) {
                count = count.saturating_sub(1);
            }
        }
        // Over HTTP/2, which has many responses at a time, each piece of a body tells by itself.
        let is_lost = self.link.has_reached(Condition::Broken) || self.link.is_blocked();
        if !is_lost || self.is_http2() {
            return self.tally().add_finished(count);
        }
        if self.is_cut() {
            return;
        }
        let name = unwritten.map(|request| self.name(&request));
        for _ in 0..count {
            let unnamed = || format!("a request from {}", self.peer);
            self.tally()
                .gone
                .add(|| name.clone().unwrap_or_else(unnamed));
        }
    }

    /// Counts a request whose response was not made to its end, now or when it is known how it ended. False where its handler
    /// ended it, which the caller counts.
    fn count_unmade(&self, request: &InFlight) -> bool {
        let name = self.name(request);
        let end = match self.open_streams() {
            Some(_) if self.take_given_up() => Unmade::GivenUp(name),
            Some(_) => Unmade::Ended,
            None => self.policy.unmatched.end(name),
        };
        match end {
            Unmade::Ended => return false,
            Unmade::GivenUp(name) => self.tally().gone.add(|| name),
            Unmade::Open => {}
        }
        true
    }

    #[inline]
    fn tally(&self) -> &Tally {
        &self.policy.lifecycle.tally
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let over = self.state().ledger.forget();
        if over > 0 {
            self.tally().end(over);
        }
    }
}

/// Keeps a request in flight.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    connection: Arc<Connection>,
    key: Key,
    /// How many bytes the response has had so far.
    size: usize,
    /// Where it is a stream of HTTP/2: whether its response has been made to its end.
    stream: Option<AtomicBool>,
}

impl InFlightGuard {
    #[inline]
    pub(in crate::serve) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Notes that the connection, or the stream of HTTP/2, goes on in another protocol.
    #[cold]
    pub(crate) fn upgrade(&self) {
        if self.is_http2() {
            self.connection.state().ledger.in_flight.upgrade(self.key);
            self.finish();
        } else {
            self.connection.upgrade(self.key);
        }
    }

    /// Notes that some stream of the connection goes on in another protocol, and that its end will not be seen.
    #[cfg(feature = "adapt")]
    pub(crate) fn upgrade_connection(&self) {
        self.connection.upgrade(self.key);
        self.finish();
    }

    #[inline]
    pub(crate) fn add(&mut self, bytes: usize) {
        self.size += bytes;
    }

    #[inline]
    pub(in crate::serve) fn is_http2(&self) -> bool {
        self.stream.is_some()
    }

    /// Notes that the response has been made to its end, or is not to be: what is dropped before may be given up by
    /// the client. Only streams have to be told; where a connection of HTTP/1 is lost, it is known.
    #[inline]
    pub(crate) fn finish(&self) {
        if let Some(is_made) = &self.stream {
            is_made.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a piece of the response has been thrown away.
    #[cold]
    pub(in crate::serve) fn give_up(&self) {
        if let Some(is_made) = &self.stream {
            is_made.store(false, Ordering::Relaxed);
        }
    }
}

impl AsMut<Self> for InFlightGuard {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let is_made = self
            .stream
            .as_ref()
            .map(|made| made.load(Ordering::Relaxed));
        self.connection.end(self.key, self.size, is_made);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::body::Bytes;

    use super::*;
    use crate::lifecycle::server::Activity;
    use crate::lifecycle::surroundings::Surroundings;
    use crate::lifecycle::{Lifecycle, Settings};
    use crate::net::stream::Peer;
    use crate::serve::options::Options;
    use crate::serve::policy::Policy;

    fn connection() -> (Arc<Connection>, Arc<Lifecycle>) {
        let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
        let policy = Policy::new(Arc::clone(&lifecycle), Options::default(), None);
        let connection = Connection::new(Arc::new(policy), Peer::Unix);
        (Arc::new(connection), lifecycle)
    }

    fn begin(connection: &Arc<Connection>) -> InFlightGuard {
        connection.begin(&Request::new(Empty::<Bytes>::new()))
    }

    fn end_large(mut guard: InFlightGuard) {
        guard.add(SMALL_RESPONSE + 1);
    }

    #[test]
    fn a_small_response_is_in_flight_until_its_end() {
        let (connection, lifecycle) = connection();
        let guard = begin(&connection);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        drop(guard);
        assert_eq!(lifecycle.tally.in_flight(), 0);
    }

    #[test]
    fn a_large_response_is_in_flight_until_the_kernel_has_it() {
        let (connection, lifecycle) = connection();
        end_large(begin(&connection));
        assert_eq!(lifecycle.tally.in_flight(), 1);
        assert_eq!(connection.view().requests.len(), 1);
        connection.settle();
        assert_eq!(lifecycle.tally.in_flight(), 0);
        assert_eq!(connection.view().requests.len(), 0);
    }

    #[test]
    fn the_next_request_shows_that_a_large_response_was_written() {
        let (connection, lifecycle) = connection();
        end_large(begin(&connection));
        let next = begin(&connection);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        end_large(next);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        connection.settle();
        assert_eq!(lifecycle.tally.in_flight(), 0);
    }

    #[test]
    fn of_two_large_responses_one_is_kept() {
        let (connection, lifecycle) = connection();
        let both = [begin(&connection), begin(&connection)];
        assert_eq!(lifecycle.tally.in_flight(), 2);
        both.into_iter().for_each(end_large);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        connection.settle();
        assert_eq!(lifecycle.tally.in_flight(), 0);
    }

    #[test]
    fn small_responses_that_the_socket_does_not_take_count_as_one() {
        let (connection, lifecycle) = connection();
        let both = [begin(&connection), begin(&connection)];
        connection.note_write(true);
        drop(both);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        assert_eq!(connection.view().activity, Activity::Owing);
        let next = begin(&connection);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        drop(next);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        connection.note_write(false);
        assert_eq!(lifecycle.tally.in_flight(), 0);
        assert_eq!(connection.view().activity, Activity::Idle);
        drop(begin(&connection));
        connection.note_write(true);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        drop(connection);
        assert_eq!(lifecycle.tally.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_stream_that_is_gone_owes_nothing() {
        let (connection, lifecycle) = connection();
        connection.set_task(tokio::spawn(async {}).abort_handle());
        connection.becomes_http2();
        connection.note_streams(1, 0);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.version_mut() = Version::HTTP_2;
        let guard = connection.begin(&request);
        connection.note_write(true);
        drop(guard);
        assert_eq!(lifecycle.tally.in_flight(), 1);
        assert_eq!(connection.view().activity, Activity::Owing);
        connection.note_streams(0, 0);
        assert_eq!(lifecycle.tally.in_flight(), 0);
        assert_eq!(connection.view().activity, Activity::Idle);
    }

    #[test]
    fn a_connection_that_is_upgraded_owes_nothing() {
        let (connection, lifecycle) = connection();
        connection.note_write(true);
        let guard = begin(&connection);
        guard.upgrade();
        drop(guard);
        assert_eq!(lifecycle.tally.in_flight(), 0);
    }

    #[test]
    fn nothing_is_in_flight_on_a_connection_that_is_gone() {
        let (connection, lifecycle) = connection();
        end_large(begin(&connection));
        drop(connection);
        assert_eq!(lifecycle.tally.in_flight(), 0);
    }

    #[test]
    fn an_upgraded_connection_is_named_by_its_request() {
        let (connection, _) = connection();
        let guard = begin(&connection);
        guard.upgrade();
        assert!(connection.is_upgraded());
        drop(guard);
        assert_eq!(
            connection.view().activity,
            Activity::Upgraded("GET /".into())
        );
    }
}
