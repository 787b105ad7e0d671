//! Workers and the backlog as people type them: claims, reports, attributes, issues, and the questions about
//! them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::place::Place;

const TASKS: &str = "# Plan\n\n- [ ] 1. Cart\n  - _Depends: none_\n  - _Skill: backend_\n- [ ] 2. Manual, with a picture\n  \
                     - _Depends: none_\n  - _Skill: documentation_\n- [ ]* 10. Polish\n  - _Depends: 1_\n";

/// A repository whose spec is in the registry, without any run.
fn shop() -> Place {
    let place = Place::new();
    place.repository("r", &[(".kiro/specs/shop/tasks.md", TASKS)]);
    place.run("r", &["spec", "sync"]).done();
    place
}

fn numbers(tasks: &Value) -> Vec<&str> {
    tasks.as_array().unwrap().iter().map(|task| task["task"].as_str().unwrap()).collect()
}

#[test]
fn a_worker_claims_reports_and_frees_what_waits() {
    let place = shop();
    let claimed = place.run("r", &["task", "claim", "--worker", "w1", "--skill", "backend", "--json"]).json();
    assert_eq!((&claimed["task"], &claimed["state"], &claimed["attempt"]), (&json!("1"), &json!("running"), &json!(1)));
    assert_eq!(claimed["branch"], "feature/task-shop-1-cart");
    assert_eq!(claimed["assigned"]["runner"], "w1");
    place.run("r", &["task", "claim", "1", "--worker", "w2"]).refused(1, &["shop/1 is running"]);
    let none = place.run("r", &["task", "claim", "--worker", "w2", "--skill", "backend"]);
    none.refused(1, &["no task of that kind is ready"]);
    let theirs = ["task", "done", "1", "--worker", "w2"];
    place.run("r", &theirs).refused(1, &["worker w2 does not hold shop/1#1", "held by w1, attempt 1"]);
    let failed = place.run("r", &["task", "fail", "1", "--worker", "w1", "--reason", "no database", "--json"]).json();
    assert_eq!(
        (&failed["state"], &failed["last_failure"], &failed["assigned"]),
        (&json!("ready"), &json!("no database"), &Value::Null)
    );
    place.run("r", &["task", "claim", "shop/1", "--worker", "w1"]).done();
    place.run("r", &["task", "release", "1", "--worker", "w1"]).done();
    let again = place.run("r", &["task", "claim", "1", "--worker", "w2"]).done();
    assert!(again.starts_with("shop/1 attempt 3: Cart\n"), "{again}");
    let done = place.run("r", &["task", "done", "1", "--worker", "w2", "--summary", "cart and tests"]).done();
    assert!(done.starts_with("shop/1 is done"), "{done}");
    let ready = place.run("r", &["tasks", "--only", "ready", "--json"]).json();
    assert_eq!(numbers(&ready), ["2", "10"]);
    let ended =
        place.run("r", &["events", "--kind", "RunnerCompleted", "--task", "1", "--attempt", "3", "--json"]).json();
    assert_eq!(ended[0]["details"]["summary"], "cart and tests");
    assert!(place.run("r", &["registry", "verify"]).done().starts_with("verified"));
}

#[test]
fn attributes_are_set_once_by_the_one_who_saw_the_newest() {
    let place = shop();
    let set = ["task", "set", "2", "--priority", "7", "--meta", "ticket=SHOP-7", "--expect-version", "1"];
    let task = place.run("r", &[&set[..], &["--json"]].concat()).json();
    assert_eq!(
        (&task["priority"], &task["metadata"]["ticket"], &task["version"]),
        (&json!(7), &json!("SHOP-7"), &json!(2))
    );
    place.run("r", &set).refused(1, &["task shop/2 has version 2, not 1"]);
    place.run("r", &["task", "set", "2"]).refused(2, &["--priority"]);
    place.run("r", &["task", "set", "9", "--priority", "1"]).refused(2, &["no task `9`", "1, 2, 10"]);
    let first = place.run("r", &["tasks", "--sort", "priority", "--limit", "1", "--json"]).json();
    assert_eq!(numbers(&first), ["2"]);
    let cursor = first[0]["cursor"].as_str().unwrap();
    let rest = place.run("r", &["tasks", "--sort", "priority", "--after", cursor, "--reverse", "--json"]);
    assert_eq!(numbers(&rest.json()), [""; 0], "nothing is more urgent");
    let rest = place.run("r", &["tasks", "--sort", "priority", "--after", cursor, "--json"]).json();
    assert_eq!(numbers(&rest), ["10", "1"]);
    assert_eq!(numbers(&place.run("r", &["tasks", "--text", "PICTURE", "--json"]).json()), ["2"]);
    assert_eq!(numbers(&place.run("r", &["tasks", "--optional", "yes", "--json"]).json()), ["10"]);
    place.run("r", &["tasks", "--after", "nonsense"]).refused(2, &["no such place to go on from"]);
    place.run("r", &["spec", "sync"]).done();
    let kept = place.run("r", &["tasks", "--text", "picture", "--json"]).json();
    assert_eq!(kept[0]["priority"], 7, "a sync does not take it back");
}

