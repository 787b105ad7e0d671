//! What a run tells while it goes on. The command line shows it; nothing depends on its being heard.

use serde::Serialize;

use crate::domain::assignment::WorkKind;
use crate::domain::event::Outcome;
use crate::domain::id::{AttemptKey, Digest, Instance, RunId, SpecName, TaskId};

/// One thing worth telling.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// The run is set up.
    Started {
        /// Its id.
        run: RunId,
        /// The spec it works on.
        spec: SpecName,
        /// First line of the job, or the spec's name.
        title: String,
        /// The model back end.
        llm: String,
        /// Replies come from a script, not from a model.
        scripted: bool,
        /// It goes on where it was cut off.
        resumed: bool,
        /// In which sandbox commands run: on or off.
        sandbox: &'static str,
        /// Names of the gate's commands; empty: nothing is checked by a command.
        gate: Vec<String>,
    },
    /// The plan is known.
    Planned {
        /// Tasks that will run.
        tasks: usize,
        /// Tasks that are done already.
        done: usize,
    },
    /// An attempt starts.
    AttemptStarted {
        /// Which.
        attempt: AttemptKey,
        /// What kind of work.
        kind: WorkKind,
        /// The task's title.
        title: String,
        /// Who.
        instance: Instance,
        /// Why this instance.
        reason: String,
    },
    /// What a spirit does at the moment.
    Activity {
        /// Who.
        instance: Instance,
        /// In a few words.
        text: String,
    },
    /// An attempt ended.
    AttemptFinished {
        /// Which.
        attempt: AttemptKey,
        /// Who.
        instance: Instance,
        /// How.
        outcome: Outcome,
        /// What it failed on, first line.
        reason: Option<String>,
    },
    /// A task is merged.
    Merged {
        /// The task.
        task: TaskId,
        /// Its title.
        title: String,
        /// The merge commit.
        commit: String,
        /// Tasks done so far.
        done: usize,
        /// Tasks in all.
        total: usize,
    },
    /// A task will not be done by this run.
    Failed {
        /// The task.
        task: TaskId,
        /// Its title.
        title: String,
        /// Why.
        reason: String,
    },
    /// A large component is compiled, once; whatever does not need it goes on.
    Compiling {
        /// The plugin.
        plugin: String,
        /// The component's size.
        size_bytes: usize,
    },
    /// A component takes part that did not come with the host.
    Brought {
        /// Such as `routing/mine`.
        plugin: String,
        /// SHA-256 of the component.
        digest: Digest,
        /// What it may do, with its bounds; empty: nothing.
        may: Vec<String>,
    },
    /// Another component took a seat.
    Seated {
        /// Which, such as `routing`.
        seat: String,
        /// The plugin's name.
        name: String,
        /// SHA-256 of the component.
        digest: Digest,
        /// Who sat there.
        replaces: Option<String>,
    },
    /// Something a person should know.
    Warning {
        /// What.
        text: String,
    },
    /// A person asked for a stop: nothing new is claimed.
    Stopping,
}

/// Hears progress. Called from several threads; must not block.
pub trait Observer: Send + Sync {
    /// Take note.
    fn observe(&self, progress: &Progress);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _: &Progress) {}
}
