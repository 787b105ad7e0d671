//! Routing policies: which instance takes an issue.

mod dictionary;
mod fit;
mod words;

use std::marker::PhantomData;

use crate::bindings::routing_policy::exports::necro::plugin::routing::Guest;
pub use crate::bindings::routing_policy::exports::necro::plugin::routing::{Candidate, Decision, Issue, Score};
use crate::{Failure, Settings};
pub use fit::{FALLBACK_ROLE, Fit, LABEL_POINTS, fit, has_skill, label_name, role_scores};
pub use words::{has_words, word_scores};

/// Picks the instance for an issue. The same input must give the same decision: there is no clock, no
/// randomness and no memory but `state`.
///
/// ```
/// use necro_sdk::routing::{Candidate, Decision, Issue};
/// use necro_sdk::{Failure, RoutingPolicy, Settings};
///
/// struct FirstFree;
///
/// impl RoutingPolicy for FirstFree {
///     fn route(_: &Issue, candidates: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
///         let free = candidates.iter().find(|c| c.load < c.capacity);
///         let chosen = free.ok_or_else(|| Failure::Invalid("nobody is free".into()))?;
///         Ok(necro_sdk::routing::choose(chosen, "the first that is free"))
///     }
/// }
///
/// necro_sdk::export_routing!(FirstFree);
/// ```
pub trait RoutingPolicy {
    /// The choice among `candidates`. `state` is what the last decision returned, at most 4 KiB; it is
    /// empty at first.
    ///
    /// # Errors
    /// A [`Failure`] makes the host fall back to its built-in policy.
    fn route(issue: &Issue, candidates: &[Candidate], settings: &Settings, state: &str) -> Result<Decision, Failure>;
}

/// A decision for `candidate` that shows no scores and keeps no state.
#[must_use]
pub fn choose(candidate: &Candidate, reason: impl Into<String>) -> Decision {
    Decision { instance: candidate.instance.clone(), scores: Vec::new(), reason: reason.into(), state: String::new() }
}

/// The number at the end of an instance's name: 12 for `scrum_master_spirit_12`. Names without one
/// come last.
#[must_use]
pub fn instance_number(instance: &str) -> u64 {
    instance.rsplit('_').next().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

/// The generated interface over the trait.
#[doc(hidden)]
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: RoutingPolicy> Guest for Adapter<T> {
    fn route(issue: Issue, candidates: Vec<Candidate>, settings: String, state: String) -> Result<Decision, Failure> {
        T::route(&issue, &candidates, &Settings::new(settings), &state)
    }
}

/// Make a type that implements [`RoutingPolicy`] the component's export.
#[macro_export]
macro_rules! export_routing {
    ($policy:ty) => {
        const _: () = {
            const fn implements<T: $crate::RoutingPolicy>() {}
            implements::<$policy>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::routing::Adapter<$policy>;
    $crate::bindings::routing_policy::export!(Exported with_types_in $crate::bindings::routing_policy);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_numbered_by_the_end_of_their_name() {
        assert_eq!(instance_number("scrum_master_spirit_12"), 12);
        assert_eq!(instance_number("odd"), u64::MAX);
    }
}
