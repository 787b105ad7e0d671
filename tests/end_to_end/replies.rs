//! Scripts of what a model says, written in Rust: an attempt is a list of turns, a turn a list of calls.

use serde_json::{Value, json};

/// A call of the tool `write`.
pub(crate) fn write(path: &str, text: &str) -> Value {
    json!({ "name": "write", "arguments": { "path": path, "text": text } })
}

/// A call of the tool `run`.
pub(crate) fn command(name: &str) -> Value {
    json!({ "name": "run", "arguments": { "command": name } })
}

/// A call of the tool `finish`.
pub(crate) fn finish(title: &str) -> Value {
    json!({ "name": "finish", "arguments": { "title": title, "summary": format!("{title}: done.") } })
}

/// A script in the making.
#[derive(Default)]
pub(crate) struct Replies(Vec<Value>);

impl Replies {
    /// An attempt at a task: one reply for each turn. Without a number: any attempt.
    pub(crate) fn attempt(mut self, role: &str, task: &str, attempt: Option<u32>, turns: &[&[Value]]) -> Self {
        for (turn, calls) in (1..).zip(turns) {
            let mut reply = json!({ "role": role, "task": task, "turn": turn, "text": "I go on.", "call": calls });
            if let Some(attempt) = attempt {
                reply["attempt"] = json!(attempt);
            }
            self.0.push(reply);
        }
        self
    }

    /// An attempt that writes one file and finishes.
    pub(crate) fn writes(self, role: &str, task: &str, attempt: Option<u32>, path: &str, text: &str) -> Self {
        self.attempt(role, task, attempt, &[&[write(path, text)], &[finish(&format!("write {path}"))]])
    }

    /// The first attempts of these tasks begin together: none is answered before all have asked.
    pub(crate) fn together(mut self, tasks: &[&str]) -> Self {
        self.meet("together", tasks, tasks.len());
        self
    }

    /// The first attempts of these tasks wait for somebody who never comes, as long as a script can wait.
    pub(crate) fn held(mut self, tasks: &[&str]) -> Self {
        self.meet("held", tasks, tasks.len() + 1);
        self
    }

    fn meet(&mut self, name: &str, tasks: &[&str], size: usize) {
        for reply in &mut self.0 {
            let first = reply["turn"] == 1 && reply["attempt"].as_u64().is_none_or(|attempt| attempt == 1);
            if first && tasks.iter().any(|task| reply["task"] == *task) {
                reply["barrier"] = json!(name);
                reply["barrier_size"] = json!(size);
            }
        }
    }

    /// The script's text.
    pub(crate) fn text(&self) -> String {
        toml::to_string(&json!({ "version": 1, "reply": self.0 })).unwrap()
    }
}
