//! A server as a line of processes, each of which is the successor of the one before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use graceful_benches::client::{Connection, REQUEST};
use graceful_benches::process::Program;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpgid};

/// How often the client looks whether the new process answers: seldom enough to leave it the machine.
const LOOK: Duration = Duration::from_micros(200);
/// How long a process may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Restarts before anything is counted: what a first one pays once.
pub(crate) const WARM_UP: usize = 3;

/// A server with all its generations, killed on every path.
pub(crate) struct Family {
    /// The first process, which leads the group of all and is not reaped before the end.
    first: Child,
    pub(crate) address: SocketAddr,
    pub(crate) start_time: Duration,
    pub(crate) serving: u32,
    predecessor: u32,
}

impl Family {
    /// Starts the program on a free port and waits for its first answer.
    pub(crate) fn start(program: Program) -> io::Result<Self> {
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

    pub(crate) fn restart(&mut self) -> io::Result<()> {
        let begin = self.signal()?;
        self.wait_for_answer(begin)?;
        self.wait_for_predecessor(begin)?;
        Ok(())
    }

    pub(crate) fn signal(&self) -> io::Result<Instant> {
        let begin = Instant::now();
        kill_process(pid(self.serving), Signal::USR2)?;
        Ok(begin)
    }

    /// Waits for an answer of another process than the one that has answered so far.
    pub(crate) fn wait_for_answer(&mut self, begin: Instant) -> io::Result<Duration> {
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

    pub(crate) fn wait_for_predecessor(&self, begin: Instant) -> io::Result<Duration> {
        while begin.elapsed() < PATIENCE {
            if !is_running(self.predecessor) {
                return Ok(begin.elapsed());
            }
            thread::sleep(LOOK);
        }
        Err(io::Error::other("the old process has not ended in time"))
    }

    pub(crate) fn footprint(&self) -> io::Result<BTreeMap<&'static str, usize>> {
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

/// Measures the programs, one after the other.
pub(crate) fn each<T>(
    programs: &[Program],
    measure: impl Fn(Program) -> io::Result<T>,
) -> io::Result<Vec<T>> {
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

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
