//! Clients in a closed loop: each sends its next request as soon as the last one was answered.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use graceful_benches::client::{Connection, Next};
use graceful_benches::stats::percentile;

/// How often a server is restarted that is not restarted all the time: ecdysis takes half a second.
const PACE: Duration = Duration::from_millis(600);

/// Clients, each with a thread and at most one connection.
pub(crate) struct Clients {
    clients: Vec<Client>,
}

/// What clients have seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Microseconds from the wish to send, the connect included where one was needed, to the last byte.
    pub(crate) times: Vec<f64>,
    /// Connections that they had to open.
    pub(crate) opened: usize,
    /// Responses that announced the end of the connection.
    pub(crate) closing: usize,
    /// Requests that were sent and not answered completely.
    pub(crate) lost: usize,
    /// Connects that were refused.
    pub(crate) refused: usize,
}

impl Clients {
    /// The clients connect with their first request.
    pub(crate) fn new(address: SocketAddr, count: usize) -> Self {
        let client = || Client {
            address,
            connection: None,
            seen: Seen::default(),
        };
        Self {
            clients: (0..count).map(|_| client()).collect(),
        }
    }

    /// Returns what the clients saw until `steps` had returned; their connections stay open.
    pub(crate) fn during(&mut self, steps: impl FnOnce() -> io::Result<()>) -> io::Result<Seen> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for client in &mut self.clients {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        client.ask();
                    }
                });
            }
            let result = steps();
            is_over.store(true, Ordering::Relaxed);
            result
        })?;
        let mut total = Seen::default();
        for client in &mut self.clients {
            total.add(std::mem::take(&mut client.seen));
        }
        Ok(total)
    }

    /// As [`Clients::during`], while nothing else happens.
    pub(crate) fn undisturbed(&mut self, time: Duration) -> io::Result<Seen> {
        self.during(|| {
            thread::sleep(time);
            Ok(())
        })
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.opened += other.opened;
        self.closing += other.closing;
        self.lost += other.lost;
        self.refused += other.refused;
    }

    /// The time which 99 of 100 answers do not exceed, in microseconds.
    pub(crate) fn p99(&self) -> f64 {
        percentile(&self.times, 99.0)
    }

    /// The p99, and how many times that is of what it is without restarts.
    pub(crate) fn beside_p99(&self, steady: &Self) -> String {
        format!("{:.0} (× {:.2})", self.p99(), self.p99() / steady.p99())
    }

    /// The time of the slowest answer, in milliseconds.
    pub(crate) fn longest(&self) -> f64 {
        percentile(&self.times, 100.0) / 1000.0
    }
}

/// A client that sends one request after the other and reconnects where it has to.
struct Client {
    address: SocketAddr,
    connection: Option<Connection>,
    seen: Seen,
}

impl Client {
    fn ask(&mut self) {
        let begin = Instant::now();
        let Ok(mut connection) = self.connection() else {
            self.seen.refused += 1;
            return;
        };
        match connection.round_trip() {
            Ok(next) => {
                self.seen.times.push(begin.elapsed().as_secs_f64() * 1e6);
                match next {
                    Next::KeepAlive => self.connection = Some(connection),
                    Next::Close => self.seen.closing += 1,
                }
            }
            Err(_) => self.seen.lost += 1,
        }
    }

    fn connection(&mut self) -> io::Result<Connection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let connection = Connection::open(self.address)?;
        self.seen.opened += 1;
        Ok(connection)
    }
}

/// Takes a step again and again, one every 600 ms if it takes no longer.
pub(crate) fn paced(steps: usize, mut step: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..steps {
        let begin = Instant::now();
        step()?;
        thread::sleep(PACE.saturating_sub(begin.elapsed()));
    }
    Ok(())
}
