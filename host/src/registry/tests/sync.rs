//! Bringing the registry to what a file says that people edit beside it, and what operators set over it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::domain::task::{Attributes, TaskState};
use crate::registry::{Boxes, SpecContent};
use TaskState::{Blocked, Done, Ready, Running};

fn content(definitions: Vec<TaskDefinition>, since: &[&str], base: &[u8]) -> SpecContent {
    let opened = since.iter().map(|text| id(text)).collect();
    let boxes = Boxes::Since { opened, removed: BTreeSet::new() };
    SpecContent { definitions, boxes, place: Some(("/home/me/shop".to_owned(), digest_of(base))) }
}

fn ticked(text: &str, depends: &[&str]) -> TaskDefinition {
    TaskDefinition { done: true, ..define(text, depends) }
}

async fn sync(fixture: &Fixture, content: SpecContent) -> Result<Vec<Task>, RegistryError> {
    fixture.registry.sync(None, &spec(), content).await
}

#[tokio::test]
async fn an_open_box_is_news_only_when_it_was_ticked_before() {
    let fixture = Fixture::new();
    sync(&fixture, content(vec![define("1", &[]), define("2", &["1"])], &[], b"a")).await.unwrap();
    fixture.claim("1").await.unwrap();
    let version = fixture.task("1").await.version;
    let done = crate::domain::event::Body::TaskCompleted { commit: None, reason: "merged".to_owned() };
    fixture.registry.transition(&run(), &key("1"), version, Some(1), done).await.unwrap();
    // The file has not caught up yet: its open box is no wish.
    sync(&fixture, content(vec![define("1", &[]), define("2", &["1"])], &[], b"b")).await.unwrap();
    assert_eq!(fixture.task("1").await.state, Done);
    assert_eq!(fixture.task("2").await.state, Ready);
    // Now it had, and somebody cleared the box.
    let before = fixture.newest().await;
    sync(&fixture, content(vec![define("1", &[]), define("2", &["1"])], &["1"], b"c")).await.unwrap();
    assert_eq!(fixture.task("1").await.state, Ready);
    assert_eq!(fixture.task("2").await.state, Blocked);
    assert_eq!(
        fixture.events(before).await,
        ["TaskReopened 1", "TaskReady 1", "TaskBlocked 2", "SpecSynced"],
        "un-ticking is an explicit event"
    );
    fixture.verified().await;
}

#[tokio::test]
async fn the_file_never_resets_live_states_and_the_same_again_is_nothing() {
    let fixture = Fixture::new();
    let definitions = || vec![ticked("1", &[]), define("2", &["1"]), define("3", &[])];
    sync(&fixture, content(definitions(), &[], b"a")).await.unwrap();
    fixture.claim("2").await.unwrap();
    let (before, versions) = (fixture.newest().await, fixture.registry.read(|r| r.tasks(&spec())).await.unwrap());
    let again = sync(&fixture, content(definitions(), &["1"], b"a")).await.unwrap();
    assert_eq!(fixture.newest().await, before, "no event");
    assert_eq!(again, versions, "no version");
    assert_eq!(fixture.task("2").await.state, Running);
    let base = fixture.registry.read(|r| r.base(&spec(), "/home/me/shop")).await.unwrap();
    assert_eq!(base, Some(digest_of(b"a")));
    fixture.verified().await;
}

