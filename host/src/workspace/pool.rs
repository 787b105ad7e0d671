//! The slots of one mirror: who is lent which, kept on disk so that several processes can use one pool. What is decided
//! is `domain::pool`'s; here it is asked and carried out.

mod ledger;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::ledger::Ledger;
pub use self::process::Liveness;
use super::clean::remove;
use super::mirror::Mirror;
use super::place::Prepared;
use super::slot::Slot;
use super::{WorkspaceError, blocking};
use crate::clock::Clock;
use crate::domain::id::{CommitId, SlotId};
use crate::domain::pool::{self, CacheMode, Lease, MAX_SLOTS, PoolSettings, Refused, Release, SlotRecord};
use crate::failpoint;

/// For whom a slot is lent, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Names the lending; giving back takes it. Never given twice.
    pub lease: String,
    /// Whose it is, for people.
    pub holder: String,
    /// How long without a sign of life.
    pub ttl: Duration,
    /// Whether it ends with this process. A person's goes on after the command that took it.
    pub ends_with_process: bool,
}

/// What giving a slot back by its lease did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenBack {
    /// It was cleaned.
    Now(Prepared),
    /// It was given back before: nothing was done (`readings A14`).
    Before,
}

/// The slots of one mirror.
#[derive(Debug, Clone)]
pub struct SlotPool {
    pub(super) inner: Arc<Inner>,
}

/// What the handles of a pool share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) mirror: Arc<Mirror>,
    ledger: Ledger,
    settings: PoolSettings,
    clock: Arc<dyn Clock>,
    liveness: Liveness,
    returned: tokio::sync::Notify,
}

impl SlotPool {
    /// The pool of `mirror`. Nothing is made on disk yet.
    #[must_use]
    pub fn new(mirror: Arc<Mirror>, settings: PoolSettings, clock: Arc<dyn Clock>) -> Self {
        Self::with_liveness(mirror, settings, clock, Liveness::of_system())
    }

    /// The same, with another way of telling who is alive.
    #[must_use]
    pub fn with_liveness(
        mirror: Arc<Mirror>,
        settings: PoolSettings,
        clock: Arc<dyn Clock>,
        liveness: Liveness,
    ) -> Self {
        let ledger = Ledger::new(mirror.dir().join("host"));
        let returned = tokio::sync::Notify::new();
        Self { inner: Arc::new(Inner { mirror, ledger, settings, clock, liveness, returned }) }
    }

