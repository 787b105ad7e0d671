//! What `plugin exec` is asked for: one call of one component and the fakes around it, as JSON in which
//! little has to be written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::grant::{Interface, Scope, Scopes};
use crate::domain::id::{Role, TaskId};
use crate::domain::limits::LimitSettings;
use crate::domain::work::CommandOutcome;
use crate::plugin::PluginKind;
use crate::service::error::ServiceError;

/// Bytes of a request.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Files of the temporary repository.
const MAX_FILES: usize = 2_000;
/// Model replies of a request.
const MAX_REPLIES: usize = 1_000;
/// A command that is really run is killed after this many milliseconds, unless the request says otherwise.
const COMMAND_MS: u64 = 60_000;

/// Which function of the component is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// `routing.route`
    Route,
    /// `scheduling.order`
    Order,
    /// `review.review`
    Review,
    /// `role.perform`
    Perform,
    /// `describe` of a spirit or a heuristic; of a policy, which has none, only that it is one.
    Describe,
}

impl Call {
    /// Its name in a request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Order => "order",
            Self::Review => "review",
            Self::Perform => "perform",
            Self::Describe => "describe",
        }
    }

    /// The kind of plugin that has it; none when every kind is asked.
    pub(crate) const fn kind(self) -> Option<PluginKind> {
        match self {
            Self::Route => Some(PluginKind::Routing),
            Self::Order => Some(PluginKind::Scheduling),
            Self::Review => Some(PluginKind::Review),
            Self::Perform => Some(PluginKind::Spirit),
            Self::Describe => None,
        }
    }
}

/// One call and what is around it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The component's file; a path on the command line stands in its place.
    pub component: Option<PathBuf>,
    /// What is called.
    pub call: Call,
    /// Its input in the form of the registry's records; what is left out has a default.
    #[serde(default)]
    pub input: Value,
    /// The plugin's settings; an object, unless the component has no manifest.
    #[serde(default)]
    pub settings: Value,
    /// What is granted: a list of interfaces, or an object of them with scopes as in `necro.lock`. Absent:
    /// everything that the component asks for.
    #[serde(default)]
    pub grant: Value,
    /// Limits in place of the kind's own.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Files of the repository's one commit: path, text.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What is changed in the work tree before the call: path, text, or null for a file that is removed.
    #[serde(default)]
    pub changes: BTreeMap<String, Option<String>>,
    /// What the model answers, in order.
    #[serde(default)]
    pub replies: Vec<Reply>,
    /// Commands by name.
    #[serde(default)]
    pub commands: BTreeMap<String, FakeCommand>,
    /// When the execution starts; what a spirit's clock shows.
    pub time: Option<jiff::Timestamp>,
}

/// An answer of the model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// Tools that it calls.
    pub calls: Vec<ToolUse>,
    /// Tokens in; absent: estimated.
    pub input_tokens: Option<u64>,
    /// Tokens out; absent: estimated.
    pub output_tokens: Option<u64>,
}

/// A tool call of the model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolUse {
    /// The tool.
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Value,
}

/// A command: one that is run, or one whose answers are given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FakeCommand {
    /// Program and arguments, run in the temporary repository.
    pub run: Vec<String>,
    /// What it does, for the spirit.
    pub description: String,
    /// Whether the spirit may add arguments.
    pub extra_args: bool,
    /// When it is killed.
    pub timeout_ms: u64,
    /// Answers in order, the last one again and again; nothing is run then.
    pub answers: Vec<FakeOutcome>,
}

impl Default for FakeCommand {
    fn default() -> Self {
        let (run, description, answers) = (Vec::new(), String::new(), Vec::new());
        Self { run, description, extra_args: true, timeout_ms: COMMAND_MS, answers }
    }
}

/// How a command ends that is not run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FakeOutcome {
    /// 0 when it is left out.
    pub exit_code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Killed by its time limit.
    pub timed_out: bool,
}

impl FakeOutcome {
    /// As the host gives it.
    pub(super) fn outcome(&self) -> CommandOutcome {
        CommandOutcome {
            exit_code: (!self.timed_out).then_some(self.exit_code),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            elided_bytes: 0,
            timed_out: self.timed_out,
            duration_ms: 0,
        }
    }
}

