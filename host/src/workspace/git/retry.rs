//! Which failures of git another try can mend, how often, and after how long. Pure but for the wait itself, which
//! is given from outside.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::GitError;

/// Tries in all where the other side could not be reached.
const NETWORK_TRIES: u32 = 3;
/// Tries in all where another process holds a lock: such locks are held for a moment.
const LOCK_TRIES: u32 = 5;

/// How long to wait before another try after `tried` tries, at least one; `None`: another would end the same way.
/// A call that was stopped by its time limit is not begun again: it has had its time.
pub(crate) fn pause(error: &GitError, tried: u32) -> Option<Duration> {
    let (tries, first_ms, factor) = match error {
        GitError::Network { .. } => (NETWORK_TRIES, 500, 3),
        GitError::Locked { .. } => (LOCK_TRIES, 50, 2),
        _ => return None,
    };
    let grown = |tried: u32| Duration::from_millis(first_ms * u64::pow(factor, tried.saturating_sub(1)));
    (tried < tries).then(|| grown(tried))
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How it is waited.
#[derive(Clone)]
pub(crate) struct Wait(Arc<dyn Fn(Duration) -> Waiting + Send + Sync>);

impl Wait {
    /// On the clock.
    pub(crate) fn real() -> Self {
        Self(Arc::new(|pause| Box::pin(tokio::time::sleep(pause))))
    }

    /// Not at all; `told` hears how long it would have been.
    #[cfg(test)]
    pub(crate) fn told(told: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |pause| {
            told(pause);
            Box::pin(std::future::ready(()))
        }))
    }

    pub(crate) async fn wait(&self, pause: Duration) {
        (self.0)(pause).await;
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wait")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::git::classify;

    #[test]
    fn only_what_another_try_can_mend_is_tried_again() {
        let pauses = |stderr: &str| -> Vec<u128> {
            let error = classify("fetch".to_owned(), Some(128), stderr.as_bytes());
            (1..10).map_while(|tried| pause(&error, tried)).map(|pause| pause.as_millis()).collect()
        };
        for (stderr, expected) in [
            ("fatal: unable to access 'https://x/': Could not resolve host: x", &[500, 1500][..]),
            ("fatal: the remote end hung up unexpectedly", &[500, 1500]),
            ("error: RPC failed; curl 28 Operation too slow. Less than 1 bytes/sec", &[500, 1500]),
            ("fatal: Unable to create '/x/index.lock': File exists.", &[50, 100, 200, 400]),
            ("fatal: Authentication failed for 'https://x/'", &[]),
            ("fatal: repository 'https://h/x.git/' not found", &[]),
            ("fatal: cannot lock ref 'refs/x': is at a but expected b", &[]),
            ("fatal: write error: No space left on device", &[]),
            ("fatal: something", &[]),
        ] {
            assert_eq!(pauses(stderr), expected, "{stderr}");
        }
        let slow = GitError::TimedOut { command: "push".to_owned(), limit_s: 1 };
        assert_eq!(pause(&slow, 1), None);
    }
}
