//! The source of truth: an append-only event log in SQLite, the tables that are functions of it, the
//! journal of every execution, and leases. One thread writes and groups commits; readers have
//! connections of their own and never wait for it.
//!
//! Not here: the decisions themselves (`domain`), and whatever happens outside the database.

mod append;
mod backup;
mod body;
mod conditions;
mod definition;
mod error;
mod exchange;
mod filter;
mod find;
mod issues;
mod journal;
mod lease;
mod local;
mod parts;
mod projection;
mod prune;
mod query;
mod reader;
mod records;
mod reopen;
mod rows;
mod schema;
mod seal;
mod seats;
mod tasks;
mod upcast;
mod verify;
mod waiting;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::domain::event::{Body, Event, Subject};
use crate::domain::id::{IssueId, RunId, SpecName, TaskKey};
use crate::domain::issue::{Issue, NewIssue};
use crate::domain::task::{Attributes, Task, TaskDefinition};
use crate::failpoint;
use crate::store::{BlobStore, Ids};

pub use backup::{BackedUp, BackupError, BackupStep, Checked, OnStep, Restored, back_up, check_backup, restore};
pub use body::{canonical, request_digest};
pub use error::RegistryError;
pub use exchange::{Adjusted, Exported, Imported, MAX_IMPORTED_EVENTS, SpecImport};
pub use filter::{Cursor, TaskFilter, TaskSort};
pub use issues::Routed;
pub use journal::{Execution, NewExecution, PolicyState};
pub use lease::{Expired, LeaseRequest, MAX_LEASE};
pub use local::LocalContext;
pub use prune::{PruneChoice, PruneReport, PrunedRun, shrink};
pub use reader::Reader;
pub use records::{
    ArtifactRecord, Attempt, CallRecord, CostSummary, EventFilter, ExecutionFilter, ExecutionKind, ExecutionRecord,
    FindingRecord, Gate, HeldLock, Lease, LeaseKind, MessageRecord, Note, Record, Run, VerifyReport,
};
pub use reopen::CUT_OFF;
pub use tasks::{Boxes, Claim, MAX_TASKS, SpecContent};
pub use worker::{WorkerClaim, WorkerReport, WorkerResult};

pub(crate) use definition::facts_of;
pub(crate) use worker::ELSEWHERE;

use journal::Shared;
use reader::Readers;
use tasks::Transition;
use writer::Writer;

/// The registry of one state directory, open for writing. Cheap to clone. When the last clone is
/// dropped, what is queued is written and the database is closed.
///
/// Every method that changes something is durable when it returns, or has changed nothing.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
}

