//! The one connection that writes. Requests wait in a bounded queue; those that wait together are
//! committed together by the writer's thread, and each is answered only after its commit. A request
//! that finds nobody waiting commits on its own thread: waking another one would cost as much as the
//! commit itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::domain::event::{BODY_VERSION, Body, Event, Subject};
use crate::domain::id::{RunId, SpecName, TaskId};
use crate::failpoint;

use super::error::RegistryError;
use super::projection;
use super::rows::{parse_time, time_text};

/// Requests that may wait; senders wait beyond that.
const QUEUE: usize = 1024;
/// Requests in one transaction at most.
const BATCH: usize = 512;
/// Largest event body, in bytes of JSON.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// An open transaction and the end of the log in it.
pub(super) struct Tx<'c> {
    pub(super) conn: &'c Connection,
    head: Head,
    now: Timestamp,
}

#[derive(Clone, Copy)]
struct Head {
    sequence: u64,
    time: Timestamp,
}

impl Head {
    fn read(conn: &Connection) -> Result<Self, RegistryError> {
        let last = conn
            .prepare_cached("SELECT seq, time FROM events ORDER BY seq DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        match last {
            Some((sequence, time)) => Ok(Self { sequence, time: parse_time(&time)? }),
            None => Ok(Self { sequence: 0, time: Timestamp::MIN }),
        }
    }
}

impl Tx<'_> {
    /// The time of what is recorded now: that of the clock, in microseconds, but never before the
    /// last event.
    pub(super) fn now(&self) -> Timestamp {
        self.now.max(self.head.time)
    }

    /// Adds an event to the log and to the projections.
    pub(super) fn append(&mut self, subject: Subject, body: Body) -> Result<Event, RegistryError> {
        let event = Event { sequence: self.head.sequence + 1, time: self.now(), subject, body };
        let body = serde_json::to_string(&event.body).map_err(|e| RegistryError::Database(e.to_string()))?;
        if body.len() > MAX_EVENT_BYTES {
            let (found, limit) = (body.len() as u64, MAX_EVENT_BYTES as u64);
            return Err(RegistryError::TooLarge { what: "an event", found, limit, unit: "bytes" });
        }
        self.conn
            .prepare_cached(
                "INSERT INTO events (seq, time, kind, body_version, run, spec, task, attempt, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                event.sequence,
                time_text(event.time),
                event.body.name(),
                BODY_VERSION,
                event.subject.run.as_ref().map(RunId::as_str),
                event.subject.spec.as_ref().map(SpecName::as_str),
                event.subject.task.as_ref().map(TaskId::as_str),
                event.subject.attempt,
                body,
            ))?;
        projection::apply(self.conn, &event)?;
        self.head = Head { sequence: event.sequence, time: event.time };
        Ok(event)
    }
}

/// A request with a place for its answer.
trait Job: Send {
    /// Does the work inside the transaction. Gives why it has to be undone, if it has to.
    fn run(&mut self, tx: &mut Tx<'_>) -> Option<RegistryError>;
    /// Answers, after the commit or its failure.
    fn answer(self: Box<Self>, committed: Result<(), RegistryError>);
}

struct Request<F, T> {
    work: Option<F>,
    done: Option<Result<T, RegistryError>>,
    reply: oneshot::Sender<Result<T, RegistryError>>,
}

impl<F, T> Job for Request<F, T>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, RegistryError> + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Option<RegistryError> {
        self.done = self.work.take().map(|work| work(tx));
        self.done.as_ref().and_then(|done| done.as_ref().err().cloned())
    }

    fn answer(self: Box<Self>, committed: Result<(), RegistryError>) {
        let answer = match (self.done, committed) {
            (Some(Err(refused)), _) => Err(refused),
            (_, Err(failed)) => Err(failed),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(RegistryError::Closed),
        };
        // A caller that does not wait any more needs no answer.
        let _ = self.reply.send(answer);
    }
}

/// A place in the queue; what is sent through it is carried out even when nobody waits for the answer.
pub(super) struct Place<'w> {
    writer: &'w Writer,
    permit: mpsc::Permit<'w, Box<dyn Job>>,
}

impl Place<'_> {
    /// Commits `work`, here or on the writer's thread. The answer comes after the commit.
    pub(super) fn send<T, F>(self, work: F) -> oneshot::Receiver<Result<T, RegistryError>>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, RegistryError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Request { work: Some(work), done: None, reply });
        match self.writer.idle() {
            Some(conn) => tokio::task::block_in_place(|| self.writer.core.commit(&conn, vec![job])),
            None => {
                self.writer.core.waiting.fetch_add(1, Ordering::SeqCst);
                self.permit.send(job);
            }
        }
        answer
    }
}

