//! `plugin check`: everything that is wrong with a component, at once, and what it will ask for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{AuthorError, Project};
use crate::domain::grant::{Interface, Scope};
use crate::domain::id::Digest;
use crate::plugin::manifest::{Manifest, Setting};
use crate::plugin::{CONTRACT, Engine, EngineOptions, Expectation, Limits, LoadError, Plugin, section};
use crate::service::error::{ServiceError, chain};
use crate::service::plugins::seat::within;
use crate::service::plugins::shelf::{file_bytes, name_of};
use crate::store::digest_of;

/// A component, looked at. What cannot be known is absent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Checked {
    /// The file.
    pub component: PathBuf,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// Its name: the manifest's, else the file's.
    pub name: String,
    /// What it is for.
    pub kind: Option<&'static str>,
    /// The world that it is built for.
    pub world: Option<&'static str>,
    /// The version track of the contract that it is built for.
    pub contract: Option<&'static str>,
    /// Its version, as its manifest has it.
    pub version: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Option<Digest>,
    /// Interfaces whose functions it imports, as it names them.
    pub imports: Vec<String>,
    /// What it will ask an operator for.
    pub asks: BTreeMap<Interface, Ask>,
    /// Where it is stopped.
    pub limits: Option<Limits>,
    /// Settings that it takes.
    pub settings: BTreeMap<String, Setting>,
    /// What it says of itself; null for policies.
    pub says: Value,
}

/// A wish of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ask {
    /// Why, in its manifest's words; absent without a manifest.
    pub why: Option<String>,
    /// Whether it works without.
    pub optional: bool,
    /// How much of it.
    pub scope: Scope,
    /// Whether it can use it at all.
    pub imported: bool,
}

/// Looks at a component, or at the one that the project in a folder was built to.
///
/// # Errors
/// Only when there is nothing to look at, or no engine. What is wrong with it is in the answer.
pub async fn check(path: &Path, cache: Option<PathBuf>) -> Result<Checked, ServiceError> {
    let mut checked = Checked::default();
    checked.component = if path.is_dir() { of_project(path, &mut checked.problems)? } else { path.to_owned() };
    let bytes = file_bytes(&checked.component)?;
    checked.name = name_of(&checked.component);
    checked.size_bytes = bytes.len() as u64;
    checked.digest = Some(digest_of(&bytes));
    let engine = Engine::new(EngineOptions { cache_dir: cache, ..EngineOptions::default() })?;
    let manifest = manifest(&bytes, &mut checked.problems);
    let plugin = loaded(&engine, &checked.name, bytes, &mut checked.problems).await;
    if let Some(manifest) = &manifest {
        checked.name.clone_from(&manifest.name);
        checked.version = Some(manifest.version.clone());
        checked.settings.clone_from(&manifest.settings);
    }
    if let Some(plugin) = &plugin {
        look(&mut checked, plugin, manifest.as_ref()).await;
    }
    Ok(checked)
}

/// The component of a project. What is wrong with its plugin.toml does not hide what is wrong with that.
fn of_project(folder: &Path, problems: &mut Vec<String>) -> Result<PathBuf, ServiceError> {
    let built = match Project::open(folder) {
        Ok(project) => project.component(),
        Err(ServiceError::Author(error @ AuthorError::Manifest { .. })) => {
            problems.push(chain(&error));
            let built = std::fs::read_dir(folder.join("target").join("plugin")).ok();
            let newest = built.into_iter().flatten().flatten().map(|entry| entry.path());
            let wasm = newest.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).min();
            // Nothing else can be looked at then.
            return wasm.ok_or_else(|| error.into());
        }
        Err(error) => return Err(error),
    };
    if built.is_file() {
        return Ok(built);
    }
    let path = folder.to_owned();
    Err(AuthorError::NoProject { path, reason: "it is not built yet: `necro-host plugin build` builds it" }.into())
}

/// The manifest inside. Sections that are broken are said by whoever loads them.
fn manifest(bytes: &[u8], problems: &mut Vec<String>) -> Option<Manifest> {
    let text = section::read(bytes).ok().flatten()?;
    Manifest::parse(text).map_err(|error| problems.push(format!("its manifest cannot be used: {error}"))).ok()
}

/// Loads the component; a manifest that cannot be used is left out for that, so that the rest is seen as well.
async fn loaded(engine: &Engine, name: &str, bytes: Vec<u8>, problems: &mut Vec<String>) -> Option<Arc<Plugin>> {
    match engine.load(name, bytes.clone(), Expectation::Any).await {
        Ok(plugin) => return Some(plugin),
        // What is wrong with it was said when it was read.
        Err(LoadError::Manifest { .. }) => {}
        Err(LoadError::ManifestLies { said, found, .. }) => {
            let lie = format!("plugin.toml says that it is a {said} plugin, but the component is a {found} plugin");
            problems.push(lie);
        }
        Err(error) => {
            problems.push(chain(&error));
            return None;
        }
    }
    let bare = section::without(&bytes).ok()?.into_owned();
    engine.load(name, bare, Expectation::Any).await.map_err(|error| problems.push(chain(&error))).ok()
}

/// What a component that can be loaded is, and where it contradicts its manifest.
async fn look(checked: &mut Checked, plugin: &Plugin, manifest: Option<&Manifest>) {
    checked.kind = Some(plugin.kind.as_str());
    checked.world = Some(plugin.kind.world());
    // Every other one is refused when it is loaded.
    checked.contract = Some(CONTRACT);
    checked.imports.clone_from(&plugin.imports);
    let wanted = manifest.map(|manifest| manifest.limits).unwrap_or_default();
    checked.limits = Some(within(Limits::for_kind(plugin.kind), wanted));
    let imported: Vec<Interface> = plugin.capabilities().filter_map(Interface::by_name).collect();
    match manifest {
        None => {
            let ask = Ask { why: None, optional: false, scope: Scope::default(), imported: true };
            checked.asks = imported.iter().map(|interface| (*interface, ask.clone())).collect();
        }
        Some(manifest) => {
            for (interface, want) in &manifest.wants {
                let imported = imported.contains(interface);
                if !imported {
                    checked.problems.push(format!(
                        "plugin.toml wants `{interface}`, which the component does not import: take [wants.{interface}] \
                         out, or use it"
                    ));
                }
                let (why, optional, scope) = (Some(want.why.clone()), want.optional, want.scope.clone());
                checked.asks.insert(*interface, Ask { why, optional, scope, imported });
            }
            // The toolchains of some languages import all that the world has, used or not.
            let all = plugin.capabilities().count() == plugin.kind.imports().len();
            for interface in imported.iter().filter(|interface| !all && !manifest.wants.contains_key(interface)) {
                checked.problems.push(format!(
                    "the component imports `{interface}`, which plugin.toml does not want: every call of it would be \
                     denied; write [wants.{interface}] with `why`"
                ));
            }
        }
    }
    match plugin.describe().await.result {
        Ok(says) => checked.says = says,
        Err(error) => checked.problems.push(format!("it cannot say what it is: {}", chain(&error))),
    }
}
