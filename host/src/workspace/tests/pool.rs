//! The pool on disk: one holder at a time, over several handles and processes, and nothing is lost.

use super::*;
use crate::domain::pool::{Health, Process, SlotState};

#[tokio::test]
async fn no_slot_has_two_holders_and_the_warmest_is_taken_first() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let (pool, other) = (pool(Arc::clone(&mirror), 3), super::pool(mirror, 3));
    let take = async |pool: &SlotPool, holder: &str| pool.acquire(terms(holder)).await.unwrap();
    let (a, b) = (take(&pool, "a").await.unwrap(), take(&other, "b").await.unwrap());
    let c = take(&pool, "c").await.unwrap();
    assert_eq!(
        [a.id(), b.id(), c.id()].map(ToString::to_string),
        ["workspace-app-slot1", "workspace-app-slot2", "workspace-app-slot3"]
    );
    assert!(take(&other, "d").await.is_none(), "as many are held as may be");
    assert!(pool.acquire_exact(b.id(), terms("d")).await.unwrap().is_none());
    let (a_id, b_id) = (a.id().clone(), b.id().clone());
    drop(a);
    drop(b);
    let e = take(&pool, "e").await.unwrap();
    assert_eq!(*e.id(), a_id, "equally warm: the lower number");
    let exact = other.acquire_exact(&b_id, terms("f")).await.unwrap().unwrap();
    assert_eq!(*exact.id(), b_id);
}

#[tokio::test]
async fn a_lease_outlives_its_command_and_is_given_back_once() {
    let fixture = Fixture::new().await;
    let (pool, slot, base) = fixture.slot().await;
    drop(slot);
    let person = Terms { ends_with_process: false, ..terms("kana") };
    let slot = pool.acquire(person).await.unwrap().unwrap();
    let _ = slot.prepare(&base, now()).await.unwrap();
    let work = slot.work_dir().to_owned();
    let lease = slot.keep().unwrap();
    put(&work.join("precious.txt"), "hers");
    let record = pool.records().await.unwrap().remove(0);
    assert_eq!((record.state, record.lease.unwrap().holder.as_str()), (SlotState::Allocated, "kana"));
    let Ok(GivenBack::Now(prepared)) = pool.release(&lease).await else { panic!("not given back") };
    assert!(matches!(prepared.rescued, Some(Rescue::Commit { .. })));
    let before = pool.records().await.unwrap();
    assert_eq!((before[0].state, before[0].health), (SlotState::Available, Health::Clean));
    assert_eq!(pool.release(&lease).await.unwrap(), GivenBack::Before);
    assert_eq!(pool.records().await.unwrap(), before, "usage is not counted twice");
    assert!(matches!(pool.release("nobody's").await, Err(WorkspaceError::SlotRefused { .. })));
}

#[tokio::test]
async fn a_holder_that_is_gone_loses_its_slot_and_not_its_work() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let process = |pid| Process { pid, began: 1, boot: String::new() };
    let at = |pid: u32, gone: Vec<u32>| {
        let liveness = Liveness::told(process(pid), move |process| !gone.contains(&process.pid));
        let clock = Arc::new(ManualClock::at(now()));
        SlotPool::with_liveness(Arc::clone(&mirror), PoolSettings::default(), clock, liveness)
    };
    let slot = at(1, vec![]).acquire(terms("one")).await.unwrap().unwrap();
    let _ = slot.prepare(&base, now()).await.unwrap();
    put(&slot.work_dir().join("half.txt"), "half done");
    let id = slot.id().clone();
    let _its_end_was_not_orderly = slot.give_up();
    assert!(at(2, vec![]).acquire_exact(&id, terms("two")).await.unwrap().is_none(), "it may still be at work");
    let slot = at(2, vec![1]).acquire_exact(&id, terms("two")).await.unwrap().unwrap();
    let Some(Rescue::Commit { commit, .. }) = slot.prepare(&base, now()).await.unwrap().rescued else { panic!("lost") };
    assert_eq!(read(&mirror, &tree_of(&mirror, &commit).await, "half.txt").await.as_deref(), Some("half done"));
    assert_eq!(at(2, vec![1]).records().await.unwrap()[0].metrics.expired, 1);
}

