//! The hands of a slot: removing what does not belong there, without following a link, and writing
//! the files that only tools read.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::WorkspaceError;
use crate::domain::id::CommitId;

/// Folders below one another that cleaning goes into; deeper ones are removed as a whole.
const MAX_DEPTH: usize = 256;

/// The files and folders of a tree.
pub(crate) struct Tracked {
    files: HashSet<Vec<u8>>,
    folders: HashSet<Vec<u8>>,
    /// Folders that stay empty.
    submodules: HashSet<Vec<u8>>,
}

impl Tracked {
    /// Those that an index names.
    pub(crate) fn of(index: &git2::Index) -> Self {
        let mut tracked = Self { files: HashSet::new(), folders: HashSet::new(), submodules: HashSet::new() };
        for entry in index.iter() {
            let mut path = entry.path;
            let parents: Vec<usize> = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).collect();
            for at in parents.into_iter().rev() {
                if !tracked.folders.insert(path[..at].to_vec()) {
                    break;
                }
            }
            path.shrink_to_fit();
            if entry.mode == u32::from(git2::FileMode::Commit) {
                tracked.submodules.insert(path);
            } else {
                tracked.files.insert(path);
            }
        }
        tracked
    }
}

/// Removes everything from `work` that is not tracked, without following a link and whatever git
/// thinks of it: nested repositories and `.git` itself go too.
pub(crate) fn sweep(work: &Path, tracked: &Tracked) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut pending = vec![(Dir::open_ambient_dir(work, ambient_authority())?, Vec::new(), 0)];
    while let Some((dir, prefix, depth)) = pending.pop() {
        for entry in dir.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let mut path: Vec<u8> = prefix.clone();
            path.extend_from_slice(name.as_bytes());
            let is_dir = entry.file_type()?.is_dir();
            if is_dir && tracked.submodules.contains(&path) {
                remove_whole(&dir, Path::new(&name))?;
                dir.create_dir(&name)?;
            } else if is_dir && depth < MAX_DEPTH && tracked.folders.contains(&path) {
                path.push(b'/');
                pending.push((dir.open_dir(&name)?, path, depth + 1));
            } else if is_dir {
                remove_whole(&dir, Path::new(&name))?;
            } else if !tracked.files.contains(&path) {
                dir.remove_file(&name)?;
            }
        }
    }
    Ok(())
}

/// Removes a folder even if commands took the right to do so away from its folders.
fn remove_whole(dir: &Dir, name: &Path) -> io::Result<()> {
    match dir.remove_dir_all(name) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            allow(dir, name, 0)?;
            dir.remove_dir_all(name)
        }
        other => other,
    }
}

fn allow(dir: &Dir, name: &Path, depth: usize) -> io::Result<()> {
    use cap_std::fs::PermissionsExt;
    dir.set_permissions(name, cap_std::fs::Permissions::from_mode(0o700))?;
    let inner = dir.open_dir(name)?;
    for entry in inner.entries()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && depth < MAX_DEPTH {
            allow(&inner, Path::new(&entry.file_name()), depth + 1)?;
        }
    }
    Ok(())
}

/// Writes `slots/<n>/git` and `work/.git` anew: for tools in the slot, never for the host.
pub(crate) fn write_tool_repository(
    slot: &Path,
    objects: &Path,
    index: &Path,
    base: &CommitId,
) -> Result<(), WorkspaceError> {
    let git = slot.join("git");
    remove(&git)?;
    for sub in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(git.join(sub)).map_err(WorkspaceError::io(&git))?;
    }
    write(&git.join("HEAD"), &format!("{base}\n"))?;
    write(
        &git.join("config"),
        "[core]\n\trepositoryFormatVersion = 0\n\tbare = false\n\tlogAllRefUpdates = false\n[gc]\n\tauto = 0\n",
    )?;
    write(&git.join("objects/info/alternates"), &format!("{}\n", objects.display()))?;
    fs::copy(index, git.join("index")).map_err(WorkspaceError::io(&git))?;
    write(&slot.join("work/.git"), "gitdir: ../git\n")
}

/// Writes a file of the host's: the old content or the new, never a part.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), WorkspaceError> {
    let new = path.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(WorkspaceError::io(path))
}

/// Removes a file, a link or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), WorkspaceError> {
    let removed = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(found) if found.is_dir() => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Dir::open_ambient_dir(parent, ambient_authority())
                .and_then(|parent| remove_whole(&parent, Path::new(name))),
            _ => Ok(()),
        },
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(WorkspaceError::io(path))
}

/// Makes a folder empty.
pub(crate) fn empty(path: &Path) -> Result<(), WorkspaceError> {
    remove(path)?;
    fs::create_dir_all(path).map_err(WorkspaceError::io(path))
}

/// Whether there is anything in a work tree besides the `.git` that the host put there.
pub(crate) fn has_entries(work: &Path) -> bool {
    fs::read_dir(work).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| e.file_name() != ".git")))
}
