//! A place for one call of a spirit or a heuristic: a temporary repository with one commit, a slot of it, a
//! fresh registry and a scripted model, joined as a run joins them. It goes when it is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::watch;

use super::BEGINNING;
use super::request::{ExecRequest, FakeOutcome};
use crate::artifact::ArtifactStore;
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::Config;
use crate::domain::budget::{Amount, Budget};
use crate::domain::call::HostError;
use crate::domain::grant::Grant;
use crate::domain::id::{AttemptKey, Instance, Role, RunId, SpecName, TaskId, TaskKey};
use crate::domain::mask::Mask;
use crate::domain::playbook::Playbook;
use crate::domain::pool::PoolSettings;
use crate::domain::task::{Assigned, TaskDefinition};
use crate::llm::config::{LlmChoice, LlmOptions};
use crate::plugin::capability::{Capabilities, Command, CommandRun};
use crate::plugin::{Plugin, PluginKind};
use crate::registry::{Boxes, Claim, SpecContent};
use crate::sandbox::{Confinement, HostEnv, Limits, Sandbox};
use crate::service::breakers::Breakers;
use crate::service::capabilities::Desk;
use crate::service::error::ServiceError;
use crate::service::executions::Scene;
use crate::service::gate::{Gate, GateCommand};
use crate::service::plugins::{PluginSet, Seated};
use crate::service::progress::Silent;
use crate::service::seats::Seats;
use crate::service::setup::{owned_registry, temporary_dir, write_file};
use crate::service::state_dir::StateDir;
use crate::service::steering::SteeringSet;
use crate::service::workshop::{SpiritCommand, Workshop};
use crate::workspace::{Git, Mirror, Slot, SlotPool, Source, Terms, TreeDiff, TreeId, WorkPath, seed_repository};

/// The branch of the temporary repository.
const BRANCH: &str = "main";
/// A file that a repository has when none is given: a commit needs one.
const FILLER: (&str, &str) = (".gitattributes", "");
/// Files that are read back after a call.
const MAX_FILES_READ: usize = 2_000;

/// Whose call it is.
pub(super) struct Cast {
    /// The task's spec.
    pub(super) spec: SpecName,
    /// The task.
    pub(super) task: TaskId,
    /// One line.
    pub(super) title: String,
    /// Who works.
    pub(super) instance: Instance,
}

/// The place.
pub(super) struct Stage {
    // Declared first: what lies in the folder is let go of before the folder goes.
    shop: Arc<Workshop>,
    desk: Arc<Desk>,
    slot: Arc<Slot>,
    base: TreeId,
    answers: Arc<Answers>,
    attempt: AttemptKey,
    _stop: watch::Sender<bool>,
    _dir: TempDir,
}

impl Stage {
    /// Makes the place for a call of `seated`.
    ///
    /// # Errors
    /// When git is missing, or something of the request cannot be put in place.
    pub(super) async fn make(request: &ExecRequest, cast: &Cast, seated: &Seated) -> Result<Self, ServiceError> {
        let dir = temporary_dir()?;
        let time = request.time.unwrap_or(BEGINNING);
        let origin = dir.path().join("origin");
        seed(&origin, request, time)?;
        let state = StateDir::create(&dir.path().join("state"), Some(&origin))?;
        let git = Git::locate(dir.path()).await?.at_home(state.root())?;
        let mirror = Mirror::open(git, &state.repositories(), Source::Path(origin)).await?;
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(time));
        let (fetched, registry) = tokio::join!(mirror.fetch(), owned_registry(&state, Arc::clone(&clock)));
        fetched?;
        let registry = registry?;
        let tip = mirror.branch_tip(BRANCH).await?;
        let tip = tip.ok_or_else(|| ServiceError::Internal("the temporary repository has no commit".to_owned()))?;
        let at = tip.clone();
        let base = mirror.objects(move |objects| objects.tree_of(&at)).await?;
        let pool = SlotPool::new(Arc::clone(&mirror), PoolSettings::default(), Arc::clone(&clock));
        let slot = pool.acquire(terms()).await?;
        let slot = Arc::new(slot.ok_or_else(|| ServiceError::Internal("a new slot is in use".to_owned()))?);
        // Nothing can be found in a slot that nobody had before.
        let _ = slot.prepare(&tip, clock.now()).await?;
        change(slot.work_dir(), request)?;

