//! Dependencies that slots get from what was merged before.

use super::*;
use crate::domain::pool::CacheMode;

fn linking(mirror: Arc<Mirror>) -> SlotPool {
    let settings = PoolSettings { caches: CacheMode::HardLink, ..PoolSettings::default() };
    SlotPool::new(mirror, settings, Arc::new(ManualClock::at(now())))
}

async fn prepared(pool: &SlotPool, holder: &str, at: &CommitId) -> Slot {
    let slot = pool.acquire(terms(holder)).await.unwrap().unwrap();
    let _ = slot.prepare(at, now()).await.unwrap();
    slot
}

#[tokio::test]
async fn a_slot_gets_what_another_built_with_the_same_lock_file() {
    let fixture = Fixture::new().await;
    fixture.put("Cargo.lock", "one\n");
    fixture.put(".gitignore", "target/\n");
    let first = fixture.commit("with a lock");
    fixture.put("src/lib.rs", "pub fn two() {}\n");
    let same_lock = fixture.commit("other code");
    fixture.put("Cargo.lock", "two\n");
    let other_lock = fixture.commit("other dependencies");
    let mirror = fixture.mirror().await;
    let pool = linking(Arc::clone(&mirror));
    let builder = prepared(&pool, "builder", &first).await;
    let target = builder.work_dir().join("target");
    put(&target.join("debug/deps/lib.rlib"), "compiled");
    fs::set_permissions(target.join("debug/deps/lib.rlib"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("debug/deps", target.join("link")).unwrap();
    builder.keep_caches(now()).await;
    assert!(!target.exists(), "it was moved, not copied");
    let user = prepared(&pool, "user", &same_lock).await;
    let found = inventory(&user.work_dir().join("target"));
    assert_eq!(found["debug/deps/lib.rlib"], "file 111 compiled");
    assert_eq!(found["link"], "link debug/deps");
    let snapshot = user.snapshot().await.unwrap();
    assert_eq!(snapshot.tree, tree_of(&mirror, &same_lock).await, "it is no part of the work");
    // Other dependencies, and an attempt that is given back and not merged: nothing.
    let _ = user.prepare(&other_lock, now()).await.unwrap();
    assert!(!user.work_dir().join("target").exists());
    put(&user.work_dir().join("target/evil"), "x");
    let _ = user.release(now()).await.unwrap();
    let later = prepared(&pool, "later", &other_lock).await;
    assert!(!later.work_dir().join("target").exists());
    assert_eq!(mirror.caches().await.unwrap().len(), 1);
    let cached = mirror.caches().await.unwrap().remove(0);
    mirror.drop_cache(&cached).await.unwrap();
    let _ = later.prepare(&first, now()).await.unwrap();
    assert!(!later.work_dir().join("target").exists());
}

#[tokio::test]
async fn what_git_does_not_ignore_and_what_is_no_folder_is_no_cache() {
    let fixture = Fixture::new().await;
    fixture.put("Cargo.lock", "one\n");
    fixture.put("package-lock.json", "{}\n");
    fixture.put(".gitignore", "node_modules\n");
    let base = fixture.commit("locks");
    let mirror = fixture.mirror().await;
    let pool = linking(Arc::clone(&mirror));
    let slot = prepared(&pool, "a", &base).await;
    put(&slot.work_dir().join("target/part-of-the-work"), "x");
    std::os::unix::fs::symlink("/etc", slot.work_dir().join("node_modules")).unwrap();
    slot.keep_caches(now()).await;
    assert!(mirror.caches().await.unwrap().is_empty());
    assert!(slot.work_dir().join("target/part-of-the-work").exists());
}

/// Whether the file system of the tests can share blocks decides which of the two is seen.
#[tokio::test]
async fn a_copy_shares_blocks_or_is_not_made() {
    let fixture = Fixture::new().await;
    fixture.put("Cargo.lock", "one\n");
    let base = fixture.commit("a lock");
    let mirror = fixture.mirror().await;
    let settings = PoolSettings { caches: CacheMode::CopyOnWrite, ..PoolSettings::default() };
    let pool = SlotPool::new(Arc::clone(&mirror), settings, Arc::new(ManualClock::at(now())));
    let slot = prepared(&pool, "a", &base).await;
    put(&slot.work_dir().join("target/lib"), "compiled");
    let probe = fixture.root.path().join("probe");
    let can_share = reflink_copy::reflink(slot.work_dir().join("target/lib"), &probe).is_ok();
    slot.keep_caches(now()).await;
    let other = prepared(&pool, "b", &base).await;
    let seeded = other.work_dir().join("target/lib");
    assert_eq!(seeded.exists(), can_share);
    if can_share {
        put(&seeded, "changed");
        let third = prepared(&pool, "c", &base).await;
        assert_eq!(fs::read_to_string(third.work_dir().join("target/lib")).unwrap(), "compiled");
    }
}
