//! Replaces a file that people and their programs edit at the same moment. The new file and the old one
//! change places in one step of the kernel, and what comes out is compared with what had been read:
//! something else is an edit that nobody had seen yet, and the change is made again from that.
//!
//! What no comparison shows is a program that keeps the old file open and writes into it later.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::line::MAX_FILE_BYTES;
use crate::failpoint;

/// How often a change is made again because somebody else was faster, and how often a file is read again
/// because it changed while it was read.
pub const MAX_ROUNDS: u32 = 8;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What stands in it now.
    pub bytes: Vec<u8>,
    /// It was written; otherwise it was not touched.
    pub written: bool,
}

/// Why a file was not replaced. Unless it says otherwise, what a person wrote last is in its place.
#[derive(Debug, thiserror::Error)]
pub enum EditError<E> {
    /// The change could not be made from what the file says.
    #[error(transparent)]
    Change(E),
    /// It cannot be read or written.
    #[error("cannot replace `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else changed it every time.
    #[error("`{}` was changed by others {rounds} times while it was to be replaced; try again", path.display())]
    Contested {
        /// The file.
        path: PathBuf,
        /// How often.
        rounds: u32,
    },
    /// A version of the file could not be put back into its place.
    #[error("`{}` is being changed by others; one version of it is in `{}`: compare the two", path.display(), kept.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// Where the version is.
        kept: PathBuf,
        /// Why it could not be put back, when it was not for others.
        #[source]
        source: Option<io::Error>,
    },
}

/// How a file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The two files change places.
    Exchange,
    /// Compared, then replaced: where the file system cannot exchange. What is written in between is lost.
    Compare,
}

/// Changes the file at `path` by `change`, which is given its bytes and gives new ones, or `None` to leave
/// it as it is. It is called again with what a person has written meanwhile, so it may be called more than
/// once and must count on other bytes each time. A symbolic link stays one: what it leads to is replaced.
/// Permissions stay, and the owner where that is allowed.
///
/// # Errors
/// [`EditError::Change`] with the error of `change`, and when the file cannot be replaced. Blocking.
pub fn edit<E>(path: &Path, change: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>) -> Result<Outcome, EditError<E>> {
    edit_by(Way::Exchange, path, change)
}

