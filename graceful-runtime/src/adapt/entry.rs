//! The server as the report knows it.

use std::sync::Arc;

use crate::lifecycle::registry::Member;
use crate::lifecycle::server::RunningServer;
use crate::serve::shared::Shared;

/// The server as the report knows it, as long as it accepts or has a connection.
pub(super) struct ServerEntry {
    shared: Arc<Shared>,
    _member: Member<dyn RunningServer>,
}

impl ServerEntry {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            _member: shared.register(),
            shared,
        }
    }
}

impl Drop for ServerEntry {
    fn drop(&mut self) {
        self.shared.note_last_closed();
    }
}
