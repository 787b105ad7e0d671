//! Finds licence headers that a change takes away and, where an operator says what has to stand there, new
//! source files without one. It looks for text, never for a pattern.
#![forbid(unsafe_code)]

use necro_sdk::review::{
    Change, ChangedFile, FileChange, Finding, Grade, HeuristicInfo, LineKind, Severity, added_lines, ending, finding,
    is_source, rule,
};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

const MISSING: &str = "licence-headers/missing";
const REMOVED: &str = "licence-headers/removed";

/// Lines at the top of a file in which a header stands.
const HEAD_LINES: u32 = 30;
/// What gives a header away, in lower case.
const MARKS: &[&str] = &["spdx-license-identifier", "copyright", "licensed under", "all rights reserved", "©"];

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// What has to stand in the first lines of new source files; empty: they are not looked at.
    text: String,
    /// Endings of source files; empty: those of the usual languages.
    endings: Vec<String>,
    /// How grave a missing or removed header is.
    severity: Grade,
}

impl Default for Options {
    fn default() -> Self {
        Self { text: String::new(), endings: Vec::new(), severity: Grade::Warn }
    }
}

/// The heuristic.
#[derive(Debug)]
pub struct LicenceHeaders;

impl ReviewHeuristic for LicenceHeaders {
    fn describe() -> HeuristicInfo {
        let rules = vec![
            rule(MISSING, Severity::Warn, "a new source file has no licence header"),
            rule(REMOVED, Severity::Warn, "a licence header was removed"),
        ];
        HeuristicInfo { name: "licence-headers".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        let texts = change.files.iter().filter(|file| !file.binary && is_looked_at(&file.path, &options.endings));
        Ok(texts.filter_map(|file| judge(file, &options)).collect())
    }
}

fn is_looked_at(path: &str, endings: &[String]) -> bool {
    let own = ending(path);
    if endings.is_empty() { is_source(path) } else { endings.iter().any(|e| e.trim_start_matches('.') == own) }
}

fn judge(file: &ChangedFile, options: &Options) -> Option<Finding> {
    let told =
        |rule, line, message: String| Some(finding(rule, options.severity.into(), Some(&file.path), line, message));
    let head = || added_lines(file).take_while(|(number, _)| *number <= HEAD_LINES).map(|(_, line)| line);
    match file.change {
        FileChange::Deleted => None,
        FileChange::Added => {
            let text = options.text.trim();
            let is_missing = !text.is_empty() && !head().any(|line| line.contains(text));
            // An empty file has nothing to licence.
            let has_code = added_lines(file).any(|(_, line)| !line.trim().is_empty());
            if is_missing && has_code {
                told(MISSING, Some(1), format!("the first {HEAD_LINES} lines lack `{text}`"))
            } else {
                None
            }
        }
        FileChange::Modified => {
            let (line, mark) = removed_mark(file)?;
            // Another year or holder is a change of the header, not its end.
            let is_replaced = head().any(|line| line.to_lowercase().contains(mark));
            if is_replaced {
                None
            } else {
                let shown: String = line.trim().chars().take(100).collect();
                told(REMOVED, None, format!("the header's line `{shown}` was removed: put it back"))
            }
        }
    }
}

/// The first line of a header that was removed, and what gave it away.
fn removed_mark(file: &ChangedFile) -> Option<(&str, &'static str)> {
    file.hunks.iter().find_map(|hunk| {
        let mut number = hunk.old_start;
        hunk.lines.iter().find_map(|line| {
            let at = number;
            if line.kind != LineKind::Added {
                number = number.saturating_add(1);
            }
            if line.kind != LineKind::Removed || at > HEAD_LINES {
                return None;
            }
            let lower = line.text.to_lowercase();
            MARKS.iter().find(|mark| lower.contains(**mark)).map(|mark| (line.text.as_str(), *mark))
        })
    })
}

necro_sdk::export_review!(LicenceHeaders);

#[cfg(test)]
mod tests {
    use necro_sdk::review::change_of;

    use super::*;

    const SPDX: &str = r#"{"text":"SPDX-License-Identifier: MIT"}"#;

    fn rules(diff: &str, settings: &str) -> Vec<String> {
        let found = LicenceHeaders::review(&change_of("qa", diff), &Settings::new(settings)).unwrap();
        found.into_iter().map(|f| f.rule).collect()
    }

    fn added(path: &str, text: &str) -> String {
        let lines: String = text.lines().map(|line| format!("+{line}\n")).collect();
        format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,9 @@\n{lines}")
    }

    #[test]
    fn new_source_files_need_the_header_only_where_it_is_set() {
        let bare = added("src/a.rs", "fn a() {}");
        assert_eq!(rules(&bare, ""), [""; 0]);
        assert_eq!(rules(&bare, SPDX), [MISSING]);
        assert_eq!(rules(&added("src/a.rs", "// SPDX-License-Identifier: MIT\nfn a() {}"), SPDX), [""; 0]);
        assert_eq!(rules(&added("src/a.rs", "// spdx-license-identifier: mit\nfn a() {}"), SPDX), [MISSING]);
        let late = format!("{}// SPDX-License-Identifier: MIT", "x\n".repeat(30));
        assert_eq!(rules(&added("src/a.rs", &late), SPDX), [MISSING]);
        assert_eq!(rules(&added("src/a.rs", ""), SPDX), [""; 0]);
        assert_eq!(rules(&added("README.md", "text"), SPDX), [""; 0]);
        assert_eq!(rules(&added("a.md", "x"), r#"{"text":"MIT","endings":[".md"]}"#), [MISSING]);
        assert_eq!(rules(&added("a.rs", "x"), r#"{"text":"MIT","endings":["md"]}"#), [""; 0]);
    }

    #[test]
    fn a_header_that_goes_is_told_without_any_setting() {
        let modified = |body: &str| format!("--- a/src/a.rs\n+++ b/src/a.rs\n{body}");
        for (body, expected) in [
            ("@@ -1,2 +1,1 @@\n-// Copyright 2024 Ann\n fn a() {}\n", &[REMOVED][..]),
            ("@@ -1,2 +1,1 @@\n-// SPDX-License-Identifier: MIT\n fn a() {}\n", &[REMOVED]),
            ("@@ -1,2 +1,2 @@\n-// Copyright 2024 Ann\n+// Copyright 2026 Ann\n fn a() {}\n", &[]),
            ("@@ -90,2 +90,1 @@\n-let copyright = 1;\n x\n", &[]),
            ("@@ -1,1 +1,2 @@\n+// a word\n fn a() {}\n", &[]),
        ] {
            assert_eq!(rules(&modified(body), ""), expected, "{body}");
        }
        assert_eq!(rules("--- a/a.rs\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-// Copyright Ann\n", ""), [""; 0]);
    }

    #[test]
    fn the_severity_can_be_set_and_misspelt_settings_are_an_error() {
        let change = change_of("qa", &added("a.rs", "x"));
        let settings = Settings::new(r#"{"text":"MIT","severity":"block"}"#);
        assert_eq!(LicenceHeaders::review(&change, &settings).unwrap()[0].severity, Severity::Block);
        assert!(LicenceHeaders::review(&change, &Settings::new(r#"{"header":"MIT"}"#)).is_err());
    }
}
