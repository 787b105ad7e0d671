//! Journals that go and those that stay, against real SQLite files: costs, shared parts, crashes, a run beside.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::domain::call::{CallRequest, Cost};
use crate::domain::event::{Body, Subject, TaskChange};
use crate::domain::id::{CommitId, ExecutionId};
use crate::domain::task::ArtifactRef;
use crate::registry::{CostSummary, Execution, ExecutionFilter, ExecutionKind, NewExecution, Record};
use crate::store::{BlobStore, digest_of};

const DAY: Duration = Duration::from_secs(86_400);

/// A registry with runs in it; a day passes after each.
struct Runs {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    clock: Arc<ManualClock>,
    registry: Registry,
}

impl Runs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at("2026-01-02T03:04:05Z".parse().unwrap()));
        let path = dir.path().join("registry.db");
        let blobs = BlobStore::open(dir.path().join("blobs")).unwrap();
        let registry = Registry::open(&path, clock.clone(), blobs).unwrap();
        Self { _dir: dir, path, clock, registry }
    }

    fn put(&self, text: &str) -> Digest {
        self.registry.blobs().put(text.as_bytes()).unwrap()
    }

    async fn begin(&self, run: &str, name: &str, parts: &[&str]) -> Execution {
        let new = NewExecution {
            id: ExecutionId::new(format!("{run}-{name}")).unwrap(),
            run: Some(id(run)),
            kind: ExecutionKind::Spirit,
            spec: SpecName::new("demo").ok(),
            attempt: None,
            plugin: "backend".to_owned(),
            component: self.put(&format!("component of {run}")),
            engine: "wasmtime".to_owned(),
            limits: json!({ "fuel": 1 }),
            settings: json!({}),
            input: json!({ "parts": parts }),
        };
        self.registry.begin_execution(new).await.unwrap()
    }

    async fn start(&self, run: &str) {
        let job = self.put(&format!("job of {run}"));
        let body = Body::RunStarted {
            job: Some(job),
            title: run.to_owned(),
            repository: "/r".to_owned(),
            base_branch: "main".to_owned(),
            base_commit: CommitId::new("a".repeat(40)).unwrap(),
            branch: "necro/demo".to_owned(),
            llm: "scripted".to_owned(),
            language: "en".to_owned(),
            team: Vec::new(),
            plugins: BTreeMap::from([("routing/x".to_owned(), self.put(&format!("plugin of {run}")))]),
            options: None,
        };
        let subject = Subject { spec: SpecName::new("demo").ok(), ..Subject::run(&id(run)) };
        self.registry.append(subject, vec![body]).await.unwrap();
    }

    async fn end(&self, run: &str, outcome: &str) {
        let body = Body::RunFinished { outcome: outcome.to_owned(), commit: None, tree: None, reason: None };
        let subject = Subject { spec: SpecName::new("demo").ok(), ..Subject::run(&id(run)) };
        self.registry.append(subject, vec![body]).await.unwrap();
        self.clock.advance(DAY);
    }

    /// A run with one execution, which has a paid call for each of `parts`.
    async fn run(&self, run: &str, outcome: Option<&str>, parts: &[&str]) {
        self.start(run).await;
        let execution = self.begin(run, "e", parts).await;
        for (n, part) in parts.iter().enumerate() {
            let sequence = execution.intent(complete(part)).await.unwrap();
            let cost = Cost {
                input_tokens: 10,
                output_tokens: 3,
                cost_microusd: (n % 2 == 0).then_some(7),
                ..Cost::default()
            };
            execution.answered(sequence, json!({ "Ok": { "text": part } }), cost, None).await.unwrap();
        }
        if let Some(outcome) = outcome {
            execution.intent(complete("never answered")).await.unwrap();
            execution.end(json!({ "ok": parts }), json!({ "fuel": 3 }), None).await.unwrap();
            self.end(run, outcome).await;
        }
    }

    async fn prune(&self, choice: PruneChoice) -> PruneReport {
        self.registry.prune(choice, Duration::ZERO).await.unwrap()
    }

    async fn planned(&self, choice: &PruneChoice) -> PruneReport {
        let (path, blobs, choice) = (self.path.clone(), self.registry.blobs().clone(), choice.clone());
        let look = move || Reader::open(&path, blobs).unwrap().prune_plan(&choice).unwrap();
        tokio::task::spawn_blocking(look).await.unwrap()
    }

    async fn cost(&self, run: &str) -> CostSummary {
        let run = id(run);
        self.registry.read(move |reader| reader.cost(&run)).await.unwrap()
    }

    async fn record(&self, run: &str) -> Result<Option<Record>, RegistryError> {
        let id = ExecutionId::new(format!("{run}-e")).unwrap();
        self.registry.read(move |reader| reader.record(&id)).await
    }

    /// Numbers of calls, bodies and items.
    async fn rows(&self) -> [u64; 3] {
        let sql = "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM bodies), (SELECT count(*) FROM lists)";
        let ask =
            move |tx: &mut Tx<'_>| Ok(tx.conn.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?);
        self.registry.shared.writer.run(ask).await.unwrap()
    }

    /// It is sound, and every execution that is not pruned is whole.
    async fn sound(&self) {
        let report = self.registry.read(|reader| reader.verify()).await.unwrap();
        assert!(report.passed(), "{:?}", report.differences);
        let all = |reader: &Reader| reader.executions(&ExecutionFilter::default());
        for execution in self.registry.read(all).await.unwrap() {
            let id = execution.id.clone();
            let read = self.registry.read(move |reader| reader.record(&id)).await;
            match execution.pruned_at {
                Some(_) => assert!(matches!(read, Err(RegistryError::Pruned(_))), "{read:?}"),
                None => assert_eq!(read.unwrap().unwrap().execution, execution),
            }
        }
    }
}

