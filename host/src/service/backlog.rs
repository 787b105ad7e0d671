//! An issue of the backlog becomes a task: appended to the tasks.md of the checkout, brought into the registry
//! by a sync, and recorded as that task. Each step finds what an earlier try has done already.

use super::blocking::blocking;
use super::error::ServiceError;
use super::office::{Change, Changed, OfficeRequest, change};
use super::records::existing_state;
use super::specsync::{self, SpecPlace, SyncRequest};
use crate::domain::id::{IssueId, SpecName, TaskId, TaskKey};
use crate::domain::issue::{Issue, Urgency};
use crate::registry::Reader;
use crate::spec::replace::{EditError, edit};
use crate::spec::{Mode, TaskFile, diagnostic, plan};
use crate::store::BlobStore;

/// The field that says which issue a task was.
const FIELD: &str = "Issue";

/// Makes an issue, which has been routed, a task of a spec of the checkout.
///
/// # Errors
/// When there is no such spec, its file has errors or cannot be changed, and when the issue is a task already.
pub async fn into_spec(request: &OfficeRequest, issue: Issue, spec: &SpecName) -> Result<Issue, ServiceError> {
    let (repository, cwd, state) = (request.repository.clone(), request.cwd.clone(), request.state.clone());
    let (named, wanted) = (spec.clone(), issue.clone());
    let appending = blocking(move || {
        let state = existing_state(&repository, &cwd, state.as_deref())?;
        let reader = Reader::open(&state.registry(), BlobStore::open(state.blobs())?)?;
        let above = reader.tasks(&named)?.iter().filter_map(|task| whole(&task.key.task)).max().unwrap_or(0);
        let place = specsync::file(&repository, &cwd, named)?;
        append(&place, &wanted, above)
    });
    let task = appending.await?;
    let sync = SyncRequest {
        repository: request.repository.clone(),
        cwd: request.cwd.clone(),
        state: request.state.clone(),
        specs: vec![spec.to_string()],
        dry_run: false,
    };
    let synced = specsync::sync(sync, request.clock.clone()).await?;
    if let Some(refused) = synced.iter().find(|synced| synced.refused) {
        let diagnostics = diagnostic::render(&refused.path, &refused.diagnostics);
        return Err(ServiceError::Spec { spec: spec.to_string(), diagnostics });
    }
    let task = TaskKey { spec: spec.clone(), task };
    match change(request, Change::TakeIssue { issue: issue.id, task }).await? {
        Changed::Issue(issue) => Ok(*issue),
        other => Err(ServiceError::Internal(format!("the change came to {other:?}"))),
    }
}

/// Appends the issue to the file, unless it stands there already, under a number larger than `above`, which is
/// the largest that the registry knows: one that was done and taken out is another task. Gives the number.
fn append(place: &SpecPlace, issue: &Issue, above: u32) -> Result<TaskId, ServiceError> {
    let SpecPlace { spec, path } = place;
    let mut number = None;
    let change = |bytes: &[u8]| {
        let plan = plan(bytes);
        if plan.has_errors() {
            let diagnostics = diagnostic::render(&path.display().to_string(), &plan.diagnostics);
            return Err(ServiceError::Spec { spec: spec.to_string(), diagnostics });
        }
        let file = TaskFile::read(bytes);
        if let Some(found) = standing(&file, &issue.id) {
            number = Some(found);
            return Ok(None);
        }
        let (id, new) = with_issue(bytes, &file, issue, (plan.mode == Mode::Depends, above))?;
        if standing(&TaskFile::read(&new), &issue.id).is_none() {
            let text = format!("`{}` ends inside a code fence that is never closed: close it first", path.display());
            return Err(ServiceError::Usage(text));
        }
        number = Some(id);
        Ok(Some(new))
    };
    let failed = |source| ServiceError::Io { path: path.clone(), source };
    match edit(path, change) {
        Ok(_) => number.ok_or_else(|| ServiceError::Internal("the file was not looked at".to_owned())),
        Err(EditError::Change(error)) => Err(error),
        Err(EditError::Io { source, .. }) => Err(failed(source)),
        Err(error) => Err(ServiceError::Usage(error.to_string())),
    }
}

/// The task that this issue is in the file.
fn standing(file: &TaskFile, issue: &IssueId) -> Option<TaskId> {
    let is_it = |(key, value): (&String, &String)| key == FIELD && value.trim() == issue.as_str();
    file.items.iter().find(|item| item.fields.metadata().iter().any(is_it)).map(|item| item.id.clone())
}

/// The first part of a task's number.
fn whole(task: &TaskId) -> Option<u32> {
    task.as_str().split('.').next()?.parse().ok()
}

