//! Databases that something else than this program has changed: cut at any length, with flipped bytes, without
//! their log, newer, foreign. What is wrong is said, and nothing is changed.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rusqlite::Connection;

use super::*;
use crate::registry::{EventFilter, Reader, schema};

/// A closed database with some events in it.
fn filled(tasks: usize) -> (tempfile::TempDir, Arc<ManualClock>, Vec<u8>) {
    let fixture = Fixture::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        fixture.create((1..=tasks).map(|n| define(&n.to_string(), &[])).collect()).await;
    });
    let Fixture { dir, clock, registry } = fixture;
    drop(registry);
    let bytes = fs::read(database(dir.path())).unwrap();
    (dir, clock, bytes)
}

/// What a reader finds: everything as it was, or an error that says damage.
#[derive(Debug, PartialEq)]
enum Found {
    Whole,
    Damage,
}

fn look(dir: &Path, tasks: usize) -> Result<Found, String> {
    let read = || -> Result<(u64, Vec<String>, Vec<String>), RegistryError> {
        let reader = Reader::open(&database(dir), BlobStore::open_existing(dir.join("blobs")))?;
        let problems = reader.check_file()?;
        let report = reader.verify()?;
        let titles = reader.events(&EventFilter::default())?.into_iter().map(|event| event.body.name().to_owned());
        Ok((report.events, [problems, report.differences].concat(), titles.collect()))
    };
    match read() {
        Ok((events, problems, names)) if problems.is_empty() && events == tasks as u64 => {
            if names.len() == tasks {
                Ok(Found::Whole)
            } else {
                Err(format!("{} events", names.len()))
            }
        }
        Ok((_, problems, _)) if !problems.is_empty() => Ok(Found::Damage),
        Ok((events, ..)) => Err(format!("{events} events are said to be all")),
        Err(RegistryError::Damaged(_) | RegistryError::Newer { .. }) => Ok(Found::Damage),
        Err(other) => Err(format!("it is said to be {other:?}")),
    }
}

#[test]
fn a_database_that_is_cut_at_any_length_is_damage_and_stays_as_it_is() {
    const TASKS: usize = 60;
    let (dir, clock, whole) = filled(TASKS);
    let path = database(dir.path());
    let lengths = [0, 1, 15, 16, 99, 100, 512].into_iter().chain((1..whole.len() / 4096).map(|page| page * 4096));
    for length in lengths.chain([5000, whole.len() - 4096, whole.len() - 1]) {
        let bytes = &whole[..length];
        fs::write(&path, bytes).unwrap();
        let refused = open(dir.path(), &clock).map(|_| ());
        assert!(matches!(refused, Err(RegistryError::Damaged(_))), "{length} bytes: {refused:?}");
        assert!(fs::read(&path).unwrap() == bytes, "{length} bytes: it was changed");
        assert_eq!(look(dir.path(), TASKS), Ok(Found::Damage), "{length} bytes");
    }
}

/// A flipped byte in what is free, or in the text of a title's projection, cannot be seen by SQLite; whatever is
/// seen otherwise has to be the same as before.
#[test]
fn flipped_bytes_are_damage_or_do_not_matter() {
    const TASKS: usize = 40;
    let (dir, _clock, whole) = filled(TASKS);
    let path = database(dir.path());
    let (mut noticed, size) = (0, whole.len());
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let flips = proptest::collection::vec((0..size, 0_u32..8), 1..6);
    for _ in 0..300 {
        let flips = proptest::strategy::ValueTree::current(&flips.new_tree(&mut runner).unwrap());
        let mut bytes = whole.clone();
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        fs::write(&path, &bytes).unwrap();
        match look(dir.path(), TASKS) {
            Ok(Found::Whole) => {}
            Ok(Found::Damage) => noticed += 1,
            // Marks of the file format that are not ours: it is locked, read-only, or another version of it.
            Err(said) if bytes[..100] != whole[..100] => drop(said),
            Err(said) => panic!("{said}"),
        }
        assert!(fs::read(&path).unwrap() == bytes, "a look has changed it");
    }
    assert!(noticed > 30, "only {noticed} of 300 were noticed");
}

#[test]
fn a_lost_write_ahead_log_costs_only_what_was_in_it_and_the_rest_agrees() {
    let fixture = Fixture::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        fixture.create(vec![define("1", &[]), define("2", &["1"])]).await;
        let copy = tempfile::tempdir().unwrap();
        let checkpoint = Connection::open(fixture.path()).unwrap();
        checkpoint.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).unwrap();
        fixture.claim("1").await.unwrap();
        // What a copy of the one file has: the state of the last checkpoint.
        fs::copy(fixture.path(), database(copy.path())).unwrap();
        let reader = Reader::open(&database(copy.path()), BlobStore::open_existing(copy.path())).unwrap();
        let report = reader.verify().unwrap();
        assert!(report.passed() && report.events == 2, "{report:?}");
    });
}

#[test]
fn nothing_is_upgraded_cleared_or_begun_in_a_database_of_a_newer_program() {
    let (dir, clock, _) = filled(3);
    let path = database(dir.path());
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", schema::SCHEMA_VERSION + 1).unwrap();
    conn.execute_batch("CREATE TABLE of_tomorrow (a)").unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    let refused = open(dir.path(), &clock).unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("schema 4") && words.contains("knows 3") && words.contains("newer necro-host"), "{words}");
    assert!(fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn events_keep_their_order_when_the_clock_goes_back() {
    let mut fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &[])]).await;
    // The machine is started again with a clock that is years behind.
    fixture.clock = Arc::new(ManualClock::at("2019-01-01T00:00:00Z".parse().unwrap()));
    let fixture = fixture.reopen();
    fixture.claim("1").await.unwrap();
    fixture.create(vec![define("1", &[]), define("2", &[]), define("3", &[])]).await;
    let events = fixture.registry.read(|r| r.events(&EventFilter::default())).await.unwrap();
    assert!(events.is_sorted_by_key(|event| event.time), "{events:?}");
    assert_eq!(events.last().unwrap().time, events[0].time, "the last time that is known goes on");
    fixture.verified().await;
}
