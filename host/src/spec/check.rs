//! Checks the three documents of a spec: strictly what a spirit wrote for us, leniently what people
//! bring along.

use super::design;
use super::diagnostic::{Collector, Diagnostic, Severity};
use super::order::plan_file;
use super::refs::{self, RequirementRef};
use super::requirements::{Requirement, Requirements, obliges};
use super::tasks::TaskFile;

/// How a document is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules<'a> {
    /// For documents that were made here: whatever would mislead a later step is an error. Otherwise
    /// only what cannot be run is.
    pub strict: bool,
    /// Roles that `_Skill:_` may name; `None`: any.
    pub roles: Option<&'a [&'a str]>,
}

impl<'a> Rules<'a> {
    /// For documents that a spirit of this run wrote.
    #[must_use]
    pub const fn own(roles: Option<&'a [&'a str]>) -> Self {
        Self { strict: true, roles }
    }

    /// For documents that were there before.
    #[must_use]
    pub const fn foreign() -> Self {
        Self { strict: false, roles: None }
    }

    /// One severity for own documents, another for foreign ones.
    const fn severity(self, own: Severity, foreign: Severity) -> Severity {
        if self.strict { own } else { foreign }
    }
}

/// Checks a requirements.md or bugfix.md.
#[must_use]
pub fn check_requirements(text: &str, rules: Rules<'_>) -> Vec<Diagnostic> {
    check_read_requirements(&Requirements::read(text.as_bytes()), rules)
}

/// Checks requirements that were read already.
#[must_use]
pub fn check_read_requirements(file: &Requirements, rules: Rules<'_>) -> Vec<Diagnostic> {
    use Severity::{Error, Note, Warning};
    let mut found = Collector::default();
    found.extend(file.diagnostics.iter().cloned());
    let headings = &file.headings;
    if !headings.iter().any(|(level, ..)| *level == 1) {
        let message = "the document has no title; begin with `# Requirements Document`";
        found.add(rules.severity(Error, Note), 1, "requirements/title", message);
    }
    if file.items.is_empty() && file.diagnostics.iter().all(|d| d.code != "file/too-large") {
        let message = "no requirement was found; write `### Requirement 1: Title`, then `#### Acceptance Criteria` and a numbered list";
        found.add(rules.severity(Error, Warning), 1, "requirements/none", message);
    }
    for item in &file.items {
        requirement(item, file.bugfix, rules, &mut found);
    }
    found.finish()
}

fn requirement(item: &Requirement, bugfix: bool, rules: Rules<'_>, found: &mut Collector) {
    use Severity::{Error, Note, Warning};
    let id = &item.id;
    if item.title.is_empty() {
        let message = format!("requirement {id} has no title; write `### Requirement {id}: Title`");
        found.add(rules.severity(Error, Note), item.line, "requirements/requirement-title", message);
    }
    if item.criteria.is_empty() {
        let message = format!(
            "requirement {id} has no acceptance criteria; write `#### Acceptance Criteria` and a list `1. WHEN … THE SYSTEM SHALL …`"
        );
        found.add(rules.severity(Error, Warning), item.line, "requirements/no-criteria", message);
    }
    if rules.strict && !item.story && !bugfix {
        let message = format!("requirement {id} has no `**User Story:**` line that says who wants it and why");
        found.warning(item.line, "requirements/user-story", message);
    }
    // Section 1 of a bug report says what happens, not what shall.
    if bugfix && id == "1" {
        return;
    }
    for criterion in &item.criteria {
        if !obliges(&criterion.text) {
            let message =
                format!("criterion {} does not say what the system SHALL do: `{:.80}`", criterion.id, criterion.text);
            found.add(rules.severity(Error, Note), criterion.line, "requirements/shall", message);
        } else if rules.strict && criterion.text.is_ascii() && !is_ears(&criterion.text) {
            let message = format!(
                "criterion {} follows no EARS form; begin with WHEN, WHILE, WHERE, IF or THE: `{:.80}`",
                criterion.id, criterion.text
            );
            found.warning(criterion.line, "requirements/ears", message);
        }
    }
}

fn is_ears(text: &str) -> bool {
    let first = text.trim_start_matches(['*', '_', ' ']).split([' ', '*', ',', '_']).next().unwrap_or("");
    matches!(first.to_ascii_uppercase().as_str(), "WHEN" | "WHILE" | "WHERE" | "IF" | "THE" | "FOR")
}

/// Sections of a design with their Japanese names.
const DESIGN: &[&[&str]] = &[
    &["Overview", "概要"],
    &["Architecture", "アーキテクチャ", "構成"],
    &[
        "Components and Interfaces",
        "コンポーネントとインターフェース",
        "コンポーネントとインタフェース",
        "コンポーネント",
    ],
    &["Data Models", "データモデル"],
    &["Error Handling", "エラー処理", "エラーハンドリング"],
    &["Testing Strategy", "テスト戦略", "テスト方針"],
];

const BUGFIX_DESIGN: &[&[&str]] = &[
    &["Overview", "概要"],
    &["Bug Details", "不具合の詳細"],
    &["Expected Behavior", "期待される動作"],
    &["Hypothesized Root Cause", "原因の仮説"],
    &["Fix Implementation", "修正の実装"],
    &["Testing Strategy", "テスト戦略", "テスト方針"],
];

