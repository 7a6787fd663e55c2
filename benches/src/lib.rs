//! What the measurements of this directory share; `README.md` says what each of them is for.
//!
//! The servers (`src/bin`) are separate programs which use [`service`]. The measurements
//! (`loss.rs`, `exit_time.rs`, …) start them as [`process::Server`]s, talk to them through
//! [`client`] and print one [`table::Table`].

pub mod args;
pub mod client;
pub mod process;
pub mod service;
pub mod stats;
pub mod table;
