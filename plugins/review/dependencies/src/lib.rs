//! Tells which dependencies a change brings, changes or takes away, and finds those without a version, those
//! from an address, and manifests and lock files that no longer go together.
#![forbid(unsafe_code)]

mod manifest;

use std::collections::BTreeMap;

use necro_sdk::host::workspace;
use necro_sdk::review::{Change, ChangedFile, Finding, HeuristicInfo, Severity, file_name, finding, rule};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

use manifest::{Entry, Kind, entries};

const CHANGED: &str = "dependencies/changed";
const UNPINNED: &str = "dependencies/any-version";
const SOURCE: &str = "dependencies/source";
const LOCK_ALONE: &str = "dependencies/lock-without-manifest";
const LOCK_BEHIND: &str = "dependencies/manifest-without-lock";

/// Names that a message lists.
const MAX_NAMES: usize = 12;

/// What an operator may set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Beginnings of addresses and paths from which dependencies may come.
    allowed_sources: Vec<String>,
}

/// The heuristic.
#[derive(Debug)]
pub struct Dependencies;

impl ReviewHeuristic for Dependencies {
    fn describe() -> HeuristicInfo {
        let rules = vec![
            rule(CHANGED, Severity::Note, "dependencies were added, changed or removed"),
            rule(UNPINNED, Severity::Warn, "a dependency may have any version"),
            rule(SOURCE, Severity::Warn, "a dependency comes from an address in place of a registry"),
            rule(LOCK_ALONE, Severity::Warn, "a lock file changed and no manifest that it goes with"),
            rule(LOCK_BEHIND, Severity::Warn, "dependencies changed and the lock file beside did not"),
        ];
        HeuristicInfo { name: "dependencies".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        // What cannot be looked up, because it is not granted or not there, is not claimed.
        let exists = |path: &str| workspace::read(path, Some(workspace::LineRange { start: 1, count: 1 })).is_ok();
        Ok(judge(change, &options, &exists))
    }
}

fn judge(change: &Change, options: &Options, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in change.files.iter().filter(|file| !file.binary) {
        if let Some(kind) = Kind::of_manifest(&file.path) {
            let changed = entries(file, kind);
            found.extend(about_manifest(file, &changed, options));
            found.extend(lock_behind(change, file, kind, &changed, exists));
        } else if let Some(kind) = Kind::of_lock(&file.path) {
            found.extend(lock_alone(change, file, kind));
        }
    }
    found
}

/// What of the entries changed, and what is odd about the new ones.
fn about_manifest(file: &ChangedFile, changed: &[Entry], options: &Options) -> Vec<Finding> {
    let mut by_name: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for entry in changed {
        let (before, after) = by_name.entry(&entry.name).or_default();
        *(if entry.is_added { after } else { before }) = true;
    }
    let listed = |wanted: (bool, bool), verb: &str| {
        let names: Vec<&str> = by_name.iter().filter(|(_, is)| **is == wanted).map(|(name, _)| *name).collect();
        let more = names.len().saturating_sub(MAX_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("{verb} {}{more}", names[..names.len().min(MAX_NAMES)].join(", ")))
    };
    let parts: Vec<String> = [((false, true), "adds"), ((true, true), "changes"), ((true, false), "removes")]
        .into_iter()
        .filter_map(|(wanted, verb)| listed(wanted, verb))
        .collect();
    let mut found = Vec::new();
    if !parts.is_empty() {
        found.push(finding(CHANGED, Severity::Note, Some(&file.path), None, parts.join("; ")));
    }
    for entry in changed.iter().filter(|entry| entry.is_added) {
        let at = |rule, message: String| finding(rule, Severity::Warn, Some(&file.path), entry.line, message);
        if let Some(source) = &entry.source {
            let is_allowed = options.allowed_sources.iter().any(|allowed| source.starts_with(allowed.as_str()));
            if !is_allowed {
                let message = format!("`{}` comes from `{source}`, which no registry keeps as it is", entry.name);
                found.push(at(SOURCE, message));
            }
        } else if entry.is_any_version {
            found.push(at(UNPINNED, format!("`{}` may have any version: name one that was tried", entry.name)));
        }
    }
    found
}

/// Entries changed, a lock file of that kind lies beside, and it did not change.
fn lock_behind(
    change: &Change,
    file: &ChangedFile,
    kind: Kind,
    changed: &[Entry],
    exists: &dyn Fn(&str) -> bool,
) -> Option<Finding> {
    let is_locked = change.files.iter().any(|other| Kind::of_lock(&other.path) == Some(kind));
    if changed.is_empty() || is_locked {
        return None;
    }
    let folders: Vec<&str> =
        std::iter::successors(Some(folder(&file.path)), |at| (!at.is_empty()).then(|| folder(at))).collect();
    let lock = folders
        .iter()
        .flat_map(|folder| kind.locks().iter().map(move |lock| join(folder, lock)))
        .find(|path| exists(path))?;
    let message = format!("dependencies changed and `{lock}` did not: let the package manager write it");
    Some(finding(LOCK_BEHIND, Severity::Warn, Some(&file.path), None, message))
}

/// A lock file changed, and no manifest of its kind.
fn lock_alone(change: &Change, file: &ChangedFile, kind: Kind) -> Option<Finding> {
    let has_manifest = change.files.iter().any(|other| Kind::of_manifest(&other.path) == Some(kind));
    if has_manifest {
        return None;
    }
    let message =
        format!("`{}` changed and no manifest did: is it an update that the task asks for?", file_name(&file.path));
    Some(finding(LOCK_ALONE, Severity::Warn, Some(&file.path), None, message))
}

/// The folder of a path; empty at the root.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

necro_sdk::export_review!(Dependencies);

#[cfg(test)]
mod tests;
