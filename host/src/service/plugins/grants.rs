//! Grants as people decide them: what a component asks for, what it has, what a decision comes to, and what is
//! new against the digest that was granted before. No model and no plugin comes here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::PluginSource;
use super::lock::{Granted, LockFile};
use super::seat::{all_of, by_default};
use super::shelf::{Shelf, file_bytes, from_file};
use crate::config::Config;
use crate::domain::grant::{Interface, Scope, Scopes};
use crate::domain::id::Digest;
use crate::domain::limits::LimitSettings;
use crate::plugin::{Compiling, Engine, EngineOptions, Expectation, Limits, Plugin, PluginKind, builtin};
use crate::service::error::ServiceError;
use crate::service::{blocking, setup};
use crate::store::digest_of;

/// Where plugins are asked about.
#[derive(Debug, Clone)]
pub struct Place {
    /// The repository.
    pub repository: String,
    /// The current directory.
    pub cwd: PathBuf,
    /// The state directory, if it is not in its usual place.
    pub state: Option<PathBuf>,
    /// Where compiled components are kept.
    pub cache: Option<PathBuf>,
    /// Who is told when a large component is compiled.
    pub compiling: Compiling,
}

/// A place that was looked at.
pub(crate) struct Site {
    /// Where the lock file lies.
    pub(crate) root: PathBuf,
    /// The state directory, which need not be there yet.
    pub(crate) state: PathBuf,
    pub(crate) work_tree: Option<PathBuf>,
    pub(crate) shelf: Shelf,
    pub(crate) config: Config,
}

impl Place {
    /// Looks at it. Blocking.
    pub(crate) fn look(&self) -> Result<Site, ServiceError> {
        let source = setup::source(&self.repository, &self.cwd)?;
        let root = setup::root_of(&source, &self.cwd).to_owned();
        let state = setup::state_path(&source, &self.cwd, self.state.as_deref());
        let shelf = Shelf::open(&root, &state)?;
        let config = setup::early_config(&source)?;
        let work_tree = setup::work_tree(&source).map(Path::to_owned);
        Ok(Site { root, state, work_tree, shelf, config })
    }

    /// Loads what `named` means here: a file, or a plugin of the built-in set or installed, as `NAME` or
    /// `KIND/NAME`.
    ///
    /// # Errors
    /// When there is none, or several; when it is no plugin.
    pub async fn load(&self, named: &str) -> Result<Arc<Plugin>, ServiceError> {
        let place = self.clone();
        let site = blocking(move || place.look()).await?;
        let engine = self.engine().await?;
        load(&engine, &site.shelf, &self.cwd, named).await
    }

    pub(crate) async fn engine(&self) -> Result<Engine, ServiceError> {
        let (cache_dir, compiling) = (self.cache.clone(), self.compiling.clone());
        let options = EngineOptions { cache_dir, compiling, ..EngineOptions::default() };
        blocking(move || Ok(Engine::new(options)?)).await
    }
}

async fn load(engine: &Engine, shelf: &Shelf, cwd: &Path, named: &str) -> Result<Arc<Plugin>, ServiceError> {
    if let PluginSource::File(path) = of_text(named, cwd) {
        return from_file(engine, &path, Expectation::Any).await;
    }
    let lock = shelf.lock();
    let found: Vec<(PluginKind, &str)> = known(&lock).filter(|(kind, name)| is_meant(named, *kind, name)).collect();
    match found[..] {
        [(kind, name)] => shelf.load(engine, kind, &PluginSource::Named(name.to_owned())).await,
        [] => {
            let names: Vec<String> = known(&lock).map(|(kind, name)| format!("{kind}/{name}")).collect();
            Err(ServiceError::Usage(format!(
                "there is no built-in or installed plugin and no file `{named}`; there are: {}",
                names.join(", ")
            )))
        }
        _ => Err(several(named)),
    }
}

/// Whether `named` means the plugin: by its name, or as `KIND/NAME`.
pub(super) fn is_meant(named: &str, kind: PluginKind, name: &str) -> bool {
    named == name || named.split_once('/') == Some((kind.as_str(), name))
}

/// A name alone does not say which one.
pub(super) fn several(named: &str) -> ServiceError {
    ServiceError::Usage(format!("several kinds have a plugin `{named}`: write KIND/{named}"))
}

