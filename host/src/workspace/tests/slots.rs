//! Slots: clean when given out, never two holders, and nothing unsaved is lost.

use super::*;

/// What a fresh slot holds, from the first commit.
fn fresh() -> BTreeMap<String, String> {
    [
        (".git", "file 0 gitdir: ../git\n"),
        (".gitignore", "file 0 target/\n*.log\n"),
        ("README.md", "file 0 hello\n"),
        ("link", "link README.md"),
        ("run.sh", "file 111 #!/bin/sh\n"),
        ("src", "folder"),
        ("src/lib.rs", "file 0 pub fn one() -> u32 {\n    1\n}\n"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect()
}

#[tokio::test]
async fn a_slot_is_given_out_clean_whatever_was_left_in_it() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let work = slot.work_dir().to_owned();
    assert_eq!(inventory(&work), fresh());
    put(&work.join("README.md"), "changed\n");
    fs::remove_file(work.join("link")).unwrap();
    fs::remove_dir_all(work.join("src")).unwrap();
    std::os::unix::fs::symlink("/etc", work.join("src")).unwrap();
    fs::set_permissions(work.join("run.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    put(&work.join("new/file"), "x");
    put(&work.join("target/debug/cache"), "x");
    put(&work.join("a.log"), "x");
    fs::create_dir_all(work.join("empty/folder")).unwrap();
    fs::remove_file(work.join(".git")).unwrap();
    put(&work.join(".git/config"), "[core]\n");
    put(&work.join("new/.git"), "gitdir: /nowhere\n");
    put(&slot.scratch_dir().join("home/.npmrc"), "x");
    let prepared = slot.prepare(&base, now()).await.unwrap();
    assert!(matches!(prepared.rescued, Some(Rescue::Commit { .. })));
    assert_eq!(inventory(&work), fresh());
    assert_eq!(inventory(&slot.scratch_dir()), BTreeMap::new());
    let snapshot = slot.snapshot().await.unwrap();
    let tree = tree_of(&slot.place.mirror, &base).await;
    assert_eq!(snapshot, Snapshot { tree, skipped: Vec::new(), is_all: true });
}

#[tokio::test]
async fn work_that_exists_nowhere_else_is_saved_before_it_is_cleaned() {
    let fixture = Fixture::new().await;
    let (pool, slot, base) = fixture.slot().await;
    let mirror = Arc::clone(pool.mirror());
    put(&slot.work_dir().join("precious.txt"), "one");
    let prepared = slot.prepare(&base, now()).await.unwrap();
    let Some(Rescue::Commit { reference, commit: saved }) = prepared.rescued else { panic!("not saved") };
    assert_eq!(reference, format!("refs/necro/rescue/{}/1", slot.id()));
    assert_eq!(read(&mirror, &tree_of(&mirror, &saved).await, "precious.txt").await.as_deref(), Some("one"));
    // The same again: it is saved already.
    put(&slot.work_dir().join("precious.txt"), "one");
    assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None);
    // Kept by a ref of its own.
    put(&slot.work_dir().join("precious.txt"), "two");
    let tree = slot.snapshot().await.unwrap().tree;
    let kept = commit(&mirror, &tree, &[&base], "attempt").await;
    mirror.objects(move |o| o.update_ref("refs/necro/spec/1/1", &kept, None)).await.unwrap();
    assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None);
    // Said to be kept.
    put(&slot.work_dir().join("precious.txt"), "three");
    let tree = slot.snapshot().await.unwrap().tree;
    slot.mark_saved(&tree).await.unwrap();
    assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None);
    // At release, too; and the next number.
    put(&slot.work_dir().join("precious.txt"), "four");
    let id = slot.id().clone();
    let released = slot.release(now()).await.unwrap();
    let Some(Rescue::Commit { reference, .. }) = released.rescued else { panic!("not saved") };
    assert_eq!(reference, format!("refs/necro/rescue/{id}/2"));
    assert!(pool.records().await.unwrap().iter().all(|record| !pool.is_held(record)));
}

