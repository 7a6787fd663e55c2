//! A request in flight.

use std::fmt;

use hyper::Method;
use hyper::http::uri::PathAndQuery;
use tokio::time::Instant;

use crate::text::printable;

/// A request in flight, as the report names it.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) started: Instant,
    pub(crate) method: Method,
    pub(crate) path: Option<PathAndQuery>,
    /// It goes on as a stream of another protocol.
    pub(crate) is_upgraded: bool,
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may hold what must not be in a log.
        let path = self.path.as_ref().map_or("", PathAndQuery::path);
        let (method, path) = (printable(self.method.as_str(), 20), printable(path, 100));
        write!(f, "{method} {path}")
    }
}
