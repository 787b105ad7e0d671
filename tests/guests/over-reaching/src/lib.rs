//! A routing policy that would like to write files and ask a model.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue};
use necro_sdk::{Failure, RoutingPolicy, Settings, host};

/// Wants too much.
#[derive(Debug)]
pub struct OverReaching;

impl RoutingPolicy for OverReaching {
    fn route(issue: &Issue, candidates: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
        host::workspace_edit::write("notes.md", &issue.text).map_err(Failure::Host)?;
        host::command::run("test", &[]).map_err(Failure::Host)?;
        let first = candidates.first().ok_or_else(|| Failure::Invalid("there are no candidates".to_owned()))?;
        Ok(necro_sdk::routing::choose(first, "it does not come to this"))
    }
}

necro_sdk::export_routing!(OverReaching);
