//! Dropping journals that nobody needs any more. Rows go in the writer's transactions, a bounded number in
//! each: first a run's executions are marked, then its calls go and leave their cost, then the parts and the
//! blobs that nothing names. Whatever ends it in between leaves a registry that is whole, and the next time
//! does the rest. Events, projections, costs and artifacts stay.

mod plan;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::domain::call::Function;
use crate::domain::id::{Digest, RunId, SpecName};

use super::error::RegistryError;
use super::rows::time_text;
use super::writer::Tx;
use super::{Reader, Registry, schema};
pub(super) use plan::named;
use plan::{Plan, plan};

/// Calls, bodies or items that go in one transaction.
const BATCH: usize = 1000;
/// Blobs that go before somebody else may have the thread.
const BLOB_BATCH: usize = 200;

/// Which journals may go. A run that can be gone on with stays, whatever is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneChoice {
    /// Those of runs that ended before.
    pub before: Option<Timestamp>,
    /// The oldest ones, until no more than so many bytes of journals are left.
    pub keep_bytes: Option<u64>,
}

/// A run whose journals go: it cannot be replayed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedRun {
    /// Which.
    pub run: RunId,
    /// Its spec.
    pub spec: Option<SpecName>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How many executions it has.
    pub executions: u64,
    /// How many calls they made.
    pub calls: u64,
    /// Bytes of what no newer run names, in the database and in blobs.
    pub bytes: u64,
}

/// What goes, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Runs that cannot be replayed any more, oldest first, at most [`PruneReport::MAX_RUNS`].
    pub runs: Vec<PrunedRun>,
    /// How many there are besides.
    pub more_runs: u64,
    /// Bytes of journals that nothing names any more, in the database.
    pub database_bytes: u64,
    /// Blobs that nothing names any more.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Bytes of journals that stay, in the database and in blobs.
    pub kept_bytes: u64,
}

impl PruneReport {
    /// Most runs that are listed.
    pub const MAX_RUNS: usize = 1000;
}

impl Reader {
    /// What [`Registry::prune`] would drop. Changes nothing. Not inside [`Registry::read`].
    ///
    /// # Errors
    /// When the registry or the blobs cannot be read.
    pub fn prune_plan(&self, choice: &PruneChoice) -> Result<PruneReport, RegistryError> {
        self.conn().execute_batch("BEGIN")?;
        let planned = self.planned(choice, None);
        self.conn().execute_batch("COMMIT")?;
        Ok(planned?.report)
    }

    fn planned(&self, choice: &PruneChoice, until: Option<std::time::SystemTime>) -> Result<Plan, RegistryError> {
        plan(self.conn(), self.blobs(), choice, until)
    }
}

impl Registry {
    /// The time, as this registry's clock says.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Drops the journals of `choice`, then every part and blob that nothing names any more. A blob that was
    /// written, or found to be there already, less than `grace` ago stays: the row that names it may not be
    /// there yet. The caller owns the state directory and does this once at a time.
    ///
    /// # Errors
    /// When it cannot be written: what was done until then stays, and doing it again does the rest.
    /// [`RegistryError::Busy`] when a run that should go has been gone on with meanwhile.
    pub async fn prune(&self, choice: PruneChoice, grace: Duration) -> Result<PruneReport, RegistryError> {
        self.shared.writer.run(|tx| watch_parts(tx.conn)).await?;
        let done = self.prune_watched(choice, grace).await;
        self.shared.writer.run(|tx| unwatch_parts(tx.conn)).await?;
        done
    }

    async fn prune_watched(&self, choice: PruneChoice, grace: Duration) -> Result<PruneReport, RegistryError> {
        let blobs = self.shared.blobs.clone();
        // From here on, whatever is named anew is noticed: parts by the watch, blobs by the times of their files.
        let until = self.blocking(move || Ok(blobs.now()?)).await?;
        let until = until.checked_sub(grace).unwrap_or(until);
        let plan = self.read(move |reader| reader.planned(&choice, Some(until))).await?;
        for (run, executions) in plan.runs.clone() {
            self.shared.writer.run(move |tx| mark(tx, &run, executions)).await?;
        }
        self.drop_calls().await?;
        let Plan { doomed, runs: _, report } = plan;
        let doomed = self.drop_parts(doomed).await?;
        self.drop_blobs(doomed, until).await?;
        Ok(report)
    }

