//! One host call in words: what was asked, and what came of it.

use serde_json::Value;

use crate::cli::words;
use crate::domain::call::Function;
use crate::domain::work::CommandOutcome;
use crate::registry::CallRecord;

/// Texts of models and guests are cut to this many characters.
const MAX_CHARS: usize = 200;

/// A call in one line; `turn` is the number of model calls so far.
pub(super) fn words(call: &CallRecord, turn: u32) -> String {
    let asked = asked(call.function, &call.arguments, turn);
    let Some(answer) = &call.answer else { return format!("{asked} → no answer was recorded") };
    if let Some(error) = answer.get("Err") {
        let text = error.get("message").and_then(Value::as_str).unwrap_or("it failed");
        let kind = error.get("error").and_then(Value::as_str).unwrap_or("error");
        return format!("{asked} → {kind}: {}", cut(text));
    }
    let came = came(call, answer.get("Ok").unwrap_or(answer));
    if came.is_empty() { asked } else { format!("{asked} → {came}") }
}

fn asked(function: Function, arguments: &Value, turn: u32) -> String {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    match function {
        Function::LlmComplete => format!("asks {} (turn {turn})", text("model")),
        Function::WorkspaceRead => match arguments.pointer("/lines/start").and_then(Value::as_u64) {
            Some(start) => format!("reads {} from line {start}", text("path")),
            None => format!("reads {}", text("path")),
        },
        Function::WorkspaceList => match text("path").as_str() {
            "" | "." => "lists the work tree".to_owned(),
            path => format!("lists {path}"),
        },
        Function::WorkspaceSearch => format!("searches for `{}`", cut(&text("pattern"))),
        Function::WorkspaceStatus => "looks at what has changed".to_owned(),
        Function::WorkspaceDiff => "looks at its diff".to_owned(),
        Function::WorkspaceWrite => format!("writes {}", text("path")),
        Function::WorkspaceApply => format!("edits {}", edited(arguments)),
        Function::WorkspaceRemove => format!("removes {}", text("path")),
        Function::CommandRun => {
            let args: Vec<&str> = list(arguments, "args").iter().filter_map(Value::as_str).collect();
            format!("runs {}", std::iter::once(text("name").as_str()).chain(args).collect::<Vec<_>>().join(" "))
        }
        Function::RegistryTask => format!("looks at task {}", text("id")),
        Function::RegistrySpecDocument => format!("reads the spec's {}", text("kind")),
        Function::RegistryDependencyReports => "reads reports of the tasks it builds on".to_owned(),
        Function::RegistryEvents => "reads events".to_owned(),
        Function::RegistryNote => format!("notes: {}", cut(&text("text"))),
        Function::MailboxSend => {
            let to = arguments.pointer("/message/agent_instance").and_then(Value::as_str).unwrap_or("?");
            format!("sends a message to {to}")
        }
        Function::MailboxReceive => "looks for messages".to_owned(),
        Function::LockAcquire => format!("takes the lock {}", text("name")),
        Function::LockRelease => "gives a lock back".to_owned(),
        Function::ArtifactGet => format!("gets {}", text("uri")),
        Function::ArtifactPut => format!("stores the artifact {}", text("name")),
        Function::LogEmit => format!("{}: {}", text("level"), cut(&text("message"))),
    }
}

fn came(call: &CallRecord, value: &Value) -> String {
    let number = |path: &str| value.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let many = |one: &str| words::count(value.as_array().map_or(0, Vec::len), one);
    match call.function {
        Function::LlmComplete => {
            let tools: Vec<&str> =
                list(value, "tool_calls").iter().filter_map(|call| call.get("name")?.as_str()).collect();
            let said = value.get("text").and_then(Value::as_str).unwrap_or_default().trim();
            let answer = match (tools.is_empty(), said.is_empty()) {
                (false, true) => tools.join(", "),
                (false, false) => format!("{}: {}", tools.join(", "), cut(said)),
                (true, false) => cut(said),
                (true, true) => "nothing".to_owned(),
            };
            format!("{answer}  [{} in, {} out]", call.cost.input_tokens, call.cost.output_tokens)
        }
        Function::WorkspaceRead => words::count(usize::try_from(number("/total_lines")).unwrap_or(0), "line"),
        Function::WorkspaceList => many("entry").replace("entrys", "entries"),
        Function::WorkspaceSearch => many("hit"),
        Function::WorkspaceStatus => many("file"),
        Function::RegistryDependencyReports => many("report"),
        Function::RegistryEvents => many("event"),
        Function::CommandRun => match serde_json::from_value::<CommandOutcome>(value.clone()) {
            Ok(outcome) => ended(&outcome),
            Err(_) => String::new(),
        },
        Function::MailboxReceive => {
            words::count(value.get("value").and_then(Value::as_array).map_or(0, Vec::len), "message")
        }
        _ => String::new(),
    }
}

