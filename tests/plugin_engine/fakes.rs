//! A small engine, inputs, a journal that remembers, and a host that answers everything at once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use necro_host::domain::assignment::{Assignment, BudgetLeft, DependencyReport, Envelope, SpecDocument, WorkKind};
use necro_host::domain::call::{CallRequest, Cost, HostError, LocalAnswer, LocalEffect, Refused};
use necro_host::domain::event::{Body, Event, Subject};
use necro_host::domain::grant::Grant;
use necro_host::domain::id::{Digest, ExecutionId, Instance, Role, SpecName, TaskId, TaskKey};
use necro_host::domain::llm::{Completion, FinishReason, Request, Usage};
use necro_host::domain::policy::{Candidate, Issue};
use necro_host::domain::task::{Facts, Task, TaskState};
use necro_host::domain::work::{
    ChangeKind, CommandOutcome, Edit, Entry, EntryKind, FileStatus, FileText, LineRange, PlannedWrite, SearchHit,
    SearchQuery,
};
use necro_host::plugin::capability::{
    Artifacts, Capabilities, Command, CommandRun, Journal, JournalError, Llm, Log, Registry, Workspace, WorkspaceEdit,
};
use necro_host::plugin::{Engine, EngineOptions, ExecutionContext, Expectation, Limits, Plugin, PluginKind};
use serde_json::Value;
use tokio::sync::watch;

use crate::guests::guest_bytes;

pub(crate) const TIME: jiff::Timestamp = jiff::Timestamp::constant(1_750_000_000, 0);

