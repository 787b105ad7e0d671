//! What the host offers to a guest: one trait for each interface of `wit/`, and the journal that
//! every call passes through. `service` implements them over the adapters.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::assignment::{DependencyReport, SpecDocument};
use crate::domain::call::{CallRequest, Cost, Divergence, HostError, LocalAnswer, LocalEffect, Refused};
use crate::domain::event::Event;
use crate::domain::id::Digest;
use crate::domain::llm::{Completion, Request};
use crate::domain::task::Task;
use crate::domain::work::{
    CommandOutcome, Edit, Entry, FileStatus, FileText, LineRange, PlannedWrite, SearchHit, SearchQuery,
};

/// `llm`.
#[async_trait]
pub trait Llm: Send + Sync {
    /// The most that a completion can cost, as far as it is known before: what a sending is charged at when
    /// nobody knows whether it was answered.
    fn worst(&self, request: &Request) -> Cost;
    /// One completion, paid for out of the attempt's budget.
    async fn complete(&self, request: Request) -> Result<(Completion, Cost), Refused>;
}

/// `workspace`.
#[async_trait]
pub trait Workspace: Send + Sync {
    /// Text of a file.
    async fn read(&self, path: String, lines: Option<LineRange>) -> Result<FileText, HostError>;
    /// Entries of a directory.
    async fn list(&self, path: String, recursive: bool) -> Result<Vec<Entry>, HostError>;
    /// Lines that match.
    async fn search(&self, query: SearchQuery) -> Result<Vec<SearchHit>, HostError>;
    /// Changed files.
    async fn status(&self) -> Result<Vec<FileStatus>, HostError>;
    /// Unified diff from the base.
    async fn diff(&self) -> Result<String, HostError>;
}

/// `workspace-edit`.
#[async_trait]
pub trait WorkspaceEdit: Send + Sync {
    /// What writing a whole file would do. Nothing happens yet.
    async fn plan_write(&self, path: String, text: String) -> Result<Vec<PlannedWrite>, HostError>;
    /// What applying all edits would do. Nothing happens yet.
    async fn plan_apply(&self, edits: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError>;
    /// Does what was planned, all of it or nothing.
    async fn perform(&self, planned: Vec<PlannedWrite>) -> Result<(), HostError>;
    /// Remove a file.
    async fn remove(&self, path: String) -> Result<(), HostError>;
}

/// `command`.
#[async_trait]
pub trait Command: Send + Sync {
    /// Run a named command.
    async fn run(&self, name: String, args: Vec<String>) -> Result<CommandRun, HostError>;
}

/// A command that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRun {
    /// For the guest.
    pub outcome: CommandOutcome,
    /// For the record: the work tree after it as a git tree, ignored files left out. Absent when it
    /// cannot be made into one.
    pub tree: Option<String>,
}

/// `registry`, its reading half.
#[async_trait]
pub trait Registry: Send + Sync {
    /// A task of this spec.
    async fn task(&self, id: String) -> Result<Task, HostError>;
    /// A document of this spec.
    async fn spec_document(&self, kind: SpecDocument) -> Result<String, HostError>;
    /// Reports of the tasks this one depends on.
    async fn dependency_reports(&self) -> Result<Vec<DependencyReport>, HostError>;
    /// Events of this spec.
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, HostError>;
}

/// `artifact`, its reading half.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Bytes of an artifact of this spec.
    async fn get(&self, uri: String) -> Result<Vec<u8>, HostError>;
}

/// `log`, and the host's own view of what a guest does.
pub trait Log: Send + Sync {
    /// A call begins, of whatever interface; or a repeated execution was answered from its record, with
    /// `recalled`, which has the form `{"Ok": answer}` or `{"Err": error}`.
    fn called(&self, _call: &CallRequest, _recalled: Option<&serde_json::Value>) {}
    /// One record; `level` is trace, debug, info, warn or error.
    fn emit(&self, level: &str, message: &str, fields: &[(String, String)]);
}

