//! Creating, claiming and changing tasks.

use super::*;
use crate::domain::event::Body;
use crate::domain::task::TaskState;
use TaskState::{Blocked, Cancelled, Done, Failed, Ready, Running};

async fn states(fixture: &Fixture) -> Vec<(String, TaskState)> {
    let tasks = fixture.registry.read(|r| r.tasks(&spec())).await.unwrap();
    tasks.into_iter().map(|t| (t.key.task.to_string(), t.state)).collect()
}

fn pairs(expected: &[(&str, TaskState)]) -> Vec<(String, TaskState)> {
    expected.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect()
}

/// A body that leads to `to`.
fn towards(to: TaskState) -> Option<Body> {
    let reason = "because".to_owned();
    Some(match to {
        Ready => Body::TaskReady { from: Running, last_failure: None },
        Blocked => Body::TaskBlocked { from: Running, reason },
        Done => Body::TaskCompleted { commit: None, reason },
        Failed => Body::TaskFailed { reason },
        Cancelled => Body::TaskCancelled { reason },
        Running => return None,
    })
}

async fn step(fixture: &Fixture, text: &str, to: TaskState) -> Result<Task, RegistryError> {
    let version = fixture.task(text).await.version;
    match towards(to) {
        Some(body) => fixture.registry.transition(&run(), &key(text), version, None, body).await,
        None => fixture.registry.claim(claim(text, version)).await,
    }
}

#[tokio::test]
async fn first_states_come_from_boxes_and_dependencies() {
    let fixture = Fixture::new();
    let mut done = define("1", &[]);
    done.done = true;
    let child = |text| TaskDefinition { parent: Some(id("3")), ..define(text, &[]) };
    let container = TaskDefinition { container: true, ..define("3", &[]) };
    fixture
        .create(vec![done, define("2", &["1"]), container, child("3.1"), child("3.2"), define("10", &["2", "3"])])
        .await;
    let expected = [("1", Done), ("2", Ready), ("3", Blocked), ("3.1", Ready), ("3.2", Ready), ("10", Blocked)];
    assert_eq!(states(&fixture).await, pairs(&expected), "a task whose dependencies are all done starts ready");
    let ready = fixture.registry.read(|r| r.ready(&spec())).await.unwrap();
    assert_eq!(ready.iter().map(|t| t.key.task.as_str()).collect::<Vec<_>>(), ["2", "3.1", "3.2"]);
    fixture.verified().await;
}

#[tokio::test]
async fn a_set_with_a_fault_is_refused_whole_and_the_fault_is_named() {
    let fixture = Fixture::new();
    let create = async |set: Vec<TaskDefinition>| {
        fixture.registry.create_tasks(&run(), &spec(), set).await.unwrap_err().to_string()
    };
    assert_eq!(create(vec![define("1", &[]), define("1", &[])]).await, "task 1 is defined twice");
    assert_eq!(create(vec![define("1", &["7"])]).await, "task 1 depends on 7, which is not a task of the spec");
    assert_eq!(
        create(vec![define("1", &["3"]), define("2", &["1"]), define("3", &["2"]), define("4", &["1"])]).await,
        "the tasks depend on each other in a circle: 1 → 3 → 2 → 1"
    );
    assert_eq!(create(vec![define("1", &["1"])]).await, "the tasks depend on each other in a circle: 1 → 1");
    assert_eq!(fixture.newest().await, 0, "a refusal leaves no event");
}

#[tokio::test]
async fn a_long_chain_is_checked_without_recursion() {
    let fixture = Fixture::new();
    let chain: Vec<TaskDefinition> = (1..=5000)
        .map(|n: u32| if n == 1 { define("1", &[]) } else { define(&n.to_string(), &[&(n - 1).to_string()]) })
        .collect();
    let tasks = fixture.create(chain).await;
    assert_eq!(tasks.iter().filter(|t| t.state == Ready).count(), 1);
}

#[tokio::test]
async fn creating_again_with_the_same_definitions_is_no_event() {
    let fixture = Fixture::new();
    let set = vec![define("1", &[]), define("2", &["1"])];
    let first = fixture.create(set.clone()).await;
    fixture.claim("1").await.unwrap();
    let newest = fixture.newest().await;
    let again = fixture.create(set).await;
    assert_eq!(fixture.newest().await, newest);
    assert_eq!(again[0].state, Running, "the live state is the registry's");
    assert_eq!(again[1], first[1]);
}

