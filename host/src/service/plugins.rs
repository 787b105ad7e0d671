//! The components of a run: the built-in set, with the operator's choices put in its place.

pub mod grants;
pub mod install;
pub(crate) mod loading;
pub mod lock;
pub(crate) mod seat;
pub(crate) mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::blocking::blocking;
use super::error::{ServiceError, chain};
use super::progress::Progress;
use crate::config::{Config, FILE_NAME};
use crate::domain::assignment::RoleInfo;
use crate::domain::id::{Digest, Role};
use crate::plugin::{Engine, Expectation, Plugin, PluginKind, builtin};
use crate::registry::{ExecutionKind, ExecutionRecord};
use crate::store::{BlobError, BlobStore};
use loading::{Introduced, Key, role_of};
pub(crate) use loading::{Loading, speechless};
pub(crate) use seat::{Approvals, Granting, Seated, quoted, seat, seat_recorded};
pub use shelf::Shelf;

/// A plugin that the operator names: `routing=least-busy` or `routing=path.wasm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginChoice {
    /// Which place it takes.
    pub kind: PluginKind,
    /// A name, or a component file.
    pub source: PluginSource,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginSource {
    /// Of the built-in set, or installed.
    Named(String),
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
            Self::Named(text.to_owned())
        }
    }

    /// The same, with a file looked for below `dir`.
    #[must_use]
    pub(crate) fn below(self, dir: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(dir.join(path)),
            named @ Self::Named(_) => named,
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

impl std::fmt::Display for PluginSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
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
    pub(crate) engine: Engine,
    /// What components may do.
    pub(crate) approvals: Approvals,
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
        let approvals = loaded.shelf.approvals();
        let mut plugins = Vec::with_capacity(wanted.len());
        for key in &wanted {
            let introduced = loaded.get(key)?;
            approvals.check(&introduced.plugin, &key.1.to_string())?;
            plugins.push(introduced);
        }
        Self::seat(config, plugins, loaded.engine, approvals)
    }

    fn seat(
        config: &Config,
        plugins: Vec<Introduced>,
        engine: Engine,
        approvals: Approvals,
    ) -> Result<Self, ServiceError> {
        let (mut spirits, mut reviews) = (BTreeMap::new(), Vec::<Seated>::new());
        let (mut routing, mut scheduling) = (None, None);
        for Introduced { plugin, role } in plugins {
            let seated = seat(config, &approvals, Arc::clone(&plugin))?;
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
            approvals,
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
            if let Err(error) = self.approvals.check(&plugin, name) {
                lost.push(format!("{}; the run goes on with the one of now", chain(&error)));
                continue;
            }
            let seated = seat(config, &self.approvals, Arc::clone(&plugin))?;
            let role = role_of(&plugin).await?;
            self.place(seated, role);
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
        let grant = Granting::ByLock(Arc::new(self.approvals.clone()));
        seat_recorded(plugin, execution, grant)
    }

    /// Puts every component into the store, so that what it did can be done again without its file.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn keep(&self, blobs: &BlobStore) -> Result<(), BlobError> {
        for Seated { plugin, .. } in self.all() {
            keep(plugin, blobs)?;
        }
        Ok(())
    }

    /// A set of one component, for a place in which nothing else is called.
    pub(crate) fn alone(seated: &Seated) -> Self {
        let (routing, scheduling, engine) = (seated.clone(), seated.clone(), seated.plugin.engine());
        let approvals = Approvals::new(Shelf::empty());
        Self { spirits: BTreeMap::new(), routing, scheduling, reviews: Vec::new(), engine, approvals }
    }

    /// The components that did not come with the host, and what they may do: nobody shall have to guess what takes
    /// part, whoever chose it.
    pub(crate) fn brought(&self) -> Vec<Progress> {
        let strangers = self.all().filter(|seated| !builtin::has(&seated.plugin.digest));
        let told = strangers.map(|seated| {
            let may = seated.granted().words().into_iter().map(|(interface, within)| match within.as_str() {
                "" => interface.name().to_owned(),
                within => format!("{interface} ({within})"),
            });
            let plugin = format!("{}/{}", seated.plugin.kind, seated.plugin.name);
            Progress::Brought { plugin, digest: seated.plugin.digest.clone(), may: may.collect() }
        });
        told.collect()
    }

    /// Settings and limits of the configuration that no plugin here has the name for: a slip, most likely.
    pub(crate) fn unheard(&self, config: &Config) -> Vec<String> {
        let known: BTreeSet<&str> = self.all().map(|seated| seated.plugin.name.as_str()).collect();
        let known =
            |name: &String| known.contains(name.as_str()) || builtin::ALL.iter().any(|entry| entry.name == name);
        let settings = config.plugins.settings.keys().filter(|name| !known(name));
        let settings = settings.map(|name| format!("[plugins.settings.{name}]"));
        let limits = config.limits.keys().filter(|name| !known(name) && PluginKind::by_name(name).is_none());
        let limits = limits.map(|name| format!("[limits.{name}]"));
        let tables = settings.chain(limits);
        tables.map(|table| format!("{table} in {FILE_NAME} has no effect: no plugin here has that name")).collect()
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
    let configured = |text: &str| PluginSource::parse(text).below(root);
    let mut wanted: Vec<Key> = builtin::ALL
        .iter()
        .filter(|entry| matches!(entry.kind, PluginKind::Spirit | PluginKind::Review) && !entry.on_request())
        .map(|entry| (entry.kind, PluginSource::Named(entry.name.to_owned())))
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
    let spirits = config.plugins.spirit.iter().flatten();
    wanted.extend(spirits.map(|text| (PluginKind::Spirit, configured(text))));
    // A spirit or heuristic from a file joins the set; it replaces the one of its role or name.
    let added = choices.iter().filter(|choice| matches!(choice.kind, PluginKind::Spirit | PluginKind::Review));
    wanted.extend(added.map(|choice| (choice.kind, choice.source.clone())));
    wanted
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

/// The bytes of a component that was put into the store.
///
/// # Errors
/// When it has them no more, or damaged.
pub(crate) async fn from_store(blobs: &BlobStore, digest: &Digest, plugin: &str) -> Result<Vec<u8>, ServiceError> {
    let (blobs, digest) = (blobs.clone(), digest.clone());
    let plugin = plugin.to_owned();
    blocking(move || blobs.get(&digest).map_err(|source| ServiceError::Component { plugin, source })).await
}

/// Puts a component into the store, or renews it there.
///
/// # Errors
/// When the store cannot be written.
pub(crate) fn keep(plugin: &Plugin, blobs: &BlobStore) -> Result<(), BlobError> {
    if !blobs.renew(&plugin.digest) {
        blobs.put(&plugin.bytes)?;
    }
    Ok(())
}

fn cut_off(error: tokio::task::JoinError) -> ServiceError {
    ServiceError::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_a_kind_and_a_source() {
        let choice: PluginChoice = "routing=least-busy".parse().unwrap();
        assert_eq!(choice.source, PluginSource::Named("least-busy".into()));
        let choice: PluginChoice = "review=./x".parse().unwrap();
        assert_eq!(choice.source, PluginSource::File("./x".into()));
        let choice: PluginChoice = "routing=mine.wasm".parse().unwrap();
        assert_eq!(choice.source, PluginSource::File("mine.wasm".into()));
        for wrong in ["", "routing", "router=x", "routing="] {
            assert!(wrong.parse::<PluginChoice>().is_err(), "{wrong:?} passed");
        }
    }
}
