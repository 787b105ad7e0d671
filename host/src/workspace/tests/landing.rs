//! Landing, and that nothing else ever reaches the user's repository.

use super::*;

#[tokio::test]
async fn a_repository_with_its_own_state_keeps_its_mirror_wherever_it_is_moved() {
    let fixture = Fixture::new().await;
    let (here, there) = (fixture.user(), fixture.root.path().join("moved"));
    let repos = |root: &Path| root.join(".necro/repos");
    let open = async |root: &Path| {
        Mirror::open(fixture.git.clone(), &repos(root), Source::Path(root.to_owned())).await.unwrap()
    };
    fs::create_dir_all(repos(&here)).unwrap();
    let mirror = open(&here).await;
    mirror.fetch().await.unwrap();
    let tip = mirror.branch_tip("main").await.unwrap();
    fs::rename(&here, &there).unwrap();
    assert_eq!(open(&there).await.branch_tip("main").await.unwrap(), tip);
    assert_eq!(other_source(&repos(&there), &Source::Path(there.clone())), None);
    let stranger = Source::parse("https://example.org/app.git", Path::new("/")).unwrap();
    let other = other_source(&repos(&there), &stranger).unwrap();
    assert_eq!(other.name, there.display().to_string());

    // The state directory goes elsewhere, the repository stays; then that is moved, and a person says so.
    let outside = fixture.root.path().join("outside/repos");
    fs::create_dir(outside.parent().unwrap()).unwrap();
    fs::rename(repos(&there), &outside).unwrap();
    let again = Source::Path(there.clone());
    assert_eq!(other_source(&outside, &again), None);
    let mirror = Mirror::open(fixture.git.clone(), &outside, again).await.unwrap();
    assert_eq!(mirror.branch_tip("main").await.unwrap(), tip);
    let away = Source::Path(fixture.root.path().join("away"));
    fs::rename(&there, fixture.root.path().join("away")).unwrap();
    let other = other_source(&outside, &away).unwrap();
    fs::write(other.note, format!("{}\n", away.display())).unwrap();
    assert_eq!(other_source(&outside, &away), None);
    let mirror = Mirror::open(fixture.git.clone(), &outside, away).await.unwrap();
    assert_eq!(mirror.branch_tip("main").await.unwrap(), tip);
}

/// A commit on top of `main` that is only in the mirror.
async fn work(mirror: &Mirror, base: &CommitId, text: &str) -> CommitId {
    let tree = tree_of(mirror, base).await;
    let files = vec![("done.txt".to_owned(), Some(text.as_bytes().to_vec()))];
    let tree = mirror.objects(move |o| o.with_files(&tree, &files)).await.unwrap();
    commit(mirror, &tree, &[base], "work").await
}

fn target(fixture: &Fixture, name: &str) -> Option<String> {
    let repository = Repository::open(fixture.user()).unwrap();
    repository.find_reference(name).ok().and_then(|r| r.target()).map(|t| t.to_string())
}

#[tokio::test]
async fn a_branch_is_made_moved_forward_and_never_back() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let one = work(&mirror, &base, "1").await;
    let two = work(&mirror, &one, "2").await;
    let aside = work(&mirror, &base, "3").await;
    let name = "refs/heads/necro/認証";
    assert_eq!(mirror.land(&one, "necro/認証").await.unwrap(), Landed::Created);
    assert_eq!(target(&fixture, name), Some(one.to_string()));
    assert_eq!(mirror.land(&one, "necro/認証").await.unwrap(), Landed::AlreadyThere);
    assert_eq!(mirror.land(&two, "necro/認証").await.unwrap(), Landed::Moved { from: one.clone() });
    for other in [&one, &aside] {
        let refused = mirror.land(other, "necro/認証").await.unwrap_err();
        assert!(
            matches!(&refused, LandError::NotFastForward { theirs, .. } if *theirs == two.to_string()),
            "{refused}"
        );
    }
    assert_eq!(target(&fixture, name), Some(two.to_string()));
    let repository = Repository::open(fixture.user()).unwrap();
    let landed = repository.find_commit(git2::Oid::from_str(two.as_str()).unwrap()).unwrap();
    assert!(landed.tree().unwrap().get_name("done.txt").is_some(), "its objects are there");
}

