//! Commands on tasks: creating and updating a spec's set, claiming, changing state. Each decides
//! first and then writes, so that a refusal leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::domain::event::{Body, Subject, TaskChange};
use crate::domain::id::{AttemptKey, Digest, ExecutionId, RunId, SpecName, TaskId, TaskKey};
use crate::domain::release::{Cause, Graph, Need, Node, Step, TaskMap, open_needs, settle};
use crate::domain::task::{Assigned, Attributes, Facts, Task, TaskDefinition, TaskState};

use super::definition::facts_of;
use super::error::RegistryError;
use super::find;
use super::rows::Columns;
use super::writer::Tx;

/// Most tasks of one spec.
pub const MAX_TASKS: usize = 100_000;
const TICKED: &str = "ticked in tasks.md";
const OPENED: &str = "its box is open in tasks.md";
const REMOVED: &str = "removed from tasks.md";
const CHILDREN_DONE: &str = "all sub-tasks are done";

/// A claim of a ready task for one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The run; absent when a worker claims outside of any.
    pub run: Option<RunId>,
    /// The task.
    pub key: TaskKey,
    /// The version that the caller has seen.
    pub expected_version: u64,
    /// Who will work on it, and where.
    pub assigned: Assigned,
    /// Why this instance.
    pub reason: String,
    /// The scheduling decision.
    pub scheduling: Option<ExecutionId>,
    /// The routing decision.
    pub routing: Option<ExecutionId>,
}

/// Compare-and-set from ready to running.
pub(super) fn claim(tx: &mut Tx<'_>, claim: Claim) -> Result<Task, RegistryError> {
    let Claim { run, key, expected_version, assigned, reason, scheduling, routing } = claim;
    let task = expect(tx.conn, &key, expected_version)?;
    if task.definition.container {
        return Err(RegistryError::Container { task: key });
    }
    allow(&task, TaskState::Running)?;
    let Assigned { instance, slot, branch, runner } = assigned;
    let attempt = AttemptKey { key: key.clone(), attempt: task.attempts + 1 };
    let body = Body::TaskAssigned { instance, slot, branch, runner, reason, scheduling, routing };
    tx.append(Subject::attempt(run.as_ref(), &attempt), body)?;
    find::task(tx.conn, &key)?.ok_or(RegistryError::UnknownTask(key))
}

/// A change of state that is no claim.
pub(super) struct Transition {
    pub(super) run: Option<RunId>,
    pub(super) key: TaskKey,
    pub(super) expected_version: u64,
    pub(super) attempt: Option<u32>,
    pub(super) body: Body,
}

/// Changes the state, and records whatever follows from it for other tasks in the same transaction.
pub(super) fn transition(tx: &mut Tx<'_>, change: Transition) -> Result<Task, RegistryError> {
    let Transition { run, key, expected_version, attempt, body } = change;
    let task = expect(tx.conn, &key, expected_version)?;
    if let Some(attempt) = attempt
        && !(1..=task.attempts).contains(&attempt)
    {
        return Err(RegistryError::UnknownAttempt(AttemptKey { key, attempt }));
    }
    let from = task.state;
    let body = match body {
        Body::TaskReady { from: _, last_failure } => ready_or_blocked(tx.conn, &key, from, last_failure)?,
        Body::TaskBlocked { from: _, reason } => Body::TaskBlocked { from, reason },
        Body::TaskReopened { from: _, reason } => Body::TaskReopened { from, reason },
        body @ (Body::TaskCompleted { .. } | Body::TaskFailed { .. } | Body::TaskCancelled { .. }) => body,
        Body::TaskAssigned { .. } => return Err(wrong("TaskAssigned", "claim")),
        Body::TaskCreated { .. } => return Err(wrong("TaskCreated", "create_tasks")),
        Body::TaskImported { .. } => return Err(wrong("TaskImported", "import")),
        other => return Err(wrong(other.name(), "append")),
    };
    let to = state_after(&body).ok_or_else(|| wrong(body.name(), "append"))?;
    let reopens = matches!(body, Body::TaskReopened { .. });
    if reopens && !from.is_final() {
        return Err(RegistryError::IllegalTransition { task: key, from, to: TaskState::Ready });
    }
    allow(&task, to)?;
    let run = run.as_ref();
    let subject = Subject { attempt, ..Subject::task(run, &key) };
    tx.append(subject, body)?;
    let graph = Stored { conn: tx.conn, spec: &key.spec };
    if reopens {
        // Reopened means blocked, until a look at its dependencies says that it is ready.
        let steps = settle(&graph, [key.task.clone()], Cause::Progress)?;
        record(tx, run, &key.spec, steps)?;
    }
    let now_done = graph_state(tx.conn, &key)? == TaskState::Done;
    if (from == TaskState::Done) != now_done {
        let graph = Stored { conn: tx.conn, spec: &key.spec };
        let cause = if now_done { Cause::Progress } else { Cause::Reopening };
        let steps = settle(&graph, graph.dependents(&key.task)?, cause)?;
        record(tx, run, &key.spec, steps)?;
    }
    find::task(tx.conn, &key)?.ok_or(RegistryError::UnknownTask(key))
}

