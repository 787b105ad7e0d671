//! One attempt: a spirit works in a slot, then the host judges what it left there. A spirit's report
//! is a claim; the host believes a commit, a clean tree, a green gate and a review that blocks nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::capabilities::Desk;
use super::error::{ServiceError, chain};
use super::executions::{Invocation, begin};
use super::gate::GateRun;
use super::planning;
use super::progress::Progress;
use super::review;
use super::slots;
use super::workshop::Workshop;
use crate::domain::assignment::{Assignment, Report, WorkKind};
use crate::domain::call::Cost;
use crate::domain::event::{Body, Outcome, Subject, TaskChange};
use crate::domain::id::{AttemptKey, CommitId, ExecutionId, Instance};
use crate::domain::protocol::{self, Commit};
use crate::domain::review::{Change, Check};
use crate::domain::verdict::{self, Verdict};
use crate::plugin::ExecutionError;
use crate::registry::ExecutionKind;
use crate::workspace::{Identity, NewCommit, Slot, TreeDiff, TreeId};

/// At most this many paths that cannot be committed are named.
const MAX_NAMED_PATHS: usize = 20;

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

/// What the host found in the slot.
struct Judged {
    outcome: Outcome,
    reason: Option<String>,
    commit: Option<CommitId>,
    diff: Option<TreeDiff>,
    gate: GateRun,
    scope: String,
    spell: String,
}

impl Judged {
    /// What a spirit or its commands did to the slot is their failure; anything else is the host's trouble.
    fn of_spirit(error: ServiceError, slot: &Slot) -> Result<Self, ServiceError> {
        if error.is_of_slot(slot.work_dir()) { Ok(Self::failed(chain(&error))) } else { Err(error) }
    }

    fn failed(reason: String) -> Self {
        Self {
            outcome: Outcome::Failed,
            reason: Some(reason),
            commit: None,
            diff: None,
            gate: GateRun::default(),
            scope: String::new(),
            spell: String::new(),
        }
    }
}

/// Runs one attempt to its end. An error is trouble of the host's own; everything that a spirit can
/// cause is an [`Attempted`].
pub(crate) async fn attempt(shop: &Arc<Workshop>, work: Work) -> Result<Attempted, ServiceError> {
    let begun_at = shop.clock.elapsed();
    let ended = one(shop, &work, begun_at).await;
    if let Err(error) = &ended {
        // Trouble of the host's own is nobody's failure, but the attempt has an end. If even that cannot
        // be written down, the next run does it.
        let mut cut = Judged::failed(shop.mask.apply(&chain(error)));
        cut.outcome = Outcome::Interrupted;
        if let Err(again) = finish(shop, &work, None, None, &cut, begun_at).await {
            tracing::error!("the end of {} cannot be recorded: {}", work.attempt, chain(&again));
        }
    }
    ended
}

async fn one(shop: &Arc<Workshop>, work: &Work, begun_at: Duration) -> Result<Attempted, ServiceError> {
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
    let (summary, judged) = match performed {
        Ok(report) => {
            let judged = judge(shop, work, &desk, &base_tree, &report).await;
            (Some(report.summary), judged.or_else(|error| Judged::of_spirit(error, &work.slot))?)
        }
        Err(error) => {
            if let Err(lost) = keep_unfinished(shop, work, &base_tree).await {
                Judged::of_spirit(lost, &work.slot)?;
            }
            if let Some(blocked) = desk.blocked() {
                // Another attempt would end the same way: no task may fail by it.
                return Err(ServiceError::Model(blocked.clone()));
            }
            let mut judged = Judged::failed(chain(&error));
            if shop.stopping() || matches!(error, ExecutionError::Cancelled { .. }) {
                judged.outcome = Outcome::Interrupted;
            }
            (None, judged)
        }
    };
    let judged = masked(shop, judged);
    store_artifacts(shop, work, &desk, &judged).await?;
    finish(shop, work, Some(execution), summary, &judged, begun_at).await?;
    Ok(Attempted {
        outcome: judged.outcome,
        reason: judged.reason,
        commit: judged.commit,
        scope: judged.scope,
        spell: judged.spell,
    })
}

