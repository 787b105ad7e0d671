//! `rescue`: what was kept of slots, in words and as JSON.

use super::args::RescueCommand;
use super::registry::{clock, place};
use super::style::Style;
use super::table::Table;
use super::{open, out, words};
use crate::service::ServiceError;
use crate::service::pools::Pool;
use crate::service::rescues::{self, Restored};
use crate::workspace::{KeptKind, KeptWork};

/// Runs `rescue`.
pub(crate) async fn run(command: RescueCommand, style: Style) -> Result<(), ServiceError> {
    match command {
        RescueCommand::Ls { at } => {
            let kept = rescues::list(&Pool::open(&place(&at)?, clock()).await?).await?;
            if at.json {
                return out::json(&kept);
            }
            if kept.is_empty() {
                out::tell("nothing had to be kept: all work is in commits");
                return Ok(());
            }
            out::print(&table(&kept).render(style, out::columns()))
        }
        RescueCommand::Restore { name, branch, into, at } => {
            let pool = Pool::open(&place(&at)?, clock()).await?;
            let restored = match into {
                Some(into) => rescues::as_files(&pool, &name, open::cwd()?.join(into)).await?,
                None => rescues::as_branch(&pool, &name, branch).await?,
            };
            if at.json { out::json(&restored) } else { out::print(&text(&restored, &at.place.repo, style)) }
        }
    }
}

fn table(kept: &[KeptWork]) -> Table {
    let mut table = Table::new(&["NAME", "KEPT", "FILES", "WHAT"]);
    for work in kept {
        let what = match (work.kind, &work.commit, &work.path) {
            (KeptKind::Commit, Some(commit), _) => format!("commit {}", commit.short()),
            (_, _, Some(path)) => format!("folder {}", path.display()),
            _ => String::new(),
        };
        table.row(vec![
            work.name.as_str().into(),
            work.at.map_or_else(|| "-".to_owned(), words::when).into(),
            work.files.map_or_else(|| "-".to_owned(), |files| files.to_string()).into(),
            what.into(),
        ]);
    }
    table
}

fn text(restored: &Restored, repository: &str, style: Style) -> String {
    let done = style.green("restored:");
    match (&restored.branch, &restored.into, restored.files) {
        (Some(branch), ..) => {
            let git = open::git(repository);
            format!("{done} {} as the branch {branch}\nlook:     {git} show --stat {branch}\n", restored.name)
        }
        (None, Some(into), files) => {
            let files = usize::try_from(files.unwrap_or_default()).unwrap_or(usize::MAX);
            format!("{done} {} into {}, {}\n", restored.name, into.display(), words::count(files, "file"))
        }
        (None, None, _) => format!("{done} {}\n", restored.name),
    }
}
