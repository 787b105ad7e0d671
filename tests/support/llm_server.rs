//! An OpenAI-compatible server on the loopback interface, in both dialects. It records every
//! request, checks what arrives on the wire, and answers from a script or from a closure. It runs on
//! a thread of its own, so that blocking tests and tests of the binary can use it.
//!
//! Nothing in a request says which task it is for, as with a real server: role, task and attempt are
//! read off the first user message, and the turn is the number of assistant turns in the history.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use necro_host::domain::id::{Role, TaskId};
use necro_host::domain::llm::{self, Completion, FinishReason, ResponseFormat, ToolChoice};
use necro_host::llm::backend::{Backend, BackendCall, CallPosition};
use necro_host::llm::scripted::{Script, ScriptedBackend};
use regex::Regex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Largest request that is read.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// Which API a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// `/chat/completions`
    Chat,
    /// `/responses`
    Responses,
    /// `/models`
    Models,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Which API.
    pub(crate) api: Api,
    /// Header names are in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// The body; null when it has none.
    pub(crate) body: Value,
}

/// What to send back, for closures.
pub(crate) enum Answer {
    /// JSON with this status.
    Json(u16, Value),
    /// Anything.
    Raw(Response),
    /// What a model would say, in the dialect of the request.
    Completion(Completion),
}

type Handler = dyn Fn(usize, &Recorded) -> Answer + Send + Sync;

enum Behaviour {
    Script(ScriptedBackend),
    Handler(Box<Handler>),
}

struct Shared {
    key: Option<String>,
    behaviour: Behaviour,
    recorded: Mutex<Vec<Recorded>>,
    problems: Mutex<Vec<String>>,
}

/// A running server; it stops when dropped.
pub(crate) struct LlmServer {
    base_url: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LlmServer {
    /// Answers with `handler`, which gets the number of the request (from 1).
    pub(crate) fn start(
        key: Option<&str>,
        handler: impl Fn(usize, &Recorded) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::run(key, Behaviour::Handler(Box::new(handler)))
    }

    /// Answers from a script in the format of `--llm scripted:FILE`.
    pub(crate) fn scripted(key: Option<&str>, script: Script) -> Self {
        Self::run(key, Behaviour::Script(ScriptedBackend::new(script)))
    }

    fn run(key: Option<&str>, behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            key: key.map(str::to_owned),
            behaviour,
            recorded: Mutex::default(),
            problems: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("a bound address"));
        listener.set_nonblocking(true).expect("a socket that does not block");
        let (stop, stopped) = oneshot::channel();
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let app = Router::new().fallback(serve).with_state(state);
                tokio::select! {
                    served = axum::serve(listener, app) => served.expect("the server runs"),
                    _ = stopped => {}
                }
            });
        });
        Self { base_url, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// What to configure as the base URL.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Every request so far.
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        lock(&self.shared.recorded).clone()
    }

    /// What was wrong on the wire so far.
    pub(crate) fn problems(&self) -> Vec<String> {
        lock(&self.shared.problems).clone()
    }

    /// Fails the test when anything was wrong on the wire.
    pub(crate) fn assert_clean(&self) {
        let problems = self.problems();
        assert!(problems.is_empty(), "wrong on the wire:\n{}", problems.join("\n"));
    }
}

impl Drop for LlmServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the server thread ends");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let api = match (parts.method.as_str(), parts.uri.path()) {
        ("POST", "/v1/chat/completions") => Api::Chat,
        ("POST", "/v1/responses") => Api::Responses,
        ("GET", "/v1/models") => Api::Models,
        (method, path) => {
            lock(&shared.problems).push(format!("unknown endpoint {method} {path}"));
            return answer_json(404, &error("no such endpoint"));
        }
    };
    let bytes = to_bytes(body, MAX_REQUEST_BYTES).await.unwrap_or_default();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let recorded = Recorded { api, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
    let number = {
        let mut list = lock(&shared.recorded);
        list.push(recorded.clone());
        list.len()
    };
    let mut problems = wire_problems(&recorded, shared.key.as_deref());
    if matches!(shared.behaviour, Behaviour::Script(_)) && api != Api::Models {
        problems.extend(tool_problems(&recorded));
    }
    if !problems.is_empty() {
        let answer = error(&format!("wire: {}", problems.join("; ")));
        lock(&shared.problems).extend(problems.into_iter().map(|problem| format!("request {number}: {problem}")));
        return answer_json(400, &answer);
    }
    respond(&shared, number, &recorded).await
}

