//! The dispatcher's decisions without its doing: what is ready, whether a policy's answer can be
//! followed, what comes after an attempt, when a run is over. Policies are asked by the caller; where
//! one fails, the fallback here decides.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::assignment::Spirit;
use super::excerpt::excerpt;
use super::graph::Weight;
use super::id::{Instance, Role, SpecName, TaskId, TaskKey};
use super::policy::{Candidate, Decision, Issue, MAX_STATE_BYTES, Placement, Pool, ReadyTask};
use super::task::{Task, TaskState};
use super::verdict::MAX_REASON_BYTES;

mod fallback;
mod outcome;

pub use fallback::{fallback_plan, fallback_route};
pub use outcome::{RunOutcome, Waiting, run_outcome};

/// At most this many scores of a routing decision are kept.
pub const MAX_SCORES: usize = 64;
/// At most this many bytes of a policy's reason are kept.
pub const MAX_DECISION_REASON_BYTES: usize = 2_000;

/// The tasks of one spec that are to be done: the required ones, all when `optional`, and whatever
/// those wait for.
#[must_use]
pub fn wanted(tasks: &[Task], optional: bool) -> HashSet<TaskId> {
    let by_id: HashMap<&TaskId, &Task> = tasks.iter().map(|t| (&t.key.task, t)).collect();
    let mut todo: Vec<&Task> = tasks.iter().filter(|t| optional || !t.definition.optional).collect();
    let mut wanted: HashSet<TaskId> = todo.iter().map(|t| t.key.task.clone()).collect();
    while let Some(task) = todo.pop() {
        for dependency in &task.definition.depends {
            if let Some(next) = by_id.get(dependency)
                && wanted.insert(dependency.clone())
            {
                todo.push(next);
            }
        }
    }
    wanted
}

/// What a scheduling policy is shown: tasks of one spec that may be claimed now, in the given order.
/// Containers never run themselves; see [`finished_containers`].
#[must_use]
pub fn ready_tasks<'a>(
    tasks: impl IntoIterator<Item = &'a Task>,
    weights: &HashMap<TaskId, Weight>,
    now: Timestamp,
) -> Vec<ReadyTask> {
    tasks
        .into_iter()
        .filter(|t| t.state == TaskState::Ready && !t.definition.container)
        .map(|t| {
            let weight = weights.get(&t.key.task).copied().unwrap_or_default();
            ReadyTask {
                spec: t.key.spec.clone(),
                task: t.key.task.clone(),
                title: t.definition.title.clone(),
                skill: t.definition.skill.clone(),
                priority: t.definition.priority,
                // A clock that went backwards is no waiting time.
                waiting_ms: u64::try_from(now.as_millisecond() - t.updated_at.as_millisecond()).unwrap_or(0),
                dependents: weight.dependents,
                remaining_path: weight.remaining_path,
                attempt: t.attempts.saturating_add(1),
            }
        })
        .collect()
}

/// Containers whose parts are all done and that are not done themselves.
#[must_use]
pub fn finished_containers(tasks: &[Task]) -> Vec<TaskKey> {
    let done: HashSet<&TaskId> = tasks.iter().filter(|t| t.state == TaskState::Done).map(|t| &t.key.task).collect();
    tasks
        .iter()
        .filter(|t| t.definition.container && matches!(t.state, TaskState::Ready | TaskState::Blocked))
        .filter(|t| t.definition.depends.iter().all(|d| done.contains(d)))
        .map(|t| t.key.clone())
        .collect()
}

/// Why a placement cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not among the tasks that the policy was shown.
    #[error("the task is not ready")]
    NotReady,
    /// Placed before.
    #[error("the task is placed twice")]
    Twice,
    /// No such pool.
    #[error("there is no such pool")]
    NoPool,
    /// The pool takes other skills.
    #[error("the pool does not take the task's skill")]
    Skill,
}

