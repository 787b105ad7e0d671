//! Trees written out from the objects of mirrors, hostile ones included.

use git2::{ObjectType, Oid};

use super::*;
use crate::domain::work::Edit;

/// The object store of a mirror, to put into it what git would not.
fn raw_tree(mirror: &Mirror, entries: &[(&str, &str, Oid)]) -> TreeId {
    let repository = Repository::open_bare(mirror.path()).unwrap();
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        bytes.extend_from_slice(id.as_bytes());
    }
    let id = repository.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap();
    TreeId::new(id.to_string()).unwrap()
}

#[tokio::test]
async fn a_tree_is_written_out_as_it_was_committed_from_its_objects_alone() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let repos = mirror.dir().parent().unwrap().to_owned();
    // Nothing but objects is looked at.
    fs::write(mirror.path().join("config"), "not a configuration").unwrap();
    fs::remove_file(mirror.path().join("HEAD")).unwrap();
    let into = fixture.root.path().join("out");
    fs::create_dir(&into).unwrap();
    let kept = KeptTrees::below(&repos);
    let files = kept.write_out(&kept.tree_of(&base).unwrap(), &into).unwrap();
    let mut there = inventory(&fixture.user());
    there.retain(|path, _| path != ".git" && !path.starts_with(".git/"));
    assert_eq!(inventory(&into), there);
    assert_eq!(files, 5);
    let unknown = CommitId::new("a".repeat(40)).unwrap();
    assert!(matches!(kept.tree_of(&unknown), Err(WorkspaceError::Objects { .. })));
    assert!(matches!(KeptTrees::below(&into).tree_of(&base), Err(WorkspaceError::Objects { .. })));
}

#[tokio::test]
async fn no_tree_writes_outside_its_folder() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let repository = Repository::open_bare(mirror.path()).unwrap();
    let blob = repository.blob(b"planted").unwrap();
    let link = repository.blob(b"..").unwrap();
    let inner = Oid::from_str(raw_tree(&mirror, &[("100644", "planted", blob)]).as_str()).unwrap();
    let kept = KeptTrees::below(mirror.dir().parent().unwrap());
    for (position, entries) in [
        vec![("100644", "../planted", blob)],
        vec![("40000", "..", inner)],
        vec![("40000", ".git", inner)],
        vec![("100644", ".GIT", blob)],
        // A link, and then a folder of its name.
        vec![("120000", "a", link), ("40000", "a", inner)],
        vec![("120000", "a", link), ("100644", "a", blob)],
    ]
    .into_iter()
    .enumerate()
    {
        let into = fixture.root.path().join(format!("cage/out-{position}"));
        fs::create_dir_all(&into).unwrap();
        assert!(kept.write_out(&raw_tree(&mirror, &entries), &into).is_err(), "{entries:?}");
        assert!(!fixture.root.path().join("cage/planted").exists(), "{entries:?}");
    }
}

#[tokio::test]
async fn changes_are_made_again_in_any_folder_and_stay_in_it() {
    let root = tempfile::tempdir().unwrap();
    let (work, temporary) = (root.path().join("work"), root.path().join("tmp"));
    for folder in [&work, &temporary] {
        fs::create_dir(folder).unwrap();
    }
    std::os::unix::fs::symlink("..", work.join("out")).unwrap();
    let files = FolderFiles::open(&work, &temporary).unwrap();
    let planned = files.plan_write("a/b.txt".into(), "one\n".into()).await.unwrap();
    files.perform(vec![planned]).await.unwrap();
    let edit = Edit { path: "a/b.txt".into(), old_text: "one".into(), new_text: "two".into() };
    let planned = files.plan_apply(vec![edit]).await.unwrap();
    files.perform(planned).await.unwrap();
    assert_eq!(fs::read_to_string(work.join("a/b.txt")).unwrap(), "two\n");
    assert!(files.plan_write("out/planted".into(), String::new()).await.is_err());
    assert!(files.remove("out/work/a/b.txt".into()).await.is_err());
    files.remove("a/b.txt".into()).await.unwrap();
    assert!(!work.join("a/b.txt").exists() && fs::read_dir(&temporary).unwrap().next().is_none());
}

#[test]
fn texts_are_compared_line_by_line() {
    assert_eq!(unified("a\nb\n", "a\nb\n"), "");
    assert_eq!(unified("a\nb\n", "a\nc\n"), "@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
    assert_eq!(unified("", "a\n"), "@@ -0,0 +1 @@\n+a\n");
}
