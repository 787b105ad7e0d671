//! Files on disk and a real registry: what each side takes from the other, what happens in between, and
//! everything that has to be refused without a change on either side.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::domain::event::Body;
use crate::domain::id::{Instance, RunId, SlotId, TaskKey};
use crate::domain::task::{Assigned, TaskState};
use crate::registry::Claim;
use crate::service::office::Office;

const NOW: &str = "2026-11-22T10:00:00Z";

const FILE: &str = "# P\r\n\n- [ ] 1. a\n  - [ ] 1.1 b\n    - _Depends: none_\n  - [ ] 1.2 c\n    - _Depends: none_\n\
                    - [ ] 2. d\n  - _Depends: 1_\n- [ ]* 3. e\n  - _Depends: none_\n";

/// A checkout with one spec and its state directory.
struct Checkout {
    dir: tempfile::TempDir,
    state: StateDir,
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(NOW.parse().unwrap()))
}

fn spec() -> SpecName {
    SpecName::new("shop").unwrap()
}

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn ids(list: &Listed) -> Vec<&str> {
    assert_eq!(list.count, list.tasks.len());
    list.tasks.iter().map(TaskId::as_str).collect()
}

impl Checkout {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join(".necro"), None).unwrap();
        let checkout = Self { dir, state };
        fs::create_dir_all(checkout.file().parent().unwrap()).unwrap();
        checkout.write(text);
        drop(checkout.registry());
        checkout
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(".kiro/specs/shop/tasks.md")
    }

    fn place(&self) -> SpecPlace {
        SpecPlace { spec: spec(), path: self.file().canonicalize().unwrap() }
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.file(), text).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn set(&self, boxes: &[(&str, char)]) {
        self.write(with(&self.text(), boxes));
    }

    fn registry(&self) -> Registry {
        let blobs = BlobStore::open(self.state.blobs()).unwrap();
        Registry::open(&self.state.registry(), clock(), blobs).unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.state.registry(), BlobStore::open(self.state.blobs()).unwrap()).unwrap()
    }

    fn states(&self) -> BTreeMap<String, TaskState> {
        let tasks = self.reader().tasks(&spec()).unwrap();
        tasks.into_iter().map(|task| (task.key.task.to_string(), task.state)).collect()
    }

    fn events(&self) -> Vec<String> {
        let events = self.reader().events(&crate::registry::EventFilter::default()).unwrap();
        let task = |subject: &crate::domain::event::Subject| {
            subject.task.as_ref().map(|task| format!(" {task}")).unwrap_or_default()
        };
        events.iter().map(|event| format!("{}{}", event.body.name(), task(&event.subject))).collect()
    }

    fn request(&self, specs: &[&str], dry_run: bool) -> SyncRequest {
        SyncRequest {
            repository: self.dir.path().display().to_string(),
            cwd: self.dir.path().to_owned(),
            state: None,
            specs: specs.iter().map(|spec| (*spec).to_owned()).collect(),
            dry_run,
        }
    }

    async fn try_sync(&self) -> Result<Synced, ServiceError> {
        Ok(sync(self.request(&[], false), clock()).await?.remove(0))
    }

    async fn sync(&self) -> Synced {
        self.try_sync().await.unwrap()
    }

    /// Takes a task through an attempt to its end.
    async fn work(&self, task: &str, end: Option<Body>) {
        let registry = self.registry();
        let key = TaskKey { spec: spec(), task: id(task) };
        let wanted = key.clone();
        let found = registry.read(move |reader| reader.task(&wanted)).await.unwrap().unwrap();
        let assigned = Assigned {
            instance: Instance::new("backend_spirit_1").unwrap(),
            slot: SlotId::new("slot-1").unwrap(),
            branch: "b".to_owned(),
            runner: "r".to_owned(),
        };
        let (run, reason) = (RunId::new("run-1").unwrap(), String::new());
        let claim = Claim {
            run: Some(run.clone()),
            key: key.clone(),
            expected_version: found.version,
            assigned,
            reason,
            scheduling: None,
            routing: None,
        };
        let claimed = registry.claim(claim).await.unwrap();
        if let Some(body) = end {
            registry.transition(&run, &key, claimed.version, Some(claimed.attempts), body).await.unwrap();
        }
    }

    async fn reopen(&self, task: &str) {
        let registry = self.registry();
        let key = TaskKey { spec: spec(), task: id(task) };
        let wanted = key.clone();
        let found = registry.read(move |reader| reader.task(&wanted)).await.unwrap().unwrap();
        let body = Body::TaskReopened { from: found.state, reason: "again".to_owned() };
        registry.transition(&RunId::new("run-1").unwrap(), &key, found.version, None, body).await.unwrap();
    }

    fn verified(&self) {
        let report = self.reader().verify().unwrap();
        assert!(report.passed(), "{:?}", report.differences);
    }
}

