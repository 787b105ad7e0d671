//! Time as a dependency: the only place that reads the machine's clock.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time, UTC.
    fn now(&self) -> jiff::Timestamp;
    /// Time since some fixed point; never goes backwards.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is told to move; for tests.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<(jiff::Timestamp, Duration)>,
}

impl ManualClock {
    /// Stands at `now`.
    #[must_use]
    pub const fn at(now: jiff::Timestamp) -> Self {
        Self { now: Mutex::new((now, Duration::ZERO)) }
    }

    /// Moves both readings forward.
    pub fn advance(&self, by: Duration) {
        let mut guard = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.0 += by;
        guard.1 += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> jiff::Timestamp {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    fn elapsed(&self) -> Duration {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}
