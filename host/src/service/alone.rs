//! A spirit's execution gone on with by itself, with no run, slot or judgement around it: what benches
//! measure of a resume.

use std::sync::Arc;

use serde_json::Value;

use super::error::ServiceError;
use super::executions::outcome_of;
use super::journal::{Arrival, ExecutionJournal};
use super::plugins::{Granting, seat_recorded};
use super::tape::Tape;
use crate::config::Uncertain;
use crate::domain::grant::Grant;
use crate::domain::id::ExecutionId;
use crate::plugin::capability::Capabilities;
use crate::plugin::{ExecutionContext, Plugin};
use crate::registry::{Record, Registry};

/// Runs the component of an open execution again with the answers of its record. What it asks beyond them
/// happens now, through `capabilities`, and is recorded; so is its end. Gives the outcome as recorded.
///
/// # Errors
/// When there is no such execution, or it has ended, and when its record cannot be read or written.
pub async fn go_on_alone(
    registry: &Registry,
    plugin: &Arc<Plugin>,
    id: &ExecutionId,
    capabilities: Capabilities,
) -> Result<Value, ServiceError> {
    let wanted = id.clone();
    let Record { execution: recorded, calls } = registry
        .read(move |reader| reader.record(&wanted))
        .await?
        .ok_or_else(|| ServiceError::Internal(format!("there is no execution {id}")))?;
    let assignment = serde_json::from_value(recorded.input["assignment"].clone())
        .map_err(|error| ServiceError::Internal(format!("the input of execution {id}: {error}")))?;
    let seated = seat_recorded(Arc::clone(plugin), &recorded, Granting::Fixed(Arc::new(Grant::everything())))?;
    let execution = registry.reopen_execution(&recorded).await?;
    let tape = (Tape::new(calls, 0), Arc::<Arrival>::default());
    let journal = ExecutionJournal::new(registry.clone(), execution.clone(), None, tape, Uncertain::Resend);
    let (_cancel, cancel) = tokio::sync::watch::channel(false);
    let context = ExecutionContext {
        id: recorded.id,
        capabilities,
        grant: seated.granted(),
        journal: Arc::new(journal),
        limits: seated.limits,
        time: recorded.started_at,
        cancel,
    };
    let ended = plugin.perform(context, assignment, &seated.settings.to_string()).await;
    let usage = serde_json::to_value(ended.usage).map_err(|error| ServiceError::Internal(error.to_string()))?;
    let outcome = outcome_of(&ended.result);
    execution.end(outcome.clone(), usage, None).await?;
    Ok(outcome)
}
