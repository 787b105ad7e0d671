//! Dependencies that were built or fetched once, such as `target`, for other slots with the same lock file on the same
//! platform. They come from gates that were green on what was then merged, never from an attempt that may fail, and
//! reach a slot as copies that share blocks: what a command changes there stays there. Hard links share the file
//! itself, so they are used only where the operator said so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clean::{remove, write};
use super::objects::{Objects, TreeId};
use super::{WorkspaceError, blocking};
use crate::domain::pool::CacheMode;
use crate::failpoint;
use crate::store::digest_of;

/// Folder of a mirror's directory that has them.
pub(super) const FOLDER: &str = "caches";
/// Caches of one repository, at most; the one that was not used for the longest time goes.
const MAX_CACHES: usize = 16;
/// What a cache is said to be in.
const NOTE: &str = "cache.json";
/// The cached folder itself.
const FILES: &str = "files";
/// What the names of unfinished ones begin with.
const BEGUN: &str = ".new-";

/// A folder that is worth keeping, and the files that decide what is in it.
struct Rule {
    folder: &'static str,
    /// Any of these at the root of the repository; none: no cache.
    locks: &'static [&'static str],
    /// What else decides.
    toolchain: &'static [&'static str],
    /// Its files name the place where they lie, so it fits no other slot.
    is_bound_to_place: bool,
}

const RULES: &[Rule] = &[
    Rule {
        folder: "target",
        locks: &["Cargo.lock"],
        toolchain: &["rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml"],
        is_bound_to_place: false,
    },
    Rule {
        folder: "node_modules",
        locks: &["package-lock.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock"],
        toolchain: &["package.json", ".nvmrc", ".node-version", ".npmrc"],
        is_bound_to_place: false,
    },
    Rule {
        folder: ".venv",
        locks: &["uv.lock", "poetry.lock", "Pipfile.lock", "requirements.txt"],
        toolchain: &["pyproject.toml", ".python-version"],
        is_bound_to_place: true,
    },
];

/// A folder of a work tree, and the name of the cache that fits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) folder: &'static str,
    key: String,
}

/// What is kept of a cache besides its files.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    folder: String,
    used_at: Timestamp,
}

/// A cache, for those who look after the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// What it is a cache of, and its name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// When a slot last got it.
    pub used_at: Timestamp,
}

/// What fits a tree, for a slot whose work tree is `work`.
pub(super) fn wanted(objects: &Objects, tree: &TreeId, work: &Path) -> Result<Vec<Wanted>, WorkspaceError> {
    let mut wanted = Vec::new();
    for rule in RULES {
        let mut parts =
            vec![rule.folder.to_owned(), std::env::consts::OS.to_owned(), std::env::consts::ARCH.to_owned()];
        let mut is_locked = false;
        for (path, is_lock) in
            rule.locks.iter().map(|path| (path, true)).chain(rule.toolchain.iter().map(|path| (path, false)))
        {
            if let Some(id) = objects.blob_of(tree, path)? {
                is_locked |= is_lock;
                parts.push(format!("{path} {id}"));
            }
        }
        if rule.is_bound_to_place {
            parts.push(work.display().to_string());
        }
        if is_locked {
            let key = format!("{}-{}", rule.folder.trim_start_matches('.'), digest_of(parts.join("\n").as_bytes()));
            wanted.push(Wanted { folder: rule.folder, key });
        }
    }
    Ok(wanted)
}

/// Whether there is any cache, so that a slot need not ask further.
pub(super) fn any(dir: &Path) -> bool {
    dir.join(FOLDER).exists()
}

/// Puts a cache into a work tree that has none of its folder yet. False: there is no cache, or the file system cannot
/// share blocks. Blocking.
pub(super) fn seed(
    dir: &Path,
    work: &Path,
    wanted: &Wanted,
    mode: CacheMode,
    now: Timestamp,
) -> Result<bool, WorkspaceError> {
    let cache = dir.join(FOLDER).join(&wanted.key);
    let target = work.join(wanted.folder);
    if mode == CacheMode::Off || !cache.join(FILES).is_dir() || fs::symlink_metadata(&target).is_ok() {
        return Ok(false);
    }
    if let Err(error) = copy(&cache.join(FILES), &target, mode) {
        remove(&target)?;
        if cannot_share(&error) {
            return Ok(false);
        }
        return Err(WorkspaceError::io(&target)(error));
    }
    note(&cache, wanted.folder, now)?;
    Ok(true)
}

