//! Leases on slots and named locks: who holds what, until when. A runtime table; what an attempt
//! holds outlives the process that started it, and is given back by id.
//!
//! A lock is taken from somebody only when its time is over *and* its holder is not at work any more. So an
//! attempt need not renew what it holds: as long as it is at work its locks stay its own, by whatever the
//! clock says.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use crate::domain::id::TaskId;

use super::error::RegistryError;
use super::records::{HeldLock, Lease, LeaseKind};
use super::rows::{Columns, time_text};
use super::writer::Tx;

/// Longest time to live of a lease that is not renewed.
pub const MAX_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// What to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Slot or lock.
    pub kind: LeaseKind,
    /// Its name.
    pub name: String,
    /// Who wants it; shown to those who do not get it.
    pub holder: String,
    /// How long it lasts; cut to [`MAX_LEASE`].
    pub ttl: Duration,
    /// What becomes of one that has run out and was not given back.
    pub expired: Expired,
}

/// What becomes of a lease that has run out, although nobody gave it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// It stays with its holder.
    Kept,
    /// It is taken when its holder is no attempt, or one that is not at work any more.
    TakenFromTheDead,
    /// It is taken. Only for a caller who knows that nobody uses what is leased.
    Taken,
}

/// Leases it, or says who holds it. Not reentrant: a holder that asks again is refused as well.
pub(super) fn acquire(tx: &Tx<'_>, id: String, request: LeaseRequest) -> Result<Lease, RegistryError> {
    let LeaseRequest { kind, name, holder, ttl, expired } = request;
    let now = tx.now();
    if let Some(held) = by_name(tx.conn, kind, &name)? {
        let taken = held.expires_at <= now
            && match expired {
                Expired::Kept => false,
                Expired::TakenFromTheDead => !is_at_work(tx.conn, &held.holder)?,
                Expired::Taken => true,
            };
        if !taken {
            return Err(RegistryError::Held { name, holder: held.holder, expires_at: held.expires_at });
        }
        release(tx.conn, &held.id)?;
    }
    let lease = Lease { id, kind, name, holder, acquired_at: now, expires_at: until(now, ttl) };
    tx.conn
        .prepare_cached(
            "INSERT INTO leases (id, kind, name, holder, acquired_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            &lease.id,
            kind.as_str(),
            &lease.name,
            &lease.holder,
            time_text(lease.acquired_at),
            time_text(lease.expires_at),
        ))?;
    Ok(lease)
}

/// Whether a holder is an attempt that is at work: its task runs, and with this very attempt. A planning step
/// has no task; it is at work until its end is recorded.
pub(super) fn is_at_work(conn: &Connection, holder: &str) -> Result<bool, RegistryError> {
    let parts = holder.rsplit_once('#').and_then(|(key, attempt)| {
        let (spec, task) = key.rsplit_once('/')?;
        Some((spec, task, attempt.parse::<u32>().ok()?))
    });
    let Some((spec, task, attempt)) = parts else { return Ok(false) };
    let planning = TaskId::new(task).is_ok_and(|task| task.is_planning_step());
    let sql = if planning {
        "SELECT 1 FROM attempts WHERE spec = ?1 AND task = ?2 AND attempt = ?3 AND finished_at IS NULL"
    } else {
        "SELECT 1 FROM tasks WHERE spec = ?1 AND task = ?2 AND attempts = ?3 AND state = 'running'"
    };
    Ok(conn.prepare_cached(sql)?.exists((spec, task, attempt))?)
}

/// Makes it last `ttl` from now.
pub(super) fn renew(tx: &Tx<'_>, id: &str, ttl: Duration) -> Result<Lease, RegistryError> {
    let expires = until(tx.now(), ttl);
    let changed =
        tx.conn.prepare_cached("UPDATE leases SET expires_at = ?2 WHERE id = ?1")?.execute((id, time_text(expires)))?;
    if changed == 0 {
        return Err(RegistryError::LostLease(id.to_owned()));
    }
    by_id(tx.conn, id)?.ok_or_else(|| RegistryError::LostLease(id.to_owned()))
}

/// Gives it back. False when it was not held any more.
pub(super) fn release(conn: &Connection, id: &str) -> Result<bool, RegistryError> {
    Ok(conn.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([id])? > 0)
}

/// Gives a lock back by its name. Gives what it was.
pub(super) fn release_lock(conn: &Connection, name: &str, force: bool) -> Result<Option<Lease>, RegistryError> {
    let Some(held) = by_name(conn, LeaseKind::Lock, name)? else { return Ok(None) };
    if !force && is_at_work(conn, &held.holder)? {
        return Err(RegistryError::Held { name: held.name, holder: held.holder, expires_at: held.expires_at });
    }
    release(conn, &held.id)?;
    Ok(Some(held))
}

/// All locks, and what is known of their holders at `now`.
pub(super) fn locks(conn: &Connection, now: Timestamp) -> Result<Vec<HeldLock>, RegistryError> {
    let known = |lease: Lease| {
        let (expired, at_work) = (lease.expires_at <= now, is_at_work(conn, &lease.holder)?);
        Ok(HeldLock { lease, expired, at_work })
    };
    all(conn, Some(LeaseKind::Lock))?.into_iter().map(known).collect()
}

/// Gives back all that `holder` has.
pub(super) fn release_of(conn: &Connection, holder: &str) -> Result<Vec<Lease>, RegistryError> {
    let held: Vec<Lease> = conn
        .prepare_cached("SELECT * FROM leases WHERE holder = ?1 ORDER BY kind, name")?
        .query_and_then([holder], lease)?
        .collect::<Result<_, _>>()?;
    conn.prepare_cached("DELETE FROM leases WHERE holder = ?1")?.execute([holder])?;
    Ok(held)
}

/// All leases of a kind, or of any.
pub(super) fn all(conn: &Connection, kind: Option<LeaseKind>) -> Result<Vec<Lease>, RegistryError> {
    conn.prepare_cached("SELECT * FROM leases WHERE ?1 IS NULL OR kind = ?1 ORDER BY kind, name")?
        .query_and_then([kind.map(LeaseKind::as_str)], lease)?
        .collect()
}

/// Those that have run out at `now`.
pub(super) fn expired(conn: &Connection, now: Timestamp) -> Result<Vec<Lease>, RegistryError> {
    conn.prepare_cached("SELECT * FROM leases WHERE expires_at <= ?1 ORDER BY expires_at, id")?
        .query_and_then([time_text(now)], lease)?
        .collect()
}

/// The lease with this id.
pub(super) fn by_id(conn: &Connection, id: &str) -> Result<Option<Lease>, RegistryError> {
    conn.prepare_cached("SELECT * FROM leases WHERE id = ?1")?.query_and_then([id], lease)?.next().transpose()
}

/// Whoever holds it, expired or not.
pub(super) fn by_name(conn: &Connection, kind: LeaseKind, name: &str) -> Result<Option<Lease>, RegistryError> {
    conn.prepare_cached("SELECT * FROM leases WHERE kind = ?1 AND name = ?2")?
        .query_and_then((kind.as_str(), name), lease)?
        .next()
        .transpose()
}

fn until(now: Timestamp, ttl: Duration) -> Timestamp {
    now.checked_add(ttl.min(MAX_LEASE)).unwrap_or(Timestamp::MAX)
}

fn lease(row: &Row<'_>) -> Result<Lease, RegistryError> {
    Ok(Lease {
        id: row.get("id")?,
        kind: row.id("kind")?,
        name: row.get("name")?,
        holder: row.get("holder")?,
        acquired_at: row.time("acquired_at")?,
        expires_at: row.time("expires_at")?,
    })
}
