//! Reading the registry: one connection that cannot write, and a small pool of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::domain::event::Event;
use crate::domain::id::{ArtifactUri, Digest, ExecutionId, Instance, IssueId, RunId, SpecName, TaskId, TaskKey};
use crate::domain::issue::Issue;
use crate::domain::task::Task;
use crate::store::BlobStore;

use super::error::RegistryError;
use super::filter::{Cursor, TaskFilter};
use super::records::{
    ArtifactRecord, Attempt, CallRecord, CostSummary, EventFilter, ExecutionFilter, ExecutionKind, ExecutionRecord,
    FindingRecord, HeldLock, Lease, LeaseKind, MessageRecord, Note, Record, Run, VerifyReport,
};
use super::{find, issues, lease, query, schema, seats, verify};

/// Readers at the same time; others wait.
const READERS: usize = 4;

/// A read-only connection. Blocking: use it on a blocking thread, or through
/// [`Registry::read`](super::Registry::read). Each method sees one state of the database; two
/// methods may see two.
///
/// Every method fails when the database cannot be read or does not say what it should.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    blobs: BlobStore,
}

impl Reader {
    /// Opens an existing database, also while another process writes it, and in a directory that
    /// cannot be written.
    ///
    /// # Errors
    /// When there is none, or it is damaged, or newer than this program.
    pub fn open(path: &Path, blobs: BlobStore) -> Result<Self, RegistryError> {
        Ok(Self { conn: schema::open_reader(path)?, blobs })
    }

    pub(super) const fn conn(&self) -> &Connection {
        &self.conn
    }

    pub(super) const fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Result<Vec<Run>, RegistryError> {
        query::runs(&self.conn)
    }

    /// One run.
    pub fn run(&self, id: &RunId) -> Result<Option<Run>, RegistryError> {
        query::run(&self.conn, id)
    }

    /// The run that was started last.
    pub fn latest_run(&self) -> Result<Option<Run>, RegistryError> {
        query::latest_run(&self.conn)
    }

    /// Specs that have tasks, by name.
    pub fn specs(&self) -> Result<Vec<SpecName>, RegistryError> {
        find::specs(&self.conn)
    }

    /// Tasks of a spec in natural order.
    pub fn tasks(&self, spec: &SpecName) -> Result<Vec<Task>, RegistryError> {
        find::tasks(&self.conn, spec)
    }

    /// One task.
    pub fn task(&self, key: &TaskKey) -> Result<Option<Task>, RegistryError> {
        find::task(&self.conn, key)
    }

    /// Tasks that may be claimed: by priority, then in natural order.
    pub fn ready(&self, spec: &SpecName) -> Result<Vec<Task>, RegistryError> {
        find::ready(&self.conn, spec, TaskFilter::MAX)
    }

    /// The first `limit` of them.
    pub fn first_ready(&self, spec: &SpecName, limit: u32) -> Result<Vec<Task>, RegistryError> {
        find::ready(&self.conn, spec, limit)
    }

    /// Their ids alone, in the same order.
    pub fn ready_ids(&self, spec: &SpecName) -> Result<Vec<TaskId>, RegistryError> {
        find::ready_ids(&self.conn, spec, TaskFilter::MAX)
    }

    /// A page of the tasks that `filter` says, each with the place from which an answer goes on after it.
    pub fn find_tasks(&self, filter: &TaskFilter) -> Result<Vec<(Task, Cursor)>, RegistryError> {
        find::find(&self.conn, filter)
    }

    /// Digest of the bytes that the file at `place` had when it and the registry said the same for the last
    /// time.
    pub fn base(&self, spec: &SpecName, place: &str) -> Result<Option<Digest>, RegistryError> {
        find::base(&self.conn, spec, place)
    }

    /// One issue of the backlog.
    pub fn issue(&self, id: &IssueId) -> Result<Option<Issue>, RegistryError> {
        issues::one(&self.conn, id)
    }

