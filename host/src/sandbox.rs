//! Commands: a program, its arguments, a work tree; an environment of its own, a time limit, a
//! process group that is killed whole, and output that is bounded and masked.
//!
//! What a command may reach is decided by [`Confinement`]. Only `Off` exists so far: a command runs
//! with the rights of the host's user. Confinement by the operating system takes its place in
//! `confine`, which turns the arguments into those of a launcher that confines itself and then
//! executes them.

mod confine;
mod env;
mod output;
mod run;
mod strays;
#[cfg(test)]
mod tests;

pub use confine::Confinement;
pub use env::HostEnv;
pub use run::{CommandSpec, Finished, MAX_LOG_BYTES, Sandbox, SandboxError};
pub use strays::end_strays;
