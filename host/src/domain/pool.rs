//! What a slot's record says and what becomes of it: who is lent which slot, when a lease is stale, when a
//! slot is available again, and when it is isolated. Pure: whoever keeps the records asks here first.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::id::CommitId;

/// A slot that could not be cleaned so often in a row is isolated.
pub const MAX_FAILURES: u32 = 2;
/// Leases that a record remembers as given back, so that giving one back twice is no mistake.
const MAX_RELEASED: usize = 16;
/// The longest reason that a record keeps, in characters.
const MAX_REASON_CHARS: usize = 500;

/// Slots that a pool may have, at most.
pub const MAX_SLOTS: u32 = 256;

/// Which free slot is lent (`readings A9`: both are called LRU somewhere).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotChoice {
    /// The one that was used last: most of it is right already, and in the cache.
    #[default]
    Warmest,
    /// The one that has not been used for the longest time.
    LeastRecentlyUsed,
}

/// How slots get dependencies that were built before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheMode {
    /// Not at all.
    Off,
    /// As copies that share blocks, where the file system has them.
    #[default]
    CopyOnWrite,
    /// As the same files: a command that writes into one in place changes it for all slots.
    HardLink,
}

/// How a pool lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Slots that are held at the same time, at most; a slot is made when none is free.
    pub bound: u32,
    /// Which free slot is lent.
    pub choice: SlotChoice,
    /// How slots get dependencies that were built before.
    pub caches: CacheMode,
}

impl PoolSettings {
    /// How many attempts can be at work, when as many as `wanted` are wanted: integration needs a slot too.
    #[must_use]
    pub fn parallel(self, wanted: u32) -> u32 {
        wanted.min(self.bound.saturating_sub(1)).max(1)
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { bound: MAX_SLOTS, choice: SlotChoice::default(), caches: CacheMode::default() }
    }
}

/// What a slot is doing (`readings A11`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotState {
    /// It can be lent.
    Available,
    /// Somebody has it.
    Allocated,
    /// It was given back, and is being made clean.
    Cleaning,
    /// It is isolated until somebody repairs it.
    Error,
}

impl std::fmt::Display for SlotState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Available => "available",
            Self::Allocated => "allocated",
            Self::Cleaning => "cleaning",
            Self::Error => "error",
        })
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Clean => "clean",
            Self::Dirty => "dirty",
            Self::Broken => "broken",
        })
    }
}

/// What is known of a slot's files, apart from what it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Nothing was made on disk yet.
    New,
    /// It was proven to be what a commit holds, and nobody had it since.
    Clean,
    /// Somebody had it since it was last clean.
    Dirty,
    /// The last attempt to clean it failed.
    Broken,
}

/// The process that a lease belongs to. A number alone may be another process's by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it began, in the kernel's own count; compared, never computed with.
    pub began: u64,
    /// The start of the machine that both of these belong to; empty where the system does not name it.
    pub boot: String,
}

/// Who has a slot, since when and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names this lending; giving back takes it.
    pub id: String,
    /// Whose it is, for people.
    pub holder: String,
    /// The process that it ends with; absent for a person's.
    pub process: Option<Process>,
    /// When it was lent.
    pub since: Timestamp,
    /// Until when without a sign of life.
    pub until: Timestamp,
}

/// How a slot was used. Sums, so that means are found over several slots too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllocationMetrics {
    /// Times that it was lent.
    pub lent: u64,
    /// From the wish for a slot to a clean one, in all, in milliseconds.
    pub lend_ms: u64,
    /// Times that making it ready was measured.
    pub prepared: u64,
    /// How long it was held, in all, in milliseconds.
    pub held_ms: u64,
    /// Times that it was given back and cleaned.
    pub cleaned: u64,
    /// Times that work was saved before a clean.
    pub rescued: u64,
    /// Times that cleaning failed.
    pub failed: u64,
    /// Leases that were taken from a holder that was gone.
    pub expired: u64,
}

impl AllocationMetrics {
    /// Mean time from the wish to a clean slot, in milliseconds (`RPM-10.5`); `None` before the first.
    #[must_use]
    pub fn mean_lend_ms(&self) -> Option<u64> {
        self.lend_ms.checked_div(self.prepared)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            lent: self.lent + other.lent,
            lend_ms: self.lend_ms + other.lend_ms,
            prepared: self.prepared + other.prepared,
            held_ms: self.held_ms + other.held_ms,
            cleaned: self.cleaned + other.cleaned,
            rescued: self.rescued + other.rescued,
            failed: self.failed + other.failed,
            expired: self.expired + other.expired,
        }
    }
}

/// Why a slot is not lent any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Since when.
    pub at: Timestamp,
    /// For the person who repairs it.
    pub reason: String,
}

