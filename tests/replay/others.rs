//! Other policies over an old run.

use crate::copies::{copy, done, replay, replayed};
use crate::guests::guest;
use crate::world::World;

fn with(kind: &str, name: &str) -> String {
    format!("{kind}={}", guest(name).display())
}

fn tried(world: &World, choice: &str) -> serde_json::Value {
    let (code, report) = replayed(world, &world.state(), &["--with", choice]);
    assert_eq!(code, Some(0), "{report:#}");
    report
}

#[test]
fn another_routing_policy_changes_decisions_and_all_but_the_first_are_estimates() {
    let world = done();
    let report = tried(&world, &with("routing", "last-candidate"));
    let (tried, changed) = (&report["tried"][0], report["changed"].as_array().unwrap());
    assert_eq!(
        (&tried["decisions"], &tried["changed"], &tried["estimates"]),
        (&2.into(), &2.into(), &1.into()),
        "{report:#}"
    );
    let estimates: Vec<bool> = changed.iter().map(|changed| changed["estimate"].as_bool().unwrap()).collect();
    assert_eq!(estimates, [false, true], "{report:#}");
    for changed in changed {
        assert_eq!(
            (&changed["reason"], &changed["failed"]),
            (&"the last candidate".into(), &false.into()),
            "{report:#}"
        );
        assert_ne!(changed["recorded"], changed["new"], "{report:#}");
    }
    let recorded: Vec<&str> = changed.iter().map(|changed| changed["recorded"].as_str().unwrap()).collect();
    assert!(recorded.contains(&"backend_spirit_1") && recorded.contains(&"frontend_spirit_1"), "{report:#}");
    let told = replay(&world, &world.state(), &["--with", &with("routing", "last-candidate")]).stdout;
    assert!(told.contains("2 of 2 decisions would change, 1 of them estimated"), "{told}");
    assert_eq!(told.lines().filter(|line| line.starts_with('~')).count(), 2, "a row and the sentence: {told}");
    let first = told.lines().nth(1).unwrap();
    assert!(!first.starts_with('~') && first.contains("list/") && first.contains("the last candidate"), "{told}");
}

#[test]
fn the_same_policies_change_nothing() {
    let world = done();
    for choice in ["routing=least-busy", "scheduling=priority", "review=missing-tests", "review=diff-size"] {
        let report = tried(&world, choice);
        let (decisions, changed) = (&report["tried"][0]["decisions"], &report["tried"][0]["changed"]);
        assert!(decisions.as_u64().unwrap() >= 1 && *changed == 0, "{choice}: {report:#}");
        let told = replay(&world, &world.state(), &["--with", choice]).stdout;
        assert!(told.contains("0 of") && !told.contains('~'), "{told}");
    }
}

#[test]
fn a_policy_that_fails_is_told_row_by_row_and_the_built_in_rule_decides() {
    let world = done();
    let report = tried(&world, &with("routing", "panic"));
    assert_eq!((&report["tried"][0]["failed"], &report["tried"][0]["decisions"]), (&2.into(), &2.into()), "{report:#}");
    for changed in report["changed"].as_array().unwrap() {
        assert_eq!(changed["failed"], true, "{report:#}");
        assert!(changed["reason"].as_str().unwrap().contains("trapped"), "{report:#}");
    }
    let told = replay(&world, &world.state(), &["--with", &with("routing", "panic")]).stdout;
    assert!(told.contains("fails; ") && told.contains("it failed on 2 inputs"), "{told}");
}

#[test]
fn decisions_that_cannot_be_read_are_named_and_the_others_tried() {
    let world = done();
    let state = copy(&world, &world.state(), "copy");
    let conn = rusqlite::Connection::open(state.join("registry.db")).unwrap();
    let first = "(SELECT min(number) FROM executions WHERE kind = 'routing')";
    let damage = format!("UPDATE executions SET input = replace(input, 'a', 'b') WHERE number = {first}");
    assert_eq!(conn.execute(&damage, []).unwrap(), 1);
    drop(conn);
    let (code, report) = replayed(&world, &state, &["--with", "routing=least-busy"]);
    assert_eq!((code, &report["tried"][0]["decisions"]), (Some(0), &1.into()), "{report:#}");
    assert!(report["not_tried"]["first"][0]["reason"].as_str().unwrap().contains("damaged"), "{report:#}");
}
