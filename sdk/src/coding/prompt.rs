//! The first two messages: instructions by role, kind of work and language, and the assignment in a
//! fixed order, what changes most between attempts last. The texts stand in files of their own.

use std::fmt::Write as _;

use super::bounds::{MAX_FILES_CHARS, MAX_SECTION_CHARS, head_and_tail};
use crate::spirit::{Assignment, Budget, Document, WorkKind};

/// Instructions of a role in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    /// English.
    pub en: &'static str,
    /// Japanese.
    pub ja: &'static str,
}

impl Prompt {
    /// The text for a job's language; other languages than Japanese get English.
    #[must_use]
    pub fn text(&self, language: &str) -> &'static str {
        if is_japanese(language) { self.ja } else { self.en }
    }
}

/// How to use the tools: for every kind of work.
const TOOLS: Prompt = Prompt { en: include_str!("prompts/tools.en.md"), ja: include_str!("prompts/tools.ja.md") };
/// How to change a repository: for tasks.
const IMPLEMENT: Prompt =
    Prompt { en: include_str!("prompts/implement.en.md"), ja: include_str!("prompts/implement.ja.md") };

fn is_japanese(language: &str) -> bool {
    language == "ja" || language.starts_with("ja-")
}

/// The system message.
pub fn system(prompt: &Prompt, assignment: &Assignment) -> String {
    let language = &assignment.language;
    let mut parts = vec![prompt.text(language).trim()];
    if assignment.kind == WorkKind::Implement {
        parts.push(IMPLEMENT.text(language).trim());
    }
    parts.push(TOOLS.text(language).trim());
    parts.join("\n\n")
}

/// Headings and phrases of the assignment in one language.
struct Words {
    task: &'static str,
    spec: &'static str,
    you: &'static str,
    text: &'static str,
    job: &'static str,
    criteria: &'static str,
    documents: &'static str,
    steering: &'static str,
    dependencies: &'static str,
    files: &'static str,
    commands: &'static str,
    last_failure: &'static str,
    budget: &'static str,
    attempt: &'static str,
}

const ENGLISH: Words = Words {
    task: "Task",
    spec: "Spec",
    you: "You are",
    text: "What to do",
    job: "The job",
    criteria: "Acceptance criteria",
    documents: "Documents of the spec",
    steering: "Rules of this project",
    dependencies: "Finished tasks that this one builds on",
    files: "Files",
    commands: "Commands that you may run",
    last_failure: "What the last attempt failed on: mend this first",
    budget: "Budget left",
    attempt: "Attempt",
};

const JAPANESE: Words = Words {
    task: "タスク",
    spec: "スペック",
    you: "あなたの名前",
    text: "やること",
    job: "依頼",
    criteria: "受け入れ基準",
    documents: "スペックの文書",
    steering: "このプロジェクトの規則",
    dependencies: "このタスクの前提となる完了済みタスク",
    files: "ファイル",
    commands: "実行できるコマンド",
    last_failure: "前回の試行が失敗した理由（最初に直すこと）",
    budget: "残りの予算",
    attempt: "試行",
};

/// The assignment as the first user message. Sections without content are left out.
pub fn assignment(a: &Assignment) -> String {
    let words = if is_japanese(&a.language) { &JAPANESE } else { &ENGLISH };
    let mut text = match a.kind {
        WorkKind::Implement => format!("# {} {}: {}\n", words.task, a.task, a.title),
        WorkKind::Specify | WorkKind::Plan => format!("# {}\n", a.title),
    };
    let _ = write!(text, "\n{}: `{}` (`.kiro/specs/{}/`)\n", words.spec, a.spec, a.spec);
    if !a.envelope.agent_instance.is_empty() {
        let _ = writeln!(text, "{}: `{}`", words.you, a.envelope.agent_instance);
    }
    let what = if a.kind == WorkKind::Implement { words.text } else { words.job };
    section(&mut text, what, &a.text);
    let criteria: Vec<String> = a.acceptance_criteria.iter().map(|c| format!("- {} {}", c.id, c.text)).collect();
    section(&mut text, words.criteria, &criteria.join("\n"));
    section(&mut text, words.documents, &documents(&a.documents));
    section(&mut text, words.steering, &documents(&a.steering));
    section(&mut text, words.dependencies, &reports(a, words));
    let commands: Vec<String> = a.commands.iter().map(|c| format!("- `{}`: {}", c.name, c.description)).collect();
    section(&mut text, words.commands, &commands.join("\n"));
    let failure = a.last_failure.as_deref().unwrap_or_default();
    section(&mut text, words.last_failure, &head_and_tail(failure, MAX_SECTION_CHARS));
    section(&mut text, words.budget, &budget(&a.budget_left));
    section(&mut text, words.attempt, &format!("{} / {}", a.attempt, a.max_attempts));
    text
}

fn section(text: &mut String, heading: &str, content: &str) {
    if !content.trim().is_empty() {
        let _ = write!(text, "\n## {heading}\n{}\n", content.trim());
    }
}

/// Documents have headings of their own, so tags rather than headings show where they end.
fn documents(documents: &[Document]) -> String {
    let tagged: Vec<String> = documents
        .iter()
        .map(|d| {
            let text = head_and_tail(d.text.trim(), MAX_SECTION_CHARS);
            format!("<document name=\"{}\">\n{text}\n</document>", d.name)
        })
        .collect();
    tagged.join("\n")
}

fn reports(a: &Assignment, words: &Words) -> String {
    let mut text = String::new();
    for report in &a.dependency_reports {
        let summary = head_and_tail(report.summary.trim(), MAX_SECTION_CHARS);
        let _ = writeln!(text, "### {} {}\n{summary}", report.task, report.title);
        if !report.files.is_empty() {
            let _ = writeln!(text, "{}: {}", words.files, head_and_tail(&report.files.join(", "), MAX_FILES_CHARS));
        }
    }
    text
}

fn budget(left: &Budget) -> String {
    let mut parts = Vec::new();
    if let Some(tokens) = left.tokens {
        parts.push(format!("{tokens} tokens"));
    }
    if let Some(cost) = left.cost_microusd {
        parts.push(format!("{}.{:06} USD", cost / 1_000_000, cost % 1_000_000));
    }
    if let Some(calls) = left.calls {
        parts.push(format!("{calls} model calls"));
    }
    parts.join(", ")
}
