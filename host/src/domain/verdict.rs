//! The rule that turns gate results and findings into pass or fail, and into the words that the next
//! attempt is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::excerpt::excerpt;
use super::review::{Check, Finding, Severity};

/// The reason of a failed verdict has at most this many bytes: it goes into a prompt.
pub const MAX_REASON_BYTES: usize = 16 * 1024;
/// Findings that are listed; the rest is counted.
pub const MAX_LISTED_FINDINGS: usize = 20;

/// Of a failed command's output, so much from its beginning …
const OUTPUT_HEAD_BYTES: usize = 2 * 1024;
/// … and so much from its end.
const OUTPUT_TAIL_BYTES: usize = 6 * 1024;
/// Of the text of a task in conflict, so much.
const SIDE_HEAD_BYTES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 300;
const MAX_NAME_BYTES: usize = 200;

/// Whether an attempt may be integrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The gate is green and nothing blocks.
    Pass,
    /// It may not.
    Fail {
        /// What is wrong, for the next attempt; at most [`MAX_REASON_BYTES`].
        reason: String,
    },
}

impl Verdict {
    /// Whether the attempt may be integrated.
    #[must_use]
    pub const fn passed(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

/// Findings with the severities that the operator set by rule; other rules keep the severity that
/// their heuristic gave.
#[must_use]
pub fn with_severities(mut findings: Vec<Finding>, severities: &BTreeMap<String, Severity>) -> Vec<Finding> {
    for finding in &mut findings {
        if let Some(severity) = severities.get(&finding.rule) {
            finding.severity = *severity;
        }
    }
    findings
}

/// Fails when a command of the gate failed or a finding blocks. No commands and no findings pass.
#[must_use]
pub fn decide(checks: &[Check], findings: &[Finding]) -> Verdict {
    let failed: Vec<&Check> = checks.iter().filter(|c| !c.passed).collect();
    let blocking: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Block).collect();
    if failed.is_empty() && blocking.is_empty() {
        return Verdict::Pass;
    }
    let mut reason = String::new();
    if !blocking.is_empty() {
        reason.push_str("The review blocks this change:\n");
        for finding in blocking.iter().take(MAX_LISTED_FINDINGS) {
            let _ = writeln!(reason, "- {}", line(finding));
        }
        if blocking.len() > MAX_LISTED_FINDINGS {
            let _ = writeln!(reason, "- and {} more", blocking.len() - MAX_LISTED_FINDINGS);
        }
    }
    list_failed(&mut reason, failed);
    Verdict::Fail { reason: bounded(&reason) }
}

/// An attempt that changed nothing.
pub const NO_CHANGE: &str = "The attempt ended without a change to any file. If the task is done already, add a test that \
                             shows it; otherwise make the change.";

/// What one side of a conflict was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Number of its task.
    pub task: String,
    /// The task's title.
    pub title: String,
    /// Its text.
    pub text: String,
}

/// What an attempt is told whose commit did not merge: the files in conflict, the hunks, what this task (`own`) and
/// those whose work is there already (`others`) were to do, and the ref that keeps the work.
#[must_use]
pub fn conflict_reason(files: &[String], text: &str, own: Option<&Side>, others: &[Side], kept: &str) -> String {
    let mut reason = String::from(
        "Another task was merged meanwhile, and this change conflicts with it. Start from what is there now, and make \
         the change so that both tasks are done.\n",
    );
    let _ = writeln!(reason, "What conflicted is kept as {}.", one_line(kept, MAX_NAME_BYTES));
    for (side, what) in own.map(|own| (own, "This task")).into_iter().chain(others.iter().map(|o| (o, "Merged before")))
    {
        let (task, title) = (one_line(&side.task, MAX_NAME_BYTES), one_line(&side.title, MAX_MESSAGE_BYTES));
        let _ = writeln!(reason, "{what}: {task} {title}");
        if !side.text.trim().is_empty() {
            let _ = writeln!(reason, "{}", excerpt(side.text.trim(), SIDE_HEAD_BYTES, 0));
        }
    }
    for file in files.iter().take(MAX_LISTED_FINDINGS) {
        let _ = writeln!(reason, "- conflict in {}", one_line(file, MAX_NAME_BYTES));
    }
    if files.len() > MAX_LISTED_FINDINGS {
        let _ = writeln!(reason, "- and {} files more", files.len() - MAX_LISTED_FINDINGS);
    }
    reason.push_str(&excerpt(text.trim(), OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES));
    bounded(&reason)
}

/// What an attempt is told whose own gate was green, and the merged tree's was not.
#[must_use]
pub fn merged_gate_reason(checks: &[Check]) -> String {
    let mut reason = String::from(
        "The change passed alone, but not together with what other tasks merged meanwhile. Start from what is there \
         now.\n",
    );
    list_failed(&mut reason, checks.iter().filter(|c| !c.passed));
    bounded(&reason)
}

fn list_failed<'a>(reason: &mut String, failed: impl IntoIterator<Item = &'a Check>) {
    for check in failed {
        let output = excerpt(check.output.trim_end(), OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES);
        let name = one_line(&check.name, MAX_NAME_BYTES);
        if output.is_empty() {
            let _ = writeln!(reason, "The command `{name}` failed without any output.");
        } else {
            let _ = writeln!(reason, "The command `{name}` failed:\n{output}");
        }
    }
}

/// Head and tail within [`MAX_REASON_BYTES`], the line between them included.
fn bounded(reason: &str) -> String {
    excerpt(reason.trim_end(), MAX_REASON_BYTES / 2 - 64, MAX_REASON_BYTES / 2)
}