    /// Issues of the backlog, oldest first, at most 10,000 after number `after`.
    pub fn issues(&self, after: u32) -> Result<Vec<Issue>, RegistryError> {
        issues::all(&self.conn, after)
    }

    /// Attempts at a task, oldest first.
    pub fn attempts(&self, key: &TaskKey) -> Result<Vec<Attempt>, RegistryError> {
        query::attempts(&self.conn, &key.spec, Some(&key.task))
    }

    /// Attempts at all tasks of a spec, oldest first.
    pub fn attempts_of_spec(&self, spec: &SpecName) -> Result<Vec<Attempt>, RegistryError> {
        query::attempts(&self.conn, spec, None)
    }

    /// Sequence number of each instance's last assignment.
    pub fn last_assigned(&self) -> Result<BTreeMap<Instance, u64>, RegistryError> {
        query::last_assigned(&self.conn)
    }

    /// Findings on a task, oldest first.
    pub fn findings(&self, key: &TaskKey) -> Result<Vec<FindingRecord>, RegistryError> {
        query::findings(&self.conn, key)
    }

    /// Notes on a task, oldest first.
    pub fn notes(&self, key: &TaskKey) -> Result<Vec<Note>, RegistryError> {
        query::notes(&self.conn, key)
    }

    /// Artifacts of a task, oldest first.
    pub fn artifacts(&self, key: &TaskKey) -> Result<Vec<ArtifactRecord>, RegistryError> {
        query::artifacts(&self.conn, &key.spec, Some(&key.task))
    }

    /// Artifacts of a spec, oldest first.
    pub fn artifacts_of_spec(&self, spec: &SpecName) -> Result<Vec<ArtifactRecord>, RegistryError> {
        query::artifacts(&self.conn, spec, None)
    }

    /// One artifact's metadata.
    pub fn artifact(&self, uri: &ArtifactUri) -> Result<Option<ArtifactRecord>, RegistryError> {
        query::artifact(&self.conn, uri)
    }

    /// Events in order.
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, RegistryError> {
        query::events(&self.conn, filter)
    }

    /// Executions in the order of their beginning, at most 10 000.
    pub fn executions(&self, filter: &ExecutionFilter) -> Result<Vec<ExecutionRecord>, RegistryError> {
        query::executions(&self.conn, &self.blobs, filter)
    }

    /// Ids of a run's executions, of one kind or all, in the order of their beginning, at most 10 000: those
    /// after the one that is named, so that longer runs are read page by page.
    pub fn execution_ids(
        &self,
        run: &RunId,
        kind: Option<ExecutionKind>,
        after: Option<&ExecutionId>,
    ) -> Result<Vec<ExecutionId>, RegistryError> {
        query::execution_ids(&self.conn, run, kind, after)
    }

    /// Ids of the newest executions of a kind that have ended, of all runs and outside of them, in the order of
    /// their beginning, at most 10 000.
    pub fn newest_executions(&self, kind: ExecutionKind, limit: u32) -> Result<Vec<ExecutionId>, RegistryError> {
        query::newest_executions(&self.conn, kind, limit)
    }

    /// The newest events of a kind, oldest first, at most 10 000.
    pub fn newest_events(&self, kind: &str, limit: u32) -> Result<Vec<Event>, RegistryError> {
        let mut newest = query::newest_events(&self.conn, kind, limit)?;
        newest.reverse();
        Ok(newest)
    }

    /// Who took which seat, oldest first: the newest 10 000 of all runs.
    pub fn seatings(&self) -> Result<Vec<Event>, RegistryError> {
        let mut newest = seats::newest(&self.conn)?;
        newest.reverse();
        Ok(newest)
    }

    /// One execution.
    pub fn execution(&self, id: &ExecutionId) -> Result<Option<ExecutionRecord>, RegistryError> {
        query::execution(&self.conn, &self.blobs, id)
    }

    /// Calls of an execution in order.
    pub fn calls(&self, id: &ExecutionId) -> Result<Vec<CallRecord>, RegistryError> {
        query::calls(&self.conn, &self.blobs, id, 0)
    }

