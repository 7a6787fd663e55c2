//! How far a server has come in ending its connections, and how a change of that meets the end of a request.
//!
//! A connection whose last request ends has to learn of a drain from one of two sides: the end sees the
//! drain and wakes the task, or the change wakes it and the task sees the end. Each side writes one place
//! and then reads the other, so a fence lies between; `tests/models.rs` tries every order.

use super::atomic::{AtomicU8, AtomicU32, Ordering, fence};

/// How far a server has come in ending its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Connections are welcome.
    Open,
    /// Responses announce the close.
    LameDuck,
    /// Each connection ends as soon as nothing is lost by it.
    Draining,
    /// They are given up.
    Cut,
}

/// The stage of now, which only ever gets later.
#[derive(Debug)]
pub(crate) struct CurrentStage(AtomicU8);

impl CurrentStage {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(Stage::Open as u8))
    }

    /// Changes the stage; whoever may have to know of it is to be woken afterwards.
    pub(crate) fn set(&self, stage: Stage) {
        // Release: who sees the stage sees what was written before it.
        self.0.store(stage as u8, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Tells whether the stage is `stage` or a later one.
    #[inline]
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.0.load(Ordering::Acquire) >= stage as u8
    }
}

/// How many requests of a connection are in flight.
#[derive(Debug)]
pub(crate) struct InFlightCount(AtomicU32);

impl InFlightCount {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[inline]
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends one in the task that looks at the count, which needs no waking.
    #[inline]
    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends one in whatever task; tells whether the one that looks at the count is to be woken.
    pub(crate) fn end_elsewhere(&self, stage: &CurrentStage) -> bool {
        // Release: who sees the count sees what the request has noted.
        self.0.fetch_sub(1, Ordering::Release);
        fence(Ordering::SeqCst);
        stage.has_reached(Stage::Draining)
    }

    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}
