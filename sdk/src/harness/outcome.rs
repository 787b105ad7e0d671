//! What came of a call: the typed result, the calls of the host with assertions over them, files, log, usage.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::json;
use crate::{Failure, HostError, error_text};

/// What came of one call of the component.
#[derive(Debug, Clone)]
pub struct Outcome<T> {
    result: Result<T, Ended>,
    calls: Vec<Call>,
    log: Vec<LogLine>,
    usage: Usage,
    files: BTreeMap<String, String>,
    diff: String,
}

/// A call without a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The host's name for it: `failure`, `limit-exceeded`, `trapped`, `invalid-output` and others.
    pub name: String,
    /// In words.
    pub message: String,
    /// What the component itself says, when it has failed by itself.
    pub failure: Option<Failure>,
}

/// A call of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Such as `workspace.read`.
    pub function: String,
    /// What it was asked.
    pub arguments: Value,
    /// What it answered.
    pub answer: Result<Value, HostError>,
}

/// A record that the component logged, or a line that it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// trace, debug, info, warn or error.
    pub level: String,
    /// The text.
    pub message: String,
    /// Named values.
    pub fields: BTreeMap<String, String>,
}

/// What a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Fuel: instructions, roughly; the same each time.
    pub fuel: u64,
    /// The most memory that it had at once.
    pub peak_memory_bytes: u64,
    /// Calls of the host.
    pub host_calls: u64,
}

pub(super) fn calls(answer: &Value) -> Vec<Call> {
    answer["calls"].as_array().into_iter().flatten().map(call).collect()
}

fn call(call: &Value) -> Call {
    let answer = match (call["answer"].get("Ok"), call["answer"].get("Err")) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(error)) => Err(json::host_error(error).unwrap_or_else(HostError::Other)),
        (None, None) => Err(HostError::Other("it was not answered".to_owned())),
    };
    let function = call["function"].as_str().unwrap_or_default().to_owned();
    Call { function, arguments: call["arguments"].clone(), answer }
}

/// The result in a JSON outcome.
pub(super) fn result<T>(outcome: &Value, read: fn(&Value) -> Result<T, String>) -> Result<T, Ended> {
    if let Some(value) = outcome.get("ok") {
        return read(value).map_err(|message| Ended { name: "other-form".to_owned(), message, failure: None });
    }
    let text = |name: &str| outcome[name].as_str().unwrap_or_default().to_owned();
    let failure = outcome.get("failure").and_then(|failure| json::failure(failure).ok());
    Err(Ended { name: text("error"), message: text("message"), failure })
}

