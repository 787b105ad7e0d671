//! A routing or scheduling policy over the recorded decisions, in their order, with its own state.

use serde_json::Value;

use super::super::again::part;
use super::super::{Records, attempt_of, named};
use super::{Candidate, Changed, Comparison};
use crate::domain::dispatch;
use crate::domain::id::ExecutionId;
use crate::domain::policy::{self, Decision, Placement, Plan, Pool, ReadyTask};
use crate::plugin::{Ended, PluginKind};
use crate::registry::ExecutionRecord;
use crate::service::error::{ServiceError, chain};

/// What a decision comes to, with the built-in rule where the policy fails.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    what: String,
    reason: String,
    failed: bool,
}

/// Tries the candidate over decisions of its kind, in their order.
pub(super) async fn over(
    records: &Records,
    decisions: Vec<ExecutionId>,
    candidate: &mut Candidate,
    comparison: &mut Comparison,
) -> Result<(), ServiceError> {
    let kind = candidate.plugin.kind;
    let mut state = String::new();
    for id in decisions {
        let wanted = id.clone();
        let execution = match records.read(move |reader| reader.record(&wanted)).await {
            Ok(Some(record)) => record.execution,
            Ok(None) => continue,
            Err(error) => {
                comparison.skip(records.named(&id, chain(&error)).await);
                continue;
            }
        };
        candidate.tried.decisions += 1;
        let decided = match kind {
            PluginKind::Scheduling => schedule(candidate, &execution, &mut state).await,
            _ => route(candidate, &execution, &mut state).await,
        };
        let (recorded, new) = match decided {
            Ok(decided) => decided,
            Err(reason) => {
                comparison.skip(named(&execution, reason));
                continue;
            }
        };
        candidate.tried.failed += u64::from(new.failed);
        // A failure is told even where the built-in rule comes to the same.
        if recorded.what != new.what || new.failed {
            let changed = Changed {
                at: execution.started_at,
                kind: kind.as_str(),
                execution: Some(execution.id.clone()),
                attempt: attempt_of(&execution),
                recorded: recorded.what,
                new: new.what,
                reason: new.reason,
                estimate: false,
                failed: new.failed,
                review: None,
            };
            comparison.add(&mut candidate.tried, changed);
        }
    }
    Ok(())
}

/// What a policy returned on record; an error in words.
fn on_record<T: serde::de::DeserializeOwned>(execution: &ExecutionRecord) -> Result<T, String> {
    let outcome = execution.outcome.clone().unwrap_or_default();
    let message = || outcome.get("message").and_then(Value::as_str).unwrap_or("it has no end on record").to_owned();
    let ok = outcome.get("ok").cloned().ok_or_else(message)?;
    serde_json::from_value(ok).map_err(|error| error.to_string())
}

/// What a policy returns now; its state is kept when it may be.
fn returned<T>(ended: Ended<T>, state: &mut String, of: impl Fn(&T) -> &str) -> Result<T, String> {
    let value = ended.result.map_err(|error| chain(&error))?;
    if dispatch::check_state(of(&value)).is_ok() {
        of(&value).clone_into(state);
    }
    Ok(value)
}

async fn route(
    candidate: &Candidate,
    execution: &ExecutionRecord,
    state: &mut String,
) -> Result<(Choice, Choice), String> {
    let issue: policy::Issue = part(&execution.input, "issue")?;
    let candidates: Vec<policy::Candidate> = part(&execution.input, "candidates")?;
    let choose = |decided: Result<Decision, String>| {
        let checked = decided.and_then(|decision| {
            dispatch::check_decision(decision, &candidates).map_err(|refused| refused.to_string())
        });
        match checked {
            Ok(decision) => Choice { what: decision.instance.to_string(), reason: decision.reason, failed: false },
            Err(reason) => {
                let decision = dispatch::fallback_route(&issue, &candidates);
                let what = decision.map_or_else(|| "nobody".to_owned(), |decision| decision.instance.to_string());
                Choice { what, reason, failed: true }
            }
        }
    };
    let (context, settings) = (candidate.context(execution), candidate.settings(execution));
    let ended = candidate.plugin.route(context, &issue, &candidates, &settings, state).await;
    let now = returned(ended, state, |decision| &decision.state);
    Ok((choose(on_record(execution)), choose(now)))
}

async fn schedule(
    candidate: &Candidate,
    execution: &ExecutionRecord,
    state: &mut String,
) -> Result<(Choice, Choice), String> {
    let ready: Vec<ReadyTask> = part(&execution.input, "ready")?;
    let pools: Vec<Pool> = part(&execution.input, "pools")?;
    let choose = |decided: Result<Plan, String>| {
        let (proposed, failure) = match decided {
            Ok(plan) => (plan.placements, None),
            Err(reason) => (dispatch::fallback_plan(&ready, &pools), Some(reason)),
        };
        let checked = dispatch::check_plan(proposed, &ready, &pools);
        let refused: Vec<String> = checked.refused.iter().map(ToString::to_string).collect();
        Choice {
            what: placements(&checked.placements),
            failed: failure.is_some(),
            reason: failure.unwrap_or_else(|| refused.join("; ")),
        }
    };
    let (context, settings) = (candidate.context(execution), candidate.settings(execution));
    let ended = candidate.plugin.order(context, &ready, &pools, &settings, state).await;
    let now = returned(ended, state, |plan| &plan.state);
    Ok((choose(on_record(execution)), choose(now)))
}

/// `2, 1` in the order of starting; with the pools where there are several.
fn placements(placements: &[Placement]) -> String {
    if placements.is_empty() {
        return "nothing".to_owned();
    }
    let pools = placements.iter().any(|placement| placement.pool != placements[0].pool);
    let shown = placements.iter().map(
        |Placement { task, pool, .. }| {
            if pools { format!("{task} in {pool}") } else { task.to_string() }
        },
    );
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{SpecName, TaskId};

    #[test]
    fn a_plan_is_shown_in_its_order_and_with_pools_where_they_differ() {
        let at = |task: &str, pool: &str| Placement {
            spec: SpecName::new("s").unwrap(),
            task: TaskId::new(task).unwrap(),
            pool: pool.to_owned(),
        };
        assert_eq!(placements(&[]), "nothing");
        assert_eq!(placements(&[at("2", "default"), at("1", "default")]), "2, 1");
        assert_eq!(placements(&[at("2", "default"), at("1", "gpu")]), "2 in default, 1 in gpu");
    }
}
