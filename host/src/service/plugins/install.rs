//! Installed plugins: bytes kept by content below the state directory, name, source and digest in the lock file.
//! What another machine wrote there is fetched, or refused when it is something else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::PluginSource;
use super::grants::{Place, Site, is_meant, several};
use super::lock::{self, Installed, LockFile};
use super::seat::by_default;
use super::shelf::{self, file_bytes, name_of};
use crate::domain::id::Digest;
use crate::plugin::builtin::Builtin;
use crate::plugin::fetch::{self, is_url};
use crate::plugin::manifest::Manifest;
use crate::plugin::{Expectation, Plugin, PluginKind, builtin, manifest, section};
use crate::service::error::ServiceError;
use crate::service::{StateDir, blocking};
use crate::store::digest_of;

/// What is to be installed.
#[derive(Debug, Clone)]
pub struct NewPlugin {
    /// A path, or a URL.
    pub source: String,
    /// The name that it gets; absent: the one of its manifest, else of its file.
    pub name: Option<String>,
    /// What the bytes' SHA-256 has to be; a URL cannot do without.
    pub digest: Option<Digest>,
}

/// A plugin that was installed.
#[derive(Debug, Clone, Serialize)]
pub struct Installation {
    /// Its entry in the lock file.
    #[serde(flatten)]
    pub entry: Installed,
    /// The digest that stood there before; none: it is new.
    pub before: Option<Digest>,
    /// Whether it wants what nobody has granted to this digest.
    pub needs_grant: bool,
}

/// What became of an entry of the lock file.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The entry.
    #[serde(flatten)]
    pub entry: Installed,
    /// Whether its bytes had to be fetched.
    pub fetched: bool,
}

impl Place {
    /// Installs a plugin in place of one of its kind and name.
    ///
    /// # Errors
    /// When the bytes are not those that are wanted, are no plugin, or its name is a built-in one's. Nothing is
    /// changed then.
    pub async fn install(&self, new: NewPlugin) -> Result<Installation, ServiceError> {
        let site = self.site().await?;
        let bytes = self.bytes_of(&new.source, &self.cwd, new.digest.as_ref()).await?;
        self.put(site, new, bytes, Expectation::Any).await
    }

    async fn put(
        &self,
        site: Site,
        new: NewPlugin,
        bytes: Vec<u8>,
        expectation: Expectation,
    ) -> Result<Installation, ServiceError> {
        let plugin = self.tried(&new, bytes, expectation).await?;
        let name = new.name.unwrap_or_else(|| plugin.name.clone());
        manifest::check_name(&name).map_err(|reason| ServiceError::Usage(format!("{reason}: choose one by --name")))?;
        if builtin::find(plugin.kind, &name).is_some() {
            return Err(ServiceError::Usage(format!(
                "`{name}` is the name of a built-in {} plugin: choose another one by --name",
                plugin.kind
            )));
        }
        let entry = Installed {
            name,
            kind: plugin.kind,
            version: plugin.manifest.as_ref().map(|manifest| manifest.version.clone()),
            digest: plugin.digest.clone(),
            size_bytes: plugin.bytes.len() as u64,
            source: kept_source(&new.source, &self.cwd, &site.root),
        };
        let (place, kept, keeping) = (self.clone(), entry.clone(), Arc::clone(&plugin));
        let before = blocking(move || {
            keep(&site, &kept.digest, &keeping.bytes)?;
            LockFile::edit(&site.root, |lock| {
                let before = lock.plugin(kept.kind, &kept.name).map(|plugin| plugin.digest.clone());
                lock.install(kept.clone());
                Ok(before)
            })
        })
        .await?;
        let needs_grant = !blocking(move || place.look()).await?.shelf.approvals().undecided(&plugin).is_empty();
        Ok(Installation { entry, before, needs_grant })
    }

    /// Loads the bytes on trial.
    async fn tried(
        &self,
        new: &NewPlugin,
        bytes: Vec<u8>,
        expectation: Expectation,
    ) -> Result<Arc<Plugin>, ServiceError> {
        let named = match (&new.name, section::read(&bytes)) {
            (Some(name), _) => name.clone(),
            (None, Ok(Some(text))) => {
                Manifest::parse(text).map_or_else(|_| file_name(&new.source), |manifest| manifest.name)
            }
            (None, _) => file_name(&new.source),
        };
        if !is_url(&new.source) && matches!(section::read(&bytes), Ok(None)) {
            let path = self.cwd.join(&new.source);
            if shelf::manifest_beside(&path)?.is_some() {
                return Err(ServiceError::Usage(format!(
                    "the manifest of `{}` lies beside it, where its digest does not cover it: `necro-host plugin build` \
                     puts it inside",
                    new.source
                )));
            }
        }
        Ok(self.engine().await?.load(&named, bytes, expectation).await?)
    }

