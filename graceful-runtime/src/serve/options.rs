//! What a server may choose.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How long a request head, or the silence of a new connection, may take.
    pub(crate) header_timeout: Duration,
    /// Requests are given the address of their client.
    pub(crate) connect_info: bool,
    /// The end of what a client sends does not mean that it has gone.
    pub(crate) half_close: bool,
    pub(crate) http2: Http2,
}

/// What is special to HTTP/2.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Http2 {
    /// `None`: hyper's own limit.
    pub(crate) max_concurrent_streams: Option<u32>,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// How to notice that a client has vanished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// After how long without a frame it is asked.
    pub(crate) interval: Duration,
    /// How long its answer may take.
    pub(crate) timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            connect_info: false,
            half_close: false,
            http2: Http2::default(),
        }
    }
}
