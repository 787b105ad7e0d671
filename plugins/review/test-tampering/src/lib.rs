//! Finds tests that were made to pass in place of the code: deleted, emptied, switched off, weakened, or with
//! expectations changed and nothing else. A task may ask for any of it, so it is shown and does not block.
#![forbid(unsafe_code)]

mod marks;

use necro_sdk::review::{
    Change, ChangedFile, FileChange, Finding, Grade, HeuristicInfo, Severity, added_lines, ending, file_name, finding,
    has_test_mark, is_source, is_test_file, removed_lines, rule,
};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

use marks::{is_assertion, is_skip, is_vacuous, shape, threshold};

const DELETED: &str = "test-tampering/deleted";
const FEWER_TESTS: &str = "test-tampering/fewer-tests";
const FEWER_ASSERTIONS: &str = "test-tampering/fewer-assertions";
const SKIPPED: &str = "test-tampering/skipped";
const VACUOUS: &str = "test-tampering/always-true";
const EXPECTATION: &str = "test-tampering/expectation-only";
const COVERAGE: &str = "test-tampering/coverage";

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// How grave a weakened test is.
    severity: Grade,
}

impl Default for Options {
    fn default() -> Self {
        Self { severity: Grade::Warn }
    }
}

/// The heuristic.
#[derive(Debug)]
pub struct TestTampering;

impl ReviewHeuristic for TestTampering {
    fn describe() -> HeuristicInfo {
        let rules = vec![
            rule(DELETED, Severity::Warn, "a file of tests was deleted"),
            rule(FEWER_TESTS, Severity::Warn, "more tests were removed than added"),
            rule(FEWER_ASSERTIONS, Severity::Warn, "more assertions were removed than added"),
            rule(SKIPPED, Severity::Warn, "a test was switched off"),
            rule(VACUOUS, Severity::Warn, "an assertion that cannot fail"),
            rule(EXPECTATION, Severity::Warn, "only what tests expect was changed"),
            rule(COVERAGE, Severity::Warn, "the coverage that is asked for was lowered"),
        ];
        HeuristicInfo { name: "test-tampering".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        let severity = Severity::from(options.severity);
        let files: Vec<&ChangedFile> = change.files.iter().filter(|file| !file.binary).collect();
        let mut found: Vec<Finding> = files.iter().filter_map(|file| deleted(change, file, severity)).collect();
        found.extend(files.iter().flat_map(|file| in_lines(file, severity)));
        found.extend(fewer(&files, severity));
        found.extend(expectation_only(&files, severity));
        found.extend(files.iter().filter_map(|file| coverage(file, severity)));
        Ok(found)
    }
}

/// A deleted file of tests; a note where the task's text names it or its like.
fn deleted(change: &Change, file: &ChangedFile, severity: Severity) -> Option<Finding> {
    if file.change != FileChange::Deleted || !is_test_file(&file.path) {
        return None;
    }
    let text = format!("{} {}", change.title, change.text).to_lowercase();
    let is_asked = ["delete", "remove", "drop", "削除", "除く"].iter().any(|word| text.contains(word))
        && text.contains(&file_name(&file.path).to_lowercase());
    let severity = if is_asked { Severity::Note } else { severity };
    let message = "a file of tests was deleted: keep it, or say in the task why it goes";
    Some(finding(DELETED, severity, Some(&file.path), None, message))
}

/// Lines that switch a test off or cannot fail.
fn in_lines(file: &ChangedFile, severity: Severity) -> Vec<Finding> {
    if !is_source(&file.path) {
        return Vec::new();
    }
    let language = ending(&file.path);
    let before: Vec<&str> = removed_lines(file).map(str::trim).collect();
    let new = added_lines(file).filter(|(_, line)| !before.contains(&line.trim()));
    new.filter_map(|(number, line)| {
        let at = |rule, message: String| Some(finding(rule, severity, Some(&file.path), Some(number), message));
        if let Some(mark) = is_skip(line, &language) {
            return at(SKIPPED, format!("`{mark}` switches a test off: mend what it finds"));
        }
        if is_vacuous(line) {
            return at(VACUOUS, "this assertion cannot fail: assert what the task asks for".to_owned());
        }
        None
    })
    .collect()
}

/// Tests and assertions over the whole change, because they may move between files; told at the file that
/// lost most. A deleted file is told already.
fn fewer(files: &[&ChangedFile], severity: Severity) -> Vec<Finding> {
    // In Rust, tests lie in source files as well.
    let tested = |file: &&&ChangedFile| is_test_file(&file.path) || ending(&file.path) == "rs";
    let tested: Vec<&ChangedFile> = files.iter().filter(tested).copied().collect();
    let lost = |counts: &dyn Fn(&str) -> bool, rule: &str, what: &str| {
        let balances = tested.iter().map(|file| {
            let removed = removed_lines(file).filter(|line| counts(line)).count();
            let added = added_lines(file).filter(|(_, line)| counts(line)).count();
            (file, removed, added)
        });
        let balances: Vec<_> = balances.collect();
        let (removed, added) = balances.iter().fold((0, 0), |(r, a), (_, removed, added)| (r + removed, a + added));
        let kept = balances.iter().filter(|(file, ..)| file.change != FileChange::Deleted);
        let (worst, here, there) = kept.max_by_key(|(_, removed, added)| removed.saturating_sub(*added))?;
        let message = format!("{removed} {what} were removed and {added} added: keep what they made sure of");
        (removed > added && here > there).then(|| finding(rule, severity, Some(&worst.path), None, message))
    };
    let is_test = |line: &str| has_test_mark(line) && !is_assertion(line);
    let tests = lost(&is_test, FEWER_TESTS, "tests");
    let assertions = lost(&is_assertion, FEWER_ASSERTIONS, "assertions");
    tests.into_iter().chain(assertions).collect()
}

/// All that changed are literals in assertions: the code does what it did, and the tests now say so.
fn expectation_only(files: &[&ChangedFile], severity: Severity) -> Option<Finding> {
    let is_all_tests = !files.is_empty() && files.iter().all(|file| is_test_file(&file.path));
    let file = files.first().filter(|_| is_all_tests)?;
    let mut pairs = 0;
    for file in files {
        let before: Vec<&str> = removed_lines(file).map(str::trim).filter(|line| !line.is_empty()).collect();
        let after: Vec<&str> = added_lines(file).map(|(_, line)| line.trim()).filter(|line| !line.is_empty()).collect();
        let same_shape = before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| shape(a) == shape(b));
        if !same_shape || !before.iter().any(|line| is_assertion(line)) {
            return None;
        }
        pairs += before.len();
    }
    let message = format!("{pairs} lines of tests expect another value and no code changed: which of them is wrong?");
    Some(finding(EXPECTATION, severity, Some(&file.path), None, message))
}

/// A threshold of coverage that is lower than it was, or gone.
fn coverage(file: &ChangedFile, severity: Severity) -> Option<Finding> {
    let after: Vec<(String, f64)> = added_lines(file).filter_map(|(_, line)| threshold(line)).collect();
    removed_lines(file).filter_map(threshold).find_map(|(key, before)| {
        let now = after.iter().find(|(other, _)| *other == key).map(|(_, now)| *now);
        let message = match now {
            Some(now) if now < before => {
                format!("`{key}` went from {before} to {now}: test more in place of asking less")
            }
            None if file.change != FileChange::Deleted => format!("`{key}` of {before} was removed"),
            _ => return None,
        };
        Some(finding(COVERAGE, severity, Some(&file.path), None, message))
    })
}

necro_sdk::export_review!(TestTampering);

#[cfg(test)]
mod tests;