    /// Fetches what the lock file names and is not here, or is damaged.
    ///
    /// # Errors
    /// When something cannot be had, or is something else than what is locked; what came before stays.
    pub async fn install_locked(&self) -> Result<Vec<Restored>, ServiceError> {
        let site = Arc::new(self.site().await?);
        let mut restored = Vec::new();
        for entry in site.shelf.lock().plugins.clone() {
            let (at, digest) = (lock::stored(&shelf::folder(&site.state), &entry.digest), entry.digest.clone());
            let here = blocking(move || Ok(shelf::stored_bytes(&at, &digest).is_ok())).await?;
            if !here {
                let bytes = self.bytes_of(&entry.source, &site.root, Some(&entry.digest)).await?;
                let (site, digest) = (Arc::clone(&site), entry.digest.clone());
                blocking(move || keep(&site, &digest, &bytes)).await?;
            }
            restored.push(Restored { entry, fetched: !here });
        }
        Ok(restored)
    }

    /// Installs the newest bytes of a plugin's source, or of `source` from here on. A URL needs `digest`. The new
    /// digest has no grant.
    ///
    /// # Errors
    /// As [`Place::install`]; when no plugin of that name is installed.
    pub async fn update(
        &self,
        named: &str,
        source: Option<String>,
        digest: Option<Digest>,
    ) -> Result<Installation, ServiceError> {
        let site = self.site().await?;
        let installed = installed(&site.shelf.lock(), named)?.clone();
        let (source, from) = match source {
            Some(source) => (source, self.cwd.clone()),
            None => (installed.source.clone(), site.root.clone()),
        };
        let bytes = self.bytes_of(&source, &from, digest.as_ref()).await?;
        let source = if is_url(&source) { source } else { from.join(source).display().to_string() };
        let new = NewPlugin { source, name: Some(installed.name.clone()), digest };
        // Another kind would leave the old one where it is.
        self.put(site, new, bytes, Expectation::Kind(installed.kind)).await
    }

    /// Takes a plugin out of the lock file, with its grant and its bytes.
    ///
    /// # Errors
    /// When no plugin of that name is installed.
    pub fn remove(&self, named: &str) -> Result<Installed, ServiceError> {
        let Site { root, state, .. } = self.look()?;
        let (removed, still) = LockFile::edit(&root, |lock| {
            let removed = installed(lock, named)?.clone();
            lock.plugins.retain(|plugin| (plugin.kind, &plugin.name) != (removed.kind, &removed.name));
            let still = lock.plugins.iter().any(|plugin| plugin.digest == removed.digest);
            if !still {
                lock.grants.retain(|granted| granted.digest != removed.digest);
            }
            Ok((removed, still))
        })?;
        if !still {
            // Only room is lost by a file that stays.
            let _ = std::fs::remove_file(lock::stored(&shelf::folder(&state), &removed.digest));
        }
        Ok(removed)
    }

    async fn site(&self) -> Result<Site, ServiceError> {
        let place = self.clone();
        blocking(move || place.look()).await
    }

    /// The bytes of a source, which must have the digest if one is given.
    async fn bytes_of(&self, source: &str, from: &Path, wanted: Option<&Digest>) -> Result<Vec<u8>, ServiceError> {
        if is_url(source) {
            let wanted = wanted.ok_or_else(|| {
                ServiceError::Usage(format!(
                    "what comes from `{source}` has to be known beforehand: give its SHA-256 by --sha256"
                ))
            })?;
            return fetch::fetch(source, wanted).await.map_err(|error| ServiceError::Usage(error.to_string()));
        }
        let path = from.join(source);
        let bytes = blocking(move || file_bytes(&path)).await?;
        let found = digest_of(&bytes);
        match wanted {
            Some(wanted) if found != *wanted => Err(ServiceError::Usage(format!(
                "`{source}` has other bytes: their SHA-256 is {found}, {wanted} is wanted"
            ))),
            _ => Ok(bytes),
        }
    }
}

