//! Random commands beside a reference model of what they mean, with restarts and torn writes among them:
//! every answer is the model's, the projections are always what the log says, and what was acknowledged
//! stays.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::event::{Body, Subject, TaskChange};
use crate::domain::issue::{IssueStatus, NewIssue, Urgency};
use crate::domain::task::{Attributes, TaskState};
use crate::registry::{Boxes, SpecContent, WorkerClaim, WorkerReport, WorkerResult};
use TaskState::{Blocked, Cancelled, Done, Failed, Ready, Running};

/// Tasks that there can be.
const NUMBERS: u8 = 6;
/// Failures that fail a worker's task.
const MAX_ATTEMPTS: u32 = 3;

/// What the file says of a task: number, what it waits for (a bit each), optional, ticked.
type Raw = (u8, u8, bool, bool);

#[derive(Debug, Clone)]
enum Command {
    /// A file, and which boxes were cleared in it and which tasks taken out; none: as it stands on the branch.
    Sync(Vec<Raw>, Option<(u8, u8)>),
    /// A claim of a task, by one who has seen the present version or an older one.
    Claim(u8, bool),
    /// A worker asks for anything.
    ClaimNext,
    /// The worker who holds a task reports; 0 done, 1 failed, 2 given back.
    Report(u8, u8),
    /// Towards a state.
    Change(u8, TaskState),
    Set(u8, i32),
    Note(u8),
    Issue,
    Restart,
    /// The process is gone in the middle of writing: the end of the write-ahead log is lost, up to so many bytes of
    /// what no commit has covered, or garbage is there.
    Torn(u16, bool),
}

fn command() -> impl Strategy<Value = Command> {
    let raw = (0..NUMBERS, 0..64_u8, any::<bool>(), prop::bool::weighted(0.2));
    let file = prop::collection::vec(raw, 0..8);
    let state = prop::sample::select(vec![Ready, Blocked, Done, Failed, Cancelled]);
    prop_oneof![
        3 => (file, prop::option::of((any::<u8>(), any::<u8>()))).prop_map(|(raw, boxes)| Command::Sync(raw, boxes)),
        4 => (0..NUMBERS, prop::bool::weighted(0.8)).prop_map(|(task, fresh)| Command::Claim(task, fresh)),
        2 => Just(Command::ClaimNext),
        3 => (0..NUMBERS, 0..3_u8).prop_map(|(task, how)| Command::Report(task, how)),
        6 => (0..NUMBERS, state).prop_map(|(task, to)| Command::Change(task, to)),
        1 => (0..NUMBERS, -3..4_i32).prop_map(|(task, priority)| Command::Set(task, priority)),
        1 => (0..NUMBERS).prop_map(Command::Note),
        1 => Just(Command::Issue),
        1 => Just(Command::Restart),
        1 => (any::<u16>(), any::<bool>()).prop_map(|(bytes, garbage)| Command::Torn(bytes, garbage)),
    ]
}

fn numbered(task: u8) -> String {
    (task + 1).to_string()
}

/// Tasks may wait for tasks with a lower number that are in the file; so there are no circles.
fn definitions(raw: &[Raw]) -> Vec<TaskDefinition> {
    let mut raw = raw.to_vec();
    raw.sort_unstable();
    raw.dedup_by_key(|(task, ..)| *task);
    let present: Vec<u8> = raw.iter().map(|(task, ..)| *task).collect();
    raw.iter()
        .map(|&(task, mask, optional, done)| {
            let depends: Vec<String> = present
                .iter()
                .filter(|&&other| other < task && mask & (1 << other) != 0)
                .map(|n| numbered(*n))
                .collect();
            let depends: Vec<&str> = depends.iter().map(String::as_str).collect();
            let container = task == NUMBERS - 1 && !depends.is_empty();
            TaskDefinition { optional, done, container, ..define(&numbered(task), &depends) }
        })
        .collect()
}

/// A task of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    state: TaskState,
    depends: BTreeSet<String>,
    optional: bool,
    container: bool,
    attempts: u32,
    failures: u32,
    /// What an operator set.
    set: Option<i32>,
    worker: bool,
}

