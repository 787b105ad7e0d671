//! Routing by words and load: the role that most words of an issue name, and of that role the
//! instance with the least to do. A label that names a role or a skill beats all words.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue, fit, instance_number};
use necro_sdk::{Failure, RoutingPolicy, Settings};
use serde::Deserialize;

/// There is nothing to set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {}

/// The policy. It keeps no state and has no settings.
#[derive(Debug)]
pub struct LeastBusy;

impl RoutingPolicy for LeastBusy {
    fn route(issue: &Issue, candidates: &[Candidate], settings: &Settings, _: &str) -> Result<Decision, Failure> {
        let Options {} = settings.read()?;
        let fit = fit(issue, candidates);
        let chosen =
            least_busy(&fit.candidates).ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        let among = fit.candidates.len();
        let reason = format!("{}; {} has {} running, the least of {among}", fit.reason, chosen.instance, chosen.load);
        Ok(Decision { instance: chosen.instance.clone(), scores: fit.scores, reason, state: String::new() })
    }
}

/// One with room, then the least load, then the lowest number.
fn least_busy<'a>(candidates: &[&'a Candidate]) -> Option<&'a Candidate> {
    let busy = |c: &&Candidate| (c.load >= c.capacity, c.load, instance_number(&c.instance), c.instance.clone());
    candidates.iter().copied().min_by_key(busy)
}

necro_sdk::export_routing!(LeastBusy);

#[cfg(test)]
mod tests;
