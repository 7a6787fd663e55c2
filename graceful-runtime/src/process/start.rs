//! Before `main`: signals, inheritance, threads and the runtime; and after it, to the last line.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;
use std::{fmt, thread};

use tokio::runtime::{Builder, Handle, Runtime};

use super::guardian::{Guardian, Start};
use super::moving;
use super::pid_file;
use super::signals::Listening;
use super::story::story;
use super::succession::{Lineage, Succession};
use crate::config::{Config, Flavor};
use crate::lifecycle::message::Message;
use crate::lifecycle::report;
use crate::lifecycle::surroundings::Surroundings;
use crate::lifecycle::{Lifecycle, Successor};
use crate::model::phase::Event;
use crate::model::signal::{Interrupts, Signal};
use crate::model::trigger::LameDuck;
use crate::os::process::exit_now;
use crate::os::shortage::{Shortage, WithRemedy};
use crate::os::signals::{BlockedSignals, Others};
use crate::output::{self, Line, Output};
use crate::server::IntoServer;
use crate::words::{os_error_in, text_of, without_forms};

/// How long a regular end waits for its last line: a full pipe must not turn it into a forced end.
const LAST_LINE_LIMIT: Duration = Duration::from_secs(1);

/// How long an end in time waits until the service manager has its last message, such as which listeners to close.
const LAST_MESSAGE_LIMIT: Duration = Duration::from_millis(100);

/// What comes after the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// The process ends, still under the deadline.
    ProcessEnds,
    /// The caller goes on, and the deadline is none of its business.
    CallerGoesOn,
}

/// Why a lifecycle could not start.
#[derive(Debug)]
pub(super) enum StartError {
    Nested,
    Ambiguous(Signal),
    Locked,
    Signals(io::Error),
    Predecessor(String),
    Thread(io::Error),
    Runtime(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nested => f.write_str(
                "a lifecycle cannot start inside a tokio runtime; remove `#[tokio::main]` or call \
                 `Config::run` from a plain `fn main`",
            ),
            Self::Ambiguous(signal) => write!(
                f,
                "{signal} cannot both shut down and restart; take it out of `signals` or of `restart`"
            ),
            Self::Locked => f.write_str(
                "another lifecycle of this process listens to signals already; wait until it has \
                 ended, or give this one `.signals([])`",
            ),
            Self::Predecessor(reason) => write!(f, "cannot take over: {reason}"),
            Self::Signals(error) => failed(f, "install the signal handlers", error),
            Self::Thread(error) => failed(f, "start a thread for signals", error),
            Self::Runtime(error) => failed(f, "build the tokio runtime", error),
        }
    }
}

fn failed(f: &mut fmt::Formatter<'_>, to: &str, error: &io::Error) -> fmt::Result {
    write!(f, "failed to {to}: {}", WithRemedy(error))
}

/// What a person can do where a library does not say what is short.
const UNKNOWN_SHORTAGE: &str = "there may be too few threads (`ulimit -u`, or `TasksMax=` under systemd) or open \
                                files (`ulimit -n`, or `LimitNOFILE=`)";

thread_local! {
    static IS_STARTING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `start`, and ends the process, with a message and code 1, where that panics.
///
/// Libraries panic where they get no thread or no descriptor, and what they have begun may then wait for ever for
/// the rest of it; so nothing is unwound. The hook for it stays, once for the process, because two starts at a time
/// could not put back what was there before; it passes on whatever else panics.
pub(super) fn exit_on_panic<R>(start: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();

    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A thread that is being torn down starts nothing.
            if !IS_STARTING.try_with(Cell::get).unwrap_or(false) {
                return before(info);
            }
            let message = without_forms(message_of(info));
            let shortage = os_error_in(&message).and_then(|error| Shortage::of(&error));
            let remedy = shortage.map_or(UNKNOWN_SHORTAGE, Shortage::remedy);
            output::print_error(&format_args!("failed to start: {message}; {remedy}"));
            exit_now(1);
        }));
    });
    IS_STARTING.set(true);
    let started = start();
    IS_STARTING.set(false);
    started
}

