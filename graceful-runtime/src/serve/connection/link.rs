//! What the socket of a connection tells of its peer.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What is known; written by the task of the connection alone.
#[derive(Debug)]
pub(super) struct Link {
    condition: AtomicU8,
    /// The socket has not taken everything that hyper wrote.
    is_blocked: AtomicBool,
    /// On the way to the end of the connection: the client has not taken the whole of a response.
    is_untaken: AtomicBool,
    is_closing: AtomicBool,
    passage: AtomicU8,
}

/// Whether a connection may go to the successor, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Passage {
    Possible,
    UnderWay,
    /// The successor has not taken it.
    Refused,
}

/// How much of a connection is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Condition {
    Whole,
    /// The client has closed its side, or has gone.
    Ended,
    /// A write has failed, so that something of what hyper was given will never be read.
    Broken,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            condition: AtomicU8::new(Condition::Whole as u8),
            is_blocked: AtomicBool::new(false),
            is_untaken: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            passage: AtomicU8::new(Passage::Possible as u8),
        }
    }

    /// Notes that the connection is as bad as that, or worse.
    #[cold]
    pub(super) fn worsen(&self, condition: Condition) {
        self.condition.fetch_max(condition as u8, Ordering::Relaxed);
    }

    /// Tells whether the connection is as bad as that, or worse.
    #[inline]
    pub(super) fn has_reached(&self, condition: Condition) -> bool {
        self.condition.load(Ordering::Relaxed) >= condition as u8
    }

    /// Notes whether the socket took what hyper wrote; tells whether that has changed.
    #[inline]
    pub(super) fn note_write(&self, is_blocked: bool) -> bool {
        let has_changed = self.is_blocked() != is_blocked;
        if has_changed {
            self.is_blocked.store(is_blocked, Ordering::Relaxed);
        }
        has_changed
    }

    #[inline]
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// Notes whether the client has not taken the whole of a response; returns whether it had not before.
    pub(super) fn note_untaken(&self, is_untaken: bool) -> bool {
        self.is_untaken.swap(is_untaken, Ordering::Relaxed)
    }

    pub(super) fn is_untaken(&self) -> bool {
        self.is_untaken.load(Ordering::Relaxed)
    }

    pub(super) fn set_passage(&self, passage: Passage) {
        self.passage.store(passage as u8, Ordering::Relaxed);
    }

    pub(super) fn is_passage(&self, passage: Passage) -> bool {
        self.passage.load(Ordering::Relaxed) == passage as u8
    }

    /// Notes that the connection is being closed; tells whether it was already.
    pub(super) fn note_closing(&self) -> bool {
        self.is_closing.swap(true, Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Link};

    #[test]
    fn a_connection_gets_no_better() {
        let link = Link::new();
        assert!(!link.has_reached(Condition::Ended));
        link.worsen(Condition::Ended);
        assert!(link.has_reached(Condition::Ended) && !link.has_reached(Condition::Broken));
        link.worsen(Condition::Broken);
        link.worsen(Condition::Ended);
        assert!(link.has_reached(Condition::Broken));
    }
}