#[tokio::test]
async fn a_nested_repository_is_named_and_set_aside_whole() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let nested = slot.work_dir().join("sub");
    let repository = Repository::init(&nested).unwrap();
    put(&nested.join("code.rs"), "precious");
    drop(repository);
    put(&slot.work_dir().join("GIT~1/x"), "x");
    let snapshot = slot.snapshot().await.unwrap();
    assert_eq!(snapshot.tree, tree_of(&slot.place.mirror, &base).await);
    let skipped: Vec<(&str, SkipReason)> = snapshot.skipped.iter().map(|s| (s.path.as_str(), s.reason)).collect();
    assert_eq!(skipped, [("GIT~1/x", SkipReason::ReservedName), ("sub/", SkipReason::NestedRepository)]);
    let prepared = slot.prepare(&base, now()).await.unwrap();
    let Some(Rescue::Folder { path }) = prepared.rescued else { panic!("not set aside") };
    assert_eq!(fs::read_to_string(path.join("sub/code.rs")).unwrap(), "precious");
    assert_eq!(inventory(slot.work_dir()), fresh());
}

#[tokio::test]
async fn a_snapshot_is_what_is_on_disk() {
    let fixture = Fixture::new().await;
    fixture.put("kept.log", "ignored but tracked\n");
    fixture.put(".gitattributes", "* text=auto eol=crlf filter=evil ident\n*.u16 working-tree-encoding=UTF-16\n");
    let repository = Repository::open(fixture.user()).unwrap();
    let mut index = repository.index().unwrap();
    index.add_path(Path::new("kept.log")).unwrap();
    index.write().unwrap();
    fixture.commit("ignored");
    let (pool, slot, base) = fixture.slot().await;
    let mirror = pool.mirror();
    let work = slot.work_dir();
    assert_eq!(fs::read(work.join("README.md")).unwrap(), b"hello\n", "the checkout converts nothing");
    assert_eq!(slot.snapshot().await.unwrap().tree, tree_of(mirror, &base).await);
    put(&work.join("kept.log"), "changed\r\n$Id$\r\n");
    put(&work.join("x.u16"), "plain");
    put(&work.join("other.log"), "ignored");
    put(&work.join("tool.sh"), "#!/bin/sh\n");
    fs::set_permissions(work.join("tool.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", work.join("out")).unwrap();
    fs::remove_file(work.join("README.md")).unwrap();
    put(&work.join("README.md/now/a/folder"), "deep");
    fs::remove_dir_all(work.join("src")).unwrap();
    put(&work.join("src"), "now a file");
    rustix::fs::mknodat(rustix::fs::CWD, work.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    fs::remove_file(work.join("run.sh")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, work.join("run.sh"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let snapshot = slot.snapshot().await.unwrap();
    let skipped: Vec<(&str, SkipReason)> = snapshot.skipped.iter().map(|s| (s.path.as_str(), s.reason)).collect();
    assert_eq!(skipped, [("run.sh", SkipReason::SpecialFile)]);
    for (path, expected) in [
        ("kept.log", Some("changed\r\n$Id$\r\n")),
        ("x.u16", Some("plain")),
        ("other.log", None),
        ("out", Some("/etc/passwd")),
        ("README.md/now/a/folder", Some("deep")),
        ("src", Some("now a file")),
        ("src/lib.rs", None),
    ] {
        assert_eq!(read(mirror, &snapshot.tree, path).await.as_deref(), expected, "{path}");
    }
    let other = pool.acquire(terms("other")).await.unwrap().unwrap();
    let kept = commit(mirror, &snapshot.tree, &[&base], "kept").await;
    let _ = other.prepare(&kept, now()).await.unwrap();
    let mode = |name: &str| fs::symlink_metadata(other.work_dir().join(name)).unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("tool.sh"), mode("kept.log")), (0o111, 0));
    assert_eq!(fs::read_link(other.work_dir().join("out")).unwrap(), Path::new("/etc/passwd"));
}

#[tokio::test]
async fn a_recorded_tree_comes_back_exactly() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _base) = fixture.slot().await;
    put(&slot.work_dir().join("a"), "1");
    let recorded = slot.snapshot().await.unwrap().tree;
    let expected = inventory(slot.work_dir());
    put(&slot.work_dir().join("a"), "2");
    put(&slot.work_dir().join("b"), "2");
    put(&slot.work_dir().join("target/x"), "2");
    let restored = slot.restore(&recorded, now()).await.unwrap();
    assert!(restored.rescued.is_some());
    let mut found = inventory(slot.work_dir());
    found.insert(".git".into(), "file 0 gitdir: ../git\n".into());
    assert_eq!(found, expected);
    assert_eq!(slot.snapshot().await.unwrap().tree, recorded);
}