fn masked(shop: &Workshop, mut judged: Judged) -> Judged {
    judged.reason = judged.reason.map(|reason| shop.mask.apply(&reason));
    judged
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

/// Looks at the work tree, makes the commit, and decides.
async fn judge(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
    base_tree: &TreeId,
    report: &Report,
) -> Result<Judged, ServiceError> {
    let snapshot = work.slot.snapshot().await?;
    if !snapshot.skipped.is_empty() {
        // Committing the rest would lose this work without a word; cleaning the slot keeps it.
        let named = snapshot.skipped.iter().take(MAX_NAMED_PATHS);
        let named: Vec<String> = named.map(|path| format!("{} {}", path.path, path.reason.text())).collect();
        return Ok(Judged::failed(format!("The work tree cannot be committed as it is:\n{}", named.join("\n"))));
    }
    let (tree, base) = (snapshot.tree.clone(), base_tree.clone());
    let keep = planning::protected_paths(work.assignment.kind, &shop.spec);
    let (tree, diff) = shop
        .mirror
        .objects(move |objects| {
            let tree = objects.restore(&base, &tree, &keep)?;
            let diff = objects.diff(&base, &tree)?;
            Ok((tree, diff))
        })
        .await?;
    if diff.files.is_empty() {
        let reason = match work.assignment.kind {
            WorkKind::Implement => verdict::NO_CHANGE,
            WorkKind::Specify | WorkKind::Plan => "No document of the spec was written.",
        };
        return Ok(Judged::failed(reason.to_owned()));
    }
    let role = work.instance.role();
    let scope = match work.assignment.kind {
        WorkKind::Implement => protocol::scope(&role, diff.files.iter().map(|file| file.path.as_str())),
        WorkKind::Specify | WorkKind::Plan => "spec".to_owned(),
    };
    let commit = commit(shop, work, tree.clone(), &scope, &report.title).await?;
    if snapshot.tree == tree {
        work.slot.mark_saved(&tree).await?;
    }
    let mut judged = Judged {
        outcome: Outcome::Success,
        reason: None,
        commit: Some(commit.clone()),
        diff: None,
        gate: GateRun::default(),
        scope,
        spell: report.title.clone(),
    };
    let verdict = match work.assignment.kind {
        WorkKind::Implement => {
            // The gate sees what the commit holds and nothing else: no ignored or left-over file helps it.
            slots::prepare(shop, &work.slot, &commit).await?;
            desk.says("is done; the gate runs".to_owned());
            judged.gate = shop.gate.run(&work.slot, &shop.stop).await?;
            if judged.gate.cancelled {
                judged.outcome = Outcome::Interrupted;
                judged.reason = Some("the run was stopped during the gate".to_owned());
                return Ok(judged);
            }
            // The gate's own commands may have changed files; the review looks at the commit as well.
            slots::prepare(shop, &work.slot, &commit).await?;
            gate_and_review(shop, work, desk, &diff, &judged.gate).await?
        }
        kind => planning::check(shop, kind, &tree).await?,
    };
    if let Verdict::Fail { reason } = verdict {
        judged.outcome = Outcome::Failed;
        judged.reason = Some(reason);
    }
    judged.diff = Some(diff);
    Ok(judged)
}

async fn gate_and_review(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
    diff: &TreeDiff,
    gate: &GateRun,
) -> Result<Verdict, ServiceError> {
    let change = Change {
        spec: work.attempt.key.spec.clone(),
        task: work.attempt.key.task.clone(),
        title: work.assignment.title.clone(),
        text: work.assignment.text.clone(),
        instance: work.instance.to_string(),
        role: work.instance.role(),
        attempt: work.attempt.attempt,
        files: diff.files.clone(),
        checks: gate.checks.clone(),
    };
    let reviewed = review::review(shop, desk, &work.attempt, change).await?;
    let findings = verdict::with_severities(reviewed.findings, &shop.config.review.severity);
    let passed = |check: &Check| (check.name.clone(), check.passed);
    let bodies = vec![
        Body::TaskUpdated {
            change: TaskChange::GateFinished {
                stage: "attempt".to_owned(),
                checks: gate.checks.iter().map(passed).collect(),
            },
        },
        Body::ReviewReported { findings: findings.clone(), executions: reviewed.executions },
    ];
    shop.registry.append(Subject::attempt(&shop.run, &work.attempt), bodies).await?;
    Ok(verdict::decide(&gate.checks, &findings))
}

/// Commits `tree` on the attempt's base, and keeps it under its own ref and on its task branch.
async fn commit(
    shop: &Arc<Workshop>,
    work: &Work,
    tree: TreeId,
    scope: &str,
    spell: &str,
) -> Result<CommitId, ServiceError> {
    let message = Commit::new(scope, spell, work.attempt.clone(), work.instance.clone(), None).message();
    let author = Identity { name: work.instance.to_string(), email: format!("{}@necrocode.invalid", work.instance) };
    let request = NewCommit { tree, parents: vec![work.base.clone()], message, author, time: shop.clock.now() };
    let kept = protocol::attempt_ref(&work.attempt);
    let branch = work.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    let commit = shop
        .mirror
        .objects(move |objects| {
            let commit = objects.commit(&request)?;
            for name in std::iter::once(kept).chain(branch) {
                let before = objects.read_ref(&name)?;
                objects.update_ref(&name, &commit, before.as_ref())?;
            }
            Ok(commit)
        })
        .await?;
    Ok(commit)
}

/// An attempt that ended without a report may leave work: it is kept before the slot is cleaned.
async fn keep_unfinished(shop: &Arc<Workshop>, work: &Work, base_tree: &TreeId) -> Result<(), ServiceError> {
    let snapshot = work.slot.snapshot().await?;
    if snapshot.tree != *base_tree {
        let kept = Work {
            branch: None,
            attempt: work.attempt.clone(),
            instance: work.instance.clone(),
            runner: work.runner.clone(),
            slot: Arc::clone(&work.slot),
            base: work.base.clone(),
            assignment: work.assignment.clone(),
        };
        commit(shop, &kept, snapshot.tree.clone(), "unfinished", "keep unfinished work").await?;
        work.slot.mark_saved(&snapshot.tree).await?;
    }
    Ok(())
}

/// Diff, log and test result, whatever the outcome.
async fn store_artifacts(shop: &Arc<Workshop>, work: &Work, desk: &Desk, judged: &Judged) -> Result<(), ServiceError> {
    let name = |suffix: &str| format!("{}-{}-{suffix}", work.attempt.key.task, work.attempt.attempt);
    let diff = judged.diff.as_ref().map_or("", |diff| diff.text.as_str());
    let mut log = desk.log_text();
    log.push('\n');
    log.push_str(&String::from_utf8_lossy(&judged.gate.log));
    let test =
        json!({ "passed": judged.gate.passed() && judged.outcome == Outcome::Success, "checks": judged.gate.checks });
    let parts = [
        ("diff", name("change.diff"), "text/x-diff", shop.mask.apply(diff)),
        ("log", name("attempt.log"), "text/plain; charset=utf-8", shop.mask.apply(&log)),
        ("test", name("gate.json"), "application/json", shop.mask.apply(&test.to_string())),
    ];
    let store = shop.artifacts.clone();
    let stored = tokio::task::spawn_blocking(move || {
        parts
            .iter()
            .map(|(kind, name, media_type, text)| store.put(kind, name, media_type, text.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
    })
    .await
    .map_err(|error| ServiceError::Internal(error.to_string()))??;
    let bodies = stored
        .into_iter()
        .map(|artifact| Body::TaskUpdated { change: TaskChange::ArtifactAdded { artifact } })
        .collect();
    shop.registry.append(Subject::attempt(&shop.run, &work.attempt), bodies).await?;
    Ok(())
}

async fn finish(
    shop: &Arc<Workshop>,
    work: &Work,
    execution: Option<ExecutionId>,
    summary: Option<String>,
    judged: &Judged,
    begun_at: Duration,
) -> Result<(), ServiceError> {
    let cost = match execution {
        Some(execution) => shop.registry.read(move |reader| reader.execution_cost(&execution)).await?.cost,
        None => Cost::default(),
    };
    let took = shop.clock.elapsed().saturating_sub(begun_at);
    let finished = Body::RunnerFinished {
        runner: work.runner.clone(),
        outcome: judged.outcome,
        reason: judged.reason.clone(),
        summary,
        commit: judged.commit.clone(),
        files: judged.diff.iter().flat_map(|diff| &diff.files).map(|file| file.path.clone()).collect(),
        cost,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    shop.registry.append(Subject::attempt(&shop.run, &work.attempt), vec![finished]).await?;
    // Locks belong to the attempt, not to its component.
    shop.registry.release_leases_of(&work.attempt.to_string()).await?;
    shop.tell(&Progress::AttemptFinished {
        attempt: work.attempt.clone(),
        instance: work.instance.clone(),
        outcome: judged.outcome,
        reason: judged.reason.clone(),
    });
    Ok(())
}