impl ExecRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] with place and reason.
    pub fn parse(text: &[u8]) -> Result<Self, ServiceError> {
        let wrong = |reason: String| ServiceError::Usage(format!("the request cannot be used: {reason}"));
        if text.len() > MAX_REQUEST_BYTES {
            return Err(wrong(format!("it has more than {MAX_REQUEST_BYTES} bytes")));
        }
        let request: Self = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        if request.files.len() + request.changes.len() > MAX_FILES {
            return Err(wrong(format!("it has more than {MAX_FILES} files")));
        }
        if request.replies.len() > MAX_REPLIES {
            return Err(wrong(format!("it has more than {MAX_REPLIES} replies")));
        }
        for (name, command) in &request.commands {
            if command.run.is_empty() == command.answers.is_empty() {
                return Err(wrong(format!("the command `{name}` needs either `run` or `answers`")));
            }
        }
        Ok(request)
    }

    /// What is granted to a component that asks for `asked`.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] names what is no interface, or no scope.
    pub(super) fn granted(&self, asked: &Scopes) -> Result<Scopes, ServiceError> {
        let wrong = |reason: String| ServiceError::Usage(format!("the request cannot be used: `grant`: {reason}"));
        match &self.grant {
            Value::Null => Ok(asked.clone()),
            Value::Array(names) => {
                // Everybody may log.
                let named = names.iter().filter(|name| **name != "log").map(|name| {
                    let interface = serde_json::from_value::<Interface>(name.clone());
                    interface.map(|interface| (interface, Scope::default())).map_err(|error| wrong(error.to_string()))
                });
                named.collect()
            }
            scopes => {
                let scopes: Scopes =
                    serde_json::from_value(scopes.clone()).map_err(|error| wrong(error.to_string()))?;
                let misplaced =
                    scopes.iter().find_map(|(interface, scope)| Some((interface, scope.misplaced(*interface)?)));
                match misplaced {
                    Some((interface, key)) => Err(wrong(format!("`{interface}` has no bound `{key}`"))),
                    None => Ok(scopes),
                }
            }
        }
    }

    /// The replies as a script, for calls of `role` on `task`.
    pub(super) fn script(&self, role: &Role, task: &TaskId) -> Result<String, ServiceError> {
        let replies: Vec<Value> =
            (1..).zip(&self.replies).map(|(turn, reply)| scripted(reply, role, task, turn)).collect();
        let script = json!({ "version": 1, "reply": replies });
        toml::to_string(&script).map_err(|error| ServiceError::Internal(format!("the replies are no script: {error}")))
    }
}

fn scripted(reply: &Reply, role: &Role, task: &TaskId, turn: u32) -> Value {
    let calls: Vec<Value> = reply
        .calls
        .iter()
        .map(|call| {
            // As text: what a model writes may hold a null, which TOML has no word for.
            let arguments = if call.arguments.is_null() { json!({}) } else { call.arguments.clone() };
            json!({ "name": call.name, "arguments_text": arguments.to_string() })
        })
        .collect();
    let mut scripted = json!({ "role": role, "task": task, "turn": turn, "text": reply.text });
    if reply.input_tokens.is_some() || reply.output_tokens.is_some() {
        let (input, output) = (reply.input_tokens.unwrap_or_default(), reply.output_tokens.unwrap_or_default());
        scripted["usage"] = json!({ "input_tokens": input, "output_tokens": output });
    }
    scripted["call"] = Value::Array(calls);
    scripted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_said_with_its_place() {
        for (text, part) in [
            ("{", "EOF"),
            ("{}", "missing field `call`"),
            (r#"{"call": "rout"}"#, "unknown variant `rout`"),
            (r#"{"call": "route", "setings": {}}"#, "unknown field `setings`"),
            (r#"{"call": "perform", "commands": {"test": {}}}"#, "the command `test` needs either `run` or `answers`"),
        ] {
            let error = ExecRequest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn replies_become_a_script_that_can_be_played() {
        let text = r#"{"call": "perform", "replies": [
            {"text": "I look.", "calls": [{"name": "read", "arguments": {"path": "a", "lines": null}}]},
            {"text": "done", "input_tokens": 7}
        ]}"#;
        let request = ExecRequest::parse(text.as_bytes()).unwrap();
        let script = request.script(&Role::new("qa").unwrap(), &TaskId::new("1").unwrap()).unwrap();
        crate::llm::scripted::Script::parse(&script, "the replies").unwrap();
        assert!(script.contains("turn = 2") && script.contains("null"), "{script}");
    }
}
