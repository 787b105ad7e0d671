//! The backlog: adding, routing and settling issues, and reading them.

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::domain::event::{Body, Subject};
use crate::domain::id::{ExecutionId, Instance, IssueId, Role, SpecName, TaskKey};
use crate::domain::issue::{Issue, IssueStatus, NewIssue};
use crate::domain::task::TaskState;

use super::append::task_exists;
use super::error::RegistryError;
use super::rows::Columns;
use super::writer::Tx;

/// Most issues in one answer.
const MAX_ISSUES: u32 = 10_000;

/// What a routing decision says of an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The role.
    pub role: Role,
    /// Who of that role.
    pub instance: Instance,
    /// Why.
    pub reason: String,
    /// The decision's execution.
    pub routing: Option<ExecutionId>,
}

/// Puts it at the end.
pub(super) fn add(tx: &mut Tx<'_>, issue: NewIssue) -> Result<Issue, RegistryError> {
    if let Some(reason) = issue.refused() {
        return Err(RegistryError::InvalidIssue(reason));
    }
    let last: u32 =
        tx.conn.prepare_cached("SELECT coalesce(max(number), 0) FROM issues")?.query_row([], |row| row.get(0))?;
    let id = IssueId::numbered(last + 1);
    let NewIssue { title, text, labels, priority } = issue;
    let body = Body::IssueAdded { issue: id.clone(), title, text, labels, priority };
    tx.append(Subject::default(), body)?;
    known(tx.conn, &id)
}

/// Says whose work it is.
pub(super) fn route(tx: &mut Tx<'_>, id: &IssueId, routed: Routed) -> Result<Issue, RegistryError> {
    open(tx.conn, id)?;
    let Routed { role, instance, reason, routing } = routed;
    tx.append(Subject::default(), Body::IssueRouted { issue: id.clone(), role, instance, reason, routing })?;
    known(tx.conn, id)
}

/// Says which task it became.
pub(super) fn take(tx: &mut Tx<'_>, id: &IssueId, task: &TaskKey) -> Result<Issue, RegistryError> {
    open(tx.conn, id)?;
    if !task_exists(tx.conn, task)? {
        return Err(RegistryError::UnknownTask(task.clone()));
    }
    let other: Option<u32> = tx
        .conn
        .prepare_cached("SELECT number FROM issues WHERE spec = ?1 AND task = ?2")?
        .query_row((task.spec.as_str(), task.task.as_str()), |row| row.get(0))
        .optional()?;
    if let Some(other) = other {
        let how = format!("{task} is {} already", IssueId::numbered(other));
        return Err(RegistryError::SettledIssue { issue: id.clone(), how });
    }
    tx.append(Subject::task(None, task), Body::IssueTaken { issue: id.clone() })?;
    known(tx.conn, id)
}

/// Takes it out of the backlog.
pub(super) fn close(tx: &mut Tx<'_>, id: &IssueId, reason: String) -> Result<Issue, RegistryError> {
    open(tx.conn, id)?;
    tx.append(Subject::default(), Body::IssueClosed { issue: id.clone(), reason })?;
    known(tx.conn, id)
}

/// The issue, unless it is settled.
fn open(conn: &Connection, id: &IssueId) -> Result<Issue, RegistryError> {
    let issue = known(conn, id)?;
    let how = match &issue.task {
        Some(task) => format!("it is task {task}"),
        None if issue.status == IssueStatus::Completed => "it is closed".to_owned(),
        None => return Ok(issue),
    };
    Err(RegistryError::SettledIssue { issue: id.clone(), how })
}

fn known(conn: &Connection, id: &IssueId) -> Result<Issue, RegistryError> {
    one(conn, id)?.ok_or_else(|| RegistryError::UnknownIssue(id.clone()))
}

const SELECT: &str = "SELECT i.*, t.state AS task_state FROM issues i
                      LEFT JOIN tasks t ON t.spec = i.spec AND t.task = i.task";

/// One issue.
pub(super) fn one(conn: &Connection, id: &IssueId) -> Result<Option<Issue>, RegistryError> {
    conn.prepare_cached(&format!("{SELECT} WHERE i.number = ?1"))?
        .query_and_then([id.number()], row)?
        .next()
        .transpose()
}

/// All of them, oldest first, at most 10,000 after number `after`.
pub(super) fn all(conn: &Connection, after: u32) -> Result<Vec<Issue>, RegistryError> {
    conn.prepare_cached(&format!("{SELECT} WHERE i.number > ?1 ORDER BY i.number LIMIT {MAX_ISSUES}"))?
        .query_and_then([after], row)?
        .collect()
}

fn row(row: &Row<'_>) -> Result<Issue, RegistryError> {
    let role: Option<Role> = row.id_or_null("role")?;
    let task = match row.id_or_null::<SpecName>("spec")? {
        Some(spec) => Some(TaskKey { spec, task: row.id("task")? }),
        None => None,
    };
    let status = match row.id_or_null::<TaskState>("task_state")? {
        _ if row.get("closed")? => IssueStatus::Completed,
        Some(TaskState::Done | TaskState::Cancelled) => IssueStatus::Completed,
        Some(TaskState::Running) => IssueStatus::InProgress,
        Some(_) => IssueStatus::Assigned,
        None if role.is_some() => IssueStatus::Assigned,
        None => IssueStatus::Open,
    };
    let said = NewIssue {
        title: row.get("title")?,
        text: row.get("text")?,
        labels: row.json("labels")?,
        priority: row.id("priority")?,
    };
    Ok(Issue {
        id: IssueId::numbered(row.get("number")?),
        said,
        status,
        role,
        instance: row.id_or_null("instance")?,
        reason: row.get("reason")?,
        routing: row.id_or_null("routing")?,
        task,
        version: row.get("version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
