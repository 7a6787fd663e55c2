//! What a process occupies, which must not grow.

use std::fs;
use std::thread;
use std::time::Instant;

use crate::{Deployment, LIMIT};

/// What the process of a deployment occupies that serves.
#[derive(Debug)]
pub struct Footprint {
    descriptors: Vec<String>,
    threads: usize,
    kilobytes: usize,
    environment: usize,
}

impl Footprint {
    /// Looks at the process that serves now.
    pub fn of(server: &Deployment) -> Self {
        let serving = server.serving();
        Self {
            descriptors: serving.descriptors(),
            threads: serving.status("Threads"),
            kilobytes: serving.status("VmRSS"),
            environment: fs::read(serving.proc("environ")).map_or(0, |all| all.len()),
        }
    }

    /// Fails unless the process that serves now comes down to this, which no event announces: its hand-over may end a moment
    /// after it was logged.
    #[track_caller]
    pub fn expect_at_least(&self, server: &Deployment) {
        let deadline = Instant::now() + LIMIT;
        while !self.is_reached(server) {
            let now = Self::of(server);
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "more than {self:?}: {now:?}\n{}", server.log());
            thread::yield_now();
        }
    }

    fn is_reached(&self, server: &Deployment) -> bool {
        let now = Self::of(server);
        now.descriptors.len() <= self.descriptors.len()
            && now.threads <= self.threads
            // Pages come and go with each start; fifty leaks of a few would be more.
            && now.kilobytes <= self.kilobytes + 1024
            // A process id may have grown by a digit.
            && now.environment <= self.environment + 2
            && server.serving().zombies().is_empty()
    }
}
