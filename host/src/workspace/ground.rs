//! The ground that a slot stands on: which directories really are its own. Commands can put links
//! and other people's directories where those were; nothing is read, written or removed through
//! them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::WorkspaceError;
use super::clean::{is_empty, remove, write};

/// Where the directories of one slot are. All methods block.
#[derive(Debug)]
pub(crate) struct Ground {
    slot: String,
    /// `slots/<n>`
    dir: PathBuf,
    work: PathBuf,
    scratch: PathBuf,
    /// `host/<n>`, which tells the file system that the others must be on.
    host: PathBuf,
    rescued: PathBuf,
}

impl Ground {
    pub(crate) fn new(slot: String, dir: &Path, host: &Path, rescued: PathBuf) -> Self {
        let (work, scratch) = (dir.join("work"), dir.join("scratch"));
        Self { slot, dir: dir.to_owned(), work, scratch, host: host.to_owned(), rescued }
    }

    /// Requires that the slot and its work tree are the directories that were made for it.
    pub(crate) fn check(&self) -> Result<(), WorkspaceError> {
        let known = self.known();
        for path in [&self.dir, &self.work] {
            if !known.iter().any(|(name, node)| *name == name_of(path) && self.node(path) == Some(*node)) {
                return Err(self.replaced(path));
            }
        }
        Ok(())
    }

    /// Whether all directories are those that were made for the slot.
    pub(crate) fn is_whole(&self) -> bool {
        let known = self.known();
        self.paths()
            .iter()
            .all(|path| known.iter().any(|(name, node)| *name == name_of(path) && self.node(path) == Some(*node)))
    }

    /// The work tree itself: whatever is put in its place later, this stays what it was.
    pub(crate) fn open_work(&self) -> Result<Dir, WorkspaceError> {
        self.check()?;
        let io = WorkspaceError::io(&self.work);
        let dir = Dir::open_ambient_dir(&self.work, ambient_authority()).map_err(io)?;
        let found = dir.dir_metadata().map_err(WorkspaceError::io(&self.work))?;
        let node = cap_std::fs::MetadataExt::ino(&found);
        if self.device() == Some(cap_std::fs::MetadataExt::dev(&found))
            && self.known().iter().any(|(name, known)| name == "work" && *known == node)
        {
            return Ok(dir);
        }
        Err(self.replaced(&self.work))
    }

    /// Makes the directories that are missing, and remembers all.
    pub(crate) fn make(&self) -> Result<(), WorkspaceError> {
        for parent in [Some(self.host.as_path()), self.dir.parent()].into_iter().flatten() {
            fs::create_dir_all(parent).map_err(WorkspaceError::io(parent))?;
        }
        for path in self.paths() {
            let mut known = self.known();
            let name = name_of(path);
            match fs::create_dir(path) {
                Ok(()) => {
                    known.retain(|(other, _)| *other != name);
                    known.push((name, self.node(path).ok_or_else(|| self.replaced(path))?));
                    let lines: Vec<String> = known.iter().map(|(name, node)| format!("{name} {node}")).collect();
                    write(&self.record(), &lines.join("\n"))?;
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let node = self.node(path);
                    if !known.iter().any(|(other, known)| *other == name && Some(*known) == node) {
                        return Err(self.replaced(path));
                    }
                }
                Err(e) => return Err(WorkspaceError::io(path)(e)),
            }
        }
        Ok(())
    }

    /// Makes the scratch directory empty.
    pub(crate) fn empty_scratch(&self) -> Result<(), WorkspaceError> {
        self.check()?;
        let node = self.node(&self.scratch);
        if node.is_some()
            && self.known().iter().any(|(name, known)| *name == name_of(&self.scratch) && Some(*known) == node)
            && is_empty(&self.scratch)
        {
            return Ok(());
        }
        remove(&self.scratch)?;
        self.make()
    }

    /// Moves away what stands in the place of a directory of ours, be it a link or a directory,
    /// without looking into it. Gives where the last one with possible work in it is now.
    pub(crate) fn set_impostors_aside(&self) -> Result<Option<PathBuf>, WorkspaceError> {
        let mut aside = None;
        for path in self.paths() {
            let known = self.known();
            let node = self.node(path);
            if node.is_some() && known.iter().any(|(name, known)| *name == name_of(path) && Some(*known) == node) {
                continue;
            }
            // An empty directory holds nobody's work; a link is not removed by this.
            if fs::remove_dir(path).is_ok() {
                continue;
            }
            if let Some(moved) = self.set_aside(path)? {
                tracing::warn!(slot = %self.slot, path = %path.display(), moved = %moved.display(), "was replaced");
                if *path != self.scratch {
                    aside = Some(moved);
                }
            }
        }
        Ok(aside)
    }

    /// Moves the work tree to `rescued/`. `None`: there is none.
    pub(crate) fn set_work_aside(&self) -> Result<Option<PathBuf>, WorkspaceError> {
        self.set_aside(&self.work)
    }

    fn set_aside(&self, path: &Path) -> Result<Option<PathBuf>, WorkspaceError> {
        let Ok(found) = fs::symlink_metadata(path) else { return Ok(None) };
        let rescued = &self.rescued;
        fs::create_dir_all(rescued).map_err(WorkspaceError::io(rescued))?;
        let free = |p: &PathBuf| fs::symlink_metadata(p).is_err();
        let to = (1u64..).map(|n| rescued.join(format!("{}-{n}", self.slot))).find(free);
        let to = to.expect("there are more numbers than files");
        match fs::rename(path, &to) {
            // To be moved, a directory has to be writable itself.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && found.is_dir() => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o700)).and_then(|()| fs::rename(path, &to))
            }
            other => other,
        }
        .map_err(WorkspaceError::io(path))?;
        Ok(Some(to))
    }

    fn paths(&self) -> [&PathBuf; 3] {
        [&self.dir, &self.work, &self.scratch]
    }

    fn replaced(&self, path: &Path) -> WorkspaceError {
        WorkspaceError::Replaced { slot: self.slot.clone(), path: path.to_owned() }
    }

    /// The inode of a directory on our file system; `None` for anything else, links above all.
    fn node(&self, path: &Path) -> Option<u64> {
        let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir)?;
        // The number of a device changes when the machine starts again: it is compared, not kept.
        (Some(found.dev()) == self.device()).then(|| found.ino())
    }

    fn device(&self) -> Option<u64> {
        fs::symlink_metadata(&self.host).ok().map(|found| found.dev())
    }

    fn record(&self) -> PathBuf {
        self.host.join("ground")
    }

    fn known(&self) -> Vec<(String, u64)> {
        let text = fs::read_to_string(self.record()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.filter_map(|(name, node)| Some((name.to_owned(), node.parse().ok()?))).collect()
    }
}

/// `work` and `scratch` keep their names; the slot's own directory is called by its number.
fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