/// Returns what `panic!` was called with.
fn message_of<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    text_of(info.payload()).unwrap_or("a library panicked")
}

/// The right to listen to signals, which only one lifecycle of a process can have.
struct SignalLock;

static IS_LOCKED: AtomicBool = AtomicBool::new(false);

impl SignalLock {
    fn take() -> Result<Self, StartError> {
        match IS_LOCKED.swap(true, Ordering::AcqRel) {
            true => Err(StartError::Locked),
            false => Ok(Self),
        }
    }
}

impl Drop for SignalLock {
    fn drop(&mut self) {
        IS_LOCKED.store(false, Ordering::Release);
    }
}

/// A lifecycle with its guardian on watch and its runtime built.
pub(super) struct Process {
    pub(super) lifecycle: Arc<Lifecycle>,
    guardian: thread::JoinHandle<()>,
    output: Output,
    runtime: Runtime,
    pid_file: Option<pid_file::PidFileThread>,
    lock: Option<SignalLock>,
}

impl Process {
    pub(super) fn start(config: &Config, afterwards: Afterwards) -> Result<Self, StartError> {
        let caught = Caught::catch(config, afterwards)?;
        let lame_duck = LameDuck::of(
            config.lame_duck,
            caught.surroundings.in_kubernetes,
            io::stderr().is_terminal(),
        );
        let (lifecycle, inbox) = Lifecycle::new(config.of_lifecycle(), caught.surroundings);
        let output = Output::start().map_err(StartError::Thread)?;
        lifecycle.set_output(output.clone());
        if lifecycle.has_predecessor || !config.restart.is_empty() {
            output.show_pid();
        }
        caught.said.into_iter().for_each(|line| output.say(line));
        let succession = caught
            .lineage
            .map(|lineage| Succession::new(lineage, &lifecycle, config))
            .transpose()
            .map_err(StartError::Thread)?;
        let pid_file = succession.as_ref().and_then(Succession::pid_file).cloned();
        let guardian = Guardian {
            lifecycle: Arc::clone(&lifecycle),
            output: output.clone(),
            inbox,
            shutdown_signals: caught.shutdown_signals,
            restart_signals: caught.restart_signals,
            timeout: config.timeout,
            lame_duck,
            restart_timeout: config.restart_timeout,
            succession,
            interrupts: Interrupts::default(),
            reported: None,
            told: None,
            start: Start::begin(config.start_timeout),
            pid_file_due: None,
        };
        let guardian = thread::Builder::new()
            .name("graceful".into())
            .spawn(|| async_io::block_on(guardian.watch()))
            .map_err(StartError::Thread)?;
        let runtime = build_runtime(config, &lifecycle).map_err(StartError::Runtime)?;
        lifecycle.set_runtime(runtime.handle().clone());
        Ok(Self {
            lifecycle,
            guardian,
            output,
            runtime,
            pid_file,
            lock: caught.lock,
        })
    }

    pub(super) fn live<F, T, M>(self, main: F, afterwards: Afterwards) -> ExitCode
    where
        F: Future<Output = T>,
        T: IntoServer<M>,
    {
        let Self {
            lifecycle,
            guardian,
            output,
            runtime,
            pid_file,
            lock,
        } = self;
        let outside = Lifecycle::occupy_thread(Some(Arc::clone(&lifecycle)));
        let code = runtime.block_on(story(&lifecycle, main));
        // Waits for blocking threads and for the destructors of tasks; the guardian bounds it.
        drop(runtime);
        Lifecycle::occupy_thread(outside);
        if let Some(file) = pid_file
            && let Err(error) = file.remove().wait(LAST_LINE_LIMIT)
        {
            output.say(report::pid_file_left(file.path(), &error));
        }
        leave_to_guardian(&lifecycle);
        if let Some(Successor::Serves(pid)) = lifecycle.successor() {
            moving::say_moved(&lifecycle, pid);
        }
        if let Some(line) = report::stopped(&lifecycle) {
            output.say(line);
        }
        output.flush(LAST_LINE_LIMIT);
        lifecycle.service_manager.flush(LAST_MESSAGE_LIMIT);
        match afterwards {
            Afterwards::ProcessEnds => {
                // Or else two codes could meet here: the guardian may have begun meanwhile.
                while !lifecycle.claim_end() {
                    thread::park();
                }
                std::mem::forget(lock);
            }
            Afterwards::CallerGoesOn => {
                lifecycle.tell(Message::Happened(Event::Finished));
                lifecycle.tell(Message::Dismissed);
                // It only reads its inbox now, so it ends at once; it never panics.
                let _ = guardian.join();
            }
        }
        code
    }
}

