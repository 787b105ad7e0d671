//! Repositories that can be worked with, and those that can't.

use super::*;

async fn refused(fixture: &Fixture, path: &Path, base: Option<&str>) -> SourceError {
    inspect(&fixture.git, &Source::Path(path.to_owned()), base).await.unwrap_err()
}

fn init(path: &Path, bare: bool) {
    let mut options = RepositoryInitOptions::new();
    options.initial_head("main").bare(bare).external_template(false);
    Repository::init_opts(path, &options).unwrap();
}

#[tokio::test]
async fn what_can_not_be_worked_with_is_refused_by_name() {
    let fixture = Fixture::new().await;
    let root = fixture.root.path();
    assert!(matches!(refused(&fixture, &root.join("none"), None).await, SourceError::Missing { .. }));
    fs::create_dir(root.join("plain")).unwrap();
    assert!(matches!(
        refused(&fixture, &root.join("plain"), None).await,
        SourceError::NotARepository { root: None, .. }
    ));
    let inside = refused(&fixture, &fixture.user().join("src"), None).await;
    assert!(matches!(&inside, SourceError::NotARepository { root: Some(_), .. }), "{inside}");
    init(&root.join("bare"), true);
    assert!(matches!(refused(&fixture, &root.join("bare"), None).await, SourceError::Bare { .. }));
    init(&root.join("empty"), false);
    assert!(matches!(refused(&fixture, &root.join("empty"), None).await, SourceError::Empty { .. }));
    match refused(&fixture, &fixture.user(), Some("develop")).await {
        SourceError::BaseMissing { branch, existing, .. } => {
            assert_eq!((branch.as_str(), existing), ("develop", vec!["main".to_owned()]));
        }
        other => panic!("{other}"),
    }
    for (name, extension, what) in [
        ("sha256", "\tobjectformat = sha256\n", "a SHA-256 repository"),
        ("reftable", "\trefstorage = reftable\n", "a reftable repository"),
        ("other", "\tnever = heard\n", "a repository with an unknown extension"),
    ] {
        init(&root.join(name), false);
        let config = format!("[core]\n\trepositoryformatversion = 1\n[extensions]\n{extension}");
        fs::write(root.join(name).join(".git/config"), config).unwrap();
        match refused(&fixture, &root.join(name), None).await {
            SourceError::Unsupported { what: found, .. } => assert_eq!(found, what),
            other => panic!("{name}: {other}"),
        }
    }
    let repository = Repository::open(fixture.user()).unwrap();
    let head = repository.head().unwrap().target().unwrap();
    fs::write(fixture.user().join(".git/shallow"), format!("{head}\n")).unwrap();
    assert!(matches!(refused(&fixture, &fixture.user(), None).await, SourceError::Unsupported { .. }));
    fs::remove_file(fixture.user().join(".git/shallow")).unwrap();
    repository.set_head_detached(head).unwrap();
    assert!(matches!(refused(&fixture, &fixture.user(), None).await, SourceError::DetachedHead { .. }));
    assert!(inspect(&fixture.git, &Source::Path(fixture.user()), Some("main")).await.is_ok());
}

#[tokio::test]
async fn looking_at_a_dirty_repository_tells_what_is_dirty_and_changes_nothing() {
    let fixture = Fixture::new().await;
    fixture.put("README.md", "changed\n");
    fixture.put("new.txt", "new\n");
    fixture.put("target/x", "ignored\n");
    // Were the index refreshed, this file's entry would change.
    let before = inventory(&fixture.user());
    let found = inspect(&fixture.git, &Source::Path(fixture.user()), None).await.unwrap();
    assert_eq!(inventory(&fixture.user()), before);
    let dirty: Vec<(&str, bool)> = found.dirty.iter().map(|d| (d.path.as_str(), d.untracked)).collect();
    assert_eq!(dirty, [("README.md", false), ("new.txt", true)]);
    assert_eq!((found.dirty_count, found.base_branch.as_str()), (2, "main"));
}

#[tokio::test]
async fn an_address_works_like_a_path() {
    let fixture = Fixture::new().await;
    let url = format!("file://{}", fixture.user().display());
    let source = Source::parse(&url, Path::new("/")).unwrap();
    let by_url = inspect(&fixture.git, &source, None).await.unwrap();
    let by_path = inspect(&fixture.git, &Source::Path(fixture.user()), None).await.unwrap();
    assert_eq!((by_url.base_commit.clone(), by_url.branches), (by_path.base_commit, by_path.branches));
    let missing = inspect(&fixture.git, &source, Some("none")).await;
    assert!(matches!(missing, Err(SourceError::BaseMissing { .. })));
    let mirror = Mirror::open(fixture.git.clone(), &fixture.root.path().join("r"), source).await.unwrap();
    mirror.fetch().await.unwrap();
    assert_eq!(mirror.branch_tip("main").await.unwrap(), Some(by_url.base_commit));
    let nowhere = Source::Url(format!("file://{}/none", fixture.root.path().display()));
    let failed = inspect(&fixture.git, &nowhere, None).await.unwrap_err();
    assert!(matches!(failed, SourceError::Git(GitError::NotFound { .. })), "{failed}");
}

