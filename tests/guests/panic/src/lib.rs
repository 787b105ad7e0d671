//! Panics, and says why.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue};
use necro_sdk::{Failure, RoutingPolicy, Settings};

/// Panics.
#[derive(Debug)]
pub struct Panic;

impl RoutingPolicy for Panic {
    fn route(issue: &Issue, _: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
        panic!("nothing is known about {}", issue.id)
    }
}

necro_sdk::export_routing!(Panic);
