//! Entries of the backlog: what is to be done and belongs to no spec yet.

use serde::{Deserialize, Serialize};

use super::id::{ExecutionId, Instance, IssueId, Role, TaskKey};

/// Longest title, in bytes.
pub const MAX_TITLE_BYTES: usize = 300;
/// Longest text, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most labels.
pub const MAX_LABELS: usize = 20;
/// Longest label, in bytes.
pub const MAX_LABEL_BYTES: usize = 60;

/// How much an issue matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// When there is time.
    Low,
    /// In its turn.
    #[default]
    Medium,
    /// Before others.
    High,
}

impl Urgency {
    /// Every one, the least first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// The one spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl std::fmt::Display for Urgency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Urgency {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no priority of an issue: low, medium or high"))
    }
}

/// Where an issue stands: what the log says of it, and of the task that it became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueStatus {
    /// Nobody was chosen.
    Open,
    /// Routed; its task, if it has one, waits.
    Assigned,
    /// Its task is worked on.
    InProgress,
    /// Its task is done, or it was closed.
    Completed,
}

impl IssueStatus {
    /// The one spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Assigned => "assigned",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
        }
    }
}

impl std::fmt::Display for IssueStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An entry as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIssue {
    /// One line.
    pub title: String,
    /// More about it.
    #[serde(default)]
    pub text: String,
    /// What it is filed under; a role's name among them decides the routing.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How much it matters.
    #[serde(default)]
    pub priority: Urgency,
}

impl NewIssue {
    /// What is wrong with it; none when nothing is.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        if self.title.trim().is_empty() {
            return Some("an issue needs a title".to_owned());
        }
        if self.title.len() > MAX_TITLE_BYTES || self.title.chars().any(char::is_control) {
            return Some(format!("a title is one line of at most {MAX_TITLE_BYTES} bytes"));
        }
        if self.text.len() > MAX_TEXT_BYTES {
            return Some(format!("the text has {} bytes; the limit is {MAX_TEXT_BYTES}", self.text.len()));
        }
        if self.labels.len() > MAX_LABELS {
            return Some(format!("{} labels; the limit is {MAX_LABELS}", self.labels.len()));
        }
        let bad = |label: &&String| {
            label.trim().is_empty() || label.len() > MAX_LABEL_BYTES || label.chars().any(char::is_control)
        };
        self.labels.iter().find(bad).map(|label| format!("`{label:.60}` is no label"))
    }
}

/// An entry of the backlog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its number.
    pub id: IssueId,
    /// What a person wrote.
    #[serde(flatten)]
    pub said: NewIssue,
    /// Where it stands.
    pub status: IssueStatus,
    /// Whose work it is.
    pub role: Option<Role>,
    /// Who of that role.
    pub instance: Option<Instance>,
    /// Why.
    pub reason: Option<String>,
    /// The routing decision's execution.
    pub routing: Option<ExecutionId>,
    /// The task that it became.
    pub task: Option<TaskKey>,
    /// Goes up with every change.
    pub version: u64,
    /// When it was added.
    pub created_at: jiff::Timestamp,
    /// When it changed last.
    pub updated_at: jiff::Timestamp,
}
