//! Backups beside a writer, of stores that lose blobs, and restores of whole and of damaged ones.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::*;
use crate::clock::Clock as _;
use crate::domain::event::{Body, Subject, TaskChange};
use crate::domain::task::ArtifactRef;
use crate::registry::{
    BackedUp, BackupError, BackupStep, EventFilter, Expired, LeaseKind, LeaseRequest, Reader, Restored, back_up,
    check_backup, restore,
};

impl Fixture {
    fn blobs(&self) -> BlobStore {
        BlobStore::open(self.dir.path().join("blobs")).unwrap()
    }

    fn back_up(&self, name: &str, copy: bool, seen: &mut dyn FnMut(BackupStep)) -> Result<BackedUp, BackupError> {
        back_up((&self.path(), &self.blobs()), &self.dir.path().join(name), self.clock.now(), copy, seen)
    }

    /// An artifact of the spec, whose bytes are in the store.
    async fn artifact(&self, text: &str) -> Digest {
        let digest = self.blobs().put(text.as_bytes()).unwrap();
        let artifact = ArtifactRef {
            uri: format!("artifact:{digest}"),
            kind: "log".to_owned(),
            name: "log.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            size_bytes: text.len() as u64,
            digest: digest.clone(),
            created_at: self.clock.now(),
        };
        let subject = Subject { spec: Some(spec()), ..Subject::run(&run()) };
        let body = Body::TaskUpdated { change: TaskChange::ArtifactAdded { artifact } };
        self.registry.append(subject, vec![body]).await.unwrap();
        digest
    }
}

fn events(database: &Path) -> Vec<crate::domain::event::Event> {
    let blobs = BlobStore::open_existing(database.with_file_name("blobs"));
    Reader::open(database, blobs).unwrap().events(&EventFilter::default()).unwrap()
}

