//! Tables over texts and paths.

use necro_sdk::review::change_of;

use super::*;

fn rules(role: &str, text: &str, paths: &[&str], settings: &str) -> Vec<(String, String)> {
    let diff: String = paths.iter().map(|path| format!("--- a/{path}\n+++ b/{path}\n+x\n")).collect();
    let change = Change { spec: "search".into(), text: text.into(), ..change_of(role, &diff) };
    let found = Scope::review(&change, &Settings::new(settings)).unwrap();
    found.into_iter().map(|f| (f.rule, f.file.unwrap())).collect()
}

#[test]
fn paths_are_found_in_texts() {
    for (text, expected) in [
        ("`Book` with `parse` in `src/store.rs`; errors name the line", &["src/store.rs"][..]),
        ("Tests in `tests/view.rs`, with French names", &["tests/view.rs"]),
        ("`tests/flow.rs` with the book `tests/data/tower.book`: parse", &["tests/flow.rs", "tests/data/tower.book"]),
        ("全部を src/検索 と `src/search.rs`に書く", &["src/", "src/search.rs"]),
        ("Change everything in src/web/ and docs/**.", &["src/web/", "docs/**"]),
        ("See https://example.com/a/b.html and/or 1.5/2.0, e.g. this", &[]),
        ("Explain it in README.md, not in the changelog", &["README.md"]),
        ("Use v1.2 of serde.", &[]),
    ] {
        assert_eq!(named_paths(text), expected, "{text}");
    }
}

#[test]
fn a_file_goes_with_a_name_or_is_told() {
    let text = "Write `suggest` in `src/suggest.rs` and tests in `tests/suggest.rs`";
    for (path, is_told) in [
        ("src/suggest.rs", false),
        ("crates/core/src/suggest.rs", false),
        ("src/suggest/words.rs", false),
        ("web/suggest.css", false),
        ("src/suggest_test.rs", false),
        ("tests/other.rs", false),
        ("src/lib.rs", false),
        ("Cargo.lock", false),
        ("README.md", false),
        ("src/store.rs", true),
        ("necro.toml", true),
        ("data/words.txt", true),
    ] {
        let expected = if is_told { vec![(UNNAMED.to_owned(), path.to_owned())] } else { vec![] };
        assert_eq!(rules("backend", text, &[path], ""), expected, "{path}");
    }
}

#[test]
fn a_task_that_names_no_files_says_nothing_about_any() {
    assert_eq!(rules("backend", "Suggest the nearest name", &["src/a.rs", "b/c.py"], ""), []);
}

#[test]
fn documents_of_other_specs_and_of_all_are_told() {
    for (path, is_told) in [
        (".kiro/specs/search/tasks.md", false),
        (".kiro/specs/search2/tasks.md", true),
        (".kiro/specs/login/design.md", true),
        (".kiro/steering/tech.md", true),
    ] {
        let found = rules("backend", "Do it", &[path], "");
        assert_eq!(found.iter().any(|(rule, _)| rule == OTHER_SPEC), is_told, "{path}");
    }
    assert_eq!(rules("backend", "Mend `.kiro/steering/tech.md`", &[".kiro/steering/tech.md"], ""), []);
}

#[test]
fn continuous_integration_is_devops_or_asked_for() {
    let path = ".github/workflows/test.yml";
    let told = [(CI.to_owned(), path.to_owned())];
    assert_eq!(rules("backend", "Add an endpoint; precise figures", &[path], ""), told);
    assert_eq!(rules("devops", "Add an endpoint", &[path], ""), []);
    assert_eq!(rules("backend", "Let CI run the new tests", &[path], ""), []);
    assert_eq!(rules("backend", "Change `.github/workflows/test.yml`", &[path], ""), []);
}

#[test]
fn settings_allow_and_grade_and_misspelt_ones_are_an_error() {
    let text = "Write `src/a.rs`";
    assert_eq!(rules("qa", text, &["data/x.csv"], r#"{"allowed":["data/"]}"#), []);
    let change = Change { text: text.into(), ..change_of("qa", "--- a/b.rb\n+++ b/b.rb\n+x\n") };
    for (settings, severity) in [("", Severity::Note), (r#"{"severity":"block"}"#, Severity::Block)] {
        assert_eq!(Scope::review(&change, &Settings::new(settings)).unwrap()[0].severity, severity);
    }
    assert!(Scope::review(&change, &Settings::new(r#"{"allow":[]}"#)).is_err());
}