impl Registry {
    /// Opens the database at `path`, and makes it when there is none. Blocking. The caller holds the
    /// state directory's lock: two writers are safe, but slow.
    ///
    /// # Errors
    /// When it is damaged, newer than this program, or cannot be written.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, blobs: BlobStore) -> Result<Self, RegistryError> {
        let writer = Writer::start(schema::open_writer(path)?, clock.clone())?;
        let readers = Arc::new(Readers::new(path, blobs.clone()));
        let ids = Ids::new(clock.clone());
        let shared = Arc::new(Shared { writer, blobs, ids, clock, waiting: Arc::default() });
        Ok(Self { shared, readers })
    }

    /// Makes the ids that belong into this registry.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.shared.ids
    }

    /// The blobs beside the database.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.shared.blobs
    }

    /// Changes whenever events become durable: the sequence number of the newest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.writer.newest()
    }

    /// Asks questions on a blocking thread; all of them see one state of the database.
    ///
    /// # Errors
    /// Those of `ask`, and when the database cannot be read.
    pub async fn read<T, F>(&self, ask: F) -> Result<T, RegistryError>
    where
        F: FnOnce(&Reader) -> Result<T, RegistryError> + Send + 'static,
        T: Send + 'static,
    {
        self.readers.clone().read(ask).await
    }

    /// Records events that change no task's state, all or none.
    ///
    /// # Errors
    /// [`RegistryError::WrongEvent`] for one that does, [`RegistryError::IncompleteSubject`] and the
    /// `Unknown…` errors for one about nothing, `Duplicate…` for a run or an artifact that exists.
    pub async fn append(&self, subject: Subject, bodies: Vec<Body>) -> Result<Vec<Event>, RegistryError> {
        let what = bodies.first().map_or("nothing", Body::name);
        failpoint::awaiting("append", what, self.shared.writer.run(move |tx| append::append(tx, &subject, bodies)))
            .await
    }

    /// Brings a spec's tasks to what its file says: content from the file, ticked means done, and the
    /// live state from the registry. All or nothing; what says nothing new is no event. A task that
    /// the file does not have any more is cancelled. Un-ticking is no re-opening: that is a
    /// [`transition`](Self::transition) of its own. Gives all tasks of the spec in natural order.
    ///
    /// # Errors
    /// [`RegistryError::DuplicateTask`], [`RegistryError::UnknownDependency`],
    /// [`RegistryError::Cycle`], [`RegistryError::TooLarge`], and [`RegistryError::Running`] for a
    /// task that was removed from the file while an attempt works on it.
    pub async fn create_tasks(
        &self,
        run: &RunId,
        spec: &SpecName,
        definitions: Vec<TaskDefinition>,
    ) -> Result<Vec<Task>, RegistryError> {
        self.sync(run, spec, SpecContent { definitions, boxes: Boxes::AsTheyAre, place: None }).await
    }

    /// As [`create_tasks`](Self::create_tasks), for a file that is edited beside the registry: there an open
    /// box says nothing unless it was ticked before. Records the base of the next sync as well, when it is
    /// another one.
    ///
    /// # Errors
    /// Those of [`create_tasks`](Self::create_tasks).
    pub async fn sync<'r>(
        &self,
        run: impl Into<Option<&'r RunId>>,
        spec: &SpecName,
        content: SpecContent,
    ) -> Result<Vec<Task>, RegistryError> {
        let (run, spec) = (run.into().cloned(), spec.clone());
        let synced = self.shared.writer.run(move |tx| tasks::sync(tx, run.as_ref(), &spec, &content));
        failpoint::awaiting("registry", "create-tasks", synced).await
    }

    /// Sets attributes of a task, over what its file says now and later. What says nothing new is no event
    /// and no version. Without an expected version it is set whatever the task has.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`], [`RegistryError::UnknownTask`], [`RegistryError::InvalidAttributes`].
    pub async fn set_task(
        &self,
        key: &TaskKey,
        expected_version: impl Into<Option<u64>>,
        attributes: Attributes,
    ) -> Result<Task, RegistryError> {
        let (key, expected_version) = (key.clone(), expected_version.into());
        let set = self.shared.writer.run(move |tx| tasks::set(tx, None, &key, expected_version, attributes));
        failpoint::awaiting("registry", "set-task", set).await
    }

    /// Puts an issue at the end of the backlog.
    ///
    /// # Errors
    /// [`RegistryError::InvalidIssue`].
    pub async fn add_issue(&self, issue: NewIssue) -> Result<Issue, RegistryError> {
        failpoint::awaiting("issue", "add", self.shared.writer.run(move |tx| issues::add(tx, issue))).await
    }

    /// Records whose work an issue is. It may be routed again, as long as it is no task.
    ///
    /// # Errors
    /// [`RegistryError::UnknownIssue`], [`RegistryError::SettledIssue`].
    pub async fn route_issue(&self, id: &IssueId, routed: Routed) -> Result<Issue, RegistryError> {
        let id = id.clone();
        failpoint::awaiting("issue", "route", self.shared.writer.run(move |tx| issues::route(tx, &id, routed))).await
    }

    /// Records which task an issue became. The task exists already.
    ///
    /// # Errors
    /// [`RegistryError::UnknownIssue`], [`RegistryError::SettledIssue`], [`RegistryError::UnknownTask`].
    pub async fn take_issue(&self, id: &IssueId, task: &TaskKey) -> Result<Issue, RegistryError> {
        let (id, task) = (id.clone(), task.clone());
        failpoint::awaiting("issue", "take", self.shared.writer.run(move |tx| issues::take(tx, &id, &task))).await
    }

    /// Takes an issue out of the backlog without making a task of it.
    ///
    /// # Errors
    /// [`RegistryError::UnknownIssue`], [`RegistryError::SettledIssue`].
    pub async fn close_issue(&self, id: &IssueId, reason: String) -> Result<Issue, RegistryError> {
        let id = id.clone();
        failpoint::awaiting("issue", "close", self.shared.writer.run(move |tx| issues::close(tx, &id, reason))).await
    }

    /// Claims a ready task: compare-and-set to running, one attempt more. The attempt's number is
    /// [`Task::attempts`] of the answer.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] when somebody was faster, [`RegistryError::IllegalTransition`] when
    /// it is not ready, [`RegistryError::Container`], [`RegistryError::UnknownTask`].
    pub async fn claim(&self, claim: Claim) -> Result<Task, RegistryError> {
        failpoint::awaiting("registry", "claim", self.shared.writer.run(move |tx| tasks::claim(tx, claim))).await
    }

    /// Gives a worker the most urgent ready task that it asks for, or the one that it names; none when
    /// nothing of that kind is ready.
    ///
    /// # Errors
    /// For a task that is named, those of [`claim`](Self::claim); [`RegistryError::InvalidWorker`].
    pub async fn claim_next(&self, wanted: WorkerClaim) -> Result<Option<Task>, RegistryError> {
        let claimed = self.shared.writer.run(move |tx| worker::claim_next(tx, &wanted));
        failpoint::awaiting("registry", "claim-next", claimed).await
    }

    /// Records what a worker says of its claim: the end of the attempt, and what that means for the task.
    ///
    /// # Errors
    /// [`RegistryError::NotTheirs`] when it does not hold the attempt any more; [`RegistryError::UnknownTask`].
    pub async fn report(&self, report: WorkerReport) -> Result<Task, RegistryError> {
        failpoint::awaiting("registry", "report", self.shared.writer.run(move |tx| worker::report(tx, report))).await
    }

    /// Changes a task's state by `TaskReady`, `TaskBlocked`, `TaskCompleted`, `TaskFailed`,
    /// `TaskCancelled` or `TaskReopened`, and records in the same transaction what follows for other
    /// tasks: dependents released or blocked again, containers done with their children. The `from`
    /// of the body is filled in here. A task that should become ready while something that it needs is
    /// open again becomes blocked instead.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`], [`RegistryError::IllegalTransition`],
    /// [`RegistryError::UnknownTask`], [`RegistryError::UnknownAttempt`],
    /// [`RegistryError::WrongEvent`].
    pub async fn transition<'r>(
        &self,
        run: impl Into<Option<&'r RunId>>,
        key: &TaskKey,
        expected_version: u64,
        attempt: Option<u32>,
        body: Body,
    ) -> Result<Task, RegistryError> {
        let what = body.name();
        let change = Transition { run: run.into().cloned(), key: key.clone(), expected_version, attempt, body };
        failpoint::awaiting("transition", what, self.shared.writer.run(move |tx| tasks::transition(tx, change))).await
    }

    /// Leases a slot or a lock.
    ///
    /// # Errors
    /// [`RegistryError::Held`] names the holder.
    pub async fn acquire_lease(&self, request: LeaseRequest) -> Result<Lease, RegistryError> {
        let id = self.shared.ids.text();
        let leased = self.shared.writer.run(move |tx| lease::acquire(tx, id, request));
        failpoint::awaiting("lease", "acquire", leased).await
    }

    /// Makes a lease last `ttl` from now.
    ///
    /// # Errors
    /// [`RegistryError::LostLease`] when it is not held any more.
    pub async fn renew_lease(&self, id: &str, ttl: Duration) -> Result<Lease, RegistryError> {
        let id = id.to_owned();
        failpoint::awaiting("lease", "renew", self.shared.writer.run(move |tx| lease::renew(tx, &id, ttl))).await
    }

    /// Gives a lease back. False when it was not held any more, which is no error.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn release_lease(&self, id: &str) -> Result<bool, RegistryError> {
        let id = id.to_owned();
        let released = self.shared.writer.run(move |tx| lease::release(tx.conn, &id));
        let released = failpoint::awaiting("lease", "release", released).await;
        self.shared.waiting.changed.notify_waiters();
        released
    }

    /// Gives back everything that `holder` has; an attempt's leases are held by its key's text.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn release_leases_of(&self, holder: &str) -> Result<Vec<Lease>, RegistryError> {
        let holder = holder.to_owned();
        let released = self.shared.writer.run(move |tx| lease::release_of(tx.conn, &holder));
        let released = failpoint::awaiting("lease", "release-all", released).await;
        self.shared.waiting.changed.notify_waiters();
        released
    }

    /// Gives back the lock of this name, which is `<workspace>/<name>`. One whose holder is at work only with
    /// `force`. `None` when nobody has it.
    ///
    /// # Errors
    /// [`RegistryError::Held`] names the holder that is at work.
    pub async fn release_lock(&self, name: &str, force: bool) -> Result<Option<Lease>, RegistryError> {
        let name = name.to_owned();
        let released = self.shared.writer.run(move |tx| lease::release_lock(tx.conn, &name, force)).await;
        self.shared.waiting.changed.notify_waiters();
        released
    }

    /// Begins the journal of an execution. For spirits and reviews it is durable on return; for
    /// decisions and descriptions it becomes durable with the first record after it, at the latest
    /// with the end.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn begin_execution(&self, new: NewExecution) -> Result<Execution, RegistryError> {
        Execution::begin(self.shared.clone(), new).await
    }

    /// Makes the projections anew from the log, in one transaction, and tells what had been different.
    ///
    /// # Errors
    /// When the log cannot be read or the projections cannot be written: then nothing is changed.
    pub async fn rebuild(&self) -> Result<VerifyReport, RegistryError> {
        self.shared.writer.run(|tx| verify::rebuild(tx)).await
    }
}
