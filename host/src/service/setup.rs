//! Setting a run up: repository, configuration, model, state directory, plugins, spec branch, in the
//! order in which the cheap refusals come first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::error::ServiceError;
use super::gate::{Gate, GateCommand};
use super::necromancer::{Goal, RunOptions};
use super::plugins::PluginSet;
use super::progress::{Observer, Progress};
use super::specname;
use super::state_dir::{DEFAULT_NAME, StateDir, StateLock};
use super::workshop::{SpiritCommand, Workshop};
use crate::artifact::ArtifactStore;
use crate::clock::Clock;
use crate::config::{self, Config, Detected};
use crate::domain::assignment::Document;
use crate::domain::budget::{Amount, Budget};
use crate::domain::event::{Body, Subject};
use crate::domain::id::{CommitId, Digest, SpecName};
use crate::domain::mask::Mask;
use crate::domain::protocol;
use crate::domain::task::TaskState;
use crate::domain::team::Language;
use crate::llm::config::{DEFAULT_KEY_ENV, LlmChoice, LlmConfig, LlmOptions, ModelOptions};
use crate::llm::gateway::Price;
use crate::llm::openai::Dialect;
use crate::plugin::{Engine, EngineOptions};
use crate::registry::Registry;
use crate::sandbox::{Confinement, HostEnv, Sandbox};
use crate::spec;
use crate::store::BlobStore;
use crate::workspace::{Git, Inspection, Mirror, Objects, Source, TreeId, WorkspaceError, inspect};

/// Steering documents that go into every assignment, in bytes together.
const MAX_STEERING_BYTES: usize = 64 * 1024;

/// A run that may begin.
pub(crate) struct Ready {
    pub(crate) shop: Arc<Workshop>,
    pub(crate) max_parallel: u32,
    pub(crate) scripted: bool,
    pub(crate) state: PathBuf,
    pub(crate) repository: String,
    _lock: StateLock,
}

/// Where a repository's state is: `given`, or its usual place.
pub(crate) fn state_path(source: &Source, cwd: &Path, given: Option<&Path>) -> PathBuf {
    match (given, source) {
        (Some(given), _) => cwd.join(given),
        (None, Source::Path(root)) => root.join(DEFAULT_NAME),
        (None, Source::Url(_)) => cwd.join(DEFAULT_NAME),
    }
}

/// The source, with a path inside a work tree led back to its root.
pub(crate) fn source(text: &str, cwd: &Path) -> Result<Source, ServiceError> {
    let source = Source::parse(text, cwd)?;
    let Source::Path(path) = &source else { return Ok(source) };
    let Ok(real) = path.canonicalize() else { return Ok(source) };
    let root = real.ancestors().find(|folder| folder.join(".git").exists());
    Ok(root.map_or(source, |root| Source::Path(root.to_owned())))
}

/// Looks at the repository without writing anything.
pub(crate) async fn look(source: &Source, base: Option<&str>) -> Result<Inspection, ServiceError> {
    let scratch = tempfile::tempdir().map_err(|source| ServiceError::Io { path: std::env::temp_dir(), source })?;
    let git = Git::locate(scratch.path()).await?;
    Ok(inspect(&git, source, base).await?)
}

