//! `plugin exec`: one call of one component by the real host, in a place of its own, with everything around
//! it given by the caller. What authors test against is what will run their plugin.
//!
//! `request` is what is asked for, `input` fills in what is left out, `stage` is the place of those that work
//! with files or a model.

mod input;
mod request;
mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::breakers::Breakers;
use super::error::ServiceError;
use super::executions::{Invocation, Scene, begin, outcome_of};
use super::plugins::seat::within;
use super::plugins::shelf::from_file;
use super::plugins::{Granting, Seated};
use super::progress::Silent;
use super::setup::{owned_registry, temporary_dir};
use super::state_dir::StateDir;
use crate::clock::{Clock, ManualClock};
use crate::config::Uncertain;
use crate::domain::call::Function;
use crate::domain::grant::Grant;
use crate::domain::id::{Digest, ExecutionId};
use crate::plugin::capability::{Capabilities, Log};
use crate::plugin::{Ended, Engine, EngineOptions, ExecutionError, Expectation, GuestUsage, Limits, Plugin};
use crate::registry::{CallRecord, ExecutionKind, Registry};
use input::{Input, Job, Question};
pub use request::{Call, ExecRequest, FakeCommand, FakeOutcome, MAX_REQUEST_BYTES, Reply, ToolUse};
use stage::{Cast, Stage};

/// When an execution starts, unless the request says otherwise: 2026-01-01.
const BEGINNING: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);
/// Lines of standard output and error that are kept, as the host keeps log records.
const MAX_LINES: usize = 1_000;

/// What came of a call.
#[derive(Debug, Serialize)]
pub struct ExecAnswer {
    /// Which component.
    pub plugin: Facts,
    /// What was called.
    pub call: Call,
    /// `{"ok": result}`, or `{"error": name, "message": words}` and, when the plugin itself says that it failed,
    /// `failure`.
    pub outcome: Value,
    /// Every host call, in order.
    pub calls: Vec<CallMade>,
    /// What it logged or printed, in order.
    pub log: Vec<LogLine>,
    /// What it used.
    pub usage: GuestUsage,
    /// Text files of the work tree after the call; absent where there was none.
    pub files: Option<BTreeMap<String, String>>,
    /// How they differ from the commit, as a unified diff; absent where there was no work tree.
    pub diff: Option<String>,
}

/// Which component was called.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Interfaces of the host that it imports.
    pub capabilities: Vec<String>,
}

impl Facts {
    /// Those of `plugin`.
    pub(super) fn of(plugin: &Plugin) -> Self {
        Self {
            name: plugin.name.clone(),
            kind: plugin.kind.as_str(),
            digest: plugin.digest.clone(),
            capabilities: plugin.capabilities().map(str::to_owned).collect(),
        }
    }
}

/// A host call as it is on record.
#[derive(Debug, Clone, Serialize)]
pub struct CallMade {
    /// Its number, from 1.
    pub sequence: u64,
    /// Which function.
    pub function: Function,
    /// What it was asked.
    pub arguments: Value,
    /// `{"Ok": answer}` or `{"Err": error}`; absent when the execution ended in it.
    pub answer: Option<Value>,
}

impl From<CallRecord> for CallMade {
    fn from(call: CallRecord) -> Self {
        let CallRecord { sequence, function, arguments, answer, .. } = call;
        Self { sequence, function, arguments, answer }
    }
}

/// A log record, or a line that was printed.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// trace, debug, info, warn or error.
    pub level: String,
    /// The text.
    pub message: String,
    /// Named values.
    pub fields: BTreeMap<String, String>,
}

