//! The predecessor's view of the new one: start it, wait until it serves, or stop it.
//!
//! One thread for each hand-over waits for the events of [`SuccessorState`] and does what the table says. It never polls on a timer.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{self},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::failure::{HandoverFailure, SuccessorEnd};
use super::{
    channel::{Channel, Received},
    dialogue::{Cause, SuccessorEvent, SuccessorState, SuccessorStep},
    parcel::Manifest,
    program::{Parentage, Program, Started, Wait},
    state::HandoverState,
    wire::{Hello, LISTENERS_MAX, ListenerName, ToPredecessor, ToSuccessor, VERSION},
};
use crate::net::inherited::{Handed, ListenerId};
use crate::os::environment::HANDOVER;
use crate::os::process::timespec;
use crate::os::service_manager::{Barrier, ServiceManager};

/// How long a successor that was asked to stop may take before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How long a process may take from the end of the channel to its own end.
const END_GRACE: Duration = Duration::from_secs(1);

/// How long the service manager may take to read what was sent to it; usually it is a millisecond.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a hand-over is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) program: Program,
    pub(crate) listeners: Vec<Handed>,
    pub(crate) state: Option<HandoverState>,
    /// This process and those that still drain.
    pub(crate) predecessors: Vec<OwnedFd>,
    pub(crate) way: PlannedWay,
    /// From the start of the successor until it serves.
    pub(crate) timeout: Duration,
    pub(crate) service_manager: ServiceManager,
}

/// The way on which connections are to move, and those from earlier processes that are handed on.
#[derive(Debug)]
pub(crate) struct PlannedWay {
    ours: Channel,
    /// Those of the successor, at the end of the greeting.
    theirs: Vec<OwnedFd>,
}

impl PlannedWay {
    /// # Errors
    ///
    /// Where there are no descriptors for it.
    pub(crate) fn new(manifest: &Manifest, others: Vec<OwnedFd>) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        ours.send(&manifest.encode(), &[])?;
        let mut all = vec![theirs];
        all.extend(others);
        Ok(Self { ours, theirs: all })
    }
}

/// What a hand-over came to.
#[derive(Debug)]
pub(crate) enum HandoverReport {
    /// The successor serves; drain. It accepts from the listeners in `taken`; it did not ask for the others.
    /// Connections may move on `way`, if it knows how to take them.
    HandedOver {
        pid: u32,
        taken: Vec<(u16, ListenerId)>,
        way: Option<Channel>,
    },
    /// Everything is as it was before.
    Failed(HandoverFailure),
    /// The successor took over, and has ended while this process still runs.
    Lost { pid: u32, end: SuccessorEnd },
}

/// A hand-over under way.
#[derive(Debug)]
pub(crate) struct Handover {
    abort: Arc<OwnedFd>,
    /// Disconnected when the thread has ended.
    thread: mpsc::Receiver<()>,
}

impl Handover {
    /// Starts a successor on a thread of its own, which reports what it came to: one of `HandedOver` and `Failed`, and after the
    /// first perhaps `Lost`.
    ///
    /// # Errors
    ///
    /// Where the thread cannot be started.
    pub(crate) fn start(
        plan: Plan,
        report: impl FnMut(HandoverReport) + Send + 'static,
    ) -> io::Result<Self> {
        // A semaphore: each call of `abort` is one that can be read.
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE;
        let abort = Arc::new(eventfd(0, flags)?);
        let (alive, thread) = mpsc::channel();
        let handover = Self {
            abort: Arc::clone(&abort),
            thread,
        };
        thread::Builder::new()
            .name("graceful-handover".into())
            .spawn(move || {
                let _alive: mpsc::Sender<()> = alive;
                hand_over(plan, abort, report);
            })?;
        Ok(handover)
    }

    /// Waits until the thread has ended, at most for `limit`.
    pub(crate) fn wait(&self, limit: Duration) {
        // Nobody sends anything.
        let _ = self.thread.recv_timeout(limit);
    }

    /// Stops the successor, because this process stops as well; the second time at once. Too late, once it serves.
    pub(crate) fn abort(&self) {
        // Fails only where it was called 2⁶⁴ times.
        let _ = rustix::io::write(&self.abort, &1u64.to_ne_bytes());
    }
}