fn ended(outcome: &CommandOutcome) -> String {
    let how = match outcome.exit_code {
        _ if outcome.timed_out => "killed by its time limit".to_owned(),
        Some(0) => "passed".to_owned(),
        Some(code) => format!("exit code {code}"),
        None => "killed".to_owned(),
    };
    format!("{how} after {}", words::took(outcome.duration_ms))
}

fn edited(arguments: &Value) -> String {
    let mut paths: Vec<&str> = list(arguments, "edits").iter().filter_map(|edit| edit.get("path")?.as_str()).collect();
    paths.dedup();
    paths.join(", ")
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn cut(text: &str) -> String {
    let mut out: String = text.chars().take(MAX_CHARS).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::call::Cost;
    use crate::domain::id::Digest;

    fn call(function: Function, arguments: Value, answer: Option<Value>) -> CallRecord {
        let at = "2026-11-22T10:00:00Z".parse().unwrap();
        let cost = Cost { input_tokens: 900, output_tokens: 8, ..Cost::default() };
        let digest = Digest::new("0".repeat(64)).unwrap();
        CallRecord {
            sequence: 1,
            function,
            digest,
            arguments,
            effect: None,
            at,
            answer,
            answered_at: None,
            cost,
            tries: 1,
        }
    }

    #[test]
    fn each_call_says_what_was_asked_and_what_came_of_it() {
        let command = json!({ "Ok": { "exit_code": 101, "stdout": "", "stderr": "", "elided_bytes": 0,
            "timed_out": false, "duration_ms": 1250 } });
        let completion =
            json!({ "Ok": { "text": "", "tool_calls": [{ "id": "1", "name": "write", "arguments": "{}" }] } });
        let table = [
            (
                Function::CommandRun,
                json!({ "name": "test", "args": ["-q"] }),
                Some(command),
                "runs test -q → exit code 101 after 1.2 s",
            ),
            (
                Function::LlmComplete,
                json!({ "model": "default" }),
                Some(completion),
                "asks default (turn 3) → write  [900 in, 8 out]",
            ),
            (
                Function::WorkspaceRead,
                json!({ "path": "a.rs", "lines": null }),
                Some(json!({ "Ok": { "total_lines": 1 } })),
                "reads a.rs → 1 line",
            ),
            (
                Function::WorkspaceRead,
                json!({ "path": "b.rs" }),
                Some(json!({ "Err": { "error": "not-found", "message": "there is no b.rs" } })),
                "reads b.rs → not-found: there is no b.rs",
            ),
            (Function::WorkspaceWrite, json!({ "path": "c.rs" }), None, "writes c.rs → no answer was recorded"),
            (
                Function::WorkspaceList,
                json!({ "path": "" }),
                Some(json!({ "Ok": [1, 2] })),
                "lists the work tree → 2 entries",
            ),
        ];
        for (function, arguments, answer, expected) in table {
            assert_eq!(words(&call(function, arguments, answer), 3), expected);
        }
    }

    #[test]
    fn no_record_however_strange_is_without_words() {
        for function in Function::ALL {
            for answer in [None, Some(json!(null)), Some(json!({ "Ok": 7 })), Some(json!({ "Err": [] }))] {
                assert!(!words(&call(*function, json!([]), answer), 1).is_empty());
            }
        }
    }
}
