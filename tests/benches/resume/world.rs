//! A state directory with executions of a guest that makes many calls, recorded by running it; and the host
//! that answers them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use necro_host::clock::SystemClock;
use necro_host::domain::assignment::{Assignment, BudgetLeft, DependencyReport, Envelope, SpecDocument, WorkKind};
use necro_host::domain::call::{CallRequest, Cost, HostError, LocalAnswer, LocalEffect};
use necro_host::domain::event::{Body, Event, Subject};
use necro_host::domain::grant::Grant;
use necro_host::domain::id::{CommitId, Digest, ExecutionId, RunId, SpecName, TaskId, TaskKey};
use necro_host::domain::task::{Facts, Task, TaskState};
use necro_host::domain::work::{CommandOutcome, Entry, FileStatus, FileText, LineRange, SearchHit, SearchQuery};
use necro_host::plugin::capability::{
    Capabilities, Command, CommandRun, Journal, JournalError, Registry as Tasks, Workspace,
};
use necro_host::plugin::{Engine, EngineOptions, ExecutionContext, Expectation, Limits, Plugin, PluginKind};
use necro_host::registry::{Execution, ExecutionKind, NewExecution, Registry, RegistryError};
use necro_host::store::BlobStore;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Calls of each execution that are on record.
pub(crate) const CALLS: u32 = 100;
/// Executions that are recorded at the same time.
const RECORDED_AT_ONCE: usize = 8;

/// The state directory, and where compiled components are kept.
pub(crate) struct World {
    dir: PathBuf,
    clock: Arc<SystemClock>,
    component: Digest,
}

impl World {
    /// Everything but executions.
    pub(crate) fn make(dir: &Path, clock: Arc<SystemClock>) -> Result<Self> {
        std::fs::create_dir_all(dir.join("state"))?;
        let bytes = crate::guests::guest_bytes("many-calls");
        let component = BlobStore::open(dir.join("state/blobs"))?.put(&bytes)?;
        Ok(Self { dir: dir.to_owned(), clock, component })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// Opened as a host does.
    pub(crate) fn registry(&self) -> Result<Registry> {
        let blobs = BlobStore::open(self.state().join("blobs"))?;
        Ok(Registry::open(&self.state().join("registry.db"), self.clock.clone(), blobs)?)
    }

    /// Loaded as a host does: from the cache, where it has been loaded before.
    pub(crate) async fn plugin(&self) -> Result<Arc<Plugin>> {
        let engine = Engine::new(EngineOptions { cache_dir: Some(self.cache()), ..EngineOptions::default() })?;
        let bytes = BlobStore::open(self.state().join("blobs"))?.get(&self.component)?;
        Ok(engine.load("many-calls", bytes, Expectation::Kind(PluginKind::Spirit)).await?)
    }

    /// Records `count` executions of a run, each up to its last call, or to its end.
    pub(crate) async fn record(&self, count: usize, name: &str, to_the_end: bool) -> Result<()> {
        let (registry, plugin) = (self.registry()?, self.plugin().await?);
        let subject =
            Subject { run: Some(RunId::new("run-1")?), spec: Some(SpecName::new("demo")?), ..Subject::default() };
        registry.append(subject.clone(), vec![run_started()?]).await?;
        let mut running = JoinSet::new();
        for number in 0..count {
            while running.len() >= RECORDED_AT_ONCE {
                running.join_next().await.context("some are running")???;
            }
            let (registry, plugin, id) = (registry.clone(), plugin.clone(), id(name, number)?);
            let new = self.execution(id)?;
            running.spawn(async move { record_one(&registry, &plugin, new, to_the_end).await });
        }
        while let Some(recorded) = running.join_next().await {
            recorded??;
        }
        if to_the_end {
            let end = Body::RunFinished { outcome: "done".to_owned(), commit: None, tree: None, reason: None };
            registry.append(subject, vec![end]).await?;
        }
        Ok(())
    }

    fn execution(&self, id: ExecutionId) -> Result<NewExecution> {
        Ok(NewExecution {
            id,
            run: Some(RunId::new("run-1")?),
            kind: ExecutionKind::Spirit,
            spec: Some(SpecName::new("demo")?),
            attempt: None,
            plugin: "many-calls".to_owned(),
            component: self.component.clone(),
            engine: Engine::version().to_owned(),
            limits: serde_json::to_value(Limits::for_kind(PluginKind::Spirit))?,
            settings: json!(CALLS),
            input: json!({ "assignment": assignment()? }),
        })
    }
}

/// Id of an execution.
pub(crate) fn id(name: &str, number: usize) -> Result<ExecutionId> {
    Ok(ExecutionId::new(format!("{name}-{number}"))?)
}

async fn record_one(registry: &Registry, plugin: &Plugin, new: NewExecution, to_the_end: bool) -> Result<()> {
    let (arrived, at_the_end) = (Arc::new(tokio::sync::Notify::new()), watch::channel(to_the_end).1);
    let host = Host::new(at_the_end, {
        let arrived = arrived.clone();
        move || arrived.notify_one()
    });
    let (_cancel, cancel) = watch::channel(false);
    let execution = registry.begin_execution(new.clone()).await?;
    let context = ExecutionContext {
        id: new.id,
        capabilities: host.capabilities(),
        grant: Arc::new(Grant::everything()),
        journal: Arc::new(Recording(execution.clone())),
        limits: Limits::for_kind(PluginKind::Spirit),
        time: execution.started_at(),
        cancel,
    };
    let settings = new.settings.to_string();
    let running = plugin.perform(context, assignment()?, &settings);
    if to_the_end {
        let ended = running.await;
        let outcome = json!({ "ok": ended.result? });
        execution.end(outcome, serde_json::to_value(ended.usage)?, None).await?;
        return Ok(());
    }
    // Here it is cut off: in its last call, before that is recorded.
    tokio::select! {
        ended = running => Err(ended.result.map_or_else(Into::into, |_| anyhow::anyhow!("it ended before its last call"))),
        () = arrived.notified() => Ok(()),
    }
}

/// Records, and recalls nothing.
struct Recording(Execution);

fn lost(error: RegistryError) -> JournalError {
    JournalError::Unreadable(error.to_string())
}

#[async_trait]
impl Journal for Recording {
    async fn observed(&self, call: CallRequest, answer: Value) -> Result<(), JournalError> {
        self.0.observed(call, answer).await.map_err(lost)
    }

