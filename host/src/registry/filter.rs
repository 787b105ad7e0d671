//! What can be asked of tasks, in which order, and from where on.

use rusqlite::types::Value as Sql;
use serde::Serialize;

use crate::domain::id::{SpecName, TaskId, TaskKey};
use crate::domain::task::TaskState;

use super::error::RegistryError;

/// The order of an answer. Equal ones stand in the order of specs, then of numbers: `2` before `10`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskSort {
    /// By number.
    #[default]
    Number,
    /// The most urgent first.
    Priority,
    /// The oldest first.
    Created,
    /// What changed last first.
    Updated,
}

/// Which tasks to read; absent means any. All conditions hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this spec.
    pub spec: Option<SpecName>,
    /// In one of these states; empty: any.
    pub states: Vec<TaskState>,
    /// For this role.
    pub skill: Option<String>,
    /// Optional ones, or required ones.
    pub optional: Option<bool>,
    /// Those that only group others, or those that are work.
    pub container: Option<bool>,
    /// Worked on by this runner.
    pub runner: Option<String>,
    /// In this slot.
    pub slot: Option<String>,
    /// With this in title or text, whatever the case of ASCII letters.
    pub text: Option<String>,
    /// The order.
    pub sort: TaskSort,
    /// The other way round.
    pub reverse: bool,
    /// Only what comes after this row.
    pub after: Option<Cursor>,
    /// At most this many; 0 means [`TaskFilter::MAX`], which is the bound anyway.
    pub limit: u32,
}

impl TaskFilter {
    /// Most tasks in one answer.
    pub const MAX: u32 = 100_000;

    pub(super) fn page(&self) -> u32 {
        if self.limit == 0 { Self::MAX } else { self.limit.min(Self::MAX) }
    }
}

/// A place between two rows of an answer: the values that the row before it was sorted by. Its text is for
/// programs to hand back, not to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The value of the sort's column; none when numbers are the order.
    pub(super) by: Option<String>,
    /// The row.
    pub(super) key: TaskKey,
}

impl Cursor {
    /// The value to compare `column` with.
    pub(super) fn value(&self, column: &str) -> Result<Sql, RegistryError> {
        let by = self.by.as_deref();
        match column {
            "priority" => by.and_then(|by| by.parse::<i64>().ok()).map(Sql::from),
            _ => by.map(|by| Sql::from(by.to_owned())),
        }
        .ok_or(RegistryError::ForeignCursor)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.by.as_deref().unwrap_or_default(), self.key)
    }
}

impl std::str::FromStr for Cursor {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        // Neither numbers nor times have one; the name of a spec may.
        let (by, key) = text.split_once('@').ok_or(RegistryError::ForeignCursor)?;
        let by = Some(by.to_owned()).filter(|by| !by.is_empty());
        let key = key
            .rsplit_once('/')
            .and_then(|(spec, task)| Some(TaskKey { spec: SpecName::new(spec).ok()?, task: TaskId::new(task).ok()? }));
        key.map(|key| Self { by, key }).ok_or(RegistryError::ForeignCursor)
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
