//! Copies of a registry that can be trusted: the database as of one moment, while others write it, and every
//! blob that it names, with checksums of all. A backup stands at its place whole or not at all, and it was
//! proven when it was made: its projections are what its log says.
//!
//! A blob never changes, so it may be a second name of the store's own file.

mod check;
mod restore;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::id::Digest;
use crate::failpoint::{self, DiskFull, Side};
use crate::store::{BlobError, BlobStore, hex};

use super::error::RegistryError;
use super::prune::named;
use super::schema::{self, SCHEMA_VERSION};
use super::seats;
use super::verify;

pub use check::{Checked, check_backup};
pub use restore::{Restored, restore};

/// Version of [`Manifest`] that this program writes.
const MANIFEST_VERSION: u32 = 1;
/// Name of the file that says what a backup has; it is written last.
pub(super) const MANIFEST: &str = "manifest.json";
/// Name of the database in a backup.
pub(super) const DATABASE: &str = "registry.db";
/// Name of the folder of blobs in a backup.
pub(super) const BLOBS: &str = "blobs";
/// What the name of a backup begins with that is being made.
const BEGUN: &str = ".necro-backup-";
/// Pages that are copied before others may have the processor.
const PAGES: i32 = 1000;
/// How often a backup is begun anew when blobs vanish while it is made.
const TRIES: u32 = 3;
/// Problems that are listed.
pub(super) const MAX_PROBLEMS: usize = 20;

/// What is being done, and how much of how much of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupStep {
    /// Pages of the database are copied.
    Pages(u64, u64),
    /// Events are read, and the projections made from them.
    Events(u64, u64),
    /// Blobs are copied or looked at.
    Blobs(u64, u64),
}

/// Told what is being done.
pub type OnStep<'a> = &'a mut dyn FnMut(BackupStep);

/// What a backup has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of this form.
    pub version: u32,
    /// Version of the program that made it.
    pub program: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Schema of the database.
    pub schema: i64,
    /// Number of the newest event in it; 0 without any.
    pub newest_event: u64,
    /// The database's file.
    pub database: FileSum,
    /// Every blob that the database names and that the store had.
    pub blobs: Vec<BlobSum>,
    /// Blobs that the registry needs and that the store had lost already, or had damaged.
    pub missing: Vec<Digest>,
}

/// A file and its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileSum {
    /// Its name in the backup.
    pub file: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// A blob, which is named by its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobSum {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// Where it stands.
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
    /// How many of them are second names of the store's files.
    pub linked: u64,
    /// Blobs that the store had lost already.
    pub missing: Vec<Digest>,
}

/// Why a backup was not made, is not taken for one, or was not restored. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is at its place already.
    #[error("`{}` exists already: name a new folder", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// There is no backup.
    #[error("`{}` is no backup: {reason}", path.display())]
    NotABackup {
        /// What was named.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A newer program made it.
    #[error("the backup has form {found}, this program knows {MANIFEST_VERSION}: use a newer necro-host")]
    Newer {
        /// Its form.
        found: u64,
    },
    /// It does not have what its manifest says, or its database is not sound.
    #[error("the backup `{}` is damaged: {}", path.display(), problems.join("; "))]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// File by file, what is wrong; a bounded number of them.
        problems: Vec<String>,
    },
    /// The registry itself is not sound, so that a copy of it could not be restored.
    #[error("the registry is not sound, and a backup of it could not be restored: {}", problems.join("; "))]
    Unsound {
        /// What is wrong; a bounded number of them.
        problems: Vec<String>,
    },
    /// Blobs were removed while they were copied, again and again.
    #[error("{blobs} blobs were dropped while the backup was made, in each of {TRIES} tries: is something pruned?")]
    Vanished {
        /// How many, the last time.
        blobs: u64,
    },
    /// The state directory has a registry.
    #[error("`{}` has a registry with something in it", path.display())]
    Occupied {
        /// Its database.
        path: PathBuf,
    },
    /// The registry cannot be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A blob cannot be read or written.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A file cannot be read or written.
    #[error("`{}` cannot be used", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<DiskFull> for BackupError {
    fn from(full: DiskFull) -> Self {
        Self::Registry(full.into())
    }
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Registry(error.into())
    }
}

pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BackupError::Registry(RegistryError::Full),
        _ => BackupError::Io { path, source },
    }
}