impl<T> Outcome<T> {
    pub(super) fn read(answer: &Value, read: fn(&Value) -> Result<T, String>) -> Self {
        let line = |line: &Value| LogLine {
            level: line["level"].as_str().unwrap_or_default().to_owned(),
            message: line["message"].as_str().unwrap_or_default().to_owned(),
            fields: strings(&line["fields"]),
        };
        let number = |name: &str| answer["usage"][name].as_u64().unwrap_or_default();
        Self {
            result: result(&answer["outcome"], read),
            calls: calls(answer),
            log: answer["log"].as_array().into_iter().flatten().map(line).collect(),
            usage: Usage {
                fuel: number("fuel"),
                peak_memory_bytes: number("peak_memory_bytes"),
                host_calls: number("host_calls"),
            },
            files: strings(&answer["files"]),
            diff: answer["diff"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// The result.
    ///
    /// # Panics
    /// When there is none: with its reason and everything that the component did.
    #[track_caller]
    pub fn result(&self) -> &T {
        match &self.result {
            Ok(result) => result,
            Err(ended) => panic!("{}: {}\n{}", ended.name, ended.message, self.story()),
        }
    }

    /// The result, or why there is none.
    ///
    /// # Errors
    /// [`Ended`].
    pub const fn as_result(&self) -> Result<&T, &Ended> {
        self.result.as_ref()
    }

    /// Why there is no result.
    ///
    /// # Panics
    /// When there is one.
    #[track_caller]
    pub fn error(&self) -> &Ended {
        match &self.result {
            Ok(_) => panic!("it ended well\n{}", self.story()),
            Err(ended) => ended,
        }
    }

    /// How the component itself says that it failed.
    ///
    /// # Panics
    /// When it ended well, or in another way.
    #[track_caller]
    pub fn failure(&self) -> &Failure {
        let ended = self.error();
        match &ended.failure {
            Some(failure) => failure,
            None => panic!("it did not fail by itself: {}: {}\n{}", ended.name, ended.message, self.story()),
        }
    }

    /// Calls of the host, in order.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Calls of one function, in order.
    pub fn calls_of<'a>(&'a self, function: &'a str) -> impl Iterator<Item = &'a Call> {
        self.calls.iter().filter(move |call| call.function == function)
    }

    /// It called `function`, such as `workspace.read`.
    #[track_caller]
    pub fn assert_called(&self, function: &str) {
        assert!(self.calls_of(function).next().is_some(), "`{function}` was not called\n{}", self.story());
    }

    /// It called `function` with arguments that hold these: `json!({ "path": "a.rs" })`.
    #[track_caller]
    pub fn assert_called_with(&self, function: &str, arguments: &Value) {
        let found = self.calls_of(function).any(|call| holds(&call.arguments, arguments));
        assert!(found, "`{function}` was not called with {arguments}\n{}", self.story());
    }

    /// It called `function` so often.
    #[track_caller]
    pub fn assert_called_times(&self, function: &str, times: usize) {
        let count = self.calls_of(function).count();
        assert_eq!(count, times, "calls of `{function}`\n{}", self.story());
    }

    /// It did not call `function`.
    #[track_caller]
    pub fn assert_not_called(&self, function: &str) {
        assert!(self.calls_of(function).next().is_none(), "`{function}` was called\n{}", self.story());
    }

    /// It called nothing of the host.
    #[track_caller]
    pub fn assert_no_calls(&self) {
        assert!(self.calls.is_empty(), "the host was called\n{}", self.story());
    }

    /// What it logged or printed, in order.
    #[must_use]
    pub fn log(&self) -> &[LogLine] {
        &self.log
    }

    /// Text files of the work tree after the call.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// Text of one of them.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// How they differ from the commit, as a unified diff.
    #[must_use]
    pub fn diff(&self) -> &str {
        &self.diff
    }

    /// What the call used.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Everything that the component did, for people.
    fn story(&self) -> String {
        let mut text = String::from("calls:\n");
        for call in &self.calls {
            let answer = match &call.answer {
                Ok(_) => "done".to_owned(),
                Err(error) => error_text(error),
            };
            let _ = writeln!(text, "  {} {}: {answer}", call.function, call.arguments);
        }
        text.push_str("log:\n");
        for line in &self.log {
            let _ = writeln!(text, "  {} {}", line.level, line.message);
        }
        text
    }
}

fn strings(object: &Value) -> BTreeMap<String, String> {
    let fields = object.as_object().into_iter().flatten();
    fields.map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().to_owned())).collect()
}

/// Whether `value` has everything that `wanted` has.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| value.get(key).is_some_and(|value| holds(value, wanted)))
        }
        (value, wanted) => value == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(outcome: Value) -> Outcome<String> {
        let calls = json!([
            { "function": "workspace.read", "arguments": { "path": "a", "lines": null }, "answer": { "Ok": "text" } },
            { "function": "llm.complete", "arguments": {}, "answer": { "Err": { "error": "denied", "message": "no" } } },
        ]);
        let read = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| "no text".to_owned());
        Outcome::read(&json!({ "outcome": outcome, "calls": calls, "usage": { "fuel": 7 } }), read)
    }

    #[test]
    fn assertions_hold_for_what_was_called_and_for_nothing_else() {
        let good = outcome(json!({ "ok": "done" }));
        assert_eq!((good.result().as_str(), good.usage().fuel), ("done", 7));
        good.assert_called("workspace.read");
        good.assert_called_with("workspace.read", &json!({ "path": "a" }));
        good.assert_called_times("llm.complete", 1);
        good.assert_not_called("command.run");
        assert_eq!(good.calls()[1].answer, Err(HostError::Denied("no".to_owned())));
        for wrong in [
            |outcome: &Outcome<String>| outcome.assert_called("command.run"),
            |outcome: &Outcome<String>| outcome.assert_called_with("workspace.read", &json!({ "path": "b" })),
            |outcome: &Outcome<String>| outcome.assert_not_called("workspace.read"),
            |outcome: &Outcome<String>| outcome.assert_no_calls(),
            |outcome: &Outcome<String>| drop(outcome.error().name.clone()),
        ] {
            let good = good.clone();
            assert!(std::panic::catch_unwind(move || wrong(&good)).is_err());
        }
    }

    #[test]
    fn a_failure_of_the_component_is_told_from_other_ends() {
        let failed = outcome(json!({
            "error": "failure", "message": "routing `x` failed", "failure": { "failure": "gave-up", "detail": "late" },
        }));
        assert_eq!(failed.failure(), &Failure::GaveUp("late".to_owned()));
        let trapped = outcome(json!({ "error": "trapped", "message": "unreachable" }));
        assert_eq!((trapped.error().name.as_str(), &trapped.error().failure), ("trapped", &None));
    }
}
