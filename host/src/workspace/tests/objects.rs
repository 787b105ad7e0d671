//! Commits, refs, trees, diffs, merges.

use super::*;
use crate::domain::review::LineKind;
use crate::domain::work::ChangeKind;

async fn with(mirror: &Mirror, tree: &TreeId, files: &[(&str, Option<&str>)]) -> TreeId {
    let files: Vec<(String, Option<Vec<u8>>)> =
        files.iter().map(|(p, t)| ((*p).to_owned(), t.map(|t| t.as_bytes().to_vec()))).collect();
    let tree = tree.clone();
    mirror.objects(move |o| o.with_files(&tree, &files)).await.unwrap()
}

#[tokio::test]
async fn the_same_commit_made_twice_is_the_same_commit() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let tree = tree_of(&mirror, &base).await;
    let one = commit(&mirror, &tree, &[&base], "spirit(x): y [Task 1]\n").await;
    let two = commit(&mirror, &tree, &[&base], "spirit(x): y [Task 1]\n").await;
    assert_eq!(one, two);
    let tip = one.clone();
    let log = mirror.objects(move |o| o.log(&tip, None, 10)).await.unwrap();
    let subjects: Vec<&str> = log.iter().map(|e| e.message.trim_end()).collect();
    assert_eq!(subjects, ["spirit(x): y [Task 1]", "first"]);
    assert_eq!(log[0].time_s, now().as_second());
    let (tip, exclude) = (one.clone(), base.clone());
    assert_eq!(mirror.objects(move |o| o.log(&tip, Some(&exclude), 10)).await.unwrap().len(), 1);
    let (a, b) = (base.clone(), one.clone());
    let answers = mirror
        .objects(move |o| {
            Ok((o.is_ancestor(&a, &b)?, o.is_ancestor(&b, &a)?, o.is_ancestor(&a, &a)?, o.merge_base(&a, &b)?))
        })
        .await
        .unwrap();
    assert_eq!(answers, (true, false, true, Some(base)));
}

