//! How many instructions a server executes for one request, counted by valgrind.
//!
//! `cargo bench -p graceful-benches --bench instructions`

use std::io;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use graceful_benches::args::Args;
use graceful_benches::client::Connection;
use graceful_benches::process::{self, AXUM, BARE, GRACEFUL, HYPER_UTIL, Program, Server};
use graceful_benches::table::Table;
use rustix::process::Signal;

fn main() -> io::Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return Ok(());
    }
    let args = Args::from_env();
    let requests = args.number("--requests", 5000, 200);
    let programs = process::built([BARE, GRACEFUL, HYPER_UTIL, AXUM]);
    let counts = programs
        .iter()
        .map(|program| per_request(*program, requests))
        .collect::<io::Result<Vec<_>>>()?;

    let title = "instructions, one keep-alive connection";
    let mut table = Table::new(title, programs.iter().map(|program| program.name));
    table.row(
        "per request",
        counts.iter().map(|count| format!("{count:.0}")),
    );
    table.row(
        "    beside bare hyper-util",
        counts
            .iter()
            .map(|count| format!("{:.3}", count / counts[0])),
    );
    print!("{table}");
    Ok(())
}

/// Counts the difference that `requests` more requests make, so that start and end cancel out.
fn per_request(program: Program, requests: usize) -> io::Result<f64> {
    let once = count(program, requests)?;
    let twice = count(program, 2 * requests)?;
    Ok((twice - once) as f64 / requests as f64)
}

/// Returns the instructions of a whole process that answers `requests` requests.
fn count(program: Program, requests: usize) -> io::Result<i64> {
    // Kept in the target directory for `callgrind_annotate`.
    let output = env::current_exe()?
        .with_file_name(format!("callgrind.out.{}", program.name.replace(' ', "-")));
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind");
    command.arg(format!("--callgrind-out-file={}", output.display()));
    command.arg(program.path()?).arg("--current-thread");
    let mut server = Server::start(&mut command)?;

    let mut connection = Connection::open(server.address)?;
    for _ in 0..requests {
        connection.round_trip()?;
    }
    drop(connection);
    server.signal(Signal::TERM)?;
    server.wait(Duration::from_secs(60))?;
    total(&fs::read_to_string(output)?)
}

/// Reads the total of a callgrind file.
fn total(text: &str) -> io::Result<i64> {
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| io::Error::other("no totals in the callgrind file"))
}
