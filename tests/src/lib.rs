//! Real processes, real signals and real sockets for the behaviours of `graceful`.
//!
//! A test starts one of the binaries of `src/bin` with [`server!`], talks to it with a
//! [`Connection`], [`Http2`] or a whole [`Load`], sends it signals, and looks at its [`Exit`].
//! The binaries take their settings from their command line ([`settings`]) and answer with the
//! routes of [`echo`].
//!
//! Nothing here sleeps and hopes. Every wait is for an event and has a limit, [`LIMIT`], that only
//! ever fails a test.

pub mod address;
pub mod client;
pub mod deployment;
pub mod echo;
pub mod footprint;
pub mod http2;
pub mod listen;
pub mod load;
pub mod log;
pub mod manager;
pub mod old;
pub mod posts;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod settings;
pub mod sockets;
pub mod systemd;
pub mod tls;

use std::time::Duration;

pub use address::Address;
pub use client::{Connection, HEAD_LIMIT, Response, get, try_until_in_time};
pub use deployment::Deployment;
pub use footprint::Footprint;
pub use http2::Http2;
pub use listen::Listen;
pub use load::Load;
pub use manager::{DeafManager, Manager};
pub use posts::Posts;
pub use process::{Exit, Server};
pub use proxy::Proxy;
pub use rustix::process::Signal;
pub use tls::Certificate;

/// How long any single wait may take before the test fails.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What a wait that ends "at once" may take on a loaded machine; far below every `timeout` that
/// the tests give to a server which is expected to be quicker than that.
pub const SOON: Duration = Duration::from_secs(10);

/// What a server says of each of its listeners, whether or not its lines carry its pid.
pub const LISTENING: &str = ": listening on ";

/// Starts the named binary of this package and waits until it has printed where it listens.
///
/// The macro exists because only the compilation of a test knows where its binaries are.
#[macro_export]
macro_rules! server {
    ($name:literal $(, $argument:expr)* $(,)?) => {
        $crate::Server::start($crate::command!($name $(, $argument)*))
    };
}

/// Returns the [`Command`](std::process::Command) that starts the named binary of this package.
#[macro_export]
macro_rules! command {
    ($name:literal $(, $argument:expr)* $(,)?) => {
        $crate::process::command(env!(concat!("CARGO_BIN_EXE_", $name)), &[$(&$argument),*])
    };
}
