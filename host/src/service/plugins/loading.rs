//! Components whose loading began before it is known which ones the configuration names: all built-in ones, and
//! those that the operator chose. The repository is looked at meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::shelf::Shelf;
use super::{PluginChoice, PluginSource, cut_off};
use crate::domain::assignment::RoleInfo;
use crate::plugin::{Compiling, Engine, EngineOptions, ExecutionError, Plugin, PluginKind, builtin};
use crate::service::blocking;
use crate::service::error::ServiceError;
use crate::service::progress::{Observer, Progress};

/// A component that was loaded, with what it says of itself when it is a spirit.
#[derive(Clone)]
pub(crate) struct Introduced {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) role: Option<RoleInfo>,
}

/// Which component: what for, and where from.
pub(crate) type Key = (PluginKind, PluginSource);

/// Components on their way.
pub(crate) enum Loading {
    /// Not waited for yet.
    Begun(JoinHandle<Result<Loaded, ServiceError>>),
    /// Waited for.
    Done(Loaded),
}

/// An engine, and components in it. An error counts only for who wants that component.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) shelf: Shelf,
    pub(crate) plugins: BTreeMap<Key, Result<Introduced, ServiceError>>,
}

impl Loading {
    /// Starts the engine and the loading; `cache` keeps components compiled.
    pub(crate) fn begin(
        cache: Option<PathBuf>,
        shelf: Shelf,
        choices: &[PluginChoice],
        observer: &Arc<dyn Observer>,
    ) -> Self {
        let built_in = builtin::ALL.iter().filter(|entry| entry.is_default());
        let built_in = built_in.map(|entry| (entry.kind, PluginSource::Named(entry.name.to_owned())));
        let wanted: BTreeSet<Key> =
            built_in.chain(choices.iter().map(|choice| (choice.kind, choice.source.clone()))).collect();
        let compiling = compiling(observer);
        let options = EngineOptions { cache_dir: cache, compiling, ..EngineOptions::default() };
        Self::Begun(tokio::spawn(async move {
            let engine = blocking(move || Ok(Engine::new(options)?)).await?;
            let mut loaded = Loaded { engine, shelf, plugins: BTreeMap::new() };
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
        let approvals = loaded.shelf.approvals();
        for choice in choices {
            let introduced = loaded.get(&(choice.kind, choice.source.clone()))?;
            approvals.check(&introduced.plugin, &choice.source.to_string())?;
        }
        Ok(Self::Done(loaded))
    }

    pub(crate) async fn done(self) -> Result<Loaded, ServiceError> {
        match self {
            Self::Begun(loading) => loading.await.map_err(cut_off)?,
            Self::Done(loaded) => Ok(loaded),
        }
    }
}

impl Loaded {
    pub(crate) async fn load(&mut self, wanted: impl IntoIterator<Item = Key>) -> Result<(), ServiceError> {
        let mut loading = tokio::task::JoinSet::new();
        for (kind, source) in wanted {
            let (engine, shelf) = (self.engine.clone(), self.shelf.clone());
            loading.spawn(async move {
                let loaded = introduce(&engine, &shelf, kind, &source).await;
                ((kind, source), loaded)
            });
        }
        while let Some(joined) = loading.join_next().await {
            let (key, loaded) = joined.map_err(cut_off)?;
            self.plugins.insert(key, loaded);
        }
        Ok(())
    }

    pub(crate) fn get(&mut self, key: &Key) -> Result<Introduced, ServiceError> {
        if let Some(Ok(introduced)) = self.plugins.get(key) {
            return Ok(introduced.clone());
        }
        let missing = || Err(ServiceError::Internal(format!("a {} plugin was not loaded", key.0)));
        self.plugins.remove(key).unwrap_or_else(missing)
    }
}

/// Tells `observer` of large components.
pub(crate) fn compiling(observer: &Arc<dyn Observer>) -> Compiling {
    let observer = Arc::clone(observer);
    Compiling::telling(move |plugin, size_bytes| {
        observer.observe(&Progress::Compiling { plugin: plugin.to_owned(), size_bytes });
    })
}

/// Loads a component and asks a spirit who it is.
pub(crate) async fn introduce(
    engine: &Engine,
    shelf: &Shelf,
    kind: PluginKind,
    source: &PluginSource,
) -> Result<Introduced, ServiceError> {
    let plugin = shelf.load(engine, kind, source).await?;
    let role = role_of(&plugin).await?;
    Ok(Introduced { plugin, role })
}

/// Asks a spirit who it is.
pub(super) async fn role_of(plugin: &Plugin) -> Result<Option<RoleInfo>, ServiceError> {
    if plugin.kind != PluginKind::Spirit {
        return Ok(None);
    }
    plugin.describe_role().await.result.map(Some).map_err(|error| speechless(plugin, &error))
}

/// A component that cannot say what it is.
pub(crate) fn speechless(plugin: &Plugin, error: &ExecutionError) -> ServiceError {
    ServiceError::Usage(format!("the plugin `{}` cannot say what it is: {error}", plugin.name))
}
