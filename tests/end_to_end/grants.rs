//! What a component was not granted it does not get, and the run says what to type.

use std::fs;
use std::path::PathBuf;

use necro_host::registry::ExecutionKind;
use serde_json::json;

use crate::guests::guest;
use crate::world::{SETTINGS, World};

const PLAN: &str = "# Plan\n\n- [ ] 1. File letters\n  - _Skill: clerk_\n";

fn world() -> (World, PathBuf, String) {
    let settings = format!("[run]\nmax_attempts = 1\n\n{SETTINGS}");
    let world = World::new(&[("necro.toml", &settings), (".kiro/specs/list/tasks.md", PLAN)]);
    let component = guest("clerk");
    let plugin = format!("spirit={}", component.display());
    (world, component, plugin)
}

fn grant(world: &World, arguments: &[&str]) {
    let mut command = world.binary();
    command.args(["plugin", "grant", "--repo"]).arg(world.repository()).arg(guest("clerk")).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_spirit_that_nobody_decided_about_does_not_begin() {
    let (world, component, plugin) = world();
    let refused = world.run("version = 1\n", &["--spec", "list", "--plugin", &plugin]);
    let command =
        format!("necro-host plugin grant {} --repo {} --all", component.display(), world.repository().display());
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains(&command) && refused.stderr.contains("wants workspace"), "{}", refused.stderr);
    grant(&world, &["--all"]);
    world.run("version = 1\n", &["--spec", "list", "--plugin", &plugin]).done();
    assert_eq!(world.on_branch("list", "letters.txt").unwrap(), "1, 2, 3\nunder the lock desk\n");
}

#[test]
fn what_is_withheld_is_denied_by_name_and_on_record() {
    for (withheld, arguments, expected) in [
        ("lock", &["--allow", "registry"][..], "`lock.acquire` is not granted"),
        ("another lock", &["--all", "--locks", "db/"], "begins with none of: db/"),
        ("another kind", &["--all", "--artifacts", "test"], "the kind `log` is none of: test"),
        ("other files", &["--all", "--write", "docs/**"], "is not among the files that the grant lets it write"),
        ("reading", &["--all", "--read", "docs/**"], "is not among the files that the grant lets it read"),
    ] {
        let (world, _, plugin) = world();
        grant(&world, arguments);
        let ended = world.run("version = 1\n", &["--spec", "list", "--plugin", &plugin]);
        assert_eq!(ended.code, Some(1), "{withheld}: {ended:?}");
        let records = world.records();
        let execution = records.executions(ExecutionKind::Spirit).pop().unwrap();
        let outcome = execution.outcome.unwrap();
        assert_eq!(outcome["error"], json!("failure"), "{withheld}");
        assert!(outcome["message"].as_str().unwrap().contains(expected), "{withheld}: {outcome}");
        let calls = records.reader.calls(&execution.id).unwrap();
        let denied =
            calls.iter().filter_map(|call| call.answer.as_ref()).any(|answer| answer["Err"]["error"] == "denied");
        assert!(denied, "{withheld}: the call is not on record");
    }
}

#[test]
fn an_attempt_does_not_change_grants() {
    let (world, _, plugin) = world();
    grant(&world, &["--all"]);
    let lock = fs::read(world.repository().join("necro.lock")).unwrap();
    world.run("version = 1\n", &["--spec", "list", "--plugin", &plugin]).done();
    assert_eq!(fs::read(world.repository().join("necro.lock")).unwrap(), lock);
    assert_eq!(world.on_branch("list", "necro.lock"), None, "what the operator decided is not the run's to commit");
}