    /// Drops the calls of all executions that are marked, also those that were left the last time.
    async fn drop_calls(&self) -> Result<(), RegistryError> {
        let mut next = 0;
        while let Some(after) = self.shared.writer.run(move |tx| drop_calls(tx, next)).await? {
            next = after;
        }
        Ok(())
    }

    /// Drops the bodies and items that `doomed` lists, but for those that were named since.
    async fn drop_parts(&self, mut doomed: Connection) -> Result<Connection, RegistryError> {
        for table in ["bodies", "lists"] {
            loop {
                let (back, digests) = self.blocking(move || take(doomed, table, BATCH)).await?;
                doomed = back;
                if digests.is_empty() {
                    break;
                }
                self.shared.writer.run(move |tx| drop_parts(tx.conn, table, &digests)).await?;
            }
        }
        Ok(doomed)
    }

    async fn drop_blobs(&self, mut doomed: Connection, until: std::time::SystemTime) -> Result<(), RegistryError> {
        loop {
            let blobs = self.shared.blobs.clone();
            let (back, more) = self
                .blocking(move || {
                    let (doomed, digests) = take(doomed, "blobs", BLOB_BATCH)?;
                    for digest in digests.iter().filter_map(|digest| Digest::new(digest.as_str()).ok()) {
                        blobs.remove(&digest, until)?;
                    }
                    Ok((doomed, !digests.is_empty()))
                })
                .await?;
            doomed = back;
            if !more {
                break;
            }
        }
        Ok(())
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, RegistryError>
    where
        F: FnOnce() -> Result<T, RegistryError> + Send + 'static,
        T: Send + 'static,
    {
        tokio::task::spawn_blocking(work).await.map_err(|_| RegistryError::Closed)?
    }
}

/// Gives what a database file has free back to the disk. Blocking, and as long as copying it; nobody else
/// may have it open. Gives its bytes before and after.
///
/// # Errors
/// When it cannot be written, such as without room for a second copy: then it stays as it is.
pub fn shrink(path: &Path) -> Result<(u64, u64), RegistryError> {
    let size = || std::fs::metadata(path).map(|found| found.len()).unwrap_or_default();
    let conn = schema::open_writer(path)?;
    let checkpoint = || conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    checkpoint()?;
    let before = size();
    conn.execute_batch("VACUUM")?;
    checkpoint()?;
    Ok((before, size()))
}

/// Notes from now on which parts are named, also those that are there already: a trigger sees the insertion
/// that is ignored.
fn watch_parts(conn: &Connection) -> Result<(), RegistryError> {
    unwatch_parts(conn)?;
    conn.execute_batch(
        "CREATE TEMP TABLE named (digest TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
         CREATE TEMP TRIGGER named_bodies BEFORE INSERT ON main.bodies
             BEGIN INSERT OR IGNORE INTO named (digest) VALUES (NEW.digest); END;
         CREATE TEMP TRIGGER named_lists BEFORE INSERT ON main.lists
             BEGIN INSERT OR IGNORE INTO named (digest) VALUES (NEW.digest); END;",
    )?;
    Ok(())
}

fn unwatch_parts(conn: &Connection) -> Result<(), RegistryError> {
    conn.execute_batch(
        "DROP TRIGGER IF EXISTS temp.named_bodies;
         DROP TRIGGER IF EXISTS temp.named_lists;
         DROP TABLE IF EXISTS temp.named;",
    )?;
    Ok(())
}

/// Marks a run's executions, which no reader takes for whole from now on.
fn mark(tx: &Tx<'_>, run: &str, executions: u64) -> Result<(), RegistryError> {
    let marked = tx
        .conn
        .prepare_cached(
            "UPDATE executions SET pruned_at = ?2
             WHERE run = ?1 AND pruned_at IS NULL AND EXISTS (
                 SELECT 1 FROM runs WHERE id = ?1 AND finished_at IS NOT NULL AND outcome IS NOT 'interrupted')",
        )?
        .execute((run, time_text(tx.now())))?;
    if marked as u64 == executions { Ok(()) } else { Err(RegistryError::Busy) }
}

/// Drops calls of marked executions from number `from` on, and keeps what they cost. Gives the number to go
/// on from, if there is more.
fn drop_calls(tx: &Tx<'_>, from: i64) -> Result<Option<i64>, RegistryError> {
    let conn = tx.conn;
    let mut left = BATCH;
    let mut statement = conn.prepare_cached(
        "SELECT number FROM executions WHERE number >= ?1 AND pruned_at IS NOT NULL ORDER BY number LIMIT ?2",
    )?;
    // One more than can be done tells whether there is more.
    let marked: Vec<i64> = statement.query_map((from, BATCH as u64), |row| row.get(0))?.collect::<Result<_, _>>()?;
    for execution in &marked {
        let (last, calls): (Option<u64>, usize) = conn
            .prepare_cached(
                "SELECT max(seq), count(*) FROM (SELECT seq FROM calls WHERE execution = ?1 ORDER BY seq LIMIT ?2)",
            )?
            .query_row((execution, left as u64), |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let Some(last) = last {
            keep_cost(conn, *execution, last, &time_text(tx.now()))?;
            conn.prepare_cached("DELETE FROM calls WHERE execution = ?1 AND seq <= ?2")?.execute((execution, last))?;
        }
        left -= calls;
        if left == 0 {
            return Ok(Some(*execution));
        }
        forget_forms(conn, *execution)?;
    }
    Ok(if marked.len() == BATCH { marked.last().map(|last| last + 1) } else { None })
}

/// Adds the model calls up to `last` to the charges of their execution: those that were priced, those that
/// were not, and those that were never answered, so that every sum stays what it was.
fn keep_cost(conn: &Connection, execution: i64, last: u64, at: &str) -> Result<(), RegistryError> {
    for (number, (reason, which)) in PRUNED.into_iter().enumerate() {
        conn.prepare_cached(&format!(
            "INSERT INTO charges (execution, seq, try, reason, at, calls, input_tokens, cached_input_tokens,
                                  output_tokens, cost_microusd)
             SELECT ?1, 0, ?3, ?4, ?5, count(*), sum(input_tokens), sum(cached_input_tokens), sum(output_tokens),
                    sum(cost_microusd)
             FROM calls WHERE execution = ?1 AND seq <= ?2 AND function = ?6 AND {which} HAVING count(*) > 0
             ON CONFLICT (execution, seq, try) DO UPDATE SET
                 calls = calls + excluded.calls,
                 input_tokens = input_tokens + excluded.input_tokens,
                 cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens,
                 output_tokens = output_tokens + excluded.output_tokens,
                 cost_microusd = coalesce(cost_microusd + excluded.cost_microusd, excluded.cost_microusd, cost_microusd)",
        ))?
        .execute((execution, last, number as u64, reason, at, Function::LlmComplete.name()))?;
    }
    Ok(())
}

/// Reasons of charges that stand for pruned calls, and which calls they stand for.
const PRUNED: [(&str, &str); 3] = [
    ("pruned", "answer IS NOT NULL AND cost_microusd IS NOT NULL"),
    ("pruned-unpriced", "answer IS NOT NULL AND cost_microusd IS NULL"),
    ("pruned-unanswered", "answer IS NULL"),
];

/// Forgets what an execution's own row says by parts that go.
fn forget_forms(conn: &Connection, execution: i64) -> Result<(), RegistryError> {
    const COLUMNS: [&str; 5] = ["limits", "settings", "input", "outcome", "usage"];
    let names = |column: &str| {
        let parts = ["$body", "$list"].map(|key| format!("instr({column}, '{{\"{key}\":') > 0"));
        format!("coalesce({}, 0)", parts.join(" OR "))
    };
    let sets = COLUMNS.map(|column| format!("{column} = CASE WHEN {} THEN 'null' ELSE {column} END", names(column)));
    let any = COLUMNS.map(names).join(" OR ");
    let sql = format!("UPDATE executions SET {} WHERE number = ?1 AND ({any})", sets.join(", "));
    conn.prepare_cached(&sql)?.execute([execution])?;
    Ok(())
}

fn drop_parts(conn: &Connection, table: &str, digests: &[String]) -> Result<(), RegistryError> {
    let sql =
        format!("DELETE FROM {table} WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM temp.named WHERE digest = ?1)");
    let mut statement = conn.prepare_cached(&sql)?;
    digests.iter().try_for_each(|digest| Ok(statement.execute([digest]).map(drop)?))
}

/// Takes some digests out of a table of `doomed`.
fn take(doomed: Connection, table: &str, limit: usize) -> Result<(Connection, Vec<String>), RegistryError> {
    let sql = format!(
        "DELETE FROM {table} WHERE digest IN (SELECT digest FROM {table} ORDER BY digest LIMIT ?1) RETURNING digest"
    );
    let digests =
        doomed.prepare_cached(&sql)?.query_map([limit as u64], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok((doomed, digests))
}
