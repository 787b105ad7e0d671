//! A change as it is judged, findings, and the rule that makes a verdict of them.

use serde::{Deserialize, Serialize};

use super::excerpt::excerpt;
use super::id::{Role, SpecName, TaskId};
use super::work::ChangeKind;

/// At most this many findings of one review are kept.
pub const MAX_FINDINGS: usize = 500;
/// Bytes of the same, as JSON: they are one event.
pub const MAX_FINDINGS_BYTES: usize = 512 * 1024;
/// Longer messages lose their middle; bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Longer rule ids and paths lose their middle; bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Informs.
    Note,
    /// Is shown.
    Warn,
    /// Makes a new attempt.
    Block,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Rule id.
    pub rule: String,
    /// How grave.
    pub severity: Severity,
    /// Where.
    pub file: Option<String>,
    /// Line in the new file, from 1.
    pub line: Option<u32>,
    /// What and why.
    pub message: String,
}

/// Findings within [`MAX_FINDINGS`] and [`MAX_FINDINGS_BYTES`], gravest first. One finding stands for
/// those that are left out, and is as grave as the gravest of them: nothing that blocks is lost.
#[must_use]
pub fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut room = MAX_FINDINGS_BYTES;
    let (mut kept, mut left_out, mut gravest) = (Vec::new(), 0_usize, Severity::Note);
    for finding in findings {
        let finding = cut(finding);
        let size = serde_json::to_vec(&finding).map_or(usize::MAX, |json| json.len());
        if left_out == 0 && kept.len() < MAX_FINDINGS && size <= room {
            room -= size;
            kept.push(finding);
        } else {
            left_out += 1;
            gravest = gravest.max(finding.severity);
        }
    }
    if left_out > 0 {
        let message = format!("{left_out} more findings of this severity or less are left out");
        kept.push(Finding { rule: MORE_FINDINGS.to_owned(), severity: gravest, file: None, line: None, message });
    }
    kept
}

fn cut(finding: Finding) -> Finding {
    let short = |text: String, limit: usize| excerpt(&text, limit / 2, limit / 2);
    Finding {
        rule: short(finding.rule, MAX_NAME_BYTES),
        file: finding.file.map(|file| short(file, MAX_NAME_BYTES)),
        message: short(finding.message, MAX_MESSAGE_BYTES),
        ..finding
    }
}

/// The host's own rule: some findings are not shown.
pub const MORE_FINDINGS: &str = "necro/more-findings";
/// The host's own rule: a part of the change is too large for the review to see.
pub const UNREVIEWED: &str = "necro/unreviewed";
/// The host's own rule: the change rewrites what the gate does.
pub const GATE_CHANGED: &str = "necro/gate-changed";

/// One rule of a heuristic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// How grave its findings are.
    pub severity: Severity,
    /// What it looks for.
    pub description: String,
}

/// Which heuristic a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeuristicInfo {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Role of a line in a hunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// Unchanged.
    Context,
    /// New.
    Added,
    /// Gone.
    Removed,
}

/// One line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffLine {
    /// Its role.
    pub kind: LineKind,
    /// Without its line ending.
    pub text: String,
}

/// A hunk; line numbers from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunk {
    /// First line in the old file.
    pub old_start: u32,
    /// First line in the new file.
    pub new_start: u32,
    /// Its lines.
    pub lines: Vec<DiffLine>,
}

/// A file of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Path.
    pub path: String,
    /// What happened.
    pub change: ChangeKind,
    /// No text.
    pub binary: bool,
    /// Size of the new file.
    pub size_bytes: u64,
    /// Of a binary file, its bytes read as text; empty when it is large.
    pub hunks: Vec<Hunk>,
}

/// A gate command's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the command.
    pub name: String,
    /// Exit code 0.
    pub passed: bool,
    /// Head and tail of its output.
    pub output: String,
}

/// What is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The spec.
    pub spec: SpecName,
    /// The task.
    pub task: TaskId,
    /// The task's title.
    pub title: String,
    /// The task's text.
    pub text: String,
    /// What the spirit calls its work: the subject of the commit.
    pub commit_title: String,
    /// Who made it.
    pub instance: String,
    /// Its role.
    pub role: Role,
    /// Which attempt.
    pub attempt: u32,
    /// Files, sorted by path.
    pub files: Vec<ChangedFile>,
    /// Gate results.
    pub checks: Vec<Check>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, message: String) -> Finding {
        Finding { rule: "r".to_owned(), severity, file: None, line: None, message }
    }

    #[test]
    fn few_findings_stay_as_they_are_gravest_first() {
        let of = |severity| finding(severity, "m".to_owned());
        let found = bounded(vec![of(Severity::Note), of(Severity::Block), of(Severity::Warn)]);
        assert_eq!(found, vec![of(Severity::Block), of(Severity::Warn), of(Severity::Note)]);
    }

    #[test]
    fn a_flood_of_findings_is_bounded_and_still_blocks() {
        // The worst text there is: every byte becomes six in JSON.
        let flood = |count, severity| vec![finding(severity, "\u{1}".repeat(70_000)); count];
        for (findings, last) in [
            (flood(2_000, Severity::Block), Severity::Block),
            ([flood(3, Severity::Block), flood(2_000, Severity::Warn)].concat(), Severity::Warn),
        ] {
            let blocks = findings.iter().any(|finding| finding.severity == Severity::Block);
            let found = bounded(findings);
            assert!(found.len() <= MAX_FINDINGS + 1);
            assert!(serde_json::to_vec(&found).unwrap().len() < 1_000_000);
            let more = found.last().unwrap();
            assert_eq!((more.rule.as_str(), more.severity), (MORE_FINDINGS, last), "{}", more.message);
            assert_eq!(found[0].severity == Severity::Block, blocks);
        }
    }
}
