//! Requests per second, and processor time per request, of servers that take turns.
//!
//! `cargo bench -p graceful-benches --bench throughput`

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use graceful_benches::args::Args;
use graceful_benches::client::REQUEST;
use graceful_benches::process::{self, AXUM, BARE, GRACEFUL, Program, Server};
use graceful_benches::stats::{median, median_ratio};
use graceful_benches::table::Table;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections with one request each under way.
const CONNECTIONS: usize = 32;
/// How long one turn takes.
const TURN: Duration = Duration::from_millis(250);
/// Turns of one process; then all are started anew, because each process is fast or slow in its
/// own way.
const TURNS: usize = 10;

/// What was measured of one server, turn by turn.
#[derive(Default)]
struct Samples {
    requests_per_second: Vec<f64>,
    processor_microseconds: Vec<f64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let args = Args::from_env();
    let starts = args.number("--starts", 8, 1);
    let turns = if args.quick() { 1 } else { TURNS };
    let programs = process::built([BARE, GRACEFUL, AXUM]);
    let mut samples: Vec<Samples> = programs.iter().map(|_| Samples::default()).collect();
    for _ in 0..starts {
        let servers = programs
            .iter()
            .map(|program| program.start())
            .collect::<io::Result<Vec<_>>>()?;
        for _ in 0..turns {
            for (server, samples) in servers.iter().zip(&mut samples) {
                samples.turn(server).await?;
            }
        }
    }
    print!("{}", report(&programs, &samples));
    Ok(())
}

impl Samples {
    /// Loads a server for one turn.
    async fn turn(&mut self, server: &Server) -> io::Result<()> {
        let before = server.processor_time()?;
        let start = Instant::now();
        let requests = load(server.address, start + TURN).await? as f64;
        let elapsed = start.elapsed();
        let used = server.processor_time()? - before;
        self.requests_per_second
            .push(requests / elapsed.as_secs_f64());
        self.processor_microseconds
            .push(used.as_secs_f64() * 1e6 / requests);
        Ok(())
    }
}

fn report(programs: &[Program], samples: &[Samples]) -> Table {
    let title = format!(
        "{CONNECTIONS} connections, median of {} turns",
        samples[0].requests_per_second.len()
    );
    let mut table = Table::new(&title, programs.iter().map(|program| program.name));
    let mut rows = |label: &str, digits: usize, values: fn(&Samples) -> &[f64]| {
        table.row(
            label,
            samples
                .iter()
                .map(|samples| format!("{:.digits$}", median(values(samples)))),
        );
        let ratios = samples
            .iter()
            .map(|one| median_ratio(values(one), values(&samples[0])));
        table.row(
            "    beside bare hyper-util",
            ratios.map(|ratio| format!("{ratio:.3}")),
        );
    };
    rows("requests/s", 0, |samples| &samples.requests_per_second);
    rows(
        "processor time of the server per request, µs",
        2,
        |samples| &samples.processor_microseconds,
    );
    table
}

/// Keeps all connections busy until `end` and returns the number of responses.
async fn load(address: SocketAddr, end: Instant) -> io::Result<usize> {
    let mut clients: JoinSet<_> = (0..CONNECTIONS).map(|_| client(address, end)).collect();
    let mut requests = 0;
    while let Some(client) = clients.join_next().await {
        requests += client.expect("a client does not panic")?;
    }
    Ok(requests)
}

/// Sends the same request again and again; all the responses are as long as the first.
async fn client(address: SocketAddr, end: Instant) -> io::Result<usize> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut response = [0; 1024];
    stream.write_all(REQUEST).await?;
    let length = stream.read(&mut response).await?;
    let mut requests = 1;
    while Instant::now() < end {
        stream.write_all(REQUEST).await?;
        stream.read_exact(&mut response[..length]).await?;
        requests += 1;
    }
    Ok(requests)
}
