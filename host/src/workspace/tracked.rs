//! Whether a work tree holds exactly what its index names, told as git tells it: by the metadata that the index keeps of
//! each file, and by the content where that metadata proves nothing. One walk and no process; whatever it cannot tell,
//! git is asked about.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata, MetadataExt as _, PermissionsExt as _};
use git2::{Index, IndexEntry, IndexTime, ObjectType, Oid};

use super::clean::{entries, remove_whole};
use super::modules::{RECORDS, Record};

/// The file in a work tree that the host puts there.
const DOT_GIT: &[u8] = b".git";
/// A file that is longer is not read here.
const MAX_READ_BYTES: u64 = 16 * 1024 * 1024;
/// Bits of an entry's flags that say that it is one side of a conflict, or is not to be looked at.
const ODD_FLAGS: u16 = 0xb000;
/// The same of its extended flags: left out of the work tree, or only intended.
const ODD_EXTENDED: u16 = (1 << 14) | (1 << 13);

/// The files and folders that an index names.
pub(crate) struct Tracked {
    files: HashMap<Vec<u8>, IndexEntry>,
    folders: HashSet<Vec<u8>>,
    /// Folders that are empty, or hold what they were filled with.
    submodules: HashMap<Vec<u8>, Oid>,
    /// What is known of those that were filled.
    records: PathBuf,
    /// The host's own file may stand in it.
    has_dot_git: bool,
    /// When the index was written, in seconds and nanoseconds: of a file that is as young, metadata proves nothing.
    written: (i64, i64),
    /// An entry is none of a clean checkout.
    is_odd: bool,
}

impl Tracked {
    /// Reads an index file and what it names.
    pub(crate) fn read(path: &Path) -> io::Result<(Self, Index)> {
        let found = fs::metadata(path)?;
        let index = Index::open(path).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        let mut tracked = Self {
            files: HashMap::with_capacity(index.len()),
            folders: HashSet::new(),
            submodules: HashMap::new(),
            records: path.parent().unwrap_or(Path::new("")).join(RECORDS),
            has_dot_git: true,
            written: (found.mtime(), found.mtime_nsec()),
            is_odd: false,
        };
        for mut entry in index.iter() {
            let path = std::mem::take(&mut entry.path);
            let parents: Vec<usize> = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).collect();
            for at in parents.into_iter().rev() {
                if !tracked.folders.insert(path[..at].to_vec()) {
                    break;
                }
            }
            tracked.is_odd |= entry.flags & ODD_FLAGS != 0 || entry.flags_extended & ODD_EXTENDED != 0;
            if entry.mode == u32::from(git2::FileMode::Commit) {
                tracked.submodules.insert(path, entry.id);
            } else {
                tracked.files.insert(path, entry);
            }
        }
        Ok((tracked, index))
    }

    /// Whether `work` holds each of these files as the index has it, and nothing else but the host's own `.git`.
    /// False: no, or it cannot be told.
    pub(crate) fn is_all_of(&self, work: &Dir) -> io::Result<bool> {
        self.walk(work, false)
    }

    /// Removes everything else from `work`, without following a link and whatever git thinks of it: nested
    /// repositories and `.git` itself go too. True: what is left holds each of these files as the index has it.
    pub(crate) fn sweep(&self, work: &Dir) -> io::Result<bool> {
        self.walk(work, true)
    }

    /// The same of the files of a submodule.
    pub(super) fn of_module(self) -> Self {
        Self { has_dot_git: false, ..self }
    }

    /// Submodules that were filled and hold something else now.
    pub(super) fn changed_modules(&self, work: &Dir) -> Vec<String> {
        let is_changed = |path: &[u8], commit: Oid| {
            let record = Record::of(&self.records, path);
            let held = work.open_dir(OsStr::from_bytes(path));
            record.is_there()
                && held.is_ok_and(|dir| {
                    entries(&dir).is_ok_and(|found| !found.is_empty()) && !record.is_held(&dir, commit)
                })
        };
        let changed = self.submodules.iter().filter(|(path, commit)| is_changed(path, **commit));
        changed.map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect()
    }

    /// Whether the folder of a submodule is empty, or holds what it was filled with.
    fn is_module(&self, dir: &Dir, name: &OsString, path: &[u8], commit: Oid) -> bool {
        dir.open_dir(name).is_ok_and(|inner| {
            entries(&inner).is_ok_and(|found| found.is_empty())
                || Record::of(&self.records, path).is_held(&inner, commit)
        })
    }

    fn walk(&self, work: &Dir, sweeps: bool) -> io::Result<bool> {
        let mut same = 0;
        // Paths and not handles wait here: there may be more folders than files that can be open. Git
        // made them by their paths, so none of these is too long.
        let mut pending: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(folder) = pending.pop() {
            let dir = match folder.as_slice() {
                [] => work.try_clone()?,
                path => work.open_dir(OsStr::from_bytes(path))?,
            };
            // Removing moves things about in `dir`, so it is read whole first.
            for (name, is_dir) in entries(&dir)? {
                let mut path = folder.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name.as_bytes());
                if is_dir && self.folders.contains(&path) {
                    pending.push(path);
                } else if let (false, Some(entry)) = (is_dir, self.files.get(&path)) {
                    same += usize::from(self.is_same(&dir, &name, entry)?);
                } else if is_dir && let Some(commit) = self.submodules.get(&path) {
                    if !self.is_module(&dir, &name, &path, *commit) {
                        if !sweeps {
                            return Ok(false);
                        }
                        remove_whole(&dir, &name)?;
                        dir.create_dir(&name)?;
                    }
                    same += 1;
                } else if !sweeps {
                    if path != DOT_GIT || is_dir || !self.has_dot_git {
                        return Ok(false);
                    }
                } else if is_dir {
                    remove_whole(&dir, &name)?;
                } else {
                    dir.remove_file(&name)?;
                }
            }
        }
        Ok(same == self.files.len() + self.submodules.len() && !self.is_odd)
    }

    /// Whether a file is what its entry says. A change sets `ctime`, which nobody can set back.
    fn is_same(&self, dir: &Dir, name: &OsString, entry: &IndexEntry) -> io::Result<bool> {
        let found = dir.symlink_metadata(name)?;
        if kind(&found) != Some(entry.mode) || !is_as_noted(&found, entry) {
            return Ok(false);
        }
        if (found.mtime(), found.mtime_nsec()) < self.written {
            return Ok(true);
        }
        Ok(id(dir, name, &found)? == Some(entry.id))
    }
}

