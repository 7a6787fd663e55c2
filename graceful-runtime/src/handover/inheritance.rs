//! What a process is given when it begins: by the one before it, and by the service manager.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio;

use super::inbound::Inbound;
use super::predecessor::{Greeting, MeetError, Predecessor};
use super::predecessors::Predecessors;
use super::state::HandoverState;
use crate::model::keeper::Keeper;
use crate::net::inherited::{BY_NAME, Inherited, Listeners, Origin};
use crate::os::environment::{Activated, Activation, Environment, HANDOVER};
use crate::os::service_manager::{self, ServiceManager};
use crate::text::printable;

/// Everything that this process was given when it began.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) listeners: Listeners,
    pub(crate) state: Option<HandoverState>,
    /// The ways on which connections come from the processes before this one.
    pub(crate) inbound: Inbound,
    /// The process to take over from.
    pub(crate) predecessor: Option<Predecessor>,
    /// All processes before this one that may still drain.
    pub(crate) predecessors: Predecessors,
    pub(crate) service_manager: ServiceManager,
    pub(crate) in_kubernetes: bool,
    /// The process whose end systemd takes for the end of the unit.
    pub(crate) main_of_unit: Option<u32>,
    /// What was said and is not so; each a line for the log. It was ignored.
    pub(crate) complaints: Vec<String>,
}

impl Inheritance {
    /// Takes what a predecessor and the service manager gave, and leaves nothing of it in the environment.
    ///
    /// Has to be called before there is a second thread, and before anything reads standard input.
    ///
    /// # Errors
    ///
    /// Where there is a predecessor that speaks another version: this process must exit, and the old one serves on.
    pub(crate) fn take() -> Result<Self, String> {
        let environment = Environment::take();
        let mut complaints = Vec::new();
        let (predecessor, greeting) = match meet(&environment) {
            Ok(Some((predecessor, greeting))) => (Some(predecessor), Some(greeting)),
            Ok(None) => (None, None),
            Err(MeetError::Stranger(reason)) => {
                complaints.push(format!(
                    "{HANDOVER} is set, but standard input is no hand-over: {reason}"
                ));
                (None, None)
            }
            Err(MeetError::Version(reason)) => return Err(reason),
        };
        if let Some(pid) = &environment.activated_process {
            complaints.push(format!(
                "LISTEN_FDS is ignored: LISTEN_PID is {}, and this is process {}; a program in between has to `exec` this one",
                printable(pid, 20),
                process::id()
            ));
        }
        let mut sorted = Sorted::default();
        sorted.activation(environment.activation);
        if let Some(greeting) = greeting {
            sorted.greeting(greeting);
        }
        complaints.append(&mut sorted.complaints);
        let service_manager = ServiceManager::new(environment.notify_socket, environment.watchdog)
            .unwrap_or_else(|error| {
                complaints.push(format!("NOTIFY_SOCKET is ignored: {error}"));
                ServiceManager::default()
            });
        if predecessor.is_some() {
            service_manager.mute();
        }
        Ok(Self {
            listeners: Listeners::new(sorted.listeners),
            state: sorted.state,
            inbound: Inbound::new(sorted.ways),
            predecessor,
            predecessors: Predecessors::new(sorted.predecessors),
            service_manager,
            in_kubernetes: environment.in_kubernetes,
            main_of_unit: environment.main_of_unit,
            complaints,
        })
    }
}

/// Looks for a predecessor at standard input, and puts `/dev/null` there where one was found.
fn meet(environment: &Environment) -> Result<Option<(Predecessor, Greeting)>, MeetError> {
    if environment.handover.is_none() {
        return Ok(None);
    }
    let stranger = |error: io::Error| MeetError::Stranger(error.to_string());
    let socket = fcntl_dupfd_cloexec(io::stdin(), 3).map_err(|error| stranger(error.into()))?;
    let met = Predecessor::meet(socket)?;
    let nothing = File::open("/dev/null").map_err(stranger)?;
    stdio::dup2_stdin(nothing.as_fd()).map_err(|error| stranger(error.into()))?;
    Ok(Some(met))
}

/// What was given, by kind.
#[derive(Default)]
struct Sorted {
    listeners: Vec<Inherited>,
    state: Option<HandoverState>,
    predecessors: Vec<OwnedFd>,
    ways: Vec<OwnedFd>,
    complaints: Vec<String>,
}

impl Sorted {
    fn activation(&mut self, activation: Activation) {
        self.complaints.extend(activation.complaint);
        for activated in activation.descriptors {
            let Activated {
                number,
                name,
                descriptor,
            } = activated;
            let (asked, keeper, origin) = match service_manager::asked_by_store_name(&name) {
                Some(asked) => (asked, Keeper::Store, Origin::Store(name.clone())),
                None => (format!("{BY_NAME}{name}"), Keeper::Unit, Origin::Unit),
            };
            self.listener(
                Inherited::new(descriptor, asked, keeper, origin),
                &format!("descriptor {number} ({name}) of the service manager"),
            );
        }
    }

    fn greeting(&mut self, greeting: Greeting) {
        let mut descriptors = greeting.descriptors.into_iter();
        let sockets = greeting
            .hello
            .listeners
            .into_iter()
            .zip(descriptors.by_ref());
        for (index, (name, socket)) in (0..).zip(sockets) {
            let what = format!("the inherited listener {}", name.asked);
            let origin = Origin::Predecessor(index);
            self.listener(
                Inherited::new(socket, name.asked, name.keeper, origin),
                &what,
            );
        }
        if greeting.hello.has_state {
            self.state = descriptors.next().map(HandoverState::inherited);
        }
        self.predecessors = descriptors
            .by_ref()
            .take(greeting.hello.predecessors.into())
            .collect();
        // Older versions neither send nor look at what comes behind.
        self.ways = descriptors.collect();
    }

    fn listener(&mut self, listener: io::Result<Inherited>, what: &str) {
        match listener {
            Ok(listener) => self.listeners.push(listener),
            Err(error) => self.complaints.push(format!("{what} is ignored: {error}")),
        }
    }
}
