//! How long a server takes to be gone, beside what the kernel needs after `SIGKILL`.
//!
//! `cargo bench -p graceful-benches --bench exit_time`

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use graceful_benches::args::Args;
use graceful_benches::client::{Connection, SLOW_REQUEST, open_many};
use graceful_benches::process::{self, AXUM, GRACEFUL, HYPER_UTIL, Program};
use graceful_benches::stats::{median, median_ratio};
use graceful_benches::table::Table;
use rustix::process::Signal;

/// How long the connections have been silent when the signal comes: long enough to count as idle.
const IDLE: Duration = Duration::from_millis(300);

/// Connections that a server has when it is told to stop.
struct Scenario {
    name: &'static str,
    connections: usize,
    use_of_them: Use,
}

/// What has been done with each of the connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It has not said anything yet.
    Silent,
    /// It has had a request answered.
    Used,
    /// The same, and it has been closed since.
    Closed,
}

fn main() -> io::Result<()> {
    let args = Args::from_env();
    let runs = args.number("--runs", 11, 1);
    let [some, many] = if args.quick() { [10, 90] } else { [1000, 9000] };
    process::allow_open_files(many + 100)?;
    // axum goes first: the others are put beside it.
    let programs = process::built([AXUM, GRACEFUL, HYPER_UTIL]);

    let title = format!("milliseconds to exit, median of {runs} runs");
    let mut table = Table::new(&title, programs.iter().map(|program| program.name));
    for (label, client) in [
        ("after the last reply, client closes", Client::Closes),
        ("after the last reply, client reads on", Client::ReadsOn),
        ("after the last reply, client sleeps", Client::Sleeps),
    ] {
        let times = in_turns(&programs, runs, |program| after_last_reply(program, client))?;
        add_times(&mut table, label, &times);
    }
    for (name, connections, use_of_them) in [
        ("nothing connected", 0, Use::Used),
        ("nothing connected any more", 1, Use::Closed),
        ("some idle connections", some, Use::Used),
        ("some silent connections", some, Use::Silent),
        ("many idle connections", many, Use::Used),
    ] {
        let scenario = Scenario {
            name,
            connections,
            use_of_them,
        };
        let pairs = in_turns(&programs, runs, |program| scenario.measure(program))?;
        scenario.add_to(&mut table, &pairs);
    }
    print!("{table}");
    Ok(())
}

/// Measures the programs in turns, so that a disturbance hits all of them.
fn in_turns<T>(
    programs: &[Program],
    runs: usize,
    measure: impl Fn(Program) -> io::Result<T>,
) -> io::Result<Vec<Vec<T>>> {
    let mut results: Vec<_> = programs.iter().map(|_| Vec::with_capacity(runs)).collect();
    for _ in 0..runs {
        for (program, results) in programs.iter().zip(&mut results) {
            results.push(measure(*program)?);
        }
    }
    Ok(results)
}

/// Adds the medians, and those of the ratios to the first program of the same turn.
fn add_times(table: &mut Table, label: &str, times: &[Vec<f64>]) {
    let medians = times.iter().map(|times| format!("{:.2}", median(times)));
    table.row(label, medians);
    let ratios = times.iter().map(|one| median_ratio(one, &times[0]));
    table.row("    beside axum", ratios.map(|ratio| format!("{ratio:.2}")));
}

impl Scenario {
    fn add_to(&self, table: &mut Table, pairs: &[Vec<(f64, f64)>]) {
        let (terms, kills): (Vec<_>, Vec<_>) = pairs
            .iter()
            .map(|pairs| pairs.iter().copied().unzip::<_, _, Vec<_>, Vec<_>>())
            .unzip();
        let name = match self.connections {
            0 | 1 => self.name.to_owned(),
            count => format!("{} ({count})", self.name),
        };
        add_times(table, &name, &terms);
        let medians = kills.iter().map(|kills| format!("{:.2}", median(kills)));
        table.row("    SIGKILL instead", medians);
        let ratios = terms.iter().zip(&kills);
        let ratios = ratios.map(|(terms, kills)| median_ratio(terms, kills));
        table.row("    ratio", ratios.map(|ratio| format!("{ratio:.2}")));
    }

    /// Returns the times after `SIGTERM` and after `SIGKILL`.
    fn measure(&self, program: Program) -> io::Result<(f64, f64)> {
        Ok((
            self.run(program, Signal::TERM)?,
            self.run(program, Signal::KILL)?,
        ))
    }

    fn run(&self, program: Program, signal: Signal) -> io::Result<f64> {
        let mut server = program.start()?;
        let is_used = self.use_of_them != Use::Silent;
        let mut connections = open_many(server.address, self.connections, is_used)?;
        if self.use_of_them == Use::Closed {
            connections.clear();
        }
        thread::sleep(IDLE);
        let time = server.time_to_exit(signal)?;
        connections.into_iter().try_for_each(Connection::reset)?;
        Ok(milliseconds(time))
    }
}

/// What a client does when it has been told that the connection closes.
#[derive(Clone, Copy)]
enum Client {
    /// Closes its side, as HTTP clients do.
    Closes,
    /// Reads until the server ends the connection, and closes then.
    ReadsOn,
    /// Does nothing more, not even notice that the server has ended the connection.
    Sleeps,
}

/// Stops a server during a request, and returns how long it outlives the last byte of the reply.
fn after_last_reply(program: Program, client: Client) -> io::Result<f64> {
    let mut server = program.start()?;
    let mut connection = Connection::open(server.address)?;
    connection.round_trip()?;
    connection.send(SLOW_REQUEST)?;
    thread::sleep(Duration::from_millis(30));
    server.signal(Signal::TERM)?;
    connection.receive()?;
    let last_byte = Instant::now();
    if let Client::ReadsOn = client {
        connection.wait_for_end()?;
    }
    let _kept = matches!(client, Client::Sleeps).then_some(connection);
    server.gone(last_byte).map(milliseconds)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
