//! The driver: the one place where phases, clock, signals and runtime meet.
//!
//! Two actors share a lifecycle. The *guardian* is a thread of our own that reads signals, owns the
//! phase and keeps the deadline, so that no blocked runtime can stop it; it never blocks on output.
//! The *story* runs on the calling thread: `main`, its servers, tasks, hooks, one after the other.
//!
//! 1. Signals are caught before the runtime is built and before any code of the user runs.
//! 2. Only the guardian changes the phase; the story tells it what happened and waits for the phase.
//! 3. Only the guardian ends the process, and only where the main thread could not ([`Guardian::force`]).

use std::any::Any;
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{self, IsTerminal};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::task::Poll;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use futures_lite::future::{FutureExt, zip};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::{self, JoinError, JoinSet};

use crate::config::{Config, Flavor};
use crate::handover::child::{End, Report};
use crate::handover::dialogue::{ParentEvent, ParentStep};
use crate::handover::error::RestartError;
use crate::handover::heritage::Heritage;
use crate::lifecycle::census::Census;
use crate::lifecycle::current::as_main;
use crate::lifecycle::message::Answer;
use crate::lifecycle::message::Message;
use crate::lifecycle::report;
use crate::lifecycle::{Lifecycle, Successor};
use crate::model::phase::{Event, Phase};
use crate::model::signal::{Interrupts, Press, Signal};
use crate::model::trigger::{LameDuck, Reason, Trigger};
use crate::os::process::exit_now;
use crate::os::shortage::{Shortage, WithRemedy};
use crate::os::signals::{BlockedSignals, Others};
use crate::output::{self, Line, Output};
use crate::pid_file;
use crate::server::{Failure, IntoServer, Servers};
use crate::signals::Listening;
use crate::succession::{self, Succession, is_turn};
use crate::timer::wait_until;
use crate::words::{os_error_in, without_forms};

/// The code of a process that its deadline ended, as timeout(1) has it.
const DEADLINE_CODE: u8 = 124;
/// The code of a process that a second Ctrl-C ended: 128 + SIGINT, as shells have it.
const INTERRUPT_CODE: u8 = 130;
/// The code of a Rust program whose main thread panicked.
const PANIC_CODE: u8 = 101;
/// How long a forced end waits for its report to be written; a full pipe must not hold it up.
const REPORT_LIMIT: Duration = Duration::from_millis(100);
/// How long an end in time waits for its last line; nor must a full pipe turn it into a forced one.
const LAST_LINE_LIMIT: Duration = Duration::from_secs(1);

/// How long an end in time waits until the service manager has its last message, such as which listeners to close.
const LAST_MESSAGE_LIMIT: Duration = Duration::from_millis(100);
/// How long a process that could serve waits for its pid file to be written, which takes microseconds.
const PID_FILE_LIMIT: Duration = Duration::from_secs(1);
/// How often the service manager is told how the drain is doing.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How much time the service manager is asked for at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What comes after the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// The process ends, still under the deadline.
    ProcessEnds,
    /// The caller goes on, and the deadline is none of its business.
    CallerGoesOn,
}