fn id(run: &str) -> RunId {
    RunId::new(run).unwrap()
}

fn complete(part: &str) -> CallRequest {
    CallRequest { function: Function::LlmComplete, arguments: json!({ "messages": [part, "end"] }), effect: None }
}

/// A part that is a row, and one that is a blob.
fn part(name: &str, size: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Nothing that deflating makes much shorter.
    let mut state = name.bytes().fold(7_u64, |state, byte| state.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(state >> 58) as usize])
    };
    format!("{name}{}", (0..size).map(letter).collect::<String>())
}

fn all() -> PruneChoice {
    PruneChoice { before: Some(Timestamp::MAX), keep_bytes: None }
}

fn names(report: &PruneReport) -> Vec<&str> {
    report.runs.iter().map(|run| run.run.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_only_pruned_runs_name_goes_and_nothing_else() {
    let runs = Runs::new();
    let (small, large) = (part("old ", 2000), part("old large ", 70_000));
    let (shared, shared_large) = (part("shared ", 2000), part("shared large ", 70_000));
    runs.run("run-1", Some("done"), &[&small, &large, &shared, &shared_large]).await;
    runs.run("run-2", Some("failed"), &[&shared, &shared_large]).await;
    let artifact = ArtifactRef {
        uri: "artifact:1".to_owned(),
        kind: "diff".to_owned(),
        name: "d".to_owned(),
        media_type: "text/plain".to_owned(),
        size_bytes: 8,
        digest: runs.put("artifact"),
        created_at: runs.clock.now(),
    };
    let change = TaskChange::ArtifactAdded { artifact };
    let subject = Subject { spec: SpecName::new("demo").ok(), ..Subject::run(&id("run-1")) };
    runs.registry.append(subject, vec![Body::TaskUpdated { change }]).await.unwrap();
    let (kept, events) = (runs.record("run-2").await.unwrap(), *runs.registry.subscribe().borrow());

    let before = PruneChoice { before: Some(runs.clock.now().checked_sub(DAY).unwrap()), keep_bytes: None };
    let report = runs.prune(before).await;
    assert_eq!(names(&report), ["run-1"]);
    assert_eq!((report.runs[0].executions, report.runs[0].calls), (1, 5));
    assert!(report.database_bytes > 2000 && report.blob_bytes > 70_000, "{report:?}");
    let is_there = |text: &str| runs.registry.blobs().contains(&digest_of(text.as_bytes()));
    let form = |text: &str| Value::from(text).to_string();
    for (text, stays) in [
        (form(&large), false),
        ("component of run-1".to_owned(), false),
        ("plugin of run-1".to_owned(), false),
        (form(&shared_large), true),
        ("component of run-2".to_owned(), true),
        ("plugin of run-2".to_owned(), true),
        ("job of run-1".to_owned(), true),
        ("artifact".to_owned(), true),
    ] {
        assert_eq!(is_there(&text), stays, "{}", &text[..text.len().min(30)]);
    }
    assert!(matches!(runs.record("run-1").await, Err(RegistryError::Pruned(_))));
    assert_eq!(runs.record("run-2").await.unwrap(), kept);
    assert_eq!(*runs.registry.subscribe().borrow(), events, "events changed");
    runs.sound().await;
    let report = runs.prune(all()).await;
    assert_eq!((names(&report), report.kept_bytes), (vec!["run-2"], 0));
    assert_eq!(runs.rows().await, [0, 0, 0]);
    runs.sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn costs_are_the_same_before_and_after() {
    let runs = Runs::new();
    runs.run("run-1", Some("done"), &["a", "b", "c"]).await;
    runs.registry.charge_uncertain(&id("run-1")).await.unwrap();
    let execution = ExecutionId::new("run-1-e").unwrap();
    let of_execution = runs.registry.read(move |reader| reader.execution_cost(&execution)).await.unwrap();
    let before = runs.cost("run-1").await;
    assert_eq!((before.calls, before.unpriced_calls, before.unanswered_calls, before.uncertain_sendings), (4, 1, 1, 1));
    assert_eq!((before.cost.input_tokens, before.cost.cost_microusd), (30, Some(14)));
    runs.prune(all()).await;
    assert_eq!(runs.cost("run-1").await, before);
    let execution = ExecutionId::new("run-1-e").unwrap();
    let after = runs.registry.read(move |reader| reader.execution_cost(&execution)).await.unwrap();
    assert_eq!(after, of_execution);
    runs.prune(all()).await;
    assert_eq!(runs.cost("run-1").await, before, "they were counted twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_run_that_can_be_gone_on_with_is_never_pruned() {
    let runs = Runs::new();
    runs.run("run-1", Some("interrupted"), &[&part("a", 3000)]).await;
    runs.run("run-2", None, &[&part("b", 80_000)]).await;
    runs.start("run-3").await;
    let rows = runs.rows().await;
    let choice = PruneChoice { keep_bytes: Some(0), ..all() };
    let report = runs.prune(choice).await;
    assert_eq!((names(&report), report.blobs, report.database_bytes), (vec![], 0, 0));
    assert!(report.kept_bytes > 82_000, "{report:?}");
    assert_eq!(runs.rows().await, rows);
    assert!(runs.registry.blobs().contains(&digest_of(b"plugin of run-3")), "a run that has only begun lost a plugin");
    runs.sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_run_that_was_gone_on_with_meanwhile_stays() {
    let runs = Runs::new();
    runs.run("run-1", Some("done"), &["a"]).await;
    let marked = runs.registry.shared.writer.run(|tx| mark(tx, "run-1", 2)).await;
    assert!(matches!(marked, Err(RegistryError::Busy)), "{marked:?}");
    assert!(runs.record("run-1").await.is_ok(), "a refusal leaves no trace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn by_size_the_oldest_go_until_the_rest_fits_and_a_look_changes_nothing() {
    let runs = Runs::new();
    for (run, name) in [("run-1", "a"), ("run-2", "b"), ("run-3", "c")] {
        runs.run(run, Some("done"), &[&part(name, 10_000)]).await;
    }
    let everything = runs.planned(&PruneChoice { keep_bytes: Some(u64::MAX), before: None }).await;
    assert_eq!(names(&everything), Vec::<&str>::new());
    let keep = |bytes| PruneChoice { keep_bytes: Some(bytes), before: None };
    assert_eq!(names(&runs.planned(&keep(everything.kept_bytes)).await), Vec::<&str>::new());
    assert_eq!(names(&runs.planned(&keep(everything.kept_bytes - 1)).await), ["run-1"]);
    assert_eq!(names(&runs.planned(&keep(15_000)).await), ["run-1", "run-2"]);
    assert_eq!(names(&runs.planned(&keep(7_000)).await), ["run-1", "run-2", "run-3"]);
    let rows = runs.rows().await;
    let planned = runs.planned(&keep(15_000)).await;
    assert_eq!(runs.rows().await, rows);
    assert_eq!(runs.prune(keep(15_000)).await, planned, "what was said is not what was done");
    let left = runs.planned(&keep(15_000)).await;
    assert_eq!((names(&left), left.blobs, left.database_bytes), (vec![], 0, 0));
    assert_eq!(left.kept_bytes, planned.kept_bytes);
    runs.sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_crash_left_half_done_is_done_the_next_time() {
    let runs = Runs::new();
    runs.start("run-1").await;
    let execution = runs.begin("run-1", "e", &[&part("input", 5000)]).await;
    // More calls than go in one transaction.
    for n in 0..BATCH + 10 {
        let paid = Cost { input_tokens: 1, cost_microusd: Some(2), ..Cost::default() };
        if n % 100 == 0 {
            let sequence = execution.intent(complete(&part("message", 2000))).await.unwrap();
            execution.answered(sequence, json!({ "Ok": n }), paid, None).await.unwrap();
        } else {
            let read = CallRequest { function: Function::WorkspaceStatus, arguments: json!({}), effect: None };
            execution.observed(read, json!({ "Ok": n })).await.unwrap();
        }
    }
    execution.end(json!({ "ok": part("outcome", 5000) }), json!({}), None).await.unwrap();
    runs.end("run-1", "done").await;
    let cost = runs.cost("run-1").await;
    // What happens up to a crash after each step.
    runs.registry.shared.writer.run(|tx| mark(tx, "run-1", 1)).await.unwrap();
    assert_eq!(runs.cost("run-1").await, cost);
    runs.sound().await;
    let next = runs.registry.shared.writer.run(|tx| drop_calls(tx, 0)).await.unwrap();
    assert!(next.is_some() && runs.rows().await[0] == 10, "{next:?}");
    assert_eq!(runs.cost("run-1").await, cost);
    let nothing = PruneChoice { before: Some(Timestamp::MIN), keep_bytes: None };
    assert_eq!(names(&runs.prune(nothing).await), Vec::<&str>::new());
    assert_eq!(runs.rows().await, [0, 0, 0]);
    assert_eq!(runs.cost("run-1").await, cost);
    runs.sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_named_again_while_it_is_being_dropped_stays() {
    let runs = Runs::new();
    let (small, large) = (part("small", 3000), part("large", 90_000));
    runs.run("run-1", Some("done"), &[&small, &large]).await;
    runs.registry.shared.writer.run(|tx| watch_parts(tx.conn)).await.unwrap();
    let until = runs.registry.blobs().now().unwrap();
    let plan = runs.registry.read(move |reader| reader.planned(&all(), Some(until))).await.unwrap();
    // A new run says the same things, after it was decided that they go.
    runs.run("run-2", Some("done"), &[&small, &large]).await;
    let kept = runs.record("run-2").await.unwrap();
    runs.registry.shared.writer.run(|tx| mark(tx, "run-1", 1)).await.unwrap();
    runs.registry.drop_calls().await.unwrap();
    let doomed = runs.registry.drop_parts(plan.doomed).await.unwrap();
    runs.registry.drop_blobs(doomed, until).await.unwrap();
    assert_eq!(runs.record("run-2").await.unwrap(), kept);
    assert!(matches!(runs.record("run-1").await, Err(RegistryError::Pruned(_))));
    runs.registry.shared.writer.run(|tx| unwatch_parts(tx.conn)).await.unwrap();
    runs.sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_young_blob_that_nothing_names_yet_stays_while_a_run_goes_on() {
    let runs = Runs::new();
    let digest = runs.put("its row is on its way");
    runs.registry.prune(all(), Duration::from_secs(3600)).await.unwrap();
    assert!(runs.registry.blobs().contains(&digest));
    runs.prune(all()).await;
    assert!(!runs.registry.blobs().contains(&digest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn free_space_goes_back_to_the_disk() {
    let runs = Runs::new();
    let parts: Vec<String> = (0..40).map(|n| part(&format!("{n} "), 50_000)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    runs.run("run-1", Some("done"), &parts).await;
    let report = runs.prune(all()).await;
    assert!(report.database_bytes > 1_400_000, "{report:?}");
    let Runs { _dir, path, clock, registry } = runs;
    drop(registry);
    let (before, after) = shrink(&path).unwrap();
    assert!(before > 1_400_000 && after < 300_000, "{before} {after}");
    let blobs = BlobStore::open(_dir.path().join("blobs")).unwrap();
    let registry = Registry::open(&path, clock.clone(), blobs).unwrap();
    Runs { _dir, path, clock, registry }.sound().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_pruned_the_rest_is_whole_and_costs_the_same(
        runs in prop::collection::vec((0..4_usize, prop::collection::vec(0..6_usize, 0..4)), 1..6),
        keep in 0..400_000_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let outcomes = [None, Some("interrupted"), Some("done"), Some("failed")];
        let pool: Vec<String> = ["a", "bc", "def", "ghij", "klmno", "pqrstu"]
            .iter().zip([10, 1500, 3000, 60_000, 70_000, 90_000]).map(|(name, size)| part(name, size)).collect();
        runtime.block_on(async {
            let made = Runs::new();
            let mut before = Vec::new();
            for (n, (outcome, parts)) in runs.iter().enumerate() {
                let parts: Vec<&str> = parts.iter().map(|part| pool[*part].as_str()).collect();
                made.run(&format!("run-{n}"), outcomes[*outcome], &parts).await;
            }
            for n in 0..runs.len() {
                let name = format!("run-{n}");
                before.push((made.record(&name).await.unwrap(), made.cost(&name).await));
            }
            let choice = PruneChoice { before: None, keep_bytes: Some(keep) };
            let planned = made.planned(&choice).await;
            let report = made.prune(choice.clone()).await;
            assert_eq!(report, planned);
            for (n, (record, cost)) in before.into_iter().enumerate() {
                let name = format!("run-{n}");
                assert_eq!(made.cost(&name).await, cost);
                if names(&report).contains(&name.as_str()) {
                    assert!(matches!(outcomes[runs[n].0], Some("done" | "failed")));
                    assert!(matches!(made.record(&name).await, Err(RegistryError::Pruned(_))));
                } else {
                    assert_eq!(made.record(&name).await.unwrap(), record);
                }
            }
            made.sound().await;
            let again = made.planned(&choice).await;
            assert_eq!((again.runs.len(), again.database_bytes, again.blobs), (0, 0, 0), "{again:?}");
        });
    }
}
