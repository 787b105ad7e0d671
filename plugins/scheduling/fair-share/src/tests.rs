//! Rounds over specs.

use super::*;

fn task(spec: &str, id: &str) -> ReadyTask {
    ReadyTask {
        spec: spec.into(),
        task: id.into(),
        title: id.into(),
        skill: None,
        priority: 0,
        waiting_ms: 0,
        dependents: 0,
        remaining_path: 1,
        attempt: 1,
    }
}

fn pool(capacity: u32) -> [Pool; 1] {
    [Pool { name: "p".into(), capacity, running: 0, skills: vec![] }]
}

fn specs(plan: &Plan) -> String {
    plan.placements.iter().map(|p| p.spec.as_str()).collect()
}

#[test]
fn a_round_goes_over_the_specs_whatever_the_urgency() {
    let mut tasks: Vec<ReadyTask> = (1..=5).map(|n| ReadyTask { priority: 9, ..task("a", &n.to_string()) }).collect();
    tasks.extend([task("b", "1"), task("b", "2"), task("c", "1")]);
    let plan = FairShare::order(&tasks, &pool(7), &Settings::default(), "").unwrap();
    assert_eq!(specs(&plan), "abcabaa");
    assert_eq!(plan.state, r#"{"a":3,"b":1,"c":0}"#);
}

#[test]
fn what_a_spec_has_had_counts_in_the_next_rounds() {
    let tasks = [task("a", "1"), task("a", "2"), task("a", "3"), task("b", "1"), task("b", "2"), task("b", "3")];
    let mut state = String::new();
    let mut order = String::new();
    for _ in 0..6 {
        let plan = FairShare::order(&tasks, &pool(1), &Settings::default(), &state).unwrap();
        order.push_str(&specs(&plan));
        state = plan.state;
    }
    assert_eq!(order, "ababab");
    let behind = FairShare::order(&tasks, &pool(3), &Settings::default(), r#"{"a":2,"b":0}"#).unwrap();
    assert_eq!(specs(&behind), "bba");
}

#[test]
fn who_comes_later_does_not_get_all_that_it_missed() {
    let tasks = [task("a", "1"), task("a", "2"), task("n", "1"), task("n", "2")];
    let plan = FairShare::order(&tasks, &pool(4), &Settings::default(), r#"{"a":5,"old":9}"#).unwrap();
    assert_eq!(specs(&plan), "anan");
}

#[test]
fn a_spec_whose_tasks_find_no_room_does_not_stop_the_others() {
    let pools = [
        Pool { name: "qa".into(), capacity: 1, running: 1, skills: vec!["qa".into()] },
        Pool { name: "be".into(), capacity: 2, running: 0, skills: vec!["backend".into()] },
    ];
    let skilled = |spec: &str, id: &str, skill: &str| ReadyTask { skill: Some(skill.into()), ..task(spec, id) };
    let tasks = [skilled("a", "1", "qa"), skilled("a", "2", "backend"), skilled("b", "1", "backend")];
    let plan = FairShare::order(&tasks, &pools, &Settings::default(), "").unwrap();
    let placed: Vec<(&str, &str)> = plan.placements.iter().map(|p| (p.spec.as_str(), p.task.as_str())).collect();
    assert_eq!(placed, [("a", "2"), ("b", "1")]);
}

#[test]
fn the_state_is_bounded_however_many_specs_there_are() {
    let many: Vec<ReadyTask> = (0..400).map(|n| task(&format!("a-rather-long-name-of-a-spec-{n}"), "1")).collect();
    let mut state = String::new();
    for _ in 0..40 {
        let plan = FairShare::order(&many, &pool(150), &Settings::default(), &state).unwrap();
        assert_eq!(plan.placements.len(), 150);
        assert!(plan.state.len() <= MAX_STATE_BYTES, "{} bytes", plan.state.len());
        state = plan.state;
    }
}

#[test]
fn a_lead_is_bounded_and_numbers_do_not_overflow() {
    let state = r#"{"a":4294967295,"b":0,"gone":7}"#;
    let plan = |tasks: &[ReadyTask]| {
        FairShare::order(tasks, &pool(0), &Settings::new(r#"{"max_lead":3}"#), state).unwrap().state
    };
    assert_eq!(plan(&[task("a", "1"), task("b", "1")]), r#"{"a":3,"b":0,"gone":3}"#);
    assert_eq!(plan(&[task("a", "1")]), r#"{"a":0}"#);
    let full = FairShare::order(&[task("a", "1")], &pool(1), &Settings::default(), state).unwrap();
    assert_eq!(full.state, r#"{"a":0}"#);
}

#[test]
fn misspelt_settings_and_a_broken_state_are_errors() {
    assert!(FairShare::order(&[], &[], &Settings::new(r#"{"lead":1}"#), "").is_err());
    assert!(FairShare::order(&[], &[], &Settings::default(), "[1]").is_err());
}
