//! `workspace`: which spec's work is where, in words and as JSON.

use super::args::WorkspaceCommand;
use super::registry::{clock, place};
use super::style::Style;
use super::table::{Cell, Table};
use super::{neutral, out, words};
use crate::service::ServiceError;
use crate::service::workspaces::{self, RemovedWorkspace, WorkspaceInfo, WorkspaceStatus};

/// Runs `workspace`.
pub(crate) async fn run(command: WorkspaceCommand, style: Style) -> Result<(), ServiceError> {
    match command {
        WorkspaceCommand::Ls { at } => {
            let list = workspaces::list(&place(&at)?, clock()).await?;
            if at.json {
                return out::json(&list);
            }
            if list.is_empty() {
                out::tell("no spec was worked on here yet");
                return Ok(());
            }
            out::print(&table(&list).render(style, out::columns()))
        }
        WorkspaceCommand::Show { spec, at } => {
            let info = workspaces::show(&place(&at)?, &spec, clock()).await?;
            if at.json { out::json(&info) } else { out::print(&one(&info, style)) }
        }
        WorkspaceCommand::Rm { spec, force, at } => {
            let removed = workspaces::remove(&place(&at)?, &spec, force, clock()).await?;
            if at.json { out::json(&removed) } else { out::print(&gone(&removed, style)) }
        }
    }
}

fn table(list: &[WorkspaceInfo]) -> Table {
    let mut table = Table::new(&["SPEC", "STATUS", "DONE", "BEGUN", "BRANCH"]);
    for info in list {
        let (word, paint) = status(info.status);
        table.row(vec![
            info.spec_name.as_str().into(),
            Cell::painted(word, paint),
            format!("{}/{}", info.tasks_completed.len(), info.tasks).into(),
            info.created_at.map_or_else(|| "-".to_owned(), words::when).into(),
            branch(info).into(),
        ]);
    }
    table
}

fn branch(info: &WorkspaceInfo) -> String {
    match &info.commit {
        Some(commit) => format!("{} at {}", info.current_branch, commit.short()),
        None => format!("{} (gone)", info.current_branch),
    }
}

fn status(status: WorkspaceStatus) -> (&'static str, fn(Style, &str) -> String) {
    match status {
        WorkspaceStatus::Active => ("active", Style::yellow),
        WorkspaceStatus::Completed => ("completed", Style::green),
        WorkspaceStatus::Error => ("error", Style::red),
    }
}

fn one(info: &WorkspaceInfo, style: Style) -> String {
    let (word, paint) = status(info.status);
    let mut text = format!("{}  {}\n", neutral::line(info.spec_name.as_str()), paint(style, word));
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<8} {}\n", neutral::line(value)));
    line("repo:", &info.repo_url);
    line("path:", &info.workspace_path.display().to_string());
    line("branch:", &branch(info));
    if let Some(begun) = info.created_at {
        line("begun:", &words::when(begun));
    }
    let done: Vec<&str> = info.tasks_completed.iter().map(|task| task.as_str()).collect();
    line("done:", &format!("{} of {}: {}", done.len(), info.tasks, done.join(", ")));
    for open in &info.slots {
        line("open:", &format!("{}, attempt {}, in {} on {}", open.task, open.attempt, open.slot, open.branch));
    }
    text
}

fn gone(removed: &RemovedWorkspace, style: Style) -> String {
    let RemovedWorkspace { spec_name, removed, rescued, reopened } = removed;
    let mut text = format!("{} {} of {spec_name}\n", style.green("removed:"), words::count(removed.len(), "ref"));
    if !rescued.is_empty() {
        text.push_str(&format!("kept:    {}; see `necro-host rescue ls`\n", words::listing(rescued)));
    }
    if !reopened.is_empty() {
        text.push_str(&format!("open:    {} again\n", words::listing(reopened)));
    }
    text
}
