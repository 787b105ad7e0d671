//! The difference between two trees: as text for people and models, and in parts for the review
//! heuristics. Renames are shown as a removed and an added file.

use std::collections::HashSet;

use git2::{Delta, DiffOptions, Patch};

use super::WorkspaceError;
use super::objects::{Objects, TreeId, find_tree};
use crate::domain::review::{ChangedFile, DiffLine, Hunk, LineKind};
use crate::domain::work::{ChangeKind, FileStatus};

/// Text beyond this is left out; whole files are, so that what is there stays a valid diff.
pub const MAX_DIFF_TEXT_BYTES: usize = 1024 * 1024;
/// Lines in the hunks of all files together; files beyond it come without hunks.
pub const MAX_DIFF_LINES: usize = 200_000;
/// Bytes of the same.
const MAX_DIFF_BYTES: usize = 8 * 1024 * 1024;
/// Files larger than this count as binary.
const MAX_DIFFED_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Git takes a file with a zero among its first bytes for binary.
const BINARY_SNIFF_BYTES: usize = 8_000;

/// How two trees differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeDiff {
    /// Changed files, sorted by path.
    pub files: Vec<ChangedFile>,
    /// Unified diff with three lines of context.
    pub text: String,
    /// A limit left something out of `text`.
    pub truncated: bool,
    /// Files of text whose hunks a limit left out: nobody who reads the hunks sees what changed.
    pub unseen: Vec<String>,
}

/// How two texts differ: the hunks of a unified diff with three lines of context; empty when they do not.
#[must_use]
pub fn unified(old: &str, new: &str) -> String {
    let mut options = DiffOptions::new();
    options.force_text(true);
    let text = Patch::from_buffers(old.as_bytes(), None, new.as_bytes(), None, Some(&mut options))
        .and_then(|mut patch| Ok(String::from_utf8_lossy(&patch.to_buf()?).into_owned()));
    let text = text.unwrap_or_default();
    text.find("@@").map_or_else(String::new, |hunks| text[hunks..].to_owned())
}

impl Objects {
    /// How `new` differs from `old`.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a tree can't be read.
    pub fn diff(&self, old: &TreeId, new: &TreeId) -> Result<TreeDiff, WorkspaceError> {
        self.diff_of(old, new, &|_| true)
    }

