//! Everything that the records say about one task.

use serde::Serialize;
use serde_json::Value;

use super::conversation::Conversation;
use crate::cli::open::Records;
use crate::cli::words;
use crate::domain::call::Cost;
use crate::domain::event::Outcome;
use crate::domain::id::{AttemptKey, CommitId, Digest, ExecutionId, Instance, RunId, TaskKey};
use crate::domain::policy::{Candidate, Decision};
use crate::domain::review::{Check, Finding};
use crate::domain::task::{ArtifactRef, Task};
use crate::registry::{Attempt, ExecutionFilter, ExecutionKind, ExecutionRecord, Gate, Note};
use crate::service::ServiceError;

/// What `show --json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) key: TaskKey,
    /// Absent for planning steps, which are attempts without a task.
    pub(super) task: Option<Task>,
    pub(super) attempts: Vec<ShownAttempt>,
    pub(super) notes: Vec<Note>,
}

/// One attempt with all that belongs to it.
#[derive(Debug, Serialize)]
pub(super) struct ShownAttempt {
    pub(super) attempt: u32,
    pub(super) run: Option<RunId>,
    pub(super) instance: Option<Instance>,
    pub(super) branch: Option<String>,
    /// Absent while it goes on, and after a crash.
    pub(super) outcome: Option<Outcome>,
    /// Why this instance.
    pub(super) reason: String,
    pub(super) routing: Option<Routing>,
    pub(super) started_at: Option<jiff::Timestamp>,
    pub(super) duration_ms: Option<u64>,
    pub(super) execution: Option<ExecutionId>,
    pub(super) component: Option<Digest>,
    /// What the spirit says that it did.
    pub(super) summary: Option<String>,
    pub(super) failure: Option<String>,
    pub(super) commit: Option<CommitId>,
    pub(super) files: Vec<String>,
    pub(super) more_files: u64,
    pub(super) cost: Cost,
    pub(super) gates: Vec<Gate>,
    pub(super) findings: Vec<Finding>,
    pub(super) artifacts: Vec<ArtifactRef>,
    /// Text of the diff artifact.
    pub(super) diff: Option<String>,
    /// From the test artifact: what each command of the gate printed.
    pub(super) checks: Vec<Check>,
    /// From the same: what became of each step of the gate, as the artifact has it.
    pub(super) steps: Vec<Value>,
    /// From the same: whether the gate's commands were confined, `on` or `off`.
    pub(super) sandbox: Option<String>,
    pub(super) conversation: Option<Conversation>,
    /// When its journal was dropped, and the conversation with it.
    pub(super) pruned_at: Option<jiff::Timestamp>,
}

/// The recorded routing decision.
#[derive(Debug, Serialize)]
pub(super) struct Routing {
    pub(super) execution: ExecutionId,
    /// The policy.
    pub(super) plugin: String,
    /// What it decided; absent when it failed.
    pub(super) decision: Option<Decision>,
    /// Why it failed.
    pub(super) error: Option<String>,
    /// Whom it could choose from.
    pub(super) candidates: Vec<Candidate>,
}

/// Reads it all; `only` is one attempt, `messages` says whether conversations are wanted whole.
pub(super) fn gather(
    records: &Records,
    key: TaskKey,
    only: Option<u32>,
    messages: bool,
) -> Result<Shown, ServiceError> {
    let task = records.reader.task(&key)?;
    let mut attempts = records
        .reader
        .attempts(&key)?
        .into_iter()
        .map(|attempt| recorded(records, attempt))
        .collect::<Result<Vec<_>, _>>()?;
    // Planning steps may have executions only.
    for execution in spirit_executions(records, &key)? {
        if attempts.iter().all(|attempt| Some(attempt.attempt) != execution.attempt) {
            attempts.push(executed(execution));
        }
    }
    attempts.sort_by_key(|attempt| attempt.attempt);
    if let Some(only) = only {
        let there: Vec<u32> = attempts.iter().map(|attempt| attempt.attempt).collect();
        attempts.retain(|attempt| attempt.attempt == only);
        if attempts.is_empty() {
            return Err(ServiceError::Usage(format!(
                "task {} has no attempt {only}; it has: {}",
                key.task,
                words::listing(there)
            )));
        }
    }
    let findings = records.reader.findings(&key)?;
    let artifacts = records.reader.artifacts(&key)?;
    for attempt in &mut attempts {
        let number = Some(attempt.attempt);
        attempt.findings =
            findings.iter().filter(|found| found.attempt == number).map(|found| found.finding.clone()).collect();
        attempt.artifacts =
            artifacts.iter().filter(|found| found.attempt == number).map(|found| found.artifact.clone()).collect();
        attempt.diff = artifact_text(records, attempt, "diff")?;
        if let Some(text) = artifact_text(records, attempt, "test")? {
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            attempt.checks = serde_json::from_value(value["checks"].clone()).unwrap_or_default();
            attempt.steps = value["steps"].as_array().cloned().unwrap_or_default();
            attempt.sandbox = value["sandbox"].as_str().filter(|word| !word.is_empty()).map(str::to_owned);
        }
        if let Some(execution) = &attempt.execution {
            attempt.pruned_at = records.reader.execution(execution)?.and_then(|execution| execution.pruned_at);
            if attempt.pruned_at.is_some() {
                continue;
            }
            let mut conversation = Conversation::read(&records.reader.calls(execution)?);
            if !messages {
                conversation.messages.clear();
            }
            attempt.conversation = Some(conversation);
        }
    }
    let notes = records.reader.notes(&key)?;
    Ok(Shown { key, task, attempts, notes })
}