/// Makes a backup of the registry in `database` and of the blobs that it names, at `destination`, which must
/// not exist. Blocking. `copy` makes a copy of every blob, even where a second name for its file would do.
///
/// # Errors
/// [`BackupError`]; then there is nothing at `destination`.
pub fn back_up(
    (database, blobs): (&Path, &BlobStore),
    destination: &Path,
    created_at: Timestamp,
    copy: bool,
    seen: OnStep<'_>,
) -> Result<BackedUp, BackupError> {
    if fs::symlink_metadata(destination).is_ok() {
        return Err(BackupError::Exists { path: destination.to_owned() });
    }
    let folder = match destination.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(io(folder))?;
    clear_left(folder).map_err(io(folder))?;
    // Private to its user, and gone again when this fails.
    let private = fs::Permissions::from_mode(0o700);
    let begun = tempfile::Builder::new().prefix(BEGUN).permissions(private).tempdir_in(folder).map_err(io(folder))?;
    // Whoever clears up after killed processes leaves it alone.
    let _at_work = File::open(begun.path()).and_then(|lock| lock.lock().map(|()| lock)).map_err(io(begun.path()))?;
    let mut tries = 0;
    let (newest_event, copied) = loop {
        tries += 1;
        // What is there now and is not any more when it is copied was dropped in between.
        let before = blobs.all()?.map(|found| Ok(found?.digest)).collect::<Result<HashSet<_>, BlobError>>()?;
        let path = begun.path().join(DATABASE);
        copy_database(database, &path, seen)?;
        let copy_of = schema::open_reader(&path)?;
        let newest = newest_event(&copy_of)?;
        sound(&copy_of, seen)?;
        let copied = copy_blobs(&copy_of, (blobs, &begun.path().join(BLOBS)), &before, copy, seen)?;
        match copied.vanished {
            0 => break (newest, copied),
            gone if tries == TRIES => return Err(BackupError::Vanished { blobs: gone }),
            _ => fs::remove_file(&path).map_err(io(&path))?,
        }
    };
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        created_at,
        schema: SCHEMA_VERSION,
        newest_event,
        database: file_sum(begun.path(), DATABASE)?,
        blobs: copied.blobs,
        missing: copied.missing,
    };
    persist(begun, &manifest, destination, folder)?;
    Ok(BackedUp {
        path: destination.to_owned(),
        created_at,
        newest_event,
        database_bytes: manifest.database.size_bytes,
        blobs: manifest.blobs.len() as u64,
        blob_bytes: manifest.blobs.iter().map(|blob| blob.size_bytes).sum(),
        linked: copied.linked,
        missing: manifest.missing,
    })
}

