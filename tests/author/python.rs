//! Projects in Python: built by componentize-py, tested by unittest. The guide's commands let one decide a run.

use std::fs;

use crate::place::Place;
use crate::project::{author, has_componentize, project};

#[test]
fn a_routing_policy_in_python_goes_from_nothing_to_a_tested_component() {
    if !has_componentize("a_routing_policy_in_python_goes_from_nothing_to_a_tested_component") {
        return;
    }
    let place = Place::new();
    project(&place, "routing", "python", "py-shift");
    let tested = author(&place, "", &["plugin", "test", "py-shift"]).done();
    assert!(tested.contains("Ran 2 tests") && tested.contains("OK"), "{tested}");
    let checked = place.run("", &["plugin", "check", "py-shift", "--json"]).json();
    assert_eq!((&checked["problems"], &checked["kind"]), (&serde_json::json!([]), &"routing".into()), "{checked}");
    let component = checked["component"].as_str().unwrap();
    let request = br#"{"call": "route", "input": {"candidates": [{"instance": "qa_spirit_7"}]}}"#;
    let answer = place.run_on("", &["plugin", "exec", component], request).json();
    assert_eq!(answer["outcome"]["ok"]["reason"], "it has waited longest for work", "{answer}");
}

#[test]
fn the_other_kinds_in_python_pass_their_own_tests() {
    if !has_componentize("the_other_kinds_in_python_pass_their_own_tests") {
        return;
    }
    for (kind, name) in [("scheduling", "py-age"), ("review", "py-left-overs"), ("spirit", "py-gardener")] {
        let place = Place::new();
        project(&place, kind, "python", name);
        let tested = author(&place, "", &["plugin", "test", name]).done();
        assert!(tested.contains("Ran 2 tests") && tested.contains("OK"), "{kind}: {tested}");
        let checked = place.run("", &["plugin", "check", name, "--json"]).json();
        assert_eq!(checked["problems"], serde_json::json!([]), "{kind}: {checked}");
    }
}

#[test]
fn a_missing_compiler_is_named_with_what_to_type() {
    let place = Place::new();
    project(&place, "review", "python", "calm");
    let missing = place.run_with("", &["plugin", "build", "calm"], &[("PATH", "")]);
    missing.refused(3, &["componentize-py is missing", "pip install componentize-py=="]);
    if has_componentize("a_missing_compiler_is_named_with_what_to_type") {
        fs::write(place.path("calm/app.py"), "class Review(:\n").unwrap();
        author(&place, "", &["plugin", "build", "calm"]).refused(1, &["building `calm` failed", "invalid syntax"]);
    }
}