    /// The mirror.
    #[must_use]
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.inner.mirror
    }

    /// The records of all slots that there are, by number.
    ///
    /// # Errors
    /// [`WorkspaceError::Stopped`].
    pub async fn records(&self) -> Result<Vec<SlotRecord>, WorkspaceError> {
        let (ledger, now) = (self.inner.ledger.clone(), self.inner.clock.now());
        blocking(move || Ok(ledger.read(now))).await
    }

    /// Whether somebody has the slot, as opposed to a holder that is gone.
    #[must_use]
    pub fn is_held(&self, record: &SlotRecord) -> bool {
        record.check_unused(self.inner.clock.now(), &|process| self.inner.liveness.is_alive(process)).is_err()
    }

    /// The name of a slot: `workspace-<repository>-slot<n>` (`RPM-1.4`).
    #[must_use]
    pub fn id(&self, number: u32) -> SlotId {
        let text = format!("workspace-{}-slot{number}", self.inner.mirror.source().name());
        SlotId::new(text).expect("the name of a source has no white space and at most 40 characters")
    }

    /// The number that a name or a plain number stands for.
    #[must_use]
    pub fn number(&self, text: &str) -> Option<u32> {
        let digits = text.strip_prefix(&format!("workspace-{}-slot", self.inner.mirror.source().name()));
        digits.unwrap_or(text).parse().ok().filter(|number| *number > 0)
    }

    /// The scratch folders of all slots that there are, as [`Slot::scratch_dir`] gives them: what commands left
    /// behind is found by them.
    #[must_use]
    pub fn scratch_dirs(&self) -> Vec<PathBuf> {
        let Ok(slots) = std::fs::read_dir(self.inner.mirror.dir().join("slots")) else { return Vec::new() };
        slots.filter_map(|slot| Some(slot.ok()?.path().join("scratch"))).collect()
    }

    /// Lends a free slot: by the settings' choice, or a new one. `None`: as many are held as may be.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the records cannot be written.
    pub async fn acquire(&self, terms: Terms) -> Result<Option<Slot>, WorkspaceError> {
        self.lend(terms, |records, inner, lease| {
            let (now, is_alive) = (inner.clock.now(), inner.is_alive());
            let held = records.iter().filter(|record| record.check_unused(now, &is_alive).is_err()).count();
            if held >= inner.settings.bound as usize {
                return None;
            }
            let number = match pool::choose(records, inner.settings.choice, now, &is_alive) {
                Some(number) => number,
                None => add(records, now)?,
            };
            records.iter_mut().find(|record| record.number == number)?.lend(lease, now, &is_alive).ok()?;
            Some(number)
        })
        .await
    }

    /// Waits until a slot is lent. Somebody else's process may give one back at any time: it is looked again each
    /// second, or as soon as this process gives one back.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the records cannot be written.
    pub async fn acquire_waiting(&self, terms: Terms) -> Result<Slot, WorkspaceError> {
        loop {
            let returned = self.inner.returned.notified();
            if let Some(slot) = self.acquire(terms.clone()).await? {
                return Ok(slot);
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), returned).await;
        }
    }

    /// Lends one particular slot, to go on with what is in it. `None`: somebody has it, it is isolated, or there is
    /// none.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the records cannot be written.
    pub async fn acquire_exact(&self, id: &SlotId, terms: Terms) -> Result<Option<Slot>, WorkspaceError> {
        let Some(wanted) = self.number(id.as_str()) else { return Ok(None) };
        self.lend(terms, move |records, inner, lease| {
            let (now, is_alive) = (inner.clock.now(), inner.is_alive());
            records.iter_mut().find(|record| record.number == wanted)?.lend(lease, now, &is_alive).ok()?;
            Some(wanted)
        })
        .await
    }

    async fn lend(
        &self,
        terms: Terms,
        choose: impl FnOnce(&mut Vec<SlotRecord>, &Inner, Lease) -> Option<u32> + Send + 'static,
    ) -> Result<Option<Slot>, WorkspaceError> {
        let (inner, asked) = (Arc::clone(&self.inner), self.inner.clock.elapsed());
        let lease = inner.lease(&terms);
        let number =
            blocking(move || inner.ledger.change(inner.clock.now(), |records| choose(records, &inner, lease))).await?;
        Ok(number.map(|number| Slot::new(self, number, self.id(number), Some(terms.lease), asked)))
    }

    /// Makes a slot anew from what the mirror has, whatever is in it; what exists nowhere else is kept first. It is
    /// isolated no more.
    ///
    /// # Errors
    /// [`WorkspaceError::SlotRefused`]: somebody has it; [`WorkspaceError::NoSlot`]; as [`Slot::prepare`].
    pub async fn repair(&self, number: u32, commit: &CommitId, terms: Terms) -> Result<Prepared, WorkspaceError> {
        let slot = self.take(number, &terms).await?;
        let prepared = slot.prepare(commit, self.inner.clock.now()).await?;
        let (at, rescued) = (commit.clone(), prepared.rescued.is_some());
        self.inner.settle(slot.give_up(), move |record, now| record.repaired(Some(at), rescued, now)).await?;
        Ok(prepared)
    }

    /// Removes a slot and its directories; what exists nowhere else is kept first, and told.
    ///
    /// # Errors
    /// As [`SlotPool::repair`].
    pub async fn remove(&self, number: u32, terms: Terms) -> Result<Prepared, WorkspaceError> {
        let slot = self.take(number, &terms).await?;
        let prepared = slot.save(self.inner.clock.now()).await?;
        let (dir, ledger) = (self.inner.mirror.dir().join("slots").join(number.to_string()), self.inner.ledger.clone());
        let _ = slot.give_up();
        blocking(move || {
            failpoint::writing("slot", "remove", || remove(&dir))?;
            ledger.forget(number)
        })
        .await?;
        self.inner.returned.notify_waiters();
        Ok(prepared)
    }

    /// Isolates a slot: nobody is lent it until it is repaired. Its holder keeps it.
    ///
    /// # Errors
    /// [`WorkspaceError::NoSlot`].
    pub async fn isolate(&self, number: u32, reason: &str) -> Result<(), WorkspaceError> {
        let reason = reason.to_owned();
        self.inner.settle(number, move |record, now| record.isolate(&reason, now)).await
    }

    /// Gives a slot back by the id of its lease: cleans it, so that it can be lent again. A second time does nothing.
    ///
    /// # Errors
    /// [`WorkspaceError::SlotRefused`]: no slot is held by that lease; as [`Slot::release`].
    pub async fn release(&self, lease: &str) -> Result<GivenBack, WorkspaceError> {
        let records = self.records().await?;
        let is_it = |record: &SlotRecord| record.lease.as_ref().is_some_and(|held| held.id == lease);
        if let Some(record) = records.iter().find(|record| is_it(record)) {
            let (id, asked) = (self.id(record.number), self.inner.clock.elapsed());
            let slot = Slot::new(self, record.number, id, Some(lease.to_owned()), asked);
            return slot.release(self.inner.clock.now()).await.map(GivenBack::Now);
        }
        if records.iter().any(|record| record.released.iter().any(|id| id == lease)) {
            return Ok(GivenBack::Before);
        }
        Err(WorkspaceError::SlotRefused {
            slot: "any slot".to_owned(),
            reason: Refused::NotYours { lease: lease.into() },
        })
    }

    /// Takes a slot for work on itself, isolated or not.
    async fn take(&self, number: u32, terms: &Terms) -> Result<Slot, WorkspaceError> {
        let (inner, asked, id) = (Arc::clone(&self.inner), self.inner.clock.elapsed(), self.id(number));
        let lease = inner.lease(terms);
        let taken = blocking(move || {
            inner.ledger.change(inner.clock.now(), |records| {
                let record = records.iter_mut().find(|record| record.number == number)?;
                Some(record.take(lease, inner.clock.now(), &inner.is_alive()))
            })
        });
        match taken.await? {
            Some(Ok(())) => Ok(Slot::new(self, number, id, Some(terms.lease.clone()), asked)),
            Some(Err(reason)) => Err(WorkspaceError::SlotRefused { slot: id.to_string(), reason }),
            None => Err(WorkspaceError::NoSlot { slot: id.to_string() }),
        }
    }
}