    /// The same, of the `wanted` files alone.
    ///
    /// # Errors
    /// As there.
    pub fn diff_of(
        &self,
        old: &TreeId,
        new: &TreeId,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<TreeDiff, WorkspaceError> {
        let repository = self.open()?;
        let failed = |e: git2::Error| WorkspaceError::objects("a diff", &e);
        let (old, new) = (find_tree(&repository, old)?, find_tree(&repository, new)?);
        let diff = repository.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options())).map_err(failed)?;
        let mut found = TreeDiff::default();
        let mut room = Room { lines: MAX_DIFF_LINES, bytes: MAX_DIFF_BYTES };
        // What was there before, under whatever name and mode, has nothing new to be seen.
        let known: HashSet<git2::Oid> = diff.deltas().map(|delta| delta.old_file().id()).collect();
        for position in 0..diff.deltas().len() {
            let Some(delta) = diff.get_delta(position) else { continue };
            let file = status_of(&delta);
            if !wanted(&file.path) {
                continue;
            }
            let mut changed = ChangedFile {
                path: file.path,
                change: file.change,
                binary: false,
                size_bytes: blob_size(&repository, delta.new_file().id()),
                hunks: Vec::new(),
            };
            if let Some(mut patch) = Patch::from_diff(&diff, position).map_err(failed)? {
                changed.binary = patch.delta().flags().is_binary();
                let text = patch.to_buf().map_err(failed)?;
                if found.text.len() + text.len() <= MAX_DIFF_TEXT_BYTES {
                    found.text.push_str(&String::from_utf8_lossy(&text));
                } else {
                    found.truncated = true;
                }
                let is_new = changed.change != ChangeKind::Deleted && !known.contains(&delta.new_file().id());
                let seen = if changed.binary {
                    !is_new || seen_as_text(&repository, &delta, &mut room, &mut changed).map_err(failed)?
                } else {
                    room.take(&patch, text.len(), &mut changed).map_err(failed)?
                };
                if !seen && is_new {
                    found.unseen.push(changed.path.clone());
                }
            }
            found.files.push(changed);
        }
        found.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Which files differ, sorted by path.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a tree can't be read.
    pub fn changes(&self, old: &TreeId, new: &TreeId) -> Result<Vec<FileStatus>, WorkspaceError> {
        let repository = self.open()?;
        let (old, new) = (find_tree(&repository, old)?, find_tree(&repository, new)?);
        let diff = repository
            .diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options()))
            .map_err(|e| WorkspaceError::objects("a diff", &e))?;
        let mut files: Vec<FileStatus> = diff.deltas().map(|delta| status_of(&delta)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

/// Everything that a configuration could say is said here, so that a diff depends on the trees alone.
fn options() -> DiffOptions {
    let mut options = DiffOptions::new();
    options
        .context_lines(3)
        .interhunk_lines(0)
        .id_abbrev(12)
        .old_prefix("a")
        .new_prefix("b")
        .include_typechange(true)
        .ignore_submodules(false)
        .max_size(i64::try_from(MAX_DIFFED_FILE_BYTES).unwrap_or(i64::MAX));
    options
}

fn status_of(delta: &git2::DiffDelta<'_>) -> FileStatus {
    let (change, file) = match delta.status() {
        Delta::Added => (ChangeKind::Added, delta.new_file()),
        Delta::Deleted => (ChangeKind::Deleted, delta.old_file()),
        _ => (ChangeKind::Modified, delta.new_file()),
    };
    FileStatus { path: String::from_utf8_lossy(file.path_bytes().unwrap_or_default()).into_owned(), change }
}

fn blob_size(repository: &git2::Repository, id: git2::Oid) -> u64 {
    let header = repository.odb().and_then(|odb| odb.read_header(id));
    // No blob: deleted, or a submodule.
    header.map_or(0, |(size, _)| size as u64)
}

/// How much fits into hunks still.
struct Room {
    lines: usize,
    bytes: usize,
}

impl Room {
    /// Gives the file its hunks, unless there is no room for them.
    fn take(&mut self, patch: &Patch<'_>, bytes: usize, changed: &mut ChangedFile) -> Result<bool, git2::Error> {
        let (context, added, removed) = patch.line_stats()?;
        let lines = context + added + removed;
        if lines > self.lines || bytes > self.bytes {
            return Ok(false);
        }
        self.lines -= lines;
        self.bytes -= bytes;
        changed.hunks = hunks(patch)?;
        Ok(true)
    }
}

/// A file that counts as binary gets hunks as well: one zero byte must not hide what a file says. What is
/// no text has nothing to be seen when there is no room for it.
fn seen_as_text(
    repository: &git2::Repository,
    delta: &git2::DiffDelta<'_>,
    room: &mut Room,
    changed: &mut ChangedFile,
) -> Result<bool, git2::Error> {
    // A submodule has no blob here.
    let Ok(new) = repository.find_blob(delta.new_file().id()) else { return Ok(true) };
    let is_text = !new.content()[..new.size().min(BINARY_SNIFF_BYTES)].contains(&0);
    if changed.size_bytes > MAX_DIFFED_FILE_BYTES {
        return Ok(!is_text);
    }
    let old = repository.find_blob(delta.old_file().id()).ok();
    let old = old.as_ref().map_or(&b""[..], git2::Blob::content);
    let mut options = options();
    options.force_text(true);
    let patch = Patch::from_buffers(old, None, new.content(), None, Some(&mut options))?;
    let bytes = patch.size(true, true, true);
    Ok(room.take(&patch, bytes, changed)? || !is_text)
}

fn hunks(patch: &Patch<'_>) -> Result<Vec<Hunk>, git2::Error> {
    let mut hunks = Vec::new();
    for at in 0..patch.num_hunks() {
        let (header, lines) = patch.hunk(at)?;
        let mut hunk = Hunk { old_start: header.old_start(), new_start: header.new_start(), lines: Vec::new() };
        for line in 0..lines {
            let line = patch.line_in_hunk(at, line)?;
            let kind = match line.origin() {
                ' ' => LineKind::Context,
                '+' => LineKind::Added,
                '-' => LineKind::Removed,
                // "No newline at end of file".
                _ => continue,
            };
            let text = String::from_utf8_lossy(line.content());
            let text = text.strip_suffix('\n').unwrap_or(&text);
            hunk.lines.push(DiffLine { kind, text: text.strip_suffix('\r').unwrap_or(text).to_owned() });
        }
        hunks.push(hunk);
    }
    Ok(hunks)
}
