//! What becomes of the requests that are under way when a server is told to stop.
//!
//! `cargo bench -p graceful-benches --bench loss -- --stops 50`

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::thread;
use std::time::Duration;

use graceful_benches::args::Args;
use graceful_benches::client::{Connection, Next, REQUEST, open_many};
use graceful_benches::process::{self, AXUM, AXUM_ADAPTER, GRACEFUL, HYPER_UTIL, Program, Server};
use graceful_benches::table::Table;
use rustix::process::Signal;

/// Clients that send as fast as they are answered.
const CLIENTS: usize = 32;
/// Requests that wait for a server which is not running at the moment.
const WAITING: usize = 100;
/// How long a connection has been silent before it is used again: long enough to count as idle.
const IDLE: Duration = Duration::from_millis(300);
/// How long a server may take to end once its clients are gone.
const EXIT_MAX: Duration = Duration::from_secs(10);

/// One way of being busy when the signal comes.
struct Scenario {
    name: &'static str,
    /// Starts from a server that serves, and ends with one that was told to stop.
    run: fn(&Server, stop: usize) -> io::Result<Tally>,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "keep-alive clients, closed loop",
        run: keep_alive_clients,
    },
    Scenario {
        name: "connect-per-request clients",
        run: connecting_clients,
    },
    Scenario {
        name: "requests in the accept queue",
        run: accept_queue,
    },
    Scenario {
        name: "requests on idle connections",
        run: idle_connections,
    },
    Scenario {
        name: "requests on fresh connections",
        run: fresh_connections,
    },
];

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Requests written to a connection that was established.
    sent: usize,
    /// Complete responses.
    answered: usize,
    /// Connects refused: nothing was sent, so it is safe to try elsewhere.
    refused: usize,
    /// Requests sent and not answered.
    lost: usize,
    /// Servers which had to be killed, seconds after their last client had gone.
    stuck: usize,
}

fn main() -> io::Result<()> {
    let args = Args::from_env();
    let stops = args.number("--stops", 10, 1);
    let programs = process::built([GRACEFUL, AXUM, HYPER_UTIL, AXUM_ADAPTER]);
    process::allow_open_files(1024)?;

    let title = format!("{stops} stops");
    let mut table = Table::new(&title, programs.iter().map(|program| program.name));
    for scenario in SCENARIOS {
        let tallies = programs
            .iter()
            .map(|program| scenario.repeat(*program, stops))
            .collect::<io::Result<Vec<_>>>()?;
        table.heading(scenario.name);
        let mut row = |label: &str, count: fn(&Tally) -> usize| {
            table.row(label, tallies.iter().map(count));
        };
        row("    sent", |tally| tally.sent);
        row("    answered", |tally| tally.answered);
        row("    refused", |tally| tally.refused);
        row("    lost", |tally| tally.lost);
        if tallies.iter().any(|tally| tally.stuck > 0) {
            row("    servers that did not end", |tally| tally.stuck);
        }
    }
    print!("{table}");
    Ok(())
}

impl Scenario {
    fn repeat(&self, program: Program, stops: usize) -> io::Result<Tally> {
        let mut total = Tally::default();
        for stop in 0..stops {
            let mut server = program.start()?;
            Connection::open(server.address)?.round_trip()?;
            total += (self.run)(&server, stop)?;
            if server.wait(EXIT_MAX)?.is_none() {
                total.stuck += 1;
            }
        }
        Ok(total)
    }
}

/// Each client keeps its connection for as long as the server does.
fn keep_alive_clients(server: &Server, stop: usize) -> io::Result<Tally> {
    under_load(server, stop, |address| {
        let mut tally = Tally::default();
        while let Some(mut connection) = tally.connect(address) {
            while tally.request(&mut connection) == Some(Next::KeepAlive) {}
        }
        tally
    })
}

/// Each client connects for every single request.
fn connecting_clients(server: &Server, stop: usize) -> io::Result<Tally> {
    under_load(server, stop, |address| {
        let mut tally = Tally::default();
        while let Some(mut connection) = tally.connect(address) {
            tally.request(&mut connection);
        }
        tally
    })
}

/// Stops the server while clients are busy, each of which runs until it is refused.
fn under_load(server: &Server, stop: usize, client: fn(SocketAddr) -> Tally) -> io::Result<Tally> {
    let address = server.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| thread::spawn(move || client(address)))
        .collect();
    // A different moment each time.
    thread::sleep(Duration::from_millis(100 + (stop as u64 * 37) % 100));
    server.signal(Signal::TERM)?;
    let mut total = Tally::default();
    for client in clients {
        total += client.join().expect("a client does not panic");
    }
    Ok(total)
}

/// The connections are established and the requests sent while nobody accepts.
fn accept_queue(server: &Server, _: usize) -> io::Result<Tally> {
    server.freeze()?;
    let connections = (0..WAITING)
        .map(|_| Connection::open(server.address))
        .collect::<io::Result<_>>()?;
    send_and_stop(server, connections)
}

/// Each connection has had one request answered, a while ago.
fn idle_connections(server: &Server, _: usize) -> io::Result<Tally> {
    let connections = open_many(server.address, WAITING, true)?;
    thread::sleep(IDLE);
    server.freeze()?;
    send_and_stop(server, connections)
}

/// Each connection was accepted a while ago and has not said anything yet.
fn fresh_connections(server: &Server, _: usize) -> io::Result<Tally> {
    let connections = open_many(server.address, WAITING, false)?;
    thread::sleep(IDLE);
    server.freeze()?;
    send_and_stop(server, connections)
}

/// Sends a request on each connection of a server that is frozen, and wakes it with the signal.
fn send_and_stop(server: &Server, connections: Vec<Connection>) -> io::Result<Tally> {
    let mut tally = Tally {
        sent: connections.len(),
        ..Tally::default()
    };
    let mut waiting = VecDeque::from(connections);
    for connection in &mut waiting {
        connection.send(REQUEST)?;
    }
    server.signal(Signal::TERM)?;
    server.signal(Signal::CONT)?;
    while let Some(mut connection) = waiting.pop_front() {
        tally.count(connection.receive());
    }
    Ok(tally)
}

impl Tally {
    /// Connects, or counts the refusal.
    fn connect(&mut self, address: SocketAddr) -> Option<Connection> {
        match Connection::open(address) {
            Ok(connection) => Some(connection),
            Err(error) => {
                assert_ne!(
                    error.kind(),
                    io::ErrorKind::AddrNotAvailable,
                    "out of local ports"
                );
                self.refused += 1;
                None
            }
        }
    }

    /// Sends one request, reads its response, and says how to go on; `None` if it was lost.
    fn request(&mut self, connection: &mut Connection) -> Option<Next> {
        self.sent += 1;
        self.count(connection.round_trip())
    }

    fn count(&mut self, result: io::Result<Next>) -> Option<Next> {
        match result {
            Ok(_) => self.answered += 1,
            Err(_) => self.lost += 1,
        }
        result.ok()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.refused += other.refused;
        self.lost += other.lost;
        self.stuck += other.stuck;
    }
}
