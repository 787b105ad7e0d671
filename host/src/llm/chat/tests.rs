//! Requests as they go out, and the strange answers that servers really give.

use super::*;
use crate::domain::id::{Role, TaskId};
use crate::llm::backend::CallPosition;

fn message(speaker: Speaker, text: &str) -> Message {
    Message { speaker, text: text.to_owned(), tool_calls: vec![], tool_call_id: None, provider_state: None }
}

fn call(messages: Vec<Message>) -> BackendCall {
    let parameters = "{\"type\":\"object\",\"properties\":{}}".to_owned();
    let request = Request {
        model: "asked".to_owned(),
        messages,
        tools: vec![Tool { name: "read".to_owned(), description: "reads".to_owned(), parameters }],
        tool_choice: ToolChoice::Named("read".to_owned()),
        response_format: ResponseFormat::Text,
        max_output_tokens: Some(50),
    };
    let position =
        CallPosition { role: Role::new("qa").unwrap(), task: TaskId::new("1").unwrap(), attempt: 1, turn: 3 };
    BackendCall { request, position }
}

fn sent(request_: &Request, modern_limit: bool) -> Value {
    serde_json::to_value(request(request_, modern_limit).unwrap()).unwrap()
}

fn read(answer: &Value) -> Completion {
    completion(answer, &call(vec![])).unwrap()
}

fn answered(message: Value) -> Completion {
    read(&json!({"choices": [{"message": message}]}))
}

#[test]
fn a_conversation_goes_out_whole() {
    let mut asks = message(Speaker::Assistant, "");
    let arguments = "{\"path\":\"a\"}".to_owned();
    asks.tool_calls = vec![ToolCall { id: "c1".to_owned(), name: "read".to_owned(), arguments }];
    let mut reply = message(Speaker::Tool, "text of a");
    reply.tool_call_id = Some("c1".to_owned());
    let call = call(vec![message(Speaker::System, "s"), message(Speaker::User, "u"), asks, reply]);
    let function = json!({"name": "read", "arguments": "{\"path\":\"a\"}"});
    let mut expected = json!({
        "model": "asked",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
            {"role": "tool", "content": "text of a", "tool_call_id": "c1"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "read", "description": "reads", "parameters": {"type": "object", "properties": {}},
        }}],
        "tool_choice": {"type": "function", "function": {"name": "read"}},
        "max_tokens": 50,
        "stream": false,
    });
    assert_eq!(sent(&call.request, false), expected);
    expected.as_object_mut().unwrap().remove("max_tokens");
    expected["max_completion_tokens"] = json!(50);
    assert_eq!(sent(&call.request, true), expected);
}

#[test]
fn arguments_that_are_no_object_go_back_inside_one() {
    let mut asks = message(Speaker::Assistant, "");
    let arguments = "{\"path\": ".to_owned();
    asks.tool_calls = vec![ToolCall { id: "c1".to_owned(), name: "read".to_owned(), arguments }];
    let sent = sent(&call(vec![asks]).request, false);
    let arguments = sent["messages"][0]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"invalid_arguments": "{\"path\": "}));
}

#[test]
fn formats_and_schemas_are_put_into_the_dialect() {
    let mut request_ = call(vec![]).request;
    request_.tools.clear();
    request_.response_format =
        ResponseFormat::JsonSchema { name: "plan".to_owned(), schema: "{\"type\":\"object\"}".to_owned() };
    let sent = sent(&request_, false);
    assert_eq!(
        sent["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object"}, "strict": false}})
    );
    assert!(sent.get("tools").is_none() && sent.get("tool_choice").is_none());
    request_.response_format = ResponseFormat::JsonSchema { name: "plan".to_owned(), schema: "{".to_owned() };
    let error = request(&request_, false).unwrap_err();
    assert!(matches!(&error, LlmError::Unsendable { reason } if reason.contains("`plan`")), "{error}");
}

