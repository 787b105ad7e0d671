//! Tasks: one, all of a spec, the ready ones, and whatever a filter says, page by page. A page begins after
//! the last row of the one before, by the values that it was sorted by, so that what changes in between
//! neither repeats a row that stayed nor skips one.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params_from_iter};

use crate::domain::id::{Digest, Instance, SpecName, TaskId, TaskKey};
use crate::domain::task::{Assigned, Facts, Task, TaskState};

use super::conditions::Conditions;
use super::error::RegistryError;
use super::filter::{Cursor, TaskFilter, TaskSort};
use super::rows::{Columns, time_text};

type Answer<T> = Result<T, RegistryError>;

pub(super) fn specs(conn: &Connection) -> Answer<Vec<SpecName>> {
    conn.prepare_cached("SELECT DISTINCT spec FROM tasks ORDER BY spec")?
        .query_and_then([], |row| row.id("spec"))?
        .collect()
}

pub(super) fn tasks(conn: &Connection, spec: &SpecName) -> Answer<Vec<Task>> {
    conn.prepare_cached("SELECT * FROM tasks WHERE spec = ?1 ORDER BY ordinal")?
        .query_and_then([spec.as_str()], task_row)?
        .collect()
}

pub(super) fn task(conn: &Connection, key: &TaskKey) -> Answer<Option<Task>> {
    conn.prepare_cached("SELECT * FROM tasks WHERE spec = ?1 AND task = ?2")?
        .query_and_then((key.spec.as_str(), key.task.as_str()), task_row)?
        .next()
        .transpose()
}

/// The most urgent first, then by number; at most `limit`. The index has them in this order.
pub(super) fn ready(conn: &Connection, spec: &SpecName, limit: u32) -> Answer<Vec<Task>> {
    conn.prepare_cached(
        "SELECT * FROM tasks WHERE spec = ?1 AND state = 'ready' ORDER BY priority DESC, ordinal LIMIT ?2",
    )?
    .query_and_then((spec.as_str(), limit), task_row)?
    .collect()
}

/// The bytes that the file at `place` had when it and the registry said the same for the last time.
pub(super) fn base(conn: &Connection, spec: &SpecName, place: &str) -> Answer<Option<Digest>> {
    conn.prepare_cached("SELECT base FROM places WHERE spec = ?1 AND place = ?2")?
        .query_and_then((spec.as_str(), place), |row| row.id("base"))?
        .next()
        .transpose()
}

/// Done tasks of which no run says so: workers and people completed them.
pub(super) fn completed_outside_runs(conn: &Connection, spec: &SpecName) -> Answer<BTreeSet<TaskId>> {
    conn.prepare_cached(
        "SELECT task FROM tasks t WHERE spec = ?1 AND state = 'done' AND
             (SELECT run FROM events e WHERE e.spec = t.spec AND e.task = t.task AND kind IN ('TaskCreated', 'TaskCompleted')
              ORDER BY seq DESC LIMIT 1) IS NULL",
    )?
    .query_and_then([spec.as_str()], |row| row.id("task"))?
    .collect()
}

/// Their ids alone, in the same order, from the index.
pub(super) fn ready_ids(conn: &Connection, spec: &SpecName, limit: u32) -> Answer<Vec<TaskId>> {
    conn.prepare_cached(
        "SELECT task FROM tasks WHERE spec = ?1 AND state = 'ready' ORDER BY priority DESC, ordinal LIMIT ?2",
    )?
    // By place, not by name: of ten thousand rows the name is looked up as often.
    .query_and_then((spec.as_str(), limit), |row| {
        let text = row.get_ref(0)?.as_str().map_err(|error| RegistryError::Damaged(format!("a task's id: {error}")))?;
        TaskId::new(text).map_err(|error| RegistryError::Damaged(error.to_string()))
    })?
    .collect()
}

/// A page of the tasks that `filter` says, each with where the next page would begin after it.
pub(super) fn find(conn: &Connection, filter: &TaskFilter) -> Answer<Vec<(Task, Cursor)>> {
    let mut only = conditions(filter);
    let (column, down) = match filter.sort {
        TaskSort::Number => (None, false),
        TaskSort::Priority => (Some("priority"), true),
        TaskSort::Created => (Some("created_at"), false),
        TaskSort::Updated => (Some("updated_at"), true),
    };
    let down = down != filter.reverse;
    let (than, order) = if down { ("<", "DESC") } else { (">", "ASC") };
    // Equal values stand in the order of specs and numbers, which turns with the rest.
    let by = column.map_or_else(|| "spec, ordinal".to_owned(), |column| format!("{column}, spec, ordinal"));
    let ordered: Vec<String> = by.split(", ").map(|part| format!("{part} {order}")).collect();
    if let Some(after) = &filter.after {
        let marks = by.split(", ").map(|_| "?").collect::<Vec<_>>().join(", ");
        only.sql.push(format!("({by}) {than} ({marks})"));
        if let Some(column) = column {
            only.values.push(after.value(column)?);
        }
        only.values.extend([after.key.spec.to_string().into(), after.key.task.ordinal().into()]);
    }
    let sql = format!("SELECT * FROM tasks{} ORDER BY {} LIMIT {}", only.clause(), ordered.join(", "), filter.page());
    conn.prepare_cached(&sql)?
        .query_and_then(params_from_iter(only.values), |row| {
            let task = task_row(row)?;
            let by = match filter.sort {
                TaskSort::Number => None,
                TaskSort::Priority => Some(task.definition.priority.to_string()),
                TaskSort::Created => Some(time_text(task.created_at)),
                TaskSort::Updated => Some(time_text(task.updated_at)),
            };
            let cursor = Cursor { by, key: task.key.clone() };
            Ok((task, cursor))
        })?
        .collect()
}

fn conditions(filter: &TaskFilter) -> Conditions {
    let mut only = Conditions::default();
    only.text("spec = ?", filter.spec.as_ref().map(SpecName::as_str));
    only.one_of("state", filter.states.iter().map(|state| state.as_str()));
    only.text("skill = ?", filter.skill.as_deref());
    only.add("optional = ?", filter.optional);
    only.add("container = ?", filter.container);
    only.text("runner = ?", filter.runner.as_deref());
    only.text("slot = ?", filter.slot.as_deref());
    if let Some(text) = &filter.text {
        only.sql.push("(instr(lower(title), lower(?)) > 0 OR instr(lower(text), lower(?)) > 0)".to_owned());
        only.values.extend([text.clone().into(), text.clone().into()]);
    }
    only
}

fn task_row(row: &Row<'_>) -> Answer<Task> {
    let state: TaskState = row.id("state")?;
    let assigned = match row.id_or_null::<Instance>("instance")? {
        None => None,
        Some(instance) => {
            Some(Assigned { instance, slot: row.id("slot")?, branch: row.get("branch")?, runner: row.get("runner")? })
        }
    };
    Ok(Task {
        key: TaskKey { spec: row.id("spec")?, task: row.id("task")? },
        definition: Facts {
            title: row.get("title")?,
            text: row.get("text")?,
            optional: row.get("optional")?,
            depends: row.json("depends")?,
            skill: row.get("skill")?,
            requirements: row.json("requirements")?,
            priority: row.get("priority")?,
            metadata: row.json("metadata")?,
            container: row.get("container")?,
        },
        set: row.json("attributes")?,
        state,
        version: row.get("version")?,
        attempts: row.get("attempts")?,
        assigned,
        last_failure: row.get("last_failure")?,
        merged_commit: row.get("merged_commit")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
