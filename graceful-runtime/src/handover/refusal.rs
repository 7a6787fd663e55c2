//! What speaks against a restart.

use std::{fmt, process};

use super::ancestors::{self, Follower};
use super::predecessors::{PREDECESSORS_MAX, Predecessors};
use crate::model::phase::Phase;
use crate::os::service_manager::ServiceManager;

/// Why a restart is not even tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The lifecycle does not stand for the process.
    NotTheProcess,
    NotReady,
    /// This process stops.
    Stops,
    /// Another restart is under way.
    UnderWay,
    /// It is the first process of a container, which ends with it.
    Init,
    /// Somebody takes the end of this process for the end of everything.
    Followed(Follower),
    /// It is the main process of a unit whose manager would not learn of the new one, and stop it.
    Unannounced,
    /// Too many earlier processes still drain.
    Crowded(usize),
}

impl Refusal {
    /// Returns what speaks against a restart in `phase`, if anything does.
    pub(crate) fn in_phase(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Starting => Some(Self::NotReady),
            Phase::Ready => None,
            Phase::HandingOver => Some(Self::UnderWay),
            Phase::LameDuck | Phase::Draining | Phase::Stopping | Phase::Stopped => {
                Some(Self::Stops)
            }
        }
    }

    /// Returns what speaks against a restart of this process, whatever it is doing, if anything does.
    pub(crate) fn of_this_process(
        main_of_unit: Option<u32>,
        service_manager: &ServiceManager,
        predecessors: &mut Predecessors,
    ) -> Option<Self> {
        let draining = predecessors.count();
        if process::id() == 1 {
            Some(Self::Init)
        } else if let Some(follower) = ancestors::follower(main_of_unit) {
            Some(Self::Followed(follower))
        } else if main_of_unit == Some(process::id()) && !service_manager.is_present() {
            Some(Self::Unannounced)
        } else if draining >= PREDECESSORS_MAX {
            Some(Self::Crowded(draining))
        } else {
            None
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTheProcess => f.write_str("this lifecycle does not stand for the process"),
            Self::NotReady => f.write_str("this process is not ready yet"),
            Self::Stops => f.write_str("this process stops already"),
            Self::UnderWay => f.write_str("a restart is under way already"),
            Self::Init => f.write_str(
                "this is process 1: its end would end the container, with the successor in it; restart the container",
            ),
            Self::Followed(Follower::Container) => f.write_str(
                "the container ends with this process, and the successor with the container; restart the container",
            ),
            Self::Followed(Follower::Unit) => f.write_str(
                "systemd follows the shell that started this process, and ends the unit with it; write `exec` before the program",
            ),
            Self::Followed(Follower::Supervisor(name)) => write!(
                f,
                "{name} follows this process and would start it beside the successor; let {name} restart it",
            ),
            Self::Unannounced => f.write_str(
                "this is the main process of a systemd unit without Type=notify: systemd would stop the successor",
            ),
            Self::Crowded(count) => write!(f, "{count} earlier processes still drain; try again when one has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_is_ready_and_stays_may_be_restarted() {
        for (phase, refusal) in [
            (Phase::Starting, Some(Refusal::NotReady)),
            (Phase::Ready, None),
            (Phase::HandingOver, Some(Refusal::UnderWay)),
            (Phase::LameDuck, Some(Refusal::Stops)),
            (Phase::Draining, Some(Refusal::Stops)),
            (Phase::Stopping, Some(Refusal::Stops)),
            (Phase::Stopped, Some(Refusal::Stops)),
        ] {
            assert_eq!(Refusal::in_phase(phase), refusal, "{phase:?}");
        }
    }
}
