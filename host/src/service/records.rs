//! The way in for commands that only read what runs have left: where the state directory is, and
//! whether somebody works in it.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde::Serialize;

use super::control::{self, Answer, Command, OwnerStatus};
use super::error::ServiceError;
use super::setup;
use super::state_dir::StateDir;
use crate::domain::id::RunId;
use crate::workspace::{Source, without_credentials};

/// The state directory of a repository as an earlier run left it, by the same rules as a run's.
///
/// # Errors
/// When the repository's name makes no sense, or nothing was run there yet.
pub fn existing_state(repository: &str, cwd: &Path, given: Option<&Path>) -> Result<StateDir, ServiceError> {
    let source = setup::source(repository, cwd)?;
    Ok(StateDir::existing(&setup::state_path(&source, cwd, given), setup::work_tree(&source))?)
}

/// The same, also while the first run there still gets ready.
///
/// # Errors
/// As [`existing_state`].
pub fn begun_state(repository: &str, cwd: &Path, given: Option<&Path>) -> Result<StateDir, ServiceError> {
    let source = setup::source(repository, cwd)?;
    Ok(StateDir::begun(&setup::state_path(&source, cwd, given), setup::work_tree(&source))?)
}

/// The root of the work tree around `repository`; itself where there is none around it.
///
/// # Errors
/// When it is no path of an existing folder.
pub fn root_of(repository: &Path, cwd: &Path) -> Result<PathBuf, ServiceError> {
    let path = cwd.join(repository);
    if !path.is_dir() {
        let shown = without_credentials(&repository.to_string_lossy());
        return Err(ServiceError::Usage(format!("there is no folder `{shown}`")));
    }
    match setup::source(&path.to_string_lossy(), cwd)? {
        Source::Path(root) => Ok(root),
        Source::Url(_) => Ok(path),
    }
}

/// Who owns a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This process, as far as process numbers say.
    Process(u32),
    /// Nobody: the last owner is gone.
    Nobody,
}

/// Who works in a state directory, by the note that the owner left: a look that takes no lock, so
/// that it cannot keep a run from starting.
#[must_use]
pub fn owner(state: &StateDir) -> Owner {
    let note = state.owner_note();
    let number = note.strip_prefix("process ").and_then(|rest| rest.split(' ').next()?.parse::<i32>().ok());
    let Some(pid) = number.and_then(Pid::from_raw) else { return Owner::Nobody };
    match test_kill_process(pid) {
        // Somebody else's process cannot be signalled, but it is there.
        Ok(()) | Err(rustix::io::Errno::PERM) => Owner::Process(pid.as_raw_nonzero().get().unsigned_abs()),
        Err(_) => Owner::Nobody,
    }
}

/// An owner of a state directory, as far as it can be known from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ownership {
    /// Its process.
    pub pid: u32,
    /// Since when; absent when only the number of its process is known.
    pub since: Option<jiff::Timestamp>,
    /// The run that it works on, when it says so.
    pub run: Option<RunId>,
    /// It answers over its socket.
    pub answers: bool,
}

/// Who owns a state directory: asked over the socket, and by the note when nobody answers there.
pub async fn ownership(state: &StateDir) -> Option<Ownership> {
    if let Ok(Answer::Status(OwnerStatus { pid, since, run, .. })) = control::ask(state, &Command::Status).await {
        return Some(Ownership { pid, since: Some(since), run, answers: true });
    }
    let Owner::Process(pid) = owner(state) else { return None };
    let since = state.owner_note().rsplit(' ').next().and_then(|time| time.parse().ok());
    Some(Ownership { pid, since, run: None, answers: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_owner_is_told_from_one_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state"), None).unwrap();
        assert_eq!(owner(&state), Owner::Nobody);
        let lock = state.lock("2026-11-22T10:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(owner(&state), Owner::Process(std::process::id()));
        drop(lock);
        std::fs::write(state.root().join("owner.lock"), format!("process {} since …", i32::MAX)).unwrap();
        assert_eq!(owner(&state), Owner::Nobody);
    }
}
