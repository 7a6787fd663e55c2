//! What has come of requests on a connection of HTTP/1, as far as that is known.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::serve::framing::{Awaits, Framing, RequestBody, Told};

/// What has come; written by the task of the connection alone, so that what is read without the lock needs no ordering.
#[derive(Debug)]
pub(super) struct Arrivals {
    following: Mutex<Following>,
    /// How many bytes the kernel held at the last look, while a handler took its time.
    unread: AtomicUsize,
    /// hyper's last read found nothing: it has used everything that it was fed, but for a part of a head.
    is_waiting: AtomicBool,
    /// Something may have come of a request that hyper has not handed out.
    may_have_begun: AtomicBool,
    /// The beginning of something has come that cannot be given to hyper yet.
    has_begun_early: AtomicBool,
}

/// Whether it is known where requests begin and end.
#[derive(Debug)]
enum Following {
    /// What comes is not HTTP/1 in clear text.
    Nothing {
        /// The last request came with a body, of which more may be under way.
        has_body: bool,
    },
    Requests(Framing),
}

impl Following {
    fn framing(&mut self) -> Option<&mut Framing> {
        match self {
            Self::Nothing { .. } => None,
            Self::Requests(framing) => Some(framing),
        }
    }
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            following: Mutex::new(Following::Nothing { has_body: false }),
            unread: AtomicUsize::new(0),
            is_waiting: AtomicBool::new(false),
            may_have_begun: AtomicBool::new(false),
            has_begun_early: AtomicBool::new(false),
        }
    }

    /// Notes bytes that hyper is about to see.
    #[inline]
    pub(super) fn note_read(&self, bytes: &[u8]) {
        self.is_waiting.store(false, Ordering::Relaxed);
        self.unread.store(0, Ordering::Relaxed);
        // The end of the stream is not the beginning of anything.
        if let (Some(framing), false) = (self.following().framing(), bytes.is_empty()) {
            framing.feed(bytes);
            self.may_have_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that hyper has found nothing to read.
    #[inline]
    pub(super) fn note_waiting(&self) {
        self.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Notes how many bytes have come that hyper has not asked for yet.
    #[inline]
    pub(super) fn note_unread(&self, count: usize) {
        self.unread.store(count, Ordering::Relaxed);
    }

    /// Notes whether the beginning of something has come that cannot be given to hyper yet.
    pub(super) fn note_partial(&self, has_begun: bool) {
        self.has_begun_early.store(has_begun, Ordering::Relaxed);
    }

    /// Notes that hyper has handed out a request with such a body.
    #[inline]
    pub(super) fn begin(&self, body: RequestBody) {
        match &mut *self.following() {
            Following::Requests(framing) => {
                framing.begin(body);
                let may_leave_something = !framing.leaves_nothing();
                self.may_have_begun
                    .store(may_leave_something, Ordering::Relaxed);
            }
            Following::Nothing { has_body } => *has_body = body != RequestBody::Complete,
        }
    }

    /// Begins to follow requests.
    pub(super) fn follow(&self, told: Told) {
        *self.following() = Following::Requests(Framing::new(told));
        self.may_have_begun.store(false, Ordering::Relaxed);
    }

    /// Follows requests no longer: what comes does not show them.
    pub(super) fn unfollow(&self) {
        let mut following = self.following();
        if let Following::Requests(_) = *following {
            *following = Following::Nothing { has_body: false };
        }
    }

    #[cfg(any(feature = "adapt", test))]
    pub(super) fn follows(&self) -> bool {
        self.following().framing().is_some()
    }

    /// Tells what hyper waits for, where no response is owed.
    #[inline]
    pub(super) fn awaits(&self) -> Awaits {
        if !self.is_waiting.load(Ordering::Relaxed) {
            return Awaits::Unknown;
        }
        let mut following = self.following();
        following.framing().map_or(Awaits::Unknown, Framing::awaits)
    }

    /// Tells whether something may have come of a request that hyper has not handed out, without a look at
    /// what has come.
    #[inline]
    pub(super) fn may_have_begun(&self) -> bool {
        self.may_have_begun.load(Ordering::Relaxed)
    }

    /// Tells whether something has come of a request that has not been handed out, or may have.
    #[cfg(feature = "adapt")]
    pub(super) fn has_begun(&self) -> bool {
        let awaits = self.following().framing().map(Framing::awaits);
        matches!(awaits, None | Some(Awaits::RestOfHead | Awaits::Unknown))
    }

    /// Tells whether a part of a request has come.
    pub(super) fn is_half_request(&self) -> bool {
        let awaits = || self.following().framing().map(Framing::awaits);
        let has_begun = self.may_have_begun() && awaits() == Some(Awaits::RestOfHead);
        has_begun || self.has_begun_early.load(Ordering::Relaxed)
    }

    /// Tells whether a further request has come; where that is not known, `or_else` does.
    pub(super) fn has_more_requests(&self, or_else: impl FnOnce() -> bool) -> bool {
        let has_unread = self.unread.load(Ordering::Relaxed) > 0;
        match self.following().framing().map(Framing::awaits) {
            Some(Awaits::Request) => has_unread,
            // What comes behind a body that nobody has read may go unanswered.
            Some(Awaits::RestOfBody) => false,
            Some(Awaits::RestOfHead) => true,
            Some(Awaits::Unknown) => or_else(),
            // What another framework decrypts: few clients send a request before they have the response.
            None => false,
        }
    }

    /// Tells whether a body may still be coming that nobody reads.
    pub(super) fn may_leave_body(&self) -> bool {
        match &mut *self.following() {
            Following::Requests(framing) => {
                matches!(framing.awaits(), Awaits::RestOfBody | Awaits::Unknown)
            }
            Following::Nothing { has_body } => *has_body,
        }
    }

    // Nothing that could panic runs under the lock.
    #[inline]
    fn following(&self) -> MutexGuard<'_, Following> {
        self.following
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
