//! Every built-in plugin through the real linker: its manifest says what it is, imports and reads; it decides
//! over a sample and refuses settings that it does not know; and the heuristics that a run has by itself leave
//! clean changes alone.

use std::collections::BTreeMap;

use necro_host::domain::id::{Instance, Role, SpecName, TaskId};
use necro_host::domain::policy::{Pool, ReadyTask};
use necro_host::domain::review::{Change, ChangedFile, DiffLine, Finding, Hunk, LineKind, Severity};
use necro_host::domain::work::ChangeKind;
use necro_host::plugin::builtin::{self, Builtin};
use necro_host::plugin::{Engine, ExecutionError, Expectation, PluginKind};
use serde_json::Map;

use crate::fakes::{assignment, candidates, context, engine, issue};

fn task(number: u32) -> ReadyTask {
    ReadyTask {
        spec: SpecName::new("login").unwrap(),
        task: TaskId::new(number.to_string()).unwrap(),
        title: "a title".into(),
        skill: None,
        priority: 0,
        waiting_ms: 5,
        dependents: number,
        remaining_path: number,
        attempt: 1,
    }
}

fn change(role: &str, title: &str, files: Vec<ChangedFile>) -> Change {
    Change {
        spec: SpecName::new("login").unwrap(),
        task: TaskId::new("1").unwrap(),
        title: title.into(),
        text: String::new(),
        commit_title: title.into(),
        instance: format!("{role}_spirit_1"),
        role: Role::new(role).unwrap(),
        attempt: 1,
        files,
        checks: vec![],
    }
}

/// What the plugin decides over a sample, in words.
async fn decide(engine: &Engine, entry: &Builtin, settings: &str) -> Result<String, ExecutionError> {
    let plugin = engine.load(entry.name, entry.bytes, Expectation::Kind(entry.kind)).await.unwrap();
    let (context, _) = context(entry.kind);
    match entry.kind {
        PluginKind::Routing => {
            let decided = plugin.route(context, &issue(), &candidates(2), settings, "").await.result?;
            Ok(format!("{}: {}", decided.instance, decided.reason))
        }
        PluginKind::Scheduling => {
            let pools = [Pool { name: "all".into(), capacity: 2, running: 1, skills: vec![] }];
            let plan = plugin.order(context, &[task(1), task(2)], &pools, settings, "").await.result?;
            Ok(format!("{} placed", plan.placements.len()))
        }
        PluginKind::Review => {
            let file = file("src/a.rs", "", "fn a() {}\n");
            let found = plugin.review(context, &change("qa", "add a", vec![file]), settings).await.result?;
            Ok(format!("{} found", found.len()))
        }
        // The model of these tests never calls a tool, so that the loop gives up politely.
        PluginKind::Spirit => match plugin.perform(context, assignment(), settings).await.result {
            Err(ExecutionError::Failure { failure, .. }) if failure.to_string().contains("no usable tool call") => {
                Ok("asked".to_owned())
            }
            other => other.map(|report| report.title),
        },
    }
}

/// What the plugin says about a setting that it does not know.
async fn refusal(engine: &Engine, entry: &Builtin) -> String {
    match decide(engine, entry, r#"{"no-such-setting":1}"#).await {
        Err(ExecutionError::Failure { failure, .. }) => failure.to_string(),
        other => panic!("{} `{}` takes any setting: {other:?}", entry.kind, entry.name),
    }
}

#[tokio::test]
async fn every_built_in_plugin_decides_and_refuses_settings_that_it_does_not_know() {
    let engine = engine();
    for entry in builtin::ALL {
        let decided = decide(&engine, entry, "").await;
        let decided = decided.unwrap_or_else(|error| panic!("{} `{}`: {error}", entry.kind, entry.name));
        match entry.kind {
            PluginKind::Routing => assert!(decided.starts_with("backend_spirit_1: "), "{}: {decided}", entry.name),
            PluginKind::Scheduling => assert_eq!(decided, "1 placed", "{}", entry.name),
            _ => {}
        }
        let error = refusal(&engine, entry).await;
        assert!(error.contains("no-such-setting"), "{} `{}` takes any setting: {error}", entry.kind, entry.name);
    }
}

