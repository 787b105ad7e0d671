//! Bytes to a plugin: what they are, which world they export, whether they import more than that world
//! allows, and whether they can be instantiated. Each answer is an error that says what is wrong.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::PluginKind;
use super::bindings::{review, routing, scheduling, spirit};
use super::call::trial;
use super::engine::Engine;
use super::error::LoadError;
use super::host::Guest;
use super::manifest::{Manifest, ManifestError};
use super::section;
use crate::domain::call::Function;
use crate::domain::grant::{Interface, Scope, Scopes};
use crate::domain::id::Digest;
use crate::store::digest_of;

/// The version track of the contract that this host speaks.
pub(crate) const TRACK: &str = "0.1";
const PACKAGE: &str = "necro:plugin";
/// A component may have at most this many bytes; those of interpreted languages reach 40 MB.
pub(crate) const MAX_COMPONENT_BYTES: usize = 128 << 20;
/// WASI packages that have inert versions here.
const WASI: [&str; 6] = ["wasi:io", "wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:random", "wasi:sockets"];

/// What the caller expects of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// One of the four worlds.
    Any,
    /// This world.
    Kind(PluginKind),
}

/// A component that is compiled, checked, and ready for calls.
pub struct Plugin {
    /// The operator's name for it.
    pub name: String,
    /// What it is for.
    pub kind: PluginKind,
    /// SHA-256 of the component's bytes.
    pub digest: Digest,
    /// Interfaces whose functions it imports, as it names them, sorted; those of WASI included.
    pub imports: Vec<String>,
    /// The component.
    pub bytes: Cow<'static, [u8]>,
    /// Its manifest: the one inside, else the one that was given with it.
    pub manifest: Option<Manifest>,
    pub(super) world: World,
    pub(super) engine: Engine,
}

/// The component, linked, with the exports of its world looked up.
pub(super) enum World {
    Spirit(spirit::SpiritPre<Guest>),
    Scheduling(scheduling::SchedulingPolicyPre<Guest>),
    Routing(routing::RoutingPolicyPre<Guest>),
    Review(review::ReviewHeuristicPre<Guest>),
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    /// The engine that it is compiled for.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// The interfaces of `necro:plugin` that it imports, without version: what it could be granted.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().filter_map(|import| {
            let name = Name::parse(import);
            (name.package == PACKAGE).then_some(name.interface)
        })
    }

    /// What it asks for: what it imports, as far as its manifest names it. Without a manifest, all of that.
    #[must_use]
    pub fn asks(&self) -> Scopes {
        let imported = self.capabilities().filter_map(Interface::by_name);
        match &self.manifest {
            None => imported.map(|interface| (interface, Scope::default())).collect(),
            Some(manifest) => {
                let mut asked = manifest.asks();
                let imported: Vec<Interface> = imported.collect();
                asked.retain(|interface, _| imported.contains(interface));
                asked
            }
        }
    }
}

impl Engine {
    /// Compiles (or finds compiled) and checks a component, and instantiates it once on trial.
    ///
    /// # Errors
    /// [`LoadError`] says what the bytes are instead of what is expected.
    pub async fn load(
        &self,
        name: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
        expectation: Expectation,
    ) -> Result<Arc<Plugin>, LoadError> {
        self.load_beside(name, bytes, None, expectation).await
    }

    /// As [`Engine::load`], with the manifest that lies beside the component's file. It counts only where the
    /// component has none inside.
    ///
    /// # Errors
    /// As there; also a manifest that is none, or that contradicts the component.
    pub async fn load_beside(
        &self,
        name: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
        beside: Option<&str>,
        expectation: Expectation,
    ) -> Result<Arc<Plugin>, LoadError> {
        let bytes = bytes.into();
        check_header(name, &bytes)?;
        let manifest = manifest(name, &bytes, beside)?;
        let engine = self.clone();
        let plugin = name.to_owned();
        let compiling = tokio::task::spawn_blocking(move || {
            compile(&engine, &plugin, &bytes).map(|(component, digest)| (component, digest, bytes))
        });
        let (component, digest, bytes) =
            compiling.await.map_err(|_| LoadError::Interrupted { plugin: name.to_owned() })??;
        let contract = Contract::read(&self.0.wasmtime, &component);
        let kind = contract.kind(name, expectation)?;
        contract.check_imports(name, kind)?;
        if let Some(Manifest { kind: said, .. }) = manifest.as_ref().filter(|manifest| manifest.kind != kind) {
            let (plugin, found) = (name.to_owned(), kind);
            return Err(LoadError::ManifestLies { plugin, said: *said, found });
        }
        let world = self.link(name, kind, &component)?;
        // Interfaces that only lend their types give nothing.
        let imports = contract.imports.into_iter().filter(|(_, functions)| !functions.is_empty());
        let imports = imports.map(|(name, _)| name).collect();
        let name = name.to_owned();
        let plugin = Plugin { name, kind, digest, imports, bytes, manifest, world, engine: self.clone() };
        trial(&plugin).await?;
        Ok(Arc::new(plugin))
    }