#[tokio::test]
async fn a_box_that_is_open_again_opens_its_task() {
    let fixture = Fixture::new();
    let ticked = |text: &str| TaskDefinition { done: true, ..define(text, &[]) };
    let child = |text: &str, done| TaskDefinition { parent: Some(id("3")), done, ..define(text, &[]) };
    let container = || TaskDefinition { container: true, ..define("3", &[]) };
    let after = || TaskDefinition { done: true, ..define("4", &["1"]) };
    fixture.create(vec![ticked("1"), ticked("2"), container(), child("3.1", true), child("3.2", true), after()]).await;
    assert_eq!(
        states(&fixture).await,
        pairs(&[("1", Done), ("2", Done), ("3", Done), ("3.1", Done), ("3.2", Done), ("4", Done)])
    );
    let before = fixture.newest().await;
    let again = || vec![define("1", &[]), ticked("2"), container(), child("3.1", false), child("3.2", true), after()];
    fixture.create(again()).await;
    assert_eq!(
        fixture.events(before).await,
        ["TaskReopened 1", "TaskReopened 3.1", "TaskReady 1", "TaskReady 3.1", "TaskReopened 3"]
    );
    assert_eq!(
        states(&fixture).await,
        pairs(&[("1", Ready), ("2", Done), ("3", Blocked), ("3.1", Ready), ("3.2", Done), ("4", Done)])
    );
    let newest = fixture.newest().await;
    fixture.create(again()).await;
    assert_eq!(fixture.newest().await, newest, "what is open already is not opened again");
    fixture.verified().await;
}

#[tokio::test]
async fn a_task_that_stands_in_the_file_again_is_to_be_done() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &[])]).await;
    fixture.create(vec![define("1", &[])]).await;
    assert_eq!(states(&fixture).await, pairs(&[("1", Ready), ("2", Cancelled)]));
    let before = fixture.newest().await;
    fixture.create(vec![define("1", &[]), define("2", &[]), define("3", &["2"])]).await;
    assert_eq!(fixture.events(before).await, ["TaskCreated 3", "TaskReopened 2", "TaskReady 2"]);
    assert_eq!(states(&fixture).await, pairs(&[("1", Ready), ("2", Ready), ("3", Blocked)]));
    fixture.verified().await;
}

#[tokio::test]
async fn the_file_decides_content_and_a_tick_means_done() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &["1"]), define("3", &[]), define("4", &[])]).await;
    step(&fixture, "3", Running).await.unwrap();
    step(&fixture, "3", Failed).await.unwrap();
    let before = fixture.newest().await;
    let mut ticked = define("3", &[]);
    ticked.done = true;
    let renamed = TaskDefinition { title: "new".to_owned(), ..define("1", &[]) };
    fixture.create(vec![renamed, define("2", &["3"]), ticked, define("5", &["3"])]).await;
    assert_eq!(
        fixture.events(before).await,
        [
            "TaskUpdated 1",
            "TaskUpdated 2",
            "TaskCreated 5",
            "TaskReopened 3",
            "TaskCompleted 3",
            "TaskCancelled 4",
            "TaskReady 2",
        ]
    );
    assert_eq!(
        states(&fixture).await,
        pairs(&[("1", Ready), ("2", Ready), ("3", Done), ("4", Cancelled), ("5", Ready)])
    );
    fixture.verified().await;
}

