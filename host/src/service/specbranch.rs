//! The spec branch at the start of a run: made at the base commit, or brought up to date with it, so
//! that what the operator has changed since (the spec above all) counts.

use super::error::ServiceError;
use super::integration::host_identity;
use super::workshop::Workshop;
use crate::domain::id::CommitId;
use crate::workspace::{MergeOutcome, NewCommit, Source, fetch_command};

/// At most this many files of a conflict are named.
const MAX_NAMED: usize = 5;

/// How the branch stands to the base.
enum Standing {
    Missing,
    HasBase,
    Behind(CommitId),
    Apart(CommitId),
}

/// Makes the spec branch, or takes the base commit in.
pub(crate) async fn start(shop: &Workshop, base_branch: &str, base: &CommitId) -> Result<(), ServiceError> {
    let (branch, at) = (shop.branch_ref(), base.clone());
    let standing = shop
        .mirror
        .objects(move |objects| {
            Ok(match objects.read_ref(&branch)? {
                None => Standing::Missing,
                Some(tip) if objects.is_ancestor(&at, &tip)? => Standing::HasBase,
                Some(tip) if objects.is_ancestor(&tip, &at)? => Standing::Behind(tip),
                Some(tip) => Standing::Apart(tip),
            })
        })
        .await?;
    let (expected, new) = match standing {
        Standing::HasBase => return Ok(()),
        Standing::Missing => (None, base.clone()),
        Standing::Behind(tip) => (Some(tip), base.clone()),
        Standing::Apart(tip) => {
            let merge = take_in(shop, &tip, base_branch, base).await?;
            (Some(tip), merge)
        }
    };
    let branch = shop.branch_ref();
    shop.mirror.objects(move |objects| objects.update_ref(&branch, &new, expected.as_ref())).await?;
    Ok(())
}

async fn take_in(
    shop: &Workshop,
    tip: &CommitId,
    base_branch: &str,
    base: &CommitId,
) -> Result<CommitId, ServiceError> {
    let tree = match shop.mirror.merge(tip, base).await? {
        MergeOutcome::Clean { tree } => tree,
        MergeOutcome::Conflict { files, .. } => {
            let named: Vec<&str> = files.iter().take(MAX_NAMED).map(String::as_str).collect();
            let bring = match shop.mirror.source() {
                Source::Path(_) => format!("necro-host land {}", shop.spec),
                Source::Url(_) => fetch_command(shop.mirror.path(), &shop.branch()),
            };
            return Err(ServiceError::Usage(format!(
                "`{base_branch}` has changes that conflict with {} in {}: bring the branch into your repository with \
                 `{bring}`, merge the two there, and run again",
                shop.branch(),
                named.join(", "),
            )));
        }
    };
    let (parents, time) = (vec![tip.clone(), base.clone()], shop.clock.now());
    let message = format!("Take {base_branch} into {}\n", shop.branch());
    let merge = NewCommit { tree, parents, message, author: host_identity(), time };
    Ok(shop.mirror.objects(move |objects| objects.commit(&merge)).await?)
}
