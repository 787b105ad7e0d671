//! The graph for people and programs: Mermaid, DOT, JSON. Titles are data: whatever stands in them,
//! the drawing keeps its shape.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Graph, Node};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskState};

/// A title is cut to this many characters in a drawing.
const MAX_LABEL_CHARS: usize = 120;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Mermaid flow chart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// JSON: tasks, edges, waves, critical path.
    Json,
    /// Text: which tasks can run at the same time, and which are on the longest way.
    Waves,
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mermaid" => Ok(Self::Mermaid),
            "dot" => Ok(Self::Dot),
            "json" => Ok(Self::Json),
            "waves" => Ok(Self::Waves),
            _ => Err(format!("`{text}` is no graph format: use mermaid, dot, json or waves")),
        }
    }
}

/// A task as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing<'a> {
    /// Its id.
    pub id: &'a TaskId,
    /// Its title.
    pub title: &'a str,
    /// Its state.
    pub state: TaskState,
    /// Drawn dashed.
    pub optional: bool,
    /// Only groups others: in no wave.
    pub container: bool,
    /// Edges come from here.
    pub depends: &'a [TaskId],
}

impl<'a> From<&'a Task> for Drawing<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            id: &task.key.task,
            title: &task.definition.title,
            state: task.state,
            optional: task.definition.optional,
            container: task.definition.container,
            depends: &task.definition.depends,
        }
    }
}

/// Draws tasks in the given order; the text ends with a line break.
#[must_use]
pub fn draw(tasks: &[Drawing<'_>], format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(tasks),
        Format::Dot => dot(tasks),
        Format::Json => format!("{:#}\n", to_json(tasks)),
        Format::Waves => waves_text(tasks),
    }
}

impl<'a> From<&'a Drawing<'_>> for Node<'a> {
    fn from(task: &'a Drawing<'_>) -> Self {
        Self { id: task.id, depends: task.depends, container: task.container }
    }
}

