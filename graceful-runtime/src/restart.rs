//! Asking for a restart, and what the process before this one left.

use std::io;

use tokio::sync::oneshot;

use crate::handover::error::{RestartError, RestartErrorKind};
use crate::handover::refusal::Refusal;
use crate::handover::state::HandoverState;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::message::Message;

/// Hands over to a new process: starts the program again with the listeners of this one, waits until
/// it is ready, and lets this one drain.
///
/// The same as a signal of the attribute's `restart` list. Resolves when the successor serves.
///
/// # Errors
///
/// Says why no successor took over: it could not be started, ended, or did not become ready in time; the hook
/// of [`on_handover`](crate::on_handover) said no; another restart is under way; this process is not ready
/// yet, stops already, or is one whose end would end its container, unit or supervised service.
///
/// # Cancel safety
///
/// A drop forgets the answer; the restart goes on.
///
/// ```
/// use graceful::Config;
///
/// let code = Config::new().signals([]).run(async {
///     let error = graceful::restart().await.unwrap_err();
///     assert!(error.to_string().contains("does not stand for the process"));
/// });
/// assert_eq!(code, std::process::ExitCode::SUCCESS);
/// ```
pub async fn restart() -> Result<(), RestartError> {
    let Some(lifecycle) = Lifecycle::current() else {
        return Err(RestartErrorKind::NoLifecycle.into());
    };
    let (answer, answered) = oneshot::channel();
    lifecycle.tell(Message::Restart(Some(answer)));
    answered
        .await
        .unwrap_or_else(|_| Err(Refusal::Stops.into()))
}

/// Returns what the process before this one left by [`on_handover`](crate::on_handover); `None` for
/// a process that was not started by a restart, or where nothing was left.
///
/// # Errors
///
/// Where the bytes cannot be read.
///
/// ```
/// use graceful::Config;
///
/// Config::new().signals([]).run(async {
///     assert!(graceful::inherited_state().expect("nothing to read").is_none());
/// });
/// ```
pub fn inherited_state() -> io::Result<Option<Vec<u8>>> {
    let lifecycle = Lifecycle::current_or_detached();
    lifecycle
        .inherited
        .as_ref()
        .map(HandoverState::read)
        .transpose()
}
