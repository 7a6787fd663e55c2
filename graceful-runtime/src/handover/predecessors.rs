//! The processes before this one that still drain: how many there are bounds how often one may restart.

use std::{io, os::fd::OwnedFd, process};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::program;

/// How many earlier processes may still drain when a restart begins.
pub(crate) const PREDECESSORS_MAX: usize = 8;

/// The processes before this one, each by a descriptor that stands for it.
#[derive(Debug, Default)]
pub(crate) struct Predecessors(Vec<OwnedFd>);

impl Predecessors {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors)
    }

    /// Returns how many have not ended yet, and forgets the others.
    pub(crate) fn count(&mut self) -> usize {
        self.0.retain(is_running);
        self.0.len()
    }

    /// Returns what a successor gets: this process, then those that still drain.
    ///
    /// # Errors
    ///
    /// Where a descriptor cannot be duplicated.
    pub(crate) fn handed(&mut self) -> io::Result<Vec<OwnedFd>> {
        self.count();
        let earlier = self.0.iter().map(OwnedFd::try_clone);
        program::process_descriptor(process::id())
            .map(Ok)
            .into_iter()
            .chain(earlier)
            .collect()
    }
}

fn is_running(process: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(
        poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)),
        Ok(0)
    )
}
