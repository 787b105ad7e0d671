//! One execution's journal: what a component was given, every host call with its answer, and how it
//! ended. Calls are numbered from 1 without gaps, in the order in which they were made.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::domain::call::{CallRequest, Cost, Function};
use crate::domain::id::{AttemptKey, Digest, ExecutionId, RunId, SpecName};
use crate::failpoint;
use crate::store::{BlobStore, Ids};

use super::body::{Parts, request_digest};
use super::error::RegistryError;
use super::parts;
use super::records::ExecutionKind;
use super::rows::time_text;
use super::seal;
use super::waiting::Waiting;
use super::writer::{Tx, Writer};

/// Observations that wait for the next record at most; then they are written on their own.
const MAX_PENDING: usize = 256;
/// Bytes of the same.
const MAX_PENDING_BYTES: usize = 1024 * 1024;
/// Largest policy state, in bytes.
const MAX_STATE: u64 = crate::domain::policy::MAX_STATE_BYTES as u64;

/// What an execution begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct NewExecution {
    /// Its id.
    pub id: ExecutionId,
    /// The run, when there is one.
    pub run: Option<RunId>,
    /// What for.
    pub kind: ExecutionKind,
    /// The spec.
    pub spec: Option<SpecName>,
    /// The attempt; also for reviews of it and decisions about it.
    pub attempt: Option<AttemptKey>,
    /// Name of the plugin.
    pub plugin: String,
    /// Digest of the component.
    pub component: Digest,
    /// The engine and its version.
    pub engine: String,
    /// Where it is stopped.
    pub limits: Value,
    /// The plugin's settings.
    pub settings: Value,
    /// What the exported function is given.
    pub input: Value,
}

/// A policy's memory, stored together with the decision that returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyState {
    /// Kind and name, such as `routing/least-busy`.
    pub name: String,
    /// What comes back with the next call.
    pub state: String,
}

/// What executions need of the registry.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) writer: Writer,
    pub(super) blobs: BlobStore,
    pub(super) ids: Ids,
    pub(super) clock: Arc<dyn Clock>,
    /// Who waits for locks.
    pub(super) waiting: Arc<Waiting>,
}

/// The journal of one execution, open for writing. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct Execution {
    pub(super) id: ExecutionId,
    pub(super) run: Option<RunId>,
    pub(super) started_at: Timestamp,
    pub(super) shared: Arc<Shared>,
    pub(super) progress: Arc<Mutex<Progress>>,
}

/// What is not in the database yet, and the number of the next call.
#[derive(Debug, Default)]
pub(super) struct Progress {
    begin: Option<Begin>,
    pending: Vec<Entry>,
    pending_bytes: usize,
    next: u64,
    ended: bool,
}

impl Progress {
    /// Of a journal that has this many calls already.
    pub(super) fn after(calls: u64) -> Self {
        Self { next: calls + 1, ..Self::default() }
    }
}

/// An execution's own row, taken apart.
#[derive(Debug, Clone)]
struct Begin {
    new: NewExecution,
    at: Timestamp,
    limits: String,
    settings: String,
    input: String,
    parts: Parts,
}

/// A call's row, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    sequence: u64,
    function: Function,
    digest: Digest,
    request: String,
    effect: Option<String>,
    at: Timestamp,
    answer: Option<String>,
    parts: Parts,
}

/// Everything that has to be in the database before a further record.
#[derive(Debug, Clone, Default)]
pub(super) struct Backlog {
    begin: Option<Begin>,
    pending: Vec<Entry>,
}

impl Execution {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &ExecutionId {
        &self.id
    }

    /// When it began, as recorded: to the microsecond.
    #[must_use]
    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(super) const fn run(&self) -> Option<&RunId> {
        self.run.as_ref()
    }

