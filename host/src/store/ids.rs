//! Makes every id that is not part of the domain: UUID v7, from the injected clock.

use std::sync::{Arc, Mutex};

use uuid::timestamp::context::ContextV7;
use uuid::{Timestamp, Uuid};

use crate::clock::Clock;
use crate::domain::id::{ArtifactUri, ExecutionId, RunId};

/// Makes ids. Those of one maker sort in the order in which they were made.
#[derive(Debug, Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    context: Arc<Mutex<ContextV7>>,
}

impl Ids {
    /// A maker whose ids carry the time of `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, context: Arc::new(Mutex::new(ContextV7::new())) }
    }

    /// A plain id, for whatever has no type of its own: runners, leases, messages.
    #[must_use]
    pub fn text(&self) -> String {
        let now = self.clock.now();
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        Uuid::new_v7(Timestamp::from_unix(&*self.context, seconds, nanos)).to_string()
    }

    /// A new run.
    #[must_use]
    pub fn run(&self) -> RunId {
        RunId::new(self.text()).expect("a UUID is a run id")
    }

    /// A new execution.
    #[must_use]
    pub fn execution(&self) -> ExecutionId {
        ExecutionId::new(self.text()).expect("a UUID is an execution id")
    }

    /// A new artifact's address.
    #[must_use]
    pub fn artifact(&self) -> ArtifactUri {
        ArtifactUri::new(format!("artifact:{}", self.text())).expect("a UUID with a prefix is an address")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Ids;
    use crate::clock::ManualClock;

    #[test]
    fn ids_are_unique_and_sorted_while_the_clock_stands_still() {
        let ids = Ids::new(Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap())));
        let made: Vec<String> = (0..1000).map(|_| ids.text()).collect();
        assert!(made.is_sorted_by(|a, b| a < b), "not strictly ascending");
    }
}