fn edit_by<E>(
    mut way: Way,
    path: &Path,
    mut change: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Outcome, EditError<E>> {
    let fail = |source| EditError::Io { path: path.to_owned(), source };
    let real = path.canonicalize().map_err(fail)?;
    let mut seen = read(&real).map_err(fail)?;
    // What this call has put in place, and the person's version that came out for it.
    let mut placed: Option<(Vec<u8>, PathBuf)> = None;
    for _ in 0..MAX_ROUNDS {
        let new = match change(&seen) {
            Ok(new) => new.unwrap_or_else(|| seen.clone()),
            Err(error) => return Err(give_back(path, &real, placed).err().unwrap_or(EditError::Change(error))),
        };
        if placed.is_none() && new == seen {
            return Ok(Outcome { bytes: seen, written: false });
        }
        let temp = match write_beside(&real, &new) {
            Ok(temp) => temp,
            Err(error) => return Err(give_back(path, &real, placed).err().unwrap_or(fail(error))),
        };
        let expected = placed.as_ref().map_or(&seen, |(ours, _)| ours);
        match swap(&mut way, &temp, &real, expected) {
            Ok(None) => {
                forget(&temp);
                placed.iter().for_each(|(_, taken)| forget(taken));
                File::open(folder_of(&real)).and_then(|folder| folder.sync_all()).map_err(fail)?;
                return Ok(Outcome { bytes: new, written: true });
            }
            Ok(Some(newer)) => {
                // The version before is in what was just put in place, or its writer replaced it.
                placed.iter().for_each(|(_, taken)| forget(taken));
                placed = (way == Way::Exchange).then_some((new, temp));
                seen = newer;
            }
            Err(Swap::Not(error)) => {
                forget(&temp);
                return Err(give_back(path, &real, placed).err().unwrap_or(fail(error)));
            }
            Err(Swap::Done(error)) => {
                placed.iter().for_each(|(_, taken)| forget(taken));
                return Err(give_back(path, &real, Some((new, temp))).err().unwrap_or(fail(error)));
            }
        }
    }
    give_back(path, &real, placed)?;
    Err(EditError::Contested { path: path.to_owned(), rounds: MAX_ROUNDS })
}

/// Why two files did not change places as they should.
enum Swap {
    /// They are where they were.
    Not(io::Error),
    /// They changed places, and what came out cannot be read.
    Done(io::Error),
}

/// Puts `temp` into the place of `real`. `None`: what was there is what was expected. Otherwise what was
/// there instead: in `temp`, or, where files cannot be exchanged, still in place.
fn swap(way: &mut Way, temp: &Path, real: &Path, expected: &[u8]) -> Result<Option<Vec<u8>>, Swap> {
    if *way == Way::Exchange {
        match failpoint::writing("file", "exchange", || exchange(temp, real)) {
            Ok(()) => {
                let out = read(temp).map_err(Swap::Done)?;
                return Ok((out != expected).then_some(out));
            }
            Err(error) if cannot_exchange(&error) => *way = Way::Compare,
            Err(error) => return Err(Swap::Not(error)),
        }
    }
    let now = read(real).map_err(Swap::Not)?;
    if now != expected {
        forget(temp);
        return Ok(Some(now));
    }
    failpoint::writing("file", "rename", || fs::rename(temp, real)).map_err(Swap::Not)?;
    Ok(None)
}

/// Puts a person's version, which came out for ours, back into its place. When yet another one comes out
/// for it, that one is the newest.
fn give_back<E>(path: &Path, real: &Path, placed: Option<(Vec<u8>, PathBuf)>) -> Result<(), EditError<E>> {
    let Some((mut expected, kept)) = placed else { return Ok(()) };
    let stuck = |source| EditError::Kept { path: path.to_owned(), kept: kept.clone(), source };
    for _ in 0..MAX_ROUNDS {
        let going_in = read(&kept);
        exchange(&kept, real).map_err(|error| stuck(Some(error)))?;
        if read(&kept).is_ok_and(|out| out == expected) {
            forget(&kept);
            return Ok(());
        }
        expected = going_in.map_err(|error| stuck(Some(error)))?;
    }
    Err(stuck(None))
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

fn cannot_exchange(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [Errno::NOSYS, Errno::INVAL, Errno::OPNOTSUPP].into_iter().any(|cannot| errno == Some(cannot))
}

/// What is in the way for nobody: at worst a hidden file stays behind.
fn forget(temp: &Path) {
    let _ = fs::remove_file(temp);
}

fn folder_of(real: &Path) -> &Path {
    real.parent().unwrap_or(Path::new("."))
}

/// A new file beside `real` with its permissions, durable.
fn write_beside(real: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let like = real.metadata()?;
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut file = tempfile::Builder::new().prefix(&format!(".{name}.")).suffix(".new").tempfile_in(folder_of(real))?;
    failpoint::writing("file", "new", || file.write_all(bytes))?;
    let own = file.as_file().metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        // Only the superuser may give files away; everybody else's stay their own.
        let _ = fchown(file.as_file(), Some(like.uid()), Some(like.gid()));
    }
    file.as_file().set_permissions(Permissions::clone(&like.permissions()))?;
    file.as_file().sync_all()?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    Ok(path)
}

/// Reads a regular file that nobody writes into meanwhile.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    for _ in 0..MAX_ROUNDS {
        if !fs::symlink_metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let mut file = File::open(path)?;
        let stamp = |file: &File| {
            let now = file.metadata()?;
            io::Result::Ok((now.len(), now.mtime(), now.mtime_nsec(), now.ctime(), now.ctime_nsec()))
        };
        let before = stamp(&file)?;
        let mut bytes = Vec::new();
        (&mut file).take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_FILE_BYTES {
            let message = format!("it has more than {MAX_FILE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        // An exchange changes the time of a change of its names, and nothing that is read.
        let after = stamp(&file)?;
        if before == after && bytes.len() as u64 == after.0 {
            return Ok(bytes);
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "it changes all the time while it is read"))
}

#[cfg(test)]
#[path = "replace/tests.rs"]
mod tests;