fn merged() -> Body {
    Body::TaskCompleted { commit: None, reason: "merged".to_owned() }
}

fn with(file: &str, boxes: &[(&str, char)]) -> String {
    boxes.iter().fold(file.to_owned(), |file, (task, state)| {
        let at = [format!("] {task} "), format!("] {task}. "), format!("]* {task}. ")];
        let at = at.iter().find_map(|text| file.find(text)).unwrap_or_else(|| panic!("{task} in {file}"));
        format!("{}{state}{}", &file[..at - 1], &file[at..])
    })
}

#[tokio::test]
async fn each_side_takes_from_the_other_what_is_the_other_s() {
    let checkout = Checkout::new(&with(FILE, &[("1.1", 'x')]));
    let first = checkout.sync().await;
    assert_eq!((ids(&first.added), ids(&first.ticked)), (vec!["1", "1.1", "1.2", "2", "3"], vec!["1.1"]));
    assert_eq!(ids(&first.boxes), Vec::<&str>::new());
    // From the registry to the file, and the parent with its last part.
    checkout.work("1.2", Some(merged())).await;
    checkout.work("3", None).await;
    let second = checkout.sync().await;
    assert_eq!(ids(&second.boxes), ["1", "1.2", "3"]);
    assert_eq!(checkout.text(), with(FILE, &[("1", 'x'), ("1.1", 'x'), ("1.2", 'x'), ("3", '-')]));
    assert_eq!(checkout.states()["2"], TaskState::Ready);
    // From the file to the registry: content, a tick, and a box that was cleared.
    let version =
        |task: &str| checkout.reader().task(&TaskKey { spec: spec(), task: id(task) }).unwrap().unwrap().version;
    let (before, old) = (checkout.events().len(), version("3"));
    checkout.set(&[("1.1", ' '), ("2", 'x')]);
    checkout.write(checkout.text().replace(" d\n", " D\n"));
    let third = checkout.sync().await;
    assert_eq!((ids(&third.opened), ids(&third.ticked), ids(&third.changed)), (vec!["1.1"], vec!["2"], vec!["2"]));
    assert_eq!(ids(&third.boxes), ["1"]);
    assert_eq!(
        checkout.events()[before..],
        [
            "TaskUpdated 2",
            "TaskCompleted 2",
            "TaskReopened 1.1",
            "TaskReady 1.1",
            "TaskReopened 1",
            "SpecSynced",
            "SpecSynced"
        ]
    );
    assert_eq!(version("3"), old, "a task that nobody spoke of has a new version");
    checkout.verified();
}

#[tokio::test]
async fn when_nothing_has_changed_nothing_is_recorded_or_written() {
    let checkout = Checkout::new(FILE);
    checkout.sync().await;
    checkout.work("1.1", Some(merged())).await;
    checkout.sync().await;
    let seen = || {
        let file = checkout.file().metadata().unwrap();
        let tasks = checkout.reader().tasks(&spec()).unwrap();
        (checkout.events(), tasks, file.ino(), file.mtime_nsec(), file.ctime_nsec())
    };
    let before = seen();
    let nothing = Synced::nothing(&checkout.place(), false);
    for _ in 0..2 {
        assert_eq!(checkout.sync().await, nothing);
        assert_eq!(seen(), before);
    }
    // What no task says is nobody's business here.
    checkout.write(format!("{}\nNotes.\n", checkout.text()));
    let before = seen();
    assert_eq!(checkout.sync().await, Synced { changed: checkout_change(), ..nothing });
    assert_eq!(seen().2, before.2, "the file was replaced");
}

/// A paragraph at the end of the file belongs to its last task.
fn checkout_change() -> Listed {
    Listed { count: 1, tasks: vec![id("3")] }
}

