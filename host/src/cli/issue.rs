//! `issue add|ls|route|close`: the backlog.

use super::args::{IssueCommand, Place};
use super::style::Style;
use super::table::{Cell, Table};
use super::{neutral, open, out, task};
use crate::domain::issue::{Issue, IssueStatus, NewIssue};
use crate::service::office::{self, Change, Changed};
use crate::service::{ServiceError, backlog};

/// Issues that are read at once.
const PAGE: usize = 10_000;

/// Runs `issue …`.
pub(crate) async fn run(command: IssueCommand, style: Style) -> Result<(), ServiceError> {
    match command {
        IssueCommand::Add { title, text, label, priority, place, json } => {
            let new = NewIssue { title, text, labels: label, priority };
            let issue = make(&place, Change::AddIssue(new)).await?;
            told(&issue, json, style)
        }
        IssueCommand::Ls { all, place, json } => list(all, &place, json, style).await,
        IssueCommand::Route { issue, into, place, json } => {
            let mut issue = make(&place, Change::RouteIssue { issue }).await?;
            if let Some(spec) = into {
                issue = backlog::into_spec(&task::request(&place)?, issue, &spec).await?;
            }
            told(&issue, json, style)
        }
        IssueCommand::Close { issue, reason, place, json } => {
            let issue = make(&place, Change::CloseIssue { issue, reason }).await?;
            told(&issue, json, style)
        }
    }
}

async fn make(place: &Place, change: Change) -> Result<Issue, ServiceError> {
    match office::change(&task::request(place)?, change).await? {
        Changed::Issue(issue) => Ok(*issue),
        other => Err(ServiceError::Internal(format!("the change came to {other:?}"))),
    }
}

async fn list(all: bool, place: &Place, json: bool, style: Style) -> Result<(), ServiceError> {
    let issues = open::read(place, move |records| {
        let mut issues: Vec<Issue> = Vec::new();
        loop {
            let page = records.reader.issues(issues.last().map_or(0, |issue| issue.id.number()))?;
            let whole = page.len() < PAGE;
            issues.extend(page);
            if whole {
                break;
            }
        }
        issues.retain(|issue| all || issue.status != IssueStatus::Completed);
        Ok(issues)
    })
    .await?;
    if json {
        return out::json(&issues);
    }
    if issues.is_empty() {
        out::tell(if all { "the backlog is empty" } else { "the backlog has nothing open; --all shows the rest" });
        return Ok(());
    }
    let mut table = Table::new(&["ID", "STATUS", "PRIORITY", "WHO", "TASK", "TITLE"]);
    for issue in &issues {
        let who = issue.instance.as_ref().map_or_else(String::new, ToString::to_string);
        let key = issue.task.as_ref().map_or_else(String::new, ToString::to_string);
        table.row(vec![
            issue.id.as_str().into(),
            Cell::painted(issue.status.as_str(), paint(issue.status)),
            issue.said.priority.as_str().into(),
            who.into(),
            key.into(),
            issue.said.title.clone().into(),
        ]);
    }
    out::print(&table.render(style, out::columns()))
}

const fn paint(status: IssueStatus) -> fn(Style, &str) -> String {
    match status {
        IssueStatus::Open => Style::yellow,
        IssueStatus::Assigned => Style::cyan,
        IssueStatus::InProgress => Style::bold,
        IssueStatus::Completed => Style::green,
    }
}

fn told(issue: &Issue, json: bool, style: Style) -> Result<(), ServiceError> {
    if json {
        return out::json(issue);
    }
    let mut text =
        format!("{} is {}: {}\n", issue.id, style.bold(issue.status.as_str()), neutral::line(&issue.said.title));
    if let Some(instance) = &issue.instance {
        text.push_str(&format!("for {instance}"));
        if let Some(reason) = &issue.reason {
            text.push_str(&format!(": {}", neutral::line(reason)));
        }
        text.push('\n');
    }
    if let Some(task) = &issue.task {
        text.push_str(&format!("task {task}\n"));
    }
    out::print(&text)
}
