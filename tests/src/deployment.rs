//! A server that restarts: all its generations, in a directory where its program can be replaced.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process_group,
    pidfd_open, pidfd_send_signal, set_child_subreaper, waitid, waitpgid,
};
use tempfile::TempDir;

use crate::log::Log;
use crate::process::{addresses, leave_descriptors, spawn};
use crate::{Address, Connection, LIMIT, LISTENING, Response, get, sockets};

/// A server with all its generations. Dropping it kills them, so that a failed test leaves nothing.
///
/// The directory holds `current`, a link to the directory with the `server` that is started, and
/// `settings`, which each generation reads when it begins.
#[derive(Debug)]
pub struct Deployment {
    directory: TempDir,
    program: PathBuf,
    /// Never reaped before the end: its id is that of the process group, too, and stays taken.
    first: Child,
    log: Log,
    addresses: Vec<Address>,
    serving: Generation,
    restarts: usize,
    failures: usize,
}

/// One process of a deployment.
#[derive(Debug)]
pub struct Generation {
    id: u32,
    process: OwnedFd,
}

/// Where a successor can be made to wait before its servers start.
#[derive(Debug)]
pub struct Gate(UnixListener);

impl Deployment {
    /// Deploys `program` and starts it with `settings`; it restarts at `SIGUSR2`.
    #[track_caller]
    pub fn start(program: impl AsRef<Path>, settings: &[&str]) -> Self {
        Self::start_by(program, settings, "current/server", |_| {})
    }

    /// As [`start`](Self::start), by another name of the program, and after `change` of the command.
    #[track_caller]
    pub fn start_by(
        program: impl AsRef<Path>,
        settings: &[&str],
        name: &str,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let deployment = Self::begin(program, settings, name, change);
        deployment.wait_until_ready();
        deployment
    }

    /// As [`start`](Self::start), where no answer in clear text can be waited for; a restart may be too early.
    #[track_caller]
    pub fn start_tls(program: impl AsRef<Path>, settings: &[&str]) -> Self {
        Self::begin(program, settings, "current/server", |_| {})
    }

    #[track_caller]
    fn begin(
        program: impl AsRef<Path>,
        settings: &[&str],
        name: &str,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        // Generations whose parent has ended become children of this process, which can wait for them.
        set_child_subreaper(Some(getpid())).expect("Linux knows subreapers");
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let program = program.as_ref().to_owned();
        release(directory.path(), "good", |file| symlink(&program, file));
        write_settings(directory.path(), settings);
        let mut command = Command::new(name);
        command
            .args(["restart=USR2", "settings=settings"])
            .current_dir(&directory)
            .process_group(0)
            .stdin(Stdio::null());
        change(&mut command);
        let (first, log) = spawn(command);
        log.wait_for("bound");
        log.wait_for(LISTENING);
        Self {
            serving: Generation::new(first.id()),
            directory,
            program,
            first,
            addresses: addresses(&log),
            log,
            restarts: 0,
            failures: 0,
        }
    }

    /// Restarts by `SIGUSR2`, and returns the process that served before.
    #[track_caller]
    pub fn restart(&mut self) -> Generation {
        self.serving.signal(Signal::USR2);
        self.handed_over()
    }

    /// Waits until a restart has succeeded, and returns the process that served before.
    #[track_caller]
    pub fn handed_over(&mut self) -> Generation {
        self.restarts += 1;
        let line = self
            .log
            .wait_for_times("handed over to process ", self.restarts);
        let id = line.rsplit(' ').next().and_then(|id| id.parse().ok());
        self.succeeded_by(Generation::new(id.expect("it ends with a process id")))
    }

    /// Restarts by `SIGUSR2`, which has to fail, and returns what is said of it.
    #[track_caller]
    pub fn fail_to_restart(&mut self) -> String {
        self.serving.signal(Signal::USR2);
        self.failed()
    }

    /// Waits until a restart has failed, and returns what is said of it.
    #[track_caller]
    pub fn failed(&mut self) -> String {
        self.failures += 1;
        self.log.wait_for_times("restart failed: ", self.failures)
    }

