//! What may go: marks every part by the newest run that names it, so that dropping the oldest runs is
//! dropping what nothing else names. Reads only.
//!
//! A digest that stands anywhere in what is kept keeps its part and its blob, whatever it stands there for.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::domain::id::Digest;
use crate::store::{BlobError, BlobStore};

use super::super::error::RegistryError;
use super::super::parts::unpacked;
use super::super::query;
use super::super::records::Run;
use super::super::seats;
use super::{PruneChoice, PruneReport, PrunedRun};

type Answer<T> = Result<T, RegistryError>;

/// Of what is no journal: artifacts and jobs.
const RANK_OTHER: i64 = 0;
/// Of the journals that have to stay.
const RANK_KEPT: i64 = 1;
/// Of the newest run that may go; older ones follow.
const RANK_FIRST: i64 = 2;
/// Hexadecimal digits of a digest.
const DIGITS: usize = 64;
/// Memory for the marks, in KiB; the others are on disk.
const CACHE_KIB: i64 = 32 * 1024;

/// What would go, and what it is.
pub(super) struct Plan {
    /// Tables `bodies`, `lists` and `blobs` of digests that go.
    pub(super) doomed: Connection,
    /// Runs whose journals go, oldest first, with the number of executions that each has.
    pub(super) runs: Vec<(String, u64)>,
    /// In words and numbers.
    pub(super) report: PruneReport,
}

/// A run that may go, with what nothing newer names.
struct Candidate {
    run: Run,
    executions: u64,
    calls: u64,
    bytes: u64,
    /// The part of it that are rows of calls, in bytes.
    rows: u64,
}

/// Looks through the whole journal. `conn` sees one state of the database; blobs that are newer than
/// `until` are left out of it.
pub(super) fn plan(
    conn: &Connection,
    blobs: &BlobStore,
    choice: &PruneChoice,
    until: Option<SystemTime>,
) -> Answer<Plan> {
    let mut marks = Marks::new(conn, blobs)?;
    marks.others()?;
    let (free, kept) = runs(conn)?;
    let mut kept_bytes = 0;
    for run in &kept {
        let (_, _, rows) = marks.run(run.as_deref(), RANK_KEPT)?;
        kept_bytes += rows + marks.bytes();
    }
    let mut candidates = Vec::new();
    for (rank, run) in (RANK_FIRST..).zip(free) {
        let (executions, calls, rows) = marks.run(Some(run.id.as_str()), rank)?;
        candidates.push(Candidate { executions, calls, bytes: rows + marks.bytes(), rows, run });
    }
    let mut stay = 0;
    for candidate in &candidates {
        let is_old = choice.before.is_some_and(|before| candidate.run.finished_at.is_some_and(|end| end < before));
        let is_too_much = choice.keep_bytes.is_some_and(|keep| kept_bytes + candidate.bytes > keep);
        if is_old || is_too_much {
            break;
        }
        kept_bytes += candidate.bytes;
        stay += 1;
    }
    let mut gone = candidates.split_off(stay);
    gone.reverse();
    let first_gone = RANK_FIRST + i64::try_from(stay).unwrap_or(i64::MAX);
    let mut report = PruneReport { kept_bytes, ..PruneReport::default() };
    report.database_bytes = gone.iter().map(|candidate| candidate.rows).sum::<u64>() + marks.doom_rows(first_gone)?;
    (report.blobs, report.blob_bytes) = marks.doom_blobs(first_gone, until)?;
    let runs = gone.iter().map(|candidate| (candidate.run.id.to_string(), candidate.executions)).collect();
    report.more_runs = gone.len().saturating_sub(PruneReport::MAX_RUNS) as u64;
    report.runs = gone.into_iter().take(PruneReport::MAX_RUNS).filter_map(Candidate::told).collect();
    Ok(Plan { doomed: marks.scratch, runs, report })
}

