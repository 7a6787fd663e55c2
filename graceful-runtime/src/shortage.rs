//! What the operating system has too little of for an attempt to succeed, and what to do about it.

use std::io;

/// A limit that an attempt has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    Descriptors,
    Threads,
    Memory,
}

impl Shortage {
    /// Returns what is short where that is why `error` happened.
    ///
    /// # References
    ///
    /// "ERRORS" in accept(2), socket(2) and pthread_create(3)
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error()? {
            libc::EMFILE | libc::ENFILE => Some(Self::Descriptors),
            libc::ENOBUFS | libc::ENOMEM => Some(Self::Memory),
            libc::EAGAIN => Some(Self::Threads),
            _ => None,
        }
    }

    /// Says what a person can do.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Descriptors => {
                "raise the limit of open files (`ulimit -n`, or `LimitNOFILE=` under systemd)"
            }
            Self::Threads => {
                "raise the limit of threads (`ulimit -u`, or `TasksMax=` under systemd) or of memory"
            }
            Self::Memory => "give it more memory",
        }
    }
}
