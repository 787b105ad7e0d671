//! Records that are not what was written: damaged ones are named, and others are not repeated as if they
//! were the same. Each damage is done to a copy.

use std::fs;
use std::path::{Path, PathBuf};

use necro_host::domain::call::{CallRequest, Function};
use necro_host::domain::id::Digest;
use necro_host::registry::{ExecutionKind, request_digest};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use crate::copies::{copy, done, replay, replayed};
use crate::world::World;

/// Changes a registry by hand.
fn sql(state: &Path, statement: &str) {
    let changed = Connection::open(state.join("registry.db")).unwrap().execute(statement, []).unwrap();
    assert!(changed > 0, "nothing was changed by {statement}");
}

fn blob(state: &Path, digest: &Digest) -> PathBuf {
    let (shard, rest) = digest.as_str().split_at(2);
    state.join("blobs").join(shard).join(rest)
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Flips a bit in the middle of every large part of the journal.
fn flip_parts(state: &Path) {
    let conn = Connection::open(state.join("registry.db")).unwrap();
    let mut parts = conn.prepare("SELECT digest, content FROM bodies WHERE content IS NOT NULL").unwrap();
    let parts: Vec<(String, Sql)> =
        parts.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert!(!parts.is_empty());
    for (digest, content) in parts {
        let flipped = |mut bytes: Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        };
        let content = match content {
            Sql::Text(text) => Sql::Text(String::from_utf8(flipped(text.into_bytes())).unwrap()),
            Sql::Blob(bytes) => Sql::Blob(flipped(bytes)),
            other => panic!("{other:?}"),
        };
        conn.execute("UPDATE bodies SET content = ?2 WHERE digest = ?1", (digest, content)).unwrap();
    }
}

/// The spirit's execution of task 1 in `world`, and its component.
fn of_task_1(world: &World) -> (String, Digest) {
    let records = world.records();
    let attempt = records.attempts("1").pop().unwrap();
    (attempt.execution.unwrap().to_string(), attempt.component.unwrap())
}

/// Where clause of the rows of an execution's calls.
fn calls_of(execution: &str) -> String {
    format!("execution = (SELECT number FROM executions WHERE id = '{execution}')")
}

#[test]
fn damaged_records_and_components_are_named_and_the_rest_is_repeated() {
    let world = done();
    let (id, component) = of_task_1(&world);
    let calls = calls_of(&id);
    let run = |statement: String| move |state: &Path| sql(state, &statement);
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: Vec<(&str, Damage<'_>, String)> = vec![
        (
            "an answer",
            Box::new(run(format!("UPDATE calls SET answer = replace(answer, 'O', 'P') WHERE {calls} AND seq = 2"))),
            "at call 2: its checksum is another one".to_owned(),
        ),
        (
            "a call that is gone",
            Box::new(run(format!("DELETE FROM calls WHERE {calls} AND seq = 3"))),
            "at call 3: it is missing".to_owned(),
        ),
        (
            "a journal that is cut",
            Box::new(run(format!("DELETE FROM calls WHERE {calls} AND seq > 4"))),
            "it has 4 calls and had".to_owned(),
        ),
        (
            "an input",
            Box::new(run(format!("UPDATE executions SET input = replace(input, 'a', 'b') WHERE id = '{id}'"))),
            "is damaged: its checksum is another one".to_owned(),
        ),
        ("a large part", Box::new(flip_parts), "is damaged at call 1".to_owned()),
        ("a component", Box::new(|state| flip(&blob(state, &component))), format!("blob {component} is damaged")),
        (
            "no component",
            Box::new(|state| fs::remove_file(blob(state, &component)).unwrap()),
            format!("blob {component} is missing"),
        ),
        (
            // Its bytes are those of a plugin that would run, but not of the one that ran.
            "another component in its place",
            Box::new(|state| {
                let other = world.records().executions(ExecutionKind::Routing).pop().unwrap().component;
                fs::copy(blob(state, &other), blob(state, &component)).unwrap();
            }),
            format!("blob {component} is damaged: its bytes have digest"),
        ),
    ];
    for (name, damage, reason) in &cases {
        let state = copy(&world, &world.state(), "copy");
        damage(&state);
        let (code, report) = replayed(&world, &state, &[]);
        assert_eq!((code, &report["different"]["count"]), (Some(1), &0.into()), "{name}: {report:#}");
        let named = report["not_repeatable"]["first"].as_array().unwrap();
        let is_named = |named: &Value| named["reason"].as_str().unwrap().contains(reason) && named["execution"] == *id;
        assert!(named.iter().any(is_named), "{name}: {report:#}");
        let (all, same) = (report["executions"].as_u64().unwrap(), report["same"].as_u64().unwrap());
        assert_eq!(all, same + report["not_repeatable"]["count"].as_u64().unwrap(), "{name}: {report:#}");
        let told = replay(&world, &state, &[]).stdout;
        assert!(told.contains("cannot be repeated") && told.contains(reason.as_str()), "{name}: {told}");
        fs::remove_dir_all(&state).unwrap();
    }
}

/// The number of the first call of a function, and its arguments.
fn first_call(world: &World, execution: &str, function: Function) -> (u64, Value) {
    let id = necro_host::domain::id::ExecutionId::new(execution).unwrap();
    let calls = world.records().reader.calls(&id).unwrap();
    let call = calls.into_iter().find(|call| call.function == function).unwrap();
    (call.sequence, call.arguments)
}

