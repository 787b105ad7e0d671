//! Each limit really stops a guest, is named with its value and setting, and does not block the rest.

use std::sync::Arc;
use std::time::Duration;

use necro_host::domain::id::Instance;
use necro_host::plugin::{ExecutionContext, ExecutionError, Limit, Limits, PluginKind};
use tokio::sync::watch;

use crate::fakes::{Fake, assignment, candidates, context, issue, load};

/// The error of a routing policy under limits that `change` makes.
async fn route(name: &str, settings: &str, change: impl FnOnce(&mut Limits)) -> ExecutionError {
    let plugin = load(name).await;
    let (mut context, _) = context(PluginKind::Routing);
    change(&mut context.limits);
    let ended = plugin.route(context, &issue(), &candidates(3), settings, "").await;
    assert!(ended.usage.fuel > 0, "nothing was measured");
    ended.result.unwrap_err()
}

fn exceeded(error: &ExecutionError) -> Limit {
    match error {
        ExecutionError::LimitExceeded { limit, .. } => *limit,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_endless_loop_ends_when_its_fuel_is_used_up() {
    let error = route("endless-loop", "", |limits| limits.fuel = Some(50_000_000)).await;
    assert_eq!(
        error.to_string(),
        "routing `endless-loop` was stopped: it exceeded its fuel limit of 50000000 units (setting `limits.routing.fuel`, or `limits.endless-loop.fuel` for it alone)"
    );
    assert!(error.is_replayable());
}

#[tokio::test]
async fn an_endless_loop_without_a_fuel_limit_ends_at_its_guest_time() {
    let error = route("endless-loop", "", |limits| {
        limits.fuel = None;
        limits.guest_time = Duration::from_millis(60);
    })
    .await;
    assert_eq!(exceeded(&error), Limit::GuestTime);
    assert!(error.to_string().contains("60 ms (setting `limits.routing.guest_time_ms`, or"), "{error}");
    assert!(!error.is_replayable());
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_wall_time_too() {
    let error = route("endless-loop", "", |limits| {
        limits.fuel = None;
        limits.guest_time = Duration::MAX;
        limits.wall = Duration::from_millis(60);
    })
    .await;
    assert_eq!(exceeded(&error), Limit::Wall);
}

/// On one thread: were the guest to hold it, the other task would never run and never cancel.
#[tokio::test(flavor = "current_thread")]
async fn an_endless_loop_leaves_room_for_other_tasks_and_can_be_cancelled() {
    let plugin = load("endless-loop").await;
    let (mut context, _) = context(PluginKind::Routing);
    context.limits.fuel = None;
    context.limits.guest_time = Duration::MAX;
    let (cancel, cancelled) = watch::channel(false);
    context.cancel = cancelled;
    let (issue, candidates) = (issue(), candidates(1));
    let guest = plugin.route(context, &issue, &candidates, "", "");
    let other = async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        cancel.send(true).unwrap();
    };
    let (ended, ()) = tokio::join!(guest, other);
    assert_eq!(ended.result.unwrap_err().to_string(), "routing `endless-loop` was cancelled");
}

#[tokio::test]
async fn a_memory_hog_ends_at_its_memory_limit() {
    let error = route("memory-hog", "", |limits| limits.memory_bytes = 8 << 20).await;
    assert_eq!(exceeded(&error), Limit::Memory);
    assert!(error.to_string().contains("8388608 bytes (setting `limits.routing.memory_bytes`, or"), "{error}");
    assert!(error.is_replayable());
}

#[tokio::test]
async fn a_panic_is_a_trap_with_its_message_and_no_state_survives_it() {
    let error = route("panic", "", |_| {}).await;
    let ExecutionError::Trapped { message, backtrace, .. } = &error else { panic!("{error}") };
    assert!(message.contains("nothing is known about 1"), "{message}");
    assert!(backtrace.as_ref().is_some_and(|b| b.contains("route")), "{backtrace:?}");
    assert!(error.is_replayable());
    let again = route("panic", "", |_| {}).await;
    assert!(matches!(again, ExecutionError::Trapped { .. }), "{again}");
}

fn waiting() -> (ExecutionContext, Arc<Fake>) {
    let (mut context, _) = context(PluginKind::Spirit);
    let fake = Fake::with_silent_model();
    context.capabilities = fake.capabilities();
    context.journal = fake.clone();
    (context, fake)
}

#[tokio::test(start_paused = true)]
async fn a_spirit_whose_model_never_answers_ends_at_its_wall_limit() {
    let plugin = load("slow-host-wait").await;
    let (context, fake) = waiting();
    let ended = plugin.perform(context, assignment(), "").await;
    let error = ended.result.unwrap_err();
    assert_eq!(exceeded(&error), Limit::Wall);
    assert!(error.to_string().contains("1800000 ms (setting `limits.spirit.wall_ms`, or"), "{error}");
    assert!(ended.usage.guest_time < Duration::from_secs(1), "waiting was counted: {:?}", ended.usage);
    let steps = fake.steps();
    assert!(steps.len() == 2 && steps[0].starts_with("intent llm.complete"), "{steps:?}");
}

#[tokio::test]
async fn a_waiting_spirit_can_be_cancelled() {
    let plugin = load("slow-host-wait").await;
    let (mut context, fake) = waiting();
    let (cancel, cancelled) = watch::channel(false);
    context.cancel = cancelled;
    let running = tokio::spawn(async move { plugin.perform(context, assignment(), "").await.result });
    while fake.steps().len() < 2 {
        tokio::task::yield_now().await;
    }
    cancel.send(true).unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, ExecutionError::Cancelled { .. }), "{error}");
}