/// The file with the issue as a task behind its last one, before the heading that follows it. Its number is
/// larger than all of the file, and than `above`.
fn with_issue(
    bytes: &[u8],
    file: &TaskFile,
    issue: &Issue,
    (depends, above): (bool, u32),
) -> Result<(TaskId, Vec<u8>), ServiceError> {
    let last = file.items.iter().filter_map(|item| whole(&item.id)).max().unwrap_or(0);
    let id = TaskId::new((last.max(above) + 1).to_string())?;
    let end = if bytes.windows(2).any(|pair| pair == b"\r\n") { "\r\n" } else { "\n" };
    let line = file.items.last().map_or(0, |item| item.line);
    let heading = file.headings.iter().find(|heading| heading.line > line).filter(|_| line > 0);
    let at = heading.and_then(|heading| start_of(bytes, heading.line)).unwrap_or(bytes.len());
    let (before, after) = bytes.split_at(at);
    let mut new = before.trim_ascii_end().to_vec();
    if !new.is_empty() {
        new.extend_from_slice(end.repeat(2).as_bytes());
    }
    new.extend_from_slice(task_text(&id, issue, depends).replace('\n', end).as_bytes());
    if !after.is_empty() {
        new.extend_from_slice(end.as_bytes());
        new.extend_from_slice(after);
    }
    Ok((id, new))
}

/// What the issue says stands behind `>`: whatever it is, it is no box, fence, heading or field of the file.
fn task_text(id: &TaskId, issue: &Issue, depends: bool) -> String {
    let mut text = format!("- [ ] {id}. {}\n", issue.said.title.trim());
    for line in issue.said.text.lines() {
        text.push_str(format!("  > {line}").trim_end());
        text.push('\n');
    }
    if depends {
        text.push_str("  - _Depends: none_\n");
    }
    if let Some(role) = &issue.role {
        text.push_str(&format!("  - _Skill: {role}_\n"));
    }
    if issue.said.priority != Urgency::Medium {
        text.push_str(&format!("  - _Priority: {}_\n", issue.said.priority));
    }
    text.push_str(&format!("  - _{FIELD}: {}_\n", issue.id));
    text
}

/// Where line `number`, from 1, begins.
fn start_of(bytes: &[u8], number: u32) -> Option<usize> {
    let mut at = 0;
    for _ in 1..number {
        let rest = &bytes[at..];
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        at += end + if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Role;
    use crate::domain::issue::{IssueStatus, NewIssue};

    fn issue(text: &str) -> Issue {
        Issue {
            id: IssueId::numbered(7),
            said: NewIssue {
                title: "Login is slow".to_owned(),
                text: text.to_owned(),
                labels: Vec::new(),
                priority: Urgency::High,
            },
            status: IssueStatus::Assigned,
            role: Role::new("backend").ok(),
            instance: None,
            reason: None,
            routing: None,
            task: None,
            version: 2,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn appended(file: &str, issue: &Issue) -> String {
        let depends = plan(file.as_bytes()).mode == Mode::Depends;
        let (id, new) = with_issue(file.as_bytes(), &TaskFile::read(file.as_bytes()), issue, (depends, 0)).unwrap();
        assert_eq!(standing(&TaskFile::read(&new), &issue.id), Some(id));
        String::from_utf8(new).unwrap()
    }

    #[test]
    fn it_stands_behind_the_last_task_and_before_what_follows() {
        let file = "# Plan\n\n## Tasks\n\n- [x] 1. a\n- [ ] 2. b\n  - text\n\n## Notes\n\nmore\n";
        let expected = "# Plan\n\n## Tasks\n\n- [x] 1. a\n- [ ] 2. b\n  - text\n\n- [ ] 3. Login is slow\n  > why\n  - _Skill: \
                        backend_\n  - _Priority: high_\n  - _Issue: ISSUE-007_\n\n## Notes\n\nmore\n";
        assert_eq!(appended(file, &issue("why")), expected);
        assert_eq!(appended("", &issue("")).lines().next(), Some("- [ ] 1. Login is slow"));
    }

    #[test]
    fn line_ends_and_the_way_of_ordering_stay_as_they_are() {
        let crlf = appended("- [ ] 1. a\r\n  - _Depends: none_\r\n", &issue("one\ntwo"));
        assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
        assert!(crlf.contains("_Depends: none_\r\n  - _Skill"), "{crlf}");
        let before = plan(b"- [ ] 1. a\n- [ ] 2. b\n").mode;
        assert_eq!(plan(appended("- [ ] 1. a\n- [ ] 2. b\n", &issue("")).as_bytes()).mode, before);
    }

    #[test]
    fn nothing_that_an_issue_says_becomes_a_task_or_a_field() {
        let hostile = "- [x] 9. done\n```\n# Heading\n- _Depends: 1_\n  - [ ] 9.1 more\n_Skill: devops_";
        let new = appended("- [ ] 1. a\n- [ ] 2. b\n", &issue(hostile));
        let plan = plan(new.as_bytes());
        assert!(!plan.has_errors(), "{:?}", plan.diagnostics);
        let numbers: Vec<&str> = plan.tasks.iter().map(|task| task.id.as_str()).collect();
        assert_eq!(numbers, ["1", "2", "3"]);
        assert_eq!(plan.tasks[2].skill.as_deref(), Some("backend"));
    }
}
