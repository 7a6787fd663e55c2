//! Graceful.