/// What a process has, and was given, before it has a second thread.
struct Caught {
    lock: Option<SignalLock>,
    shutdown_signals: Listening,
    restart_signals: Listening,
    lineage: Option<Lineage>,
    surroundings: Surroundings,
    /// What there is to say of it.
    said: Vec<Line>,
}

impl Caught {
    fn catch(config: &Config, afterwards: Afterwards) -> Result<Self, StartError> {
        let lock = check(config)?;
        // A signal that comes while its handler is being installed would be lost: the handler is in place
        // a moment before it knows what to do.
        let signals = config.signals.iter().chain(&config.restart);
        let others = match afterwards {
            Afterwards::ProcessEnds => Others::Unblocked,
            Afterwards::CallerGoesOn => Others::Unchanged,
        };
        let blocked = BlockedSignals::new(signals.map(|signal| signal.number()), others);
        // Before there is a second thread: what is meant for this process alone leaves the environment.
        let (lineage, surroundings) = match lock {
            Some(_) => take_lineage()?,
            None => (None, Surroundings::default()),
        };
        let shutdown_signals = listen(&config.signals)?;
        let restart_signals = listen(&config.restart)?;
        drop(blocked);
        let complaints = lineage.iter().flat_map(|lineage| &lineage.complaints);
        let mut said: Vec<_> = complaints.map(Line::warn).collect();
        for (listening, what) in [(&shutdown_signals, "stops"), (&restart_signals, "restarts")] {
            let ignored = listening.ignored;
            said.extend(ignored.map(|signal| report::ignored(signal, what)));
        }
        Ok(Self {
            lock,
            shutdown_signals,
            restart_signals,
            lineage,
            surroundings,
            said,
        })
    }
}

/// Takes the right to the signals, where there are any and nothing speaks against the lifecycle.
fn check(config: &Config) -> Result<Option<SignalLock>, StartError> {
    if Handle::try_current().is_ok() {
        return Err(StartError::Nested);
    }
    let mut shared = config.signals.iter();
    if let Some(&signal) = shared.find(|signal| config.restart.contains(signal)) {
        return Err(StartError::Ambiguous(signal));
    }
    let has_signals = !(config.signals.is_empty() && config.restart.is_empty());
    has_signals.then(SignalLock::take).transpose()
}

/// Does not return where the guardian is about to end the process.
fn leave_to_guardian(lifecycle: &Lifecycle) {
    while lifecycle.is_end_claimed() {
        thread::park();
    }
}

fn listen(signals: &[Signal]) -> Result<Listening, StartError> {
    Listening::new(signals.iter().copied()).map_err(StartError::Signals)
}

fn build_runtime(config: &Config, lifecycle: &Arc<Lifecycle>) -> io::Result<Runtime> {
    let mut builder = match config.flavor {
        Flavor::MultiThread => Builder::new_multi_thread(),
        Flavor::CurrentThread => Builder::new_current_thread(),
    };
    if let Some(threads) = config.worker_threads {
        builder.worker_threads(threads.max(1));
    }
    let lifecycle = Arc::clone(lifecycle);
    builder
        .enable_all()
        .on_thread_start(move || {
            Lifecycle::occupy_thread(Some(Arc::clone(&lifecycle)));
        })
        .build()
}

fn take_lineage() -> Result<(Option<Lineage>, Surroundings), StartError> {
    let (lineage, surroundings) = Lineage::take().map_err(StartError::Predecessor)?;
    Ok((Some(lineage), surroundings))
}
