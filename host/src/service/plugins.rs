//! The components of a run: the built-in set, with the operator's choices put in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use super::error::{ServiceError, chain};
use crate::config::Config;
use crate::domain::assignment::RoleInfo;
use crate::domain::id::{Digest, Role};
use crate::plugin::builtin::Builtin;
use crate::plugin::{Engine, EngineOptions, Expectation, Limits, MAX_COMPONENT_BYTES, Plugin, PluginKind, builtin};
use crate::registry::{ExecutionKind, ExecutionRecord};
use crate::store::{BlobError, BlobStore};

/// A plugin that the operator names: `routing=least-busy` or `routing=path.wasm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginChoice {
    /// Which place it takes.
    pub kind: PluginKind,
    /// A name of the built-in set, or a component file.
    pub source: PluginSource,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginSource {
    /// Of the built-in set.
    Builtin(String),
    /// A file.
    File(PathBuf),
}

impl PluginSource {
    /// A text with a path separator or the ending `.wasm` is a file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.contains(std::path::MAIN_SEPARATOR) || text.ends_with(".wasm") {
            Self::File(PathBuf::from(text))
        } else {
            Self::Builtin(text.to_owned())
        }
    }
}

impl FromStr for PluginChoice {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let wrong = || {
            ServiceError::Usage(format!(
                "`{text}` is no plugin choice: write KIND=NAME or KIND=PATH with the kind spirit, routing, \
                 scheduling or review, such as routing=mine.wasm"
            ))
        };
        let (kind, source) = text.split_once('=').ok_or_else(wrong)?;
        let kind = kind.parse::<PluginKind>().map_err(|_| wrong())?;
        if source.is_empty() {
            return Err(wrong());
        }
        Ok(Self { kind, source: PluginSource::parse(source) })
    }
}

/// A loaded component with its settings and limits.
#[derive(Clone)]
pub(crate) struct Seated {
    /// The component.
    pub(crate) plugin: Arc<Plugin>,
    /// JSON text of its settings.
    pub(crate) settings: Value,
    /// Where it is stopped.
    pub(crate) limits: Limits,
}

/// Every component of a run.
pub(crate) struct PluginSet {
    /// By role, with what each says of itself.
    pub(crate) spirits: BTreeMap<Role, (Seated, RoleInfo)>,
    /// The routing policy.
    pub(crate) routing: Seated,
    /// The scheduling policy.
    pub(crate) scheduling: Seated,
    /// All review heuristics, by name.
    pub(crate) reviews: Vec<Seated>,
    /// Loads the components of executions that are gone on with.
    engine: Engine,
}

/// A component that was loaded, with what it says of itself when it is a spirit.
#[derive(Clone)]
struct Introduced {
    plugin: Arc<Plugin>,
    role: Option<RoleInfo>,
}

/// Which component: what for, and where from.
type Key = (PluginKind, PluginSource);

/// Components whose loading began before it is known which ones the configuration names: all
/// built-in ones, and those that the operator chose. The repository is looked at meanwhile.
pub(crate) enum Loading {
    /// Not waited for yet.
    Begun(JoinHandle<Result<Loaded, ServiceError>>),
    /// Waited for.
    Done(Loaded),
}

/// An engine, and components in it. An error counts only for who wants that component.
pub(crate) struct Loaded {
    engine: Engine,
    plugins: BTreeMap<Key, Result<Introduced, ServiceError>>,
}

impl Loading {
    /// Starts the engine and the loading; `cache` keeps components compiled.
    pub(crate) fn begin(cache: Option<PathBuf>, choices: &[PluginChoice]) -> Self {
        let built_in = builtin::ALL.iter().map(|entry| (entry.kind, PluginSource::Builtin(entry.name.to_owned())));
        let wanted: BTreeSet<Key> =
            built_in.chain(choices.iter().map(|choice| (choice.kind, choice.source.clone()))).collect();
        let options = EngineOptions { cache_dir: cache, ..EngineOptions::default() };
        Self::Begun(tokio::spawn(async move {
            let engine = tokio::task::spawn_blocking(move || Engine::new(options)).await.map_err(cut_off)??;
            let mut loaded = Loaded { engine, plugins: BTreeMap::new() };
            loaded.load(wanted).await?;
            Ok(loaded)
        }))
    }

