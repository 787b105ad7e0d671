//! Whether a copy has its whole history. A path says so itself; what is behind an address shows it only
//! when it has been copied: git brings the commits of a shallow clone, and leaves its branches out.

use git2::{ErrorCode, Oid};

use super::WorkspaceError;
use super::inspect::{Inspection, shallow};
use super::mirror::Mirror;
use super::objects::Objects;
use super::source::SourceError;

/// Refuses a mirror that got the commit of `seen`'s base branch, but not all that comes before it.
///
/// # Errors
/// [`SourceError::Unsupported`], and [`SourceError::Broken`] when the mirror cannot be read.
pub async fn check_whole(mirror: &Mirror, seen: &Inspection) -> Result<(), SourceError> {
    let repository = mirror.source().display();
    let broken = |e: WorkspaceError| SourceError::Broken { repository: repository.clone(), detail: e.to_string() };
    let tip = mirror.branch_tip(&seen.base_branch).await.map_err(broken)?;
    if tip.as_ref() == Some(&seen.base_commit) {
        return Ok(());
    }
    let commit = seen.base_commit.as_str().to_owned();
    let whole = mirror.objects(move |objects| is_whole(objects, &commit)).await.map_err(broken)?;
    if whole { Ok(()) } else { Err(shallow(&repository)) }
}

/// A commit that is not there at all was moved away from before it could be copied.
fn is_whole(objects: &Objects, commit: &str) -> Result<bool, WorkspaceError> {
    let repository = objects.open()?;
    let Ok(start) = Oid::from_str(commit) else { return Ok(true) };
    if repository.find_commit(start).is_err() {
        return Ok(true);
    }
    let failed = |e: &git2::Error| WorkspaceError::objects("the history of the base branch", e);
    let mut walk = repository.revwalk().map_err(|e| failed(&e))?;
    match walk.push(start) {
        Err(e) if e.code() == ErrorCode::NotFound => return Ok(false),
        pushed => pushed.map_err(|e| failed(&e))?,
    }
    for found in walk {
        match found {
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(false),
            Err(e) => return Err(failed(&e)),
            Ok(_) => {}
        }
    }
    Ok(true)
}