#[tokio::test]
async fn every_manifest_says_what_its_component_is_imports_and_reads() {
    let engine = engine();
    for entry in builtin::ALL {
        let plugin = engine.load(entry.name, entry.bytes, Expectation::Kind(entry.kind)).await.unwrap();
        let manifest = plugin.manifest.as_ref().unwrap_or_else(|| panic!("`{}` has no manifest", entry.name));
        assert_eq!((manifest.name.as_str(), manifest.kind), (entry.name, entry.kind));
        let wanted: Vec<&str> = manifest.wants.keys().map(|interface| interface.name()).collect();
        let mut imported: Vec<&str> = plugin.capabilities().filter(|name| !["log", "types"].contains(name)).collect();
        imported.sort_unstable();
        let mut sorted = wanted.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, imported, "`{}` wants other interfaces than it imports", entry.name);
        // What the component says about a misspelt name lists those that it reads.
        let error = refusal(&engine, entry).await;
        let expected = error.split_once("expected").map_or("", |(_, expected)| expected);
        let mut read: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        read.sort_unstable();
        let said: Vec<&str> = manifest.settings.keys().map(String::as_str).collect();
        assert_eq!(said, read, "`{}` reads other settings than its manifest says: {error}", entry.name);
        let defaults = serde_json::to_string(&manifest.settings(&Map::new()).unwrap()).unwrap();
        decide(&engine, entry, &defaults).await.unwrap_or_else(|error| panic!("`{}` {defaults}: {error}", entry.name));
    }
}

/// A file that went from one text to another; the lines that both begin and end with are context.
fn file(path: &str, old: &str, new: &str) -> ChangedFile {
    let (before, after): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let both = before[head..].iter().rev().zip(after[head..].iter().rev());
    let tail = both.take_while(|(a, b)| a == b).count();
    let line = |kind| move |text: &&str| DiffLine { kind, text: (*text).to_owned() };
    let from = head.saturating_sub(3);
    let mut lines: Vec<DiffLine> = before[from..head].iter().map(line(LineKind::Context)).collect();
    lines.extend(before[head..before.len() - tail].iter().map(line(LineKind::Removed)));
    lines.extend(after[head..after.len() - tail].iter().map(line(LineKind::Added)));
    let start = u32::try_from(from + 1).unwrap();
    ChangedFile {
        path: path.to_owned(),
        change: if old.is_empty() { ChangeKind::Added } else { ChangeKind::Modified },
        binary: false,
        size_bytes: new.len() as u64,
        hunks: vec![Hunk { old_start: start, new_start: start, lines }],
    }
}

/// The last attempt at each task of a script, as changes of the repository `origin`.
fn scripted(script: &str, origin: &std::path::Path) -> Vec<(Change, String)> {
    let script: toml::Table = toml::from_str(script).unwrap();
    let mut attempts: BTreeMap<(String, i64), Vec<&toml::Value>> = BTreeMap::new();
    for reply in script["reply"].as_array().unwrap() {
        let attempt = reply.get("attempt").and_then(toml::Value::as_integer).unwrap_or(i64::MAX);
        attempts.entry((reply["task"].as_str().unwrap().to_owned(), attempt)).or_default().push(reply);
    }
    let plan = attempts.values().flat_map(|replies| replies.iter()).flat_map(|reply| calls(reply));
    let plan = plan.filter(|call| argument(call, "path").ends_with("tasks.md")).map(|call| argument(call, "text"));
    let plan = plan.last().unwrap_or_default().to_owned();
    let last: BTreeMap<&str, &Vec<&toml::Value>> =
        attempts.iter().map(|((task, _), replies)| (task.as_str(), replies)).collect();
    let tasks = last.into_iter().filter(|(task, _)| !task.starts_with("0."));
    tasks.map(|(number, replies)| (one_task(number, replies, &plan, origin), number.to_owned())).collect()
}

fn calls<'a>(reply: &'a toml::Value) -> impl Iterator<Item = &'a toml::Value> + use<'a> {
    reply.get("call").and_then(toml::Value::as_array).into_iter().flatten()
}

fn argument<'a>(call: &'a toml::Value, name: &str) -> &'a str {
    call["arguments"].get(name).and_then(toml::Value::as_str).unwrap_or_default()
}

