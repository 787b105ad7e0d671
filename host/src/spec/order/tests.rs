//! What waits for what.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn waits(text: &str) -> Vec<(String, Vec<String>)> {
    let plan = plan(text.as_bytes());
    plan.tasks.iter().map(|t| (t.id.to_string(), t.depends.iter().map(ToString::to_string).collect())).collect()
}

fn of<'w>(waits: &'w [(String, Vec<String>)], id: &str) -> Vec<&'w str> {
    let (_, on) = waits.iter().find(|(i, _)| i == id).unwrap_or_else(|| panic!("no task {id}"));
    on.iter().map(String::as_str).collect()
}

fn codes(text: &str) -> Vec<(u32, String)> {
    plan(text.as_bytes()).diagnostics.into_iter().map(|d| (d.line, d.code)).collect()
}

fn mode(text: &str) -> Mode {
    plan(text.as_bytes()).mode
}

#[test]
fn without_graph_and_depends_tasks_run_one_after_another_as_in_kiro() {
    let text = "- [ ] 1. a\n  - [ ] 1.1 b\n  - [ ]* 1.2 t\n  - [ ] 1.3 c\n- [ ] 2. d\n- [ ]* 3. t\n- [ ] 10. e\n";
    let waits = waits(text);
    assert_eq!(mode(text), Mode::Sequential);
    assert_eq!(of(&waits, "1"), ["1.1", "1.3"]);
    assert_eq!(of(&waits, "1.1"), Vec::<&str>::new());
    assert_eq!(of(&waits, "1.2"), ["1.1"]);
    assert_eq!(of(&waits, "1.3"), ["1.1"]);
    assert_eq!(of(&waits, "2"), ["1.3"]);
    assert_eq!(of(&waits, "3"), ["2"]);
    assert_eq!(of(&waits, "10"), ["2"]);
}

#[test]
fn neighbours_marked_parallel_run_together() {
    let waits = waits("- [ ] 1. a\n- [ ] 2. (P) b\n- [ ] 3. (P) c\n- [ ] 4. d\n");
    assert_eq!(of(&waits, "2"), ["1"]);
    assert_eq!(of(&waits, "3"), ["1"]);
    assert_eq!(of(&waits, "4"), ["2", "3"]);
}

#[test]
fn a_parent_is_a_container_and_passes_on_what_it_waits_for() {
    let text = "- [ ] 1. a\n- [ ] 2. b\n  - _Depends: 1_\n  - [ ] 2.1 c\n  - [ ] 2.2 d\n    - _Depends: 2.1_\n- [ ] 3. e\n  - _Depends: 2_\n";
    let plan = plan(text.as_bytes());
    assert!(plan.diagnostics.is_empty(), "{:?}", plan.diagnostics);
    assert_eq!(plan.mode, Mode::Depends);
    let waits = waits(text);
    assert_eq!(of(&waits, "2"), ["1", "2.1", "2.2"]);
    assert_eq!(of(&waits, "2.1"), ["1"]);
    assert_eq!(of(&waits, "2.2"), ["1", "2.1"]);
    assert_eq!(of(&waits, "3"), ["2"]);
    let containers: Vec<bool> = plan.tasks.iter().map(|t| t.container).collect();
    assert_eq!(containers, [false, true, false, false, false]);
    assert_eq!(plan.tasks[2].parent.as_ref().map(TaskId::as_str), Some("2"));
}

#[test]
fn a_parent_of_optional_parts_only_is_work_of_its_own_and_comes_first() {
    let text = "- [ ] 1. a\n  - [ ]* 1.1 test\n- [ ]* 2. polish\n  - [ ]* 2.1 x\n";
    let plan = plan(text.as_bytes());
    let containers: Vec<bool> = plan.tasks.iter().map(|t| t.container).collect();
    assert_eq!(containers, [false, false, true, false]);
    let waits = waits(text);
    assert_eq!(of(&waits, "1"), Vec::<&str>::new());
    assert_eq!(of(&waits, "1.1"), ["1"]);
    assert_eq!(of(&waits, "2"), ["2.1"]);
    let later = "- [ ] 1. a\n- [ ] 3. b\n  - _Depends: 1_\n  - [ ]* 3.1 test\n";
    assert_eq!(of(&self::waits(later), "3.1"), ["3"]);
}

