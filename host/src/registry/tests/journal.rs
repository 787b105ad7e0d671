//! Journals: order, durability of each class, local effects, locks, and what is read back.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::domain::assignment::Envelope;
use crate::domain::call::{CallRequest, Class, Cost, Function, HostError, LocalAnswer, LocalEffect};
use crate::domain::event::{Body, Subject};
use crate::domain::id::{CommitId, ExecutionId};
use crate::registry::{
    CallRecord, Execution, ExecutionFilter, ExecutionKind, Expired, LeaseKind, LeaseRequest, LocalContext,
    NewExecution, PolicyState, request_digest,
};

fn new(name: &str, kind: ExecutionKind) -> NewExecution {
    NewExecution {
        id: ExecutionId::new(name).unwrap(),
        run: Some(run()),
        kind,
        spec: Some(spec()),
        attempt: Some(attempt("1", 1)),
        plugin: "backend".to_owned(),
        component: digest(),
        engine: "wasmtime 48".to_owned(),
        limits: json!({ "fuel": 1_000_000 }),
        settings: json!({}),
        input: json!({"title": "do it"}),
    }
}

fn call(function: Function, arguments: Value) -> CallRequest {
    CallRequest { function, arguments, effect: None }
}

fn read(path: &str) -> CallRequest {
    call(Function::WorkspaceRead, json!({"path": path}))
}

fn context() -> LocalContext {
    LocalContext { attempt: attempt("1", 1), instance: spirit(), workspace: "demo".to_owned() }
}

async fn calls(fixture: &Fixture, name: &str) -> Vec<CallRecord> {
    let id = ExecutionId::new(name).unwrap();
    fixture.registry.read(move |r| r.calls(&id)).await.unwrap()
}

async fn begin(fixture: &Fixture, name: &str) -> Execution {
    fixture.registry.begin_execution(new(name, ExecutionKind::Spirit)).await.unwrap()
}

async fn with_attempt() -> Fixture {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    fixture.claim("1").await.unwrap();
    fixture
}

#[tokio::test]
async fn observations_become_durable_with_the_next_record_and_in_order() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    execution.observed(read("a"), json!({"text": "A"})).await.unwrap();
    execution.observed(read("b"), json!({"Err": {"error": "not-found", "message": "b"}})).await.unwrap();
    assert_eq!(calls(&fixture, "e").await, [], "not yet durable");
    let write = call(Function::WorkspaceWrite, json!({"path": "c", "digest": "d"}));
    assert_eq!(execution.intent(write.clone()).await.unwrap(), 3);
    let stored = calls(&fixture, "e").await;
    assert_eq!(stored.iter().map(|c| c.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(stored[0].answer, Some(json!({"text": "A"})));
    assert_eq!((&stored[2].answer, stored[2].answered_at), (&None, None), "an intent has no answer yet");
    assert_eq!((&stored[2].arguments, &stored[2].digest), (&write.arguments, &request_digest(&write)));
    execution.observed(read("d"), json!(1)).await.unwrap();
    execution.answered(3, json!({"Ok": null}), Cost::default(), None).await.unwrap();
    let stored = calls(&fixture, "e").await;
    assert_eq!((stored.len(), &stored[2].answer), (4, &Some(json!({"Ok": null}))));
    let twice = execution.answered(3, json!(2), Cost::default(), None).await;
    assert!(matches!(twice, Err(RegistryError::UnknownCall { sequence: 3, .. })));
}

#[tokio::test]
async fn observations_do_not_pile_up_without_bound() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    for n in 0..300 {
        execution.observed(read(&n.to_string()), json!(n)).await.unwrap();
    }
    assert_eq!(calls(&fixture, "e").await.len(), 256);
    execution.end(json!({"Ok": {}}), json!({"fuel": 5}), None).await.unwrap();
    assert_eq!(calls(&fixture, "e").await.len(), 300);
}

