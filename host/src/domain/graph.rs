//! The dependency graph of a task set: what is wrong with it, in which waves it can run, and how
//! much waits for each task. Built once for a spec; nothing here recurses, so its depth is no limit.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::id::TaskId;
use super::task::{Task, TaskDefinition};

mod draw;

pub use draw::{Drawing, Format, draw};

/// At most this many problems are listed for one task set.
pub const MAX_PROBLEMS: usize = 50;

/// Tasks whose descendants are counted in one pass, in 64-bit words.
const PASS_WORDS: usize = 8;

/// What is wrong with a task set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Two tasks have one id.
    #[error("task {task} is defined twice")]
    Duplicate {
        /// The id.
        task: TaskId,
    },
    /// A dependency is no task of the set.
    #[error("task {task} depends on {dependency}, which is no task of this spec")]
    Unknown {
        /// The task that names it.
        task: TaskId,
        /// What it names.
        dependency: TaskId,
    },
    /// A task waits for itself.
    #[error("task {task} depends on itself")]
    Itself {
        /// The task.
        task: TaskId,
    },
    /// Tasks wait for each other.
    #[error("tasks depend on each other: {}", chain(.path))]
    Cycle {
        /// The tasks of the cycle, each depending on the next and the last on the first.
        path: Vec<TaskId>,
    },
}

fn chain(tasks: &[TaskId]) -> String {
    let mut text = String::new();
    for task in tasks.iter().chain(tasks.first()) {
        if !text.is_empty() {
            text.push_str(" → ");
        }
        text.push_str(task.as_str());
    }
    text
}

/// Why a task set has no graph: up to [`MAX_PROBLEMS`] problems, at least one. Cycles are looked for
/// only when nothing else is wrong; one of them is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// How much hangs on a task. Containers are no work and count nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Tasks that wait for this one, directly or not.
    pub dependents: u32,
    /// Tasks on the longest path that starts here, itself included.
    pub remaining_path: u32,
}

/// A checked graph without cycles. Tasks keep the order in which they were given.
#[derive(Debug, Clone)]
pub struct Graph {
    ids: Vec<TaskId>,
    index: HashMap<TaskId, usize>,
    containers: Vec<bool>,
    dependencies: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
    /// Dependencies first; among free tasks the given order.
    order: Vec<usize>,
    /// Wave of each task, from 0.
    wave: Vec<usize>,
}

/// A task as the graph sees it.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Its id.
    pub id: &'a TaskId,
    /// What it waits for.
    pub depends: &'a [TaskId],
    /// Only groups its children.
    pub container: bool,
}

impl<'a> From<&'a TaskDefinition> for Node<'a> {
    fn from(task: &'a TaskDefinition) -> Self {
        Self { id: &task.id, depends: &task.depends, container: task.container }
    }
}

impl<'a> From<&'a Task> for Node<'a> {
    fn from(task: &'a Task) -> Self {
        Self { id: &task.key.task, depends: &task.definition.depends, container: task.definition.container }
    }
}

impl Graph {
    /// Checks a task set and orders it, in time linear in tasks and dependencies. A dependency that
    /// is named twice counts once.
    ///
    /// # Errors
    /// [`Problems`] when ids repeat, are unknown, or wait for each other.
    pub fn new<'a, N: Into<Node<'a>>>(tasks: impl IntoIterator<Item = N>) -> Result<Self, Problems> {
        let nodes: Vec<Node<'a>> = tasks.into_iter().map(Into::into).collect();
        let mut problems = Vec::new();
        let mut index = HashMap::with_capacity(nodes.len());
        for (n, node) in nodes.iter().enumerate() {
            if index.insert(node.id.clone(), n).is_some() {
                problems.push(Problem::Duplicate { task: node.id.clone() });
            }
        }
        let dependencies: Vec<Vec<usize>> = nodes.iter().map(|node| resolve(node, &index, &mut problems)).collect();
        if !problems.is_empty() {
            problems.truncate(MAX_PROBLEMS);
            return Err(Problems(problems));
        }
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (task, list) in dependencies.iter().enumerate() {
            for &dependency in list {
                dependents[dependency].push(task);
            }
        }
        let ids: Vec<TaskId> = nodes.iter().map(|n| n.id.clone()).collect();
        let (order, wave) = sort(&dependencies, &dependents);
        if order.len() < ids.len() {
            let path = cycle(&dependencies, &order).into_iter().map(|n| ids[n].clone()).collect();
            return Err(Problems(vec![Problem::Cycle { path }]));
        }
        let containers = nodes.iter().map(|n| n.container).collect();
        Ok(Self { ids, index, containers, dependencies, dependents, order, wave })
    }

    /// How many tasks there are, containers included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The tasks in an order that respects dependencies.
    pub fn order(&self) -> impl Iterator<Item = &TaskId> {
        self.order.iter().map(|&n| &self.ids[n])
    }

    /// Tasks that could run at the same time, wave after wave; in the given order inside a wave.
    /// Containers stand in the wave after their last child.
    #[must_use]
    pub fn waves(&self) -> Vec<Vec<&TaskId>> {
        let mut waves: Vec<Vec<&TaskId>> = vec![Vec::new(); self.wave.iter().max().map_or(0, |w| w + 1)];
        for (n, &wave) in self.wave.iter().enumerate() {
            waves[wave].push(&self.ids[n]);
        }
        waves
    }

