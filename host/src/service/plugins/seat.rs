//! A component in its place: with the settings that its manifest lets through, its own limits, and what it may
//! do. Whoever gives it less than it needs is told the command that gives it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::lock::Granted;
use super::shelf::Shelf;
use crate::config::{Config, FILE_NAME};
use crate::domain::grant::{Grant, Interface, Scope, Scopes};
use crate::domain::id::Digest;
use crate::domain::limits::LimitSettings;
use crate::plugin::{Limits, Plugin, PluginKind, builtin};
use crate::registry::ExecutionRecord;
use crate::service::error::ServiceError;

/// A loaded component with its settings, limits and grant.
#[derive(Clone)]
pub(crate) struct Seated {
    /// The component.
    pub(crate) plugin: Arc<Plugin>,
    /// Its settings, defaults filled in.
    pub(crate) settings: Value,
    /// Where it is stopped.
    pub(crate) limits: Limits,
    /// What decides about what it may do.
    pub(crate) grant: Granting,
}

/// What decides about what a component may do.
#[derive(Clone)]
pub(crate) enum Granting {
    /// Decided once.
    Fixed(Arc<Grant>),
    /// By the lock file, for each execution anew: what is revoked is not there for the next one.
    ByLock(Arc<Approvals>),
}

impl Seated {
    /// What it may do in an execution that begins now.
    pub(crate) fn granted(&self) -> Arc<Grant> {
        match &self.grant {
            Granting::Fixed(grant) => Arc::clone(grant),
            Granting::ByLock(approvals) => approvals.grant(&self.plugin),
        }
    }
}

/// What decides about the grants of components.
#[derive(Debug, Clone)]
pub(crate) struct Approvals {
    shelf: Shelf,
    /// Components that were part of an earlier host, and that a run goes on with.
    once_built_in: BTreeSet<Digest>,
}

impl Approvals {
    pub(crate) fn new(shelf: Shelf) -> Self {
        Self { shelf, once_built_in: BTreeSet::new() }
    }

    /// Trusts components that an earlier host brought along.
    pub(crate) fn trust(&mut self, digests: impl IntoIterator<Item = Digest>) {
        self.once_built_in.extend(digests);
    }

    /// What was approved for the component; none: nobody has decided.
    fn approved(&self, plugin: &Plugin) -> Option<Scopes> {
        let built_in = || builtin::has(&plugin.digest) || self.once_built_in.contains(&plugin.digest);
        match self.shelf.lock().granted(&plugin.digest) {
            Some(granted) => Some(granted.interfaces.clone()),
            None => built_in().then(|| by_default(plugin.kind)),
        }
    }

    /// What it may do.
    pub(crate) fn grant(&self, plugin: &Plugin) -> Arc<Grant> {
        let approved = self.approved(plugin).unwrap_or_default();
        Arc::new(Grant::of(&plugin.asks(), &approved))
    }

    /// Interfaces that it needs and nobody has decided about.
    pub(crate) fn undecided(&self, plugin: &Plugin) -> Vec<Interface> {
        if self.shelf.lock().granted(&plugin.digest).is_some() {
            return Vec::new();
        }
        let approved = self.approved(plugin).unwrap_or_default();
        let optional = |interface: &Interface| {
            plugin
                .manifest
                .as_ref()
                .and_then(|manifest| manifest.wants.get(interface))
                .is_some_and(|want| want.optional)
        };
        let asked = plugin.asks().into_keys();
        asked.filter(|interface| !approved.contains_key(interface) && !optional(interface)).collect()
    }

    /// Refuses a component whose needs nobody has decided about.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] with the command that grants them.
    pub(crate) fn check(&self, plugin: &Plugin, named: &str) -> Result<(), ServiceError> {
        let missing: Vec<&str> = self.undecided(plugin).into_iter().map(Interface::name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let named = format!("{}{}", quoted(named), self.shelf.flags());
        Err(ServiceError::Usage(format!(
            "the {} plugin `{}` ({}) wants {}, which nobody has granted to it: look at what it wants with `necro-host \
             plugin inspect {named}`, then type `necro-host plugin grant {named} --all`, or name less with --allow",
            plugin.kind,
            plugin.name,
            plugin.digest.short(),
            missing.join(", ")
        )))
    }

    fn limits(&self, plugin: &Plugin) -> LimitSettings {
        self.shelf.lock().granted(&plugin.digest).map_or_else(LimitSettings::default, |granted| granted.limits)
    }
}

/// A word as a shell takes it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=~".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// What comes with the host is trusted with what its kind works with. What spends money beyond that is asked for.
pub(crate) fn by_default(kind: PluginKind) -> Scopes {
    let all = |interfaces: &[Interface]| interfaces.iter().map(|interface| (*interface, Scope::default())).collect();
    match kind {
        PluginKind::Spirit => all(Interface::ALL),
        PluginKind::Review => all(&[Interface::Workspace]),
        PluginKind::Routing | PluginKind::Scheduling => Scopes::new(),
    }
}

/// Seats a component.
///
/// # Errors
/// [`ServiceError::Usage`] with every setting that its manifest does not let through.
pub(crate) fn seat(config: &Config, approvals: &Approvals, plugin: Arc<Plugin>) -> Result<Seated, ServiceError> {
    let settings = settings(&plugin, config.plugin_settings(&plugin.name))?;
    let limits = limits(config, approvals, &plugin);
    let grant = Granting::ByLock(Arc::new(approvals.clone()));
    Ok(Seated { plugin, settings, limits, grant })
}

fn settings(plugin: &Plugin, set: Value) -> Result<Value, ServiceError> {
    let Some(manifest) = &plugin.manifest else { return Ok(set) };
    let none = Map::new();
    let checked = manifest.settings(set.as_object().unwrap_or(&none)).map_err(|problems| {
        let (name, problems) = (&plugin.name, problems.join("; "));
        ServiceError::Usage(format!("{FILE_NAME}, [plugins.settings.{name}]: {problems}"))
    })?;
    Ok(Value::Object(checked))
}

/// The defaults of the plugin's kind, with what was granted and what the operator set in their place.
pub(crate) fn limits(config: &Config, approvals: &Approvals, plugin: &Plugin) -> Limits {
    let set = config.plugin_limits(plugin.kind.as_str(), &plugin.name).or(approvals.limits(plugin));
    within(Limits::for_kind(plugin.kind), set)
}

/// `base`, with what is set in its place.
pub(crate) fn within(base: Limits, set: LimitSettings) -> Limits {
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

/// A component with the settings and limits that an execution had, and what it may do now.
///
/// # Errors
/// When the record has limits of another form.
pub(crate) fn seat_recorded(
    plugin: Arc<Plugin>,
    execution: &ExecutionRecord,
    grant: Granting,
) -> Result<Seated, ServiceError> {
    let limits = serde_json::from_value(execution.limits.clone())
        .map_err(|error| ServiceError::Internal(format!("the limits of execution {}: {error}", execution.id)))?;
    Ok(Seated { plugin, settings: execution.settings.clone(), limits, grant })
}

/// A grant as it is written for the component: everything that it asks for.
pub(crate) fn all_of(plugin: &Plugin) -> Granted {
    let limits = plugin.manifest.as_ref().map_or_else(LimitSettings::default, |manifest| manifest.limits);
    Granted { plugin: plugin.name.clone(), digest: plugin.digest.clone(), limits, interfaces: plugin.asks() }
}
