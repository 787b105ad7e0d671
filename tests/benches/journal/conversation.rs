//! A conversation as the spirits have it, recorded turn by turn: each request repeats all messages so far,
//! answers call tools with texts of a real tree. What the journal takes for it, in bytes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use necro_host::clock::SystemClock;
use necro_host::domain::call::{CallRequest, Cost, Function};
use necro_host::domain::llm::{
    Completion, FinishReason, Message, Request, ResponseFormat, Speaker, Tool, ToolCall, ToolChoice, Usage,
};
use serde_json::{Value, json};

/// Answers of the model.
pub(crate) const TURNS: usize = 50;

/// Texts to talk about: this repository's own.
const READ: &str = include_str!("../journal.rs");
const WRITTEN: &str = include_str!("../../../host/src/registry/journal.rs");
const SAID: &str = include_str!("../../../ARCHITECTURE.md");

/// Bytes of a conversation.
pub(crate) struct Sizes {
    /// Of its messages, each once, as JSON.
    pub(crate) messages: u64,
    /// Of all its requests.
    pub(crate) sent: u64,
    /// Of what was added to the database file and the blobs.
    pub(crate) stored: u64,
}

/// Records the conversation in a registry below `dir`.
pub(crate) async fn record(dir: &Path) -> Result<Sizes> {
    let before = journal(dir, "without", &[]).await?;
    let turns = turns();
    let after = journal(dir, "with", &turns).await?;
    let (last, answer) = turns.last().context("there are turns")?;
    let said = last.messages.iter().chain([&said(answer)]).map(size).sum::<Result<u64>>()?;
    let sent = turns.iter().map(|(request, _)| size(request)).sum::<Result<u64>>()?;
    Ok(Sizes { messages: said, sent, stored: after - before })
}

/// Bytes of a state directory in which one execution had these turns, closed and checkpointed.
async fn journal(dir: &Path, name: &str, turns: &[(Request, Completion)]) -> Result<u64> {
    let registry = super::open(dir, name, Arc::new(SystemClock::default()))?;
    let execution = super::begin(&registry, "conversation").await?;
    for (request, answer) in turns {
        let usage = answer.usage;
        let worst = Cost { input_tokens: usage.input_tokens, output_tokens: 8_192, ..Cost::default() };
        let call = CallRequest {
            function: Function::LlmComplete,
            arguments: serde_json::to_value(request)?,
            effect: Some(json!({ "worst": worst })),
        };
        let sequence = execution.intent(call).await?;
        let cost = Cost {
            input_tokens: usage.input_tokens,
            cached_input_tokens: usage.cached_input_tokens,
            output_tokens: usage.output_tokens,
            cost_microusd: Some(usage.input_tokens),
        };
        execution.answered(sequence, json!({ "Ok": answer }), cost, None).await?;
    }
    execution.end(json!({ "ok": {} }), Value::Null, None).await?;
    // The last connection brings everything into the database file.
    drop((execution, registry));
    bytes_below(&dir.join(name))
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let (path, meta) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        bytes += if meta.is_dir() { bytes_below(&path)? } else { meta.len() };
    }
    Ok(bytes)
}

fn size<T: serde::Serialize>(value: &T) -> Result<u64> {
    Ok(serde_json::to_string(value)?.len() as u64)
}

/// Each request with its answer.
fn turns() -> Vec<(Request, Completion)> {
    let mut request = Request {
        model: "default".to_owned(),
        messages: vec![message(Speaker::System, piece(SAID, 0, 3_000)), message(Speaker::User, piece(SAID, 1, 2_500))],
        tools: ["read", "list", "search", "write", "edit", "remove", "run", "finish"].map(tool).to_vec(),
        tool_choice: ToolChoice::Auto,
        response_format: ResponseFormat::Text,
        max_output_tokens: None,
    };
    let mut turns = Vec::new();
    for turn in 0..TURNS {
        let answer = answer(turn, request.messages.iter().map(|message| message.text.len()).sum());
        turns.push((request.clone(), answer.clone()));
        let reply = piece(READ, turn, 1_000 + 37 * turn);
        let id = answer.tool_calls.first().map(|call| call.id.clone());
        request.messages.push(said(&answer));
        request.messages.push(Message { tool_call_id: id, ..message(Speaker::Tool, reply) });
    }
    turns
}

/// Every third turn writes a file, the others read one and say why.
fn answer(turn: usize, sent: usize) -> Completion {
    let (name, arguments) = match turn % 3 {
        0 => ("write", json!({ "path": format!("src/part_{turn}.rs"), "text": piece(WRITTEN, turn, 2_400) })),
        _ => ("read", json!({ "path": format!("src/part_{turn}.rs"), "start": 1, "count": 80 })),
    };
    let call = ToolCall { id: format!("call_{turn:024x}"), name: name.to_owned(), arguments: arguments.to_string() };
    let usage = Usage {
        input_tokens: sent as u64 / 4,
        cached_input_tokens: sent as u64 / 5,
        output_tokens: 250,
        estimated: false,
    };
    Completion {
        text: piece(SAID, turn + 2, 200 + 40 * (turn % 20)),
        tool_calls: vec![call],
        finish_reason: FinishReason::ToolCalls,
        usage,
        model: "gpt-5.4-mini-2026-03-17".to_owned(),
        provider_state: None,
    }
}

/// How an answer stands in the next request.
fn said(answer: &Completion) -> Message {
    Message { tool_calls: answer.tool_calls.clone(), ..message(Speaker::Assistant, answer.text.clone()) }
}

fn message(speaker: Speaker, text: String) -> Message {
    Message { speaker, text, tool_calls: Vec::new(), tool_call_id: None, provider_state: None }
}

fn tool(name: &str) -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": { "path": { "type": "string", "description": "Path in the work tree." } },
        "required": ["path"],
    });
    Tool { name: name.to_owned(), description: piece(SAID, name.len(), 200), parameters: parameters.to_string() }
}

/// Some bytes of a text, other ones for each number, under a line that is nowhere else.
fn piece(text: &str, number: usize, bytes: usize) -> String {
    let from = text.floor_char_boundary(number * 631 % (text.len() - bytes));
    format!("{number}:{bytes}\n{}", &text[from..text.floor_char_boundary(from + bytes)])
}