#[tokio::test]
async fn a_decision_is_one_commit_with_its_new_state() {
    let fixture = with_attempt().await;
    let decision = fixture.registry.begin_execution(new("r", ExecutionKind::Routing)).await.unwrap();
    let all = |r: &crate::registry::Reader| r.executions(&ExecutionFilter::default());
    assert_eq!(fixture.registry.read(all).await.unwrap(), [], "nothing is written before the end");
    let state = PolicyState { name: "routing/least-busy".to_owned(), state: "{\"n\":1}".to_owned() };
    decision.end(json!({"Ok": {"instance": "backend_spirit_1"}}), json!({}), Some(state)).await.unwrap();
    let [stored] = &fixture.registry.read(all).await.unwrap()[..] else { panic!() };
    assert_eq!((&stored.input, &stored.plugin), (&json!({"title": "do it"}), &"backend".to_owned()));
    assert_eq!(stored.attempt, Some(1));
    assert!(stored.ended_at.is_some());
    let remembered = fixture.registry.read(|r| r.policy_state("routing/least-busy")).await.unwrap();
    assert_eq!(remembered.as_deref(), Some("{\"n\":1}"));
    let late = decision.observed(read("a"), json!(1)).await;
    assert!(matches!(late, Err(RegistryError::Ended(_))));
    let late = decision.answered(1, json!(1), Cost::default(), None).await;
    assert!(matches!(late, Err(RegistryError::Ended(_))));
    let big = PolicyState { name: "x".to_owned(), state: "x".repeat(4097) };
    let other = fixture.registry.begin_execution(new("s", ExecutionKind::Scheduling)).await.unwrap();
    let refused = other.end(json!(1), json!({}), Some(big)).await;
    assert!(matches!(refused, Err(RegistryError::TooLarge { limit: 4096, .. })));
}

#[tokio::test]
async fn large_and_repeated_parts_are_stored_once_and_come_back_whole() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    let large = "x".repeat(100_000);
    let mut messages = vec![json!({"speaker": "system", "text": large})];
    for n in 0..30 {
        messages.push(json!({"speaker": "user", "text": format!("{n}{}", "y".repeat(3000))}));
        let request = call(Function::LlmComplete, json!({"messages": messages, "$body": "mine"}));
        let sequence = execution.intent(request).await.unwrap();
        execution.answered(sequence, json!({"text": "z".repeat(2000)}), Cost::default(), None).await.unwrap();
    }
    let stored = calls(&fixture, "e").await;
    assert_eq!(stored[29].arguments, json!({"messages": messages, "$body": "mine"}));
    assert_eq!(stored[3].answer, Some(json!({"text": "z".repeat(2000)})));
    let (bodies, rows): (u64, u64) = fixture
        .registry
        .shared
        .writer
        .run(|tx| {
            Ok(tx.conn.query_row("SELECT (SELECT count(*) FROM bodies), (SELECT count(*) FROM lists)", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?)
        })
        .await
        .unwrap();
    assert_eq!((bodies, rows), (1 + 30 + 1, 31), "each message once, the answers once");
}

#[tokio::test]
async fn a_part_that_is_gone_or_changed_is_named() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    execution.observed(read("a"), json!({"text": "x".repeat(5000)})).await.unwrap();
    execution.end(json!(1), json!(1), None).await.unwrap();
    for sql in ["UPDATE bodies SET content = 'null'", "DELETE FROM bodies"] {
        fixture.registry.shared.writer.run(move |tx| Ok(tx.conn.execute(sql, []).map(|_| ())?)).await.unwrap();
        let id = ExecutionId::new("e").unwrap();
        let damaged = fixture.registry.read(move |r| r.calls(&id)).await;
        assert!(matches!(damaged, Err(RegistryError::Damaged(text)) if text.contains("part")));
    }
}

