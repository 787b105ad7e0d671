//! Everybody who waits for a lock of this state directory. All of them are in its owner's process, so the
//! list is complete; it is in memory only, because a wait does not outlive its process.
//!
//! Who begins to wait is listed inside the writer's transaction that found the lock taken. Those come one
//! after the other, so of several waiters that would wait for each other only the last one is refused.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use crate::domain::waits::{Wait, circle};

use super::error::RegistryError;

/// The list, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    list: Mutex<Vec<(Weak<()>, Wait)>>,
    /// Somebody gave a lease back, or waits no more: whoever waits looks again.
    pub(super) changed: Notify,
}

/// The right to stand in the list. Whoever drops it, by whatever way out, stands there no more.
#[derive(Debug)]
pub(super) struct Place {
    alive: Option<Arc<()>>,
    waiting: Arc<Waiting>,
}

/// The same for a transaction that outlives the one who waits: it keeps nobody in the list.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    alive: Weak<()>,
    waiting: Arc<Waiting>,
}

impl Waiting {
    /// A place in the list for somebody who may have to wait.
    pub(super) fn place(self: &Arc<Self>) -> Place {
        Place { alive: Some(Arc::new(())), waiting: Arc::clone(self) }
    }

    fn forget_the_gone(&self) -> std::sync::MutexGuard<'_, Vec<(Weak<()>, Wait)>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(alive, _)| alive.strong_count() > 0);
        list
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.forget_the_gone().len()
    }
}

impl Place {
    /// For a transaction.
    pub(super) fn seat(&self) -> Seat {
        let alive = self.alive.as_ref().map_or_else(Weak::new, Arc::downgrade);
        Seat { alive, waiting: Arc::clone(&self.waiting) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.alive.take());
        let mut list = self.waiting.list.lock().unwrap_or_else(PoisonError::into_inner);
        let before = list.len();
        list.retain(|(alive, _)| alive.strong_count() > 0);
        let was_listed = list.len() < before;
        drop(list);
        if was_listed {
            // Those behind it need not wait for it any more.
            self.waiting.changed.notify_waiters();
        }
    }
}

impl Seat {
    /// Whether somebody else came earlier for the same lock, and who that is.
    pub(super) fn earlier(&self, lock: &str) -> Option<String> {
        let list = self.waiting.forget_the_gone();
        let mut earlier = list.iter().take_while(|(alive, _)| !Weak::ptr_eq(alive, &self.alive));
        earlier.find(|(_, wait)| wait.lock == lock).map(|(_, wait)| wait.holder.clone())
    }

    /// Lists it as a waiter, once. `holder_of` tells who has a lock.
    ///
    /// # Errors
    /// [`RegistryError::Deadlock`] when it would wait for itself: then it is not listed. Those of `holder_of`.
    pub(super) fn wait(
        &self,
        wait: Wait,
        holder_of: impl FnMut(&str) -> Result<Option<String>, RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut list = self.waiting.forget_the_gone();
        let is_own = |alive: &Weak<()>| Weak::ptr_eq(alive, &self.alive);
        let others: Vec<Wait> = list.iter().filter(|(alive, _)| !is_own(alive)).map(|(_, wait)| wait.clone()).collect();
        if let Some(circle) = circle(&wait, &others, holder_of)? {
            list.retain(|(alive, _)| !is_own(alive));
            return Err(RegistryError::Deadlock { circle });
        }
        if !list.iter().any(|(alive, _)| is_own(alive)) {
            list.push((self.alive.clone(), wait));
        }
        Ok(())
    }
}
