//! The Chat Completions dialect, which most compatible servers speak: request out, answer in.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::backend::{BackendCall, LlmError};
use super::lenient::{self, RawCall};
use super::openai::{self, MAX_STATE_BYTES};
use crate::domain::llm::{
    Completion, FinishReason, Message, Request, ResponseFormat, Speaker, Tool, ToolCall, ToolChoice, Usage,
};

/// The body of a request.
#[derive(Debug, Serialize)]
pub(crate) struct ChatRequest {
    model: String,
    messages: Vec<ChatMessage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    stream: bool,
}

#[derive(Debug, Serialize)]
struct ChatMessage {
    role: Speaker,
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    /// What the provider wants back beside the message, under the names that it used.
    #[serde(flatten)]
    state: Map<String, Value>,
}

/// What a chat provider wants back: its reasoning, and additions to single tool calls.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct ChatState {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    message: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    calls: Map<String, Value>,
}

/// Fields of a message that servers want back in a conversation with tools.
const STATE_FIELDS: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_details"];
/// The field of a tool call that servers want back.
const CALL_STATE_FIELD: &str = "extra_content";
const DIALECT: &str = "chat";

/// The request in this dialect. `modern_limit`: the server knows `max_completion_tokens`.
pub(crate) fn request(request: &Request, modern_limit: bool) -> Result<ChatRequest, LlmError> {
    let tools = request.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let tool_choice = if tools.is_empty() { None } else { Some(choice(&request.tool_choice)) };
    let limit = request.max_output_tokens;
    Ok(ChatRequest {
        model: request.model.clone(),
        messages: request.messages.iter().map(message).collect(),
        tools,
        tool_choice,
        response_format: format(&request.response_format)?,
        max_tokens: limit.filter(|_| !modern_limit),
        max_completion_tokens: limit.filter(|_| modern_limit),
        stream: false,
    })
}

fn message(message: &Message) -> ChatMessage {
    let has_calls = !message.tool_calls.is_empty();
    // Reasoning goes back only within a tool loop: outside of it some servers refuse it.
    let state: ChatState =
        if has_calls { openai::open_state(DIALECT, message.provider_state.as_deref()) } else { ChatState::default() };
    let tool_calls = message.tool_calls.iter().map(|call| tool_call(call, state.calls.get(&call.id))).collect();
    let content = if has_calls && message.text.is_empty() { None } else { Some(message.text.clone()) };
    ChatMessage {
        role: message.speaker,
        content,
        tool_calls,
        tool_call_id: message.tool_call_id.clone(),
        state: state.message,
    }
}

fn tool_call(call: &ToolCall, extra: Option<&Value>) -> Value {
    // Many servers parse the arguments of earlier calls for their prompt template and fail on
    // anything but an object; what the model really wrote stays visible to it inside one.
    let is_object = serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok();
    let arguments =
        if is_object { call.arguments.clone() } else { json!({"invalid_arguments": call.arguments}).to_string() };
    let mut out = json!({
        "id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments},
    });
    if let (Some(extra), Value::Object(out)) = (extra, &mut out) {
        out.insert(CALL_STATE_FIELD.to_owned(), extra.clone());
    }
    out
}

fn tool(tool: &Tool) -> Result<Value, LlmError> {
    let parameters = openai::schema(&tool.name, &tool.parameters)?;
    Ok(json!({
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }))
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::Required => json!("required"),
        ToolChoice::None => json!("none"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn format(format: &ResponseFormat) -> Result<Option<Value>, LlmError> {
    Ok(match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!({"type": "json_object"})),
        ResponseFormat::JsonSchema { name, schema } => {
            let schema = openai::schema(name, schema)?;
            Some(json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": false}}))
        }
    })
}

/// The answer in the domain's form.
pub(crate) fn completion(answer: &Value, call: &BackendCall) -> Result<Completion, LlmError> {
    let usage = lenient::usage_of(answer);
    let Some(choice) = answer.get("choices").and_then(Value::as_array).and_then(|choices| choices.first()) else {
        return Err(without_choice(answer, usage));
    };
    // `text` is the answer of servers that only wrap a plain completion.
    let message = choice.get("message").or_else(|| choice.get("delta")).unwrap_or(choice);
    let (mut text, mut refusal) = lenient::text_of(message.get("content").unwrap_or(&Value::Null));
    if text.is_empty() && message.get("role").is_none() {
        text = lenient::string_of(message.get("text")).unwrap_or_default();
    }
    refusal = refusal.or_else(|| lenient::string_of(message.get("refusal")));
    let (raw, extras) = calls(message);
    let tool_calls = lenient::with_ids(raw, &call.request, call.position.turn);
    let word = choice.get("finish_reason").and_then(Value::as_str);
    let mut finish_reason = lenient::finish_of(word, !tool_calls.is_empty());
    if let Some(words) = refusal.filter(|_| tool_calls.is_empty()) {
        finish_reason = FinishReason::ContentFilter;
        if text.is_empty() {
            text = words;
        }
    }
    let provider_state = state(message, &tool_calls, extras);
    Ok(Completion {
        text,
        tool_calls,
        finish_reason,
        usage: usage.unwrap_or(Usage { estimated: true, ..Usage::default() }),
        model: lenient::string_of(answer.get("model")).unwrap_or_else(|| call.request.model.clone()),
        provider_state,
    })
}

/// Gateways put a provider's failure into a success status.
fn without_choice(answer: &Value, usage: Option<Usage>) -> LlmError {
    match answer.get("error") {
        Some(error) if !error.is_null() => {
            let (code, message) = lenient::error_of(answer);
            let status = code.as_deref().and_then(|code| code.parse().ok()).filter(|code| (400..600).contains(code));
            LlmError::Status {
                status: status.unwrap_or(502),
                code,
                message: message.unwrap_or_else(|| "an error without words".to_owned()),
                retry_after: None,
            }
        }
        _ => LlmError::Malformed {
            reason: "it has no `choices`".to_owned(),
            usage: usage.unwrap_or(Usage { estimated: true, ..Usage::default() }),
        },
    }
}

fn calls(message: &Value) -> (Vec<RawCall>, Vec<Option<Value>>) {
    let list = match message.get("tool_calls") {
        Some(Value::Array(list)) => list.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        // The form before tools: one function call, without an id.
        _ => message.get("function_call").filter(|call| call.is_object()).cloned().into_iter().collect(),
    };
    list.iter()
        .filter(|call| call.is_object())
        .map(|call| {
            let function = call.get("function").filter(|function| function.is_object()).unwrap_or(call);
            let raw = RawCall {
                id: lenient::string_of(call.get("id")),
                name: lenient::string_of(function.get("name")).unwrap_or_default(),
                arguments: lenient::arguments_of(function.get("arguments").or_else(|| function.get("parameters"))),
            };
            (raw, call.get(CALL_STATE_FIELD).filter(|extra| !extra.is_null()).cloned())
        })
        .unzip()
}

fn state(message: &Value, calls: &[ToolCall], extras: Vec<Option<Value>>) -> Option<String> {
    let mut state = ChatState::default();
    for field in STATE_FIELDS {
        if let Some(value) = message.get(field).filter(|value| !value.is_null() && **value != json!("")) {
            state.message.insert(field.to_owned(), value.clone());
        }
    }
    for (call, extra) in calls.iter().zip(extras) {
        if let Some(extra) = extra {
            state.calls.insert(call.id.clone(), extra);
        }
    }
    if state == ChatState::default() { None } else { openai::close_state(DIALECT, &state, MAX_STATE_BYTES) }
}

#[cfg(test)]
#[path = "chat/tests.rs"]
mod tests;
