//! The state of one lifecycle that everything else looks at, and how it is found.
//!
//! The threads of a runtime carry their lifecycle, so that two of them in one process do not meet.
//! Threads that nobody has given one, such as those of another runtime, belong to that of `main` with the
//! attribute, if there is one: such a process has no other purpose.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::gone::Gone;
use crate::handover::child::Report;
use crate::handover::dialogue::ParentEvent;
use crate::handover::state::State;
use crate::hooks::Hooks;
use crate::model::budget::Budget;
use crate::model::phase::{Event, Phase};
use crate::model::trigger::{Reason, Trigger};
use crate::net::inherited::Listeners;
use crate::os::service_manager::ServiceManager;
use crate::output::{self, Line, Output};
use crate::registry::Registry;
use crate::serve::{Connection, Shared};
use crate::succession::{Answer, Heritage, RestartError};
use crate::tasks::Task;

/// What the loop in [`run`](crate::run) is told; it alone changes the phase.
#[derive(Debug)]
pub(crate) enum Message {
    /// Somebody wants the shutdown.
    Trigger(Reason),
    /// Something of the table happened.
    Happened(Event),
    /// Somebody wants a restart, and perhaps an answer.
    Restart(Option<Answer>),
    /// What the successor inherits is made, or could not be.
    State(Result<Option<Vec<u8>>, RestartError>),
    /// The successor, or the search for one, has come to something.
    Handover(Report),
    /// The pid file names this process, in place of another that runs if it says so, or cannot be written.
    PidFile(io::Result<Option<u32>>),
    /// The process before this one has said something.
    Predecessor(ParentEvent),
    /// The lifecycle is over and its caller goes on.
    Dismissed,
}

/// Whether this process may accept where another one serves until it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Awaited,
    Come,
    /// This process stops, and the other one serves on.
    Missed,
}

#[derive(Debug)]
pub(crate) struct Lifecycle {
    pub(crate) keep_alive_grace: Duration,
    /// Only the program itself says when it is ready.
    is_ready_manual: bool,
    /// The servers of [`serve`](crate::serve()) that run.
    pub(crate) serving: Arc<Registry<Shared>>,
    pub(crate) tasks: Arc<Registry<Task>>,
    pub(crate) hooks: Hooks,
    /// What is inherited, and what would be handed over.
    pub(crate) listeners: Listeners,
    pub(crate) inherited: Option<State>,
    pub(crate) service_manager: ServiceManager,
    /// This process was started to take over from another one.
    pub(crate) has_predecessor: bool,
    turn: watch::Sender<Turn>,
    /// Requests that were answered since the trigger.
    pub(crate) finished: AtomicUsize,
    /// How many requests had begun to come since the trigger, and did not come to their end in time.
    pub(crate) timed_out: AtomicUsize,
    /// Requests that were dropped since the trigger.
    pub(crate) gone: Gone,
    phase: watch::Sender<Phase>,
    /// The phase once more, for readers that must not take a lock.
    phase_now: AtomicU8,
    trigger: OnceLock<Trigger>,
    /// How much of `main` serves or waits for the shutdown.
    attendances: AtomicUsize,
    /// `main` has returned, or was dropped.
    is_started: AtomicBool,
    /// What `main` or a server failed with, in words.
    error: OnceLock<String>,
    /// Somebody ends the process, and nobody else is to.
    is_end_claimed: AtomicBool,
    is_cut: AtomicBool,
    /// How much was cut so that the hooks could run.
    cut: AtomicUsize,
    successor: Mutex<Option<Successor>>,
    servers: watch::Sender<Servers>,
    /// Whether it is open who serves: this process or its successor.
    is_restarting: watch::Sender<bool>,
    runtime: OnceLock<Handle>,
    output: OnceLock<Output>,
    messages: mpsc::UnboundedSender<Message>,
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
pub(crate) struct Servers {
    pub(crate) running: usize,
    pub(crate) last: usize,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Lifecycle>>> = const { RefCell::new(None) };
    /// This thread polls `main`, not one of its tasks.
    static IS_MAIN: Cell<bool> = const { Cell::new(false) };
}

/// Something in `main` that ends by the shutdown, so that `main` is not dropped at a signal; for as long as this
/// lives.
#[derive(Debug)]
pub(crate) struct Attendance(Arc<Lifecycle>);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.attendances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `main`, so that what it does is told from what tasks do.
pub(crate) async fn as_main<F: Future>(main: F) -> F::Output {
    struct Poll;

    impl Drop for Poll {
        fn drop(&mut self) {
            IS_MAIN.set(false);
        }
    }

    let mut main = pin!(main);
    poll_fn(|cx| {
        IS_MAIN.set(true);
        let _poll = Poll;
        main.as_mut().poll(cx)
    })
    .await
}

/// The lifecycle of a `main` with the attribute, which the process is there for.
static PROCESS: OnceLock<Arc<Lifecycle>> = OnceLock::new();

impl Lifecycle {
    pub(crate) fn new(
        config: &Config,
        heritage: Heritage,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Message>) {
        let (messages, inbox) = mpsc::unbounded_channel();
        let lifecycle = Self {
            keep_alive_grace: config.keep_alive_grace,
            is_ready_manual: config.is_ready_manual,
            serving: Arc::default(),
            tasks: Arc::default(),
            hooks: Hooks::default(),
            listeners: heritage.listeners,
            inherited: heritage.state,
            service_manager: heritage.service_manager,
            has_predecessor: heritage.has_predecessor,
            turn: watch::Sender::new(match heritage.has_predecessor {
                true => Turn::Awaited,
                false => Turn::Come,
            }),
            finished: AtomicUsize::new(0),
            timed_out: AtomicUsize::new(0),
            gone: Gone::default(),
            phase: watch::Sender::new(Phase::Starting),
            phase_now: AtomicU8::new(Phase::Starting as u8),
            trigger: OnceLock::new(),
            attendances: AtomicUsize::new(0),
            is_started: AtomicBool::new(false),
            error: OnceLock::new(),
            is_end_claimed: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            cut: AtomicUsize::new(0),
            successor: Mutex::default(),
            servers: watch::Sender::default(),
            is_restarting: watch::Sender::default(),
            runtime: OnceLock::new(),
            output: OnceLock::new(),
            messages,
        };
        (Arc::new(lifecycle), inbox)
    }

