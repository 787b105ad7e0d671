//! The tables, and how a database is made, opened and recognised.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::RegistryError;
use super::verify;
use crate::failpoint::{self, Side};

/// Number of the schema that this program writes.
pub(super) const SCHEMA_VERSION: i64 = 3;
/// The oldest schema that can be upgraded.
const OLDEST_VERSION: i64 = 1;
/// "necr": marks a file as a registry.
const APPLICATION_ID: i64 = 0x6e65_6372;
/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept for each connection.
const STATEMENTS: usize = 128;
/// The write-ahead log is cut back to this many bytes after a checkpoint.
const WAL_KEPT_BYTES: i64 = 16 * 1024 * 1024;

/// The log. Rows are only ever added, one number after the other.
const LOG: &str = "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,
    body_version INTEGER NOT NULL,
    run TEXT,
    spec TEXT,
    task TEXT,
    attempt INTEGER,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_task ON events (spec, task, seq) WHERE spec IS NOT NULL;
CREATE INDEX events_of_kind ON events (kind, seq);
CREATE TRIGGER events_never_change BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'the event log is append only'); END;
CREATE TRIGGER events_never_go BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'the event log is append only'); END;
CREATE TRIGGER events_have_no_gaps BEFORE INSERT ON events
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
    BEGIN SELECT RAISE(ABORT, 'the event log is append only and has no gaps'); END;
";

/// The triggers of [`LOG`].
pub(super) const LOG_TRIGGERS: [&str; 3] = ["events_never_change", "events_never_go", "events_have_no_gaps"];

/// Tables that are functions of the log alone, with their primary keys.
pub(super) const PROJECTED: [(&str, &str); 9] = [
    ("runs", "id"),
    ("tasks", "spec, task"),
    ("dependencies", "spec, task, needs"),
    ("attempts", "spec, task, attempt"),
    ("artifacts", "uri"),
    ("findings", "seq, position"),
    ("notes", "seq"),
    ("issues", "number"),
    ("places", "spec, place"),
];