#[tokio::test]
async fn a_shallow_clone_by_address_is_refused_as_by_path_until_it_is_complete() {
    let fixture = Fixture::new().await;
    fixture.put("README.md", "two\n");
    fixture.commit("second");
    fixture.put("README.md", "three\n");
    fixture.commit("third");
    let clone = fixture.root.path().join("clone");
    let from = format!("file://{}", fixture.user().display());
    let git = |args: Vec<std::ffi::OsString>| fixture.git.run(git::Call::outside().args(args).transports("file"));
    let target = || clone.clone().into_os_string();
    git(vec!["clone".into(), "-q".into(), "--depth".into(), "1".into(), from.into(), target()]).await.unwrap();

    let by_path = refused(&fixture, &clone, None).await.to_string();
    let url = format!("file://{}", clone.display());
    let source = Source::parse(&url, Path::new("/")).unwrap();
    let mirror = Mirror::open(fixture.git.clone(), &fixture.root.path().join("r"), source.clone()).await.unwrap();
    for _ in 0..2 {
        let seen = inspect(&fixture.git, &source, None).await.unwrap();
        mirror.fetch().await.unwrap();
        let by_url = check_whole(&mirror, &seen).await.unwrap_err().to_string();
        assert_eq!(by_url.replace("file://", ""), by_path);
    }
    let complete = ["-C".into(), target(), "fetch".into(), "-q".into(), "--unshallow".into()];
    git(complete.to_vec()).await.unwrap();
    let seen = inspect(&fixture.git, &source, None).await.unwrap();
    mirror.fetch().await.unwrap();
    check_whole(&mirror, &seen).await.unwrap();
    assert_eq!(mirror.branch_tip("main").await.unwrap(), Some(seen.base_commit));
}

#[tokio::test]
async fn a_mirror_follows_its_source_and_outlives_what_is_deleted_there() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let first = mirror.branch_tip("main").await.unwrap().unwrap();
    fixture.put("README.md", "two\n");
    let second = fixture.commit("second");
    let repository = Repository::open(fixture.user()).unwrap();
    let head = repository.head().unwrap().peel_to_commit().unwrap();
    repository.branch("side/branch", &head, false).unwrap();
    // What a killed git left must not stop the next one.
    fs::write(mirror.path().join("refs/remotes/origin/main.lock"), "").unwrap();
    let begun = ["pack/tmp_pack_x1Y2z3", "tmp_object_git2_2b517c13ea74383c", "a7/tmp_obj_k3J9a1"];
    let begun = begun.map(|name| mirror.path().join("objects").join(name));
    for half in &begun {
        fs::create_dir_all(half.parent().unwrap()).unwrap();
        fs::write(half, "half").unwrap();
    }
    let mirror = fixture.mirror().await;
    for half in begun {
        assert!(!half.exists(), "{} takes space for ever", half.display());
    }
    assert_eq!(mirror.branch_tip("main").await.unwrap(), Some(second));
    assert!(mirror.branch_tip("side/branch").await.unwrap().is_some());
    repository.find_branch("side/branch", git2::BranchType::Local).unwrap().delete().unwrap();
    repository.branch("side", &head, false).unwrap();
    mirror.fetch().await.unwrap();
    assert!(mirror.branch_tip("side").await.unwrap().is_some());
    assert_eq!(mirror.branch_tip("side/branch").await.unwrap(), None);
    fs::remove_dir_all(fixture.user()).unwrap();
    let tree = tree_of(&mirror, &first).await;
    assert_eq!(read(&mirror, &tree, "README.md").await.as_deref(), Some("hello\n"));
    let gone = mirror.fetch().await.unwrap_err();
    assert!(matches!(gone, WorkspaceError::Git(GitError::NotFound { .. })), "{gone}");
}

#[tokio::test]
async fn a_fetch_without_news_starts_no_git() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    // Git is started in its home directory, so without that it cannot be.
    fs::remove_dir_all(fixture.root.path().join("state/git-home")).unwrap();
    mirror.fetch().await.unwrap();
    fixture.put("README.md", "two\n");
    fixture.commit("second");
    let news = mirror.fetch().await.unwrap_err();
    assert!(matches!(news, WorkspaceError::Git(GitError::Io { .. })), "{news}");
    fs::create_dir_all(fixture.root.path().join("state/git-home")).unwrap();
    mirror.fetch().await.unwrap();
    let repository = Repository::open(fixture.user()).unwrap();
    let head = repository.head().unwrap().peel_to_commit().unwrap();
    assert_eq!(mirror.branch_tip("main").await.unwrap().unwrap().as_str(), head.id().to_string());
    // A branch that is gone is news, too.
    repository.branch("side", &head, false).unwrap();
    mirror.fetch().await.unwrap();
    repository.find_branch("side", git2::BranchType::Local).unwrap().delete().unwrap();
    mirror.fetch().await.unwrap();
    assert_eq!(mirror.branch_tip("side").await.unwrap(), None);
}
