//! `registry import` and `registry export`: files in the shape of the Python original, written by hand here,
//! go in and come out the same; a registry of ours goes out and comes in the same; and what is refused.

use std::fs;

use serde_json::{Value, json};

use crate::place::Place;
use crate::recorded::record;

/// A task as the original writes it.
fn task(id: &str, state: &str, depends: &[&str]) -> Value {
    json!({
        "id": id, "title": format!("タスク {id}"), "description": "Step one\nStep two", "state": state,
        "dependencies": depends, "required_skill": null, "priority": 0, "is_optional": false, "assigned_slot": null,
        "reserved_branch": null, "runner_id": null, "artifacts": [], "metadata": {},
        "created_at": "2025-12-01T09:00:00.000001", "updated_at": "2025-12-02T10:30:00"
    })
}

fn set(spec: &str, tasks: Vec<Value>) -> Value {
    json!({
        "spec_name": spec, "version": 17, "created_at": "2025-12-01T09:00:00", "updated_at": "2025-12-03T00:00:00.5",
        "tasks": tasks, "metadata": { "kiro_spec_path": ".kiro/specs/login", "project": { "name": "shop" } },
        "written_by": "a later version"
    })
}

fn event(spec: &str, kind: &str, task: &str, time: &str, details: Value) -> Value {
    json!({ "event_type": kind, "spec_name": spec, "task_id": task, "timestamp": time, "details": details })
}

/// Writes a set and, file by file, its events.
fn write(place: &Place, spec: &str, set: &Value, files: &[(&str, &[Value])]) {
    place.write(&format!("python/tasksets/{spec}/taskset.json"), serde_json::to_vec_pretty(set).unwrap());
    for (file, events) in files {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        place.write(&format!("python/events/{spec}/{file}"), lines);
    }
}

/// What stands in a folder of the original's form.
fn files(place: &Place, folder: &str, spec: &str) -> (Value, Vec<Value>) {
    let set = fs::read(place.path(&format!("{folder}/tasksets/{spec}/taskset.json"))).unwrap();
    let lines = fs::read_to_string(place.path(&format!("{folder}/events/{spec}/events.jsonl"))).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (serde_json::from_slice(&set).unwrap(), lines)
}

fn new() -> Place {
    let place = Place::new();
    place.repository("r", &[]);
    place
}

const IMPORT: [&str; 3] = ["registry", "import", "../python"];

/// Every field that the original has, and some that it has not.
fn full() -> (Value, Vec<Value>) {
    let mut done = task("1", "done", &[]);
    done["assigned_slot"] = json!("workspace-shop-slot1");
    done["runner_id"] = json!("runner-1");
    done["reserved_branch"] = json!("feature/task-login-1");
    done["artifacts"] = json!([{ "type": "diff", "uri": "file:///a.diff", "size_bytes": 12,
        "created_at": "2025-12-01T10:00:00", "metadata": { "task": "1" } }]);
    let mut urgent = task("1.1", "ready", &["1"]);
    urgent["priority"] = json!(9);
    urgent["required_skill"] = json!("backend");
    urgent["metadata"] = json!({ "type": "backend", "files": ["a.rs", "b.rs"], "estimate": 3.5, "none": null });
    urgent["color"] = json!("red");
    let mut waits = task("10", "blocked", &["2", "1.1"]);
    waits["is_optional"] = json!(true);
    waits["created_at"] = json!("2025-12-01T09:00:00Z");
    // The order of the file is nobody's natural order.
    let tasks = vec![waits, done, task("2", "failed", &[]), urgent, task("3", "cancelled", &["2"])];
    let events = vec![
        event("login", "TaskCreated", "1", "2025-12-01T09:00:00.000001", json!({ "title": "x", "state": "ready" })),
        event("login", "TaskAssigned", "1", "2025-12-01T09:30:00", json!({ "runner_id": "runner-1", "slot_id": "s" })),
        event("login", "RunnerFinished", "1", "2025-12-01T10:00:00Z", json!({ "success": true, "new": { "a": [1] } })),
        event("login", "TaskUpdated", "", "2025-12-01T10:00:01", json!({ "event": "pr_created" })),
        event("login", "TaskCompleted", "9.9", "2025-11-01T10:00:00", json!({})),
        event("login", "PRMerged", "1", "2025-12-03T00:00:00", json!({})),
    ];
    (set("login", tasks), events)
}

