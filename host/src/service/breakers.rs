//! The breakers of all components that this process calls, one for each digest, so that another component in
//! the same place begins with a clean record; and what is said and logged about calls that crash.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::executions::Scene;
use super::plugins::Seated;
use super::progress::Progress;
use crate::clock::Clock;
use crate::domain::breaker::{Breaker, CRASHES, CallEnd, Permit, Turn};
use crate::domain::id::{Digest, ExecutionId};
use crate::plugin::{Ended, ExecutionError, PluginKind};

/// Breakers in memory at most. Beyond them a component is called as if it had never crashed.
const MAX_BREAKERS: usize = 1_000;

/// The breakers of this process.
#[derive(Debug)]
pub(crate) struct Breakers {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<Digest, Breaker>>,
}

/// One call of a component. It counts as one of which nothing is known when it is dropped without an end.
#[derive(Debug)]
pub(crate) struct Pass {
    breakers: Arc<Breakers>,
    digest: Digest,
    permit: Option<Permit>,
}

/// A component that is not called for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SwitchedOff {
    /// Until it is tried again; absent while somebody tries.
    left: Option<Duration>,
}

impl fmt::Display for SwitchedOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left {
            Some(left) => {
                write!(f, "it has kept crashing; a single call tries it again in {} s", left.as_secs_f64().ceil())
            }
            None => f.write_str("it has kept crashing; a single call is trying it again"),
        }
    }
}

impl Breakers {
    /// All closed.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Breaker>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether the component may be called now.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn ask(self: &Arc<Self>, digest: &Digest) -> Result<Pass, SwitchedOff> {
        let mut known = self.known();
        if known.len() >= MAX_BREAKERS && !known.contains_key(digest) {
            known.retain(|_, breaker| !breaker.is_quiet());
        }
        let permit = if known.len() < MAX_BREAKERS || known.contains_key(digest) {
            let asked = known.entry(digest.clone()).or_default().ask(self.clock.elapsed());
            Some(asked.map_err(|left| SwitchedOff { left })?)
        } else {
            None
        };
        Ok(Pass { breakers: Arc::clone(self), digest: digest.clone(), permit })
    }

    fn ended(&self, digest: &Digest, permit: Permit, end: CallEnd) -> Option<Turn> {
        self.known().get_mut(digest)?.ended(permit, end, self.clock.elapsed())
    }
}

impl Pass {
    /// Takes note of how the call ended.
    fn ended(mut self, end: CallEnd) -> Option<Turn> {
        self.breakers.ended(&self.digest, self.permit.take()?, end)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            // Unknown ends are no news.
            let _ = self.breakers.ended(&self.digest, permit, CallEnd::Unknown);
        }
    }
}

/// What a breaker makes of a result.
pub(crate) const fn end_of<T>(result: &Result<T, ExecutionError>) -> CallEnd {
    match result {
        Ok(_) | Err(ExecutionError::Failure { .. }) => CallEnd::Answered,
        Err(
            ExecutionError::Trapped { .. }
            | ExecutionError::LimitExceeded { .. }
            | ExecutionError::InvalidOutput { .. },
        ) => CallEnd::Crashed,
        Err(ExecutionError::Cancelled { .. } | ExecutionError::Journal { .. } | ExecutionError::WrongKind { .. }) => {
            CallEnd::Unknown
        }
    }
}

/// Logs a trap with the guest's backtrace.
pub(crate) fn log_trap<T>(seated: &Seated, execution: &ExecutionId, ended: &Ended<T>) {
    if let Err(ExecutionError::Trapped { kind, plugin, message, backtrace, replayable: _ }) = &ended.result {
        let backtrace = backtrace.as_deref().unwrap_or("no function is named");
        tracing::warn!(%plugin, digest = %seated.plugin.digest, %execution, "{kind} trapped: {message}\n{backtrace}");
    }
}

/// Takes note of how a call ended, and tells when its component is switched off or on by that.
pub(crate) fn note(scene: &Scene, seated: &Seated, pass: Pass, end: CallEnd) {
    let plugin = &seated.plugin;
    let text = match pass.ended(end) {
        None => return,
        Some(Turn::Opened { wait }) => format!(
            "{} `{}` has crashed {CRASHES} times in a row and is switched off for {} s: {}",
            plugin.kind,
            plugin.name,
            wait.as_secs(),
            instead(plugin.kind)
        ),
        Some(Turn::Closed) => format!("{} `{}` answers again and is switched on", plugin.kind, plugin.name),
    };
    tracing::warn!(digest = %plugin.digest, "{text}");
    scene.observer.observe(&Progress::Warning { text });
}

