//! The folder that a moment is written into: new or empty before, whole or empty again after.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::service::error::ServiceError;

/// The work tree.
const WORK: &str = "work";
/// Where new contents are prepared; it goes at the end.
const TEMPORARY: &str = ".necro-replay";

/// The folder. What was written into it goes when this is dropped before [`Place::keep`].
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    /// It was not there before.
    made: bool,
    kept: bool,
}

fn fail(path: &Path) -> impl FnOnce(std::io::Error) -> ServiceError {
    let path = path.to_owned();
    move |source| ServiceError::Io { path, source }
}

impl Place {
    /// Makes it, with an empty work tree in it. Blocking.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] when something is there already.
    pub(super) fn make(root: PathBuf) -> Result<Self, ServiceError> {
        let in_use =
            || Err(ServiceError::Usage(format!("`{}` is not new or empty: name another folder", root.display())));
        let made = match fs::read_dir(&root).map(|mut entries| entries.next().is_none()) {
            Ok(true) => false,
            Ok(false) => return in_use(),
            Err(error) if error.kind() == ErrorKind::NotADirectory => return in_use(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(&root).map_err(fail(&root))?;
                true
            }
            Err(error) => return Err(fail(&root)(error)),
        };
        let place = Self { root, made, kept: false };
        for folder in [place.work(), place.temporary()] {
            fs::create_dir(&folder).map_err(fail(&folder))?;
        }
        Ok(place)
    }

    /// The work tree.
    pub(super) fn work(&self) -> PathBuf {
        self.root.join(WORK)
    }

    /// For contents that are not in place yet.
    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join(TEMPORARY)
    }

    /// Writes a file beside the work tree. Blocking.
    ///
    /// # Errors
    /// [`ServiceError::Io`].
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), ServiceError> {
        let path = self.root.join(name);
        fs::write(&path, text).map_err(fail(&path))
    }

    /// It is whole. Gives the folder. Blocking.
    ///
    /// # Errors
    /// [`ServiceError::Io`].
    pub(super) fn keep(mut self) -> Result<PathBuf, ServiceError> {
        let temporary = self.temporary();
        fs::remove_dir_all(&temporary).map_err(fail(&temporary))?;
        self.kept = true;
        Ok(self.root.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // It was empty: everything in it was written by this. What cannot be removed stays and is seen.
        if self.made {
            let _ = fs::remove_dir_all(&self.root);
            return;
        }
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_or_an_empty_folder_is_taken_and_it_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (new, empty, used) = (dir.path().join("a/new"), dir.path().join("empty"), dir.path().join("used"));
        for folder in [&empty, &used] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(used.join("mine"), "").unwrap();
        for wrong in [used.clone(), used.join("mine")] {
            assert!(matches!(Place::make(wrong), Err(ServiceError::Usage(_))));
        }
        for folder in [&new, &empty] {
            let place = Place::make(folder.clone()).unwrap();
            place.write("call.json", "{}").unwrap();
            drop(place);
        }
        assert!(!new.exists() && fs::read_dir(&empty).unwrap().next().is_none());
        let kept = Place::make(empty.clone()).unwrap().keep().unwrap();
        let names: Vec<_> = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["work"]);
    }
}
