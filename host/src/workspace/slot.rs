//! Slots: work trees that attempts hold one at a time. A slot that is given out is provably clean,
//! and what nobody saved is saved before it is cleaned away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clean::{Tracked, empty, has_entries, remove, sweep, write, write_tool_repository};
use super::git::{Answer, Call};
use super::ground::Ground;
use super::mirror::Mirror;
use super::objects::{Identity, NewCommit, TreeId};
use super::pool::{Inner, SlotPool};
use super::rescue::{RESCUES, SET_ASIDE};
use super::snapshot::{self, SkipReason, Snapshot};
use super::{WorkspaceError, blocking};
use crate::domain::id::{CommitId, SlotId};
use crate::domain::pool::Release;
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

/// A slot that is held. Dropping it gives it back as it is; [`Slot::release`] cleans it first.
#[derive(Debug)]
pub struct Slot {
    pub(crate) place: Arc<Place>,
    pool: Arc<Inner>,
    number: u32,
    /// Until it is given back.
    lease: Option<String>,
    /// When it was asked for, until it was made ready for the first time.
    asked: Mutex<Option<Duration>>,
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

impl Drop for Slot {
    fn drop(&mut self) {
        self.place.given_back.store(true, Ordering::Release);
        if let Some(lease) = self.lease.take() {
            self.pool.put_down(self.number, &lease);
        }
    }
}

impl Slot {
    /// A handle on a slot that was lent by `lease`; `asked` is when it was wished for.
    pub(super) fn new(pool: &SlotPool, number: u32, id: SlotId, lease: Option<String>, asked: Duration) -> Self {
        let mirror = pool.mirror();
        let dir = mirror.dir().join("slots").join(number.to_string());
        let host = mirror.dir().join("host").join(number.to_string());
        let ground = Ground::new(id.to_string(), &dir, &host, mirror.dir().join(SET_ASIDE));
        let place = Place {
            mirror: Arc::clone(mirror),
            id,
            ground: Arc::new(ground),
            work: dir.join("work"),
            index: host.join("index"),
            dir,
            host,
            busy: tokio::sync::Mutex::new(()),
            given_back: AtomicBool::new(false),
        };
        let asked = Mutex::new(Some(asked));
        Self { place: Arc::new(place), pool: Arc::clone(&pool.inner), number, lease, asked }
    }

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

    /// Makes the work tree exactly what `commit` holds: nothing changed, nothing extra, ignored files
    /// gone too. Unsaved work is saved first; `now` dates that commit.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the commit is not there, the disk is full, or something keeps writing.
    pub async fn prepare(&self, commit: &CommitId, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        let prepared = self.place.prepare(commit, now).await;
        self.note(commit, &prepared).await?;
        prepared
    }

    /// Writes down that the slot is ready, or that it cannot be trusted.
    async fn note(&self, commit: &CommitId, prepared: &Result<Prepared, WorkspaceError>) -> Result<(), WorkspaceError> {
        match prepared {
            Ok(_) => {
                let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (took, at) = (asked.map(|asked| self.pool.since(asked)), commit.clone());
                self.pool.settle(self.number, move |record, _| record.prepared(at, took)).await
            }
            Err(error) if error.is_of_slot() => {
                let reason = error.in_words();
                self.pool.settle(self.number, move |record, now| record.prepare_failed(&reason, now)).await
            }
            Err(_) => Ok(()),
        }
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
    /// As [`Slot::prepare`]; the slot is given back all the same, and cleaned before its next use, or isolated when
    /// it could not be cleaned twice in a row.
    pub async fn release(self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let cleaned = self.begin_release(now).await;
        self.finish_release(&cleaned).await?;
        cleaned
    }

    /// The first half of [`Slot::release`]: nobody else is lent the slot before the second.
    pub(crate) async fn begin_release(&self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let nothing = Ok(Prepared { rescued: None });
        let Some(lease) = &self.lease else { return nothing };
        if self.pool.begin_release(self.number, lease).await? == Release::Before {
            return nothing;
        }
        let _busy = self.place.busy.lock().await;
        match self.place.base().await? {
            Some(commit) => self.place.prepare(&commit, now).await,
            None => nothing,
        }
    }

    /// The second half: `cleaned` is what the first gave.
    pub(crate) async fn finish_release(
        mut self,
        cleaned: &Result<Prepared, WorkspaceError>,
    ) -> Result<(), WorkspaceError> {
        let Some(lease) = self.lease.clone() else { return Ok(()) };
        let base = self.place.base().await?;
        let outcome = match cleaned {
            Ok(prepared) => Ok(prepared.rescued.is_some()),
            Err(error) => Err(error.in_words()),
        };
        self.pool
            .settle(self.number, move |record, now| {
                // It may have been taken by force meanwhile: then it is not this holder's to give back.
                if record.lease.as_ref().is_some_and(|held| held.id == lease) {
                    match outcome {
                        Ok(rescued) => record.cleaned(base, rescued, now),
                        Err(reason) => record.clean_failed(&reason, now),
                    }
                }
            })
            .await?;
        self.lease = None;
        Ok(())
    }

    /// Saves what exists nowhere else, without cleaning.
    pub(super) async fn save(&self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        Ok(Prepared { rescued: self.place.save_unsaved(now).await? })
    }

    /// Lets go of the slot without giving it back: its lease goes on. Gives its number.
    pub(super) fn give_up(mut self) -> u32 {
        self.lease = None;
        self.number
    }

    /// Keeps the slot lent after this process has ended; gives the lease that gives it back.
    #[must_use]
    pub fn keep(mut self) -> Option<String> {
        self.lease.take()
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
                let prefix = format!("{RESCUES}{slot}/");
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
