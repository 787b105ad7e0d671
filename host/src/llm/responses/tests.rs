//! Requests as they go out, reasoning that comes back in its place, and strange answers.

use super::*;
use crate::domain::id::{Role, TaskId};
use crate::llm::backend::CallPosition;

fn message(speaker: Speaker, text: &str) -> Message {
    Message { speaker, text: text.to_owned(), tool_calls: vec![], tool_call_id: None, provider_state: None }
}

fn call(messages: Vec<Message>) -> BackendCall {
    let parameters = "{\"type\":\"object\",\"properties\":{}}".to_owned();
    let request = Request {
        model: "gpt-5-codex".to_owned(),
        messages,
        tools: vec![Tool { name: "read".to_owned(), description: "reads".to_owned(), parameters }],
        tool_choice: ToolChoice::Required,
        response_format: ResponseFormat::JsonObject,
        max_output_tokens: Some(50),
    };
    let position =
        CallPosition { role: Role::new("qa").unwrap(), task: TaskId::new("1").unwrap(), attempt: 1, turn: 3 };
    BackendCall { request, position }
}

fn sent(request_: &Request) -> Value {
    serde_json::to_value(request(request_).unwrap()).unwrap()
}

fn read(answer: &Value) -> Completion {
    completion(answer, &call(vec![])).unwrap()
}

fn thinking_answer() -> Completion {
    read(&json!({
        "status": "completed", "model": "gpt-5-codex-2025", "error": null,
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed", "status": null},
            {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "I read."}]},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "sealed too"},
            {"type": "function_call", "id": "fc", "call_id": "c1", "name": "read", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 8}},
    }))
}

fn recorded(completion: Completion) -> Message {
    let mut message = message(Speaker::Assistant, &completion.text);
    message.tool_calls = completion.tool_calls;
    message.provider_state = completion.provider_state;
    message
}

#[test]
fn a_conversation_goes_out_whole_and_without_state_on_the_server() {
    let mut reply = message(Speaker::Tool, "text of a");
    reply.tool_call_id = Some("c1".to_owned());
    let opening = [message(Speaker::System, "s"), message(Speaker::System, "t"), message(Speaker::User, "u")];
    let history = [recorded(thinking_answer()), reply, message(Speaker::System, "late")];
    let call = call(opening.into_iter().chain(history).collect());
    let expected = json!({
        "model": "gpt-5-codex",
        "instructions": "s\n\nt",
        "input": [
            {"type": "message", "role": "user", "content": "u"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
            {"type": "message", "role": "assistant", "content": "I read."},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "sealed too"},
            {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "text of a"},
            {"type": "message", "role": "developer", "content": "late"},
        ],
        "tools": [{
            "type": "function", "name": "read", "description": "reads", "strict": false,
            "parameters": {"type": "object", "properties": {}},
        }],
        "tool_choice": "required",
        "text": {"format": {"type": "json_object"}},
        "max_output_tokens": 50,
        "include": ["reasoning.encrypted_content"],
        "store": false,
        "stream": false,
    });
    assert_eq!(sent(&call.request), expected);
}

#[test]
fn a_changed_message_goes_out_without_its_reasoning() {
    type Change = fn(&mut Message);
    let changes: [Change; 4] = [
        |message| message.tool_calls.clear(),
        |message| message.text.clear(),
        |message| message.tool_calls[0].id = "other".to_owned(),
        |message| message.provider_state = Some("{\"dialect\":\"chat\",\"v\":1,\"state\":{}}".to_owned()),
    ];
    for change in changes {
        let mut message = recorded(thinking_answer());
        change(&mut message);
        let input = sent(&call(vec![message]).request)["input"].clone();
        assert!(!input.to_string().contains("sealed"), "{input}");
        assert!(!input.as_array().unwrap().is_empty());
    }
}

