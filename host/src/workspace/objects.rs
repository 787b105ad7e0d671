//! Commits, trees and refs of a mirror, through libgit2, which starts no program. All of it blocks:
//! call it through [`Mirror::objects`](super::Mirror::objects).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use git2::{ErrorCode, FileMode, Index, IndexEntry, IndexTime, ObjectType, Oid, Repository, Signature, Time};
use serde::{Deserialize, Serialize};

use super::WorkspaceError;
use crate::domain::id::CommitId;
use crate::failpoint;

/// How often a ref that another process holds locked is tried again.
const LOCK_TRIES: u32 = 50;
/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Most entries that `log` gives.
pub const MAX_LOG_ENTRIES: usize = 10_000;

/// A git tree id in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreeId(String);

impl TreeId {
    /// Checks the form: 40 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`WorkspaceError::NotAnId`].
    pub fn new(text: impl Into<String>) -> Result<Self, WorkspaceError> {
        let text = text.into();
        oid(&text)?;
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As libgit2 has it.
    pub(crate) fn oid(&self) -> Result<Oid, WorkspaceError> {
        oid(&self.0)
    }
}

impl std::fmt::Display for TreeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TreeId {
    type Error = WorkspaceError;
    fn try_from(text: String) -> Result<Self, WorkspaceError> {
        Self::new(text)
    }
}

impl From<TreeId> for String {
    fn from(id: TreeId) -> Self {
        id.0
    }
}

pub(crate) fn tree_id(id: Oid) -> TreeId {
    TreeId(id.to_string())
}

pub(crate) fn commit_id(id: Oid) -> CommitId {
    CommitId::new(id.to_string()).expect("an object id in hexadecimal is never empty, long or spaced")
}

fn oid(text: &str) -> Result<Oid, WorkspaceError> {
    let full = text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let refuse = || WorkspaceError::NotAnId { text: text.chars().take(100).collect() };
    if full { Oid::from_str(text).map_err(|_| refuse()) } else { Err(refuse()) }
}

/// Who a commit is by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
}

/// A commit to make. The same values always give the same commit id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCommit {
    /// What it holds.
    pub tree: TreeId,
    /// What it follows.
    pub parents: Vec<CommitId>,
    /// Its message, taken as it is.
    pub message: String,
    /// Author and committer.
    pub author: Identity,
    /// When; whole seconds count.
    pub time: jiff::Timestamp,
}

/// One commit of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its id.
    pub commit: CommitId,
    /// Its tree.
    pub tree: TreeId,
    /// What it follows.
    pub parents: Vec<CommitId>,
    /// Its message.
    pub message: String,
    /// Author's name.
    pub author: String,
    /// When it was committed, in seconds since 1970.
    pub time_s: i64,
}

/// The object store and the refs of one mirror.
#[derive(Debug, Clone)]
pub struct Objects {
    git_dir: PathBuf,
    /// libgit2 does not wait for a locked ref; our own threads wait here.
    refs: Arc<Mutex<()>>,
}

impl Objects {
    pub(crate) fn new(git_dir: PathBuf) -> Self {
        Self { git_dir, refs: Arc::default() }
    }

    /// The objects of somebody's repository, to be read: nothing there is changed or run.
    pub(crate) fn of_work_tree(root: &Path) -> Self {
        Self::new(Repository::open(root).map_or_else(|_| root.join(".git"), |found| found.commondir().to_owned()))
    }

    pub(crate) fn open(&self) -> Result<Repository, WorkspaceError> {
        Repository::open_bare(&self.git_dir).map_err(|e| WorkspaceError::objects("the mirror", &e))
    }

    /// The tree of a commit.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the commit is not there.
    pub fn tree_of(&self, commit: &CommitId) -> Result<TreeId, WorkspaceError> {
        let repository = self.open()?;
        let found = find_commit(&repository, commit)?;
        Ok(tree_id(found.tree_id()))
    }