/// Everything that is kept of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRecord {
    /// Its number, from 1.
    pub number: u32,
    /// What it is doing.
    pub state: SlotState,
    /// What is known of its files.
    pub health: Health,
    /// Who has it, while it is allocated or being cleaned.
    pub lease: Option<Lease>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it was last lent or given back.
    pub last_used_at: Option<Timestamp>,
    /// The commit that it was last proven to hold.
    pub clean_at: Option<CommitId>,
    /// Cleans that failed since the last one that did not.
    pub failures: u32,
    /// Set in the state `error`.
    pub isolated: Option<Isolation>,
    /// How it was used.
    pub metrics: AllocationMetrics,
    /// Ids of the leases that were given back last.
    pub released: VecDeque<String>,
}

/// Why something cannot be done with a slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody has it.
    #[error("it is held by {holder} until {until:.0}")]
    Held {
        /// Who.
        holder: String,
        /// Until when.
        until: Timestamp,
    },
    /// It is isolated.
    #[error("it is isolated ({reason}): repair it first")]
    Isolated {
        /// Why.
        reason: String,
    },
    /// The lease is not the one that it is held by.
    #[error("nobody holds it by the lease `{lease}`")]
    NotYours {
        /// What was given.
        lease: String,
    },
}

/// What giving back means for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// It has to be cleaned now.
    Begun,
    /// It was given back before: nothing is to be done (`readings A14`).
    Before,
}

impl Lease {
    /// Whether nobody can claim it any more: its process is gone, or, without one, it has run out. A process that
    /// lives keeps its slot beyond the time (`readings A10`).
    #[must_use]
    pub fn is_stale(&self, now: Timestamp, is_alive: &dyn Fn(&Process) -> bool) -> bool {
        match &self.process {
            Some(process) => !is_alive(process),
            None => self.until <= now,
        }
    }

    /// Whether it has run out, stale or not.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}

impl SlotRecord {
    /// A slot of which nothing was made yet.
    #[must_use]
    pub fn new(number: u32, now: Timestamp) -> Self {
        Self {
            number,
            state: SlotState::Available,
            health: Health::New,
            lease: None,
            created_at: now,
            last_used_at: None,
            clean_at: None,
            failures: 0,
            isolated: None,
            metrics: AllocationMetrics::default(),
            released: VecDeque::new(),
        }
    }

    /// Whether it can be lent: nobody has it, or only somebody who is gone.
    #[must_use]
    pub fn is_free(&self, now: Timestamp, is_alive: &dyn Fn(&Process) -> bool) -> bool {
        self.isolated.is_none() && self.lease.as_ref().is_none_or(|lease| lease.is_stale(now, is_alive))
    }

    /// Lends it. What a holder that is gone left in it is cleaned by the new one.
    ///
    /// # Errors
    /// [`Refused::Held`], [`Refused::Isolated`].
    pub fn lend(&mut self, lease: Lease, now: Timestamp, is_alive: &dyn Fn(&Process) -> bool) -> Result<(), Refused> {
        if let Some(isolation) = &self.isolated {
            return Err(Refused::Isolated { reason: isolation.reason.clone() });
        }
        if let Some(held) = &self.lease {
            if !held.is_stale(now, is_alive) {
                return Err(Refused::Held { holder: held.holder.clone(), until: held.until });
            }
            self.metrics.expired += 1;
            self.forget_lease(now);
        }
        self.state = SlotState::Allocated;
        self.lease = Some(lease);
        self.last_used_at = Some(now);
        self.metrics.lent += 1;
        if self.health == Health::Clean {
            self.health = Health::Dirty;
        }
        Ok(())
    }

    /// Notes that its holder found it ready; `took` is the time since the wish for a slot, the first time.
    pub fn prepared(&mut self, at: CommitId, took: Option<Duration>) {
        self.clean_at = Some(at);
        self.failures = 0;
        self.health = Health::Dirty;
        if let Some(took) = took {
            self.metrics.prepared += 1;
            self.metrics.lend_ms += millis(took);
        }
    }

    /// Notes that it could not be made ready. Its holder gives it back, and it is not lent once more after the second
    /// time in a row.
    pub fn prepare_failed(&mut self, reason: &str, now: Timestamp) {
        self.failures += 1;
        self.metrics.failed += 1;
        self.health = Health::Broken;
        if self.failures >= MAX_FAILURES {
            self.isolate(reason, now);
        }
    }

    /// Begins to give it back.
    ///
    /// # Errors
    /// [`Refused::NotYours`]: another lease holds it, or none that was ever known here.
    pub fn begin_release(&mut self, lease: &str) -> Result<Release, Refused> {
        match &self.lease {
            Some(held) if held.id == lease => {
                if self.isolated.is_none() {
                    self.state = SlotState::Cleaning;
                }
                Ok(Release::Begun)
            }
            _ if self.released.iter().any(|id| id == lease) => Ok(Release::Before),
            _ => Err(Refused::NotYours { lease: lease.to_owned() }),
        }
    }