/// Takes a folder of a work tree as the cache, if there is none yet. The work tree loses it. Blocking.
pub(super) fn harvest(dir: &Path, work: &Path, wanted: &Wanted, now: Timestamp) -> Result<bool, WorkspaceError> {
    let (from, caches) = (work.join(wanted.folder), dir.join(FOLDER));
    let cache = caches.join(&wanted.key);
    // A link, a file or nothing: no cache of ours.
    if cache.exists() || !fs::symlink_metadata(&from).is_ok_and(|found| found.is_dir()) {
        return Ok(false);
    }
    let begun = caches.join(format!("{BEGUN}{}", wanted.key));
    remove(&begun)?;
    fs::create_dir_all(&begun).map_err(WorkspaceError::io(&begun))?;
    failpoint::writing("cache", "harvest", || {
        fs::rename(&from, begun.join(FILES)).map_err(WorkspaceError::io(&from))?;
        note(&begun, wanted.folder, now)?;
        fs::rename(&begun, &cache).map_err(WorkspaceError::io(&cache))
    })?;
    let mut all = list(dir);
    all.sort_by_key(|cached| cached.used_at);
    for old in &all[..all.len().saturating_sub(MAX_CACHES)] {
        remove(&old.path)?;
    }
    Ok(true)
}

/// All caches of a mirror's directory. Blocking.
pub(super) fn list(dir: &Path) -> Vec<Cached> {
    let entries = fs::read_dir(dir.join(FOLDER)).into_iter().flatten().flatten();
    let cached = entries.map(|entry| {
        let note = fs::read(entry.path().join(NOTE)).ok();
        let note = note.and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        let name = entry.file_name().to_string_lossy().into_owned();
        // One that was only begun, or whose note is damaged, is the first to go.
        let used_at = note.map_or(Timestamp::UNIX_EPOCH, |note| note.used_at);
        Cached { name, path: entry.path(), used_at }
    });
    cached.collect()
}

fn note(cache: &Path, folder: &str, now: Timestamp) -> Result<(), WorkspaceError> {
    let text = serde_json::json!(Note { folder: folder.to_owned(), used_at: now }).to_string();
    write(&cache.join(NOTE), &text)
}

/// Copies folders, files and links without copying bytes, with rights and times: tools compare those.
fn copy(from: &Path, into: &Path, mode: CacheMode) -> io::Result<()> {
    fs::create_dir(into)?;
    let mut pending = vec![PathBuf::new()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(from.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let (source, target) = (from.join(&path), into.join(&path));
            let found = entry.metadata()?;
            if found.is_dir() {
                fs::create_dir(&target)?;
                pending.push(path);
            } else if found.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
            } else if found.is_file() && mode == CacheMode::HardLink {
                fs::hard_link(&source, &target)?;
            } else if found.is_file() {
                reflink_copy::reflink(&source, &target)?;
                let times = fs::FileTimes::new().set_modified(found.modified()?);
                fs::File::options().write(true).open(&target)?.set_times(times)?;
                fs::set_permissions(&target, found.permissions())?;
            }
        }
    }
    Ok(())
}

/// What the kernel says when a file system has no shared blocks, or the two sides are on different ones.
fn cannot_share(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unable = [Errno::OPNOTSUPP, Errno::NOTTY, Errno::XDEV, Errno::INVAL, Errno::NOSYS];
    error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|code| unable.iter().any(|errno| errno.raw_os_error() == code))
}

impl super::mirror::Mirror {
    /// All caches of its slots.
    ///
    /// # Errors
    /// [`WorkspaceError::Stopped`].
    pub async fn caches(&self) -> Result<Vec<Cached>, WorkspaceError> {
        let dir = self.dir().to_owned();
        blocking(move || Ok(list(&dir))).await
    }

    /// Removes one of them.
    ///
    /// # Errors
    /// [`WorkspaceError`]: its files cannot be removed.
    pub async fn drop_cache(&self, cached: &Cached) -> Result<(), WorkspaceError> {
        let path = cached.path.clone();
        blocking(move || remove(&path)).await
    }
}
