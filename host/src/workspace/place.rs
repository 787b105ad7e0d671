//! What a slot is on disk: how its work tree is made what a commit holds, how what nobody saved is saved before, and how
//! it gets caches.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cache::{self, Wanted};
use super::clean::{empty, has_entries, remove, write, write_tool_repository};
use super::git::{Answer, Call};
use super::ground::Ground;
use super::mirror::Mirror;
use super::objects::{Identity, NewCommit, Objects, TreeId, find_commit, tree_id};
use super::rescue::{RESCUES, SET_ASIDE};
use super::snapshot::{self, SkipReason, Snapshot};
use super::step::step;
use super::tracked::Tracked;
use super::{WorkspaceError, blocking};
use crate::domain::id::{CommitId, SlotId};
use crate::domain::pool::CacheMode;
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

/// How far a slot was brought without a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is there.
    Whole,
    /// Its work tree is neither what it was nor what it should be; nobody's work is in it.
    Begun,
    /// Nothing was done.
    None,
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

impl Place {
    /// The place of slot `number` of a mirror.
    pub(super) fn new(mirror: &Arc<Mirror>, number: u32, id: SlotId) -> Self {
        let dir = mirror.dir().join("slots").join(number.to_string());
        let host = mirror.dir().join("host").join(number.to_string());
        let ground = Ground::new(id.to_string(), &dir, &host, mirror.dir().join(SET_ASIDE));
        Self {
            mirror: Arc::clone(mirror),
            id,
            ground: Arc::new(ground),
            work: dir.join("work"),
            index: host.join("index"),
            dir,
            host,
            busy: tokio::sync::Mutex::new(()),
            given_back: AtomicBool::new(false),
        }
    }

    pub(super) fn id(&self) -> &SlotId {
        &self.id
    }

    /// Home and temporary files of commands.
    pub(super) fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// The repository for tools that read history.
    pub(super) fn tool_repository(&self) -> PathBuf {
        self.dir.join("git")
    }

    /// From here on what still holds this place keeps its hands off.
    pub(super) fn close(&self) {
        self.given_back.store(true, Ordering::Release);
    }

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

    pub(super) async fn prepare(&self, commit: &CommitId, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let way = self.step(commit).await?;
        let wanted = commit.clone();
        let tree = self.mirror.objects(move |objects| objects.tree_of(&wanted)).await?;
        if way == Way::Whole {
            self.fill(&tree).await?;
            return Ok(Prepared { rescued: None });
        }
        let rescued = if way == Way::Begun { None } else { self.save_unsaved(now).await? };
        self.check_out(&tree).await?;
        let (room, base) = (self.room(), commit.clone());
        let held = tree.clone();
        blocking(move || room.furnish(&base, &held)).await?;
        self.fill(&tree).await?;
        Ok(Prepared { rescued })
    }

    /// Brings a slot to a commit in which nobody has left anything, and whose tree is that of the commit or differs in
    /// little: what most slots are when they are lent or given back. All in one go, and without a process.
    pub(crate) async fn step(&self, commit: &CommitId) -> Result<Way, WorkspaceError> {
        let (commit, room) = (commit.clone(), self.room());
        let stepped = self.mirror.objects(move |objects| {
            let repository = objects.open()?;
            let wanted = tree_id(find_commit(&repository, &commit)?.tree_id());
            let is_saved = |held: &TreeId| room.is_saved(objects, held);
            let way = room.step(&repository, &wanted, &is_saved)?;
            if way == Way::Whole {
                room.furnish(&commit, &wanted)?;
            }
            Ok(way)
        });
        stepped.await
    }

    /// `host/<n>`
    pub(super) fn host(&self) -> &std::path::Path {
        &self.host
    }

    fn room(&self) -> Room {
        Room {
            dir: self.dir.clone(),
            host: self.host.clone(),
            index: self.index.clone(),
            objects: self.mirror.path().join("objects"),
            ground: Arc::clone(&self.ground),
        }
    }

    /// Puts caches into a work tree that was just made. One that cannot be put there is missing, and nothing else.
    pub(super) async fn seed_caches(&self, commit: &CommitId, mode: CacheMode, now: jiff::Timestamp) {
        if mode == CacheMode::Off || !cache::any(self.mirror.dir()) {
            return;
        }
        let seeded = async {
            for wanted in self.wanted_caches(commit).await? {
                let (dir, work, ground) = (self.mirror.dir().to_owned(), self.work.clone(), Arc::clone(&self.ground));
                blocking(move || {
                    ground.check()?;
                    cache::seed(&dir, &work, &wanted, mode, now)
                })
                .await?;
            }
            Ok::<_, WorkspaceError>(())
        };
        if let Err(error) = seeded.await {
            tracing::warn!(slot = %self.id, "a cache was left out: {}", error.in_words());
        }
    }

    pub(super) async fn keep_caches(&self, now: jiff::Timestamp) -> Result<(), WorkspaceError> {
        let Some(commit) = self.base().await? else { return Ok(()) };
        for wanted in self.wanted_caches(&commit).await? {
            let (dir, work, ground) = (self.mirror.dir().to_owned(), self.work.clone(), Arc::clone(&self.ground));
            blocking(move || {
                ground.check()?;
                cache::harvest(&dir, &work, &wanted, now)
            })
            .await?;
        }
        Ok(())
    }

