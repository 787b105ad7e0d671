//! Random calls and crashes through the one way of a host call, beside an execution that never crashes.
//! The guest is a program whose requests depend on what it was answered: a wrong answer after a crash
//! becomes another request, which is a divergence.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex as Lock};

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::sync::Notify;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::domain::call::Refused;
use crate::domain::event::{Body, TaskChange};
use crate::domain::grant::Grant;
use crate::domain::id::{AttemptKey, ExecutionId, Instance, RunId, SlotId, SpecName, TaskId, TaskKey};
use crate::domain::llm::{Completion, FinishReason, Request, Usage};
use crate::domain::task::{Assigned, TaskDefinition};
use crate::domain::work::{CommandOutcome, Edit, Entry, FileStatus, FileText, LineRange, PlannedWrite};
use crate::domain::work::{SearchHit, SearchQuery};
use crate::plugin::bindings::imports::necro::plugin as wit;
use crate::plugin::capability::{Capabilities, Command, CommandRun, Llm, Workspace, WorkspaceEdit};
use crate::plugin::host::{CallError, Guest};
use crate::plugin::wasi::Seed;
use crate::plugin::{Limits, PluginKind};
use crate::registry::{Claim, EventFilter, ExecutionKind, NewExecution};
use crate::service::tape::newest_tree;
use crate::store::digest_of;

/// One call of the program.
#[derive(Debug, Clone, Copy)]
enum Op {
    Read(u8),
    Write(u8),
    Remove(u8),
    Run,
    Ask,
    Note,
    Send,
    Receive,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..3_u8).prop_map(Op::Read),
        (0..3_u8).prop_map(Op::Write),
        (0..3_u8).prop_map(Op::Remove),
        Just(Op::Run),
        Just(Op::Ask),
        Just(Op::Note),
        Just(Op::Send),
        Just(Op::Receive),
    ]
}

type Files = BTreeMap<String, Vec<u8>>;

/// What lies outside the registry, and outlives a crash.
#[derive(Default)]
struct World {
    files: Lock<Files>,
    trees: Lock<Vec<Files>>,
    sent: Lock<BTreeMap<String, u32>>,
}

/// Stops everything at the n-th step.
struct Crash {
    left: AtomicU32,
    now: Notify,
}

impl Crash {
    fn after(steps: u32) -> Arc<Self> {
        Arc::new(Self { left: AtomicU32::new(steps), now: Notify::new() })
    }

