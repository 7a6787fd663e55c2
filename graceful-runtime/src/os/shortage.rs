//! What the operating system has too little of for an attempt to succeed, and what to do about it.

use std::fmt;
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

/// An error, and what a person can do where it is for a shortage.
pub(crate) struct WithRemedy<'a>(pub(crate) &'a io::Error);

impl fmt::Display for WithRemedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match Shortage::of(self.0) {
            Some(shortage) => write!(f, "; {}", shortage.remedy()),
            None => Ok(()),
        }
    }
}
