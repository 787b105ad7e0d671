//! What a process that owns a state directory does for others: changes of the registry that people and
//! workers ask for, each whole or not at all. Whoever wants one asks the owner, or becomes it for as long as
//! the change takes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, watch};

use super::blocking::blocking;
use super::breakers::Breakers;
use super::control::{self, Answer, Command, ControlError, Owned};
use super::error::ServiceError;
use super::executions::Scene;
use super::plugins::{Loading, PluginSet, Shelf};
use super::progress::Observer;
use super::seats::Seats;
use super::state_dir::{StateDir, StateDirError};
use super::swap::Ground;
use super::workshop::Workshop;
use super::{policies, setup};
use crate::clock::Clock;
use crate::domain::assignment::Spirit;
use crate::domain::dispatch;
use crate::domain::id::{AttemptKey, Instance, IssueId, RunId, SpecName, TaskId, TaskKey};
use crate::domain::issue::{Issue, NewIssue, Urgency};
use crate::domain::policy;
use crate::domain::task::{Attributes, Task, TaskState};
use crate::registry::{Registry, RegistryError, Routed, TaskFilter, WorkerClaim, WorkerReport, WorkerResult};

/// How long it is tried to reach an owner that comes or goes, or to become it.
const MAX_WAIT_FOR_OWNER: Duration = Duration::from_secs(15);
/// How long nothing is tried in between.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until an owner that could not be asked can be, or is gone. Fails with `refused` when it has waited long
/// enough since `begun`, and for what the owner has heard: that may have been done.
pub(crate) async fn until_heard(begun: tokio::time::Instant, refused: ControlError) -> Result<(), ServiceError> {
    if !refused.was_not_heard() || begun.elapsed() >= MAX_WAIT_FOR_OWNER {
        return Err(refused.into());
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// A change that anybody who may use the state directory can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Gives a worker a ready task.
    Claim {
        /// The worker's name.
        worker: String,
        /// Only of this spec.
        spec: Option<SpecName>,
        /// Only this task of it.
        task: Option<TaskId>,
        /// Only when it has this version.
        expected_version: Option<u64>,
        /// Only for this role.
        skill: Option<String>,
    },
    /// Says what became of a worker's claim.
    Report {
        /// The attempt.
        attempt: AttemptKey,
        /// The worker's name.
        worker: String,
        /// What became of it.
        report: WorkerResult,
    },
    /// Sets attributes of a task.
    Set {
        /// The task.
        key: TaskKey,
        /// The version that the caller saw; absent: whatever it is.
        expected_version: Option<u64>,
        /// What to set.
        attributes: Attributes,
    },
    /// Puts an issue into the backlog.
    AddIssue(NewIssue),
    /// Asks the routing policy whose work an issue is.
    RouteIssue {
        /// The issue.
        issue: IssueId,
    },
    /// Says which task an issue became.
    TakeIssue {
        /// The issue.
        issue: IssueId,
        /// The task.
        task: TaskKey,
    },
    /// Takes an issue out of the backlog.
    CloseIssue {
        /// The issue.
        issue: IssueId,
        /// Why.
        reason: String,
    },
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "changed", content = "now", rename_all = "kebab-case")]
pub enum Changed {
    /// The task as it is now; none: nothing of that kind is ready.
    Task(Option<Box<Task>>),
    /// The issue as it is now.
    Issue(Box<Issue>),
}

/// What an owner needs to make changes.
#[derive(Clone)]
pub(crate) struct Office {
    /// The run that it works on besides.
    pub(crate) run: Option<(RunId, SpecName)>,
    /// Where components are invoked that decide about a change, outside of any run.
    pub(crate) scene: Scene,
    /// Components.
    pub(crate) plugins: Components,
    /// Where further ones come from, and how they are set up.
    pub(crate) ground: Arc<Ground>,
    /// Attempts that a task may have in all.
    pub(crate) max_attempts: u32,
}

/// Components that decide about changes.
#[derive(Clone)]
pub(crate) enum Components {
    /// Those of the run.
    Of(Arc<Seats>),
    /// Loaded when they are needed first: most changes need none.
    Later(Arc<Wanted>),
}

/// What components there shall be.
#[derive(Default)]
pub(crate) struct Wanted {
    cache: Option<PathBuf>,
    loaded: OnceCell<Arc<Seats>>,
}

impl Components {
    async fn get(&self, ground: &Ground, scene: &Scene) -> Result<Arc<Seats>, ServiceError> {
        let wanted = match self {
            Self::Of(plugins) => return Ok(Arc::clone(plugins)),
            Self::Later(wanted) => wanted,
        };
        let (Wanted { cache, loaded }, Ground { config, root, state }) = (&**wanted, ground);
        let load = async || {
            let loading = Loading::begin(cache.clone(), Shelf::open(root, state)?, &[], &scene.observer);
            let plugins = PluginSet::load(loading, config, &[], root).await?;
            let (seats, blobs) = (Seats::new(plugins), scene.registry.blobs().clone());
            let kept = seats.now();
            blocking(move || Ok(kept.keep(&blobs)?)).await?;
            Ok::<_, ServiceError>(seats)
        };
        loaded.get_or_try_init(load).await.cloned()
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office").field("run", &self.run).finish_non_exhaustive()
    }
}

