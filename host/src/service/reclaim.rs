//! Taking back what an earlier process left. This process owns the state directory now, so whatever is
//! marked as running is not: what this run goes on with stays, everything else of its spec gets an end.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::error::ServiceError;
use super::workshop::Workshop;
use crate::domain::call::Cost;
use crate::domain::event::{Body, Outcome, Subject};
use crate::domain::id::ExecutionId;
use crate::domain::task::{Task, TaskState};
use crate::registry::{Attempt, LeaseKind, Reader, RegistryError, Run};

/// What an end says that was written by the next process.
const CUT_OFF: &str = "the host ended before this did";

/// What stands in the registry about the run's spec.
struct Left {
    attempts: Vec<Attempt>,
    tasks: Vec<Task>,
    runs: Vec<Run>,
    open: Vec<ExecutionId>,
    /// Attempts of other specs that go on with their own runs.
    elsewhere: Vec<Attempt>,
}

impl Left {
    fn read(reader: &Reader, spec: &crate::domain::id::SpecName) -> Result<Self, RegistryError> {
        let runs = reader.runs()?;
        let others: BTreeSet<_> =
            runs.iter().filter_map(|run| run.spec.as_ref()).filter(|other| *other != spec).collect();
        let mut elsewhere = Vec::new();
        for other in others {
            let attempts = reader.attempts_of_spec(other)?;
            elsewhere.extend(attempts.into_iter().filter(|attempt| attempt.outcome.is_none()));
        }
        Ok(Self {
            attempts: reader.attempts_of_spec(spec)?,
            tasks: reader.tasks(spec)?,
            open: reader.open_executions(spec)?,
            elsewhere,
            runs: runs.into_iter().filter(|run| run.spec.as_ref() == Some(spec)).collect(),
        })
    }
}

/// Puts the spec's records in order. A run that is gone on with keeps its open attempts; a new one ends all
/// that earlier ones left, and gives failed tasks another chance.
pub(crate) async fn reclaim(shop: &Arc<Workshop>, resumed: bool) -> Result<(), ServiceError> {
    let spec = shop.spec.clone();
    let Left { attempts, tasks, runs, open, elsewhere } =
        shop.registry.read(move |reader| Left::read(reader, &spec)).await?;
    let stays = |attempt: &Attempt| resumed && attempt.run.as_ref() == Some(&shop.run);
    let (kept, ended): (Vec<Attempt>, Vec<Attempt>) =
        attempts.into_iter().filter(|attempt| attempt.outcome.is_none()).partition(stays);
    leases(shop, kept.iter().chain(&elsewhere)).await?;
    for run in &runs {
        shop.registry.charge_uncertain(&run.id).await?;
    }
    let executions: HashSet<&ExecutionId> = kept.iter().filter_map(|attempt| attempt.execution.as_ref()).collect();
    for execution in open.iter().filter(|execution| !executions.contains(execution)) {
        shop.registry.cut_off(execution, CUT_OFF).await?;
    }
    for attempt in ended {
        end_attempt(shop, attempt, CUT_OFF).await?;
    }
    for run in runs.into_iter().filter(|run| run.finished_at.is_none() && run.id != shop.run) {
        let (outcome, reason) = ("interrupted".to_owned(), Some(CUT_OFF.to_owned()));
        let body = Body::RunFinished { outcome, commit: None, tree: None, reason };
        shop.registry.append(Subject { spec: run.spec, ..Subject::run(&run.id) }, vec![body]).await?;
    }
    if resumed {
        return Ok(());
    }
    for task in tasks {
        let body = match task.state {
            TaskState::Running => Body::TaskReady { from: TaskState::Running, last_failure: task.last_failure.clone() },
            // Whoever runs it again wants it tried again: the cause may have been the environment.
            TaskState::Failed => {
                Body::TaskReopened { from: TaskState::Failed, reason: "a new run tries it again".to_owned() }
            }
            _ => continue,
        };
        shop.registry.transition(&shop.run, &task.key, task.version, None, body).await?;
    }
    Ok(())
}

/// A lock stays with an attempt that believes it has it, as long from now as it was taken for.
async fn leases(shop: &Workshop, kept: impl Iterator<Item = &Attempt>) -> Result<(), ServiceError> {
    let holders: HashSet<String> = kept.map(|attempt| attempt.key.to_string()).collect();
    for lease in shop.registry.read(|reader| reader.leases(None)).await? {
        if lease.kind == LeaseKind::Slot || !holders.contains(&lease.holder) {
            shop.registry.release_lease(&lease.id).await?;
        } else {
            let ttl = lease.expires_at.duration_since(lease.acquired_at);
            shop.registry.renew_lease(&lease.id, Duration::try_from(ttl).unwrap_or_default()).await?;
        }
    }
    Ok(())
}

/// Ends an attempt that nobody goes on with, and its execution.
pub(crate) async fn end_attempt(shop: &Workshop, attempt: Attempt, reason: &str) -> Result<(), ServiceError> {
    if let Some(execution) = &attempt.execution {
        shop.registry.cut_off(execution, reason).await?;
    }
    let cost = match attempt.execution.clone() {
        Some(execution) => shop.registry.read(move |reader| reader.execution_cost(&execution)).await?.cost,
        None => Cost::default(),
    };
    let body = Body::RunnerFinished {
        runner: attempt.runner,
        outcome: Outcome::Interrupted,
        reason: Some(reason.to_owned()),
        summary: None,
        commit: None,
        files: Vec::new(),
        more_files: 0,
        cost,
        duration_ms: 0,
    };
    shop.registry.append(Subject::attempt(&shop.run, &attempt.key), vec![body]).await?;
    Ok(())
}
