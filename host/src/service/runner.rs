//! One attempt: a spirit works in a slot, then the host judges what it left there, and writes down what
//! remains of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::capabilities::Desk;
use super::error::{ServiceError, chain};
use super::executions::{Invocation, begin};
use super::judgement::{self, Judged};
use super::workshop::Workshop;
use super::{remains, slots};
use crate::domain::assignment::{Assignment, Report};
use crate::domain::event::{Body, Outcome, Subject};
use crate::domain::id::{AttemptKey, CommitId, ExecutionId, Instance};
use crate::plugin::ExecutionError;
use crate::registry::ExecutionKind;
use crate::workspace::{Slot, TreeId};

/// What an attempt has to work with.
pub(crate) struct Work {
    /// Which attempt.
    pub(crate) attempt: AttemptKey,
    /// Who.
    pub(crate) instance: Instance,
    /// Id of this attempt's runner.
    pub(crate) runner: String,
    /// Where.
    pub(crate) slot: Arc<Slot>,
    /// The task branch, without `refs/heads/`; planning steps have none.
    pub(crate) branch: Option<String>,
    /// What it starts from.
    pub(crate) base: CommitId,
    /// What the spirit is given.
    pub(crate) assignment: Assignment,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Attempted {
    /// How.
    pub(crate) outcome: Outcome,
    /// What it failed on: text for the next attempt.
    pub(crate) reason: Option<String>,
    /// Its commit.
    pub(crate) commit: Option<CommitId>,
    /// Scope and spell of the commit.
    pub(crate) scope: String,
    /// What was done.
    pub(crate) spell: String,
}

/// Runs one attempt to its end. An error is trouble of the host's own, or of what the operator set;
/// everything that a spirit can cause is an [`Attempted`].
pub(crate) async fn attempt(shop: &Arc<Workshop>, work: Work) -> Result<Attempted, ServiceError> {
    let begun_at = shop.clock.elapsed();
    let mut judged = Judged::default();
    let ended = one(shop, &work, begun_at, &mut judged).await;
    let trouble = match ended {
        Ok(None) => {
            let (outcome, reason) = (judged.outcome(), judged.reason());
            let Judged { commit, scope, spell, .. } = judged;
            return Ok(Attempted { outcome, reason, commit, scope, spell });
        }
        // Its end is written down already.
        Ok(Some(trouble)) => return Err(trouble),
        Err(error) => error,
    };
    // Trouble of the host's own is nobody's failure, but the attempt has an end. If even that cannot be
    // written down, the next run does it.
    judged.interrupt(shop.mask.apply(&chain(&trouble)));
    let took = shop.clock.elapsed().saturating_sub(begun_at);
    if let Err(again) = remains::finish(shop, &work, None, None, &judged, took).await {
        tracing::error!("the end of {} cannot be recorded: {}", work.attempt, chain(&again));
    }
    Err(trouble)
}

/// Gives the trouble that no further attempt would be spared, if there is any.
async fn one(
    shop: &Arc<Workshop>,
    work: &Work,
    begun_at: Duration,
    judged: &mut Judged,
) -> Result<Option<ServiceError>, ServiceError> {
    slots::prepare(shop, &work.slot, &work.base).await?;
    let base = work.base.clone();
    let base_tree = shop.mirror.objects(move |objects| objects.tree_of(&base)).await?;
    let desk = Desk::open(
        Arc::clone(shop),
        work.attempt.clone(),
        work.instance.clone(),
        Arc::clone(&work.slot),
        base_tree.clone(),
    )
    .await?;
    let (performed, execution) = perform(shop, work, &desk).await?;
    let mut trouble = None;
    let summary = match performed {
        Ok(report) => {
            let ended = judgement::judge(shop, work, &desk, &base_tree, &report, judged).await;
            judged.blame(ended, work)?;
            Some(report.summary)
        }
        Err(error) => {
            trouble = unfinished(shop, work, &desk, &base_tree, error, judged).await?;
            None
        }
    };
    if let Some((_, reason)) = &mut judged.failure {
        *reason = shop.mask.apply(reason);
    }
    remains::store(shop, work, &desk, judged).await?;
    let took = shop.clock.elapsed().saturating_sub(begun_at);
    remains::finish(shop, work, Some(execution), summary, judged, took).await?;
    Ok(trouble)
}

/// What is done about a spirit that gave no report.
async fn unfinished(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Desk,
    base_tree: &TreeId,
    error: ExecutionError,
    judged: &mut Judged,
) -> Result<Option<ServiceError>, ServiceError> {
    let kept = judgement::keep_unfinished(shop, work, base_tree, judged).await;
    judged.blame(kept, work)?;
    let reason = chain(&error);
    if matches!(error, ExecutionError::Journal { .. }) {
        // Nobody's failure, and nothing more can be recorded.
        return Err(ServiceError::Record(error));
    }
    if let Some(blocked) = desk.blocked() {
        // Another attempt would end the same way: no task may fail by it.
        judged.interrupt(reason);
        return Ok(Some(ServiceError::Model(blocked.clone())));
    }
    if shop.stopping() || matches!(error, ExecutionError::Cancelled { .. }) {
        judged.interrupt(reason);
    } else {
        judged.fail(reason);
    }
    Ok(None)
}

/// Runs the spirit's component.
async fn perform(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
) -> Result<(Result<Report, ExecutionError>, ExecutionId), ServiceError> {
    let role = work.instance.role();
    let (seated, _) = shop
        .plugins
        .spirits
        .get(&role)
        .ok_or_else(|| ServiceError::Internal(format!("no component plays the role {role}")))?;
    let input = json!({ "assignment": work.assignment });
    let invocation = Invocation {
        kind: ExecutionKind::Spirit,
        seated,
        attempt: Some(work.attempt.clone()),
        instance: Some(work.instance.clone()),
        input,
        capabilities: desk.capabilities(),
    };
    let (begun, context) = begin(shop, invocation).await?;
    let started = Body::RunnerStarted {
        runner: work.runner.clone(),
        instance: work.instance.clone(),
        slot: work.slot.id().clone(),
        execution: begun.id().clone(),
        component: seated.plugin.digest.clone(),
        base: work.base.clone(),
    };
    shop.registry.append(Subject::attempt(&shop.run, &work.attempt), vec![started]).await?;
    let ended = seated.plugin.perform(context, work.assignment.clone(), &seated.settings.to_string()).await;
    begun.end(&ended, None).await?;
    Ok((ended.result, begun.id().clone()))
}