#[test]
fn parts_of_an_optional_parent_are_optional() {
    let plan = plan(b"- [ ]* 1. a\n  - [ ] 1.1 b\n");
    assert!(plan.tasks.iter().all(|t| t.optional));
}

#[test]
fn a_container_is_done_when_its_required_parts_are() {
    let plan = plan(b"- [ ] 1. a\n  - [x] 1.1 b\n  - [ ]* 1.2 c\n- [x] 2. d\n  - [ ] 2.1 e\n");
    let done: Vec<bool> = plan.tasks.iter().map(|t| t.done).collect();
    assert_eq!(done, [true, true, false, false, false]);
    assert!(plan.diagnostics.iter().any(|d| d.code == "tasks/parent-ticked" && d.line == 4));
}

const WAVES: &str =
    "\n```json\n{\"waves\":[{\"id\":0,\"tasks\":[\"1.1\",\"3.1\"]},{\"id\":1,\"tasks\":[\"1.2\",\"2\"]}]}\n```\n";

#[test]
fn waves_run_one_after_another_and_parents_stand_for_their_parts() {
    let text = format!(
        "- [ ] 1. a\n  - [ ] 1.1 b\n  - [ ]* 1.2 t\n- [ ] 2. c\n  - [ ] 2.1 d\n  - [ ] 2.2 e\n- [ ] 3. f\n  - [ ] 3.1 g\n- [ ] 4. Checkpoint\n{WAVES}"
    );
    let waits = waits(&text);
    assert_eq!(mode(&text), Mode::Waves);
    for id in ["1.2", "2.1", "2.2"] {
        assert_eq!(of(&waits, id), ["1.1", "3.1"], "{id}");
    }
    assert_eq!(of(&waits, "2"), ["2.1", "2.2"]);
    assert_eq!(of(&waits, "4"), ["2.1", "2.2"]);
}

#[test]
fn a_checkpoint_between_waves_never_closes_a_cycle() {
    let text = "- [ ] 1.1 a\n- [ ] 2. Checkpoint\n- [ ] 3.1 b\n```json\n{\"waves\":[{\"id\":0,\"tasks\":[\"3.1\"]},{\"id\":1,\"tasks\":[\"1.1\"]}]}\n```\n";
    let waits = waits(text);
    assert_eq!(of(&waits, "1.1"), ["3.1"]);
    assert_eq!(of(&waits, "2"), ["1.1"]);
}

#[test]
fn a_written_dependency_wins_over_the_waves() {
    let text = "- [ ] 1. a\n- [ ] 2. b\n- [ ] 3. c\n  - _Depends: none_\n- [ ] 4. d\n```json\n{\"waves\":[[\"1\",\"2\"],[\"3\"],[\"4\"]]}\n```\n";
    let waits = waits(text);
    assert_eq!(mode(text), Mode::WavesAndDepends);
    assert_eq!(of(&waits, "3"), Vec::<&str>::new());
    // Task 3 does not hold back the first wave, so it is waited for as well.
    assert_eq!(of(&waits, "4"), ["1", "2", "3"]);
}

#[test]
fn waves_against_written_dependencies_give_way() {
    let text = "- [ ] 1. a\n  - _Depends: 2_\n- [ ] 2. b\n```json\n{\"waves\":[[\"1\"],[\"2\"]]}\n```\n";
    let waits = waits(text);
    assert_eq!(of(&waits, "1"), ["2"]);
    assert_eq!(of(&waits, "2"), Vec::<&str>::new());
}