fn recorded(records: &Records, attempt: Attempt) -> Result<ShownAttempt, ServiceError> {
    let routing = match attempt.routing {
        Some(id) => records.reader.execution(&id)?.map(routing),
        None => None,
    };
    let AttemptKey { key: _, attempt: number } = attempt.key;
    Ok(ShownAttempt {
        attempt: number,
        run: attempt.run,
        instance: Some(attempt.instance),
        branch: Some(attempt.branch),
        outcome: attempt.outcome,
        reason: attempt.reason,
        routing,
        started_at: attempt.started_at,
        duration_ms: attempt.duration_ms,
        execution: attempt.execution,
        component: attempt.component,
        summary: attempt.summary,
        failure: attempt.failure,
        commit: attempt.commit,
        files: attempt.files,
        more_files: attempt.more_files,
        cost: attempt.cost,
        gates: attempt.gates,
        findings: Vec::new(),
        artifacts: Vec::new(),
        diff: None,
        checks: Vec::new(),
        steps: Vec::new(),
        sandbox: None,
        conversation: None,
        pruned_at: None,
    })
}

/// An attempt of which only the execution is recorded.
fn executed(execution: ExecutionRecord) -> ShownAttempt {
    let report = |part: &str| {
        let value = execution.outcome.as_ref()?.pointer(part)?.as_str()?;
        Some(value.to_owned())
    };
    let ms = execution.ended_at.map(|end| end.as_millisecond() - execution.started_at.as_millisecond());
    ShownAttempt {
        attempt: execution.attempt.unwrap_or(0),
        instance: crate::cli::logs::instance_of(&execution),
        branch: None,
        outcome: execution
            .outcome
            .as_ref()
            .map(|outcome| if outcome.get("ok").is_some() { Outcome::Success } else { Outcome::Failed }),
        reason: String::new(),
        routing: None,
        started_at: Some(execution.started_at),
        duration_ms: ms.and_then(|ms| u64::try_from(ms).ok()),
        summary: report("/ok/summary"),
        failure: report("/message"),
        run: execution.run,
        execution: Some(execution.id),
        component: Some(execution.component),
        commit: None,
        files: Vec::new(),
        more_files: 0,
        cost: Cost::default(),
        gates: Vec::new(),
        findings: Vec::new(),
        artifacts: Vec::new(),
        diff: None,
        checks: Vec::new(),
        steps: Vec::new(),
        sandbox: None,
        conversation: None,
        pruned_at: None,
    }
}

fn spirit_executions(records: &Records, key: &TaskKey) -> Result<Vec<ExecutionRecord>, ServiceError> {
    let filter = ExecutionFilter {
        kind: Some(ExecutionKind::Spirit),
        spec: Some(key.spec.clone()),
        task: Some(key.task.clone()),
        ..ExecutionFilter::default()
    };
    Ok(records.reader.executions(&filter)?)
}

fn routing(execution: ExecutionRecord) -> Routing {
    let outcome = execution.outcome.unwrap_or_default();
    Routing {
        execution: execution.id,
        plugin: execution.plugin,
        decision: outcome.get("ok").and_then(|ok| serde_json::from_value(ok.clone()).ok()),
        error: outcome.get("message").and_then(Value::as_str).map(str::to_owned),
        candidates: serde_json::from_value(execution.input["candidates"].clone()).unwrap_or_default(),
    }
}

/// Text of the attempt's last artifact of a kind.
fn artifact_text(records: &Records, attempt: &ShownAttempt, kind: &str) -> Result<Option<String>, ServiceError> {
    match attempt.artifacts.iter().rev().find(|artifact| artifact.kind == kind) {
        Some(artifact) => Ok(Some(String::from_utf8_lossy(&records.blobs.get(&artifact.digest)?).into_owned())),
        None => Ok(None),
    }
}