#[test]
fn an_issue_is_added_routed_and_becomes_a_task() {
    let place = shop();
    let added =
        place.run("r", &["issue", "add", "Login API is slow", "--label", "backend", "--priority", "high", "--json"]);
    let added = added.json();
    assert_eq!((&added["id"], &added["status"]), (&json!("ISSUE-001"), &json!("open")));
    place.run("r", &["issue", "add", "  "]).refused(1, &["an issue needs a title"]);
    let routed = place.run("r", &["issue", "route", "ISSUE-001", "--json"]).json();
    assert_eq!((&routed["status"], &routed["instance"]), (&json!("assigned"), &json!("backend_spirit_1")));
    assert!(routed["routing"].is_string() && routed["reason"].is_string(), "{routed}");
    let table = place.run("r", &["issue", "ls"]).done();
    assert!(table.contains("ISSUE-001") && table.contains("backend_spirit_1"), "{table}");
    let taken = place.run("r", &["issue", "route", "ISSUE-001", "--into", "shop", "--json"]).json();
    assert_eq!(taken["task"], json!({ "spec": "shop", "task": "11" }));
    let file = fs::read_to_string(place.path("r/.kiro/specs/shop/tasks.md")).unwrap();
    assert!(file.starts_with(TASKS.trim_end()) && file.contains("\n- [ ] 11. Login API is slow\n"), "{file}");
    place.run("r", &["issue", "route", "ISSUE-001"]).refused(1, &["it is task shop/11"]);
    place.run("r", &["task", "claim", "11", "--worker", "w"]).done();
    assert_eq!(place.run("r", &["issue", "ls", "--json"]).json()[0]["status"], "in_progress");
    place.run("r", &["task", "done", "11", "--worker", "w"]).done();
    assert_eq!(place.run("r", &["issue", "ls", "--json"]).json(), json!([]));
    assert_eq!(place.run("r", &["issue", "ls", "--all", "--json"]).json()[0]["status"], "completed");
    place.run("r", &["issue", "close", "ISSUE-009", "--reason", "x"]).refused(1, &["issue ISSUE-009 does not exist"]);
    place.run("r", &["issue", "route", "7"]).refused(2, &["ISSUE-001"]);
    assert!(place.run("r", &["registry", "verify"]).done().starts_with("verified"));
}