#[tokio::test]
async fn a_branch_that_somebody_works_on_or_that_clashes_is_refused() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let one = work(&mirror, &base, "1").await;
    let checked_out = |e: LandError| matches!(e, LandError::CheckedOut { .. });
    assert!(checked_out(mirror.land(&one, "main").await.unwrap_err()));
    let repository = Repository::open(fixture.user()).unwrap();
    let head = repository.head().unwrap().peel_to_commit().unwrap();
    // In a second work tree.
    let branch = repository.branch("necro/b", &head, false).unwrap();
    let mut options = git2::WorktreeAddOptions::new();
    options.reference(Some(branch.get()));
    repository.worktree("second", &fixture.root.path().join("second"), Some(&options)).unwrap();
    assert!(checked_out(mirror.land(&one, "necro/b").await.unwrap_err()));
    // Checked out although it does not exist yet.
    fs::write(fixture.user().join(".git/HEAD"), "ref: refs/heads/necro/unborn\n").unwrap();
    assert!(checked_out(mirror.land(&one, "necro/unborn").await.unwrap_err()));
    fs::write(fixture.user().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    for (existing, branch) in [("clash", "clash/x"), ("deep/er", "deep")] {
        repository.branch(existing, &head, false).unwrap();
        let refused = mirror.land(&one, branch).await.unwrap_err();
        assert!(matches!(&refused, LandError::BranchInTheWay { existing: e, .. } if e == existing), "{refused}");
    }
    let elsewhere = Source::Url(format!("file://{}", fixture.user().display()));
    let mirror = Mirror::open(fixture.git.clone(), &fixture.root.path().join("r"), elsewhere).await.unwrap();
    assert!(matches!(mirror.land(&one, "necro/x").await, Err(LandError::NotLocal { .. })));
}

#[tokio::test]
async fn only_the_owner_of_the_state_takes_locks_away() {
    let fixture = Fixture::new().await;
    let (repos, source) = (fixture.root.path().join("state/repos"), Source::Path(fixture.user()));
    let open = || Mirror::open_existing(fixture.git.clone(), &repos, source.clone());
    assert!(open().await.unwrap().is_none());
    assert!(!repos.exists(), "a look made something");
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let one = work(&mirror, &base, "1").await;
    let held = mirror.path().join("refs/heads/held.lock");
    fs::write(&held, "").unwrap();
    let beside = open().await.unwrap().unwrap();
    assert_eq!(beside.land(&one, "necro/x").await.unwrap(), Landed::Created);
    assert!(held.exists(), "a lock of a process that may be alive is gone");
    fixture.mirror().await;
    assert!(!held.exists(), "the owner is kept from working by a lock that nobody has");
}

#[tokio::test]
async fn the_users_checkout_is_the_same_byte_for_byte() {
    let fixture = Fixture::new().await;
    let user = fixture.user();
    let ran = fixture.root.path().join("ran");
    let payload = format!("#!/bin/sh\ntouch '{}'\n", ran.display());
    for hook in ["reference-transaction", "post-checkout", "post-merge", "pre-push", "post-update", "post-index-change"]
    {
        put(&user.join(".git/hooks").join(hook), &payload);
        fs::set_permissions(user.join(".git/hooks").join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let hook = user.join(".git/hooks/post-merge");
    let config = fs::read_to_string(user.join(".git/config")).unwrap();
    let hook = hook.display();
    let config = format!(
        "{config}[core]\n\tfsmonitor = {hook}\n[fetch]\n\twriteCommitGraph = true\n\
         [uploadpack]\n\tpackObjectsHook = {hook}\n"
    );
    fs::write(user.join(".git/config"), config).unwrap();
    // Work in progress: staged, unstaged, untracked, ignored.
    fixture.put("src/lib.rs", "staged\n");
    let repository = Repository::open(&user).unwrap();
    let mut index = repository.index().unwrap();
    index.add_path(Path::new("src/lib.rs")).unwrap();
    index.write().unwrap();
    fixture.put("src/lib.rs", "unstaged\n");
    fixture.put("untracked", "x");
    fixture.put("target/x", "x");
    let before = inventory(&user);

    inspect(&fixture.git, &Source::Path(user.clone()), None).await.unwrap();
    let (pool, slot, base) = fixture.slot().await;
    put(&slot.work_dir().join("done.txt"), "x");
    let tree = slot.snapshot().await.unwrap().tree;
    let done = commit(pool.mirror(), &tree, &[&base], "done").await;
    pool.mirror().merge(&base, &done).await.unwrap();
    let _ = slot.release(now()).await.unwrap();
    assert_eq!(inventory(&user), before, "before landing nothing at all is different");

    pool.mirror().land(&done, "necro/spec").await.unwrap();
    let mut after = inventory(&user);
    let new: Vec<String> = after.keys().filter(|k| !before.contains_key(*k)).cloned().collect();
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after, before, "nothing that was there is different");
    let expected = ["objects", "refs/heads/necro", "logs/refs/heads/necro"].map(|p| format!(".git/{p}"));
    for path in new {
        assert!(expected.iter().any(|e| path.starts_with(e.as_str())), "{path} is new");
    }
    assert!(!ran.exists(), "a hook ran");
}
