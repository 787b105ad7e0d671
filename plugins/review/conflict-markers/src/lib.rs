//! Finds the lines that an unfinished merge leaves in a file. Only added lines count, and `=======` only
//! between the other two: under a heading it is ordinary Markdown.
#![forbid(unsafe_code)]

use necro_sdk::review::{Change, ChangedFile, Finding, HeuristicInfo, Severity, added_lines, rule};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

const RULE: &str = "conflict-markers/unresolved";

/// There is nothing to set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {}

/// The heuristic. It has no settings.
#[derive(Debug)]
pub struct ConflictMarkers;

impl ReviewHeuristic for ConflictMarkers {
    fn describe() -> HeuristicInfo {
        let rules = vec![rule(RULE, Severity::Block, "a merge conflict was committed unresolved")];
        HeuristicInfo { name: "conflict-markers".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let Options {} = settings.read()?;
        Ok(change.files.iter().flat_map(findings).collect())
    }
}

/// The markers that the change adds to a file.
fn findings(file: &ChangedFile) -> Vec<Finding> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in added_lines(file) {
        let line = line.trim_end_matches('\r');
        let marker = if line.starts_with("<<<<<<< ") {
            inside = true;
            "<<<<<<<"
        } else if line.starts_with(">>>>>>> ") {
            inside = false;
            ">>>>>>>"
        } else if inside && line.starts_with("||||||| ") {
            "|||||||"
        } else if inside && line == "=======" {
            "======="
        } else {
            continue;
        };
        found.push(Finding {
            rule: RULE.to_owned(),
            severity: Severity::Block,
            file: Some(file.path.clone()),
            line: Some(number),
            message: format!("conflict marker `{marker}`: resolve the conflict and remove the markers"),
        });
    }
    found
}

necro_sdk::export_review!(ConflictMarkers);

#[cfg(test)]
mod tests {
    use necro_sdk::review::{DiffLine, FileChange, Hunk, LineKind};

    use super::*;

    fn lines_found(text: &str) -> Vec<u32> {
        let lines = text.lines().map(|line| match line.split_at(1) {
            ("+", rest) => DiffLine { kind: LineKind::Added, text: rest.to_owned() },
            ("-", rest) => DiffLine { kind: LineKind::Removed, text: rest.to_owned() },
            (_, rest) => DiffLine { kind: LineKind::Context, text: rest.to_owned() },
        });
        let hunk = Hunk { old_start: 1, new_start: 1, lines: lines.collect() };
        let file = ChangedFile {
            path: "a.md".into(),
            change: FileChange::Modified,
            binary: false,
            size_bytes: 1,
            hunks: vec![hunk],
        };
        findings(&file).into_iter().filter_map(|f| f.line).collect()
    }

    #[test]
    fn every_marker_of_a_conflict_is_found() {
        assert_eq!(lines_found(" a\n+<<<<<<< HEAD\n+x\n+=======\n+y\n+>>>>>>> topic\n"), [2, 4, 6]);
        assert_eq!(lines_found("+<<<<<<< a\r\n+||||||| base\r\n+=======\r\n+>>>>>>> b\r\n"), [1, 2, 3, 4]);
        assert_eq!(lines_found("+>>>>>>> topic"), [1]);
    }

    #[test]
    fn ordinary_text_passes() {
        for text in [
            "+Heading\n+=======\n",
            "+<<<<<<<\n+=======\n",
            "+ <<<<<<< indented\n",
            "+a <<<<<<< b\n",
            " <<<<<<< HEAD\n+x\n =======\n >>>>>>> b\n",
            "-<<<<<<< HEAD\n-=======\n->>>>>>> b\n",
            "+<<<<<<<< eight\n+========\n",
            "+||||||| a table |\n",
        ] {
            assert!(lines_found(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_heading_after_a_conflict_is_not_part_of_it() {
        assert_eq!(lines_found("+<<<<<<< a\n+>>>>>>> b\n+Title\n+=======\n"), [1, 2]);
    }
}
