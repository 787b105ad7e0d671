//! Never ends, and never calls the host: only fuel or an epoch can stop it.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue};
use necro_sdk::{Failure, RoutingPolicy, Settings};

/// Loops.
#[derive(Debug)]
pub struct EndlessLoop;

impl RoutingPolicy for EndlessLoop {
    fn route(issue: &Issue, _: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
        let mut rounds = issue.priority;
        loop {
            rounds = std::hint::black_box(rounds.wrapping_add(1));
        }
    }
}

necro_sdk::export_routing!(EndlessLoop);
