//! Files in the shape of the original's, written by hand.

use serde_json::json;

use super::*;
use crate::domain::event::{Body, Event, Outcome, Subject, TaskChange};
use crate::domain::id::RunId;

fn task(change: impl FnOnce(&mut Fields)) -> Value {
    let mut task = json!({
        "id": "1", "title": "Make it", "description": "All of it", "state": "ready", "dependencies": [],
        "required_skill": null, "priority": 0, "is_optional": false, "assigned_slot": null, "reserved_branch": null,
        "runner_id": null, "artifacts": [], "metadata": {},
        "created_at": "2025-12-01T10:00:00.123456", "updated_at": "2025-12-01T10:00:00Z"
    });
    change(task.as_object_mut().unwrap());
    task
}

fn set(tasks: Vec<Value>) -> Vec<u8> {
    json!({ "spec_name": "login", "version": 3, "created_at": "2025-12-01T10:00:00",
            "updated_at": "2025-12-01T10:00:00", "tasks": tasks, "metadata": { "description": "x" } })
    .to_string()
    .into_bytes()
}

fn read(change: impl FnOnce(&mut Fields)) -> Result<ImportedTask, Unreadable> {
    Ok(read_set(&set(vec![task(change)]), Offset::UTC)?.tasks.remove(0))
}

#[test]
fn times_without_an_offset_are_those_of_the_clock_that_is_named() {
    for (text, hours, expected) in [
        ("2025-12-01T10:00:00Z", 9, "2025-12-01T10:00:00Z"),
        ("2025-12-01T10:00:00+09:00", 0, "2025-12-01T01:00:00Z"),
        ("2025-12-01T10:00:00.123456", 0, "2025-12-01T10:00:00.123456Z"),
        ("2025-12-01T10:00:00.123456789", 0, "2025-12-01T10:00:00.123456Z"),
        ("2025-12-01T10:00:00", 9, "2025-12-01T01:00:00Z"),
        ("2025-12-01 10:00:00", -3, "2025-12-01T13:00:00Z"),
    ] {
        assert_eq!(time(text, Offset::constant(hours)).unwrap().to_string(), expected, "{text}");
    }
    for wrong in ["", "yesterday", "2025-13-01T10:00:00", "1764583200"] {
        assert!(time(wrong, Offset::UTC).is_err(), "{wrong}");
    }
}

#[test]
fn states_are_read_by_every_name_that_is_used_for_them() {
    for (name, state) in [
        ("ready", TaskState::Ready),
        ("running", TaskState::Running),
        ("blocked", TaskState::Blocked),
        ("done", TaskState::Done),
        ("failed", TaskState::Failed),
        ("cancelled", TaskState::Cancelled),
        ("COMPLETED", TaskState::Done),
        ("in_progress", TaskState::Running),
        ("PENDING", TaskState::Ready),
    ] {
        assert_eq!(read(|task| drop(task.insert("state".into(), name.into()))).unwrap().state, state, "{name}");
    }
    let error = read(|task| drop(task.insert("state".into(), "paused".into()))).unwrap_err();
    assert!(matches!(&error, Unreadable::UnknownState { state, .. } if state == "paused"), "{error}");
}

