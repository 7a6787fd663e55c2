//! What the main thread does: `main`, its servers, tasks, hooks, one after the other.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use futures_lite::future::{FutureExt, zip};
use tokio::sync::Notify;
use tokio::task::{self, JoinError, JoinSet};

use crate::lifecycle::current::as_main;
use crate::lifecycle::message::Message;
use crate::lifecycle::report;
use crate::lifecycle::{Lifecycle, Successor};
use crate::model::exit_code;
use crate::model::phase::{Event, Phase};
use crate::model::trigger::Reason;
use crate::server::{Failure, IntoServer, Servers};
use crate::timer::wait_until;
use crate::words::text_of;

/// From the first poll of `main` to the last hook.
pub(super) async fn story<F, T, M>(lifecycle: &Arc<Lifecycle>, main: F) -> ExitCode
where
    F: Future<Output = T>,
    T: IntoServer<M>,
{
    feed_watchdog(lifecycle);
    let servers_gone = Notify::new();
    let serving = async {
        let cut = async {
            lifecycle.reached(Phase::Stopping).await;
            None
        };
        let failure = cut.or(serve(lifecycle, main)).await;
        lifecycle.set_started();
        lifecycle.ask_to_stop(match failure {
            Some(_) => Reason::Failed,
            None => Reason::Finished,
        });
        servers_gone.notify_one();
        failure
    };
    let announcing = announce(lifecycle, &servers_gone);
    let announcing = announcing.or(lifecycle.reached(Phase::Stopping));
    let (failure, ()) = zip(serving, announcing).await;

    // An adapted server may have ended before its last connection is closed.
    let left = async {
        // What one of them ends may begin another.
        while lifecycle.serving.len() + lifecycle.tasks.len() > 0 {
            lifecycle.serving.empty().await;
            lifecycle.tasks.empty().await;
        }
    };
    left.or(lifecycle.reached(Phase::Stopping)).await;
    lifecycle.tell(Message::Happened(Event::Drained));
    if lifecycle.hooks.has_some_before_drain() || lifecycle.hooks.has_some_at_end() {
        lifecycle.reached(Phase::Stopping).await;
    }

    let deadline = lifecycle.trigger().map(|trigger| trigger.budget.deadline());
    // Those before the drain are left over where they had no time.
    run_before_drain(lifecycle, deadline).await;
    lifecycle.hooks.run_at_end(deadline).await;
    // A successor that is to be stopped as well gets its time, which is short.
    lifecycle.restart_decided().await;

    exit_code(lifecycle, failure)
}

/// Returns the code of a process that has come to its end in time, or whose work was cut for its hooks.
fn exit_code(lifecycle: &Lifecycle, failure: Option<ExitCode>) -> ExitCode {
    match failure {
        _ if lifecycle.is_cut() => exit_code::DEADLINE.into(),
        Some(code) => code,
        None if lifecycle
            .trigger()
            .is_some_and(|trigger| trigger.reason == Reason::Failed) =>
        {
            ExitCode::FAILURE
        }
        // Whoever watches over this process may start it again.
        None if matches!(lifecycle.successor(), Some(Successor::Lost(_))) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}

/// Has the runtime tell a service manager that it is alive, as long as it is.
fn feed_watchdog(lifecycle: &Arc<Lifecycle>) {
    if let Some(interval) = lifecycle.service_manager.watchdog_interval() {
        let manager = lifecycle.service_manager.clone();
        tokio::spawn(async move {
            loop {
                manager.keep_alive();
                tokio::time::sleep(interval).await;
            }
        });
    }
}

/// Runs `main` and its servers to their end; returns the first failure.
async fn serve<F, T, M>(lifecycle: &Arc<Lifecycle>, main: F) -> Option<ExitCode>
where
    F: Future<Output = T>,
    T: IntoServer<M>,
{
    let cancelled = async {
        lifecycle.start_up_cancelled().await;
        None
    };
    let main = async { Some(AssertUnwindSafe(as_main(main)).catch_unwind().await) };
    // A signal that came before `main` keeps it from beginning.
    let returned = match cancelled.or(main).await {
        Some(Ok(returned)) => returned,
        Some(Err(_)) => {
            lifecycle.set_error("`main` panicked".into());
            return Some(exit_code::PANIC.into());
        }
        None => return None,
    };
    lifecycle.set_started();
    let mut servers = Servers::default();
    returned.add_to(&mut servers);
    let failure = servers.failure;
    if let Some(error) = servers.error.take() {
        lifecycle.set_error(error);
    }
    let (running, ids) = start(lifecycle, servers);
    if failure.is_some() {
        // What else was returned drains.
        lifecycle.ask_to_stop(Reason::Failed);
    }
    let first = wait_for_servers(lifecycle, running, &ids).await;
    failure.or(first)
}

/// Waits for the servers, each of which takes the others with it; returns the code of the first that failed.
async fn wait_for_servers(
    lifecycle: &Lifecycle,
    mut running: JoinSet<Result<(), Failure>>,
    ids: &[task::Id],
) -> Option<ExitCode> {
    let mut failure = None;
    while let Some(ended) = running.join_next_with_id().await {
        lifecycle.change_server_counts(|servers| servers.running -= 1);
        let (id, ended) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(failed))) => (id, Some((failed.code, "failed", failed.error))),
            Err(panicked) => {
                let id = panicked.id();
                (
                    id,
                    Some((exit_code::PANIC.into(), "panicked", message_in(panicked))),
                )
            }
        };
        let reason = match ended {
            None => Reason::Finished,
            Some((code, how, why)) => {
                let number = ids.iter().position(|started| *started == id);
                let number = number.map_or(0, |index| index + 1);
                let error = report::server_failed(number, ids.len(), how, why.as_deref());
                lifecycle.say_error(&error);
                lifecycle.set_error(error);
                failure.get_or_insert(code);
                Reason::Failed
            }
        };
        // The others drain.
        lifecycle.ask_to_stop(reason);
    }
    failure
}

