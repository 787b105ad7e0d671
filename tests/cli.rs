//! The binary as people type it: help, set-up commands, checks of specs and plugins, queries over a
//! recorded run, and every input that has to be refused. Runs to merged commits are elsewhere.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/damage.rs"]
mod damage;
#[path = "cli/earlier.rs"]
mod earlier;
#[path = "cli/exchange.rs"]
mod exchange;
#[path = "support/golden.rs"]
mod golden;
#[path = "support/guests.rs"]
mod guests;
#[path = "cli/place.rs"]
mod place;
#[path = "cli/plugins.rs"]
mod plugins;
#[path = "cli/queries.rs"]
mod queries;
#[path = "cli/recorded.rs"]
mod recorded;
#[path = "cli/set_up.rs"]
mod set_up;
#[path = "cli/slots.rs"]
mod slots;
#[path = "cli/specs.rs"]
mod specs;
#[path = "cli/sync.rs"]
mod sync;
#[path = "cli/upkeep.rs"]
mod upkeep;
#[path = "cli/vault.rs"]
mod vault;
#[path = "cli/work.rs"]
mod work;