#[tokio::test]
async fn a_running_task_cannot_vanish_from_the_file() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &[])]).await;
    fixture.claim("1").await.unwrap();
    let refused = fixture.registry.create_tasks(&run(), &spec(), vec![define("2", &[])]).await;
    assert!(matches!(refused, Err(RegistryError::Running(task)) if task == key("1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_is_claimed_exactly_once() {
    const TASKS: u32 = 40;
    const SPIRITS: u32 = 16;
    let fixture = Fixture::new();
    fixture.create((1..=TASKS).map(|n| define(&n.to_string(), &[])).collect()).await;
    let ready = fixture.registry.read(|r| r.ready(&spec())).await.unwrap();
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..SPIRITS {
        let (registry, ready) = (fixture.registry.clone(), ready.clone());
        claims.spawn(async move {
            let mut won = 0;
            for task in ready {
                match registry.claim(claim(task.key.task.as_str(), task.version)).await {
                    Ok(_) => won += 1,
                    Err(RegistryError::Conflict { expected: 1, found: 2, .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            won
        });
    }
    let won: u32 = claims.join_all().await.into_iter().sum();
    assert_eq!(won, TASKS);
    let attempts = fixture.registry.read(|r| r.attempts_of_spec(&spec())).await.unwrap();
    assert_eq!(attempts.len(), TASKS as usize);
    fixture.verified().await;
}

#[tokio::test]
async fn only_the_table_of_transitions_is_possible() {
    for from in TaskState::ALL {
        for to in TaskState::ALL {
            let fixture = Fixture::new();
            // Task 2 needs 1, so that it can be blocked; 1 is done, so that it need not be.
            let mut one = define("1", &[]);
            one.done = true;
            fixture.create(vec![one, define("2", &["1"])]).await;
            match from {
                Ready => {}
                Running | Blocked | Done | Cancelled => drop(step(&fixture, "2", from).await.unwrap()),
                Failed => {
                    step(&fixture, "2", Running).await.unwrap();
                    step(&fixture, "2", Failed).await.unwrap();
                }
            }
            let before = fixture.task("2").await;
            let result = step(&fixture, "2", to).await;
            // Claiming needs readiness; that is narrower than the table for nothing.
            assert_eq!(result.is_ok(), from.may_become(to), "{from} → {to}: {result:?}");
            match result {
                Ok(task) => assert_eq!((task.state, task.version), (to, before.version + 1)),
                Err(RegistryError::IllegalTransition { from: f, to: t, .. }) => {
                    assert_eq!((f, t), (from, to));
                    assert_eq!(fixture.task("2").await, before);
                }
                Err(other) => panic!("{other}"),
            }
            fixture.verified().await;
        }
    }
}

#[tokio::test]
async fn a_stale_version_is_a_conflict_with_both_versions() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    let claimed = fixture.claim("1").await.unwrap();
    let body = towards(Done).unwrap();
    let refused = fixture.registry.transition(&run(), &key("1"), claimed.version - 1, None, body).await;
    assert!(matches!(refused, Err(RegistryError::Conflict { expected: 1, found: 2, .. })));
    let absent = fixture.registry.claim(claim("9", 1)).await;
    assert!(matches!(absent, Err(RegistryError::UnknownTask(task)) if task == key("9")));
}

#[tokio::test]
async fn completing_releases_dependents_and_containers_by_events_in_the_same_transaction() {
    let fixture = Fixture::new();
    let child = TaskDefinition { parent: Some(id("1")), ..define("1.1", &[]) };
    let optional = TaskDefinition { parent: Some(id("1")), optional: true, ..define("1.2", &[]) };
    let container = TaskDefinition { container: true, ..define("1", &[]) };
    fixture.create(vec![container, child, optional, define("2", &["1"]), define("3", &["1.1", "1.2"])]).await;
    let refused = fixture.registry.claim(claim("1", 1)).await;
    assert!(matches!(refused, Err(RegistryError::Container { .. })));
    fixture.claim("1.1").await.unwrap();
    let before = fixture.newest().await;
    step(&fixture, "1.1", Done).await.unwrap();
    assert_eq!(fixture.events(before).await, ["TaskCompleted 1.1", "TaskCompleted 1", "TaskReady 2"]);
    assert_eq!(
        states(&fixture).await,
        pairs(&[("1", Done), ("1.1", Done), ("1.2", Ready), ("2", Ready), ("3", Blocked)])
    );
    fixture.verified().await;
}

#[tokio::test]
async fn failing_and_cancelling_leave_dependents_blocked() {
    for end in [Failed, Cancelled] {
        let fixture = Fixture::new();
        fixture.create(vec![define("1", &[]), define("2", &["1"])]).await;
        fixture.claim("1").await.unwrap();
        let before = fixture.newest().await;
        step(&fixture, "1", end).await.unwrap();
        assert_eq!(fixture.events(before).await.len(), 1);
        assert_eq!(fixture.task("2").await.state, Blocked);
    }
}

#[tokio::test]
async fn reopening_blocks_what_was_released() {
    let fixture = Fixture::new();
    let child = TaskDefinition { parent: Some(id("1")), done: true, ..define("1.1", &[]) };
    let container = TaskDefinition { container: true, ..define("1", &[]) };
    fixture.create(vec![container, child, define("2", &["1"]), define("3", &["1.1"])]).await;
    fixture.claim("3").await.unwrap();
    let before = fixture.newest().await;
    let body = Body::TaskReopened { from: Done, reason: "un-ticked".to_owned() };
    let task = fixture.registry.transition(&run(), &key("1.1"), 1, None, body.clone()).await.unwrap();
    assert_eq!(task.state, Ready);
    assert_eq!(fixture.events(before).await, ["TaskReopened 1.1", "TaskReady 1.1", "TaskReopened 1", "TaskBlocked 2"]);
    // The running task goes on; when it should become ready again, it has to wait.
    let retry = step(&fixture, "3", Ready).await.unwrap();
    assert_eq!(retry.state, Blocked);
    let refused = fixture.registry.transition(&run(), &key("2"), 2, None, body).await;
    assert!(matches!(refused, Err(RegistryError::IllegalTransition { from: Blocked, .. })));
    fixture.verified().await;
}

#[tokio::test]
async fn a_retry_clears_who_held_the_task_and_keeps_what_it_failed_on() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    let running = fixture.claim("1").await.unwrap();
    assert_eq!((running.attempts, running.assigned), (1, Some(assigned("1"))));
    let body = Body::TaskReady { from: Running, last_failure: Some("test x failed".to_owned()) };
    let ready = fixture.registry.transition(&run(), &key("1"), running.version, Some(1), body).await.unwrap();
    assert_eq!(ready.assigned, None);
    let second = fixture.claim("1").await.unwrap();
    assert_eq!(second.attempts, 2);
    assert_eq!(second.last_failure.as_deref(), Some("test x failed"));
    let body = Body::TaskCompleted { commit: None, reason: "merged".to_owned() };
    let stale = fixture.registry.transition(&run(), &key("1"), second.version, Some(3), body.clone()).await;
    assert!(matches!(stale, Err(RegistryError::UnknownAttempt(a)) if a == attempt("1", 3)));
    let done = fixture.registry.transition(&run(), &key("1"), second.version, Some(2), body).await.unwrap();
    assert_eq!((done.state, done.last_failure), (Done, None));
}
