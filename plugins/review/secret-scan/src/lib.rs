//! Finds keys, tokens and passwords in what a change publishes: added lines, names of new files and the
//! title of the commit. What it finds blocks the change, and the message never repeats the value.
//! Placeholders that are clearly no secrets pass. Text that it could not look at is named.
#![forbid(unsafe_code)]

mod forms;

use necro_sdk::review::{Change, ChangedFile, FileChange, Finding, HeuristicInfo, Severity, added_lines, rule};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

use forms::{FORMS, Form};

/// A file that should be text and counts as binary: nothing of it can be scanned.
const UNREAD: &str = "secret-scan/unread";
/// Extensions of files that people read as text.
const TEXT_EXTENSIONS: &[&str] = &[
    "adoc",
    "bash",
    "bat",
    "c",
    "cc",
    "cfg",
    "clj",
    "cmd",
    "conf",
    "cpp",
    "cs",
    "css",
    "csv",
    "cts",
    "dart",
    "env",
    "erl",
    "ex",
    "exs",
    "fish",
    "fs",
    "go",
    "gradle",
    "graphql",
    "groovy",
    "h",
    "hpp",
    "hs",
    "htm",
    "html",
    "ini",
    "java",
    "js",
    "json",
    "jsonl",
    "jsx",
    "key",
    "kt",
    "kts",
    "less",
    "lua",
    "m",
    "markdown",
    "md",
    "mjs",
    "mts",
    "nix",
    "pem",
    "php",
    "pl",
    "properties",
    "proto",
    "ps1",
    "py",
    "r",
    "rb",
    "rs",
    "rst",
    "sass",
    "scala",
    "scss",
    "sh",
    "sql",
    "svelte",
    "svg",
    "swift",
    "tex",
    "tf",
    "tfvars",
    "toml",
    "ts",
    "tsv",
    "tsx",
    "txt",
    "vue",
    "wit",
    "xml",
    "yaml",
    "yml",
    "zig",
    "zsh",
];
/// Names without an extension of the same kind.
const TEXT_NAMES: &[&str] = &[".env", ".npmrc", ".netrc", "dockerfile", "makefile", "gemfile", "rakefile", "license"];

/// There is nothing to set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {}

/// The heuristic. It has no settings.
#[derive(Debug)]
pub struct SecretScan;

impl ReviewHeuristic for SecretScan {
    fn describe() -> HeuristicInfo {
        let forms = FORMS.iter().map(|form| rule(form.rule, Severity::Block, form.description));
        let unread = rule(UNREAD, Severity::Warn, "a file of text that counts as binary and was not read");
        HeuristicInfo { name: "secret-scan".to_owned(), rules: forms.chain([unread]).collect() }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let Options {} = settings.read()?;
        let title = in_text(&change.commit_title).map(|(form, shown)| {
            let message =
                format!("the title of the work has {} ({shown}): name the work without it, {REVOKE}", form.description);
            finding(form, None, None, message)
        });
        Ok(title.chain(change.files.iter().flat_map(in_file)).collect())
    }
}

const REVOKE: &str = "and have it revoked";

/// At most one finding for each form and line.
fn in_file(file: &ChangedFile) -> Vec<Finding> {
    let mut found = Vec::new();
    let shown_path = match secret_in_path(&file.path) {
        Some((folder, form, shown)) => {
            if file.change == FileChange::Added {
                let place = if folder.is_empty() { String::new() } else { format!(" in `{folder}`") };
                let message =
                    format!("a name{place} has {} ({shown}): take it out of the name, {REVOKE}", form.description);
                found.push(finding(form, None, None, message));
            }
            format!("{folder}***")
        }
        None => file.path.clone(),
    };
    for (number, line) in added_lines(file) {
        for (form, shown) in in_text(line) {
            let message =
                format!("{} ({shown}): take it out, read it from the environment, {REVOKE}", form.description);
            found.push(finding(form, Some(shown_path.clone()), Some(number), message));
        }
    }
    let is_unread = file.binary && file.hunks.iter().all(|hunk| hunk.lines.is_empty());
    if is_unread && file.change != FileChange::Deleted && is_text_by_name(&file.path) {
        let message =
            "this file counts as binary and is too large to be read: nobody looked for secrets in it".to_owned();
        let rule = UNREAD.to_owned();
        found.push(Finding { rule, severity: Severity::Warn, file: Some(shown_path), line: None, message });
    }
    found
}

/// Each form that a text has, and what may be shown of the secret.
fn in_text(text: &str) -> impl Iterator<Item = (&'static Form, String)> {
    FORMS.iter().filter_map(move |form| (form.find)(text).map(|shown| (form, shown)))
}

/// The first name of a path that has a secret, as the folder before it.
fn secret_in_path(path: &str) -> Option<(&str, &'static Form, String)> {
    let mut start = 0;
    path.split('/').find_map(|name| {
        let folder = &path[..start];
        start += name.len() + 1;
        in_text(name).next().map(|(form, shown)| (folder, form, shown))
    })
}

fn is_text_by_name(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    name.starts_with(".env")
        || TEXT_NAMES.contains(&name.as_str())
        || extension.is_some_and(|extension| TEXT_EXTENSIONS.contains(&extension))
}

fn finding(form: &Form, file: Option<String>, line: Option<u32>, message: String) -> Finding {
    Finding { rule: form.rule.to_owned(), severity: Severity::Block, file, line, message }
}

necro_sdk::export_review!(SecretScan);

#[cfg(test)]
mod tests;
