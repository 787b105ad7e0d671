//! Integration: a gated attempt's commit becomes part of the spec branch. Merge, gate the merged
//! tree, move the branch by compare-and-swap; the branch is either before or after, never between.

use std::sync::Arc;

use super::error::{ServiceError, chain};
use super::workshop::Workshop;
use super::{remains, slots};
use crate::domain::id::{AttemptKey, CommitId, Instance};
use crate::domain::protocol::Commit;
use crate::domain::verdict;
use crate::spec::{TickState, tick};
use crate::workspace::{Identity, MergeOutcome, NewCommit, Slot, TreeId};

/// At most this often is a merge tried again because the branch had moved.
const MAX_MOVES: u32 = 5;

/// A commit that has passed its own gate.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Whose.
    pub(crate) attempt: AttemptKey,
    /// Who made it.
    pub(crate) instance: Instance,
    /// The commit.
    pub(crate) commit: CommitId,
    /// What it started from.
    pub(crate) base: CommitId,
    /// Scope of the commit's subject.
    pub(crate) scope: String,
    /// What was done, for the merge's subject.
    pub(crate) spell: String,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Integrated {
    /// On the spec branch.
    Merged(CommitId),
    /// Not: the next attempt is told why.
    Returned(String),
    /// The run was stopped meanwhile.
    Stopped,
}

/// Who signs merges.
pub(crate) fn host_identity() -> Identity {
    Identity { name: "necro-host".to_owned(), email: "necro-host@localhost".to_owned() }
}

/// Merges `candidate`, using `slot` for the gate of the merged tree. What the change does to that slot
/// is its own failure.
pub(crate) async fn integrate(
    shop: &Arc<Workshop>,
    slot: &Slot,
    candidate: &Candidate,
) -> Result<Integrated, ServiceError> {
    match merge(shop, slot, candidate).await {
        Err(error) if error.is_of_slot(slot.work_dir()) => Ok(Integrated::Returned(chain(&error))),
        ended => ended,
    }
}

async fn merge(shop: &Arc<Workshop>, slot: &Slot, candidate: &Candidate) -> Result<Integrated, ServiceError> {
    for _ in 0..MAX_MOVES {
        let branch = shop.branch_ref();
        let name = branch.clone();
        let tip = shop.mirror.objects(move |objects| objects.read_ref(&name)).await?;
        let tip = tip.ok_or_else(|| ServiceError::Internal(format!("the branch {branch} is gone from the mirror")))?;
        let merged = match shop.mirror.merge(&tip, &candidate.commit).await? {
            MergeOutcome::Clean { tree } => tree,
            MergeOutcome::Conflict { files, text } => {
                return Ok(Integrated::Returned(verdict::conflict_reason(&files, &text)));
            }
        };
        let commit = merge_commit(shop, candidate, &tip, merged).await?;
        // Nothing else was merged since the attempt began: its own gate has judged this very content.
        if tip != candidate.base {
            slots::prepare(shop, slot, &commit).await?;
            let gated = shop.gate.run(slot, &shop.stop).await?;
            if gated.cancelled {
                return Ok(Integrated::Stopped);
            }
            remains::store_merge(shop, &candidate.attempt, &gated).await?;
            if !gated.passed() {
                return Ok(Integrated::Returned(verdict::merged_gate_reason(&gated.checks)));
            }
        }
        let (branch, new) = (shop.branch_ref(), commit.clone());
        let moved = shop.mirror.objects(move |objects| objects.update_ref(&branch, &new, Some(&tip))).await;
        match moved {
            Ok(()) => return Ok(Integrated::Merged(commit)),
            Err(crate::workspace::WorkspaceError::RefMoved { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Integrated::Returned(format!("the spec branch moved {MAX_MOVES} times while this change was being merged")))
}

/// The merge of `candidate` into `tip`, with the task ticked in the same commit.
async fn merge_commit(
    shop: &Arc<Workshop>,
    candidate: &Candidate,
    tip: &CommitId,
    merged: TreeId,
) -> Result<CommitId, ServiceError> {
    let path = shop.spec_path("tasks.md");
    let task = candidate.attempt.key.task.clone();
    let message =
        Commit::new(&candidate.scope, &candidate.spell, candidate.attempt.clone(), candidate.instance.clone(), None)
            .message();
    let parents = vec![tip.clone(), candidate.commit.clone()];
    // A time of the record: a merge that is made again, on the same tip, is the same commit.
    let (key, number) = (candidate.attempt.key.clone(), candidate.attempt.attempt);
    let attempts = shop.registry.read(move |reader| reader.attempts(&key)).await?;
    let judged = attempts.into_iter().find(|attempt| attempt.key.attempt == number);
    let time = judged.and_then(|attempt| attempt.finished_at).unwrap_or_else(|| shop.clock.now());
    let commit = shop
        .mirror
        .objects(move |objects| {
            let tree = match objects.read_file(&merged, &path)? {
                Some(bytes) => match tick(&bytes, &task, TickState::Done) {
                    Ok(ticked) => objects.with_files(&merged, &[(path, Some(ticked))])?,
                    Err(error) => {
                        // The registry knows that the task is done; a file that cannot say so stays as it is.
                        tracing::warn!(%task, "the task's box stays as it is: {error}");
                        merged
                    }
                },
                None => merged,
            };
            objects.commit(&NewCommit { tree, parents, message, author: host_identity(), time })
        })
        .await?;
    Ok(commit)
}
