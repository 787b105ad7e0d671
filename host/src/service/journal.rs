//! The plugin host's journal, kept by the registry: one handle for each execution.

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::call::{CallRequest, Cost, HostError, LocalAnswer, LocalEffect};
use crate::plugin::capability::{Journal, JournalError};
use crate::registry::{Execution, LocalContext, RegistryError};

/// Records one execution's calls.
pub(crate) struct ExecutionJournal {
    execution: Execution,
    /// Absent for policies and heuristics, which have no local effects.
    context: Option<LocalContext>,
}

impl ExecutionJournal {
    /// Records into `execution`; local effects happen in `context`.
    pub(crate) const fn new(execution: Execution, context: Option<LocalContext>) -> Self {
        Self { execution, context }
    }
}

fn lost(error: RegistryError) -> JournalError {
    let full = matches!(error, RegistryError::Full | RegistryError::ReadOnly);
    JournalError { reason: crate::service::error::chain(&error), full }
}

#[async_trait]
impl Journal for ExecutionJournal {
    async fn observed(&self, call: CallRequest, answer: Value) -> Result<(), JournalError> {
        self.execution.observed(call, answer).await.map_err(lost)
    }

    async fn intent(&self, call: CallRequest) -> Result<u64, JournalError> {
        self.execution.intent(call).await.map_err(lost)
    }

    async fn answered(
        &self,
        sequence: u64,
        answer: Value,
        cost: Cost,
        effect: Option<Value>,
    ) -> Result<(), JournalError> {
        self.execution.answered(sequence, answer, cost, effect).await.map_err(lost)
    }

    async fn local(
        &self,
        call: CallRequest,
        effect: LocalEffect,
    ) -> Result<Result<LocalAnswer, HostError>, JournalError> {
        let Some(context) = &self.context else {
            return Err(JournalError::new(format!(
                "`{}` belongs to an attempt, and this is none",
                call.function.name()
            )));
        };
        self.execution.local(call, effect, context).await.map_err(lost)
    }
}
