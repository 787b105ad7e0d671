//! Work that processes outside the host do: claimed by whoever asks first, and reported by the one who
//! holds it. Each is one transaction, so that no two of them can believe the same.

use rusqlite::{Connection, params_from_iter};
use serde::{Deserialize, Serialize};

use crate::domain::call::Cost;
use crate::domain::event::{Body, Outcome, Subject};
use crate::domain::id::{AttemptKey, CommitId, Instance, Role, SlotId, SpecName, TaskId, TaskKey};
use crate::domain::protocol;
use crate::domain::task::{Assigned, Task, TaskState};
use crate::domain::team::SCRUM_MASTER;

use super::conditions::Conditions;
use super::error::RegistryError;
use super::find;
use super::query;
use super::rows::Columns;
use super::tasks::{Claim, Transition, claim, transition};
use super::writer::Tx;

/// Longest name of a worker, in bytes.
const MAX_WORKER_BYTES: usize = 200;
/// The slot of a worker: it brings its own place to work in.
pub(crate) const ELSEWHERE: &str = "elsewhere";
/// Why it was given to a worker.
const ASKED: &str = "asked for by the worker";

/// What a worker asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerClaim {
    /// Its name, under which it reports; one process, one name.
    pub worker: String,
    /// Only tasks of this spec.
    pub spec: Option<SpecName>,
    /// Only this task of it.
    pub task: Option<TaskId>,
    /// Only when that task has this version.
    pub expected_version: Option<u64>,
    /// Only tasks for this role.
    pub skill: Option<String>,
    /// Not of these specs: a run works on them.
    pub except: Vec<SpecName>,
}

/// What a worker says of its claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerReport {
    /// The attempt that it was given.
    pub attempt: AttemptKey,
    /// Its name, as when it claimed.
    pub worker: String,
    /// What became of it.
    pub result: WorkerResult,
    /// Attempts that a task may have; the last failure of so many fails the task.
    pub max_attempts: u32,
}

/// What became of a worker's claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum WorkerResult {
    /// It is done.
    Done {
        /// As this commit.
        commit: Option<CommitId>,
        /// In the worker's words.
        summary: Option<String>,
    },
    /// It did not work.
    Failed {
        /// What it failed on; the next attempt is told.
        reason: String,
    },
    /// It is given back, and counts as no failure.
    Released {
        /// Why.
        reason: String,
    },
}

/// Gives the worker the first ready task that it asked for; none when there is none.
pub(super) fn claim_next(tx: &mut Tx<'_>, wanted: &WorkerClaim) -> Result<Option<Task>, RegistryError> {
    let worker = &wanted.worker;
    if worker.is_empty() || worker.len() > MAX_WORKER_BYTES || worker.chars().any(char::is_control) {
        return Err(RegistryError::InvalidWorker);
    }
    let Some(key) = next(tx.conn, wanted)? else { return Ok(None) };
    let task = find::task(tx.conn, &key)?.ok_or_else(|| RegistryError::UnknownTask(key.clone()))?;
    let (instance, live) = instance(tx.conn, &role(&task))?;
    let branch = match first_branch(tx.conn, &key)? {
        Some(branch) => branch,
        None => protocol::task_branch(&key, &task.definition.title, &instance, live),
    };
    let assigned = Assigned {
        branch,
        slot: SlotId::new(ELSEWHERE).map_err(|error| RegistryError::Database(error.to_string()))?,
        instance,
        runner: worker.clone(),
    };
    let expected_version = wanted.expected_version.unwrap_or(task.version);
    let reason = ASKED.to_owned();
    claim(tx, Claim { run: None, key, expected_version, assigned, reason, scheduling: None, routing: None }).map(Some)
}

/// The role that the task names, or the one that takes what nobody else takes.
fn role(task: &Task) -> Role {
    let named = task.definition.skill.as_deref().and_then(|skill| Role::new(skill.replace('-', "_")).ok());
    named.unwrap_or_else(|| Role::new(SCRUM_MASTER).expect("a constant that is a role"))
}

/// The first instance of `role` that works on nothing, and how many of that role live with it.
fn instance(conn: &Connection, role: &Role) -> Result<(Instance, usize), RegistryError> {
    let sql = "SELECT instance FROM tasks WHERE state = 'running' AND instance LIKE ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let named = statement.query_map([format!("{role}%")], |row| row.get::<_, String>(0))?;
    let named = named.collect::<Result<Vec<_>, _>>()?;
    let busy: Vec<Instance> = named.into_iter().filter_map(|name| Instance::new(name).ok()).collect();
    let busy: Vec<u32> = busy.iter().filter(|busy| busy.role() == *role).map(Instance::number).collect();
    let free = (1..).find(|number| !busy.contains(number)).unwrap_or(1);
    Ok((Instance::of(role, free), busy.len() + 1))
}