/// Everything that there is to be had in one execution. `None`: not here, whatever is granted; the guest gets
/// `denied`.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// `llm`
    pub llm: Option<Arc<dyn Llm>>,
    /// `workspace`
    pub workspace: Option<Arc<dyn Workspace>>,
    /// `workspace-edit`
    pub workspace_edit: Option<Arc<dyn WorkspaceEdit>>,
    /// `command`
    pub command: Option<Arc<dyn Command>>,
    /// `registry`
    pub registry: Option<Arc<dyn Registry>>,
    /// `artifact`
    pub artifacts: Option<Arc<dyn Artifacts>>,
    /// `log`
    pub log: Option<Arc<dyn Log>>,
    /// Whether there are local effects (`note`, `mailbox`, `lock`, `put`).
    pub local: bool,
}

/// What the record says about a guest's next call.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// Nothing: it happens now.
    New,
    /// It has happened.
    Answered {
        /// `{"Ok": value}` or `{"Err": error}`.
        answer: Value,
        /// What is known of its effect.
        effect: Option<Value>,
        /// Its change of files is not in the work tree, which was restored to an earlier state.
        redo: bool,
    },
    /// It was begun, and nobody knows how far it came: it happens now, under this number.
    Begun {
        /// The number of its intent.
        sequence: u64,
    },
}

/// Where one execution's calls are recorded, in order. An error means that the record cannot be
/// kept: the execution must end, because an answer that is not durable must not reach the guest.
#[async_trait]
pub trait Journal: Send + Sync {
    /// What an earlier execution of the same component with the same input has recorded at this place.
    /// Each call asks once, before anything else is done about it.
    async fn recorded(&self, _call: &CallRequest) -> Result<Recorded, JournalError> {
        Ok(Recorded::New)
    }
    /// Bytes that a recorded answer names by their digest.
    async fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        Err(JournalError::Unreadable(format!("nothing is recorded under {digest}")))
    }
    /// A call that only read, with its answer (or error). Durable with the next record.
    async fn observed(&self, call: CallRequest, answer: Value) -> Result<(), JournalError>;
    /// A call that will have an effect outside; durable on return. Gives its sequence number.
    async fn intent(&self, call: CallRequest) -> Result<u64, JournalError>;
    /// The answer (or error) to an intent, and what became known of its effect; durable on return.
    async fn answered(
        &self,
        sequence: u64,
        answer: Value,
        cost: Cost,
        effect: Option<Value>,
    ) -> Result<(), JournalError>;
    /// A call whose effect is inside the registry: effect, answer and record commit together.
    async fn local(
        &self,
        call: CallRequest,
        effect: LocalEffect,
    ) -> Result<Result<LocalAnswer, HostError>, JournalError>;
}

/// Why an execution cannot go on with its journal.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JournalError {
    /// The record of a call could not be kept.
    #[error("the journal cannot be written: {reason}")]
    Unwritable {
        /// Why.
        reason: String,
        /// There is no room for it, or it may not be written to: the machine's trouble.
        full: bool,
    },
    /// The guest asks for more than a record holds.
    #[error("the call cannot be recorded: {0}")]
    TooLarge(String),
    /// What was recorded cannot be read, or does not fit the call.
    #[error("the journal cannot be gone on from: {0}")]
    Unreadable(String),
    /// The guest asks something else than the record says.
    #[error(transparent)]
    Diverged(Box<Divergence>),
    /// The work tree cannot be brought to what the record says.
    #[error("the work tree cannot be restored at call {sequence}: {reason}")]
    NotRestored {
        /// The call whose change of files could not be made again.
        sequence: u64,
        /// Why.
        reason: String,
    },
    /// Nothing more is recorded, and nothing may happen now.
    #[error("the record ends here")]
    RecordEnds,
}

/// The journal of calls that are no executions: nothing is granted in them, so there is nothing to keep.
#[derive(Debug)]
pub struct Unrecorded;

#[async_trait]
impl Journal for Unrecorded {
    async fn observed(&self, _: CallRequest, _: Value) -> Result<(), JournalError> {
        Ok(())
    }

    async fn intent(&self, _: CallRequest) -> Result<u64, JournalError> {
        Ok(0)
    }

    async fn answered(&self, _: u64, _: Value, _: Cost, _: Option<Value>) -> Result<(), JournalError> {
        Ok(())
    }

    async fn local(&self, _: CallRequest, _: LocalEffect) -> Result<Result<LocalAnswer, HostError>, JournalError> {
        Ok(Err(HostError::Denied("nothing is granted here".to_owned())))
    }
}
