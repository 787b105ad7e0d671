//! Selection by position, refusals of unclear scripts, and barriers.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::llm::{ResponseFormat, ToolChoice};

fn request() -> Request {
    Request {
        model: "scripted".to_owned(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        response_format: ResponseFormat::Text,
        max_output_tokens: None,
    }
}

fn at(role: &str, task: &str, attempt: u32, turn: u32) -> CallPosition {
    CallPosition { role: Role::new(role).unwrap(), task: TaskId::new(task).unwrap(), attempt, turn }
}

fn reply(role: &str, task: &str, turn: u32, rest: &str) -> String {
    format!("[[reply]]\nrole = \"{role}\"\ntask = \"{task}\"\nturn = {turn}\n{rest}\n")
}

fn parse(replies: &[String]) -> Result<Script, ScriptError> {
    Script::parse(&format!("version = 1\n{}", replies.concat()), "demo.toml")
}

fn with_sources(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(|error| format!("{error} ")).collect()
}

#[test]
fn replies_are_chosen_by_role_task_attempt_and_turn() {
    let script = parse(&[
        reply("backend", "1.1", 1, "text = \"any attempt\""),
        reply("backend", "1.1", 2, "attempt = 1\ntext = \"first\""),
        reply("backend", "1.1", 2, "attempt = 2\ntext = \"second\""),
        reply("qa", "1.1", 1, "text = \"other role\""),
        reply("backend", "1.2", 1, "text = \"other task\""),
    ])
    .unwrap();
    for (position, text) in [
        (at("backend", "1.1", 1, 1), Some("any attempt")),
        (at("backend", "1.1", 7, 1), Some("any attempt")),
        (at("backend", "1.1", 1, 2), Some("first")),
        (at("backend", "1.1", 2, 2), Some("second")),
        (at("backend", "1.1", 3, 2), None),
        (at("backend", "1.1", 1, 3), None),
        (at("qa", "1.1", 1, 1), Some("other role")),
        (at("backend", "1.2", 1, 1), Some("other task")),
        (at("frontend", "1.1", 1, 1), None),
    ] {
        let found = script.reply(&position, &request());
        assert_eq!(found.ok().map(|completion| completion.text).as_deref(), text, "{position}");
    }
    let error = script.reply(&at("backend", "1.1", 3, 2), &request()).unwrap_err().to_string();
    assert_eq!(error, "demo.toml has no reply for role backend, task 1.1, attempt 3, turn 2; add a [[reply]] for it");
}

#[test]
fn calls_have_deterministic_ids_and_may_be_malformed_on_purpose() {
    let calls = "usage = { input_tokens = 900, output_tokens = 120 }\n\
        [[reply.call]]\nname = \"write\"\narguments = { path = \"a.rs\", text = '''x\n''' }\n\
        [[reply.call]]\nname = \"read\"\narguments_text = \"{not json\"\n";
    let script = parse(&[reply("backend", "1.1", 3, calls)]).unwrap();
    let completion = script.reply(&at("backend", "1.1", 1, 3), &request()).unwrap();
    let calls: Vec<(&str, &str, &str)> =
        completion.tool_calls.iter().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
    let write = "{\"path\":\"a.rs\",\"text\":\"x\\n\"}";
    assert_eq!(calls, [("call_3_1", "write", write), ("call_3_2", "read", "{not json")]);
    assert_eq!(completion.finish_reason, FinishReason::ToolCalls);
    assert_eq!(
        completion.usage,
        Usage { input_tokens: 900, cached_input_tokens: 0, output_tokens: 120, estimated: false }
    );
}

#[test]
fn usage_is_estimated_when_the_script_gives_none() {
    let script = parse(&[reply("backend", "1.1", 1, "text = \"abcdef\"")]).unwrap();
    let usage = script.reply(&at("backend", "1.1", 1, 1), &request()).unwrap().usage;
    assert!(usage.estimated && usage.output_tokens == 2, "{usage:?}");
}

#[test]
fn unclear_scripts_are_refused_by_name() {
    let call = |rest: &str| vec![reply("backend", "1.1", 1, &format!("[[reply.call]]\nname = \"x\"\n{rest}"))];
    for (replies, part) in [
        (vec![reply("backend", "1.1", 0, "")], "reply 1 counts turn or attempt from 0"),
        (vec![reply("backend", "1.1", 1, "attempt = 0")], "reply 1 counts turn or attempt from 0"),
        (vec![reply("backend", "1.1", 1, "colour = \"red\"")], "unknown field `colour`"),
        (vec![reply("Backend!", "1.1", 1, "")], "only a-z"),
        (vec![reply("backend", "one", 1, "")], "task id"),
        (
            vec![reply("backend", "1.1", 1, ""), reply("backend", "1.1", 1, "attempt = 2")],
            "replies 1 and 2 both answer",
        ),
        (vec![reply("backend", "1.1", 1, "barrier = \"b\"")], "barrier_size"),
        (vec![reply("backend", "1.1", 1, "barrier = \"b\"\nbarrier_size = 0")], "barrier_size"),
        (
            vec![
                reply("backend", "1.1", 1, "barrier = \"b\"\nbarrier_size = 1"),
                reply("backend", "1.2", 1, "barrier = \"b\"\nbarrier_size = 1"),
            ],
            "reply 2 disagrees",
        ),
        (call(""), "either `arguments` or `arguments_text`"),
        (call("arguments = {}\narguments_text = \"\""), "either `arguments` or `arguments_text`"),
        (
            vec![reply(
                "backend",
                "1.1",
                1,
                "usage = { input_tokens = 1, cached_input_tokens = 2, output_tokens = 1 }",
            )],
            "more cached input tokens",
        ),
    ] {
        let error = with_sources(&parse(&replies).unwrap_err());
        assert!(error.contains(part) && error.contains("demo.toml"), "{part}: {error}");
    }
    let error = Script::parse("version = 2", "demo.toml").unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
    assert!(matches!(Script::load(Path::new("/nowhere/x.toml")), Err(ScriptError::Read { .. })));
}

fn barrier_backend() -> Arc<ScriptedBackend> {
    let barrier = "barrier = \"both\"\nbarrier_size = 2";
    let script = parse(&[reply("backend", "1.1", 1, barrier), reply("frontend", "1.2", 1, barrier)]).unwrap();
    Arc::new(ScriptedBackend::new(script))
}

fn call(position: CallPosition) -> BackendCall {
    BackendCall { request: request(), position }
}

#[tokio::test(start_paused = true)]
async fn replies_of_a_barrier_wait_for_each_other() {
    let backend = barrier_backend();
    let start = tokio::time::Instant::now();
    let first = tokio::spawn({
        let backend = Arc::clone(&backend);
        async move { backend.complete(call(at("backend", "1.1", 1, 1))).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!first.is_finished());
    backend.complete(call(at("frontend", "1.2", 1, 1))).await.unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_barrier_never_hangs_and_counts_a_repeated_reply_once() {
    let backend = barrier_backend();
    let start = tokio::time::Instant::now();
    for _ in 0..2 {
        backend.complete(call(at("backend", "1.1", 1, 1))).await.unwrap();
    }
    assert_eq!(start.elapsed(), BARRIER_WAIT * 2);
    backend.complete(call(at("frontend", "1.2", 1, 1))).await.unwrap();
    assert_eq!(start.elapsed(), BARRIER_WAIT * 2);
}