fn known(lock: &LockFile) -> impl Iterator<Item = (PluginKind, &str)> {
    let built_in = builtin::ALL.iter().map(|entry| (entry.kind, entry.name));
    built_in.chain(lock.plugins.iter().map(|plugin| (plugin.kind, plugin.name.as_str())))
}

/// A file, or a name; `KIND/NAME` looks like a path and is none. A bare name is never a file: what stands in a
/// folder must not be taken for what the host brings along.
fn of_text(named: &str, cwd: &Path) -> PluginSource {
    let kind = named.split_once('/').and_then(|(kind, name)| PluginKind::by_name(kind).filter(|_| !name.contains('.')));
    match kind {
        Some(_) => PluginSource::Named(named.to_owned()),
        None => PluginSource::parse(named).below(cwd),
    }
}

/// What a component asks for, has, and is stopped at.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// What it asks for, with its reasons.
    pub asks: Vec<Asked>,
    /// Whether anybody has decided about this digest; what comes with the host has been.
    pub decided: bool,
    /// Interfaces that it imports and that its manifest does not ask for: it will not get them.
    pub not_asked: Vec<String>,
    /// What it may do.
    pub granted: BTreeMap<Interface, String>,
    /// Where it is stopped, in this configuration.
    pub limits: Limits,
}

/// A wish for an interface.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Which.
    pub interface: Interface,
    /// What that gives.
    pub gives: &'static str,
    /// Its manifest's reason; none: it has no manifest.
    pub why: Option<String>,
    /// Whether it works without.
    pub optional: bool,
    /// Its bounds in words.
    pub scope: String,
}

impl Place {
    /// What the component may do here.
    ///
    /// # Errors
    /// When the lock file or the configuration cannot be read.
    pub fn standing(&self, plugin: &Plugin) -> Result<Standing, ServiceError> {
        let Site { shelf, config, .. } = self.look()?;
        let approvals = shelf.approvals();
        let asked = plugin.asks();
        let not_asked = plugin.capabilities().filter_map(Interface::by_name);
        let not_asked = not_asked.filter(|interface| !asked.contains_key(interface));
        Ok(Standing {
            asks: asks(plugin),
            decided: approvals.undecided(plugin).is_empty(),
            not_asked: not_asked.map(|interface| interface.name().to_owned()).collect(),
            granted: approvals.grant(plugin).words(),
            limits: super::seat::limits(&config, &approvals, plugin),
        })
    }
}

/// What a component asks for, with its reasons.
#[must_use]
pub fn asks(plugin: &Plugin) -> Vec<Asked> {
    let want = |interface: &Interface| plugin.manifest.as_ref().and_then(|manifest| manifest.wants.get(interface));
    let asked = plugin.asks().into_iter().map(|(interface, scope)| Asked {
        interface,
        gives: interface.gives(),
        why: want(&interface).map(|want| want.why.clone()),
        optional: want(&interface).is_some_and(|want| want.optional),
        scope: scope.words(),
    });
    asked.collect()
}

/// Which digests a name means for whoever takes something away.
struct Meant {
    digests: BTreeSet<String>,
    /// Whatever was granted under this name, too.
    name: Option<String>,
    /// First digits of a digest.
    beginning: Option<String>,
}

impl Meant {
    fn of(named: &str, cwd: &Path, lock: &LockFile) -> Result<Self, ServiceError> {
        if let PluginSource::File(path) = of_text(named, cwd) {
            let digests = BTreeSet::from([digest_of(&file_bytes(&path)?).to_string()]);
            return Ok(Self { digests, name: None, beginning: None });
        }
        let built_in = builtin::ALL.iter().filter(|entry| is_meant(named, entry.kind, entry.name));
        let installed = lock.plugins.iter().filter(|plugin| is_meant(named, plugin.kind, &plugin.name));
        let digests = built_in.map(|entry| entry.digest.to_owned());
        let digests = digests.chain(installed.map(|plugin| plugin.digest.to_string())).collect();
        let hexadecimal = named.len() >= 8 && named.bytes().all(|b| b.is_ascii_hexdigit());
        let name = (!named.contains('/')).then(|| named.to_owned());
        Ok(Self { digests, name, beginning: hexadecimal.then(|| named.to_lowercase()) })
    }

    fn is(&self, digest: &str) -> bool {
        let begins = self.beginning.as_ref().is_some_and(|beginning| digest.starts_with(beginning));
        begins || self.digests.contains(digest)
    }

