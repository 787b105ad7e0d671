//! What `spec check` says about one spec, for people and as JSON.

use serde::Serialize;

use super::check::{Rules, check_design, check_read_requirements, check_read_tasks};
use super::config::{CcSdd, KiroConfig};
use super::diagnostic::{Diagnostic, Severity};
use super::folder::SpecFiles;
use super::order::{Mode, plan_file};
use super::requirements::Requirements;
use super::tasks::{BoxCounts, BoxState, TaskFile};

/// One task of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskReport {
    /// Its number.
    pub number: String,
    /// One line.
    pub title: String,
    /// What its box says.
    pub state: BoxState,
    /// Starred, or below a parent that is.
    pub optional: bool,
    /// Only groups its children.
    pub container: bool,
    /// What it waits for.
    pub depends: Vec<String>,
    /// Role.
    pub skill: Option<String>,
    /// References to requirements.
    pub requirements: Vec<String>,
    /// The task it is a part of.
    pub parent: Option<String>,
    /// Line, from 1.
    pub line: u32,
}

/// A finding and the file it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiagnostic {
    /// Name of the file in the spec's folder.
    pub file: String,
    /// The finding.
    #[serde(flatten)]
    pub diagnostic: Diagnostic,
}

/// What `spec check --json` prints for a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpecReport {
    /// Name of the spec's folder.
    pub spec: String,
    /// What Kiro's `.config.kiro` says, when it is there and can be used.
    pub config: Option<KiroConfig>,
    /// What cc-sdd's `spec.json` says, when it is there and can be used.
    pub cc_sdd: Option<CcSdd>,
    /// Where the order of the tasks comes from.
    pub mode: Mode,
    /// Tasks in file order; of duplicates only the first.
    pub tasks: Vec<TaskReport>,
    /// Check boxes of tasks.md, numbered or not.
    pub boxes: BoxCounts,
    /// By file and line.
    pub diagnostics: Vec<FileDiagnostic>,
}

impl SpecReport {
    /// Whether something must be mended before the spec is run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.diagnostic.is_error())
    }

    /// How many findings there are of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.diagnostic.severity == severity).count()
    }
}

/// Checks all files of a spec.
#[must_use]
pub fn report(files: &SpecFiles, rules: Rules<'_>) -> SpecReport {
    let mut diagnostics = Vec::new();
    let mut add = |file: &str, found: Vec<Diagnostic>| {
        diagnostics.extend(found.into_iter().map(|diagnostic| FileDiagnostic { file: file.to_owned(), diagnostic }));
    };
    let requirements = files.requirements.as_ref().map(|file| Requirements::read(&file.bytes));
    if let (Some(file), Some(read)) = (&files.requirements, &requirements) {
        add(&file.name, check_read_requirements(read, rules));
    }
    if let Some(file) = &files.design {
        add(&file.name, check_design(&String::from_utf8_lossy(&file.bytes), rules));
    }
    let read = files.tasks.as_ref().map(|file| TaskFile::read(&file.bytes)).unwrap_or_default();
    if let Some(file) = &files.tasks {
        add(&file.name, check_read_tasks(&read, requirements.as_ref(), rules));
    } else {
        let message = "the spec has no tasks.md";
        add("tasks.md", vec![Diagnostic::new(Severity::Error, 1, "tasks/missing", message)]);
    }
    for (name, found) in &files.settings {
        add(name, vec![found.clone()]);
    }
    let plan = plan_file(&read);
    let lines = read.items.iter().filter(|item| !item.duplicate);
    let tasks = plan.tasks.iter().zip(lines).map(|(task, item)| TaskReport {
        number: task.id.to_string(),
        title: task.title.clone(),
        state: item.state,
        optional: task.optional,
        container: task.container,
        depends: task.depends.iter().map(ToString::to_string).collect(),
        skill: task.skill.clone(),
        requirements: task.requirements.clone(),
        parent: task.parent.as_ref().map(ToString::to_string),
        line: item.line,
    });
    SpecReport {
        spec: files.name.clone(),
        config: files.config.clone(),
        cc_sdd: files.cc_sdd.clone(),
        mode: plan.mode,
        tasks: tasks.collect(),
        boxes: read.boxes,
        diagnostics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_file_line_and_mode() {
        let files = SpecFiles::read("shop", |path| match path {
            ".kiro/specs/shop/tasks.md" => Some(b"# P\n- [-] 1. a\n  - _Depends: 9_\n  - _Requirements: 4_\n".to_vec()),
            ".kiro/specs/shop/requirements.md" => {
                Some(b"# R\n### Requirement 1: T\n#### Acceptance Criteria\n1. THE SYSTEM SHALL x\n".to_vec())
            }
            _ => None,
        });
        let report = report(&files, Rules::foreign());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["mode"], "depends");
        assert_eq!(json["tasks"][0]["number"], "1");
        assert_eq!(json["tasks"][0]["state"], "in-progress");
        let found: Vec<(&str, u32, &str)> = report
            .diagnostics
            .iter()
            .map(|d| (d.file.as_str(), d.diagnostic.line, d.diagnostic.code.as_str()))
            .collect();
        assert_eq!(found, [("tasks.md", 3, "tasks/unknown-dependency"), ("tasks.md", 4, "tasks/unknown-requirement")]);
        assert!(report.has_errors());
    }

    #[test]
    fn what_stands_beside_the_documents_is_reported_with_them() {
        let files = SpecFiles::read("shop", |path| match path {
            ".kiro/specs/shop/tasks.md" => Some(b"# P\n- [ ] 1. a\n".to_vec()),
            ".kiro/specs/shop/.config.kiro" => Some(b"{".to_vec()),
            ".kiro/specs/shop/spec.json" => Some(br#"{"phase":"p","approvals":{"tasks":{"approved":false}}}"#.to_vec()),
            _ => None,
        });
        let report = report(&files, Rules::foreign());
        let found: Vec<(&str, &str)> =
            report.diagnostics.iter().map(|d| (d.file.as_str(), d.diagnostic.code.as_str())).collect();
        assert_eq!(found, [(".config.kiro", "config/json"), ("spec.json", "config/not-approved")]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["config"], &json["cc_sdd"]["phase"]), (&serde_json::Value::Null, &"p".into()));
        assert_eq!(json["cc_sdd"]["approved"]["tasks"], false);
        assert!(!report.has_errors());
    }
}
