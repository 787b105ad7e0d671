//! The forms of secrets, each with a finder over one line. A finder gives what may be shown of the
//! secret: its public beginning, never the part that matters.

/// A form of secret.
pub(crate) struct Form {
    /// Rule id.
    pub(crate) rule: &'static str,
    /// What it is.
    pub(crate) description: &'static str,
    /// The masked secret, when the line has one.
    pub(crate) find: fn(&str) -> Option<String>,
}

/// All forms.
pub(crate) const FORMS: &[Form] = &[
    Form { rule: "secret-scan/github-token", description: "a GitHub token", find: github_token },
    Form { rule: "secret-scan/gitlab-token", description: "a GitLab token", find: gitlab_token },
    Form { rule: "secret-scan/api-key", description: "an API key", find: api_key },
    Form { rule: "secret-scan/aws-key", description: "an AWS access key", find: aws_key },
    Form { rule: "secret-scan/private-key", description: "a private key", find: private_key },
    Form { rule: "secret-scan/jwt", description: "a JSON web token", find: web_token },
    Form { rule: "secret-scan/url-password", description: "a password in a URL", find: url_password },
];

/// Characters of a password in a URL; longer text between `:` and `@` is none.
const MAX_PASSWORD_BYTES: usize = 256;
/// A value with fewer different characters is a row of fill characters.
const MIN_DIFFERENT_CHARS: usize = 8;
/// Parts of values that people write where a secret would stand.
const PLACEHOLDER_PARTS: &[&str] =
    &["example", "placeholder", "your", "dummy", "redacted", "xxxx", "0000", "1234567", "abcdefg"];
/// Passwords that stand for one in examples and local set-ups.
const PLACEHOLDER_PASSWORDS: &[&str] =
    &["password", "passwd", "pass", "pwd", "secret", "changeme", "example", "test", "token", "xxx", "dev", "root"];

fn github_token(line: &str) -> Option<String> {
    let word = |c: char| c.is_ascii_alphanumeric();
    ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]
        .iter()
        .find_map(|prefix| token(line, prefix, 36, word))
        .or_else(|| token(line, "github_pat_", 22, |c| word(c) || c == '_'))
}

fn gitlab_token(line: &str) -> Option<String> {
    token(line, "glpat-", 20, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// `sk-…` as several providers make them. A long unbroken part tells them from kebab-case words.
fn api_key(line: &str) -> Option<String> {
    values(line, "sk-", |c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        .filter(|value| value.split(['-', '_']).any(|part| part.len() >= 16 && is_mixed(part)))
        .find(|value| !is_placeholder(value))
        .map(|value| mask("sk-", value))
}

fn aws_key(line: &str) -> Option<String> {
    ["AKIA", "ASIA"].iter().find_map(|prefix| {
        values(line, prefix, |c| c.is_ascii_alphanumeric())
            .filter(|value| value.len() == 16 && value.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()))
            .find(|value| !is_placeholder(value))
            .map(|value| mask(prefix, value))
    })
}

fn private_key(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("-----BEGIN ")?;
    let (kind, _) = rest.split_once("-----")?;
    let is_key = kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY") || kind == "PGP PRIVATE KEY BLOCK";
    is_key.then(|| format!("-----BEGIN {kind}-----"))
}

/// Three base64url parts, of which header and payload are JSON objects: these begin with `eyJ`.
fn web_token(line: &str) -> Option<String> {
    values(line, "eyJ", |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .find(|value| {
            let parts: Vec<&str> = value.split('.').collect();
            matches!(parts[..], [header, payload, signature, ..]
                if header.len() >= 10 && payload.len() >= 10 && payload.starts_with("eyJ") && signature.len() >= 16
                    && !is_placeholder(signature))
        })
        .map(|value| mask("eyJ", value))
}

/// `scheme://user:password@host`.
fn url_password(line: &str) -> Option<String> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        rest = after;
        let scheme = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).next()?;
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'`<>)".contains(c)).unwrap_or(after.len());
        // The last @ ends the password: one inside should be escaped, and often is not.
        let Some((user_info, host)) = after[..end].rsplit_once('@') else { continue };
        let Some((user, password)) = user_info.split_once(':') else { continue };
        if !scheme.is_empty() && !host.is_empty() && is_password(user, password) {
            return Some(format!("{scheme}://{user}:***@"));
        }
    }
    None
}

fn is_password(user: &str, password: &str) -> bool {
    let lower = password.to_lowercase();
    let filled_in = password.starts_with(['$', '{', '%', '*', '[', '(', ':', '…']) || password.contains("${");
    let repeated = password.chars().all(|c| password.starts_with(c));
    password.len() <= MAX_PASSWORD_BYTES
        && !filled_in
        && !repeated
        && lower != user.to_lowercase()
        && !PLACEHOLDER_PASSWORDS.contains(&lower.as_str())
        && !PLACEHOLDER_PARTS.iter().any(|part| lower.contains(part))
}

/// A secret that is `prefix` and at least `min` characters of `allowed` that look like chance.
fn token(line: &str, prefix: &str, min: usize, allowed: impl Fn(char) -> bool) -> Option<String> {
    values(line, prefix, allowed)
        .find(|value| value.len() >= min && is_mixed(value) && !is_placeholder(value))
        .map(|value| mask(prefix, value))
}

/// What stands after each `prefix` that begins a word.
fn values<'a>(line: &'a str, prefix: &'a str, allowed: impl Fn(char) -> bool) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter_map(move |(at, _)| {
        if line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        let rest = &line[at + prefix.len()..];
        Some(&rest[..rest.find(|c| !allowed(c)).unwrap_or(rest.len())])
    })
}

/// Letters and digits both: words and numbers alone are no keys.
fn is_mixed(value: &str) -> bool {
    value.contains(|c: char| c.is_ascii_digit()) && value.contains(|c: char| c.is_ascii_alphabetic())
}

fn is_placeholder(value: &str) -> bool {
    let lower = value.to_lowercase();
    let mut different: Vec<char> = lower.chars().collect();
    different.sort_unstable();
    different.dedup();
    different.len() < MIN_DIFFERENT_CHARS || PLACEHOLDER_PARTS.iter().any(|part| lower.contains(part))
}

fn mask(prefix: &str, value: &str) -> String {
    format!("{prefix}***, {} characters", prefix.len() + value.len())
}