fn hand_over(plan: Plan, abort: Arc<OwnedFd>, mut report: impl FnMut(HandoverReport)) {
    let service_manager = plan.service_manager.clone();
    let timeout = plan.timeout;
    let listeners = plan.listeners.iter().map(|listener| listener.id).collect();
    match start(plan) {
        Ok((channel, successor, way, deadline)) => HandoverRun {
            way: Some(way),
            listeners,
            state: SuccessorState::Starting,
            channel,
            is_deaf: false,
            successor,
            abort,
            barrier: None,
            deadline,
            left: timeout,
            timeout,
            service_manager,
            said: Said::default(),
            report,
        }
        .run(),
        Err(failure) => {
            service_manager.ready(&format!("restart failed: {failure}"));
            report(HandoverReport::Failed(failure));
        }
    }
}

/// Says everything that the successor has to know, then starts it: it finds the greeting when it looks.
fn start(plan: Plan) -> Result<(Channel, Started, Channel, Instant), HandoverFailure> {
    let deadline = Instant::now() + plan.timeout;
    if plan.listeners.len() > LISTENERS_MAX {
        return Err(HandoverFailure::TooManyListeners(plan.listeners.len()));
    }
    let (channel, theirs) = Channel::pair().map_err(HandoverFailure::Channel)?;
    greet(&channel, &plan).map_err(HandoverFailure::Channel)?;
    let parentage = if plan.service_manager.is_present() {
        Parentage::Orphan
    } else {
        Parentage::Child
    };
    let mut variables = plan.service_manager.variables();
    variables.push((HANDOVER, OsString::from(VERSION.to_string())));
    let successor = plan.program.start(parentage, theirs, &variables);
    let successor =
        successor.map_err(|error| HandoverFailure::Start(plan.program.path().into(), error))?;
    // The ends of the successor are its own from here on.
    Ok((channel, successor, plan.way.ours, deadline))
}

fn greet(channel: &Channel, plan: &Plan) -> io::Result<()> {
    let name = |listener: &Handed| ListenerName {
        asked: listener.asked.clone(),
        keeper: listener.keeper,
    };
    let hello = Hello {
        pid: process::id(),
        listeners: plan.listeners.iter().map(name).collect(),
        has_state: plan.state.is_some(),
        predecessors: u8::try_from(plan.predecessors.len()).expect("PREDECESSORS_MAX is small"),
    };
    let listeners = plan.listeners.iter().map(AsFd::as_fd);
    let state = plan.state.iter().map(AsFd::as_fd);
    let predecessors = plan.predecessors.iter().map(AsFd::as_fd);
    let ways = plan.way.theirs.iter().map(AsFd::as_fd);
    let descriptors: Vec<_> = listeners
        .chain(state)
        .chain(predecessors)
        .chain(ways)
        .collect();
    channel.send(&ToSuccessor::Hello(hello).encode(), &descriptors)
}

struct HandoverRun<R> {
    /// Given away when the successor serves.
    way: Option<Channel>,
    listeners: Vec<ListenerId>,
    state: SuccessorState,
    channel: Channel,
    /// The channel is closed for what the successor says.
    is_deaf: bool,
    successor: Started,
    abort: Arc<OwnedFd>,
    barrier: Option<Barrier>,
    /// The deadline of the successor; while it is being announced, that of the service manager.
    deadline: Instant,
    /// What is left for the successor when it has been announced.
    left: Duration,
    timeout: Duration,
    service_manager: ServiceManager,
    said: Said,
    report: R,
}

/// What came with the last event.
#[derive(Debug, Default)]
struct Said {
    reason: String,
    dropped: Vec<u16>,
}

impl<R: FnMut(HandoverReport)> HandoverRun<R> {
    fn run(mut self) {
        loop {
            let event = self.next_event();
            let (state, step) = self.state.after(event);
            self.state = state;
            match step {
                SuccessorStep::Wait => {}
                SuccessorStep::Announce => self.announce(),
                SuccessorStep::SayGo => self.say(&ToSuccessor::Go),
                SuccessorStep::Finish => self.finish(),
                SuccessorStep::RollBack(cause) => return self.roll_back(cause),
                SuccessorStep::Abort => return self.stop(),
                SuccessorStep::ReportLoss => return self.report_loss(),
            }
        }
    }

