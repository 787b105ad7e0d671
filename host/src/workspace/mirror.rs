//! The mirror: one bare repository for each source, with all objects and all refs of ours. It is a
//! full copy (a fetch, no hard links, no alternates), so nothing that happens in the source takes
//! an object away from it; it never collects garbage, so nothing takes one from a slot.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use git2::{Oid, Repository};

use super::clean::{BEGUN, drop_begun, write};
use super::git::{Call, Git};
use super::modules::Module;
use super::objects::{Identity, NewCommit, Objects, TreeId};
use super::source::{Source, TRANSPORTS};
use super::{WorkspaceError, blocking};
use crate::domain::id::CommitId;
use crate::failpoint;

/// Conflict text beyond this is left out.
const MAX_CONFLICT_TEXT_BYTES: usize = 32 * 1024;

/// The mirror's whole configuration. The last key is for libgit2, the git command line is told the
/// same in each call.
const CONFIG: &str = "[core]
\trepositoryFormatVersion = 0
\tbare = true
\tfileMode = true
\tsymlinks = true
\tignoreCase = false
\tlogAllRefUpdates = false
\thooksPath = /dev/null
\tfsyncObjectFiles = true
[gc]
\tauto = 0
[maintenance]
\tauto = false
[uploadpack]
\tallowAnySHA1InWant = true
";

/// Comes before every `.gitattributes`: nothing is converted, filtered or driven.
const ATTRIBUTES: &str =
    "* -text !eol !crlf !ident !filter !working-tree-encoding !diff !merge !conflict-marker-size\n";

/// How the other side is started for a repository that libgit2 has opened. Git serves no repository of
/// another user unless `safe.directory` says so, and the call's own configuration does not reach the
/// process that serves. libgit2 asks the same question and hears the user's own answer, so what it has
/// opened the user works with. That process runs no hook, and takes programs only from configuration
/// that no repository can write.
pub(super) const SERVE_ACCEPTED: &str = "--upload-pack=git -c 'safe.directory=*' upload-pack";

/// What would lead git to other configuration, other objects or other history.
const FORBIDDEN: &[&str] =
    &["commondir", "config.worktree", "info/grafts", "info/sparse-checkout", "objects/info/alternates", "shallow"];

/// What the names of objects and packs begin with that git and libgit2 are writing.
const BEGUN_OBJECT: &str = "tmp_";

/// Who makes commits that are gone when the merge is.
const PICKING: &str = "necro-pick";

/// The folder of a repository that holds its own state directory.
const OWN: &str = "own";
/// Says in words whose mirror it is.
const NOTE: &str = "source";

/// A mirror of another repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSource {
    /// Whose it is.
    pub name: String,
    /// The file that says so.
    pub note: PathBuf,
}

/// A mirror below `repos_dir` that is not `source`'s, if there is one.
#[must_use]
pub fn other_source(repos_dir: &Path, source: &Source) -> Option<OtherSource> {
    let own = place(repos_dir, source);
    let (dir, name) = mirrors(repos_dir).find(|(dir, _)| *dir != own)?;
    Some(OtherSource { name, note: dir.join(NOTE) })
}

/// The folder of a source's mirror: the one of its name, or one that says that it is its. The name tells
/// where the state directory lies, and that may have been moved.
fn place(repos_dir: &Path, source: &Source) -> PathBuf {
    let named = repos_dir.join(folder(repos_dir, source));
    if named.exists() {
        return named;
    }
    let whose = source.display();
    mirrors(repos_dir).find(|(_, name)| *name == whose).map_or(named, |(dir, _)| dir)
}