pub(crate) fn run<F, T, M>(config: Config, main: F, afterwards: Afterwards) -> ExitCode
where
    F: Future<Output = T>,
    T: IntoServer<M>,
{
    match or_exit(|| Process::start(&config, afterwards)) {
        Ok(process) => {
            if afterwards == Afterwards::ProcessEnds {
                process.lifecycle.occupy_process();
            }
            process.live(main, afterwards)
        }
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Why a lifecycle could not start.
#[derive(Debug)]
enum StartError {
    Nested,
    Ambiguous(Signal),
    Claimed,
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
            Self::Claimed => f.write_str(
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
fn or_exit<R>(start: impl FnOnce() -> R) -> R {
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

fn text_of(payload: &dyn Any) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref().copied())
}

/// The right to listen to signals, which only one lifecycle of a process can have.
struct Claim;

static IS_CLAIMED: AtomicBool = AtomicBool::new(false);

impl Claim {
    fn take() -> Result<Self, StartError> {
        match IS_CLAIMED.swap(true, Ordering::AcqRel) {
            true => Err(StartError::Claimed),
            false => Ok(Self),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        IS_CLAIMED.store(false, Ordering::Release);
    }
}

/// A lifecycle with its guardian on watch and its runtime built.
struct Process {
    lifecycle: Arc<Lifecycle>,
    guardian: thread::JoinHandle<()>,
    output: Output,
    runtime: Runtime,
    pid_file: Option<pid_file::Keeper>,
    claim: Option<Claim>,
}

impl Process {
    fn start(config: &Config, afterwards: Afterwards) -> Result<Self, StartError> {
        if Handle::try_current().is_ok() {
            return Err(StartError::Nested);
        }
        let mut shared = config.signals.iter();
        if let Some(&signal) = shared.find(|signal| config.restart.contains(signal)) {
            return Err(StartError::Ambiguous(signal));
        }
        let has_signals = !(config.signals.is_empty() && config.restart.is_empty());
        let claim = has_signals.then(Claim::take).transpose()?;
        // A signal that comes while its handler is being installed would be lost: the handler is in place
        // a moment before it knows what to do.
        let signals = config.signals.iter().chain(&config.restart);
        let others = match afterwards {
            Afterwards::ProcessEnds => Others::Unblocked,
            Afterwards::CallerGoesOn => Others::Unchanged,
        };
        let blocked = BlockedSignals::new(signals.map(|signal| signal.number()), others);
        // Before there is a second thread: what is meant for this process alone leaves the environment.
        let (inherited, heritage) = match claim {
            Some(_) => inherit()?,
            None => (None, Heritage::default()),
        };
        let shutdown_signals = listen(&config.signals)?;
        let restart_signals = listen(&config.restart)?;
        drop(blocked);
        let lame_duck = LameDuck::of(config.lame_duck, heritage.in_kubernetes);
        let (lifecycle, inbox) = Lifecycle::new(config.of_lifecycle(), heritage);
        let output = Output::start().map_err(StartError::Thread)?;
        lifecycle.set_output(output.clone());
        if lifecycle.has_predecessor || !config.restart.is_empty() {
            output.show_pid();
        }
        for complaint in inherited.iter().flat_map(|inherited| &inherited.complaints) {
            output.say(Line::warn(complaint));
        }
        for (listening, what) in [(&shutdown_signals, "stops"), (&restart_signals, "restarts")] {
            let ignored = listening
                .ignored
                .map(|signal| report::ignored(signal, what));
            ignored.into_iter().for_each(|line| output.say(line));
        }
        let succession = inherited
            .map(|inherited| Succession::new(inherited, &lifecycle, config))
            .transpose()
            .map_err(StartError::Thread)?;
        let pid_file = succession.as_ref().and_then(Succession::pid_file).cloned();
        let guardian = Guardian {
            lifecycle: Arc::clone(&lifecycle),
            output: output.clone(),
            inbox,
            shutdown_signals,
            restart_signals,
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
            claim,
        })
    }

    fn live<F, T, M>(self, main: F, afterwards: Afterwards) -> ExitCode
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
            claim,
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
        lifecycle.tell(Message::Happened(Event::Finished));
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
                std::mem::forget(claim);
            }
            Afterwards::CallerGoesOn => {
                lifecycle.tell(Message::Dismissed);
                // It only reads its inbox now, so it ends at once; it never panics.
                let _ = guardian.join();
            }
        }
        code
    }
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

fn inherit() -> Result<(Option<succession::Claim>, Heritage), StartError> {
    let (claim, heritage) = succession::Claim::take().map_err(StartError::Predecessor)?;
    Ok((Some(claim), heritage))
}

/// From the first poll of `main` to the last hook.
async fn story<F, T, M>(lifecycle: &Arc<Lifecycle>, main: F) -> ExitCode
where
    F: Future<Output = T>,
    T: IntoServer<M>,
{
    keep_watchdog_calm(lifecycle);
    let servers_gone = Notify::new();
    let serving = async {
        let cut = async {
            lifecycle.reached(Phase::Stopping).await;
            None
        };
        let failure = cut.or(serve(lifecycle, main)).await;
        lifecycle.set_started();
        lifecycle.tell(Message::Trigger(match failure {
            Some(_) => Reason::Failed,
            None => Reason::Finished,
        }));
        servers_gone.notify_one();
        failure
    };
    let announcing = announce(lifecycle, &servers_gone);
    let announcing = announcing.or(lifecycle.reached(Phase::Stopping));
    let (failure, ()) = zip(serving, announcing).await;

    // An adapted server may have ended before its last connection is closed.
    let left = async {
        // What one of them ends may begin another.
        while lifecycle.serving.len() + lifecycle.tasks.len() > 0 {
            lifecycle.serving.empty().await;
            lifecycle.tasks.empty().await;
        }
    };
    left.or(lifecycle.reached(Phase::Stopping)).await;
    lifecycle.tell(Message::Happened(Event::Drained));
    lifecycle.reached(Phase::Stopping).await;

    let deadline = lifecycle.trigger().map(|trigger| trigger.budget.deadline());
    // Those before the drain are left over where they had no time.
    lifecycle.hooks.run_before_drain(deadline).await;
    lifecycle.hooks.run_at_end(deadline).await;
    // A successor that is to be stopped as well gets its time, which is short.
    lifecycle.restart_decided().await;

    match failure {
        _ if lifecycle.is_cut() => DEADLINE_CODE.into(),
        Some(code) => code,
        None if lifecycle
            .trigger()
            .is_some_and(|trigger| trigger.reason == Reason::Failed) =>
        {
            ExitCode::FAILURE
        }
        // Whoever watches over this process may start it again.
        None if matches!(lifecycle.successor(), Some(Successor::Lost(_))) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}

/// Has the runtime tell a service manager that it is alive, as long as it is.
fn keep_watchdog_calm(lifecycle: &Arc<Lifecycle>) {
    if let Some(interval) = lifecycle.service_manager.watchdog_interval() {
        let manager = lifecycle.service_manager.clone();
        tokio::spawn(async move {
            loop {
                manager.keep_alive();
                tokio::time::sleep(interval).await;
            }
        });
    }
}

/// Runs `main` and its servers to their end; returns the first failure.
async fn serve<F, T, M>(lifecycle: &Arc<Lifecycle>, main: F) -> Option<ExitCode>
where
    F: Future<Output = T>,
    T: IntoServer<M>,
{
    let cancelled = async {
        lifecycle.start_up_cancelled().await;
        None
    };
    let main = async { Some(AssertUnwindSafe(as_main(main)).catch_unwind().await) };
    // A signal that came before `main` keeps it from beginning.
    let returned = match cancelled.or(main).await {
        Some(Ok(returned)) => returned,
        Some(Err(_)) => {
            lifecycle.set_error("`main` panicked".into());
            return Some(PANIC_CODE.into());
        }
        None => return None,
    };
    lifecycle.set_started();
    let mut servers = Servers::default();
    returned.hand_over(&mut servers);
    let mut failure = servers.failure;
    if let Some(error) = servers.error.take() {
        lifecycle.set_error(error);
    }
    let (mut running, ids) = start(lifecycle, servers);
    if failure.is_some() {
        // What else was returned drains.
        lifecycle.tell(Message::Trigger(Reason::Failed));
    }
    while let Some(ended) = running.join_next_with_id().await {
        lifecycle.count_servers(|servers| servers.running -= 1);
        let (id, ended) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(failed))) => (id, Some((failed.code, "failed", failed.error))),
            Err(panicked) => {
                let id = panicked.id();
                (
                    id,
                    Some((PANIC_CODE.into(), "panicked", message_in(panicked))),
                )
            }
        };
        let reason = match ended {
            None => Reason::Finished,
            Some((code, how, why)) => {
                let number = ids.iter().position(|started| *started == id);
                let number = number.map_or(0, |index| index + 1);
                let error = report::server_failed(number, ids.len(), how, why.as_deref());
                lifecycle.say_error(&error);
                lifecycle.set_error(error);
                failure.get_or_insert(code);
                Reason::Failed
            }
        };
        // The others drain.
        lifecycle.tell(Message::Trigger(reason));
    }
    failure
}

