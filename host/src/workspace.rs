//! Where spirits work: mirrors of the user's repositories, slots, snapshots, commits, merges, and
//! the file access that a spirit gets.
//!
//! On disk, below the state directory:
//!
//! ```text
//! repos/<name>-<hash>/
//!   mirror.git/           bare copy of the source; every object and every ref of ours is here
//!   host/<n>/             what the host knows about slot n: index, base, saved trees, temporary files
//!   slots/<n>/work/       the work tree; spirits and commands write here and nowhere else
//!   slots/<n>/git/        a repository for tools that want to read history; `work/.git` points to it
//!   slots/<n>/scratch/    home and temporary directory of the commands that run in the slot
//!   rescued/              work trees that were set aside because they could not be saved as commits
//! ```
//!
//! The rule that makes a slot safe: **the host never reads `slots/<n>/git` nor anything called
//! `.git` below `work/`**; it only writes them anew. Its own git runs with the mirror as repository,
//! the index in `host/<n>`, and `work/` as work tree. The mirror's configuration and attributes are
//! compared with what the host wrote before each use. Attributes of a work tree choose among the
//! programs that a configuration names; the mirror names none, and its `info/attributes`, which
//! come before all others, switch off filters, drivers and line-end conversion: what is in a file
//! is what is in its blob, both ways.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::pool::Refused;
use crate::failpoint::DiskFull;

mod branches;
mod cache;
mod clean;
mod diff;
mod files;
mod gated;
mod git;
mod ground;
mod inspect;
mod kept;
mod land;
mod mirror;
mod modules;
mod objects;
mod path;
mod place;
mod pool;
mod push;
mod rescue;
mod seed;
mod slot;
mod snapshot;
mod source;
mod step;
#[cfg(test)]
mod tests;
mod tracked;
mod usage;
mod whole;

pub use cache::Cached;
pub use diff::{MAX_DIFF_LINES, MAX_DIFF_TEXT_BYTES, TreeDiff, unified};
pub use files::{
    FolderFiles, MAX_LIST_ENTRIES, MAX_READ_BYTES, MAX_READABLE_FILE_BYTES, MAX_SEARCH_HITS, MAX_WRITE_BYTES, WorkFiles,
};
pub use git::{Git, GitError, OLDEST_GIT};
pub use inspect::{DirtyPath, Inspection, inspect, is_tracked};
pub use kept::KeptTrees;
pub use land::{LandError, Landed, fetch_command};
pub use mirror::{MergeOutcome, Mirror, OtherSource, other_source};
pub use objects::{Identity, LogEntry, MAX_LOG_ENTRIES, NewCommit, Objects, TreeId};
pub(crate) use path::WorkPath;
pub use place::{Prepared, Rescue};
pub use pool::{GivenBack, Liveness, SlotPool, Terms};
pub use push::{PUSH_TIMEOUT, Pushed, push_address};
pub use rescue::{KeptKind, KeptWork, RESCUES, copy_files, is_branch_name};
pub use seed::seed_repository;
pub use slot::Slot;
pub use snapshot::{SkipReason, Skipped, Snapshot};
pub use source::{Source, SourceError, without_credentials};
pub use usage::Usage;
pub use whole::check_whole;

/// Why something about a workspace failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// A text is not an object id.
    #[error("`{text}` is not a git object id: 40 lower-case hexadecimal digits are expected")]
    NotAnId {
        /// The text, cut to 100 characters.
        text: String,
    },
    /// A ref is not where it was expected.
    #[error("the ref {name} was moved by somebody else")]
    RefMoved {
        /// Its name.
        name: String,
    },
    /// A ref stayed locked.
    #[error("the ref {name} stays locked; if no git process runs, remove the file {name}.lock in the mirror")]
    RefLocked {
        /// Its name.
        name: String,
    },
    /// libgit2 failed.
    #[error("{what}: {detail}")]
    Objects {
        /// What it worked on.
        what: String,
        /// Its own words.
        detail: String,
    },
    /// No space left.
    #[error("the disk is full ({what}); free some space and go on")]
    DiskFull {
        /// What was being done.
        what: String,
    },
    /// Git failed.
    #[error(transparent)]
    Git(GitError),
    /// A slot's work tree is not what was checked out, again and again.
    #[error("slot {slot} does not get clean: {detail}; something may still be running in it")]
    NotClean {
        /// The slot.
        slot: String,
        /// What is in the way.
        detail: String,
    },
    /// There is no such slot.
    #[error("there is no {slot}; `necro-host slot ls` lists those that there are")]
    NoSlot {
        /// What was named.
        slot: String,
    },
    /// A slot cannot be had, or not be given back.
    #[error("{slot}: {reason}")]
    SlotRefused {
        /// The slot.
        slot: String,
        /// Why.
        reason: Refused,
    },
    /// A directory of a slot is gone, or something else stands in its place.
    #[error("{} of slot {slot} was replaced while an attempt ran; it is made anew before the next one", path.display())]
    Replaced {
        /// The slot.
        slot: String,
        /// Which directory.
        path: PathBuf,
    },
    /// More files changed than a commit may hold.
    #[error(
        "{count} files changed, more than the {limit} that a snapshot may hold; add what is generated to .gitignore"
    )]
    TooManyChanges {
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// A file or folder of ours could not be used.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host is shutting down.
    #[error("the work was cut off because the host stops")]
    Stopped,
}

impl From<GitError> for WorkspaceError {
    fn from(error: GitError) -> Self {
        match error {
            GitError::DiskFull { command, .. } => Self::DiskFull { what: format!("git {command}") },
            other => Self::Git(other),
        }
    }
}

impl From<DiskFull> for WorkspaceError {
    fn from(_: DiskFull) -> Self {
        Self::DiskFull { what: "a test".to_owned() }
    }
}

impl WorkspaceError {
    fn objects(what: &str, error: &git2::Error) -> Self {
        if error.message().contains("No space left") {
            return Self::DiskFull { what: what.to_owned() };
        }
        Self::Objects { what: what.to_owned(), detail: error.message().to_owned() }
    }

    /// Whether a slot cannot be trusted because of it, as opposed to the disk, the mirror or what was asked for.
    fn is_of_slot(&self) -> bool {
        matches!(self, Self::NotClean { .. } | Self::Replaced { .. } | Self::Io { .. } | Self::Git(_))
    }

    /// In one line, with what the system said.
    fn in_words(&self) -> String {
        match self {
            Self::Io { path, source } => format!("{}: {source}", path.display()),
            other => other.to_string(),
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { what: path.display().to_string() }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

/// Runs `f` where it may block.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(WorkspaceError::Stopped),
    }
}
