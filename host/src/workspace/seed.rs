//! Makes a repository out of nothing, for the demo and for tests: an ordinary one, as a user has it.

use std::fs;
use std::path::Path;

use git2::{IndexAddOption, Repository, RepositoryInitOptions, Signature, Time};

use super::WorkspaceError;

/// Makes a repository at `dir` whose branch `main` has one commit with these files.
///
/// # Errors
/// [`WorkspaceError`] when the directory cannot be written.
pub fn seed_repository(
    dir: &Path,
    files: &[(&str, &str)],
    message: &str,
    at: jiff::Timestamp,
) -> Result<(), WorkspaceError> {
    for (path, text) in files {
        let target = dir.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(WorkspaceError::io(parent))?;
        }
        fs::write(&target, text).map_err(WorkspaceError::io(&target))?;
    }
    commit_all(dir, message, at).map_err(|error| WorkspaceError::objects("the new repository", &error))
}

fn commit_all(dir: &Path, message: &str, at: jiff::Timestamp) -> Result<(), git2::Error> {
    let repository = Repository::init_opts(dir, RepositoryInitOptions::new().initial_head("main"))?;
    let mut index = repository.index()?;
    index.add_all(["*"], IndexAddOption::DEFAULT, None)?;
    index.write()?;
    let tree = repository.find_tree(index.write_tree()?)?;
    let author = Signature::new("NecroCode demo", "demo@necrocode.invalid", &Time::new(at.as_second(), 0))?;
    repository.commit(Some("HEAD"), &author, &author, message, &tree, &[])?;
    Ok(())
}