/// Runs one call.
///
/// # Errors
/// [`ServiceError`] when the request makes no sense, the component cannot be loaded, or the place cannot be
/// made. How the component ends is in the answer.
pub async fn exec(request: ExecRequest, cache: Option<PathBuf>) -> Result<ExecAnswer, ServiceError> {
    let missing = || ServiceError::Usage("the request names no `component`, and neither does the command".to_owned());
    let file = request.component.clone().ok_or_else(missing)?;
    let plugin = load(&file, cache).await?;
    if let Some(kind) = request.call.kind().filter(|kind| *kind != plugin.kind) {
        return Err(ServiceError::Usage(format!(
            "`{}` is a {} plugin and has no `{}`: that is a {kind} plugin's",
            plugin.name,
            plugin.kind,
            request.call.as_str()
        )));
    }
    let input = input::of(&request)?;
    let seated = seat(&request, plugin)?;
    match input {
        Input::Describe => Ok(described(&seated).await),
        Input::Decide(question) => decided(&request, &seated, question).await,
        Input::Work(job) => worked(&request, &seated, job).await,
    }
}

/// Loads a component's file, whatever its kind.
pub(super) async fn load(path: &Path, cache: Option<PathBuf>) -> Result<Arc<Plugin>, ServiceError> {
    let engine = Engine::new(EngineOptions { cache_dir: cache, ..EngineOptions::default() })?;
    from_file(&engine, path, Expectation::Any).await
}

/// With the settings that its manifest lets through, and what it asks for, as far as the request grants that.
fn seat(request: &ExecRequest, plugin: Arc<Plugin>) -> Result<Seated, ServiceError> {
    let set = if request.settings.is_null() { json!({}) } else { request.settings.clone() };
    let settings = match (&plugin.manifest, set.as_object()) {
        (None, _) => set,
        (Some(manifest), Some(set)) => Value::Object(manifest.settings(set).map_err(|problems| {
            ServiceError::Usage(format!("the request cannot be used: `settings`: {}", problems.join("; ")))
        })?),
        (Some(_), None) => {
            return Err(ServiceError::Usage("the request cannot be used: `settings` is no object".to_owned()));
        }
    };
    let wanted = plugin.manifest.as_ref().map(|manifest| manifest.limits).unwrap_or_default();
    let limits = within(Limits::for_kind(plugin.kind), request.limits.or(wanted));
    let asked = plugin.asks();
    let grant = Arc::new(Grant::of(&asked, &request.granted(&asked)?));
    Ok(Seated { plugin, settings, limits, grant: Granting::Fixed(grant) })
}

/// Asks a component what it is; nothing of that is recorded.
async fn described(seated: &Seated) -> ExecAnswer {
    let plugin = &seated.plugin;
    let (outcome, usage) = told(plugin.describe().await);
    let facts = Facts::of(plugin);
    let (calls, log) = (Vec::new(), Vec::new());
    ExecAnswer { plugin: facts, call: Call::Describe, outcome, calls, log, usage, files: None, diff: None }
}

/// A policy decides: there is nothing around it but its record.
async fn decided(request: &ExecRequest, seated: &Seated, question: Question) -> Result<ExecAnswer, ServiceError> {
    let dir = temporary_dir()?;
    let state = StateDir::create(&dir.path().join("state"), None)?;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(request.time.unwrap_or(BEGINNING)));
    let breakers = Breakers::new(Arc::clone(&clock));
    let registry = owned_registry(&state, clock).await?;
    let (_stop, stop) = watch::channel(false);
    let observer = Arc::new(Silent);
    let scene = Scene { registry, run: None, spec: None, uncertain: Uncertain::default(), observer, breakers, stop };
    let lines = Arc::new(Lines::default());
    let log = Arc::clone(&lines) as Arc<dyn Log>;
    let capabilities = Capabilities { log: Some(log), ..Capabilities::default() };
    let (settings, plugin) = (seated.settings.to_string(), &seated.plugin);
    let (kind, input) = match &question {
        Question::Order { ready, pools, state } => {
            (ExecutionKind::Scheduling, json!({ "ready": ready, "pools": pools, "state": state }))
        }
        Question::Route { issue, candidates, state } => {
            (ExecutionKind::Routing, json!({ "issue": issue, "candidates": candidates, "state": state }))
        }
    };
    let grant = seated.granted();
    let invocation = Invocation { kind, seated, attempt: None, instance: None, input, grant, capabilities };
    let (begun, context) = begin(&scene, invocation).await?;
    let (outcome, usage) = match &question {
        Question::Order { ready, pools, state } => {
            let ended = plugin.order(context, ready, pools, &settings, state).await;
            begun.end(&ended, None).await?;
            told(ended)
        }
        Question::Route { issue, candidates, state } => {
            let ended = plugin.route(context, issue, candidates, &settings, state).await;
            begun.end(&ended, None).await?;
            told(ended)
        }
    };
    let calls = calls(&scene.registry, begun.id()).await?;
    let (plugin, log) = (Facts::of(plugin), lines.taken());
    Ok(ExecAnswer { plugin, call: request.call, outcome, calls, log, usage, files: None, diff: None })
}

