//! Questions to the tables. Free functions over a connection, for the writer's transactions as well
//! as for readers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params_from_iter};

use crate::domain::call::{Cost, Function};
use crate::domain::event::{BODY_VERSION, Event, Outcome, Subject};
use crate::domain::id::{ArtifactUri, AttemptKey, ExecutionId, Instance, RunId, SpecName, TaskId, TaskKey};
use crate::domain::review::{Finding, Severity};
use crate::domain::task::ArtifactRef;
use crate::store::{BlobError, BlobStore};

use super::body::restore;
use super::conditions::Conditions;
use super::error::RegistryError;
use super::parts::StoredParts;
use super::records::{
    ArtifactRecord, Attempt, CallRecord, CostSummary, EventFilter, ExecutionFilter, ExecutionKind, ExecutionRecord,
    FindingRecord, MessageRecord, Note, Record, Run,
};
use super::rows::{Columns, time_text};
use super::{seal, upcast};

type Answer<T> = Result<T, RegistryError>;

/// Most executions in one answer.
const MAX_EXECUTIONS: u32 = 10_000;
/// Most messages in one answer.
const MAX_MESSAGES: u32 = 1000;

pub(super) fn runs(conn: &Connection) -> Answer<Vec<Run>> {
    conn.prepare_cached("SELECT * FROM runs ORDER BY started_seq")?.query_and_then([], run_row)?.collect()
}

pub(super) fn run(conn: &Connection, id: &RunId) -> Answer<Option<Run>> {
    conn.prepare_cached("SELECT * FROM runs WHERE id = ?1")?.query_and_then([id.as_str()], run_row)?.next().transpose()
}

pub(super) fn latest_run(conn: &Connection) -> Answer<Option<Run>> {
    conn.prepare_cached("SELECT * FROM runs ORDER BY started_seq DESC LIMIT 1")?
        .query_and_then([], run_row)?
        .next()
        .transpose()
}

fn run_row(row: &Row<'_>) -> Answer<Run> {
    Ok(Run {
        id: row.id("id")?,
        spec: row.id_or_null("spec")?,
        job: row.id_or_null("job")?,
        title: row.get("title")?,
        repository: row.get("repository")?,
        base_branch: row.get("base_branch")?,
        base_commit: row.id("base_commit")?,
        branch: row.get("branch")?,
        llm: row.get("llm")?,
        language: row.get("language")?,
        team: row.json("team")?,
        plugins: row.json("plugins")?,
        started_at: row.time("started_at")?,
        finished_at: row.time_or_null("finished_at")?,
        outcome: row.get("outcome")?,
        commit: row.id_or_null("commit_id")?,
        tree: row.get("tree")?,
        reason: row.get("reason")?,
        resumed: row.get("resumed")?,
        options: row.json_or_null("options")?,
    })
}

pub(super) fn attempts(conn: &Connection, spec: &SpecName, task: Option<&TaskId>) -> Answer<Vec<Attempt>> {
    conn.prepare_cached("SELECT * FROM attempts WHERE spec = ?1 AND (?2 IS NULL OR task = ?2) ORDER BY assigned_seq")?
        .query_and_then((spec.as_str(), task.map(TaskId::as_str)), attempt_row)?
        .collect()
}

fn attempt_row(row: &Row<'_>) -> Answer<Attempt> {
    let key = TaskKey { spec: row.id("spec")?, task: row.id("task")? };
    let outcome = match row.get::<_, Option<String>>("outcome")?.as_deref() {
        None => None,
        Some("success") => Some(Outcome::Success),
        Some("failed") => Some(Outcome::Failed),
        Some("interrupted") => Some(Outcome::Interrupted),
        Some(other) => return Err(RegistryError::Damaged(format!("`{other}` is not an outcome"))),
    };
    Ok(Attempt {
        key: AttemptKey { key, attempt: row.get("attempt")? },
        run: row.id_or_null("run")?,
        instance: row.id("instance")?,
        slot: row.id("slot")?,
        branch: row.get("branch")?,
        runner: row.get("runner")?,
        reason: row.get("reason")?,
        scheduling: row.id_or_null("scheduling")?,
        routing: row.id_or_null("routing")?,
        assigned_at: row.time("assigned_at")?,
        execution: row.id_or_null("execution")?,
        component: row.id_or_null("component")?,
        base: row.id_or_null("base_commit")?,
        started_at: row.time_or_null("started_at")?,
        outcome,
        failure: row.get("failure")?,
        summary: row.get("summary")?,
        commit: row.id_or_null("commit_id")?,
        files: row.json("files")?,
        more_files: row.get("more_files")?,
        cost: row.json("cost")?,
        duration_ms: row.get("duration_ms")?,
        finished_at: row.time_or_null("finished_at")?,
        gates: row.json("gates")?,
    })
}

