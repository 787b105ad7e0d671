//! Branch names: the seed's task form, its instance form for roles with several live spirits, the
//! spec branch, and the reference that keeps an attempt's result.

use crate::domain::id::{AttemptKey, Instance, Role, SpecName, TaskId, TaskKey};

use super::slug::slug;

const TASK_PREFIX: &str = "feature/task-";
const SPIRIT_PREFIX: &str = "/spirit-";

/// A task branch, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Whose it is.
    pub key: TaskKey,
    /// The spirit, in the instance form.
    pub instance: Option<Instance>,
    /// What follows the task's number.
    pub slug: String,
}

/// A name that is no task branch of a known spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is no task branch of a known spec: the forms are feature/task-<spec>-<number>-<slug> and \
     <role>/spirit-<instance>/<spec>-<number>-<slug>"
)]
pub struct InvalidBranch {
    /// The name, cut to 100 characters.
    pub name: String,
}

/// The branch of a task: `feature/task-<spec>-<number>-<slug>`, or
/// `<role>/spirit-<instance>/<spec>-<number>-<slug>` when `live_of_role`, the number of live spirits of
/// that role, is two or more. Two tasks never share a branch: spec and number can be read back from
/// either form, because no word of a slug looks like a number.
#[must_use]
pub fn task_branch(key: &TaskKey, title: &str, instance: &Instance, live_of_role: usize) -> String {
    let feature = format!("{}-{}-{}", key.spec, key.task, slug(title));
    if live_of_role >= 2 {
        format!("{}{SPIRIT_PREFIX}{}/{feature}", instance.role(), instance.number())
    } else {
        format!("{TASK_PREFIX}{feature}")
    }
}

/// Reads a task branch back. A name that people or other tools made may have numbers in its slug;
/// then the longest known spec that fits wins.
///
/// # Errors
/// [`InvalidBranch`] when the name has neither form, or its spec is not among `known`.
pub fn parse_branch<'a>(name: &str, known: impl IntoIterator<Item = &'a SpecName>) -> Result<Branch, InvalidBranch> {
    let invalid = || InvalidBranch { name: name.chars().take(100).collect() };
    let (instance, feature) = match name.strip_prefix(TASK_PREFIX) {
        Some(feature) => (None, feature),
        None => {
            let (instance, feature) = split_instance(name).ok_or_else(invalid)?;
            (Some(instance), feature)
        }
    };
    known
        .into_iter()
        .filter_map(|spec| split_feature(feature, spec).map(|(task, slug)| (spec, task, slug)))
        .max_by_key(|(spec, ..)| spec.as_str().len())
        .map(|(spec, task, slug)| Branch { key: TaskKey { spec: spec.clone(), task }, instance, slug: slug.to_owned() })
        .ok_or_else(invalid)
}

/// `<role>/spirit-<number>/<feature>`
fn split_instance(name: &str) -> Option<(Instance, &str)> {
    let (role, rest) = name.split_once(SPIRIT_PREFIX)?;
    let (number, feature) = rest.split_once('/')?;
    let role = Role::new(role).ok()?;
    let instance = Instance::new(format!("{role}_spirit_{number}")).ok()?;
    Some((instance, feature))
}

/// `<spec>-<number>-<slug>` for this spec.
fn split_feature<'a>(feature: &'a str, spec: &SpecName) -> Option<(TaskId, &'a str)> {
    let rest = feature.strip_prefix(spec.as_str())?.strip_prefix('-')?;
    let (number, slug) = rest.split_once('-')?;
    let fits = !slug.is_empty() && !slug.contains('/');
    fits.then(|| TaskId::new(number).ok()).flatten().map(|task| (task, slug))
}

/// The branch that a spec's tasks are merged into.
#[must_use]
pub fn spec_branch(spec: &SpecName) -> String {
    format!("necro/{spec}")
}

/// The full reference that keeps an attempt's result until it is merged.
#[must_use]
pub fn attempt_ref(attempt: &AttemptKey) -> String {
    format!("{}{}/{}", attempts_prefix(&attempt.key.spec), attempt.key.task, attempt.attempt)
}

/// Where the references of all attempts at a spec's tasks begin. Rescued work has `refs/necro/rescue/` to itself: a
/// spec of that name gets a character more, which stands in no spec's name.
#[must_use]
pub fn attempts_prefix(spec: &SpecName) -> String {
    let sign = if spec.as_str() == "rescue" { "+" } else { "" };
    format!("refs/necro/{spec}{sign}/")
}
