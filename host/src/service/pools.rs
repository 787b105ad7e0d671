//! The slots of a state directory in an operator's hands: listed, lent, given back, made ready ahead, repaired and
//! removed. All of it works beside a run, because a slot's record is changed under the pool's own lock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;

use super::basefiles::BaseFiles;
use super::control::Owned;
use super::error::ServiceError;
use super::setup;
use super::state_dir::StateDir;
use super::vault::At;
use crate::clock::Clock;
use crate::config::{Config, WorkspaceSettings};
use crate::domain::id::{CommitId, SlotId};
use crate::domain::pool::{AllocationMetrics, Health, Isolation, Lease, MAX_SLOTS, SlotRecord, SlotState};
use crate::store::Ids;
use crate::workspace::{Git, GivenBack, Mirror, Prepared, Slot, SlotPool, Source, Terms, inspect};

/// A lease of work on a slot itself, such as a repair, lasts this long at most.
const OWN_LEASE: Duration = Duration::from_secs(60 * 60);
/// Slots that are made ready at the same time.
const MAX_WARMING: usize = 4;

/// One slot, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotView {
    /// Its name.
    pub slot: SlotId,
    /// Its number.
    pub number: u32,
    /// Its work tree.
    pub path: PathBuf,
    /// What it is doing.
    pub state: SlotState,
    /// What is known of its files.
    pub health: Health,
    /// Who has it.
    pub lease: Option<Lease>,
    /// Its holder is at work, or has time left.
    pub held: bool,
    /// Its holder should have given it back by now.
    pub overdue: bool,
    /// Why nobody is lent it.
    pub isolated: Option<Isolation>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last lent or given back.
    pub last_used_at: Option<Timestamp>,
    /// The commit that it was last proven to hold.
    pub clean_at: Option<CommitId>,
    /// Cleans that failed in a row.
    pub failures: u32,
    /// How it was used.
    pub metrics: AllocationMetrics,
    /// Mean time from the wish for a slot to a clean one, in milliseconds.
    pub mean_lend_ms: Option<u64>,
}

/// All slots, and how the pool was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolView {
    /// Slots that may be held at the same time.
    pub bound: u32,
    /// By number.
    pub slots: Vec<SlotView>,
    /// Sums over all slots that there are.
    pub metrics: AllocationMetrics,
    /// Mean time from the wish for a slot to a clean one, in milliseconds.
    pub mean_lend_ms: Option<u64>,
}

/// A slot in a person's hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acquired {
    /// Which.
    pub slot: SlotId,
    /// Its work tree.
    pub path: PathBuf,
    /// Gives it back.
    pub lease: String,
    /// Until when it is kept.
    pub until: Timestamp,
    /// The commit that is checked out.
    pub commit: CommitId,
    /// Where work went that was found in it.
    pub rescued: Option<String>,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Which.
    pub slot: String,
    /// False: it had been done before.
    pub changed: bool,
    /// Where work went that was found in it.
    pub rescued: Option<String>,
}

/// A person's wish for a slot.
#[derive(Debug, Clone)]
pub struct Wish {
    /// This one; absent: by the settings' choice.
    pub slot: Option<String>,
    /// The branch or commit to check out; absent: the source's current branch.
    pub at: Option<String>,
    /// Whose it is.
    pub holder: String,
    /// For how long.
    pub ttl: Duration,
}

/// A state directory's pool, opened beside whoever works there.
pub struct Pool {
    state: StateDir,
    git: Git,
    pool: SlotPool,
    settings: WorkspaceSettings,
    ids: Ids,
    clock: Arc<dyn Clock>,
}

impl Pool {
    /// Opens the pool of an earlier run.
    ///
    /// # Errors
    /// When there is no state directory, it is another repository's, or nothing was copied to it yet.
    pub async fn open(at: &At, clock: Arc<dyn Clock>) -> Result<Self, ServiceError> {
        let source = setup::source(&at.repository, &at.cwd)?;
        let path = setup::state_path(&source, &at.cwd, at.state.as_deref());
        let state = StateDir::begun(&path, setup::work_tree(&source))?;
        setup::serves(&state, &source)?;
        let git = Git::locate(state.root()).await?;
        let mirror = Mirror::open_existing(git.clone(), &state.repositories(), source).await?;
        let mirror = mirror.ok_or_else(|| {
            ServiceError::Usage(
                "nothing was copied from the repository yet; `necro-host slot warm` does that".to_owned(),
            )
        })?;
        Self::of(state, git, mirror, clock).await
    }

