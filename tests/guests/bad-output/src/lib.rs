//! Breaks the contract in the way that the settings name.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue, Score};
use necro_sdk::{Failure, RoutingPolicy, Settings};

/// Breaks the contract.
#[derive(Debug)]
pub struct BadOutput;

impl RoutingPolicy for BadOutput {
    fn route(_: &Issue, candidates: &[Candidate], settings: &Settings, _: &str) -> Result<Decision, Failure> {
        let first = candidates.first().ok_or_else(|| Failure::GaveUp("there are no candidates".to_owned()))?;
        let mut decision = necro_sdk::routing::choose(first, "to show what is refused");
        match settings.read::<String>()?.as_str() {
            "state" => decision.state = "s".repeat(4097),
            "score" => {
                decision.scores.push(Score { role: first.role.clone(), points: f64::NAN, matched: Vec::new() });
            }
            "instance" => decision.instance = "nobody in particular".to_owned(),
            "reason" => decision.reason = "r".repeat(65 * 1024),
            "size" => decision.reason = "r".repeat(2 << 20),
            other => return Err(Failure::Invalid(format!("`{other}` is no way to break the contract"))),
        }
        Ok(decision)
    }
}

necro_sdk::export_routing!(BadOutput);