    /// It was proven clean: available from now on.
    pub fn cleaned(&mut self, at: Option<CommitId>, rescued: bool, now: Timestamp) {
        self.clean_at = at.or(self.clean_at.take());
        self.health = Health::Clean;
        self.failures = 0;
        self.metrics.cleaned += 1;
        self.metrics.rescued += u64::from(rescued);
        self.give_back(now);
    }

    /// It could not be cleaned: once it is tried again by whoever is lent it, then it is isolated.
    pub fn clean_failed(&mut self, reason: &str, now: Timestamp) {
        self.prepare_failed(reason, now);
        self.give_back(now);
    }

    /// It is given back as it is, because its holder will go on in it.
    ///
    /// # Errors
    /// As [`begin_release`](Self::begin_release).
    pub fn put_down(&mut self, lease: &str, now: Timestamp) -> Result<Release, Refused> {
        let release = self.begin_release(lease)?;
        if release == Release::Begun {
            self.give_back(now);
        }
        Ok(release)
    }

    /// Nobody is lent it from now on, until it is repaired.
    pub fn isolate(&mut self, reason: &str, now: Timestamp) {
        let reason = reason.chars().take(MAX_REASON_CHARS).collect();
        self.state = SlotState::Error;
        self.isolated = Some(Isolation { at: now, reason });
    }

    /// Takes it for work on the slot itself: repairing or removing it. What isolates it stays until that has succeeded.
    ///
    /// # Errors
    /// [`Refused::Held`].
    pub fn take(&mut self, lease: Lease, now: Timestamp, is_alive: &dyn Fn(&Process) -> bool) -> Result<(), Refused> {
        self.check_unused(now, is_alive)?;
        if self.lease.is_some() {
            self.metrics.expired += 1;
            self.forget_lease(now);
        }
        self.lease = Some(lease);
        if self.isolated.is_none() {
            self.state = SlotState::Cleaning;
        }
        Ok(())
    }

    /// It was made anew and proven clean.
    pub fn repaired(&mut self, at: Option<CommitId>, rescued: bool, now: Timestamp) {
        self.isolated = None;
        self.cleaned(at, rescued, now);
    }

    /// Makes what another process left half done say what it is: nobody has it, and its files are not to be trusted.
    /// Tells whether anything changed.
    pub fn reclaim(&mut self, now: Timestamp, is_alive: &dyn Fn(&Process) -> bool) -> bool {
        let Some(lease) = &self.lease else { return false };
        if !lease.is_stale(now, is_alive) {
            return false;
        }
        self.metrics.expired += 1;
        self.health = Health::Dirty;
        self.forget_lease(now);
        if self.isolated.is_none() {
            self.state = SlotState::Available;
        }
        true
    }

    /// Refuses to take a slot away that somebody has.
    ///
    /// # Errors
    /// [`Refused::Held`].
    pub fn check_unused(&self, now: Timestamp, is_alive: &dyn Fn(&Process) -> bool) -> Result<(), Refused> {
        match &self.lease {
            Some(held) if !held.is_stale(now, is_alive) => {
                Err(Refused::Held { holder: held.holder.clone(), until: held.until })
            }
            _ => Ok(()),
        }
    }

    fn give_back(&mut self, now: Timestamp) {
        self.forget_lease(now);
        self.last_used_at = Some(now);
        if self.isolated.is_none() {
            self.state = SlotState::Available;
        }
    }

    fn forget_lease(&mut self, now: Timestamp) {
        let Some(lease) = self.lease.take() else { return };
        let held = now.duration_since(lease.since);
        self.metrics.held_ms += u64::try_from(held.as_millis()).unwrap_or_default();
        self.released.push_back(lease.id);
        while self.released.len() > MAX_RELEASED {
            self.released.pop_front();
        }
    }
}

/// Which of the free slots is lent: the one that was used last, or the one that was not used for the longest time
/// (`readings A9`). Equal ones: the lower number. `None`: no slot is free.
#[must_use]
pub fn choose(
    records: &[SlotRecord],
    choice: SlotChoice,
    now: Timestamp,
    is_alive: &dyn Fn(&Process) -> bool,
) -> Option<u32> {
    let free = records.iter().filter(|record| record.is_free(now, is_alive));
    // A broken one is lent when there is no other; one that was never used counts as older than any other.
    let is_broken = |record: &SlotRecord| record.health == Health::Broken;
    let chosen = if choice == SlotChoice::Warmest {
        free.min_by_key(|record| (is_broken(record), Reverse(record.last_used_at), record.number))
    } else {
        free.min_by_key(|record| (is_broken(record), record.last_used_at, record.number))
    };
    chosen.map(|record| record.number)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
