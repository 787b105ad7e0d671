//! The journal of a repeated execution, which says afterwards how far it came and what it asked for beyond
//! its record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use crate::domain::call::{CallRequest, Cost, Divergence, HostError, LocalAnswer, LocalEffect};
use crate::domain::id::Digest;
use crate::plugin::capability::{Journal, JournalError, Recorded};
use crate::registry::CallRecord;
use crate::service::journal::ReadJournal;
use crate::service::tape::Tape;
use crate::store::BlobStore;

/// Plays a record.
pub(super) struct Watched {
    journal: ReadJournal,
    total: u64,
    played: AtomicU64,
    beyond: Mutex<Option<CallRequest>>,
    stop: watch::Sender<bool>,
    stop_at_end: bool,
}

impl Watched {
    /// Plays `calls`, in a work tree that is as it was after call `restored_to`. With `stop_at_end` the
    /// execution is cancelled when it was told all that is on record.
    pub(super) fn new(calls: Vec<CallRecord>, restored_to: u64, blobs: &BlobStore, stop_at_end: bool) -> Arc<Self> {
        let (stop, _) = watch::channel(false);
        Arc::new(Self {
            total: calls.len() as u64,
            journal: ReadJournal::new(Tape::new(calls, restored_to), blobs.clone()),
            played: AtomicU64::new(0),
            beyond: Mutex::new(None),
            stop,
            stop_at_end,
        })
    }

    /// Ends the execution, for its context.
    pub(super) fn cancelled(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Ends the execution.
    pub(super) fn cancel(&self) {
        self.stop.send_replace(true);
    }

    /// Calls that were answered from the record.
    pub(super) fn played(&self) -> u64 {
        self.played.load(Ordering::Relaxed)
    }

    /// Whether all of the record was played.
    pub(super) fn is_at_end(&self) -> bool {
        self.played() == self.total
    }

    /// The call that the record has no answer to.
    pub(super) fn beyond(&self) -> Option<CallRequest> {
        self.beyond.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is on record and was not asked for.
    pub(super) async fn left_over(&self) -> Option<Divergence> {
        self.journal.left_over().await
    }
}

#[async_trait]
impl Journal for Watched {
    async fn recorded(&self, call: &CallRequest) -> Result<Recorded, JournalError> {
        let recorded = self.journal.recorded(call).await;
        match &recorded {
            Ok(_) => {
                self.played.fetch_add(1, Ordering::Relaxed);
                if self.stop_at_end && self.is_at_end() {
                    self.cancel();
                }
            }
            Err(JournalError::RecordEnds) => {
                *self.beyond.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
            }
            Err(_) => {}
        }
        recorded
    }

    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        self.journal.bytes(digest).await
    }

    async fn observed(&self, call: CallRequest, answer: Value) -> Result<(), JournalError> {
        self.journal.observed(call, answer).await
    }

    async fn intent(&self, call: CallRequest) -> Result<u64, JournalError> {
        self.journal.intent(call).await
    }

    async fn answered(
        &self,
        sequence: u64,
        answer: Value,
        cost: Cost,
        effect: Option<Value>,
    ) -> Result<(), JournalError> {
        self.journal.answered(sequence, answer, cost, effect).await
    }

    async fn local(
        &self,
        call: CallRequest,
        effect: LocalEffect,
    ) -> Result<Result<LocalAnswer, HostError>, JournalError> {
        self.journal.local(call, effect).await
    }
}
