//! What a restart costs: how soon the new process answers, what a client notices, and what is left behind.
//!
//! `cargo bench -p graceful-benches --bench restart`

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use graceful_benches::args::Args;
use graceful_benches::client::{Connection, Next, REQUEST};
use graceful_benches::process::{self, ECDYSIS, GRACEFUL_RESTART, Program};
use graceful_benches::stats::{median, percentile};
use graceful_benches::table::Table;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper,
    waitpgid,
};

/// How often the client looks whether the new process answers: seldom enough to leave it the machine.
const LOOK: Duration = Duration::from_micros(200);
/// How long a process may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a server is restarted that is not restarted all the time: ecdysis takes half a second.
const PACE: Duration = Duration::from_millis(600);
/// Restarts before anything is counted: what a first one pays once.
const WARM_UP: usize = 3;

fn main() -> io::Result<()> {
    let args = Args::from_env();
    let runs = args.number("--runs", 21, 1);
    let restarts = args.number("--restarts", 100, 2);
    let programs = process::built([GRACEFUL_RESTART, ECDYSIS]);
    // So that a process whose parent has ended can be waited for here.
    set_child_subreaper(Some(getpid()))?;

    let mut table = Table::new("restarts", programs.iter().map(|program| program.name));
    take_over(&mut table, &programs, runs)?;
    latency(&mut table, &programs, restarts)?;
    remains(&mut table, &programs, restarts)?;
    print!("{table}");
    Ok(())
}

/// How soon a new process answers, started by itself and by a restart, in turns.
fn take_over(table: &mut Table, programs: &[Program], runs: usize) -> io::Result<()> {
    let measured = each(programs, |program| {
        let runs = (0..runs).map(|_| TakeOver::of(program));
        runs.collect::<io::Result<Vec<_>>>()
    })?;
    table.heading(&format!("milliseconds, median of {runs} runs"));
    let mut row = |label: &str, value: fn(&TakeOver) -> f64| {
        let medians = measured
            .iter()
            .map(|runs| median(&runs.iter().map(value).collect::<Vec<_>>()));
        table.row(label, medians.map(|median| format!("{median:.2}")));
    };
    row("    exec to the first answer, without a restart", |run| {
        run.start
    });
    row("    signal to the first answer of the successor", |run| {
        run.answer
    });
    row("    difference, run by run", |run| run.answer - run.start);
    row("    signal to the end of the predecessor", |run| run.end);
    Ok(())
}

/// The times of one start and one restart, in milliseconds.
struct TakeOver {
    start: f64,
    answer: f64,
    end: f64,
}

impl TakeOver {
    fn of(program: Program) -> io::Result<Self> {
        let mut family = Family::start(program)?;
        let begin = family.signal()?;
        Ok(Self {
            start: milliseconds(family.start_time),
            answer: milliseconds(family.wait_for_answer(begin)?),
            end: milliseconds(family.wait_for_predecessor(begin)?),
        })
    }
}

/// What one client in a closed loop sees, for as long as nothing happens, and while the server restarts.
fn latency(table: &mut Table, programs: &[Program], restarts: usize) -> io::Result<()> {
    let seen = each(programs, |program| Seen::by_a_client(program, restarts))?;
    table.heading("p99 of one client in a closed loop, µs");
    let mut row = |label: &str, value: fn(&Seen) -> String| {
        table.row(label, seen.iter().map(value));
    };
    row("    without restarts", |seen| {
        format!("{:.0}", percentile(&seen.before, 99.0))
    });
    row("    one restart every 600 ms", |seen| seen.p99(&seen.paced));
    row("    one restart after the other", |seen| {
        seen.p99(&seen.in_a_row)
    });
    row("    the program started beside it instead", |seen| {
        seen.p99(&seen.beside)
    });
    row("    longest of all, ms", |seen| {
        let longest = seen
            .clients()
            .map(|client| percentile(&client.times, 100.0));
        format!("{:.1}", longest.fold(0.0, f64::max) / 1000.0)
    });
    table.heading(&format!(
        "    its requests during {} restarts",
        restarts * 2
    ));
    let mut row = |label: &str, count: fn(&Client) -> usize| {
        let sums = seen
            .iter()
            .map(|seen| seen.clients().map(count).sum::<usize>());
        table.row(label, sums);
    };
    row("        answered", |client| client.times.len());
    row("        lost", |client| client.lost);
    row("        refused", |client| client.refused);
    Ok(())
}

/// What a client has seen.
struct Seen {
    before: Vec<f64>,
    paced: Client,
    in_a_row: Client,
    /// While the same program is started again and again, and has nothing to do with the server.
    beside: Client,
}

impl Seen {
    fn by_a_client(program: Program, restarts: usize) -> io::Result<Self> {
        let mut family = Family::start(program)?;
        (0..WARM_UP).try_for_each(|_| family.restart())?;
        let mut client = Client::new(family.address);
        client.ask_for(Duration::from_millis(500));
        client.times.clear();
        client.ask_for(Duration::from_secs(2));
        let before = client.times;
        let address = family.address;
        let during = |step: &mut dyn FnMut() -> io::Result<()>| during(address, restarts, step);
        Ok(Self {
            before,
            paced: during(&mut || {
                let begin = Instant::now();
                family.restart()?;
                thread::sleep(PACE.saturating_sub(begin.elapsed()));
                Ok(())
            })?,
            in_a_row: during(&mut || family.restart())?,
            beside: during(&mut || Family::start(program).map(drop))?,
        })
    }

    fn clients(&self) -> impl Iterator<Item = &Client> {
        [&self.paced, &self.in_a_row].into_iter()
    }

