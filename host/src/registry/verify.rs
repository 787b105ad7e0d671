//! Proof that the projections are what the log says: they are rebuilt from it and compared, row by row by
//! their keys, so that one missing row does not hide the others.

use std::cmp::Ordering;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, Rows};

use super::error::RegistryError;
use super::projection::apply;
use super::query::event_row;
use super::records::VerifyReport;
use super::rows::parse_time;
use super::schema::{LOG_TRIGGERS, PROJECTED, scratch};
use super::writer::Tx;

/// Differences that are listed for one table, so that it leaves room for the others.
const MAX_OF_TABLE: u64 = 20;
/// Problems of the file that SQLite is asked to list.
const MAX_OF_FILE: u32 = 20;
/// Events between two reports of progress.
const STEP: u64 = 1000;
/// Longest value that is shown, in characters.
const MAX_SHOWN: usize = 80;

/// Told how many events of how many were read.
pub(super) type OnEvents<'a> = &'a mut dyn FnMut(u64, u64);

/// Replays the log into an empty copy of the projections and compares row by row. Both sides are
/// read in one transaction, so that a writer at work does not look like a difference.
pub(super) fn compare(conn: &Connection, seen: OnEvents<'_>) -> Result<VerifyReport, RegistryError> {
    let transaction = conn.is_autocommit();
    if transaction {
        conn.execute_batch("BEGIN")?;
    }
    let report = compare_now(conn, seen);
    if transaction {
        conn.execute_batch("COMMIT")?;
    }
    report
}

fn compare_now(conn: &Connection, seen: OnEvents<'_>) -> Result<VerifyReport, RegistryError> {
    let rebuilt = scratch()?;
    let mut report = VerifyReport::default();
    check_triggers(conn, &mut report)?;
    rebuilt.execute_batch("BEGIN")?;
    replay_noting(conn, &rebuilt, &mut report, seen)?;
    rebuilt.execute_batch("COMMIT")?;
    for (table, key) in PROJECTED {
        compare_table(conn, &rebuilt, (table, key), &mut report)?;
    }
    Ok(report)
}

/// What SQLite says about the pages, indices and constraints of the file.
pub(super) fn check_file(conn: &Connection) -> Result<Vec<String>, RegistryError> {
    let found: Vec<String> = conn
        .prepare(&format!("PRAGMA integrity_check({MAX_OF_FILE})"))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(if found == ["ok"] { Vec::new() } else { found })
}

fn note(report: &mut VerifyReport, difference: String) {
    if report.differences.len() < VerifyReport::MAX {
        report.differences.push(difference);
    } else {
        report.more += 1;
    }
}

/// The log is kept by its triggers: without them somebody could have changed it.
fn check_triggers(conn: &Connection, report: &mut VerifyReport) -> Result<(), RegistryError> {
    for name in LOG_TRIGGERS {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'events' AND name = ?1";
        if !conn.prepare_cached(sql)?.exists([name])? {
            note(report, format!("events: the trigger {name}, which keeps the log as it is, is missing"));
        }
    }
    Ok(())
}

/// Applies every event of `log` to the empty projections of `into`, and shows each one's number and time to
/// `seen`. Gives how many there are.
///
/// # Errors
/// [`RegistryError::Damaged`] when one of them is missing, cannot be read or cannot be applied.
pub(super) fn replay(
    log: &Connection,
    into: &Connection,
    mut seen: impl FnMut(u64, Timestamp),
) -> Result<u64, RegistryError> {
    let mut events = 0;
    let mut statement = log.prepare("SELECT * FROM events ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, u64>("seq")? != events + 1 {
            let missing = format!("event {} is missing from the log, so that nothing can be made of it", events + 1);
            return Err(RegistryError::Damaged(missing));
        }
        let event = event_row(row)?;
        seen(event.sequence, event.time);
        apply(into, &event)?;
        events += 1;
    }
    Ok(events)
}

/// Applies every event that can be read to `rebuilt`. What is missing, out of order or unreadable is noted.
fn replay_noting(
    conn: &Connection,
    rebuilt: &Connection,
    report: &mut VerifyReport,
    seen: OnEvents<'_>,
) -> Result<(), RegistryError> {
    let total: u64 =
        conn.query_row("SELECT max(seq) FROM events", [], |row| row.get(0)).optional()?.flatten().unwrap_or(0);
    let mut statement = conn.prepare("SELECT * FROM events ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut last = (0, Timestamp::MIN);
    while let Some(row) = rows.next()? {
        let sequence: u64 = row.get("seq")?;
        match sequence.checked_sub(last.0) {
            Some(1) => {}
            Some(2) => note(report, format!("events: number {} is missing", last.0 + 1)),
            _ => note(report, format!("events: numbers {} to {} are missing", last.0 + 1, sequence.saturating_sub(1))),
        }
        if let Ok(time) = parse_time(&row.get::<_, String>("time")?) {
            if time < last.1 {
                note(report, format!("events: number {sequence} has an earlier time than the one before it"));
            }
            last.1 = time;
        }
        last.0 = sequence;
        if let Err(error) = event_row(row).and_then(|event| apply_whole(rebuilt, &event)) {
            let kind: String = row.get("kind")?;
            note(report, format!("events: number {sequence} ({kind}) cannot be applied: {error}"));
        }
        report.events += 1;
        if report.events.is_multiple_of(STEP) {
            seen(report.events, total);
        }
    }
    seen(report.events, total);
    Ok(())
}

/// All of an event or nothing of it.
fn apply_whole(rebuilt: &Connection, event: &crate::domain::event::Event) -> Result<(), RegistryError> {
    rebuilt.prepare_cached("SAVEPOINT event")?.execute([])?;
    let applied = apply(rebuilt, event);
    if applied.is_err() {
        rebuilt.prepare_cached("ROLLBACK TO event")?.execute([])?;
    }
    rebuilt.prepare_cached("RELEASE event")?.execute([])?;
    applied
}

/// One side of a comparison: the rows of a table in the order of their keys.
struct Side<'s> {
    rows: Rows<'s>,
    columns: usize,
}