/// Restores into the folder `to`.
fn restored(backup: &Path, to: &Path, force: bool) -> Result<Restored, BackupError> {
    fs::create_dir_all(to).unwrap();
    let checked = check_backup(backup, &mut |_| {})?;
    let blobs = BlobStore::open(to.join("blobs")).unwrap();
    restore(&checked, (&database(to), &blobs), "2026-11-22T10:00:00Z".parse().unwrap(), force, &mut |_| {})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_one_moment_of_a_registry_that_is_being_written() {
    let fixture = Arc::new(Fixture::new());
    fixture.create((1..=300).map(|n| define(&n.to_string(), &[])).collect()).await;
    let digest = fixture.artifact("a log").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (fixture, stop) = (Arc::clone(&fixture), Arc::clone(&stop));
        async move {
            let note = |text| Body::TaskUpdated { change: TaskChange::NoteAdded { author: "a".to_owned(), text } };
            let mut written = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                let subject = Subject { spec: Some(spec()), ..Subject::run(&run()) };
                fixture.registry.append(subject, vec![note("x".repeat(2_000))]).await.unwrap();
                written += 1;
            }
            written
        }
    });
    let made = tokio::task::spawn_blocking({
        let fixture = Arc::clone(&fixture);
        move || {
            // Not before the writer is at work, and it writes while pages are copied.
            let newest = || *fixture.registry.subscribe().borrow();
            let begun = newest();
            while newest() < begun + 20 {
                std::thread::yield_now();
            }
            let mut seen = |step| {
                if let BackupStep::Pages(..) = step {
                    let then = newest();
                    while newest() < then + 5 {
                        std::thread::yield_now();
                    }
                }
            };
            (fixture.back_up("saved", false, &mut seen).unwrap(), newest())
        }
    });
    let (made, after) = made.await.unwrap();
    stop.store(true, Ordering::SeqCst);
    assert!(writer.await.unwrap() > 20);
    assert!(made.newest_event < after, "nothing was written meanwhile");
    assert_eq!((made.blobs, made.linked, made.missing.len()), (1, 1, 0));
    let (all, saved) = (events(&fixture.path()), events(&made.path.join("registry.db")));
    assert_eq!(saved[..], all[..saved.len()]);
    assert_eq!(saved.len() as u64, made.newest_event);
    assert_eq!(BlobStore::open_existing(made.path.join("blobs")).get(&digest).unwrap(), b"a log");
    let names: Vec<_> = fs::read_dir(fixture.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".necro")), "{names:?}");
    let refused = fixture.back_up("saved", false, &mut |_| {});
    assert!(matches!(refused, Err(BackupError::Exists { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_saved_is_private_and_lives_without_the_store() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let fixture = Fixture::new();
    let digest = fixture.artifact("kept").await;
    for (name, copy, links) in [("linked", false, 2), ("copied", true, 1)] {
        let made = fixture.back_up(name, copy, &mut |_| {}).unwrap();
        assert_eq!(made.linked, u64::from(!copy));
        let (shard, rest) = digest.as_str().split_at(2);
        let blob = made.path.join("blobs").join(shard).join(rest);
        assert_eq!(fs::metadata(&blob).unwrap().nlink(), links, "{name}");
        let modes = [made.path.clone(), made.path.join("registry.db"), made.path.join("manifest.json"), blob]
            .map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o077);
        assert_eq!(modes, [0; 4], "{name}");
    }
    fs::remove_dir_all(fixture.dir.path().join("blobs")).unwrap();
    for name in ["linked", "copied"] {
        check_backup(&fixture.dir.path().join(name), &mut |_| {}).unwrap();
    }
}

#[tokio::test]
async fn blobs_that_vanish_while_they_are_copied_are_noticed() {
    let fixture = Fixture::new();
    let (gone, stays) = (fixture.artifact("gone").await, fixture.artifact("stays").await);
    let (shard, rest) = gone.as_str().split_at(2);
    let file = fixture.dir.path().join("blobs").join(shard).join(rest);
    let mut copies = 0;
    let mut seen = |step| {
        if let BackupStep::Pages(done, total) = step {
            copies += u32::from(done == total);
            let _ = fs::remove_file(&file);
        }
    };
    let made = fixture.back_up("saved", false, &mut seen).unwrap();
    assert_eq!(copies, 2, "it was begun anew");
    assert_eq!((made.missing, made.blobs), (vec![gone.clone()], 1));
    let checked = check_backup(&made.path, &mut |_| {}).unwrap();
    assert_eq!(checked.missing, [gone], "what was lost before does not make a backup worthless");
    assert!(BlobStore::open_existing(made.path.join("blobs")).contains(&stays));
}

#[tokio::test]
async fn an_unsound_registry_is_not_saved() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    Connection::open(fixture.path()).unwrap().execute("UPDATE tasks SET state = 'done'", []).unwrap();
    let refused = fixture.back_up("saved", false, &mut |_| {}).unwrap_err();
    assert!(matches!(&refused, BackupError::Unsound { problems } if problems[0].contains("state")), "{refused}");
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count(), 1);
}

#[tokio::test]
async fn every_damage_of_a_backup_is_named_and_nothing_is_restored_from_it() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    let digest = fixture.artifact("bytes").await;
    let (shard, rest) = digest.as_str().split_at(2);
    let blob = format!("blobs/{shard}/{rest}");
    let manifest = |from: &'static str, to: &'static str| {
        move |text: Vec<u8>| Some(String::from_utf8(text).unwrap().replacen(from, to, 1).into_bytes())
    };
    type Damage = Box<dyn Fn(Vec<u8>) -> Option<Vec<u8>>>;
    let table: Vec<(&str, Damage, &[&str])> = vec![
        ("registry.db", Box::new(|_| None), &["registry.db: it is missing"]),
        ("registry.db", Box::new(|text| Some(text[..5000].to_vec())), &["registry.db: 5000 bytes, not"]),
        (
            "registry.db",
            Box::new(|mut text| {
                let middle = text.len() / 2;
                text[middle] ^= 1;
                Some(text)
            }),
            &["registry.db: its bytes changed"],
        ),
        (&blob, Box::new(|_| None), &["blobs/", ": it is missing"]),
        (&blob, Box::new(|_| Some(b"others".to_vec())), &["blobs/", ": its bytes changed"]),
        ("manifest.json", Box::new(|_| None), &["is no backup: it has no manifest.json"]),
        ("manifest.json", Box::new(|text| Some(text[..text.len() / 2].to_vec())), &["manifest.json: EOF"]),
        ("manifest.json", Box::new(manifest("\"version\": 1", "\"version\": 2")), &["form 2", "newer necro-host"]),
        (
            "manifest.json",
            Box::new(manifest("\"version\": 1", "\"version\": 0")),
            &["manifest.json: it has no version"],
        ),
        (
            "manifest.json",
            Box::new(manifest("\"newest_event\": 2", "\"newest_event\": 3")),
            &["registry.db: its newest event is 2, not 3"],
        ),
        ("manifest.json", Box::new(manifest("registry.db", "/etc/passwd")), &["names `/etc/passwd` as the database"]),
        ("manifest.json", Box::new(manifest("\"size_bytes\": 5\n", "\"size_bytes\": 6\n")), &["5 bytes, not 6"]),
    ];
    for (number, (file, damage, parts)) in table.into_iter().enumerate() {
        let made = fixture.back_up(&format!("saved{number}"), true, &mut |_| {}).unwrap();
        let path = made.path.join(file);
        match damage(fs::read(&path).unwrap()) {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let to = fixture.dir.path().join("elsewhere");
        let error = restored(&made.path, &to, true).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{file}: {part:?} is missing in: {error}");
        }
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0, "{file}");
    }
}