    /// Makes a commit, durably. It hangs from no ref yet.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the tree or a parent is not there, or the disk is full.
    pub fn commit(&self, new: &NewCommit) -> Result<CommitId, WorkspaceError> {
        let repository = self.open()?;
        let failed = |e: git2::Error| WorkspaceError::objects("the new commit", &e);
        let tree = repository.find_tree(oid(new.tree.as_str())?).map_err(failed)?;
        let parents =
            new.parents.iter().map(|parent| find_commit(&repository, parent)).collect::<Result<Vec<_>, _>>()?;
        let time = Time::new(new.time.as_second(), 0);
        let who = Signature::new(&new.author.name, &new.author.email, &time).map_err(failed)?;
        let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
        failpoint::writing("git", "commit", || {
            repository.commit(None, &who, &who, &new.message, &tree, &parents).map(commit_id).map_err(failed)
        })
    }

    /// What a ref points to.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the ref can't be read.
    pub fn read_ref(&self, name: &str) -> Result<Option<CommitId>, WorkspaceError> {
        let repository = self.open()?;
        match repository.find_reference(name) {
            Ok(reference) => Ok(reference.target().map(commit_id)),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(WorkspaceError::objects(name, &e)),
        }
    }

    /// Points a ref to `new` if it points to `expected` now (`None`: if it does not exist).
    ///
    /// # Errors
    /// [`WorkspaceError::RefMoved`] when it does not; [`WorkspaceError::RefLocked`] when somebody
    /// holds its lock for longer than a second.
    pub fn update_ref(&self, name: &str, new: &CommitId, expected: Option<&CommitId>) -> Result<(), WorkspaceError> {
        let repository = self.open()?;
        let target = oid(new.as_str())?;
        // libgit2 would make a ref to something that is no commit.
        find_commit(&repository, new)?;
        let current = expected.map(|e| oid(e.as_str())).transpose()?;
        let _ours = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        failpoint::writing("ref", kind(name), || {
            patiently(name, || {
                match current {
                    Some(current) => repository.reference_matching(name, target, true, current, "necro"),
                    None => repository.reference(name, target, false, "necro"),
                }
                .map(|_| ())
            })
        })
    }

    /// Removes a ref if it points to `expected`. A ref that is gone already is fine.
    ///
    /// # Errors
    /// As [`Objects::update_ref`].
    pub fn delete_ref(&self, name: &str, expected: &CommitId) -> Result<(), WorkspaceError> {
        let repository = self.open()?;
        let expected = oid(expected.as_str())?;
        let _ours = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        patiently(name, || match repository.find_reference(name) {
            Ok(mut reference) if reference.target() == Some(expected) => reference.delete(),
            Ok(_) => Err(git2::Error::new(ErrorCode::Modified, git2::ErrorClass::Reference, "points elsewhere")),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(()),
            Err(e) => Err(e),
        })
    }