    async fn intent(&self, call: CallRequest) -> Result<u64, JournalError> {
        self.0.intent(call).await.map_err(lost)
    }

    async fn answered(
        &self,
        sequence: u64,
        answer: Value,
        cost: Cost,
        effect: Option<Value>,
    ) -> Result<(), JournalError> {
        self.0.answered(sequence, answer, cost, effect).await.map_err(lost)
    }

    async fn local(&self, _: CallRequest, _: LocalEffect) -> Result<Result<LocalAnswer, HostError>, JournalError> {
        Ok(Err(HostError::Denied("the guest has no local effects".to_owned())))
    }
}

/// Answers the guest's calls; the last one when the gate is open.
pub(crate) struct Host {
    gate: watch::Receiver<bool>,
    arrived: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Host {
    /// `arrived` is called at the last call.
    pub(crate) fn new(gate: watch::Receiver<bool>, arrived: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self { gate, arrived: Mutex::new(Some(Box::new(arrived))) })
    }

    pub(crate) fn capabilities(self: &Arc<Self>) -> Capabilities {
        Capabilities {
            workspace: Some(self.clone()),
            command: Some(self.clone()),
            registry: Some(self.clone()),
            ..Capabilities::default()
        }
    }
}

fn nothing<T>() -> Result<T, HostError> {
    Err(HostError::NotFound("the guest does not ask for this".to_owned()))
}

#[async_trait]
impl Workspace for Host {
    async fn read(&self, path: String, _: Option<LineRange>) -> Result<FileText, HostError> {
        let text = format!(
            "//! Part of {path}.\n\nuse crate::store::Sessions;\n\n/// How long a session lasts, in seconds.\n\
             const LIFETIME: u64 = 3_600;\n\npub fn sign_in(sessions: &Sessions, name: &str) -> Result<Token, Refused> {{\n    \
             let person = sessions.person(name).ok_or(Refused::Unknown)?;\n    sessions.begin(person, LIFETIME)\n}}\n"
        );
        Ok(FileText { text, total_lines: 41, truncated: true })
    }

