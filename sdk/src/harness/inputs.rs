//! Inputs with what a test does not care about filled in: `Candidate { load: 1, ..candidate("qa_spirit_1") }`.

use serde_json::{Value, json};

use crate::review::{Change, ChangedFile, DiffLine, FileChange, Hunk, LineKind};
use crate::routing::{Candidate, Issue};
use crate::scheduling::{Pool, ReadyTask};
use crate::spirit::{Assignment, Budget, Envelope, WorkKind};

/// An issue with this title.
#[must_use]
pub fn issue(title: &str) -> Issue {
    Issue { id: "1".to_owned(), title: title.to_owned(), text: String::new(), labels: Vec::new(), priority: 0 }
}

/// An idle instance, such as `qa_spirit_1`; its role and only skill are what stands before `_spirit_`.
#[must_use]
pub fn candidate(instance: &str) -> Candidate {
    let role = instance.rsplit_once("_spirit_").map_or(instance, |(role, _)| role);
    Candidate {
        instance: instance.to_owned(),
        role: role.to_owned(),
        skills: vec![role.to_owned()],
        load: 0,
        capacity: 1,
        last_assigned: 0,
        price_microusd: None,
    }
}

/// A ready task with this number.
#[must_use]
pub fn ready(task: &str) -> ReadyTask {
    ReadyTask {
        spec: "spec".to_owned(),
        task: task.to_owned(),
        title: format!("Task {task}"),
        skill: None,
        priority: 0,
        waiting_ms: 0,
        dependents: 0,
        remaining_path: 1,
        attempt: 1,
    }
}

/// An empty pool with room for one.
#[must_use]
pub fn pool(name: &str) -> Pool {
    Pool { name: name.to_owned(), capacity: 1, running: 0, skills: Vec::new() }
}

/// A change of these files.
#[must_use]
pub fn change(files: impl IntoIterator<Item = ChangedFile>) -> Change {
    Change {
        spec: "spec".to_owned(),
        task: "1".to_owned(),
        title: "A task".to_owned(),
        text: String::new(),
        commit_title: "Do it".to_owned(),
        instance: "backend_spirit_1".to_owned(),
        role: "backend".to_owned(),
        attempt: 1,
        files: files.into_iter().collect(),
        checks: Vec::new(),
    }
}

/// A new file with this text.
#[must_use]
pub fn added(path: &str, text: &str) -> ChangedFile {
    edited(path, FileChange::Added, &[(LineKind::Added, text)], text.len() as u64)
}

/// A file with one hunk from its first line on: texts by the kind of their lines, and the new size in bytes.
#[must_use]
pub fn edited(path: &str, change: FileChange, texts: &[(LineKind, &str)], size_bytes: u64) -> ChangedFile {
    let lines = texts.iter().flat_map(|(kind, text)| {
        text.lines().map(|line| DiffLine { kind: *kind, text: line.to_owned() }).collect::<Vec<_>>()
    });
    let lines: Vec<DiffLine> = lines.collect();
    let old_start = u32::from(change != FileChange::Added);
    let hunks = if lines.is_empty() { Vec::new() } else { vec![Hunk { old_start, new_start: 1, lines }] };
    ChangedFile { path: path.to_owned(), change, binary: false, size_bytes, hunks }
}

/// An assignment of a task with this title, to `backend_spirit_1`.
#[must_use]
pub fn assignment(title: &str) -> Assignment {
    let envelope = Envelope {
        kind: "issue_assignment".to_owned(),
        agent_instance: "backend_spirit_1".to_owned(),
        issue_id: Some("1".to_owned()),
        payload: "{}".to_owned(),
        spec_id: Some("spec".to_owned()),
        task_id: Some("1".to_owned()),
        sender: None,
        message_id: None,
    };
    Assignment {
        kind: WorkKind::Implement,
        envelope,
        spec: "spec".to_owned(),
        task: "1".to_owned(),
        title: title.to_owned(),
        text: String::new(),
        language: "en".to_owned(),
        acceptance_criteria: Vec::new(),
        documents: Vec::new(),
        steering: Vec::new(),
        dependency_reports: Vec::new(),
        attempt: 1,
        max_attempts: 3,
        last_failure: None,
        commands: Vec::new(),
        budget_left: Budget { tokens: None, cost_microusd: None, calls: None },
    }
}

/// An answer of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply(pub(super) Value);

/// An answer with this text.
#[must_use]
pub fn reply(text: &str) -> Reply {
    Reply(json!({ "text": text, "calls": [] }))
}

impl Reply {
    /// Calls a tool as well.
    #[must_use]
    pub fn call(mut self, tool: ToolUse) -> Self {
        if let Some(calls) = self.0["calls"].as_array_mut() {
            calls.push(tool.0);
        }
        self
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        reply(text)
    }
}

/// A tool call of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse(Value);

/// A call of the tool `name`.
#[must_use]
pub fn tool(name: &str, arguments: Value) -> ToolUse {
    ToolUse(json!({ "name": name, "arguments": arguments }))
}

/// What a command prints, and how it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Output(pub(super) Value);

/// A command that ends with `exit_code` after this on standard output.
#[must_use]
pub fn output(exit_code: i32, stdout: &str) -> Output {
    Output(json!({ "exit_code": exit_code, "stdout": stdout }))
}