#[tokio::test]
async fn a_slot_that_cannot_be_made_ready_is_isolated_and_others_are_lent() {
    let fixture = Fixture::new().await;
    let (pool, slot, base) = fixture.slot().await;
    let host = slot.place.temporary().parent().unwrap().to_owned();
    // Something stands in the way that cannot be removed: a directory in the place of the index.
    let breaks = || {
        fs::remove_file(host.join("base")).unwrap();
        fs::create_dir_all(host.join("base/in the way")).unwrap();
    };
    breaks();
    assert!(slot.prepare(&base, now()).await.is_err());
    assert!(slot.prepare(&base, now()).await.is_err());
    let isolated = slot.id().clone();
    drop(slot);
    let record = pool.records().await.unwrap().remove(0);
    assert_eq!((record.state, record.health), (SlotState::Error, Health::Broken));
    assert!(pool.acquire_exact(&isolated, terms("b")).await.unwrap().is_none());
    let other = pool.acquire(terms("b")).await.unwrap().unwrap();
    assert_ne!(*other.id(), isolated);
    // A person looks, mends and repairs.
    let repair = |holder: &str| pool.repair(1, &base, terms(holder));
    assert!(repair("c").await.is_err());
    assert_eq!(pool.records().await.unwrap()[0].state, SlotState::Error, "a repair that fails changes nothing");
    fs::remove_dir_all(host.join("base")).unwrap();
    assert_eq!(repair("d").await.unwrap().rescued, None);
    let record = pool.records().await.unwrap().remove(0);
    assert_eq!((record.state, record.health, record.isolated), (SlotState::Available, Health::Clean, None));
    let refused = pool.repair(2, &base, terms("e")).await;
    assert!(matches!(refused, Err(WorkspaceError::SlotRefused { .. })), "somebody has it");
    assert!(matches!(pool.repair(9, &base, terms("e")).await, Err(WorkspaceError::NoSlot { .. })));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_isolates_its_slot() {
    let fixture = Fixture::new().await;
    let (pool, slot, base) = fixture.slot().await;
    put(&slot.work_dir().join("precious.txt"), "x");
    let record = slot.place.temporary().with_file_name("slot.json");
    drop(slot);
    let whole = fs::read_to_string(&record).unwrap();
    for text in ["", "{", "[]", &whole.replace("\"number\":1", "\"number\":2"), &"x".repeat(300_000)] {
        fs::write(&record, text).unwrap();
        let found = pool.records().await.unwrap().remove(0);
        assert_eq!(found.state, SlotState::Error);
        assert!(found.isolated.unwrap().reason.contains("slot.json cannot be read"));
        assert_ne!(pool.acquire(terms("a")).await.unwrap().unwrap().id().as_str(), "workspace-app-slot1");
    }
    let repaired = pool.repair(1, &base, terms("b")).await.unwrap();
    assert!(repaired.rescued.is_some());
    // One of a version that kept none: nobody has it, and its files are not trusted.
    fs::remove_file(&record).unwrap();
    assert_eq!(pool.records().await.unwrap()[0].health, Health::Dirty);
}

#[tokio::test]
async fn a_removed_slot_leaves_nothing_but_what_was_in_no_commit() {
    let fixture = Fixture::new().await;
    let (pool, slot, _base) = fixture.slot().await;
    let (work, host) = (slot.work_dir().to_owned(), slot.place.temporary().parent().unwrap().to_owned());
    assert!(matches!(pool.remove(1, terms("b")).await, Err(WorkspaceError::SlotRefused { .. })), "it is held");
    put(&work.join("precious.txt"), "x");
    put(&work.join("target/debug/cache"), "x");
    drop(slot);
    let removed = pool.remove(1, terms("b")).await.unwrap();
    assert!(matches!(removed.rescued, Some(Rescue::Commit { .. })));
    assert!(!work.parent().unwrap().exists() && !host.exists());
    assert!(matches!(pool.remove(1, terms("c")).await, Err(WorkspaceError::NoSlot { .. })));
    assert_eq!(pool.acquire(terms("d")).await.unwrap().unwrap().id().as_str(), "workspace-app-slot1");
}