/// The one plugin of this name, or `KIND/NAME`.
fn installed<'a>(lock: &'a LockFile, named: &str) -> Result<&'a Installed, ServiceError> {
    let found: Vec<&Installed> =
        lock.plugins.iter().filter(|plugin| is_meant(named, plugin.kind, &plugin.name)).collect();
    match found[..] {
        [plugin] => Ok(plugin),
        [] => {
            let names: Vec<&str> = lock.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
            let names = if names.is_empty() { "nothing is".to_owned() } else { names.join(", ") };
            Err(ServiceError::Usage(format!("no plugin `{named}` is installed; installed: {names}")))
        }
        _ => Err(several(named)),
    }
}

/// Bytes by their digest, below the state directory.
fn keep(site: &Site, digest: &Digest, bytes: &[u8]) -> Result<(), ServiceError> {
    let state = StateDir::create(&site.state, site.work_tree.as_deref())?;
    let folder = shelf::folder(state.root());
    let path = lock::stored(&folder, digest);
    let failed = |source| ServiceError::Io { path: path.clone(), source };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    shelf::store(&path, bytes).map_err(failed)
}

/// A source as the lock file has it: a path relative to that file where it can be.
fn kept_source(source: &str, cwd: &Path, root: &Path) -> String {
    if is_url(source) {
        return source.to_owned();
    }
    let path = cwd.join(source);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (path, root): (PathBuf, PathBuf) = (real(&path), real(root));
    path.strip_prefix(&root).unwrap_or(&path).display().to_string()
}

/// A plugin's name made of its file's: `fewest_skills.wasm` is `fewest-skills`.
fn file_name(source: &str) -> String {
    let last = source.rsplit('/').next().unwrap_or(source);
    let last = if is_url(source) { last.split(['?', '#']).next().unwrap_or(last) } else { last };
    name_of(Path::new(last)).to_lowercase().replace('_', "-")
}

/// A plugin that can be used by name.
#[derive(Debug, Clone, Serialize)]
pub struct Available {
    /// What it is for.
    pub kind: PluginKind,
    /// Its name.
    pub name: String,
    /// What its manifest says.
    pub version: Option<String>,
    /// `built-in`, or where it was installed from.
    pub source: String,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of the component.
    pub digest: String,
    /// Whether its bytes are here.
    pub here: bool,
    /// Whether there is nothing to decide about what it may do: it asks for nothing, came with the host, or somebody
    /// has.
    pub decided: bool,
}

impl Place {
    /// Every plugin that can be used by name here: built in, then installed.
    ///
    /// # Errors
    /// When the lock file cannot be read.
    pub async fn available(&self) -> Result<Vec<Available>, ServiceError> {
        let Site { state, shelf, .. } = self.site().await?;
        let lock = shelf.lock();
        let built_in = builtin::ALL.iter().map(|entry| Available {
            kind: entry.kind,
            name: entry.name.to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            source: "built-in".to_owned(),
            size_bytes: entry.bytes.len() as u64,
            digest: entry.digest.to_owned(),
            here: true,
            decided: is_trusted(entry) || lock.granted_to(entry.digest),
        });
        let folder = shelf::folder(&state);
        let installed = lock.plugins.iter().map(|plugin| Available {
            kind: plugin.kind,
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            source: plugin.source.clone(),
            size_bytes: plugin.size_bytes,
            digest: plugin.digest.to_string(),
            here: lock::stored(&folder, &plugin.digest).is_file(),
            decided: lock.granted(&plugin.digest).is_some(),
        });
        let mut installed: Vec<Available> = installed.collect();
        let open: Vec<&mut Available> = installed.iter_mut().filter(|plugin| plugin.here && !plugin.decided).collect();
        if !open.is_empty() {
            // Whether it asks for anything only the component itself says.
            let (engine, approvals) = (self.engine().await?, shelf.approvals());
            for plugin in open {
                let loaded = shelf.load(&engine, plugin.kind, &PluginSource::Named(plugin.name.clone())).await;
                plugin.decided = loaded.is_ok_and(|loaded| approvals.undecided(&loaded).is_empty());
            }
        }
        Ok(built_in.chain(installed).collect())
    }
}

/// Whether all that it needs is what its kind has by default.
fn is_trusted(entry: &Builtin) -> bool {
    let manifest = section::read(entry.bytes).ok().flatten().and_then(|text| Manifest::parse(text).ok());
    let default = by_default(entry.kind);
    let wants = manifest.iter().flat_map(|manifest| &manifest.wants);
    wants.into_iter().all(|(interface, want)| want.optional || default.contains_key(interface))
}
