//! The Necromancer: takes a job or a spec, sets everything up, lets the spec be written and its tasks
//! be done, and says how it ended. What goes wrong before the first task leaves nothing half done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::dispatcher::Dispatcher;
use super::error::{ServiceError, Trouble};
use super::planning::{self, Planned};
use super::plugins::PluginChoice;
use super::progress::{Observer, Progress};
use super::resume::{self, Going};
use super::setup::{self, Ready};
use super::workshop::{Workshop, stopped};
use super::{assignment, disk, reclaim, taskset};
use crate::clock::Clock;
use crate::config::FILE_NAME;
use crate::domain::assignment::Spirit;
use crate::domain::call::Cost;
use crate::domain::dispatch::RunOutcome;
use crate::domain::event::{Body, Subject};
use crate::domain::id::{CommitId, Instance, RunId, SpecName};
use crate::domain::task::{Task, TaskState};
use crate::llm::config::LlmChoice;
use crate::workspace::SlotPool;

/// How long the journals of running attempts may take to close after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(300);

/// What to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// A job's text.
    Job(String),
    /// A spec of the repository.
    Spec(SpecName),
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Until the spec is written.
    Plan,
    /// Until the tasks are done.
    Run,
}

/// Everything that the operator decides about a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What to work on.
    pub goal: Goal,
    /// How far to go.
    pub extent: Extent,
    /// The repository, a path or a URL.
    pub repository: String,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The state directory; absent: its usual place.
    pub state: Option<PathBuf>,
    /// Where compiled components are kept; absent: nowhere.
    pub cache: Option<PathBuf>,
    /// The branch to start from; absent: the current one.
    pub base: Option<String>,
    /// The model; absent: by configuration and environment.
    pub llm: Option<LlmChoice>,
    /// Base URL of the model's server.
    pub base_url: Option<String>,
    /// Attempts at the same time; absent: by configuration.
    pub max_parallel: Option<u32>,
    /// Where the lock file lies that says which plugins are installed and what they may do; absent: at the repository's
    /// root.
    pub lock_root: Option<PathBuf>,
    /// Plugins in place of those of the configuration.
    pub plugins: Vec<PluginChoice>,
    /// Before it begins, policies and heuristics among them are shown the newest recorded decisions, and refused when
    /// they would change more than this; absent: they are shown none.
    pub max_changed: Option<u64>,
    /// Work from the last commit although the checkout has changes.
    pub allow_dirty: bool,
    /// Whether to go on with an earlier run.
    pub going: Going,
    /// The environment variables that settings may name.
    pub env: BTreeMap<String, String>,
}

/// Counted tasks; containers, which never run themselves, and what was cancelled are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TaskCounts {
    /// All.
    pub total: usize,
    /// Merged.
    pub done: usize,
    /// Out of attempts.
    pub failed: usize,
}

impl TaskCounts {
    /// Counts a spec's tasks.
    #[must_use]
    pub fn of(tasks: &[Task]) -> Self {
        let is_work = |task: &&Task| !task.definition.container && task.state != TaskState::Cancelled;
        let counted = || tasks.iter().filter(is_work);
        Self {
            total: counted().count(),
            done: counted().filter(|task| task.state == TaskState::Done).count(),
            failed: counted().filter(|task| task.state == TaskState::Failed).count(),
        }
    }
}

/// How a run ended, as `run --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// Its spec.
    pub spec: SpecName,
    /// done, planned, failed, stuck or interrupted.
    pub outcome: String,
    /// The spec branch.
    pub branch: String,
    /// Its tip.
    pub commit: CommitId,
    /// The tip's tree.
    pub tree: String,
    /// Its tasks.
    pub tasks: TaskCounts,
    /// Attempts of this run, planning steps included.
    pub attempts: usize,
    /// Findings of this run.
    pub findings: usize,
    /// What its model calls cost.
    pub cost: Cost,
    /// Replies came from a script, not from a model.
    pub scripted: bool,
    /// In which sandbox its commands ran: on or off.
    pub sandbox: &'static str,
    /// What is left to do, in words: failed and waiting tasks, a landing that was refused.
    pub problems: Vec<String>,
    /// The spec branch was brought into the repository (`run.land`).
    pub landed: bool,
    /// The state directory.
    pub state: PathBuf,
    /// The repository, as the operator named it and without credentials.
    pub repository: String,
    /// The bare repository that has the spec branch, to fetch from.
    pub mirror: PathBuf,
    /// The repository is on this machine, so that the branch can be landed there.
    pub local: bool,
}