#[tokio::test]
async fn a_restore_brings_everything_back_and_keeps_what_was_there() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &[])]).await;
    fixture.claim("1").await.unwrap();
    let digest = fixture.artifact("bytes").await;
    let lease = |kind, name: &str, holder: &str| LeaseRequest {
        kind,
        name: name.to_owned(),
        holder: holder.to_owned(),
        ttl: std::time::Duration::from_secs(60),
        expired: Expired::Kept,
    };
    for request in [
        lease(LeaseKind::Slot, "slot1", "runner"),
        lease(LeaseKind::Lock, "demo/a", "demo/1#1"),
        lease(LeaseKind::Lock, "demo/b", "demo/2#1"),
    ] {
        fixture.registry.acquire_lease(request).await.unwrap();
    }
    let made = fixture.back_up("saved", false, &mut |_| {}).unwrap();
    let before = events(&fixture.path());

    let to = fixture.dir.path().join("elsewhere");
    let done = restored(&made.path, &to, false).unwrap();
    assert_eq!((done.newest_event, done.blobs, done.leases_dropped, done.kept), (made.newest_event, 1, 2, None));
    assert_eq!(events(&database(&to)), before);
    let again = restored(&made.path, &to, false);
    assert!(matches!(again, Err(BackupError::Occupied { .. })), "{again:?}");

    // It goes on there, and what it recorded stays beside the next restore.
    let there = open(&to, &fixture.clock).unwrap();
    let held = there.read(|r| r.leases(None)).await.unwrap();
    assert_eq!(held.iter().map(|lease| lease.name.as_str()).collect::<Vec<_>>(), ["demo/a"]);
    let version = there.read(|r| r.task(&key("2"))).await.unwrap().unwrap().version;
    there.claim(claim("2", version)).await.unwrap();
    assert_eq!(there.blobs().get(&digest).unwrap(), b"bytes");
    drop(there);
    let longer = events(&database(&to));
    let done = restored(&made.path, &to, true).unwrap();
    assert_eq!(events(&database(&to)), before);
    assert_eq!(events(&done.kept.unwrap()), longer);
    let again = restored(&made.path, &to, true).unwrap().kept.unwrap();
    assert!(again.to_string_lossy().ends_with("Z-2"), "{again:?}");

    // In the place of something that cannot be read, with what lies beside it.
    fs::write(database(&to), "not a database").unwrap();
    fs::write(to.join("registry.db-wal"), "nor a log").unwrap();
    let kept = restored(&made.path, &to, true).unwrap().kept.unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"not a database");
    assert_eq!(fs::read(format!("{}-wal", kept.display())).unwrap(), b"nor a log");
    assert_eq!(events(&database(&to)), before);
    open(&to, &fixture.clock).unwrap().rebuild().await.unwrap();
}
