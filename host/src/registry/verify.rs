//! Proof that the projections are what the log says: they are rebuilt from it and compared.

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::error::RegistryError;
use super::projection::apply;
use super::query::event_row;
use super::records::VerifyReport;
use super::schema::{PROJECTED, scratch};
use super::writer::Tx;

/// Replays the log into an empty copy of the projections and compares row by row. Both sides are
/// read in one transaction, so that a writer at work does not look like a difference.
pub(super) fn compare(conn: &Connection) -> Result<VerifyReport, RegistryError> {
    let transaction = conn.is_autocommit();
    if transaction {
        conn.execute_batch("BEGIN")?;
    }
    let report = compare_now(conn);
    if transaction {
        conn.execute_batch("COMMIT")?;
    }
    report
}

fn compare_now(conn: &Connection) -> Result<VerifyReport, RegistryError> {
    let rebuilt = scratch()?;
    let mut report = VerifyReport::default();
    rebuilt.execute_batch("BEGIN")?;
    let mut last = (0, Timestamp::MIN);
    report.events = replay(conn, &rebuilt, |sequence, time| {
        if sequence != last.0 + 1 || time < last.1 {
            note(&mut report, format!("event {sequence} does not follow event {}", last.0));
        }
        last = (sequence, time);
    })?;
    rebuilt.execute_batch("COMMIT")?;
    for (table, key) in PROJECTED {
        compare_table(conn, &rebuilt, (table, key), &mut report)?;
    }
    Ok(report)
}

/// Applies every event of `log` to the empty projections of `into`, and shows each one's number and time to
/// `seen`. Gives how many there are.
pub(super) fn replay(
    log: &Connection,
    into: &Connection,
    mut seen: impl FnMut(u64, Timestamp),
) -> Result<u64, RegistryError> {
    let mut events = 0;
    for event in log.prepare("SELECT * FROM events ORDER BY seq")?.query_and_then([], event_row)? {
        let event = event?;
        seen(event.sequence, event.time);
        apply(into, &event)?;
        events += 1;
    }
    Ok(events)
}

fn note(report: &mut VerifyReport, difference: String) {
    if report.differences.len() < VerifyReport::MAX {
        report.differences.push(difference);
    }
}

fn compare_table(
    live: &Connection,
    rebuilt: &Connection,
    (table, key): (&str, &str),
    report: &mut VerifyReport,
) -> Result<(), RegistryError> {
    let sql = format!("SELECT * FROM {table} ORDER BY {key}");
    let (mut live, mut rebuilt) = (live.prepare(&sql)?, rebuilt.prepare(&sql)?);
    let columns: Vec<String> = live.column_names().map(str::to_owned).collect();
    let keys = key.split(", ").count();
    let (mut live, mut rebuilt) = (live.query([])?, rebuilt.query([])?);
    loop {
        let (found, expected) = (values(live.next()?, columns.len())?, values(rebuilt.next()?, columns.len())?);
        match (found, expected) {
            (None, None) => return Ok(()),
            (Some(found), Some(expected)) => {
                report.rows += 1;
                for ((column, found), expected) in columns.iter().zip(&found).zip(&expected) {
                    if found != expected {
                        let row = &columns[..keys].join(", ");
                        note(report, format!("{table} ({row}): {column} is {found:?}, the log says {expected:?}"));
                        break;
                    }
                }
            }
            (Some(found), None) => {
                note(report, format!("{table}: row {:?} is not in the log", &found[..keys]));
                return Ok(());
            }
            (None, Some(expected)) => {
                note(report, format!("{table}: row {:?} is missing", &expected[..keys]));
                return Ok(());
            }
        }
    }
}

fn values(row: Option<&rusqlite::Row<'_>>, columns: usize) -> Result<Option<Vec<Value>>, RegistryError> {
    match row {
        None => Ok(None),
        Some(row) => Ok(Some((0..columns).map(|i| row.get(i)).collect::<Result<_, _>>()?)),
    }
}

/// Replaces the projections by what the log says, in the transaction of `tx`.
pub(super) fn rebuild(tx: &Tx<'_>) -> Result<VerifyReport, RegistryError> {
    let report = compare(tx.conn)?;
    for (table, _) in PROJECTED {
        tx.conn.execute(&format!("DELETE FROM {table}"), [])?;
    }
    replay(tx.conn, tx.conn, |_, _| {})?;
    Ok(report)
}