/// Adds a slot with the lowest free number, if there may be one more.
fn add(records: &mut Vec<SlotRecord>, now: jiff::Timestamp) -> Option<u32> {
    let number = (1..=MAX_SLOTS).find(|number| records.iter().all(|record| record.number != *number))?;
    records.push(SlotRecord::new(number, now));
    Some(number)
}

impl Inner {
    fn is_alive(&self) -> impl Fn(&pool::Process) -> bool {
        |process| self.liveness.is_alive(process)
    }

    fn lease(&self, terms: &Terms) -> Lease {
        let since = self.clock.now();
        let until = jiff::SignedDuration::try_from(terms.ttl).ok().and_then(|ttl| since.checked_add(ttl).ok());
        Lease {
            id: terms.lease.clone(),
            holder: terms.holder.clone(),
            process: terms.ends_with_process.then(|| self.liveness.own()),
            since,
            until: until.unwrap_or(jiff::Timestamp::MAX),
        }
    }

    /// How slots get dependencies that were built before.
    pub(super) fn caches(&self) -> CacheMode {
        self.settings.caches
    }

    /// Time since a slot was asked for.
    pub(super) fn since(&self, asked: Duration) -> Duration {
        self.clock.elapsed().saturating_sub(asked)
    }

    /// Changes one slot's record.
    pub(super) async fn settle(
        self: &Arc<Self>,
        number: u32,
        change: impl FnOnce(&mut SlotRecord, jiff::Timestamp) + Send + 'static,
    ) -> Result<(), WorkspaceError> {
        let inner = Arc::clone(self);
        blocking(move || inner.settle_now(number, change)).await
    }

    fn settle_now(
        &self,
        number: u32,
        change: impl FnOnce(&mut SlotRecord, jiff::Timestamp),
    ) -> Result<(), WorkspaceError> {
        let now = self.clock.now();
        let changed = self.ledger.change(now, |records| {
            records.iter_mut().find(|record| record.number == number).map(|record| change(record, now))
        })?;
        self.returned.notify_waiters();
        changed.ok_or_else(|| WorkspaceError::NoSlot { slot: format!("slot {number}") })
    }

    /// Begins to give a slot back.
    pub(super) async fn begin_release(self: &Arc<Self>, number: u32, lease: &str) -> Result<Release, WorkspaceError> {
        let (inner, id) = (Arc::clone(self), lease.to_owned());
        let begun = blocking(move || {
            inner.ledger.change(inner.clock.now(), |records| {
                let record = records.iter_mut().find(|record| record.number == number);
                record.map_or(Err(Refused::NotYours { lease: id.clone() }), |record| record.begin_release(&id))
            })
        });
        begun.await?.map_err(|reason| WorkspaceError::SlotRefused { slot: format!("slot {number}"), reason })
    }

    /// Gives a slot back as it is; blocking, and without a word when that fails: the lease ends with the process.
    pub(super) fn put_down(&self, number: u32, lease: &str) {
        let put = self.settle_now(number, |record, now| {
            let _ = record.put_down(lease, now);
        });
        if let Err(error) = put {
            tracing::warn!(slot = number, "not given back: {error}");
        }
    }
}