/// All folders of mirrors, and whose each says that it is.
fn mirrors(repos_dir: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let folders = fs::read_dir(repos_dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    folders.map(|entry| {
        let name = || entry.file_name().to_string_lossy().into_owned();
        let whose = fs::read_to_string(entry.path().join(NOTE)).unwrap_or_else(|_| name());
        (entry.path(), whose.trim().to_owned())
    })
}

/// Name of a source's folder. A repository that holds its own state directory keeps it wherever both are
/// moved to.
fn folder(repos_dir: &Path, source: &Source) -> String {
    let holds = |path: &Path| Some(repos_dir.parent()?.canonicalize().ok()?.starts_with(path.canonicalize().ok()?));
    match source {
        Source::Path(path) if holds(path) == Some(true) => OWN.to_owned(),
        _ => source.folder(),
    }
}

/// How a merge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// It fits.
    Clean {
        /// The merged tree.
        tree: TreeId,
    },
    /// It does not.
    Conflict {
        /// Files in conflict, sorted.
        files: Vec<String>,
        /// The hunks in conflict, file by file, with markers; cut at 32 KiB.
        text: String,
    },
}

/// The mirror of one source.
#[derive(Debug)]
pub struct Mirror {
    git: Git,
    source: Source,
    dir: PathBuf,
    path: PathBuf,
    objects: Objects,
    /// Held over the change of a small file beside it.
    pub(super) notes: Arc<Mutex<()>>,
    /// Submodules that slots hold; set once, when they were asked for.
    pub(super) modules: OnceLock<Vec<Module>>,
}

impl Mirror {
    /// Opens the mirror of `source` below `repos_dir`, making it when it is new. It holds nothing of
    /// the source before the first [`Mirror::fetch`]. Only the owner of the state directory may do
    /// this: it takes away what a killed process left, such as locks.
    ///
    /// # Errors
    /// [`WorkspaceError`]: its files can't be written.
    pub async fn open(git: Git, repos_dir: &Path, source: Source) -> Result<Arc<Self>, WorkspaceError> {
        let mirror = Self::at(git, repos_dir, source);
        let (made, note, whose) = (mirror.path.clone(), mirror.dir.join(NOTE), mirror.source.display());
        let (hosts, beside) = (folders(&mirror.dir.join("host")), mirror.dir.clone());
        blocking(move || {
            failpoint::writing("mirror", "make", || {
                for sub in ["objects/info", "objects/pack", "refs/heads", "info"] {
                    fs::create_dir_all(made.join(sub)).map_err(WorkspaceError::io(&made))?;
                }
                fs::write(&note, whose).map_err(WorkspaceError::io(&note))
            })?;
            drop_stale_locks(&made)?;
            for folder in [beside, made.clone(), made.join("info")].into_iter().chain(hosts) {
                drop_begun(&folder, BEGUN)?;
            }
            // libgit2 begins an object here, git in the folder that it goes to; packs have one as well.
            let objects = made.join("objects");
            for folder in folders(&objects).into_iter().chain([objects]) {
                drop_begun(&folder, BEGUN_OBJECT)?;
            }
            seal(&made)
        })
        .await?;
        Ok(Arc::new(mirror))
    }

    /// Opens a mirror that is there already, also while another process works in it: no lock is taken
    /// away, it may be that process's. `None` when nothing was copied from `source` yet.
    ///
    /// # Errors
    /// [`WorkspaceError`]: its files can't be read, or not be put back as they were written.
    pub async fn open_existing(
        git: Git,
        repos_dir: &Path,
        source: Source,
    ) -> Result<Option<Arc<Self>>, WorkspaceError> {
        let mirror = Self::at(git, repos_dir, source);
        let path = mirror.path.clone();
        let there =
            blocking(move || if path.join("objects").is_dir() { seal(&path).map(|()| true) } else { Ok(false) });
        Ok(there.await?.then(|| Arc::new(mirror)))
    }

    fn at(git: Git, repos_dir: &Path, source: Source) -> Self {
        let dir = place(repos_dir, &source);
        let path = dir.join("mirror.git");
        let objects = Objects::new(path.clone());
        Self { git, source, dir, path, objects, notes: Arc::default(), modules: OnceLock::new() }
    }

    /// Its source.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The folder that holds the mirror and its slots.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bare repository.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a call on the mirror, after a look at its configuration.
    pub(crate) async fn git(&self, call: Call<'_>) -> Result<super::git::Answer, WorkspaceError> {
        let path = self.path.clone();
        blocking(move || seal(&path)).await?;
        match call.writes() {
            Some(name) => failpoint::awaiting("git", name, async { Ok(self.git.run(call).await?) }).await,
            None => Ok(self.git.run(call).await?),
        }
    }

