//! The event log's vocabulary: what happened, in the ten names of the seed and those of readings
//! A19, plus the frame of a run. Projections are functions of these bodies alone.

use serde::{Deserialize, Serialize};

use super::call::Cost;
use super::exchange::Fields;
use super::id::{
    AttemptKey, CommitId, Digest, ExecutionId, Instance, IssueId, Role, RunId, SlotId, SpecName, TaskId, TaskKey,
};
use super::issue::Urgency;
use super::review::{Check, Finding};
use super::seat::{Component, SeatedBy, ShadowCounts};
use super::task::{ArtifactRef, Attributes, Facts, TaskState};

/// Version of the bodies written today. Older ones are brought to it when they are read.
pub const BODY_VERSION: u32 = 2;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position, from 1, without gaps.
    pub sequence: u64,
    /// When, UTC.
    pub time: jiff::Timestamp,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The run that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<SpecName>,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

impl Subject {
    /// About a run.
    #[must_use]
    pub fn run(run: &RunId) -> Self {
        Self { run: Some(run.clone()), ..Self::default() }
    }

    /// About a spec, outside of any run.
    #[must_use]
    pub fn spec(spec: &SpecName) -> Self {
        Self { spec: Some(spec.clone()), ..Self::default() }
    }

    /// About a task, in a run or outside of any.
    #[must_use]
    pub fn task<'r>(run: impl Into<Option<&'r RunId>>, key: &TaskKey) -> Self {
        Self { run: run.into().cloned(), spec: Some(key.spec.clone()), task: Some(key.task.clone()), attempt: None }
    }

    /// About an attempt of a task, in a run or, when a worker makes it, outside of any.
    #[must_use]
    pub fn attempt<'r>(run: impl Into<Option<&'r RunId>>, key: &AttemptKey) -> Self {
        Self {
            run: run.into().cloned(),
            spec: Some(key.key.spec.clone()),
            task: Some(key.key.task.clone()),
            attempt: Some(key.attempt),
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Gate green, nothing blocks.
    Success,
    /// Anything else; a new attempt may follow.
    Failed,
    /// The run was stopped.
    Interrupted,
}

/// How a run was asked for. Addresses are without credentials; keys come from the environment again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRequest {
    /// The choice of a model, such as `scripted:/path/replies.jsonl`; absent: by configuration.
    pub llm: Option<String>,
    /// Base URL of the model's server.
    pub base_url: Option<String>,
    /// Attempts at the same time.
    pub max_parallel: Option<u32>,
    /// It goes only as far as the plan.
    pub plan_only: bool,
    /// Changes in the checkout are no obstacle.
    pub allow_dirty: bool,
    /// Its commands are not kept in: `sandbox = "off"`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox_off: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "details")]
pub enum Body {
    /// A run began.
    RunStarted {
        /// The job's text in the blob store; absent for `--spec`.
        job: Option<Digest>,
        /// First line of the job, or the spec's name.
        title: String,
        /// The repository as the operator named it.
        repository: String,
        /// The branch that the work starts from.
        base_branch: String,
        /// Its commit.
        base_commit: CommitId,
        /// The spec branch.
        branch: String,
        /// Which model back end, such as `scripted:demo` or `openai:gpt-5-codex`.
        llm: String,
        /// `en` or `ja`.
        language: String,
        /// The spirits that are there from the start; [`Body::TeamAssembled`] brings the others.
        team: Vec<Instance>,
        /// Component digests by kind and name, such as `routing/least-busy`.
        plugins: std::collections::BTreeMap<String, Digest>,
        /// What the operator asked for, so that the run can be gone on with.
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<RunRequest>,
    },
    /// A run that was cut off, or stopped, goes on.
    RunResumed {
        /// Which model back end, as in [`Body::RunStarted`].
        llm: String,
        /// Component digests by kind and name.
        plugins: std::collections::BTreeMap<String, Digest>,
    },
    /// The plan is known, and with it who works on it.
    TeamAssembled {
        /// All spirits of the run.
        team: Vec<Instance>,
    },
    /// A component took a seat, in the run or, without one, in what decides outside of any.
    PluginSeated {
        /// spirit, routing, scheduling or review.
        kind: String,
        /// The plugin's name.
        name: String,
        /// SHA-256 of the component, which is in the blob store.
        digest: Digest,
        /// The role that it plays, when it is a spirit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
        /// Who sat there; absent for a heuristic that joins.
        replaces: Option<Component>,
        /// What seated it.
        by: SeatedBy,
        /// What the shadow replay over recorded decisions came to, where there was one.
        shadow: Option<ShadowCounts>,
    },
    /// A run ended.
    RunFinished {
        /// done, failed or interrupted.
        outcome: String,
        /// Tip of the spec branch.
        commit: Option<CommitId>,
        /// Its tree.
        tree: Option<String>,
        /// Why, when not done.
        reason: Option<String>,
    },
    /// A task came into being.
    TaskCreated {
        /// What the spec says.
        facts: Facts,
        /// Ready, blocked or done.
        state: TaskState,
    },
    /// Something about a task changed that is no state.
    TaskUpdated {
        /// What.
        change: TaskChange,
    },
    /// It may be claimed.
    TaskReady {
        /// The state it comes from.
        from: TaskState,
        /// What the next attempt is told, after a failed one.
        last_failure: Option<String>,
    },
    /// It waits.
    TaskBlocked {
        /// The state it comes from.
        from: TaskState,
        /// For what.
        reason: String,
    },
    /// An attempt claimed it.
    TaskAssigned {
        /// Who.
        instance: Instance,
        /// Where.
        slot: SlotId,
        /// Its branch.
        branch: String,
        /// The attempt's runner id.
        runner: String,
        /// Why this instance.
        reason: String,
        /// The scheduling decision's execution.
        scheduling: Option<ExecutionId>,
        /// The routing decision's execution.
        routing: Option<ExecutionId>,
    },
    /// The attempt's component starts.
    RunnerStarted {
        /// The attempt's runner id.
        runner: String,
        /// Who.
        instance: Instance,
        /// Where.
        slot: SlotId,
        /// Its execution.
        execution: ExecutionId,
        /// The component that runs.
        component: Digest,
        /// The commit it starts from.
        base: CommitId,
    },
    /// The attempt ended.
    RunnerFinished {
        /// The attempt's runner id.
        runner: String,
        /// How.
        outcome: Outcome,
        /// What it failed on.
        reason: Option<String>,
        /// The spirit's summary.
        summary: Option<String>,
        /// The attempt's commit, kept under `refs/necro/`.
        commit: Option<CommitId>,
        /// Files it changed, the first of them.
        files: Vec<String>,
        /// How many it changed besides.
        more_files: u64,
        /// What it cost.
        cost: Cost,
        /// How long it took.
        duration_ms: u64,
    },
    /// The review heuristics judged an attempt.
    ReviewReported {
        /// What they found.
        findings: Vec<Finding>,
        /// The executions that found it.
        executions: Vec<ExecutionId>,
    },
    /// It is merged.
    TaskCompleted {
        /// The merge commit; absent when a person or its children completed it.
        commit: Option<CommitId>,
        /// In words, such as `merged` or `all sub-tasks are done`.
        reason: String,
    },
    /// Every attempt was used up.
    TaskFailed {
        /// What the last one failed on.
        reason: String,
    },
    /// It was given up.
    TaskCancelled {
        /// Why.
        reason: String,
    },
    /// It goes back into work.
    TaskReopened {
        /// The state it comes from.
        from: TaskState,
        /// Why.
        reason: String,
    },
    /// A slot was leased.
    SlotAllocated {
        /// The slot.
        slot: SlotId,
        /// The attempt's runner id.
        holder: String,
    },
    /// A slot was given back.
    SlotReleased {
        /// The slot.
        slot: SlotId,
        /// The attempt's runner id.
        holder: String,
    },
    /// A pull request was opened.
    PROpened {
        /// Where.
        url: String,
    },
    /// A pull request was merged.
    PRMerged {
        /// Where.
        url: String,
        /// The merge.
        commit: CommitId,
    },
    /// A checkout's tasks.md and the registry say the same.
    SpecSynced {
        /// Where the file is.
        place: String,
        /// Its bytes in the blob store: the third side of the next sync.
        base: Digest,
    },
    /// Something came into the backlog.
    IssueAdded {
        /// Its number.
        issue: IssueId,
        /// One line.
        title: String,
        /// More about it.
        text: String,
        /// What it is filed under.
        labels: Vec<String>,
        /// How much it matters.
        priority: Urgency,
    },
    /// It is known whose work it is.
    IssueRouted {
        /// Its number.
        issue: IssueId,
        /// The role.
        role: Role,
        /// Who of that role.
        instance: Instance,
        /// Why.
        reason: String,
        /// The routing decision's execution.
        routing: Option<ExecutionId>,
    },
    /// It became the task that this event is about.
    IssueTaken {
        /// Its number.
        issue: IssueId,
    },
    /// It left the backlog without becoming a task.
    IssueClosed {
        /// Its number.
        issue: IssueId,
        /// Why.
        reason: String,
    },
    /// A spec was brought in from another registry's files; its events and tasks follow.
    TasksetImported {
        /// Its version there.
        version: u64,
        /// When it was made.
        created_at: jiff::Timestamp,
        /// When it was changed.
        updated_at: jiff::Timestamp,
        /// Its other fields.
        rest: Fields,
    },
    /// A task came along with it.
    TaskImported {
        /// What it is.
        facts: Facts,
        /// What of that nobody's tasks.md says.
        set: Attributes,
        /// Where it stands here.
        state: TaskState,
        /// When it was made.
        created_at: jiff::Timestamp,
        /// When it was changed.
        updated_at: jiff::Timestamp,
        /// Its other fields.
        rest: Fields,
    },
    /// Something had happened there.
    EventImported {
        /// Its name.
        kind: String,
        /// When it had happened.
        at: jiff::Timestamp,
        /// All that was recorded of it.
        line: Fields,
    },
}

/// What changed about a task besides its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum TaskChange {
    /// The spec says something else about it now.
    DefinitionChanged {
        /// What it says.
        facts: Facts,
    },
    /// An operator said something else about it.
    AttributesSet {
        /// What.
        attributes: Attributes,
    },
    /// An artifact was stored.
    ArtifactAdded {
        /// It.
        artifact: ArtifactRef,
    },
    /// A spirit or a person left a note.
    NoteAdded {
        /// Who.
        author: String,
        /// What.
        text: String,
    },
    /// The gate ran.
    GateFinished {
        /// On what: `attempt` or `merge`.
        stage: String,
        /// Commands and whether they passed.
        checks: Vec<(String, bool)>,
    },
}