#[tokio::test]
async fn costs_of_a_run_are_the_sum_of_its_journaled_calls() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    let cost = |n, money| Cost { input_tokens: n, cached_input_tokens: 1, output_tokens: 2 * n, cost_microusd: money };
    for (n, money) in [(10, Some(5)), (20, None)] {
        let sequence = execution.intent(call(Function::LlmComplete, json!({"n": n}))).await.unwrap();
        execution.answered(sequence, json!({}), cost(n, money), None).await.unwrap();
    }
    execution.intent(call(Function::LlmComplete, json!({"n": 3}))).await.unwrap();
    let summary = fixture.registry.read(|r| r.cost(&run())).await.unwrap();
    assert_eq!((summary.calls, summary.unpriced_calls, summary.unanswered_calls), (3, 1, 1));
    let total = Cost { input_tokens: 30, cached_input_tokens: 2, output_tokens: 60, cost_microusd: Some(5) };
    assert_eq!(summary.cost, total);
}

#[tokio::test]
async fn a_local_effect_and_its_record_commit_together() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    execution.observed(read("a"), json!(1)).await.unwrap();
    let note = LocalEffect::Note { text: "look here".to_owned() };
    let before = fixture.newest().await;
    let request = call(Function::RegistryNote, json!({"text": "look here"}));
    let answer = execution.local(request, note, &context()).await.unwrap();
    assert_eq!(answer, Ok(LocalAnswer::Done));
    assert_eq!(fixture.events(before).await, ["TaskUpdated 1"]);
    let stored = calls(&fixture, "e").await;
    assert_eq!(stored.iter().map(|c| c.function.class()).collect::<Vec<_>>(), [Class::Observe, Class::Local]);
    assert_eq!(stored[1].answer, Some(json!({"Ok": {"answer": "done"}})));
    let put = LocalEffect::Put {
        kind: "log".to_owned(),
        name: "out.txt".to_owned(),
        media_type: "text/plain".to_owned(),
        bytes: b"hello".to_vec(),
    };
    let Ok(LocalAnswer::Uri(uri)) =
        execution.local(call(Function::ArtifactPut, json!({})), put, &context()).await.unwrap()
    else {
        panic!("no address")
    };
    let [artifact] = &fixture.registry.read(|r| r.artifacts(&key("1"))).await.unwrap()[..] else { panic!() };
    assert_eq!((&artifact.artifact.uri, artifact.attempt), (&uri, Some(1)));
    assert_eq!(fixture.registry.blobs().get(&artifact.artifact.digest).unwrap(), b"hello");
    fixture.verified().await;
}

#[tokio::test]
async fn a_refused_local_effect_is_an_answer_and_is_recorded() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    let bad = LocalEffect::Put {
        kind: "log".to_owned(),
        name: "../x".to_owned(),
        media_type: "text/plain".to_owned(),
        bytes: vec![],
    };
    let answer = execution.local(call(Function::ArtifactPut, json!({})), bad, &context()).await.unwrap();
    assert!(matches!(answer, Err(HostError::Invalid(_))), "{answer:?}");
    let long = LocalEffect::Note { text: "x".repeat(20_000) };
    let answer = execution.local(call(Function::RegistryNote, json!({})), long, &context()).await.unwrap();
    assert!(matches!(answer, Err(HostError::Invalid(_))));
    assert_eq!(calls(&fixture, "e").await.len(), 2);
}

#[tokio::test]
async fn planning_steps_leave_notes_on_the_spec() {
    let fixture = Fixture::new();
    let execution = begin(&fixture, "e").await;
    let note = LocalEffect::Note { text: "x".to_owned() };
    execution.local(call(Function::RegistryNote, json!({})), note, &context()).await.unwrap().unwrap();
    assert_eq!(fixture.events(0).await, ["TaskUpdated"]);
    fixture.verified().await;
}

fn message(to: &str, text: &str) -> LocalEffect {
    LocalEffect::Send {
        message: Envelope {
            kind: "api_ready".to_owned(),
            agent_instance: to.to_owned(),
            issue_id: None,
            payload: json!({"text": text}),
            spec_id: None,
            task_id: None,
            sender: Some("forged_spirit_1".to_owned()),
            message_id: None,
        },
    }
}