    /// Refs whose name starts with `prefix`, such as `refs/necro/`, sorted by name.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the refs can't be read.
    pub fn refs(&self, prefix: &str) -> Result<Vec<(String, CommitId)>, WorkspaceError> {
        let repository = self.open()?;
        let failed = |e: git2::Error| WorkspaceError::objects(prefix, &e);
        let mut found = Vec::new();
        for reference in repository.references().map_err(failed)? {
            let reference = reference.map_err(failed)?;
            if let (Ok(name), Some(target)) = (reference.name(), reference.target())
                && name.starts_with(prefix)
            {
                found.push((name.to_owned(), commit_id(target)));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether some ref points to a commit with this tree.
    pub(crate) fn is_tree_kept(&self, tree: &TreeId) -> Result<bool, WorkspaceError> {
        let repository = self.open()?;
        let wanted = oid(tree.as_str())?;
        for (_, commit) in self.refs("refs/")? {
            if find_commit(&repository, &commit).is_ok_and(|c| c.tree_id() == wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes of a file in a tree; for a symbolic link, its target. `None`: no such file.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the tree can't be read.
    pub fn read_file(&self, tree: &TreeId, path: &str) -> Result<Option<Vec<u8>>, WorkspaceError> {
        let repository = self.open()?;
        let failed = |e: git2::Error| WorkspaceError::objects(path, &e);
        let tree = repository.find_tree(oid(tree.as_str())?).map_err(failed)?;
        match tree.get_path(Path::new(path)) {
            Ok(entry) if entry.kind() == Some(ObjectType::Blob) => {
                Ok(Some(repository.find_blob(entry.id()).map_err(failed)?.content().to_vec()))
            }
            Ok(_) => Ok(None),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// Size of the file at `path` of a tree, without reading it; none when there is no file.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the tree can't be read.
    pub fn size_of(&self, tree: &TreeId, path: &str) -> Result<Option<usize>, WorkspaceError> {
        let repository = self.open()?;
        let failed = |e: git2::Error| WorkspaceError::objects(path, &e);
        match find_tree(&repository, tree)?.get_path(Path::new(path)) {
            Ok(entry) if entry.kind() == Some(ObjectType::Blob) => {
                let objects = repository.odb().map_err(failed)?;
                Ok(Some(objects.read_header(entry.id()).map_err(failed)?.0))
            }
            Ok(_) => Ok(None),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// Id of the file at `path` of a tree, without reading it; none when there is no file.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the tree can't be read.
    pub(crate) fn blob_of(&self, tree: &TreeId, path: &str) -> Result<Option<String>, WorkspaceError> {
        let repository = self.open()?;
        match find_tree(&repository, tree)?.get_path(Path::new(path)) {
            Ok(entry) if entry.kind() == Some(ObjectType::Blob) => Ok(Some(entry.id().to_string())),
            Ok(_) => Ok(None),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(WorkspaceError::objects(path, &e)),
        }
    }

    /// Whether there is a symbolic link at `path` of a tree.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the tree can't be read.
    pub fn is_link(&self, tree: &TreeId, path: &str) -> Result<bool, WorkspaceError> {
        let repository = self.open()?;
        let mode = mode_at(&find_tree(&repository, tree)?, path)?;
        Ok(mode == Some(i32::from(FileMode::Link)))
    }

    /// Those of `paths` at which a tree has nothing.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the tree can't be read.
    pub fn missing(&self, tree: &TreeId, mut paths: Vec<String>) -> Result<Vec<String>, WorkspaceError> {
        let repository = self.open()?;
        let tree = find_tree(&repository, tree)?;
        let mut failed = Ok(());
        paths.retain(|path| match mode_at(&tree, path) {
            Ok(mode) => mode.is_none(),
            Err(error) => {
                failed = Err(error);
                false
            }
        });
        failed.map(|()| paths)
    }

    /// Files of a tree whose path starts with `prefix`, sorted as git sorts them.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the tree can't be read.
    pub fn list_files(&self, tree: &TreeId, prefix: &str) -> Result<Vec<String>, WorkspaceError> {
        let index = self.index_of(&self.open()?, tree)?;
        let files = index.iter().filter(|entry| entry.mode != u32::from(FileMode::Commit));
        let names = files.map(|entry| String::from_utf8_lossy(&entry.path).into_owned());
        Ok(names.filter(|name| name.starts_with(prefix)).collect())
    }

    /// The tree with some files written or (`None`) removed. Files keep their mode.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a path can't stand in a tree, or the disk is full.
    pub fn with_files(&self, tree: &TreeId, files: &[(String, Option<Vec<u8>>)]) -> Result<TreeId, WorkspaceError> {
        let repository = self.open()?;
        let mut index = self.index_of(&repository, tree)?;
        for (path, bytes) in files {
            let failed = |e: git2::Error| WorkspaceError::objects(path, &e);
            let before = index.get_path(Path::new(path), 0);
            match bytes {
                None if before.is_some() => index.remove(Path::new(path), 0).map_err(failed)?,
                None => {}
                Some(bytes) => {
                    let id = failpoint::writing("git", "blob", || repository.blob(bytes).map_err(failed))?;
                    let mode = before.map_or(u32::from(FileMode::Blob), |e| e.mode);
                    index.add(&entry(path.as_bytes().to_vec(), id, mode)).map_err(failed)?;
                }
            }
        }
        let failed = |e: git2::Error| WorkspaceError::objects("the new tree", &e);
        failpoint::writing("git", "tree", || index.write_tree_to(&repository).map(tree_id).map_err(failed))
    }

    /// The tree, but with every path for which `belongs` says so as it is in `from`: changed,
    /// missing or extra files alike.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a tree can't be read or written.
    pub fn restore(
        &self,
        from: &TreeId,
        tree: &TreeId,
        belongs: &dyn Fn(&str) -> bool,
    ) -> Result<TreeId, WorkspaceError> {
        let repository = self.open()?;
        let source = self.index_of(&repository, from)?;
        let mut index = self.index_of(&repository, tree)?;
        let failed = |e: git2::Error| WorkspaceError::objects("the restored tree", &e);
        let chosen = |index: &Index| -> Vec<IndexEntry> {
            index.iter().filter(|e| belongs(&String::from_utf8_lossy(&e.path))).collect()
        };
        for extra in chosen(&index) {
            index.remove(path_of(&extra.path), 0).map_err(failed)?;
        }
        for kept in chosen(&source) {
            index.add(&entry(kept.path.clone(), kept.id, kept.mode)).map_err(failed)?;
        }
        failpoint::writing("git", "tree", || index.write_tree_to(&repository).map(tree_id).map_err(failed))
    }

    /// Whether `ancestor` is `commit` or one of its ancestors.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a commit is not there.
    pub fn is_ancestor(&self, ancestor: &CommitId, commit: &CommitId) -> Result<bool, WorkspaceError> {
        let repository = self.open()?;
        let (ancestor, commit) = (oid(ancestor.as_str())?, oid(commit.as_str())?);
        if ancestor == commit {
            return Ok(true);
        }
        repository.graph_descendant_of(commit, ancestor).map_err(|e| WorkspaceError::objects("history", &e))
    }

    /// The best common ancestor; `None` when the histories have nothing in common.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a commit is not there.
    pub fn merge_base(&self, one: &CommitId, two: &CommitId) -> Result<Option<CommitId>, WorkspaceError> {
        let repository = self.open()?;
        match repository.merge_base(oid(one.as_str())?, oid(two.as_str())?) {
            Ok(base) => Ok(Some(commit_id(base))),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(WorkspaceError::objects("history", &e)),
        }
    }

    /// The commits of `tip` that are not in `exclude`, newest first, children before parents; at
    /// most `limit`, at most [`MAX_LOG_ENTRIES`].
    ///
    /// # Errors
    /// [`WorkspaceError`]: a commit is not there.
    pub fn log(
        &self,
        tip: &CommitId,
        exclude: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<LogEntry>, WorkspaceError> {
        let repository = self.open()?;
        let failed = |e: git2::Error| WorkspaceError::objects("history", &e);
        let mut walk = repository.revwalk().map_err(failed)?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME).map_err(failed)?;
        walk.push(oid(tip.as_str())?).map_err(failed)?;
        if let Some(exclude) = exclude {
            walk.hide(oid(exclude.as_str())?).map_err(failed)?;
        }
        let mut entries = Vec::new();
        for id in walk.take(limit.min(MAX_LOG_ENTRIES)) {
            let commit = repository.find_commit(id.map_err(failed)?).map_err(failed)?;
            entries.push(LogEntry {
                commit: commit_id(commit.id()),
                tree: tree_id(commit.tree_id()),
                parents: commit.parent_ids().map(commit_id).collect(),
                message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
                author: String::from_utf8_lossy(commit.author().name_bytes()).into_owned(),
                time_s: commit.time().seconds(),
            });
        }
        Ok(entries)
    }

    /// The tree of what an index names.
    pub(crate) fn write_index(&self, index: &mut Index) -> Result<TreeId, WorkspaceError> {
        let repository = self.open()?;
        let failed = |e: git2::Error| WorkspaceError::objects("the tree of an index", &e);
        failpoint::writing("git", "tree", || index.write_tree_to(&repository).map(tree_id).map_err(failed))
    }

    /// Requires that an index names what a tree holds and nothing else, entry by entry: what an index says of its own
    /// tree is not asked.
    pub(crate) fn check_index(&self, index: &Index, tree: &TreeId) -> Result<(), WorkspaceError> {
        let wanted = self.index_of(&self.open()?, tree)?;
        let names = |entry: IndexEntry| (entry.path, entry.mode, entry.id);
        if wanted.iter().map(names).eq(index.iter().map(names)) {
            return Ok(());
        }
        Err(WorkspaceError::Objects { what: "an index".to_owned(), detail: format!("it is not the tree {tree}") })
    }

    /// A tree as an index in memory, where paths are added and removed.
    pub(crate) fn index_of(&self, repository: &Repository, tree: &TreeId) -> Result<Index, WorkspaceError> {
        let failed = |e: git2::Error| WorkspaceError::objects("a tree", &e);
        let tree = repository.find_tree(oid(tree.as_str())?).map_err(failed)?;
        let mut index = Index::new().map_err(failed)?;
        index.read_tree(&tree).map_err(failed)?;
        Ok(index)
    }
}

/// Mode of what a tree has at a path, if it has anything there.
fn mode_at(tree: &git2::Tree<'_>, path: &str) -> Result<Option<i32>, WorkspaceError> {
    match tree.get_path(Path::new(path)) {
        Ok(entry) => Ok(Some(entry.filemode())),
        Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
        Err(e) => Err(WorkspaceError::objects(path, &e)),
    }
}

pub(crate) fn find_tree<'r>(repository: &'r Repository, tree: &TreeId) -> Result<git2::Tree<'r>, WorkspaceError> {
    repository.find_tree(oid(tree.as_str())?).map_err(|e| WorkspaceError::objects("a tree", &e))
}

pub(crate) fn find_commit<'r>(
    repository: &'r Repository,
    commit: &CommitId,
) -> Result<git2::Commit<'r>, WorkspaceError> {
    repository.find_commit(oid(commit.as_str())?).map_err(|e| WorkspaceError::objects(commit.as_str(), &e))
}

fn entry(path: Vec<u8>, id: Oid, mode: u32) -> IndexEntry {
    let never = IndexTime::new(0, 0);
    IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path,
    }
}

fn path_of(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// What a ref is for, in one word.
fn kind(reference: &str) -> &'static str {
    match reference {
        name if name.starts_with("refs/heads/necro/") => "spec-branch",
        name if name.starts_with("refs/heads/") => "task-branch",
        name if name.starts_with("refs/necro/rescue/") => "rescue",
        _ => "attempt",
    }
}

/// Tries a ref operation again while another process holds the ref's lock.
fn patiently(name: &str, mut operation: impl FnMut() -> Result<(), git2::Error>) -> Result<(), WorkspaceError> {
    for _ in 0..LOCK_TRIES {
        match operation() {
            Ok(()) => return Ok(()),
            Err(e) if e.code() == ErrorCode::Locked => std::thread::sleep(LOCK_PAUSE),
            Err(e) if matches!(e.code(), ErrorCode::Modified | ErrorCode::Exists) => {
                return Err(WorkspaceError::RefMoved { name: name.to_owned() });
            }
            // An expected ref that is gone altogether.
            Err(e) if e.code() == ErrorCode::NotFound && e.class() == git2::ErrorClass::Reference => {
                return Err(WorkspaceError::RefMoved { name: name.to_owned() });
            }
            Err(e) => return Err(WorkspaceError::objects(name, &e)),
        }
    }
    Err(WorkspaceError::RefLocked { name: name.to_owned() })
}