    /// Makes a call elsewhere.
    pub(crate) fn outside(&self) -> &Git {
        &self.git
    }

    /// Runs `f` over the objects and refs, where it may block.
    ///
    /// # Errors
    /// What `f` says.
    pub async fn objects<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Objects) -> Result<T, WorkspaceError> + Send + 'static,
    ) -> Result<T, WorkspaceError> {
        let (objects, path) = (self.objects.clone(), self.path.clone());
        blocking(move || {
            seal(&path)?;
            f(&objects)
        })
        .await
    }

    /// Copies what is new in the source's branches to `refs/remotes/origin/`. The source is only
    /// read: its refs, index, configuration and hooks stay as they are.
    ///
    /// # Errors
    /// [`WorkspaceError::Git`]: the source is gone, can't be reached or lets nobody in.
    pub async fn fetch(&self) -> Result<(), WorkspaceError> {
        let mut is_accepted = false;
        if let Source::Path(path) = &self.source {
            let path = path.clone();
            let seen = self.objects(move |objects| {
                let source = Repository::open(&path).ok();
                Ok(source.map(|source| is_current(&source, objects)))
            });
            match seen.await? {
                Some(true) => return Ok(()),
                Some(false) => is_accepted = true,
                None => {}
            }
        }
        let from = match &self.source {
            Source::Path(path) => path.clone().into_os_string(),
            Source::Url(url) => url.into(),
        };
        let call = Call::on(&self.path)
            .args(["fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"])
            .args(["--no-recurse-submodules", "--no-show-forced-updates"])
            .args(is_accepted.then_some(SERVE_ACCEPTED))
            .args([OsString::from("--"), from])
            .args(["+refs/heads/*:refs/remotes/origin/*"])
            .transports(TRANSPORTS);
        self.git(call).await.map(|_| ())
    }

    /// The tip of a branch of the source, as of the last fetch.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the ref can't be read.
    pub async fn branch_tip(&self, branch: &str) -> Result<Option<CommitId>, WorkspaceError> {
        let name = format!("refs/remotes/origin/{branch}");
        self.objects(move |objects| objects.read_ref(&name)).await
    }

    /// Merges two commits without any work tree. No commit is made and no ref moves.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a commit is not there, or git failed.
    pub async fn merge(&self, ours: &CommitId, theirs: &CommitId) -> Result<MergeOutcome, WorkspaceError> {
        let call = Call::on(&self.path)
            .args(["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", "--allow-unrelated-histories"])
            .args([ours.as_str(), theirs.as_str()])
            .accept(&[0, 1]);
        let answer = self.git(call).await?;
        let mut records = answer.records().map(|r| String::from_utf8_lossy(r).into_owned());
        let tree = TreeId::new(records.next().unwrap_or_default())?;
        if answer.code == 0 {
            return Ok(MergeOutcome::Clean { tree });
        }
        let mut files: Vec<String> = records.collect();
        files.sort();
        files.dedup();
        self.objects(move |objects| {
            let text = conflict_text(objects, &tree, &files)?;
            Ok(MergeOutcome::Conflict { files, text })
        })
        .await
    }
}

impl Mirror {
    /// Does to `onto` what `commit` did to its first parent, without any work tree. No ref moves.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a commit is not there, or git failed.
    pub async fn pick(&self, onto: &CommitId, commit: &CommitId) -> Result<MergeOutcome, WorkspaceError> {
        let (at, wanted) = (onto.clone(), commit.clone());
        let beside = self.objects(move |objects| {
            let Some(entry) = objects.log(&wanted, None, 1)?.into_iter().next() else { return Ok(at) };
            // What is there now, as if it had been made of the parent: then the parent is what the two have in
            // common, which older gits cannot be told.
            objects.commit(&NewCommit {
                tree: objects.tree_of(&at)?,
                parents: entry.parents.into_iter().take(1).collect(),
                message: String::new(),
                author: Identity { name: PICKING.to_owned(), email: PICKING.to_owned() },
                time: jiff::Timestamp::UNIX_EPOCH,
            })
        });
        self.merge(&beside.await?, commit).await
    }
}

