//! `plugin dev`: a save becomes a component in the host that runs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::place::Place;
use crate::project::{alone, author, command, project};

#[test]
fn a_saved_policy_is_built_checked_and_decides_in_the_running_host() {
    let place = Place::new();
    place.repository("r", &[("src/lib.rs", "")]);
    project(&place, "routing", "rust", "night-shift");
    let alone_at_first = author(&place, "", &["plugin", "dev", "night-shift", "--once", "--state", "r/.necro"]).done();
    assert!(
        alone_at_first.contains("built night-shift") && alone_at_first.contains("no host works in"),
        "{alone_at_first}"
    );
    let mut owner = place.command("r", &["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(owner.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(told.any(|line| line.contains("makes changes for others")));
    place.run("r", &["issue", "add", "Write the manual"]).done();
    let dev = ["plugin", "dev", "night-shift", "--once", "--state", "r/.necro", "--json"];
    let step = author(&place, "", &dev).json();
    assert_eq!((&step["swapped"], &step["problems"]), (&true.into(), &serde_json::json!([])), "{step}");
    let routed = place.run("r", &["issue", "route", "ISSUE-001"]).done();
    assert!(routed.contains("it has waited longest for work"), "{routed}");
    place.run("r", &["stop"]).done();
    assert!(owner.wait().unwrap().success());
}

#[test]
fn what_does_not_build_is_shown_and_the_next_save_is_waited_for() {
    let place = Place::new();
    project(&place, "routing", "rust", "slip");
    let _alone = alone();
    let mut dev = command(&place, "", &["plugin", "dev", "slip"]);
    let mut dev = dev.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(dev.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.starts_with("built slip")));
    let source = fs::read_to_string(place.path("slip/src/lib.rs")).unwrap();
    fs::write(place.path("slip/src/lib.rs"), source.replace("Ok(choose", "Ok(chose")).unwrap();
    assert!(said.any(|line| line.contains("cannot find function `chose`")));
    fs::write(place.path("slip/src/lib.rs"), source).unwrap();
    assert!(said.any(|line| line.starts_with("built slip")));
    dev.kill().unwrap();
    dev.wait().unwrap();
}