    /// Comes back, or never: then the whole execution is dropped.
    async fn step(&self) {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            self.now.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

struct Side {
    world: Arc<World>,
    crash: Arc<Crash>,
}

#[async_trait]
impl Llm for Side {
    fn worst(&self, _: &Request) -> Cost {
        Cost { input_tokens: 10, output_tokens: 5, ..Cost::default() }
    }

    async fn complete(&self, request: Request) -> Result<(Completion, Cost), Refused> {
        let text = request.messages[0].text.clone();
        self.crash.step().await;
        *self.world.sent.lock().unwrap().entry(text.clone()).or_default() += 1;
        self.crash.step().await;
        let usage = Usage { input_tokens: 1, cached_input_tokens: 0, output_tokens: 1, estimated: false };
        let cost = Cost { input_tokens: 1, output_tokens: 1, ..Cost::default() };
        let completion = Completion {
            text: format!("re: {text}"),
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
impl Workspace for Side {
    async fn read(&self, path: String, _: Option<LineRange>) -> Result<FileText, HostError> {
        let files = self.world.files.lock().unwrap();
        let bytes = files.get(&path).ok_or_else(|| HostError::NotFound(path.clone()))?;
        let text = String::from_utf8_lossy(bytes).into_owned();
        Ok(FileText { total_lines: 1, truncated: false, text })
    }
    async fn list(&self, _: String, _: bool) -> Result<Vec<Entry>, HostError> {
        Ok(vec![])
    }
    async fn search(&self, _: SearchQuery) -> Result<Vec<SearchHit>, HostError> {
        Ok(vec![])
    }
    async fn status(&self) -> Result<Vec<FileStatus>, HostError> {
        Ok(vec![])
    }
    async fn diff(&self) -> Result<String, HostError> {
        Ok(String::new())
    }
}

#[async_trait]
impl WorkspaceEdit for Side {
    async fn plan_write(&self, path: String, text: String) -> Result<Vec<PlannedWrite>, HostError> {
        let before = self.world.files.lock().unwrap().get(&path).map(|bytes| digest_of(bytes));
        let bytes = text.into_bytes();
        Ok(vec![PlannedWrite { path, before, after: digest_of(&bytes), bytes }])
    }
    async fn plan_apply(&self, _: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError> {
        Ok(vec![])
    }
    async fn perform(&self, planned: Vec<PlannedWrite>) -> Result<(), HostError> {
        self.crash.step().await;
        for write in planned {
            self.world.files.lock().unwrap().insert(write.path, write.bytes);
        }
        self.crash.step().await;
        Ok(())
    }
    async fn remove(&self, path: String) -> Result<(), HostError> {
        self.crash.step().await;
        let removed = self.world.files.lock().unwrap().remove(&path);
        self.crash.step().await;
        removed.map(drop).ok_or(HostError::NotFound(path))
    }
}

#[async_trait]
impl Command for Side {
    async fn run(&self, _: String, _: Vec<String>) -> Result<CommandRun, HostError> {
        self.crash.step().await;
        let (count, tree) = {
            let mut files = self.world.files.lock().unwrap();
            let log = files.entry("log".to_owned()).or_default();
            log.push(b'x');
            let count = log.len();
            let mut trees = self.world.trees.lock().unwrap();
            trees.push(files.clone());
            (count, trees.len() - 1)
        };
        self.crash.step().await;
        let outcome = CommandOutcome {
            exit_code: Some(0),
            stdout: format!("ran {count} times"),
            stderr: String::new(),
            elided_bytes: 0,
            timed_out: false,
            duration_ms: 1,
        };
        Ok(CommandRun { outcome, tree: Some(tree.to_string()) })
    }
}

/// The real journal, with a step before and after each of its writes.
struct Shaky {
    inner: ExecutionJournal,
    crash: Arc<Crash>,
}

#[async_trait]
impl Journal for Shaky {
    async fn recorded(&self, call: &CallRequest) -> Result<Recorded, JournalError> {
        self.inner.recorded(call).await
    }
    async fn observed(&self, call: CallRequest, answer: Value) -> Result<(), JournalError> {
        self.crash.step().await;
        self.inner.observed(call, answer).await
    }
    async fn intent(&self, call: CallRequest) -> Result<u64, JournalError> {
        self.crash.step().await;
        let sequence = self.inner.intent(call).await;
        self.crash.step().await;
        sequence
    }
    async fn answered(&self, at: u64, answer: Value, cost: Cost, effect: Option<Value>) -> Result<(), JournalError> {
        self.crash.step().await;
        self.inner.answered(at, answer, cost, effect).await?;
        self.crash.step().await;
        Ok(())
    }
    async fn local(
        &self,
        call: CallRequest,
        effect: LocalEffect,
    ) -> Result<Result<LocalAnswer, HostError>, JournalError> {
        self.crash.step().await;
        let answer = self.inner.local(call, effect).await;
        self.crash.step().await;
        answer
    }
}

fn attempt() -> AttemptKey {
    let key = TaskKey { spec: SpecName::new("demo").unwrap(), task: TaskId::new("1").unwrap() };
    AttemptKey { key, attempt: 1 }
}

fn instance() -> Instance {
    Instance::new("backend_spirit_1").unwrap()
}

fn open(dir: &Path) -> Registry {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(jiff::Timestamp::UNIX_EPOCH));
    let blobs = BlobStore::open(dir.join("blobs")).unwrap();
    Registry::open(&dir.join("registry.db"), clock, blobs).unwrap()
}

async fn claimed(registry: &Registry) {
    let (run, AttemptKey { key, .. }) = (RunId::new("run-1").unwrap(), attempt());
    let definition = TaskDefinition {
        id: key.task.clone(),
        title: "a task".to_owned(),
        text: String::new(),
        optional: false,
        done: false,
        depends: vec![],
        skill: None,
        requirements: vec![],
        priority: 0,
        metadata: std::collections::BTreeMap::new(),
        parent: None,
        container: false,
    };
    let tasks = registry.create_tasks(&run, &key.spec, vec![definition]).await.unwrap();
    let assigned = Assigned {
        instance: instance(),
        slot: SlotId::new("workspace-r-slot1").unwrap(),
        branch: "feature/task".to_owned(),
        runner: "runner".to_owned(),
    };
    let (expected_version, reason) = (tasks[0].version, String::new());
    let claim = Claim { run: Some(run), key, expected_version, assigned, reason, scheduling: None, routing: None };
    registry.claim(claim).await.unwrap();
}

fn new_execution() -> NewExecution {
    NewExecution {
        id: ExecutionId::new("execution-1").unwrap(),
        run: Some(RunId::new("run-1").unwrap()),
        kind: ExecutionKind::Spirit,
        spec: Some(attempt().key.spec),
        attempt: Some(attempt()),
        plugin: "backend".to_owned(),
        component: digest_of(b"component"),
        engine: "none".to_owned(),
        limits: json!({}),
        settings: json!({}),
        input: json!({}),
    }
}

/// Makes the program's calls; each request holds a digest of all answers so far.
async fn program(guest: &mut Guest, ops: &[Op]) -> Result<Vec<String>, String> {
    let mut answers = Vec::new();
    for (position, op) in ops.iter().enumerate() {
        let seen = digest_of(answers.join("\n").as_bytes()).to_string()[..8].to_owned();
        let path = |n: &u8| format!("file-{n}");
        let answer = match op {
            Op::Read(n) => text(wit::workspace::Host::read(guest, path(n), None).await.map(|file| file.text))?,
            Op::Write(n) => text(wit::workspace_edit::Host::write(guest, path(n), format!("{position} {seen}")).await)?,
            Op::Remove(n) => text(wit::workspace_edit::Host::remove(guest, path(n)).await)?,
            Op::Run => text(wit::command::Host::run(guest, "test".into(), vec![]).await.map(|out| out.stdout))?,
            Op::Ask => {
                let message = wit::llm::Message {
                    speaker: wit::llm::Speaker::User,
                    text: format!("{position} {seen}"),
                    tool_calls: vec![],
                    tool_call_id: None,
                    provider_state: None,
                };
                let request = wit::llm::Request {
                    model: "default".into(),
                    messages: vec![message],
                    tools: vec![],
                    tool_choice: wit::llm::ToolChoice::Auto,
                    response_format: wit::llm::ResponseFormat::Text,
                    max_output_tokens: None,
                };
                text(wit::llm::Host::complete(guest, request).await.map(|completion| completion.text))?
            }
            Op::Note => text(wit::registry::Host::note(guest, format!("{position} {seen}")).await)?,
            Op::Send => {
                let message = wit::types::Envelope {
                    kind: "note".into(),
                    agent_instance: instance().to_string(),
                    issue_id: None,
                    payload: format!("\"{position} {seen}\""),
                    spec_id: None,
                    task_id: None,
                    sender: None,
                    message_id: None,
                };
                text(wit::mailbox::Host::send(guest, message).await)?
            }
            Op::Receive => {
                let received = wit::mailbox::Host::receive(guest).await;
                text(received.map(|messages| messages.into_iter().map(|m| m.payload).collect::<Vec<_>>()))?
            }
        };
        answers.push(answer);
    }
    Ok(answers)
}

fn text<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Result<String, String> {
    match answer {
        Ok(value) => Ok(format!("{value:?}")),
        Err(CallError::Host(error)) => Ok(format!("{error}")),
        Err(CallError::Stop(stop)) => Err(stop.to_string()),
    }
}

/// One life of the host: begins the execution, or goes on with it. `None`: it crashed.
async fn life(dir: &Path, world: &Arc<World>, ops: &[Op], crash: Arc<Crash>) -> Option<Result<Vec<String>, String>> {
    let registry = open(dir);
    let id = new_execution().id;
    let run = RunId::new("run-1").unwrap();
    registry.charge_uncertain(&run).await.unwrap();
    let record = registry.read(move |reader| reader.record(&id)).await.unwrap();
    let (execution, tape) = match record {
        None => {
            claimed(&registry).await;
            (registry.begin_execution(new_execution()).await.unwrap(), Tape::default())
        }
        Some(record) => {
            let restored = newest_tree(&record.calls).unwrap();
            let (to, files) = match &restored {
                Some((sequence, tree)) => {
                    (*sequence, world.trees.lock().unwrap()[tree.parse::<usize>().unwrap()].clone())
                }
                None => (0, Files::new()),
            };
            *world.files.lock().unwrap() = files;
            let execution = registry.reopen_execution(&record.execution).await.unwrap();
            (execution, Tape::new(record.calls, to))
        }
    };
    let workspace = attempt().key.spec.to_string();
    let context = LocalContext { attempt: attempt(), instance: instance(), workspace };
    let inner =
        ExecutionJournal::new(registry.clone(), execution, Some(context), (tape, Arc::default()), Uncertain::Resend);
    let side = Arc::new(Side { world: Arc::clone(world), crash: Arc::clone(&crash) });
    let capabilities = Capabilities {
        llm: Some(side.clone()),
        workspace: Some(side.clone()),
        workspace_edit: Some(side.clone()),
        command: Some(side),
        local: true,
        ..Capabilities::default()
    };
    let seed = Seed { time: jiff::Timestamp::UNIX_EPOCH, random: [0; 32] };
    let journal = Arc::new(Shaky { inner, crash: Arc::clone(&crash) });
    let mut guest = Guest::new(
        &seed,
        (capabilities, Arc::new(Grant::everything())),
        "qa",
        journal,
        &Limits::for_kind(PluginKind::Spirit),
    );
    tokio::select! {
        biased;
        answers = program(&mut guest, ops) => Some(answers),
        () = crash.now.notified() => None,
    }
}

async fn notes(dir: &Path) -> Vec<String> {
    let events = open(dir).read(|reader| reader.events(&EventFilter::default())).await.unwrap();
    let note = |event: crate::domain::event::Event| match event.body {
        Body::TaskUpdated { change: TaskChange::NoteAdded { text, .. } } => Some(text),
        _ => None,
    };
    events.into_iter().filter_map(note).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn crashes_change_no_answer_and_no_effect_happens_twice_unseen(
        ops in prop::collection::vec(op(), 1..14),
        crashes in prop::collection::vec(0..40_u32, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let calm = (tempfile::tempdir().unwrap(), Arc::<World>::default());
        let rough = (tempfile::tempdir().unwrap(), Arc::<World>::default());
        let never = Crash::after(u32::MAX);
        let expected = runtime.block_on(life(calm.0.path(), &calm.1, &ops, never)).unwrap().unwrap();
        let lives = crashes.iter().copied().chain([u32::MAX]);
        let found = lives.filter_map(|steps| {
            runtime.block_on(life(rough.0.path(), &rough.1, &ops, Crash::after(steps)))
        }).next();
        let found = match found.unwrap() {
            Ok(answers) => answers,
            Err(stop) => return Err(TestCaseError::fail(format!("an execution that goes on was stopped: {stop}"))),
        };
        let (record, cost) = runtime.block_on(open(rough.0.path()).read(|reader| {
            Ok((reader.record(&new_execution().id)?.unwrap(), reader.cost(&RunId::new("run-1").unwrap())?))
        })).unwrap();
        // A model call that was cut off twice fails: what the program does then is its own affair.
        let given_up = record.calls.iter().any(|call| call.tries > 1 && call.answer.as_ref().is_some_and(|a| a.get("Err").is_some()));
        prop_assume!(!given_up);
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(&*rough.1.files.lock().unwrap(), &*calm.1.files.lock().unwrap());
        prop_assert_eq!(runtime.block_on(notes(rough.0.path())), runtime.block_on(notes(calm.0.path())));
        let sent = rough.1.sent.lock().unwrap().clone();
        let asked = calm.1.sent.lock().unwrap().clone();
        prop_assert_eq!(sent.keys().collect::<Vec<_>>(), asked.keys().collect::<Vec<_>>());
        let again: u64 = sent.values().map(|times| u64::from(times - 1)).sum();
        prop_assert!(again <= cost.uncertain_sendings, "{again} sent again, {} shown", cost.uncertain_sendings);
        let resent = record.calls.iter().filter(|call| call.tries > 1).count() as u64;
        prop_assert!(cost.uncertain_sendings >= resent);
    }
}
