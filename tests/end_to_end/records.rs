//! What a finished run left in its registry, as other programs read it.

use std::path::Path;

use necro_host::domain::call::Function;
use necro_host::domain::event::Event;
use necro_host::domain::id::{Digest, ExecutionId, SpecName, TaskId, TaskKey};
use necro_host::domain::task::Task;
use necro_host::registry::{Attempt, CallRecord, EventFilter, ExecutionFilter, ExecutionKind, ExecutionRecord, Reader};
use necro_host::store::BlobStore;

/// A registry and its newest spec.
pub(crate) struct Records {
    pub(crate) reader: Reader,
    blobs: BlobStore,
    /// Components that a test has taken away.
    pub(crate) lost: Vec<Digest>,
    pub(crate) spec: SpecName,
}

impl Records {
    /// Opens the registry of a state directory.
    pub(crate) fn open(state: &Path) -> Self {
        let blobs = BlobStore::open(state.join("blobs")).unwrap();
        let reader = Reader::open(&state.join("registry.db"), blobs.clone()).unwrap();
        let spec = reader.latest_run().unwrap().unwrap().spec.unwrap();
        Self { reader, blobs, lost: Vec::new(), spec }
    }

    /// The whole log.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.reader.events(&EventFilter::default()).unwrap()
    }

    /// The key of a task.
    pub(crate) fn key(&self, task: &str) -> TaskKey {
        TaskKey { spec: self.spec.clone(), task: TaskId::new(task).unwrap() }
    }

    /// A task.
    pub(crate) fn task(&self, task: &str) -> Task {
        self.reader.task(&self.key(task)).unwrap().unwrap()
    }

    /// All tasks of the plan.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        self.reader.tasks(&self.spec).unwrap()
    }

    /// Attempts at one task.
    pub(crate) fn attempts(&self, task: &str) -> Vec<Attempt> {
        self.reader.attempts(&self.key(task)).unwrap()
    }

    /// Attempts at tasks of the plan; planning steps are left out.
    pub(crate) fn work(&self) -> Vec<Attempt> {
        let all = self.reader.attempts_of_spec(&self.spec).unwrap();
        all.into_iter().filter(|attempt| !attempt.key.key.task.is_planning_step()).collect()
    }

    /// What a task's attempt was told about the one before it; empty when nothing.
    pub(crate) fn told(&self, task: &str, attempt: u32) -> String {
        self.assignment(task, attempt)["last_failure"].as_str().unwrap_or_default().to_owned()
    }

    /// What a task's attempt was given.
    pub(crate) fn assignment(&self, task: &str, attempt: u32) -> serde_json::Value {
        let filter = ExecutionFilter {
            kind: Some(ExecutionKind::Spirit),
            spec: Some(self.spec.clone()),
            task: Some(TaskId::new(task).unwrap()),
            attempt: Some(attempt),
            ..ExecutionFilter::default()
        };
        let executions = self.reader.executions(&filter).unwrap();
        let [execution] = &executions[..] else { panic!("{} executions of {task} #{attempt}", executions.len()) };
        execution.input["assignment"].clone()
    }

    /// Executions of a kind.
    pub(crate) fn executions(&self, kind: ExecutionKind) -> Vec<ExecutionRecord> {
        self.reader.executions(&ExecutionFilter { kind: Some(kind), ..ExecutionFilter::default() }).unwrap()
    }

    /// Calls of an execution.
    pub(crate) fn calls(&self, execution: &ExecutionId) -> Vec<CallRecord> {
        self.reader.calls(execution).unwrap()
    }

    /// The projections say what the log says, every journal is closed, and nothing is lent.
    pub(crate) fn assert_sound(&self) {
        let open = self.open_journals();
        assert!(open.is_empty(), "journals are open: {open:#?}");
        self.assert_consistent();
    }

    /// Executions without an end.
    fn open_journals(&self) -> Vec<ExecutionRecord> {
        self.reader.executions(&ExecutionFilter { open: true, ..ExecutionFilter::default() }).unwrap()
    }

    /// The same of a run that was stopped: journals are open only of spirits that go on with it.
    pub(crate) fn assert_suspended(&self) {
        let open = self.open_journals();
        assert!(open.iter().all(|execution| execution.kind == ExecutionKind::Spirit), "{open:#?}");
        self.assert_consistent();
    }

    fn assert_consistent(&self) {
        let report = self.reader.verify().unwrap();
        assert!(report.passed() && report.events > 0, "{report:#?}");
        let leases = self.reader.leases(None).unwrap();
        assert!(leases.is_empty(), "still lent: {leases:#?}");
        assert!(self.reader.runs().unwrap().iter().all(|run| run.finished_at.is_some()), "a run has no end");
        self.assert_effects();
    }

    /// What changed files says which and how; each component that ran is kept with its limits.
    fn assert_effects(&self) {
        for execution in self.reader.executions(&ExecutionFilter::default()).unwrap() {
            let is_lost = self.blobs.get(&execution.component).is_err();
            assert!(!is_lost || self.lost.contains(&execution.component), "the component of {} is lost", execution.id);
            assert!(execution.limits["fuel"].is_u64(), "{execution:?}");
            for call in self.reader.calls(&execution.id).unwrap() {
                let Some(effect) = call.effect.filter(|_| call.answer.is_some()) else { continue };
                match call.function {
                    Function::LlmComplete => assert!(effect["worst"]["output_tokens"].is_u64(), "{effect}"),
                    Function::CommandRun => assert!(effect["tree"].is_string() || effect["tree"].is_null()),
                    _ => {
                        let files = effect["files"].as_array().unwrap();
                        assert!(!files.is_empty() && files.iter().all(|file| file["after"].is_string()), "{effect}");
                    }
                }
            }
        }
    }
}
