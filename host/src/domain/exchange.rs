//! The files of the Python original: a task set as JSON, its events as lines of JSON. Names that it uses for
//! what we call otherwise are known here and nowhere else. What has no place with us is kept, so that writing
//! a set out again gives what was read.

mod write;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::id::{SpecName, TaskId};
use super::task::{Attributes, Facts, TaskState};

pub use write::{ExportedSet, ImportedRow, event_line, set_value, task_value};

/// Fields of a JSON object.
pub type Fields = Map<String, Value>;

/// Event types that a line may have: the ten of the original, and ours besides.
pub const EVENT_TYPES: [&str; 16] = [
    "TaskCreated",
    "TaskUpdated",
    "TaskReady",
    "TaskAssigned",
    "TaskCompleted",
    "TaskFailed",
    "RunnerStarted",
    "RunnerFinished",
    "PROpened",
    "PRMerged",
    "TaskBlocked",
    "TaskCancelled",
    "TaskReopened",
    "SlotAllocated",
    "SlotReleased",
    "ReviewReported",
];

/// The key of metadata under which ours stands that the original has no field for.
const OURS: &str = "necro";
/// The key of our metadata under which entries stand that are no texts.
const THEIRS: &str = "python.metadata";
/// Fields of a task that only a running one has a use for.
const WORKER: [&str; 3] = ["runner_id", "assigned_slot", "reserved_branch"];

/// Why a file is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    NoJson(String),
    /// A field is missing, or is something else.
    #[error("{what}: {reason}")]
    Field {
        /// Which, such as `tasks[3].priority`.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A state that nobody knows, as of a newer version.
    #[error("task {task} has the state `{state}`, which is none of ready, running, blocked, done, failed, cancelled")]
    UnknownState {
        /// The task.
        task: TaskId,
        /// The state.
        state: String,
    },
    /// An event type that nobody knows.
    #[error("`{0}` is no event type")]
    UnknownEvent(String),
}

/// A task set as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedSet {
    /// The spec.
    pub spec: SpecName,
    /// Its version.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// Its tasks, in the order of the file.
    pub tasks: Vec<ImportedTask>,
    /// All its other fields, and the times as they stand there.
    pub rest: Fields,
}

/// A task as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedTask {
    /// Its number.
    pub id: TaskId,
    /// What it is.
    pub facts: Facts,
    /// What of that nobody's tasks.md says.
    pub set: Attributes,
    /// Where it stands; running means that somebody else worked on it.
    pub state: TaskState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// All its other fields, and those that say the same in another way than ours would.
    pub rest: Fields,
}

/// An event as a line has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedEvent {
    /// Its type, one of [`EVENT_TYPES`].
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// The task, when it names one.
    pub task: Option<TaskId>,
    /// The whole line, with the type of today.
    pub line: Fields,
}

/// A time with its offset, or one without, which is that of a clock at `offset`. In microseconds.
///
/// # Errors
/// Why it is no time.
pub fn time(text: &str, offset: Offset) -> Result<Timestamp, String> {
    let found = text.parse::<Timestamp>().or_else(|_| {
        let local = text.parse::<DateTime>()?;
        local.to_zoned(TimeZone::fixed(offset)).map(|zoned| zoned.timestamp())
    });
    let found = found.map_err(|error| format!("`{text}` is no time: {error}"))?;
    Timestamp::from_microsecond(found.as_microsecond()).map_err(|error| error.to_string())
}