/// The mode that git gives a file; none for what git cannot hold.
fn kind(found: &Metadata) -> Option<u32> {
    let mode = if found.is_symlink() {
        git2::FileMode::Link
    } else if !found.is_file() {
        return None;
    } else if found.permissions().mode() & 0o100 != 0 {
        git2::FileMode::BlobExecutable
    } else {
        git2::FileMode::Blob
    };
    Some(u32::from(mode))
}

/// Whether metadata is what the index keeps of it: of sizes, seconds and inodes the lowest 32 bits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "so does git")]
fn is_as_noted(found: &Metadata, entry: &IndexEntry) -> bool {
    let time = |seconds: i64, nanoseconds: i64| IndexTime::new(seconds as i32, nanoseconds as u32);
    entry.file_size == found.size() as u32
        && entry.mtime == time(found.mtime(), found.mtime_nsec())
        && entry.ctime == time(found.ctime(), found.ctime_nsec())
        && entry.ino == found.ino() as u32
        && (entry.uid, entry.gid) == (found.uid(), found.gid())
}

/// The id of a file's content as it is on disk. None: it is too long to be read here.
fn id(dir: &Dir, name: &OsString, found: &Metadata) -> io::Result<Option<Oid>> {
    let content = if found.is_symlink() {
        dir.read_link_contents(name)?.into_os_string().as_bytes().to_vec()
    } else if found.len() > MAX_READ_BYTES {
        return Ok(None);
    } else {
        let mut content = Vec::new();
        dir.open(name)?.take(MAX_READ_BYTES + 1).read_to_end(&mut content)?;
        content
    };
    Ok(Oid::hash_object(ObjectType::Blob, &content).ok())
}
