//! Which spec's work is where: derived from the records and the mirror, never kept a second time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::blocking::blocking;
use super::control::Owned;
use super::error::ServiceError;
use super::pools::Pool;
use super::records::existing_state;
use super::setup::owned_registry;
use super::vault::At;
use crate::clock::Clock;
use crate::domain::event::Body;
use crate::domain::id::{CommitId, SpecName, TaskId};
use crate::domain::protocol;
use crate::domain::task::{Task, TaskState};
use crate::registry::{Attempt, Reader, Run};
use crate::store::BlobStore;
use crate::workspace::{Mirror, RESCUES};

/// How far a spec's work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceStatus {
    /// There is something left to do.
    Active,
    /// All its tasks are done.
    Completed,
    /// A task failed.
    Error,
}

/// One spec's workspace (`WSP-3.1`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkspaceInfo {
    /// The spec.
    pub spec_name: SpecName,
    /// The folder with the mirror and the slots that its work is done in.
    pub workspace_path: PathBuf,
    /// The repository.
    pub repo_url: String,
    /// The branch that its work is on.
    pub current_branch: String,
    /// The branch's tip in the mirror; absent when it is not there any more.
    pub commit: Option<CommitId>,
    /// When its first run began.
    pub created_at: Option<Timestamp>,
    /// Tasks whose work is merged.
    pub tasks_completed: Vec<TaskId>,
    /// All its tasks, containers and cancelled ones left out.
    pub tasks: usize,
    /// How far it is.
    pub status: WorkspaceStatus,
    /// Attempts that are open, each with the slot that it was lent.
    pub slots: Vec<OpenAttempt>,
}

/// An attempt that has no end yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenAttempt {
    /// Its task.
    pub task: TaskId,
    /// Its number.
    pub attempt: u32,
    /// Its branch.
    pub branch: String,
    /// Its slot.
    pub slot: String,
}

/// What was removed of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedWorkspace {
    /// The spec.
    pub spec_name: SpecName,
    /// Refs that are gone from the mirror.
    pub removed: Vec<String>,
    /// Where commits are now that are nowhere else.
    pub rescued: Vec<String>,
    /// Tasks that are open again, because their work is not in the repository.
    pub reopened: Vec<TaskId>,
}

/// The records of one spec.
struct Recorded {
    spec: SpecName,
    runs: Vec<Run>,
    tasks: Vec<Task>,
    attempts: Vec<Attempt>,
}

/// All workspaces of a state directory, by spec.
///
/// # Errors
/// When there are no records, or they cannot be read.
pub async fn list(at: &At, clock: Arc<dyn Clock>) -> Result<Vec<WorkspaceInfo>, ServiceError> {
    let pool = Pool::open(at, clock).await?;
    let recorded = recorded(at).await?;
    let mut list = Vec::new();
    for one in recorded {
        list.push(info(pool.mirror(), one).await?);
    }
    Ok(list)
}

/// One of them.
///
/// # Errors
/// [`ServiceError::Usage`] when there is none of that name.
pub async fn show(at: &At, spec: &str, clock: Arc<dyn Clock>) -> Result<WorkspaceInfo, ServiceError> {
    let pool = Pool::open(at, clock).await?;
    info(pool.mirror(), find(recorded(at).await?, spec)?).await
}