/// Refuses what cannot work, then makes everything that the run needs.
pub(crate) async fn prepare(
    options: &RunOptions,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    stop: watch::Receiver<bool>,
) -> Result<Ready, ServiceError> {
    let source = source(&options.repository, &options.cwd)?;
    let seen = look(&source, options.base.as_deref()).await?;
    if !options.allow_dirty && seen.dirty_count > 0 {
        return Err(dirty(&seen));
    }
    // With the settings of the checkout, only to refuse early; those of the base commit count.
    let early = early_config(&source)?;
    llm_config(options, &early)?;

    let state = StateDir::create(&state_path(&source, &options.cwd, options.state.as_deref()))?;
    let lock = state.lock(clock.now())?;
    let git = Git::locate(state.root()).await?;
    let mirror = Mirror::open(git, &state.repositories(), source.clone()).await?;
    mirror.fetch().await?;
    let base_branch = options.base.clone().or(early.run.base_branch).unwrap_or(seen.base_branch.clone());
    let base = mirror.branch_tip(&base_branch).await?.unwrap_or_else(|| seen.base_commit.clone());
    let found = mirror.objects({
        let base = base.clone();
        move |objects| BaseFiles::read(objects, &base)
    });
    let found = found.await?;
    let config = found.config()?;
    let llm = llm_config(options, &config)?;
    let mask = Arc::new(mask(options, &config));

    let blobs = BlobStore::open(state.blobs())?;
    let registry = Registry::open(&state.registry(), Arc::clone(&clock), blobs.clone())?;
    let engine = Engine::new(EngineOptions { cache_dir: options.cache.clone(), ..EngineOptions::default() })?;
    let plugins = PluginSet::load(&engine, &config, &options.plugins).await?;
    let spec = specname::choose(&options.goal, &registry, &found.specs).await?;
    seen.check_branch_free(&protocol::spec_branch(&spec))?;

    let commands = config.all_commands(found.detected.as_ref());
    let gate_names = gate_names(&config, found.detected.as_ref());
    let sandbox = Sandbox::new(HostEnv::from_process(), Arc::clone(&clock), Confinement::Off);
    let command = |name: &String| {
        commands.get(name).map(|settings| GateCommand {
            name: name.clone(),
            argv: settings.run.clone(),
            timeout: Duration::from_millis(settings.timeout_ms),
        })
    };
    let gate = Gate { commands: gate_names.iter().filter_map(command).collect(), sandbox, mask: Arc::clone(&mask) };
    let spirit_commands = commands
        .iter()
        .filter(|(_, settings)| settings.spirits)
        .filter_map(|(name, settings)| {
            let (description, extra_args) = (settings.description.clone(), settings.extra_args);
            command(name).map(|command| SpiritCommand { command, description, extra_args })
        })
        .collect();
    let scripted = llm.script().is_some();
    let gateway = Arc::new(llm.open()?);
    if config.budget.cost_microusd.is_some() && !gateway.unpriced().is_empty() {
        return Err(ServiceError::Usage(format!(
            "a money budget needs the price of every model; missing for {}: set [llm.models.<alias>.price]",
            gateway.unpriced().join(", ")
        )));
    }
    let budget = Arc::new(Mutex::new(Budget::new(config.budget, Amount::default())));
    let run = registry.ids().run();
    let shop = Arc::new(Workshop {
        artifacts: ArtifactStore::new(blobs, registry.ids().clone(), Arc::clone(&clock)),
        language: language(options, &found).code().to_owned(),
        steering: found.steering(&mask),
        max_attempts: config.run.max_attempts,
        commands: spirit_commands,
        clock,
        registry,
        mirror,
        plugins,
        gateway,
        budget,
        config,
        mask,
        observer,
        stop,
        run,
        spec,
        gate,
    });
    start_branch(&shop, &base).await?;
    let ready = Ready {
        max_parallel: options.max_parallel.unwrap_or(shop.config.run.max_parallel),
        scripted,
        state: state.root().to_owned(),
        repository: source.display(),
        shop,
        _lock: lock,
    };
    announce(options, &ready, &base_branch, &base).await?;
    Ok(ready)
}

fn dirty(seen: &Inspection) -> ServiceError {
    let named: Vec<&str> = seen.dirty.iter().take(5).map(|dirty| dirty.path.as_str()).collect();
    let more = if seen.dirty_count > named.len() { ", …" } else { "" };
    ServiceError::Usage(format!(
        "the checkout has {} changes that are in no commit ({}{more}); work starts from the last commit and would \
         not see them: commit or stash them, or say --allow-dirty",
        seen.dirty_count,
        named.join(", ")
    ))
}

fn early_config(source: &Source) -> Result<Config, ServiceError> {
    let Source::Path(root) = source else { return Ok(Config::default()) };
    match std::fs::read_to_string(root.join(config::FILE_NAME)) {
        Ok(text) => Ok(Config::parse(&text, config::FILE_NAME)?),
        Err(_) => Ok(Config::default()),
    }
}

/// What the base commit says about how to work.
struct BaseFiles {
    settings: Option<Vec<u8>>,
    detected: Option<Detected>,
    steering: Vec<(String, Vec<u8>)>,
    specs: Vec<SpecName>,
    requirements: Vec<(SpecName, Vec<u8>)>,
}

