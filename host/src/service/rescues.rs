//! Work that was found in slots and in no commit: listed, and brought back. Nothing is ever taken away here.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::blocking::blocking;
use super::error::ServiceError;
use super::land::land_branch;
use super::pools::Pool;
use crate::domain::id::CommitId;
use crate::workspace::{KeptTrees, KeptWork, RESCUES, copy_files, is_branch_name};

/// What was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Its name.
    pub name: String,
    /// The branch that was made.
    pub branch: Option<String>,
    /// The commit.
    pub commit: Option<CommitId>,
    /// The folder that was written.
    pub into: Option<PathBuf>,
    /// Files that were written.
    pub files: Option<u64>,
}

/// All kept work, oldest first.
///
/// # Errors
/// When the mirror cannot be read.
pub async fn list(pool: &Pool) -> Result<Vec<KeptWork>, ServiceError> {
    Ok(pool.mirror().kept_work().await?)
}

/// Makes a branch of kept work in the operator's repository; absent: `rescue/<name>`.
///
/// # Errors
/// When there is none of that name, it is a folder, or the branch cannot be made.
pub async fn as_branch(pool: &Pool, name: &str, branch: Option<String>) -> Result<Restored, ServiceError> {
    let kept = find(pool, name).await?;
    let Some(commit) = kept.commit else {
        return Err(ServiceError::Usage(format!("`{name}` could not be a commit; `--into DIR` copies its files")));
    };
    let branch = branch.unwrap_or_else(|| format!("rescue/{name}"));
    if !is_branch_name(&branch) {
        return Err(ServiceError::Usage(format!("`{branch}` is no name of a branch")));
    }
    let landed = land_branch(pool.mirror(), &commit, &branch).await?;
    let (branch, commit) = (Some(landed.branch), Some(landed.commit));
    Ok(Restored { name: kept.name, branch, commit, into: None, files: None })
}

/// Writes kept work into a new or empty folder.
///
/// # Errors
/// When there is none of that name, the folder has something in it, or it cannot be written.
pub async fn as_files(pool: &Pool, name: &str, into: PathBuf) -> Result<Restored, ServiceError> {
    let kept = find(pool, name).await?;
    let repositories = pool.state().repositories();
    blocking(move || {
        let fail = |source| ServiceError::Io { path: into.clone(), source };
        fs::create_dir_all(&into).map_err(fail)?;
        if fs::read_dir(&into).map_err(fail)?.next().is_some() {
            let text = format!("`{}` has something in it; name a new folder", into.display());
            return Err(ServiceError::Usage(text));
        }
        let files = match (&kept.commit, &kept.path) {
            (Some(commit), _) => {
                let trees = KeptTrees::below(&repositories);
                trees.write_out(&trees.tree_of(commit)?, &into)?
            }
            (None, Some(path)) => copy_files(path, &into)?,
            (None, None) => 0,
        };
        Ok(Restored { name: kept.name, branch: None, commit: kept.commit, into: Some(into), files: Some(files) })
    })
    .await
}

async fn find(pool: &Pool, name: &str) -> Result<KeptWork, ServiceError> {
    let kept = list(pool).await?;
    let wanted = name.strip_prefix(RESCUES).unwrap_or(name);
    kept.into_iter().find(|kept| kept.name == wanted).ok_or_else(|| {
        ServiceError::Usage(format!("nothing is kept under the name `{name}`; `necro-host rescue ls` lists what is"))
    })
}
