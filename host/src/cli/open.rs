//! What every query begins with: where the state is, a reader of its registry, which spec and which
//! task are meant. A name that is wrong is answered with the names that there are.

use std::path::{Path, PathBuf};

use super::args::Place;
use super::words;
use crate::domain::id::{ExecutionId, SpecName, TaskId, TaskKey};
use crate::registry::{ExecutionFilter, ExecutionKind, Reader, Run};
pub(crate) use crate::service::blocking;
pub(crate) use crate::service::quoted;
use crate::service::{self, ServiceError, StateDir};
use crate::store::BlobStore;
use crate::workspace::without_credentials;

/// Numbers of the planning steps.
pub(crate) const PLANNING: [&str; 2] = ["0.1", "0.2"];

/// The records of one state directory, opened for reading; also while a run goes on.
pub(crate) struct Records {
    /// The registry.
    pub(crate) reader: Reader,
    /// Bytes of artifacts.
    pub(crate) blobs: BlobStore,
    /// Where they are.
    pub(crate) state: StateDir,
    /// What has to be added to a command that is about the same place.
    pub(crate) flags: String,
}

/// Opens the records of `place` and asks them, on a blocking thread.
pub(crate) async fn read<T, F>(place: &Place, ask: F) -> Result<T, ServiceError>
where
    F: FnOnce(&Records) -> Result<T, ServiceError> + Send + 'static,
    T: Send + 'static,
{
    let place = place.clone();
    blocking(move || ask(&Records::open(&place)?)).await
}

/// The current directory.
pub(crate) fn cwd() -> Result<PathBuf, ServiceError> {
    std::env::current_dir().map_err(|source| ServiceError::Io { path: ".".into(), source })
}

/// The state directory of `place`, for those who ask its owner.
pub(crate) async fn state(place: &Place) -> Result<StateDir, ServiceError> {
    let place = place.clone();
    blocking(move || service::begun_state(&place.repo, &cwd()?, place.state.as_deref())).await
}

impl Records {
    /// Blocking.
    pub(crate) fn open(place: &Place) -> Result<Self, ServiceError> {
        let state = service::existing_state(&place.repo, &cwd()?, place.state.as_deref())?;
        let blobs = BlobStore::open(state.blobs())?;
        let reader = Reader::open(&state.registry(), blobs.clone())?;
        Ok(Self { reader, blobs, state, flags: flags(place) })
    }

    /// The spec that is named, or the newest run's.
    pub(crate) fn spec(&self, named: Option<&str>) -> Result<SpecName, ServiceError> {
        let runs = self.reader.runs()?;
        let Some(named) = named else {
            if let Some(spec) = runs.into_iter().rev().find_map(|run| run.spec) {
                return Ok(spec);
            }
            let known = self.reader.specs()?;
            let here = self.state.root().display();
            return match known.as_slice() {
                [only] => Ok(only.clone()),
                [] => Err(ServiceError::Usage(format!("nothing was run yet in {here}"))),
                _ => Err(ServiceError::Usage(format!(
                    "say which spec with --spec; there are: {}",
                    words::listing(known)
                ))),
            };
        };
        let mut known = self.reader.specs()?;
        known.extend(runs.into_iter().filter_map(|run| run.spec));
        known.sort();
        known.dedup();
        known.iter().find(|spec| spec.as_str() == named).cloned().ok_or_else(|| {
            ServiceError::Usage(format!("there is no spec `{named}` here; there are: {}", words::listing(known)))
        })
    }

    /// The newest run on a spec.
    pub(crate) fn run(&self, spec: &SpecName) -> Result<Option<Run>, ServiceError> {
        Ok(self.reader.runs()?.into_iter().rev().find(|run| run.spec.as_ref() == Some(spec)))
    }

    /// A task of the spec, or one of its planning steps.
    pub(crate) fn task(&self, spec: &SpecName, named: &str) -> Result<TaskKey, ServiceError> {
        let mut known: Vec<TaskId> = self.reader.tasks(spec)?.into_iter().map(|task| task.key.task).collect();
        for step in PLANNING {
            let step = TaskId::new(step)?;
            if !known.contains(&step) && !self.spirit_executions(spec, &step)?.is_empty() {
                known.push(step);
            }
        }
        known.sort();
        match known.iter().find(|task| task.as_str() == named) {
            Some(task) => Ok(TaskKey { spec: spec.clone(), task: task.clone() }),
            None => Err(ServiceError::Usage(format!(
                "the spec `{spec}` has no task `{named}`; it has: {}",
                words::listing(known)
            ))),
        }
    }

    /// Executions of spirits at a task, oldest first.
    pub(crate) fn spirit_executions(&self, spec: &SpecName, task: &TaskId) -> Result<Vec<ExecutionId>, ServiceError> {
        let filter = ExecutionFilter {
            kind: Some(ExecutionKind::Spirit),
            spec: Some(spec.clone()),
            task: Some(task.clone()),
            ..ExecutionFilter::default()
        };
        Ok(self.reader.executions(&filter)?.into_iter().map(|execution| execution.id).collect())
    }
}

/// The flags that name `place` in a command, with a space in front of each; empty for the usual place.
pub(crate) fn flags(place: &Place) -> String {
    let mut flags = String::new();
    if place.repo != "." {
        flags.push_str(&format!(" --repo {}", quoted(&without_credentials(&place.repo))));
    }
    if let Some(state) = &place.state {
        flags.push_str(&format!(" --state {}", quoted_path(state)));
    }
    flags
}

/// A path as a shell takes it.
pub(crate) fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// How git is started for a repository, as its user named it; no password of an address is shown.
pub(crate) fn git(repository: &str) -> String {
    match repository {
        "." => "git".to_owned(),
        _ => format!("git -C {}", quoted(&without_credentials(repository))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_names_the_same_place() {
        let place = |repo: &str, state: Option<&str>| Place { repo: repo.into(), state: state.map(Into::into) };
        assert_eq!(flags(&place(".", None)), "");
        assert_eq!(flags(&place("a b", Some("/tmp/x"))), " --repo 'a b' --state /tmp/x");
        assert_eq!(flags(&place("it's", None)), r" --repo 'it'\''s'");
        assert_eq!(flags(&place("https://me:hunter2@h/x.git", None)), " --repo https://h/x.git");
    }
}
