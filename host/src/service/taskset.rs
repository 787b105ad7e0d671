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
    let bytes = assignment::spec_file(shop, "tasks.md").await?.ok_or_else(|| ServiceError::Spec {
        spec: shop.spec.to_string(),
        diagnostics: format!("{path} is not there"),
    })?;
    let plan = spec::plan(&bytes);
    if plan.has_errors() {
        let diagnostics = spec::diagnostic::render(&path, &plan.diagnostics);
        return Err(ServiceError::Spec { spec: shop.spec.to_string(), diagnostics });
    }
    for diagnostic in plan.diagnostics.iter().filter(|diagnostic| diagnostic.severity == spec::Severity::Warning) {
        let text = format!("{path}:{}: {} ({})", diagnostic.line, diagnostic.message, diagnostic.code);
        shop.tell(&Progress::Warning { text });
    }
    if plan.tasks.is_empty() {
        let diagnostics = format!("{path} has no task: a task is a line such as `- [ ] 1. Title`");
        return Err(ServiceError::Spec { spec: shop.spec.to_string(), diagnostics });
    }
    Ok(plan.tasks)
}