    /// Returns the lifecycle of the runtime that this thread belongs to, or else that of the process.
    pub(crate) fn current() -> Option<Arc<Self>> {
        // A thread that is being torn down has lost its own already.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
            .or_else(|| PROCESS.get().cloned())
    }

    /// Returns the current lifecycle, or one that nobody will ever trigger.
    ///
    /// So a handler or a server under test works without a lifecycle around it.
    pub(crate) fn current_or_detached() -> Arc<Self> {
        Self::current().unwrap_or_else(|| Self::new(&Config::new(), Heritage::default()).0)
    }

    /// Makes this the lifecycle of the calling thread and returns the one before.
    pub(crate) fn occupy_thread(lifecycle: Option<Arc<Self>>) -> Option<Arc<Self>> {
        CURRENT.with(|current| current.replace(lifecycle))
    }

    /// Makes this the lifecycle of all threads that have none, because it stands for the process.
    pub(crate) fn occupy_process(self: &Arc<Self>) {
        let _ = PROCESS.set(Arc::clone(self));
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

    /// Tells the loop; nothing happens where it has ended.
    pub(crate) fn tell(&self, message: Message) {
        let _ = self.messages.send(message);
    }

    /// Takes the step of the table; the loop's own. Returns the new phase where there is one.
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

    /// Writes down why and until when; the loop's own. Only the first one counts.
    ///
    /// `lame_duck` is how long a request for the shutdown lets connections come, where there is something to come to.
    pub(crate) fn set_trigger(
        &self,
        reason: Reason,
        timeout: Duration,
        lame_duck: Duration,
    ) -> bool {
        let is_request = matches!(reason, Reason::Signal(_) | Reason::Call);
        let is_starting = self.phase() == Phase::Starting && !self.is_started();
        let cancels_start_up = is_request && is_starting && !self.is_awaited();
        let misses_turn = *self.turn.borrow() == Turn::Awaited;
        let trigger = Trigger {
            reason,
            budget: Budget::new(Instant::now(), timeout),
            // Else a server has ended, or a successor accepts.
            lame_duck: match is_request && !cancels_start_up && !misses_turn {
                true => lame_duck.min(timeout / 2),
                false => Duration::ZERO,
            },
            cancels_start_up,
        };
        let is_first = self.trigger.set(trigger).is_ok();
        if is_first && misses_turn {
            self.turn.send_replace(Turn::Missed);
        }
        is_first
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
    pub(crate) async fn has_its_turn(&self) -> bool {
        let mut turn = self.turn.subscribe();
        // The sender lives in `self`, so there is no error.
        let turn = turn.wait_for(|turn| *turn != Turn::Awaited).await;
        turn.is_ok_and(|turn| *turn == Turn::Come)
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

    /// Notes that the caller ends by the shutdown; `None` where it is not `main` that calls. Tasks and servers
    /// are waited for without a note.
    pub(crate) fn attend(self: &Arc<Self>) -> Option<Attendance> {
        // A thread that is being torn down polls nothing.
        let is_main = IS_MAIN.try_with(Cell::get).unwrap_or(false);
        is_main.then(|| {
            self.attendances.fetch_add(1, Ordering::Relaxed);
            Attendance(Arc::clone(self))
        })
    }

    /// Tells whether something in `main` ends by the shutdown.
    pub(crate) fn is_awaited(&self) -> bool {
        self.attendances.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn set_started(&self) {
        self.is_started.store(true, Ordering::Relaxed);
    }

    /// Tells whether there is anything left of `main`.
    pub(crate) fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Relaxed)
    }

    /// A server begins to accept. Where `main` serves in its own body, the process is ready by that;
    /// else it is when `main` has returned and all its servers accept.
    pub(crate) fn serves_in_main(&self) {
        // A server in a task of its own, such as one for health checks, does not speak for the process.
        if tokio::task::try_id().is_none() {
            self.accepts();
        }
    }

    /// The servers accept, which makes the process ready unless it wants to say so itself.
    pub(crate) fn accepts(&self) {
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

    /// Takes the right to end the process, which one has: the loop by force, or the main thread by its
    /// return. True for the first.
    pub(crate) fn claim_end(&self) -> bool {
        !self.is_end_claimed.swap(true, Ordering::AcqRel)
    }

    /// Tells whether somebody has taken the right to end the process.
    pub(crate) fn is_end_claimed(&self) -> bool {
        self.is_end_claimed.load(Ordering::Acquire)
    }

    pub(crate) fn running_servers(&self) -> usize {
        self.servers.borrow().running
    }

    /// Notes that what is in flight now is given up, so many pieces of work; the loop's own.
    pub(crate) fn set_cut(&self, count: usize) {
        self.cut.store(count, Ordering::Relaxed);
        self.is_cut.store(true, Ordering::Release);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    pub(crate) fn cut_count(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }

    /// Notes what has become of the process that this one has handed over to; the loop's own.
    pub(crate) fn set_successor(&self, successor: Successor) {
        *self
            .successor
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(successor);
    }

    pub(crate) fn successor(&self) -> Option<Successor> {
        *self
            .successor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connections of all servers at this moment.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        self.serving
            .members()
            .iter()
            .flat_map(|server| server.connections.members())
            .collect()
    }

    /// Tells whether it is open who serves.
    pub(crate) fn is_restarting(&self) -> bool {
        *self.is_restarting.borrow()
    }

    /// Notes whether it is open who serves; the loop's own.
    pub(crate) fn set_restarting(&self, is_restarting: bool) {
        self.is_restarting.send_replace(is_restarting);
    }

    /// Waits until it is decided who serves.
    pub(crate) async fn restart_decided(&self) {
        let _ = self
            .is_restarting
            .subscribe()
            .wait_for(|is_open| !is_open)
            .await;
    }

    /// Makes the runtime known to the loop, which is older.
    pub(crate) fn set_runtime(&self, runtime: Handle) {
        // A lifecycle has one runtime.
        let _ = self.runtime.set(runtime);
    }

    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.runtime.get()
    }

    pub(crate) fn count_servers(&self, change: impl FnOnce(&mut Servers)) {
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
