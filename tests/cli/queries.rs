//! Commands that read: what they say about the records of [`crate::recorded`], for people and as JSON.

use std::fs;

use serde_json::Value;

use crate::place::Place;
use crate::recorded::{self, DIFF, HOSTILE, record};

fn recorded() -> Place {
    let place = Place::new();
    record(&place);
    place
}

fn query(place: &Place, args: &[&str]) -> String {
    place.run("r", args).done()
}

fn json(place: &Place, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    place.run("r", &args).json()
}

/// Names of an object's fields, which scripts rely on.
fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn status_says_how_far_it_is_and_that_the_process_is_gone() {
    let place = recorded();
    let text = query(&place, &["status"]);
    assert!(text.contains("0 of 3 done · 1 running · 2 blocked"), "{text}");
    assert!(text.contains("cut off") && text.contains("started 2026-11-22 10:00:00 UTC"), "{text}");
    assert!(text.contains("▸ frontend_spirit_1: 1 ログイン画面を作る"), "{text}");
    assert!(text.contains("3 model calls") && text.contains("$0.002500"), "{text}");
    assert!(text.contains("1 model call without an answer"), "{text}");
    let value = json(&place, &["status"]);
    let expected = ["active", "cost", "disk", "failed", "going_on", "owner", "run", "spec", "state_dir", "tasks"];
    assert_eq!(fields(&value), expected);
    assert_eq!(value["going_on"], false);
    let parts = value["disk"]["parts"].as_array().unwrap();
    let sum: u64 = parts.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert!(parts.iter().any(|part| part["what"] == "registry") && text.contains("disk     "), "{text}");
    assert_eq!(value["disk"]["total_bytes"], sum);
    assert_eq!(value["tasks"]["running"], 1);
    assert_eq!(value["active"][0]["attempt"], 2);
    assert_eq!(value["run"]["branch"], "necro/shop");
}

#[test]
fn a_run_that_goes_on_is_seen_by_its_owner() {
    let place = recorded();
    place.write("r/.necro/owner.lock", format!("process {} since 2026-11-22T10:00:00Z", std::process::id()));
    let text = query(&place, &["status"]);
    assert!(text.contains("running for") && text.contains("end:  necro-host stop\n"), "{text}");
    let owner = format!("owner    process {} since 2026-11-22 10:00:00 UTC; it does not answer", std::process::id());
    assert!(text.contains(&owner), "{text}");
    let value = json(&place, &["status"]);
    assert_eq!((&value["going_on"], &value["owner"]["answers"]), (&true.into(), &false.into()));
}

