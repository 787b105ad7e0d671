//! Recorded decisions: written by a run, replayed with the component of then and with another.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::guests;
use crate::place::Place;

/// The demo with its decisions as files, in `fixtures`.
fn recorded() -> (Place, Vec<PathBuf>) {
    let place = Place::new();
    let last = guests::guest("last-candidate");
    let choice = format!("routing={}", last.display());
    let ran = place.run(
        "",
        &["run", "--demo", "--json", "--state", "state", "--plugin", &choice, "--record-fixtures", "fixtures"],
    );
    // The model has no replies for those whom this policy picks: decisions are recorded nevertheless.
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("fixtures in fixtures"), "{ran:?}");
    let mut files: Vec<PathBuf> =
        fs::read_dir(place.path("fixtures")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    (place, files)
}

#[test]
fn a_recorded_decision_is_the_same_again_and_another_policy_differs() {
    let (place, files) = recorded();
    let of = |kind: &str| {
        let named = |file: &&PathBuf| file.file_name().unwrap().to_str().unwrap().contains(kind);
        files.iter().filter(named).collect::<Vec<_>>()
    };
    assert!(of("-spirit-").len() >= 4 && !of("-scheduling-priority").is_empty(), "{files:?}");
    let routed = of("-routing-necro_guest_last_candidate-");
    let fixture = routed[0].to_str().unwrap();
    let last = guests::guest("last-candidate");
    let same = place.run("", &["plugin", "exec", last.to_str().unwrap(), "--fixture", fixture]).json();
    assert_eq!((&same["same"], &same["outcome"]), (&true.into(), &same["recorded"]), "{same}");

    let text = fs::read_to_string(fixture).unwrap();
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    changed["outcome"]["ok"]["reason"] = "another reason".into();
    fs::write(place.path("changed.json"), changed.to_string()).unwrap();
    let ended = place.run("", &["plugin", "exec", last.to_str().unwrap(), "--fixture", "changed.json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&answer["same"], &answer["difference"]["recorded"]["end"]), (&false.into(), &changed["outcome"]));

    changed["calls"] = serde_json::json!([{ "function": "workspace.read", "arguments": {}, "answer": { "Ok": null } }]);
    fs::write(place.path("changed.json"), changed.to_string()).unwrap();
    let ended = place.run("", &["plugin", "exec", last.to_str().unwrap(), "--fixture", "changed.json"]);
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(answer["difference"]["call"], 1, "{answer}");
}

#[test]
fn a_spirits_attempt_is_replayed_from_its_file_with_every_call() {
    let (place, files) = recorded();
    let spirit = files.iter().find(|file| file.to_str().unwrap().contains("-spirit-")).unwrap();
    let recorded: Value = serde_json::from_str(&fs::read_to_string(spirit).unwrap()).unwrap();
    assert!(recorded["calls"].as_array().unwrap().len() > 2, "{recorded}");
    let clerk = guests::guest("clerk");
    let ended = place.run("", &["plugin", "exec", clerk.to_str().unwrap(), "--fixture", spirit.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1), "another spirit asks for something else: {ended:?}");
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(answer["difference"]["call"], 1, "{answer}");
}

#[test]
fn what_is_no_fixture_and_folders_in_use_are_refused() {
    let place = Place::new();
    let last = guests::guest("last-candidate");
    let last = last.to_str().unwrap();
    place.write("x.json", "{}");
    place
        .run("", &["plugin", "exec", last, "--fixture", "x.json"])
        .refused(2, &["the fixture `x.json` cannot be used"]);
    place.run("", &["plugin", "exec", last, "--fixture", "gone"]).refused(2, &["there is no file `gone`"]);
    place.write("used/mine", "");
    let ran = place.run("", &["run", "--demo", "--record-fixtures", "used"]);
    ran.refused(2, &["`used` is not empty: name a new folder"]);
}
