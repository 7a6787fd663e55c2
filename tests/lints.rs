//! The expansion adds no warning to a strictly linted program.
//!
//! The functions are only compiled. `cargo clippy --all-targets` is what checks the second line.

#![deny(warnings, missing_docs, unreachable_pub, unused, unused_qualifications)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery, clippy::absolute_paths)]

use std::future::ready;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use graceful::{Config, Server, Signal};

/// A server with every option, in a scope that has everything the expansion names.
#[graceful::main(
    timeout = "1m30s",
    signals = [INT, TERM],
    restart = [HUP],
    start_timeout = "10m",
    restart_timeout = Duration::from_secs(30),
    lame_duck = "5s",
    keep_alive_grace = "200ms",
    pid_file = "server.pid",
    flavor = "multi_thread",
    worker_threads = 2,
    crate = graceful
)]
pub async fn every_option() -> io::Result<impl Server> {
    Ok(ready(()))
}

/// A server without options, on one thread, with attributes of its own.
#[graceful::main(flavor = "current_thread")]
#[cfg(not(doc))]
#[expect(unused_variables, reason = "the expectation must reach the body")]
async fn attributes() {
    let unused = 1;
}

#[graceful::main]
async fn into_future() -> impl IntoFuture<Output = ()> {
    ready(())
}

#[test]
fn expansions_are_functions_that_end_with_an_exit_code() {
    let _: [fn() -> ExitCode; 3] = [every_option, attributes, into_future];
    let _: Config = Config::new().signals([Signal::Term]);
}