fn graph_state(conn: &Connection, key: &TaskKey) -> Result<TaskState, RegistryError> {
    Ok(Stored { conn, spec: &key.spec }.node(&key.task)?.state)
}

/// The state that `body` leads to; none for an event that changes no state.
pub(super) const fn state_after(body: &Body) -> Option<TaskState> {
    match body {
        Body::TaskCreated { state, .. } | Body::TaskImported { state, .. } => Some(*state),
        Body::TaskReady { .. } => Some(TaskState::Ready),
        Body::TaskBlocked { .. } | Body::TaskReopened { .. } => Some(TaskState::Blocked),
        Body::TaskAssigned { .. } => Some(TaskState::Running),
        Body::TaskCompleted { .. } => Some(TaskState::Done),
        Body::TaskFailed { .. } => Some(TaskState::Failed),
        Body::TaskCancelled { .. } => Some(TaskState::Cancelled),
        Body::RunStarted { .. }
        | Body::RunResumed { .. }
        | Body::TeamAssembled { .. }
        | Body::RunFinished { .. }
        | Body::TaskUpdated { .. }
        | Body::RunnerStarted { .. }
        | Body::RunnerFinished { .. }
        | Body::ReviewReported { .. }
        | Body::SlotAllocated { .. }
        | Body::SlotReleased { .. }
        | Body::PROpened { .. }
        | Body::PRMerged { .. }
        | Body::PluginSeated { .. }
        | Body::SpecSynced { .. }
        | Body::IssueAdded { .. }
        | Body::IssueRouted { .. }
        | Body::IssueTaken { .. }
        | Body::IssueClosed { .. }
        | Body::TasksetImported { .. }
        | Body::EventImported { .. } => None,
    }
}

pub(super) const fn wrong(event: &'static str, instead: &'static str) -> RegistryError {
    RegistryError::WrongEvent { event, instead }
}

fn expect(conn: &Connection, key: &TaskKey, expected: u64) -> Result<Task, RegistryError> {
    let task = find::task(conn, key)?.ok_or_else(|| RegistryError::UnknownTask(key.clone()))?;
    if task.version == expected {
        Ok(task)
    } else {
        Err(RegistryError::Conflict { task: key.clone(), expected, found: task.version })
    }
}

fn allow(task: &Task, to: TaskState) -> Result<(), RegistryError> {
    if task.state.may_become(to) {
        Ok(())
    } else {
        Err(RegistryError::IllegalTransition { task: task.key.clone(), from: task.state, to })
    }
}

/// A task goes back to ready only when nothing that it needs was opened again meanwhile.
fn ready_or_blocked(
    conn: &Connection,
    key: &TaskKey,
    from: TaskState,
    last_failure: Option<String>,
) -> Result<Body, RegistryError> {
    let node = Stored { conn, spec: &key.spec }.node(&key.task)?;
    let open = open_needs(&node, &BTreeMap::new());
    if open.is_empty() {
        return Ok(Body::TaskReady { from, last_failure });
    }
    if from == TaskState::Blocked {
        return Err(RegistryError::IllegalTransition { task: key.clone(), from, to: TaskState::Ready });
    }
    Ok(Body::TaskBlocked { from, reason: waits_for(&open) })
}

fn waits_for(open: &[TaskId]) -> String {
    format!("waits for {}", open.iter().map(TaskId::as_str).collect::<Vec<_>>().join(", "))
}

