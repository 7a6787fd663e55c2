//! What is known of a connection: by the report, by the drain, and by the pieces that serve it.

#[cfg(feature = "adapt")]
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use hyper::{Method, Request, Version};
#[cfg(feature = "adapt")]
use tokio::task;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::drain::{GOAWAY_LIMIT, HEAD_LIMIT};
use super::framing::{Awaits, Body, Framing, Told};
use super::requests::{Key, Requests};
use super::settings::Http2;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::registry::Registry;
use crate::lifecycle::request::InFlight;
use crate::lifecycle::server::{Activity, Backlog, Server, View};
use crate::model::mood::{InFlightCount, Mood, Now};
use crate::model::phase::Phase;
use crate::net::listener::Listener;
use crate::net::stream::{Peer, Stream};

/// Responses up to this size fit into a socket's buffer (`tcp_wmem`'s initial size), so that they are
/// as good as written when hyper has them.
const SMALL: usize = 16 << 10;

/// Not a number of streams.
const UNKNOWN: u32 = u32::MAX;

/// Whether it is known how a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Counted,
    /// Its response may not have been written yet, or its stream not have been seen to end.
    Open,
}

/// How a request has ended whose response was not made to its end.
#[derive(Debug)]
enum Unmade {
    /// Its client has given it up; it had this name.
    GivenUp(String),
    /// Its handler ended it.
    Ended,
    /// It will be known later, and counted then.
    Open,
}

/// How far an HTTP/2 client has come with the PING behind the GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Answer {
    /// Other things are before it that the client has not taken.
    Far,
    /// Its kernel has it.
    Due,
    /// It has had its time.
    Presumed,
}

/// What one server and all its connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connections: Arc<Registry<Connection>>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(super) header_timeout: Duration,
    /// Requests are given the address of their client.
    pub(super) connect_info: bool,
    /// The end of what a client sends does not mean that it has gone.
    pub(super) half_close: bool,
    pub(super) http2: Http2,
    mood: Now,
    strays: Mutex<Strays>,
    /// What its listener holds and cannot accept.
    backlog: Mutex<Option<Backlog>>,
    drain: OnceLock<Drain>,
    /// Drops what has ended, before somebody is told of it.
    #[cfg(feature = "adapt")]
    tidy: OnceLock<Tidy>,
}

/// Streams of HTTP/2 in a drain, where it is not known on what connection a request came.
#[derive(Debug, Default)]
struct Strays {
    /// How many clients have given up on, of which the requests have not ended yet.
    given_up: usize,
    /// Requests that ended before their responses were made to their end, and that no client has been seen to give up:
    /// a framework that ends a connection drops them while it says so.
    unmade: Vec<String>,
    /// No connection will tell of any more.
    is_over: bool,
}

#[cfg(feature = "adapt")]
struct Tidy(Box<dyn Fn() + Send + Sync>);

#[cfg(feature = "adapt")]
impl fmt::Debug for Tidy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tidy")
    }
}

/// What is known of a drain from its begin on.
#[derive(Clone, Copy, Debug)]
struct Drain {
    begin: Instant,
    /// Requests were answered just before it, or are in flight.
    was_busy: bool,
}

impl Shared {
    pub(crate) fn new(lifecycle: Arc<Lifecycle>, header_timeout: Duration) -> Self {
        Self {
            connections: Arc::default(),
            lifecycle,
            header_timeout,
            connect_info: false,
            half_close: false,
            http2: Http2::default(),
            mood: Now::new(),
            strays: Mutex::default(),
            backlog: Mutex::default(),
            drain: OnceLock::new(),
            #[cfg(feature = "adapt")]
            tidy: OnceLock::new(),
        }
    }

    #[cfg(feature = "adapt")]
    pub(crate) fn tidy_by(&self, tidy: impl Fn() + Send + Sync + 'static) {
        let _ = self.tidy.set(Tidy(Box::new(tidy)));
    }

    /// Drops what has ended without a word; to be called before somebody is told of the requests.
    fn tidy(&self) {
        #[cfg(feature = "adapt")]
        self.tidy.get().into_iter().for_each(|Tidy(tidy)| tidy());
    }

