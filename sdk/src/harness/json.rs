//! The host's JSON and the contract's types, one into the other. Inputs are taken apart without `..`: a field that
//! the contract gains does not compile here.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::review::{
    Change, ChangedFile, Check, DiffLine, FileChange, Finding, HeuristicInfo, Hunk, LineKind, Rule, Severity,
};
use crate::routing::{Candidate, Decision, Issue, Score};
use crate::scheduling::{Placement, Plan, Pool, ReadyTask};
use crate::spirit::{
    Assignment, Budget, Criterion, DependencyReport, Document, Envelope, NamedCommand, Report, RoleInfo, WorkKind,
};
use crate::{Failure, HostError};

pub(super) fn issue(issue: Issue) -> Value {
    let Issue { id, title, text, labels, priority } = issue;
    json!({ "id": id, "title": title, "text": text, "labels": labels, "priority": priority })
}

pub(super) fn candidate(candidate: Candidate) -> Value {
    let Candidate { instance, role, skills, load, capacity, last_assigned, price_microusd } = candidate;
    json!({
        "instance": instance, "role": role, "skills": skills, "load": load, "capacity": capacity,
        "last_assigned": last_assigned, "price_microusd": price_microusd,
    })
}

pub(super) fn ready(task: ReadyTask) -> Value {
    let ReadyTask { spec, task, title, skill, priority, waiting_ms, dependents, remaining_path, attempt } = task;
    json!({
        "spec": spec, "task": task, "title": title, "skill": skill, "priority": priority, "waiting_ms": waiting_ms,
        "dependents": dependents, "remaining_path": remaining_path, "attempt": attempt,
    })
}

pub(super) fn pool(pool: Pool) -> Value {
    let Pool { name, capacity, running, skills } = pool;
    json!({ "name": name, "capacity": capacity, "running": running, "skills": skills })
}

pub(super) fn change(change: Change) -> Value {
    let Change { spec, task, title, text, commit_title, instance, role, attempt, files, checks } = change;
    let files: Vec<Value> = files.into_iter().map(changed_file).collect();
    let checks = checks
        .into_iter()
        .map(|Check { name, passed, output }| json!({ "name": name, "passed": passed, "output": output }));
    let checks: Vec<Value> = checks.collect();
    json!({
        "spec": spec, "task": task, "title": title, "text": text, "commit_title": commit_title, "instance": instance,
        "role": role, "attempt": attempt, "files": files, "checks": checks,
    })
}

fn changed_file(file: ChangedFile) -> Value {
    let ChangedFile { path, change, binary, size_bytes, hunks } = file;
    let change = match change {
        FileChange::Added => "added",
        FileChange::Modified => "modified",
        FileChange::Deleted => "deleted",
    };
    let hunks: Vec<Value> = hunks.into_iter().map(hunk).collect();
    json!({ "path": path, "change": change, "binary": binary, "size_bytes": size_bytes, "hunks": hunks })
}

fn hunk(hunk: Hunk) -> Value {
    let Hunk { old_start, new_start, lines } = hunk;
    let lines = lines.into_iter().map(|DiffLine { kind, text }| {
        let kind = match kind {
            LineKind::Context => "context",
            LineKind::Added => "added",
            LineKind::Removed => "removed",
        };
        json!({ "kind": kind, "text": text })
    });
    let lines: Vec<Value> = lines.collect();
    json!({ "old_start": old_start, "new_start": new_start, "lines": lines })
}

pub(super) fn assignment(assignment: Assignment) -> Value {
    let Assignment {
        kind,
        envelope,
        spec,
        task,
        title,
        text,
        language,
        acceptance_criteria,
        documents,
        steering,
        dependency_reports,
        attempt,
        max_attempts,
        last_failure,
        commands,
        budget_left,
    } = assignment;
    let kind = match kind {
        WorkKind::Specify => "specify",
        WorkKind::Plan => "plan",
        WorkKind::Implement => "implement",
    };
    let criteria = acceptance_criteria.into_iter().map(|Criterion { id, text }| json!({ "id": id, "text": text }));
    let reports = dependency_reports.into_iter().map(|DependencyReport { task, title, summary, files }| {
        json!({ "task": task, "title": title, "summary": summary, "files": files })
    });
    let named = commands
        .into_iter()
        .map(|NamedCommand { name, description }| json!({ "name": name, "description": description }));
    let Budget { tokens, cost_microusd, calls } = budget_left;
    let mut value = json!({
        "kind": kind, "envelope": sent(envelope), "spec": spec, "task": task, "title": title, "text": text,
        "language": language, "acceptance_criteria": criteria.collect::<Vec<_>>(), "documents": texts(documents),
        "steering": texts(steering), "dependency_reports": reports.collect::<Vec<_>>(), "attempt": attempt,
        "max_attempts": max_attempts, "last_failure": last_failure,
        "budget_left": { "tokens": tokens, "cost_microusd": cost_microusd, "calls": calls },
    });
    let named: Vec<Value> = named.collect();
    // None named: those of the harness.
    if !named.is_empty() {
        value["commands"] = Value::Array(named);
    }
    value
}

fn sent(envelope: Envelope) -> Value {
    let Envelope { kind, agent_instance, issue_id, payload, spec_id, task_id, sender, message_id } = envelope;
    let payload = serde_json::from_str(&payload).unwrap_or(Value::String(payload));
    json!({
        "type": kind, "agent_instance": agent_instance, "issue_id": issue_id, "payload": payload, "spec_id": spec_id,
        "task_id": task_id, "sender": sender, "message_id": message_id,
    })
}

