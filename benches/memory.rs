//! Resident memory per idle connection.
//!
//! `cargo bench -p graceful-benches --bench memory`

use std::io;

use graceful_benches::args::Args;
use graceful_benches::client::open_many;
use graceful_benches::process::{self, AXUM, BARE, GRACEFUL, HYPER_UTIL, Program};
use graceful_benches::stats::median;
use graceful_benches::table::Table;

fn main() -> io::Result<()> {
    let args = Args::from_env();
    let connections = args.number("--connections", 2000, 500);
    let runs = args.number("--runs", 5, 1);
    process::allow_open_files(connections + 100)?;
    let programs = process::built([GRACEFUL, HYPER_UTIL, AXUM, BARE]);

    let title = format!("{connections} idle connections, median of {runs} runs");
    let mut table = Table::new(&title, programs.iter().map(|program| program.name));
    let cells = programs
        .iter()
        .map(|program| per_connection(*program, connections, runs))
        .collect::<io::Result<Vec<_>>>()?;
    table.row(
        "resident bytes per connection",
        cells.iter().map(|bytes| format!("{bytes:.0}")),
    );
    print!("{table}");
    Ok(())
}

fn per_connection(program: Program, connections: usize, runs: usize) -> io::Result<f64> {
    let run = || {
        let server = program.start()?;
        // The first connections also pay for what the process sets up once.
        drop(open_many(server.address, 10, true)?);
        let before = server.resident_bytes()?;
        let open = open_many(server.address, connections, true)?;
        let after = server.resident_bytes()?;
        drop(open);
        Ok((after as f64 - before as f64) / connections as f64)
    };
    let sizes = (0..runs).map(|_| run()).collect::<io::Result<Vec<_>>>()?;
    Ok(median(&sizes))
}
