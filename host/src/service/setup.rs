//! Setting a run up: repository, configuration, model, state directory, plugins, spec branch, in the
//! order in which the cheap refusals come first.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::basefiles::BaseFiles;
use super::blocking::blocking;
use super::breakers::Breakers;
use super::control::Owned;
use super::error::ServiceError;
use super::gate::{Gate, GateCommand};
use super::necromancer::{Goal, RunOptions};
use super::office::Office;
use super::plugins::lock::LOCK_FILE;
use super::plugins::{Loading, PluginSet, Shelf};
use super::progress::{Observer, Progress};
use super::push::Pushing;
use super::seats::Seats;
use super::state_dir::{DEFAULT_NAME, StateDir};
use super::swap::{self, Tried};
use super::workshop::{SpiritCommand, Workshop, stopped};
use super::{llm_access, resume, specbranch, specname};
use crate::artifact::ArtifactStore;
use crate::clock::Clock;
use crate::config::{self, CommandSettings, Config, SandboxMode};
use crate::domain::budget::{Amount, Budget};
use crate::domain::event::{Body, RunRequest, Subject};
use crate::domain::id::{CommitId, Digest, RunId, SpecName};
use crate::domain::mask::Mask;
use crate::domain::playbook::Playbook;
use crate::domain::protocol;
use crate::domain::team::Language;
use crate::llm::config::LlmConfig;
use crate::registry::{Registry, Run};
use crate::sandbox::{Confinement, HostEnv, Limits, Sandbox};
use crate::store::BlobStore;
use crate::workspace::{Git, Inspection, Mirror, OtherSource, Source, check_whole, inspect, other_source};

/// A run that may begin.
pub(crate) struct Ready {
    pub(crate) shop: Arc<Workshop>,
    pub(crate) max_parallel: u32,
    pub(crate) scripted: bool,
    pub(crate) state: PathBuf,
    pub(crate) repository: String,
    /// What the run works on; of a run that goes on, what it worked on before.
    pub(crate) goal: Goal,
    /// The run as it was left, when it goes on.
    pub(crate) earlier: Option<Run>,
    warnings: Vec<String>,
    lock: Owned,
}

/// Where a repository's state is: `given`, or its usual place.
pub(crate) fn state_path(source: &Source, cwd: &Path, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| root_of(source, cwd).join(DEFAULT_NAME), |given| cwd.join(given))
}

/// The repository's work tree, when it is on this machine.
pub(crate) fn work_tree(source: &Source) -> Option<&Path> {
    match source {
        Source::Path(root) => Some(root),
        Source::Url(_) => None,
    }
}

/// A folder of its own that is gone with its handle.
pub(crate) fn temporary_dir() -> Result<tempfile::TempDir, ServiceError> {
    tempfile::tempdir().map_err(|source| ServiceError::Io { path: std::env::temp_dir(), source })
}

/// Writes a file, and makes its folder.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), ServiceError> {
    let fail = |source| ServiceError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    std::fs::write(path, text).map_err(fail)
}

/// What the state directory and paths of the configuration are relative to.
pub(crate) fn root_of<'a>(source: &'a Source, cwd: &'a Path) -> &'a Path {
    work_tree(source).unwrap_or(cwd)
}

/// The source, with a path inside a work tree led back to its root.
pub(crate) fn source(text: &str, cwd: &Path) -> Result<Source, ServiceError> {
    let source = Source::parse(text, cwd)?;
    let Source::Path(path) = &source else { return Ok(source) };
    let Ok(real) = path.canonicalize() else { return Ok(source) };
    // A repository without a work tree is one itself, wherever it lies.
    if real.join("HEAD").is_file() && real.join("objects").is_dir() {
        return Ok(source);
    }
    let root = real.ancestors().find(|folder| folder.join(".git").exists());
    Ok(root.map_or(source, |root| Source::Path(root.to_owned())))
}

/// Finds git and looks at the repository without writing anything.
async fn look(source: &Source, base: Option<&str>) -> Result<(Git, Inspection), ServiceError> {
    let scratch = temporary_dir()?;
    let git = Git::locate(scratch.path()).await?;
    let seen = inspect(&git, source, base).await?;
    Ok((git, seen))
}

