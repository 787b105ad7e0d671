//! The state directory: where a repository's registry, blobs, mirror and slots live, and the lock
//! that lets one process at a time change them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::failpoint;
use crate::workspace::is_tracked;

/// Name of the state directory at a repository's root.
pub const DEFAULT_NAME: &str = ".necro";
/// The file whose lock the owner holds. It is made before everything else, so that a directory that
/// was not finished is still known as ours.
const LOCK: &str = "owner.lock";
/// What the note of an owner begins with.
const NOTE: &str = "process ";
/// The registry's database.
const REGISTRY: &str = "registry.db";
/// What every SQLite file begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// An owner's note is read up to here.
const MAX_NOTE_BYTES: u64 = 200;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process owns it.
    #[error("the state directory `{}` is in use by {holder}", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// What the owner wrote about itself.
        holder: String,
    },
    /// Nothing was run here yet.
    #[error("there is no state directory `{}`", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// Something else is there, or it is not this machine's.
    #[error("`{}` cannot be the state directory: {reason}", path.display())]
    Refused {
        /// What was named.
        path: PathBuf,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// It cannot be read or written.
    #[error("the state directory `{}` cannot be used", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A state directory's paths. Owning it takes [`StateDir::lock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// The right to change a state directory; given up when dropped, or by the kernel when the process dies.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateDir {
    /// Makes the directory, private to the user, with a `.gitignore` of its own: so it stays out of
    /// git without a change to the repository's files or configuration. `work_tree` is the repository's,
    /// if it has one here.
    ///
    /// # Errors
    /// [`StateDirError::Refused`] as [`StateDir::check`] says, before anything is written;
    /// [`StateDirError::Io`] when it cannot be made.
    pub fn create(root: &Path, work_tree: Option<&Path>) -> Result<Self, StateDirError> {
        Self::check(root, work_tree)?;
        failpoint::writing("state", "make", || fs::create_dir_all(root)).map_err(fail(root))?;
        make_private(root).map_err(fail(root))?;
        let root = root.canonicalize().map_err(fail(root))?;
        open_lock(&root.join(LOCK))?;
        let ignore = root.join(".gitignore");
        match OpenOptions::new().write(true).create_new(true).open(&ignore) {
            Ok(mut file) => failpoint::writing("state", "ignore", || {
                file.write_all(b"# Written by necro-host: its state is nothing to commit.\n*\n")
            })
            .map_err(fail(&ignore))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail(&ignore)(error)),
        }
        Ok(Self { root })
    }

    /// The directory as an earlier run left it.
    ///
    /// # Errors
    /// [`StateDirError::Missing`] when there is none, [`StateDirError::Refused`] when the repository
    /// brought it along.
    pub fn existing(root: &Path, work_tree: Option<&Path>) -> Result<Self, StateDirError> {
        refuse_brought_along(root, work_tree)?;
        match root.canonicalize() {
            Ok(root) if root.join(REGISTRY).exists() => Ok(Self { root }),
            _ => Err(StateDirError::Missing { path: root.to_owned() }),
        }
    }

    /// The directory as an owner has at least begun to make it: it may have no registry yet.
    ///
    /// # Errors
    /// As [`StateDir::existing`].
    pub fn begun(root: &Path, work_tree: Option<&Path>) -> Result<Self, StateDirError> {
        refuse_brought_along(root, work_tree)?;
        match root.canonicalize() {
            Ok(root) if is_ours(&root) => Ok(Self { root }),
            _ => Err(StateDirError::Missing { path: root.to_owned() }),
        }
    }

    /// Whether `root` can be, or already is, a state directory. Looks and changes nothing.
    ///
    /// # Errors
    /// [`StateDirError::Refused`] when it is a directory with other things in it, no directory, or when
    /// the repository brought it along: as a link, or tracked by git.
    pub fn check(root: &Path, work_tree: Option<&Path>) -> Result<(), StateDirError> {
        refuse_brought_along(root, work_tree)?;
        let found = match fs::metadata(root) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(root)(error)),
        };
        if !found.is_dir() {
            return Err(refused(root, "it is no directory; name a new one with --state DIR"));
        }
        let is_empty = fs::read_dir(root).map_err(fail(root))?.next().is_none();
        if is_empty || is_ours(root) {
            return Ok(());
        }
        Err(refused(root, "other things are in it; name a new or an empty directory with --state DIR"))
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The registry's database.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.root.join(REGISTRY)
    }

    /// The blob store.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Mirrors and slots.
    #[must_use]
    pub fn repositories(&self) -> PathBuf {
        self.root.join("repos")
    }

    /// What the newest owner wrote about itself; empty when there was none.
    #[must_use]
    pub fn owner_note(&self) -> String {
        let note = File::open(self.root.join(LOCK)).map(read_note);
        note.unwrap_or_default()
    }

    /// Whether somebody holds the lock. For a moment nobody else can take it.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub(crate) fn is_held(&self) -> Result<bool, StateDirError> {
        let path = self.root.join(LOCK);
        match open_lock_to_look(&path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(fail(&path)(source)),
        }
    }

    /// Returns when nobody holds the lock any more. Blocking, for as long as that takes.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub(crate) fn wait_until_free(&self) -> Result<(), StateDirError> {
        let path = self.root.join(LOCK);
        open_lock_to_look(&path)?.lock_shared().map_err(fail(&path))
    }

    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`StateDirError::Held`] with the owner's own words, when another process has it.
    pub fn lock(&self, now: jiff::Timestamp) -> Result<StateLock, StateDirError> {
        let path = self.root.join(LOCK);
        let mut file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let note = read_note(file);
                let holder = if note.is_empty() { "another process".to_owned() } else { note };
                return Err(StateDirError::Held { path: self.root.clone(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(fail(&path)(source)),
        }
        file.set_len(0).map_err(fail(&path))?;
        let note = format!("{NOTE}{} since {now:.0}", std::process::id());
        failpoint::writing("state", "lock", || file.write_all(note.as_bytes())).map_err(fail(&path))?;
        Ok(StateLock { _file: file })
    }
}

fn fail(path: &Path) -> impl FnOnce(io::Error) -> StateDirError {
    let path = path.to_owned();
    move |source| StateDirError::Io { path, source }
}

fn refused(path: &Path, reason: &'static str) -> StateDirError {
    StateDirError::Refused { path: path.to_owned(), reason }
}

/// Refuses what came with the repository: it may lead anywhere, and say anything about what was done.
fn refuse_brought_along(root: &Path, work_tree: Option<&Path>) -> Result<(), StateDirError> {
    let Some((work_tree, inside)) = work_tree.and_then(|tree| place_in(tree, root)) else { return Ok(()) };
    if fs::symlink_metadata(root).is_ok_and(|found| found.is_symlink()) {
        return Err(refused(root, "it is a link in the repository; remove it, or name another place with --state DIR"));
    }
    if is_tracked(&work_tree, &inside) {
        return Err(refused(
            root,
            "the repository has it in git, so it was not made here; take it out of git and remove it, or name another \
             place with --state DIR",
        ));
    }
    Ok(())
}

/// The real work tree and the path in it, when `root` lies there; its last part is not followed.
fn place_in(work_tree: &Path, root: &Path) -> Option<(PathBuf, PathBuf)> {
    let work_tree = work_tree.canonicalize().ok()?;
    let real = match (root.parent(), root.file_name()) {
        (Some(parent), Some(name)) => parent.canonicalize().ok()?.join(name),
        _ => root.canonicalize().ok()?,
    };
    let inside = real.strip_prefix(&work_tree).ok()?.to_owned();
    (!inside.as_os_str().is_empty()).then_some((work_tree, inside))
}

/// Whether a run has made this directory, finished or not.
fn is_ours(root: &Path) -> bool {
    let begins = |name: &str, wanted: &[u8]| {
        let path = root.join(name);
        // A pipe would never be read to its end.
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            return None;
        }
        let mut start = Vec::new();
        File::open(&path).ok()?.take(wanted.len() as u64).read_to_end(&mut start).ok()?;
        Some(start)
    };
    // The note is missing when the owner ended between making the file and writing into it.
    let lock = begins(LOCK, NOTE.as_bytes()).is_some_and(|start| start.is_empty() || start == NOTE.as_bytes());
    lock || begins(REGISTRY, SQLITE).is_some_and(|start| start == SQLITE)
}