/// What the registry should say, by rules that are told once more, and as plainly as possible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    tasks: BTreeMap<String, Known>,
    issues: u32,
}

impl Model {
    /// What keeps a task waiting: a group does not wait for what is optional in it, unless all of it is.
    fn is_open(&self, task: &Known) -> bool {
        task.depends.iter().any(|on| {
            let on = &self.tasks[on];
            let optional = task.container && on.optional && task.depends.iter().any(|on| !self.tasks[on].optional);
            on.state != Done && !optional
        })
    }

    /// What follows from `done` being done, and from what that makes done: tasks that wait for nothing else are
    /// ready, and groups are done.
    fn settle(&mut self, done: &str) {
        let mut over = vec![done.to_owned()];
        while let Some(done) = over.pop() {
            let waiting = self.tasks.iter().filter(|(_, task)| task.depends.contains(&done));
            let released: Vec<String> =
                waiting.filter(|(_, task)| !self.is_open(task)).map(|(id, _)| id.clone()).collect();
            for id in released {
                let task = self.tasks.get_mut(&id).unwrap();
                match task.state {
                    Blocked | Ready if task.container => {
                        task.state = Done;
                        over.push(id);
                    }
                    Blocked => task.state = Ready,
                    _ => {}
                }
            }
        }
    }
}

/// What was over and is not as it was has been opened again, and has all of its attempts.
fn failures_after(known: &Known, now: TaskState) -> u32 {
    if known.state.is_final() && now != known.state { 0 } else { known.failures }
}

fn compare(model: &Model, tasks: &[Task]) -> Result<(), TestCaseError> {
    prop_assert_eq!(tasks.len(), model.tasks.len());
    for task in tasks {
        let known = &model.tasks[task.key.task.as_str()];
        let found = (task.state, task.attempts, task.definition.container, task.definition.optional);
        prop_assert_eq!(found, (known.state, known.attempts, known.container, known.optional), "{}", task.key);
        prop_assert_eq!(task.assigned.is_some(), known.state == Running, "{}", task.key);
        prop_assert_eq!(task.definition.priority, known.set.unwrap_or(0), "{}", task.key);
    }
    Ok(())
}

/// The registry and its model, side by side.
struct Pair {
    fixture: Fixture,
    model: Model,
}

impl Pair {
    async fn carry_out(&mut self, command: &Command) -> Result<(), TestCaseError> {
        match command {
            Command::Sync(raw, boxes) => self.sync(&definitions(raw), *boxes).await,
            Command::Claim(task, fresh) => self.claim(&numbered(*task), *fresh).await,
            Command::ClaimNext => self.claim_next().await,
            Command::Report(task, how) => self.report(&numbered(*task), *how).await,
            Command::Change(task, to) => self.change(&numbered(*task), *to).await,
            Command::Set(task, priority) => self.set(&numbered(*task), *priority).await,
            Command::Note(task) => {
                let change = TaskChange::NoteAdded { author: "me".to_owned(), text: "note".to_owned() };
                let subject = Subject::task(&run(), &key(&numbered(*task)));
                let noted = self.fixture.registry.append(subject, vec![Body::TaskUpdated { change }]).await;
                prop_assert_eq!(noted.is_ok(), self.model.tasks.contains_key(&numbered(*task)));
                Ok(())
            }
            Command::Issue => {
                let (text, labels, priority) = (String::new(), Vec::new(), Urgency::Low);
                let new = NewIssue { title: "an issue".to_owned(), text, labels, priority };
                let issue = self.fixture.registry.add_issue(new).await.unwrap();
                self.model.issues += 1;
                prop_assert_eq!((issue.id.number(), issue.status), (self.model.issues, IssueStatus::Open));
                Ok(())
            }
            Command::Restart | Command::Torn(..) => Ok(()),
        }
    }

    async fn version(&self, text: &str) -> u64 {
        let key = key(text);
        self.fixture.registry.read(move |r| r.task(&key)).await.unwrap().map_or(0, |task| task.version)
    }

