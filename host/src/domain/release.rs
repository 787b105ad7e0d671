//! What a change of one task does to those that wait for it: who becomes ready, which containers are
//! done with their children, and who has to wait again. Pure decisions; the registry records them.

use std::collections::{BTreeMap, BTreeSet};

use super::id::TaskId;
use super::task::TaskState;

/// A task that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Which.
    pub task: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// Whether it is optional. A container does not wait for optional children.
    pub optional: bool,
}

/// One task as far as release is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub state: TaskState,
    /// Only groups its children: done when they are.
    pub container: bool,
    /// What it waits for.
    pub needs: Vec<Need>,
}

/// The dependency graph of one spec, wherever it is kept.
pub trait Graph {
    /// Why it could not be read.
    type Error;

    /// One task.
    ///
    /// # Errors
    /// When the graph cannot be read, or the task is unknown.
    fn node(&self, task: &TaskId) -> Result<Node, Self::Error>;

    /// The tasks that need `task`.
    ///
    /// # Errors
    /// When the graph cannot be read.
    fn dependents(&self, task: &TaskId) -> Result<Vec<TaskId>, Self::Error>;
}

/// One consequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Everything that it needs is done.
    Ready(TaskId),
    /// A container whose required children are done.
    Complete(TaskId),
    /// It was ready, and something that it needs is not done any more.
    Block {
        /// Which task.
        task: TaskId,
        /// What it waits for.
        open: Vec<TaskId>,
    },
    /// A done container, one of whose required children is not done any more.
    Reopen {
        /// Which task.
        task: TaskId,
        /// What it waits for.
        open: Vec<TaskId>,
    },
}

/// Why tasks are looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Something is new, changed or done.
    Progress,
    /// A done task was opened again: done containers above it are not done any more. (At any other
    /// time a container that a person ticked stays done.)
    Reopening,
}

/// What `node` still waits for. A container waits for its required needs only, unless all are
/// optional; any other task waits for whatever it names.
#[must_use]
pub fn open_needs(node: &Node, changed: &BTreeMap<TaskId, TaskState>) -> Vec<TaskId> {
    let required_only = node.container && node.needs.iter().any(|need| !need.optional);
    node.needs
        .iter()
        .filter(|need| !(required_only && need.optional))
        .filter(|need| changed.get(&need.task).copied().unwrap_or(need.state) != TaskState::Done)
        .map(|need| need.task.clone())
        .collect()
}

/// Looks at `seeds`, and at all that follows from what changes, until nothing does. Steps come in
/// the order in which they have to be recorded; a task changes at most once for each need of it.
///
/// # Errors
/// Those of the graph.
pub fn settle<G: Graph>(
    graph: &G,
    seeds: impl IntoIterator<Item = TaskId>,
    cause: Cause,
) -> Result<Vec<Step>, G::Error> {
    let mut queue: BTreeSet<TaskId> = seeds.into_iter().collect();
    let mut changed: BTreeMap<TaskId, TaskState> = BTreeMap::new();
    let mut steps = Vec::new();
    while let Some(task) = queue.pop_first() {
        let node = graph.node(&task)?;
        let state = changed.get(&task).copied().unwrap_or(node.state);
        let open = open_needs(&node, &changed);
        let (becomes, step) = match (state, open.is_empty()) {
            (TaskState::Blocked | TaskState::Ready, true) if node.container => {
                (TaskState::Done, Step::Complete(task.clone()))
            }
            (TaskState::Blocked, true) => (TaskState::Ready, Step::Ready(task.clone())),
            (TaskState::Ready, false) => (TaskState::Blocked, Step::Block { task: task.clone(), open }),
            (TaskState::Done, false) if node.container && cause == Cause::Reopening => {
                (TaskState::Blocked, Step::Reopen { task: task.clone(), open })
            }
            _ => continue,
        };
        if (state == TaskState::Done) != (becomes == TaskState::Done) {
            queue.extend(graph.dependents(&task)?);
        }
        changed.insert(task, becomes);
        steps.push(step);
    }
    Ok(steps)
}

/// A graph in memory: state, whether a container, whether optional, and needs of each task.
#[derive(Debug, Clone, Default)]
pub struct TaskMap {
    tasks: BTreeMap<TaskId, Entry>,
    dependents: BTreeMap<TaskId, Vec<TaskId>>,
}