    async fn list(&self, _: String, _: bool) -> Result<Vec<Entry>, HostError> {
        nothing()
    }

    async fn search(&self, _: SearchQuery) -> Result<Vec<SearchHit>, HostError> {
        nothing()
    }

    async fn status(&self) -> Result<Vec<FileStatus>, HostError> {
        nothing()
    }

    async fn diff(&self) -> Result<String, HostError> {
        nothing()
    }
}

#[async_trait]
impl Command for Host {
    async fn run(&self, _: String, args: Vec<String>) -> Result<CommandRun, HostError> {
        let stdout = format!(
            "running 3 tests\n{}\ntest result: ok. 3 passed; 0 failed; 0 ignored; finished in 0.03s\n",
            args.iter().map(|arg| format!("test {arg}::a_session_ends ... ok\n").repeat(3)).collect::<String>()
        );
        let outcome = CommandOutcome {
            exit_code: Some(0),
            stdout,
            stderr: String::new(),
            elided_bytes: 0,
            timed_out: false,
            duration_ms: 712,
        };
        Ok(CommandRun { outcome, tree: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".to_owned()) })
    }
}

#[async_trait]
impl Tasks for Host {
    async fn task(&self, id: String) -> Result<Task, HostError> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(arrived) = arrived {
            arrived();
        }
        // A gate whose keeper is gone is never opened.
        if self.gate.clone().wait_for(|open| *open).await.is_err() {
            std::future::pending::<()>().await;
        }
        let invalid = |error: &dyn std::fmt::Display| HostError::Invalid(error.to_string());
        let key = TaskKey {
            spec: SpecName::new("demo").map_err(|e| invalid(&e))?,
            task: TaskId::new(id).map_err(|e| invalid(&e))?,
        };
        let definition = Facts {
            title: "Add the sign-in endpoint".to_owned(),
            text: String::new(),
            optional: false,
            depends: Vec::new(),
            skill: None,
            requirements: Vec::new(),
            priority: 0,
            metadata: std::collections::BTreeMap::new(),
            container: false,
        };
        Ok(Task {
            key,
            definition,
            set: necro_host::domain::task::Attributes::default(),
            state: TaskState::Running,
            version: 3,
            attempts: 1,
            assigned: None,
            last_failure: None,
            merged_commit: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
        })
    }

    async fn spec_document(&self, _: SpecDocument) -> Result<String, HostError> {
        nothing()
    }

    async fn dependency_reports(&self) -> Result<Vec<DependencyReport>, HostError> {
        nothing()
    }

    async fn events(&self, _: u64, _: u32) -> Result<Vec<Event>, HostError> {
        nothing()
    }
}

fn run_started() -> Result<Body> {
    Ok(Body::RunStarted {
        job: None,
        title: "demo".to_owned(),
        repository: ".".to_owned(),
        base_branch: "main".to_owned(),
        base_commit: CommitId::new("1".repeat(40))?,
        branch: "necro/demo".to_owned(),
        llm: "scripted:demo".to_owned(),
        language: "en".to_owned(),
        team: Vec::new(),
        plugins: std::collections::BTreeMap::new(),
        options: None,
    })
}

fn assignment() -> Result<Assignment> {
    let envelope = Envelope {
        kind: "issue_assignment".to_owned(),
        agent_instance: "backend_spirit_1".to_owned(),
        issue_id: Some("1".to_owned()),
        payload: json!({ "title": "Add the sign-in endpoint" }),
        spec_id: None,
        task_id: None,
        sender: None,
        message_id: None,
    };
    Ok(Assignment {
        kind: WorkKind::Implement,
        envelope,
        spec: SpecName::new("demo")?,
        task: TaskId::new("1")?,
        title: "Add the sign-in endpoint".to_owned(),
        text: "POST /sessions takes a name and a password".to_owned(),
        language: "en".to_owned(),
        acceptance_criteria: Vec::new(),
        documents: Vec::new(),
        steering: Vec::new(),
        dependency_reports: Vec::new(),
        attempt: 1,
        max_attempts: 3,
        last_failure: None,
        commands: Vec::new(),
        budget_left: BudgetLeft::default(),
    })
}
