//! Host calls: each is journaled by its class, and no answer reaches a guest that the journal lacks.

use necro_host::domain::call::{Class, Function};
use necro_host::plugin::capability::Capabilities;
use necro_host::plugin::{ExecutionError, PluginKind};

use crate::fakes::{Fake, assignment, context, load};

#[tokio::test]
async fn every_call_is_journaled_by_its_class_and_answered() {
    let plugin = load("every-call").await;
    let (context, fake) = context(PluginKind::Spirit);
    let report = plugin.perform(context, assignment(), "").await.result.unwrap();
    let steps = fake.steps();
    for function in Function::ALL {
        let prefix = match function.class() {
            Class::Observe => "observed",
            Class::Local => "local",
            Class::External => "intent",
        };
        let line = format!("{prefix} {} ", function.name());
        assert!(steps.iter().any(|step| step.starts_with(&line)), "no `{line}` in {steps:#?}");
        if function.class() == Class::External {
            let at = steps.iter().position(|step| step.starts_with(&line)).unwrap();
            assert_eq!(steps[at + 1], format!("effect {}", function.name()), "the intent was not first");
            assert!(steps[at + 2].starts_with("answered "), "{}", steps[at + 2]);
        }
    }
    let told = [
        "llm.complete: Completion { text: \"2 messages\"",
        "workspace.read: FileText { text: \"a.txt 2\"",
        "workspace.diff: not found: there is no base",
        "workspace-edit.apply: conflict: `x` occurs twice",
        "registry.spec-document: \"Design\"",
        "details: \"{\\\"reason\\\":\\\"a reason\\\"}\"",
        "mailbox.send: invalid: the payload of a message must be JSON text",
        "lock.acquire: \"deploy\"",
        "artifact.get: [1, 2, 3]",
        "artifact.put: \"artifact:2\"",
    ];
    for line in told {
        assert!(report.summary.contains(line), "no {line:?} in {}", report.summary);
    }
    assert!(fake.logged().contains(&r#"warn done [("calls", "all")]"#.to_owned()), "{:?}", fake.logged());
}

#[tokio::test]
async fn large_bytes_are_journaled_as_their_digest() {
    let plugin = load("every-call").await;
    let (context, fake) = context(PluginKind::Spirit);
    plugin.perform(context, assignment(), "").await.result.unwrap();
    let steps = fake.steps();
    let write = steps.iter().find(|step| step.starts_with("intent workspace-edit.write")).unwrap();
    assert!(write.contains("\"sha256\":") && write.contains("\"size_bytes\":20000"), "{write}");
    assert!(!write.contains("xxxx"), "{write}");
    let get = steps.iter().find(|step| step.starts_with("observed artifact.get")).unwrap();
    assert!(get.contains("\"size_bytes\":3"), "{get}");
}

#[tokio::test]
async fn the_record_says_what_a_call_changes() {
    let plugin = load("every-call").await;
    let (context, fake) = context(PluginKind::Spirit);
    plugin.perform(context, assignment(), "").await.result.unwrap();
    let steps = fake.steps();
    let at = |start: &str| steps.iter().position(|step| step.starts_with(start)).unwrap();
    let write = at("intent workspace-edit.write");
    let planned = format!(r#"as {{"files":[{{"after":"{}","before":null,"path":"#, "a".repeat(64));
    assert!(steps[write].contains(&planned), "{}", steps[write]);
    let command = at("intent command.run");
    assert!(steps[command + 2].ends_with(r#" with {"tree":"t1"}"#), "{}", steps[command + 2]);
}

#[tokio::test]
async fn a_change_that_cannot_be_planned_is_answered_and_nothing_happens() {
    let plugin = load("every-call").await;
    let (mut context, _) = context(PluginKind::Spirit);
    let fake = Fake::with_refusing_plans();
    (context.capabilities, context.journal) = (fake.capabilities(), fake.clone());
    let report = plugin.perform(context, assignment(), "").await.result.unwrap();
    assert!(report.summary.contains("workspace-edit.write: denied: not there"), "{}", report.summary);
    let steps = fake.steps();
    for function in ["workspace-edit.write", "workspace-edit.apply"] {
        assert!(steps.iter().any(|step| step.starts_with(&format!("observed {function} "))), "{steps:#?}");
        assert!(!steps.contains(&format!("effect {function}")), "{steps:#?}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_journaled_as_observed() {
    let plugin = load("every-call").await;
    let (mut context, fake) = context(PluginKind::Spirit);
    context.capabilities = Capabilities::default();
    let report = plugin.perform(context, assignment(), "").await.result.unwrap();
    for line in report.summary.lines() {
        assert!(line.contains("denied: "), "{line}");
    }
    for step in fake.steps() {
        assert!(step.starts_with("observed ") && step.contains("denied"), "{step}");
    }
    assert!(fake.logged().is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_journaled_does_not_reach_the_guest() {
    let plugin = load("every-call").await;
    // 0: the intent of the first call; 2: its answer, after the effect; 3: an observation.
    for (broken_from, effects) in [(0, 0), (2, 1), (3, 1)] {
        let (mut context, _) = context(PluginKind::Spirit);
        let fake = Fake::broken_from(broken_from);
        context.capabilities = fake.capabilities();
        context.journal = fake.clone();
        let error = plugin.perform(context, assignment(), "").await.result.unwrap_err();
        let ExecutionError::Journal { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains("no space left"), "{source}");
        assert_eq!(fake.steps().iter().filter(|step| step.starts_with("effect")).count(), effects);
    }
}

#[tokio::test]
async fn a_flood_of_log_records_is_bounded() {
    let plugin = load("every-call").await;
    let (context, fake) = context(PluginKind::Spirit);
    plugin.perform(context, assignment(), r#""log-flood""#).await.result.unwrap();
    let logged = fake.logged();
    let bytes: usize = logged.iter().map(String::len).sum();
    assert!(logged.len() < 100 && bytes < 300 * 1024, "{} records, {bytes} bytes", logged.len());
    assert!(logged.last().unwrap().contains("further log records are dropped"));
}

#[tokio::test]
async fn a_dropped_lease_is_released_and_a_trap_leaves_it_to_the_attempt() {
    let plugin = load("every-call").await;
    let (calm, fake) = context(PluginKind::Spirit);
    plugin.perform(calm, assignment(), "").await.result.unwrap();
    assert!(fake.steps().iter().any(|s| s == r#"local lock.release {"lease":"lease-of-deploy"}"#));

    let (panicking, fake) = context(PluginKind::Spirit);
    let error = plugin.perform(panicking, assignment(), r#""panic-with-lease""#).await.result.unwrap_err();
    assert!(error.to_string().contains("with a lease in its hands"), "{error}");
    assert!(fake.steps().iter().all(|s| !s.contains("lock.release")), "{:?}", fake.steps());
}

#[tokio::test]
async fn what_a_failed_call_cost_is_journaled_with_its_error() {
    let plugin = load("slow-host-wait").await;
    let (mut context, _) = context(PluginKind::Spirit);
    let fake = Fake::with_refusing_model();
    context.capabilities = fake.capabilities();
    context.journal = fake.clone();
    let error = plugin.perform(context, assignment(), "").await.result.unwrap_err();
    let ExecutionError::Failure { failure, .. } = &error else { panic!("{error}") };
    assert_eq!(failure.to_string(), "timed out: the model was too slow");
    let last = fake.steps().pop().unwrap();
    assert!(last.starts_with("answered {\"Err\":") && last.ends_with("for 42 tokens"), "{last}");
}
