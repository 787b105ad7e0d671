//! Whether a backup is what its manifest says, and its database sound: found out before anything of it is
//! used.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::domain::id::Digest;
use crate::store::{BlobError, BlobStore};

use super::super::error::RegistryError;
use super::super::schema;
use super::{
    BLOBS, BackupError, BackupStep, BlobSum, DATABASE, MANIFEST, MANIFEST_VERSION, MAX_PROBLEMS, Manifest, OnStep,
    file_sum, io, needed, newest_event, problems_of,
};

/// Longest manifest, in bytes: some two million blobs.
const MAX_MANIFEST_BYTES: u64 = 256 * 1024 * 1024;

/// A backup that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Where it is.
    pub path: PathBuf,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Number of the newest event in it.
    pub newest_event: u64,
    /// Bytes of its database.
    pub database_bytes: u64,
    /// How many blobs it has.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Blobs that were lost already when it was made.
    pub missing: Vec<Digest>,
}

/// Looks at every byte of a backup. Blocking, and changes nothing.
///
/// # Errors
/// [`BackupError::NotABackup`], [`BackupError::Newer`], and [`BackupError::Damaged`] with every file that is
/// not as it was.
pub fn check_backup(path: &Path, seen: OnStep<'_>) -> Result<Checked, BackupError> {
    let manifest = manifest(path)?;
    let mut problems = Vec::new();
    database(path, &manifest, &mut problems, seen)?;
    let store = BlobStore::open_existing(path.join(BLOBS));
    let total = manifest.blobs.len() as u64;
    for (done, blob) in (1..).zip(&manifest.blobs) {
        seen(BackupStep::Blobs(done, total));
        if let Some(problem) = problem_of(&store, blob)? {
            problems.push(problem);
        }
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    if !problems.is_empty() {
        return Err(BackupError::Damaged { path: path.to_owned(), problems });
    }
    Ok(Checked {
        path: path.to_owned(),
        created_at: manifest.created_at,
        newest_event: manifest.newest_event,
        database_bytes: manifest.database.size_bytes,
        blobs: total,
        blob_bytes: manifest.blobs.iter().map(|blob| blob.size_bytes).sum(),
        missing: manifest.missing,
    })
}

/// Reads what a backup says that it has.
pub(super) fn manifest(backup: &Path) -> Result<Manifest, BackupError> {
    let path = backup.join(MANIFEST);
    let not = |reason: String| BackupError::NotABackup { path: backup.to_owned(), reason };
    let damaged = |reason: String| BackupError::Damaged {
        path: backup.to_owned(),
        problems: vec![format!("{MANIFEST}: {reason}")],
    };
    let mut text = Vec::new();
    match File::open(&path) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Err(not(format!("it has no {MANIFEST}")));
        }
        Err(error) => return Err(io(&path)(error)),
        Ok(file) => file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut text).map_err(io(&path))?,
    };
    if text.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(damaged(format!("it has more than {MAX_MANIFEST_BYTES} bytes")));
    }
    let value: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(MANIFEST_VERSION) => {}
        Some(found) if found > u64::from(MANIFEST_VERSION) => return Err(BackupError::Newer { found }),
        _ => return Err(damaged("it has no version that was ever released".to_owned())),
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    if manifest.database.file != DATABASE {
        return Err(damaged(format!("it names `{}` as the database", manifest.database.file)));
    }
    Ok(manifest)
}

/// Checks the database: its bytes first, and only when those are right what is in it.
fn database(
    backup: &Path,
    manifest: &Manifest,
    problems: &mut Vec<String>,
    seen: OnStep<'_>,
) -> Result<(), BackupError> {
    let found = match file_sum(backup, DATABASE) {
        Err(BackupError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            problems.push(format!("{DATABASE}: it is missing"));
            return Ok(());
        }
        found => found?,
    };
    if found != manifest.database {
        let (size, wanted) = (found.size_bytes, manifest.database.size_bytes);
        let what = if size == wanted { "its bytes changed".to_owned() } else { format!("{size} bytes, not {wanted}") };
        problems.push(format!("{DATABASE}: {what}"));
        return Ok(());
    }
    let conn = match schema::open_reader(&backup.join(DATABASE)) {
        Err(RegistryError::Damaged(reason)) => {
            problems.push(format!("{DATABASE}: {reason}"));
            return Ok(());
        }
        conn => conn?,
    };
    let newest = newest_event(&conn)?;
    if newest != manifest.newest_event {
        problems.push(format!("{DATABASE}: its newest event is {newest}, not {}", manifest.newest_event));
    }
    problems.extend(problems_of(&conn, seen)?.into_iter().map(|problem| format!("{DATABASE}: {problem}")));
    let listed: HashSet<&Digest> = manifest.blobs.iter().map(|blob| &blob.digest).chain(&manifest.missing).collect();
    let unlisted = needed(&conn)?.into_iter().filter(|digest| !listed.contains(digest));
    problems
        .extend(unlisted.map(|digest| format!("{MANIFEST}: the database needs blob {digest}, which is not listed")));
    problems.truncate(MAX_PROBLEMS);
    Ok(())
}

fn problem_of(store: &BlobStore, blob: &BlobSum) -> Result<Option<String>, BackupError> {
    let BlobSum { digest, size_bytes } = blob;
    let (shard, rest) = digest.as_str().split_at(2);
    let problem = match store.get(digest) {
        Ok(bytes) if bytes.len() as u64 == *size_bytes => return Ok(None),
        Ok(bytes) => format!("{} bytes, not {size_bytes}", bytes.len()),
        Err(BlobError::Missing { .. }) => "it is missing".to_owned(),
        Err(BlobError::Damaged { .. } | BlobError::TooLarge { .. }) => "its bytes changed".to_owned(),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(format!("{BLOBS}/{shard}/{rest}: {problem}")))
}
