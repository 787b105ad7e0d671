//! Finds what somebody meant to take out again, in added lines only: notes to oneself, debugging aids,
//! focused tests, and conflict markers in comments. What counts goes by the file's language.
#![forbid(unsafe_code)]

mod marks;

use std::collections::BTreeSet;

use necro_sdk::review::{
    Change, ChangedFile, Finding, HeuristicInfo, Severity, added_lines, ending, finding, is_test_file, matches_any,
    removed_lines, rule,
};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

use marks::{DEBUGGERS, FOCUSED, Mark, PRINTS, code_of, comment_of};

const TODO: &str = "leftovers/todo";
const DEBUGGER: &str = "leftovers/debugger";
const PRINT: &str = "leftovers/print";
const FOCUS: &str = "leftovers/focused-test";
const CONFLICT: &str = "leftovers/commented-conflict";

/// Words of notes to oneself; they count in comments.
const NOTES: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// What an operator may set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Globs of paths that are not looked at.
    ignore: Vec<String>,
}

/// The heuristic.
#[derive(Debug)]
pub struct Leftovers;

impl ReviewHeuristic for Leftovers {
    fn describe() -> HeuristicInfo {
        let rules = vec![
            rule(TODO, Severity::Note, "a note to oneself in a comment"),
            rule(DEBUGGER, Severity::Warn, "a debugging aid that stops or dumps"),
            rule(PRINT, Severity::Note, "a print that looks like debugging"),
            rule(FOCUS, Severity::Warn, "a focused test: the others do not run"),
            rule(CONFLICT, Severity::Warn, "a conflict marker in a comment"),
        ];
        HeuristicInfo { name: "leftovers".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        let is_ignored = |path: &str| matches_any(&options.ignore, path);
        Ok(change.files.iter().filter(|file| !file.binary && !is_ignored(&file.path)).flat_map(in_file).collect())
    }
}

fn in_file(file: &ChangedFile) -> Vec<Finding> {
    let language = ending(&file.path);
    // A line that only moved, or lost its indentation, is not this change's.
    let before: BTreeSet<&str> = removed_lines(file).map(str::trim).collect();
    let mut found = Vec::new();
    for (number, line) in added_lines(file).filter(|(_, line)| !before.contains(line.trim())) {
        let code = code_of(line, &language);
        let comment = comment_of(line, &language);
        let mut add = |rule, severity, message: String| {
            found.push(finding(rule, severity, Some(&file.path), Some(number), message));
        };
        let hit = |marks: &'static [Mark]| marks.iter().find(|mark| mark.is_in(&code, &language));
        if let Some(mark) = hit(DEBUGGERS) {
            add(DEBUGGER, Severity::Warn, format!("`{}` is for debugging: take it out", mark.text));
        } else if let Some(mark) = hit(PRINTS).filter(|_| !is_test_file(&file.path)) {
            add(PRINT, Severity::Note, format!("`{}` looks like debugging: take it out, or log it", mark.text));
        }
        if let Some(mark) = hit(FOCUSED) {
            add(
                FOCUS,
                Severity::Warn,
                format!("`{}` keeps all other tests from running: take the focus off", mark.text),
            );
        }
        if let Some(comment) = comment {
            if let Some(note) = NOTES.iter().find(|note| has_word(comment, note)) {
                add(TODO, Severity::Note, format!("a `{note}` is left: do it, or leave a note on the task"));
            }
            let text = comment.trim_start();
            if ["<<<<<<< ", ">>>>>>> ", "||||||| "].iter().any(|marker| text.starts_with(marker)) {
                add(CONFLICT, Severity::Warn, "half of a conflict is left in comments: resolve it".to_owned());
            }
        }
    }
    found
}

/// Whether a text has a word in capitals that stands alone.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

necro_sdk::export_review!(Leftovers);

#[cfg(test)]
mod tests;
