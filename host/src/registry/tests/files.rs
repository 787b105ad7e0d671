//! Databases as they are found on disks: newer, damaged, foreign, unwritable, full.

use rusqlite::Connection;

use super::*;
use crate::domain::event::{Body, Subject};
use crate::registry::{EventFilter, Reader, schema};

fn filled() -> (tempfile::TempDir, Arc<ManualClock>) {
    let fixture = Fixture::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        fixture.create((1..=200).map(|n| define(&n.to_string(), &[])).collect()).await;
    });
    let Fixture { dir, clock, registry } = fixture;
    drop(registry);
    (dir, clock)
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let (dir, clock) = filled();
    let conn = Connection::open(database(dir.path())).unwrap();
    conn.pragma_update(None, "user_version", schema::SCHEMA_VERSION + 1).unwrap();
    drop(conn);
    let refused = open(dir.path(), &clock).unwrap_err();
    assert!(
        matches!(refused, RegistryError::Newer { found, supported: schema::SCHEMA_VERSION } if found == schema::SCHEMA_VERSION + 1),
        "{refused}"
    );
    let blobs = BlobStore::open(dir.path().join("blobs")).unwrap();
    assert!(matches!(Reader::open(&database(dir.path()), blobs), Err(RegistryError::Newer { .. })));
}

#[test]
fn truncated_empty_and_foreign_files_are_damage_and_stay_as_they_are() {
    let (dir, clock) = filled();
    let path = database(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let other = dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let foreign = std::fs::read(&other).unwrap();
    for bytes in [&whole[..whole.len() / 2], &whole[..5000], &whole[..10], b"", b"not a database", &foreign] {
        std::fs::write(&path, bytes).unwrap();
        let refused = open(dir.path(), &clock);
        assert!(matches!(refused, Err(RegistryError::Damaged(_))), "{} bytes: {refused:?}", bytes.len());
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "a damaged file is left for a person");
    }
}

#[test]
fn a_reader_needs_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path().join("blobs")).unwrap();
    let refused = Reader::open(&database(dir.path()), blobs);
    assert!(matches!(refused, Err(RegistryError::CannotOpen { .. })), "{refused:?}");
    assert!(!database(dir.path()).exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // Not even root may make files there.
    let blobs = BlobStore::open(std::env::temp_dir()).unwrap();
    let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
    let refused = Registry::open(Path::new("/proc/self/registry.db"), clock, blobs).unwrap_err();
    assert!(matches!(refused, RegistryError::CannotOpen { .. } | RegistryError::ReadOnly), "{refused}");
}

#[test]
fn a_closed_database_can_be_read_where_nothing_can_be_written() {
    let (dir, _clock) = filled();
    let path = database(dir.path());
    assert!(!path.with_extension("db-wal").exists(), "closing leaves one file");
    let blobs = BlobStore::open(dir.path().join("blobs")).unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    let events = Reader::open(&path, blobs).unwrap().events(&EventFilter::default()).unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(events.len(), 200);
}

#[tokio::test]
async fn a_full_disk_fails_the_request_and_loses_nothing() {
    let fixture = Fixture::new();
    let allocated =
        |n: usize| Body::SlotAllocated { slot: SlotId::new(format!("slot{n}")).unwrap(), holder: "x".repeat(100_000) };
    fixture.registry.append(Subject::run(&run()), vec![allocated(0)]).await.unwrap();
    // The limit belongs to a connection: it is set inside the writer's own.
    let limit = |pages: Option<u32>| {
        fixture.registry.shared.writer.run(move |tx| {
            let now: u32 = tx.conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
            tx.conn.pragma_update_and_check(None, "max_page_count", pages.unwrap_or(now), |_| Ok(()))?;
            Ok(())
        })
    };
    limit(None).await.unwrap();
    let refused = fixture.registry.append(Subject::run(&run()), vec![allocated(1)]).await;
    assert!(matches!(refused, Err(RegistryError::Full)), "{refused:?}");
    limit(Some(1_000_000)).await.unwrap();
    let events = fixture.registry.append(Subject::run(&run()), vec![allocated(2)]).await.unwrap();
    assert_eq!(events[0].sequence, 2, "what failed has left no gap");
    fixture.verified().await;
}