/// Removes what backups left in `folder` whose processes were killed: nobody holds its lock any more.
fn clear_left(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let is_left = entry.file_name().as_encoded_bytes().starts_with(BEGUN.as_bytes())
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && File::open(entry.path()).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_left {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Copies the database as it is at one moment. The moment is held by a transaction that only reads, so that
/// whoever writes neither waits nor makes it begin anew.
fn copy_database(from: &Path, to: &Path, seen: OnStep<'_>) -> Result<(), BackupError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(io(to))?;
    let source = schema::open_reader(from)?;
    source.execute_batch("BEGIN")?;
    newest_event(&source)?;
    let mut target = Connection::open(to)?;
    failpoint::writing("backup", "database", || -> Result<(), RegistryError> {
        let backup = Backup::new(&source, &mut target)?;
        loop {
            let step = backup.step(PAGES)?;
            let progress = backup.progress();
            let number = |count| u64::try_from(count).unwrap_or(0);
            seen(BackupStep::Pages(number(progress.pagecount - progress.remaining), number(progress.pagecount)));
            match step {
                StepResult::Done => return Ok(()),
                StepResult::More => {}
                _ => return Err(RegistryError::Busy),
            }
        }
    })?;
    source.execute_batch("COMMIT")?;
    // One file that says all: it can be read where nothing can be written beside it.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    file.sync_all().map_err(io(to))
}

pub(super) fn newest_event(conn: &Connection) -> Result<u64, RegistryError> {
    Ok(conn.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?)
}

/// What keeps a database from being restored; a bounded number of problems.
pub(super) fn problems_of(conn: &Connection, seen: OnStep<'_>) -> Result<Vec<String>, RegistryError> {
    let mut problems = verify::check_file(conn)?;
    if problems.is_empty() {
        problems = verify::compare(conn, &mut |done, total| seen(BackupStep::Events(done, total)))?.differences;
    }
    problems.truncate(MAX_PROBLEMS);
    Ok(problems)
}

fn sound(conn: &Connection, seen: OnStep<'_>) -> Result<(), BackupError> {
    let problems = problems_of(conn, seen)?;
    if problems.is_empty() { Ok(()) } else { Err(BackupError::Unsound { problems }) }
}

/// What became of the blobs.
#[derive(Default)]
struct Copied {
    blobs: Vec<BlobSum>,
    missing: Vec<Digest>,
    linked: u64,
    /// Those that were there when it began, and are not any more.
    vanished: u64,
}

/// Copies every blob that the database `conn` names into the store in the folder `to`.
fn copy_blobs(
    conn: &Connection,
    (from, to): (&BlobStore, &Path),
    before: &HashSet<Digest>,
    copy: bool,
    seen: OnStep<'_>,
) -> Result<Copied, BackupError> {
    let target = BlobStore::open(to)?;
    let marks = named(conn, from)?;
    let needed = needed(conn)?;
    let total = marks.query_row("SELECT count(*) FROM marks", [], |row| row.get(0)).map_err(RegistryError::from)?;
    let mut statement = marks.prepare("SELECT digest FROM marks ORDER BY digest")?;
    let mut rows = statement.query([])?;
    let (mut copied, mut done) = (Copied::default(), 0);
    while let Some(row) = rows.next()? {
        done += 1;
        seen(BackupStep::Blobs(done, total));
        // Not everything that is named is a blob: commits of another hash and parts in the database are not.
        let Ok(digest) = Digest::new(row.get::<_, String>(0)?) else { continue };
        match from.share(&digest, &target, !copy) {
            Ok((size_bytes, linked)) => {
                copied.linked += u64::from(linked);
                copied.blobs.push(BlobSum { digest, size_bytes });
            }
            Err(BlobError::Missing { .. }) if before.contains(&digest) => copied.vanished += 1,
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. } | BlobError::TooLarge { .. }) => {
                if needed.contains(&digest) || before.contains(&digest) {
                    copied.missing.push(digest);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(copied)
}

/// Digests that are blobs for certain: artifacts, jobs, files in step, bodies too large for the database, and
/// components that can be seated again.
pub(super) fn needed(conn: &Connection) -> Result<HashSet<Digest>, RegistryError> {
    let sql = "SELECT digest FROM artifacts UNION SELECT job FROM runs WHERE job IS NOT NULL
               UNION SELECT base FROM places UNION SELECT digest FROM bodies WHERE content IS NULL";
    let digests: Vec<String> = conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let seats = seats::reachable(conn)?.into_iter().filter_map(|(digest, stored)| stored.then_some(digest));
    Ok(digests.into_iter().filter_map(|digest| Digest::new(digest).ok()).chain(seats).collect())
}

/// Size and SHA-256 of a file.
pub(super) fn file_sum(folder: &Path, name: &str) -> Result<FileSum, BackupError> {
    let path = folder.join(name);
    let mut file = File::open(&path).map_err(io(&path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size_bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(io(&path))?;
        if read == 0 {
            break;
        }
        size_bytes += read as u64;
        hash.update(&buffer[..read]);
    }
    let sha256 = Digest::new(hex(&hash.finalize())).map_err(|error| RegistryError::Database(error.to_string()))?;
    Ok(FileSum { file: name.to_owned(), size_bytes, sha256 })
}

/// Writes the manifest, makes all of it durable, and moves it to its place.
fn persist(
    begun: tempfile::TempDir,
    manifest: &Manifest,
    destination: &Path,
    folder: &Path,
) -> Result<(), BackupError> {
    let path = begun.path().join(MANIFEST);
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| RegistryError::Database(error.to_string()))?;
    failpoint::writing("backup", "manifest", || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&text)?;
        file.sync_all()
    })
    .map_err(io(&path))?;
    sync_folders(begun.path()).map_err(io(begun.path()))?;
    failpoint::reach("backup", "rename", Side::Before);
    fs::rename(begun.path(), destination).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
            BackupError::Exists { path: destination.to_owned() }
        }
        _ => BackupError::Io { path: destination.to_owned(), source: error },
    })?;
    // It has another name now: nothing is left to be removed.
    let _ = begun.keep();
    sync(folder).map_err(io(folder))
}

/// Makes the names in a folder, and in the folders in it, durable.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync(folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
