//! The way of a plugin's author, through the binary as a person types it: a project from a template, its build, its
//! check and its tests in both languages, one call of a component, recorded decisions, and the guide's commands.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "author/dev.rs"]
mod dev;
#[path = "author/exec.rs"]
mod exec;
#[path = "author/fixtures.rs"]
mod fixtures;
#[path = "support/guests.rs"]
mod guests;
#[path = "author/guide.rs"]
mod guide;
#[path = "cli/place.rs"]
mod place;
#[path = "author/project.rs"]
mod project;
#[path = "author/python.rs"]
mod python;
#[path = "author/rust.rs"]
mod rust;