/// A run that was begun and has an end.
#[derive(Debug)]
pub struct EndedRun {
    /// What became of it.
    pub summary: RunSummary,
    /// What kept the host from going on.
    pub trouble: Option<ServiceError>,
}

/// Runs a job or a spec as far as it goes. `stop` asks it to end early.
///
/// # Errors
/// [`ServiceError`] for whatever keeps a run from beginning. Tasks that fail are no error.
pub async fn run(
    options: RunOptions,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    stop: watch::Receiver<bool>,
) -> Result<EndedRun, ServiceError> {
    let (stop_all, _) = watch::channel(false);
    let forward = tokio::spawn(forward(stop, stop_all.clone()));
    let ready = setup::prepare(&options, clock, observer, &stop_all).await.inspect_err(|_| forward.abort())?;
    let result = work(&options, &ready, stop_all).await;
    forward.abort();
    let (outcome, problems) = match &result {
        Ok((outcome, problems)) => (outcome.clone(), problems.clone()),
        // Not the work has failed: whoever mends the trouble goes on with the run.
        Err(error) => ("interrupted".to_owned(), vec![super::error::chain(error)]),
    };
    let finished = finish(&ready, &outcome, problems).await;
    if let Err(error) = disk::keep_to_quota(&ready.shop, &ready.state).await {
        ready.shop.tell(&Progress::Warning { text: super::error::chain(&error) });
    }
    let mut summary = match (result, finished) {
        (Ok(_), finished) => finished?,
        // Nothing was begun, or not even the end could be written down.
        (Err(trouble), Err(_)) => return Err(trouble),
        (Err(trouble), Ok(_)) if trouble.trouble() == Trouble::Usage => return Err(trouble),
        (Err(trouble), Ok(summary)) => return Ok(EndedRun { summary, trouble: Some(trouble) }),
    };
    if ready.shop.config.run.land && summary.local && summary.outcome == "done" {
        match super::land::land_branch(&ready.shop.mirror, &summary.commit, &summary.branch).await {
            Ok(_) => summary.landed = true,
            Err(error) => summary.problems.push(format!("not landed: {}", super::error::chain(&error))),
        }
    }
    Ok(EndedRun { summary, trouble: None })
}

async fn forward(asked: watch::Receiver<bool>, stop: watch::Sender<bool>) {
    stopped(asked).await;
    stop.send_replace(true);
}

/// Plans, creates the tasks and dispatches them.
async fn work(
    options: &RunOptions,
    ready: &Ready,
    stop: watch::Sender<bool>,
) -> Result<(String, Vec<String>), ServiceError> {
    let shop = &ready.shop;
    disk::keep_to_quota(shop, &ready.state).await?;
    let settings = shop.config.workspace.pool();
    let pool = SlotPool::new(Arc::clone(&shop.mirror), settings, Arc::clone(&shop.clock));
    for scratch in pool.scratch_dirs() {
        // A command of a process that is gone must not write into what this run works in.
        shop.gate.sandbox.end_strays(&scratch).await;
    }
    reclaim::reclaim(shop, ready.earlier.is_some()).await?;
    resume::complete_merged(shop).await?;
    if let Goal::Job(job) = &ready.goal {
        match planning::plan(shop, &pool, job).await? {
            Planned::Done => {}
            Planned::Stopped => return Ok(("interrupted".to_owned(), Vec::new())),
            Planned::Failed(reason) => {
                return Ok(("failed".to_owned(), vec![format!("no spec came of the job: {reason}")]));
            }
        }
    }
    let definitions = taskset::read(shop).await?;
    shop.registry.create_tasks(&shop.run, &shop.spec, definitions.clone()).await?;
    let counts = TaskCounts::of(&tasks(shop).await?);
    shop.tell(&Progress::Planned { tasks: counts.total, done: counts.done });
    if !definitions.is_empty() && !shop.config.run.optional_tasks && definitions.iter().all(|task| task.optional) {
        let text = format!(
            "all tasks of the spec are optional and left out; to do them, set `run.optional_tasks = true` in {FILE_NAME}"
        );
        shop.tell(&Progress::Warning { text });
    }
    if options.extent == Extent::Plan {
        return Ok(("planned".to_owned(), Vec::new()));
    }
    let team = team(ready, &definitions)?;
    let instances: Vec<Instance> = team.iter().map(|spirit| spirit.instance.clone()).collect();
    if ready.earlier.as_ref().is_none_or(|run| run.team != instances) {
        let body = Body::TeamAssembled { team: instances };
        shop.registry.append(Subject { spec: Some(shop.spec.clone()), ..Subject::run(&shop.run) }, vec![body]).await?;
    }
    let dispatcher = Dispatcher::new(Arc::clone(shop), pool, team, settings.parallel(ready.max_parallel), stop.clone());
    let late = async {
        stopped(shop.stop.clone()).await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        outcome = dispatcher.run() => Ok(words(outcome?)),
        () = late => Err(ServiceError::Internal(format!(
            "running attempts did not end within {} s after the stop; their journals are kept", STOP_GRACE.as_secs()
        ))),
    }
}