/// Checks a design.md.
#[must_use]
pub fn check_design(text: &str, rules: Rules<'_>) -> Vec<Diagnostic> {
    use Severity::{Error, Note, Warning};
    let mut found = Collector::default();
    match super::line::Document::new(text.as_bytes()) {
        Ok(document) => found.extend(document.findings()),
        Err(refused) => return vec![refused],
    }
    let sections = design::sections(text);
    if !sections.iter().any(|s| s.level == 1) {
        found.add(
            rules.severity(Error, Note),
            1,
            "design/title",
            "the document has no title; begin with `# Design Document`",
        );
    }
    if sections.iter().all(|s| s.level < 2) {
        let message = "the design has no section; write at least `## Overview` and `## Architecture`";
        found.add(rules.severity(Error, Warning), 1, "design/empty", message);
        return found.finish();
    }
    let has = |names: &[&str]| sections.iter().any(|s| names.iter().any(|name| s.title.eq_ignore_ascii_case(name)));
    let bugfix = has(&["Bug Details"]) || has(&["Hypothesized Root Cause"]);
    for names in if bugfix { BUGFIX_DESIGN } else { DESIGN } {
        if !has(names) {
            let message = format!("the design has no section `## {}`", names[0]);
            found.add(rules.severity(Warning, Note), 1, "design/section", message);
        }
    }
    found.finish()
}

/// Checks a tasks.md; with `requirements`, whether it keeps to them.
#[must_use]
pub fn check_tasks(text: &str, requirements: Option<&Requirements>, rules: Rules<'_>) -> Vec<Diagnostic> {
    check_read_tasks(&TaskFile::read(text.as_bytes()), requirements, rules)
}

/// Checks tasks that were read already.
#[must_use]
pub fn check_read_tasks(file: &TaskFile, requirements: Option<&Requirements>, rules: Rules<'_>) -> Vec<Diagnostic> {
    let mut found = Collector::default();
    for d in plan_file(file).diagnostics {
        let severity = if rules.strict { own_severity(&d) } else { d.severity };
        found.add(severity, d.line, &d.code, d.message);
    }
    if rules.strict && file.title().is_none() {
        found.error(1, "tasks/title", "the document has no title; begin with `# Implementation Plan: …`");
    }
    if let Some(roles) = rules.roles {
        skills(file, roles, rules, &mut found);
    }
    if let Some(requirements) = requirements {
        references(file, requirements, rules, &mut found);
        if rules.strict {
            coverage(file, requirements, &mut found);
        }
    }
    found.finish()
}

/// What is only odd in a foreign file is an error in one that was written for this host.
fn own_severity(d: &Diagnostic) -> Severity {
    match d.code.as_str() {
        "tasks/malformed-checkbox"
        | "tasks/bullet"
        | "tasks/task-heading"
        | "tasks/no-title"
        | "tasks/graph-json"
        | "tasks/graph-unknown-task"
        | "tasks/spec-kit"
        | "tasks/depends-on-optional"
        | "tasks/depends-on-parent"
        | "file/unclosed-fence" => Severity::Error,
        "tasks/unnumbered" | "tasks/number-dot" => Severity::Warning,
        _ => d.severity,
    }
}

fn skills(file: &TaskFile, roles: &[&str], rules: Rules<'_>, found: &mut Collector) {
    for item in &file.items {
        let Some(role) = item.fields.role().filter(|role| !roles.contains(&role.as_str())) else { continue };
        let line = item.fields.skill.as_ref().map_or(item.line, |field| field.line);
        let message = format!("task {} names the role `{role:.40}`; there are: {}", item.id, roles.join(", "));
        found.add(rules.severity(Severity::Error, Severity::Warning), line, "tasks/unknown-skill", message);
    }
}

fn references(file: &TaskFile, requirements: &Requirements, rules: Rules<'_>, found: &mut Collector) {
    for item in &file.items {
        for field in &item.fields.requirements {
            let tokens = refs::requirement_tokens(&field.value);
            for unknown in requirements.resolve(&tokens).unknown {
                let readable = refs::requirement_ref(&unknown) != RequirementRef::Unreadable;
                let (code, message) = if readable {
                    let message =
                        format!("task {} names requirement {unknown}, which requirements.md does not have", item.id);
                    ("tasks/unknown-requirement", message)
                } else {
                    (
                        "tasks/unreadable-requirement",
                        format!("task {}: `{unknown:.60}` is no requirement number", item.id),
                    )
                };
                let foreign = if readable { Severity::Warning } else { Severity::Note };
                found.add(rules.severity(Severity::Error, foreign), field.line, code, message);
            }
        }
    }
}

/// Requirements that no task names.
fn coverage(file: &TaskFile, requirements: &Requirements, found: &mut Collector) {
    let named: Vec<String> = file.items.iter().flat_map(|item| item.fields.requirement_refs()).collect();
    let resolved = requirements.resolve(&named).criteria;
    let covered: std::collections::HashSet<&str> = resolved.iter().map(|c| c.id.as_str()).collect();
    for item in &requirements.items {
        let missed = !item.criteria.is_empty() && item.criteria.iter().all(|c| !covered.contains(c.id.as_str()));
        if missed {
            let message = format!("no task names requirement {}: {:.80}", item.id, item.title);
            found.warning(1, "tasks/uncovered-requirement", message);
        }
    }
}

#[cfg(test)]
#[path = "check/tests.rs"]
mod tests;
