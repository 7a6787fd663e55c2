//! The place of this process among those before and after it: it takes over from one, and hands over to the
//! next.
//!
//! The guardian's part of a restart. [`handover`](crate::handover) has the dialogue and the
//! descriptors; here is when each of its steps is due in the life of a process.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::config::Config;
use crate::handover::dialogue::{PredecessorEvent, PredecessorStep};
use crate::handover::error::{RestartError, RestartErrorKind};
use crate::handover::inheritance::Inheritance;
use crate::handover::predecessor::Predecessor;
use crate::handover::predecessors::Predecessors;
use crate::handover::program::Program;
use crate::handover::refusal::Refusal;
use crate::handover::state::HandoverState;
use crate::handover::successor::{Handover, HandoverReport, Plan, PlannedWay};
use crate::lifecycle::message::{Message, RestartAnswer};
use crate::lifecycle::surroundings::Surroundings;
use crate::lifecycle::{Lifecycle, ServingProcess};
use crate::model::phase::Phase;
use crate::net::inherited::{ListenerId, Listeners, Origin};
use crate::os::service_manager::ServiceManager;
use crate::output::Line;
use crate::process::pid_file;

/// A process among those before and after it.
pub(crate) struct Succession {
    lifecycle: Arc<Lifecycle>,
    program: Program,
    predecessor: Option<Predecessor>,
    /// The id of the predecessor, also when that has ended.
    predecessor_id: Option<u32>,
    predecessors: Predecessors,
    listeners: Listeners,
    service_manager: ServiceManager,
    main_of_unit: Option<u32>,
    restart_timeout: Duration,
    pid_file: Option<pid_file::PidFileThread>,
    restart: Option<Restart>,
}

/// A hand-over that is under way.
struct Restart {
    /// `None` while the state for the successor is being made.
    handover: Option<Handover>,
    answers: Vec<RestartAnswer>,
}

/// The part of the inheritance that becomes a [`Succession`], once there is a lifecycle.
pub(crate) struct Lineage {
    program: Program,
    predecessor: Option<Predecessor>,
    predecessors: Predecessors,
    main_of_unit: Option<u32>,
    pub(crate) complaints: Vec<String>,
}

impl Lineage {
    /// Takes what belongs to this process; before any thread is started.
    ///
    /// # Errors
    ///
    /// Where there is a predecessor that cannot be understood: then this process must not start.
    pub(crate) fn take() -> Result<(Self, Surroundings), String> {
        let program = Program::of_this_process();
        let inheritance = Inheritance::take()?;
        let surroundings = Surroundings {
            listeners: inheritance.listeners,
            state: inheritance.state,
            inbound: Arc::new(inheritance.inbound),
            has_predecessor: inheritance.predecessor.is_some(),
            in_kubernetes: inheritance.in_kubernetes,
            service_manager: inheritance.service_manager,
        };
        let lineage = Self {
            program,
            predecessor: inheritance.predecessor,
            predecessors: inheritance.predecessors,
            main_of_unit: inheritance.main_of_unit,
            complaints: inheritance.complaints,
        };
        Ok((lineage, surroundings))
    }
}

impl Succession {
    /// Begins to listen to the predecessor, if there is one.
    ///
    /// # Errors
    ///
    /// Where the thread for it cannot be started.
    pub(crate) fn new(
        lineage: Lineage,
        lifecycle: &Arc<Lifecycle>,
        config: &Config,
    ) -> io::Result<Self> {
        if let Some(predecessor) = &lineage.predecessor {
            let lifecycle = Arc::clone(lifecycle);
            predecessor.watch(move |event| lifecycle.tell(Message::Predecessor(event)))?;
        }
        let pid_file = config.pid_file.clone();
        let pid_file = pid_file.map(pid_file::PidFileThread::start).transpose()?;
        Ok(Self {
            lifecycle: Arc::clone(lifecycle),
            program: lineage.program,
            predecessor_id: lineage.predecessor.as_ref().map(Predecessor::pid),
            predecessor: lineage.predecessor,
            predecessors: lineage.predecessors,
            listeners: lifecycle.listeners.clone(),
            service_manager: lifecycle.service_manager.clone(),
            main_of_unit: lineage.main_of_unit,
            restart_timeout: config.restart_timeout,
            pid_file,
            restart: None,
        })
    }

