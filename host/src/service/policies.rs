//! Scheduling and routing decisions: recorded, checked, and replaced by the built-in rule when the
//! policy fails. A policy proposes; what it proposes is believed only as far as `domain` allows.

use serde_json::json;

use super::breakers;
use super::error::{ServiceError, chain};
use super::executions::{Invocation, Scene, begin};
use super::plugins::Seated;
use super::progress::Progress;
use super::workshop::Workshop;
use crate::domain::breaker::CallEnd;
use crate::domain::dispatch;
use crate::domain::id::{AttemptKey, ExecutionId};
use crate::domain::policy::{Candidate, Decision, Issue, Placement, Plan, Pool, ReadyTask};
use crate::plugin::ExecutionError;
use crate::plugin::capability::{Capabilities, Log};
use crate::registry::{ExecutionKind, PolicyState};

/// Orders the ready tasks and gives each a pool; without an execution when the policy is switched off.
pub(crate) async fn schedule(
    shop: &Workshop,
    ready: &[ReadyTask],
    pools: &[Pool],
) -> Result<(Vec<Placement>, Option<ExecutionId>), ServiceError> {
    let (scene, set) = (&shop.scene(), shop.plugins.now());
    let seated = &set.scheduling;
    let Ok(pass) = scene.breakers.ask(&seated.plugin.digest) else {
        let checked = dispatch::check_plan(dispatch::fallback_plan(ready, pools), ready, pools);
        return Ok((checked.placements, None));
    };
    let state = state_of(scene, seated).await?;
    let input = json!({ "ready": ready, "pools": pools, "state": state });
    let (begun, context) = begin(scene, decision(ExecutionKind::Scheduling, seated, None, input)).await?;
    let ended = seated.plugin.order(context, ready, pools, &seated.settings.to_string(), &state).await;
    let kept = ended.result.as_ref().ok().and_then(|plan: &Plan| remembered(seated, &plan.state));
    begun.end(&ended, kept).await?;
    breakers::log_trap(seated, begun.id(), &ended);
    breakers::note(scene, seated, pass, breakers::end_of(&ended.result));
    let proposed = match ended.result {
        Ok(plan) => plan.placements,
        Err(error) => {
            fallen(scene, seated, &error);
            dispatch::fallback_plan(ready, pools)
        }
    };
    let checked = dispatch::check_plan(proposed, ready, pools);
    for refused in &checked.refused {
        warn(scene, format!("the policy `{}`: {refused}", seated.plugin.name));
    }
    Ok((checked.placements, Some(begun.id().clone())))
}

/// Picks the instance for a task's attempt, or for an issue of the backlog; none when the team is empty. Without
/// an execution when the policy is switched off.
pub(crate) async fn route(
    scene: &Scene,
    seated: &Seated,
    attempt: Option<&AttemptKey>,
    issue: &Issue,
    candidates: &[Candidate],
) -> Result<Option<(Decision, Option<ExecutionId>)>, ServiceError> {
    let pass = match scene.breakers.ask(&seated.plugin.digest) {
        Ok(pass) => pass,
        Err(off) => {
            let why = format!("the policy `{}` is switched off: {off}", seated.plugin.name);
            let decision = dispatch::fallback_route(issue, candidates);
            return Ok(decision.map(|decision| (because(decision, &why), None)));
        }
    };
    let state = state_of(scene, seated).await?;
    let input = json!({ "issue": issue, "candidates": candidates, "state": state });
    let (begun, context) = begin(scene, decision(ExecutionKind::Routing, seated, attempt.cloned(), input)).await?;
    let ended = seated.plugin.route(context, issue, candidates, &seated.settings.to_string(), &state).await;
    let kept = ended.result.as_ref().ok().and_then(|decision: &Decision| remembered(seated, &decision.state));
    begun.end(&ended, kept).await?;
    breakers::log_trap(seated, begun.id(), &ended);
    let mut end = breakers::end_of(&ended.result);
    let decision = match ended.result {
        Ok(decision) => match dispatch::check_decision(decision, candidates) {
            Ok(decision) => Some(decision),
            Err(refused) => {
                // An answer that nobody can follow is as bad as none.
                end = CallEnd::Crashed;
                warn(scene, format!("the policy `{}`: {refused}", seated.plugin.name));
                dispatch::fallback_route(issue, candidates).map(|decision| because(decision, &refused.to_string()))
            }
        },
        Err(error) => {
            fallen(scene, seated, &error);
            dispatch::fallback_route(issue, candidates)
        }
    };
    breakers::note(scene, seated, pass, end);
    Ok(decision.map(|decision| (decision, Some(begun.id().clone()))))
}

/// A decision of the built-in rule that says why it was not the policy's.
fn because(mut decision: Decision, why: &str) -> Decision {
    decision.reason = dispatch::bounded_reason(&format!("{}; {why}", decision.reason));
    decision
}

fn decision(
    kind: ExecutionKind,
    seated: &Seated,
    attempt: Option<AttemptKey>,
    input: serde_json::Value,
) -> Invocation<'_> {
    let log: std::sync::Arc<dyn Log> = std::sync::Arc::new(PolicyLog(seated.plugin.name.clone()));
    let capabilities = Capabilities { log: Some(log), ..Capabilities::default() };
    Invocation { kind, seated, attempt, instance: None, input, grant: seated.granted(), capabilities }
}

fn state_name(seated: &Seated) -> String {
    format!("{}/{}", seated.plugin.kind.as_str(), seated.plugin.name)
}

fn remembered(seated: &Seated, state: &str) -> Option<PolicyState> {
    let fits = dispatch::check_state(state).is_ok();
    fits.then(|| PolicyState { name: state_name(seated), state: state.to_owned() })
}

async fn state_of(scene: &Scene, seated: &Seated) -> Result<String, ServiceError> {
    let name = state_name(seated);
    Ok(scene.registry.read(move |reader| reader.policy_state(&name)).await?.unwrap_or_default())
}

fn warn(scene: &Scene, text: String) {
    scene.observer.observe(&Progress::Warning { text });
}

fn fallen(scene: &Scene, seated: &Seated, error: &ExecutionError) {
    if matches!(error, ExecutionError::Cancelled { .. }) {
        return;
    }
    let text =
        format!("the policy `{}` failed, the built-in rule decides instead: {}", seated.plugin.name, chain(error));
    tracing::warn!("{text}");
    warn(scene, text);
}

/// A policy's log goes to the host's.
struct PolicyLog(String);

impl Log for PolicyLog {
    fn emit(&self, level: &str, message: &str, fields: &[(String, String)]) {
        tracing::debug!(plugin = %self.0, level, ?fields, "{message}");
    }
}
