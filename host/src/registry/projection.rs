//! What the log says now: the tables that are functions of the events alone. [`apply`] reads nothing
//! but the event and the projections, so that a rebuild gives the same rows.

use rusqlite::{Connection, Params};

use crate::domain::call::Cost;
use crate::domain::event::{Body, Event, TaskChange};
use crate::domain::id::{ArtifactUri, CommitId, Digest, ExecutionId, RunId, SpecName, TaskId};
use crate::domain::task::{ArtifactRef, Attributes, Facts, TaskState};

use super::error::RegistryError;
use super::records::Gate;
use super::rows::{json_text, time_text};
use super::seats;

/// Brings the projections from the state before `event` to the one after it.
pub(super) fn apply(conn: &Connection, event: &Event) -> Result<(), RegistryError> {
    match &event.body {
        Body::RunStarted { .. } | Body::RunResumed { .. } | Body::TeamAssembled { .. } | Body::RunFinished { .. } => {
            run(conn, event)
        }
        Body::TaskCreated { facts, state } => {
            let born = Born { state: *state, set: &Attributes::default(), times: (event.time, event.time) };
            create(conn, event, facts, born)
        }
        Body::TaskUpdated { change } => update(conn, event, change),
        Body::TaskReady { from: _, last_failure } => {
            enter(conn, event, TaskState::Ready, (last_failure.as_deref(), None))
        }
        Body::TaskAssigned { .. } => assign(conn, event),
        Body::TaskBlocked { from: _, reason: _ } | Body::TaskReopened { from: _, reason: _ } => {
            enter(conn, event, TaskState::Blocked, (None, None))
        }
        Body::TaskCompleted { commit, reason: _ } => {
            enter(conn, event, TaskState::Done, (None, commit.as_ref().map(CommitId::as_str)))
        }
        Body::TaskFailed { reason } => enter(conn, event, TaskState::Failed, (Some(reason), None)),
        Body::TaskCancelled { reason: _ } => enter(conn, event, TaskState::Cancelled, (None, None)),
        Body::RunnerStarted { .. } | Body::RunnerFinished { .. } => runner(conn, event),
        Body::ReviewReported { findings, executions: _ } => {
            let (spec, task) = task_of(event)?;
            for (position, finding) in findings.iter().enumerate() {
                one(
                    conn,
                    "INSERT INTO findings (seq, position, spec, task, attempt, rule, severity, file, line, message)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                    (
                        event.sequence,
                        position,
                        spec.as_str(),
                        task.as_str(),
                        event.subject.attempt,
                        &finding.rule,
                        severity_text(finding.severity),
                        &finding.file,
                        finding.line,
                        &finding.message,
                    ),
                )?;
            }
            Ok(())
        }
        Body::SpecSynced { place, base } => {
            let spec = event.subject.spec.as_ref();
            let spec = spec.ok_or(RegistryError::IncompleteSubject { event: event.body.name(), missing: "spec" })?;
            one(
                conn,
                "INSERT INTO places (spec, place, base, seq) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (spec, place) DO UPDATE SET base = excluded.base, seq = excluded.seq",
                (spec.as_str(), place, base.as_str(), event.sequence),
            )
        }
        Body::IssueAdded { .. } | Body::IssueRouted { .. } | Body::IssueTaken { .. } | Body::IssueClosed { .. } => {
            issue(conn, event)
        }
        Body::TaskImported { facts, set, state, created_at, updated_at, rest: _ } => {
            let born = Born { state: *state, set, times: (*created_at, *updated_at) };
            create(conn, event, facts, born)
        }
        Body::PluginSeated { .. } => seats::seated(conn, event),
        Body::SlotAllocated { .. }
        | Body::SlotReleased { .. }
        | Body::PROpened { .. }
        | Body::PRMerged { .. }
        | Body::TasksetImported { .. }
        | Body::EventImported { .. } => Ok(()),
    }
}

/// The spelling of a severity in the tables.
pub(super) const fn severity_text(severity: crate::domain::review::Severity) -> &'static str {
    use crate::domain::review::Severity;
    match severity {
        Severity::Note => "note",
        Severity::Warn => "warn",
        Severity::Block => "block",
    }
}

/// Runs a statement that has to change exactly one row.
fn one(conn: &Connection, sql: &str, params: impl Params) -> Result<(), RegistryError> {
    match conn.prepare_cached(sql)?.execute(params)? {
        1 => Ok(()),
        rows => Err(RegistryError::Damaged(format!("an event changes {rows} rows instead of 1: {sql}"))),
    }
}

