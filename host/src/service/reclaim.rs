//! Taking back what an earlier process left. This process owns the state directory now, so whatever is
//! marked as running is not: attempts and runs without an end get one, and their tasks are ready again.

use std::sync::Arc;

use super::error::ServiceError;
use super::workshop::Workshop;
use crate::domain::call::Cost;
use crate::domain::event::{Body, Outcome, Subject};
use crate::domain::task::{Task, TaskState};
use crate::registry::{Attempt, Run};

/// What an end says that was written by the next process.
const CUT_OFF: &str = "the host ended before this did";

/// Puts every spec of the registry in order, and gives this run's failed tasks another chance.
pub(crate) async fn reclaim(shop: &Arc<Workshop>) -> Result<(), ServiceError> {
    for lease in shop.registry.read(|reader| reader.leases(None)).await? {
        shop.registry.release_lease(&lease.id).await?;
    }
    let (attempts, tasks, runs): (Vec<Attempt>, Vec<Task>, Vec<Run>) = shop
        .registry
        .read(|reader| {
            let (mut attempts, mut tasks) = (Vec::new(), Vec::new());
            for spec in reader.specs()? {
                attempts.extend(reader.attempts_of_spec(&spec)?);
                tasks.extend(reader.tasks(&spec)?);
            }
            Ok((attempts, tasks, reader.runs()?))
        })
        .await?;
    for attempt in attempts.into_iter().filter(|attempt| attempt.outcome.is_none()) {
        end_attempt(shop, attempt).await?;
    }
    for run in runs.into_iter().filter(|run| run.finished_at.is_none() && run.id != shop.run) {
        let body = Body::RunFinished {
            outcome: "interrupted".to_owned(),
            commit: None,
            tree: None,
            reason: Some(CUT_OFF.to_owned()),
        };
        shop.registry.append(Subject { spec: run.spec, ..Subject::run(&run.id) }, vec![body]).await?;
    }
    for task in tasks {
        let body = match task.state {
            TaskState::Running => Body::TaskReady { from: TaskState::Running, last_failure: task.last_failure.clone() },
            // Whoever runs it again wants it tried again: the cause may have been the environment.
            TaskState::Failed if task.key.spec == shop.spec => {
                Body::TaskReopened { from: TaskState::Failed, reason: "a new run tries it again".to_owned() }
            }
            _ => continue,
        };
        shop.registry.transition(&shop.run, &task.key, task.version, None, body).await?;
    }
    Ok(())
}

async fn end_attempt(shop: &Arc<Workshop>, attempt: Attempt) -> Result<(), ServiceError> {
    let body = Body::RunnerFinished {
        runner: attempt.runner,
        outcome: Outcome::Interrupted,
        reason: Some(CUT_OFF.to_owned()),
        summary: None,
        commit: None,
        files: Vec::new(),
        more_files: 0,
        cost: Cost::default(),
        duration_ms: 0,
    };
    shop.registry.append(Subject::attempt(&shop.run, &attempt.key), vec![body]).await?;
    Ok(())
}
