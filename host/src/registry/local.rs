//! Effects of guests inside the registry: notes, messages, locks, artifacts. Effect, answer and
//! record commit in one transaction; a refusal is an answer like any other, and recorded.

use std::time::Duration;

use rusqlite::Connection;

use crate::domain::artifact;
use crate::domain::assignment::Envelope;
use crate::domain::call::{CallRequest, HostError, LocalAnswer, LocalEffect};
use crate::domain::event::{Body, Subject, TaskChange};
use crate::domain::id::{AttemptKey, Instance, RunId};
use crate::domain::task::ArtifactRef;
use crate::domain::waits::Wait;
use crate::failpoint;

use super::append::task_exists;
use super::error::RegistryError;
use super::journal::{Execution, answer_local};
use super::lease::{self, Expired, LeaseRequest};
use super::query;
use super::records::LeaseKind;
use super::rows::time_text;
use super::waiting::Seat;
use super::writer::Tx;

/// Longest note, in bytes.
const MAX_NOTE_BYTES: usize = 16 * 1024;
/// Largest message, in bytes of JSON.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Messages that may wait for one receiver.
const MAX_UNREAD: u64 = 1000;
/// Messages that one call receives at most.
const MAX_RECEIVED: u32 = 100;
/// Longest wait for a lock.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(60);
/// A waiter looks again after this long, because a lease may run out without anybody giving it back.
const LOCK_POLL: Duration = Duration::from_millis(500);
/// Longest name of a lock, in bytes.
const MAX_LOCK_NAME: usize = 200;

/// On whose behalf a local effect happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalContext {
    /// The attempt. Leases belong to it: their holder is its text, such as `login/2.1#1`.
    pub attempt: AttemptKey,
    /// The spirit.
    pub instance: Instance,
    /// The mailbox and lock domain.
    pub workspace: String,
}

/// An effect with everything decided that must not be decided inside the transaction.
#[derive(Debug, Clone)]
enum Prepared {
    Note(String),
    Send { message: Envelope, text: String, receiver: Instance },
    Receive,
    Acquire { request: LeaseRequest, id: String },
    Release(String),
    Put(ArtifactRef),
}

impl Execution {
    /// Carries a local effect out and records it with its answer, all durable on return. The answer
    /// in the journal has the form `{"Ok": answer}` or `{"Err": error}`. A lock that is taken is
    /// waited for, within the effect's own bound and a minute at most; only the last try is recorded. Those
    /// who wait get it in the order in which they came; one that would wait for itself, because the lock's
    /// holder waits for something that it has, is refused at once.
    ///
    /// # Errors
    /// When it cannot be recorded: then there was no effect either. What the guest did wrong is
    /// inside the `Ok`.
    pub async fn local(
        &self,
        call: CallRequest,
        effect: LocalEffect,
        context: &LocalContext,
    ) -> Result<Result<LocalAnswer, HostError>, RegistryError> {
        let wait = match &effect {
            LocalEffect::Acquire { wait_ms, .. } => Duration::from_millis(*wait_ms).min(MAX_LOCK_WAIT),
            _ => Duration::ZERO,
        };
        let prepared = self.prepare(effect, context).await?;
        let deadline = tokio::time::Instant::now() + wait;
        let place = self.shared.waiting.place();
        loop {
            let released = self.shared.waiting.changed.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            let last = tokio::time::Instant::now() >= deadline;
            match self.attempt_local(&call, &prepared, context, (last, place.seat())).await {
                Err(RegistryError::Held { .. }) if !last => {}
                Ok(Ok(LocalAnswer::Done)) if matches!(prepared, Ok(Prepared::Release(_))) => {
                    self.shared.waiting.changed.notify_waiters();
                    return Ok(Ok(LocalAnswer::Done));
                }
                answered => return answered,
            }
            let again = deadline.min(tokio::time::Instant::now() + LOCK_POLL);
            // Whatever wakes the waiter, it looks again.
            let _ = tokio::time::timeout_at(again, released).await;
        }
    }