    fn link(&self, name: &str, kind: PluginKind, component: &Component) -> Result<World, LoadError> {
        let link = || {
            let pre = self.0.linker.instantiate_pre(component)?;
            Ok::<_, wasmtime::Error>(match kind {
                PluginKind::Spirit => World::Spirit(spirit::SpiritPre::new(pre)?),
                PluginKind::Scheduling => World::Scheduling(scheduling::SchedulingPolicyPre::new(pre)?),
                PluginKind::Routing => World::Routing(routing::RoutingPolicyPre::new(pre)?),
                PluginKind::Review => World::Review(review::ReviewHeuristicPre::new(pre)?),
            })
        };
        link().map_err(|e| LoadError::Instantiate { plugin: name.to_owned(), reason: one_line(&e) })
    }
}

/// An error with its causes in one line, without backtraces.
pub(super) fn one_line(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ").lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Tells a component from other things by its first eight bytes.
fn check_header(name: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let reason = match bytes {
        [] => "it is empty",
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => {
            if bytes.len() <= MAX_COMPONENT_BYTES {
                return Ok(());
            }
            return Err(LoadError::TooLarge {
                plugin: name.to_owned(),
                size_bytes: bytes.len() as u64,
                allowed_bytes: MAX_COMPONENT_BYTES as u64,
            });
        }
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "it is a core module; build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
        }
        [0, b'a', b's', b'm', ..] => "its header is broken off or of an unknown version",
        [b'(', ..] => "it is WebAssembly text; assemble it first",
        [0x7f, b'E', b'L', b'F', ..] => "it is native or precompiled code, which is never loaded from outside",
        _ => "it does not begin like WebAssembly",
    };
    Err(LoadError::NotAComponent { plugin: name.to_owned(), reason: reason.to_owned() })
}

/// The manifest inside, else the one beside.
fn manifest(plugin: &str, bytes: &[u8], beside: Option<&str>) -> Result<Option<Manifest>, LoadError> {
    let inside = section::read(bytes)
        .map_err(|error| LoadError::NotAComponent { plugin: plugin.to_owned(), reason: error.to_string() })?;
    let manifest = inside.or(beside).map(Manifest::parse).transpose();
    manifest.map_err(|source: ManifestError| LoadError::Manifest { plugin: plugin.to_owned(), source })
}

fn compile(engine: &Engine, name: &str, bytes: &[u8]) -> Result<(Component, Digest), LoadError> {
    let broken = |reason: String| LoadError::NotAComponent { plugin: name.to_owned(), reason };
    let digest = digest_of(bytes);
    let cache = engine.0.cache.as_ref();
    if let Some(component) = cache.and_then(|cache| cache.load(&engine.0.wasmtime, &digest)) {
        return Ok((component, digest));
    }
    engine.0.compiling.begins(name, bytes.len());
    let component = Component::from_binary(&engine.0.wasmtime, bytes).map_err(|e| broken(one_line(&e)))?;
    if let Some(cache) = cache {
        cache.store(&digest, &component);
    }
    Ok((component, digest))
}

/// An import's or export's name, such as `necro:plugin/routing@0.1.0`.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Self {
        let (path, version) = name.split_once('@').unwrap_or((name, ""));
        let (package, interface) = path.split_once('/').unwrap_or(("", path));
        Self { package, interface, version }
    }

    /// The part of the version that must be equal: `0.1` of `0.1.5`, `1` of `1.2.0`, and everything of a
    /// version that is compatible with itself alone.
    fn track(&self) -> &'a str {
        if self.version.contains('-') || self.version.starts_with("0.0.") {
            return self.version;
        }
        let parts = if self.version.starts_with("0.") { 2 } else { 1 };
        self.version.match_indices('.').nth(parts - 1).map_or(self.version, |(at, _)| &self.version[..at])
    }
}

/// What stands on a component's outside.
struct Contract {
    /// Interface names with the functions that are used of each.
    imports: BTreeMap<String, Vec<String>>,
    exports: Vec<String>,
}

impl Contract {
    fn read(engine: &wasmtime::Engine, component: &Component) -> Self {
        let ty = component.component_type();
        let imports = ty.imports(engine).map(|(name, import)| {
            let functions = match import.ty {
                ComponentItem::ComponentInstance(instance) => instance
                    .exports(engine)
                    .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                    .map(|(function, _)| function.to_owned())
                    .collect(),
                _ => Vec::new(),
            };
            (name.to_owned(), functions)
        });
        Self { imports: imports.collect(), exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect() }
    }