impl BaseFiles {
    fn read(objects: &Objects, base: &CommitId) -> Result<Self, WorkspaceError> {
        let tree: TreeId = objects.tree_of(base)?;
        let paths = objects.list_files(&tree, "")?;
        let file = |path: &str| objects.read_file(&tree, path).ok().flatten();
        let steering = paths.iter().filter(|path| path.starts_with(".kiro/steering/") && path.ends_with(".md"));
        let specs: Vec<SpecName> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(".kiro/specs/")?.strip_suffix("/tasks.md"))
            .filter_map(|name| SpecName::new(name).ok())
            .collect();
        let requirements = specs
            .iter()
            .filter_map(|spec| Some((spec.clone(), file(&format!(".kiro/specs/{spec}/requirements.md"))?)))
            .collect();
        Ok(Self {
            settings: file(config::FILE_NAME),
            detected: config::detect::detect(&paths, &file),
            steering: steering.filter_map(|path| Some((path.clone(), file(path)?))).collect(),
            specs,
            requirements,
        })
    }

    fn config(&self) -> Result<Config, ServiceError> {
        let Some(bytes) = &self.settings else { return Ok(Config::default()) };
        let text = std::str::from_utf8(bytes)
            .map_err(|_| ServiceError::Usage(format!("{} in the base commit is not UTF-8", config::FILE_NAME)))?;
        Ok(Config::parse(text, config::FILE_NAME)?)
    }

    fn steering(&self, mask: &Mask) -> Vec<Document> {
        let mut room = MAX_STEERING_BYTES;
        let mut documents = Vec::new();
        for (name, bytes) in &self.steering {
            let steering = spec::steering::read(name, &String::from_utf8_lossy(bytes));
            if steering.inclusion != spec::steering::Inclusion::Always {
                continue;
            }
            if steering.text.len() > room {
                tracing::warn!(%name, "left out: steering documents have more than {MAX_STEERING_BYTES} bytes");
                continue;
            }
            room -= steering.text.len();
            documents.push(Document { name: name.clone(), text: mask.apply(&steering.text) });
        }
        documents
    }
}

fn language(options: &RunOptions, found: &BaseFiles) -> Language {
    match &options.goal {
        Goal::Job(job) => Language::of(job),
        Goal::Spec(spec) => found
            .requirements
            .iter()
            .find(|(name, _)| name == spec)
            .map_or(Language::English, |(_, bytes)| Language::of(&String::from_utf8_lossy(bytes))),
    }
}

fn gate_names(config: &Config, detected: Option<&Detected>) -> Vec<String> {
    match (&config.gate.commands, detected) {
        (Some(names), _) => names.clone(),
        (None, Some(found)) => found.commands.iter().map(|(name, _)| (*name).to_owned()).collect(),
        (None, None) => Vec::new(),
    }
}

/// LLM access by flag, then environment, then `necro.toml`.
pub(crate) fn llm_config(options: &RunOptions, config: &Config) -> Result<LlmConfig, ServiceError> {
    let settings = &config.llm;
    let env = |name: &str| options.env.get(name).cloned();
    let dialect = |dialect: config::Dialect| match dialect {
        config::Dialect::Responses => Dialect::Responses,
        config::Dialect::Chat => Dialect::Chat,
    };
    let key_env = settings.key_env.clone();
    let named = options.base_url.clone().or_else(|| env(crate::llm::config::BASE_URL_ENV));
    if let (None, Some(url)) = (&named, &settings.base_url)
        && !matches!(options.llm, Some(LlmChoice::Scripted(_)))
        && env(key_env.as_deref().unwrap_or(DEFAULT_KEY_ENV)).is_some()
    {
        // A repository must not be able to have the operator's key sent to a server of its choice.
        return Err(ServiceError::Usage(format!(
            "{} sends your key to {url}: say that you want it with --base-url {url}",
            config::FILE_NAME
        )));
    }
    let alias = |model: &config::ModelSettings| ModelOptions {
        model: model.model.clone(),
        dialect: model.dialect.map(dialect),
        max_output_tokens: model.max_output_tokens.or(settings.max_output_tokens),
        price: model.price.map(|price| Price {
            input_microusd: price.input_microusd,
            cached_input_microusd: price.cached_input_microusd.unwrap_or(price.input_microusd),
            output_microusd: price.output_microusd,
        }),
    };
    let options = LlmOptions {
        choice: options.llm.clone(),
        base_url: named.or_else(|| settings.base_url.clone()),
        key_env,
        model: settings.model.clone(),
        dialect: settings.dialect.map(dialect),
        aliases: settings.models.iter().map(|(name, model)| (name.clone(), alias(model))).collect(),
        limits: None,
        max_concurrent: settings.max_concurrent.and_then(|calls| usize::try_from(calls).ok()),
    };
    Ok(options.resolve(&env)?)
}

