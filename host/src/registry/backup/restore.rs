//! Putting a backup in the place of a registry. All that can be refused is refused before anything is changed;
//! then blobs are added, which harm nobody, and the database is exchanged in one step. The old one stays
//! beside it under another name.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use crate::domain::id::Digest;
use crate::failpoint::{self, Side};
use crate::store::BlobStore;

use super::super::lease;
use super::super::records::LeaseKind;
use super::super::schema;
use super::check::manifest;
use super::{BLOBS, BackupError, BackupStep, Checked, DATABASE, OnStep, file_sum, io as fail, sync};

/// Name of the database that is put together.
const NEW: &str = "registry.db.restoring";
/// What SQLite puts beside a database; the last one it makes anew.
const BESIDE: [&str; 3] = ["-wal", "-journal", "-shm"];
/// Names that are tried for the old database.
const MAX_NAMES: u32 = 100;

/// A registry that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// When the backup was begun: what came later is not in it.
    pub created_at: Timestamp,
    /// Number of the newest event.
    pub newest_event: u64,
    /// How many blobs it brought.
    pub blobs: u64,
    /// Blobs that were lost already when the backup was made.
    pub missing: Vec<Digest>,
    /// Leases that were dropped, because nobody holds them any more.
    pub leases_dropped: u64,
    /// Where the database is that stood there before.
    pub kept: Option<PathBuf>,
}

/// Puts a backup that was checked in the place of `database`. What is copied is verified once more. Blocking. The
/// caller owns the state directory. `force` also replaces a registry with something in it, or one that cannot be read.
///
/// Leases of slots go, and locks of everybody who was not at work then: an attempt that can be gone on with
/// believes that it has what it took.
///
/// # Errors
/// [`BackupError`]; then the registry is as it was. A crash leaves the old registry or the new one.
pub fn restore(
    checked: &Checked,
    (database, blobs): (&Path, &BlobStore),
    now: Timestamp,
    force: bool,
    seen: OnStep<'_>,
) -> Result<Restored, BackupError> {
    let backup = checked.path.as_path();
    if !force && has_content(database) {
        return Err(BackupError::Occupied { path: database.to_owned() });
    }
    let manifest = manifest(backup)?;
    let source = BlobStore::open_existing(backup.join(BLOBS));
    let total = manifest.blobs.len() as u64;
    for (done, blob) in (1..).zip(&manifest.blobs) {
        seen(BackupStep::Blobs(done, total));
        blobs.put(&source.get(&blob.digest)?)?;
    }
    let folder = database.parent().unwrap_or(Path::new("."));
    let new = folder.join(NEW);
    failpoint::writing("restore", "database", || copy(&backup.join(DATABASE), &new))?;
    let copied = file_sum(folder, NEW)?;
    if (copied.size_bytes, &copied.sha256) != (manifest.database.size_bytes, &manifest.database.sha256) {
        let problems = vec![format!("{DATABASE}: it changed while it was copied")];
        return Err(BackupError::Damaged { path: backup.to_owned(), problems });
    }
    let leases_dropped = drop_leases(&new)?;
    let kept = exchange(&new, database, now)?;
    Ok(Restored {
        created_at: checked.created_at,
        newest_event: checked.newest_event,
        blobs: checked.blobs,
        missing: checked.missing.clone(),
        leases_dropped,
        kept,
    })
}

/// Whether there is a registry in which something was recorded; one that cannot be read may be anything.
fn has_content(database: &Path) -> bool {
    if !database.exists() {
        return false;
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM executions)";
    let found = schema::open_reader(database).map(|conn| conn.query_row(sql, [], |row| row.get(0)));
    !matches!(found, Ok(Ok(false)))
}

/// Copies a file, private to its user, and makes it durable. What an earlier restore left there is replaced.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copied = || -> io::Result<()> {
        let mut source = fs::File::open(from)?;
        let mut target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    copied().map_err(fail(to))
}

fn drop_leases(database: &Path) -> Result<u64, BackupError> {
    let mut conn = schema::connect(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let transaction = conn.transaction()?;
    let mut dropped = 0;
    if has_leases(&transaction)? {
        for held in lease::all(&transaction, None)? {
            if held.kind == LeaseKind::Slot || !lease::is_at_work(&transaction, &held.holder)? {
                dropped += u64::from(lease::release(&transaction, &held.id)?);
            }
        }
    }
    transaction.commit()?;
    conn.close().map_err(|(_, error)| error)?;
    fs::File::open(database).and_then(|file| file.sync_all()).map_err(fail(database))?;
    Ok(dropped)
}

fn has_leases(conn: &Connection) -> Result<bool, BackupError> {
    Ok(conn.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'leases'")?.exists([])?)
}

/// Puts `new` in the place of `database`. Gives where the old one is then.
fn exchange(new: &Path, database: &Path, now: Timestamp) -> Result<Option<PathBuf>, BackupError> {
    let folder = database.parent().unwrap_or(Path::new("."));
    let mut kept = None;
    if fs::symlink_metadata(database).is_ok() {
        kept = Some(keep(database, now)?);
        sync(folder).map_err(fail(folder))?;
        // What is still in its write-ahead log goes into the file, so that it is whole until it is replaced. One
        // that is damaged is kept in its parts already.
        if let Ok(old) = schema::connect(database, OpenFlags::SQLITE_OPEN_READ_WRITE) {
            let _ = old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            let _ = old.close();
        }
        for suffix in BESIDE {
            // They belong to the old database: beside the new one they would damage it.
            match fs::remove_file(beside(database, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(database)(error)),
                _ => {}
            }
        }
    }
    failpoint::reach("restore", "exchange", Side::Before);
    fs::rename(new, database).map_err(fail(database))?;
    failpoint::reach("restore", "exchange", Side::After);
    sync(folder).map_err(fail(folder))?;
    Ok(kept)
}

/// Gives the old database a second name, and copies what stands beside it to the same.
fn keep(database: &Path, now: Timestamp) -> Result<PathBuf, BackupError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    for number in 1..=MAX_NAMES {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let kept = beside(database, &format!(".before-restore-{stamp}{suffix}"));
        match fs::hard_link(database, &kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(_) => {
                // A file system without second names.
                fs::copy(database, &kept).map_err(fail(&kept))?;
            }
            Ok(()) => {}
        }
        for suffix in &BESIDE[..2] {
            let part = beside(database, suffix);
            if fs::metadata(&part).is_ok_and(|found| found.len() > 0) {
                copy(&part, &beside(&kept, suffix))?;
            }
        }
        return Ok(kept);
    }
    Err(fail(database)(io::ErrorKind::AlreadyExists.into()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
