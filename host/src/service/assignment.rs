//! What a spirit is told: the task with its criteria, the spec's documents, steering, reports of what
//! it builds on, and what the last attempt failed on.

use std::sync::Arc;

use super::capabilities::dependency_reports;
use super::error::ServiceError;
use super::steering::referred;
use super::workshop::Workshop;
use crate::domain::assignment::{Assignment, Document, NamedCommand, WorkKind};
use crate::domain::id::{AttemptKey, CommitId, Instance};
use crate::domain::protocol;
use crate::domain::task::Task;
use crate::spec::Requirements;
use crate::spec::steering::with_files;

/// At most this many bytes of one document go into an assignment; the rest can be read in the work tree.
const MAX_DOCUMENT_BYTES: usize = 24 * 1024;

/// The spec branch's tip.
pub(crate) async fn tip(shop: &Workshop) -> Result<CommitId, ServiceError> {
    let branch = shop.branch_ref();
    let wanted = branch.clone();
    let tip = shop.mirror.objects(move |objects| objects.read_ref(&branch)).await?;
    tip.ok_or_else(|| ServiceError::Internal(format!("the branch {wanted} is gone from the mirror")))
}

/// A file of the spec as it is on the spec branch.
pub(crate) async fn spec_file(shop: &Workshop, file: &str) -> Result<Option<Vec<u8>>, ServiceError> {
    let (commit, path) = (tip(shop).await?, shop.spec_path(file));
    let bytes = shop
        .mirror
        .objects(move |objects| {
            let tree = objects.tree_of(&commit)?;
            objects.read_file(&tree, &path)
        })
        .await?;
    Ok(bytes)
}

/// A document of the spec, with the files of the spec branch that it refers to.
async fn document(shop: &Workshop, file: &str) -> Result<Option<Document>, ServiceError> {
    let (commit, path) = (tip(shop).await?, shop.spec_path(file));
    let at = path.clone();
    let read = shop.mirror.objects(move |objects| {
        let tree = objects.tree_of(&commit)?;
        let Some(bytes) = objects.read_file(&tree, &at)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        Ok(Some(with_files(&text, |path| referred(objects, &tree, path))))
    });
    let Some(text) = read.await? else { return Ok(None) };
    let mut text = shop.mask.apply(&text);
    if text.len() > MAX_DOCUMENT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_DOCUMENT_BYTES));
        text.push_str("\n… (cut; read the file for the rest)\n");
    }
    Ok(Some(Document { name: path, text }))
}

fn commands(shop: &Workshop) -> Vec<NamedCommand> {
    shop.commands
        .iter()
        .map(|entry| NamedCommand { name: entry.command.name.clone(), description: entry.description.clone() })
        .collect()
}

/// The assignment of a planning step.
pub(crate) async fn for_planning(
    shop: &Arc<Workshop>,
    kind: WorkKind,
    job: &str,
    attempt: &AttemptKey,
    instance: &Instance,
    last_failure: Option<String>,
) -> Result<Assignment, ServiceError> {
    let mut documents = Vec::new();
    if kind == WorkKind::Plan {
        documents.extend(document(shop, "requirements.md").await?);
        documents.extend(document(shop, "design.md").await?);
    }
    let title = match kind {
        WorkKind::Specify => "write requirements and design",
        WorkKind::Plan | WorkKind::Implement => "write the task plan",
    };
    Ok(Assignment {
        kind,
        envelope: protocol::issue_assignment(&attempt.key, instance, None, &[], title),
        spec: shop.spec.clone(),
        task: attempt.key.task.clone(),
        title: title.to_owned(),
        text: shop.mask.apply(job),
        language: shop.language.clone(),
        acceptance_criteria: Vec::new(),
        documents,
        steering: shop.steering.given(job),
        dependency_reports: Vec::new(),
        attempt: attempt.attempt,
        max_attempts: shop.max_attempts,
        last_failure,
        commands: Vec::new(),
        budget_left: shop.budget_left(),
    })
}

/// The assignment of a task's attempt.
pub(crate) async fn for_task(
    shop: &Arc<Workshop>,
    task: &Task,
    attempt: &AttemptKey,
    instance: &Instance,
) -> Result<Assignment, ServiceError> {
    let documents: Vec<Document> =
        [document(shop, "requirements.md").await?, document(shop, "design.md").await?].into_iter().flatten().collect();
    let requirements = Requirements::read(&spec_file(shop, "requirements.md").await?.unwrap_or_default());
    let acceptance_criteria = requirements.resolve(&task.definition.requirements).criteria;
    let context: String =
        acceptance_criteria.iter().map(|criterion| format!("{} {}\n", criterion.id, criterion.text)).collect();
    let key = task.key.clone();
    let reports = shop.registry.read(move |reader| dependency_reports(reader, &key)).await?;
    Ok(Assignment {
        kind: WorkKind::Implement,
        envelope: protocol::issue_assignment(&task.key, instance, None, &task.definition.depends, &context),
        spec: shop.spec.clone(),
        task: task.key.task.clone(),
        title: task.definition.title.clone(),
        text: task.definition.text.clone(),
        language: shop.language.clone(),
        acceptance_criteria,
        documents,
        steering: shop.steering.given(&format!("{}\n{}", task.definition.title, task.definition.text)),
        dependency_reports: reports,
        attempt: attempt.attempt,
        max_attempts: shop.max_attempts,
        last_failure: task.last_failure.clone(),
        commands: commands(shop),
        budget_left: shop.budget_left(),
    })
}
