//! What a server may choose.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How long a request head, or the silence of a new connection, may take.
    pub(crate) header_timeout: Duration,
    /// How long an idle connection is kept; `None`: as long as its client keeps it.
    pub(crate) keep_alive_timeout: Option<Duration>,
    /// How long after a response an idle connection stays with hyper.
    pub(crate) park_after: Duration,
    /// `None`: a connection is ended neither for its age nor for the number of its requests.
    pub(crate) life: Option<Life>,
    /// Requests are given the address of their client.
    pub(crate) connect_info: bool,
    /// The end of what a client sends does not mean that it has gone.
    pub(crate) half_close: bool,
    pub(crate) http2: Http2,
}

/// After how much a connection is ended, so that its client opens another one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    /// How many requests it may bring.
    pub(crate) max_requests: Option<u64>,
    /// How old it may be, more or less.
    pub(crate) max_age: Option<Duration>,
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
            keep_alive_timeout: Some(Duration::from_secs(75)),
            park_after: Duration::from_millis(5),
            life: None,
            connect_info: false,
            half_close: false,
            http2: Http2::default(),
        }
    }
}