/// `file:line: message (rule)`
#[must_use]
pub fn line(finding: &Finding) -> String {
    let mut text = String::new();
    if let Some(file) = &finding.file {
        text.push_str(&one_line(file, MAX_NAME_BYTES));
        if let Some(line) = finding.line {
            let _ = write!(text, ":{line}");
        }
        text.push_str(": ");
    }
    text.push_str(&one_line(&finding.message, MAX_MESSAGE_BYTES));
    let _ = write!(text, " ({})", one_line(&finding.rule, MAX_NAME_BYTES));
    text
}

/// Messages come from plugins: a line break in one must not look like another finding.
fn one_line(text: &str, room_bytes: usize) -> String {
    let line = text[..text.floor_char_boundary(room_bytes)].replace(char::is_control, " ");
    if line.len() < text.len() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(name: &str, passed: bool, output: &str) -> Check {
        Check { name: name.into(), passed, output: output.into() }
    }

    fn finding(rule: &str, severity: Severity, file: Option<&str>, line: Option<u32>) -> Finding {
        Finding { rule: rule.into(), severity, file: file.map(Into::into), line, message: "a\nmessage".into() }
    }

    fn reason(checks: &[Check], findings: &[Finding]) -> String {
        match decide(checks, findings) {
            Verdict::Fail { reason } => reason,
            Verdict::Pass => panic!("it passed"),
        }
    }

    #[test]
    fn green_without_blocking_findings_passes() {
        let warning = finding("size", Severity::Warn, None, None);
        assert_eq!(decide(&[], &[]), Verdict::Pass);
        assert_eq!(decide(&[check("test", true, "")], &[warning]), Verdict::Pass);
    }

    #[test]
    fn the_reason_names_files_lines_rules_and_output() {
        let findings = [
            finding("secret", Severity::Block, Some("src/a.rs"), Some(7)),
            finding("size", Severity::Warn, None, None),
            finding("missing-tests", Severity::Block, None, Some(3)),
        ];
        let checks =
            [check("build", true, "fine"), check("test", false, "assertion failed\n"), check("lint", false, "")];
        assert_eq!(
            reason(&checks, &findings),
            "The review blocks this change:\n- src/a.rs:7: a message (secret)\n- a message (missing-tests)\n\
             The command `test` failed:\nassertion failed\nThe command `lint` failed without any output."
        );
    }

    #[test]
    fn head_and_tail_of_a_long_output_stay() {
        let output = format!("first line\n{}\nlast line", "x".repeat(1 << 20));
        let reason = reason(&[check("test", false, &output)], &[]);
        assert!(reason.contains("first line") && reason.ends_with("last line") && reason.contains("bytes left out"));
    }

    #[test]
    fn listed_findings_are_bounded_and_the_rest_is_counted() {
        let findings = vec![finding("r", Severity::Block, None, None); 50];
        assert!(reason(&[], &findings).ends_with("- and 30 more"));
    }

    #[test]
    fn the_operator_sets_severities_by_rule() {
        let set = BTreeMap::from([("size".to_owned(), Severity::Block), ("secret".to_owned(), Severity::Note)]);
        let findings = vec![
            finding("size", Severity::Warn, None, None),
            finding("secret", Severity::Block, None, None),
            finding("other", Severity::Warn, None, None),
        ];
        let severities: Vec<Severity> = with_severities(findings, &set).into_iter().map(|f| f.severity).collect();
        assert_eq!(severities, [Severity::Block, Severity::Note, Severity::Warn]);
    }

    #[test]
    fn a_conflict_and_a_red_merge_say_that_others_were_faster() {
        let files: Vec<String> = (0..30).map(|n| format!("src/{n}.rs")).collect();
        let side = |task: &str, text: String| Side { task: task.into(), title: format!("Do {task}"), text };
        let (own, other) = (side("2", "- it is\n".into()), side("1", "x".repeat(100_000)));
        let reason = conflict_reason(&files, "CONFLICT (content)\n", Some(&own), &[other], "refs/necro/a/2/1");
        assert!(reason.contains("kept as refs/necro/a/2/1.\nThis task: 2 Do 2\n- it is\nMerged before: 1 Do 1\n"));
        assert!(reason.ends_with("- conflict in src/19.rs\n- and 10 files more\nCONFLICT (content)"), "{reason}");
        let reason = merged_gate_reason(&[check("build", true, "fine"), check("test", false, "red")]);
        assert!(reason.ends_with("now.\nThe command `test` failed:\nred"), "{reason}");
    }

    proptest! {
        #[test]
        fn reasons_are_bounded(
            outputs in prop::collection::vec((any::<char>(), 0..40_000_usize), 0..12),
            messages in prop::collection::vec((any::<char>(), 0..2_000_usize), 0..40),
        ) {
            let checks: Vec<Check> =
                outputs.iter().map(|(c, n)| check("test", false, &c.to_string().repeat(*n))).collect();
            let findings: Vec<Finding> = messages
                .into_iter()
                .map(|(c, n)| Finding { message: c.to_string().repeat(n), ..finding("r", Severity::Block, Some("f"), Some(1)) })
                .collect();
            if let Verdict::Fail { reason } = decide(&checks, &findings) {
                prop_assert!(reason.len() <= MAX_REASON_BYTES);
            } else {
                prop_assert!(checks.is_empty() && findings.is_empty());
            }
        }
    }
}
