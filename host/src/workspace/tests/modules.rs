//! Submodules that the operator asked for: there to be read, never lost, never more than what the base commit names.

use super::*;
use crate::workspace::place::Way;

const AT: &str = "vendor/lib";

/// A repository beside the user's, of which the user has a copy where git keeps submodules.
struct Library {
    fixture: Fixture,
    library: Repository,
}

impl Library {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let library = Repository::init(fixture.user().with_file_name("library")).unwrap();
        let this = Self { fixture, library };
        let first = this.publish("lib.txt", "one\n");
        let kept = this.fixture.user().join(".git/modules/lib");
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        let from = this.library.path().to_str().unwrap();
        git2::build::RepoBuilder::new().bare(true).clone(from, &kept).unwrap();
        this.fixture.put(".gitmodules", "[submodule \"lib\"]\n\tpath = vendor/lib\n\turl = ext::sh -c true\n");
        this.link(first);
        this
    }

    /// A commit of the library.
    fn publish(&self, path: &str, text: &str) -> git2::Oid {
        put(&self.library.workdir().unwrap().join(path), text);
        let mut index = self.library.index().unwrap();
        index.add_path(Path::new(path)).unwrap();
        index.write().unwrap();
        let tree = self.library.find_tree(index.write_tree().unwrap()).unwrap();
        let who = Signature::new("L", "l@e", &Time::new(1, 0)).unwrap();
        let parent = self.library.head().ok().and_then(|head| head.peel_to_commit().ok());
        let parents: Vec<_> = parent.iter().collect();
        self.library.commit(Some("HEAD"), &who, &who, path, &tree, &parents).unwrap()
    }

    /// A commit of the user's that links to one of the library.
    fn link(&self, to: git2::Oid) {
        let repository = Repository::open(self.fixture.user()).unwrap();
        let mut index = repository.index().unwrap();
        index.add_path(Path::new(".gitmodules")).unwrap();
        let mut entry = index.get_path(Path::new(".gitmodules"), 0).unwrap();
        (entry.path, entry.mode, entry.id) = (AT.as_bytes().to_vec(), 0o160_000, to);
        index.add(&entry).unwrap();
        index.write().unwrap();
        let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
        let who = Signature::new("U", "u@e", &Time::new(1, 0)).unwrap();
        let parent = repository.head().unwrap().peel_to_commit().unwrap();
        repository.commit(Some("HEAD"), &who, &who, "link", &tree, &[&parent]).unwrap();
    }

    async fn slot(&self) -> (SlotPool, Slot, CommitId) {
        let mirror = self.fixture.mirror().await;
        let base = mirror.branch_tip("main").await.unwrap().unwrap();
        mirror.with_modules(&base).await.unwrap();
        let pool = pool(mirror, 2);
        let slot = pool.acquire(terms("test")).await.unwrap().unwrap();
        assert_eq!(slot.prepare(&base, now()).await.unwrap().rescued, None);
        (pool, slot, base)
    }
}

fn text(slot: &Slot, path: &str) -> String {
    fs::read_to_string(slot.work_dir().join(AT).join(path)).unwrap_or_default()
}

#[tokio::test]
async fn a_submodule_is_in_the_slot_and_no_part_of_what_is_committed() {
    let library = Library::new().await;
    let (pool, slot, base) = library.slot().await;
    let wanted = tree_of(pool.mirror(), &base).await;
    assert_eq!(text(&slot, "lib.txt"), "one\n");
    assert!(!slot.work_dir().join(AT).join(".git").exists());
    let snapshot = slot.snapshot().await.unwrap();
    assert_eq!((snapshot.tree, snapshot.skipped, snapshot.is_all), (wanted, vec![], true));
    assert_eq!(slot.place.step(&base).await.unwrap(), Way::Whole, "it need not be written again");

    let second = library.publish("more.txt", "two\n");
    let kept = Repository::open(library.fixture.user().join(".git/modules/lib")).unwrap();
    kept.find_remote("origin").unwrap().fetch(&["+refs/heads/*:refs/heads/*"], None, None).unwrap();
    library.link(second);
    pool.mirror().fetch().await.unwrap();
    let next = pool.mirror().branch_tip("main").await.unwrap().unwrap();
    for (commit, more) in [(&next, "two\n"), (&base, ""), (&next, "two\n")] {
        assert_eq!(slot.prepare(commit, now()).await.unwrap().rescued, None);
        assert_eq!((text(&slot, "lib.txt").as_str(), text(&slot, "more.txt").as_str()), ("one\n", more));
    }
}

#[tokio::test]
async fn a_change_in_a_submodule_is_named_and_kept_and_never_committed() {
    let library = Library::new().await;
    let (pool, slot, base) = library.slot().await;
    let wanted = tree_of(pool.mirror(), &base).await;
    let inner = slot.work_dir().join(AT);
    let changes: [(&str, &str); 3] = [("lib.txt", "mine\n"), ("mine.txt", "mine\n"), (".git", "gitdir: /nowhere\n")];
    for (path, content) in changes {
        put(&inner.join(path), content);
        let snapshot = slot.snapshot().await.unwrap();
        let skipped: Vec<_> = snapshot.skipped.iter().map(|one| (one.path.as_str(), one.reason)).collect();
        assert_eq!((&snapshot.tree, skipped), (&wanted, vec![(AT, SkipReason::Submodule)]), "{path}");
        let Some(Rescue::Folder { path: kept }) = slot.prepare(&base, now()).await.unwrap().rescued else {
            panic!("{path} was not kept")
        };
        assert_eq!(fs::read_to_string(kept.join(AT).join(path)).unwrap(), content);
        assert_eq!((text(&slot, "lib.txt").as_str(), inner.join(path).exists()), ("one\n", path == "lib.txt"));
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_in_words() {
    for (gitmodules, part) in [
        ("[submodule \"lib\"]\n\tpath = ../outside\n\turl = x\n", "none of a folder in the repository"),
        ("[submodule \"lib\"]\n\tpath = .git/hooks\n\turl = x\n", "none of a folder in the repository"),
        ("[submodule \"../lib\"]\n\tpath = vendor/lib\n\turl = x\n", "none of a folder in the repository"),
        ("[submodule \"other\"]\n\tpath = vendor/lib\n\turl = x\n", "type `git submodule update --init` there"),
        ("[submodule \"lib\"\n", "bad config"),
    ] {
        let library = Library::new().await;
        library.fixture.put(".gitmodules", gitmodules);
        library.fixture.commit("change");
        let mirror = library.fixture.mirror().await;
        let base = mirror.branch_tip("main").await.unwrap().unwrap();
        let error = mirror.with_modules(&base).await.unwrap_err().to_string();
        assert!(error.contains(part), "{gitmodules}: {error}");
    }
}

#[tokio::test]
async fn of_an_include_in_the_file_nothing_is_read() {
    let library = Library::new().await;
    let trap = library.fixture.user().with_file_name("trap");
    put(&trap, "[submodule \"evil\"]\n\tpath = ../evil\n");
    let whole = format!("[include]\n\tpath = {}\n[submodule \"lib\"]\n\tpath = {AT}\n\turl = x\n", trap.display());
    library.fixture.put(".gitmodules", &whole);
    library.fixture.commit("include");
    let mirror = library.fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    mirror.with_modules(&base).await.unwrap();
    assert_eq!(mirror.modules.get().unwrap().len(), 1);
}
