//! Journals of executions that are gone on with, and the end of those that are not: what an owner does
//! about the executions that an earlier one left open.

use std::sync::Arc;

use rusqlite::OptionalExtension;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::domain::call::{Cost, Function};
use crate::domain::id::{ExecutionId, RunId};
use crate::failpoint;

use super::Registry;
use super::error::RegistryError;
use super::journal::{Execution, Progress, microseconds};
use super::records::ExecutionRecord;
use super::rows::time_text;
use super::seal;
use super::writer::Tx;

/// Name of the outcome of an execution that nobody goes on with.
pub const CUT_OFF: &str = "cut-off";

impl Registry {
    /// Opens the journal of an execution again, to write what comes after the calls that it has.
    ///
    /// # Errors
    /// [`RegistryError::Ended`], [`RegistryError::UnknownExecution`], and when it cannot be read.
    pub async fn reopen_execution(&self, record: &ExecutionRecord) -> Result<Execution, RegistryError> {
        let id = record.id.clone();
        let wanted = id.clone();
        let (ended, last): (bool, u64) = self
            .shared
            .writer
            .run(move |tx| {
                let found = tx
                    .conn
                    .prepare_cached(
                        "SELECT ended_at IS NOT NULL, coalesce((SELECT max(seq) FROM calls WHERE execution = number), 0)
                         FROM executions WHERE id = ?1",
                    )?
                    .query_row([wanted.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                found.ok_or(RegistryError::UnknownExecution(wanted))
            })
            .await?;
        if ended {
            return Err(RegistryError::Ended(id));
        }
        Ok(Execution {
            id,
            run: record.run.clone(),
            started_at: record.started_at,
            shared: self.shared.clone(),
            progress: Arc::new(Mutex::new(Progress::after(last))),
        })
    }

    /// Ends an execution that nobody goes on with, and says why. One that has ended already stays as it is.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn cut_off(&self, id: &ExecutionId, reason: &str) -> Result<(), RegistryError> {
        let (id, outcome) = (id.clone(), json!({ "error": CUT_OFF, "message": reason }));
        let at = microseconds(self.shared.clock.now());
        let cut = self.shared.writer.run(move |tx| {
            let changed = tx
                .conn
                .prepare_cached(
                    "UPDATE executions
                         SET ended_at = ?2, outcome = ?3, usage = 'null',
                             calls = (SELECT count(*) FROM calls WHERE execution = number)
                         WHERE id = ?1 AND ended_at IS NULL",
                )?
                .execute((id.as_str(), time_text(at), outcome.to_string()))?;
            if changed == 0 { Ok(()) } else { seal::seal_end(tx.conn, &id) }
        });
        failpoint::awaiting("journal", "cut-off", cut).await
    }

    /// Charges every model call of `run` that was sent, perhaps, and never answered, at what its intent
    /// reserved: once for each sending, however often this is done. Gives how many were charged now.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn charge_uncertain(&self, run: &RunId) -> Result<usize, RegistryError> {
        let (run, at) = (run.clone(), time_text(self.shared.clock.now()));
        let charged = self.shared.writer.run(move |tx| charge(tx, &run, &at));
        failpoint::awaiting("journal", "charge", charged).await
    }

    /// Notes that an uncertain call is sent once more. Durable on return. Gives how often it was sent then.
    ///
    /// # Errors
    /// [`RegistryError::UnknownCall`] when it does not wait for an answer.
    pub async fn send_again(&self, id: &ExecutionId, sequence: u64) -> Result<u32, RegistryError> {
        let id = id.clone();
        let sent = self.shared.writer.run(move |tx| {
            let tries = tx
                .conn
                .prepare_cached(
                    "UPDATE calls SET tries = tries + 1
                         WHERE execution = (SELECT number FROM executions WHERE id = ?1) AND seq = ?2
                               AND answer IS NULL
                         RETURNING tries",
                )?
                .query_row((id.as_str(), sequence), |row| row.get(0))
                .optional()?;
            tries.ok_or(RegistryError::UnknownCall { execution: id, sequence })
        });
        failpoint::awaiting("journal", "send-again", sent).await
    }
}

fn charge(tx: &Tx<'_>, run: &RunId, at: &str) -> Result<usize, RegistryError> {
    type Waiting = (u64, u64, u32, Option<String>);
    let waiting: Vec<Waiting> = tx
        .conn
        .prepare_cached(
            "SELECT c.execution, c.seq, c.tries, c.effect FROM calls c JOIN executions e ON e.number = c.execution
             WHERE e.run = ?1 AND c.answer IS NULL AND c.function = ?2",
        )?
        .query_map((run.as_str(), Function::LlmComplete.name()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut charged = 0;
    for (execution, sequence, tries, effect) in waiting {
        let worst: Cost = effect
            .and_then(|effect| serde_json::from_str::<Value>(&effect).ok())
            .and_then(|effect| serde_json::from_value(effect["worst"].clone()).ok())
            .unwrap_or_default();
        charged += tx
            .conn
            .prepare_cached(
                "INSERT OR IGNORE INTO charges (execution, seq, try, reason, at, calls, input_tokens,
                                                cached_input_tokens, output_tokens, cost_microusd)
                 VALUES (?1, ?2, ?3, 'uncertain', ?4, 1, ?5, ?6, ?7, ?8)",
            )?
            .execute((
                execution,
                sequence,
                tries,
                at,
                worst.input_tokens,
                worst.cached_input_tokens,
                worst.output_tokens,
                worst.cost_microusd,
            ))?;
    }
    Ok(charged)
}
