//! Landing: the one moment at which the user's repository gets something. It gets objects and one
//! branch; no checkout, index, configuration, hook or other ref is touched.

use std::path::{Path, PathBuf};

use super::WorkspaceError;
use super::git::{Call, GitError};
use super::mirror::Mirror;
use super::source::Source;
use crate::domain::id::CommitId;
use crate::failpoint;

/// Why nothing was landed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LandError {
    /// The source is somewhere else.
    #[error("{address} is not a repository on this machine; in a clone of it, `{fetch}` brings the branch")]
    NotLocal {
        /// The source.
        address: String,
        /// The command that works.
        fetch: String,
    },
    /// Somebody works on the branch.
    #[error("`{branch}` is checked out at {}; check out another branch there first", worktree.display())]
    CheckedOut {
        /// The branch.
        branch: String,
        /// Where.
        worktree: PathBuf,
    },
    /// The branch has commits that the work does not know.
    #[error("`{branch}` has moved to {theirs}, which this work does not contain; rename or delete that branch first")]
    NotFastForward {
        /// The branch.
        branch: String,
        /// Its tip.
        theirs: String,
    },
    /// Another branch's name keeps this one from being made.
    #[error("the branch `{existing}` keeps `{branch}` from being made; rename it")]
    BranchInTheWay {
        /// What is to be made.
        branch: String,
        /// What is there.
        existing: String,
    },
    /// Somebody moved the branch at the same moment.
    #[error("`{branch}` was moved while it was being landed; look at it and land again")]
    Changed {
        /// The branch.
        branch: String,
    },
    /// Git failed.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

/// What landing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landed {
    /// The branch is new.
    Created,
    /// The branch moved forward.
    Moved {
        /// From here.
        from: CommitId,
    },
    /// It was there already.
    AlreadyThere,
}

/// The command that brings a branch of a mirror into the repository in which it is typed.
#[must_use]
pub fn fetch_command(mirror: &Path, branch: &str) -> String {
    let path = mirror.display().to_string().replace('\'', r"'\''");
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+".contains(c));
    let path = if plain { path } else { format!("'{path}'") };
    format!("git fetch {path} {branch}:{branch}")
}

impl Mirror {
    /// Writes `refs/heads/<branch>` of the source, pointing to `commit`, with all its objects.
    ///
    /// # Errors
    /// [`LandError`]; the source is as it was, but for objects that nothing points to.
    pub async fn land(&self, commit: &CommitId, branch: &str) -> Result<Landed, LandError> {
        let Source::Path(source) = self.source() else {
            let (address, fetch) = (self.source().display(), fetch_command(self.path(), branch));
            return Err(LandError::NotLocal { address, fetch });
        };
        let git_dir = self.git_dir_of(source).await?;
        let name = format!("refs/heads/{branch}");
        self.refuse_checked_out(&git_dir, &name, branch).await?;
        let before = self.branches_beside(&git_dir, branch).await?;
        if before.as_deref() == Some(commit.as_str()) {
            return Ok(Landed::AlreadyThere);
        }
        let mirror = self.path().as_os_str();
        let call = Call::on(&git_dir)
            .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"])
            .args(["--no-recurse-submodules", "--no-prune", "--"])
            .args([mirror, commit.as_str().as_ref()])
            .transports("file");
        self.run_there(call).await?;
        if let Some(theirs) = &before {
            let call =
                Call::on(&git_dir).args(["merge-base", "--is-ancestor", theirs, commit.as_str()]).accept(&[0, 1]);
            if self.run_there(call).await?.code == 1 {
                return Err(LandError::NotFastForward { branch: branch.to_owned(), theirs: theirs.clone() });
            }
        }
        let expected = before.clone().unwrap_or_else(|| "0".repeat(40));
        let call = Call::on(&git_dir).args(["update-ref", "--no-deref", "-m", "necro: land"]).args([
            name.as_str(),
            commit.as_str(),
            &expected,
        ]);
        match self.run_there(call).await {
            Ok(_) => {}
            Err(WorkspaceError::Git(GitError::Conflict { .. })) => {
                return Err(LandError::Changed { branch: branch.to_owned() });
            }
            Err(other) => return Err(other.into()),
        }
        match before.and_then(|b| CommitId::new(b).ok()) {
            Some(from) => Ok(Landed::Moved { from }),
            None => Ok(Landed::Created),
        }
    }

    async fn run_there(&self, call: Call<'_>) -> Result<super::git::Answer, WorkspaceError> {
        match call.writes() {
            Some(name) => failpoint::awaiting("land", name, async { Ok(self.outside().run(call).await?) }).await,
            None => Ok(self.outside().run(call).await?),
        }
    }

    /// The repository behind a work tree, which may be one of several.
    async fn git_dir_of(&self, source: &Path) -> Result<PathBuf, WorkspaceError> {
        let source = source.to_owned();
        super::blocking(move || {
            let found = git2::Repository::open(&source)
                .map_err(|e| WorkspaceError::objects(&source.display().to_string(), &e))?;
            Ok(found.path().to_owned())
        })
        .await
    }

    async fn refuse_checked_out(&self, git_dir: &Path, name: &str, branch: &str) -> Result<(), LandError> {
        let answer = self.run_there(Call::on(git_dir).args(["worktree", "list", "--porcelain", "-z"])).await?;
        let mut worktree = PathBuf::new();
        for record in answer.records() {
            let record = String::from_utf8_lossy(record);
            if let Some(path) = record.strip_prefix("worktree ") {
                worktree = PathBuf::from(path);
            } else if record.strip_prefix("branch ") == Some(name) {
                return Err(LandError::CheckedOut { branch: branch.to_owned(), worktree });
            }
        }
        Ok(())
    }

    /// The branch's tip, if it exists. Branches whose names clash with it are refused.
    async fn branches_beside(&self, git_dir: &Path, branch: &str) -> Result<Option<String>, LandError> {
        let call = Call::on(git_dir).args(["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/"]);
        let answer = self.run_there(call).await?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let below = |shorter: &str, longer: &str| longer.strip_prefix(shorter).is_some_and(|r| r.starts_with('/'));
        let mut tip = None;
        for line in text.lines() {
            let Some((id, existing)) = line.split_once(" refs/heads/") else { continue };
            if existing == branch {
                tip = Some(id.to_owned());
            } else if below(existing, branch) || below(branch, existing) {
                return Err(LandError::BranchInTheWay { branch: branch.to_owned(), existing: existing.to_owned() });
            }
        }
        Ok(tip)
    }
}
