//! How many instructions a server executes for one request, counted by valgrind.
//!
//! `cargo bench -p graceful-benches --bench instructions`

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use graceful_benches::args::Args;
use graceful_benches::client::{Connection, open_many};
use graceful_benches::process::{self, AXUM, BARE, GRACEFUL, HYPER_UTIL, Program, Server};
use graceful_benches::table::Table;
use rustix::process::Signal;

/// Connections that are idle at the same time, so that not each request has to be waited for.
const CONNECTIONS: usize = 100;
/// How long a connection is idle before its next request, at least.
const IDLE_TIME: Duration = Duration::from_millis(200);

fn main() -> io::Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return Ok(());
    }
    let args = Args::from_env();
    let requests = args.number("--requests", 5000, 200);
    let programs = process::built([BARE, GRACEFUL, HYPER_UTIL, AXUM]);
    let measured = programs
        .iter()
        .map(|program| Measured::of(*program, requests))
        .collect::<io::Result<Vec<_>>>()?;

    let bare = measured[0].busy.all;
    let title = "instructions per request";
    let mut table = Table::new(title, programs.iter().map(|program| program.name));
    let mut row =
        |label, cell: &dyn Fn(&Measured) -> String| table.row(label, measured.iter().map(cell));
    row("one keep-alive connection", &|of| {
        format!("{:.0}", of.busy.all)
    });
    row("    beside bare hyper-util", &|of| {
        format!("{:.3}", of.busy.all / bare)
    });
    row("    of them in malloc and free", &|of| {
        format!("{:.0}", of.busy.allocator)
    });
    row("each connection idle for 200 ms before", &|of| {
        format!("{:.0}", of.idle.all)
    });
    row("    beside one that was not idle", &|of| {
        format!("{:.3}", of.idle.all / of.busy.all)
    });
    row("    of them in malloc and free", &|of| {
        format!("{:.0}", of.idle.allocator)
    });
    print!("{table}");
    Ok(())
}

/// What one request costs.
struct Measured {
    /// On a connection that has just been answered.
    busy: Count,
    /// On a connection that nothing has come on for a while, with what that while itself costs.
    idle: Count,
}

impl Measured {
    fn of(program: Program, requests: usize) -> io::Result<Self> {
        Ok(Self {
            busy: per_request(program, requests, &BUSY)?,
            idle: per_request(program, requests, &IDLE)?,
        })
    }
}

/// Instructions executed.
struct Count {
    all: f64,
    /// Those of the C library's allocator.
    allocator: f64,
}

/// What a client does.
struct Load {
    name: &'static str,
    /// Sends so many requests and reads the responses.
    run: fn(SocketAddr, usize) -> io::Result<()>,
}

const BUSY: Load = Load {
    name: "busy",
    run: one_after_the_other,
};

const IDLE: Load = Load {
    name: "idle",
    run: in_turns,
};

/// All requests on one connection.
fn one_after_the_other(address: SocketAddr, requests: usize) -> io::Result<()> {
    let mut connection = Connection::open(address)?;
    (0..requests).try_for_each(|_| connection.round_trip().map(drop))
}

/// Each request on the connection that has been idle for the longest.
fn in_turns(address: SocketAddr, requests: usize) -> io::Result<()> {
    let mut connections = open_many(address, CONNECTIONS, true)?;
    for number in 0..requests {
        let turn = number % CONNECTIONS;
        if turn == 0 {
            // After the last one was answered, and so after all of them.
            thread::sleep(IDLE_TIME);
        }
        connections[turn].round_trip()?;
    }
    Ok(())
}

/// Counts the difference that `requests` more requests make, so that start and end cancel out.
fn per_request(program: Program, requests: usize, load: &Load) -> io::Result<Count> {
    let once = count(program, requests, load)?;
    let twice = count(program, 2 * requests, load)?;
    Ok(Count {
        all: (twice.all - once.all) / requests as f64,
        allocator: (twice.allocator - once.allocator) / requests as f64,
    })
}

/// Returns the instructions of a whole process that answers `requests` requests.
fn count(program: Program, requests: usize, load: &Load) -> io::Result<Count> {
    // Kept in the target directory for `callgrind_annotate`.
    let server = program.name.replace(' ', "-");
    let name = format!("callgrind.out.{server}.{}", load.name);
    let output = env::current_exe()?.with_file_name(name);
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind");
    command.arg(format!("--callgrind-out-file={}", output.display()));
    command.arg(program.path()?).arg("--current-thread");
    let mut server = Server::start(&mut command)?;

    (load.run)(server.address, requests)?;
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
