//! The Responses dialect, used without state on the server: the whole conversation goes out each
//! time, and encrypted reasoning comes back in `provider_state`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::backend::{BackendCall, LlmError};
use super::lenient::{self, RawCall};
use super::openai::{self, MAX_STATE_BYTES};
use crate::domain::llm::{
    Completion, FinishReason, Message, Request, ResponseFormat, Speaker, Tool, ToolCall, ToolChoice, Usage,
};

/// The body of a request.
#[derive(Debug, Serialize)]
pub(crate) struct ResponsesRequest {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    input: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<&'static str>,
    store: bool,
    stream: bool,
}

/// One output item in its place. Texts and calls stand in the message itself; only reasoning is kept
/// whole.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Reasoning(Value),
    Text,
    Call(String),
}

const DIALECT: &str = "responses";

/// The request in this dialect.
pub(crate) fn request(request: &Request) -> Result<ResponsesRequest, LlmError> {
    let tools = request.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let leading = request.messages.iter().take_while(|m| m.speaker == Speaker::System).count();
    let (system, rest) = request.messages.split_at(leading);
    let instructions = system.iter().map(|m| m.text.as_str()).collect::<Vec<_>>().join("\n\n");
    let tool_choice = if tools.is_empty() { None } else { Some(choice(&request.tool_choice)) };
    Ok(ResponsesRequest {
        model: request.model.clone(),
        instructions: Some(instructions).filter(|text| !text.is_empty()),
        input: rest.iter().flat_map(items).collect(),
        tools,
        tool_choice,
        text: format(&request.response_format)?.map(|format| json!({"format": format})),
        max_output_tokens: request.max_output_tokens,
        include: if reasons(&request.model) { vec!["reasoning.encrypted_content"] } else { Vec::new() },
        store: false,
        stream: false,
    })
}

/// Models before the reasoning ones refuse to be asked for their reasoning.
fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    !["gpt-3", "gpt-4", "chatgpt-4"].iter().any(|old| name.starts_with(old))
}

fn items(message: &Message) -> Vec<Value> {
    match message.speaker {
        Speaker::System => vec![json!({"type": "message", "role": "developer", "content": message.text})],
        Speaker::User => vec![json!({"type": "message", "role": "user", "content": message.text})],
        Speaker::Tool => vec![json!({
            "type": "function_call_output",
            "call_id": message.tool_call_id.as_deref().unwrap_or_default(),
            "output": message.text,
        })],
        Speaker::Assistant => assistant_items(message),
    }
}

fn assistant_items(message: &Message) -> Vec<Value> {
    let text = || json!({"type": "message", "role": "assistant", "content": message.text});
    let parts: Vec<Part> = openai::open_state(DIALECT, message.provider_state.as_deref());
    if !fits(&parts, message) {
        let spoken = (!message.text.is_empty()).then(text);
        return spoken.into_iter().chain(message.tool_calls.iter().map(call_item)).collect();
    }
    parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Reasoning(item) => Some(item),
            Part::Text => Some(text()),
            Part::Call(id) => message.tool_calls.iter().find(|call| call.id == id).map(call_item),
        })
        .collect()
}

/// Whether the message still is what the state was made from. Reasoning without the item that
/// followed it is refused by the server, so a changed message goes out without any.
fn fits(parts: &[Part], message: &Message) -> bool {
    let texts = parts.iter().filter(|part| **part == Part::Text).count();
    let calls: Vec<&str> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Call(id) => Some(id.as_str()),
            Part::Reasoning(_) | Part::Text => None,
        })
        .collect();
    let there: Vec<&str> = message.tool_calls.iter().map(|call| call.id.as_str()).collect();
    !parts.is_empty() && texts == usize::from(!message.text.is_empty()) && calls == there
}

fn call_item(call: &ToolCall) -> Value {
    json!({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments})
}

fn tool(tool: &Tool) -> Result<Value, LlmError> {
    let parameters = openai::schema(&tool.name, &tool.parameters)?;
    // Strict mode, the default here, would refuse schemas with optional properties.
    Ok(json!({
        "type": "function", "name": tool.name, "description": tool.description,
        "parameters": parameters, "strict": false,
    }))
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::Required => json!("required"),
        ToolChoice::None => json!("none"),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    }
}

fn format(format: &ResponseFormat) -> Result<Option<Value>, LlmError> {
    Ok(match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!({"type": "json_object"})),
        ResponseFormat::JsonSchema { name, schema } => {
            let schema = openai::schema(name, schema)?;
            Some(json!({"type": "json_schema", "name": name, "schema": schema, "strict": false}))
        }
    })
}

