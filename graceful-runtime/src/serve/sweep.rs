//! Finds connections that were busy and have become idle, by a look at them once a second.
//!
//! A timer of the runtime makes each of its turns dearer, by a twentieth of what a request costs; so there is none while
//! requests come. The thread lives only as long as there is somebody to look at.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

const INTERVAL: Duration = Duration::from_secs(1);

static SWEEP: Mutex<Sweep> = Mutex::new(Sweep {
    busy: Vec::new(),
    is_running: false,
});

struct Sweep {
    /// Gone where somebody else has found them idle, or ended.
    busy: Vec<Weak<Busy>>,
    /// There is a thread for it.
    is_running: bool,
}

/// A connection that is looked at until this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    connection: Arc<Connection>,
    /// It was found idle.
    is_idle: AtomicBool,
}

impl Busy {
    /// Has a connection looked at; its task is woken where it was idle for a second or more.
    pub(super) fn new(connection: &Arc<Connection>) -> Arc<Self> {
        let busy = Arc::new(Self {
            connection: Arc::clone(connection),
            is_idle: AtomicBool::new(false),
        });
        let mut sweep = sweep();
        sweep.busy.push(Arc::downgrade(&busy));
        if !sweep.is_running {
            let thread = thread::Builder::new().name("graceful-sweep".into());
            // Without a thread, they keep their memory.
            sweep.is_running = thread.spawn(run).is_ok();
        }
        busy
    }

    /// Tells whether it was found idle since the last call.
    #[inline]
    pub(super) fn take_idle(&self) -> bool {
        self.is_idle.load(Ordering::Relaxed) && self.is_idle.swap(false, Ordering::Relaxed)
    }

    fn look(&self, now: Instant) {
        let connection = &self.connection;
        if !connection.is_busy() && connection.last_active() + INTERVAL <= now {
            self.is_idle.store(true, Ordering::Relaxed);
            connection.wake();
        }
    }
}

fn run() {
    loop {
        thread::sleep(INTERVAL);
        let mut sweep = sweep();
        sweep.busy.retain(|busy| busy.strong_count() > 0);
        if sweep.busy.is_empty() {
            // What the peak has taken is given back.
            sweep.busy = Vec::new();
            sweep.is_running = false;
            return;
        }
        // Nobody who begins to be busy is held up by the look at the others.
        let mut busy = mem::take(&mut sweep.busy);
        drop(sweep);
        let now = Instant::now();
        let found = busy.iter().filter_map(Weak::upgrade);
        found.for_each(|busy| busy.look(now));
        self::sweep().busy.append(&mut busy);
    }
}

// Nothing that could panic runs under the lock.
fn sweep() -> MutexGuard<'static, Sweep> {
    SWEEP.lock().unwrap_or_else(PoisonError::into_inner)
}
