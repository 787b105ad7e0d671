//! What a spirit may read and write, and every way out of the work tree that it may try.

use super::*;
use crate::domain::call::HostError;
use crate::domain::mask::Mask;
use crate::domain::work::{Edit, EntryKind, LineRange, PlannedWrite, SearchQuery};

const SECRET: &str = "hunter2-secret-value";

/// The kind of an answer, for tables.
fn kind<T>(answer: &Result<T, HostError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(HostError::Denied(_)) => "denied",
        Err(HostError::NotFound(_)) => "not-found",
        Err(HostError::Conflict(_)) => "conflict",
        Err(HostError::Invalid(_)) => "invalid",
        Err(_) => "other",
    }
}

fn edit(path: &str, old: &str, new: &str) -> Edit {
    Edit { path: path.into(), old_text: old.into(), new_text: new.into() }
}

async fn open(slot: &Slot) -> WorkFiles {
    WorkFiles::open(slot, Mask::new([SECRET])).await.unwrap()
}

/// Links and a pipe that try to lead somewhere else.
fn plant(work: &Path, outside: &Path) {
    for (name, target) in [
        ("abs-file", outside.join("file")),
        ("abs-dir", outside.to_owned()),
        ("rel-file", PathBuf::from("../../../../../../outside/file")),
        ("up", PathBuf::from("..")),
        ("root", PathBuf::from("/")),
        ("proc", PathBuf::from("/proc/self/environ")),
        ("dotgit", PathBuf::from(".git")),
        ("dangling", PathBuf::from("nowhere")),
        ("dangling-out", PathBuf::from("../new")),
        ("loop", PathBuf::from("loop")),
        ("inside", PathBuf::from("src/lib.rs")),
        ("inside-dir", PathBuf::from("src")),
    ] {
        std::os::unix::fs::symlink(target, work.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("abs-dir", work.join("chain")).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, work.join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[tokio::test]
async fn no_path_and_no_link_leads_out_of_the_work_tree() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _) = fixture.slot().await;
    let work = slot.work_dir();
    let outside = fixture.root.path().join("outside");
    put(&outside.join("file"), "untouched");
    plant(work, &outside);
    let files = open(&slot).await;
    // path, read, write, apply, remove
    let table: &[(&str, [&str; 4])] = &[
        ("../outside/file", ["denied"; 4]),
        ("src/../../x", ["denied"; 4]),
        ("/etc/passwd", ["denied"; 4]),
        ("~/x", ["denied"; 4]),
        ("a\0b", ["invalid"; 4]),
        ("a\\..\\b", ["invalid"; 4]),
        ("", ["invalid"; 4]),
        (".", ["invalid"; 4]),
        ("src/", ["invalid"; 4]),
        (".git", ["denied"; 4]),
        (".GIT/config", ["denied"; 4]),
        ("src/.git/hooks/pre-commit", ["denied"; 4]),
        (".git ", ["denied"; 4]),
        (".git.", ["denied"; 4]),
        ("git~1", ["denied"; 4]),
        (".g\u{200c}it", ["denied"; 4]),
        ("abs-file", ["denied", "denied", "denied", "ok"]),
        ("rel-file", ["denied", "denied", "denied", "ok"]),
        ("abs-dir/file", ["denied"; 4]),
        ("chain/file", ["denied"; 4]),
        ("up/git/config", ["denied"; 4]),
        ("root/etc/passwd", ["denied"; 4]),
        ("proc", ["denied", "denied", "denied", "ok"]),
        ("dotgit", ["denied", "denied", "denied", "ok"]),
        ("dangling", ["not-found", "denied", "conflict", "ok"]),
        ("dangling-out", ["denied", "denied", "denied", "ok"]),
        ("loop", ["other", "other", "other", "ok"]),
        ("pipe", ["invalid", "invalid", "conflict", "ok"]),
        ("src", ["invalid", "invalid", "conflict", "invalid"]),
        ("README.md/x", ["not-found", "invalid", "conflict", "not-found"]),
        ("nowhere/x", ["not-found", "ok", "conflict", "ok"]),
        ("inside", ["ok", "ok", "conflict", "ok"]),
        ("inside-dir/lib.rs", ["ok", "ok", "conflict", "ok"]),
    ];
    for (path, expected) in table {
        let path = (*path).to_owned();
        let found = [
            kind(&files.read(path.clone(), None).await),
            kind(&files.write(path.clone(), "written".into()).await),
            kind(&files.apply(vec![edit(&path, "not there", "x")]).await),
            kind(&files.remove(path.clone()).await),
        ];
        assert_eq!(found, *expected, "{path:?}");
    }
    for folder in ["..", "/", "abs-dir", "up", "root", "chain", ".git"] {
        for recursive in [false, true] {
            assert_eq!(kind(&files.list(folder.into(), recursive).await), "denied", "{folder}");
        }
    }
    assert_eq!(inventory(&outside), BTreeMap::from([("file".to_owned(), "file 0 untouched".to_owned())]));
    assert_eq!(fs::read_to_string(work.join(".git")).unwrap(), "gitdir: ../git\n");
    assert!(!work.with_file_name("new").exists());
}

#[tokio::test]
async fn files_are_read_whole_in_part_and_within_bounds() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _) = fixture.slot().await;
    let work = slot.work_dir();
    put(&work.join("lines"), "one\ntwo\r\nthree");
    put(&work.join("empty"), "");
    fs::write(work.join("binary"), b"a\0b").unwrap();
    fs::write(work.join("latin1"), b"caf\xe9").unwrap();
    put(&work.join("long"), &"0123456789\n".repeat(30_000));
    put(&work.join("huge"), &"x".repeat(usize::try_from(MAX_READABLE_FILE_BYTES).unwrap() + 1));
    let files = open(&slot).await;
    let read = async |path: &str, lines: Option<(u32, u32)>| {
        files.read(path.into(), lines.map(|(start, count)| LineRange { start, count })).await
    };
    for (lines, expected) in [
        (None, "one\ntwo\r\nthree"),
        (Some((1, 1)), "one\n"),
        (Some((2, 2)), "two\r\nthree"),
        (Some((3, 100)), "three"),
    ] {
        let text = read("lines", lines).await.unwrap();
        assert_eq!((text.text.as_str(), text.total_lines, text.truncated), (expected, 3, false));
    }
    for lines in [(0, 1), (1, 0), (4, 1)] {
        assert_eq!(kind(&read("lines", Some(lines)).await), "invalid", "{lines:?}");
    }
    assert_eq!(read("empty", None).await.unwrap().total_lines, 0);
    for bad in ["binary", "latin1", "huge"] {
        assert_eq!(kind(&read(bad, None).await), "invalid", "{bad}");
    }
    let long = read("long", None).await.unwrap();
    assert!(long.truncated && long.text.len() <= MAX_READ_BYTES && long.text.ends_with("9\n"));
    assert_eq!(long.total_lines, 30_000);
    let part = read("long", Some((29_999, 5))).await.unwrap();
    assert_eq!((part.text.as_str(), part.truncated), ("0123456789\n0123456789\n", false));
}

