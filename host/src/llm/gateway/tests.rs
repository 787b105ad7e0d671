//! Budgets, retries and words, with back ends that answer from a list and time that stands still.

use std::collections::VecDeque;

use async_trait::async_trait;

use super::*;
use crate::domain::budget::Limits;
use crate::domain::llm::{FinishReason, Message, ResponseFormat, Speaker, ToolChoice};

/// Gives the listed answers in order, then nothing for ever.
struct Listed(Mutex<VecDeque<Result<Completion, LlmError>>>);

#[async_trait]
impl Backend for Listed {
    fn name(&self) -> String {
        "listed".to_owned()
    }

    async fn complete(&self, _: BackendCall) -> Result<Completion, LlmError> {
        let next = self.0.lock().unwrap().pop_front();
        match next {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

const PRICE: Price = Price { input_microusd: 1_000_000, cached_input_microusd: 100_000, output_microusd: 2_000_000 };

fn gateway(answers: Vec<Result<Completion, LlmError>>, price: Option<Price>, max_concurrent: usize) -> Arc<Gateway> {
    let backend = Arc::new(Listed(Mutex::new(answers.into())));
    let route = Route { backend, model: "m".to_owned(), price, max_output_tokens: 100 };
    Arc::new(Gateway::new([("default".to_owned(), route)].into(), max_concurrent))
}

fn session(gateway: &Arc<Gateway>, budgets: Vec<SharedBudget>) -> Session {
    gateway.session(Role::new("backend").unwrap(), TaskId::new("1.1").unwrap(), 1, budgets)
}

fn budget(tokens: Option<u64>, cost_microusd: Option<u64>) -> SharedBudget {
    let limits = Limits { tokens, cost_microusd, calls: None };
    Arc::new(Mutex::new(Budget::new(limits, Amount::default())))
}

fn used(budget: &SharedBudget) -> (u64, u64, u64) {
    let guard = budget.lock().unwrap();
    let used = guard.used();
    (used.tokens, used.cost_microusd, used.calls)
}

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, cached_input_tokens: 0, output_tokens, estimated: false }
}

fn answer(usage: Usage) -> Result<Completion, LlmError> {
    Ok(Completion {
        text: "x".to_owned(),
        tool_calls: Vec::new(),
        finish_reason: FinishReason::Stop,
        usage,
        model: "m".to_owned(),
        provider_state: None,
    })
}

fn status(status: u16, retry_after_s: Option<u64>) -> Result<Completion, LlmError> {
    let retry_after = retry_after_s.map(Duration::from_secs);
    Err(LlmError::Status { status, code: None, message: "said the server".to_owned(), retry_after })
}

/// 12 characters of text: 4 + 6 tokens, and at most 100 come back.
fn request() -> Request {
    Request {
        model: "default".to_owned(),
        messages: vec![Message {
            speaker: Speaker::User,
            text: "do something".to_owned(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            provider_state: None,
        }],
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        response_format: ResponseFormat::Text,
        max_output_tokens: None,
    }
}

const RESERVED_TOKENS: u64 = 110;
const RESERVED_MICROUSD: u64 = 210;

#[test]
fn a_price_counts_cached_tokens_apart_and_rounds_up() {
    let cached = Usage { cached_input_tokens: 10, ..usage(10, 0) };
    for (usage, cost) in [(usage(10, 5), 20), (cached, 1), (usage(0, 0), 0), (usage(u64::MAX, u64::MAX), u64::MAX)] {
        assert_eq!(PRICE.of(&usage), cost, "{usage:?}");
    }
}

#[tokio::test]
async fn an_answer_is_settled_at_what_it_used() {
    let gateway = gateway(vec![answer(usage(20, 10))], Some(PRICE), 1);
    let (attempt, run) = (budget(Some(RESERVED_TOKENS), None), budget(None, Some(RESERVED_MICROUSD)));
    let session = session(&gateway, vec![Arc::clone(&attempt), Arc::clone(&run)]);
    let (_, cost) = session.complete(request()).await.unwrap();
    assert_eq!(cost.cost_microusd, Some(40));
    assert_eq!((used(&attempt), used(&run)), ((30, 40, 1), (30, 40, 1)));
    assert_eq!(run.lock().unwrap().reserved(), Amount::default());
}

#[tokio::test]
async fn a_call_that_the_budget_does_not_cover_is_never_sent() {
    // The list is empty: a call that is sent would never come back.
    let gateway = gateway(vec![], Some(PRICE), 1);
    let (attempt, run) = (budget(None, None), budget(Some(RESERVED_TOKENS - 1), None));
    let session = session(&gateway, vec![Arc::clone(&attempt), run]);
    let refused = session.complete(request()).await.unwrap_err();
    assert!(matches!(refused.error, HostError::BudgetExceeded(_)), "{refused:?}");
    assert_eq!(refused.cost.cost_microusd, Some(0));
    assert_eq!(attempt.lock().unwrap().reserved(), Amount::default());
}

#[tokio::test]
async fn a_money_budget_wants_a_known_price() {
    let gateway = gateway(vec![answer(usage(20, 10))], None, 1);
    assert_eq!(gateway.unpriced(), ["default"]);
    let refused = session(&gateway, vec![budget(None, Some(1_000_000))]).complete(request()).await.unwrap_err();
    assert!(refused.error.to_string().contains("has no price"), "{refused:?}");
    let (_, cost) = session(&gateway, vec![budget(Some(1_000), None)]).complete(request()).await.unwrap();
    assert_eq!(cost.cost_microusd, None);
}

#[tokio::test(start_paused = true)]
async fn malformed_answers_are_paid() {
    let malformed = || Err(LlmError::Malformed { reason: "it has no `choices`".to_owned(), usage: usage(20, 10) });
    let gateway = gateway(vec![malformed(), answer(usage(20, 5)), malformed(), malformed()], Some(PRICE), 1);
    let run = budget(None, None);
    let session = session(&gateway, vec![Arc::clone(&run)]);
    let (_, cost) = session.complete(request()).await.unwrap();
    assert_eq!((cost.input_tokens, cost.output_tokens, cost.cost_microusd), (40, 15, Some(70)));
    let refused = session.complete(request()).await.unwrap_err();
    assert_eq!(refused.cost.cost_microusd, Some(80));
    assert_eq!(used(&run), (115, 150, 4));
}

#[tokio::test]
async fn a_call_without_a_known_end_stays_charged_at_its_reservation() {
    let gateway = gateway(vec![Err(LlmError::TimedOut { limit_s: 300 })], Some(PRICE), 1);
    let run = budget(None, None);
    let refused = session(&gateway, vec![Arc::clone(&run)]).complete(request()).await.unwrap_err();
    assert!(matches!(refused.error, HostError::TimedOut(_)));
    assert_eq!(used(&run), (RESERVED_TOKENS, RESERVED_MICROUSD, 1));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_stays_set_aside() {
    let gateway = gateway(vec![], Some(PRICE), 1);
    let run = budget(None, None);
    let session = session(&gateway, vec![Arc::clone(&run)]);
    let abandoned = tokio::time::timeout(Duration::from_secs(1), session.complete(request())).await;
    assert!(abandoned.is_err());
    assert_eq!(run.lock().unwrap().reserved().tokens, RESERVED_TOKENS);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_waited_for_as_long_as_it_asks() {
    let gateway = gateway(vec![status(429, Some(7)), status(503, Some(11)), answer(usage(20, 10))], Some(PRICE), 1);
    let run = budget(None, None);
    let start = tokio::time::Instant::now();
    session(&gateway, vec![Arc::clone(&run)]).complete(request()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(18));
    assert_eq!(used(&run), (30, 40, 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_within_bounds_and_said_in_words() {
    for (error, tries, part) in [
        (401, 1, "check the API key"),
        (403, 1, "check the API key"),
        (404, 1, "check the model's name"),
        (400, 1, "the request has to change"),
        (422, 1, "the request has to change"),
        (500, 4, "busy or broken"),
        (429, 4, "busy or broken"),
    ] {
        let answers = (0..5).map(|_| status(error, None)).collect();
        let gateway = gateway(answers, Some(PRICE), 1);
        let refused = session(&gateway, vec![]).complete(request()).await.unwrap_err();
        let said = refused.error.to_string();
        assert!(said.contains(part) && said.contains("said the server") && said.contains("`m`"), "{said}");
        assert_eq!(said.contains("after 4 tries"), tries == 4, "{said}");
        assert_eq!(refused.cost, Cost { cost_microusd: Some(0), ..Cost::default() });
    }
}

#[tokio::test]
async fn only_answered_calls_count_as_turns() {
    struct Turns(Mutex<Vec<u32>>);
    #[async_trait]
    impl Backend for Turns {
        fn name(&self) -> String {
            "turns".to_owned()
        }
        async fn complete(&self, call: BackendCall) -> Result<Completion, LlmError> {
            let mut turns = self.0.lock().unwrap();
            turns.push(call.position.turn);
            if turns.len() == 2 { status(400, None) } else { answer(usage(1, 1)) }
        }
    }
    let backend = Arc::new(Turns(Mutex::default()));
    let route = Route { backend: Arc::clone(&backend) as _, model: "m".to_owned(), price: None, max_output_tokens: 9 };
    let gateway = Arc::new(Gateway::new([("default".to_owned(), route)].into(), 1));
    let session = session(&gateway, vec![]).after(4);
    for _ in 0..4 {
        let _ = session.complete(request()).await;
    }
    assert_eq!(*backend.0.lock().unwrap(), [5, 6, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_run_at_a_time_than_allowed() {
    let gateway = gateway(vec![], None, 2);
    let run = budget(None, None);
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let session = session(&gateway, vec![Arc::clone(&run)]);
            tokio::spawn(async move { session.complete(request()).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A call that waits for its turn has reserved nothing yet.
    assert_eq!(run.lock().unwrap().reserved().calls, 2);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_unknown_alias_is_answered_with_the_known_ones() {
    let gateway = gateway(vec![], None, 1);
    let request = Request { model: "gpt-9".to_owned(), ..request() };
    let refused = session(&gateway, vec![]).complete(request).await.unwrap_err();
    assert_eq!(refused.error, HostError::Invalid("`gpt-9` is no model alias; configured are default".to_owned()));
}