    /// Changes the mood and lets every connection know.
    pub(crate) fn set_mood(&self, mood: Mood) {
        if mood == Mood::Draining {
            self.drain.get_or_init(|| self.begin_drain());
        }
        self.mood.set(mood);
        for connection in self.connections.members() {
            match mood {
                Mood::Cut => connection.cut(),
                _ => connection.wake(),
            }
        }
    }

    /// Notes that no connection is left: requests that nobody has given up have ended as they should.
    #[cfg(feature = "adapt")]
    pub(crate) fn note_last_closed(&self) {
        let mut strays = self.strays();
        strays.is_over = true;
        let finished = mem::take(&mut strays.unmade).len();
        drop(strays);
        let counted = &self.lifecycle.finished;
        counted.fetch_add(finished, Ordering::Relaxed);
    }

    /// Notes that clients have given up on so many streams.
    fn note_given_up(&self, streams: usize) {
        let mut strays = self.strays();
        let known = streams.min(strays.unmade.len());
        strays.given_up += streams - known;
        let gone: Vec<_> = strays.unmade.drain(..known).collect();
        drop(strays);
        for name in gone {
            self.lifecycle.gone.add(|| name);
        }
    }

    /// Tells how a request has ended of which it is not known on what connection it came, as far as that can be told.
    fn end_unmade(&self, name: String) -> Unmade {
        let mut strays = self.strays();
        if let Some(less) = strays.given_up.checked_sub(1) {
            strays.given_up = less;
            return Unmade::GivenUp(name);
        }
        if strays.is_over {
            return Unmade::Ended;
        }
        strays.unmade.push(name);
        Unmade::Open
    }

    // Nothing that could panic runs under the lock.
    fn strays(&self) -> MutexGuard<'_, Strays> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "adapt")]
    pub(crate) fn wake_connections(&self) {
        for connection in self.connections.members() {
            connection.wake();
        }
    }

    fn begin_drain(&self) -> Drain {
        let begin = Instant::now();
        let grace = self.lifecycle.keep_alive_grace;
        let was_used = |connection: &Connection| {
            let last_active = connection.last_active();
            let was_asked = last_active > connection.accepted && last_active + grace > begin;
            connection.in_flight() > 0 || was_asked
        };
        let was_busy = self.connections.find(was_used).is_some();
        Drain { begin, was_busy }
    }

    /// Returns how long, in a drain, an HTTP/2 client may take to learn of it: to open streams, and to be silent when all have
    /// ended.
    ///
    /// One that does what it should needs a round trip, which ends the wait; a request of its own may cross the GOAWAY.
    pub(crate) fn goaway_limit(&self) -> Duration {
        let trigger = self.lifecycle.trigger();
        let budget = trigger.map_or(Duration::MAX, |trigger| trigger.budget.timeout());
        GOAWAY_LIMIT.min(budget / 4)
    }

    pub(crate) fn set_backlog(&self, backlog: Option<Backlog>) {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = backlog;
    }

    /// Notes what `listener` holds that could not be accepted.
    pub(crate) fn note_accept_failed(&self, listener: &Listener, error: &io::Error) {
        let length = listener.queue_length();
        self.set_backlog((length > 0).then(|| Backlog {
            listener: listener.to_string(),
            length,
            error: error.to_string(),
        }));
    }

    pub(crate) fn is(&self, mood: Mood) -> bool {
        self.mood.is(mood)
    }
}

impl Server for Shared {
    fn connections(&self) -> Vec<View> {
        self.tidy();
        let connections = self.connections.members();
        connections
            .iter()
            .map(|connection| connection.view())
            .collect()
    }

