//! The graph against brute force, and its drawings against hostile titles.

use proptest::prelude::*;

use super::*;
use crate::domain::task::TaskState;

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn number(n: usize) -> TaskId {
    TaskId::new(n.to_string()).unwrap()
}

#[derive(Debug)]
struct Sample(TaskId, Vec<TaskId>, bool);

impl<'a> From<&'a Sample> for Node<'a> {
    fn from(s: &'a Sample) -> Self {
        Node { id: &s.0, depends: &s.1, container: s.2 }
    }
}

fn sample(task: &str, depends: &[&str]) -> Sample {
    Sample(id(task), depends.iter().map(|d| id(d)).collect(), false)
}

fn problems(tasks: &[Sample]) -> String {
    Graph::new(tasks).expect_err("the set is wrong").to_string()
}

#[test]
fn every_problem_is_named() {
    let tasks = [sample("1", &["1"]), sample("1", &[]), sample("2", &["9", "1"]), sample("3", &["8.8"])];
    assert_eq!(
        problems(&tasks),
        "task 1 is defined twice; task 1 depends on itself; task 2 depends on 9, which is no task of this spec; \
         task 3 depends on 8.8, which is no task of this spec"
    );
}

#[test]
fn a_cycle_is_named_by_its_path_alone() {
    let tasks = [
        sample("1", &[]),
        sample("2", &["1", "4"]),
        sample("3", &["2"]),
        sample("4", &["3"]),
        // Behind the cycle, but not on it.
        sample("5", &["4"]),
    ];
    assert_eq!(problems(&tasks), "tasks depend on each other: 2 → 4 → 3 → 2");
}

#[test]
fn problems_are_bounded() {
    let tasks: Vec<Sample> = (0..500).map(|n| Sample(number(n), vec![id("9.9")], false)).collect();
    assert_eq!(Graph::new(&tasks).unwrap_err().0.len(), MAX_PROBLEMS);
}

#[test]
fn waves_keep_the_given_order() {
    let tasks = [sample("3", &["1", "1"]), sample("2", &[]), sample("1", &[]), sample("4", &["2", "3"])];
    let graph = Graph::new(&tasks).unwrap();
    let waves: Vec<Vec<&str>> =
        graph.waves().into_iter().map(|w| w.into_iter().map(TaskId::as_str).collect()).collect();
    assert_eq!(waves, [vec!["2", "1"], vec!["3"], vec!["4"]]);
    assert_eq!(graph.dependents(&id("1")).count(), 1, "a dependency named twice is one edge");
}

#[test]
fn containers_weigh_nothing() {
    let mut tasks = [sample("1", &["1.1"]), sample("1.1", &[]), sample("2", &["1"])];
    tasks[0].2 = true;
    let weights = Graph::new(&tasks).unwrap().weights();
    assert_eq!(weights[&id("1.1")], Weight { dependents: 1, remaining_path: 2 });
    assert_eq!(weights[&id("1")], Weight { dependents: 1, remaining_path: 1 });
    assert_eq!(weights[&id("2")], Weight { dependents: 0, remaining_path: 1 });
}

#[test]
fn an_empty_set_has_a_graph() {
    let graph = Graph::new(Vec::<Node<'_>>::new()).unwrap();
    assert!(graph.is_empty() && graph.waves().is_empty() && graph.weights().is_empty());
}

#[test]
fn a_chain_of_ten_thousand_tasks_does_not_recurse() {
    let chain: Vec<Sample> =
        (0..10_000).map(|n| Sample(number(n), if n == 0 { Vec::new() } else { vec![number(n - 1)] }, false)).collect();
    let graph = Graph::new(&chain).unwrap();
    assert_eq!(graph.waves().len(), 10_000);
    assert_eq!(graph.weights()[&number(0)], Weight { dependents: 9_999, remaining_path: 10_000 });

    let mut ring = chain;
    ring[0].1.push(number(9_999));
    let problems = Graph::new(&ring).unwrap_err().0;
    assert!(matches!(&problems[..], [Problem::Cycle { path }] if path.len() == 10_000));
}

/// Edges only from later to earlier tasks: never a cycle.
fn acyclic() -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>()), 1..80).prop_map(
        |rows| {
            rows.into_iter()
                .enumerate()
                .map(|(n, (picks, container))| {
                    let depends = if n == 0 { Vec::new() } else { picks.iter().map(|p| number(p.index(n))).collect() };
                    Sample(number(n), depends, container)
                })
                .collect()
        },
    )
}

