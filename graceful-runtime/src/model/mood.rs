//! How a server feels about its connections, and how a change of that meets the end of a request.
//!
//! A connection whose last request ends has to learn of a drain from one of two sides: the end sees the
//! drain and wakes the task, or the change wakes it and the task sees the end. Each side writes one place
//! and then reads the other, so a fence lies between; `tests/models.rs` tries every order.

use super::atomic::{AtomicU8, AtomicU32, Ordering, fence};

/// How a server feels about connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Mood {
    /// All are welcome.
    Open,
    /// Responses announce the close.
    LameDuck,
    /// Each one ends as soon as nothing is lost by it.
    Draining,
    /// They are given up.
    Cut,
}

/// The mood of now, which only ever gets worse.
#[derive(Debug)]
pub(crate) struct Now(AtomicU8);

impl Now {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(Mood::Open as u8))
    }

    /// Changes the mood; whoever may have to know of it is to be woken afterwards.
    pub(crate) fn set(&self, mood: Mood) {
        // Release: who sees the mood sees what was written before it.
        self.0.store(mood as u8, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is(&self, mood: Mood) -> bool {
        self.0.load(Ordering::Acquire) >= mood as u8
    }
}

/// How many requests of a connection are in flight.
#[derive(Debug)]
pub(crate) struct InFlightCount(AtomicU32);

impl InFlightCount {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends one in the task that looks at the count, which needs no waking.
    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends one in whatever task; tells whether the one that looks at the count is to be woken.
    pub(crate) fn end_elsewhere(&self, now: &Now) -> bool {
        // Release: who sees the count sees what the request has noted.
        self.0.fetch_sub(1, Ordering::Release);
        fence(Ordering::SeqCst);
        now.is(Mood::Draining)
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}
