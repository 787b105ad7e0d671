//! The workspace against real git, real repositories and real attacks.

mod attacks;
mod branches;
mod caches;
mod files;
mod gated;
mod kept;
mod landing;
mod model;
mod modules;
mod objects;
mod pool;
mod remotes;
mod shapes;
mod slots;
mod sources;
mod tracked;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use git2::{IndexAddOption, Repository, RepositoryInitOptions, Signature, Time};

use super::*;
use crate::clock::ManualClock;
use crate::domain::id::CommitId;
use crate::domain::pool::PoolSettings;

/// A user's repository and a state directory.
struct Fixture {
    root: tempfile::TempDir,
    git: Git,
}

impl Fixture {
    /// With one commit on `main`: a text, a program, a link, an ignore file.
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let git = Git::locate(&root.path().join("state")).await.unwrap();
        let fixture = Self { root, git };
        fs::create_dir(fixture.user()).unwrap();
        let mut options = RepositoryInitOptions::new();
        options.initial_head("main").external_template(false);
        Repository::init_opts(fixture.user(), &options).unwrap();
        fixture.put("README.md", "hello\n");
        fixture.put("src/lib.rs", "pub fn one() -> u32 {\n    1\n}\n");
        fixture.put("run.sh", "#!/bin/sh\n");
        fs::set_permissions(fixture.user().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("README.md", fixture.user().join("link")).unwrap();
        fixture.put(".gitignore", "target/\n*.log\n");
        fixture.commit("first");
        fixture
    }

    fn user(&self) -> PathBuf {
        self.root.path().join("app")
    }

    fn put(&self, path: &str, text: &str) {
        put(&self.user().join(path), text);
    }

    /// Commits all of the user's work tree on the branch that is checked out.
    fn commit(&self, message: &str) -> CommitId {
        let repository = Repository::open(self.user()).unwrap();
        let mut index = repository.index().unwrap();
        index.add_all(["*"], IndexAddOption::DEFAULT, None).unwrap();
        index.update_all(["*"], None).unwrap();
        index.write().unwrap();
        let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
        let who = Signature::new("User", "user@example.org", &Time::new(1_000_000_000, 0)).unwrap();
        let parent = repository.head().ok().and_then(|h| h.peel_to_commit().ok());
        let parents: Vec<_> = parent.iter().collect();
        let id = repository.commit(Some("HEAD"), &who, &who, message, &tree, &parents).unwrap();
        CommitId::new(id.to_string()).unwrap()
    }

    async fn mirror(&self) -> Arc<Mirror> {
        let repos = self.root.path().join("state/repos");
        let mirror = Mirror::open(self.git.clone(), &repos, Source::Path(self.user())).await.unwrap();
        mirror.fetch().await.unwrap();
        mirror
    }

    /// A slot that is prepared at the tip of `main`.
    async fn slot(&self) -> (SlotPool, Slot, CommitId) {
        let mirror = self.mirror().await;
        let base = mirror.branch_tip("main").await.unwrap().unwrap();
        let pool = pool(mirror, 2);
        let slot = pool.acquire(terms("test")).await.unwrap().unwrap();
        let prepared = slot.prepare(&base, now()).await.unwrap();
        assert_eq!(prepared.rescued, None);
        (pool, slot, base)
    }
}

/// A pool of at most `bound` slots whose clock stands.
fn pool(mirror: Arc<Mirror>, bound: u32) -> SlotPool {
    let settings = PoolSettings { bound, ..PoolSettings::default() };
    SlotPool::new(mirror, settings, Arc::new(ManualClock::at(now())))
}

fn terms(holder: &str) -> Terms {
    let lease = format!("lease of {holder}");
    Terms { lease, holder: holder.to_owned(), ttl: Duration::from_secs(3600), ends_with_process: true }
}

fn now() -> jiff::Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn identity() -> Identity {
    Identity { name: "Spirit".into(), email: "spirit@example.org".into() }
}

/// A commit of `tree` on top of `parents`.
async fn commit(mirror: &Mirror, tree: &TreeId, parents: &[&CommitId], message: &str) -> CommitId {
    let new = NewCommit {
        tree: tree.clone(),
        parents: parents.iter().map(|p| (*p).clone()).collect(),
        message: message.into(),
        author: identity(),
        time: now(),
    };
    mirror.objects(move |o| o.commit(&new)).await.unwrap()
}

async fn tree_of(mirror: &Mirror, commit: &CommitId) -> TreeId {
    let commit = commit.clone();
    mirror.objects(move |o| o.tree_of(&commit)).await.unwrap()
}

async fn read(mirror: &Mirror, tree: &TreeId, path: &str) -> Option<String> {
    let (tree, path) = (tree.clone(), path.to_owned());
    mirror.objects(move |o| o.read_file(&tree, &path)).await.unwrap().map(|b| String::from_utf8(b).unwrap())
}

/// Everything below a folder: path → kind, mode and content. Links are not followed.
fn inventory(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let what = if metadata.is_symlink() {
                format!("link {}", fs::read_link(&path).unwrap().display())
            } else if metadata.is_dir() {
                pending.push(path);
                "folder".to_owned()
            } else {
                let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                format!("file {:o} {content}", metadata.permissions().mode() & 0o111)
            };
            found.insert(name, what);
        }
    }
    found
}