    /// Waits for the next event. What the successor said comes before that it ended, and that before anything else.
    fn next_event(&mut self) -> SuccessorEvent {
        loop {
            if self.state == SuccessorState::Announcing && self.barrier.is_none() {
                self.deadline = Instant::now() + self.left;
                return SuccessorEvent::Announced;
            }
            let left = self.time_left();
            let ready = self.wait(left);
            // Its last words may have come after its channel was looked at, and before its end was.
            if (ready.channel || ready.end)
                && let Some(event) = self.receive()
            {
                return event;
            }
            if ready.abort {
                let _ = rustix::io::read(&self.abort, &mut [0; 8]);
                return self.unless_it_serves(SuccessorEvent::Aborted);
            }
            if ready.end {
                return SuccessorEvent::Ended;
            }
            let late = left.is_some_and(|left| left.is_zero());
            if ready.barrier || (late && self.state == SuccessorState::Announcing) {
                self.barrier = None;
            } else if late {
                return self.unless_it_serves(SuccessorEvent::TimedOut);
            }
        }
    }

    /// Returns `event`, by which this process gives up, unless the successor said before that it serves. From here on it
    /// cannot, so that it accepts nothing.
    fn unless_it_serves(&mut self, event: SuccessorEvent) -> SuccessorEvent {
        if self.is_deaf {
            return event;
        }
        self.channel.close_for_receiving();
        self.is_deaf = true;
        match self.receive() {
            Some(SuccessorEvent::Serving) if self.state == SuccessorState::Going => {
                SuccessorEvent::Serving
            }
            _ => event,
        }
    }

    /// How long to wait; without end once the successor serves, for the drain has its own deadline.
    fn time_left(&self) -> Option<Duration> {
        match self.state {
            SuccessorState::HandedOver | SuccessorState::Over => None,
            SuccessorState::Starting | SuccessorState::Announcing | SuccessorState::Going => {
                Some(self.deadline.saturating_duration_since(Instant::now()))
            }
        }
    }

    fn wait(&self, limit: Option<Duration>) -> Sources<bool> {
        let sources = Sources {
            // There would be an end of file.
            channel: (!self.is_deaf).then(|| self.channel.as_fd()),
            abort: Some(self.abort.as_fd()),
            end: self.successor.end(),
            barrier: self.barrier.as_ref().map(AsFd::as_fd),
        };
        sources.wait(limit)
    }

    fn receive(&mut self) -> Option<SuccessorEvent> {
        let bytes = match self.channel.receive() {
            Ok(Received::Packet { bytes, .. }) => bytes,
            Ok(Received::Nothing) => return None,
            Ok(Received::End) => return Some(SuccessorEvent::Ended),
            Err(error) => return Some(self.garbled(error.to_string())),
        };
        Some(match ToPredecessor::decode(&bytes) {
            Ok(ToPredecessor::Ready) => SuccessorEvent::Ready,
            Ok(ToPredecessor::Serving { dropped }) => {
                self.said.dropped = dropped;
                SuccessorEvent::Serving
            }
            Ok(ToPredecessor::Failed { reason }) => {
                self.said.reason = reason;
                SuccessorEvent::Failed
            }
            Err(error) => self.garbled(error.to_string()),
        })
    }

    fn garbled(&mut self, reason: String) -> SuccessorEvent {
        self.said.reason = reason;
        SuccessorEvent::Garbled
    }

    /// From here on the service manager listens to the successor, and this process is silent.
    ///
    /// How long the service manager takes is not the successor's fault, and has a limit of its own.
    fn announce(&mut self) {
        let now = Instant::now();
        self.left = self.deadline.saturating_duration_since(now);
        self.deadline = now + BARRIER_TIMEOUT;
        self.barrier = self
            .service_manager
            .announce_main_process(self.successor.pid());
        self.service_manager.mute();
    }

