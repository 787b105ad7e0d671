//! The review: every installed heuristic over one change. A heuristic that fails does not hide: it
//! leaves a warning among the findings.

use std::sync::Arc;

use serde_json::json;

use super::breakers;
use super::capabilities::Desk;
use super::error::{ServiceError, chain};
use super::executions::{Invocation, begin};
use super::plugins::Seated;
use super::workshop::Workshop;
use crate::domain::id::{AttemptKey, ExecutionId};
use crate::domain::review::{Change, Finding, Severity};
use crate::plugin::ExecutionError;
use crate::registry::ExecutionKind;

/// What the heuristics found, and the executions that found it.
pub(crate) struct Reviewed {
    /// By heuristic, in the order of the set.
    pub(crate) findings: Vec<Finding>,
    /// One for each heuristic that was called.
    pub(crate) executions: Vec<ExecutionId>,
}

/// Runs all heuristics over `change`, side by side. Nothing comes back when the run was stopped meanwhile:
/// what was not looked at must not pass as if it had been.
pub(crate) async fn review(
    shop: &Arc<Workshop>,
    desk: &Arc<Desk>,
    attempt: &AttemptKey,
    change: Change,
) -> Result<Option<Reviewed>, ServiceError> {
    let change = Arc::new(change);
    let set = shop.plugins.now();
    let running = set.reviews.iter().map(|seated| one(shop, desk, attempt, seated, &change));
    let mut reviewed = Reviewed { findings: Vec::new(), executions: Vec::new() };
    for judged in futures::future::join_all(running).await {
        let Some((findings, execution)) = judged? else { return Ok(None) };
        reviewed.findings.extend(findings);
        reviewed.executions.extend(execution);
    }
    Ok(Some(reviewed))
}

async fn one(
    shop: &Arc<Workshop>,
    desk: &Arc<Desk>,
    attempt: &AttemptKey,
    seated: &Seated,
    change: &Change,
) -> Result<Option<(Vec<Finding>, Option<ExecutionId>)>, ServiceError> {
    let scene = shop.scene();
    let pass = match scene.breakers.ask(&seated.plugin.digest) {
        Ok(pass) => pass,
        Err(off) => {
            let said = about_heuristic(seated, format!("the heuristic is switched off for now: {off}"));
            return Ok(Some((vec![said], None)));
        }
    };
    let grant = seated.granted();
    let invocation = Invocation {
        kind: ExecutionKind::Review,
        seated,
        attempt: Some(attempt.clone()),
        instance: None,
        input: json!({ "change": change }),
        capabilities: desk.reading(&seated.plugin, &grant),
        grant,
    };
    let (begun, context) = begin(&scene, invocation).await?;
    let ended = seated.plugin.review(context, change, &seated.settings.to_string()).await;
    breakers::log_trap(seated, begun.id(), &ended);
    breakers::note(&scene, seated, pass, breakers::end_of(&ended.result));
    begun.end(&ended, None).await?;
    let findings = match ended.result {
        Ok(mut findings) => {
            for finding in &mut findings {
                finding.message = shop.mask.apply(&finding.message);
            }
            findings
        }
        Err(ExecutionError::Cancelled { .. }) => return Ok(None),
        Err(error) => vec![about_heuristic(seated, format!("the heuristic failed: {}", chain(&error)))],
    };
    Ok(Some((findings, Some(begun.id().clone()))))
}

fn about_heuristic(seated: &Seated, message: String) -> Finding {
    Finding {
        rule: format!("{}/heuristic", seated.plugin.name),
        severity: Severity::Warn,
        file: None,
        line: None,
        message,
    }
}
