//! Old runs once more, from their records alone: repeated strictly, decided by another policy, or looked
//! at as they were at one call. Nothing here takes a lock, writes into the state directory, reaches a
//! network or asks a model, so that a copy on another machine, or one that cannot be written, does.

mod again;
mod at;
mod counterfactual;
mod fixture;
mod strict;
mod watched;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::OnceCell;

use super::blocking::blocking;
use super::error::{ServiceError, chain};
use super::plugins::{Granting, Seated, load_recorded, seat_recorded};
use super::records::existing_state;
use super::state_dir::StateDir;
use crate::domain::grant::Grant;
use crate::domain::id::{AttemptKey, Digest, ExecutionId, RunId, TaskKey};
use crate::plugin::{Engine, EngineOptions, Plugin};
use crate::registry::{ExecutionKind, ExecutionRecord, Reader, Registry, RegistryError, Run};
use crate::store::BlobStore;

pub use at::{AttemptName, Moment, Written, at};
pub(crate) use counterfactual::shadow;
pub use counterfactual::{
    Changed, Comparison, MAX_SHADOWED, ReviewChange, SHADOWED, Shadow, ShadowChange, Tried, compare,
};
pub use fixture::{Fixture, FixtureAnswer, Fixtures, prepare_fixtures, replay_fixture, write_fixtures};
pub use strict::{Difference, Side, StrictReport, strict};

/// Of things that are named in a report, such as executions that cannot be repeated, so many are listed.
const MAX_NAMED: usize = 100;

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Executions that were looked at.
    pub executions: u64,
    /// Of so many.
    pub of: u64,
    /// Calls that were repeated.
    pub calls: u64,
}

/// Told after each execution.
pub type Watching = Arc<dyn Fn(Passed) + Send + Sync>;

/// What to replay.
#[derive(Clone, Default)]
pub struct ReplayOptions {
    /// The repository; it need not be there any more.
    pub repository: String,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The state directory; absent: its usual place.
    pub state: Option<PathBuf>,
    /// Where compiled components are kept; absent: they are compiled each time.
    pub cache: Option<PathBuf>,
    /// The run; absent: the newest.
    pub run: Option<RunId>,
    /// Who is told how far it is.
    pub watching: Option<Watching>,
}

/// An execution in a report, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Which.
    pub execution: ExecutionId,
    /// What it was for; absent when even that cannot be read.
    pub kind: Option<ExecutionKind>,
    /// Its plugin.
    pub plugin: Option<String>,
    /// The attempt it belongs to, such as `login-ui/2.1#1`.
    pub attempt: Option<String>,
    /// What is to be said.
    pub reason: String,
}

/// The first of some executions, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Named>,
}

impl Listed {
    fn push(&mut self, named: Named) {
        self.count += 1;
        if self.first.len() < MAX_NAMED {
            self.first.push(named);
        }
    }
}

/// The records of a state directory, and what repeats them.
#[derive(Clone)]
struct Archive {
    state: StateDir,
    blobs: BlobStore,
    records: Records,
    engine: Engine,
    components: Arc<Mutex<HashMap<Component, Loaded>>>,
}

/// A component, or why there is none: loaded once, by whoever needs it first.
type Loaded = Arc<OnceCell<Result<Arc<Plugin>, String>>>;
/// What a component was loaded as: its name stands in its messages.
type Component = (Digest, String, ExecutionKind);

/// Where records are read.
#[derive(Clone)]
enum Records {
    /// In a state directory that may be anybody's, or a copy.
    Copy(Arc<Mutex<Reader>>),
    /// In this process's own registry, while it works.
    Live(Registry),
}

impl Records {
    /// Asks a reader, where it may block.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        match self {
            Self::Copy(reader) => {
                let reader = Arc::clone(reader);
                blocking(move || Ok(ask(&reader.lock().unwrap_or_else(PoisonError::into_inner))?)).await
            }
            Self::Live(registry) => Ok(registry.read(ask).await?),
        }
    }

    /// All executions of a run, or those of one kind, in the order of their beginning.
    async fn executions(&self, run: &RunId, kind: Option<ExecutionKind>) -> Result<Vec<ExecutionId>, ServiceError> {
        let run = run.clone();
        self.read(move |reader| {
            let mut all: Vec<ExecutionId> = Vec::new();
            loop {
                let next = reader.execution_ids(&run, kind, all.last())?;
                if next.is_empty() {
                    return Ok(all);
                }
                all.extend(next);
            }
        })
        .await
    }

    /// What is to be said of an execution, as far as it can be read.
    async fn named(&self, id: &ExecutionId, reason: String) -> Named {
        let wanted = id.clone();
        match self.read(move |reader| reader.execution(&wanted)).await {
            Ok(Some(execution)) => named(&execution, reason),
            _ => Named { execution: id.clone(), kind: None, plugin: None, attempt: None, reason },
        }
    }
}

impl Archive {
    async fn open(options: &ReplayOptions) -> Result<Self, ServiceError> {
        let options = options.clone();
        blocking(move || {
            let state = existing_state(&options.repository, &options.cwd, options.state.as_deref())?;
            let blobs = BlobStore::open(state.blobs())?;
            let reader = Reader::open(&state.registry(), blobs.clone())?;
            let records = Records::Copy(Arc::new(Mutex::new(reader)));
            let engine = Engine::new(EngineOptions { cache_dir: options.cache, ..EngineOptions::default() })?;
            Ok(Self { state, blobs, records, engine, components: Arc::default() })
        })
        .await
    }

    /// The run that is named, or the newest.
    async fn run(&self, named: Option<&RunId>) -> Result<Run, ServiceError> {
        let runs = self.records.read(Reader::runs).await?;
        let nothing = || ServiceError::Usage(format!("nothing was run yet in {}", self.state.root().display()));
        let Some(named) = named else { return runs.into_iter().next_back().ok_or_else(nothing) };
        let newest = runs.last().map(|run| run.id.clone()).ok_or_else(nothing)?;
        runs.into_iter()
            .find(|run| run.id == *named)
            .ok_or_else(|| ServiceError::Usage(format!("there is no run {named} here; the newest is {newest}")))
    }

    /// The component of an execution with its settings and limits; loaded once. An error is in words.
    async fn seated(&self, execution: &ExecutionRecord) -> Result<Seated, String> {
        let key = (execution.component.clone(), execution.plugin.clone(), execution.kind);
        let cell = {
            let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(components.entry(key).or_default())
        };
        let loaded = cell.get_or_init(|| async {
            load_recorded(&self.engine, execution, &self.blobs).await.map_err(|error| chain(&error))
        });
        let plugin = Arc::clone(loaded.await.as_ref().map_err(Clone::clone)?);
        seat_recorded(plugin, execution, Granting::Fixed(Arc::new(Grant::everything()))).map_err(|error| chain(&error))
    }
}

fn named(execution: &ExecutionRecord, reason: String) -> Named {
    Named {
        execution: execution.id.clone(),
        kind: Some(execution.kind),
        plugin: Some(execution.plugin.clone()),
        attempt: attempt_of(execution),
        reason,
    }
}

/// The attempt that an execution belongs to, as people write it.
fn attempt_of(execution: &ExecutionRecord) -> Option<String> {
    let (spec, task) = (execution.spec.clone()?, execution.task.clone()?);
    let key = TaskKey { spec, task };
    Some(match execution.attempt {
        Some(attempt) => AttemptKey { key, attempt }.to_string(),
        None => key.to_string(),
    })
}

/// As many executions are repeated at the same time; each has its record in memory.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
