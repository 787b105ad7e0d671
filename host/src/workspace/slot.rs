//! Slots: work trees that attempts hold one at a time. A slot that is given out is provably clean,
//! and what nobody saved is saved before it is cleaned away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::clean::{Tracked, empty, has_entries, remove, sweep, write, write_tool_repository};
use super::git::{Answer, Call};
use super::ground::Ground;
use super::mirror::Mirror;
use super::objects::{Identity, NewCommit, TreeId};
use super::snapshot::{self, SkipReason, Snapshot};
use super::{WorkspaceError, blocking};
use crate::domain::id::{CommitId, SlotId};
use crate::failpoint;

/// Trees that a slot remembers as saved.
const MAX_SAVED: usize = 64;

/// Where unsaved work went before a slot was cleaned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescue {
    /// Into a commit.
    Commit {
        /// `refs/necro/rescue/<slot>/<n>`.
        reference: String,
        /// What it points to.
        commit: CommitId,
    },
    /// The work tree as a whole was set aside: it held something that a commit can't.
    Folder {
        /// Where it is now.
        path: PathBuf,
    },
}

impl std::fmt::Display for Rescue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Commit { reference, .. } => f.write_str(reference),
            Self::Folder { path } => write!(f, "{}", path.display()),
        }
    }
}

/// A slot was made clean.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a rescue must be told to somebody"]
pub struct Prepared {
    /// Unsaved work, if there was any.
    pub rescued: Option<Rescue>,
}

/// The slots of one mirror.
#[derive(Debug, Clone)]
pub struct SlotPool {
    mirror: Arc<Mirror>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    count: u32,
    free: Mutex<Free>,
}

/// Who holds what. The last element of `order` was given back last: its files are in the cache.
#[derive(Debug)]
struct Free {
    order: Vec<u32>,
    held: BTreeMap<u32, String>,
}

/// A slot that is held. Dropping it gives it back as it is; [`Slot::release`] cleans it first.
#[derive(Debug)]
pub struct Slot {
    pub(crate) place: Arc<Place>,
    shared: Arc<Shared>,
    number: u32,
}

/// Where a slot is, and the lock that keeps two operations on it apart.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) mirror: Arc<Mirror>,
    id: SlotId,
    /// `slots/<n>`
    dir: PathBuf,
    pub(crate) work: PathBuf,
    /// `host/<n>`
    host: PathBuf,
    pub(crate) index: PathBuf,
    pub(crate) ground: Arc<Ground>,
    pub(crate) busy: tokio::sync::Mutex<()>,
    /// Set when the slot is given back: what still holds this place must keep its hands off.
    given_back: AtomicBool,
}

impl SlotPool {
    /// A pool of `count` slots, numbered from 1. Nothing is made on disk yet.
    #[must_use]
    pub fn new(mirror: Arc<Mirror>, count: u32) -> Self {
        // Slots that were used before come first.
        let mut order: Vec<u32> = (1..=count).rev().collect();
        order.sort_by_key(|n| mirror.dir().join("host").join(n.to_string()).join("index").exists());
        let free = Mutex::new(Free { order, held: BTreeMap::new() });
        Self { mirror, shared: Arc::new(Shared { count, free }) }
    }

    /// The mirror.
    #[must_use]
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// Ids of all slots: `workspace-<repository>-slot<n>`.
    #[must_use]
    pub fn ids(&self) -> Vec<SlotId> {
        (1..=self.shared.count).map(|n| self.id(n)).collect()
    }

    /// The scratch folders of all slots that there are, as [`Slot::scratch_dir`] gives them: what
    /// commands left behind is found by them. An earlier pool may have been larger.
    #[must_use]
    pub fn scratch_dirs(&self) -> Vec<PathBuf> {
        let Ok(slots) = std::fs::read_dir(self.mirror.dir().join("slots")) else { return Vec::new() };
        slots.filter_map(|slot| Some(slot.ok()?.path().join("scratch"))).collect()
    }

    /// Who holds which slot now.
    #[must_use]
    pub fn held(&self) -> Vec<(SlotId, String)> {
        let free = self.shared.lock();
        free.held.iter().map(|(n, holder)| (self.id(*n), holder.clone())).collect()
    }

