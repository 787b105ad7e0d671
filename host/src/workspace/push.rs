//! Pushing: one commit to one branch of a remote, by a plain push. Nothing is ever forced, and no other ref is
//! touched; what the remote says to it is given back in its words.

use std::path::Path;
use std::time::Duration;

use git2::Repository;

use super::WorkspaceError;
use super::git::Call;
use super::mirror::Mirror;
use super::source::{Source, TRANSPORTS, without_credentials};
use crate::domain::id::CommitId;

/// A push that takes longer is given up.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The branch is there, at that commit.
    There,
    /// The remote's branch has other commits: only force could put it aside.
    NotFastForward,
    /// The remote refuses it.
    Refused {
        /// In its own words.
        detail: String,
    },
}

/// Where a source's task branches are pushed to: its own address, or that of the remote `origin` of a repository on
/// this machine. `None`: it has none that can be used.
#[must_use]
pub fn push_address(source: &Source) -> Option<Source> {
    match source {
        Source::Url(_) => Some(source.clone()),
        Source::Path(path) => origin(path),
    }
}

fn origin(path: &Path) -> Option<Source> {
    let repository = Repository::open(path).ok()?;
    let remote = repository.find_remote("origin").ok()?;
    let address = remote.pushurl().ok().flatten().or_else(|| remote.url().ok())?.to_owned();
    Source::parse(&address, path).ok()
}

impl Mirror {
    /// Pushes `commit` to the branch `branch` of `to`, within `limit`.
    ///
    /// # Errors
    /// [`WorkspaceError::Git`]: the remote is gone, slow, or lets nobody in.
    pub async fn push(
        &self,
        to: &Source,
        commit: &CommitId,
        branch: &str,
        limit: Duration,
    ) -> Result<Pushed, WorkspaceError> {
        let address = match to {
            Source::Path(path) => path.clone().into_os_string(),
            Source::Url(url) => url.into(),
        };
        let call = Call::on(self.path())
            .args(["push", "--quiet", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"])
            .args(["--recurse-submodules=no", "--"])
            .args([address, format!("{commit}:refs/heads/{branch}").into()])
            .transports(TRANSPORTS)
            .within(limit)
            .accept(&[0, 1]);
        let answer = self.git(call).await?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        let refused = said.lines().find_map(|line| line.strip_prefix("!\t")?.rsplit_once('\t'));
        Ok(match refused {
            Some((_, why)) if why.contains("non-fast-forward") || why.contains("fetch first") => Pushed::NotFastForward,
            Some((_, why)) => Pushed::Refused { detail: without_credentials(why) },
            None if answer.code == 0 => Pushed::There,
            None => Pushed::Refused { detail: "it did not say why".to_owned() },
        })
    }
}
