//! The gateway against a real HTTP server: what goes over the wire in both dialects, how servers
//! fail, what that costs, and that the key shows up nowhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/llm_server.rs"]
mod llm_server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use llm_server::{Answer, Api, LlmServer, Recorded};
use necro_host::domain::budget::{Amount, Budget, Limits};
use necro_host::domain::call::Refused;
use necro_host::domain::call::{Cost, HostError};
use necro_host::domain::id::{Role, TaskId};
use necro_host::domain::llm::{
    Completion, FinishReason, Message, Request, ResponseFormat, Speaker, Tool, ToolCall, ToolChoice, Usage,
};
use necro_host::llm::config::{LlmConfig, LlmOptions};
use necro_host::llm::gateway::{Session, SharedBudget};
use necro_host::llm::openai::{Dialect, HttpLimits};
use necro_host::llm::scripted::Script;
use serde_json::{Value, json};

/// In every server here; must never be seen in a text that the gateway gives out.
const KEY: &str = "sk-test-0123456789abcdef";
const KEY_CORE: &str = "0123456789";
const BOTH: [Dialect; 2] = [Dialect::Responses, Dialect::Chat];

fn message(speaker: Speaker, text: &str) -> Message {
    Message { speaker, text: text.to_owned(), tool_calls: vec![], tool_call_id: None, provider_state: None }
}

const ASSIGNMENT: &str = "# Task 1.1: greet\n\nSpec: `hello` (`.kiro/specs/hello/`)\nYou are: `backend_spirit_1`\n\n\
                          ## What to do\ngreet people\n\n## Attempt\n1 / 3\n";

fn request() -> Request {
    let parameters = json!({"type": "object", "properties": {"path": {"type": "string"}}}).to_string();
    Request {
        model: "default".to_owned(),
        messages: vec![message(Speaker::System, "You write code."), message(Speaker::User, ASSIGNMENT)],
        tools: vec![Tool { name: "read".to_owned(), description: "Reads a file.".to_owned(), parameters }],
        tool_choice: ToolChoice::Auto,
        response_format: ResponseFormat::Text,
        max_output_tokens: Some(200),
    }
}

fn config(server: &LlmServer, dialect: Dialect, total: Duration) -> LlmConfig {
    let options = LlmOptions {
        base_url: Some(server.base_url().to_owned()),
        model: Some("gpt-5-codex".to_owned()),
        dialect: Some(dialect),
        limits: Some(HttpLimits { connect: Duration::from_secs(5), total }),
        ..LlmOptions::default()
    };
    options.resolve(&|name| (name == "OPENAI_API_KEY").then(|| KEY.to_owned())).unwrap()
}

fn budget() -> SharedBudget {
    Arc::new(Mutex::new(Budget::new(Limits::default(), Amount::default())))
}

fn session_for(config: &LlmConfig, budget: &SharedBudget) -> Session {
    let gateway = Arc::new(config.open().unwrap());
    gateway.session(Role::new("backend").unwrap(), TaskId::new("1.1").unwrap(), 1, vec![Arc::clone(budget)])
}

fn session(server: &LlmServer, dialect: Dialect) -> Session {
    session_for(&config(server, dialect, Duration::from_secs(30)), &budget())
}

/// An answer that says `text`, in the dialect of the request.
fn says(text: &str) -> Answer {
    Answer::Completion(Completion {
        text: text.to_owned(),
        tool_calls: vec![],
        finish_reason: FinishReason::Stop,
        usage: Usage { input_tokens: 100, cached_input_tokens: 40, output_tokens: 10, estimated: false },
        model: "gpt-5-codex-2025".to_owned(),
        provider_state: None,
    })
}

fn raw(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Answer::Raw(response.body(body.into()).unwrap())
}

/// One call to a server that always answers with `answer`: how it is refused, and how often it was
/// asked.
async fn refused(dialect: Dialect, answer: impl Fn() -> Answer + Send + Sync + 'static) -> (Refused, usize) {
    let server = LlmServer::start(Some(KEY), move |_, _| answer());
    let refused = session(&server, dialect).complete(request()).await.unwrap_err();
    server.assert_clean();
    let shown = format!("{refused:?} {}", refused.error);
    assert!(!shown.contains(KEY_CORE), "the key is in {shown}");
    (refused, server.recorded().len())
}