/// Reads a `taskset.json`. Times without an offset are those of a clock at `offset`.
///
/// # Errors
/// [`Unreadable`] names the field.
pub fn read_set(text: &[u8], offset: Offset) -> Result<ImportedSet, Unreadable> {
    let value: Value = serde_json::from_slice(text).map_err(|error| Unreadable::NoJson(error.to_string()))?;
    let Value::Object(mut fields) = value else { return Err(wrong("the file", "it is no object")) };
    let mut read = Read { fields: &mut fields, inside: String::new(), offset };
    let spec = read.text("spec_name")?.ok_or_else(|| wrong("spec_name", "it is missing"))?;
    let spec = SpecName::new(spec).map_err(|error| wrong("spec_name", error))?;
    let version = read.number("version")?.unwrap_or(1);
    let version = u64::try_from(version).map_err(|_| wrong("version", "it is negative"))?;
    let (created_at, updated_at) = (read.time("created_at")?, read.time("updated_at")?);
    let tasks = match fields.remove("tasks") {
        Some(Value::Array(tasks)) => tasks,
        _ => return Err(wrong("tasks", "it is missing, or no list")),
    };
    let tasks = tasks.into_iter().enumerate().map(|(n, task)| read_task(n, task, offset)).collect::<Result<_, _>>()?;
    Ok(ImportedSet { spec, version, created_at, updated_at, tasks, rest: fields })
}

fn wrong(what: impl Into<String>, reason: impl ToString) -> Unreadable {
    Unreadable::Field { what: what.into(), reason: reason.to_string() }
}

/// Takes fields out of an object.
struct Read<'f> {
    fields: &'f mut Fields,
    /// In front of a field's name.
    inside: String,
    offset: Offset,
}

impl Read<'_> {
    fn wrong(&self, name: &str, reason: impl ToString) -> Unreadable {
        wrong(format!("{}{name}", self.inside), reason)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, format!("{other} is no text"))),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<i64>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => {
                value.as_i64().map(Some).ok_or_else(|| self.wrong(name, format!("{value} is no whole number")))
            }
        }
    }

    /// The time stays among the fields, as it is written there.
    fn time(&mut self, name: &str) -> Result<Timestamp, Unreadable> {
        let text = self.fields.get(name).and_then(Value::as_str).ok_or_else(|| self.wrong(name, "it is missing"))?;
        time(text, self.offset).map_err(|reason| self.wrong(name, reason))
    }

    fn object(&mut self, name: &str) -> Result<Fields, Unreadable> {
        match self.take(name) {
            None => Ok(Fields::new()),
            Some(Value::Object(fields)) => Ok(fields),
            Some(_) => Err(self.wrong(name, "it is no object")),
        }
    }
}

fn read_task(number: usize, value: Value, offset: Offset) -> Result<ImportedTask, Unreadable> {
    let Value::Object(mut fields) = value else { return Err(wrong(format!("tasks[{number}]"), "it is no object")) };
    let mut read = Read { fields: &mut fields, inside: format!("tasks[{number}]."), offset };
    let id = read.text("id")?.ok_or_else(|| read.wrong("id", "it is missing"))?;
    let id = TaskId::new(id).map_err(|error| read.wrong("id", error))?;
    let state = read.text("state")?.ok_or_else(|| read.wrong("state", "it is missing"))?;
    let state = state_of(&state).ok_or_else(|| Unreadable::UnknownState { task: id.clone(), state })?;
    let named = match read.take("dependencies") {
        None => Vec::new(),
        Some(list) => Vec::<TaskId>::deserialize(&list).map_err(|error| read.wrong("dependencies", error))?,
    };
    let mut depends = named.clone();
    depends.sort();
    depends.dedup();
    if depends != named {
        let named = named.iter().map(|id| Value::from(id.as_str())).collect();
        read.fields.insert("dependencies".to_owned(), named);
    }
    let priority = read.number("priority")?.unwrap_or(0);
    let priority = i32::try_from(priority).map_err(|_| read.wrong("priority", "it is too large"))?;
    let optional = match read.take("is_optional") {
        None => false,
        Some(value) => value.as_bool().ok_or_else(|| read.wrong("is_optional", "it is neither true nor false"))?,
    };
    let mut facts = Facts {
        title: read.text("title")?.ok_or_else(|| read.wrong("title", "it is missing"))?,
        text: read.text("description")?.unwrap_or_default(),
        optional,
        depends,
        skill: read.text("required_skill")?,
        requirements: Vec::new(),
        priority,
        metadata: BTreeMap::new(),
        container: false,
    };
    let (created_at, updated_at) = (read.time("created_at")?, read.time("updated_at")?);
    let mut metadata = read.object("metadata")?;
    let ours = match metadata.remove(OURS) {
        None => None,
        Some(ours) => Some(Ours::deserialize(&ours).map_err(|error| read.wrong("metadata.necro", error))?),
    };
    facts.metadata = texts(metadata);
    if state == TaskState::Running {
        for name in WORKER {
            if let Some(text) = read.text(name)? {
                facts.metadata.insert(format!("python.{name}"), text);
            }
            read.fields.insert(name.to_owned(), Value::Null);
        }
    }
    let set = match ours {
        None => derived(&facts),
        Some(Ours { requirements, container, set }) => {
            facts.requirements = requirements;
            facts.container = container;
            set
        }
    };
    Ok(ImportedTask { id, facts, set, state, created_at, updated_at, rest: fields })
}

