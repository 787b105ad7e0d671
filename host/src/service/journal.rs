//! The plugin host's journal, kept by the registry: one handle for each execution. One that is gone on
//! with answers from its record first.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::error::chain;
use super::tape::{Played, Tape};
use crate::config::Uncertain;
use crate::domain::call::{CallRequest, Cost, Divergence, HostError, LocalAnswer, LocalEffect};
use crate::domain::id::Digest;
use crate::plugin::capability::{Journal, JournalError, Recorded};
use crate::registry::{Execution, LocalContext, Registry, RegistryError};
use crate::store::BlobStore;

/// An uncertain model call is sent so often in all.
const MAX_SENDINGS: u32 = 2;

/// Something that is done once, when a repeated execution has come to the end of its record.
#[derive(Default)]
pub(crate) struct Arrival(Mutex<Option<BoxFuture<'static, ()>>>);

impl Arrival {
    /// Does `what` then.
    pub(crate) fn new(what: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Box::pin(what)))))
    }

    /// The record's end is reached, or it was left.
    pub(crate) async fn arrived(&self) {
        let what = self.0.lock().await.take();
        if let Some(what) = what {
            what.await;
        }
    }
}

/// Records one execution's calls.
pub(crate) struct ExecutionJournal {
    registry: Registry,
    execution: Execution,
    /// Absent for policies and heuristics, which have no local effects.
    context: Option<LocalContext>,
    tape: Mutex<Tape>,
    arrival: Arc<Arrival>,
    uncertain: Uncertain,
}

impl ExecutionJournal {
    /// Records into `execution` what comes after `tape`; local effects happen in `context`.
    pub(crate) fn new(
        registry: Registry,
        execution: Execution,
        context: Option<LocalContext>,
        (tape, arrival): (Tape, Arc<Arrival>),
        uncertain: Uncertain,
    ) -> Self {
        Self { registry, execution, context, tape: Mutex::new(tape), arrival, uncertain }
    }

    /// What is on record and was not asked for again, after the component has returned.
    pub(crate) async fn left_over(&self) -> Option<Divergence> {
        self.tape.lock().await.left_over()
    }

    /// A model call that may have been paid: it is sent once more, or fails.
    async fn again(&self, sequence: u64, tries: u32) -> Result<Recorded, JournalError> {
        if self.uncertain == Uncertain::Resend && tries < MAX_SENDINGS {
            self.registry.send_again(self.execution.id(), sequence).await.map_err(lost)?;
            return Ok(Recorded::Begun { sequence });
        }
        let error = HostError::Uncertain(format!(
            "the host ended between sending this and storing the answer ({tries} of {MAX_SENDINGS} sendings)"
        ));
        let answer = json!({ "Err": error });
        self.execution.answered(sequence, answer.clone(), Cost::default(), None).await.map_err(lost)?;
        Ok(Recorded::Answered { answer, effect: None, redo: false })
    }
}

fn lost(error: RegistryError) -> JournalError {
    if matches!(error, RegistryError::TooLarge { .. }) {
        // The guest's own doing, not the machine's.
        return JournalError::TooLarge(chain(&error));
    }
    let full = matches!(error, RegistryError::Full | RegistryError::ReadOnly);
    JournalError::Unwritable { reason: chain(&error), full }
}

/// Bytes that a record names, verified.
pub(crate) async fn bytes_of(blobs: &BlobStore, digest: &Digest) -> Result<Vec<u8>, JournalError> {
    let (blobs, digest) = (blobs.clone(), digest.clone());
    let got = tokio::task::spawn_blocking(move || blobs.get(&digest)).await;
    match got {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(JournalError::Unreadable(chain(&error))),
        Err(error) => Err(JournalError::Unreadable(error.to_string())),
    }
}

#[async_trait]
impl Journal for ExecutionJournal {
    async fn recorded(&self, call: &CallRequest) -> Result<Recorded, JournalError> {
        let played = self.tape.lock().await.next(call)?;
        if !matches!(played, Played::Recorded(Recorded::Answered { .. })) {
            self.arrival.arrived().await;
        }
        match played {
            Played::End => Ok(Recorded::New),
            Played::Recorded(recorded) => Ok(recorded),
            Played::Uncertain { sequence, tries } => self.again(sequence, tries).await,
        }
    }

    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        bytes_of(self.registry.blobs(), digest).await
    }

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
            return Err(JournalError::Unreadable(format!(
                "`{}` belongs to an attempt, and this is none",
                call.function.name()
            )));
        };
        self.execution.local(call, effect, context).await.map_err(lost)
    }
}

/// The journal of an execution that is only repeated: nothing happens that is not on record.
pub(crate) struct ReadJournal {
    tape: Mutex<Tape>,
    blobs: BlobStore,
}

impl ReadJournal {
    /// Plays `tape`; bytes that it names are in `blobs`.
    pub(crate) fn new(tape: Tape, blobs: BlobStore) -> Self {
        Self { tape: Mutex::new(tape), blobs }
    }

    /// What is on record and was not asked for again, after the component has returned.
    pub(crate) async fn left_over(&self) -> Option<Divergence> {
        self.tape.lock().await.left_over()
    }
}

#[async_trait]
impl Journal for ReadJournal {
    async fn recorded(&self, call: &CallRequest) -> Result<Recorded, JournalError> {
        match self.tape.lock().await.next(call)? {
            Played::Recorded(recorded @ Recorded::Answered { .. }) => Ok(recorded),
            Played::End | Played::Recorded(_) | Played::Uncertain { .. } => Err(JournalError::RecordEnds),
        }
    }

    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        bytes_of(&self.blobs, digest).await
    }

    async fn observed(&self, _: CallRequest, _: Value) -> Result<(), JournalError> {
        Err(JournalError::RecordEnds)
    }

    async fn intent(&self, _: CallRequest) -> Result<u64, JournalError> {
        Err(JournalError::RecordEnds)
    }

    async fn answered(&self, _: u64, _: Value, _: Cost, _: Option<Value>) -> Result<(), JournalError> {
        Err(JournalError::RecordEnds)
    }

    async fn local(&self, _: CallRequest, _: LocalEffect) -> Result<Result<LocalAnswer, HostError>, JournalError> {
        Err(JournalError::RecordEnds)
    }
}

#[cfg(test)]
mod tests;
