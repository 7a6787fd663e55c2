//! What has come of requests on a connection of HTTP/1, as far as that is known.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::serve::framing::{Awaits, Framing, RequestBody};

/// What is read without a lock; written by the task of the connection alone, so it needs no ordering.
#[derive(Debug)]
pub(super) struct Arrivals {
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
pub(super) enum Following {
    /// What comes is not HTTP/1 in clear text.
    Nothing {
        /// The last request came with a body, of which more may be under way.
        has_body: bool,
    },
    Requests(Framing),
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            unread: AtomicUsize::new(0),
            is_waiting: AtomicBool::new(false),
            may_have_begun: AtomicBool::new(false),
            has_begun_early: AtomicBool::new(false),
        }
    }

    /// Notes bytes that hyper is about to see.
    #[inline]
    pub(super) fn note_read(&self, following: &mut Following, bytes: &[u8]) {
        self.is_waiting.store(false, Ordering::Relaxed);
        self.unread.store(0, Ordering::Relaxed);
        // The end of the stream is not the beginning of anything.
        if let (Following::Requests(framing), false) = (following, bytes.is_empty()) {
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
    pub(super) fn begin(&self, following: &mut Following, body: RequestBody) {
        match following {
            Following::Requests(framing) => {
                framing.begin(body);
                let may_leave_something = !framing.leaves_nothing();
                self.may_have_begun
                    .store(may_leave_something, Ordering::Relaxed);
            }
            Following::Nothing { has_body } => *has_body = body != RequestBody::Complete,
        }
    }

    /// Notes that nothing has come of what is followed from now on.
    pub(super) fn note_new(&self) {
        self.may_have_begun.store(false, Ordering::Relaxed);
    }

    /// Tells whether hyper has used everything that it was fed, but for a part of a head.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Tells whether something may have come of a request that hyper has not handed out, without a look at
    /// what has come.
    #[inline]
    pub(super) fn may_have_begun(&self) -> bool {
        self.may_have_begun.load(Ordering::Relaxed)
    }

    /// Tells whether a part of a request has come.
    pub(super) fn is_half_request(&self, following: &mut Following) -> bool {
        let has_begun = self.may_have_begun() && following.awaits() == Some(Awaits::RestOfHead);
        has_begun || self.has_begun_early.load(Ordering::Relaxed)
    }

    /// Tells whether a further request has come; where that is not known, `or_else` does.
    pub(super) fn has_more_requests(
        &self,
        following: &mut Following,
        or_else: impl FnOnce() -> bool,
    ) -> bool {
        match following.awaits() {
            Some(Awaits::Request) => self.unread.load(Ordering::Relaxed) > 0,
            // What comes behind a body that nobody has read may go unanswered.
            Some(Awaits::RestOfBody) => false,
            Some(Awaits::RestOfHead) => true,
            Some(Awaits::Unknown) => or_else(),
            // What another framework decrypts: few clients send a request before they have the response.
            None => false,
        }
    }
}

impl Following {
    /// Follows requests no longer: what comes does not show them.
    pub(super) fn unfollow(&mut self) {
        if let Self::Requests(_) = self {
            *self = Self::Nothing { has_body: false };
        }
    }

    /// Tells what hyper waits for, where no response is owed; `None` where nobody follows.
    pub(super) fn awaits(&mut self) -> Option<Awaits> {
        match self {
            Self::Nothing { .. } => None,
            Self::Requests(framing) => Some(framing.awaits()),
        }
    }

    /// Tells whether a body may still be coming that nobody reads.
    pub(super) fn may_leave_body(&mut self) -> bool {
        match self {
            Self::Requests(framing) => {
                matches!(framing.awaits(), Awaits::RestOfBody | Awaits::Unknown)
            }
            Self::Nothing { has_body } => *has_body,
        }
    }
}