/// Refuses the state directory of another repository: specs and tasks go by their names, and those of
/// two would be taken for each other.
pub(crate) fn serves(state: &StateDir, source: &Source) -> Result<(), ServiceError> {
    let Some(OtherSource { name, note }) = other_source(&state.repositories(), source) else { return Ok(()) };
    Err(ServiceError::Usage(format!(
        "the state directory `{}` belongs to the repository {name}: name another one with --state DIR, or, if that \
         repository was moved to {}, write its new place into `{}`",
        state.root().display(),
        source.display(),
        note.display()
    )))
}

/// Opens the registry while something else goes on.
pub(crate) async fn open_registry(
    path: PathBuf,
    clock: Arc<dyn Clock>,
    blobs: BlobStore,
) -> Result<Registry, ServiceError> {
    blocking(move || Ok(Registry::open(&path, clock, blobs)?)).await
}

/// Opens the registry of a state directory that this process owns.
pub(crate) async fn owned_registry(state: &StateDir, clock: Arc<dyn Clock>) -> Result<Registry, ServiceError> {
    let blobs = state.blobs();
    let blobs = blocking(move || Ok(BlobStore::own(blobs)?)).await?;
    open_registry(state.registry(), clock, blobs).await
}

/// What was looked at, copied and loaded. Nothing of it says yet that there is a run.
struct Gathered {
    source: Source,
    seen: Inspection,
    state: StateDir,
    lock: Owned,
    blobs: BlobStore,
    mirror: Arc<Mirror>,
    registry: Registry,
    base: CommitId,
    found: BaseFiles,
    config: Config,
    llm: LlmConfig,
    mask: Arc<Mask>,
    plugins: Arc<Seats>,
    confinement: Confinement,
    tried: Tried,
    spec: SpecName,
    goal: Goal,
    earlier: Option<Run>,
    warnings: Vec<String>,
}

/// Refuses what cannot work, then gets everything that a run needs. It may be dropped at any point:
/// git is killed with it, and the next run takes away what git leaves.
async fn gather(
    options: &RunOptions,
    clock: &Arc<dyn Clock>,
    observer: &Arc<dyn Observer>,
    stop: &watch::Sender<bool>,
) -> Result<Gathered, ServiceError> {
    let source = source(&options.repository, &options.cwd)?;
    let shelf = shelf_of(options, &source)?;
    let loading = Loading::begin(options.cache.clone(), shelf.clone(), &options.plugins, observer);
    // With the settings of the checkout, only to refuse early; those of the base commit count.
    let early = early_config(&source)?;
    let base = options.base.as_deref().or(early.run.base_branch.as_deref());
    let (git, seen) = look(&source, base).await?;
    // The lock file is read as it stands.
    let read_anyway = usize::from(seen.dirty.iter().any(|dirty| dirty.path == LOCK_FILE));
    if !options.allow_dirty && seen.dirty_count > read_anyway {
        return Err(dirty(&seen));
    }
    check_branches(&seen)?;
    llm_access::config(options, &early)?;
    let loading = loading.check(&options.plugins).await?;

    let state = state_path(&source, &options.cwd, options.state.as_deref());
    let state = StateDir::create(&state, work_tree(&source))?;
    let lock = Owned::take(&state, clock.now(), stop)?;
    serves(&state, &source)?;
    let noting = shelf.clone();
    blocking(move || noting.note_built_in()).await?;
    let mirror = Mirror::open(git.at_home(state.root())?, &state.repositories(), source.clone()).await?;
    let blobs = BlobStore::own(state.blobs())?;
    let opening = open_registry(state.registry(), Arc::clone(clock), blobs.clone());
    let (fetched, registry) = tokio::join!(mirror.fetch(), opening);
    fetched?;
    check_whole(&mirror, &seen).await?;
    let registry = registry?;
    let base = mirror.branch_tip(&seen.base_branch).await?.unwrap_or_else(|| seen.base_commit.clone());
    let at = base.clone();
    let found = mirror.objects(move |objects| BaseFiles::read(objects, &at)).await?;
    let config = found.config()?;
    let llm = llm_access::config(options, &config)?;
    let confinement = confinement(&config)?;
    let mask = Arc::new(llm_access::mask(options, &config, &source));

    let mut plugins = PluginSet::load(loading, &config, &options.plugins, root_of(&source, &options.cwd)).await?;
    let (spec, goal, earlier) = resume::begin(options, &registry, &found.specs).await?;
    let mut warnings = found.warnings(&config.workspace)?;
    if config.workspace.submodules {
        mirror.with_modules(&base).await?;
    }
    warnings.extend(plugins.unheard(&config));
    if let Some(run) = &earlier {
        warnings.extend(plugins.put_back(&run.plugins, &blobs, &config, &options.plugins).await?);
    }
    seen.check_branch_free(&protocol::spec_branch(&spec))?;
    let tried = swap::before_start(&registry, &plugins, &options.plugins, options.max_changed).await?;
    let plugins = Seats::new(plugins);
    Ok(Gathered {
        source,
        seen,
        state,
        lock,
        blobs,
        mirror,
        registry,
        base,
        found,
        config,
        llm,
        mask,
        plugins,
        confinement,
        tried,
        spec,
        goal,
        earlier,
        warnings,
    })
}

