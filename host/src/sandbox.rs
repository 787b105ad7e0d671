//! Commands: a program, its arguments, a work tree; an environment of its own, a time limit, a
//! process group that is killed whole, and output that is bounded and masked.
//!
//! What a command may reach is decided by [`Confinement`]. Unless it is off, the host starts itself anew
//! as a launcher, whose one thread takes limits, confines itself by Landlock and seccomp as its `policy`
//! says, and becomes the command. `places` says what is readable, `filter` which system calls are gone.

mod confine;
mod env;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod launch;
mod output;
mod places;
mod policy;
mod run;
mod strays;
#[cfg(test)]
mod tests;
mod watch;

pub use confine::{Confinement, Unconfinable};
pub use env::HostEnv;
#[cfg(target_os = "linux")]
pub use launch::{is_launcher, launch};
pub use policy::{LAUNCHER, Limits, NEEDED_ABI, Protection, WANTED_ABI};
pub use run::{CommandSpec, Finished, MAX_LOG_BYTES, Sandbox, SandboxError};
pub use strays::end_strays;
