//! Projects in Rust.

use std::fs;

use crate::guests;
use crate::place::Place;
use crate::project::{author, project};

#[test]
fn a_routing_policy_goes_from_nothing_to_a_tested_component() {
    let place = Place::new();
    let made = project(&place, "routing", "rust", "night-shift");
    assert_eq!(made["files"].as_array().unwrap().iter().filter(|file| *file == "plugin.toml").count(), 1, "{made}");
    let tested = author(&place, "night-shift", &["plugin", "test"]).done();
    assert!(tested.contains("2 passed") && tested.contains("passed tests of night-shift"), "{tested}");
    let built = author(&place, "", &["plugin", "build", "night-shift", "--json"]).json();
    assert_eq!((built["name"].as_str(), built["kind"].as_str()), (Some("night-shift"), Some("routing")));
    let component = built["component"].as_str().unwrap();
    let checked = place.run("", &["plugin", "check", "night-shift", "--json"]).json();
    assert_eq!(checked["problems"], serde_json::json!([]), "{checked}");
    assert_eq!((&checked["digest"], &checked["version"]), (&built["digest"], &"0.1.0".into()));
    let request = br#"{"call": "route", "input": {"candidates": [{"instance": "qa_spirit_7"}]}}"#;
    let answer = place.run_on("", &["plugin", "exec", component], request).json();
    assert_eq!(answer["outcome"]["ok"]["instance"], "qa_spirit_7", "{answer}");
    let words = place.run("", &["plugin", "check", component]).done();
    assert!(words.contains("asks     for nothing") && words.contains("nothing is wrong with it"), "{words}");
    assert!(words.contains("routing (world routing-policy, necro:plugin@0.1)"), "{words}");
    replayed(&place, component);
}

/// Decisions of a run are replayed by a test of the project.
fn replayed(place: &Place, component: &str) {
    let choice = format!("routing={component}");
    let demo = ["run", "--demo", "--plugin", &choice, "--state", "state", "--record-fixtures", "night-shift/fixtures"];
    // The demo's gate is cargo.
    author(place, "", &demo).done();
    let files = fs::read_dir(place.path("night-shift/fixtures")).unwrap().map(|entry| entry.unwrap().file_name());
    let routed = files.map(|name| name.into_string().unwrap()).find(|name| name.contains("-routing-night-shift-"));
    let test = format!(
        "//! A decision of a real run.\nuse necro_sdk::harness::Fixture;\n\n#[test]\nfn it_is_the_same_again() {{\n    \
         Fixture::load(\"fixtures/{}\").replay().assert_same();\n}}\n",
        routed.unwrap()
    );
    place.write("night-shift/tests/replays.rs", test);
    let tested = author(place, "", &["plugin", "test", "night-shift"]).done();
    assert!(tested.contains("it_is_the_same_again ... ok"), "{tested}");
}

#[test]
fn the_other_kinds_are_projects_that_pass_their_own_tests() {
    for (kind, name) in [("scheduling", "by-age"), ("review", "left-overs"), ("spirit", "gardener")] {
        let place = Place::new();
        // With this SDK, not a copy of it: it is built once for all three.
        let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");
        place.run("", &["plugin", "new", "--kind", kind, name, "--sdk", sdk]).done();
        assert!(!place.path(&format!("{name}/vendor")).exists());
        let tested = author(&place, "", &["plugin", "test", name]).done();
        assert!(tested.contains("2 passed"), "{kind}: {tested}");
        let checked = place.run("", &["plugin", "check", name, "--json"]).json();
        assert_eq!(checked["problems"], serde_json::json!([]), "{kind}: {checked}");
    }
}

