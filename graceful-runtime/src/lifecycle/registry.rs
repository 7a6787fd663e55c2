//! Sets whose members leave by being dropped, and whose last one can be waited for: servers, connections,
//! tasks.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::sync::Notify;

/// A set whose members leave by being dropped.
#[derive(Debug)]
pub(crate) struct Registry<T: ?Sized> {
    members: Mutex<Slab<Arc<T>>>,
    emptied: Notify,
}

/// A place in a [`Registry`]; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Member<T: ?Sized> {
    registry: Arc<Registry<T>>,
    key: usize,
    value: Arc<T>,
}

impl<T> Registry<T> {
    /// Adds a member.
    pub(crate) fn enter(self: &Arc<Self>, value: T) -> Member<T> {
        self.enter_shared(Arc::new(value))
    }
}

impl<T: ?Sized> Registry<T> {
    /// Adds a member that others have as well.
    pub(crate) fn enter_shared(self: &Arc<Self>, value: Arc<T>) -> Member<T> {
        let key = self.lock().insert(Arc::clone(&value));
        Member {
            registry: Arc::clone(self),
            key,
            value,
        }
    }

    /// Returns how many members there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns all members at this moment.
    ///
    /// A copy, so that whatever is done with them happens outside the lock.
    pub(crate) fn members(&self) -> Vec<Arc<T>> {
        self.lock()
            .iter()
            .map(|(_, member)| Arc::clone(member))
            .collect()
    }

    /// Returns a member that is so; `is_so` is called under the lock.
    pub(crate) fn find(&self, is_so: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let members = self.lock();
        let mut members = members.iter().map(|(_, member)| member);
        members.find(|member| is_so(member)).cloned()
    }

    /// Waits until there is no member.
    ///
    /// # Cancel safety
    ///
    /// A drop loses nothing.
    pub(crate) async fn empty(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            // Registered before the look at the set, so that a last member cannot slip out between.
            emptied.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    // A panic while the lock is held can only come from an allocation that failed.
    fn lock(&self) -> MutexGuard<'_, Slab<Arc<T>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Default for Registry<T> {
    fn default() -> Self {
        Self {
            members: Mutex::default(),
            emptied: Notify::new(),
        }
    }
}

impl<T: ?Sized> Deref for Member<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T: ?Sized> Drop for Member<T> {
    fn drop(&mut self) {
        let mut members = self.registry.lock();
        members.remove(self.key);
        let is_empty = members.is_empty();
        drop(members);
        if is_empty {
            self.registry.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Registry;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    #[test]
    fn empty_waits_for_the_last_member() {
        let registry = Arc::new(Registry::default());
        let (one, two) = (registry.enter(1), registry.enter(2));
        let mut empty = std::pin::pin!(registry.empty());
        let mut cx = Context::from_waker(Waker::noop());

        assert!(empty.as_mut().poll(&mut cx).is_pending());
        drop(one);
        assert!(empty.as_mut().poll(&mut cx).is_pending());
        assert_eq!(registry.members(), [Arc::new(2)]);
        drop(two);
        assert!(empty.as_mut().poll(&mut cx).is_ready());
    }
}