/// What is installed and granted for a run.
fn shelf_of(options: &RunOptions, source: &Source) -> Result<Shelf, ServiceError> {
    match &options.lock_root {
        Some(root) => Shelf::open(root, &root.join(DEFAULT_NAME)),
        None => {
            let state = state_path(source, &options.cwd, options.state.as_deref());
            Shelf::open(root_of(source, &options.cwd), &state)
        }
    }
}

/// Makes a run of what [`gather`] gets. A stop that is asked for meanwhile, such as while a large
/// repository is copied, ends it at once.
pub(crate) async fn prepare(
    options: &RunOptions,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    stop_all: &watch::Sender<bool>,
) -> Result<Ready, ServiceError> {
    let stop = stop_all.subscribe();
    let gathered = tokio::select! {
        gathered = gather(options, &clock, &observer, stop_all) => gathered?,
        () = stopped(stop.clone()) => return Err(ServiceError::Interrupted),
    };
    let Gathered {
        source,
        seen,
        state,
        lock,
        blobs,
        mirror,
        registry,
        base,
        found,
        config,
        llm,
        mask,
        plugins,
        confinement,
        tried,
        spec,
        goal,
        earlier,
        mut warnings,
    } = gathered;
    let (set, store) = (plugins.now(), blobs.clone());
    let keeping = tokio::task::spawn_blocking(move || set.keep(&store));
    let (gate, commands) = commands((&mirror, &base), &config, &found, (confinement, &clock, &mask), &state).await?;
    let (run, spent) = identity(&registry, earlier.as_ref()).await?;
    let shop = Arc::new(Workshop {
        pushing: pushing(&source, &config, &seen, &spec, &mut warnings),
        artifacts: ArtifactStore::new(blobs, registry.ids().clone(), Arc::clone(&clock)),
        language: language(&goal, &found).code().to_owned(),
        steering: found.steering(&mask),
        max_attempts: config.run.max_attempts,
        gateway: Arc::new(llm_access::open(&llm, &config)?),
        budget: Arc::new(Mutex::new(Budget::new(config.budget, spent))),
        commands,
        breakers: Breakers::new(Arc::clone(&clock)),
        clock,
        registry,
        mirror,
        plugins,
        config,
        mask,
        observer,
        stop,
        run,
        spec,
        gate,
    });
    specbranch::start(&shop, &seen.base_branch, &base).await?;
    keeping.await.map_err(|error| ServiceError::Internal(error.to_string()))??;
    let ready = Ready {
        max_parallel: options.max_parallel.unwrap_or(shop.config.run.max_parallel),
        scripted: llm.script().is_some(),
        state: state.root().to_owned(),
        repository: source.display(),
        goal,
        earlier,
        warnings,
        shop,
        lock,
    };
    announce(options, &ready, &tried, &seen.base_branch, &base).await?;
    // Not before it is recorded: what a run that is not names may be pruned.
    ready.lock.works_in(Office::beside(&ready.shop, root_of(&source, &options.cwd), state.root()));
    Ok(ready)
}

/// The run's id, and what it has spent already.
async fn identity(registry: &Registry, earlier: Option<&Run>) -> Result<(RunId, Amount), ServiceError> {
    match earlier {
        Some(run) => Ok((run.id.clone(), resume::spent(registry, &run.id).await?)),
        None => Ok((registry.ids().run(), Amount::default())),
    }
}

