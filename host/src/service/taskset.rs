//! From tasks.md on the spec branch to the tasks of the registry.

use std::sync::Arc;

use super::assignment;
use super::error::ServiceError;
use super::progress::Progress;
use super::workshop::Workshop;
use crate::domain::task::TaskDefinition;
use crate::spec;

/// Reads the spec's tasks. Warnings are told; errors end the run before anything is claimed.
pub(crate) async fn read(shop: &Arc<Workshop>) -> Result<Vec<TaskDefinition>, ServiceError> {
    let path = shop.spec_path("tasks.md");
    let refuse = |diagnostics| ServiceError::Spec { spec: shop.spec.to_string(), diagnostics };
    let (commit, at) = (assignment::tip(shop).await?, path.clone());
    // What git keeps of a link is where it leads to: that must not be read as a plan.
    if shop.mirror.objects(move |objects| objects.is_link(&objects.tree_of(&commit)?, &at)).await? {
        return Err(refuse(format!("{path} is a symbolic link, which is not followed: put the file itself there")));
    }
    let bytes = assignment::spec_file(shop, "tasks.md").await?;
    let plan = spec::plan(&bytes.ok_or_else(|| refuse(format!("{path} is not there")))?);
    if plan.has_errors() {
        return Err(refuse(spec::diagnostic::render(&path, &plan.diagnostics)));
    }
    for diagnostic in plan.diagnostics.iter().filter(|diagnostic| diagnostic.severity == spec::Severity::Warning) {
        let text = format!("{path}:{}: {} ({})", diagnostic.line, diagnostic.message, diagnostic.code);
        shop.tell(&Progress::Warning { text });
    }
    if plan.tasks.is_empty() {
        return Err(refuse(format!("{path} has no task: a task is a line such as `- [ ] 1. Title`")));
    }
    Ok(plan.tasks)
}