    /// Begins a journal. Durable on return for what has effects; a decision's beginning is durable
    /// with its end, because nothing is lost by making it again.
    pub(super) async fn begin(shared: Arc<Shared>, new: NewExecution) -> Result<Self, RegistryError> {
        let mut parts = Parts::default();
        let (limits, settings) = (parts.take(&new.limits)?, parts.take(&new.settings)?);
        let input = parts.take(&new.input)?;
        let at = microseconds(shared.clock.now());
        let (id, run, kind) = (new.id.clone(), new.run.clone(), new.kind);
        let begin = Begin { new, at, limits, settings, input, parts };
        let progress = Progress { begin: Some(begin), next: 1, ..Progress::default() };
        let this = Self { id, run, started_at: at, shared, progress: Arc::new(Mutex::new(progress)) };
        match kind {
            ExecutionKind::Spirit | ExecutionKind::Review => {
                failpoint::awaiting("begin", kind.as_str(), this.flush()).await?;
            }
            ExecutionKind::Scheduling | ExecutionKind::Routing | ExecutionKind::Describe => {}
        }
        Ok(this)
    }

    /// A call that only read. Durable with the next record.
    ///
    /// # Errors
    /// When earlier observations have to be written first and cannot be.
    pub async fn observed(&self, call: CallRequest, answer: Value) -> Result<(), RegistryError> {
        let mut progress = self.progress.lock().await;
        let mut entry = self.entry(&progress, &call)?;
        entry.answer = Some(entry.parts.take(&answer)?);
        progress.next += 1;
        progress.pending_bytes += entry.request.len() + entry.parts.size_bytes();
        progress.pending.push(entry);
        if progress.pending.len() >= MAX_PENDING || progress.pending_bytes >= MAX_PENDING_BYTES {
            failpoint::awaiting("journal", "observed", self.write(&mut progress, None, |_| Ok(()))).await?;
        }
        Ok(())
    }

    /// A call that will have an effect outside. Durable on return; gives its number.
    ///
    /// # Errors
    /// When it cannot be recorded: then the effect must not happen.
    pub async fn intent(&self, call: CallRequest) -> Result<u64, RegistryError> {
        let mut progress = self.progress.lock().await;
        let entry = self.entry(&progress, &call)?;
        let sequence = entry.sequence;
        let name = entry.function.name();
        failpoint::awaiting("intent", name, self.write(&mut progress, Some(entry), |_| Ok(()))).await?;
        Ok(sequence)
    }

    /// The answer to an intent, what it cost, and what became known of its effect (in place of what the
    /// intent said, if anything). Durable on return.
    ///
    /// # Errors
    /// [`RegistryError::UnknownCall`] when no intent with this number waits, and when it cannot be
    /// recorded: then the answer must not reach the guest.
    pub async fn answered(
        &self,
        sequence: u64,
        answer: Value,
        cost: Cost,
        effect: Option<Value>,
    ) -> Result<(), RegistryError> {
        let mut progress = self.progress.lock().await;
        self.open(&progress)?;
        let mut parts = Parts::default();
        let answer = parts.take(&answer)?;
        let effect = effect.map(|effect| parts.take(&effect)).transpose()?;
        self.store(&parts).await?;
        let at = self.shared.clock.now();
        let id = self.id.clone();
        let write = self.write(&mut progress, None, move |tx| {
            parts::insert(tx.conn, &parts)?;
            let changed = tx
                .conn
                .prepare_cached(
                    "UPDATE calls SET answer = ?3, answered_at = ?4, input_tokens = ?5, cached_input_tokens = ?6,
                                      output_tokens = ?7, cost_microusd = ?8, effect = coalesce(?9, effect)
                     WHERE execution = (SELECT number FROM executions WHERE id = ?1) AND seq = ?2 AND answer IS NULL",
                )?
                .execute((
                    id.as_str(),
                    sequence,
                    &answer,
                    time_text(at),
                    cost.input_tokens,
                    cost.cached_input_tokens,
                    cost.output_tokens,
                    cost.cost_microusd,
                    &effect,
                ))?;
            if changed != 1 {
                return Err(RegistryError::UnknownCall { execution: id, sequence });
            }
            seal::seal_call(tx.conn, &id, sequence)
        });
        failpoint::awaiting("journal", "answered", write).await
    }

