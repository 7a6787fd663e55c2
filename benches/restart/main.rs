//! What a restart costs: how soon the new process answers, what clients notice, and what is left behind.
//!
//! `cargo bench -p graceful-benches --bench restart`

mod busy_clients;
mod clients;
mod family;
mod idle_connections;
mod one_client;
mod remains;
mod take_over;

use std::io;

use graceful_benches::args::Args;
use graceful_benches::process::{self, ECDYSIS, GRACEFUL_RESTART};
use graceful_benches::table::Table;
use rustix::process::{getpid, set_child_subreaper};

fn main() -> io::Result<()> {
    let args = Args::from_env();
    let runs = args.number("--runs", 21, 1);
    let restarts = args.number("--restarts", 100, 2);
    let busy_restarts = args.number("--busy-restarts", 50, 2);
    let connections = args.number("--connections", 10_000, 500);
    let programs = process::built([GRACEFUL_RESTART, ECDYSIS]);
    // So that a process whose parent has ended can be waited for here.
    set_child_subreaper(Some(getpid()))?;

    let mut table = Table::new("restarts", programs.iter().map(|program| program.name));
    if args.includes("take-over") {
        take_over::rows(&mut table, &programs, runs)?;
    }
    if args.includes("one-client") {
        one_client::rows(&mut table, &programs, restarts)?;
    }
    if args.includes("busy-clients") {
        busy_clients::rows(&mut table, &programs, busy_restarts)?;
    }
    if args.includes("idle-connections") {
        idle_connections::rows(&mut table, &programs, connections)?;
    }
    if args.includes("remains") {
        remains::rows(&mut table, &programs, restarts)?;
    }
    print!("{table}");
    Ok(())
}
