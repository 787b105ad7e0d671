//! The log itself: append only, in order, durable before it is acknowledged; what events leave in the
//! projections.

use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::clock::Clock;
use crate::domain::call::Cost;
use crate::domain::event::{Body, Outcome, Subject, TaskChange};
use crate::domain::id::{ArtifactUri, CommitId, ExecutionId};
use crate::domain::review::{Finding, Severity};
use crate::domain::task::TaskState;
use crate::registry::{EventFilter, Reader};

fn slot(n: u32) -> Body {
    Body::SlotAllocated { slot: SlotId::new(format!("slot{n}")).unwrap(), holder: "runner".to_owned() }
}

fn started() -> Body {
    Body::RunStarted {
        job: None,
        title: "a job".to_owned(),
        repository: ".".to_owned(),
        base_branch: "main".to_owned(),
        base_commit: CommitId::new("abc").unwrap(),
        branch: "necro/demo".to_owned(),
        llm: "scripted:demo".to_owned(),
        language: "en".to_owned(),
        team: vec![spirit()],
        plugins: [("routing/least-busy".to_owned(), digest())].into(),
        options: None,
    }
}

#[tokio::test]
async fn the_log_cannot_be_changed_even_by_hand() {
    let fixture = Fixture::new();
    fixture.registry.append(Subject::run(&run()), vec![slot(1), slot(2)]).await.unwrap();
    let conn = Connection::open(fixture.path()).unwrap();
    for sql in [
        "UPDATE events SET kind = 'x'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT 1, time, 'x', body_version, run, spec, task, attempt, body FROM events",
        "INSERT INTO events SELECT 9, time, kind, body_version, run, spec, task, attempt, body FROM events LIMIT 1",
    ] {
        let error = conn.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append only"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_seen_by_another_process_at_once() {
    let fixture = Fixture::new();
    let blobs = BlobStore::open(fixture.dir.path().join("blobs")).unwrap();
    let other = Reader::open(&fixture.path(), blobs).unwrap();
    for n in 1..=20 {
        let events = fixture.registry.append(Subject::run(&run()), vec![slot(n)]).await.unwrap();
        assert_eq!(other.events(&EventFilter::default()).unwrap().last(), events.last());
    }
}

#[tokio::test]
async fn a_copy_of_the_files_taken_without_closing_has_every_acknowledged_event() {
    let fixture = Fixture::new();
    for n in 1..=5 {
        fixture.registry.append(Subject::run(&run()), vec![slot(n)]).await.unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for file in ["registry.db", "registry.db-wal"] {
        std::fs::copy(fixture.dir.path().join(file), copy.path().join(file)).unwrap();
    }
    let registry = open(copy.path(), &fixture.clock).unwrap();
    assert_eq!(*registry.subscribe().borrow(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_together_are_answered_in_order_and_without_gaps() {
    let fixture = Fixture::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32_u32 {
        let registry = fixture.registry.clone();
        writers.spawn(async move {
            let mut last = 0;
            for n in 0..20 {
                // Every third request is refused in the middle of a batch, and leaves no trace.
                if n % 3 == 2 {
                    let bodies = vec![slot(n), Body::TaskFailed { reason: String::new() }];
                    assert!(registry.append(Subject::run(&run()), bodies).await.is_err());
                    continue;
                }
                let events = registry.append(Subject::run(&run()), vec![slot(writer), slot(n)]).await.unwrap();
                assert_eq!(events[1].sequence, events[0].sequence + 1);
                assert!(events[0].sequence > last);
                last = events[1].sequence;
            }
        });
    }
    writers.join_all().await;
    assert_eq!(fixture.newest().await, 32 * 14 * 2);
    fixture.verified().await;
}

#[tokio::test]
async fn times_never_go_backwards() {
    let fixture = Fixture::new();
    let first = fixture.registry.append(Subject::run(&run()), vec![slot(1)]).await.unwrap();
    assert_eq!(first[0].time.to_string(), "2026-01-02T03:04:05.123456Z", "microseconds, as in the table");
    let fixture = fixture.reopen();
    let Fixture { dir, registry, .. } = fixture;
    drop(registry);
    let earlier = Arc::new(ManualClock::at("2020-01-01T00:00:00Z".parse().unwrap()));
    let registry = open(dir.path(), &earlier).unwrap();
    let second = registry.append(Subject::run(&run()), vec![slot(2)]).await.unwrap();
    assert_eq!(second[0].time, first[0].time);
    assert!(earlier.now() < second[0].time);
}

#[tokio::test]
async fn state_changes_do_not_pass_through_append() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    let subject = Subject { attempt: None, ..Subject::attempt(&run(), &attempt("1", 1)) };
    for body in [
        Body::TaskReady { from: TaskState::Blocked, last_failure: None },
        Body::TaskCompleted { commit: None, reason: String::new() },
        Body::TaskCancelled { reason: String::new() },
    ] {
        let refused = fixture.registry.append(subject.clone(), vec![body]).await;
        assert!(matches!(refused, Err(RegistryError::WrongEvent { .. })), "{refused:?}");
    }
    let wrong = fixture.registry.transition(&run(), &key("1"), 1, None, slot(1)).await;
    assert!(matches!(wrong, Err(RegistryError::WrongEvent { instead: "append", .. })));
}

#[tokio::test]
async fn events_about_nothing_are_refused() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    let review = || vec![Body::ReviewReported { findings: vec![], executions: vec![] }];
    let append = |subject, bodies| fixture.registry.append(subject, bodies);
    let unknown = append(Subject::attempt(&run(), &attempt("9", 1)), review()).await;
    assert!(matches!(unknown, Err(RegistryError::UnknownTask(_))));
    let unclaimed = append(Subject::attempt(&run(), &attempt("1", 1)), review()).await;
    assert!(matches!(unclaimed, Err(RegistryError::UnknownAttempt(_))));
    let nobody = append(Subject::run(&run()), review()).await;
    assert!(matches!(nobody, Err(RegistryError::IncompleteSubject { missing: "task", .. })));
    let finished = Body::RunFinished { outcome: "done".to_owned(), commit: None, tree: None, reason: None };
    let unknown = append(Subject::run(&run()), vec![finished]).await;
    assert!(matches!(unknown, Err(RegistryError::UnknownRun(_))));
    append(Subject::run(&run()), vec![started()]).await.unwrap();
    let twice = append(Subject::run(&run()), vec![started()]).await;
    assert!(matches!(twice, Err(RegistryError::DuplicateRun(_))));
}

#[tokio::test]
async fn an_attempt_shows_all_that_was_reported_about_it() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    fixture.claim("1").await.unwrap();
    let subject = Subject::attempt(&run(), &attempt("1", 1));
    let execution = ExecutionId::new("e1").unwrap();
    let finding = Finding {
        rule: "big-diff".to_owned(),
        severity: Severity::Block,
        file: Some("a.rs".to_owned()),
        line: Some(3),
        message: "too big".to_owned(),
    };
    let cost = Cost { input_tokens: 5, cached_input_tokens: 1, output_tokens: 2, cost_microusd: Some(7) };
    let checks = vec![("test".to_owned(), false)];
    let bodies = vec![
        Body::RunnerStarted {
            runner: "runner".to_owned(),
            instance: spirit(),
            slot: assigned("1").slot,
            execution: execution.clone(),
            component: digest(),
            base: CommitId::new("base").unwrap(),
        },
        Body::TaskUpdated { change: TaskChange::GateFinished { stage: "attempt".to_owned(), checks: checks.clone() } },
        Body::TaskUpdated { change: TaskChange::NoteAdded { author: "me".to_owned(), text: "hm".to_owned() } },
        Body::ReviewReported { findings: vec![finding.clone()], executions: vec![] },
        Body::RunnerFinished {
            runner: "runner".to_owned(),
            outcome: Outcome::Failed,
            reason: Some("a finding".to_owned()),
            summary: Some("did it".to_owned()),
            commit: Some(CommitId::new("c1").unwrap()),
            files: vec!["a.rs".to_owned()],
            more_files: 7,
            cost,
            duration_ms: 1234,
        },
    ];
    fixture.clock.advance(Duration::from_secs(1));
    let version = fixture.task("1").await.version;
    fixture.registry.append(subject, bodies).await.unwrap();
    assert_eq!(fixture.task("1").await.version, version, "what is no state and no content leaves the version");
    let (attempts, findings, notes, last) = fixture
        .registry
        .read(|r| Ok((r.attempts(&key("1"))?, r.findings(&key("1"))?, r.notes(&key("1"))?, r.last_assigned()?)))
        .await
        .unwrap();
    let [made] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!(made.key, attempt("1", 1));
    assert_eq!((made.execution.as_ref(), made.outcome, made.cost), (Some(&execution), Some(Outcome::Failed), cost));
    assert_eq!((made.duration_ms, &made.files[..], made.more_files), (Some(1234), &["a.rs".to_owned()][..], 7));
    assert_eq!((made.gates[0].stage.as_str(), &made.gates[0].checks), ("attempt", &checks));
    assert!(made.started_at > Some(made.assigned_at));
    assert_eq!((findings[0].attempt, &findings[0].finding), (Some(1), &finding));
    assert_eq!(notes[0].text, "hm");
    assert_eq!(last[&spirit()], 2);
    fixture.verified().await;
}

#[tokio::test]
async fn runs_and_artifacts_are_found_again() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    fixture.claim("1").await.unwrap();
    let registry = &fixture.registry;
    registry.append(Subject { spec: Some(spec()), ..Subject::run(&run()) }, vec![started()]).await.unwrap();
    let uri = registry.ids().artifact();
    let artifact = crate::domain::artifact::reference(
        &uri,
        ("log", "gate.log", "text/plain"),
        (digest(), 9),
        "2026-01-02T03:04:05.000001Z".parse().unwrap(),
    );
    let add = || vec![Body::TaskUpdated { change: TaskChange::ArtifactAdded { artifact: artifact.clone() } }];
    let subject = Subject::attempt(&run(), &attempt("1", 1));
    registry.append(subject.clone(), add()).await.unwrap();
    let twice = registry.append(subject, add()).await;
    assert!(matches!(twice, Err(RegistryError::DuplicateArtifact(found)) if found == uri));
    let finished = Body::RunFinished {
        outcome: "done".to_owned(),
        commit: Some(CommitId::new("tip").unwrap()),
        tree: Some("t".to_owned()),
        reason: None,
    };
    registry.append(Subject::run(&run()), vec![finished]).await.unwrap();
    let wanted = uri.clone();
    let (latest, run, found, of_task, none) = registry
        .read(move |r| {
            let absent = ArtifactUri::new("artifact:none").unwrap();
            Ok((r.latest_run()?, r.run(&run())?, r.artifact(&wanted)?, r.artifacts(&key("1"))?, r.artifact(&absent)?))
        })
        .await
        .unwrap();
    assert_eq!(latest, run);
    assert_eq!(run.unwrap().outcome.as_deref(), Some("done"));
    assert_eq!(found.as_ref().map(|a| &a.artifact), Some(&artifact));
    assert_eq!((of_task, none), (vec![found.unwrap()], None));
    fixture.verified().await;
}

#[tokio::test]
async fn events_are_filtered_and_limited() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[]), define("2", &[])]).await;
    fixture.claim("2").await.unwrap();
    let count = |filter: EventFilter| {
        let registry = fixture.registry.clone();
        async move { registry.read(move |r| r.events(&filter)).await.unwrap().len() }
    };
    assert_eq!(count(EventFilter::task(&key("2"))).await, 2);
    assert_eq!(count(EventFilter { kinds: vec!["TaskCreated".to_owned()], ..Default::default() }).await, 2);
    assert_eq!(count(EventFilter { after: 2, ..Default::default() }).await, 1);
    assert_eq!(count(EventFilter { limit: 1, ..Default::default() }).await, 1);
    assert_eq!(count(EventFilter { attempt: Some(1), run: Some(run()), ..Default::default() }).await, 1);
}

#[tokio::test]
async fn subscribers_hear_of_durable_events() {
    let fixture = Fixture::new();
    let mut newest = fixture.registry.subscribe();
    fixture.registry.append(Subject::run(&run()), vec![slot(1), slot(2)]).await.unwrap();
    newest.changed().await.unwrap();
    assert_eq!(*newest.borrow(), 2);
}