#[tokio::test]
async fn an_edit_while_the_registry_is_told_is_taken_into_account() {
    for by_rename in [false, true] {
        let checkout = Checkout::new(FILE);
        checkout.sync().await;
        checkout.work("1.1", Some(merged())).await;
        let registry = checkout.registry();
        let (place, runtime, mut edits) = (checkout.place(), tokio::runtime::Handle::current(), 0);
        let (file, text) = (checkout.file(), checkout.text());
        let synced = tokio::task::spawn_blocking(move || {
            step::sync(&registry, &runtime, &place, false, || {
                edits += 1;
                let edited = match edits {
                    1 => with(&text, &[("3", 'x')]),
                    2 => format!("{}- [ ] 4. f\n", with(&text, &[("3", 'x')])),
                    _ => return,
                };
                let other = file.with_extension("editor");
                fs::write(if by_rename { &other } else { &file }, edited).unwrap();
                if by_rename {
                    fs::rename(other, &file).unwrap();
                }
            })
        });
        let synced = synced.await.unwrap().unwrap();
        assert_eq!((ids(&synced.ticked), ids(&synced.added), ids(&synced.opened)), (vec!["3"], vec!["4"], vec![]));
        assert_eq!(checkout.text(), format!("{}- [ ] 4. f\n", with(FILE, &[("1.1", 'x'), ("3", 'x')])));
        assert_eq!(checkout.states()["3"], TaskState::Done);
        assert_eq!(checkout.sync().await, Synced::nothing(&checkout.place(), false), "{by_rename}");
        checkout.verified();
    }
}

#[tokio::test]
async fn an_edit_that_breaks_the_file_meanwhile_stays_in_place() {
    let checkout = Checkout::new(FILE);
    checkout.sync().await;
    checkout.work("1.1", Some(merged())).await;
    let (registry, place) = (checkout.registry(), checkout.place());
    let (runtime, file) = (tokio::runtime::Handle::current(), checkout.file());
    let broken = "- [ ] 1. a\n- [ ] 1. b\n";
    let synced = tokio::task::spawn_blocking(move || {
        step::sync(&registry, &runtime, &place, false, || fs::write(&file, broken).unwrap())
    });
    let synced = synced.await.unwrap().unwrap();
    assert!(synced.refused && synced.diagnostics.iter().any(|found| found.code == "tasks/duplicate-id"));
    assert_eq!(checkout.text(), broken);
    assert_eq!(checkout.states()["1.1"], TaskState::Done);
    checkout.write(FILE);
    assert_eq!(ids(&checkout.sync().await.boxes), ["1.1"], "it is made good by the next");
}

#[tokio::test]
async fn an_owner_with_a_run_does_it_and_attempts_at_work_are_not_disturbed() {
    let checkout = Checkout::new(FILE);
    let (stop, _) = watch::channel(false);
    let owned = Owned::take(&checkout.state, NOW.parse().unwrap(), &stop).unwrap();
    owned.works_in(Office::quiet(Some((RunId::new("run-1").unwrap(), spec())), checkout.registry()));
    checkout.sync().await;
    checkout.work("1.1", None).await;
    checkout.sync().await;
    assert_eq!(checkout.text(), with(FILE, &[("1.1", '-')]));
    checkout.set(&[("1.1", 'x'), ("1.2", 'x')]);
    let synced = checkout.sync().await;
    assert_eq!((ids(&synced.waiting), ids(&synced.ticked)), (vec!["1.1"], vec!["1.2"]));
    assert_eq!(checkout.states()["1.1"], TaskState::Running);
    assert_eq!(checkout.text(), with(FILE, &[("1.1", 'x'), ("1.2", 'x')]), "a person's tick stays");
    drop(owned);
    // Nobody works any more: now it counts, as it would have when the attempt had ended.
    let synced = checkout.sync().await;
    assert_eq!((ids(&synced.waiting), ids(&synced.ticked)), (vec![], vec!["1.1"]));
    assert_eq!(checkout.states()["1"], TaskState::Done);
}

