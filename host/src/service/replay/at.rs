//! An attempt as it was after one of its calls: the work tree from the newest recorded tree and the changes
//! of files since, the conversation from the last model call, and the call itself.

mod place;
mod talk;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::json;

use super::again::again;
use super::watched::Watched;
use super::{Archive, ReplayOptions, blocking};
use crate::domain::call::{Function, HostError};
use crate::domain::event::Body;
use crate::domain::id::{AttemptKey, CommitId, ExecutionId, SpecName, TaskId, TaskKey};
use crate::domain::work::{Edit, PlannedWrite};
use crate::plugin::ExecutionError;
use crate::plugin::capability::{Capabilities, JournalError, WorkspaceEdit};
use crate::registry::{EventFilter, ExecutionFilter, ExecutionKind, ExecutionRecord, Record};
use crate::service::error::ServiceError;
use crate::service::tape::{changes_files, newest_tree};
use crate::workspace::{FolderFiles, KeptTrees, TreeId};
use place::Place;
use talk::Talk;

/// An attempt as people write it: `login-ui/2.1#1`, or `2.1#1` of the newest run's spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptName {
    /// The spec; absent: the newest run's.
    pub spec: Option<SpecName>,
    /// The task.
    pub task: TaskId,
    /// Which try, from 1.
    pub attempt: u32,
}

impl FromStr for AttemptName {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let wrong =
            || ServiceError::Usage(format!("`{text}` names no attempt: write TASK#N or SPEC/TASK#N, such as 2.1#1"));
        let (task, attempt) = text.rsplit_once('#').ok_or_else(wrong)?;
        let (spec, task) = match task.split_once('/') {
            Some((spec, task)) => (Some(SpecName::new(spec)?), task),
            None => (None, task),
        };
        let attempt = attempt.parse().ok().filter(|attempt| *attempt > 0).ok_or_else(wrong)?;
        Ok(Self { spec, task: TaskId::new(task)?, attempt })
    }
}

/// Which moment, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The attempt.
    pub attempt: AttemptName,
    /// After this call of it; 0 is its beginning. Absent: its last call.
    pub call: Option<u64>,
    /// A folder that is new or empty.
    pub into: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The attempt.
    pub attempt: String,
    /// Its execution.
    pub execution: ExecutionId,
    /// After this call.
    pub call: u64,
    /// Calls that the execution has in all.
    pub calls: u64,
    /// Where.
    pub into: PathBuf,
    /// The recorded tree that the work tree was made of.
    pub tree: String,
    /// The call after which that tree was taken; 0: the base of the attempt.
    pub tree_after_call: u64,
    /// Changes of files that were made again since.
    pub changes_redone: u64,
    /// Messages of the conversation, the last answer included.
    pub messages: usize,
    /// What is not exactly as it was, and why.
    pub notes: Vec<String>,
}

