//! Resident memory per idle connection.
//!
//! `cargo bench -p graceful-benches --bench memory`

use std::io;
use std::thread;
use std::time::Duration;

use graceful_benches::args::Args;
use graceful_benches::client::{Connection, answers, open_many, open_up_to};
use graceful_benches::process::{self, ACTIX, AXUM, BARE, GRACEFUL, HYPER_UTIL, Program, Server};
use graceful_benches::stats::median;
use graceful_benches::table::Table;

/// Between two of them the connections are idle, so that what a server gives back of one it can use for the next.
const BATCHES: usize = 10;

fn main() -> io::Result<()> {
    let args = Args::from_env();
    let at_once = args.number("--at-once", 2000, 500);
    let runs = args.number("--runs", 5, 1);
    let wanted = args.number("--connections", 10_000, 500);
    let idle_milliseconds = args.number("--idle-ms", 2000, 100);
    process::allow_open_files(at_once + 100)?;
    let connections = process::allow_connections(wanted)?;
    let idle = Duration::from_millis(idle_milliseconds as u64);
    let programs = process::built([GRACEFUL, HYPER_UTIL, AXUM, BARE, ACTIX]);

    let title = "resident bytes per idle connection";
    let mut table = Table::new(title, programs.iter().map(|program| program.name));
    let sizes = each(&programs, |program| all_at_once(program, at_once, runs))?;
    table.row(
        &format!("{at_once} opened at once, median of {runs} runs"),
        sizes.iter().map(|bytes| format!("{bytes:.0}")),
    );
    let measured = each(&programs, |program| {
        InBatches::of(program, connections, idle)
    })?;
    table.row(
        &format!(
            "{connections} opened in {BATCHES} batches, each then idle for {idle_milliseconds} ms{}",
            process::shortfall(connections, wanted)
        ),
        measured.iter().map(|run| format!("{:.0}", run.bytes)),
    );
    table.row(
        "    of them answer another request afterwards",
        measured.iter().map(|run| run.answering),
    );
    print!("{table}");
    Ok(())
}

fn all_at_once(program: Program, connections: usize, runs: usize) -> io::Result<f64> {
    let run = || {
        let (server, before) = warmed_up(program)?;
        let open = open_many(server.address, connections, true)?;
        let bytes = per_connection(&server, before, connections)?;
        drop(open);
        Ok(bytes)
    };
    let sizes = (0..runs).map(|_| run()).collect::<io::Result<Vec<_>>>()?;
    Ok(median(&sizes))
}

/// What connections occupy that have come little by little, and had time to become idle.
struct InBatches {
    bytes: f64,
    answering: usize,
}

impl InBatches {
    fn of(program: Program, connections: usize, idle: Duration) -> io::Result<Self> {
        let (server, before) = warmed_up(program)?;
        let mut open = Vec::with_capacity(connections);
        for batch in 1..=BATCHES {
            let count = connections * batch / BATCHES;
            open_up_to(&mut open, server.address, count, true)?;
            thread::sleep(idle);
        }
        let bytes = per_connection(&server, before, connections)?;
        // A server that closes idle connections would seem to need little for them.
        let answering = answers(&mut open, Connection::receive).len();
        // So that none of the client's ports is occupied for another minute.
        open.into_iter().try_for_each(Connection::reset)?;
        Ok(Self { bytes, answering })
    }
}

/// Starts the program, and returns the memory of a server that has served a few connections.
fn warmed_up(program: Program) -> io::Result<(Server, usize)> {
    let server = program.start()?;
    // The first connections also pay for what the process sets up once.
    drop(open_many(server.address, 10, true)?);
    let before = server.resident_bytes()?;
    Ok((server, before))
}

fn per_connection(server: &Server, before: usize, connections: usize) -> io::Result<f64> {
    let after = server.resident_bytes()?;
    Ok((after as f64 - before as f64) / connections as f64)
}

fn each<T>(programs: &[Program], measure: impl Fn(Program) -> io::Result<T>) -> io::Result<Vec<T>> {
    programs.iter().map(|program| measure(*program)).collect()
}