    // Taking over.

    /// Notes that the servers could accept. Tells whether they may at once; else the predecessor says when.
    pub(crate) fn on_ready(&mut self) -> bool {
        match &mut self.predecessor {
            None => true,
            Some(predecessor) => is_turn(predecessor.after(PredecessorEvent::Ready)),
        }
    }

    /// Returns what the predecessor's word means here.
    pub(crate) fn on_predecessor(&mut self, event: PredecessorEvent) -> PredecessorStep {
        let Some(predecessor) = &mut self.predecessor else {
            return PredecessorStep::Wait;
        };
        predecessor.after(event)
    }

    /// Takes over. Returns the lines to print; `None` where the predecessor has given up.
    pub(crate) fn take_over(&mut self) -> Option<Vec<Line>> {
        // First, since nothing may be touched that the predecessor serves on with.
        if let Some(predecessor) = &mut self.predecessor
            && predecessor.waits_for_serving()
            && !predecessor.say_serving(self.listeners.unclaimed())
        {
            return None;
        }
        self.listeners.take_ownership();
        let mut lines = Vec::new();
        for unclaimed in self.listeners.close_unclaimed() {
            let name = &unclaimed.name;
            lines.push(match unclaimed.is_lost {
                false => Line::info(format!(
                    "{name} was inherited and is not used any more: closed"
                )),
                true => Line::warn(format!(
                    "{name} was inherited, but its file is gone: bound anew"
                )),
            });
            match unclaimed.origin {
                Origin::Store(name) => self.service_manager.remove_stored(&name),
                Origin::Predecessor(_) | Origin::Unit => {}
            }
        }
        if let Some(predecessor) = &self.predecessor {
            lines.push(Line::info(format!(
                "took over from process {}",
                predecessor.pid()
            )));
        }
        self.service_manager.ready("serving");
        self.store_listeners();
        Some(lines)
    }

    /// Returns the pid file, which names this process before anybody is told that it serves.
    pub(crate) fn pid_file(&self) -> Option<&pid_file::PidFileThread> {
        self.pid_file.as_ref()
    }

    /// Has the pid file written; returns whether there is one.
    pub(crate) fn write_pid_file(&self) -> bool {
        let Some(file) = &self.pid_file else {
            return false;
        };
        let lifecycle = Arc::clone(&self.lifecycle);
        file.write(self.predecessor_id, move |written| {
            lifecycle.tell(Message::PidFile(written));
        });
        true
    }

    /// Tells whether the predecessor serves on where this process does not take over.
    pub(crate) fn predecessor_serves_on(&self) -> bool {
        let predecessor = self.predecessor.as_ref();
        predecessor.is_some_and(Predecessor::waits_for_serving)
    }

    /// Lets the service manager keep the listeners over a crash; apart, because it is waited for.
    fn store_listeners(&self) {
        if self.service_manager.is_present() {
            let (listeners, service_manager) =
                (self.listeners.clone(), self.service_manager.clone());
            // Without the thread, a crash closes the listeners, as it does without a service manager.
            let _ = thread::Builder::new()
                .name("graceful-store".into())
                .spawn(move || listeners.store(&service_manager));
        }
    }

