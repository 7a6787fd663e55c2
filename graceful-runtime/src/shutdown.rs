//! Learning of the shutdown, and asking for it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::lifecycle::Lifecycle;
use crate::lifecycle::current::Attendance;
use crate::model::phase::Phase;
use crate::model::trigger::Reason;

/// A future that resolves when the drain begins; see [`shutdown()`].
///
/// Clone it into every task that has to know. It may be polled again when it has resolved, as in a
/// loop of `select!`, and is ready then, too.
///
/// # Cancel safety
///
/// A drop loses nothing.
///
/// ```no_run
/// # async fn work(_: graceful::Shutdown) {}
/// # async fn example() {
/// let shutdown = graceful::shutdown();
/// for _ in 0..4 {
///     graceful::spawn(work(shutdown.clone()));
/// }
/// # }
/// ```
pub struct Shutdown {
    lifecycle: Arc<Lifecycle>,
    // Boxed at the first poll; a handle that is only asked costs no allocation.
    drain: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// `main` has called for it, or uses it.
    attendance: OnceLock<Arc<Attendance>>,
}

/// Returns a handle on the shutdown of the current lifecycle: a future, and a view of the budget.
///
/// The future resolves when the drain begins, which is after the lame duck: until then traffic goes
/// on, so any framework's `with_graceful_shutdown` takes it as it is. A WebSocket or a stream of
/// events ends itself by it.
///
/// A `main` that calls this, awaits such a handle or asks it [whether](Shutdown::is_triggered) to go on ends
/// by itself: as long as the handle or a clone of it lives, a signal does not drop a `main` that has not
/// returned. A handle that only tasks use has no such effect; tasks of [`spawn`](crate::spawn) are waited
/// for.
///
/// Outside a lifecycle, as in a unit test of a handler, it never resolves.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
/// use std::time::Duration;
///
/// let mut ticks = tokio::time::interval(Duration::from_secs(60));
/// let mut shutdown = graceful::shutdown();
/// # let mut ticked = 0;
/// loop {
///     tokio::select! {
///         _ = ticks.tick() => { /* one unit of work */
/// #           ticked += 1; if ticked > 2 { break; }
///         }
///         () = &mut shutdown => break,
///     }
/// }
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn shutdown() -> Shutdown {
    let lifecycle = Lifecycle::current_or_detached();
    let shutdown = Shutdown::new(lifecycle);
    shutdown.attend();
    shutdown
}

/// Triggers the shutdown of the current lifecycle: the same path as a signal.
///
/// Returns at once. A shutdown that is under way goes on unchanged.
///
/// # Panics
///
/// Panics outside a lifecycle: on a thread that does not belong to its runtime. There, keep a
/// [`Shutdown`] and call [`Shutdown::stop`].
///
/// ```
/// use graceful::Config;
///
/// let code = Config::new().signals([]).run(async {
///     graceful::stop();
///     graceful::shutdown().await;
/// });
/// assert_eq!(code, std::process::ExitCode::SUCCESS);
/// ```
#[track_caller]
pub fn stop() {
    let Some(lifecycle) = Lifecycle::current() else {
        panic!(
            "`graceful::stop()` was called on a thread outside `#[graceful::main]`; keep a \
             `graceful::shutdown()` and call `.stop()` on it"
        );
    };
    lifecycle.ask_to_stop(Reason::Call);
}

impl Shutdown {
    pub(crate) fn new(lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            lifecycle,
            drain: None,
            attendance: OnceLock::new(),
        }
    }

    /// Notes that it is used, which matters where `main` does it.
    fn attend(&self) {
        if self.attendance.get().is_none()
            && let Some(attendance) = self.lifecycle.attend()
        {
            // Two threads do not poll `main` at a time.
            let _ = self.attendance.set(Arc::new(attendance));
        }
    }

    /// Triggers the shutdown, as [`stop`](fn@stop), from any thread.
    ///
    /// ```
    /// graceful::shutdown().stop();
    /// ```
    pub fn stop(&self) {
        self.lifecycle.ask_to_stop(Reason::Call);
    }

    /// Tells whether a shutdown was triggered: readiness is off from then on.
    ///
    /// ```
    /// assert!(!graceful::shutdown().is_triggered());
    /// ```
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.attend();
        self.lifecycle.phase().is_triggered()
    }

    /// Returns what is left of the budget, or `None` before the trigger.
    ///
    /// ```
    /// assert_eq!(graceful::shutdown().remaining(), None);
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let trigger = self.lifecycle.trigger()?;
        Some(trigger.budget.remaining(Instant::now()))
    }

    /// Returns why the shutdown was triggered, or `None` before that.
    ///
    /// ```
    /// assert_eq!(graceful::shutdown().reason(), None);
    /// ```
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.lifecycle.trigger().map(|trigger| trigger.reason)
    }
}

impl Future for Shutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.attend();
        if this.lifecycle.phase() >= Phase::Draining {
            this.drain = None;
            return Poll::Ready(());
        }
        let drain = this.drain.get_or_insert_with(|| {
            let lifecycle = Arc::clone(&this.lifecycle);
            Box::pin(async move { lifecycle.reached(Phase::Draining).await })
        });
        let polled = drain.as_mut().poll(cx);
        if polled.is_ready() {
            this.drain = None;
        }
        polled
    }
}

impl Clone for Shutdown {
    fn clone(&self) -> Self {
        Self {
            lifecycle: Arc::clone(&self.lifecycle),
            drain: None,
            attendance: self.attendance.clone(),
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("phase", &self.lifecycle.phase())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::{Reason, Shutdown};
    use crate::lifecycle::surroundings::Surroundings;
    use crate::lifecycle::{Lifecycle, Settings};
    use crate::model::phase::Event;
    use crate::model::trigger::LameDuck;

    #[test]
    fn it_resolves_with_the_drain_and_stays_resolved() {
        let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
        let mut shutdown = Shutdown::new(Arc::clone(&lifecycle));
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = || std::pin::Pin::new(&mut shutdown).poll(&mut cx).is_ready();

        assert!(!poll());
        lifecycle.set_trigger(
            Reason::Call,
            Duration::MAX,
            LameDuck::Chosen(Duration::ZERO),
        );
        lifecycle.step(Event::Trigger);
        assert!(!poll(), "a lame duck still serves");
        lifecycle.step(Event::LameDuckOver);
        assert!(poll());
        assert!(poll(), "a loop of `select!` polls it again");
    }
}
