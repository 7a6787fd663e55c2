//! What a server may choose of HTTP/2.

use std::time::Duration;

/// What a server may choose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Http2 {
    /// `None`: hyper's own limit.
    pub(super) max_concurrent_streams: Option<u32>,
    pub(super) keep_alive: Option<KeepAlive>,
}

/// How to notice that a client has vanished.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    /// After how long without a frame it is asked.
    pub(super) interval: Duration,
    /// How long its answer may take.
    pub(super) timeout: Duration,
}