fn task_of(event: &Event) -> Result<(&SpecName, &TaskId), RegistryError> {
    match (&event.subject.spec, &event.subject.task) {
        (Some(spec), Some(task)) => Ok((spec, task)),
        _ => Err(RegistryError::IncompleteSubject { event: event.body.name(), missing: "task" }),
    }
}

fn run(conn: &Connection, event: &Event) -> Result<(), RegistryError> {
    let missing = || RegistryError::IncompleteSubject { event: event.body.name(), missing: "run" };
    let id = event.subject.run.as_ref().ok_or_else(missing)?;
    match &event.body {
        Body::RunStarted {
            job,
            title,
            repository,
            base_branch,
            base_commit,
            branch,
            llm,
            language,
            team,
            plugins,
            options,
        } => {
            let sql = "INSERT INTO runs (id, spec, job, title, repository, base_branch, base_commit, branch, llm,
                                         language, team, plugins, started_seq, started_at, options)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
            let params = (
                id.as_str(),
                event.subject.spec.as_ref().map(SpecName::as_str),
                job.as_ref().map(Digest::as_str),
                title,
                repository,
                base_branch,
                base_commit.as_str(),
                branch,
                llm,
                language,
                json_text(team)?,
                json_text(plugins)?,
                event.sequence,
                time_text(event.time),
                options.as_ref().map(json_text).transpose()?,
            );
            one(conn, sql, params)
        }
        Body::RunResumed { llm, plugins } => one(
            conn,
            "UPDATE runs SET resumed = resumed + 1, llm = ?2, plugins = ?3, finished_at = NULL, outcome = NULL,
                             commit_id = NULL, tree = NULL, reason = NULL
             WHERE id = ?1",
            (id.as_str(), llm, json_text(plugins)?),
        ),
        Body::TeamAssembled { team } => {
            one(conn, "UPDATE runs SET team = ?2 WHERE id = ?1", (id.as_str(), json_text(team)?))
        }
        Body::RunFinished { outcome, commit, tree, reason } => one(
            conn,
            "UPDATE runs SET finished_at = ?2, outcome = ?3, commit_id = ?4, tree = ?5, reason = ?6 WHERE id = ?1",
            (id.as_str(), time_text(event.time), outcome, commit.as_ref().map(CommitId::as_str), tree, reason),
        ),
        _ => Ok(()),
    }
}

/// How a task comes into being.
struct Born<'b> {
    state: TaskState,
    set: &'b Attributes,
    /// Made and changed.
    times: (jiff::Timestamp, jiff::Timestamp),
}

fn create(conn: &Connection, event: &Event, facts: &Facts, born: Born<'_>) -> Result<(), RegistryError> {
    let Born { state, set, times } = born;
    let (spec, task) = task_of(event)?;
    let Facts { title, text, optional, depends, skill, requirements, priority, metadata, container } = facts;
    one(
        conn,
        "INSERT INTO tasks (spec, task, title, text, optional, depends, skill, requirements, priority, container,
                            state, version, attempts, created_at, updated_at, metadata, attributes, ordinal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1, 0, ?12, ?16, ?13, ?14, ?15)",
        (
            spec.as_str(),
            task.as_str(),
            title,
            text,
            optional,
            json_text(depends)?,
            skill,
            json_text(requirements)?,
            priority,
            container,
            state.as_str(),
            time_text(times.0),
            json_text(metadata)?,
            json_text(set)?,
            task.ordinal(),
            time_text(times.1),
        ),
    )?;
    depend(conn, spec, task, depends)
}

fn depend(conn: &Connection, spec: &SpecName, task: &TaskId, depends: &[TaskId]) -> Result<(), RegistryError> {
    for needs in depends {
        one(
            conn,
            "INSERT INTO dependencies (spec, task, needs) VALUES (?1, ?2, ?3)",
            (spec.as_str(), task.as_str(), needs.as_str()),
        )?;
    }
    Ok(())
}

