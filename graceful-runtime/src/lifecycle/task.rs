//! A tracked task.

use std::panic::Location;
use std::time::Instant;

/// A tracked task, as the report names it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) location: &'static Location<'static>,
    pub(crate) started: Instant,
}
