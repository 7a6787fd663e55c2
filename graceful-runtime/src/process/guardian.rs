//! The thread that reads signals, owns the phase and keeps the deadline; and the only one that ends the process by force.

use std::future::pending;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::FutureExt;
use tokio::sync::mpsc;

use super::moving;
use super::pid_file;
use super::signals::Listening;
use super::succession::{Succession, is_turn};
use crate::handover::dialogue::{PredecessorEvent, PredecessorStep};
use crate::handover::error::{RestartError, RestartErrorKind};
use crate::handover::failure::SuccessorEnd;
use crate::handover::refusal::Refusal;
use crate::handover::successor::HandoverReport;
use crate::lifecycle::census::Census;
use crate::lifecycle::message::Message;
use crate::lifecycle::message::RestartAnswer;
use crate::lifecycle::report;
use crate::lifecycle::{Lifecycle, ServingProcess, Successor};
use crate::model::exit_code;
use crate::model::phase::{Event, Phase};
use crate::model::signal::{Interrupts, Press, Signal};
use crate::model::trigger::{LameDuck, Reason, Trigger};
use crate::os::process::exit_now;
use crate::output::{Line, Output};

/// How long a forced end waits for its report to be written; a full pipe must not hold it up.
const REPORT_LIMIT: Duration = Duration::from_millis(100);
/// How long a process that could serve waits for its pid file to be written, which takes microseconds.
const PID_FILE_LIMIT: Duration = Duration::from_secs(1);
/// How often the service manager is told how the drain is doing.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How much time the service manager is asked for at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The thread that reads signals, owns the phase and keeps the deadline.
pub(super) struct Guardian {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) output: Output,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
    pub(super) shutdown_signals: Listening,
    /// Apart from the others, so that a flood of them cannot crowd out a shutdown signal.
    pub(super) restart_signals: Listening,
    pub(super) timeout: Duration,
    pub(super) lame_duck: LameDuck,
    pub(super) restart_timeout: Duration,
    /// `None` for a lifecycle that does not stand for the process.
    pub(super) succession: Option<Succession>,
    pub(super) interrupts: Interrupts,
    /// When the last line on what is waited for was told.
    pub(super) reported: Option<Instant>,
    /// When the service manager was last told how this process is doing.
    pub(super) told: Option<Instant>,
    /// The start for which the service manager is asked to wait: this process' own, or a successor's.
    pub(super) start: Start,
    /// Until when the pid file may be waited for, where it is being written.
    pub(super) pid_file_due: Option<Instant>,
}

/// A start under way, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    begin: Instant,
    limit: Duration,
}

