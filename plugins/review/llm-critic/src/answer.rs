//! Reading the model's answer strictly: what does not have the form is no finding.

use necro_sdk::review::{Change, FileChange, Finding, Grade, Severity, finding};
use serde::Deserialize;

/// Characters of a message; a longer one is cut.
const MAX_MESSAGE_CHARS: usize = 600;

/// Kinds of findings: the word of the answer, the rule, and what it is.
pub(crate) const CATEGORIES: &[(&str, &str, &str)] = &[
    ("bug", "llm-critic/bug", "a model sees a mistake"),
    ("security", "llm-critic/security", "a model sees a hole"),
    ("task", "llm-critic/task", "a model misses a part of the task"),
    ("tests", "llm-critic/tests", "a model misses a test, or sees a wrong one"),
];

/// The form of the answer, for servers that keep models to one.
pub(crate) const SCHEMA: &str = r#"{"type":"object","additionalProperties":false,"required":["findings"],"properties":{"findings":{"type":"array","items":{"type":"object","additionalProperties":false,"required":["category","severity","file","line","message"],"properties":{"category":{"type":"string","enum":["bug","security","task","tests"]},"severity":{"type":"string","enum":["note","warn","block"]},"file":{"type":["string","null"]},"line":{"type":["integer","null"]},"message":{"type":"string"}}}}}}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    findings: Vec<Said>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    category: String,
    severity: Grade,
    file: Option<String>,
    line: Option<u32>,
    message: String,
}

/// The findings of an answer, the gravest first and none graver than `max_severity`.
///
/// An error says what is wrong with the answer, without repeating it.
pub(crate) fn findings(
    text: &str,
    change: &Change,
    max_severity: Grade,
    max_findings: usize,
) -> Result<Vec<Finding>, String> {
    let mut answer: Answer = serde_json::from_str(unfenced(text))
        .map_err(|e| format!("it is not the JSON that was asked for (line {}, column {})", e.line(), e.column()))?;
    answer.findings.sort_by_key(|said| std::cmp::Reverse(said.severity));
    answer.findings.truncate(max_findings);
    answer.findings.into_iter().map(|said| read(said, change, max_severity)).collect()
}

fn read(said: Said, change: &Change, max_severity: Grade) -> Result<Finding, String> {
    let category = CATEGORIES.iter().find(|(word, ..)| *word == said.category);
    let (_, rule, _) = category.ok_or("a category is none of those that were asked for")?;
    let message = one_line(&said.message);
    if message.is_empty() {
        return Err("a message is empty".to_owned());
    }
    let file = match said.file.as_deref().filter(|file| !file.is_empty()) {
        Some(path) => {
            let changed = change.files.iter().find(|file| file.path == path);
            Some(changed.ok_or("a finding is about a file that did not change")?)
        }
        None => None,
    };
    // A line that cannot be there is left out: the finding may be right all the same.
    let line = said.line.filter(|line| *line > 0 && file.is_some_and(|file| file.change != FileChange::Deleted));
    let severity = Severity::from(said.severity.min(max_severity));
    Ok(finding(rule, severity, file.map(|file| file.path.as_str()), line, message))
}

/// The text in a fence of Markdown, which models put around JSON.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("```") else { return text };
    let rest = rest.strip_prefix("json").unwrap_or(rest);
    rest.strip_suffix("```").unwrap_or(rest).trim()
}

fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.collect::<String>().trim().chars().take(MAX_MESSAGE_CHARS).collect()
}
