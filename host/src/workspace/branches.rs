//! Branches of the source that keep a task's branch from being made or pushed: asked before anybody works.

use git2::Repository;

use super::WorkspaceError;
use super::mirror::Mirror;
use super::source::{Source, SourceError};
use crate::domain::id::TaskKey;
use crate::domain::protocol::{self, ClashKind};

const THEIRS: &str = "refs/remotes/origin/";

impl Mirror {
    /// Refuses `wanted`, the branch of `key`'s task, when a branch of the source, as of the last fetch, is in its
    /// way. A branch of this very name is fine when it holds work on this task that the mirror knows.
    ///
    /// # Errors
    /// [`SourceError::BranchInTheWay`], [`SourceError::BranchTaken`], [`SourceError::BranchDiffersByCase`], and
    /// [`SourceError::Broken`] when the mirror cannot be read.
    pub async fn check_task_branch(&self, wanted: &str, key: &TaskKey) -> Result<(), SourceError> {
        let (branch, own) = (wanted.to_owned(), format!("{}{}/", protocol::attempts_prefix(&key.spec), key.task));
        let source = self.source().clone();
        let found = self.objects(move |objects| {
            let theirs = objects.refs(THEIRS)?;
            let names = theirs.iter().filter_map(|(name, _)| name.strip_prefix(THEIRS));
            // What is ours holds nothing up; whatever else there is may.
            let mine = match theirs.iter().find(|(name, _)| name.strip_prefix(THEIRS) == Some(&branch)) {
                Some((_, tip)) => {
                    objects.refs(&own)?.iter().any(|(_, commit)| commit == tip)
                        || objects.read_ref(&format!("refs/heads/{branch}"))?.as_ref() == Some(tip)
                }
                None => false,
            };
            let others = names.filter(|name| !mine || *name != branch);
            let clash = protocol::clash(&branch, others, folds_case(&source));
            Ok(clash.map(|clash| (clash.kind, clash.existing.to_owned())))
        });
        let broken =
            |e: WorkspaceError| SourceError::Broken { repository: self.source().display(), detail: e.to_string() };
        let wanted = wanted.to_owned();
        match found.await.map_err(broken)? {
            None => Ok(()),
            Some((ClashKind::Same, _)) => Err(SourceError::BranchTaken { branch: wanted }),
            Some((ClashKind::Folder, existing)) => Err(SourceError::BranchInTheWay { wanted, existing }),
            Some((ClashKind::Case, existing)) => Err(SourceError::BranchDiffersByCase { wanted, existing }),
        }
    }
}

/// Whether the source says that its file system takes upper and lower case for the same; what is behind an
/// address does not say.
fn folds_case(source: &Source) -> bool {
    let Source::Path(path) = source else { return false };
    let config = Repository::open(path).and_then(|repository| repository.config());
    config.and_then(|config| config.get_bool("core.ignorecase")).unwrap_or(false)
}