impl Start {
    pub(super) fn begin(limit: Duration) -> Self {
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
    pub(super) async fn watch(mut self) {
        loop {
            match self.next_input().await {
                Input::Due => self.on_due(Instant::now()),
                Input::Message(Message::Trigger(reason)) => self.trigger(reason),
                Input::Message(Message::Happened(event)) => self.on_event(event),
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
        self.lifecycle.phase() < Phase::Stopping && self.lifecycle.hooks.has_some_at_end()
    }

    fn on_due(&mut self, now: Instant) {
        if self.pid_file_due.is_some_and(|due| now >= due) {
            return self.on_pid_file(Err(io::ErrorKind::TimedOut.into()));
        }
        let Some(trigger) = self.lifecycle.trigger() else {
            return self.ask_for_time(now);
        };
        if now >= trigger.budget.deadline() {
            self.force(
                exit_code::DEADLINE,
                report::deadline(&self.lifecycle, trigger),
            );
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
                    self.force(exit_code::INTERRUPT, report::interrupted(&self.lifecycle));
                }
            }
        }
        if let Some(trigger) = self.lifecycle.trigger() {
            self.output.say(report::repeated(signal, trigger));
        }
        self.trigger(Reason::Signal(signal));
    }

    fn trigger(&mut self, reason: Reason) {
        if !self
            .lifecycle
            .set_trigger(reason, self.timeout, self.lame_duck)
        {
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
        if let Some(line) = line {
            self.output.say(line);
            self.lifecycle.set_told();
        }
        // Asked before the story hears of it, which then has the hooks.
        let drains_at_once = self.has_nothing_before_drain();
        self.step(Event::Trigger);
        if drains_at_once {
            self.step(Event::LameDuckOver);
        }
    }

    /// Tells whether the drain can begin with the trigger; else the story says when.
    fn has_nothing_before_drain(&self) -> bool {
        let lifecycle = &self.lifecycle;
        let has_lame_duck = lifecycle
            .trigger()
            .is_some_and(|trigger| !trigger.lame_duck.is_zero());
        !has_lame_duck && !lifecycle.hooks.has_some_before_drain()
    }

    fn on_event(&mut self, event: Event) {
        match (event, &mut self.succession) {
            (Event::Ready, Some(succession)) if self.lifecycle.phase() == Phase::Starting => {
                if succession.on_ready() {
                    self.begin_take_over();
                }
            }
            _ => self.step(event),
        }
    }

    /// Has the pid file written, which comes first: whoever is told that this process is ready finds it named
    /// there.
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
        let Some(path) = succession.pid_file().map(pid_file::PidFileThread::path) else {
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
                let is_fatal = succession.predecessor_serves_on();
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
        // Whoever is told that this process is ready finds that the listeners are its own.
        self.step(Event::Ready);
        self.lifecycle.take_turn();
        moving::receive(&self.lifecycle);
    }

    fn on_predecessor(&mut self, event: PredecessorEvent) {
        let Some(succession) = &mut self.succession else {
            return;
        };
        match succession.on_predecessor(event) {
            step if is_turn(step) => self.begin_take_over(),
            PredecessorStep::Stop => self.trigger(Reason::Call),
            PredecessorStep::ReportEnd => {
                let line = succession.forget_predecessor();
                line.into_iter().for_each(|line| self.output.say(line));
            }
            _ => {}
        }
    }

    /// Begins a restart, or says what speaks against it.
    fn restart(&mut self, answer: Option<RestartAnswer>) {
        let phase = self.lifecycle.phase();
        if phase == Phase::Ready {
            // The manager may have sent the signal, and waits for an answer, even to a refusal.
            self.lifecycle.service_manager.reloading();
        }
        let refusal = match &mut self.succession {
            None => Some(Refusal::NotTheProcess),
            Some(succession) => succession.refusal(phase),
        };
        match (refusal, &mut self.succession) {
            (None, Some(succession)) => {
                self.output.show_pid();
                self.output.say(report::restarting(&succession.path()));
                succession.begin(answer);
                self.start = Start::begin(self.restart_timeout);
                self.told = None;
                self.lifecycle
                    .set_serving_process(ServingProcess::Undecided);
                self.step(Event::Restart);
                self.make_state();
            }
            (refusal, _) => self.refuse(refusal.unwrap_or(Refusal::NotTheProcess), answer),
        }
    }

    fn refuse(&self, refusal: Refusal, answer: Option<RestartAnswer>) {
        let error = RestartError::from(refusal);
        self.output.say(report::restart_refused(&error));
        if self.lifecycle.phase() == Phase::Ready {
            self.end_reload(&error);
        }
        // Who does not wait for the answer has no use for it.
        let _ = answer.map(|answer| answer.send(Err(error)));
    }

    /// Has the runtime make what the successor inherits.
    fn make_state(&self) {
        let lifecycle = Arc::clone(&self.lifecycle);
        let limit = self.restart_timeout;
        if let Some(runtime) = self.lifecycle.runtime() {
            runtime.spawn(async move {
                let made = AssertUnwindSafe(lifecycle.hooks.make_state(limit))
                    .catch_unwind()
                    .await;
                let state = made.unwrap_or_else(|_| Err(RestartErrorKind::HookPanicked.into()));
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

    fn on_report(&mut self, report: HandoverReport) {
        match report {
            HandoverReport::Failed(failure) => {
                self.restart_failed(RestartErrorKind::Failed(failure).into());
            }
            HandoverReport::HandedOver { pid, taken, way } => {
                self.output.say(report::handed_over(pid));
                if let Some(succession) = &mut self.succession {
                    succession.hand_over(&taken);
                    succession.conclude(&Ok(()));
                }
                // First, as responses from the trigger on say whether their connection ends.
                moving::give_away(&self.lifecycle, pid, way, taken);
                self.trigger(Reason::HandedOver);
                self.set_successor(Successor::Serves(pid));
            }
            HandoverReport::Lost { pid, end } => self.on_loss(pid, end),
        }
    }

    /// What this process has handed over stays with the successor, whatever became of it.
    fn on_loss(&self, pid: u32, end: SuccessorEnd) {
        let successor = match end {
            SuccessorEnd::Exited(status) if status.success() => Successor::Ended(pid),
            // Of a process that the service manager looks after only that one knows how it ended.
            SuccessorEnd::Unknown => Successor::Ended(pid),
            SuccessorEnd::Exited(_) => Successor::Lost(pid),
            SuccessorEnd::Deaf => Successor::Serves(pid),
        };
        self.set_successor(successor);
        let is_failure = !matches!(successor, Successor::Ended(_));
        self.output.say(report::lost(pid, &end, is_failure));
    }

    fn set_successor(&self, successor: Successor) {
        let process = ServingProcess::Successor(successor);
        self.lifecycle.set_serving_process(process);
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
        self.lifecycle.set_serving_process(ServingProcess::ThisOne);
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
    fn force(&mut self, code: u8, line: Line) -> ! {
        if !self.lifecycle.claim_end() {
            // The main thread has said its last word and returns; whatever holds it up has had its time.
            thread::sleep(REPORT_LIMIT);
            exit_now(code.into());
        }
        self.output.say(line);
        // A successor that is not told would take the end of this process for its turn, and serve.
        if let Some(succession) = &self.succession {
            succession.end_restart(REPORT_LIMIT);
        }
        let pid_file = self.succession.as_ref().and_then(Succession::pid_file);
        let removal = pid_file.map(pid_file::PidFileThread::remove);
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
