//! Tasks that the shutdown waits for.

use std::panic::Location;
use std::time::Instant;

use tokio::task::JoinHandle;

use crate::lifecycle::Lifecycle;

/// A tracked task, as the report names it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) location: &'static Location<'static>,
    pub(crate) started: Instant,
}

/// Spawns a task that the shutdown waits for, up to its deadline.
///
/// Like [`tokio::spawn`], whose tasks are not waited for. Let the task end by [`shutdown`]: it is not
/// cancelled before the budget is used up. The report names it by the place of this call.
///
/// Outside a lifecycle it is [`tokio::spawn`].
///
/// # Panics
///
/// Panics outside a tokio runtime.
///
/// ```
/// use graceful::Config;
///
/// # let (done, is_done) = std::sync::mpsc::channel();
/// Config::new().signals([]).run(async move {
///     graceful::spawn(async move {
///         graceful::shutdown().await;
///         // Write down what must not be lost.
/// #       done.send(()).ok();
///     });
/// });
/// # is_done.try_recv().expect("the task was waited for");
/// ```
///
/// [`shutdown`]: crate::shutdown()
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = Task {
        location: Location::caller(),
        started: Instant::now(),
    };
    let member = Lifecycle::current().map(|lifecycle| lifecycle.tasks.enter(task));
    tokio::spawn(async move {
        let _member = member;
        future.await
    })
}