/// Every digest that the registry names, in the table `marks`: those of artifacts, jobs and events, and all that
/// a journal says. Not every one is a blob's.
pub(in super::super) fn named(conn: &Connection, blobs: &BlobStore) -> Answer<Connection> {
    let mut marks = Marks::new(conn, blobs)?;
    marks.others()?;
    let (free, kept) = runs(conn)?;
    for run in free.iter().map(|run| Some(run.id.as_str())).chain(kept.iter().map(Option::as_deref)) {
        marks.run(run, RANK_KEPT)?;
    }
    let mut statement = conn.prepare("SELECT body FROM events")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        marks.form(text(row, 0)?, RANK_KEPT)?;
    }
    Ok(marks.scratch)
}

impl Candidate {
    fn told(self) -> Option<PrunedRun> {
        let Self { run, executions, calls, bytes, rows: _ } = self;
        Some(PrunedRun {
            run: run.id,
            spec: run.spec,
            started_at: run.started_at,
            finished_at: run.finished_at?,
            executions,
            calls,
            bytes,
        })
    }
}

/// Runs with journals: those that may go, newest first, and all others, executions without a run among them.
fn runs(conn: &Connection) -> Answer<(Vec<Run>, Vec<Option<String>>)> {
    let mut with_journals: BTreeSet<Option<String>> = conn
        .prepare_cached("SELECT DISTINCT run FROM executions WHERE pruned_at IS NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut free = Vec::new();
    for run in query::runs(conn)? {
        // An interrupted run can be gone on with, and one without an end may be going on.
        let is_over = run.finished_at.is_some() && run.outcome.as_deref() != Some("interrupted");
        let id = Some(run.id.to_string());
        if is_over && with_journals.remove(&id) {
            free.push(run);
        } else if !is_over {
            // It has named its components before it has an execution.
            with_journals.insert(id);
        }
    }
    free.sort_by_key(|run| std::cmp::Reverse((run.finished_at, run.started_at)));
    Ok((free, with_journals.into_iter().collect()))
}

/// Which digest is named, and by which rank first.
struct Marks<'a> {
    conn: &'a Connection,
    blobs: &'a BlobStore,
    scratch: Connection,
    bytes: u64,
}

