//! The state of one lifecycle that everything else looks at.

pub(crate) mod census;
pub(crate) mod current;
pub(crate) mod gone;
pub(crate) mod hook;
pub(crate) mod message;
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod surroundings;
pub(crate) mod tally;
pub(crate) mod task;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use self::hook::Hooks;
use self::message::Message;
use self::registry::Registry;
use self::server::RunningServer;
use self::surroundings::Surroundings;
use self::tally::Tally;
use self::task::Task;
use crate::handover::inbound::Inbound;
use crate::handover::outbound::Outbound;
use crate::handover::state::HandoverState;
use crate::model::budget::Budget;
use crate::model::phase::{Event, Phase};
use crate::model::trigger::{LameDuck, Progress, Reason, Trigger};
use crate::net::inherited::Listeners;
use crate::os::service_manager::ServiceManager;
use crate::output::{self, Line, Output};

/// Whether this process may accept where another one serves until it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Awaited,
    Come,
    /// This process stops, and the other one serves on.
    Missed,
}

/// What the user has chosen, as far as the lifecycle itself has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) keep_alive_grace: Duration,
    /// Only the program itself says when it is ready.
    pub(crate) is_ready_manual: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive_grace: Duration::from_millis(200),
            is_ready_manual: false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Lifecycle {
    pub(crate) keep_alive_grace: Duration,
    /// Only the program itself says when it is ready.
    is_ready_manual: bool,
    /// The servers of [`serve`](crate::serve()) and [`adapt`](crate::adapt()) that run.
    pub(crate) serving: Arc<Registry<dyn RunningServer>>,
    pub(crate) tasks: Arc<Registry<Task>>,
    pub(crate) hooks: Hooks,
    /// What is inherited, and what would be handed over.
    pub(crate) listeners: Listeners,
    pub(crate) inherited: Option<HandoverState>,
    pub(crate) service_manager: ServiceManager,
    /// Connections that the processes before this one give away.
    pub(crate) inbound: Arc<Inbound>,
    /// Connections that this one gives away.
    pub(crate) outbound: Arc<Outbound>,
    /// This process was started to take over from another one.
    pub(crate) has_predecessor: bool,
    turn: watch::Sender<Turn>,
    pub(crate) tally: Tally,
    phase: watch::Sender<Phase>,
    /// The phase once more, for readers that must not take a lock.
    phase_now: AtomicU8,
    trigger: OnceLock<Trigger>,
    /// The log says that the process drains.
    is_told: AtomicBool,
    /// How much of `main` serves or waits for the shutdown.
    attendances: AtomicUsize,
    /// `main` has returned, or was dropped.
    is_started: AtomicBool,
    /// What `main` or a server failed with, in words.
    error: OnceLock<String>,
    /// Somebody ends the process, and nobody else is to.
    is_end_claimed: AtomicBool,
    /// How much work was cut at the cut-off, so that the hooks could run; unset where nothing was.
    cut: OnceLock<usize>,
    servers: watch::Sender<ServerCounts>,
    serving_process: watch::Sender<ServingProcess>,
    runtime: OnceLock<Handle>,
    output: OnceLock<Output>,
    messages: mpsc::UnboundedSender<Message>,
}

/// Which process new connections are served by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServingProcess {
    #[default]
    ThisOne,
    /// A successor is on its way.
    Undecided,
    Successor(Successor),
}

/// The process that this one has handed over to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    Serves(u32),
    /// It has ended, because it was told to stop or has handed over itself, as far as is known.
    Ended(u32),
    /// It has ended with a failure, and there may be nobody who serves.
    Lost(u32),
}

/// How many servers run, and how many of them wait for the others before they drain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerCounts {
    pub(crate) running: usize,
    pub(crate) last: usize,
}

impl Lifecycle {
    pub(crate) fn new(
        settings: Settings,
        surroundings: Surroundings,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Message>) {
        let (messages, inbox) = mpsc::unbounded_channel();
        let lifecycle = Self {
            keep_alive_grace: settings.keep_alive_grace,
            is_ready_manual: settings.is_ready_manual,
            serving: Arc::default(),
            tasks: Arc::default(),
            hooks: Hooks::default(),
            listeners: surroundings.listeners,
            inherited: surroundings.state,
            service_manager: surroundings.service_manager,
            inbound: surroundings.inbound,
            outbound: Arc::default(),
            has_predecessor: surroundings.has_predecessor,
            turn: watch::Sender::new(match surroundings.has_predecessor {
                true => Turn::Awaited,
                false => Turn::Come,
            }),
            tally: Tally::default(),
            phase: watch::Sender::new(Phase::Starting),
            phase_now: AtomicU8::new(Phase::Starting as u8),
            trigger: OnceLock::new(),
            is_told: AtomicBool::new(false),
            attendances: AtomicUsize::new(0),
            is_started: AtomicBool::new(false),
            error: OnceLock::new(),
            is_end_claimed: AtomicBool::new(false),
            cut: OnceLock::new(),
            servers: watch::Sender::default(),
            serving_process: watch::Sender::default(),
            runtime: OnceLock::new(),
            output: OnceLock::new(),
            messages,
        };
        (Arc::new(lifecycle), inbox)
    }

