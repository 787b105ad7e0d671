//! The way of a work tree from one tree to another that differs in little, without a process: only what differs is
//! written, and the index with it. Files are written as they are kept: in a mirror no attribute has them converted. What
//! is not plain is left to git. The work tree was proved to be the first tree just before, and nobody else has the slot.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _, Permissions, PermissionsExt as _};
use git2::{Delta, FileMode, Index, IndexEntry, IndexTime, ObjectType, Oid, Repository};

use super::path::is_reserved;

/// Where trees differ in more paths, git is as fast.
const MAX_PATHS: usize = 1_000;
/// A file that is longer is git's to write.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// A file that is to be written.
pub(super) struct New {
    /// From the folder that it is written into.
    pub(super) path: Vec<u8>,
    /// Its content.
    pub(super) id: Oid,
    /// Its kind.
    pub(super) mode: u32,
    /// A file is there, with other content.
    pub(super) is_over: bool,
}

/// Paths that are to be removed, and files that are to be written then.
type Way = (Vec<Vec<u8>>, Vec<New>);

/// Brings `work` and the file of its index from the tree `from`, which they are, to `wanted`. False: the way is not
/// plain, and nothing was done.
///
/// # Errors
/// What the file system says, or that something came between; then it is only begun.
pub(crate) fn step(repository: &Repository, work: &Dir, index: &mut Index, from: Oid, wanted: Oid) -> io::Result<bool> {
    let Some((gone, new)) = way(repository, from, wanted).map_err(io::Error::other)? else { return Ok(false) };
    for path in &gone {
        remove(work, path)?;
        index.remove_path(Path::new(OsStr::from_bytes(path))).map_err(io::Error::other)?;
    }
    for file in new {
        let entry = put(repository, work, file)?;
        index.add(&entry).map_err(io::Error::other)?;
    }
    // Each file was looked at when it was written, and the others before: the index is what the work tree is.
    if index.write_tree_to(repository).map_err(io::Error::other)? != wanted {
        return Err(io::Error::other("the index is not the tree that was wanted"));
    }
    index.write().map_err(io::Error::other)?;
    Ok(true)
}

/// Removes a file, and the folders that are empty without it.
fn remove(work: &Dir, path: &[u8]) -> io::Result<()> {
    let (mut folder, name) = apart(path);
    parent(work, folder)?.remove_file(name)?;
    while !folder.is_empty() && work.remove_dir(folder).is_ok() {
        folder = apart(folder.as_bytes()).0;
    }
    Ok(())
}

/// What is to be removed and what is to be written. None: it is not plain.
fn way(repository: &Repository, from: Oid, wanted: Oid) -> Result<Option<Way>, git2::Error> {
    let (from, to) = (repository.find_tree(from)?, repository.find_tree(wanted)?);
    let diff = repository.diff_tree_to_tree(Some(&from), Some(&to), None)?;
    if diff.deltas().len() > MAX_PATHS {
        return Ok(None);
    }
    let odb = repository.odb()?;
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for delta in diff.deltas() {
        let (before, after) = (delta.old_file(), delta.new_file());
        let (has_before, has_after) = match delta.status() {
            Delta::Added => (false, true),
            Delta::Deleted => (true, false),
            Delta::Modified => (true, true),
            _ => return Ok(None),
        };
        let is_file = |mode| is_plain(mode) && mode != FileMode::Link;
        let is_over = has_before && has_after && is_file(before.mode()) && is_file(after.mode());
        if has_before && !is_over {
            let Some(path) = before.path_bytes().filter(|_| is_plain(before.mode())) else { return Ok(None) };
            gone.push(path.to_vec());
        }
        if has_after {
            let Some(path) = after.path_bytes().filter(|path| is_plain(after.mode()) && !is_odd(path)) else {
                return Ok(None);
            };
            let (bytes, kind) = odb.read_header(after.id())?;
            if kind != ObjectType::Blob || bytes > MAX_FILE_BYTES {
                return Ok(None);
            }
            new.push(New { path: path.to_vec(), id: after.id(), mode: u32::from(after.mode()), is_over });
        }
    }
    Ok(Some((gone, new)))
}

fn is_plain(mode: FileMode) -> bool {
    matches!(mode, FileMode::Blob | FileMode::BlobExecutable | FileMode::Link)
}

/// Names that git means something by on some system.
fn is_odd(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| is_reserved(&String::from_utf8_lossy(part)))
}

fn apart(path: &[u8]) -> (&OsStr, &OsStr) {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (folder, name) = at.map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]));
    (OsStr::from_bytes(folder), OsStr::from_bytes(name))
}

fn parent(work: &Dir, folder: &OsStr) -> io::Result<Dir> {
    if folder.is_empty() { work.try_clone() } else { work.open_dir(folder) }
}

/// Makes a file or a link where nothing is, or gives a file other content, and gives its entry. A file that is just as
/// it was checked out has one name only: a second one would have changed its metadata. So nobody else's is written.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index keeps the lowest 32 bits")]
pub(super) fn put(repository: &Repository, work: &Dir, New { path, id, mode, is_over }: New) -> io::Result<IndexEntry> {
    let (folder, name) = apart(&path);
    if !folder.is_empty() {
        work.create_dir_all(folder)?;
    }
    let dir = parent(work, folder)?;
    let blob = repository.find_blob(id).map_err(io::Error::other)?;
    if mode == u32::from(FileMode::Link) {
        dir.symlink_contents(OsStr::from_bytes(blob.content()), name)?;
    } else if is_over {
        // Neither a new inode nor an emptied file, which file systems write out at once.
        let mut file = dir.open_with(name, OpenOptions::new().write(true))?;
        file.write_all(blob.content())?;
        file.set_len(blob.content().len() as u64)?;
        let rights = file.metadata()?.permissions().mode();
        let wanted =
            if mode == u32::from(FileMode::BlobExecutable) { rights | (rights & 0o444) >> 2 } else { rights & !0o111 };
        if wanted != rights {
            file.set_permissions(Permissions::from_mode(wanted))?;
        }
    } else {
        let rights = if mode == u32::from(FileMode::BlobExecutable) { 0o777 } else { 0o666 };
        dir.open_with(name, OpenOptions::new().write(true).create_new(true).mode(rights))?.write_all(blob.content())?;
    }
    let found = dir.symlink_metadata(name)?;
    Ok(IndexEntry {
        ctime: IndexTime::new(found.ctime() as i32, found.ctime_nsec() as u32),
        mtime: IndexTime::new(found.mtime() as i32, found.mtime_nsec() as u32),
        dev: found.dev() as u32,
        ino: found.ino() as u32,
        mode,
        uid: found.uid(),
        gid: found.gid(),
        file_size: found.size() as u32,
        id,
        flags: 0,
        flags_extended: 0,
        path,
    })
}
