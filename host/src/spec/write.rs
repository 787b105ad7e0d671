//! Writes a tasks.md from definitions, such that reading it gives the same definitions.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::domain::id::TaskId;
use crate::domain::task::TaskDefinition;

/// A tasks.md with these tasks in this order, `_Depends:_` on each, and the wave graph that Kiro reads.
///
/// Texts must hold no line that is itself a task line, a heading or task metadata.
#[must_use]
pub fn write(title: &str, overview: &str, tasks: &[TaskDefinition]) -> String {
    let mut out = format!("# Implementation Plan: {}\n", title.replace(['\n', '\r'], " ").trim());
    let _ = write!(out, "\n## Overview\n\n{}\n\n## Tasks\n", overview.trim());
    for task in tasks {
        write_task(&mut out, task);
    }
    let waves = waves(tasks);
    if !waves.is_empty() {
        out.push_str("\n## Task Dependency Graph\n\n```json\n{\n  \"waves\": [\n");
        for (number, wave) in waves.iter().enumerate() {
            let names: Vec<String> = wave.iter().map(|id| format!("\"{id}\"")).collect();
            let comma = if number + 1 < waves.len() { "," } else { "" };
            let _ = writeln!(out, "    {{ \"id\": {number}, \"tasks\": [{}] }}{comma}", names.join(", "));
        }
        out.push_str("  ]\n}\n```\n");
    }
    out
}

fn write_task(out: &mut String, task: &TaskDefinition) {
    let whole = !task.id.as_str().contains('.');
    let depth = task.id.as_str().matches('.').count();
    let margin = if task.parent.is_some() { "  ".repeat(depth) } else { String::new() };
    if whole {
        out.push('\n');
    }
    let state = if task.done { 'x' } else { ' ' };
    let star = if task.optional { "*" } else { "" };
    let dot = if whole { "." } else { "" };
    let title = task.title.replace(['\n', '\r'], " ");
    let _ = writeln!(out, "{margin}- [{state}]{star} {}{dot} {}", task.id, title.trim());
    for line in task.text.lines() {
        if line.trim().is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, "{margin}  {line}");
        }
    }
    let below = |on: &TaskId| std::iter::successors(on.parent(), TaskId::parent).any(|p| p == task.id);
    let depends: Vec<&str> = task.depends.iter().filter(|on| !below(on)).map(TaskId::as_str).collect();
    if !depends.is_empty() {
        let _ = writeln!(out, "{margin}  - _Depends: {}_", depends.join(", "));
    } else if !task.container {
        let _ = writeln!(out, "{margin}  - _Depends: none_");
    }
    if let Some(skill) = &task.skill {
        let _ = writeln!(out, "{margin}  - _Skill: {skill}_");
    }
    if task.priority != 0 {
        let _ = writeln!(out, "{margin}  - _Priority: {}_", task.priority);
    }
    if !task.requirements.is_empty() {
        let _ = writeln!(out, "{margin}  - _Requirements: {}_", task.requirements.join(", "));
    }
}

/// Tasks that are no containers by the length of the longest way to them.
fn waves(tasks: &[TaskDefinition]) -> Vec<Vec<&TaskId>> {
    let index: HashMap<&TaskId, usize> = tasks.iter().enumerate().map(|(at, task)| (&task.id, at)).collect();
    let mut level = vec![0_usize; tasks.len()];
    let mut waiting: Vec<usize> = vec![0; tasks.len()];
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        for on in task.depends.iter().filter_map(|on| index.get(on)) {
            dependents[*on].push(at);
            waiting[at] += 1;
        }
    }
    let mut open: Vec<usize> = (0..tasks.len()).filter(|at| waiting[*at] == 0).collect();
    while let Some(at) = open.pop() {
        for next in &dependents[at] {
            let step = usize::from(!tasks[at].container);
            level[*next] = level[*next].max(level[at] + step);
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                open.push(*next);
            }
        }
    }
    let mut waves: Vec<Vec<&TaskId>> = Vec::new();
    for (at, task) in tasks.iter().enumerate().filter(|(_, task)| !task.container) {
        if waves.len() <= level[at] {
            waves.resize(level[at] + 1, Vec::new());
        }
        waves[level[at]].push(&task.id);
    }
    waves.retain(|wave| !wave.is_empty());
    waves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::order::plan;
    use super::*;

    #[test]
    fn a_written_plan_reads_back_the_same() {
        let source = "\
# Implementation Plan\n\n## Tasks\n\n- [x] 1. Store\n  - [x] 1.1 Table\n    - columns\n      - id\n    - _Requirements: 1.1, 2.1-2.3_\n    - _Skill: database_\n    - _Depends: none_\n  - [ ]* 1.2 Test it\n    - _Depends: 1.1_\n- [ ] 2. Page\n  - _Depends: 1_\n  - _Priority: high_\n";
        let first = plan(source.as_bytes());
        assert!(first.diagnostics.is_empty(), "{:?}", first.diagnostics);
        let text = write("Shop", "Sells.", &first.tasks);
        let second = plan(text.as_bytes());
        assert_eq!(second.tasks, first.tasks, "{text}");
        assert!(second.diagnostics.is_empty(), "{:?}", second.diagnostics);
        assert_eq!(write("Shop", "Sells.", &second.tasks), text);
    }

    proptest! {
        #[test]
        fn any_plan_that_was_read_is_written_and_read_the_same(
            tasks in prop::collection::vec((
                "[1-4](\\.[1-3]){0,2}", "[a-z]{1,6}", any::<bool>(), any::<bool>(), prop::option::of("[1-4](\\.[1-3])?(, [1-4])?"),
                prop_oneof![Just(""), Just("  - detail\n"), Just("  para\n\n  - more\n")],
            ), 1..16)
        ) {
            let mut source = String::new();
            for (id, title, star, done, depends, text) in tasks {
                let star = if star { "*" } else { "" };
                let done = if done { 'x' } else { ' ' };
                source.push_str(&format!("- [{done}]{star} {id}. {title}\n{text}"));
                if let Some(depends) = depends {
                    source.push_str(&format!("  - _Depends: {depends}_\n"));
                }
            }
            let first = plan(source.as_bytes());
            let text = write("P", "o", &first.tasks);
            let second = plan(text.as_bytes());
            prop_assert_eq!(&second.tasks, &first.tasks, "{}\n---\n{}", source, text);
            prop_assert!(!second.has_errors(), "{:?}", second.diagnostics);
        }
    }
}
