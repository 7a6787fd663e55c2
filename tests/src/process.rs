//! A server process: start it, signal it, watch what it prints, see how it ends.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, prlimit,
    setrlimit,
};

use crate::log::Log;
use crate::{Address, Connection, LIMIT, LISTENING, get};

/// A running server. Dropping it kills it, so that a failed test leaves nothing behind.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pid: Pid,
    /// Becomes readable when the process ends.
    ended: OwnedFd,
    log: Log,
    addresses: Vec<Address>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Exit {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Everything it printed.
    pub log: Log,
}

impl Server {
    /// Starts `command` and waits until it says that it listens.
    #[track_caller]
    pub fn start(command: Command) -> Self {
        let mut server = Self::spawn(command);
        server.log.wait_for("bound");
        server.addresses = addresses(&server.log);
        server.log.wait_for_times(LISTENING, server.addresses.len());
        server
    }

    /// Starts `command` without waiting for anything.
    pub fn spawn(command: Command) -> Self {
        let (child, log) = spawn(command);
        let pid = Pid::from_child(&child);
        let ended = pidfd_open(pid, PidfdFlags::empty()).expect("an unreaped child has a pidfd");
        Self {
            child,
            pid,
            ended,
            log,
            addresses: Vec::new(),
        }
    }

    /// Waits for the first address that it says it is bound to, for one that may not be listening yet.
    #[track_caller]
    pub fn wait_until_bound(&self) -> Address {
        self.log.wait_for("addr ");
        addresses(&self.log).remove(0)
    }

    /// Sends `signal` to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("an unreaped child can be signalled");
    }

    /// Sends `SIGINT` once more, as a human does: not at once.
    pub fn interrupt_again(&self) {
        thread::sleep(HUMAN);
        self.signal(Signal::INT);
    }

    /// Asks as a load balancer does, until the process says that it is ready.
    ///
    /// Which it is a moment after it said that it listens.
    #[track_caller]
    pub fn wait_until_ready(&self) -> Connection {
        let mut connection = self.connect();
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if connection.get("/status").status == 200 {
                return connection;
            }
        }
        panic!("not ready within {LIMIT:?}:\n{}", self.log);
    }

    /// Sends `SIGTERM` and waits until the first listener drains: until it refuses connects.
    #[track_caller]
    pub fn drain(&self) {
        self.signal(Signal::TERM);
        self.wait_for("draining");
        self.address().wait_until_refused();
    }

    /// Stops the process in its tracks, runs `during`, and lets it go on.
    ///
    /// What `during` sends is in the socket buffers and accept queues before the process sees it.
    pub fn freeze<R>(&self, during: impl FnOnce() -> R) -> R {
        self.signal(Signal::STOP);
        self.wait_for_state('T');
        let result = during();
        self.signal(Signal::CONT);
        result
    }

    /// Waits for the first printed line that contains `text`.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Waits until `times` printed lines contain `text`.
    #[track_caller]
    pub fn wait_for_times(&self, text: &str, times: usize) -> String {
        self.log.wait_for_times(text, times)
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn exit(self) -> Exit {
        self.exit_within(LIMIT)
    }

    /// Waits for the process to end by itself, and fails where it takes longer than `limit`.
    #[track_caller]
    pub fn exit_within(mut self, limit: Duration) -> Exit {
        let ended = self.ends_within(limit);
        assert!(ended, "still running after {limit:?}:\n{}", self.log);
        let status = self.child.wait().expect("a child that ended can be reaped");
        self.log.wait_for_end();
        Exit::new(status, self.log.clone())
    }

    /// Opens a connection to the first listener.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// Opens a connection with a request in flight that ends `ms` milliseconds after the drain began.
    #[track_caller]
    pub fn sleeping(&self, ms: u32) -> Connection {
        let mut connection = self.connect();
        connection.send(get(&format!("/sleep?ms={ms}&from=drain")));
        self.wait_for("handling /sleep");
        connection
    }

    /// Opens `count` connections and makes sure that the server has accepted all of them.
    ///
    /// It accepts in order, so that an answer on a later connection proves it for the earlier.
    #[track_caller]
    pub fn connect_accepted(&self, count: usize) -> Vec<Connection> {
        let connections = (0..count).map(|_| self.connect()).collect();
        let mut last = self.connect();
        last.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        assert_eq!(last.response().status, 200);
        connections
    }

    /// Lets the process open no further descriptor.
    pub fn exhaust_descriptors(&self) {
        leave_descriptors(self.pid, 0);
    }

    /// Returns whether the process has not ended yet.
    pub fn is_running(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Returns whether the first listener takes connects.
    pub fn is_accepting(&self) -> bool {
        self.address().connect().is_ok()
    }

    /// Returns where the first listener is.
    #[track_caller]
    pub fn address(&self) -> &Address {
        &self.addresses[0]
    }

    /// Returns where all listeners are, in the order in which they were bound.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Returns what was printed so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has a child, and returns its id.
    pub fn wait_for_child(&self) -> Pid {
        let deadline = Instant::now() + LIMIT;
        let children = format!("/proc/{0}/task/{0}/children", self.id());
        while Instant::now() < deadline {
            let children = fs::read_to_string(&children).expect("an unreaped child is in /proc");
            let first = children
                .split_whitespace()
                .next()
                .and_then(|pid| pid.parse().ok());
            if let Some(pid) = first.and_then(Pid::from_raw) {
                return pid;
            }
            thread::yield_now();
        }
        panic!("no child within {LIMIT:?}:\n{}", self.log);
    }

    /// Waits until the process runs `program` and the kernel knows a handler of it for `signal`.
    pub fn wait_until_caught(&self, program: &str, signal: Signal) {
        let is_caught = |status: &str| {
            let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
            let caught = field("SigCgt:\t").and_then(|mask| u64::from_str_radix(mask, 16).ok());
            let bit = 1 << (signal.as_raw() - 1);
            field("Name:\t") == Some(program) && caught.is_some_and(|mask| mask & bit != 0)
        };
        self.wait_until_shown("status", is_caught);
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut ended = [PollFd::new(&self.ended, PollFlags::IN)];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a test's limit is a few seconds");
            match poll(&mut ended, Some(&left)) {
                Ok(count) => return count > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("poll on a pidfd failed: {error}"),
            }
        }
    }

    /// Waits for the kernel to show `state` for the process.
    fn wait_for_state(&self, state: char) {
        let is_it = |stat: &str| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, s)| s.starts_with(state))
        };
        self.wait_until_shown("stat", is_it);
    }

    /// Reads a file of `/proc` until it shows what is `wanted`, which no event announces.
    fn wait_until_shown(&self, file: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + LIMIT;
        let file = format!("/proc/{}/{file}", self.id());
        while Instant::now() < deadline {
            let shown = fs::read_to_string(&file).expect("an unreaped child has an entry in /proc");
            if wanted(&shown) {
                return;
            }
            thread::yield_now();
        }
        panic!("{file} does not come to show what it should:\n{}", self.log);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only fails where the process has been reaped, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Exit {
    fn new(status: ExitStatus, log: Log) -> Self {
        Self {
            code: status.code(),
            signal: status.signal(),
            log,
        }
    }

    /// Fails unless the process ended by itself with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Log {
        let Self {
            code: actual,
            signal,
            log,
        } = self;
        assert_eq!(
            (actual, signal),
            (Some(code), None),
            "(exit code, signal); it printed:\n{log}"
        );
        log
    }
}

