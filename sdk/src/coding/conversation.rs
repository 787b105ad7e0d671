//! The conversation as it is sent. Compaction will rewrite it here: messages are kept in whole turns,
//! a tool call never apart from its reply.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bounds::{MAX_REPLY_CHARS, head_and_tail};
use crate::host::llm::{Completion, Message, Request, ResponseFormat, Speaker, Tool, ToolCall, ToolChoice};

/// Bytes of a tool's name, as OpenAI limits it.
const MAX_NAME_BYTES: usize = 64;

/// What the model is sent, growing by turns.
#[derive(Debug)]
pub struct Conversation {
    request: Request,
}

impl Conversation {
    /// A conversation that begins with instructions and the assignment.
    pub fn open(model: String, system: String, assignment: String, tools: Vec<Tool>) -> Self {
        Self {
            request: Request {
                model,
                messages: vec![message(Speaker::System, system), message(Speaker::User, assignment)],
                tools,
                tool_choice: ToolChoice::Auto,
                response_format: ResponseFormat::Text,
                max_output_tokens: None,
            },
        }
    }

    /// The next request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Say something to the model that is no reply to a call.
    pub fn tell(&mut self, text: String) {
        self.request.messages.push(message(Speaker::User, text));
    }

    /// Take up an answer; gives its tool calls, each with an id of its own.
    pub fn record_answer(&mut self, answer: Completion, turn: u32) -> Vec<ToolCall> {
        let calls = with_unique_ids(answer.tool_calls, turn);
        // Servers refuse an assistant message that has nothing in it.
        if !(answer.text.is_empty() && calls.is_empty() && answer.provider_state.is_none()) {
            self.request.messages.push(Message {
                speaker: Speaker::Assistant,
                text: answer.text,
                tool_calls: calls.iter().map(presentable).collect(),
                tool_call_id: None,
                provider_state: answer.provider_state,
            });
        }
        calls
    }

    /// Answer the call with this id.
    pub fn reply(&mut self, call_id: &str, text: String) {
        self.request.messages.push(Message {
            tool_call_id: Some(call_id.to_owned()),
            ..message(Speaker::Tool, head_and_tail(&text, MAX_REPLY_CHARS))
        });
    }

    /// What the model said last, if it said anything in words.
    pub fn last_words(&self) -> Option<&str> {
        let mut spoken = self.request.messages.iter().rev().filter(|m| m.speaker == Speaker::Assistant);
        spoken.find(|m| !m.text.trim().is_empty()).map(|m| m.text.as_str())
    }
}

fn message(speaker: Speaker, text: String) -> Message {
    Message { speaker, text, tool_calls: Vec::new(), tool_call_id: None, provider_state: None }
}

/// A call as it may stand in a history. Servers parse what they sent themselves once more, and refuse the
/// whole request over arguments that are no JSON object or a name that no tool can have; the reply to the
/// call says what was wrong with it.
fn presentable(call: &ToolCall) -> ToolCall {
    let is_object = matches!(serde_json::from_str(&call.arguments), Ok(Value::Object(_)));
    let is_name = (1..=MAX_NAME_BYTES).contains(&call.name.len())
        && call.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    ToolCall {
        id: call.id.clone(),
        name: if is_name { call.name.clone() } else { "unknown".to_owned() },
        arguments: if is_object { call.arguments.clone() } else { "{}".to_owned() },
    }
}

/// A reply names its call by id, so an id that is missing or stands twice in an answer gets a new one.
fn with_unique_ids(mut calls: Vec<ToolCall>, turn: u32) -> Vec<ToolCall> {
    let mut seen = BTreeSet::new();
    for (position, call) in calls.iter_mut().enumerate() {
        if call.id.is_empty() || !seen.insert(call.id.clone()) {
            call.id = format!("call_{turn}_{}", position + 1);
            seen.insert(call.id.clone());
        }
    }
    calls
}