/// Returns what a server has panicked with, where that is a text.
fn message_in(panicked: JoinError) -> Option<String> {
    let payload = panicked.try_into_panic().ok()?;
    text_of(&*payload).map(str::to_owned)
}

/// Spawns the servers, and tells of readiness when each has been polled and nothing has failed. Returns their ids, in
/// the order in which `main` returned them.
fn start(
    lifecycle: &Arc<Lifecycle>,
    servers: Servers,
) -> (JoinSet<Result<(), Failure>>, Vec<task::Id>) {
    let count = servers.futures.len();
    lifecycle.count_servers(|servers| servers.running = count);
    // Beside what has failed already, the process never gets ready.
    let unready = count + usize::from(servers.failure.is_some());
    let unready = Arc::new(AtomicUsize::new(unready));
    let mut running = JoinSet::new();
    let mut ids = Vec::new();
    for mut server in servers.futures {
        let lifecycle = Arc::clone(lifecycle);
        let unready = Arc::clone(&unready);
        let is_polled = Cell::new(false);
        let task = running.spawn(poll_fn(move |cx| {
            let polled = Pin::new(&mut server).poll(cx);
            let is_well = !matches!(polled, Poll::Ready(Err(_)));
            if is_well && !is_polled.replace(true) && unready.fetch_sub(1, Ordering::AcqRel) == 1 {
                lifecycle.accepts();
            }
            polled
        }));
        ids.push(task.id());
    }
    (running, ids)
}