#[tokio::test]
async fn listing_and_searching_see_what_git_does_not_ignore() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _) = fixture.slot().await;
    let work = slot.work_dir();
    put(&work.join("target/hidden.rs"), "fn one");
    put(&work.join("src/語.rs"), "fn one() {}\nfn two() {}\n");
    fs::remove_file(work.join("run.sh")).unwrap();
    let files = open(&slot).await;
    let names = async |path: &str, recursive| -> Vec<String> {
        files.list(path.into(), recursive).await.unwrap().into_iter().map(|e| e.path).collect()
    };
    assert_eq!(names(".", false).await, [".gitignore", "README.md", "link", "src", "target"]);
    assert_eq!(names(".", true).await, [".gitignore", "README.md", "link", "src/lib.rs", "src/語.rs"]);
    assert_eq!(names("src", true).await, ["src/lib.rs", "src/語.rs"]);
    assert_eq!(names("./src/", false).await, ["src/lib.rs", "src/語.rs"]);
    let entries = files.list(String::new(), false).await.unwrap();
    let kinds: Vec<(EntryKind, u64)> = entries[1..4].iter().map(|e| (e.kind, e.size_bytes)).collect();
    assert_eq!(kinds, [(EntryKind::File, 6), (EntryKind::Symlink, 9), (EntryKind::Directory, 0)]);
    assert_eq!(kind(&files.list("README.md".into(), false).await), "invalid");
    assert_eq!(kind(&files.list("none".into(), false).await), "not-found");
    let search = async |pattern: &str, regex, glob: Option<&str>, max_hits| -> Vec<(String, u32)> {
        let query = SearchQuery { pattern: pattern.into(), regex, glob: glob.map(str::to_owned), max_hits };
        files.search(query).await.unwrap().into_iter().map(|h| (h.path, h.line)).collect()
    };
    let hit = |path: &str, line| (path.to_owned(), line);
    assert_eq!(search("fn one", false, None, 9).await, [hit("src/lib.rs", 1), hit("src/語.rs", 1)]);
    assert_eq!(search(r"^fn \w+", true, None, 9).await, [hit("src/語.rs", 1), hit("src/語.rs", 2)]);
    assert_eq!(search("fn", false, Some("*.md"), 9).await, []);
    assert_eq!(search("fn", false, None, 1).await, [hit("src/lib.rs", 1)]);
    for number in 0..=MAX_LIST_ENTRIES {
        fs::write(work.join("src").join(number.to_string()), "").unwrap();
    }
    assert_eq!(kind(&files.list("src".into(), false).await), "invalid");
    assert_eq!(kind(&files.list(".".into(), true).await), "invalid");
}

