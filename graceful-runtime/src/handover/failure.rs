//! How a hand-over has failed, and how a successor has ended.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{fmt, io};

use super::wire::LISTENERS_MAX;
use crate::os::shortage::WithRemedy;

/// Why a hand-over came to nothing.
#[derive(Debug)]
pub(crate) enum HandoverFailure {
    /// The program could not be started.
    Start(PathBuf, io::Error),
    /// The channel could not be set up.
    Channel(io::Error),
    TooManyListeners(usize),
    /// The successor gave a reason.
    Failed {
        pid: u32,
        reason: String,
    },
    Ended {
        pid: u32,
        end: SuccessorEnd,
    },
    Garbled {
        pid: u32,
        reason: String,
    },
    TimedOut {
        pid: u32,
        limit: Duration,
    },
    /// This process was told to stop meanwhile.
    Aborted {
        pid: u32,
    },
}

/// How a successor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuccessorEnd {
    Exited(ExitStatus),
    /// It is nobody's child that we could ask.
    Unknown,
    /// It closed the channel, and runs on.
    Deaf,
}

impl HandoverFailure {
    /// Returns the process that was to be the successor, where one was started.
    pub(crate) fn successor(&self) -> Option<u32> {
        match self {
            Self::Start(..) | Self::Channel(_) | Self::TooManyListeners(_) => None,
            Self::Failed { pid, .. }
            | Self::Ended { pid, .. }
            | Self::Garbled { pid, .. }
            | Self::TimedOut { pid, .. }
            | Self::Aborted { pid } => Some(*pid),
        }
    }
}

impl Error for HandoverFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Start(_, error) | Self::Channel(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for HandoverFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(path, error) => {
                write!(f, "cannot start {}: {}", path.display(), WithRemedy(error))
            }
            Self::Channel(error) => {
                write!(f, "cannot reach a successor: {}", WithRemedy(error))
            }
            Self::TooManyListeners(count) => {
                write!(
                    f,
                    "{count} listeners are too many to hand over, at most {LISTENERS_MAX}"
                )
            }
            Self::Failed { pid, reason } => {
                write!(f, "the successor (process {pid}) says: {reason}")
            }
            Self::Ended { pid, end } => {
                write!(f, "the successor (process {pid}) {end} before it served")
            }
            Self::Garbled { pid, reason } if reason.is_empty() => {
                write!(f, "the successor (process {pid}) spoke out of turn")
            }
            Self::Garbled { pid, reason } => {
                write!(
                    f,
                    "the successor (process {pid}) cannot be understood: {reason}"
                )
            }
            Self::TimedOut { pid, limit } => {
                write!(
                    f,
                    "the successor (process {pid}) did not become ready within `restart_timeout`, {limit:?}, and was killed"
                )
            }
            Self::Aborted { .. } => write!(f, "this process was told to stop meanwhile"),
        }
    }
}

impl fmt::Display for SuccessorEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "ended ({status})"),
            Self::Unknown => write!(f, "ended"),
            Self::Deaf => write!(f, "closed the channel"),
        }
    }
}
