//! Checks a spec's task definitions before anything of them is recorded: unique ids, known
//! dependencies, no circles.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::TaskId;
use crate::domain::task::{Facts, TaskDefinition};

use super::error::RegistryError;
use super::tasks::MAX_TASKS;

/// What the registry will keep of each definition. Containers depend on their children, whether the
/// definition says so or not; dependencies are sorted and named once.
pub(super) fn facts_of(definitions: &[TaskDefinition]) -> Result<BTreeMap<TaskId, Facts>, RegistryError> {
    if definitions.len() > MAX_TASKS {
        let (found, limit) = (definitions.len() as u64, MAX_TASKS as u64);
        return Err(RegistryError::TooLarge { what: "the spec", found, limit, unit: "tasks" });
    }
    let mut facts = BTreeMap::new();
    let mut children: BTreeMap<&TaskId, BTreeSet<&TaskId>> = BTreeMap::new();
    for definition in definitions {
        if let Some(parent) = &definition.parent {
            children.entry(parent).or_default().insert(&definition.id);
        }
    }
    for definition in definitions {
        let mut depends: BTreeSet<&TaskId> = definition.depends.iter().collect();
        if definition.container {
            depends.extend(children.get(&definition.id).into_iter().flatten());
        }
        let kept = Facts {
            title: definition.title.clone(),
            text: definition.text.clone(),
            optional: definition.optional,
            depends: depends.into_iter().cloned().collect(),
            skill: definition.skill.clone(),
            requirements: definition.requirements.clone(),
            priority: definition.priority,
            container: definition.container,
        };
        if facts.insert(definition.id.clone(), kept).is_some() {
            return Err(RegistryError::DuplicateTask(definition.id.clone()));
        }
    }
    for (task, kept) in &facts {
        if let Some(missing) = kept.depends.iter().find(|needs| !facts.contains_key(needs)) {
            return Err(RegistryError::UnknownDependency { task: task.clone(), missing: missing.clone() });
        }
    }
    match circle(&facts) {
        Some(path) => Err(RegistryError::Cycle(path)),
        None => Ok(facts),
    }
}

/// A circle of dependencies, if there is one: its first task stands at the end again. Walks without
/// recursion, because a chain may be as long as the spec.
fn circle(facts: &BTreeMap<TaskId, Facts>) -> Option<Vec<TaskId>> {
    let mut finished: BTreeSet<&TaskId> = BTreeSet::new();
    for start in facts.keys() {
        let mut path: Vec<(&TaskId, usize)> = vec![(start, 0)];
        let mut on_path: BTreeSet<&TaskId> = BTreeSet::from([start]);
        while let Some((task, next)) = path.last_mut() {
            let needs = facts.get(*task).and_then(|f| f.depends.get(*next));
            *next += 1;
            match needs {
                Some(needs) if on_path.contains(needs) => {
                    let from = path.iter().position(|(on, _)| *on == needs).unwrap_or(0);
                    let mut circle: Vec<TaskId> = path[from..].iter().map(|(on, _)| (*on).clone()).collect();
                    circle.push(needs.clone());
                    return Some(circle);
                }
                Some(needs) if finished.contains(needs) => {}
                Some(needs) => {
                    on_path.insert(needs);
                    path.push((needs, 0));
                }
                None => {
                    let (task, _) = path.pop()?;
                    on_path.remove(task);
                    finished.insert(task);
                }
            }
        }
    }
    None
}
