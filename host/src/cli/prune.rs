//! `prune`: drops journals, and says what is lost by it and how many bytes it frees.

use std::sync::Arc;

use super::args::PruneArgs;
use super::style::Style;
use super::{open, out, words};
use crate::clock::SystemClock;
use crate::registry::{PruneReport, PrunedRun};
use crate::service::ServiceError;
use crate::service::prune::{self, FileSize, PruneOptions, PruneRequest, Pruned};

/// Runs `prune`.
pub(crate) async fn run(args: PruneArgs, style: Style) -> Result<(), ServiceError> {
    let PruneArgs { older_than, keep_size, dry_run, place, json } = args;
    let options = PruneOptions { older_than_s: older_than, keep_bytes: keep_size };
    let request = PruneRequest { repository: place.repo, cwd: open::cwd()?, state: place.state, options, dry_run };
    let pruned = prune::prune(request, Arc::new(SystemClock::default())).await?;
    if json {
        return out::json(&pruned);
    }
    if let Some(reason) = &pruned.not_shrunk {
        out::tell(&format!("{} the database's file keeps its size for now: {reason}", style.yellow("note:")));
    }
    out::print(&text(&pruned, style))
}

fn text(pruned: &Pruned, style: Style) -> String {
    let Pruned { dry_run, report, file, not_shrunk } = pruned;
    let PruneReport { runs, more_runs, database_bytes, blobs, blob_bytes, kept_bytes } = report;
    let count = runs.len() + usize::try_from(*more_runs).unwrap_or(usize::MAX - runs.len());
    let mut text = match (count, *dry_run) {
        (0, _) => "no run has journals that may go\n".to_owned(),
        (_, true) => format!("{} could no longer be replayed:\n", words::count(count, "run")),
        (_, false) => format!("{} can no longer be replayed:\n", words::count(count, "run")),
    };
    for PrunedRun { run, spec, started_at, finished_at: _, executions, calls, bytes } in runs {
        let spec = spec.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let calls = words::count(usize::try_from(*calls).unwrap_or(usize::MAX), "call");
        let executions = words::count(usize::try_from(*executions).unwrap_or(usize::MAX), "execution");
        let started = words::when(*started_at);
        text.push_str(&format!("  {started}  {spec}  {executions}, {calls}, {}  ({run})\n", words::size(*bytes)));
    }
    if *more_runs > 0 {
        text.push_str(&format!("  … and {more_runs} more\n"));
    }
    let blobs = words::count(usize::try_from(*blobs).unwrap_or(usize::MAX), "blob");
    let freed = if *dry_run { style.yellow("to free:") } else { style.green("freed:") };
    text.push_str(&format!(
        "{freed} {} in the database, {} in {blobs}; {} of journals are kept\n",
        words::size(*database_bytes),
        words::size(*blob_bytes),
        words::size(*kept_bytes)
    ));
    match file {
        Some(FileSize { before, after }) => {
            text.push_str(&format!("registry.db: {} before, {} now\n", words::size(*before), words::size(*after)));
        }
        None if *dry_run => text.push_str("nothing was changed\n"),
        None if not_shrunk.is_none() => {
            text.push_str("registry.db keeps its size while a run goes on: what is free in it is used again\n");
        }
        None => {}
    }
    text
}

/// An age in seconds, such as `30d`.
pub(crate) fn age(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 7 * 86_400)];
    scaled(text, &units).ok_or_else(|| "an age is a whole number and s, m, h, d or w, such as 30d".to_owned())
}

/// A size in bytes, such as `2GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let wrong = "a size is a whole number and B, KiB, MiB, GiB, TiB, kB, MB, GB or TB, such as 2GiB";
    scaled(text, &units).ok_or_else(|| wrong.to_owned())
}

/// A whole number times its unit; `None` without a unit that is known, and when it is too large.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_have_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("90m", 5400), ("30d", 2_592_000), ("2 w", 1_209_600)] {
            assert_eq!(age(text), Ok(seconds), "{text}");
        }
        for (text, size) in [("0B", 0), ("2GiB", 2 << 30), ("500 MB", 500_000_000), ("1TiB", 1 << 40)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for wrong in ["", "30", "d", "-1d", "1.5d", "30x", "30dd", "99999999999999999999d", "18446744073709551615w"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "2", "GiB", "2gib", "2 G", "18446744073709551615KiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
