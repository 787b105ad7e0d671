//! A work tree as a git tree: what a command or a spirit left, as it is on disk. Ignored files are
//! cache and stay out; what git could not hold safely is left out and named.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::modules;
use super::objects::TreeId;
use super::path::is_reserved;
use super::place::Place;
use super::tracked::Tracked;
use super::{WorkspaceError, blocking};

/// Most paths that may change at once.
pub(crate) const MAX_CHANGED_PATHS: usize = 50_000;
/// Larger files are left out of snapshots.
pub(crate) const MAX_FILE_BYTES: u64 = 100 * 1024 * 1024;

/// Why a path is not in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// A repository of its own lies there; only a link to its commit could be kept.
    NestedRepository,
    /// The name has a meaning to git on some system.
    ReservedName,
    /// A pipe, socket or device.
    SpecialFile,
    /// Larger than 100 MiB.
    TooLarge,
    /// A submodule that was filled is not what it was.
    Submodule,
}

impl SkipReason {
    /// For people and models.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NestedRepository => "holds a git repository of its own; remove its .git",
            Self::ReservedName => "has a name that git reserves; rename it",
            Self::SpecialFile => "is a pipe, socket or device",
            Self::TooLarge => "is larger than 100 MiB",
            Self::Submodule => "is a submodule with changes in it, which is changed in its own repository; restore it",
        }
    }
}

/// A path that is not in a snapshot although it is not ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Which.
    pub path: String,
    /// Why.
    pub reason: SkipReason,
}

/// A work tree's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its tree, durable in the mirror.
    pub tree: TreeId,
    /// What is not in it.
    pub skipped: Vec<Skipped>,
    /// The work tree holds this and nothing else, ignored files included.
    pub(crate) is_all: bool,
}

/// What to do with the changed paths.
#[derive(Debug, Default)]
struct Plan {
    remove: Vec<Vec<u8>>,
    add: Vec<Vec<u8>>,
    skipped: Vec<Skipped>,
}

/// Brings a slot's index up to what is in its work tree and writes its tree. The caller keeps
/// others away from both.
pub(crate) async fn take(place: &Place) -> Result<Snapshot, WorkspaceError> {
    if let Some(tree) = unchanged(place).await? {
        return Ok(Snapshot { tree, skipped: Vec::new(), is_all: true });
    }
    // A killed process may have left it, and nobody else uses this index.
    let lock = place.index.with_extension("lock");
    if lock.exists() {
        fs::remove_file(&lock).map_err(WorkspaceError::io(&lock))?;
    }
    let on = || place.call();
    let changed = on().args(["diff-files", "--raw", "-z", "--no-ext-diff", "--no-renames", "--ignore-submodules=all"]);
    let others = on().args(["ls-files", "-z", "--others", "--exclude-standard"]);
    let (changed, others) = tokio::try_join!(place.git(changed), place.git(others))?;
    let mut paths: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut records = changed.records();
    while let (Some(info), Some(path)) = (records.next(), records.next()) {
        // Submodules stay what they are in the base commit.
        if !info.starts_with(b":160000") {
            paths.insert(path.to_vec());
        }
    }
    paths.extend(others.records().map(<[u8]>::to_vec));
    if paths.len() > MAX_CHANGED_PATHS {
        return Err(WorkspaceError::TooManyChanges { count: paths.len(), limit: MAX_CHANGED_PATHS });
    }
    let (ground, root) = (Arc::clone(&place.ground), place.work.clone());
    let plan = blocking(move || {
        ground.check()?;
        Ok(sort_out(&root, paths))
    })
    .await?;
    if !plan.remove.is_empty() {
        let call = on().args(["update-index", "-z", "--force-remove", "--stdin"]);
        place.git(call.stdin(joined(&plan.remove))).await?;
    }
    if !plan.add.is_empty() {
        let call = on().args(["update-index", "-z", "--add", "--replace", "--remove", "--stdin"]);
        place.git(call.stdin(joined(&plan.add))).await?;
    }
    let tree = place.git(on().args(["write-tree"])).await?.line();
    let mut skipped = plan.skipped;
    let changed = modules::changed(place).await?;
    skipped.extend(changed.into_iter().map(|path| Skipped { path, reason: SkipReason::Submodule }));
    Ok(Snapshot { tree: TreeId::new(tree)?, skipped, is_all: false })
}

/// The index's tree, when the work tree holds just that: most slots are looked at while they are as they were left.
async fn unchanged(place: &Place) -> Result<Option<TreeId>, WorkspaceError> {
    let (ground, index) = (Arc::clone(&place.ground), place.index.clone());
    place
        .mirror
        .objects(move |objects| {
            let work = ground.open_work()?;
            match Tracked::read(&index) {
                Ok((tracked, mut index)) if tracked.is_all_of(&work).unwrap_or(false) => {
                    objects.write_index(&mut index).map(Some)
                }
                _ => Ok(None),
            }
        })
        .await
}

/// Looks at each path itself, so that git is only given what it can hold.
fn sort_out(work: &Path, paths: BTreeSet<Vec<u8>>) -> Plan {
    let mut plan = Plan::default();
    for path in paths {
        let mut skip = |reason| {
            plan.skipped.push(Skipped { path: String::from_utf8_lossy(&path).into_owned(), reason });
        };
        if path.ends_with(b"/") {
            skip(SkipReason::NestedRepository);
            continue;
        }
        if path.split(|b| *b == b'/').any(|part| is_reserved(&String::from_utf8_lossy(part))) {
            skip(SkipReason::ReservedName);
            continue;
        }
        let relative = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
        let behind_link = relative.ancestors().skip(1).any(|parent| {
            !parent.as_os_str().is_empty() && fs::symlink_metadata(work.join(parent)).is_ok_and(|m| m.is_symlink())
        });
        match fs::symlink_metadata(work.join(&relative)) {
            Ok(found) if behind_link || found.is_dir() => plan.remove.push(path),
            Ok(found) if found.is_symlink() => plan.add.push(path),
            Ok(found) if !found.is_file() => skip(SkipReason::SpecialFile),
            Ok(found) if found.len() > MAX_FILE_BYTES => skip(SkipReason::TooLarge),
            Ok(_) => plan.add.push(path),
            Err(_) => plan.remove.push(path),
        }
    }
    plan
}

fn joined(paths: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(paths.iter().map(|p| p.len() + 1).sum());
    for path in paths {
        bytes.extend_from_slice(path);
        bytes.push(0);
    }
    bytes
}