/// A spirit or a heuristic works, on a stage.
async fn worked(request: &ExecRequest, seated: &Seated, job: Job) -> Result<ExecAnswer, ServiceError> {
    let cast = match &job {
        Job::Review { change, instance } => Cast {
            spec: change.spec.clone(),
            task: change.task.clone(),
            title: change.title.clone(),
            instance: instance.clone(),
        },
        Job::Perform { assignment, instance } => Cast {
            spec: assignment.spec.clone(),
            task: assignment.task.clone(),
            title: assignment.title.clone(),
            instance: instance.clone(),
        },
    };
    let stage = Stage::make(request, &cast, seated).await?;
    let lines = Arc::new(Lines::default());
    let (settings, plugin, grant) = (seated.settings.to_string(), &seated.plugin, seated.granted());
    let log = Arc::clone(&lines) as Arc<dyn Log>;
    let capabilities = Capabilities { log: Some(log), ..stage.capabilities(plugin, &grant) };
    let scene = stage.scene();
    let invocation = |kind, input| Invocation {
        kind,
        seated,
        attempt: Some(stage.attempt()),
        instance: Some(cast.instance.clone()),
        input,
        grant: Arc::clone(&grant),
        capabilities: capabilities.clone(),
    };
    let (begun, (outcome, usage)) = match job {
        Job::Review { mut change, .. } => {
            if !request.changes.is_empty() && change.files.is_empty() {
                change.files = stage.diff().await?.files;
            }
            let (begun, context) =
                begin(&scene, invocation(ExecutionKind::Review, json!({ "change": change }))).await?;
            let ended = plugin.review(context, &change, &settings).await;
            begun.end(&ended, None).await?;
            (begun, told(ended))
        }
        Job::Perform { assignment, .. } => {
            let input = json!({ "assignment": assignment });
            let (begun, context) = begin(&scene, invocation(ExecutionKind::Spirit, input)).await?;
            let ended = plugin.perform(context, *assignment, &settings).await;
            begun.end(&ended, None).await?;
            (begun, told(ended))
        }
    };
    let calls = calls(&scene.registry, begun.id()).await?;
    let (files, diff) = (stage.files().await?, stage.diff().await?.text);
    let (plugin, log) = (Facts::of(plugin), lines.taken());
    Ok(ExecAnswer { plugin, call: request.call, outcome, calls, log, usage, files: Some(files), diff: Some(diff) })
}

/// A result as it is told, with what it used.
fn told<T: Serialize>(ended: Ended<T>) -> (Value, GuestUsage) {
    let mut outcome = outcome_of(&ended.result);
    if let Err(ExecutionError::Failure { failure, .. }) = &ended.result {
        outcome["failure"] = serde_json::to_value(failure).unwrap_or_default();
    }
    (outcome, ended.usage)
}

async fn calls(registry: &Registry, execution: &ExecutionId) -> Result<Vec<CallMade>, ServiceError> {
    let id = execution.clone();
    let record = registry.read(move |reader| reader.record(&id)).await?;
    Ok(record.map(|record| record.calls.into_iter().map(CallMade::from).collect()).unwrap_or_default())
}

/// Keeps what a component says.
#[derive(Default)]
struct Lines(Mutex<Vec<LogLine>>);

impl Lines {
    fn taken(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Log for Lines {
    fn emit(&self, level: &str, message: &str, fields: &[(String, String)]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_LINES {
            let fields = fields.iter().cloned().collect();
            lines.push(LogLine { level: level.to_owned(), message: message.to_owned(), fields });
        }
    }
}