/// What [`PROJECTED`] names.
const PROJECTIONS: &str = "
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    spec TEXT,
    job TEXT,
    title TEXT NOT NULL,
    repository TEXT NOT NULL,
    base_branch TEXT NOT NULL,
    base_commit TEXT NOT NULL,
    branch TEXT NOT NULL,
    llm TEXT NOT NULL,
    language TEXT NOT NULL,
    team TEXT NOT NULL,
    plugins TEXT NOT NULL,
    started_seq INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    outcome TEXT,
    commit_id TEXT,
    tree TEXT,
    reason TEXT,
    resumed INTEGER NOT NULL DEFAULT 0,
    options TEXT
) STRICT;
CREATE TABLE tasks (
    spec TEXT NOT NULL,
    task TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    optional INTEGER NOT NULL,
    depends TEXT NOT NULL,
    skill TEXT,
    requirements TEXT NOT NULL,
    priority INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    attributes TEXT NOT NULL,
    ordinal TEXT NOT NULL,
    container INTEGER NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    instance TEXT,
    slot TEXT,
    branch TEXT,
    runner TEXT,
    last_failure TEXT,
    merged_commit TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (spec, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_ready ON tasks (spec, priority DESC, ordinal, task) WHERE state = 'ready';
CREATE INDEX tasks_in_order ON tasks (spec, ordinal);
CREATE TABLE dependencies (
    spec TEXT NOT NULL,
    task TEXT NOT NULL,
    needs TEXT NOT NULL,
    PRIMARY KEY (spec, task, needs)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependents ON dependencies (spec, needs, task);
CREATE TABLE attempts (
    spec TEXT NOT NULL,
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    run TEXT,
    instance TEXT NOT NULL,
    slot TEXT NOT NULL,
    branch TEXT NOT NULL,
    runner TEXT NOT NULL,
    reason TEXT NOT NULL,
    scheduling TEXT,
    routing TEXT,
    assigned_seq INTEGER NOT NULL,
    assigned_at TEXT NOT NULL,
    execution TEXT,
    component TEXT,
    base_commit TEXT,
    started_at TEXT,
    outcome TEXT,
    failure TEXT,
    summary TEXT,
    commit_id TEXT,
    files TEXT NOT NULL,
    more_files INTEGER NOT NULL DEFAULT 0,
    cost TEXT NOT NULL,
    duration_ms INTEGER,
    finished_at TEXT,
    gates TEXT NOT NULL,
    PRIMARY KEY (spec, task, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX assignments ON attempts (instance, assigned_seq);
CREATE TABLE artifacts (
    uri TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    spec TEXT,
    task TEXT,
    attempt INTEGER,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    digest TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX artifacts_of_task ON artifacts (spec, task, seq);
CREATE TABLE findings (
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    spec TEXT NOT NULL,
    task TEXT NOT NULL,
    attempt INTEGER,
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    file TEXT,
    line INTEGER,
    message TEXT NOT NULL,
    PRIMARY KEY (seq, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX findings_of_task ON findings (spec, task, seq);
CREATE TABLE notes (
    seq INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    spec TEXT,
    task TEXT,
    attempt INTEGER,
    author TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX notes_of_task ON notes (spec, task, seq);
CREATE TABLE issues (
    number INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    labels TEXT NOT NULL,
    priority TEXT NOT NULL,
    role TEXT,
    instance TEXT,
    reason TEXT,
    routing TEXT,
    spec TEXT,
    task TEXT,
    closed INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE places (
    spec TEXT NOT NULL,
    place TEXT NOT NULL,
    base TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (spec, place)
) STRICT, WITHOUT ROWID;
";

/// Executions, and under their numbers the calls of each.
const EXECUTIONS: &str = "
CREATE TABLE executions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    run TEXT,
    kind TEXT NOT NULL,
    spec TEXT,
    task TEXT,
    attempt INTEGER,
    plugin TEXT NOT NULL,
    component TEXT NOT NULL,
    engine TEXT NOT NULL,
    limits TEXT NOT NULL,
    settings TEXT NOT NULL,
    input TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    outcome TEXT,
    usage TEXT,
    sum TEXT,
    end_sum TEXT,
    calls INTEGER,
    pruned_at TEXT
) STRICT;
CREATE INDEX executions_of_run ON executions (run, number);
CREATE INDEX executions_of_task ON executions (spec, task, attempt);
";

/// The execution journal. Bodies and lists are parts of requests, answers and inputs, once by digest.
///
/// With row numbers: SQLite keeps a row of some kilobytes whole in a page of such a table, and in one
/// without them it spills all but the beginning into a page that belongs to that row alone.
const JOURNAL: &str = "
CREATE TABLE calls (
    execution INTEGER NOT NULL REFERENCES executions (number),
    seq INTEGER NOT NULL,
    function TEXT NOT NULL,
    digest TEXT NOT NULL,
    request TEXT NOT NULL,
    effect TEXT,
    at TEXT NOT NULL,
    answer TEXT,
    answered_at TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_microusd INTEGER,
    sum TEXT,
    tries INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (execution, seq)
) STRICT;
CREATE TABLE bodies (
    digest TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    content ANY
) STRICT;
CREATE TABLE lists (
    digest TEXT PRIMARY KEY,
    previous TEXT,
    item ANY NOT NULL
) STRICT;
";

/// What model calls without an answer are charged at, once for each sending, and what pruned journals cost.
const CHARGES: &str = "
CREATE TABLE charges (
    execution INTEGER NOT NULL REFERENCES executions (number),
    seq INTEGER NOT NULL,
    try INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at TEXT NOT NULL,
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_microusd INTEGER,
    PRIMARY KEY (execution, seq, try)
) STRICT, WITHOUT ROWID;
";

/// From schema 1 to 2, before the new tables are made: room for the checksums of the journal. Columns are
/// added at the end of their tables, where a new database has them, too.
const FROM_1: &str = "
ALTER TABLE executions ADD COLUMN sum TEXT;
ALTER TABLE executions ADD COLUMN end_sum TEXT;
ALTER TABLE executions ADD COLUMN calls INTEGER;
ALTER TABLE executions ADD COLUMN pruned_at TEXT;
ALTER TABLE calls RENAME TO old_calls;
ALTER TABLE bodies RENAME TO old_bodies;
ALTER TABLE lists RENAME TO old_lists;
";

/// The same, after [`JOURNAL`] was made: what the old tables had.
const INTO_2: &str = "
INSERT INTO calls (execution, seq, function, digest, request, effect, at, answer, answered_at, input_tokens,
                   cached_input_tokens, output_tokens, cost_microusd)
    SELECT execution, seq, function, digest, request, effect, at, answer, answered_at, input_tokens,
           cached_input_tokens, output_tokens, cost_microusd
    FROM old_calls;
INSERT INTO bodies SELECT digest, size_bytes, content FROM old_bodies;
INSERT INTO lists SELECT digest, previous, item FROM old_lists;
DROP TABLE old_calls;
DROP TABLE old_bodies;
DROP TABLE old_lists;
";

/// From schema 2 to 3, besides the projections, which are made anew from the log.
const INTO_3: &str = "
CREATE INDEX IF NOT EXISTS events_of_kind ON events (kind, seq);
";

/// What the name of a database begins with that is being made.
const BEGUN: &str = ".new-";

/// Tables that may be dropped without losing work.
const RUNTIME: &str = "
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    acquired_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    UNIQUE (kind, name)
) STRICT;
CREATE TABLE messages (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    receiver TEXT NOT NULL,
    envelope TEXT NOT NULL,
    sent_at TEXT NOT NULL,
    received_at TEXT
) STRICT;
CREATE INDEX unread ON messages (workspace, receiver, number) WHERE received_at IS NULL;
CREATE TABLE policy_state (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    execution TEXT NOT NULL,
    time TEXT NOT NULL
) STRICT;
";

/// Opens the database for writing, and makes it when it is missing.
pub(super) fn open_writer(path: &Path) -> Result<Connection, RegistryError> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() == 0 => {
            // A new database is moved into place whole, so an empty file is what is left of one.
            return Err(RegistryError::Damaged(format!("{} is empty", path.display())));
        }
        Ok(_) => {}
        Err(_) => create(path)?,
    }
    let alone = is_alone(path);
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = recognise(&conn)?;
    if conn.is_readonly(rusqlite::MAIN_DB)? {
        return Err(RegistryError::ReadOnly);
    }
    if alone {
        refuse_cut(path, &conn)?;
    }
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    upgrade(&conn, found)?;
    conn.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(conn)
}

/// Opens an existing database for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, RegistryError> {
    let open = |path: &Path, flags: OpenFlags| {
        let alone = is_alone(path);
        let conn = connect(path, flags)?;
        let found = recognise(&conn)?;
        if alone {
            refuse_cut(path, &conn)?;
        }
        if found == SCHEMA_VERSION { Ok(conn) } else { upgraded_copy(&conn, found) }
    };
    let conn = match open(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        // Without a write-ahead log beside it, and without the right to make one, the file is all
        // there is.
        Err(RegistryError::CannotOpen { .. } | RegistryError::ReadOnly) if is_alone(path) => {
            let uri = format!("file:{}?immutable=1", percent_encoded(path));
            open(Path::new(&uri), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?
        }
        // With one, SQLite needs a file beside it, which cannot be made there.
        Err(cannot @ (RegistryError::CannotOpen { .. } | RegistryError::ReadOnly)) if path.is_file() => {
            let folder = tempfile::tempdir().map_err(|_| cannot.clone())?;
            let copy = folder.path().join("registry.db");
            let copied = fs::copy(path, &copy).and_then(|_| fs::copy(log_of(path), log_of(&copy)));
            copied.map_err(|_| cannot)?;
            make_writable(&copy)?;
            let conn = connect(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            let found = recognise(&conn)?;
            upgraded_copy(&conn, found)?
        }
        other => other?,
    };
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Brings an older database to this program's schema, whole or not at all.
fn upgrade(conn: &Connection, found: i64) -> Result<(), RegistryError> {
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    upgrade_from(conn, found).inspect_err(|_| {
        // Nothing was changed when even this fails: the database is as it was found when it is opened again.
        let _ = conn.execute_batch("ROLLBACK");
    })
}

fn upgrade_from(conn: &Connection, found: i64) -> Result<(), RegistryError> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    if found < 2 {
        conn.execute_batch(&[FROM_1, JOURNAL, INTO_2, CHARGES].concat())?;
    }
    conn.execute_batch(INTO_3)?;
    // Projections are functions of the log: whatever their tables looked like, they are made anew.
    for (table, _) in PROJECTED {
        conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    conn.execute_batch(PROJECTIONS)?;
    verify::replay(conn, conn, |_, _| {})?;
    conn.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"))?;
    Ok(())
}

/// A private copy in this program's schema, for those who must not write; it spills to disk when it grows.
fn upgraded_copy(conn: &Connection, found: i64) -> Result<Connection, RegistryError> {
    let mut copy = Connection::open("")?;
    rusqlite::backup::Backup::new(conn, &mut copy)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
    upgrade(&copy, found)?;
    copy.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(copy)
}

/// A private database with empty projections, to rebuild them in; it spills to disk when it grows.
pub(super) fn scratch() -> Result<Connection, RegistryError> {
    let conn = Connection::open("")?;
    conn.execute_batch(PROJECTIONS)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Opens a database of whatever kind, as it is.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, RegistryError> {
    let cannot = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen) => {
            RegistryError::CannotOpen { path: path.to_owned(), reason: error.to_string() }
        }
        _ => RegistryError::from(error),
    };
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(cannot)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // What turns out to be damaged is closed as it was found.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // The first read finds out whether this is a database at all.
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(cannot)?;
    Ok(conn)
}

/// Makes a whole database beside `path` and moves it there.
fn create(path: &Path) -> Result<(), RegistryError> {
    failpoint::writing("registry", "create", || make(path))
}

fn make(path: &Path) -> Result<(), RegistryError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => RegistryError::Full,
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => RegistryError::ReadOnly,
        _ => RegistryError::CannotOpen { path: path.to_owned(), reason: error.to_string() },
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(failed)?;
    // An owner that was killed here left its own; the lock on the directory says that it is gone.
    for begun in fs::read_dir(folder).map_err(failed)?.flatten() {
        if begun.file_name().as_encoded_bytes().starts_with(BEGUN.as_bytes()) {
            fs::remove_file(begun.path()).map_err(failed)?;
        }
    }
    let file = tempfile::Builder::new().prefix(BEGUN).tempfile_in(folder).map_err(failed)?;
    let conn = Connection::open(file.path())?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    conn.execute_batch(&["BEGIN;", LOG, PROJECTIONS, EXECUTIONS, JOURNAL, CHARGES, RUNTIME, "COMMIT;"].concat())?;
    conn.close().map_err(|(_, error)| error)?;
    file.as_file().sync_all().map_err(failed)?;
    failpoint::reach("registry", "persist", Side::Before);
    match file.persist_noclobber(path) {
        Ok(_) => File::open(folder).and_then(|f| f.sync_all()).map_err(failed),
        // Another process was faster; its database is as good.
        Err(_) if path.exists() => Ok(()),
        Err(e) => Err(failed(e.error)),
    }
}

/// Refuses a file that ends within a page, which SQLite takes for one that ends with zeros.
fn refuse_cut(path: &Path, conn: &Connection) -> Result<(), RegistryError> {
    let page: u64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    match fs::metadata(path) {
        Ok(found) if found.len() % page.max(1) != 0 => {
            Err(RegistryError::Damaged(format!("{} ends in the middle of a page", path.display())))
        }
        _ => Ok(()),
    }
}

/// Gives the number of the schema, one that this program can work with.
fn recognise(conn: &Connection) -> Result<i64, RegistryError> {
    let application: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(RegistryError::Damaged("the file is a database, but not a registry".to_owned()));
    }
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        OLDEST_VERSION..=SCHEMA_VERSION => Ok(found),
        found if found > SCHEMA_VERSION => Err(RegistryError::Newer { found, supported: SCHEMA_VERSION }),
        found => Err(RegistryError::Damaged(format!("schema {found} was never released"))),
    }
}

/// Whether no write-ahead log with something in it stands beside the database.
fn is_alone(path: &Path) -> bool {
    path.is_file() && fs::metadata(log_of(path)).map_or(true, |meta| meta.len() == 0)
}

/// The write-ahead log of a database.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// A copy of a file that cannot be written cannot be written either, until this.
fn make_writable(path: &Path) -> Result<(), RegistryError> {
    use std::os::unix::fs::PermissionsExt as _;
    for file in [path.to_owned(), log_of(path)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .map_err(|error| RegistryError::CannotOpen { path: file, reason: error.to_string() })?;
    }
    Ok(())
}

fn percent_encoded(path: &Path) -> String {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|&b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(b).to_string(),
            _ => format!("%{b:02x}"),
        })
        .collect()
}
