//! From tasks to definitions: what waits for what.
//!
//! Rules, in the order in which they win:
//! 1. A parent waits for its required children. A parent whose children are all optional is work of
//!    its own, and they wait for it. What a parent waits for, its children wait for too.
//! 2. `_Depends:_` says exactly what its task waits for (`none`: nothing).
//! 3. A task without it waits, in a file with a wave graph, for the required tasks of the wave before
//!    its own. Tasks that stand in no wave keep their place in the file: they wait for what stands
//!    before them, and nothing in a wave waits for them.
//! 4. In a file with neither, tasks run one after another in file order, as Kiro runs them;
//!    neighbours marked `(P)` run together. In a file that has `_Depends:_` somewhere and no graph, a
//!    task without it waits for nothing.
//!
//! Nothing that rules 3 and 4 add makes a required task wait for an optional one or closes a cycle.
//! The definitions are always free of cycles and of unknown numbers: what had to be left out for
//! that is an error in the diagnostics.

mod cycle;
mod implicit;

use std::cell::OnceCell;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use self::cycle::break_cycles;
use super::diagnostic::{Collector, Diagnostic};
use super::refs::{self, TaskRef};
use super::tasks::{BoxState, TaskFile, TaskItem};
use crate::domain::id::TaskId;
use crate::domain::task::TaskDefinition;

/// At most this many dependencies has a file, those included that parents pass on to their children.
pub const MAX_DEPENDENCIES: usize = 200_000;

/// Where the order of a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Neither graph nor `_Depends:_`: one after another.
    Sequential,
    /// `_Depends:_` alone.
    Depends,
    /// The wave graph alone.
    Waves,
    /// The wave graph, and `_Depends:_` where a task has it.
    WavesAndDepends,
}

impl Mode {
    /// The one spelling, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Depends => "depends",
            Self::Waves => "waves",
            Self::WavesAndDepends => "waves-and-depends",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tasks of a file, ready to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where the order comes from.
    pub mode: Mode,
    /// Unique tasks in file order. Their dependencies are known, acyclic and never their own.
    pub tasks: Vec<TaskDefinition>,
    /// Findings about the file and about its dependencies, by line.
    pub diagnostics: Vec<Diagnostic>,
}

impl Plan {
    /// Whether the file must be mended before it is run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads a tasks.md and orders its tasks.
#[must_use]
pub fn plan(bytes: &[u8]) -> Plan {
    let mut file = TaskFile::read(bytes);
    let mut plan = order(&file, Texts::Later);
    let unique = file.items.iter_mut().filter(|item| !item.duplicate);
    for (task, item) in plan.tasks.iter_mut().zip(unique) {
        (task.title, task.text) = (std::mem::take(&mut item.title), std::mem::take(&mut item.text));
    }
    plan
}

/// Whether definitions get copies of what stands in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    Copied,
    /// They get the texts themselves, when the file is done with.
    Later,
}

/// Orders the tasks of a file that was read.
#[must_use]
pub fn plan_file(file: &TaskFile) -> Plan {
    order(file, Texts::Copied)
}

fn order(file: &TaskFile, texts: Texts) -> Plan {
    let mut found = Collector::default();
    let mut net = Net::new(file);
    net.read_depends(&mut found);
    net.check_parents(&mut found);
    break_cycles(&mut net, &mut found);
    let waves = net.waves(file, &mut found);
    let mode = match (net.has_depends(), waves.is_some()) {
        (false, false) => Mode::Sequential,
        (true, false) => Mode::Depends,
        (false, true) => Mode::Waves,
        (true, true) => Mode::WavesAndDepends,
    };
    let mut depends = net.base_edges();
    if depends.iter().map(Vec::len).sum::<usize>() >= MAX_DEPENDENCIES {
        let message = format!("the tasks have {MAX_DEPENDENCIES} dependencies or more; some are not used");
        found.error(1, "tasks/too-many-dependencies", message);
    }
    implicit::add(&net, mode, waves.as_deref(), &mut depends, &mut found);
    let tasks = net.definitions(&depends, texts, &mut found);
    found.extend(file.diagnostics.iter().cloned());
    Plan { mode, tasks, diagnostics: found.finish() }
}