#[test]
fn what_comes_in_goes_out_the_same() {
    let place = new();
    let (set, events) = full();
    write(
        &place,
        "login",
        &set,
        &[
            ("events.jsonl", &events[4..]),
            ("events.jsonl.10", &events[3..4]),
            ("events.jsonl.2", &events[1..3]),
            ("events.jsonl.1", &events[..1]),
        ],
    );
    let text = place.run("r", &IMPORT).done();
    assert_eq!(text, "imported: login  5 tasks, 6 events\n");
    place.run("r", &["registry", "verify"]).done();
    place.run("r", &["registry", "export", "../out"]).done();
    let (set_out, events_out) = files(&place, "out", "login");
    assert_eq!(set_out, set);
    assert_eq!(events_out, events);

    let tasks = place.run("r", &["tasks", "--spec", "login", "--json"]).json();
    let found = |id: &str| tasks.as_array().unwrap().iter().find(|task| task["task"] == id).unwrap().clone();
    assert_eq!(found("1.1")["created_at"], "2025-12-01T09:00:00.000001Z");
    assert_eq!((&found("1.1")["priority"], &found("1.1")["skill"]), (&9.into(), &"backend".into()));
    assert_eq!(found("1.1")["metadata"]["type"], "backend");
    assert_eq!(found("10")["optional"], true);
    let history = place.run("r", &["events", "--spec", "login", "--task", "1", "--json"]).json();
    assert_eq!(history.as_array().unwrap().len(), 5, "four lines, and the task itself: {history}");
    place.run("r", &["registry", "export", "../out"]).refused(2, &["taskset.json` exists already"]);
    place.run("r", &["registry", "export", "../x", "--spec", "gone"]).refused(2, &["no spec `gone`", "login"]);
}

#[test]
fn a_registry_goes_out_and_comes_in_the_same() {
    let place = Place::new();
    record(&place);
    place.run("r", &["registry", "export", "../python"]).done();
    let (first_set, first_events) = files(&place, "python", "shop");
    let types: Vec<&str> = first_events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    for kind in ["TaskCreated", "TaskAssigned", "RunnerStarted", "ReviewReported", "RunnerFinished", "TaskReady"] {
        assert!(types.contains(&kind), "{kind}: {types:?}");
    }
    let tasks = |state: &str| {
        let mut tasks = place.run("r", &["tasks", "--spec", "shop", "--json", "--state", state]).json();
        for task in tasks.as_array_mut().unwrap() {
            let task = task.as_object_mut().unwrap();
            // Rows begin anew; what had happened is in the events.
            for field in ["version", "attempts", "last_failure", "assigned"] {
                task.remove(field);
            }
        }
        tasks
    };
    let text = place.run("r", &["registry", "import", "../python", "--state", "../new"]).done();
    assert!(text.contains("  1 was running and is ready: nobody here works on it\n"), "{text}");
    let (mut before, after) = (tasks(".necro"), tasks("../new"));
    // The one that was running is ready, and remembers whose it was.
    assert_eq!(after[0]["state"], "ready");
    assert_eq!(after[0]["metadata"]["python.runner_id"], "runner-shop/1#2");
    before[0]["state"] = after[0]["state"].clone();
    before[0]["metadata"] = after[0]["metadata"].clone();
    assert_eq!(after, before);

    place.run("r", &["registry", "export", "../again", "--state", "../new"]).done();
    let (second_set, second_events) = files(&place, "again", "shop");
    assert_eq!(second_events, first_events, "the same lines");
    let others = |set: &Value| set["tasks"].as_array().unwrap()[1..].to_vec();
    assert_eq!(others(&second_set), others(&first_set));
    assert_eq!(second_set["version"], first_set["version"]);
}

