//! The blocking half of a spirit's file access, over a directory handle.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, PermissionsExt};

use super::edit::{self, MAX_EDITS};
use super::search::Finder;
use super::{MAX_LIST_ENTRIES, MAX_READ_BYTES, MAX_READABLE_FILE_BYTES, MAX_WRITE_BYTES, PlannedWrite};
use crate::domain::call::HostError;
use crate::domain::grant::Paths;
use crate::domain::id::Digest;
use crate::domain::mask::Mask;
use crate::domain::work::{Edit, Entry, EntryKind, FileText, LineRange, SearchHit};
use crate::failpoint::{self, Side};
use crate::store::digest_of;
use crate::workspace::path::{WorkPath, is_reserved};

/// Larger files are not searched.
const MAX_SEARCHED_FILE_BYTES: u64 = 2 * 1024 * 1024;
/// A search that has read this much stops.
const MAX_SEARCHED_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes at a file's start that tell whether it is text.
const SNIFFED_BYTES: usize = 8_000;

/// What the blocking half works with.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: Arc<Dir>,
    /// On the same file system, outside the work tree.
    temporary: Arc<Dir>,
    pub(crate) mask: Mask,
    next: Arc<AtomicU64>,
    /// What of it may be read and written.
    pub(crate) paths: Paths,
}

impl Tree {
    /// `temporary` must be on the file system of `root`.
    pub(crate) fn new(root: Dir, temporary: Dir, mask: Mask) -> Self {
        let (root, temporary) = (Arc::new(root), Arc::new(temporary));
        Self { root, temporary, mask, next: Arc::default(), paths: Paths::default() }
    }

    /// The same tree within `paths`.
    pub(crate) fn within(&self, paths: Paths) -> Self {
        Self { paths, ..self.clone() }
    }

    pub(crate) fn read(&self, path: &str, lines: Option<LineRange>) -> Result<FileText, HostError> {
        let path = WorkPath::parse_file(path)?;
        let text = self.text(&path)?;
        let masked = self.mask.apply(&text);
        let total_lines = u32::try_from(masked.lines().count()).unwrap_or(u32::MAX);
        let chosen = match lines {
            None => masked.as_str(),
            Some(range) if range.start == 0 || range.count == 0 => {
                return Err(HostError::Invalid("lines count from 1, and at least one is read".to_owned()));
            }
            Some(range) if range.start > total_lines.max(1) => {
                return Err(HostError::Invalid(format!("`{}` has only {total_lines} lines", path.as_str())));
            }
            Some(range) => line_range(&masked, range),
        };
        let cut = cut_at_line(chosen, MAX_READ_BYTES);
        Ok(FileText { text: cut.to_owned(), total_lines, truncated: cut.len() < chosen.len() })
    }