/// What the original has no field for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Ours {
    requirements: Vec<String>,
    container: bool,
    set: Attributes,
}

/// The state that a name stands for, also the names that services around the original use.
fn state_of(name: &str) -> Option<TaskState> {
    match name {
        "COMPLETED" => Some(TaskState::Done),
        "in_progress" => Some(TaskState::Running),
        // Whether it has to wait is found out from what it needs.
        "PENDING" => Some(TaskState::Ready),
        name => name.parse().ok(),
    }
}

/// Metadata as texts: entries that are none stand together, as JSON, under one key.
fn texts(metadata: Fields) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let mut others = Fields::new();
    for (key, value) in metadata {
        match value {
            Value::String(text) if key != THEIRS => {
                texts.insert(key, text);
            }
            other => {
                others.insert(key, other);
            }
        }
    }
    if !others.is_empty() {
        texts.insert(THEIRS.to_owned(), Value::Object(others).to_string());
    }
    texts
}

/// What no tasks.md says of an imported task, so that reading one later does not take it away.
fn derived(facts: &Facts) -> Attributes {
    let fits = |key: &String, value: &String| !key.is_empty() && key.len().max(value.len()) <= Attributes::MAX_TEXT;
    let metadata = facts.metadata.iter().filter(|(key, value)| fits(key, value)).take(Attributes::MAX_METADATA);
    Attributes {
        priority: (facts.priority != 0).then_some(facts.priority),
        skill: facts.skill.clone().filter(|skill| skill.len() <= Attributes::MAX_TEXT),
        metadata: metadata.map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

/// Reads a line of an `events.jsonl`.
///
/// # Errors
/// [`Unreadable`] says what is wrong with it.
pub fn read_event(line: &[u8], offset: Offset) -> Result<ImportedEvent, Unreadable> {
    let value: Value = serde_json::from_slice(line).map_err(|error| Unreadable::NoJson(error.to_string()))?;
    let Value::Object(mut line) = value else { return Err(wrong("the line", "it is no object")) };
    let text = |name: &str| {
        line.get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| wrong(name, "it is missing, or no text"))
    };
    let (named, at) = (text("event_type")?, text("timestamp")?);
    let at = time(&at, offset).map_err(|reason| wrong("timestamp", reason))?;
    let task = line.get("task_id").and_then(Value::as_str).and_then(|id| TaskId::new(id).ok());
    // Names of the dispatcher's requirements (readings A19).
    let (kind, success) = match named.as_str() {
        "RunnerCompleted" => ("RunnerFinished", Some(true)),
        "RunnerFailed" => ("RunnerFinished", Some(false)),
        name => (name, None),
    };
    let kind = EVENT_TYPES.into_iter().find(|known| *known == kind);
    let kind = kind.ok_or_else(|| Unreadable::UnknownEvent(named.chars().take(100).collect()))?;
    match line.entry("details").or_insert_with(|| Value::Object(Fields::new())) {
        Value::Object(details) => {
            if let Some(success) = success {
                details.entry("success").or_insert(Value::Bool(success));
            }
        }
        _ => return Err(wrong("details", "it is no object")),
    }
    line.insert("event_type".to_owned(), Value::from(kind));
    Ok(ImportedEvent { kind: kind.to_owned(), at, task, line })
}

#[cfg(test)]
mod tests;