impl<'a> Marks<'a> {
    fn new(conn: &'a Connection, blobs: &'a BlobStore) -> Answer<Self> {
        let scratch = Connection::open("")?;
        scratch.execute_batch(&format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};
             CREATE TABLE marks (digest TEXT PRIMARY KEY, rank INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE bodies (digest TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
             CREATE TABLE lists (digest TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
             CREATE TABLE blobs (digest TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;"
        ))?;
        Ok(Self { conn, blobs, scratch, bytes: 0 })
    }

    /// Bytes of what was marked since this was asked last.
    fn bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// What is no journal, and the components that can be seated again.
    fn others(&mut self) -> Answer<()> {
        let sql = "SELECT digest FROM artifacts UNION SELECT job FROM runs WHERE job IS NOT NULL
                   UNION SELECT base FROM places";
        let mut statement = self.conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.mark(row.get(0)?, RANK_OTHER)?;
        }
        for digest in seats::reachable(self.conn)?.into_keys() {
            self.mark(digest.to_string(), RANK_OTHER)?;
        }
        self.bytes();
        Ok(())
    }

    /// All that the journals of a run name. Gives its executions, their calls, and the bytes of their rows.
    fn run(&mut self, run: Option<&str>, rank: i64) -> Answer<(u64, u64, u64)> {
        let conn = self.conn;
        let mut rows_bytes = 0;
        let mut executions = Vec::new();
        let mut statement = conn.prepare_cached(
            "SELECT number, component, limits, settings, input, outcome, usage FROM executions
             WHERE run IS ?1 AND pruned_at IS NULL",
        )?;
        let mut rows = statement.query([run])?;
        while let Some(row) = rows.next()? {
            executions.push(row.get::<_, i64>(0)?);
            self.mark(row.get(1)?, rank)?;
            for column in 2..7 {
                self.form(text(row, column)?, rank)?;
            }
        }
        let plugins: Option<String> = conn
            .prepare_cached("SELECT plugins FROM runs WHERE id = ?1")?
            .query_row([run], |row| row.get(0))
            .optional()?;
        self.form(plugins.as_deref(), rank)?;
        let mut calls = 0;
        for execution in &executions {
            let mut statement =
                conn.prepare_cached("SELECT request, effect, answer FROM calls WHERE execution = ?1")?;
            let mut rows = statement.query([execution])?;
            while let Some(row) = rows.next()? {
                calls += 1;
                for column in 0..3 {
                    let form = text(row, column)?;
                    rows_bytes += form.map_or(0, str::len) as u64;
                    self.form(form, rank)?;
                }
            }
        }
        Ok((executions.len() as u64, calls, rows_bytes))
    }

    fn form(&mut self, form: Option<&str>, rank: i64) -> Answer<()> {
        for digest in form.into_iter().flat_map(digests_in) {
            self.mark(digest.to_owned(), rank)?;
        }
        Ok(())
    }

    /// Marks a digest and all that the part under it names.
    fn mark(&mut self, digest: String, rank: i64) -> Answer<()> {
        let mut open = vec![digest];
        while let Some(digest) = open.pop() {
            let sql = "INSERT OR IGNORE INTO marks (digest, rank) VALUES (?1, ?2)";
            if self.scratch.prepare_cached(sql)?.execute((&digest, rank))? == 0 {
                continue;
            }
            if let Some(text) = self.body(&digest)? {
                open.extend(digests_in(&text).map(str::to_owned));
            } else if let Some((previous, item, size)) = self.item(&digest)? {
                self.bytes += size;
                open.extend(previous);
                open.extend(digests_in(&item).map(str::to_owned));
            } else if let Ok(digest) = Digest::new(digest) {
                self.bytes += self.blobs.size_of(&digest).unwrap_or(0);
            }
        }
        Ok(())
    }

    /// The form of a body; empty when it is a blob that cannot be read.
    fn body(&mut self, digest: &str) -> Answer<Option<String>> {
        let sql = "SELECT coalesce(length(CAST(content AS BLOB)), size_bytes) AS size, content FROM bodies
                   WHERE digest = ?1";
        let found: Option<(u64, Option<String>)> = self
            .conn
            .prepare_cached(sql)?
            .query_and_then([digest], |row| Ok::<_, RegistryError>((row.get("size")?, readable(row, "content")?)))?
            .next()
            .transpose()?;
        let Some((size, content)) = found else { return Ok(None) };
        self.bytes += size;
        if content.is_some() {
            return Ok(content);
        }
        let bytes = match Digest::new(digest).map(|digest| self.blobs.get(&digest)) {
            Ok(Ok(bytes)) => bytes,
            // What is lost or damaged cannot be put together again, whatever it named.
            Ok(Err(BlobError::Missing { .. } | BlobError::Damaged { .. } | BlobError::TooLarge { .. })) | Err(_) => {
                Vec::new()
            }
            Ok(Err(error)) => return Err(error.into()),
        };
        Ok(Some(String::from_utf8(bytes).unwrap_or_default()))
    }

    /// The item before it, its form, and the bytes that it takes.
    fn item(&self, digest: &str) -> Answer<Option<(Option<String>, String, u64)>> {
        self.conn
            .prepare_cached("SELECT previous, item, length(CAST(item AS BLOB)) AS size FROM lists WHERE digest = ?1")?
            .query_and_then([digest], |row| {
                Ok((row.get("previous")?, readable(row, "item")?.unwrap_or_default(), row.get("size")?))
            })?
            .next()
            .transpose()
    }

    /// Whether nothing of a rank below `first_gone` names it.
    fn goes(&self, digest: &str, first_gone: i64) -> Answer<bool> {
        let rank: Option<i64> = self
            .scratch
            .prepare_cached("SELECT rank FROM marks WHERE digest = ?1")?
            .query_row([digest], |row| row.get(0))
            .optional()?;
        Ok(rank.is_none_or(|rank| rank >= first_gone))
    }

    /// Notes the bodies and items that go. Gives their bytes in the database.
    fn doom_rows(&self, first_gone: i64) -> Answer<u64> {
        let mut bytes = 0;
        for (table, size) in
            [("bodies", "coalesce(length(CAST(content AS BLOB)), 0)"), ("lists", "length(CAST(item AS BLOB))")]
        {
            let mut statement = self.conn.prepare(&format!("SELECT digest, {size} FROM {table}"))?;
            let mut rows = statement.query([])?;
            let mut insert = self.scratch.prepare(&format!("INSERT INTO {table} (digest) VALUES (?1)"))?;
            while let Some(row) = rows.next()? {
                let digest: String = row.get(0)?;
                if self.goes(&digest, first_gone)? {
                    insert.execute(params![digest])?;
                    bytes += row.get::<_, u64>(1)?;
                }
            }
        }
        Ok(bytes)
    }

    /// Notes the blobs that go. Gives their number and bytes.
    fn doom_blobs(&self, first_gone: i64, until: Option<SystemTime>) -> Answer<(u64, u64)> {
        let (mut blobs, mut bytes) = (0, 0);
        let mut insert = self.scratch.prepare("INSERT INTO blobs (digest) VALUES (?1)")?;
        for found in self.blobs.all()? {
            let found = found?;
            if until.is_none_or(|until| found.modified < until) && self.goes(found.digest.as_str(), first_gone)? {
                insert.execute([found.digest.as_str()])?;
                blobs += 1;
                bytes += found.size_bytes;
            }
        }
        Ok((blobs, bytes))
    }
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Answer<Option<&'r str>> {
    let text = row.get_ref(column)?.as_str_or_null();
    text.map_err(|error| RegistryError::Damaged(format!("a journal entry: {error}")))
}

/// Every run of exactly 64 lower-case hexadecimal digits: how a digest is written, wherever it stands.
fn digests_in(text: &str) -> impl Iterator<Item = &str> {
    let is_digit = |byte: &&u8| matches!(**byte, b'0'..=b'9' | b'a'..=b'f');
    let bytes = text.as_bytes();
    // What comes before is no digit, or nothing.
    let mut rest = 0;
    std::iter::from_fn(move || {
        // A run that begins within the next 64 bytes is long enough only if the last of them belongs to it.
        while let Some(last) = bytes.get(rest + DIGITS - 1) {
            let at = rest + DIGITS - 1;
            if !is_digit(&last) {
                rest = at + 1;
                continue;
            }
            let start = at - bytes[rest..at].iter().rev().take_while(is_digit).count();
            let end = at + bytes[at..].iter().take_while(is_digit).count();
            rest = end + 1;
            if end - start == DIGITS {
                return Some(&text[start..end]);
            }
        }
        None
    })
}

/// The form in a column; empty when it is damaged, because then it names nothing that could be put together.
fn readable(row: &Row<'_>, column: &str) -> Answer<Option<String>> {
    match unpacked(row, column) {
        Err(RegistryError::Damaged(_)) => Ok(Some(String::new())),
        form => form,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_wherever_it_stands_and_nothing_else() {
        let (one, two) = ("a1".repeat(32), "0f".repeat(32));
        let commit = "c".repeat(40);
        let text = format!("{{\"$body\":\"{one}\",\"é\":[\"{commit}\"],\"sha256\":\"{two}\"}}{one}");
        assert_eq!(digests_in(&text).collect::<Vec<_>>(), [&one, &two, &one]);
        for offset in 0..200 {
            let (before, after) = (format!("{}\"", "é7".repeat(offset)), "x".repeat(offset));
            let text = format!("{before}{one}{after}\"{two}");
            let text = if offset % 2 == 0 { text } else { text.replace('é', "x") };
            assert_eq!(digests_in(&text).collect::<Vec<_>>(), [&one, &two], "{text}");
        }
        for none in [String::new(), one.to_uppercase(), format!("{one}0"), one[1..].to_owned()] {
            assert_eq!(digests_in(&none).count(), 0, "{none}");
        }
    }
}