/// Secrets that no text may carry: the key, and the values of the variables that the operator names.
fn mask(options: &RunOptions, config: &Config) -> Mask {
    let key_env = config.llm.key_env.as_deref().unwrap_or(DEFAULT_KEY_ENV);
    let names = config.secrets.mask.iter().map(String::as_str).chain([key_env, DEFAULT_KEY_ENV]);
    Mask::new(names.filter_map(|name| options.env.get(name)))
}

/// Makes the spec branch at `base` where there is none yet.
async fn start_branch(shop: &Workshop, base: &CommitId) -> Result<(), ServiceError> {
    let (branch, base) = (shop.branch_ref(), base.clone());
    shop.mirror
        .objects(move |objects| match objects.read_ref(&branch)? {
            Some(_) => Ok(()),
            None => objects.update_ref(&branch, &base, None),
        })
        .await?;
    Ok(())
}

async fn announce(
    options: &RunOptions,
    ready: &Ready,
    base_branch: &str,
    base: &CommitId,
) -> Result<(), ServiceError> {
    let shop = &ready.shop;
    let (title, job): (String, Option<Digest>) = match &options.goal {
        Goal::Spec(spec) => (spec.to_string(), None),
        Goal::Job(job) => {
            let (store, text) = (shop.registry.blobs().clone(), job.clone());
            let stored = tokio::task::spawn_blocking(move || store.put(text.as_bytes())).await;
            let digest = stored.map_err(|error| ServiceError::Internal(error.to_string()))??;
            (shop.mask.apply(&specname::title(job)), Some(digest))
        }
    };
    let llm = shop.gateway.routes().values().next().map_or_else(String::new, |route| route.backend.name());
    let body = Body::RunStarted {
        job,
        title: title.clone(),
        repository: ready.repository.clone(),
        base_branch: base_branch.to_owned(),
        base_commit: base.clone(),
        branch: shop.branch(),
        llm: llm.clone(),
        language: shop.language.clone(),
        team: Vec::new(),
        plugins: shop.plugins.digests(),
    };
    shop.registry.append(Subject { spec: Some(shop.spec.clone()), ..Subject::run(&shop.run) }, vec![body]).await?;
    shop.tell(&Progress::Started {
        run: shop.run.clone(),
        spec: shop.spec.clone(),
        title,
        llm,
        scripted: ready.scripted,
        gate: shop.gate.commands.iter().map(|command| command.name.clone()).collect(),
    });
    if shop.gate.commands.is_empty() {
        shop.tell(&Progress::Warning { text: config::detect::NO_GATE.to_owned() });
    }
    Ok(())
}

/// Takes back what an earlier process of this state directory left: this process owns it now, so
/// whatever is marked as running is not.
pub(crate) async fn reclaim(shop: &Arc<Workshop>) -> Result<(), ServiceError> {
    for lease in shop.registry.read(|reader| reader.leases(None)).await? {
        shop.registry.release_lease(&lease.id).await?;
    }
    let spec = shop.spec.clone();
    for task in shop.registry.read(move |reader| reader.tasks(&spec)).await? {
        if task.state == TaskState::Running {
            let body = Body::TaskReady { from: TaskState::Running, last_failure: task.last_failure.clone() };
            shop.registry.transition(&shop.run, &task.key, task.version, Some(task.attempts), body).await?;
        }
    }
    Ok(())
}