/// What the writer's thread and the senders share.
#[derive(Debug)]
struct Core {
    conn: Mutex<Connection>,
    clock: Arc<dyn Clock>,
    /// Requests in the queue, and those that the thread has taken and not answered.
    waiting: AtomicUsize,
    newest: watch::Sender<u64>,
}

/// The queue in front of the database. Dropping it waits until the queue is empty and the database
/// is closed.
#[derive(Debug)]
pub(super) struct Writer {
    core: Arc<Core>,
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(conn: Connection, clock: Arc<dyn Clock>) -> Result<Self, RegistryError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (newest, _) = watch::channel(Head::read(&conn)?.sequence);
        let core = Arc::new(Core { conn: Mutex::new(conn), clock, waiting: AtomicUsize::new(0), newest });
        let thread = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn({
                let core = core.clone();
                move || core.serve(jobs)
            })
            .map_err(|e| RegistryError::Database(format!("cannot start the writer's thread: {e}")))?;
        Ok(Self { core, queue: Some(queue), thread: Some(thread) })
    }

    /// Waits for a place in the queue.
    pub(super) async fn place(&self) -> Result<Place<'_>, RegistryError> {
        let queue = self.queue.as_ref().ok_or(RegistryError::Closed)?;
        let permit = queue.reserve().await.map_err(|_| RegistryError::Closed)?;
        Ok(Place { writer: self, permit })
    }

    /// Carries `work` out in a transaction; durable on return.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, RegistryError>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, RegistryError> + Send + 'static,
        T: Send + 'static,
    {
        let answer = self.place().await?.send(work);
        answer.await.map_err(|_| RegistryError::Closed)?
    }

    /// Sequence number of the newest event that is durable.
    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.core.newest.subscribe()
    }

    /// The connection, when nobody waits for it and this thread may block.
    fn idle(&self) -> Option<MutexGuard<'_, Connection>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let may_block = runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread;
        if !may_block || self.core.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.core.conn.try_lock().ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

impl Core {
    fn serve(&self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = jobs.blocking_recv() {
            let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
            // Whatever came while the connection was busy goes into the same transaction.
            let mut batch = vec![first];
            while batch.len() < BATCH {
                match jobs.try_recv() {
                    Ok(job) => batch.push(job),
                    Err(_) => break,
                }
            }
            let taken = batch.len();
            self.commit(&conn, batch);
            self.waiting.fetch_sub(taken, Ordering::SeqCst);
        }
    }

    /// One transaction for all of `batch`, then the answers.
    fn commit(&self, conn: &Connection, mut batch: Vec<Box<dyn Job>>) {
        let committed = commit(conn, &*self.clock, &mut batch);
        if let Ok(newest) = committed {
            self.newest.send_if_modified(|seen| std::mem::replace(seen, newest) != newest);
        }
        for job in batch {
            job.answer(committed.clone().map(|_| ()));
        }
    }
}

/// One transaction for all of `batch`. Requests that are refused leave no trace; when the commit
/// fails, none does. Gives the end of the log.
fn commit(conn: &Connection, clock: &dyn Clock, batch: &mut [Box<dyn Job>]) -> Result<u64, RegistryError> {
    let execute = |sql: &str| -> Result<(), RegistryError> { Ok(conn.prepare_cached(sql)?.execute([]).map(drop)?) };
    if !conn.is_autocommit() {
        // A request panicked on another thread and left its transaction open.
        execute("ROLLBACK")?;
    }
    execute("BEGIN IMMEDIATE")?;
    let outcome = (|| {
        let head = Head::read(conn)?;
        // Events carry microseconds: what is read back equals what was returned.
        let now = Timestamp::from_microsecond(clock.now().as_microsecond()).unwrap_or(head.time);
        let mut tx = Tx { conn, head, now };
        let alone = batch.len() == 1;
        let mut undone = false;
        for job in batch.iter_mut() {
            let before = tx.head;
            if !alone {
                execute("SAVEPOINT request")?;
            }
            if let Some(refused) = job.run(&mut tx) {
                tx.head = before;
                undone |= alone;
                if conn.is_autocommit() {
                    // SQLite gave the whole transaction up, as it may when the disk is full.
                    return Err(refused);
                }
                if !alone {
                    execute("ROLLBACK TO request")?;
                }
            }
            if !alone {
                execute("RELEASE request")?;
            }
        }
        failpoint::writing("registry", "commit", || execute(if undone { "ROLLBACK" } else { "COMMIT" }))?;
        Ok(tx.head.sequence)
    })();
    if !conn.is_autocommit() {
        // The commit failed; a rollback that fails as well leaves nothing that could be done here.
        let _ = execute("ROLLBACK");
    }
    outcome
}