#[test]
fn in_a_file_with_depends_a_task_without_it_is_free() {
    let waits = waits("- [ ] 1. a\n- [ ] 2. b\n  - _Depends: 1_\n- [ ] 3. c\n");
    assert_eq!(of(&waits, "3"), Vec::<&str>::new());
}

#[test]
fn ranges_name_tasks_of_the_same_depth() {
    let text = "- [ ] 1. a\n- [ ] 1.1 b\n- [ ] 1.2 c\n- [ ] 1.10 d\n- [ ] 2. e\n  - _Depends: 1.2-1.10_\n";
    assert_eq!(of(&waits(text), "2"), ["1.2", "1.10"]);
}

#[test]
fn dependencies_that_cannot_be_are_errors_with_their_line() {
    for (text, code, line) in [
        ("- [ ] 1. a\n  - _Depends: 7_\n", "tasks/unknown-dependency", 2),
        ("- [ ] 1. a\n  - _Depends: 1_\n", "tasks/self-dependency", 2),
        ("- [ ] 1. a\n  - _Depends: the other_\n", "tasks/unreadable-dependency", 2),
        ("- [ ] 1. a\n  - _Depends: 2_\n- [ ] 2. b\n  - _Depends: 1_\n", "tasks/dependency-cycle", 4),
        ("- [ ] 1. a\n  - _Depends: 5-9_\n", "tasks/unknown-dependency", 2),
    ] {
        let plan = plan(text.as_bytes());
        let errors: Vec<&Diagnostic> = plan.diagnostics.iter().filter(|d| d.is_error()).collect();
        assert_eq!(errors.len(), 1, "{text:?}: {errors:?}");
        assert_eq!((errors[0].code.as_str(), errors[0].line), (code, line), "{text:?}: {errors:?}");
    }
}

#[test]
fn a_part_that_waits_for_its_parent_waits_for_the_parts_before_it() {
    let text = "- [ ] 1. a\n  - [ ] 1.1 b\n    - _Depends: none_\n  - [ ] 1.2 c\n    - _Depends: 1_\n";
    assert_eq!(codes(text), [(5, "tasks/depends-on-parent".to_owned())]);
    assert_eq!(of(&waits(text), "1.2"), ["1.1"]);
}

#[test]
fn a_cycle_names_its_path() {
    let text = "- [ ] 1. a\n  - _Depends: 3_\n- [ ] 2. b\n  - _Depends: 1_\n- [ ] 3. c\n  - _Depends: 2_\n";
    let found = plan(text.as_bytes()).diagnostics;
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("1 → 3 → 2 → 1"), "{}", found[0].message);
}

#[test]
fn a_required_task_on_an_optional_one_is_a_warning() {
    let text = "- [ ]* 1. a\n- [ ] 2. b\n  - _Depends: 1_\n";
    assert_eq!(codes(text), [(3, "tasks/depends-on-optional".to_owned())]);
}

#[test]
fn the_graph_may_name_what_is_not_there() {
    let text = "- [ ] 1. a\n```json\n{\"waves\":[{\"id\":0,\"tasks\":[\"9\",\"1\",\"1\"]}]}\n```\n";
    let codes: Vec<String> = codes(text).into_iter().map(|(_, c)| c).collect();
    assert_eq!(codes, ["tasks/graph-unknown-task", "tasks/graph-twice"]);
    assert_eq!(mode(text), Mode::Waves);
}

#[test]
fn requirement_numbers_are_never_dependencies() {
    let plan = plan(b"- [ ] 1. a\n  - _Requirements: 2_\n- [ ] 2. b\n  - _Requirements: 1, Property 3_\n");
    assert!(plan.tasks[0].depends.is_empty());
    assert_eq!(plan.tasks[0].requirements, ["2"]);
    assert_eq!(plan.tasks[1].requirements, ["1"]);
}

