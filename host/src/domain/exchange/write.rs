//! Our tasks and events in the form of the Python original.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{EVENT_TYPES, Fields, OURS, Ours, THEIRS, WORKER, derived};
use crate::domain::event::{Body, Event, Outcome};
use crate::domain::id::SpecName;
use crate::domain::task::{ArtifactRef, Facts, Task, TaskState};

/// What is known of a task set besides its tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedSet {
    /// The spec.
    pub spec: SpecName,
    /// Its version.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// Fields of the file that it came from; times in them say the same.
    pub rest: Fields,
}

/// What is known of a task from the file that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedRow {
    /// When it was made, as the file has it.
    pub created_at: Timestamp,
    /// When it was changed, as the file has it.
    pub updated_at: Timestamp,
    /// Other fields of the file.
    pub rest: Fields,
}

/// A `taskset.json`.
#[must_use]
pub fn set_value(set: ExportedSet, tasks: Vec<Value>) -> Value {
    let ExportedSet { spec, version, created_at, updated_at, rest } = set;
    let mut fields = rest;
    put(&mut fields, "spec_name", spec.as_str());
    put(&mut fields, "version", version);
    fields.entry("created_at").or_insert_with(|| created_at.to_string().into());
    fields.entry("updated_at").or_insert_with(|| updated_at.to_string().into());
    fields.entry("metadata").or_insert_with(|| json!({}));
    put(&mut fields, "tasks", tasks);
    Value::Object(fields)
}

/// One task of a `taskset.json`; `artifacts` are those that the registry knows.
#[must_use]
pub fn task_value(task: &Task, imported: Option<&ImportedRow>, artifacts: &[ArtifactRef]) -> Value {
    let Task { key, definition: facts, set, state, version, assigned, created_at, updated_at, .. } = task;
    let mut fields = imported.map(|imported| imported.rest.clone()).unwrap_or_default();
    put(&mut fields, "id", key.task.as_str());
    put(&mut fields, "title", facts.title.as_str());
    put(&mut fields, "description", facts.text.as_str());
    put(&mut fields, "state", state.as_str());
    put(&mut fields, "required_skill", facts.skill.clone());
    put(&mut fields, "priority", facts.priority);
    put(&mut fields, "is_optional", facts.optional);
    depend(&mut fields, facts);
    // A row's first version is what was imported.
    let unchanged = *version == 1;
    for (name, now) in WORKER.into_iter().zip(match assigned {
        Some(a) => [Some(a.runner.as_str()), Some(a.slot.as_str()), Some(a.branch.as_str())],
        None => [None; 3],
    }) {
        if now.is_some() || !unchanged || !fields.contains_key(name) {
            put(&mut fields, name, now);
        }
    }
    if imported.is_none_or(|imported| imported.created_at != *created_at) {
        put(&mut fields, "created_at", created_at.to_string());
    }
    if !unchanged || imported.is_none_or(|imported| imported.updated_at != *updated_at) {
        put(&mut fields, "updated_at", updated_at.to_string());
    }
    if let Value::Array(list) = fields.entry("artifacts").or_insert_with(|| json!([])) {
        list.extend(artifacts.iter().map(artifact));
    }
    let mut metadata = Fields::new();
    for (key, value) in &facts.metadata {
        match (key.as_str(), serde_json::from_str::<Value>(value)) {
            (THEIRS, Ok(Value::Object(others))) => metadata.extend(others),
            _ => {
                metadata.insert(key.clone(), Value::from(value.as_str()));
            }
        }
    }
    if !facts.requirements.is_empty() || facts.container || *set != derived(facts) {
        let ours = Ours { requirements: facts.requirements.clone(), container: facts.container, set: set.clone() };
        put(&mut metadata, OURS, serde_json::to_value(ours).unwrap_or_default());
    }
    put(&mut fields, "metadata", metadata);
    Value::Object(fields)
}

fn put(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}