#[tokio::test]
async fn messages_reach_their_receiver_once_in_order_and_only_in_their_workspace() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    let send = |effect| {
        execution.local(call(Function::MailboxSend, json!({})), effect, {
            static CONTEXT: std::sync::LazyLock<LocalContext> = std::sync::LazyLock::new(context);
            &CONTEXT
        })
    };
    send(message("qa_spirit_1", "one")).await.unwrap().unwrap();
    send(message("qa_spirit_1", "two")).await.unwrap().unwrap();
    assert!(matches!(send(message("nobody", "x")).await.unwrap(), Err(HostError::Invalid(_))));
    let qa = LocalContext { instance: Instance::new("qa_spirit_1").unwrap(), ..context() };
    let elsewhere = LocalContext { workspace: "other".to_owned(), ..qa.clone() };
    let receive = |context: LocalContext| {
        let execution = execution.clone();
        async move {
            let request = call(Function::MailboxReceive, json!({}));
            match execution.local(request, LocalEffect::Receive, &context).await.unwrap().unwrap() {
                LocalAnswer::Messages(messages) => messages,
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(receive(elsewhere).await, []);
    let received = receive(qa.clone()).await;
    let texts: Vec<&str> = received.iter().filter_map(|m| m.payload["text"].as_str()).collect();
    assert_eq!(texts, ["one", "two"]);
    assert!(received.iter().all(|m| m.sender.as_deref() == Some("backend_spirit_1")), "the host names the sender");
    assert_eq!(receive(qa).await, [], "delivered once");
    let all = fixture.registry.read(|r| r.messages("demo")).await.unwrap();
    assert!(all.len() == 2 && all.iter().all(|m| m.received_at.is_some()));
}

#[tokio::test]
async fn a_message_to_somebody_outside_the_team_is_not_found() {
    let fixture = with_attempt().await;
    let started = Body::RunStarted {
        job: None,
        title: String::new(),
        repository: String::new(),
        base_branch: String::new(),
        base_commit: CommitId::new("c").unwrap(),
        branch: String::new(),
        llm: String::new(),
        language: "en".to_owned(),
        team: vec![spirit()],
        plugins: Default::default(),
        options: None,
    };
    fixture.registry.append(Subject::run(&run()), vec![started]).await.unwrap();
    let execution = begin(&fixture, "e").await;
    let request = call(Function::MailboxSend, json!({}));
    let answer = execution.local(request, message("qa_spirit_1", "x"), &context()).await.unwrap();
    assert!(matches!(answer, Err(HostError::NotFound(_))), "{answer:?}");
}

fn acquire(wait_ms: u64) -> (CallRequest, LocalEffect) {
    let effect = LocalEffect::Acquire { name: "schema".to_owned(), ttl_ms: 60_000, wait_ms };
    (call(Function::LockAcquire, json!({"name": "schema"})), effect)
}

#[tokio::test(start_paused = true)]
async fn a_taken_lock_is_waited_for_and_its_holder_is_named() {
    let fixture = with_attempt().await;
    let (first, second) = (begin(&fixture, "a").await, begin(&fixture, "b").await);
    let rival = LocalContext { attempt: attempt("2", 1), ..context() };
    let (request, effect) = acquire(0);
    let Ok(LocalAnswer::Lease(lease)) = first.local(request, effect, &context()).await.unwrap() else { panic!() };
    let (request, effect) = acquire(50);
    let refused = second.local(request, effect, &rival).await.unwrap();
    assert!(matches!(&refused, Err(HostError::Conflict(text)) if text.contains("demo/1#1")), "{refused:?}");
    assert_eq!(calls(&fixture, "b").await.len(), 1, "tries in between are not recorded");
    let (request, effect) = acquire(50_000);
    let waiting = tokio::spawn({
        let (second, rival) = (second.clone(), rival.clone());
        async move { second.local(request, effect, &rival).await.unwrap() }
    });
    tokio::task::yield_now().await;
    let release = |lease: String| LocalEffect::Release { lease };
    let request = || call(Function::LockRelease, json!({}));
    let stolen = second.local(request(), release("unknown".to_owned()), &rival);
    let own = first.local(request(), release(lease.clone()), &rival);
    assert!(matches!(own.await.unwrap(), Err(HostError::Denied(_))), "only the holder gives it back");
    drop(stolen);
    first.local(request(), release(lease), &context()).await.unwrap().unwrap();
    assert!(matches!(waiting.await.unwrap(), Ok(LocalAnswer::Lease(_))));
    let [held] = &fixture.registry.read(|r| r.leases(Some(LeaseKind::Lock))).await.unwrap()[..] else { panic!() };
    assert_eq!((held.name.as_str(), held.holder.as_str()), ("demo/schema", "demo/2#1"));
}

#[tokio::test]
async fn leases_belong_to_one_holder_run_out_and_are_given_back_by_id() {
    let fixture = Fixture::new();
    let registry = &fixture.registry;
    let request = |holder: &str, expired| LeaseRequest {
        kind: LeaseKind::Slot,
        name: "slot1".to_owned(),
        holder: holder.to_owned(),
        ttl: Duration::from_secs(60),
        expired,
    };
    let first = registry.acquire_lease(request("a", Expired::Kept)).await.unwrap();
    let held = registry.acquire_lease(request("a", Expired::Taken)).await;
    assert!(matches!(held, Err(RegistryError::Held { holder, .. }) if holder == "a"), "not reentrant");
    fixture.clock.advance(Duration::from_secs(30));
    let renewed = registry.renew_lease(&first.id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(renewed.expires_at.duration_since(first.expires_at).as_secs(), 30);
    fixture.clock.advance(Duration::from_secs(61));
    let now = crate::clock::Clock::now(&*fixture.clock);
    assert_eq!(registry.read(move |r| r.expired_leases(now)).await.unwrap(), [renewed]);
    assert!(registry.acquire_lease(request("b", Expired::Kept)).await.is_err(), "run out is not given back");
    let second = registry.acquire_lease(request("b", Expired::Taken)).await.unwrap();
    assert!(!registry.release_lease(&first.id).await.unwrap(), "the old id is worth nothing");
    assert!(matches!(registry.renew_lease(&first.id, Duration::from_secs(1)).await, Err(RegistryError::LostLease(_))));
    assert_eq!(registry.release_leases_of("b").await.unwrap(), std::slice::from_ref(&second));
    assert!(!registry.release_lease(&second.id).await.unwrap(), "giving back twice is no error");
}

#[tokio::test]
async fn a_failed_record_keeps_the_backlog_and_leaves_no_hole() {
    let fixture = with_attempt().await;
    let execution = begin(&fixture, "e").await;
    execution.observed(read("a"), json!(1)).await.unwrap();
    let missing = execution.answered(7, json!(1), Cost::default(), None).await;
    assert!(missing.is_err());
    assert_eq!(calls(&fixture, "e").await, []);
    assert_eq!(execution.intent(call(Function::CommandRun, json!({}))).await.unwrap(), 2);
    assert_eq!(calls(&fixture, "e").await.iter().map(|c| c.sequence).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn executions_of_a_run_are_listed_from_where_the_last_page_ended() {
    let fixture = Fixture::new();
    let other = NewExecution { run: None, ..new("e4", ExecutionKind::Routing) };
    for begun in
        [new("e1", ExecutionKind::Routing), new("e2", ExecutionKind::Spirit), new("e3", ExecutionKind::Routing), other]
    {
        let execution = fixture.registry.begin_execution(begun).await.unwrap();
        execution.end(json!({ "ok": null }), json!({}), None).await.unwrap();
    }
    let ids = async |kind, after: Option<&str>| {
        let after = after.map(|after| ExecutionId::new(after).unwrap());
        let found = fixture.registry.read(move |r| r.execution_ids(&run(), kind, after.as_ref())).await.unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, None).await, ["e1", "e2", "e3"]);
    assert_eq!(ids(None, Some("e1")).await, ["e2", "e3"]);
    assert_eq!(ids(Some(ExecutionKind::Routing), None).await, ["e1", "e3"]);
    assert!(ids(Some(ExecutionKind::Routing), Some("e3")).await.is_empty());
}
