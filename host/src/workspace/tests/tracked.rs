//! What one look at a work tree can tell without git: only what is just as it was checked out passes.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime};

use super::*;
use crate::workspace::place::Way;
use crate::workspace::tracked::Tracked;

type Change = (&'static str, fn(&Path));

/// Writes other bytes, as many, and sets the time of the last change back.
fn disguised(path: &Path, bytes: &[u8]) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(before)).unwrap();
}

const CHANGES: &[Change] = &[
    ("another content of the same length and time", |work| disguised(&work.join("README.md"), b"HELLO\n")),
    ("a file that may be executed now", |work| {
        fs::set_permissions(work.join("README.md"), fs::Permissions::from_mode(0o755)).unwrap();
    }),
    ("a file that is gone", |work| fs::remove_file(work.join("src/lib.rs")).unwrap()),
    ("a copy in a file's place", |work| {
        fs::copy(work.join("README.md"), work.join("copy")).unwrap();
        fs::rename(work.join("copy"), work.join("README.md")).unwrap();
    }),
    ("a link in a file's place", |work| {
        fs::remove_file(work.join("README.md")).unwrap();
        std::os::unix::fs::symlink("run.sh", work.join("README.md")).unwrap();
    }),
    ("a link that leads elsewhere", |work| {
        fs::remove_file(work.join("link")).unwrap();
        std::os::unix::fs::symlink("run.sh", work.join("link")).unwrap();
    }),
    ("a link in a folder's place", |work| {
        fs::rename(work.join("src"), work.join("../src")).unwrap();
        std::os::unix::fs::symlink("../src", work.join("src")).unwrap();
    }),
    ("a file more", |work| fs::write(work.join("src/new.rs"), "").unwrap()),
    ("a file that git ignores", |work| fs::write(work.join("a.log"), "").unwrap()),
    ("a folder in which there is nothing", |work| fs::create_dir(work.join("src/empty")).unwrap()),
    ("a repository in the place of the host's own file", |work| {
        fs::remove_file(work.join(".git")).unwrap();
        fs::create_dir(work.join(".git")).unwrap();
    }),
    ("a socket", |work| drop(std::os::unix::net::UnixListener::bind(work.join("socket")).unwrap())),
];

#[tokio::test]
async fn one_look_passes_what_was_checked_out_and_nothing_else() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let tree = tree_of(&slot.place.mirror, &base).await;
    for (what, change) in CHANGES {
        let _ = slot.prepare(&base, now()).await.unwrap();
        let before = slot.snapshot().await.unwrap();
        assert_eq!((&before.tree, before.is_all), (&tree, true), "before {what}");
        change(slot.work_dir());
        let after = slot.snapshot().await;
        assert!(!after.as_ref().is_ok_and(|after| after.is_all), "{what} was not seen: {after:?}");
    }
    let prepared = slot.prepare(&base, now()).await.unwrap();
    assert!(slot.snapshot().await.unwrap().is_all, "{prepared:?}");
}

#[tokio::test]
async fn of_files_as_young_as_the_index_the_content_is_read() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _base) = fixture.slot().await;
    let index = slot.place.index.clone();
    let dated = |time: SystemTime| {
        fs::File::options().write(true).open(&index).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    };
    let look = || Tracked::read(&index).unwrap().0.is_all_of(&slot.place.ground.open_work().unwrap()).unwrap();
    let written = fs::metadata(&index).unwrap().modified().unwrap();
    let (past, future) = (SystemTime::UNIX_EPOCH, written + Duration::from_secs(3_600));
    dated(past);
    assert!(look(), "every file is read, and is what it was");

    // An index that knows the metadata of what is there, and says that it is something else.
    let mut lying = git2::Index::open(&index).unwrap();
    let mut entry = lying.get_path(Path::new("README.md"), 0).unwrap();
    entry.id = lying.get_path(Path::new("run.sh"), 0).unwrap().id;
    lying.add(&entry).unwrap();
    lying.write().unwrap();
    dated(future);
    assert!(look(), "of an older file its metadata is believed");
    dated(past);
    assert!(!look(), "the content is another one");
}