pub(super) fn last_assigned(conn: &Connection) -> Answer<BTreeMap<Instance, u64>> {
    conn.prepare_cached("SELECT instance, max(assigned_seq) AS seq FROM attempts GROUP BY instance")?
        .query_and_then([], |row| Ok((row.id("instance")?, row.get("seq")?)))?
        .collect()
}

pub(super) fn findings(conn: &Connection, key: &TaskKey) -> Answer<Vec<FindingRecord>> {
    conn.prepare_cached("SELECT * FROM findings WHERE spec = ?1 AND task = ?2 ORDER BY seq, position")?
        .query_and_then((key.spec.as_str(), key.task.as_str()), |row| {
            let severity = match row.get::<_, String>("severity")?.as_str() {
                "note" => Severity::Note,
                "warn" => Severity::Warn,
                "block" => Severity::Block,
                other => return Err(RegistryError::Damaged(format!("`{other}` is not a severity"))),
            };
            let finding = Finding {
                rule: row.get("rule")?,
                severity,
                file: row.get("file")?,
                line: row.get("line")?,
                message: row.get("message")?,
            };
            Ok(FindingRecord { sequence: row.get("seq")?, attempt: row.get("attempt")?, finding })
        })?
        .collect()
}

pub(super) fn notes(conn: &Connection, key: &TaskKey) -> Answer<Vec<Note>> {
    conn.prepare_cached("SELECT * FROM notes WHERE spec = ?1 AND task = ?2 ORDER BY seq")?
        .query_and_then((key.spec.as_str(), key.task.as_str()), |row| {
            Ok(Note {
                sequence: row.get("seq")?,
                time: row.time("time")?,
                attempt: row.get("attempt")?,
                author: row.get("author")?,
                text: row.get("text")?,
            })
        })?
        .collect()
}

pub(super) fn artifacts(conn: &Connection, spec: &SpecName, task: Option<&TaskId>) -> Answer<Vec<ArtifactRecord>> {
    conn.prepare_cached("SELECT * FROM artifacts WHERE spec = ?1 AND (?2 IS NULL OR task = ?2) ORDER BY seq")?
        .query_and_then((spec.as_str(), task.map(TaskId::as_str)), artifact_row)?
        .collect()
}

pub(super) fn artifact(conn: &Connection, uri: &ArtifactUri) -> Answer<Option<ArtifactRecord>> {
    conn.prepare_cached("SELECT * FROM artifacts WHERE uri = ?1")?
        .query_and_then([uri.as_str()], artifact_row)?
        .next()
        .transpose()
}

fn artifact_row(row: &Row<'_>) -> Answer<ArtifactRecord> {
    Ok(ArtifactRecord {
        spec: row.id_or_null("spec")?,
        task: row.id_or_null("task")?,
        attempt: row.get("attempt")?,
        artifact: ArtifactRef {
            uri: row.get("uri")?,
            kind: row.get("kind")?,
            name: row.get("name")?,
            media_type: row.get("media_type")?,
            size_bytes: row.get("size_bytes")?,
            digest: row.id("digest")?,
            created_at: row.time("created_at")?,
        },
    })
}

pub(super) fn events(conn: &Connection, filter: &EventFilter) -> Answer<Vec<Event>> {
    let EventFilter { after, limit, run, spec, task, attempt, kinds, since, until } = filter;
    let mut only = Conditions::default();
    // Times never go back in the log, so that a time is a place in it.
    let since = since.map(|since| first_at(conn, since)).transpose()?.unwrap_or(0);
    only.add("seq > ?", Some(i64::try_from((*after).max(since.saturating_sub(1))).unwrap_or(i64::MAX)));
    let until = until.map(|until| first_at(conn, until)).transpose()?;
    only.add("seq < ?", until.map(|until| i64::try_from(until).unwrap_or(i64::MAX)));
    only.text("run = ?", run.as_ref().map(RunId::as_str));
    only.text("spec = ?", spec.as_ref().map(SpecName::as_str));
    only.text("task = ?", task.as_ref().map(TaskId::as_str));
    only.add("attempt = ?", *attempt);
    only.one_of("kind", kinds.iter().map(String::as_str));
    let limit = if *limit == 0 { EventFilter::MAX } else { (*limit).min(EventFilter::MAX) };
    let sql = format!("SELECT * FROM events{} ORDER BY seq LIMIT {limit}", only.clause());
    conn.prepare_cached(&sql)?.query_and_then(params_from_iter(only.values), event_row)?.collect()
}