/// The dependencies in the order in which a file had them, as long as they are the same.
fn depend(fields: &mut Fields, facts: &Facts) {
    let mut named: Vec<&str> = facts.depends.iter().map(|id| id.as_str()).collect();
    named.sort_unstable();
    let kept = fields.get("dependencies").and_then(Value::as_array).is_some_and(|list| {
        let mut list: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
        list.sort_unstable();
        list.dedup();
        list == named
    });
    if !kept {
        let ids: Vec<Value> = facts.depends.iter().map(|id| Value::from(id.as_str())).collect();
        put(fields, "dependencies", ids);
    }
}

fn artifact(artifact: &ArtifactRef) -> Value {
    let ArtifactRef { uri, kind, name, media_type, size_bytes, digest, created_at } = artifact;
    json!({ "type": kind, "uri": uri, "size_bytes": size_bytes, "created_at": created_at.to_string(),
            "metadata": { "name": name, "media_type": media_type, "sha256": digest.as_str() } })
}

/// A line of an `events.jsonl`; none for an event that is not about tasks. What was imported comes out as it
/// came in.
#[must_use]
pub fn event_line(event: &Event) -> Option<Value> {
    if let Body::EventImported { line, .. } = &event.body {
        return Some(Value::Object(line.clone()));
    }
    let name = event.body.name();
    let spec = event.subject.spec.as_ref()?;
    if !EVENT_TYPES.contains(&name) {
        return None;
    }
    // All that we know, and beside it the names that readers of the original look for.
    let body = serde_json::to_value(&event.body).unwrap_or_default();
    let mut details = body.get("details").and_then(Value::as_object).cloned().unwrap_or_default();
    theirs(&event.body, &mut details);
    if let Some(run) = &event.subject.run {
        put(&mut details, "run_id", run.as_str());
    }
    if let Some(attempt) = event.subject.attempt {
        put(&mut details, "attempt", attempt);
    }
    let task = event.subject.task.as_ref().map_or("", |task| task.as_str());
    Some(json!({ "event_type": name, "spec_name": spec.as_str(), "task_id": task,
                 "timestamp": event.time.to_string(), "details": details }))
}

fn theirs(body: &Body, details: &mut Fields) {
    let state = |details: &mut Fields, from: Option<TaskState>, to: TaskState| {
        if let Some(from) = from {
            put(details, "old_state", from.as_str());
        }
        put(details, "new_state", to.as_str());
    };
    match body {
        Body::TaskCreated { facts, .. } => put(details, "title", facts.title.as_str()),
        Body::TaskUpdated { change } => {
            let change = serde_json::to_value(change).unwrap_or_default();
            put(details, "action", change["action"].clone());
            if let Some(artifact) = change.get("artifact") {
                put(details, "artifact_type", artifact["kind"].clone());
                put(details, "uri", artifact["uri"].clone());
            }
        }
        Body::TaskReady { from, .. } => state(details, Some(*from), TaskState::Ready),
        Body::TaskBlocked { from, .. } | Body::TaskReopened { from, .. } => {
            state(details, Some(*from), TaskState::Blocked);
        }
        Body::TaskAssigned { slot, runner, .. } => {
            state(details, Some(TaskState::Ready), TaskState::Running);
            put(details, "runner_id", runner.as_str());
            put(details, "slot_id", slot.as_str());
        }
        Body::TaskCompleted { .. } => state(details, None, TaskState::Done),
        Body::TaskFailed { reason } => {
            state(details, None, TaskState::Failed);
            put(details, "failure_reason", reason.as_str());
        }
        Body::TaskCancelled { .. } => state(details, None, TaskState::Cancelled),
        Body::RunnerStarted { runner, slot, .. } => {
            put(details, "runner_id", runner.as_str());
            put(details, "slot_id", slot.as_str());
        }
        Body::RunnerFinished { runner, outcome, reason, duration_ms, .. } => {
            put(details, "runner_id", runner.as_str());
            put(details, "success", *outcome == Outcome::Success);
            put(details, "failure_reason", reason.clone());
            put(details, "execution_time_seconds", Value::from(*duration_ms / 1000));
        }
        _ => {}
    }
}
