//! `tasks`: a spec's tasks with their states.

use std::collections::BTreeMap;

use super::args::TasksArgs;
use super::style::Style;
use super::table::{Cell, Table};
use super::{open, out, words};
use crate::domain::id::{Instance, TaskKey};
use crate::domain::task::{Task, TaskState};
use crate::service::ServiceError;

/// Runs `tasks`.
pub(crate) async fn run(args: TasksArgs, style: Style) -> Result<(), ServiceError> {
    let TasksArgs { only: state, query } = args;
    let named = query.spec;
    let (spec, tasks, last) = open::read(&query.place, move |records| {
        let spec = records.spec(named.as_deref())?;
        let mut tasks = records.reader.tasks(&spec)?;
        tasks.retain(|task| state.is_none_or(|state| task.state == state));
        let attempts = records.reader.attempts_of_spec(&spec)?.into_iter();
        let last: BTreeMap<TaskKey, Instance> = attempts.map(|attempt| (attempt.key.key, attempt.instance)).collect();
        Ok((spec, tasks, last))
    })
    .await?;
    if query.json {
        return out::json(&tasks);
    }
    if tasks.is_empty() {
        let which = state.map_or_else(|| "no tasks yet".to_owned(), |state| format!("no task that is {state}"));
        out::tell(&format!("the spec `{spec}` has {which}"));
        return Ok(());
    }
    out::print(&table(&tasks, &last).render(style, out::columns()))
}

/// `last` is who tried each task last.
fn table(tasks: &[Task], last: &BTreeMap<TaskKey, Instance>) -> Table {
    let mut table = Table::new(&["ID", "STATE", "TRIES", "WHO", "NEEDS", "TITLE"]);
    for task in tasks {
        let facts = &task.definition;
        let assigned = task.assigned.as_ref().map(|assigned| &assigned.instance);
        let who = match assigned.or_else(|| last.get(&task.key)) {
            Some(instance) => instance.to_string(),
            None if facts.container => "(group)".to_owned(),
            None => facts.skill.clone().unwrap_or_default(),
        };
        // What is done keeps nobody waiting.
        let needs: Vec<&str> = match task.state {
            TaskState::Done | TaskState::Cancelled => Vec::new(),
            _ => facts.depends.iter().map(|id| id.as_str()).collect(),
        };
        let title = if facts.optional { format!("{} (optional)", facts.title) } else { facts.title.clone() };
        let tries = if task.attempts == 0 { String::new() } else { task.attempts.to_string() };
        table.row(vec![
            task.key.task.as_str().into(),
            Cell::painted(task.state.as_str(), words::state_paint(task.state)),
            tries.into(),
            who.into(),
            needs.join(" ").into(),
            title.into(),
        ]);
    }
    table
}
