//! What spirits do in a work tree: listing, searching, editing, running commands.

use serde::{Deserialize, Serialize};

use super::id::Digest;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, not followed.
    Symlink,
}

/// One entry of a directory listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path from the root of the work tree.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size; 0 for directories.
    pub size_bytes: u64,
}

/// A range of lines, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRange {
    /// First line, from 1.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// Text of a file, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// The text.
    pub text: String,
    /// Lines of the whole file.
    pub total_lines: u32,
    /// The size limit cut it short.
    pub truncated: bool,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchQuery {
    /// A literal, or a regular expression.
    pub pattern: String,
    /// Whether it is a regular expression.
    pub regex: bool,
    /// Glob over paths.
    pub glob: Option<String>,
    /// At most this many hits.
    pub max_hits: u32,
}

/// One hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchHit {
    /// Path.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// The line, cut to 400 characters.
    pub text: String,
}

/// How a file differs from the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// New.
    Added,
    /// Other content or mode.
    Modified,
    /// Gone.
    Deleted,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Path.
    pub path: String,
    /// How.
    pub change: ChangeKind,
}

/// Replace `old_text`, which must occur exactly once, by `new_text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The file.
    pub path: String,
    /// What stands there now.
    pub old_text: String,
    /// What shall stand there.
    pub new_text: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// Absent when it was killed.
    pub exit_code: Option<i32>,
    /// Head and tail of standard output.
    pub stdout: String,
    /// Head and tail of standard error.
    pub stderr: String,
    /// Bytes left out of both together.
    pub elided_bytes: u64,
    /// Killed by the time limit.
    pub timed_out: bool,
    /// How long it ran.
    pub duration_ms: u64,
}

impl CommandOutcome {
    /// Exit code 0.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.exit_code == Some(0)
    }
}

/// A write that is fully known before it happens, so that it can be recorded first and be done
/// again with the same result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedWrite {
    /// The file.
    pub path: String,
    /// What is there now; `None`: nothing.
    pub before: Option<Digest>,
    /// What will be there.
    pub after: Digest,
    /// The new content.
    pub bytes: Vec<u8>,
}