/// A plugin that behaves differently: here the record is changed, which looks the same from the outside.
#[test]
fn the_first_difference_is_shown_with_both_sides() {
    let world = done();
    let (id, _) = of_task_1(&world);
    let (number, written) = first_call(&world, &id, Function::WorkspaceWrite);
    let mut other = written.clone();
    other["text"] = json!("white bread\n");
    let call = CallRequest { function: Function::WorkspaceWrite, arguments: other.clone(), effect: None };
    let digest = request_digest(&call);
    // A row without a checksum is one of the first release, which had none.
    let unsealed = format!(
        "UPDATE calls SET sum = NULL, digest = '{digest}', request = '{other}' WHERE {} AND seq = {number}",
        calls_of(&id)
    );
    let state = copy(&world, &world.state(), "call");
    sql(&state, &unsealed);
    let (code, report) = replayed(&world, &state, &[]);
    let first = &report["first_difference"];
    assert_eq!((code, &report["different"]["count"]), (Some(1), &1.into()), "{report:#}");
    assert_eq!((&first["execution"], &first["call"]), (&id.clone().into(), &number.into()), "{report:#}");
    assert_eq!((&first["recorded"]["call"]["arguments"], &first["now"]["call"]["arguments"]), (&other, &written));
    let told = replay(&world, &state, &[]).stdout;
    let heading = format!("first difference: call {number} of spirit `backend` of list/1#1, execution {id}");
    assert!(told.contains(&heading), "{told}");
    assert!(told.contains("-  white bread") && told.contains("+  bread"), "{told}");
}

#[test]
fn an_end_fuel_and_calls_beyond_the_record_are_differences() {
    let world = done();
    let (id, _) = of_task_1(&world);
    let last = format!("(SELECT max(seq) FROM calls WHERE {})", calls_of(&id));
    let unsealed = |set: &str| format!("UPDATE executions SET sum = NULL, end_sum = NULL, {set} WHERE id = '{id}'");
    type Case<'a> = (&'a str, Vec<String>, fn(&Value) -> bool);
    let cases: [Case<'_>; 4] = [
        ("outcome", vec![unsealed("outcome = replace(outcome, 'add bread', 'add rye')")], |first| {
            first["call"].is_null() && first["recorded"]["end"]["ok"]["title"] == "add rye"
        }),
        ("fuel", vec![unsealed("usage = replace(usage, '\"fuel\":', '\"fuel\":1')")], |first| {
            first["recorded"]["fuel"].as_u64() > first["now"]["fuel"].as_u64()
        }),
        (
            "a call more",
            vec![unsealed("calls = calls - 1"), format!("DELETE FROM calls WHERE {} AND seq = {last}", calls_of(&id))],
            |first| first["recorded"]["end"]["ok"].is_object() && first["now"]["call"]["function"].is_string(),
        ),
        (
            "a call less",
            vec![
                unsealed("calls = calls + 1"),
                format!(
                    "INSERT INTO calls (execution, seq, function, digest, request, at, answer, answered_at)
                     SELECT execution, seq + 1, function, digest, request, at, answer, answered_at FROM calls
                     WHERE {} AND seq = {last}",
                    calls_of(&id)
                ),
            ],
            |first| first["recorded"]["call"]["function"].is_string() && first["now"]["end"]["ok"].is_object(),
        ),
    ];
    for (name, statements, shows) in cases {
        let state = copy(&world, &world.state(), "copy");
        for statement in statements {
            sql(&state, &statement);
        }
        let (code, report) = replayed(&world, &state, &[]);
        assert_eq!((code, &report["different"]["count"]), (Some(1), &1.into()), "{name}: {report:#}");
        assert!(shows(&report["first_difference"]), "{name}: {report:#}");
        fs::remove_dir_all(&state).unwrap();
    }

    let state = copy(&world, &world.state(), "copy");
    sql(&state, &unsealed("engine = 'wasmtime 1.0', usage = replace(usage, '\"fuel\":', '\"fuel\":1')"));
    let (code, report) = replayed(&world, &state, &[]);
    let count = |field: &str| report[field].as_u64().unwrap();
    assert_eq!((code, count("fuel_compared") + 1), (Some(0), count("same")), "{report:#}");
}

#[test]
fn ends_by_time_are_compared_as_far_as_their_record_goes() {
    let world = done();
    let (id, _) = of_task_1(&world);
    let wall = json!({ "error": "limit-exceeded",
        "message": "spirit `backend` was stopped: it exceeded its wall time limit of 5 ms (setting `limits.spirit.wall_ms`)" });
    let state = copy(&world, &world.state(), "copy");
    sql(
        &state,
        &format!(
            "UPDATE executions SET end_sum = NULL, outcome = '{}', calls = 3 WHERE id = '{id}'",
            wall.to_string().replace('\'', "''")
        ),
    );
    sql(&state, &format!("DELETE FROM calls WHERE {} AND seq > 3", calls_of(&id)));
    let (code, report) = replayed(&world, &state, &[]);
    assert_eq!((code, &report["partly"]["count"]), (Some(0), &1.into()), "{report:#}");
    let named = &report["partly"]["first"][0];
    assert_eq!((&named["execution"], &named["attempt"]), (&id.into(), &"list/1#1".into()), "{report:#}");
    assert!(named["reason"].as_str().unwrap().contains("wall time limit"), "{report:#}");
}