    /// Waits for the operator's choices, if there are any, and refuses those that cannot be used.
    pub(crate) async fn check(self, choices: &[PluginChoice]) -> Result<Self, ServiceError> {
        if choices.is_empty() {
            return Ok(self);
        }
        let mut loaded = self.done().await?;
        for choice in choices {
            loaded.get(&(choice.kind, choice.source.clone()))?;
        }
        Ok(Self::Done(loaded))
    }

    async fn done(self) -> Result<Loaded, ServiceError> {
        match self {
            Self::Begun(loading) => loading.await.map_err(cut_off)?,
            Self::Done(loaded) => Ok(loaded),
        }
    }
}

impl Loaded {
    async fn load(&mut self, wanted: impl IntoIterator<Item = Key>) -> Result<(), ServiceError> {
        let mut loading = tokio::task::JoinSet::new();
        for (kind, source) in wanted {
            let engine = self.engine.clone();
            loading.spawn(async move {
                let loaded = introduce(&engine, kind, &source).await;
                ((kind, source), loaded)
            });
        }
        while let Some(joined) = loading.join_next().await {
            let (key, loaded) = joined.map_err(cut_off)?;
            self.plugins.insert(key, loaded);
        }
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Result<Introduced, ServiceError> {
        if let Some(Ok(introduced)) = self.plugins.get(key) {
            return Ok(introduced.clone());
        }
        let missing = || Err(ServiceError::Internal(format!("a {} plugin was not loaded", key.0)));
        self.plugins.remove(key).unwrap_or_else(missing)
    }
}

impl PluginSet {
    /// Takes what the configuration and `choices` name, and the built-in set for the rest. Files that the
    /// configuration names are looked for below `root`.
    pub(crate) async fn load(
        loading: Loading,
        config: &Config,
        choices: &[PluginChoice],
        root: &Path,
    ) -> Result<Self, ServiceError> {
        let wanted = wanted(config, choices, root);
        let mut loaded = loading.done().await?;
        let missing: BTreeSet<Key> = wanted.iter().filter(|key| !loaded.plugins.contains_key(key)).cloned().collect();
        loaded.load(missing).await?;
        let plugins = wanted.iter().map(|key| loaded.get(key)).collect::<Result<Vec<_>, _>>()?;
        Self::seat(config, plugins, loaded.engine)
    }

    fn seat(config: &Config, plugins: Vec<Introduced>, engine: Engine) -> Result<Self, ServiceError> {
        let (mut spirits, mut reviews) = (BTreeMap::new(), Vec::<Seated>::new());
        let (mut routing, mut scheduling) = (None, None);
        for Introduced { plugin, role } in plugins {
            let seated = Seated {
                settings: config.plugin_settings(&plugin.name),
                limits: limits(config, &plugin),
                plugin: Arc::clone(&plugin),
            };
            match plugin.kind {
                PluginKind::Spirit => {
                    let nameless = || ServiceError::Internal(format!("`{}` has no role", plugin.name));
                    let info = role.ok_or_else(nameless)?;
                    spirits.insert(info.role.clone(), (seated, info));
                }
                PluginKind::Routing => routing = Some(seated),
                PluginKind::Scheduling => scheduling = Some(seated),
                PluginKind::Review => {
                    // Findings, settings and limits go by the name: one heuristic has it.
                    reviews.retain(|other| other.plugin.name != seated.plugin.name);
                    reviews.push(seated);
                }
            }
        }
        let missing = |kind: &str| ServiceError::Internal(format!("no {kind} policy was loaded"));
        Ok(Self {
            spirits,
            routing: routing.ok_or_else(|| missing("routing"))?,
            scheduling: scheduling.ok_or_else(|| missing("scheduling"))?,
            reviews,
            engine,
        })
    }

