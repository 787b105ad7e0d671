//! Finding tasks: filters together, orders, and pages that neither skip nor repeat.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::task::{Attributes, TaskState};
use crate::registry::{Cursor, TaskFilter, TaskSort};

async fn pages(fixture: &Fixture, filter: TaskFilter, limit: u32) -> Vec<Task> {
    let (mut all, mut after): (Vec<Task>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let filter = TaskFilter { after: after.take(), limit, ..filter.clone() };
        let page = fixture.registry.read(move |r| r.find_tasks(&filter)).await.unwrap();
        let Some((_, last)) = page.last() else { return all };
        // Over the command line, as text.
        after = Some(last.to_string().parse().unwrap());
        all.extend(page.into_iter().map(|(task, _)| task));
    }
}

fn numbers(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.key.task.as_str()).collect()
}

async fn backlog() -> Fixture {
    let fixture = Fixture::new();
    let mut all: Vec<TaskDefinition> = ["1", "2", "2.1", "2.2", "2.10", "10", "10.1"]
        .into_iter()
        .map(|text| TaskDefinition {
            optional: text.contains(".1"),
            skill: (!text.contains('.')).then(|| "backend".to_owned()),
            text: format!("Café 100%_{text}"),
            ..define(text, &[])
        })
        .collect();
    all[5].depends = vec![id("2")];
    fixture.create(all).await;
    for (text, priority) in [("2.10", 5), ("10", 5), ("2", -1)] {
        let attributes = Attributes { priority: Some(priority), ..Attributes::default() };
        let version = fixture.task(text).await.version;
        fixture.registry.set_task(&key(text), version, attributes).await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn orders_are_natural_and_conditions_hold_together() {
    let fixture = backlog().await;
    let find = async |filter: TaskFilter| pages(&fixture, filter, 2).await;
    let all = TaskFilter { spec: Some(spec()), ..TaskFilter::default() };
    assert_eq!(numbers(&find(all.clone()).await), ["1", "2", "2.1", "2.2", "2.10", "10", "10.1"]);
    let urgent = TaskFilter { sort: TaskSort::Priority, ..all.clone() };
    // The most urgent last to first: equal ones turn with the rest.
    assert_eq!(numbers(&find(urgent.clone()).await), ["10", "2.10", "10.1", "2.2", "2.1", "1", "2"]);
    let reverse = TaskFilter { reverse: true, ..urgent };
    assert_eq!(numbers(&find(reverse).await), ["2", "1", "2.1", "2.2", "10.1", "2.10", "10"]);
    let both = TaskFilter { skill: Some("backend".to_owned()), states: vec![TaskState::Ready], ..all.clone() };
    assert_eq!(numbers(&find(both).await), ["1", "2"]);
    let optional = TaskFilter { optional: Some(true), text: Some("100%_2".to_owned()), ..all.clone() };
    assert_eq!(numbers(&find(optional).await), ["2.1", "2.10"], "no character of a text is a wild card");
    fixture.claim("1").await.unwrap();
    let slot = TaskFilter { slot: Some("workspace-repo-slot1".to_owned()), ..all.clone() };
    assert_eq!(numbers(&find(slot).await), ["1"]);
    let runner = TaskFilter { runner: Some("nobody".to_owned()), ..all };
    assert_eq!(numbers(&find(runner).await), [""; 0]);
}

#[tokio::test]
async fn ready_tasks_stand_in_the_order_of_urgency_then_number() {
    let fixture = backlog().await;
    let ready = fixture.registry.read(|r| r.ready_ids(&spec())).await.unwrap();
    assert_eq!(ready.iter().map(TaskId::as_str).collect::<Vec<_>>(), ["2.10", "1", "2.1", "2.2", "10.1", "2"]);
    let first = fixture.registry.read(|r| r.first_ready(&spec(), 2)).await.unwrap();
    assert_eq!(numbers(&first), ["2.10", "1"]);
    let plan: String = fixture
        .registry
        .shared
        .writer
        .run(|tx| {
            let sql = "EXPLAIN QUERY PLAN SELECT task FROM tasks
                       WHERE spec = 'demo' AND state = 'ready' ORDER BY priority DESC, ordinal LIMIT 5";
            Ok(tx.conn.query_row(sql, [], |row| row.get("detail"))?)
        })
        .await
        .unwrap();
    assert!(plan.contains("COVERING INDEX tasks_ready"), "the order is kept, not made: {plan}");
}

#[test]
fn cursors_of_another_order_are_refused() {
    for bad in ["", "demo/1", "@demo", "@demo/x", "@../1"] {
        assert!(bad.parse::<Cursor>().is_err(), "{bad}");
    }
    let fixture = Fixture::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let filter = TaskFilter { sort: TaskSort::Priority, after: "@demo/1".parse().ok(), ..TaskFilter::default() };
    let refused = runtime.block_on(fixture.registry.read(move |r| r.find_tasks(&filter)));
    assert!(matches!(refused, Err(RegistryError::ForeignCursor)), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn pages_give_each_task_once(
        tasks in prop::collection::btree_map("[1-9][0-9]?(\\.[1-9][0-9]?)?", -2..3_i32, 1..30),
        limit in 1..7_u32, sort in 0..4_u8, reverse: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (given, found) = runtime.block_on(async {
            let fixture = Fixture::new();
            let definitions = tasks.iter().map(|(text, priority)| {
                TaskDefinition { priority: *priority, ..define(text, &[]) }
            });
            let given = fixture.create(definitions.collect()).await;
            let sort = [TaskSort::Number, TaskSort::Priority, TaskSort::Created, TaskSort::Updated][usize::from(sort)];
            let filter = TaskFilter { sort, reverse, ..TaskFilter::default() };
            (given, pages(&fixture, filter, limit).await)
        });
        prop_assert_eq!(given.len(), found.len());
        let known: BTreeSet<&str> = numbers(&found).into_iter().collect();
        prop_assert_eq!(known.len(), given.len());
    }
}
