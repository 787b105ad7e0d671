//! Paths that a text names, and what goes with them.

use necro_sdk::review::{ending, file_name, is_source, matches_glob};

/// At most this many names are taken from a text.
const MAX_NAMES: usize = 200;
/// Endings of names without a folder that are files for sure, beside those of code.
const DOCUMENT_ENDINGS: &[&str] =
    &["md", "toml", "json", "yaml", "yml", "txt", "css", "html", "sh", "lock", "cfg", "ini", "xml", "wit", "proto"];
/// Files that many tasks have to touch along the way.
const SHARED: &[&str] = &[
    "mod.rs",
    "lib.rs",
    "main.rs",
    "__init__.py",
    "index.js",
    "index.ts",
    "index.tsx",
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    "go.mod",
    "requirements.txt",
    "CHANGELOG.md",
    "README.md",
    ".gitignore",
];
/// Folders and files of continuous integration.
const CI: &[&str] = &[
    ".github/workflows/",
    ".github/actions/",
    ".circleci/",
    ".ci/",
    ".buildkite/",
    ".woodpecker/",
    ".gitlab-ci.yml",
    ".travis.yml",
    ".drone.yml",
    "Jenkinsfile",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "cloudbuild.yaml",
];

/// Files, folders and globs that a text names, as they stand there.
pub(crate) fn named_paths(text: &str) -> Vec<String> {
    let is_path_char = |c: char| c.is_ascii_alphanumeric() || "/._-*@+[]".contains(c);
    let mut names: Vec<String> = Vec::new();
    // An address has slashes as well, and names no file.
    let without_addresses = text.split_whitespace().filter(|word| !word.contains("://"));
    for word in without_addresses.flat_map(|word| word.split(|c| !is_path_char(c))) {
        let name = word.trim_end_matches(['.', '-', '+']).trim_start_matches("./");
        if is_path(name) && !names.iter().any(|other| other == name) && names.len() < MAX_NAMES {
            names.push(name.to_owned());
        }
    }
    names
}

fn is_path(name: &str) -> bool {
    let last = file_name(name);
    let known = is_source(last) || DOCUMENT_ENDINGS.contains(&ending(last).as_str());
    let has_stem = last.rsplit_once('.').is_some_and(|(stem, _)| stem.chars().any(char::is_alphanumeric));
    match name.rsplit_once('/') {
        // `and/or` is no path; `src/`, `src/a.rs` and `src/**` are.
        Some((folder, "")) => folder.chars().any(char::is_alphanumeric),
        Some((folder, last)) => !folder.is_empty() && (last.contains('*') || (has_stem && !is_number(name))),
        None => (known && has_stem) || SHARED.contains(&name) || CI.contains(&name),
    }
}

/// `1.5/2.0`
fn is_number(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '/')
}

/// Whether a path is what a name means, lies in it, or is the same thing in another form: `src/search.rs`
/// and `tests/search_test.rs`, or `src/search/words.rs`.
pub(crate) fn is_connected(name: &str, path: &str) -> bool {
    if name.contains('*') {
        return matches_glob(name, path);
    }
    let name = name.trim_end_matches('/');
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let is_same = path == name || path.strip_suffix(name).is_some_and(|rest| rest.ends_with('/')) || below(name);
    let Some((without_ending, _)) = name.rsplit_once('.').filter(|_| file_name(name).contains('.')) else {
        return is_same || path.split('/').any(|part| part == name);
    };
    let stem = file_name(without_ending);
    let is_kin = !stem.is_empty() && !SHARED.contains(&file_name(name)) && {
        let other = file_name(path).split('.').next().unwrap_or_default();
        let trimmed = other.trim_start_matches("test_").trim_end_matches("_test").trim_end_matches("_tests");
        trimmed == stem || below(without_ending)
    };
    is_same || is_kin
}

/// Whether a file is one that many tasks have to touch.
pub(crate) fn is_shared(path: &str) -> bool {
    SHARED.contains(&file_name(path))
}

/// Whether a path says what continuous integration does.
pub(crate) fn is_ci(path: &str) -> bool {
    CI.iter().any(|ci| if ci.ends_with('/') { path.starts_with(ci) } else { path == *ci })
}
