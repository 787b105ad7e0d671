//! Everything that git might execute, planted where a spirit or a command can write. None of it may
//! run, whatever the host does afterwards.

use super::*;

/// What a planted program leaves behind.
struct Trap {
    program: String,
    ran: PathBuf,
}

impl Trap {
    fn new(root: &Path) -> Self {
        let (program, ran) = (root.join("payload"), root.join("ran"));
        fs::write(&program, format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\ncat\n", ran.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program: program.display().to_string(), ran }
    }

    /// A configuration in which every key that git would execute names the program.
    fn config(&self) -> String {
        let p = &self.program;
        format!(
            "[core]\n\tfsmonitor = {p}\n\thooksPath = {hooks}\n\tsshCommand = {p}\n\tpager = {p}\n\teditor = {p}\n\
             \taskPass = {p}\n\tgitProxy = {p}\n\talternateRefsCommand = {p}\n\tattributesFile = {hooks}/attributes\n\
             \tworktree = /\n\
             [filter \"evil\"]\n\tclean = {p}\n\tsmudge = {p}\n\tprocess = {p}\n\trequired = true\n\
             [diff]\n\texternal = {p}\n[diff \"evil\"]\n\tcommand = {p}\n\ttextconv = {p}\n\
             [merge \"evil\"]\n\tdriver = {p} %A\n[merge]\n\ttool = evil\n[mergetool \"evil\"]\n\tcmd = {p}\n\
             [credential]\n\thelper = !{p}\n[gpg]\n\tprogram = {p}\n[commit]\n\tgpgSign = true\n\
             [alias]\n\tls-files = !{p}\n\twrite-tree = !{p}\n\tread-tree = !{p}\n\
             [submodule \"evil\"]\n\turl = ext::{p}\n\tupdate = !{p}\n\tactive = true\n[submodule]\n\trecurse = true\n\
             [protocol]\n\tallow = always\n[protocol \"ext\"]\n\tallow = always\n\
             [remote \"origin\"]\n\turl = ext::{p}\n\tfetch = +refs/*:refs/*\n\tuploadpack = {p}\n\tvcs = evil\n\
             [uploadpack]\n\tpackObjectsHook = {p}\n[include]\n\tpath = {hooks}/more\n[init]\n\ttemplateDir = {hooks}\n\
             [extensions]\n\tworktreeConfig = true\n[gc]\n\tauto = 1\n[interactive]\n\tdiffFilter = {p}\n",
            hooks = Path::new(p).with_file_name("hooks").display(),
        )
    }

    /// Makes a repository directory as hostile as can be.
    fn plant_repository(&self, git_dir: &Path) {
        let more = Path::new(&self.program).with_file_name("hooks");
        for hooks in [&git_dir.join("hooks"), &more] {
            for hook in HOOKS {
                put(&hooks.join(hook), &fs::read_to_string(&self.program).unwrap());
                fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        put(&more.join("attributes"), "* filter=evil diff=evil merge=evil\n");
        put(&more.join("more"), "[filter \"evil\"]\n\tclean = payload\n");
        put(&git_dir.join("config"), &self.config());
        put(&git_dir.join("config.worktree"), &self.config());
        put(&git_dir.join("info/attributes"), "* filter=evil diff=evil merge=evil\n");
        put(&git_dir.join("commondir"), "../../../evil\n");
    }

    /// Fills a work tree with everything that points at the program.
    fn plant_work(&self, work: &Path) {
        let p = &self.program;
        put(&work.join(".gitattributes"), "* filter=evil diff=evil merge=evil text eol=crlf ident\n");
        put(&work.join("src/.gitattributes"), "*.rs filter=evil diff=evil merge=evil\n");
        put(&work.join(".gitconfig"), &self.config());
        put(&work.join(".config/git/config"), &self.config());
        put(
            &work.join(".gitmodules"),
            &format!("[submodule \"evil\"]\n\tpath = evil\n\turl = ext::sh -c {p}\n\tupdate = !{p}\n"),
        );
        put(&work.join("src/lib.rs"), "changed\n");
        put(&work.join("new.rs"), "new\n");
        for name in ["git", "git-remote-ext", "git-upload-pack", "ssh", "sh", "cat", "false"] {
            put(&work.join(name), &fs::read_to_string(p).unwrap());
            fs::set_permissions(work.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn assert_unsprung(&self, after: &str) {
        let ran = fs::read_to_string(&self.ran).unwrap_or_default();
        assert!(!self.ran.exists(), "after {after} these had run:\n{ran}");
    }
}

const HOOKS: &[&str] = &[
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "update",
];

/// Every operation of the host on a slot, over what was planted.
async fn work_with(trap: &Trap, slot: &Slot, base: &CommitId, place: &str) {
    let mirror = Arc::clone(&slot.place.mirror);
    let files = WorkFiles::open(slot, crate::domain::mask::Mask::default()).await.unwrap();
    let base_tree = tree_of(&mirror, base).await;
    files.list(".".into(), true).await.unwrap();
    trap.assert_unsprung(&format!("{place}: list"));
    files.status(&base_tree).await.unwrap();
    files.diff(&base_tree).await.unwrap();
    trap.assert_unsprung(&format!("{place}: status and diff"));
    let tree = slot.snapshot().await.unwrap().tree;
    trap.assert_unsprung(&format!("{place}: snapshot"));
    let done = commit(&mirror, &tree, &[base], "evil").await;
    let (other, name) = (base_tree.clone(), format!("refs/necro/{place}"));
    let (old, target) = (tree.clone(), done.clone());
    mirror
        .objects(move |o| {
            o.update_ref(&name, &target, None)?;
            o.diff(&other, &old).map(|_| ())
        })
        .await
        .unwrap();
    let aside = with_line(&mirror, base).await;
    mirror.merge(&aside, &done).await.unwrap();
    trap.assert_unsprung(&format!("{place}: commit, ref, diff, merge"));
    let _ = slot.restore(&base_tree, now()).await.unwrap();
    let _ = slot.restore(&tree, now()).await.unwrap();
    trap.assert_unsprung(&format!("{place}: restore"));
    mirror.fetch().await.unwrap();
    let branch = format!("necro/{}", place.replace(' ', "-"));
    mirror.land(&done, &branch).await.unwrap();
    trap.assert_unsprung(&format!("{place}: fetch and land"));
    let _ = slot.prepare(&done, now()).await.unwrap();
    let _ = slot.prepare(base, now()).await.unwrap();
    trap.assert_unsprung(&format!("{place}: prepare"));
}

/// Another change of the file that the attack changed.
async fn with_line(mirror: &Mirror, base: &CommitId) -> CommitId {
    let tree = tree_of(mirror, base).await;
    let files = vec![("src/lib.rs".to_owned(), Some(b"other\n".to_vec()))];
    let tree = mirror.objects(move |o| o.with_files(&tree, &files)).await.unwrap();
    commit(mirror, &tree, &[base], "other").await
}

#[tokio::test]
async fn nothing_that_is_planted_in_a_slot_is_ever_executed() {
    let fixture = Fixture::new().await;
    let trap = Trap::new(fixture.root.path());
    let (_pool, slot, base) = fixture.slot().await;
    let (work, git) = (slot.work_dir().to_owned(), slot.work_dir().with_file_name("git"));

    // The slot's own repository.
    trap.plant_repository(&git);
    trap.plant_work(&work);
    work_with(&trap, &slot, &base, "git").await;

    // `.git` in the work tree as a repository of the attacker's.
    trap.plant_work(&work);
    fs::remove_file(work.join(".git")).unwrap();
    copy(&fixture.user().join(".git"), &work.join(".git"));
    trap.plant_repository(&work.join(".git"));
    fs::remove_file(work.join(".git/commondir")).unwrap();
    work_with(&trap, &slot, &base, "dotgit").await;

    // `.git` as a file that points to one.
    trap.plant_work(&work);
    let evil = fixture.root.path().join("evil.git");
    copy(&fixture.user().join(".git"), &evil);
    trap.plant_repository(&evil);
    fs::remove_file(evil.join("commondir")).unwrap();
    fs::write(work.join(".git"), format!("gitdir: {}\n", evil.display())).unwrap();
    work_with(&trap, &slot, &base, "gitfile").await;

    // Repositories further down: one that is new, one around tracked files.
    trap.plant_work(&work);
    for folder in ["evil", "src"] {
        copy(&evil, &work.join(folder).join(".git"));
    }
    let snapshot = slot.snapshot().await.unwrap();
    assert!(snapshot.skipped.iter().any(|s| s.path == "evil/"), "{snapshot:?}");
    work_with(&trap, &slot, &base, "nested").await;

    // A link in the place of the slot's repository.
    trap.plant_work(&work);
    fs::remove_dir_all(&git).unwrap();
    std::os::unix::fs::symlink(&evil, &git).unwrap();
    work_with(&trap, &slot, &base, "link").await;
}

#[tokio::test]
async fn a_mirror_that_was_tampered_with_is_put_right_before_it_is_used() {
    let fixture = Fixture::new().await;
    let trap = Trap::new(fixture.root.path());
    let (pool, slot, base) = fixture.slot().await;
    let mirror = pool.mirror().path().to_owned();
    let before = fs::read_to_string(mirror.join("config")).unwrap();
    trap.plant_repository(&mirror);
    trap.plant_work(slot.work_dir());
    work_with(&trap, &slot, &base, "mirror").await;
    assert_eq!(fs::read_to_string(mirror.join("config")).unwrap(), before);
    assert!(!mirror.join("commondir").exists());
    trap.plant_repository(&mirror);
    fixture.mirror().await;
    trap.assert_unsprung("opening again");
}

/// The trap itself must work, or the tests above prove nothing.
#[tokio::test]
async fn the_trap_springs_when_git_is_used_carelessly() {
    let fixture = Fixture::new().await;
    let trap = Trap::new(fixture.root.path());
    put(&fixture.user().join(".gitattributes"), "* filter=evil\n");
    let config = fixture.user().join(".git/config");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}[filter \"evil\"]\n\tclean = {}\n", trap.program)).unwrap();
    let (git_dir, work) = (fixture.user().join(".git"), fixture.user());
    let index = git_dir.join("index");
    fixture.put("README.md", "changed\n");
    let call = super::super::git::Call::on(&git_dir).work_tree(&work, &index).args(["add", "-A"]);
    fixture.git.run(call).await.unwrap();
    assert!(trap.ran.exists());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_work_tree_that_was_replaced_is_neither_read_nor_cleaned() {
    let fixture = Fixture::new().await;
    let victim = fixture.root.path().join("victim");
    put(&victim.join("private.txt"), "private");
    put(&victim.join("README.md"), "the victim's");
    put(&victim.join("scratch/home/x"), "x");
    put(&victim.join("work/own"), "x");
    put(&victim.join("git/config"), "x");
    let before = inventory(&victim);
    let (_pool, slot, base) = fixture.slot().await;
    let files = WorkFiles::open(&slot, crate::domain::mask::Mask::default()).await.unwrap();
    let (work, dir) = (slot.work_dir().to_owned(), slot.work_dir().parent().unwrap().to_owned());
    for round in ["link", "slot", "scratch", "gone", "moved"] {
        match round {
            "link" => {
                fs::rename(&work, dir.join("w2")).unwrap();
                std::os::unix::fs::symlink(&victim, &work).unwrap();
            }
            "slot" => {
                fs::rename(&dir, dir.with_extension("old")).unwrap();
                std::os::unix::fs::symlink(&victim, &dir).unwrap();
            }
            "scratch" => {
                fs::remove_dir_all(slot.scratch_dir()).unwrap();
                std::os::unix::fs::symlink(&victim, slot.scratch_dir()).unwrap();
            }
            "gone" => fs::remove_dir_all(&work).unwrap(),
            _ => {
                fs::rename(&work, dir.join("w3")).unwrap();
                fs::create_dir(dir.join("other")).unwrap();
                put(&dir.join("other/moved"), "x");
                fs::rename(dir.join("other"), &work).unwrap();
            }
        }
        if round != "scratch" {
            assert!(matches!(slot.snapshot().await, Err(WorkspaceError::Replaced { .. })), "{round}");
            let opened = WorkFiles::open(&slot, crate::domain::mask::Mask::default()).await;
            assert!(matches!(opened, Err(WorkspaceError::Replaced { .. })), "{round}");
            assert!(files.write("a".to_owned(), "x".to_owned()).await.is_err(), "{round}");
            assert!(files.list(String::new(), true).await.is_err(), "{round}");
        }
        let prepared = slot.prepare(&base, now()).await.unwrap();
        match prepared.rescued {
            None => assert!(["scratch", "gone"].contains(&round), "{round}"),
            Some(Rescue::Folder { path }) => {
                assert_eq!(fs::symlink_metadata(path).unwrap().is_symlink(), round != "moved", "{round}");
            }
            Some(other) => panic!("{round}: {other} was committed"),
        }
        let real = fs::symlink_metadata(&work).unwrap();
        assert!(real.is_dir() && fs::symlink_metadata(slot.scratch_dir()).unwrap().is_dir(), "{round}");
        assert_eq!(slot.snapshot().await.unwrap().tree, tree_of(&slot.place.mirror, &base).await, "{round}");
        assert_eq!(inventory(&victim), before, "{round}");
    }
    fs::rename(&work, dir.join("w4")).unwrap();
    std::os::unix::fs::symlink(&victim, &work).unwrap();
    assert!(matches!(slot.release(now()).await.unwrap().rescued, Some(Rescue::Folder { .. })));
    assert!(fs::symlink_metadata(&work).unwrap().is_dir());
    assert_eq!(inventory(&victim), before);
}

#[tokio::test]
async fn a_tracked_link_leads_no_file_of_the_hosts_out_of_the_slot() {
    let fixture = Fixture::new().await;
    let victim = fixture.root.path().join("victim");
    put(&victim, "private");
    // Names that a careless writer could use for what it renames into place.
    for name in [".git.new", ".git.tmp", ".git.lock", ".git~", "git.new", ".new"] {
        std::os::unix::fs::symlink(&victim, fixture.user().join(name)).unwrap();
    }
    fixture.commit("links");
    let (_pool, slot, base) = fixture.slot().await;
    assert_eq!(fs::read_to_string(&victim).unwrap(), "private");
    assert_eq!(fs::read_to_string(slot.work_dir().join(".git")).unwrap(), "gitdir: ../git\n");
    assert_eq!(slot.snapshot().await.unwrap().tree, tree_of(&slot.place.mirror, &base).await);
}

#[tokio::test]
async fn trees_of_any_depth_are_removed_and_checked_out() {
    let fixture = Fixture::new().await;
    let deep = "d/".repeat(300) + "file";
    let (_pool, slot, first) = fixture.slot().await;
    put(&slot.work_dir().join(&deep), "tracked");
    let tree = slot.snapshot().await.unwrap().tree;
    let base = commit(&slot.place.mirror, &tree, &[&first], "deep").await;
    slot.mark_saved(&tree).await.unwrap();
    assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None);
    assert_eq!(fs::read_to_string(slot.work_dir().join(&deep)).unwrap(), "tracked");
    // Longer than any path may be, ignored by git, and without the right to look into it.
    let target = slot.work_dir().join("target");
    fs::create_dir(&target).unwrap();
    let mut dir = cap_std::fs::Dir::open_ambient_dir(&target, cap_std::ambient_authority()).unwrap();
    for _ in 0..3_000 {
        dir.create_dir("deep").unwrap();
        dir.write("file", "x").unwrap();
        dir = dir.open_dir("deep").unwrap();
    }
    fs::set_permissions(target.join("deep"), fs::Permissions::from_mode(0o100)).unwrap();
    let prepared = slot.prepare(&base, now()).await.unwrap();
    assert_eq!(prepared.rescued, None);
    assert!(!target.exists());
    assert_eq!(fs::read_to_string(slot.work_dir().join(&deep)).unwrap(), "tracked");
    assert!(
        fs::read_dir(slot.work_dir()).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().contains("removed"))
    );
}
