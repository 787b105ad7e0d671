//! Inputs and outputs of routing and scheduling policies. They are recorded with every decision, so
//! that it can be replayed and another policy tried over it.

use serde::{Deserialize, Serialize};

use super::id::{Instance, Role, SpecName, TaskId};

/// At most this many bytes of state may a policy return.
pub const MAX_STATE_BYTES: usize = 4096;

/// A task whose dependencies are met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyTask {
    /// The spec.
    pub spec: SpecName,
    /// The task.
    pub task: TaskId,
    /// One line.
    pub title: String,
    /// Role that the spec names.
    pub skill: Option<String>,
    /// Larger is more urgent.
    pub priority: i32,
    /// Since it became ready.
    pub waiting_ms: u64,
    /// Tasks that wait for it, directly or not.
    pub dependents: u32,
    /// Tasks on the longest path that starts here, itself included.
    pub remaining_path: u32,
    /// The attempt that would start, from 1.
    pub attempt: u32,
}

/// A group of slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// At most this many attempts at the same time.
    pub capacity: u32,
    /// Attempts now.
    pub running: u32,
    /// Skills it takes; empty: all.
    pub skills: Vec<String>,
}

/// A task and where it should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The spec.
    pub spec: SpecName,
    /// The task.
    pub task: TaskId,
    /// The pool.
    pub pool: String,
}

/// A scheduling decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of starting.
    pub placements: Vec<Placement>,
    /// Comes back with the next call.
    pub state: String,
}

/// The work to be routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// The task's number or a backlog id.
    pub id: String,
    /// One line.
    pub title: String,
    /// The text.
    pub text: String,
    /// A label that names a role or skill beats the text.
    pub labels: Vec<String>,
    /// Larger is more urgent.
    pub priority: i32,
}

/// An instance that could take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The instance.
    pub instance: Instance,
    /// Its role.
    pub role: Role,
    /// Its skills.
    pub skills: Vec<String>,
    /// Attempts it runs now.
    pub load: u32,
    /// Attempts it may run.
    pub capacity: u32,
    /// Sequence number of its last assignment; 0: never.
    pub last_assigned: u64,
    /// Price of a million output tokens, in millionths of a US dollar.
    pub price_microusd: Option<u64>,
}

/// Points of one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The role.
    pub role: String,
    /// Its points.
    pub points: f64,
    /// Words that gave them.
    pub matched: Vec<String>,
}

/// A routing decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The chosen instance.
    pub instance: Instance,
    /// Points of each role.
    pub scores: Vec<Score>,
    /// In words.
    pub reason: String,
    /// Comes back with the next call.
    pub state: String,
}
