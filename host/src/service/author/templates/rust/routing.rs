//! Which instance takes an issue: of those that are free and fit its labels, the one that has waited longest for work.

use necro_sdk::routing::{Candidate, Decision, Issue, choose};
use necro_sdk::{Failure, RoutingPolicy, Settings};

struct Policy;

impl RoutingPolicy for Policy {
    fn route(issue: &Issue, candidates: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
        let fitting = candidates.iter().filter(|candidate| candidate.is_free() && candidate.fits(issue));
        let chosen = fitting.min_by_key(|candidate| candidate.last_assigned);
        let chosen = chosen.ok_or_else(|| Failure::invalid("nobody who fits is free"))?;
        Ok(choose(chosen, "it has waited longest for work"))
    }
}

necro_sdk::export_routing!(Policy);
