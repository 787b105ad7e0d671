//! A state directory as a run leaves it in the middle: one planning step, one task that failed once and
//! is being tried again, one that waits, one group. Times stand still; hostile text stands where
//! models and repositories write.

use std::sync::Arc;
use std::time::Duration;

use necro_host::artifact::ArtifactStore;
use necro_host::clock::{Clock, ManualClock};
use necro_host::domain::call::{CallRequest, Cost, Function};
use necro_host::domain::event::{Body, Outcome, Subject, TaskChange};
use necro_host::domain::id::{AttemptKey, CommitId, ExecutionId, Instance, RunId, SlotId, SpecName, TaskId, TaskKey};
use necro_host::domain::review::{Finding, Severity};
use necro_host::domain::task::{Assigned, TaskDefinition, TaskState};
use necro_host::registry::{Claim, Execution, ExecutionKind, NewExecution, Reader, Registry};
use necro_host::service::StateDir;
use necro_host::store::{BlobStore, digest_of};
use serde_json::{Value, json};

use crate::place::Place;

/// What a hostile model writes: it clears the screen, in two ways, and turns the direction of text.
pub(crate) const HOSTILE: &str = "\u{1b}[2J\u{9b}2J\u{202e}";

/// The diff of the first attempt.
pub(crate) const DIFF: &str = "--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1 +1 @@\n-old\n+new\n";

/// Writes the records of [`self`] into `r/.necro` of `place`.
pub(crate) fn record(place: &Place) {
    place.repository("r", &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut recorder = Recorder::new(place);
        recorder.plan().await;
        recorder.tasks().await;
        recorder.first_attempt().await;
        recorder.second_attempt().await;
    });
}

/// Lets the recorded run end where it is.
pub(crate) fn end(place: &Place) {
    end_as(place, "interrupted");
}

/// Lets the recorded run end with this outcome.
pub(crate) fn end_as(place: &Place, outcome: &str) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at("2026-11-22T11:00:00Z".parse().unwrap()));
    let blobs = BlobStore::open(place.path("r/.necro/blobs")).unwrap();
    let path = place.path("r/.necro/registry.db");
    let run = Reader::open(&path, blobs.clone()).unwrap().runs().unwrap().pop().unwrap().id;
    let subject = Subject { spec: Some(spec()), ..Subject::run(&run) };
    let body = Body::RunFinished { outcome: outcome.to_owned(), commit: None, tree: None, reason: None };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        Registry::open(&path, clock, blobs).unwrap().append(subject, vec![body]).await.unwrap();
    });
}

struct Recorder {
    clock: Arc<ManualClock>,
    registry: Registry,
    artifacts: ArtifactStore,
    run: RunId,
}

fn spec() -> SpecName {
    SpecName::new("shop").unwrap()
}

fn key(task: &str) -> TaskKey {
    TaskKey { spec: spec(), task: TaskId::new(task).unwrap() }
}

fn commit(digit: &str) -> CommitId {
    CommitId::new(digit.repeat(40)).unwrap()
}