/// The dependency graph as it stands in the tables.
struct Stored<'a> {
    conn: &'a Connection,
    spec: &'a SpecName,
}

impl Graph for Stored<'_> {
    type Error = RegistryError;

    fn node(&self, task: &TaskId) -> Result<Node, RegistryError> {
        let key = || TaskKey { spec: self.spec.clone(), task: task.clone() };
        let mut statement =
            self.conn.prepare_cached("SELECT state, container FROM tasks WHERE spec = ?1 AND task = ?2")?;
        let mut rows = statement.query((self.spec.as_str(), task.as_str()))?;
        let row = rows.next()?.ok_or_else(|| RegistryError::UnknownTask(key()))?;
        let (state, container) = (row.id("state")?, row.get("container")?);
        let needs = self
            .conn
            .prepare_cached(
                "SELECT d.needs, t.state, t.optional
                 FROM dependencies d JOIN tasks t ON t.spec = d.spec AND t.task = d.needs
                 WHERE d.spec = ?1 AND d.task = ?2",
            )?
            .query_and_then((self.spec.as_str(), task.as_str()), |row| {
                Ok(Need { task: row.id("needs")?, state: row.id("state")?, optional: row.get("optional")? })
            })?
            .collect::<Result<_, RegistryError>>()?;
        Ok(Node { state, container, needs })
    }

    fn dependents(&self, task: &TaskId) -> Result<Vec<TaskId>, RegistryError> {
        self.conn
            .prepare_cached("SELECT task FROM dependencies WHERE spec = ?1 AND needs = ?2")?
            .query_and_then((self.spec.as_str(), task.as_str()), |row| row.id("task"))?
            .collect()
    }
}

/// Records consequences as events.
fn record(tx: &mut Tx<'_>, run: Option<&RunId>, spec: &SpecName, steps: Vec<Step>) -> Result<(), RegistryError> {
    for step in steps {
        let (task, body) = match step {
            Step::Ready(task) => (task, Body::TaskReady { from: TaskState::Blocked, last_failure: None }),
            Step::Complete(task) => (task, Body::TaskCompleted { commit: None, reason: CHILDREN_DONE.to_owned() }),
            Step::Block { task, open } => {
                (task, Body::TaskBlocked { from: TaskState::Ready, reason: waits_for(&open) })
            }
            Step::Reopen { task, open } => {
                (task, Body::TaskReopened { from: TaskState::Done, reason: waits_for(&open) })
            }
        };
        tx.append(about(run, spec, &task), body)?;
    }
    Ok(())
}

fn about(run: Option<&RunId>, spec: &SpecName, task: &TaskId) -> Subject {
    Subject::task(run, &TaskKey { spec: spec.clone(), task: task.clone() })
}

/// What an operator says of a task. Saying again what was said is no event.
pub(super) fn set(
    tx: &mut Tx<'_>,
    run: Option<&RunId>,
    key: &TaskKey,
    expected_version: Option<u64>,
    attributes: Attributes,
) -> Result<Task, RegistryError> {
    let task = match expected_version {
        Some(expected) => expect(tx.conn, key, expected)?,
        None => find::task(tx.conn, key)?.ok_or_else(|| RegistryError::UnknownTask(key.clone()))?,
    };
    let after = task.set.clone().and(attributes.clone());
    if let Some(excess) = after.excess() {
        return Err(RegistryError::InvalidAttributes(excess));
    }
    if after == task.set {
        return Ok(task);
    }
    let change = TaskChange::AttributesSet { attributes };
    tx.append(Subject::task(run, key), Body::TaskUpdated { change })?;
    find::task(tx.conn, key)?.ok_or_else(|| RegistryError::UnknownTask(key.clone()))
}

/// What a file says by what it leaves out: open boxes of tasks that are done, and tasks that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boxes {
    /// The file is the registry's own copy on the spec branch, where the host alone ticks: the open box of a
    /// task that a run completed says that it is to be done again, and a task that is not there was taken out.
    /// What was completed outside of runs, by a worker or a tick elsewhere, was never ticked there.
    AsTheyAre,
    /// The file is edited beside the registry, which may know better: only what a person did since both
    /// said the same for the last time counts.
    Since {
        /// Un-ticked, or put in again.
        opened: BTreeSet<TaskId>,
        /// Taken out.
        removed: BTreeSet<TaskId>,
    },
}