    /// Which world it is, by the interface that it exports.
    fn kind(&self, plugin: &str, expectation: Expectation) -> Result<PluginKind, LoadError> {
        let ours = self.imports.keys().chain(&self.exports).map(|n| Name::parse(n)).filter(|n| n.package == PACKAGE);
        if let Some(name) = ours.into_iter().find(|n| n.track() != TRACK) {
            return Err(LoadError::WrongVersion {
                plugin: plugin.to_owned(),
                needed: name.track().to_owned(),
                host: TRACK.to_owned(),
            });
        }
        let exported: Vec<&str> =
            self.exports.iter().map(|n| Name::parse(n)).filter(|n| n.package == PACKAGE).map(|n| n.interface).collect();
        let kinds: Vec<PluginKind> =
            PluginKind::ALL.into_iter().filter(|kind| exported.contains(&kind.interface())).collect();
        let found = || kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" and ");
        match (kinds.as_slice(), expectation) {
            ([], _) => Err(LoadError::NoWorld {
                plugin: plugin.to_owned(),
                host: format!("{PACKAGE}@{TRACK}"),
                exports: if self.exports.is_empty() { "nothing".to_owned() } else { self.exports.join(", ") },
            }),
            (kinds, Expectation::Kind(asked)) if kinds.contains(&asked) => Ok(asked),
            (_, Expectation::Kind(asked)) => {
                Err(LoadError::WrongKind { plugin: plugin.to_owned(), asked, found: found() })
            }
            ([kind], Expectation::Any) => Ok(*kind),
            (_, Expectation::Any) => Err(LoadError::Ambiguous { plugin: plugin.to_owned(), found: found() }),
        }
    }

    /// Names everything at once that the world does not allow or this host does not have.
    fn check_imports(&self, plugin: &str, kind: PluginKind) -> Result<(), LoadError> {
        let missing: Vec<String> =
            self.imports.iter().filter_map(|(import, functions)| too_much(kind, import, functions)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(LoadError::Imports {
            plugin: plugin.to_owned(),
            kind,
            missing: missing.join(", "),
            allowed: kind.imports().join(", "),
        })
    }
}

/// What of one import the world does not allow, in words.
fn too_much(kind: PluginKind, import: &str, functions: &[String]) -> Option<String> {
    let name = Name::parse(import);
    if WASI.contains(&name.package) || functions.is_empty() && name.package == PACKAGE {
        return None;
    }
    if name.package != PACKAGE || !kind.imports().contains(&name.interface) {
        return Some(format!("`{import}`"));
    }
    let unknown: Vec<String> =
        functions.iter().filter(|f| !exists(name.interface, f)).map(|f| format!("`{f}` of `{import}`")).collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// Whether the contract has this function.
fn exists(interface: &str, function: &str) -> bool {
    (interface == "lock" && function == "[method]lease.name")
        || Function::by_name(&format!("{interface}.{function}")).is_some_and(|f| f != Function::LockRelease)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wit(file: &str) -> String {
        std::fs::read_to_string(format!("{}/../wit/{file}.wit", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn versions_are_compared_by_their_track() {
        let cases = [
            ("necro:plugin/routing@0.1.0", "0.1"),
            ("necro:plugin/routing@0.1.17", "0.1"),
            ("necro:plugin/routing@0.2.0", "0.2"),
            ("necro:plugin/routing@1.4.2", "1"),
            ("necro:plugin/routing@0.0.3", "0.0.3"),
            ("necro:plugin/routing@0.1.0-rc.1", "0.1.0-rc.1"),
            ("necro:plugin/routing", ""),
        ];
        for (name, track) in cases {
            assert_eq!(Name::parse(name).track(), track, "{name}");
        }
        let bare = Name::parse("run");
        assert_eq!((bare.package, bare.interface, bare.version), ("", "run", ""));
    }

    #[test]
    fn kinds_may_import_what_their_worlds_import() {
        let worlds = wit("worlds");
        for kind in PluginKind::ALL {
            let (_, world) = worlds.split_once(&format!("world {} {{", kind.world())).unwrap();
            let (body, _) = world.split_once('}').unwrap();
            let named = |word: &str| {
                let lines = body.lines().filter_map(|line| line.trim().strip_prefix(word));
                lines.map(|line| line.trim().trim_end_matches(';').to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(named("import"), kind.imports(), "{kind}");
            assert_eq!(named("export"), [kind.interface()], "{kind}");
        }
    }

    #[test]
    fn the_functions_of_the_contract_are_those_of_the_domain() {
        let mut count = 0;
        let files = ["llm", "workspace", "command", "registry", "mailbox", "lock", "artifact", "log"];
        for line in files.iter().flat_map(|file| wit(file).lines().map(str::to_owned).collect::<Vec<_>>()) {
            let line = line.trim();
            if line.strip_suffix(';').is_some_and(|l| l.contains(": func(")) && !line.starts_with("name:") {
                count += 1;
            }
        }
        // `lock.release` is the drop of a lease, and no function of the contract.
        assert_eq!(count, Function::ALL.len() - 1);
        for function in Function::ALL {
            let (interface, name) = function.name().split_once('.').unwrap();
            assert_eq!(exists(interface, name), *function != Function::LockRelease, "{}", function.name());
        }
        assert!(exists("lock", "[method]lease.name"));
        assert!(!exists("log", "flush"));
    }
}