async fn respond(shared: &Shared, number: usize, recorded: &Recorded) -> Response {
    let answer = match &shared.behaviour {
        Behaviour::Handler(handler) => handler(number, recorded),
        Behaviour::Script(_) if recorded.api == Api::Models => Answer::Json(200, json!({"data": [{"id": "scripted"}]})),
        Behaviour::Script(backend) => match play(backend, recorded).await {
            Ok(completion) => Answer::Completion(completion),
            Err(problem) => {
                lock(&shared.problems).push(format!("request {number}: {problem}"));
                Answer::Json(400, error(&problem))
            }
        },
    };
    match answer {
        Answer::Json(status, body) => answer_json(status, &body),
        Answer::Raw(response) => response,
        Answer::Completion(completion) => answer_json(200, &rendered(recorded.api, &completion, number)),
    }
}

async fn play(backend: &ScriptedBackend, recorded: &Recorded) -> Result<Completion, String> {
    let position = position(recorded)?;
    let request = llm::Request {
        model: recorded.body["model"].as_str().unwrap_or_default().to_owned(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        response_format: ResponseFormat::Text,
        max_output_tokens: None,
    };
    backend.complete(BackendCall { request, position }).await.map_err(|error| error.to_string())
}

fn error(message: &str) -> Value {
    json!({"error": {"message": message, "type": "invalid_request_error", "code": null}})
}

fn answer_json(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a valid answer")
}

/// The conversation in one form: who speaks, and the item itself.
fn items(recorded: &Recorded) -> &[Value] {
    let name = if recorded.api == Api::Responses { "input" } else { "messages" };
    recorded.body[name].as_array().map_or(&[], Vec::as_slice)
}

fn is_assistant(item: &Value) -> bool {
    item["role"] == "assistant" || item["type"] == "function_call" || item["type"] == "reasoning"
}

/// Where in a run the request stands, as the first user message and the history tell.
pub(crate) fn position(recorded: &Recorded) -> Result<CallPosition, String> {
    let items = items(recorded);
    let first = items.iter().find(|item| item["role"] == "user").ok_or("no user message")?;
    let text = first["content"].as_str().ok_or("the first user message is no text")?;
    let find = |pattern: &str, text: &str| {
        Regex::new(pattern).expect("a valid pattern").captures_iter(text).last().map(|found| found[1].to_owned())
    };
    let header = text.split("\n## ").next().unwrap_or_default();
    let role = find(r"`([a-z0-9_]+)_spirit_[0-9]+`", header).ok_or("no spirit instance in the first user message")?;
    let task = find(r"^# (?:Task|タスク) ([0-9.]+[a-z]?): ", text).or(match role.as_str() {
        "architect" => Some("0.1".to_owned()),
        "scrum_master" => Some("0.2".to_owned()),
        _ => None,
    });
    let attempt = find(r"(?m)^([0-9]+) / [0-9]+$", text).ok_or("no attempt in the first user message")?;
    let turns = items.iter().enumerate().filter(|(i, item)| {
        is_assistant(item) && !(*i > 0 && recorded.api == Api::Responses && is_assistant(&items[i - 1]))
    });
    Ok(CallPosition {
        role: Role::new(role).map_err(|error| error.to_string())?,
        task: TaskId::new(task.ok_or("no task in the first user message")?).map_err(|error| error.to_string())?,
        attempt: attempt.parse().map_err(|_| "the attempt is no number")?,
        turn: u32::try_from(turns.count()).unwrap_or(u32::MAX) + 1,
    })
}

/// What no request may do.
fn wire_problems(recorded: &Recorded, key: Option<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    let expected = key.map(|key| format!("Bearer {key}"));
    if recorded.headers.get("authorization") != expected.as_ref() {
        problems.push("the Authorization header is not the configured key's".to_owned());
    }
    if recorded.api == Api::Models {
        return problems;
    }
    let mut demand = |holds: bool, problem: &str| {
        if !holds {
            problems.push(problem.to_owned());
        }
    };
    let body = &recorded.body;
    demand(
        recorded.headers.get("content-type").is_some_and(|value| value.starts_with("application/json")),
        "the content type is not JSON",
    );
    demand(body["model"].as_str().is_some_and(|model| !model.is_empty()), "no model is named");
    demand(body["stream"] != true, "a stream is asked for");
    demand(!items(recorded).is_empty(), "there is no conversation");
    if recorded.api == Api::Responses {
        demand(body["store"] == false, "the server is to store the answer");
        demand(body.get("previous_response_id").is_none(), "state on the server is used");
    }
    problems.extend(call_problems(recorded));
    problems
}

/// Every tool call in the history is answered exactly once, after it, and before anyone else speaks.
fn call_problems(recorded: &Recorded) -> Vec<String> {
    let mut problems = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for item in items(recorded) {
        let answered = match recorded.api {
            Api::Chat if item["role"] == "tool" => item["tool_call_id"].as_str(),
            Api::Responses if item["type"] == "function_call_output" => item["call_id"].as_str(),
            _ => None,
        };
        if let Some(id) = answered {
            match open.iter().position(|open| open == id) {
                Some(i) => drop(open.remove(i)),
                None => problems.push(format!("a reply to `{id}`, which is no open call")),
            }
            continue;
        }
        let same_turn = recorded.api == Api::Responses && is_assistant(item);
        if !same_turn && !open.is_empty() {
            problems.push(format!("no reply to {} before somebody speaks", open.join(", ")));
            open.clear();
        }
        for (id, arguments) in calls_of(item) {
            if seen.contains(&id) {
                problems.push(format!("the call id `{id}` stands twice"));
            }
            if recorded.api == Api::Chat && !serde_json::from_str::<Value>(&arguments).is_ok_and(|a| a.is_object()) {
                problems.push(format!("the arguments of `{id}` are no JSON object"));
            }
            seen.push(id.clone());
            open.push(id);
        }
    }
    if !open.is_empty() {
        problems.push(format!("no reply to {}", open.join(", ")));
    }
    problems
}

fn calls_of(item: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if item["type"] == "function_call" {
        return vec![(text(&item["call_id"]), text(&item["arguments"]))];
    }
    let calls = item["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    calls.iter().map(|call| (text(&call["id"]), text(&call["function"]["arguments"]))).collect()
}

/// A spirit without tools can do nothing.
fn tool_problems(recorded: &Recorded) -> Vec<String> {
    let tools = recorded.body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    if tools.is_empty() {
        return vec!["no tools are offered".to_owned()];
    }
    let whole = |tool: &&Value| {
        let function = if recorded.api == Api::Chat { &tool["function"] } else { *tool };
        tool["type"] == "function"
            && function["name"].as_str().is_some_and(|name| !name.is_empty())
            && function["parameters"]["type"] == "object"
    };
    tools.iter().filter(|tool| !whole(tool)).map(|tool| format!("this is no tool: {tool}")).collect()
}

/// A completion as a server of this dialect would write it.
fn rendered(api: Api, completion: &Completion, number: usize) -> Value {
    let usage = completion.usage;
    if api == Api::Responses {
        let mut output = vec![json!({
            "type": "reasoning", "id": format!("rs_{number}"), "summary": [], "status": null,
            "encrypted_content": format!("sealed-{number}"),
        })];
        if !completion.text.is_empty() {
            output.push(json!({
                "type": "message", "id": format!("msg_{number}"), "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": completion.text, "annotations": []}],
            }));
        }
        output.extend(completion.tool_calls.iter().map(|call| {
            json!({
                "type": "function_call", "id": format!("fc_{number}_{}", call.id), "call_id": call.id,
                "name": call.name, "arguments": call.arguments, "status": "completed",
            })
        }));
        return json!({
            "id": format!("resp_{number}"), "object": "response", "status": "completed", "error": null,
            "model": completion.model, "output": output,
            "usage": {
                "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
                "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
            },
        });
    }
    let calls: Vec<Value> = completion
        .tool_calls
        .iter()
        .map(|call| {
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        })
        .collect();
    let finish_reason = match completion.finish_reason {
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop | FinishReason::Other => "stop",
    };
    let content = if completion.text.is_empty() { Value::Null } else { json!(completion.text) };
    json!({
        "id": format!("chatcmpl-{number}"), "object": "chat.completion", "model": completion.model,
        "choices": [{
            "index": 0, "finish_reason": finish_reason,
            "message": {"role": "assistant", "content": content, "tool_calls": calls},
        }],
        "usage": {
            "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(messages: Value) -> Recorded {
        Recorded { api: Api::Chat, headers: HashMap::new(), body: json!({"messages": messages}) }
    }

    fn responses(input: Value) -> Recorded {
        Recorded { api: Api::Responses, headers: HashMap::new(), body: json!({"input": input}) }
    }

    fn call(id: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "read", "arguments": "{}"}})
    }

    #[test]
    fn the_server_sees_unanswered_and_wrongly_answered_calls() {
        let asks = json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]});
        let reply = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
        let user = json!({"role": "user", "content": "x"});
        for (messages, problems) in [
            (json!([user, asks, reply("b"), reply("a"), user]), 0),
            (json!([user, asks, reply("a")]), 1),
            (json!([user, asks, reply("a"), user, reply("b")]), 2),
            (json!([user, asks, reply("a"), reply("a"), reply("b")]), 1),
            (json!([user, reply("z")]), 1),
            (json!([user, asks, reply("a"), reply("b"), asks, reply("a"), reply("b")]), 2),
        ] {
            let found = call_problems(&chat(messages.clone()));
            assert_eq!(found.len(), problems, "{messages}: {found:?}");
        }
    }

    #[test]
    fn the_position_is_read_off_the_conversation() {
        let english = "# Task 2.1: x\n\nSpec: `s` (`.kiro/specs/s/`)\nYou are: `backend_spirit_2`\n\n## What to do\n\
                       ask `qa_spirit_1`\n\n## Attempt\n3 / 3\n";
        let japanese = "# 設計する\n\nスペック: `s`\nあなたの名前: `architect_spirit_1`\n\n## 試行\n1 / 3\n";
        let said = json!({"role": "assistant", "content": "x"});
        let told = json!({"role": "user", "content": "y"});
        let at = |recorded: &Recorded| position(recorded).unwrap().to_string();
        assert_eq!(
            at(&chat(json!([{"role": "system", "content": ""}, {"role": "user", "content": english}, said, told]))),
            "role backend, task 2.1, attempt 3, turn 2"
        );
        let thought = json!({"type": "reasoning"});
        let called = json!({"type": "function_call"});
        let output = json!({"type": "function_call_output"});
        assert_eq!(
            at(&responses(
                json!([{"role": "user", "content": japanese}, thought, said, called, output, thought, called, output])
            )),
            "role architect, task 0.1, attempt 1, turn 3"
        );
        assert!(position(&chat(json!([{"role": "user", "content": "hello"}]))).is_err());
    }

    /// Also keeps every part of this file in use, whichever test includes it.
    #[test]
    fn a_clean_server_has_no_problems() {
        let script = Script::parse("version = 1", "empty.toml").unwrap();
        let server = LlmServer::scripted(None, script);
        assert!(server.base_url().starts_with("http://127.0.0.1:") && server.recorded().is_empty());
        server.assert_clean();
        let plain = LlmServer::start(None, |_, _| Answer::Raw(answer_json(200, &json!({}))));
        assert!(plain.problems().is_empty());
        let _ = Answer::Json(200, json!({}));
    }
}