#[test]
fn tasks_are_a_table_that_wide_characters_keep_aligned() {
    let place = recorded();
    let text = query(&place, &["tasks"]);
    let shown = "ログイン画面を作る␛[2J\u{fffd}2J\u{fffd}";
    let expected = [
        "ID   STATE    TRIES  WHO                NEEDS  TITLE".to_owned(),
        format!("1    running  2      frontend_spirit_1         {shown}"),
        "2    blocked         documentation      1      Write the \"manual\"".to_owned(),
        "3    blocked         (group)            3.1    Release".to_owned(),
        "3.1  blocked         devops             2      Tag".to_owned(),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(query(&place, &["tasks", "--only", "running"]).lines().count(), 2);
    let ended = place.run("r", &["tasks", "--only", "failed"]);
    assert!(ended.err.contains("no task that is failed") && ended.out.is_empty(), "{ended:?}");
    let value = json(&place, &["tasks"]);
    assert_eq!(value.as_array().unwrap().len(), 4);
    assert_eq!(value[0]["title"], format!("ログイン画面を作る{HOSTILE}"));
    for field in ["spec", "task", "state", "depends", "skill", "attempts", "assigned", "last_failure", "version"] {
        assert!(value[0].get(field).is_some(), "{field}");
    }
    assert_eq!(json(&place, &["tasks", "--only", "failed"]), serde_json::json!([]));
}

#[test]
fn show_tells_why_who_and_what_came_of_it() {
    let place = recorded();
    let text = query(&place, &["show", "1"]);
    for part in [
        "state     running by frontend_spirit_1 in workspace-r-slot1",
        "Line one\n    Line two",
        "attempt 1 by frontend_spirit_1: failed after 3.0 s",
        "why       frontend by its label",
        "routing   `least-busy` chose frontend_spirit_1 among 1",
        "2.5    frontend  画面, login",
        "gate      of the attempt: test failed",
        "review    blocks src/a.rs:7: a key (secret-scan/key)",
        "attempt 2 by frontend_spirit_1: no end recorded",
        "1 turn, 1 tool call",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    // The last attempt has neither yet.
    assert!(!text.contains("+new"), "{text}");
    let first = query(&place, &["show", "1", "--attempt", "1", "--conversation"]);
    for part in ["    -old\n    +new\n", "output    of `test`, which failed", "assertion failed␛[0m", "told\n    Do it"]
    {
        assert!(first.contains(part), "{part:?} is missing:\n{first}");
    }
    assert!(first.contains("    write\n      path: src/a.rs\n      text:\n"), "{first}");
    let planning = query(&place, &["show", "0.1", "--conversation"]);
    assert!(planning.contains("0.1 requirements and design") && planning.contains("I plan it"), "{planning}");
}

#[test]
fn show_has_everything_as_json() {
    let place = recorded();
    let value = json(&place, &["show", "1", "--attempt", "1", "--conversation"]);
    assert_eq!(fields(&value), ["attempts", "key", "notes", "task"]);
    let attempt = &value["attempts"][0];
    assert_eq!(attempt["routing"]["decision"]["scores"][0]["points"], 2.5);
    assert_eq!(attempt["routing"]["candidates"][0]["instance"], "frontend_spirit_1");
    assert_eq!(attempt["outcome"], "failed");
    assert_eq!(attempt["diff"], DIFF);
    assert_eq!(attempt["checks"][0]["name"], "test");
    assert_eq!(attempt["findings"][0]["rule"], "secret-scan/key");
    assert_eq!(attempt["conversation"]["messages"].as_array().unwrap().len(), 2);
    assert_eq!(json(&place, &["show", "0.1"])["task"], Value::Null);
}

#[test]
fn logs_are_one_line_a_call_in_order() {
    let place = recorded();
    let expected = [
        "10:00:01 architect_spirit_1 0.1#1  asks default (turn 1) → I plan it  [900 in, 80 out]".to_owned(),
        "10:00:03 frontend_spirit_1 1#1  asks default (turn 1) → write  [900 in, 80 out]".to_owned(),
        "10:00:04 frontend_spirit_1 1#1  writes src/a.rs".to_owned(),
        "10:00:05 frontend_spirit_1 1#1  runs test → exit code 101 after 1.2 s".to_owned(),
        "10:00:06 frontend_spirit_1 1#1  reads b.rs → not-found: there is no b.rs".to_owned(),
        "10:00:06 frontend_spirit_1 1#1  info: nearly␛[2J\u{fffd}2J\u{fffd}".to_owned(),
        "10:00:08 frontend_spirit_1 1#2  asks default (turn 1) → no answer was recorded".to_owned(),
    ];
    assert_eq!(query(&place, &["logs"]).lines().collect::<Vec<_>>(), expected);
    assert_eq!(query(&place, &["logs", "architect"]).lines().collect::<Vec<_>>(), expected[..1]);
    assert_eq!(query(&place, &["logs", "frontend_spirit_1"]).lines().collect::<Vec<_>>(), expected[1..]);
    assert_eq!(query(&place, &["logs", "-n", "2"]).lines().collect::<Vec<_>>(), expected[5..]);
    let none = place.run("r", &["logs", "-n", "0"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (Some(0), "", ""));
    place.run("r", &["logs", "nobody"]).refused(2, &["`nobody`", "architect_spirit_1, frontend_spirit_1"]);
    let value = json(&place, &["logs"]);
    assert_eq!(
        fields(&value[3]),
        ["at", "attempt", "cost", "execution", "failed", "function", "instance", "sequence", "task", "text"]
    );
    assert_eq!((&value[4]["failed"], &value[6]["failed"]), (&Value::Bool(true), &Value::Null));
}

#[test]
fn following_prints_what_there_is_and_ends_with_its_reader() {
    use std::io::{BufRead as _, BufReader};
    let place = recorded();
    own(&place, std::process::id());
    let mut child = place.command("r", &["logs", "-f", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["instance"], "architect_spirit_1");
    let rest: Vec<_> = lines.by_ref().take(5).collect();
    assert_eq!(rest.len(), 5, "a call without an answer is kept back");
    // Nothing more is written, so only the closed pipe can end it.
    drop(lines);
    assert!(ends_by_itself(child), "it goes on for nobody");
}

#[test]
fn following_ends_with_the_run() {
    let place = recorded();
    recorded::end(&place);
    let child = place.command("r", &["logs", "-f"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert!(ends_by_itself(child), "it waits for more of a run that has ended");
    let followed = place.run("r", &["logs", "-f"]).done();
    assert_eq!(followed, query(&place, &["logs"]), "something was not shown");
}

#[test]
fn following_ends_when_the_process_is_gone_that_would_go_on() {
    let place = recorded();
    own(&place, i32::MAX.unsigned_abs());
    let child = place.command("r", &["logs", "-f"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert!(ends_by_itself(child), "it waits for a process that was killed");
}

/// Says that this process works in the state directory.
fn own(place: &Place, process: u32) {
    std::fs::write(place.path("r/.necro/owner.lock"), format!("process {process} since …")).unwrap();
}

/// Whether a program ends within a minute; it is gone in any case.
fn ends_by_itself(mut child: std::process::Child) -> bool {
    let (tell, told) = std::sync::mpsc::channel();
    let id = rustix::process::Pid::from_child(&child);
    std::thread::spawn(move || tell.send(child.wait().is_ok()));
    let ended = told.recv_timeout(std::time::Duration::from_secs(60)).is_ok();
    if !ended {
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    }
    ended
}

#[test]
fn events_can_be_narrowed_and_a_wrong_kind_is_answered_with_those_that_are() {
    let place = recorded();
    let text = query(&place, &["events"]);
    assert!(text.lines().nth(1).unwrap().contains("RunStarted"), "{text}");
    assert!(text.contains("gate of the attempt: test failed"), "{text}");
    let all = json(&place, &["events"]);
    assert_eq!(all[0]["sequence"], 1);
    assert_eq!(all[0]["event"], "RunStarted");
    let of_kind = json(&place, &["events", "--kind", "RunnerFinished", "--task", "1"]);
    assert_eq!(of_kind.as_array().unwrap().len(), 1);
    assert_eq!(of_kind[0]["details"]["outcome"], "failed");
    let two = place.run("r", &["events", "--after", "3", "--limit", "2"]);
    assert!(two.err.contains("--after 5 goes on"), "{two:?}");
    assert_eq!(two.out.lines().count(), 3);
    place.run("r", &["events", "--kind", "Nothing"]).refused(2, &["no event `Nothing`", "RunStarted"]);
    assert_eq!(json(&place, &["events", "--kind", "RunStarted", "--after", "1"]), serde_json::json!([]));
}

#[test]
fn the_graph_is_drawn_in_three_languages() {
    let place = recorded();
    assert!(query(&place, &["graph"]).starts_with("graph TD\n"));
    assert!(query(&place, &["graph", "--format", "dot"]).contains("\"1\" -> \"2\";"));
    let value: Value = serde_json::from_str(&query(&place, &["graph", "--format", "json"])).unwrap();
    assert_eq!(value["edges"][0], serde_json::json!({ "from": "1", "to": "2" }));
    assert_eq!(json(&place, &["graph"]), value);
}

#[test]
fn artifacts_are_listed_and_got_byte_for_byte() {
    let place = recorded();
    let text = query(&place, &["artifact", "ls", "--task", "1"]);
    assert!(text.contains("1-1-change.diff") && text.contains("1-1-gate.json"), "{text}");
    let list = json(&place, &["artifact", "ls"]);
    let uri = list[0]["uri"].as_str().unwrap();
    assert_eq!(query(&place, &["artifact", "get", uri]), DIFF);
    let ended = place.run("r", &["artifact", "get", uri, "-o", "../out.diff"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(fs::read_to_string(place.path("out.diff")).unwrap(), DIFF);
    place.run("r", &["artifact", "get", "artifact:gone"]).refused(2, &["artifact:gone", "necro-host artifact ls"]);
}

#[test]
fn a_wrong_name_is_answered_with_those_that_there_are() {
    let place = recorded();
    place.run("r", &["show", "9"]).refused(2, &["the spec `shop` has no task `9`", "0.1, 1, 2, 3, 3.1"]);
    place.run("r", &["show", "1", "--attempt", "7"]).refused(2, &["has no attempt 7; it has: 1, 2"]);
    for args in [&["status"][..], &["tasks"], &["logs"], &["events"], &["graph"], &["artifact", "ls"], &["show", "1"]] {
        let args: Vec<&str> = args.iter().copied().chain(["--spec", "shoe"]).collect();
        place.run("r", &args).refused(2, &["there is no spec `shoe` here; there are: shop"]);
    }
    place.run("r", &["land", "shoe"]).refused(2, &["there is no spec `shoe` here; there are: shop"]);
}

#[test]
fn no_output_can_steer_the_terminal() {
    let place = recorded();
    for args in [
        &["status"][..],
        &["tasks"],
        &["show", "1", "--conversation"],
        &["show", "0.1", "--conversation"],
        &["logs"],
        &["events"],
        &["graph"],
        &["artifact", "ls"],
    ] {
        for more in [&[][..], &["--json"]] {
            let args: Vec<&str> = args.iter().chain(more).copied().collect();
            let out = query(&place, &args);
            let bad = out.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t' || *c == '\u{202e}');
            assert_eq!(bad, None, "{args:?}: {out:?}");
        }
    }
}

#[test]
fn queries_change_nothing_but_what_the_database_needs_to_be_read() {
    let place = recorded();
    let own = |place: &Place| -> Vec<_> {
        let state = place.path("r/.necro");
        place.fingerprint("r").into_iter().filter(|(path, _)| !path.starts_with(&state)).collect()
    };
    let before = own(&place);
    for args in [&["status"][..], &["show", "1"], &["logs"], &["events"], &["artifact", "ls"]] {
        query(&place, args);
    }
    assert_eq!(own(&place), before);
}

#[test]
fn another_place_is_named_by_flags_and_in_the_commands_that_are_shown() {
    let place = recorded();
    fs::rename(place.path("r/.necro"), place.path("state dir")).unwrap();
    let text = place.run("", &["status", "--repo", "r", "--state", "state dir"]).done();
    assert!(text.contains("necro-host tasks --repo r --state 'state dir'"), "{text}");
    let text = place.run_with("r", &["tasks"], &[("NECRO_STATE", "../state dir")]).done();
    assert!(text.contains("Tag"), "{text}");
}
