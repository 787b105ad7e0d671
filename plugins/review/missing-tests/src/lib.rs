//! Finds code of implementing roles that came without any test. What counts as source and as test goes
//! by the conventions of the languages: extensions, folders, file names, and marks in added lines.
#![forbid(unsafe_code)]

use necro_sdk::review::{
    Change, Finding, Grade, HeuristicInfo, Severity, added_lines, has_test_mark, is_code_line, is_source, is_test_file,
    rule,
};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

const RULE: &str = "missing-tests/no-test";
/// Roles that bring code and are held to bring tests.
const IMPLEMENTING_ROLES: &[&str] = &["frontend", "backend", "database"];

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// How grave a change without tests is; unless set, by how much code it adds.
    severity: Option<Grade>,
    /// Added lines of code under `src/` from which a change without tests blocks.
    block_lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { severity: None, block_lines: 10 }
    }
}

/// The heuristic.
#[derive(Debug)]
pub struct MissingTests;

impl ReviewHeuristic for MissingTests {
    fn describe() -> HeuristicInfo {
        let rules = vec![rule(RULE, Severity::Block, "code was added and no test")];
        HeuristicInfo { name: "missing-tests".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        Ok(judge(change, &options).into_iter().collect())
    }
}

/// The finding, at the file with the most added code.
fn judge(change: &Change, options: &Options) -> Option<Finding> {
    let texts = || change.files.iter().filter(|file| !file.binary);
    let brings_tests = texts().any(|file| {
        let mut added = added_lines(file).map(|(_, line)| line);
        if is_test_file(&file.path) { added.any(is_code_line) } else { added.any(has_test_mark) }
    });
    if brings_tests || !IMPLEMENTING_ROLES.contains(&change.role.as_str()) {
        return None;
    }
    let sources: Vec<(&str, usize)> = texts()
        .filter(|file| is_source(&file.path) && !is_test_file(&file.path))
        .map(|file| (file.path.as_str(), added_lines(file).filter(|(_, line)| is_code_line(line)).count()))
        .filter(|(_, lines)| *lines > 0)
        .collect();
    let (file, _) = sources.iter().rev().max_by_key(|(_, lines)| *lines)?;
    let lines: usize = sources.iter().map(|(_, lines)| lines).sum();
    let under_src: usize =
        sources.iter().filter(|(path, _)| path.split('/').any(|part| part == "src")).map(|(_, lines)| lines).sum();
    let severity = match options.severity {
        Some(grade) => grade.into(),
        None if under_src >= options.block_lines => Severity::Block,
        None => Severity::Warn,
    };
    Some(Finding {
        rule: RULE.to_owned(),
        severity,
        file: Some((*file).to_owned()),
        line: None,
        message: format!("{lines} lines of code were added and no test: add tests that fail without this change"),
    })
}

necro_sdk::export_review!(MissingTests);

#[cfg(test)]
mod tests;