#[tokio::test]
async fn a_guest_may_call_the_host_only_so_often() {
    let plugin = load("every-call").await;
    let (mut context, fake) = context(PluginKind::Spirit);
    context.limits.host_calls = 25;
    let ended = plugin.perform(context, assignment(), r#""call-flood""#).await;
    assert_eq!(exceeded(&ended.result.unwrap_err()), Limit::HostCalls);
    assert_eq!((ended.usage.host_calls, fake.steps().len()), (25, 25));
}

#[tokio::test]
async fn a_guest_may_leave_only_so_much_in_the_journal() {
    let plugin = load("every-call").await;
    let (mut context, fake) = context(PluginKind::Spirit);
    context.limits.journal_bytes = 2_000;
    let ended = plugin.perform(context, assignment(), r#""call-flood""#).await;
    assert_eq!(exceeded(&ended.result.unwrap_err()), Limit::JournalBytes);
    let recorded: usize = fake.steps().iter().map(String::len).sum();
    assert!(recorded > 500 && recorded < 8_000, "{recorded} bytes were recorded");
}

#[tokio::test]
async fn results_that_break_the_contract_are_refused_with_the_rule() {
    let cases = [
        ("state", "its state has 4097 bytes, 4096 are allowed"),
        ("score", "the score of `backend` is NaN"),
        ("instance", "`nobody in particular` is not a spirit instance"),
        ("reason", "a text of 66560 bytes, 65536 are allowed"),
    ];
    for (way, words) in cases {
        let error = route("bad-output", &format!("{way:?}"), |_| {}).await;
        assert!(matches!(error, ExecutionError::InvalidOutput { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error} does not say {words:?}");
    }
    let error = route("bad-output", r#""size""#, |_| {}).await;
    assert_eq!(exceeded(&error), Limit::HostCallBytes);
}

#[tokio::test]
async fn a_failure_is_the_plugins_own_word() {
    let error = route("bad-output", r#""politely""#, |_| {}).await;
    let ExecutionError::Failure { failure, .. } = &error else { panic!("{error}") };
    assert!(failure.to_string().contains("`politely` is no way"), "{failure}");
}

#[tokio::test]
async fn fuel_is_equal_for_equal_inputs_and_a_decision_keeps_its_state() {
    let plugin = load("last-candidate").await;
    let mut fuel = Vec::new();
    for _ in 0..3 {
        let (context, _) = context(PluginKind::Routing);
        let ended = plugin.route(context, &issue(), &candidates(3), "", "7").await;
        let decision = ended.result.unwrap();
        assert_eq!((decision.instance, decision.state.as_str()), (Instance::new("backend_spirit_3").unwrap(), "8"));
        fuel.push(ended.usage.fuel);
    }
    assert!(fuel[0] > 0 && fuel.iter().all(|f| *f == fuel[0]), "{fuel:?}");
}

#[tokio::test]
async fn more_executions_than_instances_wait_for_their_turn() {
    let plugin = load("last-candidate").await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let plugin = Arc::clone(&plugin);
        running.spawn(async move {
            let (context, _) = context(PluginKind::Routing);
            plugin.route(context, &issue(), &candidates(2), "", "").await.result.map(|d| d.instance.number())
        });
    }
    while let Some(ended) = running.join_next().await {
        assert_eq!(ended.unwrap().unwrap(), 2);
    }
}

#[tokio::test]
async fn the_end_of_the_stack_is_a_trap_that_is_not_replayable() {
    let error = route("deep-recursion", "", |_| {}).await;
    let ExecutionError::Trapped { message, .. } = &error else { panic!("{error}") };
    assert!(message.contains("stack"), "{message}");
    assert!(!error.is_replayable());
}