    async fn sync(&mut self, file: &[TaskDefinition], cleared: Option<(u8, u8)>) -> Result<(), TestCaseError> {
        let picked = |mask: u8| (0..NUMBERS).filter(move |n| mask & (1 << n) != 0).map(|n| id(&numbered(n)));
        let boxes = match cleared {
            None => Boxes::AsTheyAre,
            Some((opened, removed)) => {
                Boxes::Since { opened: picked(opened).collect(), removed: picked(removed).collect() }
            }
        };
        let content = SpecContent { definitions: file.to_vec(), boxes: boxes.clone(), place: None };
        let synced = self.fixture.registry.sync(None, &spec(), content).await;
        let mut expected = self.model.clone();
        let stays = |id: &String| file.iter().any(|definition| definition.id.as_str() == id);
        let taken_out = |id: &String| match &boxes {
            Boxes::AsTheyAre => true,
            Boxes::Since { removed, .. } => removed.iter().any(|one| one.as_str() == id),
        };
        let gone: Vec<String> = expected.tasks.keys().filter(|id| !stays(id) && taken_out(id)).cloned().collect();
        if gone.iter().any(|id| expected.tasks[id].state == Running) {
            prop_assert!(matches!(synced, Err(RegistryError::Running(_))), "{synced:?}");
            return Ok(());
        }
        prop_assert!(synced.is_ok(), "{synced:?}");
        for id in gone {
            let task = expected.tasks.get_mut(&id).unwrap();
            if !task.state.is_final() {
                task.state = Cancelled;
            }
        }
        let mut opened = Vec::new();
        for definition in file {
            let text = definition.id.to_string();
            let old = expected.tasks.get(&text).cloned();
            let mut reopened = false;
            let state = match &old {
                _ if definition.done => Done,
                None => Blocked,
                Some(old) => {
                    let may = match &boxes {
                        Boxes::AsTheyAre => true,
                        Boxes::Since { opened, .. } => opened.contains(&definition.id),
                    };
                    let over = matches!(old.state, Done | Cancelled) && !definition.container;
                    if over && may {
                        opened.push(text.clone());
                        reopened = true;
                        Blocked
                    } else {
                        old.state
                    }
                }
            };
            let new = Known {
                state,
                depends: definition.depends.iter().map(ToString::to_string).collect(),
                optional: definition.optional,
                container: definition.container,
                attempts: old.as_ref().map_or(0, |old| old.attempts),
                failures: old
                    .as_ref()
                    .filter(|old| !reopened && (!definition.done || !matches!(old.state, Failed | Cancelled)))
                    .map_or(0, |old| old.failures),
                set: old.and_then(|old| old.set),
                worker: false,
            };
            expected.tasks.insert(text, new);
        }
        self.accept(expected, file).await
    }

    /// The finer points of what a changed file releases are the domain's own tests'; what must hold is looked at
    /// in [`Pair::hold`], and the model goes on from what the registry says.
    async fn accept(&mut self, expected: Model, file: &[TaskDefinition]) -> Result<(), TestCaseError> {
        let tasks = self.fixture.registry.read(|r| r.tasks(&spec())).await.unwrap();
        prop_assert_eq!(tasks.len(), expected.tasks.len());
        self.model = expected;
        for task in &tasks {
            let known = self.model.tasks.get_mut(task.key.task.as_str()).unwrap();
            prop_assert_eq!(task.attempts, known.attempts);
            let live = matches!(known.state, Running | Failed | Cancelled);
            prop_assert!(!live || task.state == known.state, "{}: {} became {}", task.key, known.state, task.state);
            let ticked = file.iter().any(|d| d.id == task.key.task && d.done);
            prop_assert!(
                !ticked || task.state == Done || known.container,
                "{} is ticked, and {}",
                task.key,
                task.state
            );
            known.failures = failures_after(known, task.state);
            known.worker = known.state == Running && task.assigned.as_ref().is_some_and(|a| a.runner == "worker");
            known.state = task.state;
        }
        self.hold(&tasks)
    }

    fn hold(&self, tasks: &[Task]) -> Result<(), TestCaseError> {
        for task in tasks {
            let open = self.model.is_open(&self.model.tasks[task.key.task.as_str()]);
            prop_assert!(!(task.state == Ready && open), "{} is ready before its dependencies are done", task.key);
        }
        Ok(())
    }