    /// Puts the components of an earlier run back in their places, so that it goes on as it was begun. What
    /// `choices` name now stays. Gives what to say of those that cannot be had any more; their places keep
    /// what stands there.
    ///
    /// # Errors
    /// When this host cannot load one of them.
    pub(crate) async fn put_back(
        &mut self,
        recorded: &BTreeMap<String, Digest>,
        blobs: &BlobStore,
        config: &Config,
        choices: &[PluginChoice],
    ) -> Result<Vec<String>, ServiceError> {
        let (now, mut lost) = (self.digests(), Vec::new());
        for (place, digest) in recorded.iter().filter(|(place, digest)| now.get(*place) != Some(*digest)) {
            let Some((kind, name)) = place.split_once('/') else { continue };
            let Ok(kind) = kind.parse::<PluginKind>() else { continue };
            if choices.iter().any(|choice| choice.kind == kind) {
                continue;
            }
            let bytes = match from_store(blobs, digest, name).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    lost.push(format!("{}; the run goes on with the one of now", chain(&error)));
                    continue;
                }
            };
            let plugin = self.engine.load(name, bytes, Expectation::Kind(kind)).await?;
            let seated = Seated {
                settings: config.plugin_settings(name),
                limits: limits(config, &plugin),
                plugin: Arc::clone(&plugin),
            };
            match kind {
                PluginKind::Spirit => {
                    let info = plugin.describe_role().await.result.map_err(|error| describe(&plugin, &error))?;
                    self.spirits.insert(info.role.clone(), (seated, info));
                }
                PluginKind::Routing => self.routing = seated,
                PluginKind::Scheduling => self.scheduling = seated,
                PluginKind::Review => {
                    self.reviews.retain(|other| other.plugin.name != name);
                    self.reviews.push(seated);
                }
            }
        }
        Ok(lost)
    }

    /// What an execution ran with: its component, which need not be the one of this run, its settings and
    /// its limits.
    ///
    /// # Errors
    /// As [`load_recorded`].
    pub(crate) async fn recorded(
        &self,
        execution: &ExecutionRecord,
        blobs: &BlobStore,
    ) -> Result<Seated, ServiceError> {
        let seated = self.all().find(|seated| seated.plugin.digest == execution.component);
        let plugin = match seated.filter(|seated| seated.plugin.name == execution.plugin) {
            Some(seated) => Arc::clone(&seated.plugin),
            None => load_recorded(&self.engine, execution, blobs).await?,
        };
        seat_recorded(plugin, execution)
    }

    /// Puts every component into the store, so that what it did can be done again without its file.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn keep(&self, blobs: &BlobStore) -> Result<(), BlobError> {
        for Seated { plugin, .. } in self.all() {
            if !blobs.renew(&plugin.digest) {
                blobs.put(&plugin.bytes)?;
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Seated> {
        let spirits = self.spirits.values().map(|(seated, _)| seated);
        spirits.chain([&self.routing, &self.scheduling]).chain(&self.reviews)
    }

    /// Digest of every component, by kind and name.
    pub(crate) fn digests(&self) -> BTreeMap<String, Digest> {
        self.all()
            .map(|seated| {
                (format!("{}/{}", seated.plugin.kind.as_str(), seated.plugin.name), seated.plugin.digest.clone())
            })
            .collect()
    }
}

/// The components of a run, in the order in which they are seated.
fn wanted(config: &Config, choices: &[PluginChoice], root: &Path) -> Vec<Key> {
    let configured = |text: &str| match PluginSource::parse(text) {
        PluginSource::File(path) => PluginSource::File(root.join(path)),
        built_in @ PluginSource::Builtin(_) => built_in,
    };
    let mut wanted: Vec<Key> = builtin::ALL
        .iter()
        .filter(|entry| matches!(entry.kind, PluginKind::Spirit | PluginKind::Review))
        .map(|entry| (entry.kind, PluginSource::Builtin(entry.name.to_owned())))
        .collect();
    let single = |kind: PluginKind, text: &str| {
        let choice = choices.iter().rev().find(|choice| choice.kind == kind);
        (kind, choice.map_or_else(|| configured(text), |choice| choice.source.clone()))
    };
    wanted.push(single(PluginKind::Routing, &config.plugins.routing));
    wanted.push(single(PluginKind::Scheduling, &config.plugins.scheduling));
    if let Some(reviews) = &config.plugins.review {
        wanted.retain(|(kind, _)| *kind != PluginKind::Review);
        wanted.extend(reviews.iter().map(|text| (PluginKind::Review, configured(text))));
    }
    // A spirit or heuristic from a file joins the set; it replaces the one of its role or name.
    let added = choices.iter().filter(|choice| matches!(choice.kind, PluginKind::Spirit | PluginKind::Review));
    wanted.extend(added.map(|choice| (choice.kind, choice.source.clone())));
    wanted
}

/// The defaults of the plugin's kind, with what the operator set in their place.
pub(crate) fn limits(config: &Config, plugin: &Plugin) -> Limits {
    let base = Limits::for_kind(plugin.kind);
    let set = config.plugin_limits(plugin.kind.as_str(), &plugin.name);
    Limits {
        fuel: set.fuel.or(base.fuel),
        memory_bytes: set.memory_bytes.unwrap_or(base.memory_bytes),
        table_elements: set.table_elements.unwrap_or(base.table_elements),
        guest_time: set.guest_time_ms.map_or(base.guest_time, Duration::from_millis),
        wall: set.wall_ms.map_or(base.wall, Duration::from_millis),
        host_call_bytes: set.host_call_bytes.unwrap_or(base.host_call_bytes),
        host_calls: set.host_calls.unwrap_or(base.host_calls),
        journal_bytes: set.journal_bytes.unwrap_or(base.journal_bytes),
    }
}

/// Loads the component of a recorded execution from the blobs, where its run has put it.
///
/// # Errors
/// When the store has it no more, or damaged, or when this host cannot load it.
pub(crate) async fn load_recorded(
    engine: &Engine,
    execution: &ExecutionRecord,
    blobs: &BlobStore,
) -> Result<Arc<Plugin>, ServiceError> {
    let bytes = from_store(blobs, &execution.component, &execution.plugin).await?;
    let kind = match execution.kind {
        ExecutionKind::Spirit => Expectation::Kind(PluginKind::Spirit),
        ExecutionKind::Review => Expectation::Kind(PluginKind::Review),
        ExecutionKind::Routing => Expectation::Kind(PluginKind::Routing),
        ExecutionKind::Scheduling => Expectation::Kind(PluginKind::Scheduling),
        ExecutionKind::Describe => Expectation::Any,
    };
    Ok(engine.load(&execution.plugin, bytes, kind).await?)
}

async fn from_store(blobs: &BlobStore, digest: &Digest, plugin: &str) -> Result<Vec<u8>, ServiceError> {
    let (blobs, digest) = (blobs.clone(), digest.clone());
    let bytes = tokio::task::spawn_blocking(move || blobs.get(&digest)).await.map_err(cut_off)?;
    bytes.map_err(|source| ServiceError::Component { plugin: plugin.to_owned(), source })
}

/// A component with the settings and limits that an execution had.
///
/// # Errors
/// When the record has limits of another form.
pub(crate) fn seat_recorded(plugin: Arc<Plugin>, execution: &ExecutionRecord) -> Result<Seated, ServiceError> {
    let limits = serde_json::from_value(execution.limits.clone())
        .map_err(|error| ServiceError::Internal(format!("the limits of execution {}: {error}", execution.id)))?;
    Ok(Seated { plugin, settings: execution.settings.clone(), limits })
}

fn describe(plugin: &Plugin, error: &dyn std::error::Error) -> ServiceError {
    ServiceError::Usage(format!("the plugin `{}` cannot say what it is: {error}", plugin.name))
}

/// Loads a component's file, whatever its kind; `cache` keeps it compiled.
///
/// # Errors
/// When it cannot be read, or is no plugin of this host.
pub async fn load_plugin_file(path: &Path, cache: Option<PathBuf>) -> Result<Arc<Plugin>, ServiceError> {
    let engine = Engine::new(EngineOptions { cache_dir: cache, ..EngineOptions::default() })?;
    from_file(&engine, path, Expectation::Any).await
}

/// Loads a component of the built-in set; `cache` keeps it compiled.
///
/// # Errors
/// When the engine does not start here.
pub async fn load_builtin(entry: &Builtin, cache: Option<PathBuf>) -> Result<Arc<Plugin>, ServiceError> {
    let engine = Engine::new(EngineOptions { cache_dir: cache, ..EngineOptions::default() })?;
    Ok(engine.load(entry.name, entry.bytes, Expectation::Kind(entry.kind)).await?)
}

fn cut_off(error: tokio::task::JoinError) -> ServiceError {
    ServiceError::Internal(error.to_string())
}

/// Loads a component and asks a spirit who it is.
async fn introduce(engine: &Engine, kind: PluginKind, source: &PluginSource) -> Result<Introduced, ServiceError> {
    let plugin = load(engine, kind, source).await?;
    let role = match kind {
        PluginKind::Spirit => {
            let described = plugin.describe_role().await.result;
            Some(described.map_err(|error| describe(&plugin, &error))?)
        }
        PluginKind::Scheduling | PluginKind::Routing | PluginKind::Review => None,
    };
    Ok(Introduced { plugin, role })
}

/// Loads one component and checks that it is of `kind`.
pub(crate) async fn load(
    engine: &Engine,
    kind: PluginKind,
    source: &PluginSource,
) -> Result<Arc<Plugin>, ServiceError> {
    match source {
        PluginSource::Builtin(name) => {
            let entry = builtin::find(kind, name).ok_or_else(|| {
                let known: Vec<&str> =
                    builtin::ALL.iter().filter(|entry| entry.kind == kind).map(|entry| entry.name).collect();
                ServiceError::Usage(format!(
                    "there is no built-in {} plugin `{name}`; there are: {}; a file needs the ending .wasm or a path",
                    kind.as_str(),
                    known.join(", ")
                ))
            })?;
            Ok(engine.load(entry.name, entry.bytes, Expectation::Kind(kind)).await?)
        }
        PluginSource::File(path) => from_file(engine, path, Expectation::Kind(kind)).await,
    }
}

/// A name that leads to no file is a slip, not a fault of the machine.
async fn from_file(engine: &Engine, path: &Path, expectation: Expectation) -> Result<Arc<Plugin>, ServiceError> {
    let fail = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ServiceError::Usage(format!("there is no plugin file `{}`", path.display())),
        _ => ServiceError::Io { path: path.to_owned(), source },
    };
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(ServiceError::Usage(format!("`{}` is no file of a plugin", path.display())));
    }
    let size = metadata.len();
    if size > MAX_COMPONENT_BYTES as u64 {
        return Err(ServiceError::Usage(format!(
            "`{}` has {size} bytes; a component may have {MAX_COMPONENT_BYTES}",
            path.display()
        )));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    let name = path.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy());
    Ok(engine.load(&name, bytes, expectation).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_a_kind_and_a_source() {
        let choice: PluginChoice = "routing=least-busy".parse().unwrap();
        assert_eq!(choice.source, PluginSource::Builtin("least-busy".into()));
        let choice: PluginChoice = "review=./x".parse().unwrap();
        assert_eq!(choice.source, PluginSource::File("./x".into()));
        let choice: PluginChoice = "routing=mine.wasm".parse().unwrap();
        assert_eq!(choice.source, PluginSource::File("mine.wasm".into()));
        for wrong in ["", "routing", "router=x", "routing="] {
            assert!(wrong.parse::<PluginChoice>().is_err(), "{wrong:?} passed");
        }
    }
}