#[test]
fn parts_without_their_parent_are_tasks_of_their_own() {
    // People use headings as parents: no container, no finding that hinders, and file order.
    let text = "# P\n## Task 1\n- [ ] 1.1 a\n- [ ] 1.2 b\n### Task 2\n- [ ] 2.1 c\n";
    let waits = waits(text);
    assert_eq!((of(&waits, "1.1"), of(&waits, "1.2"), of(&waits, "2.1")), (vec![], vec!["1.1"], vec!["1.2"]));
    assert!(!plan(text.as_bytes()).has_errors());
}

#[test]
fn byte_order_marks_line_endings_and_wide_gaps_change_nothing() {
    let plain = "# P\n- [ ] 1. a\n  - [ ] 1.1 b\n    - x\n    - _Depends: none_\n- [ ]* 2. c\n  - _Depends: 1_\n";
    let gap = plain.replace("1.1 b\n", "1.1 b\n\n\n\n\n\n");
    let expected = plan(plain.as_bytes()).tasks;
    for text in [format!("\u{feff}{plain}"), plain.replace('\n', "\r\n"), plain.replace('\n', "\r"), gap] {
        assert_eq!(plan(text.as_bytes()).tasks, expected, "{text:?}");
    }
}

#[test]
fn duplicates_are_defined_once() {
    let plan = plan(b"- [ ] 1. a\n- [ ] 1. b\n");
    assert_eq!(plan.tasks.len(), 1);
    assert!(plan.has_errors());
}

fn assert_sound(tasks: &[TaskDefinition]) -> Result<(), TestCaseError> {
    let mut index = HashMap::new();
    for (at, task) in tasks.iter().enumerate() {
        prop_assert!(index.insert(&task.id, at).is_none(), "{} twice", task.id);
    }
    let mut edges = vec![Vec::new(); tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        let unique: HashSet<&TaskId> = task.depends.iter().collect();
        prop_assert_eq!(unique.len(), task.depends.len());
        for on in &task.depends {
            prop_assert!(index.contains_key(on), "{} is unknown", on);
            edges[at].push(index[on]);
        }
    }
    prop_assert_eq!(cycle::find(&edges), None);
    for task in tasks.iter().filter(|t| t.container) {
        prop_assert!(tasks.iter().any(|t| t.parent.as_ref() == Some(&task.id) && task.depends.contains(&t.id)));
    }
    Ok(())
}

fn any_file() -> impl Strategy<Value = String> {
    let task = (
        "[1-4](\\.[1-3]){0,2}",
        any::<bool>(),
        prop::option::weighted(0.5, "([1-4](\\.[1-3])?(, )?){0,3}|none|1-3|1.1-1.3"),
        any::<bool>(),
    );
    let graph = prop::option::of(prop::collection::vec(prop::collection::vec("[1-4](\\.[1-3])?", 0..4), 1..4));
    (prop::collection::vec(task, 1..16), graph).prop_map(|(tasks, graph)| {
        let mut text = String::new();
        for (id, star, depends, parallel) in tasks {
            let star = if star { "*" } else { "" };
            let parallel = if parallel { "(P) " } else { "" };
            text.push_str(&format!("- [ ]{star} {id}. {parallel}t\n"));
            if let Some(depends) = depends {
                text.push_str(&format!("  - _Depends: {depends}_\n"));
            }
        }
        if let Some(waves) = graph {
            let waves = serde_json::json!({ "waves": waves });
            text.push_str(&format!("```json\n{waves}\n```\n"));
        }
        text
    })
}

proptest! {
    #[test]
    fn definitions_are_always_acyclic_and_known(text in any_file()) {
        assert_sound(&plan(text.as_bytes()).tasks)?;
    }

    #[test]
    fn no_required_task_waits_for_an_optional_one_unless_written(text in any_file()) {
        let text = text.replace("_Depends", "_Other");
        let plan = plan(text.as_bytes());
        let optional: HashSet<&TaskId> = plan.tasks.iter().filter(|t| t.optional).map(|t| &t.id).collect();
        for task in plan.tasks.iter().filter(|t| !t.optional) {
            for on in &task.depends {
                prop_assert!(!optional.contains(on), "{} waits for {}", task.id, on);
            }
        }
    }
}
