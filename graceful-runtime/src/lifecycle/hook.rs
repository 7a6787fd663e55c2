//! The hooks of one lifecycle, and how they run.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::handover::error::{RestartError, RestartErrorKind};

pub(crate) type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The hooks of one lifecycle.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    before_drain: Mutex<Vec<Hook>>,
    at_end: Mutex<Vec<Hook>>,
    running: Mutex<Vec<&'static Location<'static>>>,
    state_maker: Mutex<Option<StateMaker>>,
}

/// Makes what is left to a successor; asked again at every restart.
#[derive(Clone)]
struct StateMaker(Arc<dyn Fn() -> StateFuture + Send + Sync>);

pub(crate) type StateFuture = Pin<Box<dyn Future<Output = Result<Vec<u8>, RestartError>> + Send>>;

impl fmt::Debug for StateMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateMaker")
    }
}

pub(crate) struct Hook {
    location: &'static Location<'static>,
    run: Run,
}

impl Hooks {
    pub(crate) fn add_before_drain(&self, hook: Hook) {
        lock(&self.before_drain).push(hook);
    }

    pub(crate) fn add_at_end(&self, hook: Hook) {
        lock(&self.at_end).push(hook);
    }

    /// Sets what makes the bytes for a successor.
    pub(crate) fn set_state_maker(&self, leave: impl Fn() -> StateFuture + Send + Sync + 'static) {
        *lock(&self.state_maker) = Some(StateMaker(Arc::new(leave)));
    }

    /// Tells whether a hook is left to be run before the drain.
    pub(crate) fn has_some_before_drain(&self) -> bool {
        !lock(&self.before_drain).is_empty()
    }

    /// Tells whether a hook is left for the end.
    pub(crate) fn has_some_at_end(&self) -> bool {
        !lock(&self.at_end).is_empty()
    }

    /// Makes what is left to a successor; `None` where nothing was registered.
    pub(crate) async fn make_state(
        &self,
        limit: Duration,
    ) -> Result<Option<Vec<u8>>, RestartError> {
        let Some(state_maker) = lock(&self.state_maker).clone() else {
            return Ok(None);
        };
        match tokio::time::timeout(limit, (state_maker.0)()).await {
            Ok(left) => left.map(Some),
            Err(_) => Err(RestartErrorKind::HookTooSlow.into()),
        }
    }

    /// Returns where the running hooks were registered.
    pub(crate) fn running(&self) -> Vec<&'static Location<'static>> {
        lock(&self.running).clone()
    }

    fn set_running(&self, hooks: &[Hook]) {
        *lock(&self.running) = hooks.iter().map(|hook| hook.location).collect();
    }

    /// Runs the hooks before the drain; those that are slow share what is left until `end`.
    pub(crate) async fn run_before_drain(&self, end: Option<Instant>) {
        self.run(&self.before_drain, end).await;
    }

    /// Runs the hooks at the end.
    pub(crate) async fn run_at_end(&self, end: Option<Instant>) {
        self.run(&self.at_end, end).await;
    }

    async fn run(&self, list: &Mutex<Vec<Hook>>, end: Option<Instant>) {
        let mut active = Vec::new();
        // A hook may register another one.
        while let Some((hook, others)) = next(list) {
            active.push(hook);
            let mut patience = pin!(tokio::time::sleep(share(end, others)));
            let is_last = others == 0;
            poll_fn(|cx| {
                // Before the poll as well: one that blocks its thread is to be named.
                self.set_running(&active);
                active.retain_mut(|hook| hook.poll(cx).is_pending());
                self.set_running(&active);
                let is_over =
                    active.is_empty() || (!is_last && patience.as_mut().poll(cx).is_ready());
                if is_over {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
    }
}

impl Hook {
    pub(crate) fn new(location: &'static Location<'static>, run: Run) -> Self {
        Self { location, run }
    }

    /// Polls the hook; one that panics has ended, and the panic hook has printed why.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        catch_unwind(AssertUnwindSafe(|| self.run.as_mut().poll(cx))).unwrap_or(Poll::Ready(()))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// Takes the hook that was registered last, and counts those that are left.
fn next(list: &Mutex<Vec<Hook>>) -> Option<(Hook, usize)> {
    let mut waiting = lock(list);
    waiting.pop().map(|hook| (hook, waiting.len()))
}

/// Returns how long a hook may hold up the `others` that still wait: a fair share of what is left.
fn share(end: Option<Instant>, others: usize) -> Duration {
    let left = end.map_or(Duration::MAX, |end| {
        end.saturating_duration_since(Instant::now())
    });
    left / u32::try_from(others + 1).unwrap_or(u32::MAX)
}

// No user code runs under these locks, so a poisoned one holds nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