    /// A successor that cannot be told anything has ended, and that is the next event.
    fn say(&self, message: &ToSuccessor) {
        let _ = self.channel.send(&message.encode(), &[]);
    }

    fn finish(&mut self) {
        let dropped = std::mem::take(&mut self.said.dropped);
        let taken = (0..)
            .zip(&self.listeners)
            .filter(|(index, _)| !dropped.contains(index))
            .map(|(index, &id)| (index, id));
        let taken = taken.collect();
        (self.report)(HandoverReport::HandedOver {
            pid: self.successor.pid(),
            taken,
            way: self.way.take(),
        });
    }

    fn roll_back(mut self, cause: Cause) {
        self.channel.close_for_receiving();
        let pid = self.successor.pid();
        let reason = std::mem::take(&mut self.said.reason);
        let failure = match cause {
            Cause::Failed => HandoverFailure::Failed { pid, reason },
            Cause::Garbled => HandoverFailure::Garbled { pid, reason },
            Cause::TimedOut => HandoverFailure::TimedOut {
                pid,
                limit: self.timeout,
            },
            Cause::Ended => HandoverFailure::Ended {
                pid,
                end: self.end(),
            },
        };
        // For a program behind a wrapper, which a signal to the wrapper does not reach: it must not take
        // the end of the channel for the end of this process.
        self.say(&ToSuccessor::Abort);
        self.successor.kill();
        self.service_manager.unmute();
        self.service_manager
            .announce_rollback(&format!("restart failed: {failure}"));
        (self.report)(HandoverReport::Failed(failure));
    }

    fn stop(mut self) {
        let pid = self.successor.pid();
        self.say(&ToSuccessor::Abort);
        self.successor.terminate();
        self.wait_for_end(STOP_GRACE);
        self.successor.kill();
        if self.service_manager.unmute() {
            self.service_manager.announce_stop();
        }
        (self.report)(HandoverReport::Failed(HandoverFailure::Aborted { pid }));
    }

    /// Waits for the end of the successor, until there is no more time for that.
    fn wait_for_end(&self, limit: Duration) {
        let sources = Sources {
            channel: None,
            abort: Some(self.abort.as_fd()),
            end: self.successor.end(),
            barrier: None,
        };
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = sources.wait(Some(left));
            if ready.end || ready.abort || left.is_zero() {
                return;
            }
        }
    }

    fn report_loss(mut self) {
        let end = self.end();
        (self.report)(HandoverReport::Lost {
            pid: self.successor.pid(),
            end,
        });
    }

    /// Finds out how the successor ended, after its end of the channel was closed.
    fn end(&mut self) -> SuccessorEnd {
        match self.successor.wait(END_GRACE) {
            Wait::Exited(status) => SuccessorEnd::Exited(status),
            Wait::Unknown => SuccessorEnd::Unknown,
            Wait::Running => SuccessorEnd::Deaf,
        }
    }
}

/// Where events come from, or which of them have something.
struct Sources<T> {
    channel: T,
    abort: T,
    end: T,
    barrier: T,
}

impl Sources<Option<BorrowedFd<'_>>> {
    /// Waits until one of them has something, for `limit` at most; a signal may make it less.
    fn wait(&self, limit: Option<Duration>) -> Sources<bool> {
        let sources = [self.channel, self.abort, self.end, self.barrier];
        let mut polled: Vec<_> = sources
            .iter()
            .flatten()
            .map(|source| PollFd::new(source, PollFlags::IN))
            .collect();
        // Interrupted or not: what has something says so, and the caller asks again.
        if poll(&mut polled, limit.map(timespec).as_ref()).is_err() {
            polled.iter_mut().for_each(PollFd::clear_revents);
        }
        let mut ready = polled.iter().map(|source| !source.revents().is_empty());
        let mut has =
            |source: Option<BorrowedFd<'_>>| source.is_some() && ready.next() == Some(true);
        Sources {
            channel: has(self.channel),
            abort: has(self.abort),
            end: has(self.end),
            barrier: has(self.barrier),
        }
    }
}

#[cfg(test)]
mod tests;