    /// The end: what the exported function returned or how it was stopped, what it used, and a
    /// policy's new state. Durable on return, when it gives the recorded time of the end; nothing can be
    /// recorded afterwards.
    ///
    /// # Errors
    /// When it has ended already, or cannot be recorded.
    pub async fn end(
        &self,
        outcome: Value,
        usage: Value,
        policy: Option<PolicyState>,
    ) -> Result<Timestamp, RegistryError> {
        if let Some(found) = policy.as_ref().map(|p| p.state.len() as u64).filter(|len| *len > MAX_STATE) {
            return Err(RegistryError::TooLarge { what: "a policy's state", found, limit: MAX_STATE, unit: "bytes" });
        }
        let mut progress = self.progress.lock().await;
        self.open(&progress)?;
        let mut parts = Parts::default();
        let (outcome, usage) = (parts.take(&outcome)?, parts.take(&usage)?);
        self.store(&parts).await?;
        let at = microseconds(self.shared.clock.now());
        let (id, calls) = (self.id.clone(), progress.next - 1);
        let write = self.write(&mut progress, None, move |tx| {
            parts::insert(tx.conn, &parts)?;
            let time = time_text(at);
            let changed = tx
                .conn
                .prepare_cached(
                    "UPDATE executions SET ended_at = ?2, outcome = ?3, usage = ?4, calls = ?5
                     WHERE id = ?1 AND ended_at IS NULL",
                )?
                .execute((id.as_str(), &time, &outcome, &usage, calls))?;
            if changed == 0 {
                return Err(RegistryError::Ended(id));
            }
            seal::seal_end(tx.conn, &id)?;
            if let Some(PolicyState { name, state }) = policy {
                tx.conn
                    .prepare_cached(
                        "INSERT INTO policy_state (name, state, execution, time) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (name) DO UPDATE SET state = ?2, execution = ?3, time = ?4",
                    )?
                    .execute((name, state, id.as_str(), &time))?;
            }
            Ok(())
        });
        failpoint::awaiting("journal", "end", write).await?;
        progress.ended = true;
        Ok(at)
    }

    async fn flush(&self) -> Result<(), RegistryError> {
        self.write(&mut *self.progress.lock().await, None, |_| Ok(())).await
    }

    pub(super) async fn lock(&self) -> tokio::sync::MutexGuard<'_, Progress> {
        self.progress.lock().await
    }

    /// The next call's row, without an answer.
    pub(super) fn entry(&self, progress: &Progress, call: &CallRequest) -> Result<Entry, RegistryError> {
        self.open(progress)?;
        let mut parts = Parts::default();
        let request = parts.take(&call.arguments)?;
        let effect = call.effect.as_ref().map(|effect| parts.take(effect)).transpose()?;
        Ok(Entry {
            sequence: progress.next,
            function: call.function,
            digest: request_digest(call),
            request,
            effect,
            at: self.shared.clock.now(),
            answer: None,
            parts,
        })
    }

    fn open(&self, progress: &Progress) -> Result<(), RegistryError> {
        if progress.ended { Err(RegistryError::Ended(self.id.clone())) } else { Ok(()) }
    }

    /// Puts large parts into the blob store.
    async fn store(&self, parts: &Parts) -> Result<(), RegistryError> {
        if !parts::has_blobs(parts) {
            return Ok(());
        }
        let (blobs, parts) = (self.shared.blobs.clone(), parts.clone());
        tokio::task::spawn_blocking(move || parts::store_blobs(&blobs, &parts))
            .await
            .map_err(|_| RegistryError::Closed)??;
        Ok(())
    }

    /// Writes the backlog, then `entry`, then whatever `more` does, in one transaction. When that
    /// fails, the backlog is kept and the entry's number is free again.
    pub(super) async fn write<T, F>(
        &self,
        progress: &mut Progress,
        entry: Option<Entry>,
        more: F,
    ) -> Result<T, RegistryError>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, RegistryError> + Send + 'static,
        T: Send + 'static,
    {
        for parts in progress.begin.iter().map(|begin| &begin.parts).chain(progress.pending.iter().map(|e| &e.parts)) {
            self.store(parts).await?;
        }
        if let Some(entry) = &entry {
            self.store(&entry.parts).await?;
        }
        // From here to the send nothing waits: a caller that goes away leaves no hole in the numbers.
        let place = self.shared.writer.place().await?;
        let backlog =
            Arc::new(Backlog { begin: progress.begin.take(), pending: std::mem::take(&mut progress.pending) });
        let numbered = u64::from(entry.is_some());
        progress.next += numbered;
        let (id, kept, last) = (self.id.clone(), backlog.clone(), progress.next - 1);
        let answer = place.send(move |tx| {
            backlog.insert(tx, &id)?;
            if let Some(entry) = &entry {
                insert_call(tx, &id, entry)?;
            }
            if entry.is_some() || !backlog.pending.is_empty() {
                // A journal that loses its last rows shows it.
                tx.conn
                    .prepare_cached("UPDATE executions SET calls = ?2 WHERE id = ?1")?
                    .execute((id.as_str(), last))?;
            }
            more(tx)
        });
        let written = answer.await.map_err(|_| RegistryError::Closed)?;
        if written.is_err() {
            let Backlog { begin, pending } = Arc::unwrap_or_clone(kept);
            progress.begin = begin;
            progress.pending = pending;
            progress.next -= numbered;
        } else {
            progress.pending_bytes = 0;
        }
        written
    }
}