    /// The same, and makes what is missing of the state directory and the mirror.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else is making it.
    pub async fn make(at: &At, clock: Arc<dyn Clock>) -> Result<Self, ServiceError> {
        let source = setup::source(&at.repository, &at.cwd)?;
        let path = setup::state_path(&source, &at.cwd, at.state.as_deref());
        let state = StateDir::create(&path, setup::work_tree(&source))?;
        setup::serves(&state, &source)?;
        let git = Git::locate(state.root()).await?;
        let there = Mirror::open_existing(git.clone(), &state.repositories(), source.clone()).await?;
        let mirror = match there {
            Some(mirror) => mirror,
            None => {
                let (stop, _stopped) = tokio::sync::watch::channel(false);
                let _lock = Owned::take(&state, clock.now(), &stop)?;
                Mirror::open(git.clone(), &state.repositories(), source).await?
            }
        };
        mirror.fetch().await?;
        Self::of(state, git, mirror, clock).await
    }

    async fn of(state: StateDir, git: Git, mirror: Arc<Mirror>, clock: Arc<dyn Clock>) -> Result<Self, ServiceError> {
        let settings = config(&git, &mirror).await?.workspace;
        if settings.submodules
            && let Ok(seen) = inspect(&git, mirror.source(), None).await
            && let Some(tip) = mirror.branch_tip(&seen.base_branch).await?
        {
            mirror.with_modules(&tip).await?;
        }
        Ok(Self::over(state, git, mirror, settings, clock))
    }

    /// The pool of a mirror that is open already.
    pub(crate) fn over(
        state: StateDir,
        git: Git,
        mirror: Arc<Mirror>,
        settings: WorkspaceSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ids = Ids::new(Arc::clone(&clock));
        let pool = SlotPool::new(mirror, settings.pool(), Arc::clone(&clock));
        Self { state, git, pool, settings, ids, clock }
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    pub(crate) fn workspace_settings(&self) -> &WorkspaceSettings {
        &self.settings
    }

    pub(crate) fn mirror(&self) -> &Arc<Mirror> {
        self.pool.mirror()
    }

    /// All slots.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub async fn list(&self) -> Result<PoolView, ServiceError> {
        let slots: Vec<SlotView> = self.pool.records().await?.into_iter().map(|record| self.view(record)).collect();
        let metrics = slots.iter().fold(AllocationMetrics::default(), |sum, slot| sum.and(slot.metrics));
        Ok(PoolView { bound: self.settings.pool().bound, slots, metrics, mean_lend_ms: metrics.mean_lend_ms() })
    }

    /// One slot, by its name or number.
    ///
    /// # Errors
    /// [`ServiceError::Usage`]: there is none of that name.
    pub async fn show(&self, slot: &str) -> Result<SlotView, ServiceError> {
        let records = self.pool.records().await?;
        Ok(self.view(record_of(&self.pool, &records, slot)?.clone()))
    }

    /// Lends a slot to a person: it stays lent after this process has ended. `None`: as many are held as may be.
    ///
    /// # Errors
    /// When the one that was asked for cannot be had, or the commit is not known.
    pub async fn acquire(&self, wish: Wish) -> Result<Option<Acquired>, ServiceError> {
        self.mirror().fetch().await?;
        let commit = self.commit(wish.at.as_deref()).await?;
        let terms = Terms { lease: self.ids.text(), holder: wish.holder, ttl: wish.ttl, ends_with_process: false };
        let until = self.clock.now().saturating_add(wish.ttl).unwrap_or(Timestamp::MAX);
        let slot = match &wish.slot {
            None => match self.pool.acquire(terms).await? {
                Some(slot) => slot,
                None => return Ok(None),
            },
            Some(wanted) => {
                let number = self.number(wanted).await?;
                let taken = self.pool.acquire_exact(&self.pool.id(number), terms).await?;
                taken.ok_or_else(|| {
                    let text = format!("`{wanted}` is held or isolated; `necro-host slot show {wanted}` says by whom");
                    ServiceError::Usage(text)
                })?
            }
        };
        let prepared = slot.prepare(&commit, self.clock.now()).await?;
        let (id, path) = (slot.id().clone(), slot.work_dir().to_owned());
        let lease = slot.keep().ok_or_else(|| ServiceError::Internal("a slot without a lease".to_owned()))?;
        Ok(Some(Acquired { slot: id, path, lease, until, commit, rescued: told(&prepared) }))
    }