#[test]
fn an_owner_without_a_run_makes_the_changes_and_is_stopped() {
    let place = shop();
    let mut owner = place.command("r", &["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(owner.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(told.any(|line| line.contains("makes changes for others")));
    place.run("r", &["registry", "rebuild"]).refused(2, &["process"]);
    let follow = ["events", "--follow", "--after", "0", "--kind", "TaskAssigned", "--json"];
    let mut following = place.command("r", &follow).stdout(Stdio::piped()).spawn().unwrap();
    place.run("r", &["task", "claim", "2", "--worker", "w"]).done();
    let mut seen = BufReader::new(following.stdout.take().unwrap()).lines().map_while(Result::ok);
    let event: Value = serde_json::from_str(&seen.next().unwrap()).unwrap();
    assert_eq!((&event["event"], &event["task"]), (&json!("TaskAssigned"), &json!("2")));
    following.kill().unwrap();
    following.wait().unwrap();
    let theirs = place.run("r", &["task", "done", "2", "--worker", "other"]);
    theirs.refused(1, &["the owner of the state directory refused", "does not hold shop/2#1"]);
    let issue = place.run("r", &["issue", "add", "From elsewhere"]).done();
    assert!(issue.contains("ISSUE-001"), "{issue}");
    fs::write(place.path("r/.kiro/specs/shop/tasks.md"), TASKS.replace("[ ] 1.", "[x] 1.")).unwrap();
    let synced = place.run("r", &["spec", "sync", "--json"]).json();
    assert_eq!(synced[0]["ticked"]["tasks"], json!(["1"]));
    place.run("r", &["stop"]).done();
    assert!(owner.wait().unwrap().success());
    assert_eq!(numbers(&place.run("r", &["tasks", "--only", "done", "--json"]).json()), ["1"]);
}

#[test]
fn waves_and_times_are_told() {
    let place = shop();
    let waves = place.run("r", &["graph", "--format", "waves"]).done();
    assert!(waves.contains("wave 2\n* 10  Polish (blocked, optional)\n* critical path, 2 tasks: 1 → 10\n"), "{waves}");
    let events = place.run("r", &["events", "--json"]).json();
    let time = events[1]["time"].as_str().unwrap();
    let since = place.run("r", &["events", "--since", time, "--json"]).json();
    let until = place.run("r", &["events", "--until", time, "--json"]).json();
    let count = |events: &Value| events.as_array().unwrap().len();
    assert_eq!(count(&since) + count(&until), count(&events));
    place.run("r", &["events", "--since", "yesterday"]).refused(2, &["--since"]);
}

#[test]
fn without_an_owner_everybody_is_answered_what_was_done() {
    let place = Place::new();
    let tasks: String = (1..=20).map(|n| format!("- [ ] {n}. T\n  - _Depends: none_\n")).collect();
    place.repository("r", &[(".kiro/specs/shop/tasks.md", &format!("# Plan\n\n{tasks}"))]);
    place.run("r", &["spec", "sync"]).done();
    let start = |args: &[&str]| place.command("r", args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut all: Vec<_> = (0..10).map(|n| start(&["task", "claim", "--worker", &format!("w{n}"), "--json"])).collect();
    all.extend((0..4).map(|n| start(&["issue", "add", &format!("issue {n}"), "--json"])));
    all.extend((0..3).map(|_| start(&["spec", "sync", "--json"])));
    all.extend((0..3).map(|_| start(&["task", "set", "20", "--priority", "-5", "--json"])));
    let mut claimed = Vec::new();
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        if said["branch"].is_string() {
            claimed.push(said["task"].as_str().unwrap().to_owned());
        }
    }
    claimed.sort();
    claimed.dedup();
    let running = place.run("r", &["tasks", "--only", "running", "--json"]).json();
    assert_eq!((claimed.len(), numbers(&running).len()), (10, 10));
    assert_eq!(place.run("r", &["issue", "ls", "--json"]).json().as_array().unwrap().len(), 4);
}

#[test]
fn a_number_that_was_free_again_is_another_task() {
    let place = shop();
    let file = place.path("r/.kiro/specs/shop/tasks.md");
    let last = "- [ ]* 10. Polish\n  - _Depends: 1_\n";
    fs::write(&file, TASKS.replace("[ ]* 10.", "[x]* 10.")).unwrap();
    place.run("r", &["spec", "sync"]).done();
    fs::write(&file, TASKS.replace(last, "")).unwrap();
    place.run("r", &["spec", "sync"]).done();
    // An issue gets a number that nothing has had.
    place.run("r", &["issue", "add", "Search"]).done();
    place.run("r", &["issue", "route", "ISSUE-001", "--into", "shop"]).done();
    assert!(fs::read_to_string(&file).unwrap().contains("- [ ] 11. Search\n"));
    // A person may take the old one.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n- [ ] 10. Something else\n  - _Depends: none_\n")).unwrap();
    let synced = place.run("r", &["spec", "sync", "--json"]).json();
    assert_eq!(synced[0]["opened"]["tasks"], json!(["10"]));
    assert!(fs::read_to_string(&file).unwrap().contains("- [ ] 10. Something else"), "the open box stays");
    fs::write(&file, "- [ ] 1. a\n```\nnever closed\n").unwrap();
    let before = fs::read(&file).unwrap();
    place.run("r", &["issue", "add", "More"]).done();
    place.run("r", &["issue", "route", "ISSUE-002", "--into", "shop"]).refused(2, &["code fence"]);
    assert_eq!(fs::read(&file).unwrap(), before);
}
