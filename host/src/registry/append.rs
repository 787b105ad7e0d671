//! Events that change no task's state: what has to exist before one of them is recorded.

use rusqlite::Connection;

use crate::domain::event::{Body, Event, Subject, TaskChange};
use crate::domain::id::{ArtifactUri, AttemptKey, RunId, TaskKey};

use super::error::RegistryError;
use super::projection::artifact_exists;
use super::tasks::{state_after, wrong};
use super::writer::Tx;

/// Most events in one request.
const MAX_EVENTS: usize = 1000;

/// Records `bodies` about `subject`, all or none.
pub(super) fn append(tx: &mut Tx<'_>, subject: &Subject, bodies: Vec<Body>) -> Result<Vec<Event>, RegistryError> {
    if bodies.len() > MAX_EVENTS {
        let (found, limit) = (bodies.len() as u64, MAX_EVENTS as u64);
        return Err(RegistryError::TooLarge { what: "a request", found, limit, unit: "events" });
    }
    let mut events = Vec::with_capacity(bodies.len());
    for body in bodies {
        check(tx.conn, subject, &body)?;
        events.push(tx.append(subject.clone(), body)?);
    }
    Ok(events)
}

fn check(conn: &Connection, subject: &Subject, body: &Body) -> Result<(), RegistryError> {
    if state_after(body).is_some() {
        return Err(wrong(body.name(), "create_tasks, claim or transition"));
    }
    match body {
        Body::RunStarted { .. } => {
            let run = run_of(subject, body)?;
            if run_exists(conn, run)? { Err(RegistryError::DuplicateRun(run.clone())) } else { Ok(()) }
        }
        Body::RunResumed { .. } | Body::TeamAssembled { .. } | Body::RunFinished { .. } => {
            let run = run_of(subject, body)?;
            if run_exists(conn, run)? { Ok(()) } else { Err(RegistryError::UnknownRun(run.clone())) }
        }
        Body::PluginSeated { .. } => match &subject.run {
            Some(run) if !run_exists(conn, run)? => Err(RegistryError::UnknownRun(run.clone())),
            _ => Ok(()),
        },
        Body::RunnerStarted { .. } | Body::RunnerFinished { .. } | Body::ReviewReported { .. } => {
            let missing = |missing| RegistryError::IncompleteSubject { event: body.name(), missing };
            let (_, task) = subject.spec.as_ref().zip(subject.task.as_ref()).ok_or_else(|| missing("task"))?;
            subject.attempt.ok_or_else(|| missing("attempt"))?;
            // A planning step has no claim: its attempt begins with its runner.
            if matches!(body, Body::RunnerStarted { .. }) && task.is_planning_step() {
                return Ok(());
            }
            known_task(conn, subject).map(|_| ())
        }
        Body::TaskUpdated { change: TaskChange::DefinitionChanged { .. } } => Err(wrong(body.name(), "create_tasks")),
        Body::TaskUpdated { change: TaskChange::AttributesSet { .. } } => Err(wrong(body.name(), "set_task")),
        Body::TasksetImported { .. } | Body::EventImported { .. } => Err(wrong(body.name(), "import")),
        Body::SpecSynced { .. } => Err(wrong(body.name(), "sync")),
        Body::IssueAdded { .. } | Body::IssueRouted { .. } | Body::IssueTaken { .. } | Body::IssueClosed { .. } => {
            Err(wrong(body.name(), "the method for issues"))
        }
        Body::TaskUpdated { change: TaskChange::ArtifactAdded { artifact } } => {
            known_task(conn, subject)?;
            let uri = ArtifactUri::new(artifact.uri.clone()).map_err(|e| RegistryError::Damaged(e.to_string()))?;
            if artifact_exists(conn, &uri)? { Err(RegistryError::DuplicateArtifact(uri)) } else { Ok(()) }
        }
        _ => known_task(conn, subject).map(|_| ()),
    }
}

fn run_of<'a>(subject: &'a Subject, body: &Body) -> Result<&'a RunId, RegistryError> {
    let missing = || RegistryError::IncompleteSubject { event: body.name(), missing: "run" };
    subject.run.as_ref().ok_or_else(missing)
}

fn run_exists(conn: &Connection, run: &RunId) -> Result<bool, RegistryError> {
    Ok(conn.prepare_cached("SELECT 1 FROM runs WHERE id = ?1")?.exists([run.as_str()])?)
}

/// Whether the subject names a task. One that it names has to exist, and its attempt too.
fn known_task(conn: &Connection, subject: &Subject) -> Result<bool, RegistryError> {
    let (Some(spec), Some(task)) = (&subject.spec, &subject.task) else { return Ok(false) };
    let key = TaskKey { spec: spec.clone(), task: task.clone() };
    if !key.task.is_planning_step() && !task_exists(conn, &key)? {
        return Err(RegistryError::UnknownTask(key));
    }
    if let Some(attempt) = subject.attempt {
        let exists = conn
            .prepare_cached("SELECT 1 FROM attempts WHERE spec = ?1 AND task = ?2 AND attempt = ?3")?
            .exists((spec.as_str(), task.as_str(), attempt))?;
        if !exists {
            return Err(RegistryError::UnknownAttempt(AttemptKey { key, attempt }));
        }
    }
    Ok(true)
}

/// Whether the task has a row.
pub(super) fn task_exists(conn: &Connection, key: &TaskKey) -> Result<bool, RegistryError> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM tasks WHERE spec = ?1 AND task = ?2")?;
    Ok(statement.exists((key.spec.as_str(), key.task.as_str()))?)
}
