//! Checks of what spirits write and of what people bring.

use super::*;

const REQUIREMENTS: &str = "\
# Requirements Document

## Requirements

### Requirement 1: Log in

**User Story:** As a user, I want to log in, so that I am known.

#### Acceptance Criteria

1. WHEN a name is given, THE SYSTEM SHALL check it
2. IF it is unknown, THEN THE SYSTEM SHALL say so
";

const TASKS: &str = "\
# Implementation Plan: Log in

## Tasks

- [ ] 1. Check the name
  - _Depends: none_
  - _Skill: backend_
  - _Requirements: 1.1, 1.2_
";

const ROLES: &[&str] = &["backend", "qa"];

fn codes(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().map(|d| d.code.as_str()).collect()
}

#[test]
fn good_documents_have_no_findings() {
    let rules = Rules::own(Some(ROLES));
    assert_eq!(check_requirements(REQUIREMENTS, rules), []);
    let requirements = Requirements::read(REQUIREMENTS.as_bytes());
    assert_eq!(check_tasks(TASKS, Some(&requirements), rules), []);
    let design = "# Design\n## Overview\n## Architecture\n## Components and Interfaces\n## Data Models\n## Error handling\n## Testing Strategy\n";
    assert_eq!(check_design(design, rules), []);
    let bugfix = "# D\n## Overview\n## Bug Details\n## Expected Behavior\n## Hypothesized Root Cause\n## Fix Implementation\n## Testing Strategy\n";
    assert_eq!(check_design(bugfix, rules), []);
}

#[test]
fn japanese_documents_pass_as_well() {
    let text = "# 要件定義書\n\n### 要件 1: 認証\n\n**ユーザーストーリー:** 利用者として、ログインしたい。\n\n#### 受け入れ基準\n\n1. 名前が与えられたとき、システムはそれを検査しなければならない。\n2. WHEN 名前が不明 THEN システム SHALL それを伝える\n";
    assert_eq!(check_requirements(text, Rules::own(None)), []);
}

#[test]
fn broken_requirements_are_errors_in_own_documents_only() {
    for (text, code, own, foreign) in [
        (
            "## Requirements\n### Requirement 1: T\n**User Story:** x\n#### Acceptance Criteria\n1. THE SYSTEM SHALL x\n",
            "requirements/title",
            Severity::Error,
            Some(Severity::Note),
        ),
        ("# R\ntext\n", "requirements/none", Severity::Error, Some(Severity::Warning)),
        (
            "# R\n### Requirement 1\n**User Story:** x\n#### Acceptance Criteria\n1. THE SYSTEM SHALL x\n",
            "requirements/requirement-title",
            Severity::Error,
            Some(Severity::Note),
        ),
        (
            "# R\n### Requirement 1: T\n**User Story:** x\n",
            "requirements/no-criteria",
            Severity::Error,
            Some(Severity::Warning),
        ),
        (
            "# R\n### Requirement 1: T\n#### Acceptance Criteria\n1. THE SYSTEM SHALL x\n",
            "requirements/user-story",
            Severity::Warning,
            None,
        ),
        (
            "# R\n### Requirement 1: T\n**User Story:** x\n#### Acceptance Criteria\n1. It is fast\n",
            "requirements/shall",
            Severity::Error,
            Some(Severity::Note),
        ),
        (
            "# R\n### Requirement 1: T\n**User Story:** x\n#### Acceptance Criteria\n1. Servers SHALL be fast\n",
            "requirements/ears",
            Severity::Warning,
            None,
        ),
    ] {
        let found = check_requirements(text, Rules::own(None));
        assert_eq!(codes(&found), [code], "{text}");
        assert_eq!(found[0].severity, own, "{code}");
        let found = check_requirements(text, Rules::foreign());
        assert_eq!(found.first().map(|d| d.severity), foreign, "{code}");
    }
}

#[test]
fn the_current_behaviour_of_a_bug_need_not_oblige() {
    let text = "# Bugfix Requirements Document\n## Bug Analysis\n### Current Behavior (Defect)\n1.1 WHEN x THEN y\n### Expected Behavior (Correct)\n2.1 WHEN x THEN it SHALL z\n";
    assert_eq!(check_requirements(text, Rules::own(None)), []);
}

#[test]
fn broken_tasks_are_found_with_their_line() {
    let requirements = Requirements::read(REQUIREMENTS.as_bytes());
    for (text, code, line) in [
        (TASKS.replace("# Implementation Plan: Log in\n", "\n"), "tasks/title", 1),
        (TASKS.replace("backend", "wizard"), "tasks/unknown-skill", 7),
        (TASKS.replace("1.1, 1.2", "1.1, 9.9"), "tasks/unknown-requirement", 8),
        (TASKS.replace("1.1, 1.2", "1.1, Setup"), "tasks/unreadable-requirement", 8),
        (TASKS.replace("none", "4"), "tasks/unknown-dependency", 6),
        (TASKS.replace("[ ]", "[?]"), "tasks/malformed-checkbox", 5),
    ] {
        let found = check_tasks(&text, Some(&requirements), Rules::own(Some(ROLES)));
        assert_eq!(codes(&found), [code], "{text}");
        assert_eq!((found[0].line, found[0].severity), (line, Severity::Error), "{code}");
    }
    let none = check_tasks("# P\n## Tasks\n", Some(&requirements), Rules::own(None));
    assert_eq!(codes(&none), ["tasks/none", "tasks/uncovered-requirement"]);
}

#[test]
fn a_requirement_that_no_task_names_is_a_warning() {
    let requirements = Requirements::read(REQUIREMENTS.as_bytes());
    let found =
        check_tasks(&TASKS.replace("  - _Requirements: 1.1, 1.2_\n", ""), Some(&requirements), Rules::own(None));
    assert_eq!(codes(&found), ["tasks/uncovered-requirement"]);
}

#[test]
fn foreign_designs_are_never_errors() {
    assert!(check_design("hello", Rules::foreign()).iter().all(|d| !d.is_error()));
    assert!(check_design("hello", Rules::own(None)).iter().any(Diagnostic::is_error));
}