/// The newest events of a kind, newest first.
pub(super) fn newest_events(conn: &Connection, kind: &str, limit: u32) -> Answer<Vec<Event>> {
    conn.prepare_cached("SELECT * FROM events WHERE kind = ?1 ORDER BY seq DESC LIMIT ?2")?
        .query_and_then((kind, limit.min(EventFilter::MAX)), event_row)?
        .collect()
}

/// Number of the first event at or after `time`; the next one's, when there is none.
fn first_at(conn: &Connection, time: Timestamp) -> Answer<u64> {
    let time = time_text(time);
    let mut at = conn.prepare_cached("SELECT time FROM events WHERE seq = ?1")?;
    let newest: u64 =
        conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))?;
    let (mut low, mut high) = (1, newest + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: String = at.query_row([middle], |row| row.get(0))?;
        if found < time { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

pub(super) fn event_row(row: &Row<'_>) -> Answer<Event> {
    let version: u32 = row.get("body_version")?;
    let sequence = row.get("seq")?;
    let body = match version {
        BODY_VERSION => row.json("body")?,
        older => upcast::body(older, row.json("body")?, sequence)?,
    };
    Ok(Event {
        sequence,
        time: row.time("time")?,
        subject: Subject {
            run: row.id_or_null("run")?,
            spec: row.id_or_null("spec")?,
            task: row.id_or_null("task")?,
            attempt: row.get("attempt")?,
        },
        body,
    })
}

pub(super) fn executions(
    conn: &Connection,
    blobs: &BlobStore,
    filter: &ExecutionFilter,
) -> Answer<Vec<ExecutionRecord>> {
    let ExecutionFilter { run, kind, spec, task, attempt, open } = filter;
    let mut only = Conditions::default();
    only.text("run = ?", run.as_ref().map(RunId::as_str));
    only.text("kind = ?", kind.map(|kind| kind.as_str()));
    only.text("spec = ?", spec.as_ref().map(SpecName::as_str));
    only.text("task = ?", task.as_ref().map(TaskId::as_str));
    only.add("attempt = ?", *attempt);
    if *open {
        only.sql.push("ended_at IS NULL".to_owned());
    }
    let sql = format!("SELECT * FROM executions{} ORDER BY number LIMIT {MAX_EXECUTIONS}", only.clause());
    conn.prepare_cached(&sql)?
        .query_and_then(params_from_iter(only.values), |row| execution_row(row, &StoredParts { conn, blobs }))?
        .collect()
}

pub(super) fn execution_ids(
    conn: &Connection,
    run: &RunId,
    kind: Option<ExecutionKind>,
    after: Option<&ExecutionId>,
) -> Answer<Vec<ExecutionId>> {
    conn.prepare_cached(&format!(
        "SELECT id FROM executions
         WHERE run = ?1 AND (?2 IS NULL OR kind = ?2)
               AND number > coalesce((SELECT number FROM executions WHERE id = ?3), -1)
         ORDER BY number LIMIT {MAX_EXECUTIONS}"
    ))?
    .query_and_then((run.as_str(), kind.map(ExecutionKind::as_str), after.map(ExecutionId::as_str)), |row| {
        row.id("id")
    })?
    .collect()
}

/// The newest executions of a kind that have ended and were not pruned, of all runs and outside of them, oldest
/// first.
pub(super) fn newest_executions(conn: &Connection, kind: ExecutionKind, limit: u32) -> Answer<Vec<ExecutionId>> {
    let mut newest: Vec<ExecutionId> = conn
        .prepare_cached(
            "SELECT id FROM executions WHERE kind = ?1 AND ended_at IS NOT NULL AND pruned_at IS NULL
             ORDER BY number DESC LIMIT ?2",
        )?
        .query_and_then((kind.as_str(), limit.min(MAX_EXECUTIONS)), |row| row.id("id"))?
        .collect::<Answer<_>>()?;
    newest.reverse();
    Ok(newest)
}

pub(super) fn execution(conn: &Connection, blobs: &BlobStore, id: &ExecutionId) -> Answer<Option<ExecutionRecord>> {
    conn.prepare_cached("SELECT * FROM executions WHERE id = ?1")?
        .query_and_then([id.as_str()], |row| execution_row(row, &StoredParts { conn, blobs }))?
        .next()
        .transpose()
}

fn execution_row(row: &Row<'_>, parts: &StoredParts<'_>) -> Answer<ExecutionRecord> {
    let value = |column: &str| -> Answer<Option<serde_json::Value>> {
        row.get::<_, Option<String>>(column)?.map(|form| restore(&form, parts)).transpose()
    };
    Ok(ExecutionRecord {
        id: row.id("id")?,
        run: row.id_or_null("run")?,
        kind: row.id("kind")?,
        spec: row.id_or_null("spec")?,
        task: row.id_or_null("task")?,
        attempt: row.get("attempt")?,
        plugin: row.get("plugin")?,
        component: row.id("component")?,
        engine: row.get("engine")?,
        limits: value("limits")?.unwrap_or_default(),
        settings: value("settings")?.unwrap_or_default(),
        input: value("input")?.unwrap_or_default(),
        started_at: row.time("started_at")?,
        ended_at: row.time_or_null("ended_at")?,
        outcome: value("outcome")?,
        usage: value("usage")?,
        pruned_at: row.time_or_null("pruned_at")?,
    })
}

pub(super) fn calls(conn: &Connection, blobs: &BlobStore, id: &ExecutionId, after: u64) -> Answer<Vec<CallRecord>> {
    let parts = StoredParts { conn, blobs };
    conn.prepare_cached(CALLS_OF)?
        .query_and_then((id.as_str(), i64::try_from(after).unwrap_or(i64::MAX)), |row| call_row(row, &parts))?
        .collect()
}

const CALLS_OF: &str = "SELECT c.* FROM calls c JOIN executions e ON e.number = c.execution
                        WHERE e.id = ?1 AND c.seq > ?2 ORDER BY c.seq";

fn call_row(row: &Row<'_>, parts: &StoredParts<'_>) -> Answer<CallRecord> {
    let name: String = row.get("function")?;
    let function = Function::by_name(&name)
        .ok_or_else(|| RegistryError::Damaged(format!("`{name}` is not a function of the contract")))?;
    Ok(CallRecord {
        sequence: row.get("seq")?,
        function,
        digest: row.id("digest")?,
        arguments: restore(&row.get::<_, String>("request")?, parts)?,
        effect: row.get::<_, Option<String>>("effect")?.map(|form| restore(&form, parts)).transpose()?,
        at: row.time("at")?,
        answer: row.get::<_, Option<String>>("answer")?.map(|form| restore(&form, parts)).transpose()?,
        answered_at: row.time_or_null("answered_at")?,
        cost: Cost {
            input_tokens: row.get("input_tokens")?,
            cached_input_tokens: row.get("cached_input_tokens")?,
            output_tokens: row.get("output_tokens")?,
            cost_microusd: row.get("cost_microusd")?,
        },
        tries: row.get("tries")?,
    })
}

pub(super) fn open_executions(conn: &Connection, spec: &SpecName) -> Answer<Vec<ExecutionId>> {
    conn.prepare_cached("SELECT id FROM executions WHERE spec = ?1 AND ended_at IS NULL ORDER BY number")?
        .query_and_then([spec.as_str()], |row| row.id("id"))?
        .collect()
}

/// One execution with its calls, every row and part of it as it was written.
pub(super) fn record(conn: &Connection, blobs: &BlobStore, id: &ExecutionId) -> Answer<Option<Record>> {
    let damaged = |sequence: Option<u64>, reason: String| RegistryError::DamagedRecord {
        execution: id.clone(),
        sequence,
        reason,
    };
    // What cannot be read at the moment is no damage.
    let told = |sequence: Option<u64>, error: RegistryError| match &error {
        RegistryError::Damaged(_) => damaged(sequence, error.to_string()),
        RegistryError::Blob(blob) if matches!(**blob, BlobError::Missing { .. } | BlobError::Damaged { .. }) => {
            damaged(sequence, error.to_string())
        }
        _ => error,
    };
    let parts = StoredParts { conn, blobs };
    let found = conn
        .prepare_cached("SELECT * FROM executions WHERE id = ?1")?
        .query_and_then([id.as_str()], |row| {
            if row.get::<_, Option<String>>("pruned_at")?.is_some() {
                return Err(RegistryError::Pruned(id.clone()));
            }
            if !seal::execution_is_whole(id.as_str(), row)? {
                return Err(damaged(None, "its checksum is another one".to_owned()));
            }
            let calls: Option<u64> = row.get("calls")?;
            let execution = execution_row(row, &parts).map_err(|error| told(None, error))?;
            Ok((execution, calls))
        })?
        .next()
        .transpose()?;
    let Some((execution, expected)) = found else { return Ok(None) };
    let mut calls = Vec::new();
    let mut statement = conn.prepare_cached(CALLS_OF)?;
    let mut rows = statement.query((id.as_str(), 0))?;
    while let Some(row) = rows.next()? {
        let next = calls.len() as u64 + 1;
        if row.get::<_, u64>("seq")? != next {
            return Err(damaged(Some(next), "it is missing".to_owned()));
        }
        if !seal::call_is_whole(id.as_str(), row)? {
            return Err(damaged(Some(next), "its checksum is another one".to_owned()));
        }
        let call = call_row(row, &parts).map_err(|error| told(Some(next), error))?;
        calls.push(call);
    }
    if let Some(expected) = expected.filter(|expected| *expected != calls.len() as u64) {
        let reason = format!("it has {} calls and had {expected}", calls.len());
        return Err(damaged(None, reason));
    }
    Ok(Some(Record { execution, calls }))
}

pub(super) fn cost(conn: &Connection, run: &RunId) -> Answer<CostSummary> {
    sum_costs(conn, "e.run = ?1", run.as_str())
}

pub(super) fn execution_cost(conn: &Connection, execution: &ExecutionId) -> Answer<CostSummary> {
    sum_costs(conn, "e.id = ?1", execution.as_str())
}

fn sum_costs(conn: &Connection, of: &str, id: &str) -> Answer<CostSummary> {
    // A call that waits for its answer stands among the charges once it is known to be uncertain.
    conn.prepare_cached(&format!(
        "WITH paid (calls, unanswered, unpriced, uncertain, input, cached, output, money) AS (
             SELECT 1, c.answer IS NULL, c.answer IS NOT NULL AND c.cost_microusd IS NULL, 0,
                    c.input_tokens, c.cached_input_tokens, c.output_tokens, c.cost_microusd
             FROM calls c JOIN executions e ON e.number = c.execution WHERE {of} AND c.function = ?2
             UNION ALL
             SELECT CASE c.reason WHEN 'uncertain' THEN 0 ELSE c.calls END,
                    CASE c.reason WHEN 'pruned-unanswered' THEN c.calls ELSE 0 END,
                    CASE c.reason WHEN 'pruned-unpriced' THEN c.calls ELSE 0 END,
                    CASE c.reason WHEN 'uncertain' THEN c.calls ELSE 0 END,
                    c.input_tokens, c.cached_input_tokens, c.output_tokens, c.cost_microusd
             FROM charges c JOIN executions e ON e.number = c.execution WHERE {of})
         SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(unanswered), 0) AS unanswered,
                coalesce(sum(unpriced), 0) AS unpriced, coalesce(sum(uncertain), 0) AS uncertain,
                coalesce(sum(input), 0) AS input, coalesce(sum(cached), 0) AS cached,
                coalesce(sum(output), 0) AS output, sum(money) AS money
         FROM paid",
    ))?
    .query_row((id, Function::LlmComplete.name()), |row| {
        Ok(CostSummary {
            cost: Cost {
                input_tokens: row.get("input")?,
                cached_input_tokens: row.get("cached")?,
                output_tokens: row.get("output")?,
                cost_microusd: row.get("money")?,
            },
            calls: row.get("calls")?,
            unpriced_calls: row.get("unpriced")?,
            unanswered_calls: row.get("unanswered")?,
            uncertain_sendings: row.get("uncertain")?,
        })
    })
    .map_err(RegistryError::from)
}

pub(super) fn messages(conn: &Connection, workspace: &str) -> Answer<Vec<MessageRecord>> {
    let mut newest: Vec<MessageRecord> = conn
        .prepare_cached("SELECT * FROM messages WHERE workspace = ?1 ORDER BY number DESC LIMIT ?2")?
        .query_and_then((workspace, MAX_MESSAGES), |row| {
            Ok(MessageRecord {
                envelope: row.json("envelope")?,
                sent_at: row.time("sent_at")?,
                received_at: row.time_or_null("received_at")?,
            })
        })?
        .collect::<Answer<_>>()?;
    newest.reverse();
    Ok(newest)
}

pub(super) fn policy_state(conn: &Connection, name: &str) -> Answer<Option<String>> {
    use rusqlite::OptionalExtension;
    Ok(conn
        .prepare_cached("SELECT state FROM policy_state WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}