#[test]
fn tool_calls_are_read_in_every_form() {
    let id = |text: &str| ToolCall { id: text.to_owned(), name: "read".to_owned(), arguments: "{\"a\":1}".to_owned() };
    let object = json!({"name": "read", "arguments": {"a": 1}});
    let text = json!({"name": "read", "arguments": "{\"a\":1}"});
    for (message, expected) in [
        (json!({"tool_calls": [{"id": "x", "type": "function", "function": text}]}), vec![id("x")]),
        (
            json!({"tool_calls": [{"function": object}, {"id": null, "function": text}]}),
            vec![id("call_3_1"), id("call_3_2")],
        ),
        (
            json!({"tool_calls": [{"id": "x", "function": text}, {"id": "x", "function": text}]}),
            vec![id("x"), id("call_3_2")],
        ),
        (json!({"tool_calls": {"id": 7, "function": text}}), vec![id("7")]),
        (json!({"tool_calls": [{"name": "read", "parameters": {"a": 1}}]}), vec![id("call_3_1")]),
        (json!({"tool_calls": null, "function_call": text}), vec![id("call_3_1")]),
        (json!({"tool_calls": []}), vec![]),
        (json!({"tool_calls": ["nonsense", null]}), vec![]),
        (json!({"tool_calls": null, "function_call": null}), vec![]),
    ] {
        let completion = answered(message.clone());
        assert_eq!(completion.tool_calls, expected, "{message}");
        let reason = if expected.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        assert_eq!(completion.finish_reason, reason, "{message}");
    }
}

#[test]
fn missing_and_oddly_typed_fields_do_no_harm() {
    let estimated = Usage { estimated: true, ..Usage::default() };
    for (answer, text, model) in [
        (json!({"choices": [{"message": {"content": "a"}}], "model": "m", "extra": {"x": [1]}}), "a", "m"),
        (json!({"choices": [{"message": {"content": [{"type": "text", "text": "a"}]}}]}), "a", "asked"),
        (json!({"choices": [{"message": {"content": null}}], "usage": null}), "", "asked"),
        (json!({"choices": [{"message": {}}], "model": null, "usage": "many"}), "", "asked"),
        (json!({"choices": [{"text": "a", "finish_reason": null}]}), "a", "asked"),
        (json!({"choices": [{"message": {"role": "assistant", "content": 5}}], "error": null}), "", "asked"),
    ] {
        let completion = read(&answer);
        assert_eq!((completion.text.as_str(), completion.model.as_str()), (text, model), "{answer}");
        assert_eq!(completion.usage, estimated, "{answer}");
    }
}

#[test]
fn a_refusal_is_told_from_an_answer() {
    let refused = answered(json!({"content": null, "refusal": "I won't"}));
    assert_eq!((refused.text.as_str(), refused.finish_reason), ("I won't", FinishReason::ContentFilter));
}

#[test]
fn an_answer_without_choices_is_malformed_and_a_wrapped_error_is_an_error() {
    for body in [json!({}), json!([]), json!("x"), json!({"choices": []}), json!({"choices": null, "error": null})] {
        let error = completion(&body, &call(vec![])).unwrap_err();
        assert!(matches!(error, LlmError::Malformed { .. }), "{body}");
    }
    for (body, expected) in [
        (json!({"error": {"code": 429, "message": "slow down"}}), (429, "slow down")),
        (json!({"error": {"code": "overloaded", "message": "later"}}), (502, "later")),
        (json!({"error": "plain"}), (502, "plain")),
    ] {
        let LlmError::Status { status, message, .. } = completion(&body, &call(vec![])).unwrap_err() else {
            panic!("{body}");
        };
        assert_eq!((status, message.as_str()), expected);
    }
}

#[test]
fn what_the_provider_wants_back_goes_back_within_a_tool_loop_only() {
    let completion = answered(json!({
        "content": "", "reasoning_content": "hm",
        "tool_calls": [{"id": "x", "function": {"name": "read", "arguments": "{}"}, "extra_content": {"sign": "s"}}],
    }));
    let mut back = message(Speaker::Assistant, "");
    back.provider_state = completion.provider_state;
    back.tool_calls = completion.tool_calls;
    let sent_back = sent(&call(vec![back.clone()]).request, false);
    assert_eq!(sent_back["messages"][0]["reasoning_content"], "hm");
    assert_eq!(sent_back["messages"][0]["tool_calls"][0]["extra_content"], json!({"sign": "s"}));
    back.tool_calls.clear();
    assert!(sent(&call(vec![back]).request, false)["messages"][0].get("reasoning_content").is_none());
}

#[test]
fn a_foreign_or_broken_state_is_ignored() {
    for state in
        ["", "[]", "{\"dialect\":\"responses\",\"v\":1,\"state\":[]}", "{\"dialect\":\"chat\",\"v\":1,\"state\":7}"]
    {
        let mut back = message(Speaker::Assistant, "x");
        back.tool_calls = vec![ToolCall { id: "a".to_owned(), name: "read".to_owned(), arguments: "{}".to_owned() }];
        back.provider_state = Some(state.to_owned());
        assert_eq!(sent(&call(vec![back]).request, false)["messages"][0]["content"], "x");
    }
}