#[tokio::test]
async fn both_dialects_carry_a_tool_loop_from_a_script() {
    let script = "version = 1\n\
        [[reply]]\nrole = \"backend\"\ntask = \"1.1\"\nturn = 1\ntext = \"looking\"\n\
        usage = { input_tokens = 900, cached_input_tokens = 100, output_tokens = 20 }\n\
        [[reply.call]]\nname = \"read\"\narguments = { path = \"a.rs\" }\n\
        [[reply.call]]\nname = \"read\"\narguments_text = \"{broken\"\n\
        [[reply]]\nrole = \"backend\"\ntask = \"1.1\"\nturn = 2\ntext = \"done\"\n";
    for dialect in BOTH {
        let server = LlmServer::scripted(Some(KEY), Script::parse(script, "wire.toml").unwrap());
        let session = session(&server, dialect);
        let mut request = request();
        let (first, cost) = session.complete(request.clone()).await.unwrap();
        assert_eq!(first.finish_reason, FinishReason::ToolCalls);
        let call = |n: u32, arguments: &str| ToolCall {
            id: format!("call_1_{n}"),
            name: "read".to_owned(),
            arguments: arguments.to_owned(),
        };
        assert_eq!(first.tool_calls, [call(1, "{\"path\":\"a.rs\"}"), call(2, "{broken")]);
        let tokens = Cost { input_tokens: 900, cached_input_tokens: 100, output_tokens: 20, ..cost };
        assert_eq!(cost, tokens);
        // 800 × 1.25 + 100 × 0.125 + 20 × 10 dollars for a million tokens.
        assert_eq!(cost.cost_microusd, Some(1_213));
        let ids: Vec<String> = first.tool_calls.iter().map(|call| call.id.clone()).collect();
        request.messages.push(Message {
            tool_calls: first.tool_calls,
            provider_state: first.provider_state,
            ..message(Speaker::Assistant, &first.text)
        });
        for id in ids {
            request.messages.push(Message { tool_call_id: Some(id), ..message(Speaker::Tool, "seen") });
        }
        let (second, _) = session.complete(request).await.unwrap();
        assert_eq!((second.text.as_str(), second.finish_reason), ("done", FinishReason::Stop));
        server.assert_clean();
        check_wire(&server.recorded(), dialect);
    }
}

fn check_wire(recorded: &[Recorded], dialect: Dialect) {
    assert_eq!(recorded.len(), 2);
    let body = &recorded[1].body;
    assert!(recorded[1].headers["user-agent"].starts_with("necro-host/"));
    match dialect {
        Dialect::Responses => {
            assert_eq!(recorded[1].api, Api::Responses);
            assert_eq!(body["input"][1]["encrypted_content"], "sealed-1", "{body}");
            assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
            assert_eq!(body["max_output_tokens"], 200);
        }
        Dialect::Chat => {
            assert_eq!(recorded[1].api, Api::Chat);
            assert_eq!(body["messages"][0], json!({"role": "system", "content": "You write code."}));
            assert_eq!(body["max_tokens"], 200);
        }
    }
}

