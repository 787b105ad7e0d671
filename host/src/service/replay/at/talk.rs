//! The conversation of a moment: the messages of the last model call, as they are on record, and its answer.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::pretty;
use crate::domain::call::{Function, HostError};
use crate::domain::llm::{Completion, Message, Request, Speaker, ToolCall};
use crate::registry::CallRecord;
use crate::service::error::ServiceError;

/// The last model call among some calls.
pub(super) struct Talk {
    call: Option<u64>,
    request: Value,
    answer: Option<Value>,
}

impl Talk {
    /// Looks for it.
    pub(super) fn of(calls: &[CallRecord]) -> Self {
        let last = calls.iter().rfind(|call| call.function == Function::LlmComplete);
        Self {
            call: last.map(|call| call.sequence),
            request: last.map(|call| call.arguments.clone()).unwrap_or_default(),
            answer: last.and_then(|call| call.answer.clone()),
        }
    }

    /// Messages, the answer included.
    pub(super) fn messages(&self) -> usize {
        let asked = self.request["messages"].as_array().map_or(0, Vec::len);
        asked + usize::from(self.answer().is_some())
    }

    fn answer(&self) -> Option<&Value> {
        self.answer.as_ref()?.get("Ok")
    }

    /// `conversation.json`.
    pub(super) fn json(&self) -> Result<String, ServiceError> {
        let messages = self.request.get("messages").cloned().unwrap_or_else(|| json!([]));
        let error = self.answer.as_ref().and_then(|answer| answer.get("Err"));
        pretty(&json!({
            "call": self.call,
            "model": self.request.get("model"),
            "messages": messages,
            "answer": self.answer(),
            "error": error,
        }))
    }

    /// `conversation.md`.
    pub(super) fn text(&self, attempt: &str, call: u64) -> String {
        let mut text = format!("# {attempt} after call {call}\n");
        let Some(asked) = self.call else {
            text.push_str("\nNo model was asked up to here.\n");
            return text;
        };
        let _ = writeln!(text, "\nWhat the model was told in call {asked}, and what it answered.");
        match serde_json::from_value::<Request>(self.request.clone()) {
            Ok(request) => request.messages.iter().for_each(|message| write_message(&mut text, message)),
            Err(error) => {
                let _ = writeln!(text, "\nThe request has another form: {error}; see conversation.json.");
            }
        }
        text.push_str("\n## Answer\n");
        match &self.answer {
            None => text.push_str("\nNone is on record.\n"),
            Some(answer) => match serde_json::from_value::<Result<Completion, HostError>>(answer.clone()) {
                Ok(Ok(completion)) => write_words(&mut text, &completion.text, &completion.tool_calls),
                Ok(Err(error)) => {
                    let _ = writeln!(text, "\nIt failed: {error}");
                }
                Err(error) => {
                    let _ = writeln!(text, "\nIt has another form: {error}; see conversation.json.");
                }
            },
        }
        harmless(&text)
    }
}

fn write_message(text: &mut String, message: &Message) {
    let heading = match (message.speaker, &message.tool_call_id) {
        (Speaker::System, _) => "Instructions".to_owned(),
        (Speaker::User, _) => "Told".to_owned(),
        (Speaker::Assistant, _) => "Model".to_owned(),
        (Speaker::Tool, Some(id)) => format!("Tool ({id})"),
        (Speaker::Tool, None) => "Tool".to_owned(),
    };
    let _ = writeln!(text, "\n## {heading}");
    write_words(text, &message.text, &message.tool_calls);
}

fn write_words(text: &mut String, words: &str, calls: &[ToolCall]) {
    if !words.trim().is_empty() {
        let _ = writeln!(text, "\n{}", words.trim_end());
    }
    for ToolCall { id, name, arguments } in calls {
        // As `serde_json` would write it; what is no JSON stays as the model wrote it.
        let shown = serde_json::from_str::<Value>(arguments).ok().and_then(|value| pretty(&value).ok());
        let _ = writeln!(
            text,
            "\nCalls `{name}` ({id}):\n\n~~~~json\n{}\n~~~~",
            shown.as_deref().unwrap_or(arguments).trim_end()
        );
    }
}

/// A reader's terminal must not obey what a model wrote.
fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::{CallRequest, Cost};
    use crate::registry::request_digest;

    fn asked(sequence: u64, texts: &[&str], answer: Option<Value>) -> CallRecord {
        let messages: Vec<Value> = texts.iter().map(|text| json!({ "speaker": "user", "text": text })).collect();
        let arguments = json!({ "model": "default", "messages": messages, "tools": [], "tool_choice": "auto",
            "response_format": "text", "max_output_tokens": null });
        let call = CallRequest { function: Function::LlmComplete, arguments, effect: None };
        CallRecord {
            sequence,
            function: call.function,
            digest: request_digest(&call),
            arguments: call.arguments,
            effect: None,
            at: jiff::Timestamp::UNIX_EPOCH,
            answer,
            answered_at: None,
            cost: Cost::default(),
            tries: 1,
        }
    }

    #[test]
    fn the_last_model_call_is_the_conversation() {
        let answer = json!({ "Ok": { "text": "", "tool_calls": [{ "id": "c1", "name": "write", "arguments": "{\"path\":\"a\"}" }],
            "finish_reason": "tool-calls", "model": "m", "provider_state": null,
            "usage": { "input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 1, "estimated": false } } });
        let talk = Talk::of(&[asked(1, &["one"], None), asked(4, &["one", "two\u{1b}[2J"], Some(answer))]);
        assert_eq!(talk.messages(), 3);
        let text = talk.text("shop/1#1", 5);
        assert!(text.contains("# shop/1#1 after call 5") && text.contains("told in call 4"), "{text}");
        assert!(
            text.contains("two\u{fffd}[2J")
                && text.contains("Calls `write` (c1):\n\n~~~~json\n{\n  \"path\": \"a\"\n}"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&talk.json().unwrap()).unwrap();
        assert_eq!((&json["call"], &json["messages"][1]["text"]), (&json!(4), &json!("two\u{1b}[2J")));
        assert_eq!(json["answer"]["tool_calls"][0]["name"], "write");
    }

    #[test]
    fn silence_and_failures_are_said() {
        assert!(Talk::of(&[]).text("shop/1#1", 0).contains("No model was asked"));
        let failed = json!({ "Err": { "error": "timed-out", "message": "after 600 s" } });
        let talk = Talk::of(&[asked(1, &["one"], Some(failed))]);
        assert!(talk.text("shop/1#1", 1).contains("It failed: timed out: after 600 s"));
        assert_eq!(talk.messages(), 1);
        assert!(Talk::of(&[asked(1, &["one"], None)]).text("shop/1#1", 1).contains("None is on record."));
    }
}