/// The answer in the domain's form.
pub(crate) fn completion(answer: &Value, call: &BackendCall) -> Result<Completion, LlmError> {
    let usage = lenient::usage_of(answer).unwrap_or(Usage { estimated: true, ..Usage::default() });
    if let Some(error) = failure(answer, usage) {
        return Err(error);
    }
    let no_items = Vec::new();
    let output = match answer.get("output") {
        Some(Value::Array(items)) => items,
        Some(Value::Null) | None if answer.get("output_text").is_some() => &no_items,
        _ => return Err(LlmError::Malformed { reason: "it has no `output`".to_owned(), usage }),
    };
    let read = read_items(output);
    let mut text = read.text;
    if output.is_empty() {
        text = lenient::string_of(answer.get("output_text")).unwrap_or_default();
    }
    let tool_calls = lenient::with_ids(read.calls, &call.request, call.position.turn);
    let incomplete = answer.pointer("/incomplete_details/reason").and_then(Value::as_str);
    let mut finish_reason = lenient::finish_of(incomplete, !tool_calls.is_empty());
    if let Some(words) = read.refusal.filter(|_| tool_calls.is_empty()) {
        finish_reason = FinishReason::ContentFilter;
        if text.is_empty() {
            text = words;
        }
    }
    let provider_state = state(read.parts, &text, &tool_calls);
    Ok(Completion {
        text,
        tool_calls,
        finish_reason,
        usage,
        model: lenient::string_of(answer.get("model")).unwrap_or_else(|| call.request.model.clone()),
        provider_state,
    })
}

fn failure(answer: &Value, usage: Usage) -> Option<LlmError> {
    match answer.get("status").and_then(Value::as_str) {
        Some(status @ ("queued" | "in_progress" | "cancelled")) => {
            Some(LlmError::Malformed { reason: format!("its status is `{status}`"), usage })
        }
        status => {
            let error = answer.get("error").filter(|error| !error.is_null());
            if status != Some("failed") && error.is_none() {
                return None;
            }
            let (code, message) = lenient::error_of(answer);
            let status = match code.as_deref() {
                Some("rate_limit_exceeded") => 429,
                Some("invalid_prompt" | "context_length_exceeded" | "invalid_request_error") => 400,
                _ => 500,
            };
            let message = message.unwrap_or_else(|| "a failure without words".to_owned());
            Some(LlmError::Status { status, code, message, retry_after: None })
        }
    }
}

/// Output items sorted out; `parts` keeps their order, calls in it by their place among the calls.
#[derive(Default)]
struct Items {
    text: String,
    refusal: Option<String>,
    calls: Vec<RawCall>,
    parts: Vec<ItemPart>,
}

enum ItemPart {
    Reasoning(Value),
    Text,
    Call(usize),
}

fn read_items(output: &[Value]) -> Items {
    let mut items = Items::default();
    for item in output {
        match item.get("type").and_then(Value::as_str) {
            Some("function_call") => {
                items.parts.push(ItemPart::Call(items.calls.len()));
                items.calls.push(RawCall {
                    id: lenient::string_of(item.get("call_id")).or_else(|| lenient::string_of(item.get("id"))),
                    name: lenient::string_of(item.get("name")).unwrap_or_default(),
                    arguments: lenient::arguments_of(item.get("arguments")),
                });
            }
            Some("reasoning") => {
                if let Some(kept) = kept_reasoning(item) {
                    items.parts.push(ItemPart::Reasoning(kept));
                }
            }
            Some("message") | None => {
                let (text, refusal) = lenient::text_of(item.get("content").unwrap_or(item));
                if !text.is_empty() && !items.text.is_empty() {
                    items.text.push('\n');
                }
                if !text.is_empty() && !items.parts.iter().any(|part| matches!(part, ItemPart::Text)) {
                    items.parts.push(ItemPart::Text);
                }
                items.text.push_str(&text);
                items.refusal = refusal.or(items.refusal);
            }
            // Items of hosted tools, which are never asked for.
            Some(_) => {}
        }
    }
    items
}

/// A reasoning item as it may go back: with what the server needs, without what it only reports.
/// Without its content the server could look it up only in a store that we do not use.
fn kept_reasoning(item: &Value) -> Option<Value> {
    let encrypted = item.get("encrypted_content").filter(|value| value.as_str().is_some_and(|text| !text.is_empty()));
    let open = item.get("content").filter(|value| value.as_array().is_some_and(|list| !list.is_empty()));
    if encrypted.is_none() && open.is_none() {
        return None;
    }
    let summary = item.get("summary").filter(|summary| summary.is_array()).cloned().unwrap_or_else(|| json!([]));
    let mut kept = json!({"type": "reasoning", "summary": summary});
    for (name, value) in [("id", item.get("id")), ("encrypted_content", encrypted), ("content", open)] {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            kept[name] = value.clone();
        }
    }
    Some(kept)
}

fn state(parts: Vec<ItemPart>, text: &str, calls: &[ToolCall]) -> Option<String> {
    if !parts.iter().any(|part| matches!(part, ItemPart::Reasoning(_))) {
        return None;
    }
    let parts: Vec<Part> = parts
        .into_iter()
        .filter_map(|part| match part {
            ItemPart::Reasoning(item) => Some(Part::Reasoning(item)),
            ItemPart::Text => (!text.is_empty()).then_some(Part::Text),
            ItemPart::Call(n) => calls.get(n).map(|call| Part::Call(call.id.clone())),
        })
        .collect();
    openai::close_state(DIALECT, &parts, MAX_STATE_BYTES)
}

#[cfg(test)]
#[path = "responses/tests.rs"]
mod tests;
