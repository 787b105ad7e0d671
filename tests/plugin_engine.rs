//! The plugin engine against real components: what is loaded and what is refused, what stops a guest,
//! how its host calls are journaled, and what it sees of the system.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "support/guests.rs"]
mod guests;

#[path = "plugin_engine/builtin.rs"]
mod builtin;
#[path = "plugin_engine/calls.rs"]
mod calls;
#[path = "support/examples.rs"]
mod examples;
#[path = "plugin_engine/fakes.rs"]
mod fakes;
#[path = "plugin_engine/frozen.rs"]
mod frozen;
#[path = "plugin_engine/limits.rs"]
mod limits;
#[path = "plugin_engine/load.rs"]
mod load;
#[path = "support/python_guests.rs"]
mod python_guests;
#[path = "plugin_engine/repeated.rs"]
mod repeated;
#[path = "plugin_engine/wasi.rs"]
mod wasi;
