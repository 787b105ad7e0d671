//! Slots, kept work, workspaces and the disk in an operator's hands: `slot`, `rescue`, `workspace`, `gc`.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::place::{Ended, Place};

/// A place with a repository `r` of one commit, with slots that are ready.
fn place(slots: &str) -> Place {
    let place = Place::new();
    place.write("r/README.md", "hello\n");
    place.write("r/.gitignore", "target/\n.necro/\n");
    place.git("r", &["init", "--quiet"]);
    place.git("r", &["add", "."]);
    place.git("r", &["commit", "--quiet", "-m", "first"]);
    place.run("r", &["slot", "warm", slots]).done();
    place
}

fn slot(place: &Place, args: &[&str]) -> Ended {
    place.run("r", &[&["slot"], args].concat())
}

fn states(place: &Place) -> Vec<String> {
    let list = slot(place, &["ls", "--json"]).json();
    let state = |slot: &Value| format!("{} {}", slot["state"].as_str().unwrap(), slot["health"].as_str().unwrap());
    list["slots"].as_array().unwrap().iter().map(state).collect()
}

#[test]
fn a_person_takes_a_slot_and_gives_it_back_and_nothing_is_lost() {
    let place = place("2");
    assert_eq!(states(&place), ["available clean", "available clean"]);
    let mine = slot(&place, &["acquire", "--holder", "kana", "--for", "2h", "--json"]).json();
    let path = PathBuf::from(mine["path"].as_str().unwrap());
    assert_eq!(fs::read_to_string(path.join("README.md")).unwrap(), "hello\n");
    let number = mine["slot"].as_str().unwrap().rsplit("slot").next().unwrap().to_owned();
    let text = slot(&place, &["show", &number]).done();
    assert!(text.contains("allocated") && text.contains("kana until "), "{text}");
    slot(&place, &["rm", &number]).refused(2, &["held by kana"]);
    slot(&place, &["acquire", "--slot", &number]).refused(2, &["held or isolated"]);
    fs::write(path.join("precious.txt"), "hers").unwrap();
    fs::create_dir(path.join("target")).unwrap();
    let given = slot(&place, &["release", mine["lease"].as_str().unwrap(), "--json"]).json();
    let name = given["rescued"].as_str().unwrap().strip_prefix("refs/necro/rescue/").unwrap().to_owned();
    assert!(!path.join("precious.txt").exists() && !path.join("target").exists());
    let again = slot(&place, &["release", mine["lease"].as_str().unwrap(), "--json"]).json();
    assert_eq!((&again["changed"], &again["rescued"]), (&Value::Bool(false), &Value::Null));
    slot(&place, &["release", "01-nobody"]).refused(2, &["nobody holds it by the lease `01-nobody`"]);
    let kept = place.run("r", &["rescue", "ls", "--json"]).json();
    assert_eq!((kept[0]["name"].as_str().unwrap(), &kept[0]["files"]), (name.as_str(), &Value::from(1)));
    let text = place.run("r", &["rescue", "restore", &name]).done();
    assert!(text.contains(&format!("as the branch rescue/{name}")), "{text}");
    assert_eq!(place.git("r", &["show", &format!("rescue/{name}:precious.txt")]), "hers");
    place.run("r", &["rescue", "restore", &name, "--into", "../saved"]).done();
    assert_eq!(fs::read_to_string(place.path("saved/precious.txt")).unwrap(), "hers");
    place.run("r", &["rescue", "restore", &name, "--into", "../saved"]).refused(2, &["has something in it"]);
    place.run("r", &["rescue", "restore", &name, "--branch", "a..b"]).refused(2, &["no name of a branch"]);
    place.run("r", &["rescue", "restore", "nothing"]).refused(2, &["`necro-host rescue ls`"]);
}

#[test]
fn as_many_slots_are_held_as_the_configuration_allows() {
    let place = place("1");
    place.write("r/necro.toml", "[workspace]\nslots = 1\n");
    slot(&place, &["acquire"]).done();
    let none = slot(&place, &["acquire"]);
    none.refused(1, &["`necro-host slot ls`"]);
    slot(&place, &["release", "1"]).done();
    assert_eq!(slot(&place, &["release", "1", "--json"]).json()["changed"], false);
    slot(&place, &["acquire", "--rev", "main"]).done();
}

#[test]
fn a_slot_is_isolated_repaired_and_removed() {
    let place = place("2");
    slot(&place, &["isolate", "2", "--reason", "odd noise"]).done();
    assert_eq!(states(&place), ["available clean", "error clean"]);
    let text = slot(&place, &["show", "2"]).done();
    assert!(text.contains("odd noise") && text.contains("necro-host slot repair 2"), "{text}");
    slot(&place, &["acquire", "--slot", "2"]).refused(2, &["held or isolated"]);
    slot(&place, &["repair", "2"]).done();
    assert_eq!(states(&place), ["available clean", "available clean"]);
    slot(&place, &["rm", "workspace-r-slot1"]).done();
    assert_eq!(states(&place).len(), 1);
    for command in ["show", "repair", "rm", "isolate"] {
        slot(&place, &[command, "7"]).refused(2, &["there is no slot `7`; there are: 2"]);
    }
    slot(&place, &["acquire", "--rev", "none"]).refused(2, &["`none` is neither a branch"]);
    slot(&place, &["warm", "1000"]).refused(2, &["1..=256"]);
}

#[test]
fn without_a_state_directory_it_is_said_what_makes_one() {
    let place = Place::new();
    place.write("r/README.md", "hello\n");
    place.git("r", &["init", "--quiet"]);
    for command in [["slot", "ls"], ["rescue", "ls"], ["workspace", "ls"], ["gc", "--dry-run"]] {
        place.run("r", &command).refused(2, &["there is no state directory"]);
        assert!(!place.path("r/.necro").exists());
    }
}

#[test]
fn gc_takes_idle_clean_slots_only_and_a_dry_run_says_the_same() {
    let place = place("3");
    let held = slot(&place, &["acquire", "--slot", "1", "--json"]).json();
    fs::write(PathBuf::from(held["path"].as_str().unwrap()).join("x"), "mine").unwrap();
    slot(&place, &["isolate", "2"]).done();
    let nothing = place.run("r", &["gc"]);
    assert!(nothing.err.contains("there is no bound"), "{nothing:?}");
    let look = place.run("r", &["gc", "--keep-size", "1B", "--dry-run", "--json"]).json();
    assert_eq!(look["evicted"].as_array().unwrap().len(), 1);
    assert_eq!(states(&place).len(), 3);
    let young = place.run("r", &["gc", "--older-than", "1d", "--json"]).json();
    assert_eq!(young["evicted"], Value::Array(Vec::new()));
    let did = place.run("r", &["gc", "--keep-size", "1B"]).done();
    assert!(did.contains("workspace-r-slot3") && did.contains("freed:") && did.contains("more than 1 B"), "{did}");
    assert_eq!(states(&place), ["allocated dirty", "error clean"]);
    assert!(PathBuf::from(held["path"].as_str().unwrap()).join("x").exists());
}
