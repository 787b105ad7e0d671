//! `gc`: takes away what can be made again, and says what went and why something stayed.

use super::args::GcArgs;
use super::registry::{clock, place};
use super::style::Style;
use super::table::Table;
use super::{out, words};
use crate::domain::evict::Evictable;
use crate::service::ServiceError;
use crate::service::disk::{self, Collected, GcOptions};

/// Runs `gc`.
pub(crate) async fn run(args: GcArgs, style: Style) -> Result<(), ServiceError> {
    let GcArgs { older_than, keep_size, dry_run, at } = args;
    let options = GcOptions { older_than_s: older_than, keep_bytes: keep_size, dry_run };
    let collected = disk::collect(&place(&at)?, options, clock()).await?;
    if at.json {
        return out::json(&collected);
    }
    if older_than.is_none() && collected.keep_bytes.is_none() {
        out::tell(&format!(
            "{} there is no bound, so nothing goes: say --older-than or --keep-size, or set `workspace.quota_bytes`",
            style.yellow("note:")
        ));
    }
    for kept in &collected.kept {
        out::tell(&format!("{} {kept}", style.yellow("stays:")));
    }
    out::print(&text(&collected, style))
}

fn text(collected: &Collected, style: Style) -> String {
    let Collected { dry_run, evicted, kept: _, before_bytes, after_bytes, keep_bytes } = collected;
    let mut text = String::new();
    if !evicted.is_empty() {
        let mut table = Table::new(&["WHAT", "SIZE", "USED", "NAME"]);
        for candidate in evicted {
            let kind = match candidate.kind {
                Evictable::Cache => "cache",
                Evictable::Slot => "slot",
            };
            table.row(vec![
                kind.into(),
                words::size(candidate.bytes).into(),
                words::when(candidate.used_at).into(),
                candidate.name.as_str().into(),
            ]);
        }
        text = table.render(style, out::columns());
    }
    let freed = before_bytes.saturating_sub(*after_bytes);
    let word = if *dry_run { style.yellow("to free:") } else { style.green("freed:") };
    let (before, after) = (words::size(*before_bytes), words::size(*after_bytes));
    text.push_str(&format!(
        "{word} {}; the state directory takes {before} before, {after} after\n",
        words::size(freed)
    ));
    if let Some(keep) = keep_bytes.filter(|keep| keep < after_bytes) {
        text.push_str(&format!(
            "{} that is more than {}: what is left is work, records or in use; `necro-host prune` drops journals\n",
            style.yellow("note:"),
            words::size(keep)
        ));
    }
    text
}
