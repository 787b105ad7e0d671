//! Task sets that come from another registry's files, and go out into such files. What comes in is recorded as
//! what it was: the log says that it was imported, when it had happened, and everything that the file had.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::domain::event::{Body, Subject};
use crate::domain::exchange::{
    ExportedSet, ImportedEvent, ImportedRow, ImportedSet, ImportedTask, event_line, set_value, task_value,
};
use crate::domain::id::{SpecName, TaskId, TaskKey};
use crate::domain::release::{Cause, Step, TaskMap, settle};
use crate::domain::task::{ArtifactRef, Task, TaskDefinition, TaskState};
use crate::failpoint;

use super::definition::facts_of;
use super::error::RegistryError;
use super::records::EventFilter;
use super::writer::Tx;
use super::{Reader, Registry, find, query};

/// Most events of one spec that are imported at once.
pub const MAX_IMPORTED_EVENTS: usize = 1_000_000;

/// A spec as another registry has it.
#[derive(Debug, Clone, PartialEq)]
pub struct SpecImport {
    /// Its tasks.
    pub set: ImportedSet,
    /// Its history, oldest first.
    pub events: Vec<ImportedEvent>,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The spec.
    pub spec: SpecName,
    /// How many tasks.
    pub tasks: usize,
    /// How many events.
    pub events: usize,
    /// Tasks that stand elsewhere here than there.
    pub adjusted: Vec<Adjusted>,
}

/// A task that stands elsewhere here than in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adjusted {
    /// Which.
    pub task: TaskId,
    /// Where it stands in the file.
    pub was: TaskState,
    /// Where it stands here.
    pub is: TaskState,
    /// Why.
    pub why: &'static str,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The spec.
    pub spec: SpecName,
    /// How many tasks.
    pub tasks: usize,
    /// How many events.
    pub events: usize,
}

impl Registry {
    /// Brings specs in, all or none.
    ///
    /// # Errors
    /// [`RegistryError::SpecExists`], [`RegistryError::DuplicateTask`], [`RegistryError::UnknownDependency`],
    /// [`RegistryError::Cycle`], [`RegistryError::TooLarge`].
    pub async fn import(&self, specs: Vec<SpecImport>) -> Result<Vec<Imported>, RegistryError> {
        let imported = self.shared.writer.run(move |tx| specs.into_iter().map(|spec| import(tx, spec)).collect());
        failpoint::awaiting("registry", "import", imported).await
    }
}

fn import(tx: &mut Tx<'_>, import: SpecImport) -> Result<Imported, RegistryError> {
    let SpecImport { set, events } = import;
    let ImportedSet { spec, version, created_at, updated_at, tasks, rest } = set;
    if tx.conn.prepare_cached("SELECT 1 FROM events WHERE spec = ?1")?.exists([spec.as_str()])? {
        return Err(RegistryError::SpecExists(spec));
    }
    if events.len() > MAX_IMPORTED_EVENTS {
        let (found, limit) = (events.len() as u64, MAX_IMPORTED_EVENTS as u64);
        return Err(RegistryError::TooLarge { what: "the spec's history", found, limit, unit: "events" });
    }
    let states = states(&tasks)?;
    let report = Imported {
        spec: spec.clone(),
        tasks: tasks.len(),
        events: events.len(),
        adjusted: tasks.iter().filter_map(|task| adjusted(task, states[&task.id])).collect(),
    };
    tx.append(Subject::spec(&spec), Body::TasksetImported { version, created_at, updated_at, rest })?;
    for ImportedEvent { kind, at, task, line } in events {
        let subject = Subject { task, ..Subject::spec(&spec) };
        tx.append(subject, Body::EventImported { kind, at, line })?;
    }
    for ImportedTask { id, facts, set, state: _, created_at, updated_at, rest } in tasks {
        let state = states[&id];
        let subject = Subject::task(None, &TaskKey { spec: spec.clone(), task: id });
        tx.append(subject, Body::TaskImported { facts, set, state, created_at, updated_at, rest })?;
    }
    Ok(report)
}

/// Where each task stands here: what is over stays over, and whether all others wait is found out anew.
fn states(tasks: &[ImportedTask]) -> Result<BTreeMap<TaskId, TaskState>, RegistryError> {
    let definitions: Vec<TaskDefinition> = tasks.iter().map(definition).collect();
    let facts = facts_of(&definitions)?;
    let mut states: BTreeMap<TaskId, TaskState> = BTreeMap::new();
    let mut map = TaskMap::default();
    for ImportedTask { id, facts: own, state, .. } in tasks {
        let state = if state.is_final() { *state } else { TaskState::Blocked };
        states.insert(id.clone(), state);
        map.insert(id.clone(), state, (own.container, own.optional), facts[id].depends.clone());
    }
    let broken = |id: TaskId| RegistryError::Damaged(format!("task {id} is missing"));
    for step in settle(&map, states.keys().cloned().collect::<Vec<_>>(), Cause::Progress).map_err(broken)? {
        match step {
            Step::Ready(id) => states.insert(id, TaskState::Ready),
            Step::Complete(id) => states.insert(id, TaskState::Done),
            Step::Block { task, .. } | Step::Reopen { task, .. } => states.insert(task, TaskState::Blocked),
        };
    }
    Ok(states)
}