/// Writes `work/`, `conversation.md`, `conversation.json` and `call.json` of a moment.
///
/// # Errors
/// [`ServiceError::Usage`] when there is no such attempt or call, or the folder is not empty; what the
/// registry, the mirror or the component fail by. Then nothing is left in the folder.
pub async fn at(options: ReplayOptions, moment: Moment) -> Result<Written, ServiceError> {
    let archive = Archive::open(&options).await?;
    let (key, id) = find(&archive, moment.attempt).await?;
    let (wanted, of) = (id.clone(), key.clone());
    let (record, base) = archive
        .records
        .read(move |reader| Ok((reader.record(&wanted)?, base_of(&reader.events(&started(&of))?, &wanted))))
        .await?;
    let Record { execution, calls } =
        record.ok_or_else(|| ServiceError::Internal(format!("execution {id} is gone")))?;
    let total = calls.len() as u64;
    let call = moment.call.unwrap_or(total);
    if call > total {
        return Err(ServiceError::Usage(format!("attempt {key} has {total} calls: there is no call {call}")));
    }
    let base = base.ok_or_else(|| ServiceError::Usage(format!("attempt {key} never had a work tree")))?;
    let into = options.cwd.join(&moment.into);
    let mut calls = calls;
    calls.truncate(usize::try_from(call).unwrap_or(usize::MAX));
    let record = Record { execution, calls };

    let place = blocking(move || Place::make(into)).await?;
    let trees = KeptTrees::below(&archive.state.repositories());
    let (tree_after_call, tree) = match newest_tree(&record.calls) {
        Ok(Some((sequence, tree))) => (sequence, TreeId::new(tree)?),
        Err(sequence) => {
            return Err(ServiceError::Usage(format!(
                "no tree could hold what the command of call {sequence} left: name a call before it with --at"
            )));
        }
        Ok(None) => {
            let trees = trees.clone();
            (0, blocking(move || Ok(trees.tree_of(&base)?)).await?)
        }
    };
    let (work, wanted) = (place.work(), tree.clone());
    blocking(move || Ok(trees.write_out(&wanted, &work)?)).await?;
    let changes_redone = redo(&archive, &record, tree_after_call, &place).await?;
    let (talk, notes) = (Talk::of(&record.calls), notes(&record, tree_after_call));
    let mut written = Written {
        attempt: key.to_string(),
        execution: record.execution.id.clone(),
        call,
        calls: total,
        into: PathBuf::new(),
        tree: tree.to_string(),
        tree_after_call,
        changes_redone,
        messages: talk.messages(),
        notes,
    };
    let name = written.attempt.clone();
    written.into = blocking(move || {
        place.write("conversation.json", &talk.json()?)?;
        place.write("conversation.md", &talk.text(&name, call))?;
        if let Some(last) = record.calls.last() {
            let call = json!({ "attempt": name, "execution": record.execution.id, "call": last });
            place.write("call.json", &pretty(&call)?)?;
        }
        place.keep()
    })
    .await?;
    Ok(written)
}

fn pretty(value: &impl Serialize) -> Result<String, ServiceError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| ServiceError::Internal(error.to_string()))?;
    Ok(format!("{text}\n"))
}

/// The execution of an attempt's spirit.
async fn find(archive: &Archive, name: AttemptName) -> Result<(AttemptKey, ExecutionId), ServiceError> {
    let AttemptName { spec, task, attempt } = name;
    let spec = match spec {
        Some(spec) => spec,
        None => {
            let run = archive.run(None).await?;
            run.spec.ok_or_else(|| ServiceError::Usage("the newest run has no spec: write SPEC/TASK#N".to_owned()))?
        }
    };
    let filter = ExecutionFilter {
        kind: Some(ExecutionKind::Spirit),
        spec: Some(spec.clone()),
        task: Some(task.clone()),
        ..ExecutionFilter::default()
    };
    let executions = archive.records.read(move |reader| reader.executions(&filter)).await?;
    let there: Vec<String> = executions.iter().filter_map(|found| found.attempt).map(|n| format!("#{n}")).collect();
    let found = executions.into_iter().rfind(|found| found.attempt == Some(attempt));
    let key = AttemptKey { key: TaskKey { spec, task }, attempt };
    match found {
        Some(execution) => Ok((key, execution.id)),
        None if there.is_empty() => {
            Err(ServiceError::Usage(format!("nobody has worked on {}; `necro-host tasks` lists tasks", key.key)))
        }
        None => Err(ServiceError::Usage(format!("there is no attempt {key}; there are: {}", there.join(", ")))),
    }
}

/// The events that say what an attempt started from.
fn started(key: &AttemptKey) -> EventFilter {
    let kinds = vec!["RunnerStarted".to_owned()];
    EventFilter { attempt: Some(key.attempt), kinds, ..EventFilter::task(&key.key) }
}

fn base_of(events: &[crate::domain::event::Event], id: &ExecutionId) -> Option<CommitId> {
    events.iter().rev().find_map(|event| match &event.body {
        Body::RunnerStarted { execution, base, .. } if execution == id => Some(base.clone()),
        _ => None,
    })
}

