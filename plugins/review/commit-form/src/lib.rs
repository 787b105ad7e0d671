//! Judges how the work is named: the title that the host puts into `spirit(<scope>): <title> [Task <id>]`, and
//! the spec, number and instance of which it makes the branch `feature/task-<spec>-<number>-<slug>` or
//! `<role>/spirit-<instance>/<spec>-<number>-<slug>`.
#![forbid(unsafe_code)]

use necro_sdk::review::{Change, Finding, HeuristicInfo, Severity, finding, rule};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

const EMPTY: &str = "commit-form/empty";
const TOO_LONG: &str = "commit-form/too-long";
const LINES: &str = "commit-form/lines";
const FRAME: &str = "commit-form/frame";
const NOTHING: &str = "commit-form/says-nothing";
const PERIOD: &str = "commit-form/period";
const BRANCH: &str = "commit-form/branch";

/// Words of titles that say nothing when they stand alone, with or without what [`FILLERS`] adds.
const NOTHING_WORDS: &[&str] = &[
    "wip",
    "work in progress",
    "update",
    "change",
    "fix",
    "bug fix",
    "fix bug",
    "edit",
    "commit",
    "stuff",
    "misc",
    "cleanup",
    "refactor",
    "done",
    "finish",
    "finished",
    "implement",
    "test",
    "temp",
    "tmp",
    "更新",
    "修正",
    "変更",
    "作業中",
    "対応",
    "完了",
];
/// Words that add nothing to those.
const FILLERS: &[&str] = &[
    "the",
    "a",
    "an",
    "some",
    "minor",
    "small",
    "various",
    "more",
    "code",
    "file",
    "files",
    "it",
    "things",
    "task",
    "changes",
    "updates",
    "fixes",
    "bugs",
    "bug",
    "work",
    "issue",
    "this",
    "do",
    "complete",
    "completed",
];
/// Beginnings of titles that are notes to a tool or to oneself.
const NOTE_PREFIXES: &[&str] = &["wip:", "wip ", "[wip]", "fixup!", "squash!", "amend!", "tmp:", "xxx"];

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Characters of a title; the host cuts the whole subject at 100.
    max_chars: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_chars: 72 }
    }
}

/// The heuristic.
#[derive(Debug)]
pub struct CommitForm;

impl ReviewHeuristic for CommitForm {
    fn describe() -> HeuristicInfo {
        let rules = vec![
            rule(EMPTY, Severity::Warn, "the title has no visible character"),
            rule(TOO_LONG, Severity::Note, "the title is long and may be cut off"),
            rule(LINES, Severity::Warn, "the title has several lines"),
            rule(FRAME, Severity::Warn, "the title repeats what the host puts around it"),
            rule(NOTHING, Severity::Warn, "the title does not say what was done"),
            rule(PERIOD, Severity::Note, "the title ends like a sentence"),
            rule(BRANCH, Severity::Warn, "spec, number or instance make no proper branch"),
        ];
        HeuristicInfo { name: "commit-form".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        Ok(title(&change.commit_title, options.max_chars).into_iter().chain(branch(change)).collect())
    }
}

/// What is wrong with a title; what makes the other questions pointless comes alone.
fn title(title: &str, max_chars: usize) -> Vec<Finding> {
    let text = title.trim();
    let mut found = Vec::new();
    let mut add = |rule, severity, message: &str| found.push(finding(rule, severity, None, None, message));
    if !text.chars().any(char::is_alphanumeric) {
        add(EMPTY, Severity::Warn, "the title of the work is empty: say in a few words what was done");
        return found;
    }
    if text.contains(['\n', '\r', '\u{2028}', '\u{2029}']) {
        add(
            LINES,
            Severity::Warn,
            "the title has several lines: one line is the title, the rest belongs in the summary",
        );
    }
    if has_frame(text) {
        add(
            FRAME,
            Severity::Warn,
            "the title brings `spirit(…):`, a type as `feat:`, or `[Task …]` along: the host puts the frame around it",
        );
    }
    if says_nothing(text) {
        add(NOTHING, Severity::Warn, "the title does not say what was done: name the thing that is different now");
    }
    if text.ends_with(['.', '。', '．']) && !text.ends_with("..") {
        add(PERIOD, Severity::Note, "the title ends in a full stop: a title is no sentence");
    }
    let chars = text.lines().next().unwrap_or_default().chars().count();
    if chars > max_chars {
        let message = format!("the title has {chars} characters, more than {max_chars}: the history may cut it off");
        add(TOO_LONG, Severity::Note, &message);
    }
    found
}

/// The host's frame, or that of another convention.
fn has_frame(title: &str) -> bool {
    let lower = title.to_lowercase();
    let tagged = lower.contains("[task ") && lower.trim_end().ends_with(']');
    let types = ["spirit", "feat", "fix", "chore", "docs", "refactor", "test", "style", "perf", "build", "ci"];
    let typed = lower.split_once(':').is_some_and(|(head, _)| {
        let name = head.split('(').next().unwrap_or(head).trim_end_matches('!');
        let is_bare = name == head || head.ends_with(')') || head.ends_with('!');
        is_bare && types.contains(&name)
    });
    tagged || typed
}

/// Whether nothing is left of a title without the words that fit any change.
fn says_nothing(title: &str) -> bool {
    let lower = title.to_lowercase();
    if NOTE_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return true;
    }
    let plain: String = lower.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    if NOTHING_WORDS.contains(&words.join(" ").as_str()) {
        return true;
    }
    let is_empty_word = |word: &str| {
        FILLERS.contains(&word) || NOTHING_WORDS.contains(&word) || word.chars().all(|c| c.is_ascii_digit())
    };
    words.iter().all(|word| is_empty_word(word))
}

/// What of the change's names would make a branch that cannot be read back.
fn branch(change: &Change) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |message: String| found.push(finding(BRANCH, Severity::Warn, None, None, message));
    let spec = change.spec.as_str();
    let refused = spec.contains(|c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\/@".contains(c));
    if spec.is_empty()
        || refused
        || spec.contains("..")
        || spec.starts_with(['.', '-'])
        || spec.ends_with(['.', '-'])
        || spec.to_lowercase().ends_with(".lock")
    {
        add(format!("the spec's name `{spec}` cannot stand in a branch `feature/task-<spec>-<number>-<slug>`"));
    }
    let is_number = |part: &str| {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_lowercase());
        !digits.is_empty() && part.len() - digits.len() <= 1 && digits.chars().all(|c| c.is_ascii_digit())
    };
    if !change.task.split('.').all(is_number) {
        add(format!("the task's number `{}` is none that can be read back from a branch", change.task));
    }
    let instance = change.instance.rsplit_once("_spirit_");
    let is_instance = instance.is_some_and(|(role, number)| role == change.role && number.parse::<u64>().is_ok());
    if !is_instance {
        add(format!(
            "the spirit `{}` is no instance of the role `{}`: a branch `<role>/spirit-<instance>/…` needs both",
            change.instance, change.role
        ));
    }
    found
}

necro_sdk::export_review!(CommitForm);

#[cfg(test)]
mod tests;
