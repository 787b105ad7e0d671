//! Write plugins for NecroCode: implement one trait, call one macro, build for `wasm32-wasip2`.
//!
//! | A plugin that | implements | and calls |
//! | --- | --- | --- |
//! | does assignments in a role | [`Spirit`] | [`export_spirit!`] |
//! | orders tasks that are ready | [`SchedulingPolicy`] | [`export_scheduling!`] |
//! | picks the instance for an issue | [`RoutingPolicy`] | [`export_routing!`] |
//! | judges a change | [`ReviewHeuristic`] | [`export_review!`] |
//!
//! Built natively, a plugin is an ordinary library whose logic `cargo test` can call; the macros then
//! only check that the trait is implemented. Do not call imports ([`host`]) in native tests: there is
//! no host, and the process ends. Tests of the component in the real host need the feature `harness`.

#[doc(hidden)]
pub mod bindings;
pub mod coding;
mod error;
#[cfg(all(feature = "harness", not(target_arch = "wasm32")))]
pub mod harness;
mod ids;
pub mod log;
pub mod review;
pub mod routing;
pub mod scheduling;
mod settings;
pub mod spirit;

pub use bindings::host::necro::plugin::types::{Failure, HostError};
pub use ids::{InstanceId, RoleId, SpecId, TaskId};
pub use review::ReviewHeuristic;
pub use routing::RoutingPolicy;
pub use scheduling::SchedulingPolicy;
pub use settings::Settings;
pub use spirit::Spirit;

/// The host's interfaces, as functions that a component calls. Which of them a plugin may import
/// depends on its world; using one is what asks for it.
pub mod host {
    pub use crate::bindings::host::necro::plugin::{
        artifact, command, llm, lock, log, mailbox, registry, workspace, workspace_edit,
    };
}

/// Its Rust examples are compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// A host error in words, with its kind in front.
#[must_use]
pub fn error_text(error: &HostError) -> String {
    let (kind, text) = match error {
        HostError::Denied(t) => ("denied", t),
        HostError::NotFound(t) => ("not found", t),
        HostError::Conflict(t) => ("conflict", t),
        HostError::BudgetExceeded(t) => ("budget exceeded", t),
        HostError::TimedOut(t) => ("timed out", t),
        HostError::Cancelled(t) => ("cancelled", t),
        HostError::Invalid(t) => ("invalid", t),
        HostError::Uncertain(t) => ("uncertain", t),
        HostError::Other(t) => ("failed", t),
    };
    format!("{kind}: {text}")
}
