//! How the registry fails. Refusals name what was expected and what was found, so that the caller
//! can decide; faults of the database are told apart as far as SQLite does.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::ErrorCode;

use crate::domain::artifact::InvalidArtifact;
use crate::domain::id::{ArtifactUri, AttemptKey, ExecutionId, IssueId, RunId, SpecName, TaskId, TaskKey};
use crate::domain::task::TaskState;
use crate::domain::waits::Wait;
use crate::failpoint::DiskFull;
use crate::store::BlobError;

/// Why the registry refused or failed. After an error nothing of the request is recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// Somebody else changed the task since it was read.
    #[error("task {task} has version {found}, not {expected}: read it again")]
    Conflict {
        /// The task.
        task: TaskKey,
        /// The version that the caller named.
        expected: u64,
        /// The version that it has.
        found: u64,
    },
    /// The table of task states does not allow it.
    #[error("task {task} is {from} and cannot become {to}")]
    IllegalTransition {
        /// The task.
        task: TaskKey,
        /// Where it stands.
        from: TaskState,
        /// Where it should go.
        to: TaskState,
    },
    /// A container groups other tasks and never runs itself.
    #[error("task {task} only groups its sub-tasks and cannot be claimed")]
    Container {
        /// The task.
        task: TaskKey,
    },
    /// No such task.
    #[error("task {0} does not exist")]
    UnknownTask(TaskKey),
    /// No such attempt.
    #[error("attempt {0} does not exist")]
    UnknownAttempt(AttemptKey),
    /// No such run.
    #[error("run {0} does not exist")]
    UnknownRun(RunId),
    /// The run exists already.
    #[error("run {0} exists already")]
    DuplicateRun(RunId),
    /// No such execution.
    #[error("execution {0} does not exist")]
    UnknownExecution(ExecutionId),
    /// The execution has ended; nothing can be added to its journal.
    #[error("execution {0} has ended")]
    Ended(ExecutionId),
    /// No call with this number waits for an answer.
    #[error("call {sequence} of execution {execution} does not wait for an answer")]
    UnknownCall {
        /// The execution.
        execution: ExecutionId,
        /// The call's number.
        sequence: u64,
    },
    /// The artifact's address is taken.
    #[error("artifact {0} exists already")]
    DuplicateArtifact(ArtifactUri),
    /// The artifact breaks a rule.
    #[error(transparent)]
    InvalidArtifact(#[from] InvalidArtifact),
    /// Dependencies that lead back to where they start; first and last are the same.
    #[error("the tasks depend on each other in a circle: {}", arrows(.0))]
    Cycle(Vec<TaskId>),
    /// A dependency that is no task of the spec.
    #[error("task {task} depends on {missing}, which is not a task of the spec")]
    UnknownDependency {
        /// The task.
        task: TaskId,
        /// What it names.
        missing: TaskId,
    },
    /// The spec is known already: nothing is brought in over it.
    #[error("the spec {0} is in the registry already")]
    SpecExists(SpecName),
    /// Two tasks with one number.
    #[error("task {0} is defined twice")]
    DuplicateTask(TaskId),
    /// The task cannot be taken out of the spec while an attempt works on it.
    #[error(
        "task {0} was taken out of the spec while an attempt works on it: put it back, or wait until the attempt has ended or was given back"
    )]
    Running(TaskKey),
    /// The event changes a task's state, and has to go through `claim` or `transition`; or the other
    /// way round.
    #[error("{event} cannot be recorded this way: use {instead}")]
    WrongEvent {
        /// Name of the event.
        event: &'static str,
        /// The method to call.
        instead: &'static str,
    },
    /// The subject lacks what the event is about.
    #[error("{event} must say which {missing} it is about")]
    IncompleteSubject {
        /// Name of the event.
        event: &'static str,
        /// run, task or attempt.
        missing: &'static str,
    },
    /// A page cannot begin there.
    #[error("there is no such place to go on from: name one that an answer in the same order gave")]
    ForeignCursor,
    /// No such issue.
    #[error("issue {0} does not exist")]
    UnknownIssue(IssueId),
    /// An issue cannot be recorded like this.
    #[error("the issue is refused: {0}")]
    InvalidIssue(String),
    /// The issue is a task already, or closed.
    #[error("issue {issue} is settled: {how}")]
    SettledIssue {
        /// The issue.
        issue: IssueId,
        /// What became of it.
        how: String,
    },
    /// A worker's name that cannot be kept.
    #[error("a worker's name has 1 to 200 bytes and no control characters")]
    InvalidWorker,
    /// The worker does not hold the attempt, or not any more.
    #[error(
        "worker {worker} does not hold {attempt}: the task is {state}{}; nothing was recorded",
        .holder.as_ref().map(|holder| format!(", held by {holder}")).unwrap_or_default()
    )]
    NotTheirs {
        /// The attempt that it reports.
        attempt: AttemptKey,
        /// Who reports.
        worker: String,
        /// Where the task stands.
        state: TaskState,
        /// Who holds it, and which attempt it is.
        holder: Option<String>,
    },
    /// Attributes that cannot be kept.
    #[error("the attributes are refused: {0}")]
    InvalidAttributes(String),
    /// More than the registry takes at once.
    #[error("{what} has {found} {unit}; the limit is {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much it has.
        found: u64,
        /// How much it may have.
        limit: u64,
        /// bytes, tasks …
        unit: &'static str,
    },
    /// The lease is held.
    #[error("{name} is held by {holder} until {expires_at}")]
    Held {
        /// What is leased.
        name: String,
        /// By whom.
        holder: String,
        /// Until when, if it is not renewed.
        expires_at: Timestamp,
    },
    /// Waiting for the lock would never end: its holder waits, directly or not, for the one who asks.
    #[error("waiting would never end: {}", circle_text(circle))]
    Deadlock {
        /// Who waits for which lock, beginning with the one who asked; each lock is held by the next, and the
        /// last one by the first.
        circle: Vec<Wait>,
    },
    /// No such lease; it ran out and was taken, or was released.
    #[error("lease {0} is not held any more")]
    LostLease(String),
    /// The database was written by a newer version.
    #[error("the database has schema {found}, this program knows {supported}: use a newer necro-host")]
    Newer {
        /// Its schema.
        found: i64,
        /// Ours.
        supported: i64,
    },
    /// It cannot be read as what it should be.
    #[error("the registry is damaged: {0}")]
    Damaged(String),
    /// An execution's journal does not say any more what was written into it.
    #[error("the journal of execution {execution} is damaged{}: {reason}", place(*.sequence))]
    DamagedRecord {
        /// The execution.
        execution: ExecutionId,
        /// The call; absent when it is about the execution itself.
        sequence: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// The execution's journal was pruned.
    #[error("the journal of execution {0} was pruned: nothing of it can be repeated")]
    Pruned(ExecutionId),
    /// The disk or a quota is full.
    #[error("the disk is full: the registry cannot be written; free some space and go on")]
    Full,
    /// The database or its directory cannot be written.
    #[error("the registry cannot be written: it is read-only")]
    ReadOnly,
    /// Another process keeps the database locked.
    #[error("another process keeps the registry locked")]
    Busy,
    /// There is no database, or it cannot be opened.
    #[error("cannot open the registry {}: {reason}", path.display())]
    CannotOpen {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Another fault of the database.
    #[error("the registry's database failed: {0}")]
    Database(String),
    /// A blob could not be written or read.
    #[error(transparent)]
    Blob(#[from] Arc<BlobError>),
    /// The registry is shutting down, or its writer has stopped.
    #[error("the registry is closed")]
    Closed,
}

fn circle_text(circle: &[Wait]) -> String {
    let next = circle.iter().cycle().skip(1);
    let steps = circle.iter().zip(next).map(|(wait, next)| match circle.len() {
        1 => format!("{} has {} already", wait.holder, wait.lock),
        _ => format!("{} waits for {}, which {} has", wait.holder, wait.lock, next.holder),
    });
    steps.collect::<Vec<_>>().join("; ")
}

fn arrows(path: &[TaskId]) -> String {
    path.iter().map(TaskId::as_str).collect::<Vec<_>>().join(" → ")
}

fn place(sequence: Option<u64>) -> String {
    sequence.map_or_else(String::new, |sequence| format!(" at call {sequence}"))
}

impl From<BlobError> for RegistryError {
    fn from(error: BlobError) -> Self {
        Self::Blob(Arc::new(error))
    }
}

impl From<DiskFull> for RegistryError {
    fn from(_: DiskFull) -> Self {
        Self::Full
    }
}

impl From<rusqlite::Error> for RegistryError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error;
        // Every statement is ours: one that does not fit finds other tables than we have made.
        if let Error::SqlInputError { msg, .. } = &error {
            return Self::Damaged(format!("its tables are not what they should be: {msg}"));
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            Some(_) => Self::Database(error.to_string()),
            None => match error {
                Error::InvalidColumnType(..)
                | Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnName(..)
                | Error::Utf8Error(..) => Self::Damaged(error.to_string()),
                _ => Self::Database(error.to_string()),
            },
        }
    }
}