    /// Gives a slot back by its lease, or, when a person has it, by its name or number. It is cleaned, and what is in
    /// no commit is kept.
    ///
    /// # Errors
    /// When nobody has it by that lease, or a run has it.
    pub async fn release(&self, named: &str) -> Result<Changed, ServiceError> {
        let records = self.pool.records().await?;
        let lease = match self.pool.number(named) {
            None => named.to_owned(),
            Some(_) => match &record_of(&self.pool, &records, named)?.lease {
                Some(lease) if lease.process.is_none() => lease.id.clone(),
                Some(lease) => {
                    let holder = &lease.holder;
                    return Err(ServiceError::Usage(format!(
                        "`{named}` is held by {holder}, which gives it back itself"
                    )));
                }
                None => return Ok(Changed { slot: named.to_owned(), changed: false, rescued: None }),
            },
        };
        let slot = records.iter().find(|record| record.lease.as_ref().is_some_and(|held| held.id == lease));
        let slot = slot.map_or_else(|| named.to_owned(), |record| self.pool.id(record.number).to_string());
        Ok(match self.pool.release(&lease).await? {
            GivenBack::Now(prepared) => Changed { slot, changed: true, rescued: told(&prepared) },
            GivenBack::Before => Changed { slot, changed: false, rescued: None },
        })
    }

    /// Makes `count` slots that nobody has ready at a commit. Gives those that are.
    ///
    /// # Errors
    /// When the commit is not known, or a slot cannot be made ready.
    pub async fn warm(
        &self,
        count: u32,
        at: Option<&str>,
        mut seen: impl FnMut(usize),
    ) -> Result<Vec<SlotView>, ServiceError> {
        let commit = self.commit(at).await?;
        let mut slots = Vec::new();
        while slots.len() < count.min(MAX_SLOTS) as usize {
            match self.pool.acquire(self.own_terms("warming up")).await? {
                Some(slot) => slots.push(slot),
                None => break,
            }
        }
        let (mut waiting, mut jobs, mut done) = (slots.into_iter(), JoinSet::new(), Vec::new());
        loop {
            while jobs.len() < MAX_WARMING
                && let Some(slot) = waiting.next()
            {
                jobs.spawn(warm(slot, commit.clone(), self.clock.now()));
            }
            let Some(job) = jobs.join_next().await else { break };
            done.push(job.map_err(|error| ServiceError::Internal(error.to_string()))??);
            seen(done.len());
        }
        let all = self.list().await?;
        Ok(all.slots.into_iter().filter(|slot| done.contains(&slot.slot)).collect())
    }

    /// Makes a slot anew, whatever is in it; what is in no commit is kept. It is isolated no more.
    ///
    /// # Errors
    /// When somebody has it, or it cannot be made.
    pub async fn repair(&self, slot: &str, at: Option<&str>) -> Result<Changed, ServiceError> {
        let number = self.number(slot).await?;
        let commit = self.commit(at).await?;
        let prepared = self.pool.repair(number, &commit, self.own_terms("repairing")).await?;
        Ok(Changed { slot: self.pool.id(number).to_string(), changed: true, rescued: told(&prepared) })
    }

    /// Removes a slot; what is in no commit is kept.
    ///
    /// # Errors
    /// When somebody has it, or its files cannot be removed.
    pub async fn remove(&self, slot: &str) -> Result<Changed, ServiceError> {
        let number = self.number(slot).await?;
        let prepared = self.pool.remove(number, self.own_terms("removing")).await?;
        Ok(Changed { slot: self.pool.id(number).to_string(), changed: true, rescued: told(&prepared) })
    }