    async fn attempt_local(
        &self,
        call: &CallRequest,
        prepared: &Result<Prepared, HostError>,
        context: &LocalContext,
        (last, seat): (bool, Seat),
    ) -> Result<Result<LocalAnswer, HostError>, RegistryError> {
        let mut progress = self.lock().await;
        let entry = self.entry(&progress, call)?;
        let sequence = entry.sequence();
        let (prepared, context) = (prepared.clone(), context.clone());
        let (id, run) = (self.id().clone(), self.run().cloned());
        let write = self.write(&mut progress, Some(entry), move |tx| {
            let answer = match prepared {
                Err(refused) => Err(refused),
                Ok(prepared) => carry_out(tx, run.as_ref(), &context, prepared, (last, &seat))?,
            };
            let recorded = serde_json::to_value(&answer).map_err(|e| RegistryError::Database(e.to_string()))?;
            answer_local(tx, &id, sequence, &recorded)?;
            Ok(answer)
        });
        failpoint::awaiting("local", call.function.name(), write).await
    }

    /// Checks the request and makes ids and blobs. The inner error is the guest's.
    async fn prepare(
        &self,
        effect: LocalEffect,
        context: &LocalContext,
    ) -> Result<Result<Prepared, HostError>, RegistryError> {
        Ok(match effect {
            LocalEffect::Note { text } if text.len() > MAX_NOTE_BYTES => {
                Err(HostError::Invalid(format!("a note may have {MAX_NOTE_BYTES} bytes, not {}", text.len())))
            }
            LocalEffect::Note { text } => Ok(Prepared::Note(text)),
            LocalEffect::Send { message } => self.message(message, context),
            LocalEffect::Receive => Ok(Prepared::Receive),
            LocalEffect::Acquire { name, ttl_ms, wait_ms: _ } => {
                if name.is_empty() || name.len() > MAX_LOCK_NAME || name.chars().any(char::is_control) {
                    return Ok(Err(HostError::Invalid(format!("a lock's name has 1 to {MAX_LOCK_NAME} bytes"))));
                }
                let request = LeaseRequest {
                    kind: LeaseKind::Lock,
                    name: format!("{}/{name}", context.workspace),
                    holder: context.attempt.to_string(),
                    ttl: Duration::from_millis(ttl_ms),
                    expired: Expired::TakenFromTheDead,
                };
                Ok(Prepared::Acquire { request, id: self.shared.ids.text() })
            }
            LocalEffect::Release { lease } => Ok(Prepared::Release(lease)),
            LocalEffect::Put { kind, name, media_type, bytes } => {
                let size = bytes.len() as u64;
                if let Err(invalid) = artifact::check(&kind, &name, &media_type, size) {
                    return Ok(Err(HostError::Invalid(invalid.to_string())));
                }
                let blobs = self.shared.blobs.clone();
                let digest = tokio::task::spawn_blocking(move || blobs.put(&bytes))
                    .await
                    .map_err(|_| RegistryError::Closed)??;
                let (uri, now) = (self.shared.ids.artifact(), self.shared.clock.now());
                Ok(Prepared::Put(artifact::reference(&uri, (&kind, &name, &media_type), (digest, size), now)))
            }
        })
    }

    fn message(&self, mut message: Envelope, context: &LocalContext) -> Result<Prepared, HostError> {
        let receiver = Instance::new(message.agent_instance.as_str())
            .map_err(|e| HostError::Invalid(format!("the message's agent_instance: {e}")))?;
        message.sender = Some(context.instance.to_string());
        message.message_id = Some(self.shared.ids.text());
        let text = serde_json::to_string(&message).map_err(|e| HostError::Invalid(e.to_string()))?;
        if text.len() > MAX_MESSAGE_BYTES {
            let size = text.len();
            return Err(HostError::Invalid(format!("a message may have {MAX_MESSAGE_BYTES} bytes, not {size}")));
        }
        Ok(Prepared::Send { message, text, receiver })
    }
}

type Answer = Result<LocalAnswer, HostError>;

fn carry_out(
    tx: &mut Tx<'_>,
    run: Option<&RunId>,
    context: &LocalContext,
    prepared: Prepared,
    waiter: (bool, &Seat),
) -> Result<Answer, RegistryError> {
    match prepared {
        Prepared::Note(text) => {
            let change = TaskChange::NoteAdded { author: context.instance.to_string(), text };
            tx.append(subject(tx.conn, run, context)?, Body::TaskUpdated { change })?;
            Ok(Ok(LocalAnswer::Done))
        }
        Prepared::Put(artifact) => {
            let uri = artifact.uri.clone();
            let change = TaskChange::ArtifactAdded { artifact };
            tx.append(subject(tx.conn, run, context)?, Body::TaskUpdated { change })?;
            Ok(Ok(LocalAnswer::Uri(uri)))
        }
        Prepared::Send { message, text, receiver } => send(tx, run, context, &message, &text, &receiver),
        Prepared::Receive => receive(tx, context),
        Prepared::Acquire { request, id } => acquire(tx, id, request, waiter),
        Prepared::Release(id) => {
            match lease::by_id(tx.conn, &id)? {
                Some(lease) if lease.holder != context.attempt.to_string() => {
                    return Ok(Err(HostError::Denied("the lease belongs to another attempt".to_owned())));
                }
                // One that ran out and was taken, or was given back already, is no error: the caller
                // has what it wants.
                _ => lease::release(tx.conn, &id)?,
            };
            Ok(Ok(LocalAnswer::Done))
        }
    }
}