    pub(crate) fn set_output(&self, output: Output) {
        let _ = self.output.set(output);
    }

    /// Says a line; it blocks nobody, where there is somebody else to write it.
    pub(crate) fn say(&self, line: Line) {
        match self.output.get() {
            Some(output) => output.say(line),
            None => line.emit(),
        }
    }

    /// Prints the error of a `main` or a server as one, behind what has been said.
    pub(crate) fn say_error(&self, words: &str) {
        match self.output.get() {
            Some(output) => output.say_error(words),
            None => output::print_error_of_main(words),
        }
    }

    /// Tells the guardian; nothing happens where it has ended.
    pub(crate) fn tell(&self, message: Message) {
        let _ = self.messages.send(message);
    }

    /// Asks for the shutdown, unless it has been triggered: only the first reason counts.
    pub(crate) fn ask_to_stop(&self, reason: Reason) {
        if self.trigger().is_none() {
            self.tell(Message::Trigger(reason));
        }
    }

    /// Takes the step of the table; for the guardian alone. Returns the new phase where there is one.
    pub(crate) fn step(&self, event: Event) -> Option<Phase> {
        let mut next = None;
        self.phase.send_if_modified(|phase| {
            next = phase.after(event);
            if let Some(next) = next {
                *phase = next;
                // Pairs with the load in `phase`: whoever sees the phase sees the trigger, too.
                self.phase_now.store(next as u8, Ordering::Release);
            }
            next.is_some()
        });
        next
    }

    /// Writes down why and until when; for the guardian alone. Only the first one counts.
    pub(crate) fn set_trigger(
        &self,
        reason: Reason,
        timeout: Duration,
        lame_duck: LameDuck,
    ) -> bool {
        let budget = Budget::new(Instant::now(), timeout);
        let trigger = Trigger::new(reason, self.progress(), budget, lame_duck);
        let is_first = self.trigger.set(trigger).is_ok();
        if is_first && *self.turn.borrow() == Turn::Awaited {
            self.turn.send_replace(Turn::Missed);
        }
        is_first
    }

    fn progress(&self) -> Progress {
        if self.phase() == Phase::Starting && !self.is_started() && !self.is_awaited() {
            Progress::StartsUp
        } else if *self.turn.borrow() == Turn::Awaited {
            Progress::AwaitsTurn
        } else {
            Progress::Serves
        }
    }

    /// Notes that the log says that the process drains, so that it has to say how that ended.
    pub(crate) fn set_told(&self) {
        self.is_told.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }

    /// Lets the servers of this process accept.
    pub(crate) fn take_turn(&self) {
        self.turn.send_replace(Turn::Come);
    }

    /// Waits until the servers of this process may accept; false where it stops before its turn, so that they never may.
    ///
    /// # Cancel safety
    ///
    /// A drop loses nothing.
    pub(crate) async fn wait_for_turn(&self) -> bool {
        let mut turn = self.turn.subscribe();
        // The sender lives in `self`, so there is no error.
        let turn = turn.wait_for(|turn| *turn != Turn::Awaited).await;
        turn.is_ok_and(|turn| *turn == Turn::Come)
    }

    /// Tells whether this process stops before its turn, so that another one serves on.
    pub(crate) fn has_missed_its_turn(&self) -> bool {
        *self.turn.borrow() == Turn::Missed
    }

