//! How long a drain waits for what may come.

use std::time::Duration;

/// How long, in a drain, the rest of a request head may take.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(1);
/// How long a listener that was busy is kept after its seal where handshakes are under way, so that they can finish.
pub(crate) const HANDSHAKES: Duration = Duration::from_millis(5);
/// How recently a connection must have come for a listener to count as busy.
pub(crate) const BUSY: Duration = Duration::from_secs(1);

/// The longest round trip that an HTTP/2 client is given in a drain; Envoy's `drain_timeout` for it.
pub(super) const GOAWAY_LIMIT: Duration = Duration::from_secs(5);
