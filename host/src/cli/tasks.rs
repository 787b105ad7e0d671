//! `tasks`: tasks with their states, as they are asked for.

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::{Sort, TasksArgs};
use super::style::Style;
use super::table::{Cell, Table};
use super::{open, out, words};
use crate::domain::id::{Instance, TaskKey};
use crate::domain::task::{Task, TaskState};
use crate::registry::{Cursor, RegistryError, TaskFilter, TaskSort};
use crate::service::ServiceError;

/// A line of `tasks --json`.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    task: &'a Task,
    cursor: &'a Cursor,
}

/// Runs `tasks`.
pub(crate) async fn run(args: TasksArgs, style: Style) -> Result<(), ServiceError> {
    let TasksArgs { query, all_specs, limit, .. } = &args;
    let (json, named, all, limit) = (query.json, query.spec.clone(), *all_specs, *limit);
    let mut filter = filter(&args)?;
    let asked = filter.clone();
    let (tasks, last) = open::read(&query.place, move |records| {
        if !all {
            filter.spec = Some(records.spec(named.as_deref())?);
        }
        let tasks = records.reader.find_tasks(&filter)?;
        let specs = match &filter.spec {
            // Only the table shows who tried last.
            _ if json => Vec::new(),
            Some(spec) => vec![spec.clone()],
            None => records.reader.specs()?,
        };
        let mut last: BTreeMap<TaskKey, Instance> = BTreeMap::new();
        for spec in specs {
            let attempts = records.reader.attempts_of_spec(&spec)?.into_iter();
            last.extend(attempts.map(|attempt| (attempt.key.key, attempt.instance)));
        }
        Ok((tasks, last))
    })
    .await?;
    if json {
        return out::json(&tasks.iter().map(|(task, cursor)| Listed { task, cursor }).collect::<Vec<_>>());
    }
    if tasks.is_empty() {
        let order =
            TaskFilter { sort: asked.sort, reverse: asked.reverse, limit: asked.limit, ..TaskFilter::default() };
        out::tell(&match asked.states.as_slice() {
            [state] if asked == (TaskFilter { states: vec![*state], ..order.clone() }) => {
                format!("there is no task that is {state}")
            }
            _ if asked == order => "there are no tasks yet".to_owned(),
            _ => "no task is like that".to_owned(),
        });
        return Ok(());
    }
    let several = tasks.iter().any(|(task, _)| task.key.spec != tasks[0].0.key.spec);
    let shown: Vec<&Task> = tasks.iter().map(|(task, _)| task).collect();
    out::print(&table(&shown, &last, several).render(style, out::columns()))?;
    if let (Some((_, last)), true) = (tasks.last(), limit.is_some_and(|limit| tasks.len() >= limit as usize)) {
        out::tell(&format!("there may be more: --after {} goes on", open::quoted(&last.to_string())));
    }
    Ok(())
}

fn filter(args: &TasksArgs) -> Result<TaskFilter, ServiceError> {
    let after = args.after.as_deref().map(str::parse::<Cursor>).transpose();
    let after = after.map_err(|error: RegistryError| ServiceError::Usage(error.to_string()))?;
    Ok(TaskFilter {
        spec: None,
        states: args.only.clone(),
        skill: args.skill.clone(),
        optional: args.optional,
        container: None,
        runner: args.runner.clone(),
        slot: args.slot.clone(),
        text: args.text.clone(),
        sort: match args.sort {
            Sort::Number => TaskSort::Number,
            Sort::Priority => TaskSort::Priority,
            Sort::Created => TaskSort::Created,
            Sort::Updated => TaskSort::Updated,
        },
        reverse: args.reverse,
        after,
        limit: args.limit.unwrap_or(0),
    })
}

/// `last` is who tried each task last; `several` specs are named.
fn table(tasks: &[&Task], last: &BTreeMap<TaskKey, Instance>, several: bool) -> Table {
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
            if several { task.key.to_string() } else { task.key.task.to_string() }.into(),
            Cell::painted(task.state.as_str(), words::state_paint(task.state)),
            tries.into(),
            who.into(),
            needs.join(" ").into(),
            title.into(),
        ]);
    }
    table
}
