//! Checksums of journal rows. SQLite notices damaged pages, not damaged values in them: what a resumed or
//! replayed execution is answered must be what was recorded.

use rusqlite::{Connection, Row};
use sha2::{Digest as _, Sha256};

use crate::domain::id::ExecutionId;
use crate::store::hex;

use super::error::RegistryError;

/// Bytes of a checksum: enough against accidents, which is all that it is against.
const SUM_BYTES: usize = 16;

/// The columns of a call that its checksum covers.
const CALL: [&str; 12] = [
    "seq",
    "function",
    "digest",
    "request",
    "effect",
    "at",
    "answer",
    "answered_at",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost_microusd",
];
/// The columns that say how an execution began.
const BEGIN: [&str; 12] = [
    "run",
    "kind",
    "spec",
    "task",
    "attempt",
    "plugin",
    "component",
    "engine",
    "limits",
    "settings",
    "input",
    "started_at",
];
/// The columns that say how it ended.
const END: [&str; 4] = ["ended_at", "outcome", "usage", "calls"];

/// SHA-256 over the execution's id and the columns, each with its type and length before it.
fn sum(id: &str, row: &Row<'_>, columns: &[&str]) -> Result<String, RegistryError> {
    use rusqlite::types::ValueRef;
    let mut hash = Sha256::new();
    let mut add = |kind: u8, bytes: &[u8]| {
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(b't', id.as_bytes());
    for column in columns {
        match row.get_ref(*column)? {
            ValueRef::Null => add(b'n', &[]),
            ValueRef::Integer(number) => add(b'i', &number.to_le_bytes()),
            ValueRef::Real(number) => add(b'r', &number.to_bits().to_le_bytes()),
            ValueRef::Text(text) | ValueRef::Blob(text) => add(b't', text),
        }
    }
    Ok(hex(&hash.finalize()[..SUM_BYTES]))
}

/// Writes the checksum of a call's row, as it stands now.
pub(super) fn seal_call(conn: &Connection, id: &ExecutionId, sequence: u64) -> Result<(), RegistryError> {
    const OF: &str = "execution = (SELECT number FROM executions WHERE id = ?1) AND seq = ?2";
    let found = conn
        .prepare_cached(&format!("SELECT * FROM calls WHERE {OF}"))?
        .query_and_then((id.as_str(), sequence), |row| sum(id.as_str(), row, &CALL))?
        .next()
        .transpose()?;
    conn.prepare_cached(&format!("UPDATE calls SET sum = ?3 WHERE {OF}"))?.execute((id.as_str(), sequence, found))?;
    Ok(())
}

/// Writes the checksum of an execution's beginning.
pub(super) fn seal_begin(conn: &Connection, id: &ExecutionId) -> Result<(), RegistryError> {
    seal_execution(conn, id, "sum", &BEGIN)
}

/// Writes the checksum of an execution's end.
pub(super) fn seal_end(conn: &Connection, id: &ExecutionId) -> Result<(), RegistryError> {
    seal_execution(conn, id, "end_sum", &END)
}

fn seal_execution(conn: &Connection, id: &ExecutionId, column: &str, of: &[&str]) -> Result<(), RegistryError> {
    let found = conn
        .prepare_cached("SELECT * FROM executions WHERE id = ?1")?
        .query_and_then([id.as_str()], |row| sum(id.as_str(), row, of))?
        .next()
        .transpose()?;
    conn.prepare_cached(&format!("UPDATE executions SET {column} = ?2 WHERE id = ?1"))?
        .execute((id.as_str(), found))?;
    Ok(())
}

/// Whether a call's row is as it was written. One of the first release has no checksum.
pub(super) fn call_is_whole(id: &str, row: &Row<'_>) -> Result<bool, RegistryError> {
    is_whole(id, row, "sum", &CALL)
}

/// The same of an execution's row, beginning and end.
pub(super) fn execution_is_whole(id: &str, row: &Row<'_>) -> Result<bool, RegistryError> {
    Ok(is_whole(id, row, "sum", &BEGIN)? && is_whole(id, row, "end_sum", &END)?)
}

fn is_whole(id: &str, row: &Row<'_>, column: &str, of: &[&str]) -> Result<bool, RegistryError> {
    match row.get::<_, Option<String>>(column)? {
        Some(recorded) => Ok(sum(id, row, of)? == recorded),
        None => Ok(true),
    }
}
