//! Checks a spec's task definitions before anything of them is recorded: unique ids, known
//! dependencies, no circles.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::{Graph, Node, Problem, Problems};
use crate::domain::id::TaskId;
use crate::domain::task::{Facts, TaskDefinition};

use super::error::RegistryError;
use super::tasks::MAX_TASKS;

/// What the registry will keep of each definition. Containers depend on their children, whether the
/// definition says so or not; dependencies are sorted and named once.
pub(crate) fn facts_of(definitions: &[TaskDefinition]) -> Result<BTreeMap<TaskId, Facts>, RegistryError> {
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
            metadata: definition.metadata.clone(),
            container: definition.container,
        };
        if facts.insert(definition.id.clone(), kept).is_some() {
            return Err(RegistryError::DuplicateTask(definition.id.clone()));
        }
    }
    let nodes = facts.iter().map(|(id, kept)| Node { id, depends: &kept.depends, container: kept.container });
    match Graph::new(nodes) {
        Ok(_) => Ok(facts),
        Err(problems) => Err(first(problems)),
    }
}

/// The error for the first problem of a task set.
fn first(problems: Problems) -> RegistryError {
    match problems.0.into_iter().next() {
        Some(Problem::Duplicate { task }) => RegistryError::DuplicateTask(task),
        Some(Problem::Unknown { task, dependency }) => RegistryError::UnknownDependency { task, missing: dependency },
        Some(Problem::Itself { task }) => RegistryError::Cycle(vec![task.clone(), task]),
        Some(Problem::Cycle { mut path }) => {
            path.extend(path.first().cloned());
            RegistryError::Cycle(path)
        }
        None => RegistryError::Cycle(Vec::new()),
    }
}
