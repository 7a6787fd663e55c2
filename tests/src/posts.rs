//! Many clients that POST without a pause, and note which process answered and what was lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::{fmt, io};

use crate::load::Style;
use crate::{Address, Connection, LIMIT};

/// A client that lost as much has shown enough.
const LOST_MAX: usize = 20;

/// Clients that POST to `/echo` one request after the other, until they are told to stop.
///
/// Whatever is no complete 200 with the body that was sent is lost, a refused connect, too: these
/// clients speak to a proxy.
#[derive(Debug)]
pub struct Posts {
    clients: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    /// How many requests each process has answered.
    answers: BTreeMap<u32, usize>,
    lost: Vec<String>,
}

impl Posts {
    /// Starts `clients` clients of each style.
    pub fn start(address: &Address, clients: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let client = |number| {
            let client = Client {
                address: address.clone(),
                style: [Style::KeepAlive, Style::Reconnect][number % 2],
                number,
                open: None,
            };
            let shared = Arc::clone(&shared);
            thread::spawn(move || client.run(&shared))
        };
        Self {
            clients: (0..2 * clients).map(client).collect(),
            shared,
        }
    }

    /// Waits until the process `id` has answered `count` more requests.
    #[track_caller]
    pub fn wait_for_answers(&self, id: u32, count: usize) {
        let seen = self.shared.seen.lock().expect("no client panics");
        let enough = seen.answers_by(id) + count;
        let pending = |seen: &mut Seen| seen.answers_by(id) < enough;
        let result = self.shared.more.wait_timeout_while(seen, LIMIT, pending);
        let (seen, result) = result.expect("no client panics");
        assert!(
            !result.timed_out(),
            "fewer than {enough} answers by process {id} within {LIMIT:?}; {seen}"
        );
    }

    /// Stops all clients after their last answer, and fails where a request was lost.
    #[track_caller]
    pub fn expect_nothing_lost(self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("no client panics");
        }
        let seen = self.shared.seen.lock().expect("no client panics");
        assert!(seen.lost.is_empty(), "{seen}");
    }
}

impl Seen {
    fn answers_by(&self, id: u32) -> usize {
        self.answers.get(&id).copied().unwrap_or(0)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answers, lost) = (&self.answers, &self.lost);
        write!(f, "{} lost: {lost:#?}; answers: {answers:?}", lost.len())
    }
}

struct Client {
    address: Address,
    style: Style,
    number: usize,
    open: Option<Connection>,
}

impl Client {
    fn run(mut self, shared: &Shared) {
        let mut lost = 0;
        for turn in 0.. {
            if lost == LOST_MAX || shared.is_over.load(Ordering::Relaxed) {
                return;
            }
            let answer = self.post(turn);
            let mut seen = shared.seen.lock().expect("no client panics");
            match answer {
                Ok(id) => *seen.answers.entry(id).or_default() += 1,
                Err(error) => {
                    let Self { style, number, .. } = self;
                    seen.lost
                        .push(format!("{style:?} {number}/{turn}: {error}"));
                    lost += 1;
                }
            }
            drop(seen);
            shared.more.notify_all();
        }
    }

    /// Sends a request, and returns which process answered it.
    fn post(&mut self, turn: usize) -> io::Result<u32> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => Connection::try_open(&self.address)?,
        };
        // Some fit into a packet with the head, some into no buffer; some take a while.
        let body = format!("{}/{turn}{:2$}", self.number, "", turn % 4 * 10_000);
        connection.try_send(self.head(turn % 3 * 2, body.len()))?;
        connection.try_send(&body)?;
        let response = connection.try_response()?;
        if !response.says_close() {
            self.open = Some(connection);
        }
        let text = response.text();
        let answer = text.split_once(' ').filter(|(_, echoed)| *echoed == body);
        let id = answer.and_then(|(id, _)| id.parse().ok());
        id.filter(|_| response.status == 200).ok_or_else(|| {
            let text: String = text.chars().take(200).collect();
            io::Error::other(format!("{} {text:?}", response.status))
        })
    }

    fn head(&self, ms: usize, length: usize) -> String {
        let connection = match self.style {
            Style::KeepAlive => "keep-alive",
            Style::Reconnect => "close",
        };
        format!(
            "POST /echo?ms={ms} HTTP/1.1\r\nhost: test\r\nconnection: {connection}\r\ncontent-length: {length}\r\n\r\n"
        )
    }
}