impl TaskChange {
    /// The gate ran over `stage`, with these results.
    #[must_use]
    pub fn gate(stage: &str, checks: &[Check]) -> Self {
        let checks = checks.iter().map(|check| (check.name.clone(), check.passed)).collect();
        Self::GateFinished { stage: stage.to_owned(), checks }
    }
}

impl Body {
    /// The event's name in the log.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "RunStarted",
            Self::RunResumed { .. } => "RunResumed",
            Self::TeamAssembled { .. } => "TeamAssembled",
            Self::PluginSeated { .. } => "PluginSeated",
            Self::RunFinished { .. } => "RunFinished",
            Self::TaskCreated { .. } => "TaskCreated",
            Self::TaskUpdated { .. } => "TaskUpdated",
            Self::TaskReady { .. } => "TaskReady",
            Self::TaskBlocked { .. } => "TaskBlocked",
            Self::TaskAssigned { .. } => "TaskAssigned",
            Self::RunnerStarted { .. } => "RunnerStarted",
            Self::RunnerFinished { .. } => "RunnerFinished",
            Self::ReviewReported { .. } => "ReviewReported",
            Self::TaskCompleted { .. } => "TaskCompleted",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::TaskCancelled { .. } => "TaskCancelled",
            Self::TaskReopened { .. } => "TaskReopened",
            Self::SlotAllocated { .. } => "SlotAllocated",
            Self::SlotReleased { .. } => "SlotReleased",
            Self::PROpened { .. } => "PROpened",
            Self::PRMerged { .. } => "PRMerged",
            Self::SpecSynced { .. } => "SpecSynced",
            Self::IssueAdded { .. } => "IssueAdded",
            Self::IssueRouted { .. } => "IssueRouted",
            Self::IssueTaken { .. } => "IssueTaken",
            Self::IssueClosed { .. } => "IssueClosed",
            Self::TasksetImported { .. } => "TasksetImported",
            Self::TaskImported { .. } => "TaskImported",
            Self::EventImported { .. } => "EventImported",
        }
    }
}
