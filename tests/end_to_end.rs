//! The binary as a user drives it: real repositories, real components, real commands; only the model
//! is a script or a server of ours.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/llm_server.rs"]
mod llm_server;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/yard.rs"]
mod yard;

#[path = "end_to_end/addresses.rs"]
mod addresses;
#[path = "end_to_end/branches.rs"]
mod branches;
#[path = "end_to_end/damage.rs"]
mod damage;
#[path = "end_to_end/demo.rs"]
mod demo;
#[path = "end_to_end/disk.rs"]
mod disk;
#[path = "end_to_end/grants.rs"]
mod grants;
#[path = "end_to_end/interrupts.rs"]
mod interrupts;
#[path = "end_to_end/judge.rs"]
mod judge;
#[path = "end_to_end/models.rs"]
mod models;
#[path = "end_to_end/modules.rs"]
mod modules;
#[path = "end_to_end/playbooks.rs"]
mod playbooks;
#[path = "end_to_end/policies.rs"]
mod policies;
#[path = "end_to_end/queue.rs"]
mod queue;
#[path = "end_to_end/records.rs"]
mod records;
#[path = "end_to_end/replies.rs"]
mod replies;
#[path = "end_to_end/resume.rs"]
mod resume;
#[path = "end_to_end/sandbox.rs"]
mod sandbox;
#[path = "end_to_end/specs.rs"]
mod specs;
#[path = "end_to_end/swap.rs"]
mod swap;
#[path = "end_to_end/workspaces.rs"]
mod workspaces;
#[path = "end_to_end/world.rs"]
mod world;