/// Returns the command that starts `program`; what [`command!`](crate::command!) expands to.
pub fn command(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Sends `signal` to a process that may have ended.
pub fn signal_if_alive(pid: Pid, signal: Signal) {
    // The one error that is possible says that it ended.
    let _ = kill_process(pid, signal);
}

/// Lets a process open so many more descriptors.
pub fn leave_descriptors(pid: Pid, count: usize) {
    let in_use = |number: &u64| Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
    // The kernel hands out the lowest free number, and none beyond the limit.
    let limit = (0..).filter(|number| !in_use(number)).nth(count);
    let limit = Rlimit {
        current: limit,
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(Some(pid), Resource::Nofile, limit)
        .expect("it stays below the hard limit, which was inherited");
}

/// Returns whether this user may create PID namespaces.
pub fn can_unshare() -> bool {
    let status = as_pid_1(Command::new("true"))
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Returns the command that runs `command` as PID 1 of a namespace of its own.
///
/// Its exit code is that of `command`.
pub fn as_pid_1(command: Command) -> Command {
    wrapped("unshare", &["--pid", "--fork", "--kill-child"], command)
}

/// Returns the command that runs `command` by a shell that is PID 1, as the shell form of Docker's `CMD` does.
pub fn under_shell_as_pid_1(command: Command) -> Command {
    let shell = ["sh", "-c", r#""$0" "$@"; exit"#];
    let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let arguments: Vec<_> = namespace.into_iter().chain(shell).collect();
    wrapped("unshare", &arguments, command)
}

/// Returns the command that runs `command` as the child of a process 1 with the name of `init`, which ends when it does.
pub fn under_init(init: &Path, command: Command) -> Command {
    // The script is that file for the kernel, and process 1 by the `exec`.
    let script = "#!/bin/sh\n\"$@\" &\nwait $!\n";
    let written = Command::new("sh")
        .args(["-c", r#"printf "%s" "$1" > "$0" && chmod 755 "$0""#])
        .arg(init)
        .arg(script)
        .status();
    assert!(written.is_ok_and(|status| status.success()), "no script");
    let init = init.to_str().expect("it has a plain name");
    let arguments = ["--pid", "--fork", "--kill-child", "--mount-proc", init];
    wrapped("unshare", &arguments, command)
}

/// Returns whether [`delaying_handlers`] works here.
pub fn can_delay_handlers() -> bool {
    let status = delaying_handlers(Command::new("true"))
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Returns the command that runs `command` with a long moment after each installation of a signal
/// handler, before the program goes on.
pub fn delaying_handlers(command: Command) -> Command {
    let delay = "inject=rt_sigaction:delay_exit=200000";
    let arguments = [
        "-D",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=rt_sigaction",
        "-e",
        delay,
    ];
    wrapped("strace", &arguments, command)
}

/// Returns the command that runs `command` with `SIGHUP` ignored.
pub fn ignoring_hangup(command: Command) -> Command {
    wrapped("sh", &["-c", r#"trap "" HUP; exec "$0" "$@""#], command)
}

/// Returns the command that runs `command` with a limit of the shell's `ulimit`.
pub fn limited(option: &str, limit: u32, command: Command) -> Command {
    let script = format!(r#"ulimit {option} {limit}; exec "$0" "$@""#);
    wrapped("sh", &["-c", &script], command)
}

/// How soon after a Ctrl-C a server takes another one for one.
pub const HUMAN: Duration = Duration::from_millis(300);

/// Returns the command that runs `command` with signals blocked, as a careless supervisor leaves them.
pub fn blocking_signals(command: Command) -> Command {
    wrapped("env", &["--block-signal=TERM,INT,USR1,USR2"], command)
}

/// Returns the command that runs `command` with a standard error that takes no byte more, as where whoever reads it hangs.
pub fn with_full_stderr(command: Command) -> Command {
    // As many bytes as a pipe holds; see pipe(7).
    let script = r#"
        pipe=$(mktemp -u) && mkfifo "$pipe" && exec 2<>"$pipe" && rm "$pipe" &&
        head -c 65536 /dev/zero >&2 && exec "$0" "$@""#;
    wrapped("sh", &["-c", script], command)
}

/// Returns the command that runs `command` with descriptor 3 as a service manager's, called `web` and meant for the process
/// `pid`, which is in the words of the shell: `$$` is the right one.
pub fn activated(descriptor: impl Into<OwnedFd>, pid: &str, command: Command) -> Command {
    activated_as("web", descriptor, pid, command)
}

/// As [`activated`], by another name than `web`.
pub fn activated_as(
    name: &str,
    descriptor: impl Into<OwnedFd>,
    pid: &str,
    command: Command,
) -> Command {
    let variables = format!("LISTEN_PID={pid} LISTEN_FDS=1 LISTEN_FDNAMES={name}");
    with_descriptor(&variables, descriptor, command)
}

/// As [`activated`], where the manager says that it gives `count` descriptors of these names, and gives one.
pub fn activated_with(
    count: &str,
    names: &str,
    descriptor: impl Into<OwnedFd>,
    command: Command,
) -> Command {
    let names = match names {
        "" => String::new(),
        names => format!("LISTEN_FDNAMES={names}"),
    };
    let variables = format!("LISTEN_PID=$$ LISTEN_FDS={count} {names}");
    with_descriptor(&variables, descriptor, command)
}

fn with_descriptor(variables: &str, descriptor: impl Into<OwnedFd>, command: Command) -> Command {
    let script = format!(r#"exec 3<&0 </dev/null; export {variables}; exec "$0" "$@""#);
    let mut activated = wrapped("sh", &["-c", &script], command);
    activated.stdin(descriptor.into());
    activated
}

fn wrapped(program: &str, arguments: &[&str], command: Command) -> Command {
    let mut wrapped = Command::new(program);
    wrapped
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

/// Raises the limit of open descriptors of this process as far as it may be, and returns it.
///
/// Servers that are started afterwards inherit it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit can be raised to the hard one");
    limit.maximum.unwrap_or(u64::MAX)
}

/// Starts `command` and follows what it prints.
pub(crate) fn spawn(mut command: Command) -> (Child, Log) {
    let streams = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams
        .spawn()
        .expect("the binaries of this package can be started");
    let log = Log::default();
    log.follow(child.stdout.take().expect("standard output is a pipe"));
    log.follow(child.stderr.take().expect("standard error is a pipe"));
    (child, log)
}

/// Returns where a server listens, as it printed it.
pub(crate) fn addresses(log: &Log) -> Vec<Address> {
    let lines = log.lines_with("addr ");
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("addr "))
        .map(Address::parse)
        .collect()
}
