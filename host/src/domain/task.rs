//! Tasks, their states, and the one table of allowed transitions (readings A6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::{Digest, Instance, SlotId, TaskId, TaskKey};

/// A task's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// All dependencies are done; may be claimed.
    Ready,
    /// Claimed by one attempt.
    Running,
    /// Waits for dependencies.
    Blocked,
    /// Merged.
    Done,
    /// Every attempt was used up.
    Failed,
    /// Given up by a person.
    Cancelled,
}

impl TaskState {
    /// Every state, in the order in which people read them.
    pub const ALL: [Self; 6] = [Self::Ready, Self::Running, Self::Blocked, Self::Done, Self::Failed, Self::Cancelled];

    /// The one canonical spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The one table of transitions: from, to, and when. Staying is none of them: claiming a running task
    /// is the double claim that the table exists to refuse (readings B1). `ARCHITECTURE.md` shows it.
    pub const TRANSITIONS: &'static [(Self, Self, &'static str)] = {
        use TaskState::{Blocked, Cancelled, Done, Failed, Ready, Running};
        &[
            (Ready, Running, "claimed by an attempt or a worker"),
            (Ready, Blocked, "something that it needs was re-opened"),
            (Ready, Done, "ticked in tasks.md, or all of its sub-tasks are done"),
            (Ready, Cancelled, "given up, or taken out of tasks.md"),
            (Running, Ready, "the attempt ended without success and another is left, or was given back"),
            (Running, Blocked, "the same, and something that it needs was re-opened meanwhile"),
            (Running, Done, "merged, or reported as done by a worker"),
            (Running, Failed, "every attempt is used up"),
            (Running, Cancelled, "given up by a person"),
            (Blocked, Ready, "the last thing that it needs is done"),
            (Blocked, Done, "ticked in tasks.md, or all of its sub-tasks are done"),
            (Blocked, Cancelled, "given up, or taken out of tasks.md"),
            (Done, Ready, "re-opened"),
            (Done, Blocked, "re-opened, and something that it needs is not done"),
            (Failed, Ready, "retried"),
            (Failed, Blocked, "retried, and something that it needs is not done"),
            (Cancelled, Ready, "taken up again"),
            (Cancelled, Blocked, "taken up again, and something that it needs is not done"),
        ]
    };

    /// Whether a task may go from `self` to `to`, by [`Self::TRANSITIONS`].
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        Self::TRANSITIONS.iter().any(|(from, into, _)| (*from, *into) == (self, to))
    }

    /// Whether nothing will happen to the task any more without a person.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for TaskState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| format!("`{text}` is not a task state"))
    }
}

/// A task as a spec defines it: the input of task-set creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// Number inside the spec.
    pub id: TaskId,
    /// One line.
    pub title: String,
    /// Everything that stands under the task, without metadata lines.
    pub text: String,
    /// Marked with `*`: not needed for the spec to be done.
    pub optional: bool,
    /// Its box is ticked in the file.
    pub done: bool,
    /// Tasks that must be done first; parents wait for their children.
    pub depends: Vec<TaskId>,
    /// Role that `_Skill:_` names.
    pub skill: Option<String>,
    /// Requirement ids, for traceability only (readings A7).
    pub requirements: Vec<String>,
    /// Larger is more urgent.
    pub priority: i32,
    /// What else the file says of it, by key: fields that nothing here gives a meaning to.
    pub metadata: BTreeMap<String, String>,
    /// The task this one is a part of.
    pub parent: Option<TaskId>,
    /// True when it only groups its children: it is done when they are and never runs itself.
    pub container: bool,
}

/// A task as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Spec and number.
    #[serde(flatten)]
    pub key: TaskKey,
    /// What the spec says, and what an operator set instead.
    #[serde(flatten)]
    pub definition: Facts,
    /// What of it an operator set; it outlasts what the file says.
    pub set: Attributes,
    /// Where it stands.
    pub state: TaskState,
    /// Goes up with every change; claims and updates name the version they saw.
    pub version: u64,
    /// Attempts started so far.
    pub attempts: u32,
    /// Who works on it; only while running.
    pub assigned: Option<Assigned>,
    /// What the last attempt failed on, for the next one.
    pub last_failure: Option<String>,
    /// The merge that completed it.
    pub merged_commit: Option<String>,
    /// When it was created.
    pub created_at: jiff::Timestamp,
    /// When it changed last.
    pub updated_at: jiff::Timestamp,
}