    /// Caches that fit a commit. A folder that git does not ignore is part of the work, and no cache.
    async fn wanted_caches(&self, commit: &CommitId) -> Result<Vec<Wanted>, WorkspaceError> {
        let (commit, work) = (commit.clone(), self.work.clone());
        let all = self.mirror.objects(move |objects| cache::wanted(objects, &objects.tree_of(&commit)?, &work)).await?;
        let mut ignored = Vec::new();
        for wanted in all {
            let folder = format!("{}/", wanted.folder);
            // This command knows no other kind of path, and refuses to be told that paths are literal.
            let call = self.call().args(["--no-literal-pathspecs", "check-ignore", "-q", "--", &folder]);
            let answer = self.git(call.accept(&[0, 1])).await?;
            if answer.code == 0 {
                ignored.push(wanted);
            }
        }
        Ok(ignored)
    }

    /// The commit that the slot was last prepared for.
    pub(super) async fn base(&self) -> Result<Option<CommitId>, WorkspaceError> {
        let path = self.host.join("base");
        blocking(move || Ok(fs::read_to_string(path).ok().and_then(|text| CommitId::new(text.trim()).ok()))).await
    }

    pub(super) async fn remember(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
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

    pub(super) async fn forget(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let (path, tree) = (self.host.join("saved"), tree.to_string());
        blocking(move || {
            let known = fs::read_to_string(&path).unwrap_or_default();
            let kept: Vec<&str> = known.lines().filter(|line| *line != tree).collect();
            write(&path, &kept.join("\n"))
        })
        .await
    }

    async fn is_saved(&self, tree: &TreeId) -> Result<bool, WorkspaceError> {
        let (room, tree) = (self.room(), tree.clone());
        self.mirror.objects(move |objects| room.is_saved(objects, &tree)).await
    }

    /// Saves what is in the work tree and nowhere else, and leaves the index describing the work
    /// tree (or no work tree at all).
    pub(super) async fn save_unsaved(&self, now: jiff::Timestamp) -> Result<Option<Rescue>, WorkspaceError> {
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
    pub(super) async fn check_out(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
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
        let (wanted, index) = (tree.clone(), self.index.clone());
        let (work, ground) = (self.work.clone(), Arc::clone(&self.ground));
        let swept = self.mirror.objects(move |objects| {
            let (tracked, names) = Tracked::read(&index).map_err(WorkspaceError::io(&index))?;
            objects.check_index(&names, &wanted)?;
            failpoint::writing("slot", "sweep", || {
                tracked.sweep(&ground.open_work()?).map_err(WorkspaceError::io(&work))
            })
        });
        if swept.await? {
            return Ok(());
        }
        let call = self.call().args(["diff-files", "-z", "--name-only", "--no-ext-diff", "--ignore-submodules=all"]);
        let changed = self.git(call).await?;
        if let Some(first) = changed.records().next() {
            let detail = format!("{} differs", String::from_utf8_lossy(first));
            return Err(WorkspaceError::NotClean { slot: self.id.to_string(), detail });
        }
        Ok(())
    }
}

/// The folders of a slot, for work on them that blocks.
struct Room {
    /// `slots/<n>`
    dir: PathBuf,
    /// `host/<n>`
    host: PathBuf,
    index: PathBuf,
    /// The mirror's.
    objects: PathBuf,
    ground: Arc<Ground>,
}

impl Room {
    /// Whether a tree is kept somewhere else: written down as saved, or in a commit that a ref holds.
    fn is_saved(&self, objects: &Objects, tree: &TreeId) -> Result<bool, WorkspaceError> {
        let known = fs::read_to_string(self.host.join("saved")).unwrap_or_default();
        Ok(known.lines().any(|line| line == tree.as_str()) || objects.is_tree_kept(tree)?)
    }

    /// Brings the work tree to `wanted`, if it is just what its index says, that is saved, and the way is plain.
    fn step(
        &self,
        repository: &git2::Repository,
        wanted: &TreeId,
        is_saved: &dyn Fn(&TreeId) -> Result<bool, WorkspaceError>,
    ) -> Result<Way, WorkspaceError> {
        if !self.ground.is_whole() {
            return Ok(Way::None);
        }
        let work = self.ground.open_work()?;
        let Ok((tracked, mut index)) = Tracked::read(&self.index) else { return Ok(Way::None) };
        if !tracked.is_all_of(&work).unwrap_or(false) {
            return Ok(Way::None);
        }
        let Ok(held) = index.write_tree_to(repository) else { return Ok(Way::None) };
        let to = wanted.oid()?;
        if held == to {
            return Ok(Way::Whole);
        }
        if !is_saved(&tree_id(held))? {
            return Ok(Way::None);
        }
        let path = self.dir.join("work");
        let io = WorkspaceError::io(&path);
        let stepped = failpoint::writing("slot", "step", || step(repository, &work, &mut index, held, to).map_err(io));
        match stepped {
            Ok(true) => Ok(Way::Whole),
            Ok(false) => Ok(Way::None),
            Err(full @ WorkspaceError::DiskFull { .. }) => Err(full),
            Err(error) => {
                tracing::debug!(work = %self.dir.display(), error = %error.in_words(), "checked out as a whole");
                Ok(Way::Begun)
            }
        }
    }

    /// Puts beside a work tree that holds `tree` what belongs to it.
    fn furnish(&self, base: &CommitId, tree: &TreeId) -> Result<(), WorkspaceError> {
        failpoint::writing("slot", "tool-repository", || {
            write_tool_repository(&self.dir, &self.ground.open_work()?, &self.objects, &self.index, base)
        })?;
        self.ground.empty_scratch()?;
        empty(&self.host.join("tmp"))?;
        write(&self.host.join("base"), base.as_str())?;
        write(&self.host.join("saved"), tree.as_str())
    }
}
