//! `spec sync` as people type it, and killed between the registry and the file.

use std::fs;

use serde_json::Value;

use crate::place::Place;

const TASKS: &str = "# Plan\n\n- [ ] 1. Cart\n  - _Depends: none_\n- [ ] 2. Manual\n  - _Depends: none_\n";

/// A repository with a spec, where nothing has happened yet.
fn shop(place: &Place) {
    place.repository("r", &[(".kiro/specs/shop/tasks.md", TASKS)]);
}

fn tasks(place: &Place) -> Value {
    place.run("r", &["tasks", "--spec", "shop", "--json"]).json()
}

fn states(place: &Place) -> Vec<String> {
    let tasks = tasks(place);
    tasks.as_array().unwrap().iter().map(|task| task["state"].as_str().unwrap().to_owned()).collect()
}

fn write(place: &Place, text: &str) {
    fs::write(place.path("r/.kiro/specs/shop/tasks.md"), text).unwrap();
}

fn text(place: &Place) -> String {
    fs::read_to_string(place.path("r/.kiro/specs/shop/tasks.md")).unwrap()
}

fn ticked(task: &str) -> String {
    TASKS.replace(&format!("[ ] {task}."), &format!("[x] {task}."))
}

#[test]
fn a_sync_says_what_changed_on_both_sides() {
    let place = Place::new();
    shop(&place);
    let out = place.run("r", &["spec", "sync"]).done();
    assert!(out.starts_with("shop: in step now with ") && out.contains("new in the file: 1, 2\n"), "{out}");
    assert!(place.run("r", &["spec", "sync"]).done().starts_with("shop: in step with "));
    write(&place, &ticked("1"));
    let out = place.run("r", &["spec", "sync", "--dry-run"]).done();
    assert!(out.contains("would change") && out.contains("ticked, so done: 1\n"), "{out}");
    let json = place.run("r/.kiro", &["spec", "sync", "shop", "--json"]).json();
    assert_eq!(json[0]["ticked"], serde_json::json!({ "count": 1, "tasks": ["1"] }));
    assert_eq!(states(&place), ["done", "ready"]);
    write(&place, TASKS);
    let out = place.run("r", &["spec", "sync"]).done();
    assert!(out.contains("un-ticked or put back, so open again: 1\n"), "{out}");
    assert_eq!(states(&place), ["ready", "ready"]);
}

#[test]
fn what_cannot_be_brought_in_step_is_refused_in_words() {
    let place = Place::new();
    shop(&place);
    place.run("r", &["spec", "sync", "../x"]).refused(2, &["`../x` is not a spec name"]);
    place.run("r", &["spec", "sync", "shap"]).refused(2, &["there are specs: shop"]);
    assert!(!place.path("r/.necro").exists(), "a slip has made a state directory");
    place.run("r", &["spec", "sync", "--dry-run", "--state", "../none"]).refused(2, &["there is no state directory"]);
    write(&place, "- [ ] 1. a\n- [ ] 1. \u{1b}[2Jb\n");
    let ended = place.run("r", &["spec", "sync"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("nothing was changed") && ended.out.contains("tasks.md:2: error"), "{ended:?}");
    assert!(!ended.out.contains('\u{1b}'), "{ended:?}");
    place.repository("none", &[]);
    fs::rename(place.path("r/.necro"), place.path("none/.necro")).unwrap();
    assert!(place.run("none", &["spec", "sync"]).done().contains("nothing to bring in step"));
}

#[test]
fn a_sync_that_is_killed_between_registry_and_file_is_made_good_by_the_next() {
    for (task, site) in [("1", "spec-sync.file.before"), ("2", "spec-sync.file.after")] {
        let place = Place::new();
        shop(&place);
        place.run("r", &["spec", "sync"]).done();
        // The registry has it done, and another checkout's file says so: this one's box is still open.
        let copy = place.path("r/.kiro/specs/shop/tasks.md");
        place.repository("other", &[(".kiro/specs/shop/tasks.md", &ticked(task))]);
        let state = place.path("r/.necro");
        place.run("other", &["spec", "sync", "--state", state.to_str().unwrap()]).done();
        let ended = place.run_with("r", &["spec", "sync"], &[("NECRO_FAILPOINT", &format!("kill {site} 1"))]);
        assert_eq!(ended.code, None, "{site}: it was not killed: {ended:?}");
        let expected = if site.ends_with("before") { TASKS.to_owned() } else { ticked(task) };
        assert_eq!(fs::read_to_string(&copy).unwrap(), expected, "{site}");
        let json = place.run("r", &["spec", "sync", "--json"]).json();
        assert_eq!((&json[0]["opened"]["count"], &json[0]["ticked"]["count"]), (&0.into(), &0.into()), "{site}");
        assert_eq!(text(&place), ticked(task), "{site}");
        assert_eq!(states(&place).iter().filter(|state| *state == "done").count(), 1, "{site}");
        assert!(place.run("r", &["spec", "sync"]).done().starts_with("shop: in step with "), "{site}");
    }
}