    /// Takes the free slot that was used last: most of it is right already. `None`: all are held.
    #[must_use]
    pub fn acquire(&self, holder: &str) -> Option<Slot> {
        let mut free = self.shared.lock();
        let number = free.order.pop()?;
        free.held.insert(number, holder.to_owned());
        drop(free);
        Some(self.slot(number))
    }

    /// Takes one particular slot, to go on with what is in it. `None`: it is held, or not of this
    /// pool.
    #[must_use]
    pub fn acquire_exact(&self, id: &SlotId, holder: &str) -> Option<Slot> {
        let number = (1..=self.shared.count).find(|n| self.id(*n) == *id)?;
        let mut free = self.shared.lock();
        let at = free.order.iter().position(|n| *n == number)?;
        free.order.remove(at);
        free.held.insert(number, holder.to_owned());
        drop(free);
        Some(self.slot(number))
    }

    fn id(&self, number: u32) -> SlotId {
        let text = format!("workspace-{}-slot{number}", self.mirror.source().name());
        SlotId::new(text).expect("the name of a source has no white space and at most 40 characters")
    }

    fn slot(&self, number: u32) -> Slot {
        let dir = self.mirror.dir().join("slots").join(number.to_string());
        let host = self.mirror.dir().join("host").join(number.to_string());
        let id = self.id(number);
        let ground = Ground::new(id.to_string(), &dir, &host, self.mirror.dir().join("rescued"));
        let place = Place {
            mirror: Arc::clone(&self.mirror),
            id,
            ground: Arc::new(ground),
            work: dir.join("work"),
            index: host.join("index"),
            dir,
            host,
            busy: tokio::sync::Mutex::new(()),
            given_back: AtomicBool::new(false),
        };
        Slot { place: Arc::new(place), shared: Arc::clone(&self.shared), number }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.place.given_back.store(true, Ordering::Release);
        let mut free = self.shared.lock();
        if free.held.remove(&self.number).is_some() {
            free.order.push(self.number);
        }
    }
}

impl Slot {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SlotId {
        &self.place.id
    }

    /// The work tree, an absolute path.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.place.work
    }

    /// A folder for the home and temporary files of commands; emptied when the slot is prepared.
    #[must_use]
    pub fn scratch_dir(&self) -> PathBuf {
        self.place.dir.join("scratch")
    }

    /// What tools in the work tree read history from: the slot's own `git/`, and the objects that it names.
    #[must_use]
    pub fn history_dirs(&self) -> Vec<PathBuf> {
        vec![self.place.dir.join("git"), self.place.mirror.path().join("objects")]
    }

    /// Makes the work tree exactly what `commit` holds: nothing changed, nothing extra, ignored files
    /// gone too. Unsaved work is saved first; `now` dates that commit.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the commit is not there, the disk is full, or something keeps writing.
    pub async fn prepare(&self, commit: &CommitId, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        self.place.prepare(commit, now).await
    }

    /// Makes the work tree exactly what a recorded `tree` holds, in the same way.
    ///
    /// # Errors
    /// As [`Slot::prepare`].
    pub async fn restore(&self, tree: &TreeId, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        let wanted = tree.clone();
        self.place.mirror.objects(move |o| super::objects::find_tree(&o.open()?, &wanted).map(|_| ())).await?;
        let rescued = self.place.save_unsaved(now).await?;
        // It stays unsaved: no ref need hold this tree.
        self.place.check_out(tree).await?;
        Ok(Prepared { rescued })
    }

    /// The work tree as a git tree, without ignored files.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a file can't be read, too much changed, or the disk is full.
    pub async fn snapshot(&self) -> Result<Snapshot, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        self.place.snapshot().await
    }

    /// Says that a tree is kept elsewhere (in a commit that was merged, say), so that cleaning need
    /// not save it.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub async fn mark_saved(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        self.place.remember(tree).await
    }

    /// Takes [`mark_saved`](Self::mark_saved) back: what had saved the tree is gone.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub async fn forget_saved(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        self.place.forget(tree).await
    }

    /// Cleans the slot back to the commit that it was prepared for, and gives it back.
    ///
    /// # Errors
    /// As [`Slot::prepare`]; the slot is given back all the same, and cleaned before its next use.
    pub async fn release(self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        self.clean(now).await
    }

    /// Cleans the slot back to the commit that it was prepared for, and keeps it.
    ///
    /// # Errors
    /// As [`Slot::prepare`].
    pub async fn clean(&self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        match self.place.base().await? {
            Some(commit) => self.place.prepare(&commit, now).await,
            None => Ok(Prepared { rescued: None }),
        }
    }
}