/// A small pool, because many of these live in one test process, and a cache that all tests share.
pub(crate) fn engine() -> Engine {
    let cache_dir = Some(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins"));
    Engine::new(EngineOptions { cache_dir, max_instances: 8, ..EngineOptions::default() }).unwrap()
}

pub(crate) async fn load(name: &str) -> Arc<Plugin> {
    engine().load(name, guest_bytes(name), Expectation::Any).await.unwrap()
}

/// A context with a host that grants everything, and that host.
pub(crate) fn context(kind: PluginKind) -> (ExecutionContext, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    let context = ExecutionContext {
        id: ExecutionId::new("execution-1").unwrap(),
        capabilities: fake.capabilities(),
        grant: Arc::new(Grant::everything()),
        journal: fake.clone(),
        limits: Limits::for_kind(kind),
        time: TIME,
        cancel: watch::channel(false).1,
    };
    (context, fake)
}

pub(crate) fn issue() -> Issue {
    Issue { id: "1".into(), title: "a title".into(), text: "a text".into(), labels: vec![], priority: 0 }
}

pub(crate) fn candidates(count: u32) -> Vec<Candidate> {
    let role = Role::new("backend").unwrap();
    let candidate = |number| Candidate {
        instance: Instance::of(&role, number),
        role: role.clone(),
        skills: vec!["api".into()],
        load: 0,
        capacity: 1,
        last_assigned: 0,
        price_microusd: None,
    };
    (1..=count).map(candidate).collect()
}

pub(crate) fn assignment() -> Assignment {
    Assignment {
        kind: WorkKind::Implement,
        envelope: envelope(),
        spec: SpecName::new("login").unwrap(),
        task: TaskId::new("1").unwrap(),
        title: "a title".into(),
        text: "a text".into(),
        language: "en".into(),
        acceptance_criteria: vec![],
        documents: vec![],
        steering: vec![],
        dependency_reports: vec![],
        attempt: 1,
        max_attempts: 3,
        last_failure: None,
        commands: vec![],
        budget_left: BudgetLeft::default(),
    }
}

fn envelope() -> Envelope {
    Envelope {
        kind: "issue_assignment".into(),
        agent_instance: "backend_spirit_1".into(),
        issue_id: Some("1".into()),
        payload: serde_json::json!({ "title": "a title" }),
        spec_id: None,
        task_id: None,
        sender: None,
        message_id: None,
    }
}

/// Journal and capabilities in one; everything that happens is a line of `steps`, in order.
#[derive(Default)]
pub(crate) struct Fake {
    steps: Mutex<Vec<String>>,
    logged: Mutex<Vec<String>>,
    /// Steps are refused from this one on.
    broken_from: Option<usize>,
    /// The model never answers.
    silent_model: bool,
    /// The model is paid and gives no answer.
    refusing_model: bool,
    /// No change of files can be planned.
    refusing_plans: bool,
}

impl Fake {
    /// The journal takes this many steps and no more.
    pub(crate) fn broken_from(steps: usize) -> Arc<Self> {
        Arc::new(Self { broken_from: Some(steps), ..Self::default() })
    }

    pub(crate) fn with_silent_model() -> Arc<Self> {
        Arc::new(Self { silent_model: true, ..Self::default() })
    }

    pub(crate) fn with_refusing_plans() -> Arc<Self> {
        Arc::new(Self { refusing_plans: true, ..Self::default() })
    }

    pub(crate) fn with_refusing_model() -> Arc<Self> {
        Arc::new(Self { refusing_model: true, ..Self::default() })
    }

    pub(crate) fn capabilities(self: &Arc<Self>) -> Capabilities {
        Capabilities {
            llm: Some(self.clone()),
            workspace: Some(self.clone()),
            workspace_edit: Some(self.clone()),
            command: Some(self.clone()),
            registry: Some(self.clone()),
            artifacts: Some(self.clone()),
            log: Some(self.clone()),
            local: true,
        }
    }

    pub(crate) fn steps(&self) -> Vec<String> {
        self.steps.lock().unwrap().clone()
    }

    pub(crate) fn logged(&self) -> Vec<String> {
        self.logged.lock().unwrap().clone()
    }

    fn did(&self, what: &str) {
        self.steps.lock().unwrap().push(format!("effect {what}"));
    }

    fn record(&self, line: String) -> Result<u64, JournalError> {
        let mut steps = self.steps.lock().unwrap();
        if self.broken_from.is_some_and(|n| steps.len() >= n) {
            return Err(JournalError::Unwritable { reason: "no space left on device".into(), full: true });
        }
        steps.push(line);
        Ok(steps.len() as u64)
    }
}

#[async_trait]
impl Journal for Fake {
    async fn observed(&self, call: CallRequest, answer: Value) -> Result<(), JournalError> {
        self.record(format!("observed {} {} -> {answer}", call.function.name(), call.arguments)).map(drop)
    }

    async fn intent(&self, call: CallRequest) -> Result<u64, JournalError> {
        let planned = call.effect.map_or_else(String::new, |effect| format!(" as {effect}"));
        self.record(format!("intent {} {}{planned}", call.function.name(), call.arguments))
    }

    async fn answered(&self, _: u64, answer: Value, cost: Cost, effect: Option<Value>) -> Result<(), JournalError> {
        let after = effect.map_or_else(String::new, |effect| format!(" with {effect}"));
        let tokens = cost.input_tokens + cost.output_tokens;
        self.record(format!("answered {answer} for {tokens} tokens{after}")).map(drop)
    }

    async fn local(
        &self,
        call: CallRequest,
        effect: LocalEffect,
    ) -> Result<Result<LocalAnswer, HostError>, JournalError> {
        self.record(format!("local {} {}", call.function.name(), call.arguments))?;
        Ok(match effect {
            LocalEffect::Note { .. } | LocalEffect::Send { .. } | LocalEffect::Release { .. } => Ok(LocalAnswer::Done),
            LocalEffect::Receive => Ok(LocalAnswer::Messages(vec![envelope()])),
            LocalEffect::Acquire { name, .. } => Ok(LocalAnswer::Lease(format!("lease-of-{name}"))),
            LocalEffect::Put { bytes, .. } if bytes == b"bytes" => Ok(LocalAnswer::Uri("artifact:2".into())),
            LocalEffect::Put { .. } => Err(HostError::Invalid("other bytes".into())),
        })
    }
}

#[async_trait]
impl Llm for Fake {
    fn worst(&self, _: &Request) -> Cost {
        Cost { input_tokens: 50, output_tokens: 10, ..Cost::default() }
    }

    async fn complete(&self, request: Request) -> Result<(Completion, Cost), Refused> {
        self.did("llm.complete");
        if self.silent_model {
            std::future::pending::<()>().await;
        }
        let cost = Cost { input_tokens: 40, output_tokens: 2, ..Cost::default() };
        if self.refusing_model {
            return Err(Refused { error: HostError::TimedOut("the model was too slow".into()), cost });
        }
        let usage = Usage { input_tokens: 40, cached_input_tokens: 0, output_tokens: 2, estimated: false };
        let completion = Completion {
            text: format!("{} messages", request.messages.len()),
            tool_calls: vec![],
            finish_reason: FinishReason::Stop,
            usage,
            model: request.model,
            provider_state: None,
        };
        Ok((completion, cost))
    }
}

#[async_trait]
impl Workspace for Fake {
    async fn read(&self, path: String, lines: Option<LineRange>) -> Result<FileText, HostError> {
        Ok(FileText {
            text: format!("{path} {}", lines.map_or(9, |lines| lines.count)),
            total_lines: 9,
            truncated: false,
        })
    }

    async fn list(&self, path: String, _: bool) -> Result<Vec<Entry>, HostError> {
        Ok(vec![Entry { path, kind: EntryKind::Directory, size_bytes: 0 }])
    }

    async fn search(&self, query: SearchQuery) -> Result<Vec<SearchHit>, HostError> {
        Ok(vec![SearchHit { path: query.glob.unwrap(), line: 3, text: query.pattern }])
    }

    async fn status(&self) -> Result<Vec<FileStatus>, HostError> {
        Ok(vec![FileStatus { path: "a.txt".into(), change: ChangeKind::Modified }])
    }

    async fn diff(&self) -> Result<String, HostError> {
        Err(HostError::NotFound("there is no base".into()))
    }
}

#[async_trait]
impl WorkspaceEdit for Fake {
    async fn plan_write(&self, path: String, text: String) -> Result<Vec<PlannedWrite>, HostError> {
        if self.refusing_plans {
            return Err(HostError::Denied("not there".into()));
        }
        let after = Digest::new("a".repeat(64)).map_err(|e| HostError::Other(e.to_string()))?;
        Ok(vec![PlannedWrite { path, before: None, after, bytes: text.into_bytes() }])
    }

    /// Several files, of which none can be written.
    async fn plan_apply(&self, edits: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError> {
        let text = |edit: Edit| self.plan_write(edit.path, String::new());
        Ok(futures::future::try_join_all(edits.into_iter().map(text)).await?.concat())
    }

    async fn perform(&self, planned: Vec<PlannedWrite>) -> Result<(), HostError> {
        let is_apply = planned.iter().all(|write| write.bytes.is_empty());
        self.did(if is_apply { "workspace-edit.apply" } else { "workspace-edit.write" });
        if is_apply { Err(HostError::Conflict("`x` occurs twice".into())) } else { Ok(()) }
    }

    async fn remove(&self, _: String) -> Result<(), HostError> {
        self.did("workspace-edit.remove");
        Ok(())
    }
}

#[async_trait]
impl Command for Fake {
    async fn run(&self, _: String, _: Vec<String>) -> Result<CommandRun, HostError> {
        self.did("command.run");
        let outcome = CommandOutcome {
            exit_code: Some(0),
            stdout: "ok".into(),
            stderr: String::new(),
            elided_bytes: 0,
            timed_out: false,
            duration_ms: 5,
        };
        Ok(CommandRun { outcome, tree: Some("t1".into()) })
    }
}

#[async_trait]
impl Registry for Fake {
    async fn task(&self, id: String) -> Result<Task, HostError> {
        let task = TaskId::new(id).map_err(|e| HostError::Invalid(e.to_string()))?;
        Ok(Task {
            key: TaskKey { spec: SpecName::new("login").unwrap(), task },
            definition: Facts {
                title: "a title".into(),
                text: "a text".into(),
                optional: false,
                depends: vec![],
                skill: None,
                requirements: vec![],
                priority: 0,
                metadata: std::collections::BTreeMap::new(),
                container: false,
            },
            set: necro_host::domain::task::Attributes::default(),
            state: TaskState::Running,
            version: 3,
            attempts: 1,
            assigned: None,
            last_failure: None,
            merged_commit: None,
            created_at: TIME,
            updated_at: TIME,
        })
    }

    async fn spec_document(&self, kind: SpecDocument) -> Result<String, HostError> {
        Ok(format!("{kind:?}"))
    }

    async fn dependency_reports(&self) -> Result<Vec<DependencyReport>, HostError> {
        Ok(vec![])
    }

    async fn events(&self, after: u64, _: u32) -> Result<Vec<Event>, HostError> {
        let body = Body::TaskCancelled { reason: "a reason".into() };
        Ok(vec![Event { sequence: after + 1, time: TIME, subject: Subject::default(), body }])
    }
}

#[async_trait]
impl Artifacts for Fake {
    async fn get(&self, _: String) -> Result<Vec<u8>, HostError> {
        Ok(vec![1, 2, 3])
    }
}

impl Log for Fake {
    fn emit(&self, level: &str, message: &str, fields: &[(String, String)]) {
        self.logged.lock().unwrap().push(format!("{level} {message} {fields:?}"));
    }
}