/// Every program of the gate that is no file of the repository must be there before anything is spent.
fn check_programs(gate: &Gate, dir: &Path) -> Result<(), ServiceError> {
    for program in gate.commands.iter().filter_map(|command| command.argv.first()) {
        if !program.contains('/') {
            gate.sandbox.find(program, dir)?;
        }
    }
    Ok(())
}

/// Where task branches are pushed to; when that is asked for and there is no such place, it is a warning.
fn pushing(
    source: &Source,
    config: &Config,
    seen: &Inspection,
    spec: &SpecName,
    warnings: &mut Vec<String>,
) -> Option<Pushing> {
    let pushing = Pushing::new(source, &config.workspace, &seen.base_branch, &protocol::spec_branch(spec));
    pushing.unwrap_or_else(|nowhere| {
        warnings.push(nowhere.to_owned());
        None
    })
}

/// What the gate plays. A file with it is the base commit's, so that no attempt changes its own judge.
async fn playbook(
    mirror: &Mirror,
    base: &CommitId,
    config: &Config,
    found: &BaseFiles,
) -> Result<Playbook, ServiceError> {
    let detected = found.detected.as_ref();
    let Some(path) = config.gate.playbook.clone() else { return Ok(config.playbook(detected, None)?) };
    let (at, file) = (base.clone(), path.clone());
    let bytes = mirror
        .objects(move |objects| {
            let tree = objects.tree_of(&at)?;
            let link = objects.is_link(&tree, &file).unwrap_or(false);
            if link { Ok(None) } else { objects.read_file(&tree, &file) }
        })
        .await?;
    let text = match bytes.map(String::from_utf8) {
        Some(Err(_)) => return Err(ServiceError::Usage(format!("`{path}` in the base commit is not UTF-8"))),
        Some(Ok(text)) => Some(text),
        None => None,
    };
    Ok(config.playbook(detected, text.as_deref())?)
}

/// The gate, and the commands that spirits may run.
async fn commands(
    (mirror, base): (&Mirror, &CommitId),
    config: &Config,
    found: &BaseFiles,
    (confinement, clock, mask): (Confinement, &Arc<dyn Clock>, &Arc<Mask>),
    state: &StateDir,
) -> Result<(Gate, Vec<SpiritCommand>), ServiceError> {
    let playbook = playbook(mirror, base, config, found).await?;
    let detected = found.detected.as_ref();
    let command = |name: &str, settings: &CommandSettings| GateCommand {
        name: name.to_owned(),
        argv: settings.run.clone(),
        timeout: Duration::from_millis(settings.timeout_ms),
        network: settings.network,
        limits: Limits::or_default(
            settings.memory_bytes,
            settings.cpu_seconds,
            settings.processes,
            settings.file_bytes,
        ),
    };
    let all = config.all_commands(detected);
    let named = |name: &str| playbook.steps.iter().any(|step| step.command == name);
    let deciding = all.iter().filter(|(name, _)| named(name)).map(|(name, settings)| command(name, settings)).collect();
    let allowed = all
        .into_iter()
        .filter(|(_, settings)| settings.spirits)
        .map(|(name, settings)| SpiritCommand {
            command: command(&name, &settings),
            description: settings.description,
            extra_args: settings.extra_args,
        })
        .collect();
    let sandbox = Sandbox::new(HostEnv::from_process(), Arc::clone(clock), confinement);
    let gate = Gate { playbook, commands: deciding, sandbox, mask: Arc::clone(mask) };
    check_programs(&gate, state.root())?;
    Ok((gate, allowed))
}

/// As the configuration says, or none at all: it is tried before anything is spent.
fn confinement(config: &Config) -> Result<Confinement, ServiceError> {
    match config.run.sandbox {
        SandboxMode::Off => Ok(Confinement::Off),
        SandboxMode::On => Ok(Confinement::by_this_program()?),
    }
}

/// Refuses a branch that stands where a folder of branches is needed, before anything is written. A
/// spec's full name is checked when it is known.
pub(crate) fn check_branches(seen: &Inspection) -> Result<(), ServiceError> {
    for wanted in ["necro/<spec>", "feature/task-<spec>-<number>"] {
        seen.check_branch_free(wanted)?;
    }
    Ok(())
}

