//! What a process was given and what it runs in, as far as its lifecycle has to know.

use std::sync::Arc;

use crate::handover::inbound::Inbound;
use crate::handover::state::HandoverState;
use crate::net::inherited::Listeners;
use crate::os::service_manager::ServiceManager;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) listeners: Listeners,
    pub(crate) state: Option<HandoverState>,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) has_predecessor: bool,
    pub(crate) in_kubernetes: bool,
    pub(crate) service_manager: ServiceManager,
}
