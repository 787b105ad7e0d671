//! The tools on offer and the strict reading of calls: what does not fit is answered in words and
//! never done with guessed arguments.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::bounds::shorten;
use crate::host::llm::{Tool, ToolCall};
use crate::spirit::{NamedCommand, Report};

/// Characters of a report's title: it becomes part of a commit's subject line.
const MAX_TITLE_CHARS: usize = 120;
/// Characters of what could not be read that are repeated to the model.
const MAX_MISTAKE_CHARS: usize = 300;

/// The tools of one attempt, always in the same order.
#[derive(Debug)]
pub struct Toolbox {
    tools: Vec<Tool>,
}

/// A call that was understood.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    List(List),
    Read(Read),
    Search(Search),
    Write(Write),
    Edit(Edits),
    Remove(Remove),
    Run(Run),
    Finish(Report),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) path: Option<String>,
    pub(super) recursive: Option<bool>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    pub(super) path: String,
    pub(super) start: Option<u32>,
    pub(super) count: Option<u32>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    pub(super) pattern: String,
    pub(super) regex: Option<bool>,
    pub(super) glob: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    pub(super) path: String,
    pub(super) text: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edits {
    pub(super) edits: Vec<Edit>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    pub(super) path: String,
    pub(super) old: String,
    pub(super) new: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    pub(super) path: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) command: String,
    pub(super) args: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    title: String,
    summary: String,
}

impl Toolbox {
    /// The tools for an attempt that may run these commands; without any, `run` is not offered.
    pub fn for_commands(commands: &[NamedCommand]) -> Self {
        let path = json!({"type": "string", "description": "path from the root of the work tree, with /"});
        let mut tools = vec![
            tool(
                "list",
                "List a directory, the root if `path` is left out; with `recursive`, everything that git does not ignore.",
                json!({"path": path, "recursive": {"type": "boolean"}}),
                &[],
            ),
            tool(
                "read",
                "Read a text file, or `count` lines of it from line `start` (from 1).",
                json!({
                    "path": path,
                    "start": {"type": "integer", "minimum": 1},
                    "count": {"type": "integer", "minimum": 1}
                }),
                &["path"],
            ),
            tool(
                "search",
                "Find lines that contain `pattern`, or match it when `regex` is true, in files that match `glob`.",
                json!({
                    "pattern": {"type": "string"},
                    "regex": {"type": "boolean"},
                    "glob": {"type": "string", "description": "such as src/**/*.rs"}
                }),
                &["pattern"],
            ),
            tool(
                "write",
                "Write a whole file, new or in place of the old one. Folders are made.",
                json!({"path": path, "text": {"type": "string"}}),
                &["path", "text"],
            ),
            tool(
                "edit",
                "Replace text in files, all edits or none. Each `old` must occur exactly once in its file.",
                json!({"edits": {"type": "array", "minItems": 1, "items": {
                    "type": "object",
                    "properties": {"path": path, "old": {"type": "string"}, "new": {"type": "string"}},
                    "required": ["path", "old", "new"],
                    "additionalProperties": false
                }}}),
                &["edits"],
            ),
            tool("remove", "Remove a file.", json!({"path": path}), &["path"]),
        ];
        if !commands.is_empty() {
            let names: Vec<&str> = commands.iter().map(|c| c.name.as_str()).collect();
            tools.push(tool(
                "run",
                "Run one of the project's commands in the work tree, with further arguments where it allows them.",
                json!({
                    "command": {"type": "string", "enum": names},
                    "args": {"type": "array", "items": {"type": "string"}}
                }),
                &["command"],
            ));
        }
        tools.push(tool(
            "finish",
            "The work is done. `title`: one line that says what the change does, as in a commit subject. \
             `summary`: what was done and what those who build on it must know.",
            json!({"title": {"type": "string"}, "summary": {"type": "string"}}),
            &["title", "summary"],
        ));
        Self { tools }
    }

    /// The tools as the model is told of them.
    pub fn offered(&self) -> Vec<Tool> {
        self.tools.clone()
    }

    /// The action that a call asks for, or what is wrong with it, as the reply to the call.
    pub(super) fn read(&self, call: &ToolCall) -> Result<Action, String> {
        if !self.tools.iter().any(|tool| tool.name == call.name) {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
            let asked = shorten(&call.name, MAX_MISTAKE_CHARS);
            return Err(format!("Not done: there is no tool `{asked}`. The tools are: {}.", names.join(", ")));
        }
        match call.name.as_str() {
            "list" => arguments(call).map(Action::List),
            "read" => arguments(call).and_then(check_read).map(Action::Read),
            "search" => arguments(call).and_then(check_search).map(Action::Search),
            "write" => arguments(call).map(Action::Write),
            "edit" => arguments(call).and_then(check_edits).map(Action::Edit),
            "remove" => arguments(call).map(Action::Remove),
            "run" => arguments(call).map(Action::Run),
            _ => arguments(call).and_then(check_finish).map(Action::Finish),
        }
    }
}

fn tool(name: &str, description: &str, properties: Value, required: &[&str]) -> Tool {
    let schema =
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    Tool { name: name.to_owned(), description: description.to_owned(), parameters: schema.to_string() }
}

/// Arguments of a call as `T`.
fn arguments<T: DeserializeOwned>(call: &ToolCall) -> Result<T, String> {
    // Servers send empty text for a call without arguments.
    let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let name = &call.name;
    match serde_json::from_str::<Value>(text) {
        Err(error) => {
            let written = shorten(text, MAX_MISTAKE_CHARS);
            Err(format!("Not done: the arguments of `{name}` are not JSON: {error}. They were: {written}"))
        }
        Ok(Value::Object(_)) => {
            // From the text once more: a `Value` hides an argument that is given twice.
            serde_json::from_str(text).map_err(|error| {
                format!("Not done: the arguments of `{name}`: {}.", shorten(&error.to_string(), MAX_MISTAKE_CHARS))
            })
        }
        Ok(_) => Err(format!("Not done: the arguments of `{name}` must be one JSON object.")),
    }
}

fn check_read(read: Read) -> Result<Read, String> {
    if read.start == Some(0) || read.count == Some(0) {
        return Err("Not done: `start` and `count` of `read` begin at 1.".to_owned());
    }
    Ok(read)
}

fn check_search(search: Search) -> Result<Search, String> {
    if search.pattern.is_empty() {
        return Err("Not done: the `pattern` of `search` is empty.".to_owned());
    }
    Ok(search)
}

fn check_edits(edits: Edits) -> Result<Edits, String> {
    if edits.edits.is_empty() {
        return Err("Not done: `edit` has no edits.".to_owned());
    }
    for (position, edit) in edits.edits.iter().enumerate() {
        let number = position + 1;
        if edit.old.is_empty() {
            return Err(format!("Not done: `old` of edit {number} is empty; use `write` for a new file."));
        }
        if edit.old == edit.new {
            return Err(format!("Not done: `old` and `new` of edit {number} are the same."));
        }
    }
    Ok(edits)
}

fn check_finish(finish: Finish) -> Result<Report, String> {
    let title = finish.title.trim();
    let summary = finish.summary.trim();
    if title.is_empty() || summary.is_empty() {
        return Err("Not finished: `title` and `summary` must both say something.".to_owned());
    }
    if title.chars().any(char::is_control) || title.chars().count() > MAX_TITLE_CHARS {
        return Err(format!("Not finished: `title` must be one line of at most {MAX_TITLE_CHARS} characters."));
    }
    Ok(Report { title: title.to_owned(), summary: summary.to_owned() })
}