/// Returns what a server has panicked with, where that is a text.
fn message_in(panicked: JoinError) -> Option<String> {
    let payload = panicked.try_into_panic().ok()?;
    text_of(&*payload).map(str::to_owned)
}

/// Spawns the servers, and tells of readiness when each has been polled and nothing has failed. Returns their ids, in
/// the order in which `main` returned them.
fn start(
    lifecycle: &Arc<Lifecycle>,
    servers: Servers,
) -> (JoinSet<Result<(), Failure>>, Vec<task::Id>) {
    let count = servers.futures.len();
    lifecycle.change_server_counts(|servers| servers.running = count);
    // Beside what has failed already, the process never gets ready.
    let unready = count + usize::from(servers.failure.is_some());
    let unready = Arc::new(AtomicUsize::new(unready));
    let mut running = JoinSet::new();
    let mut ids = Vec::new();
    for mut server in servers.futures {
        let lifecycle = Arc::clone(lifecycle);
        let unready = Arc::clone(&unready);
        let is_polled = Cell::new(false);
        let task = running.spawn(poll_fn(move |cx| {
            let polled = Pin::new(&mut server).poll(cx);
            let is_well = !matches!(polled, Poll::Ready(Err(_)));
            if is_well && !is_polled.replace(true) && unready.fetch_sub(1, Ordering::AcqRel) == 1 {
                lifecycle.announce_accepting();
            }
            polled
        }));
        ids.push(task.id());
    }
    (running, ids)
}

/// Runs the hooks before the drain, unless nothing ever came here that could be drained.
async fn run_before_drain(lifecycle: &Lifecycle, end: Option<Instant>) {
    // What such a hook takes back, as an entry in a registry, is the predecessor's, which serves on.
    if !lifecycle.has_missed_its_turn() {
        lifecycle.hooks.run_before_drain(end).await;
    }
}

/// From the trigger to the beginning of the drain: the hooks before it, and the lame duck's time.
async fn announce(lifecycle: &Lifecycle, servers_gone: &Notify) {
    lifecycle.reached(Phase::LameDuck).await;
    let Some(trigger) = lifecycle.trigger() else {
        return;
    };
    if lifecycle.phase() < Phase::Stopping {
        let end = trigger.lame_duck_end();
        let patience = trigger.budget.begin() + trigger.budget.half();
        let mut hooks = pin!(run_before_drain(lifecycle, Some(patience)));
        let are_done = async {
            hooks.as_mut().await;
            true
        };
        let is_late = async {
            wait_until(patience.into()).await;
            false
        };
        let are_done = are_done.or(is_late).await;
        wait_until(end.into()).or(servers_gone.notified()).await;
        if lifecycle.phase() < Phase::Draining {
            lifecycle.tell(Message::Happened(Event::LameDuckOver));
        }
        if !are_done {
            // They had half of the budget; the drain goes on beside them.
            hooks.await;
        }
    }
}