    fn is_granted(&self, granted: &Granted) -> bool {
        self.is(granted.digest.as_str()) || self.name.as_ref() == Some(&granted.plugin)
    }
}

/// A decision of an operator.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// Everything that it asks for, limits included.
    pub all: bool,
    /// These interfaces of it.
    pub allow: BTreeSet<Interface>,
    /// Bounds within them.
    pub within: Scope,
}

/// What a decision came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decided {
    /// The plugin.
    pub plugin: String,
    /// Its digest.
    pub digest: Digest,
    /// What it may do now, by interface.
    pub granted: BTreeMap<Interface, Scope>,
    /// Limits beyond those of its kind.
    pub limits: LimitSettings,
    /// What it asks for and was not given.
    pub withheld: Vec<Interface>,
}

/// The entry that `decision` makes for a component.
///
/// # Errors
/// [`ServiceError::Usage`] when something is allowed that it does not ask for, or a bound belongs to an
/// interface that is not allowed.
pub fn decide(plugin: &Plugin, decision: &Decision) -> Result<Granted, ServiceError> {
    let mut granted = all_of(plugin);
    let asked: Vec<Interface> = granted.interfaces.keys().copied().collect();
    if let Some(other) = decision.allow.iter().find(|interface| !asked.contains(interface)) {
        let names: Vec<&str> = asked.iter().map(|interface| interface.name()).collect();
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        return Err(ServiceError::Usage(format!("`{}` does not ask for {other}; it asks for {names}", plugin.name)));
    }
    if !decision.all {
        granted.interfaces.retain(|interface, _| decision.allow.contains(interface));
        granted.limits = LimitSettings::default();
    }
    decision.within.check().map_err(ServiceError::Usage)?;
    narrow(&mut granted.interfaces, &decision.within).map_err(ServiceError::Usage)?;
    Ok(granted)
}

/// Sets the bounds of `within` in place of those that were asked for; both hold in the end.
fn narrow(granted: &mut Scopes, within: &Scope) -> Result<(), String> {
    let Scope { models, max_tokens, read, write, names, prefixes, kinds } = within;
    let mut set =
        |interface: Interface, option: &str, put: &mut dyn FnMut(&mut Scope)| match granted.get_mut(&interface) {
            Some(scope) => {
                put(scope);
                Ok(())
            }
            None => Err(format!("{option} bounds {interface}, which is not allowed here")),
        };
    if let Some(models) = models {
        set(Interface::Llm, "--models", &mut |scope| scope.models = Some(models.clone()))?;
    }
    if let Some(tokens) = max_tokens {
        set(Interface::Llm, "--max-tokens", &mut |scope| scope.max_tokens = Some(*tokens))?;
    }
    if let Some(read) = read {
        set(Interface::Workspace, "--read", &mut |scope| scope.read = Some(read.clone()))?;
    }
    if let Some(write) = write {
        set(Interface::WorkspaceEdit, "--write", &mut |scope| scope.write = Some(write.clone()))?;
    }
    if let Some(names) = names {
        set(Interface::Command, "--commands", &mut |scope| scope.names = Some(names.clone()))?;
    }
    if let Some(prefixes) = prefixes {
        set(Interface::Lock, "--locks", &mut |scope| scope.prefixes = Some(prefixes.clone()))?;
    }
    if let Some(kinds) = kinds {
        set(Interface::Artifact, "--artifacts", &mut |scope| scope.kinds = Some(kinds.clone()))?;
    }
    Ok(())
}

impl Place {
    /// Writes the decision about a component into the lock file.
    ///
    /// # Errors
    /// As [`decide`]; when the file cannot be written.
    pub fn grant(&self, plugin: &Plugin, decision: &Decision) -> Result<Decided, ServiceError> {
        let granted = decide(plugin, decision)?;
        let root = self.look()?.root;
        LockFile::edit(&root, |lock| {
            lock.grant(granted.clone());
            Ok(())
        })?;
        let Granted { plugin: name, digest, limits, interfaces } = granted;
        let asked = plugin.asks().into_keys();
        let withheld = asked.filter(|interface| !interfaces.contains_key(interface)).collect();
        Ok(Decided { plugin: name, digest, granted: interfaces, limits, withheld })
    }