    /// Waits at `gate` for the successor of a restart that has begun already.
    #[track_caller]
    pub fn successor_at(&self, gate: &Gate) -> (Generation, UnixStream) {
        let (id, held) = gate.wait();
        (Generation::new(id), held)
    }

    /// Makes the next generation read `settings`; those of the command line stay.
    pub fn set(&self, settings: &[&str]) {
        write_settings(self.path(), settings);
    }

    /// Makes the next generations wait before their servers start.
    pub fn set_gate(&self, settings: &[&str]) -> Gate {
        let path = self.path().join("gate");
        let gate = Gate::at(&path);
        let setting = format!("gate={}", path.display());
        let settings: Vec<_> = settings.iter().copied().chain([setting.as_str()]).collect();
        self.set(&settings);
        gate
    }

    /// Deploys the good program again.
    pub fn deploy(&self) {
        release(self.path(), "good", |file| symlink(&self.program, file));
    }

    /// Deploys a copy of the good program as the release `name`.
    pub fn deploy_copy(&self, name: &str) {
        release(self.path(), name, |file| copy(&self.program, file));
    }

    /// Deploys a shell script in the place of the program.
    pub fn deploy_script(&self, script: &str, mode: u32) {
        let draft = self.path().join("draft");
        release(self.path(), "bad", |file| {
            fs::write(&draft, format!("#!/bin/sh\n{script}\n"))?;
            copy(&draft, file)?;
            fs::set_permissions(file, Permissions::from_mode(mode))
        });
    }

    /// Deploys a directory without the program.
    pub fn deploy_nothing(&self) {
        release(self.path(), "empty", |_| Ok(()));
    }

    /// Opens a connection to the process that serves; its predecessor may accept for a moment longer.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.connect_to(&self.addresses[0])
    }

    /// Opens a connection and sends nothing yet.
    #[track_caller]
    pub fn open(&self) -> Connection {
        Connection::open(&self.addresses[0])
    }

    /// Waits until the server has read all that was sent on connections over TCP, which no event announces.
    #[track_caller]
    pub fn wait_until_read<'a>(&self, connections: impl IntoIterator<Item = &'a Connection>) {
        let clients = connections.into_iter().map(Connection::local_addr);
        let clients: BTreeSet<_> = clients.map(|address| address.expect("TCP")).collect();
        let deadline = Instant::now() + LIMIT;
        while !clients.is_subset(&sockets::all_read(self.addresses[0].tcp())) {
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "it is not read:\n{}", self.log);
            thread::yield_now();
        }
    }

    /// As [`connect`](Self::connect), to another of its listeners.
    #[track_caller]
    pub fn connect_to(&self, address: &Address) -> Connection {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let mut connection = Connection::open(address);
            if connection.get("/pid").text() == self.serving.id.to_string() {
                return connection;
            }
        }
        panic!("process {} does not answer:\n{}", self.serving.id, self.log);
    }

    /// Asks on a new connection, and expects a 200.
    #[track_caller]
    pub fn ask(&self, path: &str) -> String {
        let response = self.connect().get(path);
        assert_eq!(response.status, 200, "{response:?}\n{}", self.log);
        response.text()
    }

    /// Opens a connection with a request in flight that ends `ms` milliseconds after the drain began.
    #[track_caller]
    pub fn sleeping(&self, ms: u32) -> Connection {
        let begun = self.log.lines_with("handling /sleep").len();
        let mut connection = self.connect();
        connection.send(get(&format!("/sleep?ms={ms}&from=drain")));
        self.log.wait_for_times("handling /sleep", begun + 1);
        connection
    }

    /// Stops the process that serves, and fails unless everything ends well.
    #[track_caller]
    pub fn stop(self) {
        self.stop_and(|_| ());
    }

    /// As [`stop`](Self::stop), with a look at the directory afterwards.
    #[track_caller]
    pub fn stop_and(self, look: impl FnOnce(&Path)) {
        self.serving.wait_for_adoption(&self.log);
        self.serving.signal(Signal::TERM);
        self.serving.expect_exit(0, &self.log);
        self.log.wait_for_end();
        look(self.path());
    }

    /// Begins a request on `connection` that ends when the test wants: by [`finish_upload`].
    #[track_caller]
    pub fn begin_upload(&self, connection: &mut Connection) {
        let begun = self.log.lines_with("handling /upload").len();
        connection.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n01234");
        self.log.wait_for_times("handling /upload", begun + 1);
    }

    /// Opens a connection with a request in flight that ends by [`finish_upload`].
    #[track_caller]
    pub fn uploading(&self) -> Connection {
        let mut connection = self.connect();
        self.begin_upload(&mut connection);
        connection
    }

    /// Asks on `connection` until the process answers that serves, and fails unless it stays open up to then.
    ///
    /// Requests that come at once may still be answered by the process before.
    #[track_caller]
    pub fn expect_moved(&self, connection: &mut Connection) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let response = connection.get("/pid");
            assert!(
                response.status == 200 && !response.says_close(),
                "{response:?}\n{}",
                self.log
            );
            if response.text() == self.serving.id.to_string() {
                return;
            }
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "it does not move: {response:?}\n{}", self.log);
        }
    }

    /// Returns the process that serves.
    pub fn serving(&self) -> &Generation {
        &self.serving
    }

    /// Takes `successor` for the process that serves.
    pub fn succeeded_by(&mut self, successor: Generation) -> Generation {
        std::mem::replace(&mut self.serving, successor)
    }

    /// Sends `signal` to all generations, as a service manager or a terminal does.
    pub fn signal_all(&self, signal: Signal) {
        kill_process_group(self.group(), signal).expect("the first process is not reaped");
    }

    /// Returns where the listeners of the first generation are.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Returns what all generations printed so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the directory that the server was started in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.first)
    }

    /// Asks as a load balancer does; ready is a moment after listening.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let mut connection = self.connect();
        let deadline = Instant::now() + LIMIT;
        while connection.get("/status").status != 200 {
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log);
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group(), Signal::KILL);
        // Each one that ends leaves its successors to this process; in the end nobody is left.
        while waitpgid(self.group(), WaitOptions::empty()).is_ok() {}
    }
}

