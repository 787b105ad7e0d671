//! Tables over changes.

use necro_sdk::review::{ChangedFile, DiffLine, FileChange, Hunk, LineKind};

use super::*;

/// A change of one role; each file with its added lines.
fn change(role: &str, files: &[(&str, &[&str])]) -> Change {
    let files = files.iter().map(|(path, added)| ChangedFile {
        path: (*path).into(),
        change: FileChange::Modified,
        binary: false,
        size_bytes: 0,
        hunks: vec![Hunk {
            old_start: 1,
            new_start: 1,
            lines: added.iter().map(|text| DiffLine { kind: LineKind::Added, text: (*text).into() }).collect(),
        }],
    });
    Change {
        spec: "s".into(),
        task: "1".into(),
        title: String::new(),
        text: String::new(),
        commit_title: String::new(),
        instance: format!("{role}_spirit_1"),
        role: role.into(),
        attempt: 1,
        files: files.collect(),
        checks: Vec::new(),
    }
}

fn severity(role: &str, files: &[(&str, &[&str])], settings: &str) -> Option<Severity> {
    MissingTests::review(&change(role, files), &Settings::new(settings)).unwrap().pop().map(|f| f.severity)
}

const NINE: &[&str] = &["let x = 1;"; 9];
const TEN: &[&str] = &["let x = 1;"; 10];

#[test]
fn ten_lines_under_src_block_and_less_warns() {
    assert_eq!(severity("backend", &[("src/a.rs", NINE)], ""), Some(Severity::Warn));
    assert_eq!(severity("backend", &[("src/a.rs", TEN)], ""), Some(Severity::Block));
    assert_eq!(severity("backend", &[("app/src/a.ts", NINE), ("src/b.ts", NINE)], ""), Some(Severity::Block));
    assert_eq!(severity("backend", &[("lib/a.rs", TEN)], ""), Some(Severity::Warn));
    assert_eq!(severity("backend", &[("src/a.rs", &["// only words", "", "}"])], ""), None);
}

#[test]
fn settings_decide_before_the_rule() {
    for (settings, expected) in
        [(r#"{"severity":"block"}"#, Severity::Block), (r#"{"severity":"note"}"#, Severity::Note)]
    {
        assert_eq!(severity("backend", &[("src/a.rs", &["let x = 1;"])], settings), Some(expected));
    }
    assert_eq!(severity("backend", &[("src/a.rs", TEN)], r#"{"block_lines":11}"#), Some(Severity::Warn));
    assert!(MissingTests::review(&change("qa", &[]), &Settings::new(r#"{"severity":"fatal"}"#)).is_err());
}

#[test]
fn only_implementing_roles_are_held_to_it() {
    for role in ["qa", "devops", "documentation", "architect", "scrum_master"] {
        assert_eq!(severity(role, &[("src/a.rs", TEN)], ""), None, "{role}");
    }
    for role in ["frontend", "backend", "database"] {
        assert_eq!(severity(role, &[("src/a.rs", TEN)], ""), Some(Severity::Block), "{role}");
    }
}

#[test]
fn a_test_anywhere_in_the_change_is_enough() {
    for path in [
        "tests/a.rs",
        "src/a_test.go",
        "web/a.test.tsx",
        "web/a.spec.js",
        "pkg/test_a.py",
        "src/__tests__/a.js",
        "src/ATest.java",
        "src/room/tests.rs",
    ] {
        assert_eq!(severity("backend", &[("src/a.rs", TEN), (path, &["check(1)"])], ""), None, "{path}");
    }
    for mark in ["    #[test]", "#[cfg(test)]", "def test_x():", "describe('x', () => {", "/// assert_eq!(f(), 1);"] {
        assert_eq!(severity("backend", &[("src/a.rs", TEN), ("src/b.rs", &[mark])], ""), None, "{mark}");
    }
}

#[test]
fn what_only_looks_like_a_test_is_not_enough() {
    for (path, line) in [
        ("tests/readme.md", "words"),
        ("tests/a.rs", "// a comment"),
        ("src/latest.rs", "let y = 2;"),
        ("src/contest.py", "y = 2"),
        ("src/b.rs", "attest(1)"),
        ("src/b.rs", "    assert!(index < limit);"),
    ] {
        assert_eq!(severity("backend", &[("src/a.rs", TEN), (path, &[line])], ""), Some(Severity::Block), "{path}");
    }
}

#[test]
fn files_without_code_need_no_tests() {
    assert_eq!(severity("frontend", &[("README.md", TEN), ("package.json", TEN), ("src/a.css", TEN)], ""), None);
}

#[test]
fn the_file_with_the_most_code_is_named() {
    let found = judge(&change("backend", &[("src/a.rs", NINE), ("src/b.rs", TEN)]), &Options::default()).unwrap();
    assert_eq!(found.file.as_deref(), Some("src/b.rs"));
    assert_eq!(found.message, "19 lines of code were added and no test: add tests that fail without this change");
}
