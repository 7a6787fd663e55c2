//! Tasks that the shutdown waits for.

use std::panic::Location;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tokio::task::JoinHandle;

use crate::lifecycle::Lifecycle;
use crate::lifecycle::registry::Member;
use crate::lifecycle::report;
use crate::lifecycle::task::Task;

/// Tells of a tracked task that panics, as nobody may ever look at its handle.
struct PanicReporter(Option<(Arc<Lifecycle>, Member<Task>)>);

impl Drop for PanicReporter {
    fn drop(&mut self) {
        if let (Some((lifecycle, task)), true) = (&self.0, thread::panicking()) {
            lifecycle.say(report::panicked(task.location));
        }
    }
}

/// Spawns a task that the shutdown waits for, up to its deadline.
///
/// Like [`tokio::spawn`], whose tasks are not waited for. Let the task end by [`shutdown`]: it is not
/// cancelled before the deadline. The log names it by the place of this call, and reports its panic.
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
    let tracked = Lifecycle::current().map(|lifecycle| {
        let member = lifecycle.tasks.enter(task);
        (lifecycle, member)
    });
    tokio::spawn(async move {
        let _tracked = PanicReporter(tracked);
        future.await
    })
}
