//! What runs before the drain and after it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::handover::error::RestartErrorKind;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::hook::Hook;

/// Registers what has to happen before the drain begins, such as leaving a service registry.
///
/// Hooks run in reverse order of their registration, each after the one before, once, on every path
/// to the end but a forced one (the deadline, a second Ctrl-C, the predecessor of a successor that has
/// failed). A hook that takes more than its share of what is left of the budget no longer holds up the
/// next, and goes on beside it. A panic ends only the hook. `graceful::shutdown().remaining()` tells how
/// much is left. All of them together hold up the drain for half of the budget at most.
///
/// They do not run in a successor that stops before it serves: its predecessor serves on, with its entry
/// in the registry. They run at a hand-over, too, where a successor serves already: what is about the
/// service rather than this process looks at `graceful::shutdown().reason()` for [`Reason::HandedOver`].
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
    let hook = Hook::new(Location::caller(), Box::pin(hook));
    lifecycle().hooks.add_before_drain(hook);
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
    let hook = Hook::new(Location::caller(), Box::pin(hook));
    lifecycle().hooks.add_at_end(hook);
}

/// Registers what makes the bytes for the successor, which reads them by
/// [`inherited_state`](crate::inherited_state); at most 16 MiB.
///
/// It is called at the beginning of every restart. An error cancels the restart, so it is a veto, too. A
/// later registration replaces it.
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
    lifecycle().hooks.set_state_maker(move || {
        let leaving = leave();
        Box::pin(async move {
            let veto = |error: E| RestartErrorKind::Vetoed(error.to_string()).into();
            leaving.await.map_err(veto)
        })
    });
}

#[track_caller]
fn lifecycle() -> Arc<Lifecycle> {
    // Not in a closure, which would not know its caller.
    let Some(lifecycle) = Lifecycle::current() else {
        panic!("a hook was registered on a thread outside `#[graceful::main]`");
    };
    lifecycle
}
