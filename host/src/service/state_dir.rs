//! The state directory: where a repository's registry, blobs, mirror and slots live, and the lock
//! that lets one process at a time change them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Name of the state directory at a repository's root.
pub const DEFAULT_NAME: &str = ".necro";

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
    /// git without a change to the repository's files or configuration.
    ///
    /// # Errors
    /// [`StateDirError::Io`] when it cannot be made.
    pub fn create(root: &Path) -> Result<Self, StateDirError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Io { path, source }
        };
        fs::create_dir_all(root).map_err(fail(root))?;
        make_private(root).map_err(fail(root))?;
        let root = root.canonicalize().map_err(fail(root))?;
        let ignore = root.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "# Written by necro-host: its state is nothing to commit.\n*\n")
                .map_err(fail(&ignore))?;
        }
        Ok(Self { root })
    }

    /// The directory as an earlier run left it.
    ///
    /// # Errors
    /// [`StateDirError::Missing`] when there is none.
    pub fn existing(root: &Path) -> Result<Self, StateDirError> {
        match root.canonicalize() {
            Ok(root) if root.join("registry.db").exists() => Ok(Self { root }),
            _ => Err(StateDirError::Missing { path: root.to_owned() }),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The registry's database.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry.db")
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

    /// Private home and temporary directories of commands.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`StateDirError::Held`] with the owner's own words, when another process has it.
    pub fn lock(&self, now: jiff::Timestamp) -> Result<StateLock, StateDirError> {
        let path = self.root.join("owner.lock");
        let fail = |source| StateDirError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = (&mut file).take(200).read_to_string(&mut holder);
                let known = read.is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "another process".to_owned() };
                return Err(StateDirError::Held { path: self.root.clone(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).map_err(fail)?;
        let note = format!("process {} since {now:.0}", std::process::id());
        file.write_all(note.as_bytes()).map_err(fail)?;
        Ok(StateLock { _file: file })
    }
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_holds_it_and_since_when() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let held = state.lock("2026-11-22T10:00:00Z".parse().unwrap()).unwrap();
        let error = state.lock("2026-11-22T10:01:00Z".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} since 2026-11-22T10:00:00Z", std::process::id())), "{error}");
        drop(held);
        state.lock("2026-11-22T10:02:00Z".parse().unwrap()).unwrap();
    }

    #[test]
    fn it_keeps_itself_out_of_git() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join(DEFAULT_NAME)).unwrap();
        let ignore = fs::read_to_string(state.root().join(".gitignore")).unwrap();
        assert!(ignore.lines().any(|line| line == "*"), "{ignore}");
    }

    #[test]
    fn a_directory_without_a_registry_is_no_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(StateDir::existing(dir.path()), Err(StateDirError::Missing { .. })));
    }
}
