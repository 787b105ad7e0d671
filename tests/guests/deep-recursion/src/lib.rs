//! Calls itself until its stack is used up: where that is depends on the machine's code.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue};
use necro_sdk::{Failure, RoutingPolicy, Settings};

/// Recurses.
#[derive(Debug)]
pub struct DeepRecursion;

impl RoutingPolicy for DeepRecursion {
    fn route(issue: &Issue, candidates: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
        let depth = sink(u64::from(issue.priority.unsigned_abs()));
        let first = candidates.first().ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        Ok(necro_sdk::routing::choose(first, depth.to_string()))
    }
}

fn sink(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { sink(depth + 1).rotate_left(1) ^ depth }
}

necro_sdk::export_routing!(DeepRecursion);