    /// Calls of an execution after the one with this sequence number.
    pub fn calls_after(&self, id: &ExecutionId, after: u64) -> Result<Vec<CallRecord>, RegistryError> {
        query::calls(&self.conn, &self.blobs, id, after)
    }

    /// Executions of a spec without an end, whatever their records look like.
    pub fn open_executions(&self, spec: &SpecName) -> Result<Vec<ExecutionId>, RegistryError> {
        query::open_executions(&self.conn, spec)
    }

    /// One execution with all its calls, verified.
    ///
    /// # Errors
    /// [`RegistryError::DamagedRecord`] names what is not as it was written, [`RegistryError::Pruned`] says
    /// that it was dropped.
    pub fn record(&self, id: &ExecutionId) -> Result<Option<Record>, RegistryError> {
        query::record(&self.conn, &self.blobs, id)
    }

    /// What a run's model calls cost.
    pub fn cost(&self, run: &RunId) -> Result<CostSummary, RegistryError> {
        query::cost(&self.conn, run)
    }

    /// What one execution's model calls cost.
    pub fn execution_cost(&self, execution: &ExecutionId) -> Result<CostSummary, RegistryError> {
        query::execution_cost(&self.conn, execution)
    }

    /// The last messages of a workspace, oldest first, at most 1000.
    pub fn messages(&self, workspace: &str) -> Result<Vec<MessageRecord>, RegistryError> {
        query::messages(&self.conn, workspace)
    }

    /// Leases of a kind, or all, by name.
    pub fn leases(&self, kind: Option<LeaseKind>) -> Result<Vec<Lease>, RegistryError> {
        lease::all(&self.conn, kind)
    }

    /// All locks by name, and what is known of their holders at `now`.
    pub fn locks(&self, now: Timestamp) -> Result<Vec<HeldLock>, RegistryError> {
        lease::locks(&self.conn, now)
    }

    /// Leases that have run out at `now` and were not given back.
    pub fn expired_leases(&self, now: Timestamp) -> Result<Vec<Lease>, RegistryError> {
        lease::expired(&self.conn, now)
    }

    /// What a policy, such as `routing/least-busy`, returned last to remember.
    pub fn policy_state(&self, name: &str) -> Result<Option<String>, RegistryError> {
        query::policy_state(&self.conn, name)
    }

    /// Rebuilds the projections from the log beside the live ones and compares every row.
    pub fn verify(&self) -> Result<VerifyReport, RegistryError> {
        self.verify_telling(&mut |_, _| {})
    }

    /// The same; `seen` is told how many events of how many were read.
    pub fn verify_telling(&self, seen: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, RegistryError> {
        verify::compare(&self.conn, seen)
    }

    /// What SQLite finds wrong with the database's pages, indices and constraints; empty when nothing is.
    pub fn check_file(&self) -> Result<Vec<String>, RegistryError> {
        verify::check_file(&self.conn)
    }
}

/// A few readers of one database, made when they are needed and kept.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    blobs: BlobStore,
    idle: Mutex<Vec<Reader>>,
    free: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: &Path, blobs: BlobStore) -> Self {
        let free = Arc::new(Semaphore::new(READERS));
        Self { path: path.to_owned(), blobs, idle: Mutex::default(), free }
    }

    /// Asks on a blocking thread. All that `ask` sees is one state of the database.
    pub(super) async fn read<T, F>(self: Arc<Self>, ask: F) -> Result<T, RegistryError>
    where
        F: FnOnce(&Reader) -> Result<T, RegistryError> + Send + 'static,
        T: Send + 'static,
    {
        let permit = self.free.clone().acquire_owned().await.map_err(|_| RegistryError::Closed)?;
        let work = move || {
            let _permit = permit;
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match idle {
                Some(reader) => reader,
                None => Reader::open(&self.path, self.blobs.clone())?,
            };
            reader.conn.execute_batch("BEGIN")?;
            let answer = ask(&reader);
            reader.conn.execute_batch("COMMIT")?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            answer
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| RegistryError::Closed)?
    }
}