    pub(crate) fn trigger(&self) -> Option<Trigger> {
        self.trigger.get().copied()
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase_now.load(Ordering::Acquire))
    }

    pub(crate) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits until the phase is `phase` or a later one.
    ///
    /// # Cancel safety
    ///
    /// A drop loses nothing.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so there is no error.
        let _ = self.watch_phase().wait_for(|now| *now >= phase).await;
    }

    /// Tells whether `main` is to be dropped, or was, before it has returned.
    pub(crate) fn is_start_up_cancelled(&self) -> bool {
        self.trigger()
            .is_some_and(|trigger| trigger.cancels_start_up)
    }

    /// Waits until `main` is to be dropped before it has returned; for ever where it is not.
    ///
    /// # Cancel safety
    ///
    /// A drop loses nothing.
    pub(crate) async fn start_up_cancelled(&self) {
        self.reached(Phase::LameDuck).await;
        if !self.is_start_up_cancelled() {
            self.reached(Phase::Stopping).await;
        }
    }

    /// Tells whether something in `main` ends by the shutdown.
    pub(crate) fn is_awaited(&self) -> bool {
        self.attendances.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn set_started(&self) {
        self.is_started.store(true, Ordering::Relaxed);
    }

    /// Tells whether `main` has returned or was dropped.
    pub(crate) fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Relaxed)
    }

    /// A server begins to accept. Where `main` serves in its own body, the process is ready by that;
    /// else it is when `main` has returned and all its servers accept.
    pub(crate) fn announce_serving_in_main(&self) {
        // A server in a task of its own, such as one for health checks, does not speak for the process.
        if tokio::task::try_id().is_none() {
            self.announce_accepting();
        }
    }

    /// The servers accept, which makes the process ready unless it wants to say so itself.
    pub(crate) fn announce_accepting(&self) {
        if !self.is_ready_manual {
            self.tell(Message::Happened(Event::Ready));
        }
    }

    /// Keeps the first error, for a predecessor that wants to know.
    pub(crate) fn set_error(&self, error: String) {
        let _ = self.error.set(error);
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.error.get().map(String::as_str)
    }

    /// Claims the right to end the process, which one of two gets: the guardian by force, or the main thread
    /// by its return. Returns true for that one.
    pub(crate) fn claim_end(&self) -> bool {
        !self.is_end_claimed.swap(true, Ordering::AcqRel)
    }

    /// Tells whether somebody has taken the right to end the process.
    pub(crate) fn is_end_claimed(&self) -> bool {
        self.is_end_claimed.load(Ordering::Acquire)
    }

    /// Has every connection look at what has changed.
    pub(crate) fn wake_connections(&self) {
        for server in self.serving.members() {
            server.wake_connections();
        }
    }

    pub(crate) fn running_servers(&self) -> usize {
        self.servers.borrow().running
    }

    /// Notes that what is in flight now is given up, so many pieces of work; for the guardian alone.
    pub(crate) fn set_cut(&self, count: usize) {
        let _ = self.cut.set(count);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.get().is_some()
    }

    pub(crate) fn cut_count(&self) -> usize {
        self.cut.get().copied().unwrap_or_default()
    }

    /// Notes which process serves. Called on the guardian's thread only.
    pub(crate) fn set_serving_process(&self, process: ServingProcess) {
        self.serving_process.send_replace(process);
    }

    pub(crate) fn serving_process(&self) -> ServingProcess {
        *self.serving_process.borrow()
    }

    /// Returns what has become of the process that this one has handed over to.
    pub(crate) fn successor(&self) -> Option<Successor> {
        match self.serving_process() {
            ServingProcess::ThisOne | ServingProcess::Undecided => None,
            ServingProcess::Successor(successor) => Some(successor),
        }
    }

    /// Waits until it is decided which process serves.
    pub(crate) async fn restart_decided(&self) {
        let mut process = self.serving_process.subscribe();
        // The sender lives in `self`, so there is no error.
        let _ = process
            .wait_for(|process| *process != ServingProcess::Undecided)
            .await;
    }

    /// Makes the runtime known to the guardian, which is older.
    pub(crate) fn set_runtime(&self, runtime: Handle) {
        // A lifecycle has one runtime.
        let _ = self.runtime.set(runtime);
    }

    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.runtime.get()
    }

    pub(crate) fn change_server_counts(&self, change: impl FnOnce(&mut ServerCounts)) {
        self.servers.send_modify(change);
    }

    /// Waits until only those servers are left that drain last.
    pub(crate) async fn others_drained(&self) {
        let mut servers = self.servers.subscribe();
        let _ = servers
            .wait_for(|servers| servers.running <= servers.last)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle(has_predecessor: bool) -> Arc<Lifecycle> {
        let surroundings = Surroundings {
            has_predecessor,
            ..Surroundings::default()
        };
        Lifecycle::new(Settings::default(), surroundings).0
    }

    #[test]
    fn a_request_cancels_a_start_up_and_a_failure_does_not() {
        let wish = LameDuck::Chosen(Duration::from_secs(1));
        let timeout = Duration::from_secs(60);
        for (reason, is_started, is_cancelled) in [
            (Reason::Call, false, true),
            (Reason::Call, true, false),
            (Reason::Failed, false, false),
        ] {
            let lifecycle = lifecycle(false);
            if is_started {
                lifecycle.set_started();
            }
            assert!(lifecycle.set_trigger(reason, timeout, wish));
            assert_eq!(lifecycle.is_start_up_cancelled(), is_cancelled, "{reason}");
            assert!(!lifecycle.set_trigger(reason, timeout, wish), "once");
        }
    }

    #[test]
    fn who_stops_before_its_turn_has_missed_it() {
        let wish = LameDuck::Chosen(Duration::from_secs(1));
        for (has_predecessor, has_turn, misses) in [
            (true, false, true),
            (true, true, false),
            (false, false, false),
        ] {
            let lifecycle = lifecycle(has_predecessor);
            lifecycle.set_started();
            if has_turn {
                lifecycle.take_turn();
            }
            lifecycle.set_trigger(Reason::Call, Duration::from_secs(60), wish);
            assert_eq!(lifecycle.has_missed_its_turn(), misses);
            let lame_duck = lifecycle.trigger().unwrap().lame_duck;
            assert_eq!(lame_duck.is_zero(), misses);
        }
    }
}
