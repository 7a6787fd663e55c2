//! The requests that were dropped in a drain because their clients had gone away.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many of them have a name; a line has no room for more.
const NAMED_MAX: usize = 3;

/// Counts them, and keeps the names of the first.
#[derive(Debug, Default)]
pub(crate) struct Gone(Mutex<GoneRequests>);

#[derive(Debug, Default)]
struct GoneRequests {
    count: usize,
    named: Vec<String>,
}

impl Gone {
    pub(crate) fn add(&self, request: impl FnOnce() -> String) {
        let mut requests = self.requests();
        requests.count += 1;
        if requests.named.len() < NAMED_MAX {
            requests.named.push(request());
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.requests().count
    }

    // A name is cut to its length before it comes here, and nothing else could panic.
    fn requests(&self) -> MutexGuard<'_, GoneRequests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As in `2 left by their clients: GET /a from 192.0.2.1:1000, GET /b from 192.0.2.1:2000`.
impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests();
        let whose = if requests.count == 1 {
            "its client"
        } else {
            "their clients"
        };
        write!(
            f,
            "{} left by {whose}: {}",
            requests.count,
            requests.named.join(", ")
        )?;
        match requests.count - requests.named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_the_rest_is_counted() {
        let gone = Gone::default();
        gone.add(|| "GET /0".into());
        assert_eq!(gone.to_string(), "1 left by its client: GET /0");
        (1..5).for_each(|number| gone.add(|| format!("GET /{number}")));
        assert_eq!(gone.count(), 5);
        assert_eq!(
            gone.to_string(),
            "5 left by their clients: GET /0, GET /1, GET /2 and 2 more"
        );
    }
}