/// From the trigger to the begin of the drain: the hooks before it, and the lame duck's time.
async fn announce(lifecycle: &Lifecycle, servers_gone: &Notify) {
    lifecycle.reached(Phase::LameDuck).await;
    let Some(trigger) = lifecycle.trigger() else {
        return;
    };
    if lifecycle.phase() < Phase::Stopping {
        let end = trigger.budget.lame_duck_end(trigger.lame_duck);
        let patience = trigger.budget.lame_duck_end(Duration::MAX);
        let mut hooks = pin!(lifecycle.hooks.run_before_drain(Some(patience)));
        let are_done = async {
            hooks.as_mut().await;
            true
        };
        let is_late = async {
            wait_until(patience.into()).await;
            false
        };
        let are_done = are_done.or(is_late).await;
        wait_until(end.into()).or(servers_gone.notified()).await;
        lifecycle.tell(Message::Happened(Event::LameDuckOver));
        if !are_done {
            // They had half of the budget; the drain goes on beside them.
            hooks.await;
        }
    }
}

/// The thread that reads signals, owns the phase and keeps the deadline.
struct Guardian {
    lifecycle: Arc<Lifecycle>,
    output: Output,
    inbox: mpsc::UnboundedReceiver<Message>,
    shutdown_signals: Listening,
    /// Apart from the others, so that a flood of them cannot crowd out a shutdown signal.
    restart_signals: Listening,
    timeout: Duration,
    lame_duck: LameDuck,
    restart_timeout: Duration,
    /// `None` for a lifecycle that does not stand for the process.
    succession: Option<Succession>,
    interrupts: Interrupts,
    /// When the last line on what is waited for was told.
    reported: Option<Instant>,
    /// When the service manager was last told how this process is doing.
    told: Option<Instant>,
    /// The start for which the service manager is asked to wait: this process' own, or a successor's.
    start: Start,
    /// Until when the pid file may be waited for, where it is being written.
    pid_file_due: Option<Instant>,
}