/// Work only: groups stand in no wave.
fn waves<'g>(graph: &'g Graph, tasks: &[Drawing<'_>]) -> Vec<Vec<&'g TaskId>> {
    let groups: HashSet<&TaskId> = tasks.iter().filter(|task| task.container).map(|task| task.id).collect();
    let waves = graph.waves().into_iter().map(|wave| wave.into_iter().filter(|id| !groups.contains(*id)).collect());
    waves.filter(|wave: &Vec<&TaskId>| !wave.is_empty()).collect()
}

fn waves_text(tasks: &[Drawing<'_>]) -> String {
    let graph = match Graph::new(tasks) {
        Ok(graph) => graph,
        Err(problems) => return format!("no order: {problems}\n"),
    };
    let known: HashMap<&TaskId, &Drawing<'_>> = tasks.iter().map(|task| (task.id, task)).collect();
    let path: HashSet<&TaskId> = graph.critical_path().into_iter().collect();
    let mut out = String::new();
    for (number, wave) in waves(&graph, tasks).iter().enumerate() {
        let _ = writeln!(out, "wave {}", number + 1);
        for task in wave.iter().filter_map(|id| known.get(*id)) {
            let mark = if path.contains(task.id) { '*' } else { ' ' };
            let optional = if task.optional { ", optional" } else { "" };
            let title: String = label(task.title).collect();
            let _ = writeln!(out, "{mark} {}  {title} ({}{optional})", task.id, task.state);
        }
    }
    let way: Vec<&str> = graph.critical_path().into_iter().map(TaskId::as_str).collect();
    let _ = writeln!(out, "* critical path, {} tasks: {}", way.len(), way.join(" → "));
    out
}

fn mermaid(tasks: &[Drawing<'_>]) -> String {
    let mut out = String::from("graph TD\n");
    for task in tasks {
        let _ = writeln!(out, "    {}[\"{}: {}\"]", node(task.id), task.id, mermaid_text(task.title));
    }
    for (from, to) in edges(tasks) {
        let _ = writeln!(out, "    {} --> {}", node(from), node(to));
    }
    for state in TaskState::ALL {
        let (fill, _) = colours(state);
        let _ = writeln!(out, "    classDef {state} fill:{fill},stroke:#333,stroke-width:2px,color:#000");
    }
    let _ = writeln!(out, "    classDef optional stroke-width:1px,stroke-dasharray:5 5");
    for task in tasks {
        let _ = writeln!(out, "    class {} {}", node(task.id), task.state);
        if task.optional {
            let _ = writeln!(out, "    class {} optional", node(task.id));
        }
    }
    out
}

fn dot(tasks: &[Drawing<'_>]) -> String {
    let mut out = String::from("digraph TaskDependencies {\n    rankdir=TB;\n    node [shape=box];\n");
    for task in tasks {
        let style = if task.optional { "filled,dashed,rounded" } else { "filled,rounded" };
        let (_, fill) = colours(task.state);
        let _ = writeln!(
            out,
            "    \"{}\" [label=\"{}: {}\", style=\"{style}\", fillcolor=\"{fill}\"];",
            task.id,
            task.id,
            dot_text(task.title)
        );
    }
    for (from, to) in edges(tasks) {
        let _ = writeln!(out, "    \"{from}\" -> \"{to}\";");
    }
    out.push_str("}\n");
    out
}

fn to_json(tasks: &[Drawing<'_>]) -> Value {
    let nodes: Vec<Value> = tasks
        .iter()
        .map(|t| {
            json!({
                "id": t.id, "title": t.title, "state": t.state, "optional": t.optional, "depends": t.depends,
            })
        })
        .collect();
    let edges: Vec<Value> = edges(tasks).map(|(from, to)| json!({ "from": from, "to": to })).collect();
    let (waves, path) = match Graph::new(tasks) {
        Ok(graph) => (json!(waves(&graph, tasks)), json!(graph.critical_path())),
        Err(_) => (Value::Null, Value::Null),
    };
    json!({ "tasks": nodes, "edges": edges, "waves": waves, "critical_path": path })
}

/// Dependency → task, in the order of the tasks.
fn edges<'a>(tasks: &'a [Drawing<'a>]) -> impl Iterator<Item = (&'a TaskId, &'a TaskId)> {
    tasks.iter().flat_map(|task| task.depends.iter().map(|dependency| (dependency, task.id)))
}

/// Task ids have neither `_` nor `-`, so no two of them meet here.
fn node(id: &TaskId) -> String {
    format!("task_{}", id.as_str().replace('.', "_"))
}

/// The one line of a label.
fn label(title: &str) -> impl Iterator<Item = char> {
    let cut = title.chars().count() > MAX_LABEL_CHARS;
    let keep = if cut { MAX_LABEL_CHARS - 1 } else { MAX_LABEL_CHARS };
    title
        .chars()
        .take(keep)
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .chain(cut.then_some('…'))
}

fn mermaid_text(title: &str) -> String {
    let mut out = String::with_capacity(title.len());
    for c in label(title) {
        match c {
            // Mermaid's own entities; `&` and `<` because labels are rendered as HTML.
            '"' | '#' | '&' | '<' | '>' | '`' | ';' | '[' | ']' | '{' | '}' | '(' | ')' | '|' | '\\' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn dot_text(title: &str) -> String {
    let mut out = String::with_capacity(title.len());
    for c in label(title) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Mermaid's and Graphviz's fill colour.
const fn colours(state: TaskState) -> (&'static str, &'static str) {
    match state {
        TaskState::Ready => ("#90EE90", "lightgreen"),
        TaskState::Running => ("#FFD700", "gold"),
        TaskState::Blocked => ("#D3D3D3", "lightgray"),
        TaskState::Done => ("#87CEEB", "lightblue"),
        TaskState::Failed => ("#FF6B6B", "lightcoral"),
        TaskState::Cancelled => ("#FFFFFF", "white"),
    }
}