    /// Tells the predecessor, if one still waits, that this process will not serve.
    pub(crate) fn fail(&self, reason: &str) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.say_failed(reason);
        }
    }

    /// Forgets the predecessor, which has ended.
    pub(crate) fn forget_predecessor(&mut self) -> Option<Line> {
        self.predecessors.forget_last();
        let predecessor = self.predecessor.take()?;
        Some(Line::info(format!(
            "process {}, the one before this, has ended",
            predecessor.pid()
        )))
    }

    // Handing over.

    /// Tells what speaks against a restart in `phase`.
    pub(crate) fn refusal(&mut self, phase: Phase) -> Option<Refusal> {
        let in_phase = Refusal::in_phase(phase);
        let of_this_process = || {
            Refusal::of_this_process(
                self.main_of_unit,
                &self.service_manager,
                &mut self.predecessors,
            )
        };
        in_phase.or_else(of_this_process)
    }

    /// Notes that a restart has begun; the state for the successor may still be in the making.
    pub(crate) fn begin(&mut self, answer: Option<RestartAnswer>) {
        let answers = answer.into_iter().collect();
        self.restart = Some(Restart {
            handover: None,
            answers,
        });
    }

    /// Starts the successor with what was made for it. An error is the end of the restart.
    pub(crate) fn start_successor(&mut self, state: Option<Vec<u8>>) -> Result<(), RestartError> {
        if self.restart.is_none() {
            return Err(RestartErrorKind::Stopped.into());
        }
        let handover = self
            .plan(state)
            .map_err(RestartErrorKind::Unprepared)
            .and_then(|plan| {
                let lifecycle = Arc::clone(&self.lifecycle);
                let pid_file = self.pid_file.clone();
                Handover::start(plan, move |report| {
                    // A successor that ended at the last moment may have put its own id there.
                    if let (HandoverReport::Failed(failure), Some(file)) = (&report, &pid_file)
                        && let Some(successor) = failure.successor()
                    {
                        file.restore(successor);
                    }
                    lifecycle.tell(Message::Handover(report));
                })
                .map_err(RestartErrorKind::Unprepared)
            })?;
        if let Some(restart) = &mut self.restart {
            restart.handover = Some(handover);
        }
        Ok(())
    }

    fn plan(&mut self, state: Option<Vec<u8>>) -> io::Result<Plan> {
        let listeners = self.listeners.handed()?;
        let (manifest, ways) = self.lifecycle.inbound.handed(&listeners)?;
        Ok(Plan {
            program: self.program.clone(),
            listeners,
            way: PlannedWay::new(&manifest, ways)?,
            state: state.map(|bytes| HandoverState::new(&bytes)).transpose()?,
            predecessors: self.predecessors.handed()?,
            timeout: self.restart_timeout,
            service_manager: self.service_manager.clone(),
        })
    }

    /// Tells a restart under way that this process stops. Without a successor yet, it is over: a hook that is slow to make the
    /// state is not waited for.
    pub(crate) fn abort(&mut self) {
        match self.restart.as_ref().map(|restart| &restart.handover) {
            Some(Some(handover)) => handover.abort(),
            Some(None) => {
                self.conclude(&Err(RestartErrorKind::Stopped.into()));
                self.lifecycle.set_serving_process(ServingProcess::ThisOne);
            }
            None => {}
        }
    }

    /// Ends a restart under way because this process ends at once, and waits for that at most for `limit`.
    pub(crate) fn end_restart(&self, limit: Duration) {
        let restart = self.restart.as_ref();
        if let Some(handover) = restart.and_then(|restart| restart.handover.as_ref()) {
            // Once for a successor that has not heard of a stop, and once more because there is no time.
            handover.abort();
            handover.abort();
            handover.wait(limit);
        }
    }

    /// Ends the restart, and answers those who asked for it.
    pub(crate) fn conclude(&mut self, result: &Result<(), RestartError>) {
        for answer in self
            .restart
            .take()
            .into_iter()
            .flat_map(|restart| restart.answers)
        {
            // Who does not wait for the answer has no use for it.
            let _ = answer.send(result.clone());
        }
    }

    /// Notes that the successor accepts, with the listeners that it has taken.
    pub(crate) fn hand_over(&mut self, taken: &[(u16, ListenerId)]) {
        let taken: Vec<_> = taken.iter().map(|(_, id)| *id).collect();
        self.listeners.mark_shared(&taken);
        // It names the successor by now.
        self.pid_file
            .iter()
            .for_each(pid_file::PidFileThread::forget);
    }

    pub(crate) fn path(&self) -> String {
        self.program.path().display().to_string()
    }
}

/// Tells whether a step of the dialogue lets this process serve.
pub(crate) fn is_turn(step: PredecessorStep) -> bool {
    matches!(
        step,
        PredecessorStep::TakeOver | PredecessorStep::TakeOverAlone
    )
}
