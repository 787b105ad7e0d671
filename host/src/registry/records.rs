//! What queries answer: rows of the projections, of the journal and of the runtime tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::call::{Cost, Function};
use crate::domain::event::{Outcome, RunRequest};
use crate::domain::id::{
    AttemptKey, CommitId, Digest, ExecutionId, Instance, RunId, SlotId, SpecName, TaskId, TaskKey,
};
use crate::domain::review::Finding;
use crate::domain::task::ArtifactRef;

/// One invocation of `run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The spec it works on.
    pub spec: Option<SpecName>,
    /// The job's text in the blob store.
    pub job: Option<Digest>,
    /// First line of the job, or the spec's name.
    pub title: String,
    /// The repository as the operator named it.
    pub repository: String,
    /// The branch that the work starts from.
    pub base_branch: String,
    /// Its commit.
    pub base_commit: CommitId,
    /// The spec branch.
    pub branch: String,
    /// Which model back end.
    pub llm: String,
    /// `en` or `ja`.
    pub language: String,
    /// The team.
    pub team: Vec<Instance>,
    /// Component digests by kind and name.
    pub plugins: BTreeMap<String, Digest>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; absent while it goes on, and after a crash.
    pub finished_at: Option<Timestamp>,
    /// done, failed or interrupted.
    pub outcome: Option<String>,
    /// Tip of the spec branch at its end.
    pub commit: Option<CommitId>,
    /// Its tree.
    pub tree: Option<String>,
    /// Why, when not done.
    pub reason: Option<String>,
    /// How often it was gone on with.
    pub resumed: u32,
    /// What the operator asked for; absent in runs of the first release.
    pub options: Option<RunRequest>,
}

/// A gate's result on an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// `attempt` or `merge`.
    pub stage: String,
    /// Commands and whether they passed.
    pub checks: Vec<(String, bool)>,
}

/// One try at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Which.
    #[serde(flatten)]
    pub key: AttemptKey,
    /// The run that started it.
    pub run: Option<RunId>,
    /// Who.
    pub instance: Instance,
    /// Where.
    pub slot: SlotId,
    /// Its branch.
    pub branch: String,
    /// Its runner id.
    pub runner: String,
    /// Why this instance.
    pub reason: String,
    /// The scheduling decision.
    pub scheduling: Option<ExecutionId>,
    /// The routing decision.
    pub routing: Option<ExecutionId>,
    /// When it was claimed.
    pub assigned_at: Timestamp,
    /// The spirit's execution.
    pub execution: Option<ExecutionId>,
    /// The component that ran.
    pub component: Option<Digest>,
    /// The commit it started from.
    pub base: Option<CommitId>,
    /// When the component started.
    pub started_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What it failed on.
    pub failure: Option<String>,
    /// The spirit's summary.
    pub summary: Option<String>,
    /// Its commit.
    pub commit: Option<CommitId>,
    /// Files it changed, the first of them.
    pub files: Vec<String>,
    /// How many it changed besides.
    pub more_files: u64,
    /// What it cost.
    pub cost: Cost,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Gates that ran on it, in order.
    pub gates: Vec<Gate>,
}

/// A finding of a review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingRecord {
    /// Event that reported it.
    pub sequence: u64,
    /// The attempt that it is about.
    pub attempt: Option<u32>,
    /// It.
    #[serde(flatten)]
    pub finding: Finding,
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Event that added it.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// The attempt that left it.
    pub attempt: Option<u32>,
    /// Who.
    pub author: String,
    /// What.
    pub text: String,
}

/// An artifact and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArtifactRecord {
    /// The spec.
    pub spec: Option<SpecName>,
    /// The task.
    pub task: Option<TaskId>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// It.
    #[serde(flatten)]
    pub artifact: ArtifactRef,
}

/// Which events to read. Absent means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only later ones than this sequence number.
    pub after: u64,
    /// At most this many; 0 means [`EventFilter::MAX`], which is the bound anyway.
    pub limit: u32,
    /// Of this run.
    pub run: Option<RunId>,
    /// Of this spec.
    pub spec: Option<SpecName>,
    /// Of this task; give the spec as well.
    pub task: Option<TaskId>,
    /// Of this attempt.
    pub attempt: Option<u32>,
    /// With one of these names; empty: any.
    pub kinds: Vec<String>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// Most events in one answer.
    pub const MAX: u32 = 10_000;

    /// Events of one task.
    #[must_use]
    pub fn task(key: &TaskKey) -> Self {
        Self { spec: Some(key.spec.clone()), task: Some(key.task.clone()), ..Self::default() }
    }
}

/// What kind of component an execution invoked, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionKind {
    /// A spirit's attempt or planning step.
    Spirit,
    /// A scheduling decision.
    Scheduling,
    /// A routing decision.
    Routing,
    /// A review.
    Review,
    /// Asking a component what it is.
    Describe,
}

