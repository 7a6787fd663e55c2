//! What the frames and the kernel have shown of an HTTP/2 client.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use tokio::time::Instant;

/// Not a number of streams.
const UNKNOWN: u32 = u32::MAX;

/// What is known of the client; written by the task of the connection alone, and read by the report.
#[derive(Debug)]
pub(in crate::serve) struct Http2Client {
    /// How many streams are open; [`UNKNOWN`] where nobody follows the frames.
    open: AtomicU32,
    /// On how many the server has ended, and the client has not.
    half_closed: AtomicU32,
    /// When its connection was retired: it is to end although the server goes on.
    retired: OnceLock<Instant>,
    /// How far it has come with the PING behind the GOAWAY.
    answer: AtomicU8,
    /// How often it was seen to have taken something that it was sent.
    progress: AtomicU32,
    /// How many bytes have been sent behind the last frame of a response.
    behind_response: AtomicUsize,
    /// It may be reading a response: it has not answered the PING behind it.
    is_reading: AtomicBool,
}

/// How far a client has come with the PING behind the GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PingAnswer {
    /// Other things are before it that the client has not taken.
    Far,
    /// Its kernel has it.
    Due,
    /// It has had its time.
    Presumed,
}

impl Http2Client {
    pub(in crate::serve) fn new() -> Self {
        Self {
            open: AtomicU32::new(UNKNOWN),
            half_closed: AtomicU32::new(0),
            retired: OnceLock::new(),
            answer: AtomicU8::new(PingAnswer::Far as u8),
            progress: AtomicU32::new(0),
            behind_response: AtomicUsize::new(0),
            is_reading: AtomicBool::new(false),
        }
    }

    /// Notes on how many streams the server owes something, and on how many only the client may go on.
    pub(super) fn note_streams(&self, open: usize, half_closed: usize) {
        let open = u32::try_from(open).unwrap_or(UNKNOWN - 1);
        self.open.store(open, Ordering::Relaxed);
        let half_closed = u32::try_from(half_closed).unwrap_or(u32::MAX);
        self.half_closed.store(half_closed, Ordering::Relaxed);
    }

    /// Returns how many streams are open, where that is known.
    #[inline]
    pub(in crate::serve) fn open_streams(&self) -> Option<usize> {
        match self.open.load(Ordering::Relaxed) {
            UNKNOWN => None,
            count => Some(count as usize),
        }
    }

    pub(in crate::serve) fn half_closed_streams(&self) -> usize {
        self.half_closed.load(Ordering::Relaxed) as usize
    }

    /// Notes that the connection is retired; returns since when.
    pub(super) fn retire(&self) -> Instant {
        *self.retired.get_or_init(Instant::now)
    }

    /// Returns when the connection was retired.
    pub(super) fn retired(&self) -> Option<Instant> {
        self.retired.get().copied()
    }

    /// Notes that the client has the PING behind the GOAWAY.
    pub(in crate::serve) fn note_asked(&self) {
        if self.answer() == PingAnswer::Far {
            self.answer.store(PingAnswer::Due as u8, Ordering::Relaxed);
        }
    }

    /// Takes the client for one that has answered the PING behind the GOAWAY.
    pub(in crate::serve) fn presume_answer(&self) {
        self.answer
            .store(PingAnswer::Presumed as u8, Ordering::Relaxed);
    }

    pub(in crate::serve) fn answer(&self) -> PingAnswer {
        match self.answer.load(Ordering::Relaxed) {
            answer if answer == PingAnswer::Far as u8 => PingAnswer::Far,
            answer if answer == PingAnswer::Due as u8 => PingAnswer::Due,
            _ => PingAnswer::Presumed,
        }
    }

    /// Notes that the client has taken something which it was sent.
    pub(in crate::serve) fn note_progress(&self) {
        let progress = self.progress();
        self.progress
            .store(progress.wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns a number that changes whenever it is seen that the client has taken something.
    pub(in crate::serve) fn progress(&self) -> u32 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Notes how many bytes have been sent behind the last frame of a response.
    pub(in crate::serve) fn note_behind_response(&self, count: usize) {
        self.behind_response.store(count, Ordering::Relaxed);
    }

    pub(in crate::serve) fn behind_response(&self) -> usize {
        self.behind_response.load(Ordering::Relaxed)
    }

    /// Notes whether the client may be reading a response.
    pub(in crate::serve) fn note_reading(&self, is_reading: bool) {
        self.is_reading.store(is_reading, Ordering::Relaxed);
    }

    pub(in crate::serve) fn is_reading(&self) -> bool {
        self.is_reading.load(Ordering::Relaxed)
    }
}
