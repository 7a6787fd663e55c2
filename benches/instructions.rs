//! How many instructions a server executes for one request, counted by valgrind.
//!
//! `cargo bench -p graceful-benches --bench instructions`

use std::collections::HashSet;
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

    let bare = counts[0].all;
    let title = "instructions, one keep-alive connection";
    let mut table = Table::new(title, programs.iter().map(|program| program.name));
    let mut row =
        |label, cell: &dyn Fn(&Count) -> String| table.row(label, counts.iter().map(cell));
    row("per request", &|count| format!("{:.0}", count.all));
    row("    beside bare hyper-util", &|count| {
        format!("{:.3}", count.all / bare)
    });
    row("    of them in malloc and free", &|count| {
        format!("{:.0}", count.allocator)
    });
    print!("{table}");
    Ok(())
}

/// Instructions executed.
struct Count {
    all: f64,
    /// Those of the C library's allocator.
    allocator: f64,
}

/// Counts the difference that `requests` more requests make, so that start and end cancel out.
fn per_request(program: Program, requests: usize) -> io::Result<Count> {
    let once = count(program, requests)?;
    let twice = count(program, 2 * requests)?;
    Ok(Count {
        all: (twice.all - once.all) / requests as f64,
        allocator: (twice.allocator - once.allocator) / requests as f64,
    })
}

/// Returns the instructions of a whole process that answers `requests` requests.
fn count(program: Program, requests: usize) -> io::Result<Count> {
    // Kept in the target directory for `callgrind_annotate`.
    let name = format!("callgrind.out.{}", program.name.replace(' ', "-"));
    let output = env::current_exe()?.with_file_name(name);
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
    Ok(sum(&fs::read_to_string(output)?))
}

/// Adds up the lines of a callgrind file; see "Callgrind Format Specification" in valgrind's manual.
fn sum(text: &str) -> Count {
    let mut allocator_files = HashSet::new();
    let mut count = Count {
        all: 0.0,
        allocator: 0.0,
    };
    let mut is_allocator = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("calls=") {
            // The next line is what the callee has cost, which has lines of its own.
            lines.next();
        } else if let Some((key, file)) = line.split_once('=') {
            // A file has its name only where it comes first: `fl=(3) malloc.c`, then `fi=(3)`.
            let (number, name) = file.split_once(' ').unwrap_or((file, ""));
            let is_file = matches!(key, "fl" | "fi" | "fe" | "cfi" | "cfl");
            if is_file
                && ["malloc.c", "arena.c"]
                    .iter()
                    .any(|end| name.ends_with(end))
            {
                allocator_files.insert(number);
            }
            if matches!(key, "fl" | "fi" | "fe") {
                is_allocator = allocator_files.contains(number);
            }
        } else if let Some((_, cost)) = line.split_once(' ')
            && line.starts_with(|first: char| "+-*0123456789".contains(first))
        {
            let cost: f64 = cost.parse().unwrap_or(0.0);
            count.all += cost;
            count.allocator += if is_allocator { cost } else { 0.0 };
        }
    }
    count
}