#[tokio::test]
async fn a_file_that_lacks_what_it_never_had_takes_nothing_out() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &["1"]), define("3", &[]), define("4", &[])]).await;
    let with = |definitions, removed: &[&str]| {
        let removed = removed.iter().map(|text| id(text)).collect();
        SpecContent { definitions, boxes: Boxes::Since { opened: BTreeSet::new(), removed }, place: None }
    };
    let before = fixture.newest().await;
    sync(&fixture, with(vec![ticked("1", &[]), define("3", &[])], &["4"])).await.unwrap();
    assert_eq!(fixture.events(before).await, ["TaskCompleted 1", "TaskCancelled 4", "TaskReady 2"]);
    let version = fixture.task("3").await.version;
    let given_up = crate::domain::event::Body::TaskCancelled { reason: "given up".to_owned() };
    fixture.registry.transition(&run(), &key("3"), version, None, given_up).await.unwrap();
    let before = fixture.newest().await;
    sync(&fixture, with(vec![ticked("1", &[]), define("3", &[])], &[])).await.unwrap();
    assert_eq!(fixture.newest().await, before, "a box that stays open does not take a task up again");
    fixture.verified().await;
}

#[tokio::test]
async fn what_an_operator_sets_outlasts_the_file() {
    let fixture = Fixture::new();
    let file = |title: &str, priority| TaskDefinition { title: title.to_owned(), priority, ..define("1", &[]) };
    fixture.create(vec![file("a", 1)]).await;
    let metadata = BTreeMap::from([("ticket".to_owned(), "SHOP-7".to_owned())]);
    let attributes = Attributes { priority: Some(9), skill: None, metadata };
    let set = fixture.registry.set_task(&key("1"), 1, attributes.clone()).await.unwrap();
    assert_eq!((set.definition.priority, set.version), (9, 2));
    assert_eq!(set.definition.metadata["ticket"], "SHOP-7");
    let stale = fixture.registry.set_task(&key("1"), 1, attributes.clone()).await.unwrap_err();
    assert!(matches!(stale, RegistryError::Conflict { expected: 1, found: 2, .. }), "{stale}");
    let same = fixture.registry.set_task(&key("1"), 2, attributes).await.unwrap();
    assert_eq!(same.version, 2, "saying it again is no version");
    fixture.create(vec![file("b", 3)]).await;
    let task = fixture.task("1").await;
    assert_eq!((task.definition.title.as_str(), task.definition.priority), ("b", 9));
    assert_eq!(task.definition.metadata["ticket"], "SHOP-7");
    let too_much = Attributes { skill: Some("x".repeat(Attributes::MAX_TEXT + 1)), ..Attributes::default() };
    let refused = fixture.registry.set_task(&key("1"), task.version, too_much).await.unwrap_err();
    assert!(matches!(refused, RegistryError::InvalidAttributes(_)), "{refused}");
    fixture.verified().await;
}

#[tokio::test]
async fn the_spec_branch_opens_what_a_run_completed_and_not_what_others_did() {
    let fixture = Fixture::new();
    let open = || vec![define("1", &[]), define("2", &[]), define("3", &[])];
    fixture.create(open()).await;
    // By a worker, by a tick in a checkout, and by a merge of a run.
    let wanted = crate::registry::WorkerClaim { worker: "w".to_owned(), ..Default::default() };
    fixture.registry.claim_next(wanted).await.unwrap().unwrap();
    let report = crate::registry::WorkerReport {
        attempt: attempt("1", 1),
        worker: "w".to_owned(),
        result: crate::registry::WorkerResult::Done { commit: None, summary: None },
        max_attempts: 3,
    };
    fixture.registry.report(report).await.unwrap();
    let boxes = Boxes::Since { opened: BTreeSet::new(), removed: BTreeSet::new() };
    let definitions = vec![define("1", &[]), ticked("2", &[]), define("3", &[])];
    sync(&fixture, SpecContent { definitions, boxes, place: None }).await.unwrap();
    fixture.claim("3").await.unwrap();
    let done = crate::domain::event::Body::TaskCompleted { commit: None, reason: "merged".to_owned() };
    fixture.registry.transition(&run(), &key("3"), fixture.task("3").await.version, Some(1), done).await.unwrap();
    let tasks = fixture.create(open()).await;
    let states: Vec<TaskState> = tasks.iter().map(|task| task.state).collect();
    assert_eq!(states, [Done, Done, Ready]);
    fixture.verified().await;
}
