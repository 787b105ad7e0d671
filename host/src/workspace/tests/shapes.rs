//! Repositories of unusual shapes: each is worked with as it is, and nothing that it names is started.

use super::*;

/// A pointer as git LFS writes it.
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";

type Make = fn(&Fixture);

fn commit_index(fixture: &Fixture, change: impl FnOnce(&mut git2::Index)) {
    let repository = Repository::open(fixture.user()).unwrap();
    let mut index = repository.index().unwrap();
    change(&mut index);
    index.write().unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let who = Signature::new("User", "user@example.org", &Time::new(1_000_000_001, 0)).unwrap();
    let parent = repository.head().unwrap().peel_to_commit().unwrap();
    repository.commit(Some("HEAD"), &who, &who, "shape", &tree, &[&parent]).unwrap();
}

fn blob(path: &str, mode: u32, id: git2::Oid) -> git2::IndexEntry {
    let time = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: time,
        mtime: time,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

fn configure(fixture: &Fixture, text: &str) {
    let config = fixture.user().join(".git/config");
    fs::write(&config, fs::read_to_string(&config).unwrap() + text).unwrap();
}

/// Programs that leave `trap` behind if anybody starts them.
fn plant(fixture: &Fixture) {
    let trap = fixture.root.path().join("trap");
    let spring = fixture.root.path().join("spring");
    put(&spring, &format!("#!/bin/sh\ntouch {}\ncat\n", trap.display()));
    fs::set_permissions(&spring, fs::Permissions::from_mode(0o755)).unwrap();
    let spring = spring.display();
    configure(
        fixture,
        &format!(
            "[core]\n\tfsmonitor = {spring}\n\tsshCommand = {spring}\n\tpager = {spring}\n[credential]\n\thelper = {spring}\n\
             [filter \"lfs\"]\n\tsmudge = {spring}\n\tclean = {spring}\n\tprocess = {spring}\n\trequired = true\n\
             [diff \"x\"]\n\ttextconv = {spring}\n\tcommand = {spring}\n[merge \"x\"]\n\tdriver = {spring}\n\
             [uploadpack]\n\tpackObjectsHook = {spring}\n[alias]\n\tfetch = !{spring}\n\tls-files = !{spring}\n"
        ),
    );
    for hook in ["pre-commit", "post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "pre-push"]
    {
        let path = fixture.user().join(".git/hooks").join(hook);
        put(&path, &format!("#!/bin/sh\n{spring}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

const SHAPES: &[(&str, Make)] = &[
    ("links out of the tree, to nowhere and in a circle", |fixture| {
        for (name, target) in [("passwd", "/etc/passwd"), ("up", "../../.."), ("none", "nowhere"), ("round", "round")] {
            std::os::unix::fs::symlink(target, fixture.user().join(name)).unwrap();
        }
        fixture.commit("links");
    }),
    ("names that differ by case alone", |fixture| {
        fixture.put("Readme.md", "one\n");
        fixture.put("SRC/lib.rs", "two\n");
        fixture.commit("case");
    }),
    ("names in two normal forms, and odd ones", |fixture| {
        for name in ["caf\u{e9}", "cafe\u{301}", "呪文 書", "-rf", "a\\b", "new\nline", "q\"uote", ":(top)x", "*"] {
            fixture.put(name, "x\n");
        }
        fixture.commit("names");
    }),
    ("a submodule that is not fetched", |fixture| {
        fixture.put(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = ext::sh -c true\n\tupdate = !true\n");
        fixture.commit("modules");
        let head = Repository::open(fixture.user()).unwrap().head().unwrap().target().unwrap();
        commit_index(fixture, |index| index.add(&blob("sub", 0o160_000, head)).unwrap());
    }),
    ("large files of LFS, as pointers", |fixture| {
        fixture.put(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        let repository = Repository::open(fixture.user()).unwrap();
        let id = repository.blob(POINTER.as_bytes()).unwrap();
        fixture.put("a.bin", POINTER);
        commit_index(fixture, |index| {
            index.add_path(Path::new(".gitattributes")).unwrap();
            index.add(&blob("a.bin", 0o100_644, id)).unwrap();
        });
    }),
    ("line ends, idents and encodings that attributes would convert", |fixture| {
        fixture.put(".gitattributes", "* text=auto eol=crlf ident working-tree-encoding=UTF-16 diff=x merge=x\n");
        let repository = Repository::open(fixture.user()).unwrap();
        let id = repository.blob(b"a\r\nb\n$Id: 1 $\n").unwrap();
        commit_index(fixture, |index| index.add(&blob("mixed.txt", 0o100_644, id)).unwrap());
    }),
    ("hooks, a monitor, filters, drivers, helpers and aliases", |fixture| {
        fixture.put(".gitattributes", "*.md filter=lfs diff=x merge=x\n");
        fixture.commit("attributes");
        plant(fixture);
    }),
    ("a default branch with another name", |fixture| {
        let repository = Repository::open(fixture.user()).unwrap();
        repository.find_branch("main", git2::BranchType::Local).unwrap().rename("trunk", false).unwrap();
    }),
];

#[tokio::test]
async fn repositories_of_every_shape_are_worked_with_as_they_are() {
    for (shape, make) in SHAPES {
        let fixture = Fixture::new().await;
        // The mirror has seen the repository as it was before.
        drop(fixture.mirror().await);
        make(&fixture);
        let seen = inspect(&fixture.git, &Source::Path(fixture.user()), None).await.unwrap();
        let mirror = fixture.mirror().await;
        let base = mirror.branch_tip(&seen.base_branch).await.unwrap();
        assert_eq!(base.as_ref(), Some(&seen.base_commit), "{shape}");
        let base = base.unwrap();
        let tree = tree_of(&mirror, &base).await;
        let slot = pool(Arc::clone(&mirror), 1).acquire(terms("test")).await.unwrap().unwrap();
        assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None, "{shape}");
        let found = slot.snapshot().await.unwrap();
        assert_eq!((found.tree, found.skipped.len()), (tree, 0), "{shape}");
        put(&slot.work_dir().join("new.txt"), "new\n");
        let snapshot = slot.snapshot().await.unwrap();
        let work = commit(&mirror, &snapshot.tree, &[&base], "work").await;
        assert!(matches!(mirror.merge(&base, &work).await.unwrap(), MergeOutcome::Clean { .. }), "{shape}");
        assert_eq!(mirror.land(&work, "necro/shape").await.unwrap(), Landed::Created, "{shape}");
        assert!(!fixture.root.path().join("trap").exists(), "{shape}: something was started");
    }
}

#[tokio::test]
async fn a_sparse_checkout_of_the_users_is_neither_dirty_nor_carried_over() {
    let fixture = Fixture::new().await;
    configure(&fixture, "[core]\n\tsparseCheckout = true\n");
    let repository = Repository::open(fixture.user()).unwrap();
    let mut index = repository.index().unwrap();
    let mut entry = index.get_path(Path::new("src/lib.rs"), 0).unwrap();
    entry.flags |= 0x4000;
    entry.flags_extended |= 0x4000;
    index.add(&entry).unwrap();
    index.write().unwrap();
    fs::remove_dir_all(fixture.user().join("src")).unwrap();
    let seen = inspect(&fixture.git, &Source::Path(fixture.user()), None).await.unwrap();
    assert_eq!((seen.dirty.len(), seen.dirty_count), (0, 0));
    let (_pool, slot, _) = fixture.slot().await;
    assert!(slot.work_dir().join("src/lib.rs").exists());
}