    fn backlog(&self) -> Option<Backlog> {
        let backlog = self.backlog.lock();
        backlog.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One connection, from its accept to its close.
///
/// The flags are written by the task of the connection alone, so they need no ordering. HTTP/2's streams end
/// in tasks of their own: see [`InFlightCount`].
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) shared: Arc<Shared>,
    peer: Peer,
    accepted: Instant,
    in_flight: InFlightCount,
    /// How many bytes the kernel held at the last look, while a handler took its time.
    unread: AtomicUsize,
    /// Something may have come of a request that hyper has not handed out.
    may_have_begun: AtomicBool,
    /// hyper's last read found nothing: it has used everything that it was fed, but for a part of a head.
    is_waiting: AtomicBool,
    is_write_blocked: AtomicBool,
    /// The client has closed its side, or the connection is broken.
    is_lost: AtomicBool,
    /// A write has failed, so that something of what hyper was given will never be read.
    has_failed: AtomicBool,
    /// How often it was seen that the client had taken something which it was sent.
    progress: AtomicU32,
    /// How far an HTTP/2 client has come with the PING behind the GOAWAY.
    answer: AtomicU8,
    /// How many streams of HTTP/2 the client has given up in the drain, of which the requests have not ended yet.
    given_up: AtomicUsize,
    /// How many streams of HTTP/2 are open; [`UNKNOWN`] where nobody follows its frames.
    open_streams: AtomicU32,
    /// On how many the server has ended, and the client has not.
    half_closed_streams: AtomicU32,
    /// The begin of something has come that cannot be given to hyper yet.
    has_begun_early: AtomicBool,
    /// In a drain, and while it is closed: the client has not taken the whole of a response.
    is_unread: AtomicBool,
    /// How many bytes of HTTP/2 have been sent behind the last frame of a response.
    behind_response: AtomicUsize,
    /// A client of HTTP/2 may be reading a response: it has not answered the PING behind it.
    is_reading: AtomicBool,
    is_closing: AtomicBool,
    is_upgraded: AtomicBool,
    is_http2: AtomicBool,
    /// Requests that ended, whose responses may not have been written yet: all since the trigger, and before it one
    /// with a large response.
    unsettled: AtomicU32,
    /// Ends the task, where it is one of ours.
    abort: OnceLock<AbortHandle>,
    /// The task of another framework that serves it.
    #[cfg(feature = "adapt")]
    task_id: OnceLock<task::Id>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Requests,
    /// `None`: what comes is not HTTP/1 in clear text, so nobody follows it.
    framing: Option<Framing>,
    /// The last request that nobody followed came with a body, of which more may be under way.
    has_body: bool,
    last_active: Instant,
    /// The task that serves the connection; it is the same for the whole of its life.
    task: Option<Waker>,
    /// The socket, when hyper or the upgraded task has done with it.
    returned: Option<Stream>,
    /// The last request, where its response is so large that it may not have been written yet.
    unwritten: Option<InFlight>,
    /// Requests of HTTP/2 that ended in the drain before their responses were made to their end.
    unmade: Vec<InFlight>,
    /// The request by which the connection was upgraded.
    upgraded_by: Option<InFlight>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        let accepted = Instant::now();
        Self {
            shared,
            peer,
            accepted,
            in_flight: InFlightCount::new(),
            unread: AtomicUsize::new(0),
            may_have_begun: AtomicBool::new(false),
            is_waiting: AtomicBool::new(false),
            is_write_blocked: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            progress: AtomicU32::new(0),
            answer: AtomicU8::new(Answer::Far as u8),
            given_up: AtomicUsize::new(0),
            open_streams: AtomicU32::new(UNKNOWN),
            half_closed_streams: AtomicU32::new(0),
            has_begun_early: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
            behind_response: AtomicUsize::new(0),
            is_reading: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            is_upgraded: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            unsettled: AtomicU32::new(0),
            abort: OnceLock::new(),
            #[cfg(feature = "adapt")]
            task_id: OnceLock::new(),
            state: Mutex::new(State {
                requests: Requests::default(),
                framing: None,
                has_body: false,
                last_active: accepted,
                task: None,
                returned: None,
                unwritten: None,
                unmade: Vec::new(),
                upgraded_by: None,
            }),
        }
    }

    // For the report.

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    pub(crate) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// Says what is asked, and who asks.
    fn name(&self, request: &InFlight) -> String {
        format!("{request} from {}", self.peer)
    }

    /// Returns what there is to say of it.
    pub(crate) fn view(&self) -> View {
        let state = self.state();
        let requests: Vec<_> = state
            .requests
            .iter()
            .chain(&state.unwritten)
            .cloned()
            .collect();
        let is_unwritten = state.unwritten.is_some();
        drop(state);
        let owes = self.owes_small_responses();
        let activity = if self.is_upgraded() {
            Activity::Upgraded(self.upgraded_by())
        } else if owes {
            Activity::Owing
        } else if !requests.is_empty() || self.open_streams().unwrap_or(0) > 0 {
            Activity::Busy
        } else {
            self.activity()
        };
        View {
            peer: self.peer,
            accepted: self.accepted,
            request_count: self.in_flight() + usize::from(is_unwritten || owes),
            requests,
            activity,
        }
    }

    /// Tells whether responses have not been written that were too small to keep their requests for; how many those are
    /// is not known.
    fn owes_small_responses(&self) -> bool {
        if !self.is_write_blocked() || self.is_upgraded() {
            return false;
        }
        let state = self.state();
        match self.open_streams() {
            // Another framework's requests may be known, but not that they came on this connection.
            Some(open) => self.abort.get().is_some() && open > state.requests.len(),
            None => state.requests.len() == 0 && state.unwritten.is_none() && !self.is_http2(),
        }
    }

    /// Returns what a connection does that has no request in flight.
    pub(crate) fn activity(&self) -> Activity {
        let is_unread = self.is_unread();
        if self.is_closing() {
            return if is_unread {
                Activity::Unread
            } else {
                Activity::Closing
            };
        }
        let half_closed = self.half_closed_streams.load(Ordering::Relaxed) as usize;
        if half_closed > 0 {
            return Activity::HalfClosed(half_closed);
        }
        let framing = &mut self.state().framing;
        let awaits = framing.as_mut().map(Framing::awaits);
        let has_begun = self.may_have_begun() && awaits == Some(Awaits::RestOfHead);
        match has_begun || self.has_begun_early.load(Ordering::Relaxed) {
            true => Activity::HalfRequest,
            false if is_unread => Activity::Unread,
            false => Activity::Idle,
        }
    }

    /// Notes that the rest of a request did not come in its time, which ends the connection.
    #[cold]
    pub(crate) fn note_timed_out(&self) {
        let lifecycle = &self.shared.lifecycle;
        let is_first = !self.is_closing.swap(true, Ordering::Relaxed);
        if is_first && lifecycle.phase() >= Phase::LameDuck {
            lifecycle.timed_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_upgraded(&self) -> bool {
        self.is_upgraded.load(Ordering::Relaxed)
    }

    fn upgraded_by(&self) -> String {
        let state = self.state();
        let by = state.upgraded_by.as_ref().map(ToString::to_string);
        by.unwrap_or_default()
    }

    // From the socket.

    /// Notes bytes that hyper is about to see.
    pub(super) fn note_read(&self, bytes: &[u8]) {
        self.is_waiting.store(false, Ordering::Relaxed);
        self.unread.store(0, Ordering::Relaxed);
        // The end of the stream is not the begin of anything.
        if bytes.is_empty() {
            return self.note_end();
        }
        if self.is_http2() {
            return;
        }
        if let Some(framing) = &mut self.state().framing {
            framing.feed(bytes);
            self.may_have_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that hyper has found nothing to read.
    pub(super) fn note_waiting(&self) {
        self.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Notes how many bytes have come that hyper has not asked for yet.
    pub(super) fn note_unread(&self, count: usize) {
        self.unread.store(count, Ordering::Relaxed);
    }

    /// Notes that the client sends no more.
    #[cold]
    fn note_end(&self) {
        if !self.shared.half_close {
            self.note_loss();
        }
    }

    /// Notes that the client of a request in flight has gone away.
    #[cold]
    pub(super) fn note_loss(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// Notes that the socket takes nothing any more.
    #[cold]
    pub(super) fn note_failure(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
        self.note_loss();
    }

    /// Notes whether the socket took what hyper wrote.
    pub(super) fn note_write(&self, is_blocked: bool) {
        self.is_write_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// Notes on how many streams of HTTP/2 the server owes something, and on how many only the client may go on.
    pub(super) fn note_streams(&self, open: usize, half_closed: usize) {
        let open = u32::try_from(open).unwrap_or(UNKNOWN - 1);
        self.open_streams.store(open, Ordering::Relaxed);
        let half_closed = u32::try_from(half_closed).unwrap_or(u32::MAX);
        self.half_closed_streams
            .store(half_closed, Ordering::Relaxed);
    }

    /// Notes whether the begin of something has come that cannot be given to hyper yet.
    pub(super) fn note_begin(&self, has_begun: bool) {
        self.has_begun_early.store(has_begun, Ordering::Relaxed);
    }

    /// Notes whether the client has not taken the whole of a response; returns whether it had not before.
    pub(super) fn note_unread_by_client(&self, is_unread: bool) -> bool {
        self.is_unread.swap(is_unread, Ordering::Relaxed)
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    /// Notes how many bytes of HTTP/2 have been sent behind the last frame of a response.
    pub(super) fn note_behind_response(&self, count: usize) {
        self.behind_response.store(count, Ordering::Relaxed);
    }

    pub(super) fn behind_response(&self) -> usize {
        self.behind_response.load(Ordering::Relaxed)
    }

    /// Notes whether a client of HTTP/2 may be reading a response.
    pub(super) fn note_reading(&self, is_reading: bool) {
        self.is_reading.store(is_reading, Ordering::Relaxed);
    }

    /// Notes that the connection is being closed.
    pub(crate) fn note_closing(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Returns how many streams of HTTP/2 are open, where that is known.
    pub(crate) fn open_streams(&self) -> Option<usize> {
        match self.open_streams.load(Ordering::Relaxed) {
            UNKNOWN => None,
            count => Some(count as usize),
        }
    }

    /// Notes that the client has taken something which it was sent.
    pub(super) fn note_progress(&self) {
        let progress = self.progress.load(Ordering::Relaxed);
        self.progress
            .store(progress.wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns a number that changes whenever it is seen that the client has taken something.
    pub(super) fn progress(&self) -> u32 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Takes the socket back.
    pub(super) fn give_back(&self, stream: Stream) {
        self.state().returned = Some(stream);
        self.wake();
    }

    // From the service.

    /// Notes that a request begins; it is in flight until the guard is dropped.
    pub(crate) fn begin<B: hyper::body::Body>(
        self: &Arc<Self>,
        request: &Request<B>,
    ) -> InFlightGuard {
        let body = match request.body().is_end_stream() {
            true => Body::Complete,
            false => Body::new(request.body().size_hint().exact()),
        };
        self.in_flight.begin();
        // Nobody may ask for the body of a response to HEAD.
        let stream = (request.version() == Version::HTTP_2)
            .then(|| AtomicBool::new(request.method() == Method::HEAD));
        let request = InFlight {
            started: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            is_upgraded: false,
        };
        let mut state = self.state();
        match &mut state.framing {
            Some(framing) => {
                framing.begin(body);
                let may_leave_something = !framing.leaves_nothing();
                self.may_have_begun
                    .store(may_leave_something, Ordering::Relaxed);
            }
            None => state.has_body = body != Body::Complete,
        }
        state.unwritten = None;
        let key = state.requests.insert(request);
        drop(state);
        InFlightGuard {
            connection: Arc::clone(self),
            key,
            size: 0,
            stream,
        }
    }

    /// Notes the end of a request; `is_made`: of its response, where that is known.
    fn end(&self, key: Key, size: usize, is_made: Option<bool>) {
        let mut state = self.state();
        let request = state.requests.remove(key);
        state.last_active = Instant::now();
        let is_draining = self.shared.lifecycle.phase() >= Phase::LameDuck;
        match is_draining || size > SMALL {
            true => self.leave_open(state, request, size, is_made, is_draining),
            false => drop(state),
        }
        if !self.is_http2() {
            return self.in_flight.end();
        }
        if self.in_flight.end_elsewhere(&self.shared.mood) {
            // hyper has no reason to look at the connection when its last stream ends.
            self.wake();
        }
    }

    /// Leaves open how a request has ended whose response may not have been written; counts it where it is known.
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
        if fate == Fate::Open {
            match request {
                Some(request) if is_draining && is_made == Some(false) => {
                    state.unmade.push(request);
                }
                // A small one is not kept: it would keep hyper's buffer, too.
                request if size > SMALL => state.unwritten = request,
                _ => {}
            }
            self.unsettled.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        if self.is_closing() {
            // A handler that panicked, or kept its thread: nobody looks at the connection any more.
            self.settle();
        }
    }

    /// Counts a request that ends since the trigger, if it is known how.
    #[cold]
    fn end_in_drain(&self, request: Option<&InFlight>, is_made: Option<bool>) -> Fate {
        // What is cut is counted and named as such.
        if self.shared.lifecycle.is_cut() || self.is(Mood::Cut) {
            return Fate::Counted;
        }
        let has_gone = match is_made {
            Some(is_made) => !is_made && self.take_given_up(),
            None => self.is_lost.load(Ordering::Relaxed),
        };
        match request {
            Some(request) if has_gone => {
                self.shared.lifecycle.gone.add(|| self.name(request));
                Fate::Counted
            }
            _ => Fate::Open,
        }
    }

    /// Notes that the client has given up on so many streams of HTTP/2, or has gone with them.
    pub(super) fn note_given_up(&self, streams: usize) {
        if streams > 0 && self.shared.lifecycle.phase() >= Phase::LameDuck {
            self.given_up.fetch_add(streams, Ordering::Relaxed);
            self.shared.note_given_up(streams);
        }
    }

    /// Tells whether a request whose response was not made to its end may be one of those that were given up, and
    /// takes it for it.
    fn take_given_up(&self) -> bool {
        let less = |count: usize| count.checked_sub(1);
        self.given_up
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    /// Notes that the response switches protocols, for the rest of the connection.
    fn upgrade(&self, key: Key) {
        let mut state = self.state();
        state.upgraded_by = state.requests.get(key).cloned();
        state.framing = None;
        drop(state);
        self.is_upgraded.store(true, Ordering::Relaxed);
    }

    /// Tells whether the response that is about to be sent is the last one of an HTTP/1 connection:
    /// the server wants to close, and no further request has been received.
    ///
    /// Where it is not known whether one has, the connection ends later, when it is idle, which loses
    /// nothing.
    #[inline]
    pub(crate) fn is_last_response(&self) -> bool {
        self.is(Mood::LameDuck) && !self.is_http2() && !self.has_more_requests()
    }

    /// Tells whether a further request has been received, or may have been.
    #[cold]
    fn has_more_requests(&self) -> bool {
        let has_unread = self.unread.load(Ordering::Relaxed) > 0;
        match &mut self.state().framing {
            Some(framing) => match framing.awaits() {
                Awaits::Request => has_unread,
                // What comes behind a body that nobody has read may go unanswered.
                Awaits::RestOfBody => false,
                Awaits::RestOfHead => true,
                // But who goes on asking must not hold the drain for it.
                Awaits::Unknown => self
                    .drain()
                    .is_none_or(|drain| Instant::now() < drain + HEAD_LIMIT),
            },
            // What another framework decrypts: few clients send a request before they have the response.
            None => false,
        }
    }

    // For the task of the connection.

    pub(super) fn set_task(&self, task: AbortHandle) {
        // Set once, where the task is spawned.
        let _ = self.abort.set(task);
    }

    /// Notes the first task that has touched the connection.
    #[cfg(feature = "adapt")]
    pub(crate) fn note_task_id(&self, task: task::Id) {
        let _ = self.task_id.set(task);
    }

    #[cfg(feature = "adapt")]
    pub(crate) fn is_of_task(&self, task: task::Id) -> bool {
        self.task_id.get() == Some(&task)
    }

    /// Gives the connection up, whatever it is doing.
    fn cut(&self) {
        if let Some(task) = self.abort.get() {
            task.abort();
        }
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
        let known = &mut self.state().task;
        if !known.as_ref().is_some_and(|known| known.will_wake(task)) {
            *known = Some(task.clone());
        }
    }

    pub(crate) fn wake(&self) {
        let task = self.state().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Notes that nothing more of what hyper was given will be handed to the kernel.
    pub(crate) fn settle(&self) {
        if self.unsettled.load(Ordering::Relaxed) > 0 {
            self.settle_requests();
        }
    }

    /// Does so where all responses have been handed to the kernel.
    #[inline]
    pub(super) fn settle_if_written(&self) {
        if self.unsettled.load(Ordering::Relaxed) > 0 && !self.is_busy() {
            self.settle_requests();
        }
    }

    #[cold]
    fn settle_requests(&self) {
        let mut count = self.unsettled.swap(0, Ordering::Relaxed) as usize;
        let mut state = self.state();
        let (unwritten, unmade) = (state.unwritten.take(), mem::take(&mut state.unmade));
        drop(state);
        let lifecycle = &self.shared.lifecycle;
        if lifecycle.phase() < Phase::LameDuck {
            return;
        }
        for request in unmade {
            let name = self.name(&request);
            let end = match self.open_streams() {
                Some(_) if self.take_given_up() => Unmade::GivenUp(name),
                Some(_) => Unmade::Ended,
                None => self.shared.end_unmade(name),
            };
            match end {
                Unmade::Ended => continue,
                Unmade::GivenUp(name) => lifecycle.gone.add(|| name),
                Unmade::Open => {}
            }
            count = count.saturating_sub(1);
        }
        // Of HTTP/2, whose responses are many at a time, the pieces know.
        let is_lost = self.has_failed.load(Ordering::Relaxed) || self.is_write_blocked();
        if !is_lost || self.is_http2() {
            lifecycle.finished.fetch_add(count, Ordering::Relaxed);
            return;
        }
        if lifecycle.is_cut() || self.is(Mood::Cut) {
            // And counted as such.
            return;
        }
        let name = unwritten.map(|request| self.name(&request));
        for _ in 0..count {
            let unnamed = || format!("a request from {}", self.peer);
            lifecycle.gone.add(|| name.clone().unwrap_or_else(unnamed));
        }
    }

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
        self.state().framing = Some(Framing::new(told));
        self.may_have_begun.store(false, Ordering::Relaxed);
    }

    /// Follows requests no longer: what comes does not show them.
    #[cfg(feature = "adapt")]
    pub(crate) fn becomes_opaque(&self) {
        self.state().framing = None;
    }

    /// Tells whether it is known where requests begin and end.
    #[cfg(any(feature = "adapt", test))]
    pub(crate) fn follows_requests(&self) -> bool {
        self.state().framing.is_some()
    }

    /// Tells what hyper waits for, where no response is owed.
    pub(super) fn awaits(&self) -> Awaits {
        if !self.is_waiting.load(Ordering::Relaxed) {
            return Awaits::Unknown;
        }
        let framing = &mut self.state().framing;
        framing.as_mut().map_or(Awaits::Unknown, Framing::awaits)
    }

    /// Tells whether something may have come of a request that hyper has not handed out, without a look at
    /// what has come.
    pub(super) fn may_have_begun(&self) -> bool {
        self.may_have_begun.load(Ordering::Relaxed)
    }

    /// Tells whether something has come of a request that has not been handed out, or may have.
    #[cfg(feature = "adapt")]
    pub(crate) fn has_begun(&self) -> bool {
        let awaits = self.state().framing.as_mut().map(Framing::awaits);
        matches!(awaits, None | Some(Awaits::RestOfHead | Awaits::Unknown))
    }

    /// Follows requests no longer: what comes is HTTP/2.
    pub(crate) fn becomes_http2(&self) {
        self.state().framing = None;
        self.is_http2.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Notes that an HTTP/2 client has the PING behind the GOAWAY.
    pub(super) fn note_asked(&self) {
        if self.answer() == Answer::Far {
            self.answer.store(Answer::Due as u8, Ordering::Relaxed);
        }
    }

    /// Takes an HTTP/2 client for one that has answered the PING behind the GOAWAY.
    pub(crate) fn presume_answer(&self) {
        self.answer.store(Answer::Presumed as u8, Ordering::Relaxed);
    }

    pub(super) fn answer(&self) -> Answer {
        match self.answer.load(Ordering::Relaxed) {
            answer if answer == Answer::Far as u8 => Answer::Far,
            answer if answer == Answer::Due as u8 => Answer::Due,
            _ => Answer::Presumed,
        }
    }

    /// Tells whether a response is owed or not completely handed to the kernel.
    pub(crate) fn is_busy(&self) -> bool {
        match self.open_streams() {
            // A client that makes the server write and does not read, such as one that floods PING, is no reason
            // to wait.
            Some(count) => count > 0,
            None => self.in_flight() > 0 || self.is_write_blocked(),
        }
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

    /// Tells whether an HTTP/1 request is in flight.
    pub(super) fn awaits_response(&self) -> bool {
        self.in_flight() > 0 && !self.is_upgraded() && !self.is_http2()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.get() as usize
    }

    fn is_write_blocked(&self) -> bool {
        self.is_write_blocked.load(Ordering::Relaxed)
    }

    /// Tells whether the peer may still be sending: a body that nobody reads, or how it gets on with a response over
    /// HTTP/2.
    pub(super) fn may_be_sending(&self) -> bool {
        if self.is_http2() {
            return self.is_reading.load(Ordering::Relaxed);
        }
        let mut state = self.state();
        match &mut state.framing {
            Some(framing) => matches!(framing.awaits(), Awaits::RestOfBody | Awaits::Unknown),
            None => state.has_body,
        }
    }

    pub(crate) fn is(&self, mood: Mood) -> bool {
        self.shared.is(mood)
    }

    /// Returns when the drain began.
    pub(crate) fn drain(&self) -> Option<Instant> {
        self.is(Mood::Draining)
            .then(|| self.shared.drain.get().map(|drain| drain.begin))
            .flatten()
    }

    /// Notes that the peer has just done something, as if it had come anew.
    #[cfg(feature = "tls")]
    pub(super) fn note_activity(&self) {
        self.state().last_active = Instant::now();
    }

    /// Returns when the last request ended, or the connection was accepted.
    pub(super) fn last_active(&self) -> Instant {
        self.state().last_active
    }

    /// Returns until when the connection, idle or new, may still bring a request while draining.
    ///
    /// Where requests came just before the drain, they go on coming, and a proxy takes any of the connections
    /// that it keeps for them, however long it has not used that one; so each is given the time to be told.
    pub(crate) fn grace_end(&self) -> Instant {
        let last_active = self.last_active();
        let begin = match self.shared.drain.get() {
            Some(drain) if drain.was_busy => drain.begin.max(last_active),
            _ => last_active,
        };
        begin + self.shared.lifecycle.keep_alive_grace
    }

    /// Waits until the socket has come back, for an upgraded connection as long as that takes.
    pub(super) async fn returned(&self) -> Stream {
        poll_fn(|_| {
            let mut state = self.state();
            match state.returned.take() {
                Some(stream) => Poll::Ready(stream),
                // `give_back` wakes the task that was remembered, and this is the one.
                None => {
                    // hyper has passed it on, with whatever status; requests come no more.
                    state.framing = None;
                    Poll::Pending
                }
            }
        })
        .await
    }

    // No user code runs under the lock, so a poisoned one holds nothing half done.
    #[inline]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Notes that the connection, or the stream of HTTP/2, goes on in another protocol.
    #[cold]
    pub(crate) fn upgrade(&self) {
        if self.is_http2() {
            self.connection.state().requests.upgrade(self.key);
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

    pub(crate) fn add(&mut self, bytes: usize) {
        self.size += bytes;
    }

    pub(super) fn is_http2(&self) -> bool {
        self.stream.is_some()
    }

    /// Notes that the response has been made to its end, or is not to be: what is dropped before may be given up by
    /// the client. Only streams have to be told; where a connection of HTTP/1 is lost, it is known.
    pub(crate) fn finish(&self) {
        if let Some(is_made) = &self.stream {
            is_made.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a piece of the response has been thrown away.
    #[cold]
    pub(super) fn give_up(&self) {
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
