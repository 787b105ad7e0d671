//! Review heuristics: what is wrong with a change.

mod conventions;
mod glob;
mod unified;

use std::marker::PhantomData;

use serde::Deserialize;

use crate::bindings::review_heuristic::exports::necro::plugin::review::Guest;
pub use crate::bindings::review_heuristic::exports::necro::plugin::review::{
    Change, ChangedFile, Check, DiffLine, FileChange, Finding, HeuristicInfo, Hunk, LineKind, Rule, Severity,
};
use crate::{Failure, Settings};
pub use conventions::{ending, file_name, has_test_mark, is_code_line, is_lock_file, is_source, is_test_file};
pub use glob::{matches_any, matches_glob};
pub use unified::{change_of, read_diff, write_diff};

/// More findings than this help nobody; [`bounded`] keeps the first ones.
pub const MAX_FINDINGS: usize = 50;

/// Judges a change.
pub trait ReviewHeuristic {
    /// Its name and its rules.
    fn describe() -> HeuristicInfo;

    /// What it finds; an empty list when there is nothing to say.
    ///
    /// # Errors
    /// A [`Failure`] becomes a warning on the change.
    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure>;
}

/// A rule of a heuristic.
#[must_use]
pub fn rule(id: &str, severity: Severity, description: &str) -> Rule {
    Rule { id: id.to_owned(), severity, description: description.to_owned() }
}

/// A finding; `file` and `line` where it has a place.
#[must_use]
pub fn finding(
    rule: &str,
    severity: Severity,
    file: Option<&str>,
    line: Option<u32>,
    message: impl Into<String>,
) -> Finding {
    Finding { rule: rule.to_owned(), severity, file: file.map(str::to_owned), line, message: message.into() }
}

/// A severity, as settings spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Informs.
    Note,
    /// Is shown.
    Warn,
    /// Makes a new attempt.
    Block,
}

impl From<Grade> for Severity {
    fn from(grade: Grade) -> Self {
        match grade {
            Grade::Note => Self::Note,
            Grade::Warn => Self::Warn,
            Grade::Block => Self::Block,
        }
    }
}

/// The lines that a change removed from a file.
pub fn removed_lines(file: &ChangedFile) -> impl Iterator<Item = &str> {
    let lines = file.hunks.iter().flat_map(|hunk| &hunk.lines);
    lines.filter(|line| line.kind == LineKind::Removed).map(|line| line.text.as_str())
}

/// The lines that a change added to a file, with their numbers in the new file.
pub fn added_lines(file: &ChangedFile) -> impl Iterator<Item = (u32, &str)> {
    file.hunks.iter().flat_map(|hunk| {
        let mut next = hunk.new_start;
        hunk.lines.iter().filter_map(move |line| {
            let number = next;
            if line.kind != LineKind::Removed {
                next = next.saturating_add(1);
            }
            (line.kind == LineKind::Added).then_some((number, line.text.as_str()))
        })
    })
}

/// At most [`MAX_FINDINGS`]; the last one then says how many more there were.
#[must_use]
pub fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() > MAX_FINDINGS {
        let more = findings.len() - MAX_FINDINGS;
        findings.truncate(MAX_FINDINGS);
        if let Some(last) = findings.last_mut() {
            last.message.push_str(&format!(" ({more} more findings are not shown)"));
        }
    }
    findings
}

/// The generated interface over the trait.
#[doc(hidden)]
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: ReviewHeuristic> Guest for Adapter<T> {
    fn describe() -> HeuristicInfo {
        T::describe()
    }

    fn review(change: Change, settings: String) -> Result<Vec<Finding>, Failure> {
        T::review(&change, &Settings::new(settings)).map(bounded)
    }
}

/// Make a type that implements [`ReviewHeuristic`] the component's export.
#[macro_export]
macro_rules! export_review {
    ($heuristic:ty) => {
        const _: () = {
            const fn implements<T: $crate::ReviewHeuristic>() {}
            implements::<$heuristic>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::review::Adapter<$heuristic>;
    $crate::bindings::review_heuristic::export!(Exported with_types_in $crate::bindings::review_heuristic);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_lines_are_numbered_in_the_new_file() {
        let line = |kind, text: &str| DiffLine { kind, text: text.to_owned() };
        let file = ChangedFile {
            path: "a".into(),
            change: FileChange::Modified,
            binary: false,
            size_bytes: 0,
            hunks: vec![
                Hunk {
                    old_start: 3,
                    new_start: 3,
                    lines: vec![
                        line(LineKind::Context, "c"),
                        line(LineKind::Removed, "r"),
                        line(LineKind::Added, "x"),
                        line(LineKind::Added, "y"),
                    ],
                },
                Hunk { old_start: 20, new_start: 21, lines: vec![line(LineKind::Added, "z")] },
            ],
        };
        assert_eq!(added_lines(&file).collect::<Vec<_>>(), [(4, "x"), (5, "y"), (21, "z")]);
    }

    #[test]
    fn findings_are_bounded_and_say_so() {
        let finding =
            Finding { rule: "r".into(), severity: Severity::Note, file: None, line: None, message: "m".into() };
        let many = bounded(vec![finding; MAX_FINDINGS + 3]);
        assert_eq!(many.len(), MAX_FINDINGS);
        assert_eq!(many[MAX_FINDINGS - 1].message, "m (3 more findings are not shown)");
    }
}