/// Whether the last fetch saw all branches as they are now: then git need not be started, which takes
/// longer than this look. Whatever is in doubt is fetched, and git says what is wrong with it.
fn is_current(source: &Repository, mirror: &Objects) -> bool {
    let Ok(mirror) = mirror.open() else { return false };
    let theirs = tips(source, "refs/heads/");
    theirs.is_some() && theirs == tips(&mirror, "refs/remotes/origin/")
}

/// Names and commits of the refs below `prefix`; `None` when one of them cannot be read.
fn tips(repository: &Repository, prefix: &str) -> Option<BTreeMap<String, Oid>> {
    let references = repository.references_glob(&format!("{prefix}*")).ok()?;
    references
        .map(|reference| {
            let commit = reference.as_ref().ok()?.peel_to_commit().ok()?.id();
            let name = reference.as_ref().ok()?.name().ok()?.strip_prefix(prefix)?.to_owned();
            Some((name, commit))
        })
        .collect()
}

/// What is in a folder; nothing when it is not there.
fn folders(of: &Path) -> Vec<PathBuf> {
    fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Puts configuration and attributes back if anything changed them. Several calls, also of several
/// processes, may do so at the same time: each writes a file of its own and puts it in place.
fn seal(mirror: &Path) -> Result<(), WorkspaceError> {
    for (name, text) in
        [("config", CONFIG), ("info/attributes", ATTRIBUTES), ("info/exclude", ""), ("HEAD", "ref: refs/heads/none\n")]
    {
        let path = mirror.join(name);
        if fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            write(&path, text)?;
        }
    }
    for name in FORBIDDEN {
        let path = mirror.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(WorkspaceError::io(&path)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// Removes locks that a killed process left. Only the owner of the state directory may do so: nobody
/// else changes refs, so none of them is alive.
fn drop_stale_locks(mirror: &Path) -> Result<(), WorkspaceError> {
    const MAX_DEPTH: usize = 40;
    let mut dirs = vec![(mirror.join("refs"), 0)];
    let mut locks = vec![mirror.join("packed-refs.lock"), mirror.join("config.lock"), mirror.join("shallow.lock")];
    while let Some((dir, depth)) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(WorkspaceError::io(&dir))?.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) && depth < MAX_DEPTH {
                dirs.push((path, depth + 1));
            } else if path.extension().is_some_and(|e| e == "lock") {
                locks.push(path);
            }
        }
    }
    for lock in locks {
        match fs::remove_file(&lock) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(WorkspaceError::io(&lock)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// The marked hunks of the files in conflict, as they stand in the tree that the merge left.
fn conflict_text(objects: &Objects, tree: &TreeId, files: &[String]) -> Result<String, WorkspaceError> {
    let mut text = String::new();
    for file in files {
        let bytes = objects.read_file(tree, file)?.unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes);
        let hunks = marked_hunks(&content);
        text.push_str(&format!("--- {file}\n"));
        if hunks.is_empty() {
            text.push_str("(no marked lines: one side removed or renamed it, or it is binary)\n");
        } else {
            text.push_str(&hunks);
        }
        if text.len() > MAX_CONFLICT_TEXT_BYTES {
            let end = text.floor_char_boundary(MAX_CONFLICT_TEXT_BYTES);
            text.truncate(end);
            text.push_str("\n(cut)\n");
            break;
        }
    }
    Ok(text)
}

/// Lines from `<<<<<<<` to `>>>>>>>`, each group with its line number.
fn marked_hunks(content: &str) -> String {
    let mut hunks = String::new();
    let mut inside = false;
    for (number, line) in (1..).zip(content.lines()) {
        if line.starts_with("<<<<<<< ") {
            inside = true;
            hunks.push_str(&format!("@@ line {number}\n"));
        }
        if inside {
            hunks.push_str(line);
            hunks.push('\n');
        }
        if line.starts_with(">>>>>>> ") {
            inside = false;
        }
    }
    hunks
}