#[derive(Debug, Clone)]
struct Entry {
    state: TaskState,
    container: bool,
    optional: bool,
    needs: Vec<TaskId>,
}

impl TaskMap {
    /// Adds a task. Needs may be added before or after it.
    pub fn insert(&mut self, task: TaskId, state: TaskState, (container, optional): (bool, bool), needs: Vec<TaskId>) {
        for need in &needs {
            self.dependents.entry(need.clone()).or_default().push(task.clone());
        }
        self.tasks.insert(task, Entry { state, container, optional, needs });
    }
}

impl Graph for TaskMap {
    type Error = TaskId;

    /// Fails with the task that is not in the map.
    fn node(&self, task: &TaskId) -> Result<Node, TaskId> {
        let entry = self.tasks.get(task).ok_or_else(|| task.clone())?;
        let needs = entry.needs.iter().map(|id| {
            let need = self.tasks.get(id).ok_or_else(|| id.clone())?;
            Ok(Need { task: id.clone(), state: need.state, optional: need.optional })
        });
        Ok(Node { state: entry.state, container: entry.container, needs: needs.collect::<Result<_, TaskId>>()? })
    }

    fn dependents(&self, task: &TaskId) -> Result<Vec<TaskId>, TaskId> {
        Ok(self.dependents.get(task).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskState::{Blocked, Cancelled, Done, Failed, Ready, Running};

    fn id(text: &str) -> TaskId {
        TaskId::new(text).unwrap()
    }

    /// `(id, state, needs)`; ids that end in `c` are containers, in `o` optional.
    fn map(tasks: &[(&str, TaskState, &[&str])]) -> TaskMap {
        let mut map = TaskMap::default();
        for (task, state, needs) in tasks {
            map.insert(
                id(task),
                *state,
                (task.ends_with('c'), task.ends_with('o')),
                needs.iter().map(|n| id(n)).collect(),
            );
        }
        map
    }

    fn after(map: &TaskMap, task: &str) -> Vec<Step> {
        settle(map, map.dependents(&id(task)).unwrap(), Cause::Progress).unwrap()
    }

    #[test]
    fn the_last_dependency_releases_and_an_earlier_one_does_not() {
        let map = map(&[("1", Done, &[]), ("2", Running, &[]), ("3", Blocked, &["1"]), ("4", Blocked, &["1", "2"])]);
        assert_eq!(after(&map, "1"), [Step::Ready(id("3"))]);
    }

    #[test]
    fn failed_and_cancelled_dependencies_release_nothing() {
        for state in [Failed, Cancelled, Ready, Running, Blocked] {
            let map = map(&[("1", state, &[]), ("2", Blocked, &["1"])]);
            assert_eq!(after(&map, "1"), [], "{state}");
        }
    }

    #[test]
    fn a_container_is_done_with_its_required_children_and_releases_in_turn() {
        let map = map(&[
            ("1.1", Done, &[]),
            ("1.2o", Ready, &[]),
            ("1c", Blocked, &["1.1", "1.2o"]),
            ("2", Blocked, &["1c"]),
        ]);
        assert_eq!(after(&map, "1.1"), [Step::Complete(id("1c")), Step::Ready(id("2"))]);
    }

    #[test]
    fn a_container_of_optional_children_waits_for_them() {
        let map = map(&[("1.1o", Done, &[]), ("1.2o", Ready, &[]), ("1c", Blocked, &["1.1o", "1.2o"])]);
        assert_eq!(after(&map, "1.1o"), []);
    }

    #[test]
    fn reopening_blocks_the_ready_reopens_containers_and_leaves_the_running_alone() {
        let map = map(&[
            ("1.1", Ready, &[]),
            ("1c", Done, &["1.1"]),
            ("2", Ready, &["1c"]),
            ("3", Running, &["1.1"]),
            ("4", Done, &["1.1"]),
        ]);
        let steps = settle(&map, map.dependents(&id("1.1")).unwrap(), Cause::Reopening).unwrap();
        let open = |text| vec![id(text)];
        assert_eq!(
            steps,
            [Step::Reopen { task: id("1c"), open: open("1.1") }, Step::Block { task: id("2"), open: open("1c") }]
        );
    }

    #[test]
    fn a_missing_task_is_named() {
        let map = map(&[("1", Blocked, &["9"])]);
        assert_eq!(settle(&map, [id("1")], Cause::Progress), Err(id("9")));
    }
}