/// A dependency and the line that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gate {
    on: usize,
    line: u32,
}

/// The unique tasks of a file, by their place in it.
struct Net<'f> {
    items: Vec<&'f TaskItem>,
    index: HashMap<&'f str, usize>,
    parent: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
    /// Starred, or below a parent that is.
    optional: Vec<bool>,
    container: Vec<bool>,
    /// What `_Depends:_` says; `None`: the task has none.
    depends: Vec<Option<Vec<Gate>>>,
    /// Places by natural order of the numbers; made when a range is met.
    sorted: OnceCell<Vec<usize>>,
}

impl<'f> Net<'f> {
    fn new(file: &'f TaskFile) -> Self {
        let items: Vec<&TaskItem> = file.items.iter().filter(|item| !item.duplicate).collect();
        let index: HashMap<&str, usize> = items.iter().enumerate().map(|(at, item)| (item.id.as_str(), at)).collect();
        let parent: Vec<Option<usize>> = items.iter().map(|item| nearest_parent(&item.id, &index)).collect();
        let mut children = vec![Vec::new(); items.len()];
        for (at, parent) in parent.iter().enumerate() {
            if let Some(parent) = parent {
                children[*parent].push(at);
            }
        }
        let optional: Vec<bool> = (0..items.len())
            .map(|at| std::iter::successors(Some(at), |a| parent[*a]).any(|a| items[a].optional))
            .collect();
        let container = (0..items.len())
            .map(|at| children[at].iter().any(|child| optional[at] || !items[*child].optional))
            .collect();
        let depends = vec![None; items.len()];
        Self { items, index, parent, children, optional, container, depends, sorted: OnceCell::new() }
    }

    fn has_depends(&self) -> bool {
        self.items.iter().any(|item| !item.fields.depends.is_empty())
    }