/// A start under way, and how long it may take.
#[derive(Clone, Copy, Debug)]
struct Start {
    begin: Instant,
    limit: Duration,
}

impl Start {
    fn begin(limit: Duration) -> Self {
        let begin = Instant::now();
        Self { begin, limit }
    }

    fn left(&self, now: Instant) -> Duration {
        let spent = now.saturating_duration_since(self.begin);
        self.limit.saturating_sub(spent)
    }
}

/// What the guardian wakes up for.
enum Input {
    Due,
    Message(Message),
    Shutdown(Signal),
    Restart,
}

impl Guardian {
    async fn watch(mut self) {
        loop {
            match self.next_input().await {
                Input::Due => self.on_due(Instant::now()),
                Input::Message(Message::Trigger(reason)) => self.trigger(reason),
                Input::Message(Message::Happened(event)) => self.happened(event),
                Input::Message(Message::Restart(answer)) => self.restart(answer),
                Input::Message(Message::State(state)) => self.start_successor(state),
                Input::Message(Message::Handover(report)) => self.on_report(report),
                Input::Message(Message::PidFile(written)) => self.on_pid_file(written),
                Input::Message(Message::Predecessor(event)) => self.on_predecessor(event),
                Input::Message(Message::Dismissed) => return,
                Input::Shutdown(signal) => self.on_signal(signal),
                Input::Restart => self.restart(None),
            }
        }
    }

    /// Waits for whatever comes first. The clock goes first: no flood may hold up the deadline.
    async fn next_input(&mut self) -> Input {
        let due = self.next_due();
        let due = async {
            match due {
                Some(due) => async_io::Timer::at(due).await,
                None => pending().await,
            };
            Input::Due
        };
        let message = async {
            match self.inbox.recv().await {
                Some(message) => Input::Message(message),
                // The lifecycle in `self` holds a sender.
                None => pending().await,
            }
        };
        let shutdown = async { Input::Shutdown(self.shutdown_signals.next().await) };
        let restart = async {
            self.restart_signals.next().await;
            Input::Restart
        };
        due.or(message).or(shutdown).or(restart).await
    }

    /// Returns when there is something to do next without being told.
    fn next_due(&self) -> Option<Instant> {
        let others = self.next_report();
        others.into_iter().chain(self.pid_file_due).min()
    }

    fn next_report(&self) -> Option<Instant> {
        let Some(trigger) = self.lifecycle.trigger() else {
            return self.next_request_for_time();
        };
        let budget = trigger.budget;
        let mut due = budget.deadline().min(budget.next_progress(self.reported?));
        if self.has_cut_off_ahead() {
            due = due.min(budget.cut_off());
        }
        if self.lifecycle.service_manager.is_present() {
            due = due.min(
                self.told
                    .map_or_else(|| budget.begin(), |last| last + STATUS_INTERVAL),
            );
        }
        Some(due)
    }

    fn has_cut_off_ahead(&self) -> bool {
        self.lifecycle.phase() < Phase::Stopping && self.lifecycle.hooks.has_last_words()
    }

    fn on_due(&mut self, now: Instant) {
        if self.pid_file_due.is_some_and(|due| now >= due) {
            return self.on_pid_file(Err(io::ErrorKind::TimedOut.into()));
        }
        let Some(trigger) = self.lifecycle.trigger() else {
            return self.ask_for_time(now);
        };
        if now >= trigger.budget.deadline() {
            self.force(DEADLINE_CODE, report::deadline(&self.lifecycle, trigger));
        }
        self.tell_service_manager(trigger, now);
        if now >= trigger.budget.cut_off() && self.has_cut_off_ahead() {
            let census = Census::take(&self.lifecycle);
            self.lifecycle.set_cut(census.work());
            self.output
                .say(report::cut_off(&self.lifecycle, &census, trigger));
            self.step(Event::CutOff);
        } else if self
            .reported
            .is_some_and(|last| now >= trigger.budget.next_progress(last))
        {
            self.reported = Some(now);
            self.output.say(report::waiting(&self.lifecycle, trigger));
        }
    }