impl Entry {
    /// Its number.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Backlog {
    fn insert(&self, tx: &Tx<'_>, id: &ExecutionId) -> Result<(), RegistryError> {
        if let Some(begin) = &self.begin {
            parts::insert(tx.conn, &begin.parts)?;
            let NewExecution {
                id,
                run,
                kind,
                spec,
                attempt,
                plugin,
                component,
                engine,
                limits: _,
                settings: _,
                input: _,
            } = &begin.new;
            let spec = attempt.as_ref().map(|a| &a.key.spec).or(spec.as_ref());
            tx.conn
                .prepare_cached(
                    "INSERT INTO executions (id, run, kind, spec, task, attempt, plugin, component, engine, limits,
                                             settings, input, started_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                )?
                .execute((
                    id.as_str(),
                    run.as_ref().map(RunId::as_str),
                    kind.as_str(),
                    spec.map(SpecName::as_str),
                    attempt.as_ref().map(|a| a.key.task.as_str()),
                    attempt.as_ref().map(|a| a.attempt),
                    plugin,
                    component.as_str(),
                    engine,
                    &begin.limits,
                    &begin.settings,
                    &begin.input,
                    time_text(begin.at),
                ))?;
            seal::seal_begin(tx.conn, id)?;
        }
        self.pending.iter().try_for_each(|entry| insert_call(tx, id, entry))
    }
}

fn insert_call(tx: &Tx<'_>, id: &ExecutionId, entry: &Entry) -> Result<(), RegistryError> {
    parts::insert(tx.conn, &entry.parts)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO calls (execution, seq, function, digest, request, at, answer, answered_at, effect)
             VALUES ((SELECT number FROM executions WHERE id = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            id.as_str(),
            entry.sequence,
            entry.function.name(),
            entry.digest.as_str(),
            &entry.request,
            time_text(entry.at),
            entry.answer.as_deref(),
            entry.answer.as_ref().map(|_| time_text(entry.at)),
            entry.effect.as_deref(),
        ))?;
    seal::seal_call(tx.conn, id, entry.sequence)
}

/// What the tables keep of a time, so that what is read back equals what was used.
pub(super) fn microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// Completes the row of a local call with its answer, inside the same transaction.
pub(super) fn answer_local(tx: &Tx<'_>, id: &ExecutionId, sequence: u64, answer: &Value) -> Result<(), RegistryError> {
    let mut parts = Parts::default();
    let form = parts.take(answer)?;
    parts::insert_whole(tx.conn, &parts)?;
    tx.conn
        .prepare_cached(
            "UPDATE calls SET answer = ?3, answered_at = at
             WHERE execution = (SELECT number FROM executions WHERE id = ?1) AND seq = ?2",
        )?
        .execute((id.as_str(), sequence, form))?;
    seal::seal_call(tx.conn, id, sequence)
}