    /// The longest chain of tasks that wait for each other, from its first to its last: the run takes at least
    /// as many turns. Groups are not on it; of chains of one length it is the first in the given order.
    #[must_use]
    pub fn critical_path(&self) -> Vec<&TaskId> {
        let paths = self.remaining_paths();
        let longest = |among: &mut dyn Iterator<Item = usize>| {
            among.fold(None, |best: Option<usize>, n| match best {
                Some(best) if paths[best] >= paths[n] => Some(best),
                _ => Some(n),
            })
        };
        let mut way = Vec::new();
        let mut next = longest(&mut (0..self.ids.len()));
        while let Some(n) = next {
            if !self.containers[n] {
                way.push(&self.ids[n]);
            }
            next = longest(&mut self.dependents[n].iter().copied()).filter(|&n| paths[n] > 0);
        }
        way
    }

    /// What `task` waits for directly. Nothing for an unknown id.
    pub fn dependencies(&self, task: &TaskId) -> impl Iterator<Item = &TaskId> {
        self.neighbours(task, &self.dependencies)
    }

    /// What waits directly for `task`. Nothing for an unknown id.
    pub fn dependents(&self, task: &TaskId) -> impl Iterator<Item = &TaskId> {
        self.neighbours(task, &self.dependents)
    }

    fn neighbours<'a>(&'a self, task: &TaskId, edges: &'a [Vec<usize>]) -> impl Iterator<Item = &'a TaskId> {
        let list: &[usize] = self.index.get(task).map_or(&[], |&n| &edges[n]);
        list.iter().map(|&n| &self.ids[n])
    }

    /// What hangs on each task. One pass for paths; the exact count of descendants takes a pass for
    /// every 512 tasks, with memory linear in the tasks.
    #[must_use]
    pub fn weights(&self) -> HashMap<TaskId, Weight> {
        let paths = self.remaining_paths();
        let counts = self.descendants();
        let weight = |n: usize| Weight { dependents: counts[n], remaining_path: paths[n] };
        self.ids.iter().enumerate().map(|(n, id)| (id.clone(), weight(n))).collect()
    }

    fn remaining_paths(&self) -> Vec<u32> {
        let mut paths = vec![0_u32; self.ids.len()];
        for &n in self.order.iter().rev() {
            let after = self.dependents[n].iter().map(|&d| paths[d]).max().unwrap_or(0);
            paths[n] = after + u32::from(!self.containers[n]);
        }
        paths
    }

    fn descendants(&self) -> Vec<u32> {
        let mut counts = vec![0_u32; self.ids.len()];
        let mut reached = vec![[0_u64; PASS_WORDS]; self.ids.len()];
        for pass in (0..self.ids.len()).step_by(PASS_WORDS * 64) {
            for &n in self.order.iter().rev() {
                let mut bits = [0_u64; PASS_WORDS];
                for &dependent in &self.dependents[n] {
                    for (word, other) in bits.iter_mut().zip(reached[dependent]) {
                        *word |= other;
                    }
                    if !self.containers[dependent] && (pass..pass + PASS_WORDS * 64).contains(&dependent) {
                        bits[(dependent - pass) / 64] |= 1 << ((dependent - pass) % 64);
                    }
                }
                counts[n] += bits.iter().map(|w| w.count_ones()).sum::<u32>();
                reached[n] = bits;
            }
        }
        counts
    }
}

/// The positions of a node's dependencies, each once.
fn resolve(node: &Node<'_>, index: &HashMap<TaskId, usize>, problems: &mut Vec<Problem>) -> Vec<usize> {
    let mut found = Vec::with_capacity(node.depends.len());
    for dependency in node.depends {
        if dependency == node.id {
            problems.push(Problem::Itself { task: node.id.clone() });
        } else if let Some(&n) = index.get(dependency) {
            found.push(n);
        } else {
            problems.push(Problem::Unknown { task: node.id.clone(), dependency: dependency.clone() });
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Kahn's algorithm: an order that respects dependencies, and each task's wave. Tasks on or behind a
/// cycle are missing from the order.
fn sort(dependencies: &[Vec<usize>], dependents: &[Vec<usize>]) -> (Vec<usize>, Vec<usize>) {
    let mut open: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    let mut wave = vec![0; open.len()];
    let mut order = Vec::with_capacity(open.len());
    let mut free: VecDeque<usize> = (0..open.len()).filter(|&n| open[n] == 0).collect();
    while let Some(n) = free.pop_front() {
        order.push(n);
        for &dependent in &dependents[n] {
            open[dependent] -= 1;
            if open[dependent] == 0 {
                // Tasks leave the queue wave by wave, so its last dependency is one of the latest.
                wave[dependent] = wave[n] + 1;
                free.push_back(dependent);
            }
        }
    }
    (order, wave)
}

/// One cycle among the tasks that `order` lacks: every one of them has a dependency that it lacks
/// too, so walking along those must come back to a task already seen.
fn cycle(dependencies: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let mut sorted = vec![false; dependencies.len()];
    for &n in order {
        sorted[n] = true;
    }
    let mut position = vec![None; dependencies.len()];
    let mut walk: Vec<usize> = Vec::new();
    let mut next = sorted.iter().position(|done| !done);
    while let Some(n) = next {
        if let Some(start) = position[n] {
            return walk.split_off(start);
        }
        position[n] = Some(walk.len());
        walk.push(n);
        next = dependencies[n].iter().copied().find(|&d| !sorted[d]);
    }
    walk
}

#[cfg(test)]
mod tests;