#[test]
fn reasoning_that_cannot_go_back_is_not_kept() {
    let plain = read(&json!({"output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "content": "a"},
    ]}));
    assert_eq!((plain.text.as_str(), plain.provider_state), ("a", None));
    let sealed = "x".repeat(MAX_STATE_BYTES);
    let large = read(&json!({"output": [{"type": "reasoning", "encrypted_content": sealed}]}));
    assert_eq!(large.provider_state, None);
}

#[test]
fn an_old_model_is_not_asked_for_its_reasoning() {
    for (model, asked) in
        [("gpt-5", true), ("o4-mini", true), ("openai/gpt-oss-20b", true), ("gpt-4o", false), ("openai/gpt-4.1", false)]
    {
        assert_eq!(reasons(model), asked, "{model}");
    }
}

#[test]
fn the_answer_is_read_with_its_usage() {
    let completion = thinking_answer();
    let calls = vec![ToolCall { id: "c1".to_owned(), name: "read".to_owned(), arguments: "{}".to_owned() }];
    assert_eq!((completion.text.as_str(), &completion.tool_calls), ("I read.", &calls));
    assert_eq!((completion.finish_reason, completion.model.as_str()), (FinishReason::ToolCalls, "gpt-5-codex-2025"));
    let usage = Usage { input_tokens: 10, cached_input_tokens: 8, output_tokens: 5, estimated: false };
    assert_eq!(completion.usage, usage);
}

#[test]
fn strange_answers_have_a_meaning() {
    let call_item = json!({"type": "function_call", "name": "read", "arguments": {"a": 1}});
    for (answer, text, calls, reason) in [
        (json!({"output": [], "output_text": "a"}), "a", 0, FinishReason::Stop),
        (json!({"output_text": "a"}), "a", 0, FinishReason::Stop),
        (json!({"output": [{"content": "a"}]}), "a", 0, FinishReason::Stop),
        (json!({"output": [{"type": "message", "content": null}], "usage": []}), "", 0, FinishReason::Stop),
        (
            json!({"output": [{"type": "web_search_call"}, {"type": "message", "content": "a"}]}),
            "a",
            0,
            FinishReason::Stop,
        ),
        (json!({"output": [call_item, call_item]}), "", 2, FinishReason::ToolCalls),
        (
            json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [call_item]}),
            "",
            1,
            FinishReason::Length,
        ),
        (
            json!({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}),
            "",
            0,
            FinishReason::ContentFilter,
        ),
        (
            json!({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]}),
            "no",
            0,
            FinishReason::ContentFilter,
        ),
    ] {
        let completion = read(&answer);
        assert_eq!((completion.text.as_str(), completion.tool_calls.len()), (text, calls), "{answer}");
        assert_eq!(completion.finish_reason, reason, "{answer}");
        assert!(completion.usage.estimated, "{answer}");
    }
    let ids: Vec<String> =
        read(&json!({"output": [call_item, call_item]})).tool_calls.into_iter().map(|call| call.id).collect();
    assert_eq!(ids, ["call_3_1", "call_3_2"]);
}

#[test]
fn failures_inside_a_success_are_failures() {
    for (body, expected) in [
        (json!({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "m"}}), Some(429)),
        (json!({"status": "failed", "error": {"code": "server_error", "message": "m"}, "output": []}), Some(500)),
        (json!({"status": "failed", "error": {"code": "invalid_prompt", "message": "m"}}), Some(400)),
        (json!({"error": {"message": "m"}}), Some(500)),
        (json!({"status": "failed", "error": null}), Some(500)),
        (json!({"status": "queued", "output": []}), None),
        (json!({}), None),
        (json!([]), None),
        (json!({"output": "x"}), None),
    ] {
        match completion(&body, &call(vec![])).unwrap_err() {
            LlmError::Status { status, .. } => assert_eq!(Some(status), expected, "{body}"),
            LlmError::Malformed { .. } => assert_eq!(None, expected, "{body}"),
            other => panic!("{body}: {other}"),
        }
    }
}
