//! What `run --demo` plays: a small repository, a job for it, and a model's replies that were
//! written beforehand. All of it lies in `host/demo/` and is embedded here.

use std::path::{Path, PathBuf};

use super::error::ServiceError;
use crate::workspace::seed_repository;

/// When the demo's first commit was made, so that it is the same each time: 2026-01-01.
const BEGINNING: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);

/// Files of the repository that the demo works on: path, text.
pub(crate) const FILES: &[(&str, &str)] = &[
    (".gitignore", include_str!("../../demo/origin/.gitignore")),
    ("Cargo.lock", include_str!("../../demo/origin/Cargo.lock")),
    ("Cargo.toml", include_str!("../../demo/origin/Cargo.toml")),
    ("README.md", include_str!("../../demo/origin/README.md")),
    ("necro.toml", include_str!("../../demo/origin/necro.toml")),
    ("src/lib.rs", include_str!("../../demo/origin/src/lib.rs")),
    ("src/search.rs", include_str!("../../demo/origin/src/search.rs")),
    ("src/spell.rs", include_str!("../../demo/origin/src/spell.rs")),
    ("src/store.rs", include_str!("../../demo/origin/src/store.rs")),
    ("src/suggest.rs", include_str!("../../demo/origin/src/suggest.rs")),
    ("src/view.rs", include_str!("../../demo/origin/src/view.rs")),
    ("tests/spell.rs", include_str!("../../demo/origin/tests/spell.rs")),
];

/// The job, in Japanese for `ja` and in English for every other language.
pub(crate) fn job(language: &str) -> &'static str {
    match language {
        "ja" => include_str!("../../demo/job.ja.md"),
        _ => include_str!("../../demo/job.md"),
    }
}

/// The replies to [`job`] in the same language, in the format of scripted back ends.
pub(crate) fn replies(language: &str) -> &'static str {
    match language {
        "ja" => include_str!("../../demo/replies.ja.toml"),
        _ => include_str!("../../demo/replies.toml"),
    }
}

/// What the demo works with.
#[derive(Debug)]
pub struct Made {
    /// The origin repository, in a new temporary directory that stays.
    pub repository: PathBuf,
    /// The job's text.
    pub job: String,
    /// The file with the scripted replies.
    pub replies: PathBuf,
}

/// Makes the demo's repository and replies in a new temporary directory.
///
/// # Errors
/// [`ServiceError`] when the directory cannot be written.
pub fn make(language: &str) -> Result<Made, ServiceError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| ServiceError::Io { path, source }
    };
    let temporary = std::env::temp_dir();
    let dir = tempfile::Builder::new().prefix("necro-demo-").tempdir_in(&temporary).map_err(fail(&temporary))?.keep();
    let repository = dir.join("repository");
    seed_repository(&repository, FILES, "Start the spellbook", BEGINNING)?;
    let file = dir.join("replies.toml");
    std::fs::write(&file, replies(language)).map_err(fail(&file))?;
    Ok(Made { repository, job: job(language).to_owned(), replies: file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// What identifies a reply: role, task, attempt, turn.
    type Key = (String, String, i64, i64);

    /// Names of the tools called by each reply, in order.
    fn script(language: &str) -> BTreeMap<Key, Vec<String>> {
        let table: toml::Table = replies(language).parse().unwrap();
        assert_eq!(table["version"].as_integer(), Some(1));
        let text = |reply: &toml::Value, key: &str| reply[key].as_str().unwrap().to_owned();
        let mut script = BTreeMap::new();
        for reply in table["reply"].as_array().unwrap() {
            let attempt = reply.get("attempt").map_or(0, |n| n.as_integer().unwrap());
            let key = (text(reply, "role"), text(reply, "task"), attempt, reply["turn"].as_integer().unwrap());
            let calls = reply["call"].as_array().unwrap().iter().map(|call| text(call, "name")).collect();
            assert!(script.insert(key.clone(), calls).is_none(), "{key:?} stands in the replies twice");
        }
        script
    }

    fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_repository_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/origin");
        let mut found = BTreeSet::new();
        walk(&root, &root, &mut found);
        let embedded: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(embedded, found);
    }

    #[test]
    fn both_languages_play_the_same_calls() {
        assert_eq!(script("en"), script("ja"));
        assert_ne!(job("en"), job("ja"));
    }

    #[test]
    fn turns_have_no_gaps_and_end_with_the_only_finish() {
        let script = script("en");
        for ((role, task, attempt, turn), calls) in &script {
            let at = |turn: i64| script.get(&(role.clone(), task.clone(), *attempt, turn));
            assert!(*turn == 1 || at(turn - 1).is_some(), "{task}: turn {turn} has none before it");
            let finishes = calls.iter().any(|name| name == "finish");
            assert_eq!(finishes, at(turn + 1).is_none(), "{task}: turn {turn}");
        }
    }

    #[test]
    fn the_scripted_back_end_can_play_the_replies() {
        for language in ["en", "ja"] {
            crate::llm::scripted::Script::parse(replies(language), language).unwrap();
        }
    }

    /// The text that the replies write to a file of the job's spec.
    fn document(language: &str, file: &str) -> String {
        let spec = crate::spec::job::slug(&crate::spec::job::title(job(language)));
        let path = format!(".kiro/specs/{spec}/{file}");
        let table: toml::Table = replies(language).parse().unwrap();
        let calls = table["reply"].as_array().unwrap().iter().flat_map(|reply| reply["call"].as_array().unwrap());
        let mut written =
            calls.map(|call| &call["arguments"]).filter(|a| a.get("path").is_some_and(|p| p.as_str() == Some(&path)));
        written
            .find_map(|a| a.get("text"))
            .and_then(toml::Value::as_str)
            .unwrap_or_else(|| panic!("no {path}"))
            .to_owned()
    }

    #[test]
    fn the_replies_write_specs_that_pass_the_strictest_check() {
        use crate::spec::{Requirements, Rules, check_design, check_requirements, check_tasks};
        let roles = ["frontend", "backend", "database", "qa", "devops", "documentation"];
        for language in ["en", "ja"] {
            let (requirements, design) = (document(language, "requirements.md"), document(language, "design.md"));
            let read = Requirements::read(requirements.as_bytes());
            let found = [
                check_requirements(&requirements, Rules::own(None)),
                check_design(&design, Rules::own(None)),
                check_tasks(&document(language, "tasks.md"), Some(&read), Rules::own(Some(&roles))),
            ];
            assert!(found.concat().is_empty(), "{language}: {found:?}");
            assert_eq!(crate::domain::team::Language::of(job(language)).code(), language);
        }
    }

    #[test]
    fn the_gate_is_the_tests_of_the_repository() {
        let text = FILES.iter().find(|(path, _)| *path == "necro.toml").unwrap().1;
        let gate = crate::config::Config::parse(text, "necro.toml").unwrap().gate_commands(None);
        let [(name, command)] = &gate[..] else { panic!("{gate:?}") };
        assert_eq!((name.as_str(), command.run.join(" ").as_str()), ("test", "cargo test --offline"));
    }

    #[test]
    fn the_embedded_files_have_no_secret_that_a_scanner_would_report() {
        for text in [replies("en"), replies("ja")] {
            assert!(!text.contains(concat!("gh", "p_")), "write it with an escape");
        }
    }
}