fn one_task(number: &str, replies: &[&toml::Value], plan: &str, origin: &std::path::Path) -> Change {
    let old = |path: &str| std::fs::read_to_string(origin.join(path)).unwrap_or_default();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut title = "";
    for call in replies.iter().flat_map(|reply| calls(reply)) {
        match call["name"].as_str().unwrap() {
            "write" => drop(texts.insert(argument(call, "path").into(), argument(call, "text").trim_start().into())),
            "edit" => {
                for edit in call["arguments"]["edits"].as_array().unwrap() {
                    let part = |name: &str| edit[name].as_str().unwrap().trim_start_matches('\n');
                    let text = texts.entry(part("path").to_owned()).or_insert_with(|| old(part("path")));
                    *text = text.replacen(part("old"), part("new"), 1);
                }
            }
            "finish" => title = argument(call, "title"),
            _ => {}
        }
    }
    let files = texts.iter().map(|(path, new)| file(path, &old(path), new)).collect();
    let head = format!("] {number}. ");
    let text = plan.split_once(&head).map_or("", |(_, rest)| rest.split("\n- [").next().unwrap_or_default());
    let role = replies[0]["role"].as_str().unwrap();
    let task = TaskId::new(number).unwrap();
    let instance = Instance::of(&Role::new(role).unwrap(), 1).to_string();
    Change { task, instance, text: text.to_owned(), ..change(role, title, files) }
}

/// What the heuristics that a run has by itself find.
async fn reviewed(engine: &Engine, change: &Change) -> Vec<Finding> {
    let mut found = Vec::new();
    for entry in builtin::ALL.iter().filter(|entry| entry.kind == PluginKind::Review && entry.is_default()) {
        let plugin = engine.load(entry.name, entry.bytes, Expectation::Any).await.unwrap();
        let (context, _) = context(PluginKind::Review);
        found.extend(plugin.review(context, change, "").await.result.unwrap());
    }
    found
}

#[tokio::test]
async fn clean_changes_give_no_finding_that_anyone_has_to_look_at() {
    let engine = engine();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (script, origin) in [
        ("host/demo/replies.toml", "host/demo/origin"),
        ("host/demo/replies.ja.toml", "host/demo/origin"),
        ("tests/fixtures/python-shop/replies.toml", "tests/fixtures/python-shop/origin"),
    ] {
        let changes = scripted(&std::fs::read_to_string(root.join(script)).unwrap(), &root.join(origin));
        assert!(changes.len() >= 4, "{script}");
        for (change, task) in changes {
            assert!(!change.files.is_empty() && !change.commit_title.is_empty(), "{script} {task}");
            let grave = reviewed(&engine, &change).await.into_iter().filter(|f| f.severity > Severity::Note);
            assert_eq!(grave.collect::<Vec<_>>(), [], "{script}, task {task}");
        }
    }
}

#[tokio::test]
async fn a_change_with_every_slip_is_found_by_each_heuristic() {
    let engine = engine();
    let binary = ChangedFile { binary: true, hunks: vec![], ..file("tool.exe", "", "x") };
    let files = vec![
        file(".kiro/specs/other/tasks.md", "a\n", "b\n"),
        file("Cargo.lock", "a\n", "b\n"),
        file("src/a.rs", "", "fn a() {\n    dbg!(1);\n}\n<<<<<<< HEAD\n"),
        file("src/b.rs", "", &"let x = 1;\n".repeat(401)),
        file("src/key.rs", "", concat!("const KEY: &str = \"gh", "p_k7Qw2ZpR9sXv4LmT8bNc3HdY6gJf5VaE1uWo\";\n")),
        file("tests/a.rs", "a\n", "#[ignore]\n"),
        binary,
    ];
    let found = reviewed(&engine, &change("backend", "wip", files)).await;
    for entry in builtin::ALL.iter().filter(|entry| entry.kind == PluginKind::Review && entry.is_default()) {
        let start = format!("{}/", entry.name);
        let told = found.iter().any(|f| f.rule.starts_with(&start) && f.severity > Severity::Note);
        assert!(told || entry.name == "missing-tests", "`{}` found nothing in {found:#?}", entry.name);
    }
}
