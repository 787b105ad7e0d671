//! Several specs and several repositories side by side, and a spec's workspace that is removed.

use std::fs;

use serde_json::{Value, json};

use crate::replies::Replies;
use crate::world::{Finished, Running, SETTINGS, World, finish, git, plain};

/// Names of two specs; the second is also where rescued work is kept.
const SPECS: [&str; 2] = ["pages", "rescue"];

fn plan(title: &str) -> String {
    format!("# Plan\n\n- [ ] 1. {title}\n  - _Skill: backend_\n")
}

fn world() -> World {
    World::new(&[
        ("necro.toml", SETTINGS),
        (".kiro/specs/pages/tasks.md", &plan("Write a page")),
        (".kiro/specs/rescue/tasks.md", &plan("Write a letter")),
    ])
}

/// A run on a spec whose one task writes `words` into a file of the spec's name.
fn start(world: &World, spec: &str, words: &str) -> Running {
    let replies = Replies::default().writes("backend", "1", None, &format!("{spec}.txt"), words);
    let llm = format!("scripted:{}", world.file(&format!("{spec}.toml"), &replies.text()));
    Running::start(&mut world.command("run", &["--json", "--spec", spec, "--llm", &llm]))
}

/// A command of two words, with its arguments, on the world's repository.
fn ask(world: &World, args: &[&str]) -> Finished {
    finish(
        world.binary().args(args).arg("--json").arg("--repo").arg(world.repository()).arg("--state").arg(world.state()),
    )
}

fn asked(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&ask(world, args).stdout).unwrap()
}

#[test]
fn repositories_and_their_specs_are_worked_on_side_by_side_without_contact() {
    let worlds = [(world(), "ours\n"), (world(), "theirs\n")];
    for spec in SPECS {
        let running = worlds.each_ref().map(|(world, words)| start(world, spec, words));
        for one in running {
            one.finish().done();
        }
    }
    for (world, words) in &worlds {
        for spec in SPECS {
            assert_eq!(world.on_branch(spec, &format!("{spec}.txt")).unwrap(), *words);
            let other = SPECS.iter().find(|other| **other != spec).unwrap();
            assert_eq!(world.on_branch(spec, &format!("{other}.txt")), None, "{spec} has what {other} wrote");
        }
        let list = asked(world, &["workspace", "ls"]);
        let specs: Vec<_> = list.as_array().unwrap().iter().map(|info| (&info["spec_name"], &info["status"])).collect();
        assert_eq!(specs, [(&json!("pages"), &json!("completed")), (&json!("rescue"), &json!("completed"))]);
        let own = world.repository().display().to_string();
        assert!(list.as_array().unwrap().iter().all(|info| info["repo_url"] == own), "{list:#}");
        world.records().assert_sound();
    }
    let [(ours, _), (theirs, _)] = &worlds;
    let tip = ours.records().attempts("1")[0].commit.clone().unwrap();
    let has = |world: &World| {
        plain("git").arg("-C").arg(world.mirror()).args(["cat-file", "-e", tip.as_str()]).status().unwrap().success()
    };
    assert!(has(ours) && !has(theirs), "one repository's commit is in the other's mirror");
}

#[test]
fn a_workspace_is_removed_with_nothing_of_it_lost_and_nothing_of_others_touched() {
    let world = world();
    for spec in SPECS {
        start(&world, spec, "words\n").finish().done();
    }
    // Work of nobody's spec, which lies where the other spec's name would lead.
    let mine = asked(&world, &["slot", "acquire", "--holder", "kana"]);
    fs::write(format!("{}/precious.txt", mine["path"].as_str().unwrap()), "hers").unwrap();
    let given = asked(&world, &["slot", "release", mine["lease"].as_str().unwrap()]);
    let precious = given["rescued"].as_str().unwrap().to_owned();

    let refused = ask(&world, &["workspace", "rm", "rescue"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("necro-host land rescue") && refused.stderr.contains("--force"), "{refused:#?}");
    let work = world.on_branch("rescue", "rescue.txt").unwrap();
    let gone = asked(&world, &["workspace", "rm", "rescue", "--force"]);
    assert_eq!(gone["reopened"], json!(["1"]), "{gone:#}");
    assert!(!gone["removed"].as_array().unwrap().contains(&json!(precious)), "{gone:#}");
    let kept = gone["rescued"][0].as_str().unwrap();
    assert_eq!(git(&world.mirror(), &["show", &format!("{kept}:rescue.txt")]), work.trim_end());
    assert_eq!(git(&world.mirror(), &["show", &format!("{precious}:precious.txt")]), "hers");
    assert_eq!(world.on_branch("pages", "pages.txt").unwrap(), "words\n");
    assert_eq!(asked(&world, &["workspace", "show", "pages"])["status"], "completed");
    assert_eq!(asked(&world, &["workspace", "show", "rescue"])["status"], "active");

    start(&world, "rescue", "again\n").finish().done();
    assert_eq!(world.on_branch("rescue", "rescue.txt").unwrap(), "again\n");
    world.records().assert_sound();
}