impl Office {
    /// Of the owner that works on a run besides.
    pub(crate) fn beside(shop: &Workshop, root: &Path, state: &Path) -> Self {
        let (root, state) = (root.to_owned(), state.to_owned());
        Self {
            run: Some((shop.run.clone(), shop.spec.clone())),
            scene: Scene { run: None, spec: None, ..shop.scene() },
            plugins: Components::Of(Arc::clone(&shop.plugins)),
            ground: Arc::new(Ground { config: shop.config.clone(), root, state }),
            max_attempts: shop.max_attempts,
        }
    }

    /// With the built-in components and default settings, and nobody who listens.
    #[cfg(test)]
    pub(crate) fn quiet(run: Option<(RunId, SpecName)>, registry: Registry) -> Self {
        let config = crate::config::Config::default();
        let (uncertain, max_attempts, root) = (config.llm.uncertain, config.run.max_attempts, PathBuf::from("/"));
        let ground = Arc::new(Ground { config, state: root.clone(), root });
        let observer = Arc::new(super::Silent);
        let breakers = Breakers::new(Arc::new(crate::clock::SystemClock::default()));
        let stop = watch::channel(false).1;
        let scene = Scene { registry, run: None, spec: None, uncertain, observer, stop, breakers };
        Self { run, scene, plugins: Components::Later(Arc::default()), ground, max_attempts }
    }

    /// Who sits where.
    pub(crate) async fn seats(&self) -> Result<Arc<Seats>, ServiceError> {
        self.plugins.get(&self.ground, &self.scene).await
    }

    /// The registry.
    pub(crate) fn registry(&self) -> &Registry {
        &self.scene.registry
    }

    /// Makes the change, or says why not.
    pub(crate) async fn make(&self, change: Change) -> Result<Changed, ServiceError> {
        let registry = self.registry();
        let task = |task: Task| Changed::Task(Some(Box::new(task)));
        let issue = |issue: Issue| Changed::Issue(Box::new(issue));
        Ok(match change {
            Change::Claim { worker, spec, task, expected_version, skill } => {
                let except = self.run.iter().map(|(_, spec)| spec.clone()).collect();
                self.not_the_runs(spec.as_ref())?;
                let wanted = WorkerClaim { worker, spec, task, expected_version, skill, except };
                Changed::Task(registry.claim_next(wanted).await?.map(Box::new))
            }
            Change::Report { attempt, worker, report } => {
                let max_attempts = self.max_attempts;
                task(registry.report(WorkerReport { attempt, worker, result: report, max_attempts }).await?)
            }
            Change::Set { key, expected_version, attributes } => {
                task(registry.set_task(&key, expected_version, attributes).await?)
            }
            Change::AddIssue(new) => issue(registry.add_issue(new).await?),
            Change::RouteIssue { issue: id } => issue(self.route(&id).await?),
            Change::TakeIssue { issue: id, task } => issue(registry.take_issue(&id, &task).await?),
            Change::CloseIssue { issue: id, reason } => issue(registry.close_issue(&id, reason).await?),
        })
    }

    /// A run's dispatcher gives its tasks out itself.
    fn not_the_runs(&self, wanted: Option<&SpecName>) -> Result<(), ServiceError> {
        match &self.run {
            Some((run, spec)) if Some(spec) == wanted => Err(ServiceError::Usage(format!(
                "the run {run} works on the spec `{spec}` and gives its tasks out itself: wait for its end, or stop \
                 it with `necro-host stop`"
            ))),
            _ => Ok(()),
        }
    }

    async fn route(&self, id: &IssueId) -> Result<Issue, ServiceError> {
        let plugins = self.seats().await?.now();
        let wanted = id.clone();
        let read = self.registry().read(move |reader| {
            let running = TaskFilter { states: vec![TaskState::Running], ..TaskFilter::default() };
            let running = reader.find_tasks(&running)?.into_iter().filter_map(|(task, _)| task.assigned);
            let running: Vec<Instance> = running.map(|assigned| assigned.instance).collect();
            Ok((reader.issue(&wanted)?, running, reader.last_assigned()?))
        });
        let (issue, running, last) = read.await?;
        let issue = issue.ok_or_else(|| RegistryError::UnknownIssue(id.clone()))?;
        let team: Vec<Spirit> = plugins
            .spirits
            .values()
            .map(|(_, info)| Spirit { instance: Instance::of(&info.role, 1), skills: info.skills.clone() })
            .collect();
        let last: HashMap<Instance, u64> = last.into_iter().collect();
        let candidates = dispatch::candidates(&team, &running, &last, u32::MAX, &|_| None);
        let issue = as_policies_see(&issue);
        let decision = policies::route(&self.scene, &plugins.routing, None, &issue, &candidates).await?;
        let Some((decision, routing)) = decision else {
            return Err(ServiceError::Usage("no spirit is installed that an issue could go to".to_owned()));
        };
        let (role, instance, reason) = (decision.instance.role(), decision.instance, decision.reason);
        Ok(self.registry().route_issue(id, Routed { role, instance, reason, routing }).await?)
    }
}

