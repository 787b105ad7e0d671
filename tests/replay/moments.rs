//! An attempt as it was after each of its calls, from a copy of the state directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use necro_host::domain::call::Function;
use necro_host::registry::CallRecord;
use serde_json::Value;

use crate::copies::{copy, done, replay, replayed};
use crate::world::{World, files_below, git};

/// Files of a work tree without those of the repository that no test changes.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let own = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "txt");
    let read = |path: PathBuf| (path.display().to_string(), fs::read_to_string(folder.join(&path)).unwrap());
    files_below(folder).into_iter().filter(own).map(read).collect()
}

/// What task 1 of the list has written after these of its calls.
fn expected(calls: &[CallRecord]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([("list.txt".to_owned(), "to buy:\n".to_owned())]);
    for call in calls {
        let path = || call.arguments["path"].as_str().unwrap().to_owned();
        match call.function {
            Function::WorkspaceWrite => {
                files.insert(path(), call.arguments["text"].as_str().unwrap().to_owned());
            }
            Function::WorkspaceApply => {
                files.insert("list.txt".to_owned(), "to buy: bread\n".to_owned());
            }
            Function::WorkspaceRemove => drop(files.remove(&path())),
            _ => {}
        }
    }
    files
}

fn calls(world: &World) -> Vec<CallRecord> {
    let records = world.records();
    records.reader.calls(&records.attempts("1")[0].execution.clone().unwrap()).unwrap()
}

#[test]
fn the_work_tree_and_the_conversation_are_written_as_they_were_at_every_call() {
    let world = done();
    let calls = calls(&world);
    let state = copy(&world, &world.state(), "copy");
    fs::remove_dir_all(world.repository()).unwrap();
    let slots = fs::read_dir(state.join("repos")).unwrap().next().unwrap().unwrap().path().join("slots");
    fs::remove_dir_all(slots).unwrap();
    for kind in [Function::WorkspaceWrite, Function::WorkspaceApply, Function::WorkspaceRemove, Function::CommandRun] {
        assert!(calls.iter().any(|call| call.function == kind), "no {kind:?} in the attempt");
    }
    for n in 0..=calls.len() {
        let into = world.path(&format!("at-{n}"));
        let (at, place) = (n.to_string(), into.to_str().unwrap());
        let (code, written) = replayed(&world, &state, &["1#1", "--at", &at, "--into", place]);
        assert_eq!((code, &written["notes"]), (Some(0), &Value::Array(Vec::new())), "{n}: {written:#}");
        assert_eq!(files(&into.join("work")), expected(&calls[..n]), "after call {n}: {written:#}");
        let talk: Value = serde_json::from_slice(&fs::read(into.join("conversation.json")).unwrap()).unwrap();
        let asked = calls[..n].iter().rfind(|call| call.function == Function::LlmComplete);
        assert_eq!(talk["call"].as_u64(), asked.map(|call| call.sequence), "after call {n}");
        if let Some(asked) = asked {
            assert_eq!(talk["messages"], asked.arguments["messages"], "after call {n}");
            assert_eq!(talk["answer"], asked.answer.as_ref().unwrap()["Ok"], "after call {n}");
            assert!(fs::read_to_string(into.join("conversation.md")).unwrap().contains("## Answer"));
        }
        let call = fs::read(into.join("call.json")).ok().map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
        assert_eq!(call.map(|call| call["call"]["sequence"].as_u64()), (n > 0).then_some(Some(n as u64)));
        assert_eq!(fs::read_dir(&into).unwrap().count(), if n > 0 { 4 } else { 3 }, "something was left over");
    }
}

#[test]
fn an_attempt_at_its_end_is_the_tree_of_its_commit() {
    let world = done();
    let attempt = world.records().attempts("1").pop().unwrap();
    let into = world.path("end");
    let told = replay(&world, &world.state(), &["list/1#1", "--into", into.to_str().unwrap()]);
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.stdout.contains("list/1#1 after call") && told.stdout.contains("made again"), "{told:#?}");
    let commit = attempt.commit.unwrap();
    let listed = git(&world.mirror(), &["ls-tree", "-r", "--name-only", commit.as_str()]);
    let there: Vec<String> = files_below(&into.join("work")).iter().map(|path| path.display().to_string()).collect();
    assert_eq!(there, listed.lines().collect::<Vec<_>>());
    for path in there {
        let committed = git(&world.mirror(), &["show", &format!("{commit}:{path}")]);
        assert_eq!(fs::read_to_string(into.join("work").join(&path)).unwrap().trim_end(), committed, "{path}");
    }
}

#[test]
fn what_cannot_be_written_out_leaves_nothing_behind() {
    let world = done();
    let state = copy(&world, &world.state(), "copy");
    let used = world.path("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("mine"), "").unwrap();
    let new = world.path("new");
    let (used, into) = (used.to_str().unwrap(), new.to_str().unwrap());
    for (args, part) in [
        (["1#1", "--at", "1", "--into", used], "is not new or empty"),
        (["1#1", "--at", "999", "--into", into], "there is no call 999"),
        (["1#2", "--at", "1", "--into", into], "there is no attempt list/1#2; there are: #1"),
        (["7#1", "--at", "1", "--into", into], "nobody has worked on list/7"),
    ] {
        let told = replay(&world, &state, &args);
        assert_eq!(told.code, Some(2), "{args:?}: {told:#?}");
        assert!(told.stderr.contains(part) && !new.exists(), "{args:?}: {told:#?}");
    }
    // A change that is recorded otherwise than it is made now.
    let conn = rusqlite::Connection::open(state.join("registry.db")).unwrap();
    let other = "UPDATE calls SET sum = NULL, effect = replace(effect, '\"after\":\"', '\"after\":\"0')
                 WHERE function = 'workspace-edit.write'";
    assert!(conn.execute(other, []).unwrap() > 0);
    drop(conn);
    let told = replay(&world, &state, &["1#1", "--into", into]);
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(told.stderr.contains("the work tree cannot be restored at call") && !new.exists(), "{told:#?}");
    fs::remove_dir_all(state.join("repos")).unwrap();
    let told = replay(&world, &state, &["1#1", "--at", "0", "--into", into]);
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(told.stderr.contains("there is no mirror") && !new.exists(), "{told:#?}");
}
