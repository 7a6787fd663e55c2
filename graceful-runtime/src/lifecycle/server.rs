//! A server and its connections, as those see them who wait for their end.

use std::fmt::Debug;

use tokio::time::Instant;

use super::request::InFlight;
use crate::net::stream::Peer;

/// A server that runs; [`serve`](crate::serve()) and [`adapt`](crate::adapt()) have one each.
pub(crate) trait RunningServer: Debug + Send + Sync {
    /// Returns how many connections there are.
    fn connection_count(&self) -> usize;

    /// Returns all connections at this moment.
    fn connections(&self) -> Vec<View>;

    /// Has every connection look at what has changed.
    fn wake_connections(&self);

    /// Returns what its listener holds and cannot accept.
    fn backlog(&self) -> Option<Backlog>;
}

/// A connection at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) peer: Peer,
    pub(crate) accepted: Instant,
    /// Those whose response is not completely handed to the kernel, as far as they are known.
    pub(crate) requests: Vec<InFlight>,
    pub(crate) activity: Activity,
}

/// What a connection does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It has requests, or streams of HTTP/2 are open.
    Busy,
    /// It has switched protocols, by this request.
    Upgraded(String),
    /// Its client does not read responses that were too small to keep their requests for.
    Owing,
    Idle,
    /// A part of a request has come that the service has not been asked for.
    HalfRequest,
    /// On so many streams of HTTP/2 the server has ended, and the client goes on.
    HalfClosed(usize),
    /// Its client has not taken the whole of a response.
    Untaken,
    /// It is on its way to the successor.
    Moving,
    Closing,
}

/// Connections that the kernel has accepted and the process cannot, as the last attempt found them.
#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    pub(crate) listener: String,
    pub(crate) length: usize,
    pub(crate) error: String,
}
