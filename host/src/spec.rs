//! Kiro spec files: read, check, tick, write. Text in, text out; only `folder` and `replace`
//! touch a disk.
//!
//! Nothing here refuses a file that people really write: what cannot be used is reported as a
//! [`Diagnostic`] with its line, and the rest is read. Bytes that are not changed on purpose stay as
//! they are.

pub mod check;
pub mod config;
pub mod design;
pub mod diagnostic;
pub mod folder;
mod graph;
pub mod job;
mod line;
mod meta;
pub mod order;
mod refs;
pub mod replace;
pub mod report;
pub mod requirements;
pub mod steering;
pub mod sync;
pub mod tasks;
pub mod tick;
pub mod write;

pub use check::{Rules, check_design, check_requirements, check_tasks};
pub use diagnostic::{Diagnostic, Severity};
pub use line::{MAX_FILE_BYTES, MAX_FILE_LINES};
pub use order::{Mode, Plan, plan};
pub use requirements::Requirements;
pub use tasks::TaskFile;
pub use tick::{TickError, TickState, tick};
pub use write::write;