fn update(conn: &Connection, event: &Event, change: &TaskChange) -> Result<(), RegistryError> {
    let subject = &event.subject;
    let spec = subject.spec.as_ref().map(SpecName::as_str);
    let task = subject.task.as_ref().map(TaskId::as_str);
    match change {
        TaskChange::DefinitionChanged { facts } => redefine(conn, event, facts),
        TaskChange::AttributesSet { attributes } => set(conn, event, attributes),
        TaskChange::ArtifactAdded { artifact } => {
            let ArtifactRef { uri, kind, name, media_type, size_bytes, digest, created_at } = artifact;
            one(
                conn,
                "INSERT INTO artifacts (uri, seq, spec, task, attempt, kind, name, media_type, size_bytes, digest,
                                        created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                (
                    uri,
                    event.sequence,
                    spec,
                    task,
                    subject.attempt,
                    kind,
                    name,
                    media_type,
                    size_bytes,
                    digest.as_str(),
                    time_text(*created_at),
                ),
            )
        }
        TaskChange::NoteAdded { author, text } => one(
            conn,
            "INSERT INTO notes (seq, time, spec, task, attempt, author, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (event.sequence, time_text(event.time), spec, task, subject.attempt, author, text),
        ),
        TaskChange::GateFinished { stage, checks } => match subject.attempt {
            Some(attempt) => one(
                conn,
                "UPDATE attempts SET gates = json_insert(gates, '$[#]', json(?4))
                 WHERE spec = ?1 AND task = ?2 AND attempt = ?3",
                (spec, task, attempt, json_text(&Gate { stage: stage.clone(), checks: checks.clone() })?),
            ),
            None => Ok(()),
        },
    }
}

fn redefine(conn: &Connection, event: &Event, facts: &Facts) -> Result<(), RegistryError> {
    let (spec, task) = task_of(event)?;
    let Facts { title, text, optional, depends, skill, requirements, priority, metadata, container } = facts;
    one(
        conn,
        "UPDATE tasks SET title = ?3, text = ?4, optional = ?5, depends = ?6, skill = ?7, requirements = ?8,
                          priority = ?9, container = ?10, version = version + 1, updated_at = ?11, metadata = ?12
         WHERE spec = ?1 AND task = ?2",
        (
            spec.as_str(),
            task.as_str(),
            title,
            text,
            optional,
            json_text(depends)?,
            skill,
            json_text(requirements)?,
            priority,
            container,
            time_text(event.time),
            json_text(metadata)?,
        ),
    )?;
    conn.prepare_cached("DELETE FROM dependencies WHERE spec = ?1 AND task = ?2")?
        .execute((spec.as_str(), task.as_str()))?;
    depend(conn, spec, task, depends)
}

/// What an operator set goes over what the file says, now and after later changes of the file.
fn set(conn: &Connection, event: &Event, attributes: &Attributes) -> Result<(), RegistryError> {
    let (spec, task) = task_of(event)?;
    let Attributes { priority, skill, metadata } = attributes;
    one(
        conn,
        "UPDATE tasks SET priority = coalesce(?3, priority), skill = coalesce(?4, skill),
                          metadata = json_patch(metadata, ?5), attributes = json_patch(attributes, ?6),
                          version = version + 1, updated_at = ?7
         WHERE spec = ?1 AND task = ?2",
        (
            spec.as_str(),
            task.as_str(),
            priority,
            skill,
            json_text(metadata)?,
            json_text(&patch(attributes)?)?,
            time_text(event.time),
        ),
    )
}

/// The attributes as a JSON merge patch: what is absent in them changes nothing.
fn patch(attributes: &Attributes) -> Result<serde_json::Value, RegistryError> {
    let mut patch = serde_json::to_value(attributes).map_err(|e| RegistryError::Database(e.to_string()))?;
    if let Some(patch) = patch.as_object_mut() {
        patch.retain(|_, value| !value.is_null());
    }
    Ok(patch)
}

fn issue(conn: &Connection, event: &Event) -> Result<(), RegistryError> {
    let time = time_text(event.time);
    match &event.body {
        Body::IssueAdded { issue, title, text, labels, priority } => one(
            conn,
            "INSERT INTO issues (number, title, text, labels, priority, version, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6)",
            (issue.number(), title, text, json_text(labels)?, priority.as_str(), time),
        ),
        Body::IssueRouted { issue, role, instance, reason, routing } => one(
            conn,
            "UPDATE issues SET role = ?2, instance = ?3, reason = ?4, routing = ?5,
                               version = version + 1, updated_at = ?6
             WHERE number = ?1",
            (issue.number(), role.as_str(), instance.as_str(), reason, routing.as_ref().map(ExecutionId::as_str), time),
        ),
        Body::IssueTaken { issue } => {
            let (spec, task) = task_of(event)?;
            one(
                conn,
                "UPDATE issues SET spec = ?2, task = ?3, version = version + 1, updated_at = ?4 WHERE number = ?1",
                (issue.number(), spec.as_str(), task.as_str(), time),
            )
        }
        Body::IssueClosed { issue, reason } => one(
            conn,
            "UPDATE issues SET closed = 1, reason = ?2, version = version + 1, updated_at = ?3 WHERE number = ?1",
            (issue.number(), reason, time),
        ),
        _ => Ok(()),
    }
}