#[test]
fn what_is_not_as_it_should_be_is_named_by_its_place() {
    let cases: [(&str, Value, &str); 10] = [
        ("id", json!("one"), "tasks[0].id: `one` is not a task id"),
        ("id", json!(1), "tasks[0].id: 1 is no text"),
        ("title", Value::Null, "tasks[0].title: it is missing"),
        ("dependencies", json!(["../x"]), "tasks[0].dependencies: `../x` is not a task id"),
        ("priority", json!("high"), "tasks[0].priority: \"high\" is no whole number"),
        ("priority", json!(1_u64 << 40), "tasks[0].priority: it is too large"),
        ("is_optional", json!("yes"), "tasks[0].is_optional: it is neither"),
        ("metadata", json!([]), "tasks[0].metadata: it is no object"),
        ("created_at", json!("then"), "tasks[0].created_at: `then` is no time"),
        ("updated_at", Value::Null, "tasks[0].updated_at: it is missing"),
    ];
    for (name, value, expected) in cases {
        let error = read(|task| drop(task.insert(name.into(), value))).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    for (text, expected) in [
        ("", "it is no JSON"),
        ("[]", "the file: it is no object"),
        ("{\"spec_name\": \"../../x\"}", "spec_name: `../../x` is not a spec name"),
        ("{\"spec_name\": \"x\", \"version\": -1}", "version: it is negative"),
    ] {
        let error = read_set(text.as_bytes(), Offset::UTC).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn metadata_that_is_no_text_is_kept_beside_the_texts() {
    let metadata = json!({ "type": "backend", "files": ["a", "b"], "count": 3, "": "empty key" });
    let read = read(|task| drop(task.insert("metadata".into(), metadata))).unwrap();
    assert_eq!(read.facts.metadata["type"], "backend");
    assert_eq!(read.facts.metadata["python.metadata"], "{\"count\":3,\"files\":[\"a\",\"b\"]}");
    assert!(!read.set.metadata.contains_key("") && read.set.metadata.contains_key("type"));
    assert_eq!(read.set.excess(), None, "an operator could set more");
}

#[test]
fn a_running_task_keeps_who_worked_on_it() {
    let read = read(|task| {
        task.insert("state".into(), "running".into());
        task.insert("runner_id".into(), "runner-7".into());
        task.insert("assigned_slot".into(), "slot1".into());
    })
    .unwrap();
    assert_eq!(read.facts.metadata["python.runner_id"], "runner-7");
    assert_eq!(read.facts.metadata["python.assigned_slot"], "slot1");
    assert_eq!(read.rest["runner_id"], Value::Null);
}

#[test]
fn lines_have_a_type_a_time_and_perhaps_a_task() {
    let line = |kind: &str, details: Value| {
        json!({ "event_type": kind, "spec_name": "login", "task_id": "2.1", "timestamp": "2025-12-01T10:00:00",
                "details": details, "host": "a" })
        .to_string()
    };
    let read = |text: &str| read_event(text.as_bytes(), Offset::UTC);
    for (kind, details, expected, success) in [
        ("TaskReady", json!({}), "TaskReady", Value::Null),
        ("TaskReopened", json!({}), "TaskReopened", Value::Null),
        ("RunnerCompleted", json!({}), "RunnerFinished", json!(true)),
        ("RunnerFailed", json!({}), "RunnerFinished", json!(false)),
        ("RunnerFailed", json!({ "success": true }), "RunnerFinished", json!(true)),
    ] {
        let event = read(&line(kind, details)).unwrap();
        assert_eq!((event.kind.as_str(), &event.line["event_type"]), (expected, &expected.into()), "{kind}");
        let found = event.line["details"].get("success").cloned().unwrap_or_default();
        assert_eq!(found, success, "{kind}");
        assert_eq!(event.line["host"], "a", "unknown fields stay");
        assert_eq!(event.task.unwrap().as_str(), "2.1");
    }
    for (text, expected) in [
        (line("TaskPaused", json!({})), "`TaskPaused` is no event type"),
        (line("TaskReady", json!([])), "details: it is no object"),
        ("{\"event_type\": \"TaskReady\"}".to_owned(), "timestamp: it is missing"),
        ("{\"event_type\": ".to_owned(), "it is no JSON"),
        ("7".to_owned(), "the line: it is no object"),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn our_events_have_the_names_that_readers_of_the_original_look_for() {
    let line = |body: Body| {
        let subject = Subject {
            run: RunId::new("run-1").ok(),
            spec: SpecName::new("login").ok(),
            task: TaskId::new("1").ok(),
            attempt: Some(2),
        };
        event_line(&Event { sequence: 7, time: "2026-11-22T10:00:00Z".parse().unwrap(), subject, body })
    };
    let finished = Body::RunnerFinished {
        runner: "runner-7".to_owned(),
        outcome: Outcome::Failed,
        reason: Some("red".to_owned()),
        summary: None,
        commit: None,
        files: Vec::new(),
        more_files: 0,
        cost: crate::domain::call::Cost::default(),
        duration_ms: 12_345,
    };
    let found = line(finished).unwrap();
    assert_eq!(found["event_type"], "RunnerFinished");
    assert_eq!((&found["spec_name"], &found["task_id"]), (&"login".into(), &"1".into()));
    assert_eq!(found["timestamp"], "2026-11-22T10:00:00Z");
    for (name, value) in [
        ("runner_id", json!("runner-7")),
        ("success", json!(false)),
        ("outcome", json!("failed")),
        ("failure_reason", json!("red")),
        ("execution_time_seconds", json!(12)),
        ("attempt", json!(2)),
    ] {
        assert_eq!(found["details"][name], value, "{name}");
    }
    let ready = line(Body::TaskReady { from: TaskState::Blocked, last_failure: None }).unwrap();
    assert_eq!((&ready["details"]["old_state"], &ready["details"]["new_state"]), (&"blocked".into(), &"ready".into()));
    let note = TaskChange::NoteAdded { author: "a".to_owned(), text: "b".to_owned() };
    assert_eq!(line(Body::TaskUpdated { change: note }).unwrap()["details"]["action"], "note_added");
    assert!(line(Body::TeamAssembled { team: Vec::new() }).is_none(), "it is not about tasks");
    for kind in EVENT_TYPES {
        let text = json!({ "event_type": kind, "timestamp": "2025-12-01T10:00:00Z" }).to_string();
        assert!(read_event(text.as_bytes(), Offset::UTC).is_ok(), "{kind}");
    }
}