#[tokio::test]
async fn a_damaged_slot_is_made_anew() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let (index, place) = (slot.place.temporary().with_file_name("index"), slot.work_dir().to_owned());
    fs::remove_dir_all(&place).unwrap();
    assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None);
    assert_eq!(inventory(&place), fresh());
    fs::write(index.with_extension("lock"), "").unwrap();
    put(&place.join("x"), "x");
    assert!(matches!(slot.prepare(&base, now()).await.unwrap().rescued, Some(Rescue::Commit { .. })));
    assert_eq!(inventory(&place), fresh());
    fs::write(&index, "garbage").unwrap();
    put(&place.join("x"), "y");
    let prepared = slot.prepare(&base, now()).await.unwrap();
    let Some(Rescue::Folder { path }) = prepared.rescued else { panic!("lost") };
    assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "y");
    assert_eq!(inventory(&place), fresh());
    fs::remove_dir_all(place.with_file_name("git")).unwrap();
    std::os::unix::fs::symlink(fixture.user(), place.with_file_name("git")).unwrap();
    let before = inventory(&fixture.user());
    assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None);
    assert_eq!(inventory(&fixture.user()), before, "a link in the place of git/ is not followed");
}

#[tokio::test]
async fn a_slot_sees_new_commits_and_tools_see_history() {
    let fixture = Fixture::new().await;
    let (pool, slot, _) = fixture.slot().await;
    fixture.put("README.md", "two\n");
    let second = fixture.commit("second");
    pool.mirror().fetch().await.unwrap();
    let _ = slot.prepare(&second, now()).await.unwrap();
    assert_eq!(fs::read_to_string(slot.work_dir().join("README.md")).unwrap(), "two\n");
    // As a tool does that runs in the work tree.
    let tool = Repository::open(slot.work_dir()).unwrap();
    let head = tool.head().unwrap();
    assert_eq!(head.target().unwrap().to_string(), second.to_string());
    assert_eq!(head.peel_to_commit().unwrap().parent(0).unwrap().message().unwrap(), "first");
    assert!(tool.statuses(None).unwrap().is_empty());
}

#[tokio::test]
async fn submodules_stay_as_they_are() {
    let fixture = Fixture::new().await;
    let repository = Repository::open(fixture.user()).unwrap();
    let head = repository.head().unwrap().target().unwrap();
    let mut index = repository.index().unwrap();
    let mut entry = index.get_path(Path::new("README.md"), 0).unwrap();
    entry.path = b"vendor/lib".to_vec();
    entry.mode = 0o160_000;
    entry.id = head;
    index.add(&entry).unwrap();
    index.write().unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let who = Signature::new("U", "u@e", &Time::new(1, 0)).unwrap();
    let parent = repository.find_commit(head).unwrap();
    repository.commit(Some("HEAD"), &who, &who, "submodule", &tree, &[&parent]).unwrap();
    let (pool, slot, base) = fixture.slot().await;
    let wanted = tree_of(pool.mirror(), &base).await;
    assert_eq!(slot.snapshot().await.unwrap().tree, wanted);
    put(&slot.work_dir().join("vendor/lib/evil"), "x");
    Repository::init(slot.work_dir().join("vendor/lib")).unwrap();
    assert_eq!(slot.snapshot().await.unwrap().tree, wanted);
    fs::remove_dir_all(slot.work_dir().join("vendor")).unwrap();
    assert_eq!(slot.snapshot().await.unwrap().tree, wanted);
    let _ = slot.prepare(&base, now()).await.unwrap();
    assert!(fs::read_dir(slot.work_dir().join("vendor/lib")).unwrap().next().is_none());
}