impl Generation {
    /// Finds the process with this id, which may have ended, but not been reaped.
    #[track_caller]
    pub fn new(id: u32) -> Self {
        let process = Pid::from_raw(id.cast_signed())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Self {
            id,
            process: process.unwrap_or_else(|| panic!("there is no process {id}")),
        }
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Sends `signal`; nothing happens where the process has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.process, signal);
    }

    /// Lets the process open so many more descriptors.
    pub fn leave_descriptors(&self, count: usize) {
        let pid = Pid::from_raw(self.id.cast_signed()).expect("a process has an id");
        leave_descriptors(pid, count);
    }

    /// Stops the process in its tracks; `SIGCONT` lets it go on. No event announces that it stands still.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + LIMIT;
        while !is_in_state(self.id, 'T') {
            assert!(Instant::now() < deadline, "process {} goes on", self.id);
            thread::yield_now();
        }
    }

    /// Asks on `connection` until it ends, and fails where another process answers; at first this one may not drain yet.
    #[track_caller]
    pub fn expect_to_end(&self, connection: &mut Connection) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let response = connection.get("/pid");
            assert_eq!(response.text(), self.id.to_string());
            if response.says_close() {
                return connection.expect_eof();
            }
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "process {} keeps it", self.id);
        }
    }

    /// Returns whether the process has not ended yet.
    pub fn is_running(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Waits for the process to end, whoever its parent is.
    #[track_caller]
    pub fn wait(&self, log: &Log) {
        assert!(
            self.ends_within(LIMIT),
            "process {} still runs:\n{log}",
            self.id
        );
    }

    /// Waits for the process to end, and fails unless that is with `code`. Its parent must have ended.
    #[track_caller]
    pub fn expect_exit(&self, code: i32, log: &Log) {
        self.wait(log);
        // It stays a zombie, so that its id stays taken.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::PidFd(self.process.as_fd()), options);
        let status = status.expect("an orphan is this process' child");
        let code_seen = status.and_then(|status| status.exit_status());
        assert_eq!(code_seen, Some(code), "process {}:\n{log}", self.id);
    }

    /// Waits until its predecessor has ended and it is a child of this process, which no event announces.
    #[track_caller]
    fn wait_for_adoption(&self, log: &Log) {
        let deadline = Instant::now() + LIMIT;
        while self.status("PPid") != process::id() as usize {
            assert!(
                Instant::now() < deadline,
                "the predecessor of process {} still runs:\n{log}",
                self.id
            );
            thread::yield_now();
        }
    }

    /// Returns a file of `/proc` about the process.
    pub fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.id))
    }

    /// Returns a number of `/proc/PID/status`, such as `Threads` or `VmRSS`.
    pub fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(self.proc("status")).expect("the process is not reaped");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no number for {name}:\n{status}"))
    }

    /// Returns what each descriptor of the process stands for.
    pub fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(self.proc("fd")).expect("the process is not reaped");
        // One that was closed meanwhile does not count.
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.map(|target| target.display().to_string()).collect()
    }

    /// Returns the ids of the children that have ended and are not waited for.
    pub fn zombies(&self) -> Vec<u32> {
        let tasks = fs::read_dir(self.proc("task")).expect("the process is not reaped");
        let children =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|ids| {
                ids.split_whitespace()
                    .filter_map(|id| id.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect();
        children
            .into_iter()
            .filter(|id| is_in_state(*id, 'Z'))
            .collect()
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a test's limit is a few seconds");
        let mut ended = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut ended, Some(&limit)).expect("a pidfd can be polled") > 0
    }
}