    async fn claim(&mut self, text: &str, fresh: bool) -> Result<(), TestCaseError> {
        let version = self.version(text).await;
        let seen = if fresh { version } else { version + 1 };
        let claimed = self.fixture.registry.claim(claim(text, seen)).await;
        let Some(known) = self.model.tasks.get_mut(text) else {
            prop_assert!(matches!(claimed, Err(RegistryError::UnknownTask(_))), "{claimed:?}");
            return Ok(());
        };
        if !fresh {
            prop_assert!(matches!(claimed, Err(RegistryError::Conflict { .. })), "{claimed:?}");
            return Ok(());
        }
        prop_assert_eq!(claimed.is_ok(), known.state == Ready && !known.container, "{:?}", claimed);
        if claimed.is_ok() {
            (known.state, known.attempts, known.worker) = (Running, known.attempts + 1, false);
        }
        Ok(())
    }

    async fn claim_next(&mut self) -> Result<(), TestCaseError> {
        let wanted = WorkerClaim { worker: "worker".to_owned(), ..WorkerClaim::default() };
        let claimed = self.fixture.registry.claim_next(wanted).await.unwrap();
        let urgent = |(id, task): &(&String, &Known)| (std::cmp::Reverse(task.set.unwrap_or(0)), self::id(id));
        let ready = self.model.tasks.iter().filter(|(_, task)| task.state == Ready && !task.container);
        let expected = ready.min_by_key(urgent).map(|(id, _)| id.clone());
        prop_assert_eq!(claimed.map(|task| task.key.task.to_string()), expected.clone());
        if let Some(known) = expected.and_then(|id| self.model.tasks.get_mut(&id)) {
            (known.state, known.attempts, known.worker) = (Running, known.attempts + 1, true);
        }
        Ok(())
    }

    async fn report(&mut self, text: &str, how: u8) -> Result<(), TestCaseError> {
        let attempts = self.model.tasks.get(text).map_or(1, |known| known.attempts);
        let result = match how {
            0 => WorkerResult::Done { commit: None, summary: None },
            1 => WorkerResult::Failed { reason: "random".to_owned() },
            _ => WorkerResult::Released { reason: "random".to_owned() },
        };
        let report = WorkerReport {
            attempt: attempt(text, attempts.max(1)),
            worker: "worker".to_owned(),
            result,
            max_attempts: MAX_ATTEMPTS,
        };
        let reported = self.fixture.registry.report(report).await;
        let held = self.model.tasks.get(text).is_some_and(|known| known.state == Running && known.worker);
        prop_assert_eq!(reported.is_ok(), held, "{:?}", reported);
        if !held {
            return Ok(());
        }
        let known = self.model.tasks.get_mut(text).unwrap();
        known.failures += u32::from(how == 1);
        let open = self.model.is_open(&self.model.tasks[text]);
        let known = self.model.tasks.get_mut(text).unwrap();
        known.state = match how {
            0 => Done,
            1 if known.failures >= MAX_ATTEMPTS => Failed,
            _ if open => Blocked,
            _ => Ready,
        };
        if how == 0 {
            self.model.settle(text);
        }
        Ok(())
    }