/// The part of a definition that the registry keeps on the task's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// One line.
    pub title: String,
    /// Body of the task.
    pub text: String,
    /// Not needed for the spec to be done.
    pub optional: bool,
    /// Tasks that must be done first.
    pub depends: Vec<TaskId>,
    /// Role that the spec names.
    pub skill: Option<String>,
    /// Requirement ids (traceability).
    pub requirements: Vec<String>,
    /// Larger is more urgent.
    pub priority: i32,
    /// What else is known of it, by key.
    pub metadata: BTreeMap<String, String>,
    /// Only groups its children.
    pub container: bool,
}

/// What an operator says of a task, whatever the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Larger is more urgent; absent: as the file says.
    pub priority: Option<i32>,
    /// The role that works on it; absent: as the file says.
    pub skill: Option<String>,
    /// More metadata, and other values of it.
    pub metadata: BTreeMap<String, String>,
}

impl Attributes {
    /// Most entries of [`Self::metadata`].
    pub const MAX_METADATA: usize = 100;
    /// Longest key or value, in bytes.
    pub const MAX_TEXT: usize = 4096;

    /// These, with `later` over them.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        self.priority = later.priority.or(self.priority);
        self.skill = later.skill.or(self.skill);
        self.metadata.extend(later.metadata);
        self
    }

    /// What `facts` are with these over them.
    #[must_use]
    pub fn over(&self, mut facts: Facts) -> Facts {
        facts.priority = self.priority.unwrap_or(facts.priority);
        facts.skill = self.skill.clone().or(facts.skill);
        facts.metadata.extend(self.metadata.clone());
        facts
    }

    /// Why they are too much to keep; none when they are not.
    #[must_use]
    pub fn excess(&self) -> Option<String> {
        if self.metadata.len() > Self::MAX_METADATA {
            return Some(format!("{} keys of metadata; there may be {}", self.metadata.len(), Self::MAX_METADATA));
        }
        let texts = self.metadata.iter().flat_map(|(key, value)| [key, value]).chain(&self.skill);
        let longest = texts.map(String::len).max().unwrap_or(0);
        if longest > Self::MAX_TEXT {
            return Some(format!("a text of {longest} bytes; a key or value may have {}", Self::MAX_TEXT));
        }
        self.metadata.keys().any(String::is_empty).then(|| "a key of metadata is empty".to_owned())
    }
}

/// Who works on a running task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The spirit.
    pub instance: Instance,
    /// The slot it holds.
    pub slot: SlotId,
    /// The branch reserved for it.
    pub branch: String,
    /// The attempt's runner id (a UUID v7).
    pub runner: String,
}

/// Reference to an artifact of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// Opaque address.
    pub uri: String,
    /// diff, log, test, binary or another name.
    pub kind: String,
    /// File name for people.
    pub name: String,
    /// MIME type.
    pub media_type: String,
    /// Size of the raw bytes.
    pub size_bytes: u64,
    /// Digest of the raw bytes.
    pub digest: Digest,
    /// When it was stored.
    pub created_at: jiff::Timestamp,
}

#[cfg(test)]
mod tests {
    use super::TaskState;

    #[test]
    fn staying_is_never_a_transition() {
        for state in TaskState::ALL {
            assert!(!state.may_become(state), "{state} → {state}");
        }
    }

    #[test]
    fn cancelled_is_reachable_from_open_states_only() {
        for state in TaskState::ALL {
            assert_eq!(state.may_become(TaskState::Cancelled), !state.is_final(), "{state}");
        }
    }

    #[test]
    fn the_document_shows_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md");
        let document = std::fs::read_to_string(path).unwrap();
        let rows: String =
            TaskState::TRANSITIONS.iter().map(|(from, to, when)| format!("| {from} | {to} | {when} |\n")).collect();
        let table = format!("| From | To | When |\n| --- | --- | --- |\n{rows}\n");
        assert!(document.contains(&table), "ARCHITECTURE.md has another table; this is the one:\n{table}");
    }

    #[test]
    fn every_transition_stands_in_the_table_once() {
        for (n, (from, to, when)) in TaskState::TRANSITIONS.iter().enumerate() {
            assert!(!when.is_empty());
            let again = TaskState::TRANSITIONS[n + 1..].iter().any(|(f, t, _)| (f, t) == (from, to));
            assert!(!again, "{from} → {to}");
        }
    }

    #[test]
    fn spellings_round_trip() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