    /// Takes a slot out of use until it is repaired.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn isolate(&self, slot: &str, reason: &str) -> Result<Changed, ServiceError> {
        let number = self.number(slot).await?;
        self.pool.isolate(number, reason).await?;
        Ok(Changed { slot: self.pool.id(number).to_string(), changed: true, rescued: None })
    }

    fn own_terms(&self, what: &str) -> Terms {
        let holder = format!("{what}, process {}", std::process::id());
        Terms { lease: self.ids.text(), holder, ttl: OWN_LEASE, ends_with_process: true }
    }

    async fn number(&self, slot: &str) -> Result<u32, ServiceError> {
        Ok(record_of(&self.pool, &self.pool.records().await?, slot)?.number)
    }

    /// What a person means: a branch of ours or of the source, or a commit.
    async fn commit(&self, named: Option<&str>) -> Result<CommitId, ServiceError> {
        let mirror = self.mirror();
        let named = match named {
            Some(named) => named.to_owned(),
            None => inspect(&self.git, mirror.source(), None).await?.base_branch,
        };
        let text = named.clone();
        let found = mirror
            .objects(move |objects| {
                for name in [format!("refs/heads/{text}"), format!("refs/remotes/origin/{text}")] {
                    // What git does not take as a name is none of a branch.
                    if let Ok(Some(commit)) = objects.read_ref(&name) {
                        return Ok(Some(commit));
                    }
                }
                let commit = CommitId::new(text).ok();
                Ok(commit.filter(|commit| objects.tree_of(commit).is_ok()))
            })
            .await?;
        found.ok_or_else(|| {
            let text = "neither a branch of the repository or of a run here, nor a whole commit id that was copied";
            ServiceError::Usage(format!("`{named}` is {text}"))
        })
    }

    fn view(&self, record: SlotRecord) -> SlotView {
        let now = self.clock.now();
        SlotView {
            slot: self.pool.id(record.number),
            number: record.number,
            path: self.mirror().dir().join("slots").join(record.number.to_string()).join("work"),
            state: record.state,
            health: record.health,
            held: self.pool.is_held(&record),
            overdue: record.lease.as_ref().is_some_and(|lease| lease.is_overdue(now)),
            lease: record.lease,
            isolated: record.isolated,
            created_at: record.created_at,
            last_used_at: record.last_used_at,
            clean_at: record.clean_at,
            failures: record.failures,
            mean_lend_ms: record.metrics.mean_lend_ms(),
            metrics: record.metrics,
        }
    }
}

async fn warm(slot: Slot, commit: CommitId, now: Timestamp) -> Result<SlotId, ServiceError> {
    // What was found in it is listed among what is kept.
    let _ = slot.prepare(&commit, now).await?;
    let id = slot.id().clone();
    let _ = slot.release(now).await?;
    Ok(id)
}

/// The settings of the source's current state, as far as the mirror has it.
async fn config(git: &Git, mirror: &Mirror) -> Result<Config, ServiceError> {
    if let Source::Path(_) = mirror.source() {
        return setup::early_config(mirror.source());
    }
    let Ok(seen) = inspect(git, mirror.source(), None).await else { return Ok(Config::default()) };
    match mirror.branch_tip(&seen.base_branch).await? {
        Some(tip) => mirror.objects(move |objects| BaseFiles::read(objects, &tip)).await?.config(),
        None => Ok(Config::default()),
    }
}

fn told(prepared: &Prepared) -> Option<String> {
    prepared.rescued.as_ref().map(ToString::to_string)
}

/// The record of a slot that a person names, by its name or number.
fn record_of<'r>(pool: &SlotPool, records: &'r [SlotRecord], named: &str) -> Result<&'r SlotRecord, ServiceError> {
    let number = pool.number(named);
    records.iter().find(|record| Some(record.number) == number).ok_or_else(|| {
        let known: Vec<String> = records.iter().map(|record| record.number.to_string()).collect();
        let there = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        ServiceError::Usage(format!("there is no slot `{named}`; there are: {there}"))
    })
}
