//! One link of the chain: a candidate on top of what is there, by merge, squash or rebase, without a work tree.

use jiff::Timestamp;

use super::{Candidate, Ground, Link, host_identity};
use crate::config::MergeStrategy;
use crate::domain::id::CommitId;
use crate::domain::protocol::Commit;
use crate::service::error::ServiceError;
use crate::spec::{TickState, tick};
use crate::workspace::{Identity, LogEntry, MAX_LOG_ENTRIES, MergeOutcome, NewCommit, TreeId};

/// How a merge ended.
pub(super) enum Merged {
    /// It fits, and these objects are there now.
    Link(Link),
    /// It does not.
    Conflict {
        /// Files in conflict.
        files: Vec<String>,
        /// The hunks.
        text: String,
    },
}

/// Puts `candidate` on top of `on`, with its task ticked in the same commit. No ref moves.
pub(super) async fn link(ground: &Ground, on: &CommitId, candidate: &Candidate) -> Result<Merged, ServiceError> {
    if ground.strategy == MergeStrategy::Rebase {
        return rebase(ground, on, candidate).await;
    }
    let tree = match ground.mirror.merge(on, &candidate.commit).await? {
        MergeOutcome::Clean { tree } => tree,
        MergeOutcome::Conflict { files, text } => return Ok(Merged::Conflict { files, text }),
    };
    let parents = match ground.strategy {
        MergeStrategy::Merge => vec![on.clone(), candidate.commit.clone()],
        MergeStrategy::Squash | MergeStrategy::Rebase => vec![on.clone()],
    };
    let message =
        Commit::new(&candidate.scope, &candidate.spell, candidate.attempt.clone(), candidate.instance.clone(), None)
            .message();
    let ticked = ticked(ground, candidate, tree.clone()).await?;
    let request = NewCommit { tree: ticked, parents, message, author: host_identity(), time: candidate.judged_at };
    let commit = ground.mirror.objects(move |objects| objects.commit(&request)).await?;
    Ok(Merged::Link(Link { commit, tree }))
}

/// Makes the branch's commits again, one after another. The task is ticked in the last of them.
async fn rebase(ground: &Ground, on: &CommitId, candidate: &Candidate) -> Result<Merged, ServiceError> {
    let (tip, base) = (candidate.commit.clone(), candidate.base.clone());
    let mut own = ground.mirror.objects(move |objects| objects.log(&tip, Some(&base), MAX_LOG_ENTRIES)).await?;
    own.reverse();
    let (mut below, mut tree) = (on.clone(), None);
    for (number, entry) in (1..).zip(&own) {
        let picked = match ground.mirror.pick(&below, &entry.commit).await? {
            MergeOutcome::Clean { tree } => tree,
            MergeOutcome::Conflict { files, text } => return Ok(Merged::Conflict { files, text }),
        };
        let content =
            if number == own.len() { ticked(ground, candidate, picked.clone()).await? } else { picked.clone() };
        let request = again(entry, content, below, candidate);
        below = ground.mirror.objects(move |objects| objects.commit(&request)).await?;
        tree = Some(picked);
    }
    let tree = tree.ok_or_else(|| ServiceError::Internal(format!("{} has no commit of its own", candidate.attempt)))?;
    Ok(Merged::Link(Link { commit: below, tree }))
}

/// The same commit with another tree on another parent.
fn again(entry: &LogEntry, tree: TreeId, below: CommitId, candidate: &Candidate) -> NewCommit {
    NewCommit {
        tree,
        parents: vec![below],
        message: entry.message.clone(),
        author: Identity { name: entry.author.clone(), email: format!("{}@necrocode.invalid", candidate.instance) },
        time: Timestamp::from_second(entry.time_s).unwrap_or(candidate.judged_at),
    }
}

/// `tree` with the candidate's task ticked.
async fn ticked(ground: &Ground, candidate: &Candidate, tree: TreeId) -> Result<TreeId, ServiceError> {
    let (path, task) = (ground.tasks_file.clone(), candidate.attempt.key.task.clone());
    let ticked = ground.mirror.objects(move |objects| {
        let Some(bytes) = objects.read_file(&tree, &path)? else { return Ok(tree) };
        match tick(&bytes, &task, TickState::Done) {
            Ok(ticked) => objects.with_files(&tree, &[(path, Some(ticked))]),
            Err(error) => {
                // The registry knows that the task is done; a file that cannot say so stays as it is.
                tracing::warn!(%task, "the task's box stays as it is: {error}");
                Ok(tree)
            }
        }
    });
    Ok(ticked.await?)
}