#[test]
fn names_and_folders_that_do_not_do_are_refused_and_nothing_is_written() {
    let place = Place::new();
    let new =
        |name: &str, more: &[&str]| place.run("", &[&["plugin", "new", "--kind", "routing", name], more].concat());
    for name in ["", "Night", "night_shift", "7th", "night-", "../x", &"x".repeat(65)] {
        new(name, &[]).refused(2, &["is no plugin name"]);
    }
    new("loop", &[]).refused(2, &["`loop` is no name for a package of Rust"]);
    new("x", &["--lang", "cobol"]).refused(2, &["cobol", "rust"]);
    place.write("taken/mine.txt", "mine");
    new("taken", &[]).refused(2, &["taken", "is there and not empty", "--path"]);
    place.write("file", "mine");
    new("x", &["--path", "file"]).refused(2, &["file", "is there and not empty"]);
    new("x", &["--sdk", "taken"]).refused(2, &["taken", "is no SDK"]);
    new("x", &["--lang", "python", "--sdk", "taken"]).refused(2, &["--sdk is for Rust"]);
    let left: Vec<_> = place.fingerprint("").into_keys().collect();
    assert_eq!(left, ["file", "taken", "taken/mine.txt"].map(|path| place.path(path)));
}

#[test]
fn what_is_no_project_or_cannot_be_built_is_said_in_words() {
    let place = Place::new();
    place.run("", &["plugin", "build", "nowhere"]).refused(2, &["there is no such folder"]);
    fs::create_dir(place.path("empty")).unwrap();
    place.run("", &["plugin", "build", "empty"]).refused(2, &["neither a Cargo.toml nor an app.py"]);
    project(&place, "routing", "rust", "broken");
    place.run("", &["plugin", "check", "broken"]).refused(2, &["it is not built yet", "plugin build"]);
    place.run_with("", &["plugin", "build", "broken"], &[("PATH", "")]).refused(3, &["cargo is missing", "rustup.rs"]);
    fs::write(place.path("broken/src/lib.rs"), "struct Policy; necro_sdk::export_routing!(Policy);").unwrap();
    let failed = author(&place, "", &["plugin", "build", "broken"]);
    failed.refused(1, &["building `broken` failed", "the trait bound `Policy: RoutingPolicy` is not satisfied"]);
    let failed = author(&place, "", &["plugin", "dev", "broken", "--once"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.out.contains("is not satisfied"), "{failed:?}");
    let manifest = fs::read_to_string(place.path("broken/plugin.toml")).unwrap();
    fs::write(place.path("broken/plugin.toml"), manifest.replace("description", "descripton")).unwrap();
    author(&place, "", &["plugin", "build", "broken"]).refused(2, &["plugin.toml:6", "descripton"]);
    fs::remove_file(place.path("broken/plugin.toml")).unwrap();
    author(&place, "", &["plugin", "test", "broken"]).refused(2, &["it has no plugin.toml"]);
}

#[test]
fn a_check_names_every_problem_at_once() {
    let place = Place::new();
    place.write("core.wasm", [0, b'a', b's', b'm', 1, 0, 0, 0]);
    let checked = place.run("", &["plugin", "check", "core.wasm", "--json"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.out.contains("it is a core module"), "{checked:?}");
    place.run("", &["plugin", "check", "gone.wasm"]).refused(2, &["there is no plugin file `gone.wasm`"]);
    place.write("reaching.wasm", guests::guest_bytes("over-reaching"));
    let checked = place.run("", &["plugin", "check", "reaching.wasm"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.out.contains("imports what a routing plugin cannot have"), "{checked:?}");

    project(&place, "routing", "rust", "liar");
    let manifest = fs::read_to_string(place.path("liar/plugin.toml")).unwrap();
    let lying = manifest.replace("\"routing\"", "\"spirit\"") + "[wants.llm]\nwhy = \"to ask\"\n";
    fs::write(place.path("liar/plugin.toml"), lying).unwrap();
    author(&place, "", &["plugin", "build", "liar"]).done();
    let checked = place.run("", &["plugin", "check", "liar", "--json"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let problems = serde_json::from_str::<serde_json::Value>(&checked.out).unwrap()["problems"].to_string();
    assert!(problems.contains("says that it is a spirit plugin, but the component is a routing plugin"), "{problems}");
    assert!(problems.contains("wants `llm`, which the component does not import"), "{problems}");
}
