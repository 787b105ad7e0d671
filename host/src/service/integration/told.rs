//! What the next attempt is told whose commit conflicts with what is on the branch: the hunks, what both sides were
//! asked to do, and where its own work is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Candidate;
use crate::domain::id::{AttemptKey, CommitId};
use crate::domain::protocol;
use crate::domain::verdict::{self, Side};
use crate::service::error::ServiceError;
use crate::service::workshop::Workshop;
use crate::workspace::Objects;
use crate::workspace::WorkspaceError;

/// So many commits of the branch are looked at for the other side.
const MAX_COMMITS: usize = 200;
/// So many of the other side are told.
const MAX_OTHERS: usize = 3;

/// The reason for the next attempt.
pub(super) async fn conflict(
    shop: &Arc<Workshop>,
    candidate: &Candidate,
    tip: &CommitId,
    files: &[String],
    text: &str,
) -> Result<String, ServiceError> {
    let (at, base, wanted) = (tip.clone(), candidate.base.clone(), files.to_vec());
    let others = shop.mirror.objects(move |objects| others(objects, &at, &base, &wanted)).await?;
    let own = side(shop, &candidate.attempt).await?;
    let mut sides = Vec::new();
    for other in others {
        sides.extend(side(shop, &other).await?);
    }
    let kept = protocol::attempt_ref(&candidate.attempt);
    Ok(verdict::conflict_reason(files, text, own.as_ref(), &sides, &kept))
}

/// Attempts that were merged since `base` and changed one of `files`, the newest first.
fn others(
    objects: &Objects,
    tip: &CommitId,
    base: &CommitId,
    files: &[String],
) -> Result<Vec<AttemptKey>, WorkspaceError> {
    let wanted: BTreeSet<&str> = files.iter().map(String::as_str).collect();
    let mut found: Vec<AttemptKey> = Vec::new();
    for entry in objects.log(tip, Some(base), MAX_COMMITS)? {
        let Ok(commit) = protocol::parse_commit(&entry.message) else { continue };
        let Some(before) = entry.parents.first() else { continue };
        if found.contains(commit.attempt()) {
            continue;
        }
        let before = objects.tree_of(before)?;
        if objects.changes(&before, &entry.tree)?.iter().any(|file| wanted.contains(file.path.as_str())) {
            found.push(commit.attempt().clone());
            if found.len() == MAX_OTHERS {
                break;
            }
        }
    }
    Ok(found)
}

/// What an attempt was asked to do.
async fn side(shop: &Arc<Workshop>, attempt: &AttemptKey) -> Result<Option<Side>, ServiceError> {
    let key = attempt.key.clone();
    let task = shop.registry.read(move |reader| reader.task(&key)).await?;
    Ok(task.map(|task| Side {
        task: task.key.task.to_string(),
        title: shop.mask.apply(&task.definition.title),
        text: shop.mask.apply(&task.definition.text),
    }))
}
