//! Tables over lines of manifests.

use necro_sdk::review::change_of;

use super::*;

fn found(path: &str, body: &str, exists: &[&str]) -> Vec<(String, String)> {
    let change = change_of("backend", &format!("--- a/{path}\n+++ b/{path}\n{body}"));
    let found = judge(&change, &Options::default(), &|path| exists.contains(&path));
    found.into_iter().map(|f| (f.rule, f.message)).collect()
}

fn summary(path: &str, body: &str) -> String {
    let found = found(path, body, &[]);
    assert!(found.len() <= 1, "{found:?}");
    found.into_iter().map(|(_, message)| message).collect()
}

#[test]
fn entries_are_told_by_what_happened_to_them() {
    for (path, body, expected) in [
        ("Cargo.toml", " [dependencies]\n+serde = \"1\"\n-regex = \"1\"\n", "adds serde; removes regex"),
        (
            "Cargo.toml",
            "-serde = \"1.0.1\"\n+serde = { version = \"1.0.2\", features = [\"derive\"] }\n",
            "changes serde",
        ),
        ("Cargo.toml", " [package]\n-version = \"0.1.0\"\n+version = \"0.2.0\"\n", ""),
        ("Cargo.toml", "+version = \"0.2.0\"\n", ""),
        ("Cargo.toml", " [profile.dev]\n+opt-level = 1\n", ""),
        ("Cargo.toml", " [lib]\n+path = \"src/x.rs\"\n", ""),
        (
            "crates/a/Cargo.toml",
            " [dev-dependencies]\n+core = { path = \"../core\" }\n+x.workspace = true\n",
            "adds core, x",
        ),
        ("package.json", " \"devDependencies\": {\n+    \"vite\": \"^5.0.0\",\n", "adds vite"),
        ("package.json", " \"scripts\": {\n+    \"test\": \"1\",\n", ""),
        ("package.json", "-  \"version\": \"1.0.0\",\n+  \"version\": \"1.0.1\",\n", ""),
        ("web/package.json", "-    \"vue\": \"3.0.0\",\n+    \"vue\": \"3.1.0\",\n", "changes vue"),
        (
            "requirements-dev.txt",
            "+# tools\n+pytest==8.0\n+black[jupyter]>=24 ; python_version > \"3.8\"\n",
            "adds black, pytest",
        ),
        ("pyproject.toml", " [project]\n+dependencies = [\"requests>=2\"]\n", "adds requests"),
        ("pyproject.toml", "+    \"httpx>=0.27\",\n", "adds httpx"),
        ("pyproject.toml", " [tool.poetry.dependencies]\n+flask = \"^3\"\n", "adds flask"),
        ("pyproject.toml", " [tool.black]\n+line-length = 100\n+target = \"3\"\n", ""),
        (
            "go.mod",
            "+require example.com/a v1.2.3\n-\texample.org/b v0.1.0 // indirect\n",
            "adds example.com/a; removes example.org/b",
        ),
        ("go.mod", "-go 1.21\n+go 1.22\n", ""),
        ("src/Cargo.toml.rs", "+serde = \"1\"\n", ""),
    ] {
        assert_eq!(summary(path, body), expected, "{path} {body}");
    }
}

#[test]
fn versions_and_sources_that_are_not_fixed_are_told() {
    for (path, line, rule) in [
        ("Cargo.toml", "serde = \"*\"", UNPINNED),
        ("Cargo.toml", "x = { git = \"https://example.com/x\", branch = \"main\" }", SOURCE),
        ("package.json", "\"vue\": \"latest\",", UNPINNED),
        ("package.json", "\"vue\": \"*\"", UNPINNED),
        ("package.json", "\"x\": \"github:me/x\",", SOURCE),
        ("requirements.txt", "requests", UNPINNED),
        ("requirements.txt", "x @ https://example.com/x.whl", SOURCE),
        ("requirements.txt", "-e git+https://example.com/x.git#egg=x", SOURCE),
        ("go.mod", "replace example.com/a => ../a", SOURCE),
    ] {
        let rules: Vec<String> = found(path, &format!("+{line}\n"), &[]).into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(rules, [CHANGED, rule], "{line}");
    }
}

#[test]
fn an_allowed_source_is_not_told() {
    let body = "--- a/Cargo.toml\n+++ b/Cargo.toml\n+x = { git = \"https://git.example.com/x\" }\n";
    let options = Options { allowed_sources: vec!["https://git.example.com/".into()] };
    assert_eq!(judge(&change_of("qa", body), &options, &|_| false).len(), 1);
}

#[test]
fn manifests_and_locks_go_together() {
    let serde = "+serde = \"1\"\n";
    let behind =
        |exists: &[&str]| found("crates/a/Cargo.toml", serde, exists).iter().any(|(rule, _)| rule == LOCK_BEHIND);
    assert!(behind(&["Cargo.lock"]));
    assert!(behind(&["crates/a/Cargo.lock"]));
    assert!(!behind(&[]));
    assert!(!behind(&["other/Cargo.lock", "package-lock.json"]));
    assert_eq!(found("Cargo.toml", " [package]\n+edition = \"2024\"\n", &["Cargo.lock"]), []);

    let rules: Vec<String> = found("Cargo.lock", "+x\n", &[]).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, [LOCK_ALONE]);
    let both =
        format!("--- a/Cargo.toml\n+++ b/Cargo.toml\n{serde}--- a/Cargo.lock\n+++ b/Cargo.lock\n+name = \"serde\"\n");
    let found = judge(&change_of("qa", &both), &Options::default(), &|_| true);
    assert_eq!(found.iter().map(|f| f.rule.as_str()).collect::<Vec<_>>(), [CHANGED]);
}

#[test]
fn long_lists_are_cut_and_misspelt_settings_are_an_error() {
    let body: String = (0..20).map(|n| format!("+crate-{n:02} = \"1\"\n")).collect();
    assert!(summary("Cargo.toml", &body).ends_with("crate-11 and 8 more"));
    assert!(Dependencies::review(&change_of("qa", ""), &Settings::new(r#"{"allowed":[]}"#)).is_err());
}