/// What the work tree may lack.
fn notes(record: &Record, tree_after_call: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let since = record.calls.iter().filter(|call| call.sequence > tree_after_call);
    for call in since.filter(|call| call.function == Function::CommandRun && call.answer.is_some()) {
        notes.push(format!(
            "the work tree after the command of call {} is not on record: what that command changed is missing",
            call.sequence
        ));
    }
    if let Some(last) = record.calls.last().filter(|call| call.answer.is_none()) {
        notes.push(format!("call {} has no answer on record: the work tree is as it was before it", last.sequence));
    }
    notes
}

/// Runs the component again up to the last change of files on record, which are made again in `place`.
/// Gives how many there were.
async fn redo(archive: &Archive, record: &Record, from: u64, place: &Place) -> Result<u64, ServiceError> {
    let Record { execution, calls } = record;
    let redone = calls.iter().filter(|call| {
        let done = call.answer.as_ref().is_some_and(|answer| answer.get("Ok").is_some());
        call.sequence > from && done && changes_files(call.function)
    });
    let (count, last) = redone.fold((0, 0), |(count, _), call| (count + 1, call.sequence));
    if count == 0 {
        return Ok(0);
    }
    let seated = archive.seated(execution).await.map_err(|reason| missing(execution, &reason))?;
    let calls = calls.iter().take_while(|call| call.sequence <= last).cloned().collect();
    let journal = Watched::new(calls, from, &archive.blobs, false);
    let (work, temporary) = (place.work(), place.temporary());
    let files = blocking(move || Ok(FolderFiles::open(&work, &temporary)?)).await?;
    let edit: Arc<dyn WorkspaceEdit> = Arc::new(Again { files, journal: Arc::clone(&journal) });
    let capabilities = Capabilities { workspace_edit: Some(edit), ..Capabilities::default() };
    let repeated = again(&seated, execution, &journal, capabilities).await;
    let repeated = repeated.map_err(|reason| missing(execution, &reason))?;
    match repeated.error {
        Some(ExecutionError::Journal { source: JournalError::RecordEnds, .. }) => {}
        Some(error @ ExecutionError::Journal { .. }) => return Err(ServiceError::Record(error)),
        _ => {}
    }
    if !journal.is_at_end() {
        return Err(ServiceError::Internal(format!(
            "`{}` does not repeat what is on record: it came to call {} of {last}, and ended with {}",
            execution.plugin,
            journal.played(),
            repeated.outcome
        )));
    }
    Ok(count)
}

fn missing(execution: &ExecutionRecord, reason: &str) -> ServiceError {
    ServiceError::Internal(format!("execution {} cannot be repeated: {reason}", execution.id))
}

/// Makes recorded changes again; after the last one the execution has nothing more to do.
struct Again {
    files: FolderFiles,
    journal: Arc<Watched>,
}

impl Again {
    fn done(&self) {
        if self.journal.is_at_end() {
            self.journal.cancel();
        }
    }
}

#[async_trait]
impl WorkspaceEdit for Again {
    async fn plan_write(&self, path: String, text: String) -> Result<Vec<PlannedWrite>, HostError> {
        Ok(vec![self.files.plan_write(path, text).await?])
    }

    async fn plan_apply(&self, edits: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError> {
        self.files.plan_apply(edits).await
    }

    async fn perform(&self, planned: Vec<PlannedWrite>) -> Result<(), HostError> {
        self.files.perform(planned).await?;
        self.done();
        Ok(())
    }

    async fn remove(&self, path: String) -> Result<(), HostError> {
        self.files.remove(path).await?;
        self.done();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_named_as_it_is_shown() {
        let name: AttemptName = "login-ui/2.1#3".parse().unwrap();
        assert_eq!((name.spec.unwrap().as_str(), name.task.as_str(), name.attempt), ("login-ui", "2.1", 3));
        assert_eq!("0.1#1".parse::<AttemptName>().unwrap().spec, None);
        for wrong in ["", "2.1", "2.1#", "2.1#0", "2.1#x", "#1", "../x/2.1#1", "a b/1#1"] {
            assert!(wrong.parse::<AttemptName>().is_err(), "{wrong:?} passed");
        }
    }
}