#[tokio::test]
async fn each_failing_status_has_its_own_words_and_only_passing_ones_are_retried() {
    type Kind = fn(&HostError) -> bool;
    let rows: [(u16, &str, usize, Kind); 6] = [
        (401, "check the API key", 1, |error| matches!(error, HostError::Denied(_))),
        (403, "check the API key", 1, |error| matches!(error, HostError::Denied(_))),
        (404, "check the model's name", 1, |error| matches!(error, HostError::NotFound(_))),
        (400, "has to change", 1, |error| matches!(error, HostError::Invalid(_))),
        (422, "has to change", 1, |error| matches!(error, HostError::Invalid(_))),
        (500, "busy or broken", 4, |error| matches!(error, HostError::Other(_))),
    ];
    for dialect in BOTH {
        for (status, words, requests, kind) in rows {
            let (refused, asked) = refused(dialect, move || {
                let body = json!({"error": {"message": format!("no good: {KEY}"), "code": "x"}}).to_string();
                raw(status, &[("content-type", "application/json"), ("retry-after", "0")], body)
            })
            .await;
            let said = refused.error.to_string();
            assert!(kind(&refused.error) && said.contains(words) && said.contains("gpt-5-codex"), "{said}");
            assert!(said.contains(&format!("{status}: ")) && said.contains("no good"), "{said}");
            assert_eq!((asked, refused.cost.input_tokens), (requests, 0), "{status}");
        }
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    for dialect in BOTH {
        let server = LlmServer::start(Some(KEY), |number, _| match number {
            1 => raw(429, &[("retry-after", "0")], "{\"error\": \"slow\"}"),
            2 => raw(503, &[("retry-after-ms", "1")], "busy"),
            _ => says("there"),
        });
        let (completion, cost) = session(&server, dialect).complete(request()).await.unwrap();
        assert_eq!((completion.text.as_str(), cost.input_tokens), ("there", 100));
        assert_eq!(server.recorded().len(), 3);
    }
}

#[tokio::test]
async fn an_exhausted_account_is_asked_once() {
    let (refused, asked) = refused(Dialect::Chat, || {
        Answer::Json(429, json!({"error": {"message": "pay", "code": "insufficient_quota"}}))
    })
    .await;
    assert!(refused.error.to_string().contains("no credit"), "{refused:?}");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_redirect_is_refused_and_nothing_follows_it() {
    for status in [301, 302, 307, 308] {
        let other = LlmServer::start(None, |_, _| says("stolen"));
        let target = format!("{}/responses", other.base_url());
        let server = LlmServer::start(Some(KEY), move |_, _| raw(status, &[("location", &target)], ""));
        let refused = session(&server, Dialect::Responses).complete(request()).await.unwrap_err();
        let said = refused.error.to_string();
        assert!(said.contains("redirects are not followed") && said.contains("http://127.0.0.1:"), "{said}");
        assert_eq!((server.recorded().len(), other.recorded().len()), (1, 0));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_paid_and_not_asked_again() {
    for (content_type, body) in [
        ("text/html", "<html>Sign in</html>"),
        ("application/json", "{\"choices\": [{\"mess"),
        ("text/event-stream", "data: {}\n\n"),
        ("application/json", ""),
    ] {
        for dialect in BOTH {
            let answer = move || raw(200, &[("content-type", content_type)], format!("{body}{}", ""));
            let (refused, asked) = refused(dialect, answer).await;
            let said = refused.error.to_string();
            assert!(said.contains("no JSON") && said.contains(content_type), "{said}");
            assert!(refused.cost.input_tokens > 0 && refused.cost.cost_microusd > Some(0), "{refused:?}");
            assert_eq!(asked, 1);
        }
    }
}

#[tokio::test]
async fn json_without_an_answer_is_paid_each_time() {
    for dialect in BOTH {
        let (refused, asked) = refused(dialect, || {
            Answer::Json(200, json!({"hello": KEY, "usage": {"prompt_tokens": 50, "completion_tokens": 7}}))
        })
        .await;
        assert!(refused.error.to_string().contains("makes no sense"), "{refused:?}");
        assert_eq!((asked, refused.cost.input_tokens, refused.cost.output_tokens), (2, 100, 14));
    }
}

#[tokio::test]
async fn a_huge_answer_is_refused_whether_or_not_its_length_is_announced() {
    const SIZE: usize = 17 * 1024 * 1024;
    let announced = || raw(200, &[("content-type", "application/json")], vec![b' '; SIZE]);
    let chunked = || {
        let chunks = (0..17).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024 * 1024]));
        raw(200, &[("content-type", "application/json")], Body::from_stream(futures::stream::iter(chunks)))
    };
    for (refused, asked) in [refused(Dialect::Chat, announced).await, refused(Dialect::Responses, chunked).await] {
        assert!(refused.error.to_string().contains("larger than 16777216 bytes"), "{refused:?}");
        assert_eq!(asked, 1);
    }
}

#[tokio::test]
async fn a_huge_error_is_cut() {
    let body = format!("{KEY}{}", "x".repeat(1024 * 1024));
    let (refused, _) = refused(Dialect::Chat, move || raw(400, &[], body.clone())).await;
    let said = refused.error.to_string();
    assert!(said.len() < 2_000 && said.contains("«masked»xxx"), "{}", said.len());
}

#[tokio::test]
async fn a_cut_connection_stays_charged_and_is_tried_again() {
    let server = LlmServer::start(Some(KEY), |number, _| {
        if number == 2 {
            return says("whole");
        }
        let parts = [Ok("{\"choices\": ".to_owned()), Err(std::io::Error::other("cut"))];
        raw(200, &[("content-type", "application/json")], Body::from_stream(futures::stream::iter(parts)))
    });
    let budget = budget();
    let session = session_for(&config(&server, Dialect::Chat, Duration::from_secs(30)), &budget);
    let (completion, cost) = session.complete(request()).await.unwrap();
    assert_eq!((completion.text.as_str(), server.recorded().len()), ("whole", 2));
    // The reservation of the cut call counts 200 tokens of output.
    assert_eq!(cost.output_tokens, 210);
    let used = budget.lock().unwrap().used();
    assert_eq!((used.calls, used.tokens), (2, cost.input_tokens + cost.output_tokens));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_charged() {
    let server = LlmServer::start(Some(KEY), |_, _| {
        let never = futures::stream::pending::<Result<String, std::io::Error>>();
        raw(200, &[("content-type", "application/json")], Body::from_stream(never))
    });
    let config = config(&server, Dialect::Responses, Duration::from_millis(200));
    let refused = session_for(&config, &budget()).complete(request()).await.unwrap_err();
    assert!(matches!(refused.error, HostError::TimedOut(_)), "{refused:?}");
    assert_eq!((refused.cost.output_tokens, server.recorded().len()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let options = LlmOptions { base_url: Some(base_url.clone()), ..LlmOptions::default() };
    let config = options.resolve(&|_| None).unwrap();
    let refused = session_for(&config, &budget()).complete(request()).await.unwrap_err();
    let said = refused.error.to_string();
    assert!(said.contains("no connection to http://127.0.0.1:") && said.contains("after 4 tries"), "{said}");
    assert_eq!(refused.cost.input_tokens, 0);
}

#[tokio::test]
async fn a_key_that_the_server_repeats_is_masked_in_answers_too() {
    // The escapes hide the key from a search in the raw body.
    let escaped = KEY.replace('-', "\\u002d");
    for dialect in BOTH {
        let escaped = escaped.clone();
        let server = LlmServer::start(Some(KEY), move |_, recorded| {
            let text = format!("you sent {KEY} and {escaped}");
            let body = match recorded.api {
                Api::Chat => format!("{{\"choices\": [{{\"message\": {{\"content\": \"{text}\"}}}}]}}"),
                _ => format!("{{\"output\": [{{\"type\": \"message\", \"content\": \"{text}\"}}]}}"),
            };
            raw(200, &[("content-type", "application/json")], body)
        });
        let (completion, _) = session(&server, dialect).complete(request()).await.unwrap();
        assert_eq!(completion.text, "you sent «masked» and «masked»");
        assert!(completion.usage.estimated && completion.usage.input_tokens > 0);
    }
}

#[tokio::test]
async fn nothing_can_be_seen_of_the_key_from_outside() {
    let server = LlmServer::start(Some(KEY), |_, _| Answer::Json(200, json!({"data": [{"id": "m1"}, {"x": 1}]})));
    let config = config(&server, Dialect::Chat, Duration::from_secs(5));
    let gateway = Arc::new(config.open().unwrap());
    let backend = config.server(Dialect::Chat).unwrap().unwrap();
    let session = gateway.session(Role::new("qa").unwrap(), TaskId::new("1").unwrap(), 1, vec![]);
    let shown = format!("{config:?} {gateway:?} {backend:?} {session:?}");
    assert!(!shown.contains(KEY_CORE), "{shown}");
    assert_eq!(backend.probe().await.unwrap(), ["m1"]);
    server.assert_clean();
}

/// Collects what every library logs at its most talkative.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_shows_the_key() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    for dialect in BOTH {
        let bad = move |number, _: &Recorded| match number {
            1 => raw(500, &[("retry-after", "0")], format!("crashed on {KEY}")),
            2 => raw(429, &[("retry-after", "0"), ("x-echo", KEY)], format!("{{\"error\": \"{KEY}\"}}")),
            _ => raw(200, &[("content-type", "application/json")], format!("{{\"choices\": \"{KEY}")),
        };
        let server = LlmServer::start(Some(KEY), bad);
        session(&server, dialect).complete(request()).await.unwrap_err();
        assert_eq!(server.recorded().len(), 3);
    }
    drop(guard);
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("crashed on «masked»"), "{text}");
    assert!(!text.contains(KEY_CORE), "{text}");
}

#[tokio::test]
async fn a_server_without_a_list_of_models_is_reachable() {
    let server = LlmServer::start(None, |_, _| Answer::Json(404, Value::Null));
    let options = LlmOptions { base_url: Some(server.base_url().to_owned()), ..LlmOptions::default() };
    let config = options.resolve(&|_| None).unwrap();
    let backend = config.server(Dialect::Chat).unwrap().unwrap();
    assert_eq!(backend.probe().await, Ok(vec![]));
    server.assert_clean();
}