impl Boxes {
    /// Whether the open box of a task that is done or cancelled says that it is to be done again.
    fn opens(&self, task: &TaskId) -> bool {
        match self {
            Self::AsTheyAre => true,
            Self::Since { opened, .. } => opened.contains(task),
        }
    }

    /// Whether a task that is not in the file was taken out of it.
    fn removes(&self, task: &TaskId) -> bool {
        match self {
            Self::AsTheyAre => true,
            Self::Since { removed, .. } => removed.contains(task),
        }
    }
}

/// What a spec's file says, and how it is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecContent {
    /// Its tasks.
    pub definitions: Vec<TaskDefinition>,
    /// What it says by what it leaves out.
    pub boxes: Boxes,
    /// Where the file is, and the digest of the bytes that it has, or will have, when both sides say the
    /// same: the base of the next sync. The bytes are in the blob store already.
    pub place: Option<(String, Digest)>,
}

/// Brings the registry to what the spec's file says (readings A8): content from the file, "ticked" =
/// done, a box that is open although its task was done = to be done again, and every other state from
/// the registry. Definitions that say nothing new are no event.
pub(super) fn sync(
    tx: &mut Tx<'_>,
    run: Option<&RunId>,
    spec: &SpecName,
    content: &SpecContent,
) -> Result<Vec<Task>, RegistryError> {
    let SpecContent { definitions, boxes, place } = content;
    let mut facts = facts_of(definitions)?;
    let existing: BTreeMap<TaskId, Task> =
        find::tasks(tx.conn, spec)?.into_iter().map(|task| (task.key.task.clone(), task)).collect();
    for (facts, task) in facts.iter_mut().filter_map(|(id, facts)| Some((facts, existing.get(id)?))) {
        *facts = task.set.over(facts.clone());
    }
    let ticked: BTreeSet<&TaskId> = definitions.iter().filter(|d| d.done).map(|d| &d.id).collect();
    let absent = existing.values().filter(|task| !facts.contains_key(&task.key.task));
    let gone: Vec<&Task> = absent.filter(|task| boxes.removes(&task.key.task)).collect();
    if let Some(task) = gone.iter().find(|task| task.state == TaskState::Running) {
        return Err(RegistryError::Running(task.key.clone()));
    }
    let elsewhere = match boxes {
        Boxes::AsTheyAre => find::completed_outside_runs(tx.conn, spec)?,
        Boxes::Since { .. } => BTreeSet::new(),
    };
    // Nobody ticks containers: they follow their children.
    let is_open = |task: &&Task| {
        let id = &task.key.task;
        // One that was taken out of the file and stands there again is to be done as well.
        let is_over = match task.state {
            TaskState::Done => boxes.opens(id) && !elsewhere.contains(id),
            TaskState::Cancelled => boxes.opens(id),
            _ => false,
        };
        is_over && !ticked.contains(id) && facts.get(id).is_some_and(|facts| !facts.container)
    };
    let opened: BTreeSet<&TaskId> = existing.values().filter(is_open).map(|task| &task.key.task).collect();
    let cancelled = gone.iter().filter(|task| !task.state.is_final()).map(|task| &task.key.task).collect();
    let plan = Plan::new(&facts, &existing, &ticked, &opened, &cancelled)?;
    // In the order of the file, so that the log reads as the file does.
    for TaskDefinition { id, .. } in definitions {
        let Some(facts) = facts.get(id) else { continue };
        match existing.get(id) {
            None => {
                let state = plan.created.get(id).copied().unwrap_or(TaskState::Blocked);
                tx.append(about(run, spec, id), Body::TaskCreated { facts: facts.clone(), state })?;
            }
            Some(task) if task.definition != *facts => {
                let change = TaskChange::DefinitionChanged { facts: facts.clone() };
                tx.append(about(run, spec, id), Body::TaskUpdated { change })?;
            }
            Some(_) => {}
        }
    }
    for task in existing.values().filter(|t| ticked.contains(&t.key.task) && t.state != TaskState::Done) {
        let subject = about(run, spec, &task.key.task);
        if !task.state.may_become(TaskState::Done) {
            tx.append(subject.clone(), Body::TaskReopened { from: task.state, reason: TICKED.to_owned() })?;
        }
        tx.append(subject, Body::TaskCompleted { commit: None, reason: TICKED.to_owned() })?;
    }
    for task in &opened {
        let from = existing.get(*task).map_or(TaskState::Done, |task| task.state);
        tx.append(about(run, spec, task), Body::TaskReopened { from, reason: OPENED.to_owned() })?;
    }
    for task in gone.iter().filter(|task| !task.state.is_final()) {
        let body = Body::TaskCancelled { reason: REMOVED.to_owned() };
        tx.append(about(run, spec, &task.key.task), body)?;
    }
    record(tx, run, spec, plan.steps)?;
    let mut above = Vec::new();
    for task in &opened {
        above.extend(Stored { conn: tx.conn, spec }.dependents(task)?);
    }
    let steps = settle(&Stored { conn: tx.conn, spec }, above, Cause::Reopening)?;
    record(tx, run, spec, steps)?;
    if let Some((place, base)) = place {
        agree(tx, run, spec, (place, base))?;
    }
    find::tasks(tx.conn, spec)
}