#[tokio::test]
async fn writes_are_whole_make_folders_and_keep_the_mode() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let work = slot.work_dir();
    let files = open(&slot).await;
    files.write("run.sh".into(), "#!/bin/sh\necho\n".into()).await.unwrap();
    files.write("a/b/c.txt".into(), "語".into()).await.unwrap();
    files.write("link".into(), "through\n".into()).await.unwrap();
    assert_eq!(fs::metadata(work.join("run.sh")).unwrap().permissions().mode() & 0o111, 0o111);
    assert_eq!(fs::read_to_string(work.join("a/b/c.txt")).unwrap(), "語");
    assert_eq!(fs::read_to_string(work.join("README.md")).unwrap(), "through\n");
    assert_eq!(fs::read_link(work.join("link")).unwrap(), Path::new("README.md"));
    let base_tree = tree_of(&slot.place.mirror, &base).await;
    let status = files.status(&base_tree).await.unwrap();
    let paths: Vec<&str> = status.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(paths, ["README.md", "a/b/c.txt", "run.sh"]);
    assert!(files.diff(&base_tree).await.unwrap().contains("+through"));
    assert_eq!(kind(&files.write("big".into(), "x".repeat(MAX_WRITE_BYTES + 1)).await), "invalid");
    assert_eq!(inventory(&slot.place.temporary()), BTreeMap::new());
}

