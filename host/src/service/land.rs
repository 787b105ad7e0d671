//! Landing: the spec branch becomes a branch of the user's repository. It is the one thing that this
//! program changes there, and only when it is asked to.

use std::path::PathBuf;

use serde::Serialize;

use super::error::ServiceError;
use super::setup;
use super::state_dir::StateDir;
use crate::domain::id::{CommitId, SpecName};
use crate::domain::protocol;
use crate::workspace::{Git, Landed, Mirror};

/// What to land.
#[derive(Debug, Clone)]
pub struct LandOptions {
    /// The repository.
    pub repository: String,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The state directory; absent: its usual place.
    pub state: Option<PathBuf>,
    /// The spec.
    pub spec: SpecName,
}

/// What was landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LandSummary {
    /// The branch in the user's repository.
    pub branch: String,
    /// Its commit.
    pub commit: CommitId,
    /// Where it was before; absent for a new branch.
    pub from: Option<CommitId>,
    /// It was there already.
    pub unchanged: bool,
}

/// Writes `refs/heads/necro/<spec>` in the user's repository.
///
/// # Errors
/// [`ServiceError::Land`] when the branch is checked out, or has commits that the spec branch has not.
pub async fn land(options: &LandOptions) -> Result<LandSummary, ServiceError> {
    let source = setup::source(&options.repository, &options.cwd)?;
    let path = setup::state_path(&source, &options.cwd, options.state.as_deref());
    let state = StateDir::existing(&path, setup::work_tree(&source))?;
    setup::serves(&state, &source)?;
    let spec = &options.spec;
    let git = Git::locate(state.root()).await?;
    let nothing = || ServiceError::Usage(format!("no run of this state directory has worked on the spec `{spec}`"));
    // A run may go on: what it has merged is whole and gated, so it can be landed.
    let mirror = Mirror::open_existing(git, &state.repositories(), source).await?.ok_or_else(nothing)?;
    let branch = protocol::spec_branch(spec);
    let name = format!("refs/heads/{branch}");
    let commit = mirror.objects(move |objects| objects.read_ref(&name)).await?.ok_or_else(nothing)?;
    land_branch(&mirror, &commit, &branch).await
}

/// Lands one branch.
pub(crate) async fn land_branch(mirror: &Mirror, commit: &CommitId, branch: &str) -> Result<LandSummary, ServiceError> {
    let (from, unchanged) = match mirror.land(commit, branch).await? {
        Landed::Created => (None, false),
        Landed::Moved { from } => (Some(from), false),
        Landed::AlreadyThere => (None, true),
    };
    Ok(LandSummary { branch: branch.to_owned(), commit: commit.clone(), from, unchanged })
}
