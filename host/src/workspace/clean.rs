//! The hands of a slot: removing what does not belong there, without following a link, and writing
//! the files that only tools read.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::WorkspaceError;
use crate::domain::id::CommitId;
use crate::failpoint::{self, Side};

/// What the names of files begin with that are being written.
pub(crate) const BEGUN: &str = ".new-";

/// Names in a folder, and which of them are folders.
pub(super) fn entries(dir: &Dir) -> io::Result<Vec<(OsString, bool)>> {
    dir.entries()?.map(|entry| entry.and_then(|e| Ok((e.file_name(), e.file_type()?.is_dir())))).collect()
}

/// Removes all that is in a folder.
pub(super) fn empty_dir(dir: &Dir) -> io::Result<()> {
    for (name, is_dir) in entries(dir)? {
        if is_dir { remove_whole(dir, &name)? } else { dir.remove_file(&name)? }
    }
    Ok(())
}

/// Removes a folder of any depth, even if commands took the right to do so away from its folders.
/// What lies in it is first moved up beside it: neither the stack nor the number of open files nor
/// the length of a path bounds how deep a tree may be.
pub(super) fn remove_whole(dir: &Dir, name: &OsStr) -> io::Result<()> {
    let mut number = 0_u64;
    let mut pending = vec![name.to_owned()];
    while let Some(folder) = pending.pop() {
        allow(dir, &folder)?;
        let inner = dir.open_dir(&folder)?;
        for (name, is_dir) in entries(&inner)? {
            if !is_dir {
                inner.remove_file(&name)?;
            } else if inner.remove_dir(&name).is_err() {
                // A folder has to be writable itself to be moved.
                allow(&inner, &name)?;
                let free = loop {
                    number += 1;
                    let free = OsString::from(format!(".necro-removed-{number}"));
                    if dir.symlink_metadata(&free).is_err() {
                        break free;
                    }
                };
                inner.rename(&name, dir, &free)?;
                pending.push(free);
            }
        }
        dir.remove_dir(&folder)?;
    }
    Ok(())
}

fn allow(dir: &Dir, name: &OsStr) -> io::Result<()> {
    use cap_std::fs::PermissionsExt as _;
    if dir.symlink_metadata(name)?.permissions().mode() & 0o700 == 0o700 {
        return Ok(());
    }
    dir.set_permissions(name, cap_std::fs::Permissions::from_mode(0o700))
}

/// Folders of a tool repository, after the one itself.
const TOOL_FOLDERS: [&str; 6] = ["objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags"];
const TOOL_CONFIG: &str =
    "[core]\n\trepositoryFormatVersion = 0\n\tbare = false\n\tlogAllRefUpdates = false\n[gc]\n\tauto = 0\n";
const DOT_GIT: &[u8] = b"gitdir: ../git\n";

/// Writes `slots/<n>/git`, and `.git` into a swept work tree: for tools in the slot, never for the host. What is there
/// already, as it should be and nothing besides, is left.
pub(crate) fn write_tool_repository(
    slot: &Path,
    work: &Dir,
    objects: &Path,
    index: &Path,
    base: &CommitId,
) -> Result<(), WorkspaceError> {
    let git = slot.join("git");
    let io = || WorkspaceError::io(&git);
    let index = fs::read(index).map_err(io())?;
    let files = [
        ("HEAD", format!("{base}\n").into_bytes()),
        ("config", TOOL_CONFIG.as_bytes().to_vec()),
        ("index", index),
        ("objects/info/alternates", format!("{}\n", objects.display()).into_bytes()),
    ];
    if !holds_only(&git, &files).map_err(io())? {
        remove(&git)?;
        for folder in TOOL_FOLDERS {
            fs::create_dir_all(git.join(folder)).map_err(io())?;
        }
    }
    for (name, content) in &files {
        let path = git.join(name);
        if fs::read(&path).ok().as_ref() != Some(content) {
            fs::write(&path, content).map_err(WorkspaceError::io(&path))?;
        }
    }
    write_dot_git(work).map_err(WorkspaceError::io(&slot.join("work/.git")))
}

/// Whether a tool repository has its folders and at most these files, whatever is in them: no link of either kind, and
/// nothing that git would read besides.
fn holds_only(git: &Path, files: &[(&str, Vec<u8>)]) -> io::Result<bool> {
    if !fs::symlink_metadata(git).is_ok_and(|found| found.is_dir()) {
        return Ok(false);
    }
    let mut folders = 0;
    let mut pending = vec![String::new()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(git.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && TOOL_FOLDERS.contains(&path.as_str()) {
                folders += 1;
                pending.push(path);
            } else if !kind.is_file() || entry.metadata()?.nlink() != 1 || !files.iter().any(|(name, _)| *name == path)
            {
                return Ok(false);
            }
        }
    }
    Ok(folders == TOOL_FOLDERS.len())
}

fn write_dot_git(work: &Dir) -> io::Result<()> {
    // Any other name in the work tree may be a tracked link; this one is none of git's.
    let is_there = work.symlink_metadata(".git").is_ok_and(|found| found.is_file() && found.len() < 100)
        && work.read(".git").is_ok_and(|text| text == DOT_GIT);
    if is_there {
        return Ok(());
    }
    match work.remove_file(".git") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    work.open_with(".git", OpenOptions::new().write(true).create_new(true))?.write_all(DOT_GIT)
}

/// Writes a file of the host's: the old content or the new, never a part. Several may write the same
/// file at the same time; each has a temporary file of its own. What is there already is left.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), WorkspaceError> {
    if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let written = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let rights = fs::Permissions::from_mode(0o666);
        let mut new = tempfile::Builder::new().prefix(BEGUN).permissions(rights).tempfile_in(folder)?;
        new.write_all(text.as_bytes())?;
        failpoint::reach("file", "rename", Side::Before);
        new.persist(path).map_err(|failed| failed.error)
    };
    failpoint::writing("file", "write", || written().map(drop).map_err(WorkspaceError::io(path)))
}

/// Removes what a killed process had begun in a folder of the host's, by what its names begin with: [`BEGUN`] for
/// what it had begun to [`write`].
pub(crate) fn drop_begun(folder: &Path, beginning: &str) -> Result<(), WorkspaceError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().as_bytes().starts_with(beginning.as_bytes()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, a link or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), WorkspaceError> {
    let removed = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(found) if found.is_dir() => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                Dir::open_ambient_dir(parent, ambient_authority()).and_then(|parent| remove_whole(&parent, name))
            }
            _ => Ok(()),
        },
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(WorkspaceError::io(path))
}

/// Makes a folder empty.
pub(crate) fn empty(path: &Path) -> Result<(), WorkspaceError> {
    if is_empty(path) {
        return Ok(());
    }
    remove(path)?;
    fs::create_dir_all(path).map_err(WorkspaceError::io(path))
}

/// Whether there is a folder, and nothing in it.
pub(crate) fn is_empty(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
        && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Whether there is anything in a work tree besides the `.git` that the host put there.
pub(crate) fn has_entries(work: &Path) -> bool {
    fs::read_dir(work).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| e.file_name() != ".git")))
}