    /// The time, and how many times that is of what it is without restarts.
    fn p99(&self, client: &Client) -> String {
        let (before, during) = (
            percentile(&self.before, 99.0),
            percentile(&client.times, 99.0),
        );
        format!("{during:.0} (× {:.2})", during / before)
    }
}

/// Takes a step again and again, and returns what a client saw meanwhile.
fn during(
    address: SocketAddr,
    steps: usize,
    step: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Client> {
    let mut client = Client::new(address);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                client.ask();
            }
            client
        });
        let result = (0..steps).try_for_each(|_| step());
        is_over.store(true, Ordering::Relaxed);
        let client = asking.join().expect("a client does not panic");
        result.map(|()| client)
    })
}

/// What the process after many restarts has that the one after a few had not.
fn remains(table: &mut Table, programs: &[Program], restarts: usize) -> io::Result<()> {
    let grown = each(programs, |program| {
        let mut family = Family::start(program)?;
        (0..WARM_UP).try_for_each(|_| family.restart())?;
        let before = family.footprint()?;
        let begin = Instant::now();
        (0..restarts).try_for_each(|_| family.restart())?;
        let time = begin.elapsed();
        let after = family.footprint()?;
        Ok((before, after, time))
    })?;
    table.heading(&format!("what {restarts} restarts in a row leave behind"));
    for name in ["descriptors", "threads", "kB resident", "children"] {
        table.row(
            &format!("    {name}, before and after"),
            grown
                .iter()
                .map(|(before, after, _)| format!("{} {}", before[name], after[name])),
        );
    }
    table.row(
        "    milliseconds each, up to the end of the predecessor",
        grown
            .iter()
            .map(|(_, _, time)| format!("{:.1}", milliseconds(*time) / restarts as f64)),
    );
    Ok(())
}

/// A server with all its generations, killed on every path.
struct Family {
    /// The first process, which leads the group of all and is not reaped before the end.
    first: Child,
    address: SocketAddr,
    start_time: Duration,
    serving: u32,
    predecessor: u32,
}

impl Family {
    /// Starts the program on a free port and waits for its first answer.
    fn start(program: Program) -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let begin = Instant::now();
        let first = Command::new(program.path()?)
            .arg(address.to_string())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut family = Self {
            serving: 0,
            predecessor: 0,
            first,
            address,
            start_time: Duration::ZERO,
        };
        family.start_time = family.wait_for_answer(begin)?;
        Ok(family)
    }

    fn restart(&mut self) -> io::Result<()> {
        let begin = self.signal()?;
        self.wait_for_answer(begin)?;
        self.wait_for_predecessor(begin)?;
        Ok(())
    }

    fn signal(&self) -> io::Result<Instant> {
        let begin = Instant::now();
        kill_process(pid(self.serving), Signal::USR2)?;
        Ok(begin)
    }

    /// Waits for an answer of another process than the one that has answered so far.
    fn wait_for_answer(&mut self, begin: Instant) -> io::Result<Duration> {
        while begin.elapsed() < PATIENCE {
            // Refused before the first process listens.
            if let Ok(mut connection) = Connection::open(self.address)
                && connection.send(REQUEST).is_ok()
                && let Ok((_, answered)) = connection.receive_number()
                && answered != self.serving
            {
                self.predecessor = std::mem::replace(&mut self.serving, answered);
                return Ok(begin.elapsed());
            }
            thread::sleep(LOOK);
        }
        Err(io::Error::other("no new process has answered in time"))
    }

    fn wait_for_predecessor(&self, begin: Instant) -> io::Result<Duration> {
        while begin.elapsed() < PATIENCE {
            if !is_running(self.predecessor) {
                return Ok(begin.elapsed());
            }
            thread::sleep(LOOK);
        }
        Err(io::Error::other("the old process has not ended in time"))
    }

    fn footprint(&self) -> io::Result<BTreeMap<&'static str, usize>> {
        // What a hand-over started and what the last predecessor leaves needs a moment to go away.
        thread::sleep(Duration::from_millis(200));
        let proc = format!("/proc/{}", self.serving);
        let status = fs::read_to_string(format!("{proc}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let mut children = 0;
        for task in fs::read_dir(format!("{proc}/task"))? {
            let ids = fs::read_to_string(task?.path().join("children"))?;
            children += ids.split_whitespace().count();
        }
        Ok(BTreeMap::from([
            ("descriptors", fs::read_dir(format!("{proc}/fd"))?.count()),
            ("threads", number("Threads:")),
            ("kB resident", number("VmRSS:")),
            ("children", children),
        ]))
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.first);
        let _ = kill_process_group(group, Signal::KILL);
        // Each one that ends leaves its successors to this process; in the end nobody is left.
        while waitpgid(group, WaitOptions::empty()).is_ok() {}
    }
}

/// A client that sends one request after the other and reconnects where it has to.
struct Client {
    address: SocketAddr,
    connection: Option<Connection>,
    /// Microseconds from the wish to send, the connect included where one was needed, to the last byte.
    times: Vec<f64>,
    lost: usize,
    refused: usize,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
            times: Vec::new(),
            lost: 0,
            refused: 0,
        }
    }

    fn ask_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let begin = Instant::now();
        let connection = self
            .connection
            .take()
            .map_or_else(|| Connection::open(self.address), Ok);
        let Ok(mut connection) = connection else {
            self.refused += 1;
            return;
        };
        match connection.round_trip() {
            Ok(next) => {
                self.times.push(begin.elapsed().as_secs_f64() * 1e6);
                self.connection = (next == Next::KeepAlive).then_some(connection);
            }
            Err(_) => self.lost += 1,
        }
    }
}

fn each<T>(programs: &[Program], measure: impl Fn(Program) -> io::Result<T>) -> io::Result<Vec<T>> {
    programs.iter().map(|program| measure(*program)).collect()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).expect("a process has answered with its id")
}

fn is_running(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