    async fn change(&mut self, text: &str, to: TaskState) -> Result<(), TestCaseError> {
        let version = self.version(text).await;
        let Some(known) = self.model.tasks.get(text).cloned() else { return Ok(()) };
        let (from, reason) = (known.state, "random".to_owned());
        let reopens = from.is_final() && to == Ready;
        let body = match to {
            Ready if reopens => Body::TaskReopened { from, reason },
            Ready => Body::TaskReady { from, last_failure: Some(reason) },
            Blocked => Body::TaskBlocked { from, reason },
            Done => Body::TaskCompleted { commit: None, reason },
            Failed => Body::TaskFailed { reason },
            _ => Body::TaskCancelled { reason },
        };
        let changed = self.fixture.registry.transition(&run(), &key(text), version, None, body).await;
        let open = self.model.is_open(&known);
        // Ready is a wish: what still waits is blocked instead, unless it is that already.
        let allowed = from.may_become(to) && !(to == Ready && !reopens && open && from == Blocked);
        prop_assert_eq!(changed.is_ok(), allowed, "{} from {} to {}: {:?}", text, from, to, changed);
        if !allowed {
            return Ok(());
        }
        let tasks = self.fixture.registry.read(|r| r.tasks(&spec())).await.unwrap();
        let now = |id: &str| tasks.iter().find(|task| task.key.task.as_str() == id).map(|task| task.state);
        let expected = match to {
            Ready if open => Blocked,
            _ => to,
        };
        let state = now(text).unwrap();
        let group = known.container && matches!(state, Done | Blocked | Ready);
        prop_assert!(state == expected || state == to || group, "{text}: {from} to {to} gave {state}, not {expected}");
        for task in &tasks {
            let known = self.model.tasks.get_mut(task.key.task.as_str()).unwrap();
            let live = task.key.task.as_str() != text && matches!(known.state, Running | Failed | Cancelled);
            prop_assert!(!live || task.state == known.state, "{} was {} and is {}", task.key, known.state, task.state);
            known.failures = failures_after(known, task.state);
            known.state = task.state;
        }
        Ok(())
    }

    async fn set(&mut self, text: &str, priority: i32) -> Result<(), TestCaseError> {
        let version = self.version(text).await;
        let attributes = Attributes { priority: Some(priority), ..Attributes::default() };
        let set = self.fixture.registry.set_task(&key(text), version, attributes).await;
        prop_assert_eq!(set.is_ok(), self.model.tasks.contains_key(text));
        if let (Ok(task), Some(known)) = (set, self.model.tasks.get_mut(text)) {
            prop_assert_eq!(task.version - version, u64::from(known.set != Some(priority)));
            known.set = Some(priority);
        }
        Ok(())
    }
}

/// Stops as a process that is killed does, and tears what it was writing: the last frames of the write-ahead
/// log, which no commit has covered, are cut or overwritten.
fn tear(fixture: Fixture, bytes: u16, garbage: bool) -> Fixture {
    let Fixture { dir, clock, registry } = fixture;
    let torn = tempfile::tempdir().unwrap();
    let log = database(dir.path()).with_extension("db-wal");
    // A copy of the files as they lie there is what a killed process leaves.
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() && !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), torn.path().join(entry.file_name())).unwrap();
        }
    }
    let copied = torn.path().join(log.file_name().unwrap());
    if copied.exists() {
        // Half of a frame that was never committed stands at its end.
        let mut content = std::fs::read(&copied).unwrap();
        let frame: Vec<u8> = content.iter().rev().take(usize::from(bytes) % 4_000 + 1).copied().collect();
        content.extend(if garbage { vec![0xA5; frame.len()] } else { frame });
        std::fs::write(&copied, content).unwrap();
    }
    drop(registry);
    let registry = open(torn.path(), &clock).unwrap();
    Fixture { dir: torn, clock, registry }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn projections_are_what_the_log_says_after_any_commands(
        commands in prop::collection::vec(command(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut pair = Pair { fixture: Fixture::new(), model: Model::default() };
        for command in &commands {
            if let Command::Restart | Command::Torn(..) = command {
                let read = |fixture: &Fixture| runtime.block_on(async {
                    let tasks = fixture.registry.read(|r| r.tasks(&spec())).await.unwrap();
                    let events = fixture.registry.read(|r| r.events(&crate::registry::EventFilter::default())).await;
                    (tasks, events.unwrap())
                });
                let before = read(&pair.fixture);
                pair.fixture = match command {
                    Command::Torn(bytes, garbage) => tear(pair.fixture, *bytes, *garbage),
                    _ => pair.fixture.reopen(),
                };
                prop_assert_eq!(before, read(&pair.fixture), "what was acknowledged is gone");
            }
            runtime.block_on(pair.carry_out(command))?;
            let tasks = runtime.block_on(async {
                pair.fixture.registry.read(|r| r.tasks(&spec())).await.unwrap()
            });
            compare(&pair.model, &tasks)?;
        }
        runtime.block_on(pair.fixture.verified());
    }
}
