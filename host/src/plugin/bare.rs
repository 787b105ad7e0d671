//! The bare call that the `policy` bench compares decisions with: the same compiled routing policy in
//! the same engine, each time in a fresh store of an empty host, with arguments that were converted
//! beforehand. No limit, meter, journal, conversion or check of ours. It is no way to run a plugin.

use wasmtime::component::Linker;
use wasmtime::{Engine, Store};

use super::bindings::routing::RoutingPolicyPre;
use super::bindings::routing::exports::necro::plugin::routing as wit;
use super::convert;
use super::load::{Plugin, World, one_line};
use crate::domain::policy::{Candidate, Issue};

/// Further than any call gets: an engine that counts epochs wants some deadline.
const NO_DEADLINE: u64 = 1 << 40;

/// A routing policy with its arguments, ready to be called.
pub struct BareRouting {
    engine: Engine,
    pre: RoutingPolicyPre<()>,
    issue: wit::Issue,
    candidates: Vec<wit::Candidate>,
}

impl std::fmt::Debug for BareRouting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BareRouting").finish_non_exhaustive()
    }
}

impl BareRouting {
    /// Links the plugin's component anew, with imports that trap. `None` when it is no routing policy.
    ///
    /// # Errors
    /// What the linker says, in one line.
    pub fn new(plugin: &Plugin, issue: &Issue, candidates: &[Candidate]) -> Result<Option<Self>, String> {
        let World::Routing(pre) = &plugin.world else { return Ok(None) };
        let component = pre.instance_pre().component();
        let engine = component.engine().clone();
        let link = || {
            let mut linker = Linker::new(&engine);
            linker.define_unknown_imports_as_traps(component)?;
            RoutingPolicyPre::new(linker.instantiate_pre(component)?)
        };
        let pre = link().map_err(|error| one_line(&error))?;
        let candidates = candidates.iter().cloned().map(convert::candidate).collect();
        Ok(Some(Self { pre, engine, issue: convert::issue(issue.clone()), candidates }))
    }

    /// One call in a fresh store: the instance that the policy picks.
    ///
    /// # Errors
    /// What wasmtime says in one line, or a failure that the policy reports.
    pub async fn call(&self) -> Result<String, String> {
        let called = async {
            let mut store = Store::new(&self.engine, ());
            store.set_fuel(u64::MAX)?;
            store.set_epoch_deadline(NO_DEADLINE);
            let world = self.pre.instantiate_async(&mut store).await?;
            let routing = world.necro_plugin_routing();
            routing.call_route(&mut store, &self.issue, &self.candidates, "{}", "").await
        };
        let decision = called.await.map_err(|error: wasmtime::Error| one_line(&error))?;
        decision.map(|decision| decision.instance).map_err(|failure| format!("{failure:?}"))
    }
}