fn dirty(seen: &Inspection) -> ServiceError {
    let named: Vec<&str> =
        seen.dirty.iter().map(|dirty| dirty.path.as_str()).filter(|path| *path != LOCK_FILE).take(5).collect();
    let more = if seen.dirty_count > named.len() { ", …" } else { "" };
    ServiceError::Usage(format!(
        "the checkout has changes that are in no commit ({}{more}); work starts from the last commit and would \
         not see them: commit or stash them, or say --allow-dirty",
        named.join(", ")
    ))
}

pub(crate) fn early_config(source: &Source) -> Result<Config, ServiceError> {
    let Source::Path(root) = source else { return Ok(Config::default()) };
    let path = root.join(config::FILE_NAME);
    // A link may lead anywhere, and a device has no end.
    if !std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
        return Ok(Config::default());
    }
    let mut text = String::new();
    let limit = config::MAX_FILE_BYTES as u64 + 1;
    match std::fs::File::open(&path).and_then(|file| file.take(limit).read_to_string(&mut text)) {
        Ok(_) => Ok(Config::parse(&text, config::FILE_NAME)?),
        Err(_) => Ok(Config::default()),
    }
}

fn language(goal: &Goal, found: &BaseFiles) -> Language {
    match goal {
        Goal::Job(job) => Language::of(job),
        Goal::Spec(spec) => Language::of(&String::from_utf8_lossy(found.requirements(spec).unwrap_or_default())),
    }
}

async fn announce(
    options: &RunOptions,
    ready: &Ready,
    tried: &Tried,
    base_branch: &str,
    base: &CommitId,
) -> Result<(), ServiceError> {
    let shop = &ready.shop;
    let (title, job): (String, Option<Digest>) = match &ready.goal {
        Goal::Spec(spec) => (spec.to_string(), None),
        Goal::Job(job) => {
            let (store, text) = (shop.registry.blobs().clone(), job.clone());
            let stored = tokio::task::spawn_blocking(move || store.put(text.as_bytes())).await;
            let digest = stored.map_err(|error| ServiceError::Internal(error.to_string()))??;
            (shop.mask.apply(&specname::title(job)), Some(digest))
        }
    };
    let llm = shop.gateway.routes().values().next().map_or_else(String::new, |route| route.backend.name());
    let set = shop.plugins.now();
    let plugins = set.digests();
    let body = match &ready.earlier {
        Some(_) => Body::RunResumed { llm: llm.clone(), plugins },
        None => Body::RunStarted {
            job,
            title: title.clone(),
            repository: ready.repository.clone(),
            base_branch: base_branch.to_owned(),
            base_commit: base.clone(),
            branch: shop.branch(),
            llm: llm.clone(),
            language: shop.language.clone(),
            team: Vec::new(),
            plugins,
            options: Some(RunRequest {
                sandbox_off: matches!(shop.gate.sandbox.confinement(), Confinement::Off),
                ..resume::request(options)
            }),
        },
    };
    let earlier = ready.earlier.as_ref().map(|run| &run.plugins);
    let bodies = std::iter::once(body).chain(swap::started(&set, earlier, tried)).collect();
    shop.registry.append(Subject { spec: Some(shop.spec.clone()), ..Subject::run(&shop.run) }, bodies).await?;
    shop.tell(&Progress::Started {
        run: shop.run.clone(),
        spec: shop.spec.clone(),
        title,
        llm,
        scripted: ready.scripted,
        resumed: ready.earlier.is_some(),
        sandbox: shop.gate.sandbox.confinement().name(),
        gate: shop.gate.playbook.steps.iter().map(|step| step.name.clone()).collect(),
    });
    for plugin in set.brought() {
        shop.tell(&plugin);
    }
    if shop.gate.commands.is_empty() {
        shop.tell(&Progress::Warning { text: config::detect::NO_GATE.to_owned() });
    }
    if shop.config.run.land && work_tree(shop.mirror.source()).is_none() {
        let text = "run.land has no effect: the repository is not on this machine; the end of the run says how to \
                    fetch the branch";
        shop.tell(&Progress::Warning { text: text.to_owned() });
    }
    for text in &ready.warnings {
        shop.tell(&Progress::Warning { text: text.clone() });
    }
    Ok(())
}