    /// `at` and all above it.
    fn line_of(&self, at: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(at), |a| self.parent[*a])
    }

    fn is_below(&self, at: usize, ancestor: usize) -> bool {
        self.line_of(at).any(|a| a == ancestor)
    }

    /// Children that a container waits for.
    fn awaited_children(&self, at: usize) -> impl Iterator<Item = usize> {
        let all = self.optional[at];
        self.children[at].iter().copied().filter(move |child| all || !self.items[*child].optional)
    }

    fn read_depends(&mut self, found: &mut Collector) {
        let mut total = 0;
        for at in 0..self.items.len() {
            let item = self.items[at];
            if item.fields.depends.is_empty() {
                continue;
            }
            let mut gates = Vec::new();
            for field in &item.fields.depends {
                for reference in refs::task_refs(&field.value) {
                    self.gate(at, field.line, &reference, &mut gates, found);
                }
            }
            gates.sort_by_key(|gate| gate.on);
            gates.dedup_by_key(|gate| gate.on);
            total += gates.len();
            if total > MAX_DEPENDENCIES {
                let message = format!("more than {MAX_DEPENDENCIES} dependencies; the rest is not used");
                found.error(item.line, "tasks/too-many-dependencies", message);
                return;
            }
            self.depends[at] = Some(gates);
        }
    }

    fn gate(&self, at: usize, line: u32, reference: &TaskRef, gates: &mut Vec<Gate>, found: &mut Collector) {
        let id = &self.items[at].id;
        match reference {
            TaskRef::One(name) => match self.index.get(name.as_str()) {
                None => {
                    let message = format!("task {id} depends on task {name}, which is not in this file");
                    found.error(line, "tasks/unknown-dependency", message);
                }
                Some(on) if *on == at => {
                    found.error(line, "tasks/self-dependency", format!("task {id} depends on itself"));
                }
                Some(on) if self.is_below(*on, at) => {
                    let message = format!("task {id} waits for its part {name} anyway");
                    found.note(line, "tasks/needless-dependency", message);
                }
                Some(on) if self.is_below(at, *on) && self.container[*on] => {
                    let message = format!(
                        "task {id} is a part of task {name}, which waits for it; read as the parts of {name} before it"
                    );
                    found.warning(line, "tasks/depends-on-parent", message);
                    let before = self.children[*on].iter().filter(|c| **c < at && !self.is_below(at, **c));
                    gates.extend(before.filter(|c| !self.items[**c].optional).map(|c| Gate { on: *c, line }));
                }
                Some(on) => {
                    if self.optional[*on] && !self.optional[at] {
                        let message = format!("task {id} is required, but depends on the optional task {name}");
                        found.warning(line, "tasks/depends-on-optional", message);
                    }
                    gates.push(Gate { on: *on, line });
                }
            },
            TaskRef::Range(from, to) => {
                let (Ok(from), Ok(to)) = (TaskId::new(from.as_str()), TaskId::new(to.as_str())) else { return };
                let before = gates.len();
                for on in self.between(&from, &to) {
                    if gates.len() < MAX_DEPENDENCIES && !self.is_below(on, at) && !self.is_below(at, on) {
                        gates.push(Gate { on, line });
                    }
                }
                if gates.len() == before {
                    let message = format!("task {id} depends on {from}-{to}, where this file has no other task");
                    found.error(line, "tasks/unknown-dependency", message);
                }
            }
            TaskRef::Unreadable(text) => {
                let message = format!("`{text}` is no task number; write `_Depends: 1.1, 2_` or `_Depends: none_`");
                found.error(line, "tasks/unreadable-dependency", message);
            }
        }
    }

    /// Tasks from `from` to `to` that have as many parts in their number as `from`.
    fn between<'n>(&'n self, from: &'n TaskId, to: &'n TaskId) -> impl Iterator<Item = usize> + 'n {
        let sorted = self.sorted.get_or_init(|| {
            let mut places: Vec<usize> = (0..self.items.len()).collect();
            places.sort_by(|a, b| self.items[*a].id.cmp(&self.items[*b].id));
            places
        });
        let depth = from.as_str().split('.').count();
        let start = sorted.partition_point(|at| self.items[*at].id < *from);
        sorted[start..]
            .iter()
            .copied()
            .take_while(move |at| self.items[*at].id <= *to)
            .filter(move |at| self.items[*at].id.as_str().split('.').count() == depth)
    }

    /// Boxes of parents that say something else than those of their children.
    fn check_parents(&self, found: &mut Collector) {
        for at in 0..self.items.len() {
            let item = self.items[at];
            if !self.container[at] || item.state != BoxState::Done {
                continue;
            }
            if let Some(open) = self.awaited_children(at).find(|child| self.items[*child].state != BoxState::Done) {
                let message = format!("task {} is ticked, but its part {} is not", item.id, self.items[open].id);
                found.warning(item.line, "tasks/parent-ticked", message);
            }
        }
    }

    /// All that `_Depends:_` and the hierarchy say, without implicit order.
    fn base_edges(&self) -> Vec<Vec<usize>> {
        let mut total = 0;
        let mut edges: Vec<Vec<usize>> = vec![Vec::new(); self.items.len()];
        for (at, out) in edges.iter_mut().enumerate() {
            if total < MAX_DEPENDENCIES {
                out.extend(self.gates(at).map(|gate| gate.on));
            }
            if self.container[at] {
                out.extend(self.awaited_children(at));
            }
            out.sort_unstable();
            out.dedup();
            total += out.len();
        }
        edges
    }

    /// What `at` waits for by its own word, by its parents' and because its parent is work of its own;
    /// what such a parent waits for itself is then waited for already.
    fn gates(&self, at: usize) -> impl Iterator<Item = Gate> {
        let passed_on = std::iter::successors(Some(at), |a| self.parent[*a].filter(|p| self.container[*p]));
        passed_on.flat_map(move |a| {
            let own = self.depends[a].iter().flatten().copied();
            let unit = self.parent[a].filter(|p| !self.container[*p]);
            let unit = unit.map(|on| Gate { on, line: self.items[a].line });
            own.chain(unit).filter(move |gate| gate.on != at && (a == at || !self.is_below(gate.on, a)))
        })
    }

    /// Waves as places in the file; parents stand for their parts. `None`: no graph that can be used.
    fn waves(&self, file: &TaskFile, found: &mut Collector) -> Option<Vec<Vec<usize>>> {
        let graph = file.graph.as_ref()?;
        let mut placed = vec![false; self.items.len()];
        let mut named: Vec<Vec<usize>> = Vec::new();
        for wave in &graph.waves {
            let mut tasks = Vec::new();
            for name in wave {
                match self.index.get(name.as_str()) {
                    None => {
                        let message = format!("the graph names task `{name:.40}`, which is not in this file");
                        found.warning(graph.line, "tasks/graph-unknown-task", message);
                    }
                    Some(at) if std::mem::replace(&mut placed[*at], true) => {
                        let message = format!("the graph names task {name} twice; the first place counts");
                        found.warning(graph.line, "tasks/graph-twice", message);
                    }
                    Some(at) => tasks.push(*at),
                }
            }
            named.push(tasks);
        }
        let mut waves: Vec<Vec<usize>> = Vec::new();
        for wave in named {
            let mut leaves = Vec::new();
            for at in wave {
                self.leaves(at, &mut placed, &mut leaves);
            }
            leaves.sort_unstable();
            waves.push(leaves);
        }
        waves.retain(|wave| !wave.is_empty());
        (!waves.is_empty()).then_some(waves)
    }

    /// `at`, or the parts of the container `at` that are not placed themselves.
    fn leaves(&self, at: usize, placed: &mut [bool], out: &mut Vec<usize>) {
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            if !self.container[at] {
                out.push(at);
                continue;
            }
            for child in &self.children[at] {
                if !std::mem::replace(&mut placed[*child], true) {
                    open.push(*child);
                }
            }
        }
    }

    fn definitions(&self, depends: &[Vec<usize>], texts: Texts, found: &mut Collector) -> Vec<TaskDefinition> {
        let mut done: Vec<bool> = self.items.iter().map(|item| item.state == BoxState::Done).collect();
        // Parts stand after their parents or not; by falling depth every part comes before its parent.
        let mut by_depth: Vec<usize> = (0..self.items.len()).filter(|at| self.container[*at]).collect();
        by_depth.sort_by_key(|at| std::cmp::Reverse(self.line_of(*at).count()));
        for at in by_depth {
            done[at] = self.awaited_children(at).all(|child| done[child]);
        }
        let mut out = Vec::with_capacity(self.items.len());
        for (at, item) in self.items.iter().enumerate() {
            if let Some(priority) = &item.fields.priority
                && item.fields.priority_number().is_none()
            {
                let message = format!("`{:.40}` is no priority; write high, medium, low or a number", priority.value);
                found.warning(priority.line, "tasks/unreadable-priority", message);
            }
            let copy = |text: &String| if texts == Texts::Copied { text.clone() } else { String::new() };
            let requirements = item.fields.requirement_refs().into_iter();
            let names_some = |token: &String| refs::requirement_ref(token) != refs::RequirementRef::Nothing;
            out.push(TaskDefinition {
                id: item.id.clone(),
                title: copy(&item.title),
                text: copy(&item.text),
                optional: self.optional[at],
                done: done[at],
                depends: depends[at].iter().map(|on| self.items[*on].id.clone()).collect(),
                skill: item.fields.role(),
                requirements: requirements.filter(names_some).collect(),
                priority: item.fields.priority_number().unwrap_or(0),
                metadata: item.fields.metadata(),
                parent: self.parent[at].map(|parent| self.items[parent].id.clone()),
                container: self.container[at],
            });
        }
        out
    }
}

fn nearest_parent(id: &TaskId, index: &HashMap<&str, usize>) -> Option<usize> {
    let mut number = id.as_str();
    while let Some((parent, _)) = number.rsplit_once('.') {
        if let Some(at) = index.get(parent) {
            return Some(*at);
        }
        number = parent;
    }
    None
}

#[cfg(test)]
#[path = "order/tests.rs"]
mod tests;
