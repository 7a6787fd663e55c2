//! On which connection a request came.
//!
//! A tower service is not told. But a server of HTTP/1 calls it in the task that has just read from,
//! or written to, the connection; so the last connection that a task has touched is the one. Where
//! that does not hold, because HTTP/2 has a task for each stream or a middleware calls later, the task
//! is another one, or has touched nothing, and the request counts as a stray.
//!
//! Between two pipelined requests a task may move to another thread without a touch. Then the task is
//! looked for among all connections, unless the framework is known to call elsewhere.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::task;

use crate::serve::connection::Connection;
use crate::serve::shared::Shared;

struct Touch {
    task: task::Id,
    connection: Weak<Connection>,
}

thread_local! {
    static LAST: RefCell<Option<Touch>> = const { RefCell::new(None) };
}

/// Notes that the running task reads from or writes to `connection`.
pub(super) fn touch(connection: &Arc<Connection>) {
    let Some(task) = task::try_id() else { return };
    LAST.with_borrow_mut(|last| match last {
        Some(touch)
            if touch.task == task && touch.connection.as_ptr() == Arc::as_ptr(connection) => {}
        _ => {
            connection.note_task_id(task);
            let connection = Arc::downgrade(connection);
            *last = Some(Touch { task, connection });
        }
    });
}

/// Returns the connection that the running task has touched last.
pub(super) fn touched() -> Option<Arc<Connection>> {
    let task = task::try_id()?;
    LAST.with_borrow(|last| {
        let touch = last.as_ref().filter(|touch| touch.task == task)?;
        touch.connection.upgrade()
    })
}

/// Looks among all connections for that of the running task.
pub(super) fn searched(shared: &Shared) -> Option<Arc<Connection>> {
    let task = task::try_id()?;
    let is_of_task = |connection: &Connection| connection.is_of_task(task);
    shared.connections.find(is_of_task)
}
