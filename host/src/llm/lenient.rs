//! Readers for what compatible servers really send: absent, null and oddly typed fields all have a
//! meaning here, and none of them is an error.

use std::collections::HashSet;

use serde_json::Value;

use crate::domain::llm::{FinishReason, Request, ToolCall, Usage};

/// Counts above this are nonsense, and the host estimates instead.
const MAX_PLAUSIBLE_TOKENS: u64 = 50_000_000;

/// A text that may be null, a string, one part or a list of parts. Refusals come apart.
pub(crate) fn text_of(content: &Value) -> (String, Option<String>) {
    let mut text = String::new();
    let mut refusal = None;
    collect(content, &mut text, &mut refusal);
    (text, refusal)
}

fn collect(content: &Value, text: &mut String, refusal: &mut Option<String>) {
    match content {
        Value::String(part) => text.push_str(part),
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, text, refusal)),
        Value::Object(part) => {
            if let Some(words) = part.get("refusal").and_then(Value::as_str) {
                *refusal = Some(words.to_owned());
            } else if let Some(inner @ (Value::String(_) | Value::Object(_))) = part.get("text") {
                // Some servers wrap the text once more, as `{"value": …}`.
                collect(inner.get("value").unwrap_or(inner), text, refusal);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Arguments of a tool call: a string stays as the model wrote it, an object becomes its JSON text,
/// nothing becomes the empty object.
pub(crate) fn arguments_of(arguments: Option<&Value>) -> String {
    match arguments {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A string field that is there and not empty.
pub(crate) fn string_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The calls of one answer, each with an id that the whole conversation does not have yet. A missing
/// id or one that came before (some servers count from zero in every answer) becomes
/// `call_<turn>_<n>`.
pub(crate) fn with_ids(calls: Vec<RawCall>, request: &Request, turn: u32) -> Vec<ToolCall> {
    let mut taken: HashSet<String> =
        request.messages.iter().flat_map(|m| &m.tool_calls).map(|call| call.id.clone()).collect();
    let mut number = |n: usize, id: Option<String>| {
        let own = id.into_iter().chain(std::iter::once(generated_id(turn, n)));
        // Only a server that plays with our own form gets as far as the third candidate.
        let further = (1_usize..).map(|i| format!("{}_{i}", generated_id(turn, n)));
        let id = own.chain(further).find(|id| taken.insert(id.clone()));
        id.unwrap_or_default()
    };
    calls
        .into_iter()
        .enumerate()
        .map(|(i, call)| ToolCall { id: number(i + 1, call.id), name: call.name, arguments: call.arguments })
        .collect()
}

/// A tool call as a server wrote it.
pub(crate) struct RawCall {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// The id of the `n`-th call (from 1) of a turn, where the server gives none.
pub(crate) fn generated_id(turn: u32, n: usize) -> String {
    format!("call_{turn}_{n}")
}

/// The usage under the names of either dialect; `None` when it is absent or absurd.
pub(crate) fn usage_of(answer: &Value) -> Option<Usage> {
    let usage = answer.get("usage")?;
    let first = |names: &[&str]| names.iter().find_map(|path| usage.pointer(path).and_then(count_of));
    let input_tokens = first(&["/input_tokens", "/prompt_tokens"])?;
    let output_tokens = first(&["/output_tokens", "/completion_tokens"])?;
    let cached = first(&[
        "/input_tokens_details/cached_tokens",
        "/prompt_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
    ]);
    if input_tokens == 0 || input_tokens > MAX_PLAUSIBLE_TOKENS || output_tokens > MAX_PLAUSIBLE_TOKENS {
        return None;
    }
    let cached_input_tokens = cached.unwrap_or(0).min(input_tokens);
    Some(Usage { input_tokens, cached_input_tokens, output_tokens, estimated: false })
}

fn count_of(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            // Saturates, and such a count is refused as absurd anyway.
            (float >= 0.0).then_some(float as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Why the answer ended, by the words that servers use. Calls decide where the word contradicts them.
pub(crate) fn finish_of(word: Option<&str>, has_calls: bool) -> FinishReason {
    match word.map(str::to_ascii_lowercase).as_deref() {
        Some("length" | "max_tokens" | "max_output_tokens" | "model_length") => FinishReason::Length,
        Some("content_filter" | "safety" | "refusal") => FinishReason::ContentFilter,
        _ if has_calls => FinishReason::ToolCalls,
        None | Some("stop" | "eos" | "end_turn" | "stop_sequence" | "completed" | "") => FinishReason::Stop,
        // The server meant to call tools and none arrived; the loop answers that as no call.
        Some("tool_calls" | "function_call" | "tool_use") => FinishReason::Stop,
        Some(_) => FinishReason::Other,
    }
}

/// Code and message of an error object in the forms that servers use.
pub(crate) fn error_of(body: &Value) -> (Option<String>, Option<String>) {
    let error = match body {
        Value::Array(list) => list.first().and_then(|first| first.get("error")),
        _ => body.get("error"),
    };
    let error = match error {
        Some(Value::Null) | None => body,
        Some(error) => error,
    };
    if let Value::String(message) = error {
        return (None, Some(message.clone()));
    }
    let code = string_of(error.get("code")).or_else(|| string_of(error.get("type")));
    let message = ["message", "detail", "error_description"].iter().find_map(|name| match error.get(*name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    });
    (code, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::llm::{Message, ResponseFormat, Speaker, ToolChoice};
    use serde_json::json;

    #[test]
    fn content_is_read_in_every_form() {
        for (content, text) in [
            (json!(null), ""),
            (json!("a"), "a"),
            (json!(["a", {"type": "text", "text": "b"}]), "ab"),
            (json!([{"type": "output_text", "text": "a"}, {"type": "image"}]), "a"),
            (json!({"type": "text", "text": {"value": "a"}}), "a"),
            (json!(17), ""),
            (json!([null, true]), ""),
        ] {
            assert_eq!(text_of(&content).0, text, "{content}");
        }
        let refused = text_of(&json!([{"type": "refusal", "refusal": "no"}]));
        assert_eq!(refused, (String::new(), Some("no".to_owned())));
    }

    #[test]
    fn arguments_are_passed_on_as_written() {
        for (arguments, text) in [
            (None, "{}"),
            (Some(json!(null)), "{}"),
            (Some(json!("{\"a\": 1")), "{\"a\": 1"),
            (Some(json!("")), ""),
            (Some(json!({"a": 1})), "{\"a\":1}"),
            (Some(json!([1])), "[1]"),
        ] {
            assert_eq!(arguments_of(arguments.as_ref()), text);
        }
    }

    #[test]
    fn missing_and_repeated_ids_become_deterministic_ones() {
        let raw = |id: Option<&str>| RawCall {
            id: id.map(str::to_owned),
            name: "read".to_owned(),
            arguments: "{}".to_owned(),
        };
        let before = ToolCall { id: "old".to_owned(), name: "read".to_owned(), arguments: "{}".to_owned() };
        let request = Request {
            model: "m".to_owned(),
            messages: vec![Message {
                speaker: Speaker::Assistant,
                text: String::new(),
                tool_calls: vec![before],
                tool_call_id: None,
                provider_state: None,
            }],
            tools: vec![],
            tool_choice: ToolChoice::Auto,
            response_format: ResponseFormat::Text,
            max_output_tokens: None,
        };
        for (given, expected) in [
            (vec![Some("a"), None, Some("a")], vec!["a", "call_4_2", "call_4_3"]),
            (vec![Some("old"), Some("b")], vec!["call_4_1", "b"]),
            (vec![Some("call_4_2"), None], vec!["call_4_2", "call_4_2_1"]),
        ] {
            let calls = with_ids(given.into_iter().map(raw).collect(), &request, 4);
            assert_eq!(calls.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn usage_is_read_in_every_form_and_nonsense_is_not_believed() {
        let usage = |input_tokens, cached_input_tokens, output_tokens| {
            Some(Usage { input_tokens, cached_input_tokens, output_tokens, estimated: false })
        };
        for (body, expected) in [
            (json!({"prompt_tokens": 9, "completion_tokens": 2}), usage(9, 0, 2)),
            (json!({"prompt_tokens": 9.0, "completion_tokens": "2"}), usage(9, 0, 2)),
            (
                json!({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 99}}),
                usage(9, 9, 2),
            ),
            (
                json!({"input_tokens": 9, "output_tokens": 0, "input_tokens_details": {"cached_tokens": 4}}),
                usage(9, 4, 0),
            ),
            (json!({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": null}), usage(9, 0, 2)),
            (json!({"prompt_tokens": 9}), None),
            (json!({"prompt_tokens": -9, "completion_tokens": 2}), None),
            (json!({"prompt_tokens": 9e18, "completion_tokens": 2}), None),
            (json!({"prompt_tokens": 0, "completion_tokens": 0}), None),
            (json!(null), None),
        ] {
            assert_eq!(usage_of(&json!({"usage": body})), expected, "{body}");
        }
    }

    #[test]
    fn finish_reasons_old_and_new_are_known() {
        for (word, has_calls, reason) in [
            (Some("stop"), false, FinishReason::Stop),
            (Some("stop"), true, FinishReason::ToolCalls),
            (Some("function_call"), true, FinishReason::ToolCalls),
            (Some("tool_calls"), false, FinishReason::Stop),
            (Some("length"), true, FinishReason::Length),
            (Some("content_filter"), false, FinishReason::ContentFilter),
            (Some("weird"), false, FinishReason::Other),
            (None, false, FinishReason::Stop),
            (None, true, FinishReason::ToolCalls),
        ] {
            assert_eq!(finish_of(word, has_calls), reason, "{word:?} {has_calls}");
        }
    }

    #[test]
    fn errors_are_read_in_every_form() {
        let some = |text: &str| Some(text.to_owned());
        for (body, expected) in [
            (json!({"error": {"message": "m", "code": "c", "type": "t"}}), (some("c"), some("m"))),
            (json!({"error": {"message": "m", "code": null, "type": "t"}}), (some("t"), some("m"))),
            (json!({"error": {"message": "m", "code": 404}}), (some("404"), some("m"))),
            (json!({"error": "m"}), (None, some("m"))),
            (json!({"object": "error", "message": "m", "code": 400}), (some("400"), some("m"))),
            (json!({"detail": [{"msg": "x"}]}), (None, some("[{\"msg\":\"x\"}]"))),
            (json!([{"error": {"message": "m"}}]), (None, some("m"))),
            (json!(null), (None, None)),
        ] {
            assert_eq!(error_of(&body), expected, "{body}");
        }
    }
}