    /// Returns when to ask the service manager to wait for a start that is under way, if it is to be asked.
    fn next_request_for_time(&self) -> Option<Instant> {
        let is_start = matches!(self.lifecycle.phase(), Phase::Starting | Phase::HandingOver);
        let due = self
            .told
            .map_or(self.start.begin, |last| last + PATIENCE / 2);
        let is_asked = is_start && self.lifecycle.service_manager.is_present();
        (is_asked && self.start.left(due) > Duration::ZERO).then_some(due)
    }

    fn ask_for_time(&mut self, now: Instant) {
        let left = self.start.left(now);
        let manager = &self.lifecycle.service_manager;
        manager.extend_timeout(left.min(PATIENCE));
        self.told = Some(now);
    }

    /// Tells the service manager how the drain is doing, and asks it to wait, but never for more than is left.
    fn tell_service_manager(&mut self, trigger: Trigger, now: Instant) {
        let manager = &self.lifecycle.service_manager;
        let is_due = self.told.is_none_or(|last| now >= last + STATUS_INTERVAL);
        if !manager.is_present() || !is_due {
            return;
        }
        let left = trigger.budget.remaining(now);
        manager.status(&report::status(&self.lifecycle, left));
        manager.extend_timeout(left.min(PATIENCE));
        self.told = Some(now);
    }

    fn on_signal(&mut self, signal: Signal) {
        if signal == Signal::Int {
            match self.interrupts.add(Instant::now()) {
                Press::First => {}
                Press::Same => return,
                Press::Again => {
                    self.force(INTERRUPT_CODE, report::interrupted(&self.lifecycle));
                }
            }
        }
        if let Some(trigger) = self.lifecycle.trigger() {
            self.output.say(report::repeated(signal, trigger));
        }
        self.trigger(Reason::Signal(signal));
    }

    fn trigger(&mut self, reason: Reason) {
        let lame_duck = self.lame_duck.length(reason, io::stderr().is_terminal());
        if !self.lifecycle.set_trigger(reason, self.timeout, lame_duck) {
            return;
        }
        self.reported = Some(Instant::now());
        self.told = None;
        if let Some(succession) = &mut self.succession {
            succession.abort();
            if reason == Reason::Failed {
                let reason = self.lifecycle.error().unwrap_or("a server failed");
                succession.fail(reason);
            }
        }
        let manager = &self.lifecycle.service_manager;
        if reason == Reason::Signal(Signal::Int) {
            // A stop for good, by a human or by `KillSignal=`: nobody will take what systemd keeps.
            self.lifecycle.listeners.withdraw(manager);
        }
        manager.stopping(&format!("{reason}: stopping"));
        let line = match self.lifecycle.is_start_up_cancelled() {
            true => Some(report::cancelled(reason)),
            false => report::draining(&self.lifecycle, reason),
        };
        line.into_iter().for_each(|line| self.output.say(line));
        self.step(Event::Trigger);
    }

    fn happened(&mut self, event: Event) {
        match (event, &mut self.succession) {
            (Event::Ready, Some(succession)) if self.lifecycle.phase() == Phase::Starting => {
                if succession.is_ready() {
                    self.begin_take_over();
                }
            }
            _ => self.step(event),
        }
    }

    /// Has the pid file written, which comes first: who is told that this process is ready finds it in its name.
    fn begin_take_over(&mut self) {
        // Several servers may say that they are ready, and who stops takes nothing over.
        if self.pid_file_due.is_some() || self.lifecycle.phase() != Phase::Starting {
            return;
        }
        let succession = self.succession.as_ref();
        match succession.is_some_and(Succession::write_pid_file) {
            true => self.pid_file_due = Some(Instant::now() + PID_FILE_LIMIT),
            false => self.take_over(),
        }
    }

