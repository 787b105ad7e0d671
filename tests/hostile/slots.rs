//! Real slots of a real repository, with what lies around them, and a spirit that wants to get at it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use necro_host::clock::ManualClock;
use necro_host::domain::call::HostError;
use necro_host::domain::grant::{Grant, Scopes};
use necro_host::domain::mask::Mask;
use necro_host::domain::pool::PoolSettings;
use necro_host::domain::work::{Edit, Entry, FileStatus, FileText, LineRange, PlannedWrite, SearchHit, SearchQuery};
use necro_host::plugin::capability::{Workspace, WorkspaceEdit};
use necro_host::plugin::{Plugin, PluginKind};
use necro_host::workspace::{Git, Mirror, Slot, SlotPool, Source, Terms, WorkFiles, seed_repository};

use crate::fakes::{TIME, assignment, context};
use crate::play::{reported, told};

/// What nobody may read, and what is masked.
const SECRET: &str = "the-secret-of-the-host";
const FILES: &[(&str, &str)] = &[
    ("src/a.rs", "const KEY: &str = \"the-secret-of-the-host\";\n"),
    ("private/key.txt", "private\n"),
    ("README.md", "hello\n"),
];

/// The files of a slot as a capability.
struct InSlot(WorkFiles);

#[async_trait]
impl Workspace for InSlot {
    async fn read(&self, path: String, lines: Option<LineRange>) -> Result<FileText, HostError> {
        self.0.read(path, lines).await
    }

    async fn list(&self, path: String, recursive: bool) -> Result<Vec<Entry>, HostError> {
        self.0.list(path, recursive).await
    }

    async fn search(&self, query: SearchQuery) -> Result<Vec<SearchHit>, HostError> {
        self.0.search(query).await
    }

    async fn status(&self) -> Result<Vec<FileStatus>, HostError> {
        Err(HostError::NotFound("there is no base".into()))
    }

    async fn diff(&self) -> Result<String, HostError> {
        Err(HostError::NotFound("there is no base".into()))
    }
}

#[async_trait]
impl WorkspaceEdit for InSlot {
    async fn plan_write(&self, path: String, text: String) -> Result<Vec<PlannedWrite>, HostError> {
        Ok(vec![self.0.plan_write(path, text).await?])
    }

    async fn plan_apply(&self, edits: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError> {
        self.0.plan_apply(edits).await
    }

    async fn perform(&self, planned: Vec<PlannedWrite>) -> Result<(), HostError> {
        self.0.perform(planned).await
    }

    async fn remove(&self, path: String) -> Result<(), HostError> {
        self.0.remove(path).await
    }
}

/// Every file below a folder with its bytes, links as what they point to.
fn all(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_symlink() {
            found.push((path.clone(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()));
        } else if meta.is_dir() {
            found.extend(all(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

async fn lent(pool: &SlotPool, lease: &str) -> Slot {
    let ttl = Duration::from_secs(3600);
    let terms = Terms { lease: lease.to_owned(), holder: lease.to_owned(), ttl, ends_with_process: true };
    pool.acquire(terms).await.unwrap().unwrap()
}

/// Runs a spirit in one of two slots and says how it ended; what lies outside its work tree is as before.
pub(crate) async fn play(plugin: &Plugin, name: &str, approved: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let user = root.path().join("user");
    seed_repository(&user, FILES, "first", TIME).unwrap();
    let git = Git::locate(&root.path().join("state")).await.unwrap();
    let mirror = Mirror::open(git, &root.path().join("state/repos"), Source::Path(user)).await.unwrap();
    mirror.fetch().await.unwrap();
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let pool = SlotPool::new(mirror, PoolSettings::default(), Arc::new(ManualClock::at(TIME)));
    let (slot, other) = (lent(&pool, "one").await, lent(&pool, "two").await);
    for slot in [&slot, &other] {
        assert_eq!(slot.prepare(&base, TIME).await.unwrap().rescued, None);
    }
    let work = slot.work_dir().to_owned();
    fs::write(other.work_dir().join("theirs.txt"), SECRET).unwrap();
    let outside = work.parent().unwrap().join("secret.txt");
    fs::write(&outside, SECRET).unwrap();
    for (link, target) in [
        ("up", Path::new("..")),
        ("root", Path::new("/")),
        ("secret", outside.as_path()),
        ("theirs", other.work_dir()),
        ("git", Path::new(".git")),
        ("round", Path::new("round")),
    ] {
        symlink(target, work.join(link)).unwrap();
    }
    let before = outside_of(root.path(), &work);
    let git_before = fs::read(work.join(".git")).unwrap();

    let approved: Option<Scopes> = (!approved.is_empty()).then(|| toml::from_str(approved).unwrap());
    let grant = approved.map_or_else(Grant::everything, |approved| Grant::of(&plugin.asks(), &approved));
    let files = WorkFiles::open(&slot, Mask::new([SECRET])).await.unwrap().within(grant.paths());
    let files = Arc::new(InSlot(files));
    let (mut context, _) = context(PluginKind::Spirit);
    context.capabilities.workspace = Some(files.clone());
    context.capabilities.workspace_edit = Some(files);
    context.grant = Arc::new(grant);
    let mut assignment = assignment();
    assignment.text = text_for(name, &work, other.work_dir());
    let ended = match plugin.perform(context, assignment, "").await.result {
        Ok(report) => report.summary,
        Err(error) => return told(&error),
    };
    assert!(!ended.contains(SECRET), "{ended}");
    assert_eq!(outside_of(root.path(), &work), before, "{ended}");
    assert_eq!(fs::read(work.join(".git")).unwrap(), git_before);
    let got: Vec<&str> = ended.lines().filter(|line| line.contains("\": got ")).collect();
    if got.is_empty() && ended.lines().count() > 3 && !ended.starts_with("seen: ") {
        return format!("every call is refused: {}", reported(&ended));
    }
    ended
}

fn outside_of(root: &Path, work: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    // Not what is written before it gets its name.
    all(root).into_iter().filter(|(path, _)| !path.starts_with(work)).collect()
}

/// What the spirit is told to try.
fn text_for(name: &str, work: &Path, other: &Path) -> String {
    let theirs = other.display();
    let number = other.parent().and_then(Path::file_name).unwrap().display();
    match name {
        "other_slot" => format!(
            "../../{number}/work/theirs.txt\n{theirs}/theirs.txt\n../../{number}\n{theirs}\n../git/HEAD\n../git/config"
        ),
        "link_walker" => {
            "up/secret.txt\nsecret\ntheirs/theirs.txt\ngit\nround\nround/x\nroot/etc/passwd\nup/git/config".to_owned()
        }
        "mask_marker" => "src/a.rs".to_owned(),
        _ => work.display().to_string(),
    }
}