/// Records what file and registry agree on, unless that is recorded already.
fn agree(
    tx: &mut Tx<'_>,
    run: Option<&RunId>,
    spec: &SpecName,
    (place, base): (&str, &Digest),
) -> Result<(), RegistryError> {
    if find::base(tx.conn, spec, place)?.as_ref() != Some(base) {
        let subject = Subject { run: run.cloned(), ..Subject::spec(spec) };
        tx.append(subject, Body::SpecSynced { place: place.to_owned(), base: base.clone() })?;
    }
    Ok(())
}

/// What the new definitions mean for states.
struct Plan {
    /// First states of new tasks.
    created: BTreeMap<TaskId, TaskState>,
    /// What changes for tasks that exist.
    steps: Vec<Step>,
}

impl Plan {
    fn new(
        facts: &BTreeMap<TaskId, Facts>,
        existing: &BTreeMap<TaskId, Task>,
        ticked: &BTreeSet<&TaskId>,
        opened: &BTreeSet<&TaskId>,
        gone: &BTreeSet<&TaskId>,
    ) -> Result<Self, RegistryError> {
        let mut map = TaskMap::default();
        let mut seeds = BTreeSet::new();
        let mut created = BTreeMap::new();
        for (id, facts) in facts {
            let old = existing.get(id);
            let state = match old {
                _ if ticked.contains(id) => TaskState::Done,
                _ if opened.contains(id) => TaskState::Blocked,
                Some(task) => task.state,
                None => TaskState::Blocked,
            };
            if old.is_none() {
                created.insert(id.clone(), state);
            }
            if opened.contains(id) || old.is_none_or(|task| task.definition != *facts) {
                seeds.insert(id.clone());
            }
            map.insert(id.clone(), state, (facts.container, facts.optional), facts.depends.clone());
        }
        // What the file does not have may wait for what it has, unless it was taken out.
        for (id, task) in existing.iter().filter(|(id, _)| !facts.contains_key(*id)) {
            let Facts { container, optional, depends, .. } = &task.definition;
            let state = if gone.contains(id) { TaskState::Cancelled } else { task.state };
            map.insert(id.clone(), state, (*container, *optional), depends.clone());
        }
        let broken = |id: TaskId| RegistryError::Damaged(format!("task {id} is missing"));
        for id in ticked.iter().filter(|id| existing.get(**id).is_some_and(|t| t.state != TaskState::Done)) {
            seeds.extend(map.dependents(id).map_err(broken)?);
        }
        let mut steps = Vec::new();
        for step in settle(&map, seeds, Cause::Progress).map_err(broken)? {
            let (id, state) = match &step {
                Step::Ready(id) => (id, TaskState::Ready),
                Step::Complete(id) => (id, TaskState::Done),
                Step::Block { task, .. } => (task, TaskState::Blocked),
                Step::Reopen { task, .. } => (task, TaskState::Blocked),
            };
            match created.get_mut(id) {
                Some(first) => *first = state,
                None => steps.push(step),
            }
        }
        Ok(Self { created, steps })
    }
}