impl Place {
    /// Whether the slot is still held by whom this place was made for.
    pub(crate) fn is_held(&self) -> bool {
        !self.given_back.load(Ordering::Acquire)
    }

    /// A call on the work tree, for [`Place::git`].
    pub(crate) fn call(&self) -> Call<'_> {
        Call::on(self.mirror.path()).work_tree(&self.work, &self.index)
    }

    /// Makes a call on the work tree, if that still is the slot's own.
    pub(crate) async fn git(&self, call: Call<'_>) -> Result<Answer, WorkspaceError> {
        let ground = Arc::clone(&self.ground);
        blocking(move || ground.check()).await?;
        self.mirror.git(call).await
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot, WorkspaceError> {
        snapshot::take(self).await
    }

    /// Paths that git knows or does not ignore. Folders that are repositories end with `/`.
    pub(crate) async fn known_paths(&self) -> Result<Vec<String>, WorkspaceError> {
        let call = self.call().args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
        let answer = self.git(call).await?;
        Ok(answer.records().map(|r| String::from_utf8_lossy(r).into_owned()).collect())
    }

    /// A folder of the host's on the same file system, for files that are renamed into place.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.host.join("tmp")
    }

    async fn prepare(&self, commit: &CommitId, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let wanted = commit.clone();
        let tree = self.mirror.objects(move |objects| objects.tree_of(&wanted)).await?;
        let rescued = self.save_unsaved(now).await?;
        self.check_out(&tree).await?;
        let (dir, host, index) = (self.dir.clone(), self.host.clone(), self.index.clone());
        let (objects, base) = (self.mirror.path().join("objects"), commit.clone());
        let ground = Arc::clone(&self.ground);
        blocking(move || {
            failpoint::writing("slot", "tool-repository", || {
                write_tool_repository(&dir, &ground.open_work()?, &objects, &index, &base)
            })?;
            ground.empty_scratch()?;
            empty(&host.join("tmp"))?;
            write(&host.join("base"), base.as_str())?;
            write(&host.join("saved"), tree.as_str())
        })
        .await?;
        Ok(Prepared { rescued })
    }

    /// The commit that the slot was last prepared for.
    async fn base(&self) -> Result<Option<CommitId>, WorkspaceError> {
        let path = self.host.join("base");
        blocking(move || Ok(fs::read_to_string(path).ok().and_then(|text| CommitId::new(text.trim()).ok()))).await
    }

    async fn remember(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let (path, tree) = (self.host.join("saved"), tree.to_string());
        blocking(move || {
            let known = fs::read_to_string(&path).unwrap_or_default();
            let mut lines: Vec<&str> = known.lines().filter(|l| *l != tree).collect();
            lines.push(&tree);
            let kept = &lines[lines.len().saturating_sub(MAX_SAVED)..];
            write(&path, &kept.join("\n"))
        })
        .await
    }

    async fn forget(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let (path, tree) = (self.host.join("saved"), tree.to_string());
        blocking(move || {
            let known = fs::read_to_string(&path).unwrap_or_default();
            let kept: Vec<&str> = known.lines().filter(|line| *line != tree).collect();
            write(&path, &kept.join("\n"))
        })
        .await
    }

    async fn is_saved(&self, tree: &TreeId) -> Result<bool, WorkspaceError> {
        let (path, tree) = (self.host.join("saved"), tree.clone());
        self.mirror
            .objects(move |objects| {
                let known = fs::read_to_string(&path).unwrap_or_default();
                Ok(known.lines().any(|l| l == tree.as_str()) || objects.is_tree_kept(&tree)?)
            })
            .await
    }

    /// Saves what is in the work tree and nowhere else, and leaves the index describing the work
    /// tree (or no work tree at all).
    async fn save_unsaved(&self, now: jiff::Timestamp) -> Result<Option<Rescue>, WorkspaceError> {
        let (work, index, ground) = (self.work.clone(), self.index.clone(), Arc::clone(&self.ground));
        let (aside, anything, known) = blocking(move || {
            let aside = ground.set_impostors_aside()?.map(|path| Rescue::Folder { path });
            Ok((aside, has_entries(&work), index.exists()))
        })
        .await?;
        if aside.is_some() || !anything {
            return Ok(aside);
        }
        if !known {
            return self.set_aside().await;
        }
        let snapshot = match self.snapshot().await {
            Ok(snapshot) => snapshot,
            // Setting aside needs no space, but the checkout that follows does.
            Err(full @ WorkspaceError::DiskFull { .. }) => return Err(full),
            Err(error) => {
                tracing::warn!(slot = %self.id, error = %error, "the work tree cannot be saved as a commit");
                return self.set_aside().await;
            }
        };
        if snapshot.skipped.iter().any(|s| s.reason != SkipReason::SpecialFile) {
            return self.set_aside().await;
        }
        if self.is_saved(&snapshot.tree).await? {
            return Ok(None);
        }
        self.rescue(snapshot.tree, now).await.map(Some)
    }

    async fn rescue(&self, tree: TreeId, now: jiff::Timestamp) -> Result<Rescue, WorkspaceError> {
        let parents = self.base().await?.into_iter().collect();
        let slot = self.id.clone();
        let saved = tree.clone();
        let rescue = self
            .mirror
            .objects(move |objects| {
                let commit = objects.commit(&NewCommit {
                    tree,
                    parents,
                    message: format!("rescue: work left in {slot} that was in no commit\n"),
                    author: Identity { name: "NecroCode".into(), email: "necro@localhost".into() },
                    time: now,
                })?;
                let prefix = format!("refs/necro/rescue/{slot}/");
                let taken = objects.refs(&prefix)?;
                let numbers = taken.iter().filter_map(|(name, _)| name[prefix.len()..].parse::<u64>().ok());
                let reference = format!("{prefix}{}", numbers.max().unwrap_or(0) + 1);
                objects.update_ref(&reference, &commit, None)?;
                Ok(Rescue::Commit { reference, commit })
            })
            .await?;
        self.remember(&saved).await?;
        Ok(rescue)
    }

    /// Moves the whole work tree to `rescued/`, if there is one.
    async fn set_aside(&self) -> Result<Option<Rescue>, WorkspaceError> {
        let (ground, index) = (Arc::clone(&self.ground), self.index.clone());
        blocking(move || {
            let path = failpoint::writing("slot", "set-aside", || ground.set_work_aside())?;
            remove(&index)?;
            Ok(path.map(|path| Rescue::Folder { path }))
        })
        .await
    }

    /// Puts `tree` into the work tree and proves it. What is there may be overwritten.
    async fn check_out(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        match self.try_check_out(tree).await {
            Ok(()) => Ok(()),
            Err(full @ WorkspaceError::DiskFull { .. }) => Err(full),
            Err(error) => {
                tracing::warn!(slot = %self.id, error = %error, "the slot is made anew");
                let _ = self.set_aside().await?;
                self.try_check_out(tree).await
            }
        }
    }

    async fn try_check_out(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let (ground, index) = (Arc::clone(&self.ground), self.index.clone());
        blocking(move || {
            let _ = ground.set_impostors_aside()?;
            ground.make()?;
            remove(&index.with_extension("lock"))
        })
        .await?;
        self.git(self.call().args(["read-tree", "--reset", "-u", tree.as_str()])).await?;
        let (wanted, work, ground) = (tree.clone(), self.work.clone(), Arc::clone(&self.ground));
        self.mirror
            .objects(move |objects| {
                let repository = objects.open()?;
                let index = objects.index_of(&repository, &wanted)?;
                failpoint::writing("slot", "sweep", || {
                    sweep(&ground.open_work()?, &Tracked::of(&index)).map_err(WorkspaceError::io(&work))
                })
            })
            .await?;
        let call = self.call().args(["diff-files", "-z", "--name-only", "--no-ext-diff", "--ignore-submodules=all"]);
        let changed = self.git(call).await?;
        if let Some(first) = changed.records().next() {
            let detail = format!("{} differs", String::from_utf8_lossy(first));
            return Err(WorkspaceError::NotClean { slot: self.id.to_string(), detail });
        }
        Ok(())
    }
}
