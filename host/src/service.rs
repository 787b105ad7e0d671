//! The work itself, over the adapters: a job becomes a spec, a spec becomes tasks, a task becomes an
//! attempt, an attempt becomes a commit on the spec branch. `necromancer` is the way in.

mod alone;
mod assignment;
mod basefiles;
mod capabilities;
pub mod demo;
mod dispatcher;
mod doctor;
mod error;
mod executions;
mod gate;
mod integration;
mod journal;
mod judgement;
mod land;
mod llm_access;
mod necromancer;
mod planning;
mod plugins;
mod policies;
mod progress;
mod reclaim;
mod records;
mod remains;
mod resume;
mod review;
mod runner;
mod setup;
mod slots;
mod specbranch;
mod specname;
mod state_dir;
mod tape;
mod taskset;
mod workshop;

pub use alone::go_on_alone;
pub use doctor::{DoctorOptions, Examined, Health, examine};
pub(crate) use error::chain;
pub use error::{ServiceError, Trouble};
pub use land::{LandOptions, LandSummary, land};
pub use necromancer::{EndedRun, Extent, Goal, RunOptions, RunSummary, TaskCounts, run};
pub use plugins::{PluginChoice, PluginSource, load_builtin, load_plugin_file};
pub use progress::{Observer, Progress, Silent};
pub use records::{Owner, existing_state, owner, root_of};
pub use resume::{Going, is_open, openable};
pub use state_dir::{DEFAULT_NAME as STATE_DIR_NAME, StateDir, StateDirError};
