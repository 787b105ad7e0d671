//! Finds keys, tokens and passwords in added lines. What it finds blocks the change, and the message
//! never repeats the value. Placeholders that are clearly no secrets pass.
#![forbid(unsafe_code)]

mod forms;

use necro_sdk::review::{Change, ChangedFile, Finding, HeuristicInfo, Severity, added_lines, rule};
use necro_sdk::{Failure, ReviewHeuristic, Settings};

use forms::FORMS;

/// The heuristic. It has no settings.
#[derive(Debug)]
pub struct SecretScan;

impl ReviewHeuristic for SecretScan {
    fn describe() -> HeuristicInfo {
        let rules = FORMS.iter().map(|form| rule(form.rule, Severity::Block, form.description)).collect();
        HeuristicInfo { name: "secret-scan".to_owned(), rules }
    }

    fn review(change: &Change, _: &Settings) -> Result<Vec<Finding>, Failure> {
        Ok(change.files.iter().flat_map(findings).collect())
    }
}

/// At most one finding for each form and line.
fn findings(file: &ChangedFile) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in added_lines(file) {
        for form in FORMS {
            if let Some(shown) = (form.find)(line) {
                found.push(Finding {
                    rule: form.rule.to_owned(),
                    severity: Severity::Block,
                    file: Some(file.path.clone()),
                    line: Some(number),
                    message: format!(
                        "{} ({shown}): take it out, read it from the environment, and have it revoked",
                        form.description
                    ),
                });
            }
        }
    }
    found
}

necro_sdk::export_review!(SecretScan);

#[cfg(test)]
mod tests;