/// A placement that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {} in pool `{}` is left out: {refusal}", .placement.task, cut(&.placement.pool, 100))]
pub struct Refused {
    /// What was proposed.
    pub placement: Placement,
    /// What is wrong with it.
    pub refusal: Refusal,
}

/// The part of a plan that can be followed, and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedPlan {
    /// In the order of starting.
    pub placements: Vec<Placement>,
    /// Right, but the pool is full: these wait for the next round. No fault of the policy.
    pub waiting: Vec<Placement>,
    /// Wrong; bounded by the number of ready tasks and one more, however often a policy errs.
    pub refused: Vec<Refused>,
}

/// A policy's answer that cannot be followed at all; the fallback decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The state is too long.
    #[error("the policy returned {size_bytes} bytes of state; {MAX_STATE_BYTES} are allowed")]
    State {
        /// Its size.
        size_bytes: usize,
    },
    /// The instance is no candidate.
    #[error("the policy chose {instance}, which is no candidate")]
    NoCandidate {
        /// Its choice.
        instance: Instance,
    },
    /// A score is not a number.
    #[error("the policy gave {role} a score that is no finite number")]
    Score {
        /// The role, cut to 100 bytes.
        role: String,
    },
}

/// Checks what a policy wants to remember.
///
/// # Errors
/// [`BadAnswer::State`]
pub fn check_state(state: &str) -> Result<(), BadAnswer> {
    if state.len() > MAX_STATE_BYTES { Err(BadAnswer::State { size_bytes: state.len() }) } else { Ok(()) }
}

fn cut(text: &str, room_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(room_bytes)]
}

/// Whether a pool takes a task's skill. A task without a skill may run anywhere.
#[must_use]
pub fn takes(pool: &Pool, skill: Option<&str>) -> bool {
    pool.skills.is_empty() || skill.is_none_or(|skill| pool.skills.iter().any(|s| s == skill))
}

/// Checks what a scheduling policy proposes. What it gives out in this round counts against the pools.
#[must_use]
pub fn check_plan(proposed: Vec<Placement>, ready: &[ReadyTask], pools: &[Pool]) -> CheckedPlan {
    let by_key: HashMap<(&SpecName, &TaskId), &ReadyTask> = ready.iter().map(|t| ((&t.spec, &t.task), t)).collect();
    let mut room: HashMap<&str, u32> =
        pools.iter().map(|p| (p.name.as_str(), p.capacity.saturating_sub(p.running))).collect();
    let mut seen: HashSet<(&SpecName, &TaskId)> = HashSet::new();
    let mut checked = CheckedPlan::default();
    for placement in proposed {
        let task = by_key.get(&(&placement.spec, &placement.task)).copied();
        let pool = pools.iter().find(|p| p.name == placement.pool);
        let refusal = match (task, pool) {
            (None, _) => Refusal::NotReady,
            (Some(task), _) if seen.contains(&(&task.spec, &task.task)) => Refusal::Twice,
            (Some(_), None) => Refusal::NoPool,
            (Some(task), Some(pool)) if !takes(pool, task.skill.as_deref()) => Refusal::Skill,
            (Some(task), Some(pool)) => {
                seen.insert((&task.spec, &task.task));
                match room.get_mut(pool.name.as_str()) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        checked.placements.push(placement);
                    }
                    _ => checked.waiting.push(placement),
                }
                continue;
            }
        };
        // A policy that repeats itself for ever is not worth a list of that length.
        if checked.refused.len() <= ready.len() {
            checked.refused.push(Refused { placement, refusal });
        }
    }
    checked
}