impl Recorder {
    fn new(place: &Place) -> Self {
        let state = StateDir::create(&place.path("r/.necro"), None).unwrap();
        let clock = Arc::new(ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap()));
        let shared: Arc<dyn Clock> = clock.clone();
        let blobs = BlobStore::open(state.blobs()).unwrap();
        let registry = Registry::open(&state.registry(), shared.clone(), blobs.clone()).unwrap();
        let artifacts = ArtifactStore::new(blobs, registry.ids().clone(), shared);
        let run = registry.ids().run();
        Self { clock, registry, artifacts, run }
    }

    fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn append(&self, attempt: Option<&AttemptKey>, bodies: Vec<Body>) {
        let subject = match attempt {
            Some(attempt) => Subject::attempt(&self.run, attempt),
            None => Subject { spec: Some(spec()), ..Subject::run(&self.run) },
        };
        self.registry.append(subject, bodies).await.unwrap();
    }

    async fn begin(&self, kind: ExecutionKind, attempt: &AttemptKey, plugin: &str, input: Value) -> Execution {
        let new = NewExecution {
            id: self.registry.ids().execution(),
            run: Some(self.run.clone()),
            kind,
            spec: Some(spec()),
            attempt: Some(attempt.clone()),
            plugin: plugin.to_owned(),
            component: digest_of(plugin.as_bytes()),
            engine: "test".to_owned(),
            limits: json!({}),
            settings: json!({}),
            input,
        };
        self.registry.begin_execution(new).await.unwrap()
    }

    async fn spirit(&self, attempt: &AttemptKey, who: &str) -> Execution {
        let input = json!({ "assignment": { "envelope": { "agent_instance": who } } });
        let instance = Instance::new(who).unwrap();
        let execution = self.begin(ExecutionKind::Spirit, attempt, instance.role().as_str(), input).await;
        let started = Body::RunnerStarted {
            runner: format!("runner-{attempt}"),
            instance,
            slot: SlotId::new("workspace-r-slot1").unwrap(),
            execution: execution.id().clone(),
            component: digest_of(b"component"),
            base: commit("a"),
        };
        self.append(Some(attempt), vec![started]).await;
        execution
    }

    async fn ask(&self, execution: &Execution, messages: Value) -> u64 {
        let arguments = json!({ "model": "default", "messages": messages, "tools": [], "tool_choice": "auto",
            "response_format": "text", "max_output_tokens": null });
        execution.intent(CallRequest { function: Function::LlmComplete, arguments, effect: None }).await.unwrap()
    }

    async fn say(&self, execution: &Execution, asked: u64, text: &str, calls: Value) {
        let answer = json!({ "Ok": { "text": text, "tool_calls": calls, "finish_reason": "stop", "model": "m",
            "usage": { "input_tokens": 900, "cached_input_tokens": 0, "output_tokens": 80, "estimated": false },
            "provider_state": null } });
        let cost = Cost { input_tokens: 900, output_tokens: 80, cost_microusd: Some(1_250), ..Cost::default() };
        execution.answered(asked, answer, cost, None).await.unwrap();
    }

    /// The run's beginning and the architect's step.
    async fn plan(&mut self) {
        let started = Body::RunStarted {
            job: None,
            title: format!("Make a shop{HOSTILE}"),
            repository: "/r".to_owned(),
            base_branch: "main".to_owned(),
            base_commit: commit("a"),
            branch: "necro/shop".to_owned(),
            llm: "scripted:test".to_owned(),
            language: "en".to_owned(),
            team: Vec::new(),
            plugins: std::collections::BTreeMap::new(),
            options: None,
        };
        self.append(None, vec![started]).await;
        let attempt = AttemptKey { key: key("0.1"), attempt: 1 };
        let execution = self.spirit(&attempt, "architect_spirit_1").await;
        self.later(1);
        let asked = self.ask(&execution, json!([{ "speaker": "user", "text": "Plan it" }])).await;
        self.say(&execution, asked, "I plan it", json!([])).await;
        self.finish(&attempt, execution, Outcome::Success, None).await;
    }

    async fn finish(&self, attempt: &AttemptKey, execution: Execution, outcome: Outcome, reason: Option<&str>) {
        let report = json!({ "ok": { "title": "done", "summary": "It is done" } });
        execution.end(report, json!({}), None).await.unwrap();
        self.later(2);
        let finished = Body::RunnerFinished {
            runner: format!("runner-{attempt}"),
            outcome,
            reason: reason.map(str::to_owned),
            summary: Some(format!("I wrote it{HOSTILE}")),
            commit: Some(commit("b")),
            files: vec!["src/a.rs".to_owned()],
            more_files: 0,
            cost: Cost { input_tokens: 900, output_tokens: 80, cost_microusd: Some(1_250), ..Cost::default() },
            duration_ms: 3_000,
        };
        self.append(Some(attempt), vec![finished]).await;
    }

    async fn tasks(&mut self) {
        let define = |id: &str, title: &str, depends: &[&str], skill: &str, container: bool| TaskDefinition {
            id: TaskId::new(id).unwrap(),
            title: title.to_owned(),
            text: "Line one\nLine two".to_owned(),
            optional: false,
            done: false,
            depends: depends.iter().map(|id| TaskId::new(*id).unwrap()).collect(),
            skill: (!skill.is_empty()).then(|| skill.to_owned()),
            requirements: vec!["1.1".to_owned()],
            priority: 0,
            metadata: std::collections::BTreeMap::new(),
            parent: None,
            container,
        };
        let tasks = vec![
            define("1", &format!("ログイン画面を作る{HOSTILE}"), &[], "frontend", false),
            define("2", "Write the \"manual\"", &["1"], "documentation", false),
            define("3", "Release", &["3.1"], "", true),
            TaskDefinition { parent: TaskId::new("3").ok(), ..define("3.1", "Tag", &["2"], "devops", false) },
        ];
        self.registry.create_tasks(&self.run, &spec(), tasks).await.unwrap();
    }

    async fn claim(&self, routing: Option<ExecutionId>) -> AttemptKey {
        let task = self.registry.read(|reader| Ok(reader.task(&key("1"))?.unwrap())).await.unwrap();
        let attempt = AttemptKey { key: key("1"), attempt: task.attempts + 1 };
        let assigned = Assigned {
            instance: Instance::new("frontend_spirit_1").unwrap(),
            slot: SlotId::new("workspace-r-slot1").unwrap(),
            branch: "feature/task-shop-1-login".to_owned(),
            runner: format!("runner-{attempt}"),
        };
        let claim = Claim {
            run: Some(self.run.clone()),
            key: key("1"),
            expected_version: task.version,
            assigned,
            reason: "frontend by its label".to_owned(),
            scheduling: None,
            routing,
        };
        self.registry.claim(claim).await.unwrap();
        attempt
    }

    /// Fails at the gate, with a finding that blocks.
    async fn first_attempt(&mut self) {
        let attempt = AttemptKey { key: key("1"), attempt: 1 };
        let candidate = json!({ "instance": "frontend_spirit_1", "role": "frontend", "skills": ["html"], "load": 0,
            "capacity": 1, "last_assigned": 0, "price_microusd": null });
        let input = json!({ "issue": {}, "candidates": [candidate], "state": "" });
        let routing = self.begin(ExecutionKind::Routing, &attempt, "least-busy", input).await;
        let decision = json!({ "ok": { "instance": "frontend_spirit_1", "reason": "frontend by its label", "state": "",
            "scores": [{ "role": "frontend", "points": 2.5, "matched": ["画面", "login"] }] } });
        routing.end(decision, json!({}), None).await.unwrap();
        let attempt = self.claim(Some(routing.id().clone())).await;
        let execution = self.spirit(&attempt, "frontend_spirit_1").await;
        self.work(&execution).await;

        let finding = Finding {
            rule: "secret-scan/key".to_owned(),
            severity: Severity::Block,
            file: Some("src/a.rs".to_owned()),
            line: Some(7),
            message: "a key".to_owned(),
        };
        let gate = TaskChange::GateFinished { stage: "attempt".to_owned(), checks: vec![("test".to_owned(), false)] };
        let reviewed = Body::ReviewReported { findings: vec![finding], executions: Vec::new() };
        self.append(Some(&attempt), vec![Body::TaskUpdated { change: gate }, reviewed]).await;
        let checks = json!({ "checks": [{ "name": "test", "passed": false, "output": "assertion failed\u{1b}[0m" }] });
        for (kind, name, text) in
            [("diff", "1-1-change.diff", DIFF.to_owned()), ("test", "1-1-gate.json", checks.to_string())]
        {
            let artifact = self.artifacts.put(kind, name, "text/plain", text.as_bytes()).unwrap();
            let body = Body::TaskUpdated { change: TaskChange::ArtifactAdded { artifact } };
            self.append(Some(&attempt), vec![body]).await;
        }
        let reason = "The command `test` failed:\nassertion failed";
        self.finish(&attempt, execution, Outcome::Failed, Some(reason)).await;
        let task = self.registry.read(|reader| Ok(reader.task(&key("1"))?.unwrap())).await.unwrap();
        let ready = Body::TaskReady { from: TaskState::Running, last_failure: Some(reason.to_owned()) };
        self.registry.transition(&self.run, &key("1"), task.version, Some(1), ready).await.unwrap();
    }

    async fn work(&self, execution: &Execution) {
        let asked = self.ask(execution, json!([{ "speaker": "user", "text": "Do it" }])).await;
        let write = json!({ "path": "src/a.rs", "text": "fn a() {}\n// two lines" }).to_string();
        self.say(execution, asked, "", json!([{ "id": "c1", "name": "write", "arguments": write }])).await;
        self.later(1);
        let call = |function, arguments| CallRequest { function, arguments, effect: None };
        let external = async |function, arguments, answer| {
            let sequence = execution.intent(call(function, arguments)).await.unwrap();
            execution.answered(sequence, answer, Cost::default(), None).await.unwrap();
            self.later(1);
        };
        external(Function::WorkspaceWrite, json!({ "path": "src/a.rs", "text": "…" }), json!({ "Ok": null })).await;
        let outcome = json!({ "Ok": { "exit_code": 101, "stdout": "", "stderr": "", "elided_bytes": 0,
            "timed_out": false, "duration_ms": 1_250 } });
        external(Function::CommandRun, json!({ "name": "test", "args": [] }), outcome).await;
        let missing = json!({ "Err": { "error": "not-found", "message": "there is no b.rs" } });
        execution
            .observed(call(Function::WorkspaceRead, json!({ "path": "b.rs", "lines": null })), missing)
            .await
            .unwrap();
        let log = json!({ "level": "info", "message": format!("nearly{HOSTILE}"), "fields": [] });
        execution.observed(call(Function::LogEmit, log), json!({ "Ok": null })).await.unwrap();
    }

    /// Goes on: its model call has no answer yet.
    async fn second_attempt(&mut self) {
        let attempt = self.claim(None).await;
        let execution = self.spirit(&attempt, "frontend_spirit_1").await;
        self.ask(&execution, json!([{ "speaker": "user", "text": "Do it again" }])).await;
    }
}
