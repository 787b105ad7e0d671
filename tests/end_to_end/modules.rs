//! A repository with a submodule: its files are in the slots when the operator asks for them, whether the repository is
//! on this machine or has an address.

use std::fs;

use crate::replies::Replies;
use crate::world::{Finished, World, finish, git};

const PLAN: &str = "# Plan\n\n- [ ] 1. Buy bread\n  - _Skill: backend_\n";
const GATE: &str = "[gate]\ncommands = [\"check\"]\n\n[commands.check]\n\
                    run = [\"sh\", \"-c\", \"grep -qx one vendor/lib/lib.txt && test ! -e vendor/lib/.git\"]\n";
const AUTHOR: [&str; 6] =
    ["-c", "user.name=Reader", "-c", "user.email=reader@example.org", "-c", "protocol.file.allow=always"];

fn world(settings: &str) -> World {
    let world = World::new(&[("necro.toml", &format!("{settings}{GATE}")), (".kiro/specs/list/tasks.md", PLAN)]);
    let library = world.path("library");
    fs::create_dir(&library).unwrap();
    git(&library, &["init", "--quiet"]);
    fs::write(library.join("lib.txt"), "one\n").unwrap();
    git(&library, &["add", "."]);
    git(&library, &[&AUTHOR[..], &["commit", "--quiet", "--message", "One"]].concat());
    git(&world.repository(), &[&AUTHOR[..], &["submodule", "--quiet", "add", "../library", "vendor/lib"]].concat());
    git(&world.repository(), &[&AUTHOR[..], &["commit", "--quiet", "--message", "Link"]].concat());
    world
}

fn run(world: &World, repository: &str, state: &str) -> Finished {
    let replies = Replies::default().writes("backend", "1", None, "bread.txt", "rye\n");
    let script = format!("scripted:{}", world.file("replies.toml", &replies.text()));
    let mut command = world.binary();
    command.args(["run", "--json", "--spec", "list", "--llm", &script, "--repo", repository, "--state"]);
    finish(command.arg(world.path(state)))
}

#[test]
fn a_submodule_is_filled_when_it_is_asked_for_from_here_and_from_an_address() {
    let world = world("[workspace]\nsubmodules = true\n\n");
    let path = world.repository().display().to_string();
    for (repository, state) in [(path.clone(), "state"), (format!("file://{path}"), "other")] {
        run(&world, &repository, state).done();
    }
    let tree = git(&world.mirror(), &["ls-tree", "necro/list", "vendor/lib"]);
    assert!(tree.starts_with("160000 commit "), "what is committed is the link: {tree}");
}

#[test]
fn a_submodule_that_is_not_there_or_not_asked_for_is_said() {
    let asked = world("[workspace]\nsubmodules = true\n\n");
    fs::remove_dir_all(asked.repository().join(".git/modules")).unwrap();
    let refused = run(&asked, &asked.repository().display().to_string(), "state");
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    for part in ["`vendor/lib` cannot be put into slots", "type `git submodule update --init` there"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:#?}");
    }
    let not_asked = world("[run]\nmax_attempts = 1\n\n");
    let failed = run(&not_asked, &not_asked.repository().display().to_string(), "state");
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    assert!(failed.stderr.contains("submodules stay empty"), "{failed:#?}");
}
