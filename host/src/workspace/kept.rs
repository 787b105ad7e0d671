//! Trees that mirrors keep, written out as files elsewhere, for people who look at what was. Only objects
//! are read: no configuration, no refs, no program; so a copied or read-only mirror does.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use git2::{FileMode, Odb, Oid, Repository, Tree};

use super::WorkspaceError;
use super::objects::{TreeId, tree_id};
use super::path::is_reserved;
use crate::domain::id::CommitId;

/// Folders in folders; what is deeper is no tree of a slot's.
const MAX_DEPTH: usize = 256;

/// The objects of all mirrors below a folder.
#[derive(Debug, Clone)]
pub struct KeptTrees {
    places: Vec<PathBuf>,
}

impl KeptTrees {
    /// Looks below the folder of a state directory that has the mirrors.
    #[must_use]
    pub fn below(repos_dir: &Path) -> Self {
        let folders = fs::read_dir(repos_dir).into_iter().flatten().flatten();
        let places = folders.map(|folder| folder.path().join("mirror.git/objects"));
        let mut places: Vec<PathBuf> = places.filter(|place| place.is_dir()).collect();
        places.sort();
        Self { places }
    }

    /// The tree of a commit. Blocking.
    ///
    /// # Errors
    /// [`WorkspaceError::Objects`]: no mirror has it.
    pub fn tree_of(&self, commit: &CommitId) -> Result<TreeId, WorkspaceError> {
        let id = oid(commit.as_str())?;
        self.find(commit.as_str(), |repository| Ok(tree_id(repository.find_commit(id)?.tree_id())))
    }

    /// Writes a tree's files and links into the empty folder `into`, byte by byte as they were committed.
    /// Gives how many. Blocking.
    ///
    /// # Errors
    /// [`WorkspaceError::Objects`]: no mirror has all of it, or it names what no work tree may have;
    /// [`WorkspaceError::Io`] and [`WorkspaceError::DiskFull`]: it cannot be written.
    pub fn write_out(&self, tree: &TreeId, into: &Path) -> Result<u64, WorkspaceError> {
        let id = oid(tree.as_str())?;
        let repository =
            self.find(tree.as_str(), |repository| repository.find_tree(id).map(drop).map(|()| repository))?;
        let tree = repository.find_tree(id).map_err(|e| WorkspaceError::objects("a tree", &e))?;
        let dir = Dir::open_ambient_dir(into, ambient_authority()).map_err(WorkspaceError::io(into))?;
        write_tree(&repository, &tree, &dir, into, 0)
    }

    /// Asks mirror after mirror; the first that knows answers.
    fn find<T>(&self, what: &str, ask: impl Fn(Repository) -> Result<T, git2::Error>) -> Result<T, WorkspaceError> {
        let mut failed = None;
        for place in &self.places {
            match objects_of(place).and_then(&ask) {
                Ok(found) => return Ok(found),
                Err(error) => failed = Some(WorkspaceError::objects(what, &error)),
            }
        }
        let nothing = || WorkspaceError::Objects { what: what.to_owned(), detail: "there is no mirror".to_owned() };
        Err(failed.unwrap_or_else(nothing))
    }
}

fn objects_of(place: &Path) -> Result<Repository, git2::Error> {
    let odb = Odb::new()?;
    odb.add_disk_alternate(&place.to_string_lossy())?;
    Repository::from_odb(odb)
}

fn oid(text: &str) -> Result<Oid, WorkspaceError> {
    let refuse = |_| WorkspaceError::NotAnId { text: text.chars().take(100).collect() };
    Oid::from_str(text).map_err(refuse)
}

fn write_tree(
    repository: &Repository,
    tree: &Tree<'_>,
    dir: &Dir,
    place: &Path,
    depth: usize,
) -> Result<u64, WorkspaceError> {
    let refuse = |detail: &str| WorkspaceError::Objects { what: tree.id().to_string(), detail: detail.to_owned() };
    let failed = |e: git2::Error| WorkspaceError::objects("a file of a tree", &e);
    if depth >= MAX_DEPTH {
        return Err(refuse("its folders are nested too deep"));
    }
    let mut files = 0;
    for entry in tree {
        let name = entry.name_bytes();
        let is_name = !matches!(name, b"" | b"." | b"..") && !name.iter().any(|b| matches!(b, b'/' | 0));
        if !is_name || is_reserved(&String::from_utf8_lossy(name)) {
            return Err(refuse("it names what no work tree may have"));
        }
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        let path = place.join(name);
        let mode = entry.filemode();
        let written = if mode == i32::from(FileMode::Tree) {
            let below = repository.find_tree(entry.id()).map_err(failed)?;
            dir.create_dir(name).map_err(WorkspaceError::io(&path))?;
            let inside = dir.open_dir(name).map_err(WorkspaceError::io(&path))?;
            files += write_tree(repository, &below, &inside, &path, depth + 1)?;
            continue;
        } else if mode == i32::from(FileMode::Commit) {
            // A submodule: git makes an empty folder of it, too.
            dir.create_dir(name)
        } else {
            let blob = repository.find_blob(entry.id()).map_err(failed)?;
            files += 1;
            if mode == i32::from(FileMode::Link) {
                dir.symlink_contents(std::ffi::OsStr::from_bytes(blob.content()), name)
            } else {
                write_file(dir, name, blob.content(), mode == i32::from(FileMode::BlobExecutable))
            }
        };
        written.map_err(WorkspaceError::io(&path))?;
    }
    Ok(files)
}

fn write_file(dir: &Dir, name: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(if executable { 0o777 } else { 0o666 });
    dir.open_with(name, &options)?.write_all(bytes)
}
