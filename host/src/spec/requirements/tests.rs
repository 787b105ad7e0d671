//! Shapes of requirements and the references to them.

use proptest::prelude::*;

use super::*;

fn ids(text: &str) -> Vec<(String, String)> {
    Requirements::read(text.as_bytes()).criteria().map(|c| (c.id.clone(), c.text.clone())).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

const KIRO: &str = "\
# Requirements Document

## Introduction

1. Not a criterion.

## Requirements

### Requirement 1: Log in

**User Story:** As a user, I want to log in, so that I am known.

#### Acceptance Criteria

1. WHEN a name is given THEN THE SYSTEM SHALL check it
   against the table.
2. IF it is unknown, THE SYSTEM SHALL say so:
   - in red
3. THE SYSTEM SHALL keep no password

### Requirement 4A: Log out

#### Acceptance Criteria

1. THE SYSTEM SHALL log out
";

#[test]
fn kiro_numbers_criteria_by_their_place() {
    let read = Requirements::read(KIRO.as_bytes());
    assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
    let heads: Vec<(&str, &str, bool)> =
        read.items.iter().map(|i| (i.id.as_str(), i.title.as_str(), i.story)).collect();
    assert_eq!(heads, [("1", "Log in", true), ("4A", "Log out", false)]);
    assert_eq!(
        ids(KIRO),
        pairs(&[
            ("1.1", "WHEN a name is given THEN THE SYSTEM SHALL check it against the table."),
            ("1.2", "IF it is unknown, THE SYSTEM SHALL say so: - in red"),
            ("1.3", "THE SYSTEM SHALL keep no password"),
            ("4A.1", "THE SYSTEM SHALL log out"),
        ])
    );
    assert_eq!(read.criteria().map(|c| c.line).collect::<Vec<_>>(), [15, 17, 19, 25]);
}

#[test]
fn written_numbers_are_kept() {
    for (text, expected) in [
        (
            "### 1. 検索\n**受け入れ条件:**\n- 1.1 X は Y しなければならない。\n- 1.2 Z\n\n**依存要件:** 1, 2。\n",
            vec![("1.1", "X は Y しなければならない。"), ("1.2", "Z")],
        ),
        (
            "## Bug Analysis\n### Current Behavior (Defect)\n\n1.1 WHEN x THEN y\n\n1.2 WHEN z\n### Expected Behavior (Correct)\n2.1 WHEN x THEN it SHALL y\n",
            vec![("1.1", "WHEN x THEN y"), ("1.2", "WHEN z"), ("2.1", "WHEN x THEN it SHALL y")],
        ),
        (
            "## 2. Functional\n### 2.1 Detection\n**FR-2.1.1**: Detect it\n- more\n\n**FR-2.1.2**: Analyse\n",
            vec![("FR-2.1.1", "Detect it - more"), ("FR-2.1.2", "Analyse")],
        ),
        ("### 需求 1：重试\n#### 验收标准\n1. WHEN a THEN b\n", vec![("1.1", "WHEN a THEN b")]),
        (
            "### Requirement 1\n#### 1.1 THE SYSTEM SHALL x\n#### 1.2 THE SYSTEM SHALL y\n",
            vec![("1.1", "THE SYSTEM SHALL x"), ("1.2", "THE SYSTEM SHALL y")],
        ),
        (
            "### Requirement 2: T\n1. WHEN a THE SYSTEM SHALL b\n2. THE SYSTEM SHALL c\n",
            vec![("2.1", "WHEN a THE SYSTEM SHALL b"), ("2.2", "THE SYSTEM SHALL c")],
        ),
        (
            "### Requirement 1: T\n#### Acceptance Criteria\n- THE SYSTEM SHALL a\n- THE SYSTEM SHALL b\n",
            vec![("1.1", "THE SYSTEM SHALL a"), ("1.2", "THE SYSTEM SHALL b")],
        ),
        (
            "### Requirement 1: T\n- Add a registry.\n- Keep the old one.\n### AC-4.1: U\n- [ ] a\n- [ ] b\n",
            vec![
                ("1.1", "Add a registry."),
                ("1.2", "Keep the old one."),
                ("AC-4.1.1", "[ ] a"),
                ("AC-4.1.2", "[ ] b"),
            ],
        ),
        ("### 要件 1\n#### 受け入れ基準\n1. X は Y する\n", vec![("1.1", "X は Y する")]),
        ("### Requirement 3\n### Acceptance Criteria\n1. a SHALL\n", vec![("3.1", "a SHALL")]),
        ("---\na: b\n---\n### Requirement 1: T\n**Acceptance Criteria:**\n1. a SHALL\n", vec![("1.1", "a SHALL")]),
        (
            "### Requirement 1: T\n**Objective:** As a x, I want y\n\n#### Acceptance Criteria\n1. a SHALL\n2. b SHALL\n",
            vec![("1.1", "a SHALL"), ("1.2", "b SHALL")],
        ),
        ("### FR-1: T\n- **FR-1.1** a SHALL\n", vec![("FR-1.1", "a SHALL")]),
        (
            "### Requirement 1: T\n#### Acceptance Criteria\n1.1 WHEN a\n1.2 WHEN b\n",
            vec![("1.1", "WHEN a"), ("1.2", "WHEN b")],
        ),
        (
            "# Bugfix Requirements Document\r\n## Bug Analysis\r\n### Unchanged Behavior (Regression Prevention)\r\n\
             3.1 x SHALL CONTINUE TO y\r\n",
            vec![("3.1", "x SHALL CONTINUE TO y")],
        ),
        ("## 3. Acceptance Criteria\n### 3.2 Root\n**AC 3.2.1**: Clean it\n", vec![("3.2.1", "Clean it")]),
    ] {
        assert_eq!(ids(text), pairs(&expected), "{text}");
    }
}

#[test]
fn headings_of_prose_are_no_requirements() {
    let text = "# R\n## 1. Overview\ntext\n1. first\n2. second\n### Requirement 1: T\n#### Acceptance Criteria\n1. x SHALL y\n## Notes\n1. z\n";
    let read = Requirements::read(text.as_bytes());
    assert_eq!(read.items.len(), 1);
    assert_eq!(read.items[0].criteria.len(), 1);
}

#[test]
fn references_become_sentences() {
    let read = Requirements::read(KIRO.as_bytes());
    for (references, expected, unknown) in [
        (vec!["1.2"], vec!["1.2"], 0),
        (vec!["1"], vec!["1.1", "1.2", "1.3"], 0),
        (vec!["1.2-1.3"], vec!["1.2", "1.3"], 0),
        (vec!["All"], vec!["1.1", "1.2", "1.3", "4A.1"], 0),
        (vec!["REQ-1"], vec!["1.1", "1.2", "1.3"], 0),
        (vec!["R1.3", "4a.1"], vec!["1.3", "4A.1"], 0),
        (vec!["N/A", "Property 3"], vec![], 0),
        (vec!["1.9", "Setup", "7-9"], vec![], 3),
        (vec!["1.1", "1.1-1.2"], vec!["1.1", "1.2"], 0),
    ] {
        let list: Vec<String> = references.iter().map(|r| (*r).to_owned()).collect();
        let resolved = read.resolve(&list);
        let found: Vec<&str> = resolved.criteria.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(found, expected, "{references:?}");
        assert_eq!(resolved.unknown.len(), unknown, "{references:?}");
    }
}

#[test]
fn a_number_that_stands_twice_is_reported() {
    let read = Requirements::read(b"### Requirement 1: T\n- 1.1 a SHALL\n- 1.1 b SHALL\n### Requirement 1: U\n");
    let codes: Vec<&str> = read.diagnostics.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(codes, ["requirements/duplicate-criterion", "requirements/duplicate-requirement"]);
}

#[test]
fn a_sentence_may_begin_below_its_number_and_a_number_alone_is_no_criterion() {
    let text = "### Requirement 1: T\n1.1\nWHEN a THE SYSTEM SHALL b\n\n1.2\n### Requirement 2: U\n2.1 c SHALL\n";
    assert_eq!(ids(text), pairs(&[("1.1", "WHEN a THE SYSTEM SHALL b"), ("2.1", "c SHALL")]));
    let read = Requirements::read(text.as_bytes());
    let found: Vec<(&str, u32)> = read.diagnostics.iter().map(|d| (d.code.as_str(), d.line)).collect();
    assert_eq!(found, [("requirements/empty-criterion", 5)]);
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(
        text in "(#{1,4} |Requirement |[0-9]{1,2}|\\.|: |\n|- |\\*\\*|FR-|WHEN |SHALL|Acceptance Criteria|[a-z日]|\\[ \\] |需求){0,50}",
    ) {
        let read = Requirements::read(text.as_bytes());
        let _ = read.resolve(&[text]);
    }
}
