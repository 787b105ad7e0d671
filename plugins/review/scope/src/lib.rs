//! Finds changed files that are not the task's: documents of other specs, what continuous integration runs,
//! and files that the task's text does not lead to. What the text leads to is a guess, so that is a note.
#![forbid(unsafe_code)]

mod paths;

use necro_sdk::review::{
    Change, Finding, Grade, HeuristicInfo, Severity, finding, is_lock_file, is_test_file, matches_any, rule,
};
use necro_sdk::{Failure, ReviewHeuristic, Settings};
use serde::Deserialize;

use paths::{is_ci, is_connected, is_shared, named_paths};

const OTHER_SPEC: &str = "scope/other-spec";
const CI: &str = "scope/ci";
const UNNAMED: &str = "scope/unnamed";

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Globs of paths that any task may change.
    allowed: Vec<String>,
    /// How grave a file is that the task does not name.
    severity: Grade,
}

impl Default for Options {
    fn default() -> Self {
        Self { allowed: Vec::new(), severity: Grade::Note }
    }
}

/// The heuristic.
#[derive(Debug)]
pub struct Scope;

impl ReviewHeuristic for Scope {
    fn describe() -> HeuristicInfo {
        let rules = vec![
            rule(OTHER_SPEC, Severity::Warn, "a document of another spec, or of how all are made"),
            rule(CI, Severity::Warn, "what continuous integration runs"),
            rule(UNNAMED, Severity::Note, "a file that the task's text does not lead to"),
        ];
        HeuristicInfo { name: "scope".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        let named = named_paths(&format!("{}\n{}", change.title, change.text));
        let is_allowed = |path: &str| matches_any(&options.allowed, path);
        let paths = change.files.iter().map(|file| file.path.as_str()).filter(|path| !is_allowed(path));
        Ok(paths.filter_map(|path| judge(change, path, &named, &options)).collect())
    }
}

fn judge(change: &Change, path: &str, named: &[String], options: &Options) -> Option<Finding> {
    if named.iter().any(|name| is_connected(name, path)) {
        return None;
    }
    if let Some(rest) = path.strip_prefix(".kiro/") {
        let own = format!("specs/{}/", change.spec);
        let message = match rest.strip_prefix("specs/").and_then(|rest| rest.split('/').next()) {
            _ if rest.starts_with(&own) => return None,
            Some(spec) => format!("this belongs to the spec `{spec}`, and the task to `{}`: leave it", change.spec),
            None => "this says how everything here is made: no task changes it on the way".to_owned(),
        };
        return Some(finding(OTHER_SPEC, Severity::Warn, Some(path), None, message));
    }
    if is_ci(path) {
        let text = format!("{} {}", change.title, change.text).to_lowercase();
        let is_asked = ["ci", "pipeline", "workflow", "workflows", "continuous", "deploy", "deployment", "release"]
            .iter()
            .any(|word| text.split(|c: char| !c.is_alphanumeric()).any(|w| w == *word));
        let message = "this is what continuous integration runs, and the task does not speak of it: leave it as it was";
        let is_work_of_role = change.role == "devops";
        return (!is_asked && !is_work_of_role).then(|| finding(CI, Severity::Warn, Some(path), None, message));
    }
    // Only a task that names files says anything about others.
    if named.is_empty() || is_test_file(path) || is_lock_file(path) || is_shared(path) {
        return None;
    }
    let shown: Vec<&str> = named.iter().take(5).map(String::as_str).collect();
    let message = format!("the task names {}, and this file goes with none of them: is it needed?", shown.join(", "));
    Some(finding(UNNAMED, options.severity.into(), Some(path), None, message))
}

necro_sdk::export_review!(Scope);

#[cfg(test)]
mod tests;
