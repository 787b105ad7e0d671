//! Components that have their seats from the beginning of a run: what is recorded of them, and the shadow replay
//! that the operator can ask for before it.

use std::collections::BTreeMap;

use super::{counts, too_many};
use crate::domain::event::Body;
use crate::domain::id::{Digest, Role};
use crate::domain::seat::{Component, Seat, SeatedBy, ShadowCounts};
use crate::plugin::builtin::{self, Builtin};
use crate::plugin::{Plugin, PluginKind};
use crate::registry::Registry;
use crate::service::error::ServiceError;
use crate::service::plugins::{PluginChoice, PluginSet};
use crate::service::replay::{SHADOWED, shadow};
use crate::service::seats::component_of;

/// What shadow replays before a start came to, by component.
pub(crate) type Tried = BTreeMap<Digest, ShadowCounts>;

/// Shows the components of `choices` the newest recorded decisions, when `max_changed` says how many of them may
/// change.
///
/// # Errors
/// [`ServiceError::Usage`] when more would.
pub(crate) async fn before_start(
    registry: &Registry,
    set: &PluginSet,
    choices: &[PluginChoice],
    max_changed: Option<u64>,
) -> Result<Tried, ServiceError> {
    let mut tried = Tried::new();
    if max_changed.is_none() {
        return Ok(tried);
    }
    let chosen = |kind: PluginKind| choices.iter().any(|choice| choice.kind == kind);
    for (seat, seated) in set.seats() {
        let plugin = &seated.plugin;
        let is_tried = match plugin.kind {
            PluginKind::Spirit => false,
            PluginKind::Routing | PluginKind::Scheduling => chosen(plugin.kind),
            PluginKind::Review => chosen(plugin.kind) && !is_default(&seat, plugin),
        };
        if !is_tried {
            continue;
        }
        let found = shadow(registry, seated, SHADOWED).await?;
        if let Some(reason) = too_many(&found, max_changed) {
            let (kind, name) = (plugin.kind, &plugin.name);
            return Err(ServiceError::Usage(format!(
                "the {kind} plugin `{name}` is refused: {reason} (--max-changed); `necro-host replay --with {kind}=…` \
                 shows those of one run"
            )));
        }
        tried.insert(plugin.digest.clone(), counts(&found));
    }
    Ok(tried)
}

/// What is recorded at the start of a run: every seat whose component is not the built-in default, or, in a run that
/// goes on, not the one that it had.
pub(crate) fn started(set: &PluginSet, earlier: Option<&BTreeMap<String, Digest>>, tried: &Tried) -> Vec<Body> {
    let seatings = set.seats().filter_map(|(seat, seated)| {
        let plugin = &seated.plugin;
        let replaces = match earlier {
            Some(recorded) => before(recorded, plugin)?,
            None if is_default(&seat, plugin) => return None,
            None => default_of(&seat).and_then(component_of_builtin),
        };
        let role = seat.of.as_deref().filter(|_| plugin.kind == PluginKind::Spirit);
        let Component { name, digest } = component_of(plugin);
        Some(Body::PluginSeated {
            kind: seat.kind.clone(),
            role: role.and_then(|role| Role::new(role).ok()),
            replaces,
            by: SeatedBy::Start,
            shadow: tried.get(&digest).copied(),
            name,
            digest,
        })
    });
    seatings.collect()
}

/// Who sat where `plugin` sits, in a run that goes on; nothing when that was `plugin`.
fn before(recorded: &BTreeMap<String, Digest>, plugin: &Plugin) -> Option<Option<Component>> {
    let kind = plugin.kind.as_str();
    if recorded.get(&format!("{kind}/{}", plugin.name)) == Some(&plugin.digest) {
        return None;
    }
    let mut of_seat = recorded.iter().filter_map(|(place, digest)| {
        let (_, name) = place.split_once('/').filter(|(of, _)| *of == kind)?;
        let is_one = match plugin.kind {
            PluginKind::Routing | PluginKind::Scheduling => true,
            PluginKind::Spirit | PluginKind::Review => name == plugin.name,
        };
        is_one.then(|| Component { name: name.to_owned(), digest: digest.clone() })
    });
    Some(of_seat.next_back())
}

fn component_of_builtin(entry: &Builtin) -> Option<Component> {
    Some(Component { name: entry.name.to_owned(), digest: Digest::new(entry.digest).ok()? })
}

/// Who sits there when nobody chooses anybody.
fn default_of(seat: &Seat) -> Option<&'static Builtin> {
    let of_seat = |entry: &&Builtin| {
        let named = match entry.kind {
            PluginKind::Routing | PluginKind::Scheduling => true,
            PluginKind::Review => Some(entry.name) == seat.of.as_deref(),
            // Built-in spirits have the names of their roles.
            PluginKind::Spirit => Some(entry.name.replace('-', "_").as_str()) == seat.of.as_deref(),
        };
        entry.kind.as_str() == seat.kind && named
    };
    builtin::ALL.iter().filter(|entry| entry.is_default()).find(of_seat)
}

fn is_default(seat: &Seat, plugin: &Plugin) -> bool {
    default_of(seat).is_some_and(|entry| entry.digest == plugin.digest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_component_has_its_seat() {
        for entry in builtin::ALL.iter().filter(|entry| entry.is_default()) {
            let role = Role::new(entry.name.replace('-', "_")).unwrap();
            let seat = Seat::new(entry.kind.as_str(), Some(&role), entry.name);
            assert_eq!(default_of(&seat).map(|found| found.digest), Some(entry.digest), "{seat}");
        }
    }
}