fn open_lock_to_look(path: &Path) -> Result<File, StateDirError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(no_link).open(path).map_err(fail(path))
}

fn open_lock(path: &Path) -> Result<File, StateDirError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).custom_flags(no_link);
    options.open(path).map_err(fail(path))
}

fn read_note(file: File) -> String {
    let mut note = String::new();
    let read = file.take(MAX_NOTE_BYTES).read_to_string(&mut note);
    if read.is_ok() { note.trim().to_owned() } else { String::new() }
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_holds_it_and_since_when() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state"), None).unwrap();
        let held = state.lock("2026-11-22T10:00:00Z".parse().unwrap()).unwrap();
        let error = state.lock("2026-11-22T10:01:00Z".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} since 2026-11-22T10:00:00Z", std::process::id())), "{error}");
        drop(held);
        state.lock("2026-11-22T10:02:00Z".parse().unwrap()).unwrap();
    }

    #[test]
    fn it_keeps_itself_out_of_git() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join(DEFAULT_NAME), None).unwrap();
        let ignore = fs::read_to_string(state.root().join(".gitignore")).unwrap();
        assert!(ignore.lines().any(|line| line == "*"), "{ignore}");
    }

    #[test]
    fn a_directory_without_a_registry_is_no_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(StateDir::existing(dir.path(), None), Err(StateDirError::Missing { .. })));
    }

    #[test]
    fn only_new_empty_and_own_directories_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        // Each is a directory with these files in it.
        for (name, files, taken) in [
            ("empty", &[][..], true),
            ("begun", &[(LOCK, "")], true),
            ("used", &[(LOCK, "process 7 since 2026"), (".gitignore", "*\n"), ("registry.db", "")], true),
            ("without its lock", &[("registry.db", "SQLite format 3\0…")], true),
            ("another's lock", &[(LOCK, "host 7")], false),
            ("another's registry", &[("registry.db", "text")], false),
            ("a project", &[("Cargo.toml", "")], false),
        ] {
            let root = dir.path().join(name);
            fs::create_dir(&root).unwrap();
            for (file, text) in files {
                fs::write(root.join(file), text).unwrap();
            }
            let made = StateDir::create(&root, None);
            assert_eq!(made.is_ok(), taken, "{name}: {made:?}");
            let ignored = root.join(".gitignore").exists();
            assert_eq!(ignored, taken, "{name}: something was written");
        }
        fs::write(dir.path().join("file"), "").unwrap();
        for root in [dir.path().join("file"), dir.path().to_owned()] {
            assert!(matches!(StateDir::create(&root, None), Err(StateDirError::Refused { .. })));
        }
    }

    #[test]
    fn the_lock_is_no_way_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state"), None).unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        fs::remove_file(state.root().join(LOCK)).unwrap();
        std::os::unix::fs::symlink(&outside, state.root().join(LOCK)).unwrap();
        assert!(matches!(state.lock("2026-11-22T10:00:00Z".parse().unwrap()), Err(StateDirError::Io { .. })));
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    }
}