/// What happens without the component.
const fn instead(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Routing | PluginKind::Scheduling => "the built-in rule decides meanwhile",
        PluginKind::Review => "changes are reviewed without it meanwhile, with a warning",
        PluginKind::Spirit => {
            "attempts of its role fail at once meanwhile; `necro-host plugin swap spirit PATH` puts another in its \
             place"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::breaker::FIRST_WAIT;
    use crate::domain::call::Failure;
    use crate::plugin::capability::JournalError;
    use crate::plugin::{Limit, Limits};
    use crate::store::digest_of;

    fn breakers() -> (Arc<ManualClock>, Arc<Breakers>) {
        let clock = Arc::new(ManualClock::at(jiff::Timestamp::UNIX_EPOCH));
        (Arc::clone(&clock), Breakers::new(clock))
    }

    fn crash(breakers: &Arc<Breakers>, digest: &Digest) -> Option<Turn> {
        breakers.ask(digest).unwrap().ended(CallEnd::Crashed)
    }

    #[test]
    fn each_component_has_a_breaker_of_its_own() {
        let (clock, breakers) = breakers();
        let (one, other) = (digest_of(b"one"), digest_of(b"other"));
        assert_eq!((crash(&breakers, &one), crash(&breakers, &one)), (None, None));
        assert_eq!(crash(&breakers, &one), Some(Turn::Opened { wait: FIRST_WAIT }));
        assert!(breakers.ask(&other).is_ok());
        let off = breakers.ask(&one).unwrap_err();
        assert_eq!(off.to_string(), "it has kept crashing; a single call tries it again in 30 s");
        clock.advance(FIRST_WAIT);
        let probe = breakers.ask(&one).unwrap();
        assert_eq!(breakers.ask(&one).unwrap_err().left, None);
        drop(probe);
        let probe = breakers.ask(&one).expect("a probe that was dropped may be made again");
        assert_eq!(probe.ended(CallEnd::Answered), Some(Turn::Closed));
    }

    #[test]
    fn breakers_are_bounded_and_those_that_are_open_stay() {
        let (_, breakers) = breakers();
        let open = digest_of(b"open");
        for _ in 0..CRASHES {
            crash(&breakers, &open);
        }
        for number in 0..3 * MAX_BREAKERS {
            drop(breakers.ask(&digest_of(number.to_string().as_bytes())).unwrap());
        }
        assert!(breakers.known().len() <= MAX_BREAKERS);
        assert!(breakers.ask(&open).is_err());
        for number in 0..3 * MAX_BREAKERS {
            crash(&breakers, &digest_of(number.to_string().as_bytes()));
        }
        assert!(breakers.known().len() <= MAX_BREAKERS);
        assert!(breakers.ask(&digest_of(b"new")).is_ok(), "one more is called as if it had never crashed");
    }

    #[test]
    fn what_the_component_says_itself_is_no_crash() {
        let (kind, plugin) = (PluginKind::Routing, "x".to_owned());
        let allowed = Limit::Fuel.value(&Limits::for_kind(kind));
        let crashed = [
            ExecutionError::Trapped {
                kind,
                plugin: plugin.clone(),
                message: String::new(),
                backtrace: None,
                replayable: true,
            },
            ExecutionError::LimitExceeded { kind, plugin: plugin.clone(), limit: Limit::Fuel, allowed },
            ExecutionError::InvalidOutput { kind, plugin: plugin.clone(), reason: String::new() },
        ];
        for error in crashed {
            assert_eq!(end_of(&Err::<(), _>(error)), CallEnd::Crashed);
        }
        let failure = Failure::GaveUp(String::new());
        let said = ExecutionError::Failure { kind, plugin: plugin.clone(), failure };
        assert_eq!(end_of(&Err::<(), _>(said)), CallEnd::Answered);
        for error in [
            ExecutionError::Cancelled { kind, plugin: plugin.clone() },
            ExecutionError::Journal { kind, plugin, source: JournalError::RecordEnds },
        ] {
            assert_eq!(end_of(&Err::<(), _>(error)), CallEnd::Unknown);
        }
    }
}
