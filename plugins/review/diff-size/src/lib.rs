//! Finds changes that are too large for anyone to review well. Added and removed lines count; binary
//! files and lock files that tools write do not.
#![forbid(unsafe_code)]

use necro_sdk::review::{Change, ChangedFile, Finding, HeuristicInfo, LineKind, Severity, is_lock_file, rule};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

const LARGE: &str = "diff-size/large";
const TOO_LARGE: &str = "diff-size/too-large";

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// More changed lines than this are shown.
    warn_lines: usize,
    /// More changed lines than this make a new attempt.
    block_lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { warn_lines: 400, block_lines: 2000 }
    }
}

/// The heuristic.
#[derive(Debug)]
pub struct DiffSize;

impl ReviewHeuristic for DiffSize {
    fn describe() -> HeuristicInfo {
        let rules = vec![
            rule(LARGE, Severity::Warn, "the change is large"),
            rule(TOO_LARGE, Severity::Block, "the change is too large to review"),
        ];
        HeuristicInfo { name: "diff-size".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        let lines: usize =
            change.files.iter().filter(|file| !file.binary && !is_lock_file(&file.path)).map(changed_lines).sum();
        let (id, severity, limit, advice) = if lines > options.block_lines {
            (TOO_LARGE, Severity::Block, options.block_lines, "leave out what the task does not ask for")
        } else if lines > options.warn_lines {
            (LARGE, Severity::Warn, options.warn_lines, "look whether all of it belongs to the task")
        } else {
            return Ok(Vec::new());
        };
        let message = format!("{lines} changed lines, more than {limit}: {advice}");
        Ok(vec![Finding { rule: id.to_owned(), severity, file: None, line: None, message }])
    }
}

fn changed_lines(file: &ChangedFile) -> usize {
    file.hunks.iter().flat_map(|hunk| &hunk.lines).filter(|line| line.kind != LineKind::Context).count()
}

necro_sdk::export_review!(DiffSize);

#[cfg(test)]
mod tests {
    use necro_sdk::review::{DiffLine, FileChange, Hunk};

    use super::*;

    fn change(files: &[(&str, usize, usize)]) -> Change {
        let files = files.iter().map(|(path, added, removed)| {
            let line = |kind| DiffLine { kind, text: "x".into() };
            let mut lines = vec![line(LineKind::Context); 3];
            lines.extend(vec![line(LineKind::Added); *added]);
            lines.extend(vec![line(LineKind::Removed); *removed]);
            ChangedFile {
                path: (*path).into(),
                change: FileChange::Modified,
                binary: false,
                size_bytes: 0,
                hunks: vec![Hunk { old_start: 1, new_start: 1, lines }],
            }
        });
        Change {
            spec: "s".into(),
            task: "1".into(),
            title: String::new(),
            text: String::new(),
            commit_title: String::new(),
            instance: "backend_spirit_1".into(),
            role: "backend".into(),
            attempt: 1,
            files: files.collect(),
            checks: Vec::new(),
        }
    }

    fn found(files: &[(&str, usize, usize)], settings: &str) -> Option<String> {
        DiffSize::review(&change(files), &Settings::new(settings)).unwrap().pop().map(|f| f.rule)
    }

    #[test]
    fn the_limits_are_exact_and_count_over_all_files() {
        for (added, removed, expected) in [
            (0, 0, None),
            (200, 200, None),
            (200, 201, Some(LARGE)),
            (2000, 0, Some(LARGE)),
            (1, 2000, Some(TOO_LARGE)),
        ] {
            let files = [("a.rs", added, 0), ("b.rs", 0, removed)];
            assert_eq!(found(&files, "").as_deref(), expected, "{added}+{removed}");
        }
    }

    #[test]
    fn lock_files_do_not_count() {
        assert_eq!(found(&[("web/package-lock.json", 9000, 0), ("Cargo.lock", 9000, 0)], ""), None);
        assert_eq!(found(&[("src/Cargo.lock.rs", 9000, 0)], "").as_deref(), Some(TOO_LARGE));
    }

    #[test]
    fn limits_can_be_set_and_misspelt_ones_are_an_error() {
        assert_eq!(found(&[("a", 3, 0)], r#"{"warn_lines":2}"#).as_deref(), Some(LARGE));
        assert_eq!(found(&[("a", 3, 0)], r#"{"warn_lines":1,"block_lines":2}"#).as_deref(), Some(TOO_LARGE));
        assert!(DiffSize::review(&change(&[]), &Settings::new(r#"{"warn":2}"#)).is_err());
    }
}
