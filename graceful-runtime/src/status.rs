//! How the process is doing, for health checks and admin pages.

use std::fmt;

use crate::lifecycle::Lifecycle;
use crate::model::phase::Phase;
use crate::text::count;

/// How the current lifecycle is doing, at one moment; see [`status()`].
///
/// ```
/// let status = graceful::status();
/// println!("{} requests on {} connections", status.requests, status.connections);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The phase of the process.
    pub phase: Phase,
    /// Requests in flight: accepted, and their response not completely sent.
    pub requests: usize,
    /// Connections of [`serve`](crate::serve()) and of an adapted server, whatever they are doing.
    pub connections: usize,
    /// Those of them that wait for a request and have given up their buffers; see
    /// [`park_after`](crate::Serve::park_after).
    pub parked: usize,
    /// Connections that the successor has taken, idle or when they had become so.
    pub moved: usize,
    /// Connections that it has not taken, and that end here.
    pub taken_back: usize,
    /// Tracked tasks that run.
    pub tasks: usize,
}

/// Returns how the current lifecycle is doing.
///
/// A readiness check answers 200 where [`Status::is_ready`], else 503. Outside a lifecycle the phase
/// is [`Phase::Starting`] and nothing runs.
///
/// ```
/// let status = graceful::status();
/// assert!(!status.is_ready());
/// ```
#[must_use]
pub fn status() -> Status {
    let lifecycle = Lifecycle::current_or_detached();
    let servers = lifecycle.serving.members();
    Status {
        phase: lifecycle.phase(),
        requests: lifecycle.tally.in_flight(),
        connections: servers.iter().map(|server| server.connection_count()).sum(),
        parked: lifecycle.tally.parked(),
        moved: lifecycle.tally.moved(),
        taken_back: lifecycle.tally.taken_back(),
        tasks: lifecycle.tasks.len(),
    }
}

/// Says that the process is ready, where it wants to say so itself
/// ([`Config::manual_ready`](crate::Config::manual_ready), `ready = manual` in the attribute).
///
/// A `main` that runs another framework's server in its own body calls it, too, since nobody can see that
/// from outside. Later calls have no effect.
///
/// ```
/// use graceful::Config;
///
/// Config::new().signals([]).run(async {
///     graceful::ready();
/// });
/// ```
pub fn ready() {
    use crate::lifecycle::message::Message;
    use crate::model::phase::Event;

    Lifecycle::current_or_detached().tell(Message::Happened(Event::Ready));
}

impl Status {
    /// Tells whether new traffic is welcome: from the moment the servers accept to the trigger.
    ///
    /// ```
    /// assert!(!graceful::status().is_ready());
    /// ```
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::HandingOver)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            phase,
            requests,
            connections,
            parked,
            moved,
            taken_back,
            tasks,
        } = self;
        let requests = count(*requests, "request");
        let connections = count(*connections, "connection");
        write!(f, "{phase:?}: {requests}, {connections} ({parked} parked)")?;
        if *moved + *taken_back > 0 {
            write!(f, ", {moved} moved, {taken_back} taken back")?;
        }
        write!(f, ", {}", count(*tasks, "task"))
    }
}