impl ExecutionKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Spirit, Self::Scheduling, Self::Routing, Self::Review, Self::Describe];

    /// The spelling in the tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spirit => "spirit",
            Self::Scheduling => "scheduling",
            Self::Routing => "routing",
            Self::Review => "review",
            Self::Describe => "describe",
        }
    }
}

impl std::str::FromStr for ExecutionKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| format!("`{text}` is not a kind of execution"))
    }
}

/// Which executions to read. Absent means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Of this run.
    pub run: Option<RunId>,
    /// Of this kind.
    pub kind: Option<ExecutionKind>,
    /// Of this spec.
    pub spec: Option<SpecName>,
    /// Of this task.
    pub task: Option<TaskId>,
    /// Of this attempt.
    pub attempt: Option<u32>,
    /// Only those that have not ended.
    pub open: bool,
}

/// One invocation of one component, without its calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutionRecord {
    /// Its id.
    pub id: ExecutionId,
    /// Its run.
    pub run: Option<RunId>,
    /// What for.
    pub kind: ExecutionKind,
    /// The spec.
    pub spec: Option<SpecName>,
    /// The task.
    pub task: Option<TaskId>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// Name of the plugin.
    pub plugin: String,
    /// Digest of the component.
    pub component: Digest,
    /// The engine and its version.
    pub engine: String,
    /// Where it is stopped, by the names of the settings.
    pub limits: Value,
    /// The plugin's settings.
    pub settings: Value,
    /// What it was given.
    pub input: Value,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What came out.
    pub outcome: Option<Value>,
    /// Fuel, memory and the like.
    pub usage: Option<Value>,
    /// When its calls, and what was large of the rest, were dropped.
    pub pruned_at: Option<Timestamp>,
}

/// One host call of an execution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallRecord {
    /// Position in the journal, from 1, without gaps.
    pub sequence: u64,
    /// Which function.
    pub function: Function,
    /// Digest of function and arguments (see [`super::request_digest`]).
    pub digest: Digest,
    /// Its arguments.
    pub arguments: Value,
    /// What the host found out about its effect: files with their digests before and after, the work tree
    /// after a command.
    pub effect: Option<Value>,
    /// When it was made.
    pub at: Timestamp,
    /// The answer; absent when none was recorded.
    pub answer: Option<Value>,
    /// When the answer came.
    pub answered_at: Option<Timestamp>,
    /// What it cost.
    pub cost: Cost,
    /// How often it was sent: more than once after a crash between sending and storing.
    pub tries: u32,
}

/// An execution with all its calls, verified against its checksums.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it was given, and how it ended.
    pub execution: ExecutionRecord,
    /// Its calls, numbered from 1 without gaps.
    pub calls: Vec<CallRecord>,
}

/// What a run paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CostSummary {
    /// Sums; the money is that of the priced calls, and absent when no call had a price.
    pub cost: Cost,
    /// Model calls.
    pub calls: u64,
    /// Those that were answered without a known price.
    pub unpriced_calls: u64,
    /// Those that were sent, perhaps, and never answered.
    pub unanswered_calls: u64,
    /// Sendings without an answer that were charged at their reservation, because a crash came between.
    pub uncertain_sendings: u64,
}

/// What is leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// A slot.
    Slot,
    /// A named lock of a workspace.
    Lock,
}

impl LeaseKind {
    /// The spelling in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Lock => "lock",
        }
    }
}

impl std::str::FromStr for LeaseKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "slot" => Ok(Self::Slot),
            "lock" => Ok(Self::Lock),
            _ => Err(format!("`{text}` is not a kind of lease")),
        }
    }
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// Needed to renew or release it.
    pub id: String,
    /// What is leased.
    pub kind: LeaseKind,
    /// Its name; locks are named `<workspace>/<name>`.
    pub name: String,
    /// By whom.
    pub holder: String,
    /// Since when.
    pub acquired_at: Timestamp,
    /// Until when, if it is not renewed.
    pub expires_at: Timestamp,
}

/// A lock that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldLock {
    /// It.
    #[serde(flatten)]
    pub lease: Lease,
    /// Its time is over.
    pub expired: bool,
    /// Its holder is an attempt that is at work, or can be gone on with: nobody takes the lock from it.
    pub at_work: bool,
}

/// A Spirit Protocol message as it was delivered, or waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageRecord {
    /// It.
    pub envelope: crate::domain::assignment::Envelope,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it was received.
    pub received_at: Option<Timestamp>,
}

/// The result of comparing the projections with a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Events read.
    pub events: u64,
    /// Rows compared.
    pub rows: u64,
    /// What differs, at most [`VerifyReport::MAX`] of them.
    pub differences: Vec<String>,
    /// How many differ besides.
    pub more: u64,
}

impl VerifyReport {
    /// Most differences that are listed.
    pub const MAX: usize = 200;

    /// Whether the projections are what the log says.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}