    fn on_pid_file(&mut self, written: io::Result<Option<u32>>) {
        let is_awaited = self.pid_file_due.take().is_some();
        let Some(succession) = &self.succession else {
            return;
        };
        let Some(path) = succession.pid_file().map(pid_file::Keeper::path) else {
            return;
        };
        if !is_awaited || self.lifecycle.phase() != Phase::Starting {
            return;
        }
        match written {
            Ok(None) => {}
            Ok(Some(displaced)) => self.output.say(report::pid_file_taken(path, displaced)),
            Err(error) => {
                let line = report::pid_file_not_written(path, &error);
                let is_fatal = succession.may_fail();
                self.output.say(line.clone());
                if is_fatal {
                    // The file would name the predecessor for ever, which serves on instead.
                    self.lifecycle.set_error(line.text().into());
                    return self.trigger(Reason::Failed);
                }
            }
        }
        self.take_over();
    }

    fn take_over(&mut self) {
        if let Some(succession) = &mut self.succession {
            let Some(lines) = succession.take_over() else {
                return;
            };
            lines.into_iter().for_each(|line| self.output.say(line));
        }
        // Who is told that this process is ready finds the listeners in its name.
        self.step(Event::Ready);
        self.lifecycle.take_turn();
    }

    fn on_predecessor(&mut self, event: ParentEvent) {
        let Some(succession) = &mut self.succession else {
            return;
        };
        match succession.on_predecessor(event) {
            step if is_turn(step) => self.begin_take_over(),
            ParentStep::Stop => self.trigger(Reason::Call),
            ParentStep::ReportEnd => {
                let line = succession.bury();
                line.into_iter().for_each(|line| self.output.say(line));
            }
            _ => {}
        }
    }

    /// Begins a restart, or says what speaks against it.
    fn restart(&mut self, answer: Option<Answer>) {
        let phase = self.lifecycle.phase();
        if phase == Phase::Ready {
            // It may have sent the signal, and be waiting for an answer to it, whatever that is.
            self.lifecycle.service_manager.reloading();
        }
        let refusal = match &mut self.succession {
            None => Some(RestartError::new(
                "this lifecycle does not stand for the process",
            )),
            _ if phase == Phase::Starting => {
                Some(RestartError::new("this process is not ready yet"))
            }
            _ if phase.is_triggered() => Some(RestartError::new("this process stops already")),
            Some(succession) => succession.refusal(),
        };
        match (refusal, &mut self.succession) {
            (None, Some(succession)) => {
                self.output.show_pid();
                self.output.say(report::restarting(&succession.path()));
                succession.begin(answer);
                self.start = Start::begin(self.restart_timeout);
                self.told = None;
                self.lifecycle.set_restarting(true);
                self.step(Event::Restart);
                self.make_state();
            }
            (refusal, _) => {
                let error = refusal.unwrap_or_else(|| RestartError::new("no lifecycle"));
                self.output.say(report::restart_refused(&error));
                if phase == Phase::Ready {
                    self.end_reload(&error);
                }
                let _ = answer.map(|answer| answer.send(Err(error)));
            }
        }
    }

    /// Has the runtime make what the successor inherits.
    fn make_state(&self) {
        let lifecycle = Arc::clone(&self.lifecycle);
        let limit = self.restart_timeout;
        if let Some(runtime) = self.lifecycle.runtime() {
            runtime.spawn(async move {
                let made = AssertUnwindSafe(lifecycle.hooks.bequeath(limit))
                    .catch_unwind()
                    .await;
                let state = made.unwrap_or_else(|_| Err(RestartError::new("the hook panicked")));
                lifecycle.tell(Message::State(state));
            });
        }
    }

    fn start_successor(&mut self, state: Result<Option<Vec<u8>>, RestartError>) {
        let Some(succession) = &mut self.succession else {
            return;
        };
        if let Err(error) = state.and_then(|state| succession.start_successor(state)) {
            self.restart_failed(error);
        }
    }