/// The task's branch, fixed when it was claimed first.
fn first_branch(conn: &Connection, key: &TaskKey) -> Result<Option<String>, RegistryError> {
    let sql = "SELECT branch FROM attempts WHERE spec = ?1 AND task = ?2 AND branch <> '' ORDER BY attempt LIMIT 1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((key.spec.as_str(), key.task.as_str()))?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
}

fn next(conn: &Connection, wanted: &WorkerClaim) -> Result<Option<TaskKey>, RegistryError> {
    if let (Some(spec), Some(task)) = (&wanted.spec, &wanted.task) {
        return Ok(Some(TaskKey { spec: spec.clone(), task: task.clone() }));
    }
    let mut only = Conditions::default();
    only.sql.extend(["state = 'ready'".to_owned(), "container = 0".to_owned()]);
    only.text("spec = ?", wanted.spec.as_ref().map(SpecName::as_str));
    only.text("skill = ?", wanted.skill.as_deref());
    for spec in &wanted.except {
        only.text("spec <> ?", Some(spec.as_str()));
    }
    let sql = format!("SELECT spec, task FROM tasks{} ORDER BY priority DESC, spec, ordinal LIMIT 1", only.clause());
    conn.prepare_cached(&sql)?
        .query_and_then(params_from_iter(only.values), |row| {
            Ok(TaskKey { spec: row.id("spec")?, task: row.id("task")? })
        })?
        .next()
        .transpose()
}

/// Failed attempts since the task was opened again last: whoever opens it gives it all of its attempts.
fn failures(conn: &Connection, key: &TaskKey) -> Result<u64, RegistryError> {
    let sql = "SELECT count(*) FROM attempts WHERE spec = ?1 AND task = ?2 AND outcome = 'failed' AND assigned_seq >
                   (SELECT coalesce(max(seq), 0) FROM events WHERE spec = ?1 AND task = ?2 AND kind = 'TaskReopened')";
    Ok(conn.prepare_cached(sql)?.query_row((key.spec.as_str(), key.task.as_str()), |row| row.get(0))?)
}

/// Records the end of the attempt and what it means for the task, if the worker still holds it.
pub(super) fn report(tx: &mut Tx<'_>, report: WorkerReport) -> Result<Task, RegistryError> {
    let WorkerReport { attempt, worker, result, max_attempts } = report;
    let AttemptKey { key, attempt: number } = &attempt;
    let task = find::task(tx.conn, key)?.ok_or_else(|| RegistryError::UnknownTask(key.clone()))?;
    let holder = task.assigned.as_ref().map(|assigned| assigned.runner.as_str());
    if holder != Some(&worker) || task.attempts != *number {
        let holder = holder.map(|holder| format!("{holder}, attempt {}", task.attempts));
        return Err(RegistryError::NotTheirs { attempt, worker, state: task.state, holder });
    }
    let attempts = query::attempts(tx.conn, &key.spec, Some(&key.task))?;
    let since = attempts.iter().find(|one| one.key == attempt).map_or_else(|| tx.now(), |one| one.assigned_at);
    let duration_ms = u64::try_from(tx.now().duration_since(since).as_millis()).unwrap_or(0);
    let failed = failures(tx.conn, key)?;
    let (outcome, reason, summary, commit) = match &result {
        WorkerResult::Done { commit, summary } => (Outcome::Success, None, summary.clone(), commit.clone()),
        WorkerResult::Failed { reason } => (Outcome::Failed, Some(reason.clone()), None, None),
        WorkerResult::Released { reason } => (Outcome::Interrupted, Some(reason.clone()), None, None),
    };
    let ended = Body::RunnerFinished {
        runner: worker,
        outcome,
        reason,
        summary,
        commit,
        files: Vec::new(),
        more_files: 0,
        cost: Cost::default(),
        duration_ms,
    };
    tx.append(Subject::attempt(None, &attempt), ended)?;
    let from = TaskState::Running;
    let body = match result {
        WorkerResult::Done { commit, .. } => Body::TaskCompleted { commit, reason: "reported by a worker".to_owned() },
        WorkerResult::Failed { reason } if failed + 1 >= u64::from(max_attempts) => Body::TaskFailed { reason },
        WorkerResult::Failed { reason } => Body::TaskReady { from, last_failure: Some(reason) },
        WorkerResult::Released { .. } => Body::TaskReady { from, last_failure: task.last_failure.clone() },
    };
    let change =
        Transition { run: None, key: key.clone(), expected_version: task.version, attempt: Some(*number), body };
    transition(tx, change)
}
