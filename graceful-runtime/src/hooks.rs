//! What runs before the drain and after it.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::lifecycle::Lifecycle;
use crate::succession::RestartError;

type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The hooks of one lifecycle.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    before_drain: Mutex<Vec<Hook>>,
    at_end: Mutex<Vec<Hook>>,
    running: Mutex<Vec<&'static Location<'static>>>,
    bequest: Mutex<Option<Bequest>>,
}

/// Makes what is left to a successor; asked again at every restart.
#[derive(Clone)]
struct Bequest(Arc<dyn Fn() -> Leaving + Send + Sync>);

type Leaving = Pin<Box<dyn Future<Output = Result<Vec<u8>, RestartError>> + Send>>;

impl fmt::Debug for Bequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bequest")
    }
}

pub(crate) struct Hook {
    location: &'static Location<'static>,
    run: Run,
}

/// Registers what has to happen before the drain begins, such as leaving a service registry.
///
/// Hooks run in reverse order of their registration, each after the one before, once, on every path
/// to the end but a forced one (the deadline, a second Ctrl-C). A hook that takes more than its share
/// of what is left of the budget no longer holds up the next, and goes on beside it. A panic ends only
/// the hook. `graceful::shutdown().remaining()` tells how much is left. All of them together hold up
/// the drain for half of the budget at most.
///
/// They run at a hand-over, too, where a successor serves already: what is about the service rather
/// than this process looks at `graceful::shutdown().reason()` for [`Reason::HandedOver`].
///
/// [`Reason::HandedOver`]: crate::Reason::HandedOver
///
/// # Panics
///
/// Panics outside a lifecycle.
///
/// ```
/// use graceful::Config;
///
/// Config::new().signals([]).run(async {
///     graceful::on_drain(async { println!("leaving the registry") });
/// });
/// ```
#[track_caller]
pub fn on_drain(hook: impl Future<Output = ()> + Send + 'static) {
    register(|hooks| &hooks.before_drain, Box::pin(hook));
}

/// Registers what has to happen at the end, when the last connection and the last tracked task are
/// gone, such as closing a database pool.
///
/// Order, budget and panics are as for [`on_drain`]. Where connections hold on to the deadline, they
/// are cut after nine tenths of the budget, so that the hooks have their turn.
///
/// # Panics
///
/// Panics outside a lifecycle.
///
/// ```
/// use graceful::Config;
///
/// Config::new().signals([]).run(async {
///     graceful::on_stop(async { println!("the last words") });
/// });
/// ```
#[track_caller]
pub fn on_stop(hook: impl Future<Output = ()> + Send + 'static) {
    register(|hooks| &hooks.at_end, Box::pin(hook));
}

/// Registers what makes the bytes that a restart leaves to the successor, which reads them by
/// [`inherited_state`](crate::inherited_state); at most 16 MiB.
///
/// It is called at the begin of every restart. An error cancels the restart, so it is a veto, too. The
/// last registration counts.
///
/// # Panics
///
/// Panics outside a lifecycle.
///
/// ```
/// use graceful::Config;
///
/// Config::new().signals([]).run(async {
///     graceful::on_handover(|| async { Ok::<_, std::io::Error>(b"42 visitors".to_vec()) });
/// });
/// ```
#[track_caller]
pub fn on_handover<F, T, E>(leave: F)
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
    E: fmt::Display,
{
    let bequest = Bequest(Arc::new(move || {
        let leaving = leave();
        Box::pin(async move { leaving.await.map_err(RestartError::new) })
    }));
    *lock(&lifecycle().hooks.bequest) = Some(bequest);
}

#[track_caller]
fn lifecycle() -> Arc<Lifecycle> {
    // Not in a closure, which would not know its caller.
    let Some(lifecycle) = Lifecycle::current() else {
        panic!("a hook was registered on a thread outside `#[graceful::main]`");
    };
    lifecycle
}

#[track_caller]
fn register(list: fn(&Hooks) -> &Mutex<Vec<Hook>>, run: Run) {
    let hook = Hook {
        location: Location::caller(),
        run,
    };
    lock(list(&lifecycle().hooks)).push(hook);
}

impl Hooks {
    /// Tells whether a hook is left for the end.
    pub(crate) fn has_last_words(&self) -> bool {
        !lock(&self.at_end).is_empty()
    }

    /// Makes what is left to a successor; `None` where nothing was registered.
    pub(crate) async fn bequeath(&self, limit: Duration) -> Result<Option<Vec<u8>>, RestartError> {
        let Some(bequest) = lock(&self.bequest).clone() else {
            return Ok(None);
        };
        match tokio::time::timeout(limit, (bequest.0)()).await {
            Ok(left) => left.map(Some),
            Err(_) => Err(RestartError::new(
                "the hook for the hand-over took too long",
            )),
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