#[tokio::test]
async fn an_index_that_is_not_the_tree_is_noticed_whatever_it_says_of_itself() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let mirror = &slot.place.mirror;
    let (tree, path) = (tree_of(mirror, &base).await, slot.place.index.clone());
    let checked = mirror.objects(move |objects| {
        let mut index = git2::Index::open(&path).unwrap();
        let before = objects.check_index(&index, &tree).is_ok();
        index.remove(Path::new("run.sh"), 0).unwrap();
        Ok((before, objects.check_index(&index, &tree).is_ok()))
    });
    assert_eq!(checked.await.unwrap(), (true, false));
}

/// A tree in which these paths of the first commit have these contents, or are gone.
async fn changed(mirror: &Mirror, base: &CommitId, files: &[(&str, Option<&str>)]) -> CommitId {
    let tree = tree_of(mirror, base).await;
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.map(|text| text.as_bytes().to_vec())));
    let files: Vec<_> = files.collect();
    let tree = mirror.objects(move |o| o.with_files(&tree, &files)).await.unwrap();
    commit(mirror, &tree, &[base], "Change").await
}

#[tokio::test]
async fn a_slot_goes_to_a_tree_that_differs_in_little_and_holds_just_that() {
    let fixture = Fixture::new().await;
    let (pool, slot, base) = fixture.slot().await;
    let by_git = pool.acquire(terms("git")).await.unwrap().unwrap();
    let mirror = &slot.place.mirror;
    let ways: &[&[(&str, Option<&str>)]] = &[
        &[("README.md", Some("hello, all\n"))],
        &[("README.md", Some("HELLO\n")), ("src/lib.rs", None), ("new/deep/file", Some("x"))],
        &[("run.sh", Some("#!/bin/sh\nexit 1\n")), ("link", None)],
        &[("README.md", Some("")), ("src/lib.rs", Some("pub fn one_and_only() -> u32 {\n    1\n}\n"))],
        // In a mirror nothing is converted.
        &[(".gitattributes", Some("*.txt text eol=crlf\n")), ("a.txt", Some("one\ntwo\n"))],
        // A folder where a file was, and the other way round.
        &[("README.md", None), ("README.md/inner", Some("x")), ("src/lib.rs", None), ("src", Some("x"))],
    ];
    for files in ways {
        let there = changed(mirror, &base, files).await;
        assert_eq!(slot.place.step(&there).await.unwrap(), Way::Whole, "{files:?}");
        let _ = slot.prepare(&there, now()).await.unwrap();
        for commit in [&there, &base] {
            let prepared = slot.prepare(commit, now()).await.unwrap();
            assert_eq!(prepared.rescued, None, "{files:?}");
            let snapshot = slot.snapshot().await.unwrap();
            assert_eq!(snapshot.tree, tree_of(mirror, commit).await, "{files:?}");
            // Where nothing is, git checks out.
            let _ = fs::remove_dir_all(by_git.work_dir());
            let _ = by_git.prepare(commit, now()).await.unwrap();
            assert_eq!(inventory(slot.work_dir()), inventory(by_git.work_dir()), "{files:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_as_it_was_left_is_no_step_away() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let there = changed(&slot.place.mirror, &base, &[("README.md", Some("hello, all\n"))]).await;
    put(&slot.work_dir().join("precious.txt"), "one");
    assert_eq!(slot.place.step(&there).await.unwrap(), Way::None);
    assert_eq!(fs::read_to_string(slot.work_dir().join("README.md")).unwrap(), "hello\n");
    // In the index, and in no commit.
    let _ = slot.snapshot().await.unwrap();
    assert!(slot.snapshot().await.unwrap().is_all);
    assert_eq!(slot.place.step(&there).await.unwrap(), Way::None);
    assert!(matches!(slot.prepare(&there, now()).await.unwrap().rescued, Some(Rescue::Commit { .. })));
}