#[tokio::test]
async fn verify_finds_every_kind_of_difference_and_rebuild_mends_it() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &["1"]), define("3", &["1"])]).await;
    let tamper =
        |sql: &'static str| fixture.registry.shared.writer.run(move |tx| Ok(tx.conn.execute_batch(sql).map(|_| ())?));
    for (sql, expected) in [
        (
            "UPDATE tasks SET state = 'done', priority = 7 WHERE task = '1'",
            &[
                "tasks (spec `demo`, task `1`): priority is 7, and 0 by the log",
                "tasks (spec `demo`, task `1`): state is `done`, and `ready` by the log",
            ][..],
        ),
        (
            "DELETE FROM dependencies",
            &[
                "dependencies (spec `demo`, task `2`, needs `1`) is missing, and the log has it",
                "dependencies (spec `demo`, task `3`, needs `1`) is missing, and the log has it",
            ],
        ),
        // A row in the middle does not hide what comes after it.
        (
            "INSERT INTO dependencies VALUES ('demo', '2', '0'); UPDATE tasks SET slot = 'x' WHERE task = '3';
             DELETE FROM tasks WHERE task = '1';",
            &[
                "tasks (spec `demo`, task `1`) is missing, and the log has it",
                "tasks (spec `demo`, task `3`): slot is `x`, and empty by the log",
                "dependencies (spec `demo`, task `2`, needs `0`) is there, and the log has no such row",
            ],
        ),
        (
            "INSERT INTO notes (seq, time, author, text) VALUES (99, '', '', '')",
            &["notes (seq 99) is there, and the log has no such row"],
        ),
    ] {
        tamper(sql).await.unwrap();
        let report = fixture.registry.read(|r| r.verify()).await.unwrap();
        assert_eq!(report.differences, expected, "{sql}");
        let mended = fixture.registry.rebuild().await.unwrap();
        assert_eq!(mended, report, "rebuilding tells what it found");
        fixture.verified().await;
    }
    tamper("UPDATE tasks SET skill = 'x', slot = 'y'").await.unwrap();
    for n in 0..50 {
        let sql = format!("INSERT INTO notes (seq, time, author, text) VALUES ({}, '', '', '')", 100 + n);
        fixture.registry.shared.writer.run(move |tx| Ok(tx.conn.execute_batch(&sql)?)).await.unwrap();
    }
    let report = fixture.registry.read(|r| r.verify()).await.unwrap();
    assert_eq!((report.differences.len(), report.more), (26, 30), "{report:?}");
}

#[tokio::test]
async fn verify_names_what_is_missing_from_the_log_and_rebuild_refuses_it() {
    let fixture = Fixture::new();
    fixture.create((1..=6).map(|n| define(&n.to_string(), &[])).collect()).await;
    let conn = Connection::open(fixture.path()).unwrap();
    let sql = "DROP TRIGGER events_never_go; DROP TRIGGER events_never_change; DELETE FROM events WHERE seq IN (2, 4, 5);
               UPDATE events SET body = '{}' WHERE seq = 3; UPDATE events SET time = '2020-01-01T00:00:00Z' WHERE seq = 6;";
    conn.execute_batch(sql).unwrap();
    let report = fixture.registry.read(|r| r.verify()).await.unwrap();
    for part in [
        "events: the trigger events_never_change, which keeps the log as it is, is missing",
        "events: the trigger events_never_go, which keeps the log as it is, is missing",
        "events: number 2 is missing",
        "events: numbers 4 to 5 are missing",
        "events: number 6 has an earlier time than the one before it",
        "tasks (spec `demo`, task `2`) is there, and the log has no such row",
        "tasks (spec `demo`, task `3`) is there, and the log has no such row",
    ] {
        assert!(report.differences.iter().any(|found| found == part), "{part}: {report:?}");
    }
    let unreadable = |found: &String| found.starts_with("events: number 3 (TaskCreated) cannot be applied: ");
    assert!(report.differences.iter().any(unreadable), "{report:?}");
    let tasks = fixture.registry.read(|r| r.tasks(&spec())).await.unwrap();
    let refused = fixture.registry.rebuild().await.unwrap_err();
    assert!(matches!(&refused, RegistryError::Damaged(text) if text.contains("event 2 is missing")), "{refused}");
    assert_eq!(fixture.registry.read(|r| r.tasks(&spec())).await.unwrap(), tasks, "nothing was changed");
}