/// Takes a spec's branches out of the mirror. Commits that are nowhere else are refused, or, with `force`, kept as
/// rescues; then its tasks are open again. The records stay.
///
/// # Errors
/// While somebody works in the state directory, when a run on the spec is open, or when work would be put away
/// without `force`.
pub async fn remove(at: &At, spec: &str, force: bool, clock: Arc<dyn Clock>) -> Result<RemovedWorkspace, ServiceError> {
    let pool = Pool::open(at, Arc::clone(&clock)).await?;
    let (stop, _stopped) = tokio::sync::watch::channel(false);
    let _lock = Owned::take(pool.state(), clock.now(), &stop)?;
    let one = find(recorded(at).await?, spec)?;
    if let Some(run) = one.runs.iter().find(|run| run.finished_at.is_none()) {
        return Err(ServiceError::Usage(format!(
            "the run {} on `{}` is open: `necro-host resume {}` goes on with it, a run with --fresh ends it",
            run.id, one.spec, run.id
        )));
    }
    let mirror = pool.mirror();
    mirror.fetch().await?;
    let refs = refs_of(mirror, &one).await?;
    let branch = format!("refs/heads/{}", protocol::spec_branch(&one.spec));
    let only_here = only_here(mirror, &branch, &refs).await?;
    let unmerged = only_here.iter().any(|(name, _)| *name == branch);
    if !only_here.is_empty() && !force {
        let named: Vec<&str> = only_here.iter().take(3).map(|(name, _)| name.as_str()).collect();
        let next = if unmerged {
            format!(
                "`necro-host land {spec}` brings the branch into your repository; with --force the commits are kept as \
                 rescues, and the tasks are open again"
            )
        } else {
            "they are of attempts that were not merged; with --force they are kept as rescues".to_owned()
        };
        return Err(ServiceError::Usage(format!(
            "commits of `{spec}` that are nowhere else: {} ({}{}): {next}",
            only_here.len(),
            named.join(", "),
            if only_here.len() > 3 { ", …" } else { "" },
        )));
    }
    let rescued = rescue(mirror, &one.spec, &only_here).await?;
    let reopened = if unmerged { reopen(&pool, &one, clock).await? } else { Vec::new() };
    let gone = refs.clone();
    mirror.objects(move |objects| gone.iter().try_for_each(|(name, commit)| objects.delete_ref(name, commit))).await?;
    let removed = refs.into_iter().map(|(name, _)| name).collect();
    Ok(RemovedWorkspace { spec_name: one.spec, removed, rescued, reopened })
}

async fn recorded(at: &At) -> Result<Vec<Recorded>, ServiceError> {
    let state = existing_state(&at.repository, &at.cwd, at.state.as_deref())?;
    blocking(move || {
        let reader = Reader::open(&state.registry(), BlobStore::open(state.blobs())?)?;
        let runs = reader.runs()?;
        let mut specs: BTreeSet<SpecName> = reader.specs()?.into_iter().collect();
        specs.extend(runs.iter().filter_map(|run| run.spec.clone()));
        let read = |spec: SpecName| {
            let runs = runs.iter().filter(|run| run.spec.as_ref() == Some(&spec)).cloned().collect();
            let (tasks, attempts) = (reader.tasks(&spec)?, reader.attempts_of_spec(&spec)?);
            Ok(Recorded { spec, runs, tasks, attempts })
        };
        specs.into_iter().map(read).collect()
    })
    .await
}

fn find(recorded: Vec<Recorded>, spec: &str) -> Result<Recorded, ServiceError> {
    let known: Vec<String> = recorded.iter().map(|one| one.spec.to_string()).collect();
    recorded.into_iter().find(|one| one.spec.as_str() == spec).ok_or_else(|| {
        ServiceError::Usage(format!("there is no workspace of `{spec}`; there are: {}", known.join(", ")))
    })
}

async fn info(mirror: &Mirror, one: Recorded) -> Result<WorkspaceInfo, ServiceError> {
    let branch = protocol::spec_branch(&one.spec);
    let name = format!("refs/heads/{branch}");
    let commit = mirror.objects(move |objects| objects.read_ref(&name)).await?;
    let counted: Vec<&Task> = one.tasks.iter().filter(|task| is_counted(task)).collect();
    let open = one.attempts.iter().filter(|attempt| attempt.outcome.is_none());
    Ok(WorkspaceInfo {
        workspace_path: mirror.dir().to_owned(),
        repo_url: mirror.source().display(),
        current_branch: branch,
        commit,
        created_at: one.runs.iter().map(|run| run.started_at).min(),
        tasks_completed: done(&counted),
        tasks: counted.len(),
        status: status(&counted),
        slots: open.map(open_attempt).collect(),
        spec_name: one.spec,
    })
}

fn open_attempt(attempt: &Attempt) -> OpenAttempt {
    OpenAttempt {
        task: attempt.key.key.task.clone(),
        attempt: attempt.key.attempt,
        branch: attempt.branch.clone(),
        slot: attempt.slot.to_string(),
    }
}

