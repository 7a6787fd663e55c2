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
    connections: usize,
    /// Whether each of them has had a request answered, or has not said anything yet.
    used: bool,
}

fn main() -> io::Result<()> {
    let args = Args::from_env();
    let runs = args.number("--runs", 11, 1);
    let [some, many] = if args.quick() { [10, 90] } else { [1000, 9000] };
    process::allow_open_files(many + 100)?;
    let programs = process::built([GRACEFUL, AXUM, HYPER_UTIL]);

    let title = format!("milliseconds to exit, median of {runs} runs");
    let mut table = Table::new(&title, programs.iter().map(|program| program.name));
    for (label, client) in [
        ("after the last reply, client closes", Client::Closes),
        ("after the last reply, client reads on", Client::ReadsOn),
        ("after the last reply, client sleeps", Client::Sleeps),
    ] {
        let measure = |program| median_of(runs, || after_last_reply(program, client));
        let times = each(&programs, measure)?;
        table.row(label, times.iter().map(|time| format!("{time:.2}")));
    }
    for scenario in [
        Scenario {
            connections: 0,
            used: false,
        },
        Scenario {
            connections: some,
            used: true,
        },
        Scenario {
            connections: some,
            used: false,
        },
        Scenario {
            connections: many,
            used: true,
        },
    ] {
        let times = each(&programs, |program| scenario.measure(program, runs))?;
        table.row(
            &scenario.name(),
            times.iter().map(|(term, _, _)| format!("{term:.2}")),
        );
        table.row(
            "    SIGKILL instead",
            times.iter().map(|(_, kill, _)| format!("{kill:.2}")),
        );
        table.row(
            "    ratio",
            times.iter().map(|(_, _, ratio)| format!("{ratio:.2}")),
        );
    }
    print!("{table}");
    Ok(())
}

impl Scenario {
    fn name(&self) -> String {
        match self {
            Self { connections: 0, .. } => "nothing connected".to_owned(),
            Self {
                connections,
                used: true,
            } => format!("{connections} idle connections"),
            Self {
                connections,
                used: false,
            } => format!("{connections} silent connections"),
        }
    }

    /// Returns the medians after `SIGTERM`, after `SIGKILL`, and of the ratios of both.
    fn measure(&self, program: Program, runs: usize) -> io::Result<(f64, f64, f64)> {
        let (mut term, mut kill) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            term.push(self.run(program, Signal::TERM)?);
            kill.push(self.run(program, Signal::KILL)?);
        }
        Ok((median(&term), median(&kill), median_ratio(&term, &kill)))
    }

    fn run(&self, program: Program, signal: Signal) -> io::Result<f64> {
        let mut server = program.start()?;
        let connections = open_many(server.address, self.connections, self.used)?;
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

fn each<T>(programs: &[Program], measure: impl Fn(Program) -> io::Result<T>) -> io::Result<Vec<T>> {
    programs.iter().map(|program| measure(*program)).collect()
}

fn median_of(runs: usize, measure: impl Fn() -> io::Result<f64>) -> io::Result<f64> {
    let times = (0..runs)
        .map(|_| measure())
        .collect::<io::Result<Vec<_>>>()?;
    Ok(median(&times))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
