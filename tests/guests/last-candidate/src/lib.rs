//! Picks the last candidate, whatever the issue says: easy to tell from the built-in policy. It counts
//! its decisions in its state.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue};
use necro_sdk::{Failure, RoutingPolicy, Settings};

/// Picks the last.
#[derive(Debug)]
pub struct LastCandidate;

impl RoutingPolicy for LastCandidate {
    fn route(_: &Issue, candidates: &[Candidate], _: &Settings, state: &str) -> Result<Decision, Failure> {
        let last = candidates.last().ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        let before: u64 = state.parse().unwrap_or_default();
        let decision = necro_sdk::routing::choose(last, "the last candidate");
        Ok(Decision { state: (before + 1).to_string(), ..decision })
    }
}

necro_sdk::export_routing!(LastCandidate);