#[tokio::test]
async fn a_planned_write_can_be_done_twice() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _) = fixture.slot().await;
    let files = open(&slot).await;
    let new = files.plan_write("new".into(), "x".into()).await.unwrap();
    assert_eq!(new.before, None);
    let changed = files.plan_apply(vec![edit("README.md", "hello", "bye")]).await.unwrap();
    assert_eq!(fs::read_to_string(slot.work_dir().join("README.md")).unwrap(), "hello\n", "planning writes nothing");
    let plan: Vec<PlannedWrite> = changed.into_iter().chain([new]).collect();
    files.perform(plan.clone()).await.unwrap();
    let once = inventory(slot.work_dir());
    files.perform(plan.clone()).await.unwrap();
    assert_eq!(inventory(slot.work_dir()), once);
    let again = files.plan_write("README.md".into(), "bye\n".into()).await.unwrap();
    assert_eq!(again.before.as_ref(), Some(&plan[0].after));
    assert_eq!(again.after, plan[0].after);
}

#[tokio::test]
async fn edits_are_applied_all_or_none() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _) = fixture.slot().await;
    let files = open(&slot).await;
    let before = inventory(slot.work_dir());
    let refused = files
        .apply(vec![
            edit("README.md", "hello", "bye"),
            edit("src/lib.rs", "    2\n", "    3\n"),
            edit("none.rs", "x", "y"),
            edit("src/lib.rs", "u", "v"),
        ])
        .await;
    let Err(HostError::Conflict(text)) = refused else { panic!("{refused:?}") };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("edit 2 of 4 (src/lib.rs)") && lines[1].contains("no such file"), "{text}");
    assert_eq!(inventory(slot.work_dir()), before);
    files
        .apply(vec![
            edit("README.md", "hello", "bye"),
            edit("link", "bye", "through the link"),
            edit("src/lib.rs", "    1\n", "    2\n"),
        ])
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(slot.work_dir().join("README.md")).unwrap(), "through the link\n");
    assert!(fs::symlink_metadata(slot.work_dir().join("link")).unwrap().is_symlink());
    for edits in [vec![], vec![edit("README.md", "x", "y"); 201]] {
        assert_eq!(kind(&files.apply(edits).await), "invalid");
    }
}

#[tokio::test]
async fn secrets_are_never_read_found_or_overwritten() {
    let fixture = Fixture::new().await;
    let (_pool, slot, base) = fixture.slot().await;
    let path = slot.work_dir().join("config.toml");
    put(&path, &format!("key = \"{SECRET}\"\nmode = 1\n"));
    let files = open(&slot).await;
    let text = files.read("config.toml".into(), None).await.unwrap().text;
    assert_eq!(text, format!("key = \"{}\"\nmode = 1\n", Mask::MARKER));
    for pattern in ["hunter2", "secret"] {
        let query = SearchQuery { pattern: pattern.into(), regex: false, glob: None, max_hits: 9 };
        assert_eq!(files.search(query).await.unwrap(), [], "searching tells whether a guess is right");
    }
    let base_tree = tree_of(&slot.place.mirror, &base).await;
    assert!(!files.diff(&base_tree).await.unwrap().contains("hunter2"));
    assert_eq!(kind(&files.write("config.toml".into(), text.replace('1', "2")).await), "denied");
    assert_eq!(kind(&files.apply(vec![edit("config.toml", &text, "")]).await), "denied");
    files.apply(vec![edit("config.toml", "mode = 1", "mode = 2")]).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("key = \"{SECRET}\"\nmode = 2\n"));
    let refused = files.apply(vec![edit("config.toml", "key = \"x\"", "y")]).await;
    assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
}

#[tokio::test]
async fn files_of_a_slot_that_was_given_back_are_out_of_reach() {
    let fixture = Fixture::new().await;
    let (_pool, slot, _) = fixture.slot().await;
    let path = slot.work_dir().join("README.md");
    let files = open(&slot).await;
    let _ = slot.release(now()).await.unwrap();
    assert!(matches!(files.read("README.md".into(), None).await, Err(HostError::Cancelled(_))));
    assert!(matches!(files.write("README.md".into(), "x".into()).await, Err(HostError::Cancelled(_))));
    assert!(matches!(files.list(".".into(), true).await, Err(HostError::Cancelled(_))));
    assert_eq!(fs::read_to_string(path).unwrap(), "hello\n");
}
