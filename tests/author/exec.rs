//! `plugin exec`: requests that make no sense, and the ends that a component can have.

use serde_json::{Value, json};

use crate::guests;
use crate::place::Place;

fn exec(place: &Place, guest: &str, request: &Value) -> Value {
    let component = guests::guest(guest);
    place.run_on("", &["plugin", "exec", component.to_str().unwrap()], request.to_string().as_bytes()).json()
}

#[test]
fn every_end_of_a_component_has_its_name() {
    let place = Place::new();
    let route = json!({ "call": "route", "input": { "candidates": [{}, { "instance": "qa_spirit_2" }] } });
    let answer = exec(&place, "last-candidate", &route);
    assert_eq!(answer["outcome"]["ok"]["instance"], "qa_spirit_2", "{answer}");
    assert!(answer["usage"]["fuel"].as_u64().unwrap() > 0 && answer["files"].is_null(), "{answer}");
    for (guest, limits, name) in [
        ("panic", json!({}), "trapped"),
        ("endless-loop", json!({ "fuel": 1_000_000 }), "limit-exceeded"),
        ("bad-output", json!({}), "invalid-output"),
    ] {
        let mut request = route.clone();
        request["limits"] = limits;
        request["settings"] = "state".into();
        let answer = exec(&place, guest, &request);
        assert_eq!(answer["outcome"]["error"], name, "{guest}: {answer}");
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_with_the_place() {
    let place = Place::new();
    let component = guests::guest("last-candidate");
    let component = component.to_str().unwrap();
    for (request, part) in [
        ("{", "the request cannot be used"),
        (r#"{"call": "fly"}"#, "unknown variant `fly`"),
        (r#"{"call": "review"}"#, "is a routing plugin and has no `review`"),
        (r#"{"call": "route", "input": {"issue": {"prio": 1}}}"#, "`input.issue` has no field `prio`"),
        (r#"{"call": "route", "grant": ["everything"]}"#, "unknown variant `everything`"),
        (r#"{"call": "route", "limits": {"fule": 1}}"#, "unknown field `fule`"),
    ] {
        place.run_on("", &["plugin", "exec", component], request.as_bytes()).refused(2, &[part]);
    }
    place.run_on("", &["plugin", "exec"], br#"{"call": "route"}"#).refused(2, &["names no `component`"]);
    place.run("", &["plugin", "exec", "--request", "gone.json"]).refused(2, &["there is no file `gone.json`"]);
    place.run("", &["plugin", "exec", "--fixture", "x.json"]).refused(2, &["COMPONENT"]);
    let escape = json!({ "call": "perform", "files": { "../x": "" }, "component": guests::guest("clerk") });
    place.run_on("", &["plugin", "exec"], escape.to_string().as_bytes()).refused(2, &["../x"]);
}

#[test]
fn a_spirit_works_on_files_commands_and_a_model_that_are_given() {
    let place = Place::new();
    let request = json!({
        "call": "perform",
        "component": guests::guest("every-call"),
        "settings": "",
        "files": { "a.rs": "fn a() {}\n" },
        "replies": [{ "text": "hello" }],
        "commands": { "test": { "answers": [{ "stdout": "2 passed" }] } },
    });
    let answer = place.run_on("", &["plugin", "exec"], request.to_string().as_bytes()).json();
    let calls = answer["calls"].as_array().unwrap();
    let asked = |name: &str| calls.iter().any(|call| call["function"] == name);
    for function in ["llm.complete", "workspace.read", "command.run", "registry.note", "log.emit"] {
        assert!(asked(function), "{function}: {answer}");
    }
    let denied = json!({
        "call": "perform", "component": guests::guest("every-call"), "settings": "", "grant": ["log"],
    });
    let answer = place.run_on("", &["plugin", "exec"], denied.to_string().as_bytes()).json();
    let calls = answer["calls"].as_array().unwrap();
    let refused = calls.iter().filter(|call| call["answer"]["Err"]["error"] == "denied");
    assert!(refused.count() >= 2, "{answer}");
}

#[test]
fn a_grant_of_a_request_holds_within_its_bounds() {
    let place = Place::new();
    let read = |path: &str| {
        let request = json!({
            "call": "perform",
            "component": guests::guest("every-call"),
            "settings": "",
            "files": { "a.txt": "one\ntwo\n" },
            "grant": { "workspace": { "read": [path] } },
        });
        let answer = place.run_on("", &["plugin", "exec"], request.to_string().as_bytes()).json();
        let calls = answer["calls"].as_array().unwrap().clone();
        calls.into_iter().find(|call| call["function"] == "workspace.read").unwrap()["answer"].clone()
    };
    assert_eq!(read("*.txt")["Ok"]["total_lines"], 2);
    assert!(read("src/**").get("Err").is_some());
    let odd = json!({ "call": "perform", "component": guests::guest("clerk"), "grant": { "lock": { "read": ["a"] } } });
    place.run_on("", &["plugin", "exec"], odd.to_string().as_bytes()).refused(2, &["`grant`", "lock", "read"]);
}