    fn on_report(&mut self, report: Report) {
        match &report {
            Report::Failed(failure) => self.restart_failed(RestartError::new(failure)),
            Report::HandedOver { pid, .. } => {
                self.lifecycle.set_successor(Successor::Serves(*pid));
                self.output.say(report::handed_over(*pid));
                if let Some(succession) = &mut self.succession {
                    succession.hand_over(&report);
                    succession.conclude(&Ok(()));
                }
                self.trigger(Reason::HandedOver);
                self.lifecycle.set_restarting(false);
            }
            Report::Lost { pid, end } => self.on_loss(*pid, *end),
        }
    }

    /// What this process has handed over stays with the successor, whatever became of it.
    fn on_loss(&self, pid: u32, end: End) {
        let successor = match end {
            End::Exited(status) if status.success() => Successor::Ended(pid),
            // Of a process that the service manager looks after only that one knows how it ended.
            End::Unknown => Successor::Ended(pid),
            End::Exited(_) => Successor::Lost(pid),
            End::Deaf => Successor::Serves(pid),
        };
        self.lifecycle.set_successor(successor);
        let is_failure = !matches!(successor, Successor::Ended(_));
        self.output.say(report::lost(pid, &end, is_failure));
    }

    fn restart_failed(&mut self, error: RestartError) {
        if !self.lifecycle.phase().is_triggered() {
            self.output.say(report::restart_failed(&error));
            self.end_reload(&error);
        }
        if let Some(succession) = &mut self.succession {
            succession.conclude(&Err(error));
        }
        self.step(Event::HandoverFailed);
        self.lifecycle.set_restarting(false);
    }

    /// Tells the service manager, which may wait for the end of a reload, that this process serves on.
    fn end_reload(&self, error: &RestartError) {
        let manager = &self.lifecycle.service_manager;
        manager.ready(&format!("restart failed: {error}"));
    }

    fn step(&mut self, event: Event) {
        self.lifecycle.step(event);
    }

    /// Ends the process from here, because the main thread cannot or is not to be waited for.
    fn force(&mut self, code: u8, lines: Line) -> ! {
        if !self.lifecycle.claim_end() {
            // The main thread has said its last word and returns; whatever holds it up has had its time.
            thread::sleep(REPORT_LIMIT);
            exit_now(code.into());
        }
        self.output.say(lines);
        // A successor that is not told would take the end of this process for its turn, and serve.
        if let Some(succession) = &self.succession {
            succession.end_restart(REPORT_LIMIT);
        }
        let pid_file = self.succession.as_ref().and_then(Succession::pid_file);
        let removal = pid_file.map(pid_file::Keeper::remove);
        let limit = Instant::now() + REPORT_LIMIT;
        let left = || limit.saturating_duration_since(Instant::now());
        self.output.flush(left());
        self.lifecycle.service_manager.flush(left());
        if let Some(removal) = removal {
            // Whatever came of it, this is the end.
            let _ = removal.wait(left());
        }
        exit_now(code.into())
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::process::ExitCode;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use crate::config::Config;

    #[test]
    fn what_main_returned_beside_a_failure_drains() {
        let failed = || Err::<Ready<()>, _>("no database");
        let serve = || async { crate::shutdown().await };
        let (done, codes) = mpsc::channel();
        thread::spawn(move || {
            let config = || Config::new().signals([]);
            for code in [
                config().run(async { (failed(), serve()) }),
                config().run(async { (serve(), failed()) }),
                config().run(async { (ExitCode::from(7), serve(), ExitCode::SUCCESS) }),
                config().run(async { (serve(), ready(ExitCode::from(7))) }),
            ] {
                done.send(code).unwrap();
            }
        });
        for code in [
            ExitCode::FAILURE,
            ExitCode::FAILURE,
            ExitCode::from(7),
            ExitCode::from(7),
        ] {
            let limit = Duration::from_secs(30);
            assert_eq!(codes.recv_timeout(limit), Ok(code));
        }
    }
}
