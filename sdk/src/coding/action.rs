//! Doing a tool call and putting its outcome into words. Nothing that differs between two equal runs
//! (durations, times) goes into a reply, so that equal runs send equal requests.

use std::fmt::Write as _;

use super::bounds::{MAX_REPLY_CHARS, head_and_tail, whole_lines};
use super::host::Host;
use super::tools::{Action, Edits, List, Read, Run, Search};
use crate::HostError;
use crate::host::workspace::{EntryKind, LineRange, SearchQuery};
use crate::host::{command, workspace_edit};

/// Entries of one listing.
const MAX_ENTRIES: usize = 500;
/// Hits of one search.
const MAX_HITS: u32 = 100;
/// Lines of a `read` that names a start but no count.
const READ_ON_LINES: u32 = 2_000;

/// Do it; the reply in words, or the host's error.
pub(super) fn perform(host: &mut dyn Host, action: &Action) -> Result<String, HostError> {
    match action {
        Action::List(list) => perform_list(host, list),
        Action::Read(read) => perform_read(host, read),
        Action::Search(search) => perform_search(host, search),
        Action::Write(write) => {
            host.write(&write.path, &write.text)?;
            Ok(format!("Wrote {} ({} lines).", write.path, write.text.lines().count()))
        }
        Action::Edit(edits) => perform_edits(host, edits),
        Action::Remove(remove) => {
            host.remove(&remove.path)?;
            Ok(format!("Removed {}.", remove.path))
        }
        Action::Run(run) => perform_run(host, run),
        Action::Finish(_) => Ok("Finished.".to_owned()),
    }
}

fn perform_list(host: &mut dyn Host, list: &List) -> Result<String, HostError> {
    let path = list.path.as_deref().unwrap_or(".");
    let entries = host.list(path, list.recursive.unwrap_or(false))?;
    if entries.is_empty() {
        return Ok(format!("{path} is empty."));
    }
    let mut text = String::new();
    for entry in entries.iter().take(MAX_ENTRIES) {
        let mark = match entry.kind {
            EntryKind::File => "",
            EntryKind::Directory => "/",
            EntryKind::Symlink => " (link)",
        };
        let _ = writeln!(text, "{}{mark}", entry.path);
    }
    if entries.len() > MAX_ENTRIES {
        let _ = writeln!(text, "[… {} more entries; list a folder of it …]", entries.len() - MAX_ENTRIES);
    }
    Ok(text)
}

fn perform_read(host: &mut dyn Host, read: &Read) -> Result<String, HostError> {
    let lines = (read.start.is_some() || read.count.is_some())
        .then(|| LineRange { start: read.start.unwrap_or(1), count: read.count.unwrap_or(READ_ON_LINES) });
    let file = host.read(&read.path, lines)?;
    let (path, total) = (&read.path, file.total_lines);
    if file.text.is_empty() {
        return Ok(format!("{path}: nothing there; the file has {total} lines."));
    }
    let first = lines.map_or(1, |range| range.start);
    let Some((shown, count)) = whole_lines(&file.text, MAX_REPLY_CHARS - 200) else {
        return Ok(format!("{path}, line {first} of {total}:\n{}", head_and_tail(&file.text, MAX_REPLY_CHARS - 200)));
    };
    let last = first.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)).saturating_sub(1);
    let more = if last >= total {
        String::new()
    } else if file.truncated && shown.len() == file.text.len() {
        format!("\n[… cut here by the host's size limit; read on from about line {last} …]")
    } else {
        format!("\n[… read on with start {} …]", last.saturating_add(1))
    };
    Ok(format!("{path}, lines {first} to {last} of {total}:\n{shown}{more}"))
}

fn perform_search(host: &mut dyn Host, search: &Search) -> Result<String, HostError> {
    let hits = host.search(&SearchQuery {
        pattern: search.pattern.clone(),
        regex: search.regex.unwrap_or(false),
        glob: search.glob.clone(),
        max_hits: MAX_HITS,
    })?;
    if hits.is_empty() {
        return Ok("No hits.".to_owned());
    }
    let mut text = String::new();
    for hit in &hits {
        let _ = writeln!(text, "{}:{}: {}", hit.path, hit.line, hit.text);
    }
    if hits.len() >= MAX_HITS as usize {
        let _ = writeln!(text, "[… only the first {MAX_HITS} hits; make the pattern or the glob narrower …]");
    }
    Ok(text)
}

fn perform_edits(host: &mut dyn Host, edits: &Edits) -> Result<String, HostError> {
    let wanted: Vec<workspace_edit::Edit> = edits
        .edits
        .iter()
        .map(|edit| workspace_edit::Edit {
            path: edit.path.clone(),
            old_text: edit.old.clone(),
            new_text: edit.new.clone(),
        })
        .collect();
    host.apply(&wanted)?;
    let mut paths: Vec<&str> = edits.edits.iter().map(|edit| edit.path.as_str()).collect();
    paths.dedup();
    Ok(format!("Applied {} edits to {}.", edits.edits.len(), paths.join(", ")))
}

fn perform_run(host: &mut dyn Host, run: &Run) -> Result<String, HostError> {
    let outcome = host.run(&run.command, run.args.as_deref().unwrap_or(&[]))?;
    Ok(outcome_text(&run.command, &outcome))
}

fn outcome_text(name: &str, outcome: &command::Outcome) -> String {
    let mut text = match (outcome.timed_out, outcome.exit_code) {
        (true, _) => format!("`{name}` was stopped at its time limit."),
        (false, Some(0)) => format!("`{name}` succeeded."),
        (false, Some(code)) => format!("`{name}` failed with exit code {code}."),
        (false, None) => format!("`{name}` was killed."),
    };
    // What a failure says stands mostly at the end of both streams, so each gets its own share.
    for (stream, output) in [("standard output", &outcome.stdout), ("standard error", &outcome.stderr)] {
        if !output.trim().is_empty() {
            let _ = write!(text, "\n--- {stream}\n{}", head_and_tail(output.trim_end(), MAX_REPLY_CHARS * 2 / 5));
        }
    }
    if outcome.elided_bytes > 0 {
        let _ = write!(text, "\n[… {} bytes of the output were left out by the host …]", outcome.elided_bytes);
    }
    text
}