/// An issue as the routing policy sees it.
fn as_policies_see(issue: &Issue) -> policy::Issue {
    let NewIssue { title, text, labels, priority } = issue.said.clone();
    let priority = match priority {
        Urgency::Low => -1,
        Urgency::Medium => 0,
        Urgency::High => 1,
    };
    policy::Issue { id: issue.id.to_string(), title, text, labels, priority }
}

/// Where a change is to be made, and by whom when nobody owns the place.
pub struct OfficeRequest {
    /// The repository, as for a run.
    pub repository: String,
    /// The current directory.
    pub cwd: PathBuf,
    /// The state directory, if it is not in its usual place.
    pub state: Option<PathBuf>,
    /// Where compiled components are kept.
    pub cache: Option<PathBuf>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub observer: Arc<dyn Observer>,
}

/// A state directory that this process owns, to make changes in it.
struct Opened {
    office: Office,
    owned: Owned,
    stop: watch::Sender<bool>,
}

/// Makes a change: asks the owner, or is it for as long as that takes.
///
/// # Errors
/// Why it was not made; nothing is changed then.
pub async fn change(request: &OfficeRequest, change: Change) -> Result<Changed, ServiceError> {
    // A backlog may be begun before there is anything else; all other changes are about what is there.
    let state = place(request, matches!(change, Change::AddIssue(_)))?;
    let begun = tokio::time::Instant::now();
    loop {
        match open(request, &state, Owned::take_briefly).await {
            Ok(opened) => {
                let Opened { office, owned, stop: _ } = opened;
                let made = office.make(change).await;
                // The database is closed before the state directory is given up.
                drop(office);
                drop(owned);
                return made;
            }
            Err(ServiceError::StateDir(StateDirError::Held { .. })) => {}
            Err(error) => return Err(error),
        }
        let refused = match control::ask(&state, &Command::Change(change.clone())).await {
            Ok(Answer::Changed(changed)) => return Ok(changed),
            Ok(other) => return Err(ServiceError::Internal(format!("the owner answered {other:?}"))),
            Err(error) => error,
        };
        until_heard(begun, refused).await?;
    }
}

/// The state directory, made if it `may_be_new`.
fn place(request: &OfficeRequest, may_be_new: bool) -> Result<StateDir, ServiceError> {
    let source = setup::source(&request.repository, &request.cwd)?;
    let root = setup::state_path(&source, &request.cwd, request.state.as_deref());
    let work_tree = setup::work_tree(&source);
    let state = if may_be_new { StateDir::create(&root, work_tree) } else { StateDir::existing(&root, work_tree) }?;
    setup::serves(&state, &source)?;
    Ok(state)
}

/// How a process becomes the owner.
type Take = fn(&StateDir, jiff::Timestamp, &watch::Sender<bool>) -> Result<Owned, StateDirError>;

/// Becomes the owner.
async fn open(request: &OfficeRequest, state: &StateDir, take: Take) -> Result<Opened, ServiceError> {
    let OfficeRequest { repository, cwd, state: _, cache, clock, observer } = request;
    let (stop, stopping) = watch::channel(false);
    let owned = take(state, clock.now(), &stop)?;
    let source = setup::source(repository, cwd)?;
    let config = setup::early_config(&source)?;
    let registry = setup::owned_registry(state, Arc::clone(clock)).await?;
    let (uncertain, max_attempts) = (config.llm.uncertain, config.run.max_attempts);
    let root = setup::work_tree(&source).unwrap_or(cwd).to_owned();
    let ground = Arc::new(Ground { config, root, state: state.root().to_owned() });
    let plugins = Components::Later(Arc::new(Wanted { cache: cache.clone(), loaded: OnceCell::new() }));
    let observer = Arc::clone(observer);
    let breakers = Breakers::new(Arc::clone(clock));
    let scene = Scene { registry, run: None, spec: None, uncertain, observer, stop: stopping, breakers };
    let office = Office { run: None, scene, plugins, ground, max_attempts };
    owned.works_in(office.clone());
    Ok(Opened { office, owned, stop })
}

/// Owns the state directory and makes the changes that others ask for, until it is told to stop.
/// `listening` is told when it can be asked.
///
/// # Errors
/// When somebody else owns it, or its registry cannot be opened.
pub async fn serve(
    request: &OfficeRequest,
    listening: impl FnOnce(&StateDir),
    interrupted: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let state = place(request, true)?;
    let Opened { office, owned, stop } = open(request, &state, Owned::take).await?;
    if !owned.listens() {
        let reason = "no socket can be made in the state directory: the log says why".to_owned();
        return Err(ServiceError::Internal(reason));
    }
    listening(&state);
    let mut stopping = stop.subscribe();
    tokio::select! {
        _ = stopping.wait_for(|asked| *asked) => {}
        () = interrupted => {}
    }
    // The database is closed before the state directory is given up.
    drop(office);
    drop(owned);
    Ok(())
}
