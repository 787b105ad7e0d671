//! A gate of several steps, and branches that are pushed when it is green.

use std::fs;

use necro_host::domain::event::Outcome;
use serde_json::Value;

use crate::replies::{Replies, finish, write};
use crate::world::{self, World, git};

const PLAN: &str = "# Plan

- [ ] 1. Write the first page
  - _Skill: backend_
";

const COMMANDS: &str = "[commands.check]\nrun = [\"sh\", \"-c\", \"! grep -n broken *.txt\"]\n\
                        [commands.once]\nrun = [\"sh\", \"-c\", \"test -e /tmp/none || { test -e seen || { touch seen; exit 1; }; }\"]\n";

const PLAYBOOK: &str = "name: ours
steps:
  - {name: web, command: check, condition: \"changed('web/**')\"}
  - {name: shaky, command: once, retry_count: 1}
  - {name: docs, command: check, condition: \"exists('cover.txt') and passed('shaky')\", fail_fast: false}
";

fn world_with(settings: &str) -> World {
    let settings = format!("{settings}\n{COMMANDS}");
    World::new(&[
        ("necro.toml", &settings),
        ("ci/gate.yaml", PLAYBOOK),
        ("cover.txt", "A book\n"),
        (".kiro/specs/pages/tasks.md", PLAN),
    ])
}

/// The steps of an attempt's last gate, as `show --json` tells them.
fn steps(world: &World, attempt: usize) -> Vec<String> {
    let shown = world::finish(&mut world.command("show", &["1", "--json"])).stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let steps = shown["attempts"][attempt]["steps"].as_array().cloned().unwrap_or_default();
    let word = |step: &Value| format!("{} {} {}", step["name"], step["state"], step["tries"]).replace('"', "");
    assert!(!steps.is_empty(), "{shown:#}");
    steps.iter().map(word).collect()
}

#[test]
fn a_playbook_of_the_base_commit_decides_and_tells_each_step() {
    let world = world_with("[gate]\nplaybook = \"ci/gate.yaml\"\n");
    let nothing = write("ci/gate.yaml", "steps: []\n");
    let replies = Replies::default()
        .attempt("backend", "1", Some(1), &[&[nothing, write("first.txt", "broken\n")], &[finish("cheat")]])
        .writes("backend", "1", Some(2), "first.txt", "whole\n");
    world.run(&replies.text(), &["--spec", "pages"]).done();
    let records = world.records();
    let outcomes: Vec<_> = records.attempts("1").iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Failed), Some(Outcome::Success)]);
    let told = records.told("1", 2);
    assert!(told.contains("`docs` failed") && told.contains("necro/gate-changed"), "{told}");
    assert_eq!(steps(&world, 0), ["web skipped 0", "shaky passed 2", "docs failed 1"]);
    // What was left out because of what did not change is played before the work lands.
    assert_eq!(steps(&world, 1), ["web passed 1", "shaky passed 2", "docs passed 1"]);
    let stages: Vec<_> =
        records.attempts("1")[1].gates.iter().map(|gate| (gate.stage.clone(), gate.checks.len())).collect();
    assert_eq!(stages, [("attempt".to_owned(), 2), ("merge".to_owned(), 3)]);
    records.assert_sound();
}

#[test]
fn a_gated_branch_is_pushed_and_a_push_that_fails_fails_no_task() {
    let settings = "[workspace]\npush = true\n[gate]\ncommands = [\"check\"]\n";
    let replies = Replies::default().writes("backend", "1", None, "first.txt", "whole\n").text();
    let branch = |world: &World| world.records().attempts("1")[0].branch.clone();

    let world = world_with(settings);
    let remote = world.path("remote.git");
    fs::create_dir(&remote).unwrap();
    git(&remote, &["init", "--bare", "--quiet"]);
    git(&world.repository(), &["remote", "add", "origin", remote.to_str().unwrap()]);
    let trap = world.path("trap");
    git(&world.repository(), &["config", "core.hooksPath", trap.to_str().unwrap()]);
    world.run(&replies, &["--spec", "pages"]).done();
    let gates = world.records().attempts("1")[0].gates.clone();
    assert!(gates.iter().all(|gate| gate.stage != "merge"), "on what it began with, the same gate is not run again");
    let pushed = git(&remote, &["for-each-ref", "--format=%(refname:short) %(objectname)"]);
    let commit = world.records().attempts("1")[0].commit.clone().unwrap();
    assert_eq!(pushed, format!("{} {commit}", branch(&world)));

    let gone = world_with(settings);
    git(&gone.repository(), &["remote", "add", "origin", "/nowhere/at/all"]);
    let run = gone.run(&replies, &["--spec", "pages"]);
    run.done();
    assert!(run.stderr.contains("could not be pushed"), "{}", run.stderr);

    let none = world_with(settings);
    let run = none.run(&replies, &["--spec", "pages"]);
    run.done();
    assert!(run.stderr.contains("workspace.push has no effect"), "{}", run.stderr);
    assert_eq!(none.records().attempts("1").len(), 1);
}
