//! The components that work now. A set never changes; a swap makes another one and exchanges one pointer, so that
//! whoever works goes on with what it began with.

use std::sync::{Arc, PoisonError, RwLock};

use super::plugins::{Approvals, PluginSet, Seated};
use crate::domain::assignment::RoleInfo;
use crate::domain::id::Role;
use crate::domain::seat::{Component, Seat};
use crate::plugin::{Plugin, PluginKind};

/// A pointer that can be exchanged while others follow it. Neither reading nor exchanging waits for anything that
/// takes time.
#[derive(Debug)]
pub struct Exchange<T> {
    now: RwLock<Arc<T>>,
}

impl<T> Exchange<T> {
    /// Begins with `first`.
    pub fn new(first: Arc<T>) -> Self {
        Self { now: RwLock::new(first) }
    }

    /// What it points to now. Whoever has it keeps it.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Points to `next` from now on. Gives what it pointed to.
    pub fn exchange(&self, next: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *self.now.write().unwrap_or_else(PoisonError::into_inner), next)
    }
}

/// The components of a run, or of what decides outside of runs.
pub(crate) struct Seats {
    set: Exchange<PluginSet>,
    /// Held by whoever changes a seat, from its first look to its end.
    changing: tokio::sync::Mutex<()>,
}

impl Seats {
    /// Begins with `set`.
    pub(crate) fn new(set: PluginSet) -> Arc<Self> {
        Arc::new(Self { set: Exchange::new(Arc::new(set)), changing: tokio::sync::Mutex::new(()) })
    }

    /// Who sits where now.
    pub(crate) fn now(&self) -> Arc<PluginSet> {
        self.set.now()
    }

    /// Waits until nobody else changes a seat.
    pub(crate) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Seats `next`.
    pub(crate) fn exchange(&self, next: PluginSet) {
        // What is not in use any more is taken down here, after the step.
        drop(self.set.exchange(Arc::new(next)));
    }
}

/// The name and digest of a loaded component.
pub(crate) fn component_of(plugin: &Plugin) -> Component {
    Component { name: plugin.name.clone(), digest: plugin.digest.clone() }
}

/// The seat of a loaded component.
pub(crate) fn seat_of(plugin: &Plugin, role: Option<&Role>) -> Seat {
    Seat::new(plugin.kind.as_str(), role, &plugin.name)
}

impl PluginSet {
    /// Who sits in a seat.
    pub(crate) fn sitting(&self, seat: &Seat) -> Option<&Seated> {
        match PluginKind::by_name(&seat.kind)? {
            PluginKind::Routing => Some(&self.routing),
            PluginKind::Scheduling => Some(&self.scheduling),
            PluginKind::Spirit => {
                let of_role = self.spirits.iter().find(|(role, _)| Some(role.as_str()) == seat.of.as_deref());
                of_role.map(|(_, (seated, _))| seated)
            }
            PluginKind::Review => {
                self.reviews.iter().find(|seated| Some(seated.plugin.name.as_str()) == seat.of.as_deref())
            }
        }
    }

    /// Every component with its seat.
    pub(crate) fn seats(&self) -> impl Iterator<Item = (Seat, &Seated)> {
        let spirits = self.spirits.iter().map(|(role, (seated, _))| (seat_of(&seated.plugin, Some(role)), seated));
        let others = [&self.routing, &self.scheduling].into_iter().chain(&self.reviews);
        spirits.chain(others.map(|seated| (seat_of(&seated.plugin, None), seated)))
    }

    /// The same set with one seat taken by another: a heuristic that has no seat yet joins. What components may do
    /// is as `approvals` say.
    pub(crate) fn with(&self, seated: Seated, role: Option<RoleInfo>, approvals: Approvals) -> Self {
        let mut next = Self {
            spirits: self.spirits.clone(),
            routing: self.routing.clone(),
            scheduling: self.scheduling.clone(),
            reviews: self.reviews.clone(),
            engine: self.engine.clone(),
            approvals,
        };
        next.place(seated, role);
        next
    }

    /// Puts a component into its place; a heuristic that has none yet joins.
    pub(crate) fn place(&mut self, seated: Seated, role: Option<RoleInfo>) {
        match (seated.plugin.kind, role) {
            (PluginKind::Routing, _) => self.routing = seated,
            (PluginKind::Scheduling, _) => self.scheduling = seated,
            (PluginKind::Spirit, Some(info)) => {
                self.spirits.insert(info.role.clone(), (seated, info));
            }
            // Without a role it plays none.
            (PluginKind::Spirit, None) => {}
            (PluginKind::Review, _) => {
                match self.reviews.iter_mut().find(|other| other.plugin.name == seated.plugin.name) {
                    Some(place) => *place = seated,
                    None => self.reviews.push(seated),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_old_one_keeps_it() {
        let pointer = Exchange::new(Arc::new(1));
        let kept = pointer.now();
        assert_eq!(*pointer.exchange(Arc::new(2)), 1);
        assert_eq!((*kept, *pointer.now()), (1, 2));
    }
}