impl Side<'_> {
    fn next(&mut self) -> Result<Option<Vec<Value>>, RegistryError> {
        let all = |row: &Row<'_>| (0..self.columns).map(|i| row.get(i)).collect::<Result<Vec<Value>, _>>();
        Ok(self.rows.next()?.map(all).transpose()?)
    }
}

fn compare_table(
    live: &Connection,
    rebuilt: &Connection,
    (table, key): (&str, &str),
    report: &mut VerifyReport,
) -> Result<(), RegistryError> {
    // The columns of this program's schema, the keys first and in their order.
    let keys: Vec<&str> = key.split(", ").collect();
    let shape = rebuilt.prepare(&format!("SELECT * FROM {table}"))?;
    let others = shape.column_names().filter(|column| !keys.contains(column)).map(str::to_owned);
    let columns: Vec<String> = keys.iter().map(|&key| key.to_owned()).chain(others).collect();
    let sql = format!("SELECT {} FROM {table} ORDER BY {key}", columns.join(", "));
    let (mut live, mut rebuilt) = (live.prepare(&sql)?, rebuilt.prepare(&sql)?);
    let mut live = Side { rows: live.query([])?, columns: columns.len() };
    let mut rebuilt = Side { rows: rebuilt.query([])?, columns: columns.len() };
    let mut listed = 0;
    let mut differs = |report: &mut VerifyReport, difference: String| {
        listed += 1;
        if listed > MAX_OF_TABLE { report.more += 1 } else { note(report, difference) }
    };
    let (mut found, mut expected) = (live.next()?, rebuilt.next()?);
    loop {
        let order = match (&found, &expected) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(found), Some(expected)) => by_key(&found[..keys.len()], &expected[..keys.len()]),
        };
        match (&found, &expected) {
            (Some(row), _) if order.is_lt() => {
                differs(report, format!("{table} {} is there, and the log has no such row", named(&keys, row)));
            }
            (_, Some(row)) if order.is_gt() => {
                differs(report, format!("{table} {} is missing, and the log has it", named(&keys, row)));
            }
            (Some(row), Some(wanted)) => {
                report.rows += 1;
                for ((column, value), wanted) in columns.iter().zip(row).zip(wanted) {
                    if value != wanted {
                        let (row, value, wanted) = (named(&keys, row), shown(value), shown(wanted));
                        differs(report, format!("{table} {row}: {column} is {value}, and {wanted} by the log"));
                    }
                }
            }
            _ => {}
        }
        if order.is_le() {
            found = live.next()?;
        }
        if order.is_ge() {
            expected = rebuilt.next()?;
        }
    }
}

/// The order in which SQLite sorts.
fn by_key(one: &[Value], other: &[Value]) -> Ordering {
    const fn class(value: &Value) -> u8 {
        match value {
            Value::Null => 0,
            Value::Integer(_) | Value::Real(_) => 1,
            Value::Text(_) => 2,
            Value::Blob(_) => 3,
        }
    }
    let compare = |(one, other): (&Value, &Value)| match (one, other) {
        (Value::Integer(one), Value::Integer(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Value::Blob(one), Value::Blob(other)) => one.cmp(other),
        _ => class(one).cmp(&class(other)),
    };
    one.iter().zip(other).map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// The row by its key, such as `(spec shop, task 2.1)`.
fn named(keys: &[&str], row: &[Value]) -> String {
    let parts: Vec<String> = keys.iter().zip(row).map(|(key, value)| format!("{key} {}", shown(value))).collect();
    format!("({})", parts.join(", "))
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => return "empty".to_owned(),
        Value::Integer(number) => return number.to_string(),
        Value::Real(number) => return number.to_string(),
        Value::Blob(bytes) => return format!("{} bytes", bytes.len()),
        Value::Text(text) => text,
    };
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// Replaces the projections by what the log says, in the transaction of `tx`.
pub(super) fn rebuild(tx: &Tx<'_>) -> Result<VerifyReport, RegistryError> {
    let report = compare(tx.conn, &mut |_, _| {})?;
    for (table, _) in PROJECTED {
        tx.conn.execute(&format!("DELETE FROM {table}"), [])?;
    }
    replay(tx.conn, tx.conn, |_, _| {})?;
    Ok(report)
}