/// What a routing policy is shown: every live spirit of the team, busy ones too, because "wait for
/// the right one" is a decision. `capacity` is the number of attempts that one spirit may run.
#[must_use]
pub fn candidates<'a>(
    team: &[Spirit],
    running: impl IntoIterator<Item = &'a Instance>,
    last_assigned: &HashMap<Instance, u64>,
    capacity: u32,
    price_microusd: &dyn Fn(&Role) -> Option<u64>,
) -> Vec<Candidate> {
    let mut load: HashMap<&Instance, u32> = HashMap::new();
    for instance in running {
        *load.entry(instance).or_default() += 1;
    }
    team.iter()
        .map(|spirit| {
            let role = spirit.instance.role();
            Candidate {
                price_microusd: price_microusd(&role),
                role,
                skills: spirit.skills.clone(),
                load: load.get(&spirit.instance).copied().unwrap_or(0),
                capacity,
                last_assigned: last_assigned.get(&spirit.instance).copied().unwrap_or(0),
                instance: spirit.instance.clone(),
            }
        })
        .collect()
}

/// A task as the routing policy sees it. The skill that a spec names becomes a label: labels beat
/// words.
#[must_use]
pub fn issue_of(task: &Task) -> Issue {
    Issue {
        id: task.key.task.to_string(),
        title: task.definition.title.clone(),
        text: task.definition.text.clone(),
        labels: task.definition.skill.iter().cloned().collect(),
        priority: task.definition.priority,
    }
}

/// Checks a routing policy's decision, and cuts scores and reason to their bounds. Whether the chosen
/// instance has room is another question: see [`is_busy`].
///
/// # Errors
/// [`BadAnswer`] when it names no candidate or gives a score that is no number.
pub fn check_decision(mut decision: Decision, candidates: &[Candidate]) -> Result<Decision, BadAnswer> {
    if !candidates.iter().any(|c| c.instance == decision.instance) {
        return Err(BadAnswer::NoCandidate { instance: decision.instance });
    }
    if let Some(score) = decision.scores.iter().find(|s| !s.points.is_finite()) {
        return Err(BadAnswer::Score { role: cut(&score.role, 100).to_owned() });
    }
    decision.scores.truncate(MAX_SCORES);
    decision.reason.truncate(cut(&decision.reason, MAX_DECISION_REASON_BYTES).len());
    Ok(decision)
}

/// Whether a candidate has no room: a task that is routed to it stays ready until it has.
#[must_use]
pub fn is_busy(instance: &Instance, candidates: &[Candidate]) -> bool {
    candidates.iter().any(|c| c.instance == *instance && c.load >= c.capacity)
}

/// How an attempt ended, seen from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Gate green, nothing blocks.
    Passed,
    /// The gate, the review, the integration or the spirit failed.
    Failed {
        /// On what.
        reason: String,
    },
    /// The run was stopped.
    Interrupted,
}

/// What comes after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Its commit goes into the integration queue.
    Integrate,
    /// The task becomes ready again; the next attempt is told the reason.
    Retry {
        /// At most [`MAX_REASON_BYTES`].
        reason: String,
    },
    /// No attempt is left.
    Fail {
        /// At most [`MAX_REASON_BYTES`].
        reason: String,
    },
    /// The task becomes ready again. It will not be told anything, and the attempt does not count as
    /// a failed one.
    Release,
}

/// What comes after a task's attempt; `failed_before` is how many of its attempts failed
/// before this one. Interrupted attempts use none of the `max_attempts`.
#[must_use]
pub fn after_attempt(failed_before: u32, end: AttemptEnd, max_attempts: u32) -> NextStep {
    match end {
        AttemptEnd::Passed => NextStep::Integrate,
        AttemptEnd::Interrupted => NextStep::Release,
        AttemptEnd::Failed { reason } => {
            let reason = bounded_reason(&reason);
            if failed_before.saturating_add(1) < max_attempts {
                NextStep::Retry { reason }
            } else {
                NextStep::Fail { reason }
            }
        }
    }
}

/// A reason that fits into a prompt and a row: head and tail, never empty.
#[must_use]
pub fn bounded_reason(reason: &str) -> String {
    let reason = reason.trim();
    if reason.is_empty() {
        return "the attempt failed without saying why".to_owned();
    }
    excerpt(reason, MAX_REASON_BYTES / 2 - 64, MAX_REASON_BYTES / 2)
}

#[cfg(test)]
mod tests;