/// Takes a lock, or says that it is to be waited for: [`RegistryError::Held`], unless this is the `last` try.
fn acquire(
    tx: &Tx<'_>,
    id: String,
    request: LeaseRequest,
    (last, seat): (bool, &Seat),
) -> Result<Answer, RegistryError> {
    let wait = Wait::new(request.holder.as_str(), request.name.as_str());
    // Whoever does not wait any longer takes what is free, whoever else is there.
    let earlier = if last { None } else { seat.earlier(&wait.lock) };
    let held = match earlier {
        None => match lease::acquire(tx, id, request) {
            Ok(lease) => return Ok(Ok(LocalAnswer::Lease(lease.id))),
            Err(held @ RegistryError::Held { .. }) => held,
            Err(error) => return Err(error),
        },
        Some(holder) => RegistryError::Held { name: wait.lock.clone(), holder, expires_at: tx.now() },
    };
    let holder_of = |lock: &str| Ok(lease::by_name(tx.conn, LeaseKind::Lock, lock)?.map(|lease| lease.holder));
    match seat.wait(wait, holder_of) {
        Err(circle @ RegistryError::Deadlock { .. }) => Ok(Err(HostError::Conflict(circle.to_string()))),
        Err(error) => Err(error),
        Ok(()) if last => Ok(Err(HostError::Conflict(held.to_string()))),
        Ok(()) => Err(held),
    }
}

/// The attempt, as far as the registry knows it: planning steps have none of the spec's tasks.
fn subject(conn: &Connection, run: Option<&RunId>, context: &LocalContext) -> Result<Subject, RegistryError> {
    let AttemptKey { key, attempt } = &context.attempt;
    let known = task_exists(conn, key)?;
    Ok(Subject {
        run: run.cloned(),
        spec: Some(key.spec.clone()),
        task: known.then(|| key.task.clone()),
        attempt: known.then_some(*attempt),
    })
}

fn send(
    tx: &Tx<'_>,
    run: Option<&RunId>,
    context: &LocalContext,
    message: &Envelope,
    text: &str,
    receiver: &Instance,
) -> Result<Answer, RegistryError> {
    if let Some(run) = run.map(|id| query::run(tx.conn, id)).transpose()?.flatten()
        && !run.team.is_empty()
        && !run.team.contains(receiver)
    {
        return Ok(Err(HostError::NotFound(format!("{receiver} is not in this workspace"))));
    }
    let unread: u64 = tx
        .conn
        .prepare_cached("SELECT count(*) FROM messages WHERE workspace = ?1 AND receiver = ?2 AND received_at IS NULL")?
        .query_row((&context.workspace, receiver.as_str()), |row| row.get(0))?;
    if unread >= MAX_UNREAD {
        return Ok(Err(HostError::Conflict(format!("{unread} messages wait for {receiver} already"))));
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO messages (id, workspace, receiver, envelope, sent_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((&message.message_id, &context.workspace, receiver.as_str(), text, time_text(tx.now())))?;
    Ok(Ok(LocalAnswer::Done))
}

fn receive(tx: &Tx<'_>, context: &LocalContext) -> Result<Answer, RegistryError> {
    let waiting: Vec<(u64, String)> = tx
        .conn
        .prepare_cached(
            "SELECT number, envelope FROM messages
             WHERE workspace = ?1 AND receiver = ?2 AND received_at IS NULL ORDER BY number LIMIT ?3",
        )?
        .query_map((&context.workspace, context.instance.as_str(), MAX_RECEIVED), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut messages = Vec::with_capacity(waiting.len());
    for (number, text) in waiting {
        tx.conn
            .prepare_cached("UPDATE messages SET received_at = ?2 WHERE number = ?1")?
            .execute((number, time_text(tx.now())))?;
        messages.push(serde_json::from_str(&text).map_err(|e| RegistryError::Damaged(format!("a message: {e}")))?);
    }
    Ok(Ok(LocalAnswer::Messages(messages)))
}