impl Gate {
    /// Puts a gate at `path`, where there may have been one before.
    #[track_caller]
    pub fn at(path: &Path) -> Self {
        let _ = fs::remove_file(path);
        Self(UnixListener::bind(path).expect("a new directory can be written to"))
    }

    /// Waits until a process has come here, and returns its id and the connection that holds it up.
    #[track_caller]
    pub fn wait(&self) -> (u32, UnixStream) {
        let limit = Timespec::try_from(LIMIT).expect("it is a few seconds");
        let mut waiting = [PollFd::new(&self.0, PollFlags::IN)];
        let count = poll(&mut waiting, Some(&limit)).expect("a socket can be polled");
        assert_eq!(count, 1, "nobody came within {LIMIT:?}");
        let (stream, _) = self.0.accept().expect("somebody waits");
        let mut line = String::new();
        BufReader::new(&stream)
            .read_line(&mut line)
            .expect("it says who it is");
        (line.trim().parse().expect("it is a process id"), stream)
    }
}

/// Makes a directory with the program that `make` puts there, and turns `current` to it in one step.
fn release(directory: &Path, name: &str, make: impl FnOnce(&Path) -> io::Result<()>) {
    let release = directory.join(name);
    let program = release.join("server");
    let made = fs::create_dir_all(&release)
        .and_then(|()| match fs::remove_file(&program) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => make(&program),
        })
        .and_then(|()| symlink(name, directory.join("next")))
        .and_then(|()| fs::rename(directory.join("next"), directory.join("current")));
    made.expect("a directory for temporary files can be written to");
}

/// Copies by another process: a file that this one has open for writing may be inherited by what another test starts, and
/// cannot be executed then.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| io::Error::other("cp(1) failed"))
}

fn write_settings(directory: &Path, settings: &[&str]) {
    let written = fs::write(
        directory.join("settings"),
        settings
            .iter()
            .filter(|line| !line.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join("\n"),
    );
    written.expect("a directory for temporary files can be written to");
}

/// Sends the rest of a request of [`Deployment::begin_upload`], and returns the response.
#[track_caller]
pub fn finish_upload(connection: &mut Connection) -> Response {
    connection.send("56789");
    let response = connection.response();
    assert_eq!((response.status, response.text().as_str()), (200, "10"));
    response
}

fn is_in_state(id: u32, state: char) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with(state))
}
