//! `spec sync`: brings the tasks.md of the checkout and the registry in step, and says what changed where.

use std::process::ExitCode;
use std::sync::Arc;

use super::args::SyncArgs;
use super::report::WORK_FAILED;
use super::style::Style;
use super::{neutral, open, out};
use crate::clock::SystemClock;
use crate::service::ServiceError;
use crate::service::specsync::{self, Listed, SyncRequest, Synced};
use crate::spec::diagnostic::render;

/// At most this many tasks are named in a line.
const MAX_SHOWN: usize = 20;

/// Runs `spec sync`.
pub(crate) async fn run(args: SyncArgs, style: Style) -> Result<ExitCode, ServiceError> {
    let SyncArgs { specs, dry_run, place, json } = args;
    let request = SyncRequest { repository: place.repo, cwd: open::cwd()?, state: place.state, specs, dry_run };
    let all = specsync::sync(request, Arc::new(SystemClock::default())).await?;
    if json {
        out::json(&all)?;
    } else if all.is_empty() {
        out::print("there is no spec with a tasks.md here: nothing to bring in step\n")?;
    } else {
        out::print(&all.iter().map(|synced| text(synced, style)).collect::<String>())?;
    }
    let refused = all.iter().any(|synced| synced.refused);
    Ok(if refused { ExitCode::from(WORK_FAILED) } else { ExitCode::SUCCESS })
}

fn text(synced: &Synced, style: Style) -> String {
    let Synced { spec, path, dry_run, refused, diagnostics, .. } = synced;
    let name = style.bold(&neutral::line(spec.as_str()));
    let path = neutral::line(path);
    if *refused {
        let found = neutral::block(&render(&path, diagnostics));
        return format!("{name}: {}; mend the file first:\n{found}", style.red("nothing was changed"));
    }
    let rows: Vec<String> = rows(synced).into_iter().filter_map(|(what, tasks)| row(what, tasks)).collect();
    if rows.is_empty() {
        return format!("{name}: {} with {path}\n", style.green("in step"));
    }
    let verb = if *dry_run { style.yellow("would change") } else { style.green("in step now") };
    format!("{name}: {verb} with {path}\n{}", rows.concat())
}

/// What is said of each list.
fn rows(synced: &Synced) -> [(&'static str, &Listed); 8] {
    let Synced { added, changed, removed, ticked, opened, waiting, followed, boxes, .. } = synced;
    [
        ("new in the file", added),
        ("says something else", changed),
        ("taken out of the file", removed),
        ("ticked, so done", ticked),
        ("un-ticked or put back, so open again", opened),
        ("ticked while an attempt works on it, so it waits", waiting),
        ("un-ticked, but all its parts are done", followed),
        ("box set in the file", boxes),
    ]
}

fn row(what: &str, Listed { count, tasks }: &Listed) -> Option<String> {
    let shown = tasks.iter().take(MAX_SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let more = count.saturating_sub(MAX_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (*count > 0).then(|| format!("  {what}: {shown}{more}\n"))
}
