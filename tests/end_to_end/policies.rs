//! Policies can be swapped without a rebuild, and a broken one does not stop the work.

use std::fs;

use necro_host::domain::event::Body;
use necro_host::registry::ExecutionKind;
use necro_host::store::digest_of;

use crate::guests::{guest, guest_bytes};
use crate::replies::Replies;
use crate::world::{SETTINGS, SIDE_BY_SIDE, World, git};

const PLAN: &str = "# Plan\n\n- [ ] 1. Add bread\n  - _Skill: backend_\n- [ ] 2. Add cheese\n  - _Skill: frontend_\n";

fn world() -> World {
    let plan = format!("{PLAN}{SIDE_BY_SIDE}");
    World::new(&[("necro.toml", SETTINGS), ("list.txt", "to buy:\n"), (".kiro/specs/list/tasks.md", &plan)])
}

/// Replies for both tasks, whoever is given them.
fn replies() -> Replies {
    ["backend", "frontend", "scrum_master"].iter().fold(Replies::default(), |replies, role| {
        replies.writes(role, "1", None, "bread.txt", "bread\n").writes(role, "2", None, "cheese.txt", "cheese\n")
    })
}

fn with(kind: &str, name: &str) -> String {
    format!("{kind}={}", guest(name).display())
}

#[test]
fn a_routing_policy_is_swapped_without_a_rebuild_and_named_by_its_digest() {
    let world = world();
    let plugin = with("routing", "last-candidate");
    world.run(&replies().text(), &["--spec", "list", "--plugin", &plugin]).done();
    let records = world.records();
    let digest = digest_of(&guest_bytes("last-candidate"));
    let named = records.events().into_iter().find_map(|event| match event.body {
        Body::RunStarted { plugins, .. } => Some(plugins),
        _ => None,
    });
    let routing: Vec<_> = named.unwrap().into_iter().filter(|(name, _)| name.starts_with("routing/")).collect();
    assert_eq!(routing, [("routing/necro_guest_last_candidate".to_owned(), digest.clone())]);
    let decisions = records.executions(ExecutionKind::Routing);
    assert!(decisions.len() >= 2 && decisions.iter().all(|decision| decision.component == digest));
    for attempt in records.work() {
        assert_eq!(attempt.reason, "the last candidate");
    }
    // The policy counts its decisions in its state, which the host keeps for it.
    let state = records.reader.policy_state("routing/necro_guest_last_candidate").unwrap();
    assert_eq!(state, Some(decisions.len().to_string()));
}

#[test]
fn a_configured_component_is_looked_for_in_the_repository() {
    let world = world();
    let settings = fs::read_to_string(world.repository().join("necro.toml")).unwrap();
    let settings = format!("{settings}\n[plugins]\nrouting = \"./policies/mine.wasm\"\n");
    fs::write(world.repository().join("necro.toml"), settings).unwrap();
    fs::create_dir(world.repository().join("policies")).unwrap();
    fs::write(world.repository().join("policies/mine.wasm"), guest_bytes("last-candidate")).unwrap();
    let author = ["-c", "user.name=Reader", "-c", "user.email=reader@example.org"];
    git(&world.repository(), &["add", "-A"]);
    git(&world.repository(), &[&author[..], &["commit", "-q", "-m", "Choose a policy"]].concat());
    world.run(&replies().text(), &["--spec", "list"]).done();
    let records = world.records();
    assert!(records.work().iter().all(|attempt| attempt.reason == "the last candidate"));
    records.assert_sound();
}

fn completes_by_the_built_in_rule(name: &str) {
    let world = world();
    let finished = world.run(&replies().text(), &["--spec", "list", "--plugin", &with("routing", name)]);
    finished.done();
    let warned = finished.stderr.contains("failed, the built-in rule decides instead");
    assert!(warned && finished.stderr.contains(&name.replace('-', "_")), "{finished:#?}");
    let records = world.records();
    let skills = |task: &str| records.attempts(task)[0].instance.role().to_string();
    assert_eq!((skills("1"), skills("2")), ("backend".to_owned(), "frontend".to_owned()));
    records.assert_sound();
}

#[test]
fn a_routing_policy_that_panics_leaves_the_built_in_rule() {
    completes_by_the_built_in_rule("panic");
}

#[test]
fn a_routing_policy_that_never_ends_leaves_the_built_in_rule() {
    completes_by_the_built_in_rule("endless-loop");
}

#[test]
fn a_plugin_of_another_kind_is_refused_before_anything_is_written_to_the_log() {
    let world = world();
    let finished = world.run(&replies().text(), &["--spec", "list", "--plugin", &with("scheduling", "last-candidate")]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:#?}");
    assert!(finished.stderr.contains("scheduling") && finished.stderr.contains("routing"), "{finished:#?}");
}