fn definition(task: &ImportedTask) -> TaskDefinition {
    let ImportedTask { id, facts, state, .. } = task;
    TaskDefinition {
        id: id.clone(),
        title: facts.title.clone(),
        text: facts.text.clone(),
        optional: facts.optional,
        done: *state == TaskState::Done,
        depends: facts.depends.clone(),
        skill: facts.skill.clone(),
        requirements: facts.requirements.clone(),
        priority: facts.priority,
        metadata: facts.metadata.clone(),
        parent: None,
        container: facts.container,
    }
}

fn adjusted(task: &ImportedTask, is: TaskState) -> Option<Adjusted> {
    let why = match (task.state, is) {
        (was, is) if was == is => return None,
        (TaskState::Running, _) => "nobody here works on it",
        (_, TaskState::Blocked) => "something that it needs is not done",
        (_, TaskState::Ready) => "all that it needs is done",
        _ => "all its sub-tasks are done",
    };
    Some(Adjusted { task: task.id.clone(), was: task.state, is, why })
}

impl Reader {
    /// Gives every event of a spec as a line, oldest first, and then the task set, all as of one moment.
    /// `None` when there is no such spec. Not inside [`Registry::read`].
    ///
    /// # Errors
    /// When the registry cannot be read, and those of `line`.
    pub fn export<E: From<RegistryError>>(
        &self,
        spec: &SpecName,
        mut line: impl FnMut(Value) -> Result<(), E>,
    ) -> Result<Option<(Exported, Value)>, E> {
        self.conn().execute_batch("BEGIN").map_err(RegistryError::from)?;
        let exported = self.export_now(spec, &mut line);
        self.conn().execute_batch("COMMIT").map_err(RegistryError::from)?;
        exported
    }

    fn export_now<E: From<RegistryError>>(
        &self,
        spec: &SpecName,
        line: &mut impl FnMut(Value) -> Result<(), E>,
    ) -> Result<Option<(Exported, Value)>, E> {
        let mut tasks = find::tasks(self.conn(), spec)?;
        let (Some(first), Some(last)) =
            (tasks.iter().map(|task| task.created_at).min(), tasks.iter().map(|task| task.updated_at).max())
        else {
            return Ok(None);
        };
        let mut history = History::default();
        let mut set = ExportedSet {
            spec: spec.clone(),
            version: 1,
            created_at: first,
            updated_at: last,
            rest: serde_json::Map::new(),
        };
        let mut filter = EventFilter { spec: Some(spec.clone()), ..EventFilter::default() };
        loop {
            let events = query::events(self.conn(), &filter)?;
            let Some(newest) = events.last() else { break };
            filter.after = newest.sequence;
            for event in events {
                let native = !matches!(event.body, Body::EventImported { .. });
                if let Some(value) = event_line(&event) {
                    line(value)?;
                    history.lines += 1;
                    history.native += u64::from(native && !matches!(event.body, Body::TaskCreated { .. }));
                }
                history.keep(event.body, event.subject.task, &mut set);
            }
        }
        set.version += history.native;
        if history.native > 0 {
            set.rest.remove("updated_at");
            set.updated_at = set.updated_at.max(last);
        }
        let artifacts = self.artifacts_by_task(spec)?;
        tasks.sort_by_key(|task| history.rows.get(&task.key.task).map_or(usize::MAX, |(place, _)| *place));
        let value = |task: &Task| {
            let id = &task.key.task;
            let none: &[ArtifactRef] = &[];
            task_value(task, history.rows.get(id).map(|(_, row)| row), artifacts.get(id).map_or(none, Vec::as_slice))
        };
        let values: Vec<Value> = tasks.iter().map(value).collect();
        let report = Exported { spec: spec.clone(), tasks: values.len(), events: history.lines };
        Ok(Some((report, set_value(set, values))))
    }

    fn artifacts_by_task(&self, spec: &SpecName) -> Result<BTreeMap<TaskId, Vec<ArtifactRef>>, RegistryError> {
        let mut artifacts: BTreeMap<TaskId, Vec<ArtifactRef>> = BTreeMap::new();
        for record in self.artifacts_of_spec(spec)? {
            if let Some(task) = record.task {
                artifacts.entry(task).or_default().push(record.artifact);
            }
        }
        Ok(artifacts)
    }
}

/// What an export needs of the log.
#[derive(Default)]
struct History {
    lines: usize,
    /// Changes that were made here.
    native: u64,
    /// What each imported task brought along, and its place in the file.
    rows: BTreeMap<TaskId, (usize, ImportedRow)>,
}

impl History {
    fn keep(&mut self, body: Body, task: Option<TaskId>, set: &mut ExportedSet) {
        match (body, task) {
            (Body::TasksetImported { version, created_at, updated_at, rest }, _) => {
                (set.version, set.created_at, set.updated_at, set.rest) = (version, created_at, updated_at, rest);
            }
            (Body::TaskImported { created_at, updated_at, rest, .. }, Some(task)) => {
                let place = self.rows.len();
                self.rows.insert(task, (place, ImportedRow { created_at, updated_at, rest }));
            }
            _ => {}
        }
    }
}