    /// Takes interfaces, or with none everything, from the digests of a plugin: of its name, or of one digest or
    /// its beginning. An entry that gives nothing stays, so that what comes with the host loses its default.
    ///
    /// # Errors
    /// When nothing is granted to it, or the file cannot be written.
    pub fn revoke(&self, named: &str, interfaces: &BTreeSet<Interface>) -> Result<Vec<Decided>, ServiceError> {
        let Site { root, shelf, .. } = self.look()?;
        let meant = Meant::of(named, &self.cwd, &shelf.lock())?;
        LockFile::edit(&root, |lock| {
            for entry in builtin::ALL.iter().filter(|entry| meant.is(entry.digest)) {
                let digest = Digest::new(entry.digest).map_err(|error| ServiceError::Internal(error.to_string()))?;
                if lock.granted(&digest).is_none() {
                    let (plugin, interfaces) = (entry.name.to_owned(), by_default(entry.kind));
                    lock.grant(Granted { plugin, digest, limits: LimitSettings::default(), interfaces });
                }
            }
            let mut taken = Vec::new();
            for granted in lock.grants.iter_mut().filter(|granted| meant.is_granted(granted)) {
                let mut withheld: Vec<Interface> = granted.interfaces.keys().copied().collect();
                withheld.retain(|interface| interfaces.is_empty() || interfaces.contains(interface));
                granted.interfaces.retain(|interface, _| !withheld.contains(interface));
                let Granted { plugin, digest, limits, interfaces } = granted.clone();
                taken.push(Decided { plugin, digest, granted: interfaces, limits, withheld });
            }
            if taken.is_empty() {
                let names: BTreeSet<&str> = lock.grants.iter().map(|granted| granted.plugin.as_str()).collect();
                let names = names.into_iter().collect::<Vec<_>>().join(", ");
                let names =
                    if names.is_empty() { "there are no grants".to_owned() } else { format!("grants: {names}") };
                return Err(ServiceError::Usage(format!(
                    "nothing is granted to `{named}`; {names}; a digest, or its first 8 digits, names one as well"
                )));
            }
            Ok(taken)
        })
    }

    /// What is new in a component against what was granted to a digest of its name before.
    ///
    /// # Errors
    /// When the lock file cannot be read.
    pub fn compare(&self, plugin: &Plugin) -> Result<GrantDiff, ServiceError> {
        let shelf = self.look()?.shelf;
        let lock = shelf.lock();
        let of_another = |granted: &&Granted| granted.plugin == plugin.name && granted.digest != plugin.digest;
        let earlier = lock.grants.iter().rfind(of_another);
        let now = lock.granted(&plugin.digest);
        let default = builtin::has(&plugin.digest).then(|| by_default(plugin.kind));
        let before = now.or(earlier).map(|granted| granted.interfaces.clone()).or(default).unwrap_or_default();
        let asked = plugin.asks();
        let words = |scopes: &Scopes, interface: &Interface| scopes.get(interface).map(Scope::words);
        let interfaces: BTreeSet<Interface> = before.keys().chain(asked.keys()).copied().collect();
        let lines = interfaces.into_iter().map(|interface| GrantLine {
            interface,
            granted: words(&before, &interface),
            asked: words(&asked, &interface),
        });
        Ok(GrantDiff {
            plugin: plugin.name.clone(),
            digest: plugin.digest.clone(),
            decided: shelf.approvals().undecided(plugin).is_empty(),
            against: now.or(earlier).map(|granted| granted.digest.clone()),
            lines: lines.collect(),
            limits_granted: now.or(earlier).map(|granted| granted.limits).unwrap_or_default(),
            limits_asked: plugin.manifest.as_ref().map(|manifest| manifest.limits).unwrap_or_default(),
        })
    }
}

/// What a component asks for beside what was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantDiff {
    /// The plugin.
    pub plugin: String,
    /// Its digest.
    pub digest: Digest,
    /// Whether this digest was decided about.
    pub decided: bool,
    /// The digest that was granted; none: nothing ever was.
    pub against: Option<Digest>,
    /// One line for each interface of either.
    pub lines: Vec<GrantLine>,
    /// Limits that were granted beyond the kind's own.
    pub limits_granted: LimitSettings,
    /// Limits that are asked for.
    pub limits_asked: LimitSettings,
}

/// One interface; bounds in words, empty for none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantLine {
    /// Which.
    pub interface: Interface,
    /// What was granted.
    pub granted: Option<String>,
    /// What is asked for.
    pub asked: Option<String>,
}
