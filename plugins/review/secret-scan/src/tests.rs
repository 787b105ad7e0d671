//! Tables of secrets and look-alikes. Secrets are put together here, so that no scanner of this
//! repository finds one in the source.

use necro_sdk::review::{DiffLine, Hunk, LineKind};

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
    in_file(&file(&[(LineKind::Added, line.to_owned())])).into_iter().map(|f| f.rule).collect()
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
        let found = in_file(&file(&[(LineKind::Added, line.clone())]));
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!((found[0].rule.as_str(), found[0].line), (rule, Some(7)), "{line}");
        assert_eq!(found[0].severity, Severity::Block);
        assert!(!found[0].message.contains(&value), "the message repeats the secret: {line}");
    }
}

#[test]
fn only_added_lines_count() {
    for (line, ..) in secrets() {
        assert!(in_file(&file(&[(LineKind::Removed, line.clone()), (LineKind::Context, line)])).is_empty());
    }
}

fn change(title: &str, files: Vec<ChangedFile>) -> Change {
    Change {
        spec: "s".into(),
        task: "1".into(),
        title: String::new(),
        text: String::new(),
        commit_title: title.into(),
        instance: "backend_spirit_1".into(),
        role: "backend".into(),
        attempt: 1,
        files,
        checks: Vec::new(),
    }
}

fn review(change: &Change) -> Vec<Finding> {
    SecretScan::review(change, &Settings::new("{}".to_owned())).unwrap()
}

#[test]
fn a_secret_in_the_title_of_the_commit_is_found_and_masked() {
    for (line, value, rule) in secrets() {
        let found = review(&change(&format!("use {line}"), Vec::new()));
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!((found[0].rule.as_str(), found[0].severity, &found[0].file), (rule, Severity::Block, &None));
        assert!(!found[0].message.contains(&value), "{}", found[0].message);
    }
    assert_eq!(review(&change("add the token service", Vec::new())), []);
}

#[test]
fn a_secret_in_the_name_of_a_new_file_is_found_and_no_finding_repeats_it() {
    let token = format!("{}{}", concat!("gh", "p_"), random(36));
    for (path, folder) in
        [(format!("src/keys/{token}.txt"), "src/keys/"), (format!("{token}/a/b.rs"), ""), (token.clone(), "")]
    {
        let added = |change| {
            let lines = [(LineKind::Added, format!("t = {token}"))];
            ChangedFile { path: path.clone(), change, binary: true, ..file(&lines) }
        };
        let found = review(&change("", vec![added(FileChange::Added)]));
        assert_eq!(found[0].rule, "secret-scan/github-token", "{found:?}");
        assert!(found[0].message.contains(folder), "{found:?}");
        assert!(!format!("{found:?}").contains(&random(36)), "{found:?}");
        assert_eq!(found[1].file.as_deref(), Some(format!("{folder}***").as_str()));
        // Only a new name is this change's.
        for (change_kind, count) in [(FileChange::Modified, found.len() - 1), (FileChange::Deleted, 1)] {
            assert_eq!(in_file(&added(change_kind)).len(), count, "{path}");
        }
    }
}

#[test]
fn a_text_that_counts_as_binary_is_named_and_does_not_block() {
    let binary = |path: &str, change| ChangedFile { path: path.into(), change, binary: true, ..file(&[]) };
    for path in ["src/a.rs", "config/.env.local", ".env", "Makefile", "a/KEY.PEM", "deploy.yaml"] {
        let found = review(&change("", vec![binary(path, FileChange::Added)]));
        assert_eq!(found.len(), 1, "{path}");
        assert_eq!((found[0].rule.as_str(), found[0].severity), (UNREAD, Severity::Warn));
        assert_eq!(found[0].file.as_deref(), Some(path));
    }
    let seen = ChangedFile { path: "a.rs".into(), binary: true, ..file(&[(LineKind::Added, "let x = 1;".to_owned())]) };
    assert_eq!(review(&change("", vec![seen])), []);
    let quiet = [("logo.png", FileChange::Added), ("tool", FileChange::Modified), ("a.rs", FileChange::Deleted)];
    assert_eq!(review(&change("", quiet.map(|(path, change)| binary(path, change)).to_vec())), []);
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