fn done(tasks: &[&Task]) -> Vec<TaskId> {
    tasks.iter().filter(|task| task.state == TaskState::Done).map(|task| task.key.task.clone()).collect()
}

fn status(tasks: &[&Task]) -> WorkspaceStatus {
    if tasks.iter().any(|task| task.state == TaskState::Failed) {
        WorkspaceStatus::Error
    } else if !tasks.is_empty() && tasks.iter().all(|task| task.state == TaskState::Done) {
        WorkspaceStatus::Completed
    } else {
        WorkspaceStatus::Active
    }
}

/// Containers never run themselves.
fn is_counted(task: &Task) -> bool {
    !task.definition.container && task.state != TaskState::Cancelled
}

/// Its name, and what it points to.
type Ref = (String, CommitId);

/// All refs of a spec: its branch, its tasks' branches, its attempts.
async fn refs_of(mirror: &Mirror, one: &Recorded) -> Result<Vec<Ref>, ServiceError> {
    let mut names: BTreeSet<String> =
        one.attempts.iter().map(|attempt| format!("refs/heads/{}", attempt.branch)).collect();
    names.insert(format!("refs/heads/{}", protocol::spec_branch(&one.spec)));
    let attempts = protocol::attempts_prefix(&one.spec);
    let refs = mirror.objects(move |objects| {
        let all = objects.refs("refs/")?;
        Ok(all.into_iter().filter(|(name, _)| names.contains(name) || name.starts_with(&attempts)).collect())
    });
    Ok(refs.await?)
}

/// Those whose commits are neither in the source nor in another one of them.
async fn only_here(mirror: &Mirror, branch: &str, refs: &[Ref]) -> Result<Vec<Ref>, ServiceError> {
    let (branch, mut refs) = (branch.to_owned(), refs.to_vec());
    let found = mirror.objects(move |objects| {
        let mut holders: Vec<CommitId> =
            objects.refs("refs/remotes/origin/")?.into_iter().map(|(_, commit)| commit).collect();
        let mut only = Vec::new();
        // What was merged is in the spec branch; an attempt that was gated is in its task's.
        refs.sort_by_key(|(name, _)| (*name != branch, !name.starts_with("refs/heads/")));
        for (name, commit) in refs {
            let mut is_held = false;
            for holder in &holders {
                is_held = is_held || objects.is_ancestor(&commit, holder)?;
            }
            if !is_held {
                holders.push(commit.clone());
                only.push((name, commit));
            }
        }
        Ok(only)
    });
    Ok(found.await?)
}

async fn rescue(mirror: &Mirror, spec: &SpecName, refs: &[Ref]) -> Result<Vec<String>, ServiceError> {
    let (prefix, refs) = (format!("{RESCUES}{spec}/"), refs.to_vec());
    let kept = mirror.objects(move |objects| {
        let taken = objects.refs(&prefix)?;
        let newest = taken.iter().filter_map(|(name, _)| name[prefix.len()..].parse::<u64>().ok()).max().unwrap_or(0);
        let mut kept = Vec::new();
        for ((_, commit), number) in refs.iter().zip(newest + 1..) {
            let name = format!("{prefix}{number}");
            objects.update_ref(&name, commit, None)?;
            kept.push(name);
        }
        Ok(kept)
    });
    Ok(kept.await?)
}

/// Opens the tasks again whose work goes with the branch.
async fn reopen(pool: &Pool, one: &Recorded, clock: Arc<dyn Clock>) -> Result<Vec<TaskId>, ServiceError> {
    let registry = owned_registry(pool.state(), clock).await?;
    let mut reopened = Vec::new();
    for task in one.tasks.iter().filter(|task| task.state == TaskState::Done && is_counted(task)) {
        let reason = "the workspace that had its work was removed".to_owned();
        let (spec, id) = (one.spec.clone(), task.key.task.clone());
        let found = registry.read(move |reader| reader.tasks(&spec)).await?;
        // Opening one may have opened others.
        let Some(now) = found.into_iter().find(|found| found.key.task == id && found.state == TaskState::Done) else {
            continue;
        };
        let body = Body::TaskReopened { from: TaskState::Done, reason };
        registry.transition(None, &now.key, now.version, None, body).await?;
        reopened.push(id);
    }
    Ok(reopened)
}
