//! What a process got from the one before it.

use super::state::State;
use crate::net::inherited::Listeners;
use crate::os::service_manager::ServiceManager;

/// What a process got from the one before it, as far as the rest of the crate needs it.
#[derive(Debug, Default)]
pub(crate) struct Heritage {
    pub(crate) listeners: Listeners,
    pub(crate) state: Option<State>,
    pub(crate) has_predecessor: bool,
    pub(crate) in_kubernetes: bool,
    pub(crate) service_manager: ServiceManager,
}