fn texts(documents: Vec<Document>) -> Vec<Value> {
    documents.into_iter().map(|Document { name, text }| json!({ "name": name, "text": text })).collect()
}

/// Reads what the host prints.
fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| format!("the host's answer has another form: {error}"))
}

pub(super) fn decision(value: &Value) -> Result<Decision, String> {
    #[derive(Deserialize)]
    struct Points {
        role: String,
        points: f64,
        matched: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Read {
        instance: String,
        scores: Vec<Points>,
        reason: String,
        state: String,
    }
    let Read { instance, scores, reason, state } = read(value)?;
    let scores = scores.into_iter().map(|Points { role, points, matched }| Score { role, points, matched });
    Ok(Decision { instance, scores: scores.collect(), reason, state })
}

pub(super) fn plan(value: &Value) -> Result<Plan, String> {
    #[derive(Deserialize)]
    struct Place {
        spec: String,
        task: String,
        pool: String,
    }
    #[derive(Deserialize)]
    struct Read {
        placements: Vec<Place>,
        state: String,
    }
    let Read { placements, state } = read(value)?;
    let placements = placements.into_iter().map(|Place { spec, task, pool }| Placement { spec, task, pool });
    Ok(Plan { placements: placements.collect(), state })
}

pub(super) fn report(value: &Value) -> Result<Report, String> {
    #[derive(Deserialize)]
    struct Read {
        title: String,
        summary: String,
    }
    let Read { title, summary } = read(value)?;
    Ok(Report { title, summary })
}

pub(super) fn role_info(value: &Value) -> Result<RoleInfo, String> {
    #[derive(Deserialize)]
    struct Read {
        role: String,
        title: String,
        skills: Vec<String>,
    }
    let Read { role, title, skills } = read(value)?;
    Ok(RoleInfo { role, title, skills })
}

fn severity(name: &str) -> Result<Severity, String> {
    match name {
        "note" => Ok(Severity::Note),
        "warn" => Ok(Severity::Warn),
        "block" => Ok(Severity::Block),
        other => Err(format!("the host's answer has an unknown severity `{other}`")),
    }
}

pub(super) fn findings(value: &Value) -> Result<Vec<Finding>, String> {
    #[derive(Deserialize)]
    struct Read {
        rule: String,
        severity: String,
        file: Option<String>,
        line: Option<u32>,
        message: String,
    }
    let found: Vec<Read> = read(value)?;
    let findings = found.into_iter().map(|Read { rule, severity: name, file, line, message }| {
        Ok(Finding { rule, severity: severity(&name)?, file, line, message })
    });
    findings.collect()
}

pub(super) fn heuristic_info(value: &Value) -> Result<HeuristicInfo, String> {
    #[derive(Deserialize)]
    struct ReadRule {
        id: String,
        severity: String,
        description: String,
    }
    #[derive(Deserialize)]
    struct Read {
        name: String,
        rules: Vec<ReadRule>,
    }
    let Read { name, rules } = read(value)?;
    let rules = rules
        .into_iter()
        .map(|ReadRule { id, severity: name, description }| Ok(Rule { id, severity: severity(&name)?, description }));
    Ok(HeuristicInfo { name, rules: rules.collect::<Result<_, String>>()? })
}

/// How the component itself says that it failed.
pub(super) fn failure(value: &Value) -> Result<Failure, String> {
    let detail = &value["detail"];
    let text = || detail.as_str().unwrap_or_default().to_owned();
    match value["failure"].as_str() {
        Some("invalid") => Ok(Failure::Invalid(text())),
        Some("gave-up") => Ok(Failure::GaveUp(text())),
        Some("host") => Ok(Failure::Host(host_error(detail)?)),
        _ => Err(format!("the host's answer has an unknown failure: {value}")),
    }
}

/// An error of a host call.
pub(super) fn host_error(value: &Value) -> Result<HostError, String> {
    let text = value["message"].as_str().unwrap_or_default().to_owned();
    Ok(match value["error"].as_str() {
        Some("denied") => HostError::Denied(text),
        Some("not-found") => HostError::NotFound(text),
        Some("conflict") => HostError::Conflict(text),
        Some("budget-exceeded") => HostError::BudgetExceeded(text),
        Some("timed-out") => HostError::TimedOut(text),
        Some("cancelled") => HostError::Cancelled(text),
        Some("invalid") => HostError::Invalid(text),
        Some("uncertain") => HostError::Uncertain(text),
        Some("other") => HostError::Other(text),
        _ => return Err(format!("the host's answer has an unknown error: {value}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_failures_are_read_as_the_host_writes_them() {
        let value = json!({
            "instance": "qa_spirit_1", "reason": "free", "state": "7",
            "scores": [{ "role": "qa", "points": 1.5, "matched": ["test"] }],
        });
        let decision = decision(&value).unwrap();
        assert_eq!((decision.instance.as_str(), decision.scores[0].points), ("qa_spirit_1", 1.5));
        let value = json!([{ "rule": "r", "severity": "block", "file": null, "line": null, "message": "m" }]);
        assert_eq!(findings(&value).unwrap()[0].severity, Severity::Block);
        let value = json!({ "failure": "host", "detail": { "error": "not-found", "message": "no a" } });
        assert_eq!(failure(&value), Ok(Failure::Host(HostError::NotFound("no a".to_owned()))));
        assert!(failure(&json!({ "failure": "new" })).is_err() && plan(&json!({})).is_err());
    }
}
