//! Random commands with restarts in between: the projections are always what the log says, and the
//! dependency rule always holds.

use proptest::prelude::*;

use super::*;
use crate::domain::event::{Body, Subject, TaskChange};
use crate::domain::task::TaskState;

#[derive(Debug, Clone)]
enum Command {
    Create(Vec<(u8, u8, bool, bool)>),
    Claim(u8),
    Change(u8, u8),
    Note(u8),
    Reopen,
}

fn command() -> impl Strategy<Value = Command> {
    let definition = (0..6_u8, 0..64_u8, any::<bool>(), prop::bool::weighted(0.2));
    prop_oneof![
        2 => prop::collection::vec(definition, 0..7).prop_map(Command::Create),
        6 => (0..6_u8).prop_map(Command::Claim),
        8 => ((0..6_u8), (0..6_u8)).prop_map(|(task, to)| Command::Change(task, to)),
        1 => (0..6_u8).prop_map(Command::Note),
        1 => Just(Command::Reopen),
    ]
}

/// Tasks may depend on tasks with a lower number that are in the set; so there are no circles.
fn definitions(raw: &[(u8, u8, bool, bool)]) -> Vec<TaskDefinition> {
    let mut raw = raw.to_vec();
    raw.sort_unstable();
    raw.dedup_by_key(|(task, ..)| *task);
    let present: Vec<u8> = raw.iter().map(|(task, ..)| *task).collect();
    raw.iter()
        .map(|&(task, mask, optional, done)| {
            let depends: Vec<String> = present
                .iter()
                .filter(|&&other| other < task && mask & (1 << other) != 0)
                .map(|other| (other + 1).to_string())
                .collect();
            let depends: Vec<&str> = depends.iter().map(String::as_str).collect();
            let container = task == 5 && !depends.is_empty();
            TaskDefinition { optional, done, container, ..define(&(task + 1).to_string(), &depends) }
        })
        .collect()
}

async fn carry_out(fixture: &Fixture, command: Command) {
    let known = |task: u8| {
        let (registry, key) = (fixture.registry.clone(), key(&(task + 1).to_string()));
        async move { registry.read(move |r| r.task(&key)).await.unwrap() }
    };
    let reason = "random".to_owned();
    match command {
        Command::Create(raw) => {
            let result = fixture.registry.create_tasks(&run(), &spec(), definitions(&raw)).await;
            assert!(matches!(result, Ok(_) | Err(RegistryError::Running(_))), "{result:?}");
        }
        Command::Claim(task) => {
            if let Some(task) = known(task).await {
                let result = fixture.registry.claim(claim(task.key.task.as_str(), task.version)).await;
                assert_eq!(result.is_ok(), task.state == TaskState::Ready && !task.definition.container);
            }
        }
        Command::Change(task, to) => {
            if let Some(task) = known(task).await {
                let from = task.state;
                let body = match to {
                    0 => Body::TaskReady { from, last_failure: Some(reason) },
                    1 => Body::TaskBlocked { from, reason },
                    2 => Body::TaskCompleted { commit: None, reason },
                    3 => Body::TaskFailed { reason },
                    4 => Body::TaskCancelled { reason },
                    _ => Body::TaskReopened { from, reason },
                };
                // Refusals are as good as successes here; what counts is what is left behind.
                let _ = fixture.registry.transition(&run(), &task.key, task.version, None, body).await;
            }
        }
        Command::Note(task) => {
            let subject = Subject { attempt: None, ..Subject::attempt(&run(), &attempt(&(task + 1).to_string(), 1)) };
            let change = TaskChange::NoteAdded { author: "me".to_owned(), text: reason };
            let _ = fixture.registry.append(subject, vec![Body::TaskUpdated { change }]).await;
        }
        Command::Reopen => {}
    }
}

async fn hold(fixture: &Fixture) {
    fixture.verified().await;
    let tasks = fixture.registry.read(|r| r.tasks(&spec())).await.unwrap();
    for task in &tasks {
        // A container does not wait for what is optional in it.
        let waits_for =
            |other: &&Task| other.state != TaskState::Done && !(task.definition.container && other.definition.optional);
        let needs = tasks.iter().filter(|other| task.definition.depends.contains(&other.key.task));
        let open = needs.filter(waits_for).count() > 0;
        assert!(!(task.state == TaskState::Ready && open), "{task:?} is ready before its dependencies are done");
        assert_eq!(task.assigned.is_some(), task.state == TaskState::Running, "{task:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn projections_are_what_the_log_says_after_any_commands(
        commands in prop::collection::vec(command(), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut fixture = Fixture::new();
        for command in commands {
            if matches!(command, Command::Reopen) {
                let before = runtime.block_on(async {
                    fixture.registry.read(|r| r.tasks(&spec())).await.unwrap()
                });
                fixture = fixture.reopen();
                let after = runtime.block_on(async {
                    fixture.registry.read(|r| r.tasks(&spec())).await.unwrap()
                });
                prop_assert_eq!(before, after);
            }
            runtime.block_on(carry_out(&fixture, command));
        }
        runtime.block_on(hold(&fixture));
    }
}
