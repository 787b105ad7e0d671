//! A change as it is judged, findings, and the rule that makes a verdict of them.

use serde::{Deserialize, Serialize};

use super::id::{Role, SpecName, TaskId};
use super::work::ChangeKind;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Informs.
    Note,
    /// Is shown.
    Warn,
    /// Makes a new attempt.
    Block,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Rule id.
    pub rule: String,
    /// How grave.
    pub severity: Severity,
    /// Where.
    pub file: Option<String>,
    /// Line in the new file, from 1.
    pub line: Option<u32>,
    /// What and why.
    pub message: String,
}

/// One rule of a heuristic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// How grave its findings are.
    pub severity: Severity,
    /// What it looks for.
    pub description: String,
}

/// Which heuristic a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeuristicInfo {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Role of a line in a hunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// Unchanged.
    Context,
    /// New.
    Added,
    /// Gone.
    Removed,
}

/// One line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffLine {
    /// Its role.
    pub kind: LineKind,
    /// Without its line ending.
    pub text: String,
}

/// A hunk; line numbers from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunk {
    /// First line in the old file.
    pub old_start: u32,
    /// First line in the new file.
    pub new_start: u32,
    /// Its lines.
    pub lines: Vec<DiffLine>,
}

/// A file of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Path.
    pub path: String,
    /// What happened.
    pub change: ChangeKind,
    /// No text.
    pub binary: bool,
    /// Size of the new file.
    pub size_bytes: u64,
    /// Empty for binary files.
    pub hunks: Vec<Hunk>,
}

/// A gate command's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the command.
    pub name: String,
    /// Exit code 0.
    pub passed: bool,
    /// Head and tail of its output.
    pub output: String,
}

/// What is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The spec.
    pub spec: SpecName,
    /// The task.
    pub task: TaskId,
    /// The task's title.
    pub title: String,
    /// The task's text.
    pub text: String,
    /// Who made it.
    pub instance: String,
    /// Its role.
    pub role: Role,
    /// Which attempt.
    pub attempt: u32,
    /// Files, sorted by path.
    pub files: Vec<ChangedFile>,
    /// Gate results.
    pub checks: Vec<Check>,
}
