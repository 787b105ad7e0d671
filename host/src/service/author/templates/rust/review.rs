//! What is found in a change: lines that say that somebody meant to come back to them.

use necro_sdk::review::{Change, Finding, HeuristicInfo, Severity, added_lines, bounded, rule};
use necro_sdk::{Failure, ReviewHeuristic, Settings};

/// What such a line says.
const MARK: &str = "FIXME";
/// The rule's id.
const RULE: &str = "left-over";

struct Heuristic;

impl ReviewHeuristic for Heuristic {
    fn describe() -> HeuristicInfo {
        let rules = vec![rule(RULE, Severity::Warn, "lines that were left for later")];
        HeuristicInfo { name: "{{name}}".to_owned(), rules }
    }

    fn review(change: &Change, _: &Settings) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        for file in &change.files {
            for (number, _) in added_lines(file).filter(|(_, line)| line.contains(MARK)) {
                findings.push(Finding {
                    rule: RULE.to_owned(),
                    severity: Severity::Warn,
                    file: Some(file.path.clone()),
                    line: Some(number),
                    message: format!("this line says {MARK}: do it now, or make a task of it"),
                });
            }
        }
        Ok(bounded(findings))
    }
}

necro_sdk::export_review!(Heuristic);
