//! `registry` and `lock`: proofs, rebuilds, backups and locks, in words and as JSON.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{AtArgs, LockCommand, RegistryCommand};
use super::report::WORK_FAILED;
use super::style::Style;
use super::table::{Cell, Table};
use super::{exchange, open, out, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::id::Digest;
use crate::registry::{BackedUp, BackupStep, Checked, HeldLock, Restored, VerifyReport};
use crate::service::ServiceError;
use crate::service::exchange::ImportOptions;
use crate::service::vault::{self, At, OnStep, Verified};

/// Runs `registry`.
pub(crate) async fn run(command: RegistryCommand, style: Style) -> Result<ExitCode, ServiceError> {
    match command {
        RegistryCommand::Verify { backup: Some(backup), at } => check(backup, at.json, style).await?,
        RegistryCommand::Verify { backup: None, at } => return verify(at, style).await,
        RegistryCommand::Rebuild { at } => rebuild(at, style).await?,
        RegistryCommand::Backup { to, copy, at } => back_up(to, copy, at, style).await?,
        RegistryCommand::Export { dir, spec, at } => exchange::export(dir, spec, at, style).await?,
        RegistryCommand::Import { dir, spec, skip_damaged, utc_offset, at } => {
            let options = ImportOptions { skip_damaged, offset: utc_offset };
            exchange::import(dir, spec, options, at, style).await?;
        }
        RegistryCommand::Restore { backup, force, at } => restore(backup, force, at, style).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `lock`.
pub(crate) async fn lock(command: LockCommand, style: Style) -> Result<(), ServiceError> {
    match command {
        LockCommand::Ls { at } => {
            let locks = vault::locks(place(&at)?, clock()).await?;
            if at.json {
                return out::json(&locks);
            }
            if locks.is_empty() {
                out::tell("nobody holds a lock");
                return Ok(());
            }
            out::print(&table(&locks).render(style, out::columns()))
        }
        LockCommand::Release { name, force, at } => {
            let lease = vault::release_lock(place(&at)?, name, force, clock()).await?;
            if at.json {
                return out::json(&lease);
            }
            out::print(&format!("{} {}, which {} had\n", style.green("released:"), lease.name, lease.holder))
        }
    }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

pub(super) fn place(at: &AtArgs) -> Result<At, ServiceError> {
    Ok(At { repository: at.place.repo.clone(), cwd: open::cwd()?, state: at.place.state.clone() })
}

fn table(locks: &[HeldLock]) -> Table {
    let mut table = Table::new(&["LOCK", "HOLDER", "SINCE", "UNTIL", "STATE"]);
    for HeldLock { lease, expired, at_work } in locks {
        let (state, paint): (_, fn(Style, &str) -> String) = match (*expired, *at_work) {
            (false, true) => ("held", Style::green),
            (true, true) => ("held: its time is over, but its holder is not", Style::green),
            (false, false) => ("its holder is gone; free when its time is over", Style::yellow),
            (true, false) => ("its holder is gone; the next who asks gets it", Style::yellow),
        };
        table.row(vec![
            lease.name.as_str().into(),
            lease.holder.as_str().into(),
            words::when(lease.acquired_at).into(),
            words::when(lease.expires_at).into(),
            Cell::painted(state, paint),
        ]);
    }
    table
}

/// Shows on a terminal what is being done, and is gone at the end.
fn progress() -> (ProgressBar, OnStep) {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}  {elapsed}");
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let shown = bar.clone();
    let seen = move |step: BackupStep| {
        let (done, total, what) = match step {
            BackupStep::Pages(done, total) => (done, total, "pages"),
            BackupStep::Events(done, total) => (done, total, "events"),
            BackupStep::Blobs(done, total) => (done, total, "blobs"),
        };
        shown.set_message(what);
        shown.set_length(total);
        shown.set_position(done);
    };
    (bar, Box::new(seen))
}

fn counted(number: u64, one: &str) -> String {
    words::count(usize::try_from(number).unwrap_or(usize::MAX), one)
}

async fn verify(at: AtArgs, style: Style) -> Result<ExitCode, ServiceError> {
    let (bar, seen) = progress();
    let verified = vault::verify(place(&at)?, seen).await;
    bar.finish_and_clear();
    let verified = verified?;
    if at.json {
        out::json(&verified)?;
    } else {
        out::print(&verified_text(&verified, &open::flags(&at.place), style))?;
    }
    Ok(if verified.passed { ExitCode::SUCCESS } else { ExitCode::from(WORK_FAILED) })
}

fn verified_text(verified: &Verified, flags: &str, style: Style) -> String {
    let Verified { passed, file, report } = verified;
    let VerifyReport { events, rows, differences: _, more: _ } = report;
    let events = counted(*events, "event");
    if *passed {
        let rows = counted(*rows, "row");
        return format!("{} {rows} in the tables are what {events} say\n", style.green("verified:"));
    }
    if !file.is_empty() {
        let mut text = format!("{} the database's file is damaged:\n", style.red("damaged:"));
        file.iter().for_each(|problem| text.push_str(&words::indent(problem, "  ")));
        text.push_str("restore: necro-host registry restore BACKUP --force");
        return format!("{text}{flags}\n");
    }
    let log = report.differences.iter().any(|difference| difference.starts_with("events"));
    let mut text = format!("{} the tables are not what {events} say:\n", style.red("different:"));
    text.push_str(&differences(report));
    text.push_str(&if log {
        format!("the log itself is not whole: necro-host registry restore BACKUP --force{flags}\n")
    } else {
        format!("mend:  necro-host registry rebuild{flags}\n")
    });
    text
}

fn differences(report: &VerifyReport) -> String {
    let mut text: String = report.differences.iter().map(|difference| words::indent(difference, "  ")).collect();
    if report.more > 0 {
        text.push_str(&format!("  … and {} more\n", report.more));
    }
    text
}

async fn rebuild(at: AtArgs, style: Style) -> Result<(), ServiceError> {
    let report = vault::rebuild(place(&at)?, clock()).await?;
    if at.json {
        return out::json(&report);
    }
    let events = counted(report.events, "event");
    let mut text = format!("{} all tables are made from {events}\n", style.green("rebuilt:"));
    if report.passed() {
        text.push_str("nothing had been different\n");
    } else {
        text.push_str("what had been different:\n");
        text.push_str(&differences(&report));
    }
    out::print(&text)
}

/// Says which blobs are not in a backup.
fn tell_missing(missing: &[Digest], style: Style) {
    if !missing.is_empty() {
        out::tell(&format!(
            "{} {} of the registry had been lost before and cannot be saved: {}",
            style.yellow("warning:"),
            words::count(missing.len(), "blob"),
            words::listing(missing)
        ));
    }
}

async fn back_up(to: Option<PathBuf>, copy: bool, at: AtArgs, style: Style) -> Result<(), ServiceError> {
    let (bar, seen) = progress();
    let made = vault::back_up(place(&at)?, to, copy, clock(), seen).await;
    bar.finish_and_clear();
    let made = made?;
    tell_missing(&made.missing, style);
    if at.json {
        return out::json(&made);
    }
    let BackedUp { path, newest_event, database_bytes, blobs, blob_bytes, linked, .. } = made;
    let linked = match linked {
        0 => String::new(),
        _ if linked == blobs => ", which take no room: they are links".to_owned(),
        _ => format!(", {linked} of them links"),
    };
    let path = open::quoted_path(&path);
    out::print(&format!(
        "{} {path}\nevents up to number {newest_event} in {}, {} with {}{linked}\n\
         restore: necro-host registry restore {path}{}\n",
        style.green("saved:"),
        words::size(database_bytes),
        counted(blobs, "blob"),
        words::size(blob_bytes),
        open::flags(&at.place),
    ))
}

async fn check(backup: PathBuf, json: bool, style: Style) -> Result<(), ServiceError> {
    let (bar, seen) = progress();
    let checked = vault::check(open::cwd()?.join(backup), seen).await;
    bar.finish_and_clear();
    let checked = checked?;
    tell_missing(&checked.missing, style);
    if json {
        return out::json(&checked);
    }
    let Checked { path: _, created_at, newest_event, database_bytes, blobs, blob_bytes, missing: _ } = checked;
    out::print(&format!(
        "{} the backup of {} is whole: events up to number {newest_event} in {}, {} with {}\n",
        style.green("verified:"),
        words::when(created_at),
        words::size(database_bytes),
        counted(blobs, "blob"),
        words::size(blob_bytes),
    ))
}

async fn restore(backup: PathBuf, force: bool, at: AtArgs, style: Style) -> Result<(), ServiceError> {
    let (bar, seen) = progress();
    let restored = vault::restore(place(&at)?, open::cwd()?.join(backup), force, clock(), seen).await;
    bar.finish_and_clear();
    let restored = restored?;
    tell_missing(&restored.missing, style);
    if at.json {
        return out::json(&restored);
    }
    let Restored { created_at, newest_event, blobs, missing: _, leases_dropped, kept } = restored;
    let mut text = format!(
        "{} the registry as of {}: events up to number {newest_event}, {}\n",
        style.green("restored:"),
        words::when(created_at),
        counted(blobs, "blob"),
    );
    if leases_dropped > 0 {
        text.push_str(&format!("{} of those who are gone: dropped\n", counted(leases_dropped, "lease")));
    }
    if let Some(kept) = kept {
        text.push_str(&format!("the old database: {}\n", open::quoted_path(&kept)));
    }
    out::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_says_what_to_do_about_what_it_found() {
        let report = |differences: &[&str], more| VerifyReport {
            events: 7,
            rows: 3,
            differences: differences.iter().map(|&text| text.to_owned()).collect(),
            more,
        };
        let text = |file: &[&str], report: VerifyReport| {
            let file: Vec<String> = file.iter().map(|&text| text.to_owned()).collect();
            let passed = file.is_empty() && report.passed();
            verified_text(&Verified { passed, file, report }, " --state /s", Style::plain())
        };
        assert_eq!(text(&[], report(&[], 0)), "verified: 3 rows in the tables are what 7 events say\n");
        let shown = text(&[], report(&["tasks (spec `shop`, task `1`): state is `done`, and `ready` by the log"], 4));
        assert!(shown.starts_with("different: the tables are not what 7 events say:\n  tasks (spec"), "{shown}");
        assert!(shown.ends_with("  … and 4 more\nmend:  necro-host registry rebuild --state /s\n"), "{shown}");
        let shown = text(&[], report(&["events: number 3 is missing"], 0));
        assert!(shown.contains("registry restore BACKUP --force --state /s"), "{shown}");
        let shown = text(&["page 3 is never used"], report(&[], 0));
        assert!(shown.starts_with("damaged:") && shown.contains("  page 3 is never used\n"), "{shown}");
    }
}