fn team(ready: &Ready, definitions: &[crate::domain::task::TaskDefinition]) -> Result<Vec<Spirit>, ServiceError> {
    let shop = &ready.shop;
    let set = shop.plugins.now();
    let roles: Vec<_> = set.spirits.values().map(|(_, info)| info.clone()).collect();
    let instances = crate::domain::team::team(definitions, &roles, &shop.config.team, ready.max_parallel)
        .map_err(|problems| ServiceError::Internal(problems.to_string()))?;
    let skills = |instance: &Instance| {
        let role = instance.role();
        set.spirits.get(&role).map(|(_, info)| info.skills.clone()).unwrap_or_default()
    };
    Ok(instances.into_iter().map(|instance| Spirit { skills: skills(&instance), instance }).collect())
}

fn words(outcome: RunOutcome) -> (String, Vec<String>) {
    let waits = |waiting: Vec<crate::domain::dispatch::Waiting>| {
        waiting.into_iter().map(|task| {
            let on: Vec<String> = task
                .on
                .iter()
                .map(|(id, state)| state.map_or_else(|| format!("{id} (unknown)"), |state| format!("{id} ({state})")))
                .collect();
            format!("{} waits for {}", task.task, on.join(", "))
        })
    };
    match outcome {
        RunOutcome::Done => ("done".to_owned(), Vec::new()),
        RunOutcome::Failed { failed, waiting } => {
            let failed = failed.into_iter().map(|task| format!("{task} failed; see `necro-host show {task}`"));
            ("failed".to_owned(), failed.chain(waits(waiting)).collect())
        }
        RunOutcome::Stuck { waiting } => ("stuck".to_owned(), waits(waiting).collect()),
        RunOutcome::Interrupted { open } => {
            ("interrupted".to_owned(), vec![format!("tasks that are still open: {open}")])
        }
    }
}

async fn tasks(shop: &Workshop) -> Result<Vec<Task>, ServiceError> {
    let spec = shop.spec.clone();
    Ok(shop.registry.read(move |reader| reader.tasks(&spec)).await?)
}

/// Writes the run's end down and sums it up.
async fn finish(ready: &Ready, outcome: &str, problems: Vec<String>) -> Result<RunSummary, ServiceError> {
    let shop = &ready.shop;
    let commit = assignment::tip(shop).await?;
    let at = commit.clone();
    let tree = shop.mirror.objects(move |objects| objects.tree_of(&at)).await?.to_string();
    let body = Body::RunFinished {
        outcome: outcome.to_owned(),
        commit: Some(commit.clone()),
        tree: Some(tree.clone()),
        reason: (!problems.is_empty()).then(|| problems.join("; ")),
    };
    shop.registry.append(Subject { spec: Some(shop.spec.clone()), ..Subject::run(&shop.run) }, vec![body]).await?;
    let (run, spec) = (shop.run.clone(), shop.spec.clone());
    let (tasks, attempts, findings, cost) = shop
        .registry
        .read(move |reader| {
            let mut findings = 0;
            let attempts: Vec<_> = reader
                .attempts_of_spec(&spec)?
                .into_iter()
                .filter(|attempt| attempt.run.as_ref() == Some(&run))
                .collect();
            for attempt in &attempts {
                let of_task = reader.findings(&attempt.key.key)?;
                findings += of_task.iter().filter(|finding| finding.attempt == Some(attempt.key.attempt)).count();
            }
            Ok((reader.tasks(&spec)?, attempts.len(), findings, reader.cost(&run)?))
        })
        .await?;
    Ok(RunSummary {
        run: shop.run.clone(),
        spec: shop.spec.clone(),
        outcome: outcome.to_owned(),
        branch: shop.branch(),
        commit,
        tree,
        tasks: TaskCounts::of(&tasks),
        attempts,
        findings,
        cost: cost.cost,
        scripted: ready.scripted,
        sandbox: shop.gate.sandbox.confinement().name(),
        problems,
        landed: false,
        state: ready.state.clone(),
        repository: ready.repository.clone(),
        mirror: shop.mirror.path().to_owned(),
        local: setup::work_tree(shop.mirror.source()).is_some(),
    })
}