/// A new state. Whoever held the task holds it no more; what it failed on stays until it is done.
fn enter(
    conn: &Connection,
    event: &Event,
    state: TaskState,
    (last_failure, merged_commit): (Option<&str>, Option<&str>),
) -> Result<(), RegistryError> {
    let (spec, task) = task_of(event)?;
    one(
        conn,
        "UPDATE tasks SET state = ?3, version = version + 1, updated_at = ?4,
                          instance = NULL, slot = NULL, branch = NULL, runner = NULL,
                          last_failure = CASE ?3 WHEN 'done' THEN NULL ELSE coalesce(?5, last_failure) END,
                          merged_commit = ?6
         WHERE spec = ?1 AND task = ?2",
        (spec.as_str(), task.as_str(), state.as_str(), time_text(event.time), last_failure, merged_commit),
    )
}

fn assign(conn: &Connection, event: &Event) -> Result<(), RegistryError> {
    let (spec, task) = task_of(event)?;
    let Body::TaskAssigned { instance, slot, branch, runner, reason, scheduling, routing } = &event.body else {
        return Ok(());
    };
    let time = time_text(event.time);
    one(
        conn,
        "UPDATE tasks SET state = 'running', version = version + 1, updated_at = ?3, attempts = ?4,
                          instance = ?5, slot = ?6, branch = ?7, runner = ?8
         WHERE spec = ?1 AND task = ?2",
        (spec.as_str(), task.as_str(), &time, event.subject.attempt, instance.as_str(), slot.as_str(), branch, runner),
    )?;
    one(
        conn,
        "INSERT INTO attempts (spec, task, attempt, run, instance, slot, branch, runner, reason, scheduling, routing,
                               assigned_seq, assigned_at, files, cost, gates)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, '[]', ?14, '[]')",
        (
            spec.as_str(),
            task.as_str(),
            event.subject.attempt,
            event.subject.run.as_ref().map(RunId::as_str),
            instance.as_str(),
            slot.as_str(),
            branch,
            runner,
            reason,
            scheduling.as_ref().map(ExecutionId::as_str),
            routing.as_ref().map(ExecutionId::as_str),
            event.sequence,
            &time,
            json_text(&Cost::default())?,
        ),
    )
}

fn runner(conn: &Connection, event: &Event) -> Result<(), RegistryError> {
    let (spec, task) = task_of(event)?;
    let attempt = event.subject.attempt;
    let time = time_text(event.time);
    match &event.body {
        // The row stands since the claim; a planning step has none, so its row begins here.
        Body::RunnerStarted { runner, instance, slot, execution, component, base } => one(
            conn,
            "INSERT INTO attempts (spec, task, attempt, execution, component, base_commit, started_at,
                                   run, instance, slot, branch, runner, reason, assigned_seq, assigned_at,
                                   files, cost, gates)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '', ?11, '', ?12, ?7, '[]', ?13, '[]')
             ON CONFLICT (spec, task, attempt) DO UPDATE SET
                 execution = excluded.execution, component = excluded.component,
                 base_commit = excluded.base_commit, started_at = excluded.started_at",
            (
                spec.as_str(),
                task.as_str(),
                attempt,
                execution.as_str(),
                component.as_str(),
                base.as_str(),
                time,
                event.subject.run.as_ref().map(RunId::as_str),
                instance.as_str(),
                slot.as_str(),
                runner,
                event.sequence,
                json_text(&Cost::default())?,
            ),
        ),
        Body::RunnerFinished { runner: _, outcome, reason, summary, commit, files, more_files, cost, duration_ms } => {
            one(
                conn,
                "UPDATE attempts SET outcome = ?4, failure = ?5, summary = ?6, commit_id = ?7, files = ?8, cost = ?9,
                                 duration_ms = ?10, finished_at = ?11, more_files = ?12
             WHERE spec = ?1 AND task = ?2 AND attempt = ?3",
                (
                    spec.as_str(),
                    task.as_str(),
                    attempt,
                    json_text(outcome)?.trim_matches('"'),
                    reason,
                    summary,
                    commit.as_ref().map(CommitId::as_str),
                    json_text(files)?,
                    json_text(cost)?,
                    duration_ms,
                    time,
                    more_files,
                ),
            )
        }
        _ => Ok(()),
    }
}

/// Whether `uri` is taken; asked before an event would be refused by the table.
pub(super) fn artifact_exists(conn: &Connection, uri: &ArtifactUri) -> Result<bool, RegistryError> {
    Ok(conn.prepare_cached("SELECT 1 FROM artifacts WHERE uri = ?1")?.exists([uri.as_str()])?)
}
