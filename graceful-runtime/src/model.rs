//! What is decided without a look at the world: values and tables.
//!
//! Pure: no clock, no runtime, no descriptors; time arrives as an argument.

pub(crate) mod budget;
pub(crate) mod exit_code;
pub(crate) mod keeper;
pub(crate) mod phase;
pub(crate) mod signal;
pub(crate) mod stage;
pub(crate) mod trigger;

/// What `stage` is made of; a model of it is made of other ones.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};
}
