//! What a spirit is given and what it claims to have done.

use serde::{Deserialize, Serialize};

use super::id::{Instance, Role, SpecName, TaskId};

/// A Spirit Protocol message in the seed's form (readings A5). Unknown kinds are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Message type, such as `issue_assignment`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The addressed instance.
    pub agent_instance: String,
    /// The issue it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue_id: Option<String>,
    /// Anything.
    pub payload: serde_json::Value,
    /// The spec of the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_id: Option<String>,
    /// The task of the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The sending instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Unique id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// What kind of work an assignment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkKind {
    /// Write requirements.md and design.md.
    Specify,
    /// Write tasks.md.
    Plan,
    /// Do one task.
    Implement,
}

/// A numbered acceptance criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// Such as `2.1`.
    pub id: String,
    /// The sentence.
    pub text: String,
}

/// A named text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// A path or a title.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What a finished task reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DependencyReport {
    /// The task.
    pub task: TaskId,
    /// Its title.
    pub title: String,
    /// Its spirit's summary.
    pub summary: String,
    /// Files it changed.
    pub files: Vec<String>,
}

/// A command that a spirit may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCommand {
    /// Name in the configuration.
    pub name: String,
    /// What it does.
    pub description: String,
}

/// What is left to spend; absent: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetLeft {
    /// Tokens, input and output together.
    pub tokens: Option<u64>,
    /// Money, in millionths of a US dollar.
    pub cost_microusd: Option<u64>,
    /// Model calls.
    pub calls: Option<u32>,
}

/// One attempt's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// What kind.
    pub kind: WorkKind,
    /// The seed's message.
    pub envelope: Envelope,
    /// The spec.
    pub spec: SpecName,
    /// The task.
    pub task: TaskId,
    /// One line.
    pub title: String,
    /// The task's text, or the job.
    pub text: String,
    /// `en` or `ja`.
    pub language: String,
    /// Criteria of the requirements that the task names.
    pub acceptance_criteria: Vec<Criterion>,
    /// Extracts of the spec.
    pub documents: Vec<Document>,
    /// Steering that applies.
    pub steering: Vec<Document>,
    /// Reports of the tasks it depends on.
    pub dependency_reports: Vec<DependencyReport>,
    /// From 1.
    pub attempt: u32,
    /// How many there may be.
    pub max_attempts: u32,
    /// What the last attempt failed on.
    pub last_failure: Option<String>,
    /// Commands that may be run.
    pub commands: Vec<NamedCommand>,
    /// What is left to spend.
    pub budget_left: BudgetLeft,
}

/// Who a spirit component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleInfo {
    /// Its role.
    pub role: Role,
    /// For people.
    pub title: String,
    /// What it can do.
    pub skills: Vec<String>,
}

/// What a spirit claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One line for the commit subject.
    pub title: String,
    /// What was done.
    pub summary: String,
}

/// A live spirit of a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spirit {
    /// Its name.
    pub instance: Instance,
    /// Skills of its component.
    pub skills: Vec<String>,
}

/// Which file of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecDocument {
    /// requirements.md (or bugfix.md)
    Requirements,
    /// design.md
    Design,
    /// tasks.md
    Tasks,
}