    pub(crate) fn list(&self, path: &str) -> Result<Vec<Entry>, HostError> {
        let path = WorkPath::parse(path)?;
        let real = self.real(&path)?;
        if !self.root.metadata(&real).map_err(|e| refusal(&path, &e))?.is_dir() {
            return Err(HostError::Invalid(format!("`{}` is not a folder", path.as_str())));
        }
        let mut entries = Vec::new();
        for entry in self.root.read_dir(&real).map_err(|e| refusal(&path, &e))? {
            let entry = entry.map_err(|e| refusal(&path, &e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_reserved(&name) {
                continue;
            }
            let shown = if path.as_str().is_empty() { name } else { format!("{}/{name}", path.as_str()) };
            // Gone since the folder was read: not an entry.
            let Ok(found) = entry.metadata() else { continue };
            let place = real.join(entry.file_name());
            let place = place.to_string_lossy();
            let seen = if found.is_dir() { self.paths.may_see_folder(&place) } else { self.paths.may_read(&place) };
            entries.extend(seen.then(|| entry_of(shown, &found)).flatten());
            if entries.len() > MAX_LIST_ENTRIES {
                return Err(too_many());
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    pub(crate) fn list_below(&self, path: &str, known: Vec<String>) -> Result<Vec<Entry>, HostError> {
        let path = WorkPath::parse(path)?;
        let real = self.real(&path)?;
        if !self.root.metadata(&real).map_err(|e| refusal(&path, &e))?.is_dir() {
            return Err(HostError::Invalid(format!("`{}` is not a folder", path.as_str())));
        }
        let prefix = WorkPath::parse(&real.to_string_lossy())?;
        let mut entries = Vec::new();
        for name in known {
            let name = name.trim_end_matches('/');
            let inside = prefix.as_str().is_empty()
                || name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
            if !inside || !self.paths.may_read(name) {
                continue;
            }
            let Ok(found) = self.root.symlink_metadata(name) else { continue };
            entries.extend(entry_of(name.to_owned(), &found));
            if entries.len() > MAX_LIST_ENTRIES {
                return Err(too_many());
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    pub(crate) fn search(&self, mut finder: Finder, mut known: Vec<String>) -> Result<Vec<SearchHit>, HostError> {
        known.sort();
        let mut searched_bytes = 0;
        for name in known {
            if finder.is_full() {
                break;
            }
            if !finder.wants(&name) || !self.paths.may_read(&name) {
                continue;
            }
            let Ok(found) = self.root.symlink_metadata(&name) else { continue };
            if !found.is_file() || found.len() > MAX_SEARCHED_FILE_BYTES {
                continue;
            }
            searched_bytes += found.len();
            if searched_bytes > MAX_SEARCHED_BYTES {
                return Err(HostError::Invalid("more than 256 MiB would be searched; narrow the glob".to_owned()));
            }
            let Ok(path) = WorkPath::parse_file(&name) else { continue };
            // Binary, or gone since.
            let Ok(text) = self.text(&path) else { continue };
            finder.look(&name, &self.mask.apply(&text));
        }
        Ok(finder.into_hits())
    }

    pub(crate) fn plan_write(&self, path: &str, text: String) -> Result<PlannedWrite, HostError> {
        let path = WorkPath::parse_file(path)?;
        if text.len() > MAX_WRITE_BYTES {
            return Err(HostError::Invalid(format!("the text has {} bytes; 2 MiB is the most", text.len())));
        }
        self.refuse_marker(&path, &text)?;
        let target = self.target(&path)?;
        self.check_write(&path, &target)?;
        let before = match self.root.metadata(&target) {
            Ok(found) if found.is_dir() => {
                return Err(HostError::Invalid(format!("`{}` is a folder", path.as_str())));
            }
            Ok(_) => Some(digest_of(&self.bytes(&path)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(refusal(&path, &e)),
        };
        let bytes = text.into_bytes();
        Ok(PlannedWrite { path: path.as_str().to_owned(), before, after: digest_of(&bytes), bytes })
    }

    pub(crate) fn plan_apply(&self, edits: &[Edit]) -> Result<Vec<PlannedWrite>, HostError> {
        if edits.is_empty() || edits.len() > MAX_EDITS {
            return Err(HostError::Invalid(format!("between 1 and {MAX_EDITS} edits are applied at once")));
        }
        let mut checked = Vec::with_capacity(edits.len());
        let mut files = BTreeMap::new();
        for edit in edits {
            let path = WorkPath::parse_file(&edit.path)?;
            self.refuse_marker(&path, &edit.new_text)?;
            self.refuse_marker(&path, &edit.old_text)?;
            // Two names of one file would each see only their own edits.
            let real = match self.real(&path) {
                Ok(real) => real.to_string_lossy().into_owned(),
                Err(HostError::NotFound(_)) => path.as_str().to_owned(),
                Err(refused) => return Err(refused),
            };
            self.check_write(&path, Path::new(&real))?;
            checked.push(Edit { path: real.clone(), ..edit.clone() });
            if let MapEntry::Vacant(unread) = files.entry(real) {
                unread.insert(match self.text(&path) {
                    Ok(text) => Ok(text),
                    Err(HostError::NotFound(_)) => Err("there is no such file".to_owned()),
                    Err(HostError::Invalid(reason)) => Err(reason),
                    Err(refused) => return Err(refused),
                });
            }
        }
        let before: BTreeMap<String, Digest> = files
            .iter()
            .filter_map(|(path, text)| Some((path.clone(), digest_of(text.as_ref().ok()?.as_bytes()))))
            .collect();
        let after = edit::apply(files, &checked).map_err(|reasons| HostError::Conflict(reasons.join("\n")))?;
        let mut writes = Vec::with_capacity(after.len());
        for (path, text) in after {
            if text.len() > usize::try_from(MAX_READABLE_FILE_BYTES).unwrap_or(usize::MAX) {
                return Err(HostError::Invalid(format!("`{path}` would be larger than 8 MiB")));
            }
            let bytes = text.into_bytes();
            writes.push(PlannedWrite { before: before.get(&path).cloned(), after: digest_of(&bytes), bytes, path });
        }
        Ok(writes)
    }

    pub(crate) fn perform(&self, writes: &[PlannedWrite]) -> Result<(), HostError> {
        let mut staged = Vec::with_capacity(writes.len());
        let outcome = self.stage(writes, &mut staged).and_then(|()| {
            for (at, (name, target, path)) in staged.iter().enumerate() {
                let renamed = || self.temporary.rename(name, &self.root, target);
                if let Err(e) = failpoint::writing("files", "rename", renamed) {
                    let reason = refusal(path, &e);
                    let some_done =
                        || HostError::Uncertain(format!("{at} of {} files were written: {reason}", writes.len()));
                    return Err(if at == 0 { reason } else { some_done() });
                }
            }
            Ok(())
        });
        if outcome.is_err() {
            for (name, _, _) in &staged {
                // Renamed away already, or about to be emptied with the folder.
                let _ = self.temporary.remove_file(name);
            }
        }
        outcome
    }

    /// Puts all new contents into temporary files and makes the folders they will stand in.
    fn stage(&self, writes: &[PlannedWrite], staged: &mut Vec<(String, PathBuf, WorkPath)>) -> Result<(), HostError> {
        for write in writes {
            let path = WorkPath::parse_file(&write.path)?;
            let target = self.target(&path)?;
            self.check_write(&path, &target)?;
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("write-{}-{number}", std::process::id());
            staged.push((name.clone(), target.clone(), path.clone()));
            let failed = |e: io::Error| refusal(&path, &e);
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            let mut file = self.temporary.open_with(&name, &options).map_err(failed)?;
            failpoint::writing("files", "stage", || file.write_all(&write.bytes)).map_err(failed)?;
            match self.root.metadata(&target) {
                Ok(found) if found.is_dir() => {
                    return Err(HostError::Invalid(format!("`{}` is a folder", path.as_str())));
                }
                Ok(found) => {
                    let mode = found.permissions().mode() & 0o777;
                    file.set_permissions(cap_std::fs::Permissions::from_mode(mode)).map_err(failed)?;
                }
                Err(_) => {
                    if let Some(parent) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
                        self.root.create_dir_all(parent).map_err(failed)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The real path of a file that is there; a folder is none.
    pub(crate) fn resolved(&self, path: &str) -> Option<String> {
        let real = self.real(&WorkPath::parse_file(path).ok()?).ok()?;
        let is_file = self.root.symlink_metadata(&real).is_ok_and(|found| !found.is_dir());
        is_file.then(|| real.to_string_lossy().into_owned())
    }

    pub(crate) fn remove(&self, path: &str) -> Result<(), HostError> {
        let path = WorkPath::parse_file(path)?;
        let (parent, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        // The link itself, not what it leads to; but folders on the way are followed.
        let real = self.real(&WorkPath::parse(parent)?)?.join(name);
        self.check_write(&path, &real)?;
        let found = self.root.symlink_metadata(&real).map_err(|e| refusal(&path, &e))?;
        if found.is_dir() {
            return Err(HostError::Invalid(format!("`{}` is a folder; remove its files", path.as_str())));
        }
        failpoint::reach("files", "remove", Side::Before);
        self.root.remove_file(&real).map_err(|e| refusal(&path, &e))?;
        failpoint::reach("files", "remove", Side::After);
        Ok(())
    }

    fn refuse_marker(&self, path: &WorkPath, text: &str) -> Result<(), HostError> {
        if !self.mask.is_empty() && Mask::contains_marker(text) {
            return Err(HostError::Denied(format!(
                "`{}`: {} stands for a secret that is hidden from you; leave the lines that hold it as they are",
                path.as_str(),
                Mask::MARKER
            )));
        }
        Ok(())
    }

    /// Where an existing path leads, links resolved; never out of the tree and never to git's files.
    fn real(&self, path: &WorkPath) -> Result<PathBuf, HostError> {
        let real = self.root.canonicalize(path.or_dot()).map_err(|e| refusal(path, &e))?;
        refuse_reserved(path, &real)?;
        Ok(real)
    }

    /// Where a file would be written: the file that a path leads to, or a new one in the folder that
    /// its parent leads to.
    fn target(&self, path: &WorkPath) -> Result<PathBuf, HostError> {
        let full = Path::new(path.as_str());
        for existing in full.ancestors() {
            let name = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
            match self.root.canonicalize(name) {
                Ok(real) => {
                    let rest = full.strip_prefix(existing).unwrap_or(Path::new(""));
                    if rest.as_os_str().is_empty() {
                        refuse_reserved(path, &real)?;
                        return Ok(real);
                    }
                    if !self.root.metadata(&real).is_ok_and(|m| m.is_dir()) {
                        let shown = existing.display();
                        return Err(HostError::Invalid(format!("`{shown}` is a file, so nothing can stand below it")));
                    }
                    refuse_reserved(path, &real)?;
                    return Ok(real.join(rest));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::NotADirectory => {
                    if self.root.symlink_metadata(name).is_ok_and(|m| m.is_symlink()) {
                        let shown = existing.display();
                        return Err(HostError::Denied(format!("`{shown}` is a link that leads nowhere")));
                    }
                }
                Err(e) => return Err(refusal(path, &e)),
            }
        }
        Err(HostError::NotFound(path.as_str().to_owned()))
    }

    fn bytes(&self, path: &WorkPath) -> Result<Vec<u8>, HostError> {
        let real = self.real(path)?;
        let failed = |e: io::Error| refusal(path, &e);
        let not_a_file = || HostError::Invalid(format!("`{}` is not a regular file", path.as_str()));
        if !self.root.metadata(&real).map_err(failed)?.is_file() {
            return Err(not_a_file());
        }
        let mut options = OpenOptions::new();
        // Should a pipe stand there by now: do not wait for somebody to write to it.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        options.read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
        let file = self.root.open_with(&real, &options).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(not_a_file());
        }
        if found.len() > MAX_READABLE_FILE_BYTES {
            return Err(HostError::Invalid(format!("`{}` is larger than 8 MiB", path.as_str())));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
        file.take(MAX_READABLE_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Reading is decided by where a path leads.
    fn check_read(&self, path: &WorkPath) -> Result<(), HostError> {
        if self.paths.reads_all() || self.paths.may_read(&self.real(path)?.to_string_lossy()) {
            return Ok(());
        }
        Err(HostError::Denied(format!("`{}` is not among the files that the grant lets it read", path.as_str())))
    }

    fn check_write(&self, path: &WorkPath, real: &Path) -> Result<(), HostError> {
        if self.paths.may_write(&real.to_string_lossy()) {
            return Ok(());
        }
        Err(HostError::Denied(format!("`{}` is not among the files that the grant lets it write", path.as_str())))
    }

    fn text(&self, path: &WorkPath) -> Result<String, HostError> {
        self.check_read(path)?;
        let bytes = self.bytes(path)?;
        let binary = || HostError::Invalid(format!("`{}` is a binary file, or not UTF-8", path.as_str()));
        if bytes.iter().take(SNIFFED_BYTES).any(|b| *b == 0) {
            return Err(binary());
        }
        String::from_utf8(bytes).map_err(|_| binary())
    }
}

fn entry_of(path: String, found: &cap_std::fs::Metadata) -> Option<Entry> {
    let (kind, size_bytes) = if found.is_dir() {
        (EntryKind::Directory, 0)
    } else if found.is_symlink() {
        (EntryKind::Symlink, found.len())
    } else if found.is_file() {
        (EntryKind::File, found.len())
    } else {
        return None;
    };
    Some(Entry { path, kind, size_bytes })
}

fn too_many() -> HostError {
    HostError::Invalid(format!("there are more than {MAX_LIST_ENTRIES} entries; list a folder further down"))
}

fn refuse_reserved(path: &WorkPath, real: &Path) -> Result<(), HostError> {
    let leads_to_git = real.components().any(|part| match part {
        Component::Normal(name) => is_reserved(&name.to_string_lossy()),
        Component::CurDir => false,
        _ => true,
    });
    if leads_to_git {
        let shown = path.as_str();
        return Err(HostError::Denied(format!("`{shown}` leads to git's own files, or out of the work tree")));
    }
    Ok(())
}

/// What the guest is told about a failed file operation.
fn refusal(path: &WorkPath, error: &io::Error) -> HostError {
    let shown = path.or_dot();
    match error.kind() {
        io::ErrorKind::NotFound => HostError::NotFound(shown.to_owned()),
        io::ErrorKind::NotADirectory => HostError::NotFound(format!("{shown} (a part of it is a file)")),
        // cap-std's own refusal carries no number from the system.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            HostError::Denied(format!("`{shown}` leads out of the work tree"))
        }
        io::ErrorKind::PermissionDenied => HostError::Denied(format!("`{shown}`: the file system does not allow it")),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            HostError::Other(format!("`{shown}`: the disk is full"))
        }
        _ => HostError::Other(format!("`{shown}`: {error}")),
    }
}

/// The wanted lines, with their ends.
fn line_range(text: &str, range: LineRange) -> &str {
    let mut starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    let from = starts.nth(range.start as usize - 1).unwrap_or(text.len());
    let rest = &text[from..];
    let end = rest.match_indices('\n').nth(range.count as usize - 1).map_or(rest.len(), |(at, _)| at + 1);
    &rest[..end]
}

/// At most `limit` bytes, up to the end of a line where there is one.
fn cut_at_line(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let cut = &text[..text.floor_char_boundary(limit)];
    cut.rfind('\n').map_or(cut, |at| &cut[..=at])
}