#[tokio::test]
async fn refs_move_only_from_where_they_were_expected() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let tree = tree_of(&mirror, &base).await;
    let next = commit(&mirror, &tree, &[&base], "next").await;
    mirror
        .objects(move |o| {
            let name = "refs/heads/necro/認証";
            let moved = |r: Result<(), WorkspaceError>| matches!(r, Err(WorkspaceError::RefMoved { .. }));
            assert!(moved(o.update_ref(name, &next, Some(&base))), "made although it was expected to exist");
            o.update_ref(name, &base, None)?;
            assert!(moved(o.update_ref(name, &next, None)), "overwritten although it was expected to be new");
            assert!(moved(o.update_ref(name, &next, Some(&next))), "moved from elsewhere");
            o.update_ref(name, &next, Some(&base))?;
            assert_eq!(o.read_ref(name)?, Some(next.clone()));
            assert_eq!(o.refs("refs/heads/necro/")?, [(name.to_owned(), next.clone())]);
            assert!(moved(o.delete_ref(name, &base)));
            o.delete_ref(name, &next)?;
            o.delete_ref(name, &next)?;
            assert_eq!(o.read_ref(name)?, None);
            let absent = CommitId::new("1".repeat(40)).unwrap();
            assert!(o.update_ref(name, &absent, None).is_err(), "points to nothing");
            assert!(o.update_ref("refs/heads/../x", &next, None).is_err(), "not a name");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn files_of_a_tree_are_replaced_added_removed_and_keep_their_mode() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let old = tree_of(&mirror, &base).await;
    let changes = [("run.sh", Some("#!/bin/sh\necho\n")), ("README.md", None), ("new/語", Some("x")), ("none", None)];
    let new = with(&mirror, &old, &changes).await;
    let (a, b) = (old.clone(), new.clone());
    let found = mirror.objects(move |o| o.changes(&a, &b)).await.unwrap();
    let found: Vec<(&str, ChangeKind)> = found.iter().map(|f| (f.path.as_str(), f.change)).collect();
    let expected =
        [("README.md", ChangeKind::Deleted), ("new/語", ChangeKind::Added), ("run.sh", ChangeKind::Modified)];
    assert_eq!(found, expected);
    assert_eq!(read(&mirror, &new, "new/語").await.as_deref(), Some("x"));
    assert_eq!(read(&mirror, &new, "README.md").await, None);
    assert_eq!(read(&mirror, &new, "link").await.as_deref(), Some("README.md"));
    let (a, b) = (old.clone(), new.clone());
    let back = mirror.objects(move |o| o.restore(&a, &b, &|path| path != "run.sh")).await.unwrap();
    let only_run = with(&mirror, &old, &changes[..1]).await;
    assert_eq!(back, only_run, "mode and all other paths are as they were");
}

#[tokio::test]
async fn changes_to_spec_state_are_dropped_and_others_kept() {
    let fixture = Fixture::new().await;
    fixture.put(".kiro/specs/a/tasks.md", "- [ ] 1. x\n");
    fixture.commit("spec");
    let mirror = fixture.mirror().await;
    let base = tree_of(&mirror, &mirror.branch_tip("main").await.unwrap().unwrap()).await;
    let theirs = with(
        &mirror,
        &base,
        &[
            (".kiro/specs/a/tasks.md", Some("- [x] 1. x\n")),
            (".kiro/specs/b/tasks.md", Some("-")),
            ("src/a.rs", Some("a")),
        ],
    )
    .await;
    let expected = with(&mirror, &base, &[("src/a.rs", Some("a"))]).await;
    let kept = mirror
        .objects(move |o| o.restore(&base, &theirs, &|p| p.starts_with(".kiro/specs/") && p.ends_with("/tasks.md")))
        .await
        .unwrap();
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn a_diff_has_text_and_parts() {
    let fixture = Fixture::new().await;
    fixture.put("bin", "a\0b");
    fixture.commit("binary");
    let mirror = fixture.mirror().await;
    let old = tree_of(&mirror, &mirror.branch_tip("main").await.unwrap().unwrap()).await;
    let new = with(
        &mirror,
        &old,
        &[
            ("src/lib.rs", Some("pub fn one() -> u32 {\n    2\n}\n")),
            ("bin", Some("a\0c")),
            ("empty", Some("")),
            ("no-newline", Some("x")),
        ],
    )
    .await;
    let diff = mirror.objects(move |o| o.diff(&old, &new)).await.unwrap();
    assert!(!diff.truncated);
    let summary: Vec<(&str, ChangeKind, bool, u64, usize)> =
        diff.files.iter().map(|f| (f.path.as_str(), f.change, f.binary, f.size_bytes, f.hunks.len())).collect();
    let expected = [
        ("bin", ChangeKind::Modified, true, 3, 1),
        ("empty", ChangeKind::Added, false, 0, 0),
        ("no-newline", ChangeKind::Added, false, 1, 1),
        ("src/lib.rs", ChangeKind::Modified, false, 30, 1),
    ];
    assert_eq!(summary, expected);
    let hunk = &diff.files[3].hunks[0];
    assert_eq!((hunk.old_start, hunk.new_start), (1, 1));
    let lines: Vec<(LineKind, &str)> = hunk.lines.iter().map(|l| (l.kind, l.text.as_str())).collect();
    let expected = [
        (LineKind::Context, "pub fn one() -> u32 {"),
        (LineKind::Removed, "    1"),
        (LineKind::Added, "    2"),
        (LineKind::Context, "}"),
    ];
    assert_eq!(lines, expected);
    for part in ["diff --git a/src/lib.rs b/src/lib.rs\n", "-    1\n+    2\n", "Binary files a/bin and b/bin differ"] {
        assert!(diff.text.contains(part), "{part} is not in\n{}", diff.text);
    }
}

#[tokio::test]
async fn files_whose_changes_a_limit_hides_are_named() {
    let fixture = Fixture::new().await;
    fixture.put("gone", &"x\n".repeat(MAX_DIFF_LINES + 1));
    fixture.commit("long");
    let mirror = fixture.mirror().await;
    let old = tree_of(&mirror, &mirror.branch_tip("main").await.unwrap().unwrap()).await;
    let (long, wide) = ("y\n".repeat(MAX_DIFF_LINES + 1), "y".repeat(17 * 1024 * 1024));
    let (many, binary) = ("z".repeat(1024 * 1024), format!("\0{}", "z".repeat(17 * 1024 * 1024)));
    let moved = "x\n".repeat(MAX_DIFF_LINES + 1);
    let mut files = vec![("gone", None), ("long", Some(long.as_str())), ("wide", Some(&wide)), ("z", Some("seen\n"))];
    files.extend([("binary", Some(binary.as_str())), ("zero", Some("a\0b\nhidden\n")), ("moved", Some(&moved))]);
    let names: Vec<String> = (0..9).map(|n| format!("many-{n}")).collect();
    files.extend(names.iter().map(|name| (name.as_str(), Some(many.as_str()))));
    let new = with(&mirror, &old, &files).await;
    let diff = mirror.objects(move |o| o.diff(&old, &new)).await.unwrap();
    assert_eq!(diff.unseen, ["long", "many-7", "many-8", "wide"]);
    let file = |path: &str| diff.files.iter().find(|file| file.path == path).unwrap();
    assert_eq!(file("z").hunks.len(), 1);
    let zero = file("zero");
    assert!(zero.binary && zero.hunks[0].lines[1].text == "hidden", "one zero byte hides nothing: {zero:?}");
    assert_eq!(diff.files.len(), files.len());
}

#[tokio::test]
async fn merges_are_clean_or_tell_what_clashes() {
    let fixture = Fixture::new().await;
    // Attributes of the work have no say: a driver would run a program, `union` would hide the clash.
    fixture.put(".gitattributes", "*.rs merge=evil\nREADME.md merge=union\n");
    fixture.commit("attributes");
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let tree = tree_of(&mirror, &base).await;
    let branch = async |files: &[(&str, Option<&str>)]| {
        let changed = with(&mirror, &tree, files).await;
        commit(&mirror, &changed, &[&base], "work").await
    };
    let ours =
        branch(&[("src/lib.rs", Some("pub fn one() -> u32 {\n    2\n}\n")), ("README.md", Some("ours\n"))]).await;
    let apart = branch(&[("new.rs", Some("new"))]).await;
    let theirs = branch(&[("src/lib.rs", Some("pub fn one() -> u32 {\n    3\n}\n")), ("README.md", None)]).await;
    let MergeOutcome::Clean { tree: merged } = mirror.merge(&ours, &apart).await.unwrap() else { panic!("conflict") };
    assert_eq!(read(&mirror, &merged, "new.rs").await.as_deref(), Some("new"));
    assert_eq!(read(&mirror, &merged, "README.md").await.as_deref(), Some("ours\n"));
    let MergeOutcome::Conflict { files, text } = mirror.merge(&ours, &theirs).await.unwrap() else { panic!("clean") };
    assert_eq!(files, ["README.md", "src/lib.rs"]);
    for part in
        ["--- src/lib.rs\n@@ line 2\n<<<<<<< ", "    2\n=======\n    3\n>>>>>>> ", "--- README.md\n(no marked lines"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let absent = CommitId::new("1".repeat(40)).unwrap();
    assert!(mirror.merge(&ours, &absent).await.is_err());
}

#[test]
fn object_ids_are_checked() {
    for bad in ["", "HEAD", "abc", &"g".repeat(40), &"A".repeat(40), &"a".repeat(41)] {
        assert!(TreeId::new(bad).is_err(), "{bad}");
    }
    assert!(TreeId::new("a".repeat(40)).is_ok());
}
