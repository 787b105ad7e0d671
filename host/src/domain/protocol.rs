//! The Spirit Protocol: how branches and commits are named, and the assignment message. One
//! sanitiser, one formatter and one parser for each form.

mod branch;
mod clash;
mod commit;
mod slug;

use serde_json::json;

pub use branch::{Branch, InvalidBranch, attempt_ref, attempts_prefix, parse_branch, spec_branch, task_branch};
pub use clash::{Clash, ClashKind, clash};
pub use commit::{Commit, InvalidCommit, MAX_SUBJECT_CHARS, parse_commit, scope};
pub use slug::{MAX_SLUG_BYTES, slug};

use super::assignment::Envelope;
use super::id::{Instance, TaskId, TaskKey};

/// Message type of an assignment.
pub const ISSUE_ASSIGNMENT: &str = "issue_assignment";

/// The seed's assignment message.
#[must_use]
pub fn issue_assignment(
    key: &TaskKey,
    instance: &Instance,
    issue: Option<&str>,
    dependencies: &[TaskId],
    context: &str,
) -> Envelope {
    Envelope {
        kind: ISSUE_ASSIGNMENT.to_owned(),
        agent_instance: instance.to_string(),
        issue_id: issue.map(str::to_owned),
        payload: json!({ "task": key.task, "dependencies": dependencies, "context": context }),
        spec_id: Some(key.spec.to_string()),
        task_id: Some(key.task.to_string()),
        sender: None,
        message_id: None,
    }
}

#[cfg(test)]
mod tests;