        let replies = dir.path().join("replies.toml");
        write_file(&replies, &request.script(&asker(seated, cast), &cast.task)?)?;
        let (stop, stopped) = watch::channel(false);
        let (answers, commands) = commands(request);
        let mask = Arc::new(Mask::default());
        let config = Config::default();
        let llm = LlmOptions { choice: Some(LlmChoice::Scripted(replies)), ..LlmOptions::default() };
        let sandbox = Sandbox::new(HostEnv::from_process(), Arc::new(SystemClock::default()), Confinement::Off);
        let shop = Arc::new(Workshop {
            artifacts: ArtifactStore::new(registry.blobs().clone(), registry.ids().clone(), Arc::clone(&clock)),
            gateway: Arc::new(llm.resolve(&|_| None)?.open()?),
            budget: Arc::new(Mutex::new(Budget::new(config.budget, Amount::default()))),
            gate: Gate { playbook: Playbook::default(), commands: Vec::new(), sandbox, mask: Arc::clone(&mask) },
            plugins: Seats::new(PluginSet::alone(seated)),
            breakers: Breakers::new(Arc::clone(&clock)),
            observer: Arc::new(Silent),
            run: RunId::new("harness").map_err(ServiceError::Id)?,
            spec: cast.spec.clone(),
            language: "en".to_owned(),
            steering: SteeringSet::default(),
            max_attempts: config.run.max_attempts,
            stop: stopped,
            commands,
            clock,
            registry,
            mirror,
            config,
            mask,
            pushing: None,
        });
        let attempt = claimed(&shop, cast, slot.id().clone()).await?;
        let desk =
            Desk::open(Arc::clone(&shop), attempt.clone(), cast.instance.clone(), Arc::clone(&slot), base.clone(), 0)
                .await?;
        Ok(Self { shop, desk, slot, base, answers: Arc::new(answers), attempt, _stop: stop, _dir: dir })
    }

    /// Where the call is recorded.
    pub(super) fn scene(&self) -> Scene {
        Scene { run: None, ..self.shop.scene() }
    }

    /// The attempt that the call belongs to.
    pub(super) fn attempt(&self) -> AttemptKey {
        self.attempt.clone()
    }

    /// Everything that this place offers to a component of its kind.
    pub(super) fn capabilities(&self, plugin: &Plugin, grant: &Grant) -> Capabilities {
        if plugin.kind == PluginKind::Review {
            return self.desk.reading(plugin, grant);
        }
        let real = Arc::clone(&self.desk) as Arc<dyn Command>;
        let commands = Arc::new(Commands { real, answers: Arc::clone(&self.answers) });
        Capabilities { command: Some(commands), ..self.desk.capabilities(grant) }
    }

    /// How the work tree differs from the commit.
    ///
    /// # Errors
    /// When git cannot say.
    pub(super) async fn diff(&self) -> Result<TreeDiff, ServiceError> {
        let (base, now) = (self.base.clone(), self.slot.snapshot().await?.tree);
        Ok(self.shop.mirror.objects(move |objects| objects.diff(&base, &now)).await?)
    }

    /// The text files of the work tree, by path; what git ignores is left out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(super) async fn files(&self) -> Result<BTreeMap<String, String>, ServiceError> {
        let Some(tree) = self.desk.capabilities(&Grant::everything()).workspace else { return Ok(BTreeMap::new()) };
        let entries = tree.list(".".to_owned(), true).await?;
        let mut files = BTreeMap::new();
        for entry in entries.into_iter().filter(|entry| entry.path != FILLER.0).take(MAX_FILES_READ) {
            // A folder, or a file that is no text.
            let Ok(file) = tree.read(entry.path.clone(), None).await else { continue };
            files.insert(entry.path, file.text);
        }
        Ok(files)
    }
}

/// In whose name a model is asked: a heuristic asks in its own.
fn asker(seated: &Seated, cast: &Cast) -> Role {
    let own = || Role::new(seated.plugin.name.replace('-', "_")).ok();
    let own = (seated.plugin.kind == PluginKind::Review).then(own).flatten();
    own.unwrap_or_else(|| cast.instance.role())
}