proptest! {
    #[test]
    fn order_waves_and_weights_agree_with_brute_force(tasks in acyclic()) {
        let graph = Graph::new(&tasks).unwrap();
        let order: Vec<&TaskId> = graph.order().collect();
        prop_assert_eq!(order.len(), tasks.len());
        let waves = graph.waves();
        let wave_of = |t: &TaskId| waves.iter().position(|w| w.contains(&t)).unwrap();
        let weights = graph.weights();
        for task in &tasks {
            let place = order.iter().position(|t| **t == task.0).unwrap();
            for d in &task.1 {
                prop_assert!(order.iter().position(|t| *t == d).unwrap() < place);
                prop_assert!(wave_of(d) < wave_of(&task.0));
            }
            prop_assert_eq!(wave_of(&task.0), task.1.iter().map(|d| wave_of(d) + 1).max().unwrap_or(0));
            // Descendants by a plain search.
            let mut seen = std::collections::HashSet::new();
            let mut todo = vec![&task.0];
            while let Some(t) = todo.pop() {
                todo.extend(graph.dependents(t).filter(|d| seen.insert(*d)));
            }
            let count = seen.iter().filter(|t| tasks.iter().any(|s| s.0 == ***t && !s.2)).count();
            prop_assert_eq!(weights[&task.0].dependents as usize, count);
            let after = graph.dependents(&task.0).map(|d| weights[d].remaining_path).max().unwrap_or(0);
            prop_assert_eq!(weights[&task.0].remaining_path, after + u32::from(!task.2));
        }
    }

    #[test]
    fn a_named_cycle_is_a_cycle(tasks in acyclic(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut tasks = tasks;
        let (a, b) = (from.index(tasks.len()), to.index(tasks.len()));
        prop_assume!(a < b);
        tasks[a].1.push(number(b));
        tasks[b].1.push(number(a));
        let problems = Graph::new(&tasks).unwrap_err().0;
        let Some(Problem::Cycle { path }) = problems.first() else { panic!("{problems:?}") };
        for (n, task) in path.iter().enumerate() {
            let next = &path[(n + 1) % path.len()];
            prop_assert!(tasks.iter().any(|s| &s.0 == task && s.1.contains(next)), "{task} does not wait for {next}");
        }
    }

    #[test]
    fn no_title_breaks_a_drawing(title in any::<String>(), optional in any::<bool>()) {
        let ids = [id("1"), id("1.1")];
        let depends = [id("1")];
        let tasks = [
            Drawing { id: &ids[0], title: "plain", state: TaskState::Done, optional: false, container: false, depends: &[] },
            Drawing { id: &ids[1], title: &title, state: TaskState::Ready, optional, container: false, depends: &depends },
        ];
        let mermaid = draw(&tasks, Format::Mermaid);
        prop_assert_eq!(mermaid.matches('"').count(), 4);
        prop_assert_eq!(mermaid.lines().count(), 1 + 2 + 1 + 7 + 2 + usize::from(optional));
        let dot = draw(&tasks, Format::Dot);
        prop_assert_eq!(dot.lines().count(), 3 + 2 + 1 + 1);
        let json: serde_json::Value = serde_json::from_str(&draw(&tasks, Format::Json)).unwrap();
        prop_assert_eq!(json["tasks"][1]["title"].as_str(), Some(title.as_str()));
        prop_assert_eq!(json["edges"][0]["from"].as_str(), Some("1"));
    }
}

#[test]
fn a_drawing_reads_like_this() {
    let ids = [id("1"), id("2.1")];
    let depends = [id("1")];
    let tasks = [
        Drawing {
            id: &ids[0],
            title: "set \"it\" up \\ 認証",
            state: TaskState::Done,
            optional: false,
            container: false,
            depends: &[],
        },
        Drawing {
            id: &ids[1],
            title: "a[b]",
            state: TaskState::Blocked,
            optional: true,
            container: false,
            depends: &depends,
        },
    ];
    let mermaid = draw(&tasks, Format::Mermaid);
    assert!(mermaid.contains("    task_1[\"1: set #34;it#34; up #92; 認証\"]\n"), "{mermaid}");
    assert!(mermaid.contains("    task_1 --> task_2_1\n"));
    assert!(mermaid.contains("    class task_2_1 blocked\n    class task_2_1 optional\n"));
    let dot = draw(&tasks, Format::Dot);
    assert!(dot.contains(r#""1" [label="1: set \"it\" up \\ 認証", style="filled,rounded", fillcolor="lightblue"];"#));
    assert!(dot.contains(r#""2.1" [label="2.1: a[b]", style="filled,dashed,rounded", fillcolor="lightgray"];"#));
    assert!(dot.contains("    \"1\" -> \"2.1\";\n"));
}

#[test]
fn waves_and_the_critical_path_leave_groups_out() {
    let ids = [id("1"), id("2"), id("2.1"), id("2.2"), id("3")];
    let depends = [vec![], vec![id("2.1"), id("2.2")], vec![id("1")], vec![], vec![id("2")]];
    let tasks: Vec<Drawing<'_>> = ids
        .iter()
        .zip(&depends)
        .map(|(id, depends)| Drawing {
            id,
            title: "t",
            state: TaskState::Ready,
            optional: id.as_str() == "2.2",
            container: id.as_str() == "2",
            depends,
        })
        .collect();
    let graph = Graph::new(&tasks).unwrap();
    assert_eq!(graph.critical_path(), [&ids[0], &ids[2], &ids[4]]);
    let expected = "wave 1\n* 1  t (ready)\n  2.2  t (ready, optional)\nwave 2\n* 2.1  t (ready)\nwave 3\n* 3  t (ready)\n\
                    * critical path, 3 tasks: 1 → 2.1 → 3\n";
    assert_eq!(draw(&tasks, Format::Waves), expected);
    let json: serde_json::Value = serde_json::from_str(&draw(&tasks, Format::Json)).unwrap();
    assert_eq!(json["waves"], serde_json::json!([["1", "2.2"], ["2.1"], ["3"]]));
    assert_eq!(json["critical_path"], serde_json::json!(["1", "2.1", "3"]));
}

proptest! {
    #[test]
    fn the_critical_path_is_a_chain_and_none_is_longer(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
        let tasks: Vec<Sample> = (0..12)
            .map(|n| Sample(number(n), edges.iter().filter(|(a, b)| *b == n && a < b).map(|(a, _)| number(*a)).collect(), n % 5 == 4))
            .collect();
        let graph = Graph::new(&tasks).unwrap();
        let way: Vec<TaskId> = graph.critical_path().into_iter().cloned().collect();
        let longest = graph.weights().values().map(|weight| weight.remaining_path).max().unwrap_or(0);
        prop_assert_eq!(way.len() as u32, longest);
        let after = |from: &TaskId, to: &TaskId| {
            // Groups may stand between them.
            let mut reached = vec![from.clone()];
            while let Some(at) = reached.pop() {
                for next in graph.dependents(&at) {
                    if next == to { return true; }
                    reached.push(next.clone());
                }
            }
            false
        };
        prop_assert!(way.windows(2).all(|pair| after(&pair[0], &pair[1])), "{:?}", way);
    }
}
