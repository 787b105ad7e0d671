//! Tables of secrets and look-alikes. Secrets are put together here, so that no scanner of this
//! repository finds one in the source.

use necro_sdk::review::{DiffLine, FileChange, Hunk, LineKind};

use super::*;

/// Letters and digits in the manner of a random value.
fn random(length: usize) -> String {
    "k7Qw2ZpR9sXv4LmT8bNc3HdY6gJf5VaE1uWo".chars().cycle().take(length).collect()
}

fn file(lines: &[(LineKind, String)]) -> ChangedFile {
    let lines = lines.iter().map(|(kind, text)| DiffLine { kind: *kind, text: text.clone() }).collect();
    ChangedFile {
        path: "src/a.rs".into(),
        change: FileChange::Modified,
        binary: false,
        size_bytes: 0,
        hunks: vec![Hunk { old_start: 7, new_start: 7, lines }],
    }
}

fn rules(line: &str) -> Vec<String> {
    findings(&file(&[(LineKind::Added, line.to_owned())])).into_iter().map(|f| f.rule).collect()
}

fn secrets() -> Vec<(String, String, &'static str)> {
    let upper = |length| random(60).to_uppercase().chars().filter(char::is_ascii_alphanumeric).take(length).collect();
    let token = |prefix: &str, length| (format!("{prefix}{}", random(length)), random(length));
    let upper: String = upper(16);
    let mut all = Vec::new();
    for letter in ["p", "o", "u", "s", "r"] {
        let (text, value) = token(&format!("gh{letter}_"), 36);
        all.push((format!("let t = \"{text}\";"), value, "secret-scan/github-token"));
    }
    let (text, value) = token(concat!("github", "_pat_"), 30);
    all.push((format!("TOKEN={text}"), value, "secret-scan/github-token"));
    let (text, value) = token(concat!("gl", "pat-"), 20);
    all.push((format!("token: {text}"), value, "secret-scan/gitlab-token"));
    for prefix in [concat!("s", "k-"), concat!("s", "k-proj-"), concat!("s", "k-ant-api03-")] {
        let (text, value) = token(prefix, 40);
        all.push((format!("key='{text}'"), value, "secret-scan/api-key"));
    }
    all.push((format!("id = {}{upper}", concat!("AK", "IA")), upper, "secret-scan/aws-key"));
    let jwt = format!("{0}{1}.{0}{1}.{1}", concat!("e", "yJ"), random(24));
    all.push((format!("Bearer {jwt}"), random(24), "secret-scan/jwt"));
    for kind in ["", "RSA ", "EC ", "OPENSSH "] {
        let header = format!("-----{} {kind}PRIVATE KEY-----", "BEGIN");
        all.push((header, "no value".into(), "secret-scan/private-key"));
    }
    for (scheme, user) in [("postgres", "app"), ("https", "me"), ("redis", "")] {
        let url = format!("{scheme}://{user}:{}@db.internal/x", random(12));
        all.push((format!("URL = \"{url}\""), random(12), "secret-scan/url-password"));
    }
    all
}

#[test]
fn every_form_is_found_and_the_value_is_masked() {
    for (line, value, rule) in secrets() {
        let found = findings(&file(&[(LineKind::Added, line.clone())]));
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!((found[0].rule.as_str(), found[0].line), (rule, Some(7)), "{line}");
        assert_eq!(found[0].severity, Severity::Block);
        assert!(!found[0].message.contains(&value), "the message repeats the secret: {line}");
    }
}

#[test]
fn only_added_lines_count() {
    for (line, ..) in secrets() {
        assert!(findings(&file(&[(LineKind::Removed, line.clone()), (LineKind::Context, line)])).is_empty());
    }
}

#[test]
fn words_and_placeholders_pass() {
    for line in [
        "let keyboard = token.secret;",
        "password = os.environ[\"DB_PASSWORD\"]",
        "OPENAI_API_KEY=sk-...",
        "OPENAI_API_KEY=<token>",
        "key = sk-your-key-goes-here-1234567890abcdef",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "class=\"sk-button-primary-2-large-variant-with-name\"",
        "a risk-adjusted1234567890abcdefgh value",
        "sk-internationalization-module-2",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "ghp_<your token>",
        "ghp_short1",
        "AKIAIOSFODNN7EXAMPLE",
        "AKIA and more",
        "glpat-",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "eyJhbGciOiJIUzI1NiJ9",
        "https://example.com/path:with@sign",
        "https://host:8080/a@b",
        "postgres://user:password@localhost/db",
        "postgres://postgres:postgres@localhost/db",
        "postgres://app:${DB_PASSWORD}@db/app",
        "postgres://app:$DB_PASSWORD@db/app",
        "https://<user>:<password>@host",
        "https://user:***@host",
        "ssh://git@github.com/x/y",
        "://:@",
        "mail me@example.com: now",
    ] {
        assert_eq!(rules(line), [""; 0], "{line}");
    }
}

#[test]
fn every_rule_is_described() {
    let described: Vec<String> = SecretScan::describe().rules.into_iter().map(|r| r.id).collect();
    for (_, _, rule) in secrets() {
        assert!(described.iter().any(|id| id == rule), "{rule}");
    }
}
