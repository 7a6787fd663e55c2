//! The processes before this one that still drain: how many there are bounds how often one may restart.

use std::{io, os::fd::OwnedFd, process};

use crate::os::process::{is_running, process_descriptor};

/// How many earlier processes may still drain when a restart begins.
pub(crate) const PREDECESSORS_MAX: usize = 8;

/// The processes before this one, each by a descriptor that stands for it.
#[derive(Debug, Default)]
pub(crate) struct Predecessors {
    /// The one that started this process.
    last: Option<OwnedFd>,
    earlier: Vec<OwnedFd>,
}

impl Predecessors {
    /// Takes them in the order of [`handed`](Self::handed).
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        let mut descriptors = descriptors.into_iter();
        Self {
            last: descriptors.next(),
            earlier: descriptors.collect(),
        }
    }

    /// Returns how many have not ended yet, and forgets the others.
    pub(crate) fn count(&mut self) -> usize {
        self.last.take_if(|last| !is_running(last));
        self.earlier.retain(is_running);
        self.last.iter().len() + self.earlier.len()
    }

    /// Forgets the one that started this process: it has said all and ends, but may not be dead yet.
    pub(crate) fn forget_last(&mut self) {
        self.last = None;
        self.count();
    }

    /// Returns what a successor gets: this process, then those that still drain.
    ///
    /// # Errors
    ///
    /// Where a descriptor cannot be duplicated.
    pub(crate) fn handed(&mut self) -> io::Result<Vec<OwnedFd>> {
        self.count();
        let before = self.last.iter().chain(&self.earlier);
        process_descriptor(process::id())
            .map(Ok)
            .into_iter()
            .chain(before.map(OwnedFd::try_clone))
            .collect()
    }
}
