//! When a run is over, and how.

use std::collections::{HashMap, HashSet};

use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskState};

/// At most this many waiting tasks are named.
const MAX_NAMED: usize = 100;

/// A task that cannot start, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The task.
    pub task: TaskId,
    /// Dependencies that are not done, with their states; `None` for one that does not exist.
    pub on: Vec<(TaskId, Option<TaskState>)>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// Everything wanted is done.
    Done,
    /// Some tasks failed.
    Failed {
        /// Those that used up their attempts.
        failed: Vec<TaskId>,
        /// Those that wait for them, directly or not.
        waiting: Vec<Waiting>,
    },
    /// Nothing failed, nothing runs, and nothing can start: what is wanted waits for something that
    /// will not come, such as a cancelled task.
    Stuck {
        /// What waits for what; at least one.
        waiting: Vec<Waiting>,
    },
    /// Stopped by a person while there was something left to do.
    Interrupted {
        /// How many wanted tasks are not done.
        open: usize,
    },
}

/// How a run over the tasks of one spec has ended; `None` while it goes on. `active` is the number of
/// attempts and integrations under way: a stopped run is over when they are. Cancelled tasks are
/// wanted no more.
#[must_use]
pub fn run_outcome(tasks: &[Task], wanted: &HashSet<TaskId>, active: usize, stopping: bool) -> Option<RunOutcome> {
    if active > 0 {
        return None;
    }
    let states: HashMap<&TaskId, TaskState> = tasks.iter().map(|t| (&t.key.task, t.state)).collect();
    let open: Vec<&Task> = tasks
        .iter()
        .filter(|t| wanted.contains(&t.key.task) && !matches!(t.state, TaskState::Done | TaskState::Cancelled))
        .collect();
    if open.is_empty() {
        return Some(RunOutcome::Done);
    }
    if stopping {
        return Some(RunOutcome::Interrupted { open: open.len() });
    }
    if open.iter().any(|t| matches!(t.state, TaskState::Ready | TaskState::Running)) {
        return None;
    }
    let failed: Vec<TaskId> =
        open.iter().filter(|t| t.state == TaskState::Failed).map(|t| t.key.task.clone()).collect();
    let waiting: Vec<Waiting> = open
        .iter()
        .filter(|t| t.state == TaskState::Blocked)
        .take(MAX_NAMED)
        .map(|t| Waiting {
            task: t.key.task.clone(),
            on: t
                .definition
                .depends
                .iter()
                .map(|d| (d.clone(), states.get(d).copied()))
                .filter(|(_, state)| *state != Some(TaskState::Done))
                .collect(),
        })
        .collect();
    Some(if failed.is_empty() { RunOutcome::Stuck { waiting } } else { RunOutcome::Failed { failed, waiting } })
}