#[test]
fn states_are_what_they_mean_here() {
    let place = new();
    let mut running = task("1", "in_progress", &[]);
    running["runner_id"] = json!("runner-1");
    let tasks = vec![
        running,
        task("2", "COMPLETED", &[]),
        task("3", "blocked", &["2"]),
        task("4", "PENDING", &["1"]),
        task("5", "ready", &["3"]),
    ];
    let aliases = [
        event("login", "RunnerCompleted", "2", "2025-12-01T10:00:00", json!({})),
        event("login", "RunnerFailed", "1", "2025-12-01T10:00:00", json!({})),
    ];
    write(&place, "login", &set("login", tasks), &[("events.jsonl", &aliases)]);
    let done = place.run("r", &["registry", "import", "../python", "--utc-offset", "+09:00", "--json"]).json();
    let adjusted: Vec<String> = done["specs"][0]["adjusted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| format!("{} {} {}", task["task"], task["was"], task["is"]).replace('"', ""))
        .collect();
    assert_eq!(adjusted, ["1 running ready", "3 blocked ready", "4 ready blocked", "5 ready blocked"]);
    let tasks = place.run("r", &["tasks", "--spec", "login", "--json"]).json();
    assert_eq!(tasks[0]["metadata"]["python.runner_id"], "runner-1");
    assert_eq!(tasks[0]["created_at"], "2025-12-01T00:00:00.000001Z", "by the clock that was named");
    place.run("r", &["registry", "export", "../out"]).done();
    let (set, events) = files(&place, "out", "login");
    let states: Vec<&str> =
        set["tasks"].as_array().unwrap().iter().map(|task| task["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ready", "done", "ready", "blocked", "blocked"]);
    let ends = events.iter().map(|event| (event["event_type"].clone(), event["details"]["success"].clone()));
    let expected = [true, false].map(|success| (json!("RunnerFinished"), json!(success)));
    assert_eq!(ends.collect::<Vec<_>>(), expected);
}

#[test]
fn what_cannot_be_brought_in_is_named_and_leaves_nothing() {
    let cases: [(&str, Value, i32, &[&str]); 8] = [
        ("login", set("login", vec![task("1", "paused", &[])]), 1, &["taskset.json", "`paused`", "none of ready"]),
        ("login", set("login", vec![task("1", "ready", &["9"])]), 1, &["task 1 depends on 9"]),
        (
            "login",
            set("login", vec![task("1", "ready", &["2"]), task("2", "ready", &["3"]), task("3", "ready", &["1"])]),
            1,
            &["in a circle: ", " → "],
        ),
        ("login", set("login", vec![task("1", "ready", &["1"])]), 1, &["in a circle: 1 → 1"]),
        ("login", set("login", vec![task("1", "ready", &[]), task("1", "done", &[])]), 1, &["task 1 is defined twice"]),
        ("login", set("../../x", vec![]), 1, &["spec_name: `../../x` is not a spec name"]),
        ("login", set("other", vec![]), 1, &["it says that it is the spec `other`"]),
        ("-login", set("login", vec![]), 1, &["`-login` is not a spec name"]),
    ];
    for (folder, set, code, parts) in cases {
        let place = new();
        write(&place, folder, &set, &[]);
        place.run("r", &IMPORT).refused(code, parts);
        let known = place.path("r/.necro").exists().then(|| place.run("r", &["events", "--json"]));
        assert!(known.is_none_or(|known| known.out.trim() == "[]" || known.code == Some(2)), "{parts:?}");
    }
    let place = new();
    place.run("r", &IMPORT).refused(2, &["python` has no task sets", "tasksets/<spec>/taskset.json"]);
    place
        .run("r", &["registry", "import", "../python", "--spec", "../../x"])
        .refused(2, &["`../../x` is not a spec name"]);
    place.write("python/tasksets/login/taskset.json", "{\"spec_name\": ");
    place.run("r", &IMPORT).refused(1, &["taskset.json", "it is no JSON"]);
    assert!(!place.path("r/.necro").exists(), "nothing was made");
}

#[test]
fn one_spec_that_cannot_be_brought_in_keeps_the_others_out() {
    let place = new();
    write(&place, "alpha", &set("alpha", vec![task("1", "ready", &[])]), &[]);
    write(&place, "beta", &set("beta", vec![task("1", "ready", &["9"])]), &[]);
    place.run("r", &IMPORT).refused(1, &["task 1 depends on 9"]);
    place.run("r", &["registry", "import", "../python", "--spec", "alpha"]).done();
    place
        .run("r", &["registry", "import", "../python", "--spec", "alpha"])
        .refused(1, &["the spec alpha is in the registry"]);
    write(&place, "beta", &set("beta", vec![task("1", "ready", &[])]), &[]);
    place.run("r", &IMPORT).refused(1, &["the spec alpha is in the registry already"]);
    let specs = place.run("r", &["registry", "export", "../out", "--json"]).json();
    assert_eq!(specs["specs"].as_array().unwrap().len(), 1, "{specs}");
}

#[test]
fn damaged_lines_are_named_and_left_out_only_when_that_is_asked_for() {
    let place = new();
    write(&place, "login", &set("login", vec![task("1", "ready", &[])]), &[]);
    let good = event("login", "TaskReady", "1", "2025-12-01T10:00:00", json!({})).to_string();
    let other = event("shop", "TaskReady", "1", "2025-12-01T10:00:00", json!({})).to_string();
    let unknown = event("login", "TaskPaused", "1", "2025-12-01T10:00:00", json!({})).to_string();
    let long = format!("{{\"event_type\": \"{}\"}}", "x".repeat(2 << 20));
    let latin = b"\xff\xfe".to_vec();
    let torn = &good[..good.len() / 2];
    let lines = [good.as_bytes(), b"", unknown.as_bytes(), long.as_bytes(), &latin, other.as_bytes(), torn.as_bytes()];
    place.write("python/events/login/events.jsonl", lines.join(&b'\n'));
    let wanted = [
        "5 lines are damaged, so nothing was imported",
        "events.jsonl:3: `TaskPaused` is no event type",
        "events.jsonl:4: it has more than 1048576 bytes",
        "events.jsonl:5: it is no JSON",
        "events.jsonl:6: it is about the spec `shop`",
        "events.jsonl:7: it is no JSON: EOF",
    ];
    place.run("r", &IMPORT).refused(1, &wanted);
    assert!(!place.path("r/.necro").exists(), "nothing was made");
    let skipped = place.run("r", &["registry", "import", "../python", "--skip-damaged"]);
    assert_eq!(skipped.out, "imported: login  1 task, 1 event\n", "{skipped:?}");
    for part in &wanted[1..] {
        assert!(skipped.err.contains(part), "{part}: {skipped:?}");
    }
}