/// The repository with its one commit.
fn seed(origin: &Path, request: &ExecRequest, time: jiff::Timestamp) -> Result<(), ServiceError> {
    let mut files = vec![FILLER];
    for (path, text) in &request.files {
        checked(path)?;
        files.push((path, text));
    }
    Ok(seed_repository(origin, &files, "Begin", time)?)
}

/// Changes of the work tree that are in no commit.
fn change(work: &Path, request: &ExecRequest) -> Result<(), ServiceError> {
    for (path, text) in &request.changes {
        checked(path)?;
        let file = work.join(path);
        match text {
            Some(text) => write_file(&file, text)?,
            None => std::fs::remove_file(&file).map_err(|source| ServiceError::Io { path: file, source })?,
        }
    }
    Ok(())
}

/// Refuses a path that leads out of the repository.
fn checked(path: &str) -> Result<(), ServiceError> {
    let parsed = WorkPath::parse_file(path).map_err(|error| ServiceError::Usage(format!("`{path}`: {error}")))?;
    if parsed.as_str() == path {
        return Ok(());
    }
    Err(ServiceError::Usage(format!("`{path}` is no path of a file in a repository: write `{}`", parsed.as_str())))
}

/// The task, claimed for the attempt.
async fn claimed(shop: &Workshop, cast: &Cast, slot: crate::domain::id::SlotId) -> Result<AttemptKey, ServiceError> {
    let definition = TaskDefinition {
        id: cast.task.clone(),
        title: cast.title.clone(),
        text: String::new(),
        optional: false,
        done: false,
        depends: Vec::new(),
        skill: None,
        requirements: Vec::new(),
        priority: 0,
        metadata: BTreeMap::new(),
        parent: None,
        container: false,
    };
    let content = SpecContent { definitions: vec![definition], boxes: Boxes::AsTheyAre, place: None };
    let tasks = shop.registry.sync(None, &cast.spec, content).await?;
    let key = TaskKey { spec: cast.spec.clone(), task: cast.task.clone() };
    let expected_version = tasks.first().map_or(0, |task| task.version);
    let assigned = Assigned {
        instance: cast.instance.clone(),
        slot,
        branch: "feature/harness".to_owned(),
        runner: "harness".to_owned(),
    };
    let reason = "a test asks for it".to_owned();
    let (scheduling, routing, run) = (None, None, None);
    let claim = Claim { run, key: key.clone(), expected_version, assigned, reason, scheduling, routing };
    shop.registry.claim(claim).await?;
    // The registry counts from 1; that the component is told of another attempt changes nothing here.
    Ok(AttemptKey { key, attempt: 1 })
}

/// Answers that are given, by command.
#[derive(Default)]
struct Answers(BTreeMap<String, Mutex<VecDeque<FakeOutcome>>>);

impl Answers {
    /// The next answer of a command; the last one stays.
    fn next(&self, name: &str) -> Option<FakeOutcome> {
        let mut answers = self.0.get(name)?.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    }
}

fn commands(request: &ExecRequest) -> (Answers, Vec<SpiritCommand>) {
    let (mut answers, mut commands) = (Answers::default(), Vec::new());
    for (name, fake) in &request.commands {
        if fake.run.is_empty() {
            answers.0.insert(name.clone(), Mutex::new(fake.answers.clone().into()));
            continue;
        }
        let timeout = Duration::from_millis(fake.timeout_ms);
        commands.push(SpiritCommand {
            command: GateCommand {
                name: name.clone(),
                argv: fake.run.clone(),
                timeout,
                network: false,
                limits: Limits::default(),
            },
            description: fake.description.clone(),
            extra_args: fake.extra_args,
        });
    }
    (answers, commands)
}

/// The commands of a request: those with answers, then those that are run.
struct Commands {
    real: Arc<dyn Command>,
    answers: Arc<Answers>,
}

#[async_trait]
impl Command for Commands {
    async fn run(&self, name: String, args: Vec<String>) -> Result<CommandRun, HostError> {
        match self.answers.next(&name) {
            Some(answer) => Ok(CommandRun { outcome: answer.outcome(), tree: None }),
            None => self.real.run(name, args).await,
        }
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// The stage is this process's, and nobody else uses its pool.
fn terms() -> Terms {
    let (lease, holder) = ("harness".to_owned(), "harness".to_owned());
    Terms { lease, holder, ttl: Duration::from_secs(60 * 60), ends_with_process: true }
}
