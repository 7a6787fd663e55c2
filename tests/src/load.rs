//! Many clients in closed loops, which count what was lost.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::address::is_refusal;
use crate::{Address, Connection, LIMIT, get};

/// How many requests are sent at a time where there are several.
const PIPELINED: usize = 8;

const CLOSE: &str = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

/// Clients that send one request after the other until a connect is refused.
#[derive(Debug)]
pub struct Load {
    clients: Vec<JoinHandle<Vec<String>>>,
    served: Arc<Served>,
}

#[derive(Debug, Default)]
struct Served {
    count: AtomicUsize,
    /// How many connections have been opened.
    connections: AtomicUsize,
    turn: Mutex<()>,
    more: Condvar,
}

/// Whether a client keeps its connection or opens one for each request.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Uses a connection until the server says `connection: close`.
    KeepAlive,
    /// Opens a connection for each request.
    Reconnect,
}

impl Load {
    /// Starts `clients` clients of the given style.
    pub fn start(address: &Address, clients: usize, style: Style) -> Self {
        let requests = match style {
            Style::KeepAlive => get("/"),
            Style::Reconnect => CLOSE.to_owned(),
        };
        Self::of(address, clients, &requests, 1)
    }

    /// Starts `clients` clients that keep their connections and send several requests at a time.
    pub fn pipelined(address: &Address, clients: usize) -> Self {
        Self::of(address, clients, &get("/").repeat(PIPELINED), PIPELINED)
    }

    /// Starts clients that send `requests` and wait for all `count` responses, again and again.
    fn of(address: &Address, clients: usize, requests: &str, count: usize) -> Self {
        let served = Arc::<Served>::default();
        let client = |_| {
            let (address, served) = (address.clone(), Arc::clone(&served));
            let requests = requests.to_owned();
            thread::spawn(move || run(&address, &requests, count, &served))
        };
        Self {
            clients: (0..clients).map(client).collect(),
            served,
        }
    }

    /// Waits until `count` requests have been answered.
    #[track_caller]
    pub fn wait_until_served(&self, count: usize) {
        self.wait_until(count, &self.served.count, "requests served");
    }

    /// Waits until `count` connections have been opened.
    #[track_caller]
    pub fn wait_until_connected(&self, count: usize) {
        self.wait_until(count, &self.served.connections, "connections opened");
    }

    #[track_caller]
    fn wait_until(&self, count: usize, counter: &AtomicUsize, what: &str) {
        let turn = self.served.turn.lock().expect("no client panics");
        let pending = |_: &mut ()| counter.load(Ordering::SeqCst) < count;
        let result = self.served.more.wait_timeout_while(turn, LIMIT, pending);
        let in_time = !result.expect("no client panics").1.timed_out();
        assert!(in_time, "fewer than {count} {what} within {LIMIT:?}");
    }

    /// Returns how many requests have been answered so far.
    pub fn served(&self) -> usize {
        self.served.count.load(Ordering::SeqCst)
    }

    /// Returns how many connections have been opened so far.
    pub fn connections(&self) -> usize {
        self.served.connections.load(Ordering::SeqCst)
    }

    /// Fails where a client has been refused already.
    #[track_caller]
    pub fn expect_nobody_refused(&self) {
        let refused = self.clients.iter().filter(|client| client.is_finished());
        assert_eq!(refused.count(), 0, "clients that gave up");
    }

    /// Waits for all clients to be refused, and fails where a request was lost on the way.
    #[track_caller]
    pub fn expect_nothing_lost(self) {
        let results = self
            .clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        let lost: Vec<_> = results.flatten().collect();
        let served = self.served.count.load(Ordering::SeqCst);
        assert!(
            lost.is_empty(),
            "{} lost, {served} served: {lost:#?}",
            lost.len()
        );
    }
}

impl Served {
    fn add_one(&self) {
        // Now and then is enough for whoever waits, and leaves the clients alone otherwise.
        if self.count.fetch_add(1, Ordering::SeqCst) % 64 == 63 {
            let _turn = self.turn.lock().expect("no client panics");
            self.more.notify_all();
        }
    }
}

fn run(address: &Address, requests: &str, count: usize, served: &Served) -> Vec<String> {
    let mut lost = Vec::new();
    loop {
        match Connection::try_open(address) {
            Ok(mut connection) => {
                served.connections.fetch_add(1, Ordering::SeqCst);
                if let Err(error) = use_up(&mut connection, requests, count, served) {
                    lost.push(error.to_string());
                }
            }
            Err(error) if is_refusal(&error) => return lost,
            Err(error) => lost.push(format!("connect: {error}")),
        }
        if lost.len() > 100 {
            return lost;
        }
    }
}

/// Sends requests until the connection is to be closed.
fn use_up(
    connection: &mut Connection,
    requests: &str,
    count: usize,
    served: &Served,
) -> io::Result<()> {
    let mut last = None;
    loop {
        // A client that the machine does not let run may be silent for longer than the grace.
        let silence = last.map(|last: Instant| last.elapsed());
        let exchanged = connection
            .try_send(requests)
            .and_then(|()| exchange(connection, count, served));
        let is_last = exchanged
            .map_err(|error| io::Error::other(format!("{error}, {silence:?} after a response")))?;
        last = Some(Instant::now());
        if is_last {
            return Ok(());
        }
    }
}

/// Reads `count` responses; returns whether the last of them says `connection: close`.
fn exchange(connection: &mut Connection, count: usize, served: &Served) -> io::Result<bool> {
    for left in (0..count).rev() {
        let response = connection.try_response()?;
        if response.status != 200 || response.text() != "hello" {
            return Err(io::Error::other(format!("{response:?}")));
        }
        served.add_one();
        match (response.says_close(), left) {
            (false, _) => {}
            (true, 0) => return Ok(true),
            (true, _) => return Err(io::Error::other(format!("closed with {left} unanswered"))),
        }
    }
    Ok(false)
}