#[tokio::test]
async fn a_task_that_runs_cannot_be_taken_out() {
    let checkout = Checkout::new(FILE);
    checkout.sync().await;
    checkout.work("3", None).await;
    let less = FILE.replace("- [ ]* 3. e\n  - _Depends: none_\n", "");
    checkout.write(&less);
    let before = checkout.events();
    let refused = checkout.sync().await;
    assert!(refused.refused && refused.diagnostics[0].message.contains("shop/3"), "{refused:?}");
    let look = sync(checkout.request(&[], true), clock()).await.unwrap().remove(0);
    assert_eq!((look.refused, look.diagnostics), (true, refused.diagnostics));
    assert_eq!((checkout.events(), checkout.text()), (before, less));
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_by_itself_and_nothing_changes() {
    let checkout = Checkout::new(FILE);
    checkout.sync().await;
    checkout.work("1.1", Some(merged())).await;
    let other = checkout.dir.path().join(".kiro/specs/other/tasks.md");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, "- [ ] 1. x\n").unwrap();
    let utf16: Vec<u8> = FILE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let before = checkout.events();
    for (bytes, code) in [
        (FILE.replace("1.2", "1.1").into_bytes(), "tasks/duplicate-id"),
        (format!("<<<<<<< HEAD\n{FILE}>>>>>>> theirs\n").into_bytes(), "file/conflict-marker"),
        ([b"\xFF\xFE".to_vec(), utf16].concat(), "file/encoding"),
        (b"# P\n".to_vec(), "tasks/none"),
        (Vec::new(), "tasks/none"),
        (FILE.replace("_Depends: 1_", "_Depends: 9_").into_bytes(), "tasks/unknown-dependency"),
    ] {
        checkout.write(&bytes);
        let synced = sync(checkout.request(&["shop"], false), clock()).await.unwrap().remove(0);
        assert!(synced.refused && synced.diagnostics.iter().any(|found| found.code == code), "{code}: {synced:?}");
        assert_eq!(fs::read(checkout.file()).unwrap(), bytes, "{code}");
        assert_eq!(checkout.events(), before, "{code}");
    }
    let both = sync(checkout.request(&["shop", "other"], false), clock()).await.unwrap();
    assert_eq!(both.iter().map(|synced| synced.refused).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn bytes_that_are_no_text_stay_as_they_are() {
    let checkout = Checkout::new(FILE);
    let bytes = [FILE.as_bytes(), b"- [ ] 4. \xFF\xC0x\n  \xFE\n"].concat();
    checkout.write(&bytes);
    checkout.sync().await;
    checkout.work("1.1", Some(merged())).await;
    checkout.sync().await;
    let at = FILE.find("] 1.1").unwrap() - 1;
    let mut expected = bytes;
    expected[at] = b'x';
    assert_eq!(fs::read(checkout.file()).unwrap(), expected);
}

#[tokio::test]
async fn a_hundred_thousand_lines_are_brought_in_step() {
    let mut text = String::from("# P\n");
    for task in 1..=1_000 {
        text.push_str(&format!("- [ ] {task}. t\n  - _Depends: none_\n{}", "  - detail\n".repeat(98)));
    }
    let checkout = Checkout::new(&text);
    assert_eq!(checkout.sync().await.added.count, 1_000);
    checkout.work("7", Some(merged())).await;
    assert_eq!(ids(&checkout.sync().await.boxes), ["7"]);
    assert_eq!(checkout.text(), text.replace("- [ ] 7.", "- [x] 7."));
}

#[tokio::test]
async fn a_name_that_is_no_spec_of_the_checkout_is_refused() {
    let checkout = Checkout::new(FILE);
    fs::create_dir_all(checkout.dir.path().join("x")).unwrap();
    fs::write(checkout.dir.path().join("x/tasks.md"), FILE).unwrap();
    for (name, words) in [
        ("../x", "is not a spec name"),
        ("../../x", "is not a spec name"),
        ("/etc", "is not a spec name"),
        ("", "is not a spec name"),
        ("shap", "there are specs: shop"),
    ] {
        let refused = sync(checkout.request(&["shop", name], false), clock()).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{name}: {refused}");
    }
    assert_eq!(checkout.events(), Vec::<String>::new());
    assert_eq!(checkout.text(), FILE);
}

#[tokio::test]
async fn a_link_inside_the_checkout_is_followed_and_one_out_of_it_is_not() {
    let checkout = Checkout::new(FILE);
    let outside = tempfile::tempdir().unwrap();
    let plan = outside.path().join("plan.md");
    fs::write(&plan, FILE).unwrap();
    fs::remove_file(checkout.file()).unwrap();
    symlink(&plan, checkout.file()).unwrap();
    // Named, because a folder with nothing but a link in it is no spec.
    fs::write(checkout.file().with_file_name("design.md"), "# D\n").unwrap();
    let refused = sync(checkout.request(&["shop"], false), clock()).await.unwrap_err().to_string();
    assert!(refused.contains("is a link out of the checkout"), "{refused}");
    let inside = checkout.dir.path().join("plan.md");
    fs::write(&inside, with(FILE, &[("3", 'x')])).unwrap();
    fs::remove_file(checkout.file()).unwrap();
    symlink(&inside, checkout.file()).unwrap();
    checkout.sync().await;
    checkout.work("1.1", Some(merged())).await;
    checkout.sync().await;
    assert!(fs::symlink_metadata(checkout.file()).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(inside).unwrap(), with(FILE, &[("1.1", 'x'), ("3", 'x')]));
    assert_eq!(fs::read_to_string(plan).unwrap(), FILE);
}

#[tokio::test]
async fn without_a_sound_registry_nothing_is_touched() {
    let checkout = Checkout::new(&with(FILE, &[("1.1", 'x')]));
    checkout.sync().await;
    let text = with(FILE, &[("1.2", 'x')]);
    checkout.write(&text);
    let database = checkout.state.registry();
    let whole = fs::read(&database).unwrap();
    for side in ["registry.db-wal", "registry.db-shm"] {
        let _ = fs::remove_file(database.with_file_name(side));
    }
    fs::write(&database, &whole[..whole.len() / 3]).unwrap();
    assert!(checkout.try_sync().await.is_err());
    fs::write(&database, b"SQLite format 3\0 and nothing else").unwrap();
    assert!(checkout.try_sync().await.is_err());
    fs::remove_file(&database).unwrap();
    let missing = checkout.try_sync().await.unwrap_err().to_string();
    assert!(missing.contains("there is no state directory"), "{missing}");
    assert!(!database.exists() && checkout.text() == text);
}

#[tokio::test]
async fn a_look_says_what_a_sync_would_do_and_does_nothing() {
    let checkout = Checkout::new(FILE);
    checkout.sync().await;
    checkout.work("1.1", Some(merged())).await;
    checkout.set(&[("3", 'x')]);
    checkout.write(checkout.text().replace("c\n", "C\n"));
    let (before, text) = (checkout.events(), checkout.text());
    let look = sync(checkout.request(&[], true), clock()).await.unwrap().remove(0);
    assert_eq!((checkout.events(), checkout.text()), (before, text));
    let done = checkout.sync().await;
    assert!(look.dry_run && !done.dry_run);
    assert_eq!(Synced { dry_run: false, ..look }, done);
    assert_eq!((ids(&done.ticked), ids(&done.changed), ids(&done.boxes)), (vec!["3"], vec!["1.2"], vec!["1.1"]));
}

#[tokio::test]
async fn without_the_bytes_of_the_base_nothing_was_un_ticked() {
    let checkout = Checkout::new(&with(FILE, &[("3", 'x')]));
    checkout.sync().await;
    fs::remove_dir_all(checkout.state.blobs()).unwrap();
    checkout.set(&[("3", ' ')]);
    let synced = checkout.sync().await;
    assert_eq!((ids(&synced.opened), ids(&synced.boxes)), (vec![], vec!["3"]));
}

#[derive(Debug, Clone)]
enum Act {
    Person(&'static str, char),
    Done(&'static str),
    Begun(&'static str),
    Reopened(&'static str),
}

fn act() -> impl Strategy<Value = Act> {
    let task = || prop::sample::select(vec!["1.1", "1.2", "2", "3"]);
    prop_oneof![
        3 => (task(), prop::sample::select(vec![' ', 'x', '-'])).prop_map(|(task, state)| Act::Person(task, state)),
        2 => task().prop_map(Act::Done),
        1 => task().prop_map(Act::Begun),
        1 => task().prop_map(Act::Reopened),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn after_a_sync_both_sides_say_the_same(rounds in prop::collection::vec(prop::collection::vec(act(), 0..4), 1..5)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let checkout = Checkout::new(FILE);
            checkout.sync().await;
            for acts in rounds {
                for act in acts {
                    let states = checkout.states();
                    match act {
                        Act::Person(task, state) => checkout.set(&[(task, state)]),
                        Act::Done(task) if states[task] == TaskState::Ready => checkout.work(task, Some(merged())).await,
                        Act::Begun(task) if states[task] == TaskState::Ready => checkout.work(task, None).await,
                        Act::Reopened(task) if states[task] == TaskState::Done => checkout.reopen(task).await,
                        _ => {}
                    }
                }
                checkout.sync().await;
                let (text, states) = (checkout.text(), checkout.states());
                for (task, state) in &states {
                    let done = with(&text, &[(task, 'x')]) == text;
                    prop_assert_eq!(done, *state == TaskState::Done, "{} is {}\n{}", task, state, text);
                    if *state == TaskState::Running {
                        prop_assert_eq!(&with(&text, &[(task, '-')]), &text);
                    }
                }
                let events = checkout.events().len();
                prop_assert_eq!(checkout.sync().await, Synced::nothing(&checkout.place(), false));
                prop_assert_eq!(checkout.events().len(), events);
            }
            checkout.verified();
            Ok(())
        })?;
    }
}
