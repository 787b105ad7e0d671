//! Runs with a model behind HTTP: both dialects, and a key that is nowhere afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use necro_host::domain::event::Body;
use necro_host::domain::task::TaskState;
use necro_host::llm::scripted::Script;
use necro_host::registry::{ExecutionFilter, Reader};

use crate::branches::landing_adds_one_branch_and_changes_nothing;
use crate::llm_server::{Answer, LlmServer};
use crate::replies::Replies;
use crate::world::{Finished, SETTINGS, SIDE_BY_SIDE, World, files_below, finish, git, has, picture};

/// A key as providers make them; it is nobody's.
const KEY: &str = concat!("sk", "-test-5f3a9c0e7b1d48a2b6c4e8f0a1d3c5e7");

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/fixtures/python-shop")
}

/// Plays the shop's job through a server that speaks `dialect`.
fn play(dialect: &str, log: &str) -> (World, Finished) {
    let world = World::of_fixture(&fixture().join("origin"));
    let before = picture(&world.repository());
    let server = LlmServer::scripted(Some(KEY), Script::load(&fixture().join("replies.toml")).unwrap());
    let job = world.file("job.md", &fs::read_to_string(fixture().join("job.md")).unwrap());
    let llm = format!("{dialect}:m");
    let mut command =
        world.command("run", &[&job, "--json", "--llm", &llm, "--base-url", server.base_url(), "--log", log]);
    let finished = finish(command.env("OPENAI_API_KEY", KEY));
    server.assert_clean();
    assert!(server.recorded().len() > 20, "the server was hardly asked");
    assert!(picture(&world.repository()) == before, "the run changed the user's repository");
    (world, finished)
}

fn found(bytes: &[u8]) -> bool {
    bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes())
}

/// The key is in no file of the run, not in what the registry answers, and not in any git object.
fn the_key_is_nowhere(world: &World, finished: &Finished) {
    assert!(!found(finished.stdout.as_bytes()) && !found(finished.stderr.as_bytes()), "the key was printed");
    for folder in [world.state(), world.path("tmp"), world.repository()] {
        for path in files_below(&folder) {
            let full = folder.join(&path);
            let bytes = if full.is_file() { fs::read(&full).unwrap() } else { Vec::new() };
            assert!(!found(&bytes), "the key is in {}", full.display());
        }
    }
    let records = world.records();
    let answered = serde_json::to_string(&records.events()).unwrap() + &journals(&records.reader);
    assert!(answered.contains("llm") && !found(answered.as_bytes()), "the key is in the registry");
    let objects = git(&world.mirror(), &["cat-file", "--batch-all-objects", "--batch=%(objectname)", "--buffer"]);
    assert!(objects.contains("Price lists") && !found(objects.as_bytes()), "the key is in the mirror");
}

/// Every execution and call that was recorded.
fn journals(reader: &Reader) -> String {
    let mut text = String::new();
    for execution in reader.executions(&ExecutionFilter::default()).unwrap() {
        text.push_str(&serde_json::to_string(&execution).unwrap());
        text.push_str(&serde_json::to_string(&reader.calls(&execution.id).unwrap()).unwrap());
    }
    text
}

fn a_run_through_http(dialect: &str, log: &str) {
    if !has("python3", "the shop's gate") {
        return;
    }
    let (world, finished) = play(dialect, log);
    let summary = finished.done();
    assert_eq!((&summary["tasks"]["done"], &summary["attempts"]), (&4.into(), &7.into()), "{summary}");
    assert!(summary["cost"]["input_tokens"].as_u64().unwrap() > 10_000, "{summary}");
    assert_eq!(summary["scripted"], false);
    let logged = finished.stderr.contains("TRACE") || finished.stderr.contains("DEBUG");
    assert_eq!(logged, log == "trace", "{}", finished.stderr);
    the_key_is_nowhere(&world, &finished);
    world.records().assert_sound();
    let (spec, commit) = (summary["spec"].as_str().unwrap(), summary["commit"].as_str().unwrap());
    landing_adds_one_branch_and_changes_nothing(&world, spec, commit);
}

#[test]
fn a_run_speaks_chat_and_the_key_is_nowhere() {
    a_run_through_http("chat", "trace");
}

#[test]
fn a_run_speaks_responses_and_the_key_is_nowhere() {
    a_run_through_http("responses", "warn");
}

#[test]
fn without_a_key_nothing_begins() {
    let world = World::new(&[("README.md", "A shop\n")]);
    let job = world.file("job.md", "# Sell tea\n");
    let finished = finish(&mut world.command("run", &[&job]));
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stderr.contains("OPENAI_API_KEY"), "{finished:#?}");
    assert_eq!(files_below(&world.state()), Vec::<PathBuf>::new());
}

/// Two tasks that could be done at the same time.
fn two_tasks(settings: &str) -> World {
    let plan = format!(
        "# Plan\n\n- [ ] 1. Buy tea\n  - _Skill: backend_\n- [ ] 2. Buy cups\n  - _Skill: backend_\n{SIDE_BY_SIDE}"
    );
    World::new(&[("necro.toml", &format!("{SETTINGS}{settings}")), (".kiro/specs/shop/tasks.md", &plan)])
}

/// The run ended with `code` and said `part`; both tasks wait, and none was tried in vain.
fn assert_nothing_failed(world: &World, finished: &Finished, code: i32, part: &str) {
    assert_eq!(finished.code, Some(code), "{finished:#?}");
    assert!(finished.stderr.contains(part), "{finished:#?}");
    assert!(!finished.stderr.contains("interrupt again"), "nobody has interrupted it: {finished:#?}");
    let summary = finished.json();
    assert_eq!((&summary["outcome"], &summary["tasks"]["failed"]), (&"interrupted".into(), &0.into()), "{summary}");
    let records = world.records();
    // One was refused, and the other was suspended with the run or not yet begun.
    let waits = |task: &&str| matches!(records.task(task).state, TaskState::Ready | TaskState::Running);
    assert!(["1", "2"].iter().all(waits));
    assert!(!records.events().iter().any(|event| matches!(event.body, Body::TaskFailed { .. })));
    records.assert_suspended();
}

#[test]
fn a_key_that_is_refused_ends_the_run_and_fails_no_task() {
    let world = two_tasks("");
    let server =
        LlmServer::start(Some(KEY), |_, _| Answer::Json(401, serde_json::json!({"error": {"message": "who?"}})));
    let args = ["--spec", "shop", "--json", "--llm", "chat:m", "--base-url", server.base_url()];
    let finished = finish(world.command("run", &args).env("OPENAI_API_KEY", KEY));
    assert_nothing_failed(&world, &finished, 3, "check the API key");

    let script = Replies::default()
        .writes("backend", "1", None, "tea.txt", "green\n")
        .writes("backend", "2", None, "cups.txt", "two\n");
    assert_eq!(world.run(&script.text(), &["--spec", "shop"]).done()["tasks"]["done"], 2);
}

#[test]
fn a_budget_that_is_used_up_ends_the_run_and_fails_no_task() {
    let world = two_tasks("\n[budget]\ntokens = 10\n");
    let script = Replies::default().writes("backend", "1", None, "tea.txt", "green\n");
    let finished = world.run(&script.text(), &["--spec", "shop"]);
    assert_nothing_failed(&world, &finished, 1, "raise `budget.tokens` to go on");
}
