//! Work that was found in slots and is in no other commit: refs below [`RESCUES`], and folders that were set aside.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::mirror::Mirror;
use super::{WorkspaceError, blocking};
use crate::domain::id::CommitId;

/// Where kept work is, below a mirror's `refs/`.
pub const RESCUES: &str = "refs/necro/rescue/";
/// The folder of a mirror's directory with work trees that could not be commits.
pub(super) const SET_ASIDE: &str = "rescued";

/// Whether it could be a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptKind {
    /// It is one.
    Commit,
    /// The work tree was set aside whole.
    Folder,
}

/// Work that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptWork {
    /// `<slot>/<n>`, or the name of a folder.
    pub name: String,
    /// The slot that it was found in.
    pub slot: String,
    /// What it is.
    pub kind: KeptKind,
    /// When it was kept; absent when the file system does not say.
    pub at: Option<Timestamp>,
    /// The commit; none for a folder.
    pub commit: Option<CommitId>,
    /// The commit that the work began on.
    pub base: Option<CommitId>,
    /// How many files differ from there.
    pub files: Option<usize>,
    /// Where the folder is.
    pub path: Option<PathBuf>,
}

impl Mirror {
    /// All kept work, oldest first.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the mirror cannot be read.
    pub async fn kept_work(&self) -> Result<Vec<KeptWork>, WorkspaceError> {
        let dir = self.dir().join(SET_ASIDE);
        let mut kept = self.kept_commits().await?;
        kept.extend(blocking(move || Ok(folders(&dir))).await?);
        kept.sort_by(|one, other| (one.at, &one.name).cmp(&(other.at, &other.name)));
        Ok(kept)
    }

    async fn kept_commits(&self) -> Result<Vec<KeptWork>, WorkspaceError> {
        self.objects(|objects| {
            let mut kept = Vec::new();
            for (reference, commit) in objects.refs(RESCUES)? {
                let Some(entry) = objects.log(&commit, None, 1)?.into_iter().next() else { continue };
                let base = entry.parents.into_iter().next();
                let files = match &base {
                    Some(base) => Some(objects.changes(&objects.tree_of(base)?, &entry.tree)?.len()),
                    None => None,
                };
                let name = reference[RESCUES.len()..].to_owned();
                kept.push(KeptWork {
                    slot: name.rsplit_once('/').map_or_else(|| name.clone(), |(slot, _)| slot.to_owned()),
                    kind: KeptKind::Commit,
                    at: Timestamp::from_second(entry.time_s).ok(),
                    commit: Some(commit),
                    base,
                    files,
                    path: None,
                    name,
                });
            }
            Ok(kept)
        })
        .await
    }
}

fn folders(dir: &Path) -> Vec<KeptWork> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let kept = entries.map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let at = entry.metadata().and_then(|found| found.modified()).ok();
        KeptWork {
            slot: name.rsplit_once('-').map_or_else(|| name.clone(), |(slot, _)| slot.to_owned()),
            kind: KeptKind::Folder,
            at: at.and_then(|at| Timestamp::try_from(at).ok()),
            commit: None,
            base: None,
            files: None,
            path: Some(entry.path()),
            name,
        }
    });
    kept.collect()
}

/// Copies the files, links and folders of `from` into the empty folder `into`, and gives how many files and links
/// those were. Links are copied, not followed; what is neither is left out. Blocking.
///
/// # Errors
/// [`WorkspaceError`]: something cannot be read or written.
pub fn copy_files(from: &Path, into: &Path) -> Result<u64, WorkspaceError> {
    let (mut copied, mut pending) = (0, vec![PathBuf::new()]);
    while let Some(folder) = pending.pop() {
        let here = from.join(&folder);
        for entry in fs::read_dir(&here).map_err(WorkspaceError::io(&here))? {
            let entry = entry.map_err(WorkspaceError::io(&here))?;
            let path = folder.join(entry.file_name());
            let (source, target) = (from.join(&path), into.join(&path));
            let kind = entry.file_type().map_err(WorkspaceError::io(&source))?;
            let made = if kind.is_dir() {
                pending.push(path);
                fs::create_dir(&target)
            } else if kind.is_symlink() {
                copied += 1;
                fs::read_link(&source).and_then(|leads_to| std::os::unix::fs::symlink(leads_to, &target))
            } else if kind.is_file() {
                copied += 1;
                fs::copy(&source, &target).map(drop)
            } else {
                Ok(())
            };
            made.map_err(WorkspaceError::io(&target))?;
        }
    }
    Ok(copied)
}

/// Whether git takes a text as the name of a branch.
#[must_use]
pub fn is_branch_name(text: &str) -> bool {
    !text.starts_with('-') && text != "HEAD" && git2::Reference::is_valid_name(&format!("refs/heads/{text}"))
}
