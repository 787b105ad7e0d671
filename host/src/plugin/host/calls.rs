//! Each imported function: arguments to domain types, the class by which it runs, the answer back.

use std::sync::Arc;

use serde_json::{Value, json};
use wasmtime::component::Resource;

use super::super::bindings::imports::necro::plugin as wit;
use super::super::capability::{CommandRun, JournalError, WorkspaceEdit};
use super::super::convert;
use super::super::limits::Stop;
use super::{CallError, Done, Guest, Lease, Recall, digest_of, free, inline, to_json};
use crate::domain::call::{CallRequest, Function, HostError, LocalAnswer, LocalEffect};
use crate::domain::id::Digest;
use crate::domain::llm::{Completion, Usage};
use crate::domain::work::PlannedWrite;

impl wit::llm::Host for Guest {
    async fn complete(&mut self, request: wit::llm::Request) -> Result<wit::llm::Completion, CallError> {
        let request = convert::llm_request(request);
        let arguments = to_json(&request);
        let within = self.grant.check_llm(&request.model, self.llm_tokens);
        let within = self.bounded(Function::LlmComplete, within);
        let llm = within.and_then(|()| self.offered(Function::LlmComplete, &self.capabilities.llm));
        let effect = llm.as_ref().ok().map(|llm| json!({ "worst": llm.worst(&request) }));
        let run = llm.map(|llm| async move {
            llm.complete(request).await.map(|(value, cost)| Done { value, cost, effect: None })
        });
        let call = CallRequest { function: Function::LlmComplete, arguments, effect };
        let completion: Completion = self.call(call, run).await?;
        // Of recalled answers as well: a repeated execution has no second allowance.
        let Usage { input_tokens, output_tokens, .. } = completion.usage;
        self.llm_tokens = self.llm_tokens.saturating_add(input_tokens).saturating_add(output_tokens);
        Ok(convert::completion(completion))
    }
}

impl wit::workspace::Host for Guest {
    async fn read(
        &mut self,
        path: String,
        lines: Option<wit::workspace::LineRange>,
    ) -> Result<wit::workspace::FileText, CallError> {
        let lines = lines.map(convert::line_range);
        let arguments = json!({ "path": path, "lines": lines });
        let workspace = self.offered(Function::WorkspaceRead, &self.capabilities.workspace);
        let run = workspace.map(|w| async move { w.read(path, lines).await });
        self.observe(Function::WorkspaceRead, arguments, run).await.map(convert::file_text)
    }

    async fn list(&mut self, path: String, recursive: bool) -> Result<Vec<wit::workspace::Entry>, CallError> {
        let arguments = json!({ "path": path, "recursive": recursive });
        let workspace = self.offered(Function::WorkspaceList, &self.capabilities.workspace);
        let run = workspace.map(|w| async move { w.list(path, recursive).await });
        let entries = self.observe(Function::WorkspaceList, arguments, run).await?;
        Ok(entries.into_iter().map(convert::entry).collect())
    }

    async fn search(
        &mut self,
        query: wit::workspace::SearchQuery,
    ) -> Result<Vec<wit::workspace::SearchHit>, CallError> {
        let query = convert::search_query(query);
        let arguments = to_json(&query);
        let workspace = self.offered(Function::WorkspaceSearch, &self.capabilities.workspace);
        let run = workspace.map(|w| async move { w.search(query).await });
        let hits = self.observe(Function::WorkspaceSearch, arguments, run).await?;
        Ok(hits.into_iter().map(convert::search_hit).collect())
    }

    async fn status(&mut self) -> Result<Vec<wit::workspace::FileStatus>, CallError> {
        let workspace = self.offered(Function::WorkspaceStatus, &self.capabilities.workspace);
        let run = workspace.map(|w| async move { w.status().await });
        let files = self.observe(Function::WorkspaceStatus, json!({}), run).await?;
        Ok(files.into_iter().map(convert::file_status).collect())
    }

    async fn diff(&mut self) -> Result<String, CallError> {
        let workspace = self.offered(Function::WorkspaceDiff, &self.capabilities.workspace);
        let run = workspace.map(|w| async move { w.diff().await });
        self.observe(Function::WorkspaceDiff, json!({}), run).await
    }
}

impl wit::workspace_edit::Host for Guest {
    async fn write(&mut self, path: String, text: String) -> Result<(), CallError> {
        let arguments = json!({ "path": path, "text": inline(&text) });
        let edit = self.offered(Function::WorkspaceWrite, &self.capabilities.workspace_edit);
        let change = edit.map(|edit| async move {
            let planned = edit.plan_write(path, text).await;
            planned.map(|writes| Change { edit, writes })
        });
        self.edit(Function::WorkspaceWrite, arguments, change).await
    }

    async fn apply(&mut self, edits: Vec<wit::workspace_edit::Edit>) -> Result<(), CallError> {
        let edits: Vec<_> = edits.into_iter().map(convert::edit).collect();
        let journaled: Vec<Value> = edits
            .iter()
            .map(|e| json!({ "path": e.path, "old_text": inline(&e.old_text), "new_text": inline(&e.new_text) }))
            .collect();
        let edit = self.offered(Function::WorkspaceApply, &self.capabilities.workspace_edit);
        let change = edit.map(|edit| async move {
            let planned = edit.plan_apply(edits).await;
            planned.map(|writes| Change { edit, writes })
        });
        self.edit(Function::WorkspaceApply, json!({ "edits": journaled }), change).await
    }

    async fn remove(&mut self, path: String) -> Result<(), CallError> {
        let call =
            CallRequest { function: Function::WorkspaceRemove, arguments: json!({ "path": path }), effect: None };
        let edit = self.offered(call.function, &self.capabilities.workspace_edit);
        let run = edit.map(|edit| async move { edit.remove(path).await });
        self.count(&call.arguments)?;
        match self.recall(&call).await? {
            Recall::Answered { result, redo: Some(_) } => {
                let removed = async { run?.await };
                removed.await.map_err(|error| self.not_restored(&error))?;
                result.map_err(CallError::Host)
            }
            Recall::Answered { result, redo: None } => result.map_err(CallError::Host),
            Recall::Open(begun) => self.act(call, begun, run.map(free)).await,
        }
    }
}

/// A change of files: who makes it, and what would be written.
struct Change {
    edit: Arc<dyn WorkspaceEdit>,
    writes: Vec<PlannedWrite>,
}

impl Change {
    /// Digests of each file before and after.
    fn effect(&self) -> Value {
        let files: Vec<Value> = self
            .writes
            .iter()
            .map(|write| json!({ "path": write.path, "before": write.before, "after": write.after }))
            .collect();
        json!({ "files": files })
    }
}

impl Guest {
    /// A change of files; its intent names each file's digest before and after. `change` is looked at only
    /// when it is to happen: now, or again in a work tree that was restored.
    async fn edit<F>(
        &mut self,
        function: Function,
        arguments: Value,
        change: Result<F, HostError>,
    ) -> Result<(), CallError>
    where
        F: Future<Output = Result<Change, HostError>>,
    {
        let change = async { change?.await };
        let mut call = CallRequest { function, arguments, effect: None };
        self.count(&call.arguments)?;
        let begun = match self.recall(&call).await? {
            Recall::Answered { result, redo } => {
                if let Some(effect) = redo {
                    self.redo(&effect, change.await).await?;
                }
                return result.map_err(CallError::Host);
            }
            Recall::Open(begun) => begun,
        };
        let Change { edit, writes } = match change.await {
            Ok(change) => {
                call.effect = Some(change.effect());
                change
            }
            Err(error) => return self.refused(call, begun, error).await,
        };
        let run = async move { edit.perform(writes).await.map(Done::free) };
        self.act(call, begun, Ok(run)).await
    }

    /// Makes a recorded change of files again, in a work tree that was restored to the state before it.
    async fn redo(&mut self, recorded: &Value, change: Result<Change, HostError>) -> Result<(), CallError> {
        let redone = match change {
            Ok(change) if change.effect() == *recorded => change.edit.perform(change.writes).await,
            Ok(change) => Err(HostError::Conflict(format!("recorded {recorded}, now {}", change.effect()))),
            Err(error) => Err(error),
        };
        redone.map_err(|error| self.not_restored(&error))
    }

    fn not_restored(&self, error: &HostError) -> CallError {
        Stop::from(JournalError::NotRestored { sequence: self.calls, reason: error.to_string() }).into()
    }
}

impl wit::command::Host for Guest {
    async fn run(&mut self, name: String, args: Vec<String>) -> Result<wit::command::Outcome, CallError> {
        let arguments = json!({ "name": name, "args": args });
        let within = self.bounded(Function::CommandRun, self.grant.check_command(&name));
        let command = within.and_then(|()| self.offered(Function::CommandRun, &self.capabilities.command));
        let run = command.map(|command| async move {
            let CommandRun { outcome, tree } = command.run(name, args).await?;
            Ok::<_, HostError>(Done { effect: Some(json!({ "tree": tree })), ..Done::free(outcome) })
        });
        self.call(CallRequest { function: Function::CommandRun, arguments, effect: None }, run)
            .await
            .map(convert::command_outcome)
    }
}

impl wit::registry::Host for Guest {
    async fn task(&mut self, id: String) -> Result<wit::registry::TaskInfo, CallError> {
        let arguments = json!({ "id": id });
        let registry = self.offered(Function::RegistryTask, &self.capabilities.registry);
        let run = registry.map(|r| async move { r.task(id).await });
        self.observe(Function::RegistryTask, arguments, run).await.map(convert::task_info)
    }

    async fn spec_document(&mut self, kind: wit::registry::DocumentKind) -> Result<String, CallError> {
        let kind = convert::document_kind(kind);
        let arguments = json!({ "kind": kind });
        let registry = self.offered(Function::RegistrySpecDocument, &self.capabilities.registry);
        let run = registry.map(|r| async move { r.spec_document(kind).await });
        self.observe(Function::RegistrySpecDocument, arguments, run).await
    }

    async fn dependency_reports(&mut self) -> Result<Vec<wit::registry::DependencyReport>, CallError> {
        let registry = self.offered(Function::RegistryDependencyReports, &self.capabilities.registry);
        let run = registry.map(|r| async move { r.dependency_reports().await });
        let reports = self.observe(Function::RegistryDependencyReports, json!({}), run).await?;
        Ok(reports.into_iter().map(convert::dependency_report).collect())
    }

    async fn events(&mut self, after: u64, limit: u32) -> Result<Vec<wit::registry::Event>, CallError> {
        let arguments = json!({ "after": after, "limit": limit });
        let registry = self.offered(Function::RegistryEvents, &self.capabilities.registry);
        let run = registry.map(|r| async move { r.events(after, limit).await });
        let events = self.observe(Function::RegistryEvents, arguments, run).await?;
        Ok(events.into_iter().map(convert::event).collect())
    }

    async fn note(&mut self, text: String) -> Result<(), CallError> {
        let arguments = json!({ "text": inline(&text) });
        self.local(Function::RegistryNote, arguments, Ok(LocalEffect::Note { text })).await.map(drop)
    }
}

impl wit::mailbox::Host for Guest {
    async fn send(&mut self, message: wit::types::Envelope) -> Result<(), CallError> {
        let message = convert::envelope_in(message);
        let arguments = match &message {
            Ok(message) => json!({ "message": message }),
            Err(error) => json!({ "message": null, "problem": error.to_string() }),
        };
        let effect = message.map(|message| LocalEffect::Send { message });
        self.local(Function::MailboxSend, arguments, effect).await.map(drop)
    }

    async fn receive(&mut self) -> Result<Vec<wit::types::Envelope>, CallError> {
        match self.local(Function::MailboxReceive, json!({}), Ok(LocalEffect::Receive)).await? {
            LocalAnswer::Messages(messages) => Ok(messages.into_iter().map(convert::envelope_out).collect()),
            other => Err(unexpected(Function::MailboxReceive, &other)),
        }
    }
}

impl wit::lock::Host for Guest {
    async fn acquire(&mut self, name: String, ttl_ms: u64, wait_ms: u64) -> Result<Resource<Lease>, CallError> {
        let arguments = json!({ "name": name, "ttl_ms": ttl_ms, "wait_ms": wait_ms });
        let effect = LocalEffect::Acquire { name: name.clone(), ttl_ms, wait_ms };
        let effect = self.bounded(Function::LockAcquire, self.grant.check_lock(&name)).map(|()| effect);
        match self.local(Function::LockAcquire, arguments, effect).await? {
            LocalAnswer::Lease(id) => {
                let full = |_| CallError::Host(HostError::Other("too many leases are held".to_owned()));
                self.inert.table.push(Lease { id, name }).map_err(full)
            }
            other => Err(unexpected(Function::LockAcquire, &other)),
        }
    }
}

impl wit::lock::HostLease for Guest {
    async fn name(&mut self, lease: Resource<Lease>) -> wasmtime::Result<String> {
        Ok(self.inert.table.get(&lease)?.name.clone())
    }

    async fn drop(&mut self, lease: Resource<Lease>) -> wasmtime::Result<()> {
        let Lease { id, name: _ } = self.inert.table.delete(lease)?;
        let arguments = json!({ "lease": id });
        match self.local(Function::LockRelease, arguments, Ok(LocalEffect::Release { lease: id })).await {
            // A lease that ran out in the meantime is released already.
            Ok(_) | Err(CallError::Host(_)) => Ok(()),
            Err(CallError::Stop(stop)) => Err(stop.into()),
        }
    }
}

impl wit::artifact::Host for Guest {
    async fn get(&mut self, uri: String) -> Result<Vec<u8>, CallError> {
        let arguments = json!({ "uri": uri });
        let artifacts = self.offered(Function::ArtifactGet, &self.capabilities.artifacts);
        let run = artifacts.map(|a| async move { a.get(uri).await.map(Bytes::Read) });
        match self.observe(Function::ArtifactGet, arguments, run).await? {
            Bytes::Read(bytes) => Ok(bytes),
            Bytes::Recorded { sha256 } => Ok(self.journal.bytes(&sha256).await.map_err(Stop::from)?),
        }
    }

    async fn put(
        &mut self,
        kind: String,
        name: String,
        media_type: String,
        bytes: Vec<u8>,
    ) -> Result<String, CallError> {
        let arguments = json!({ "kind": kind, "name": name, "media_type": media_type, "bytes": digest_of(&bytes) });
        let within = self.bounded(Function::ArtifactPut, self.grant.check_artifact(&kind));
        let effect = within.map(|()| LocalEffect::Put { kind, name, media_type, bytes });
        match self.local(Function::ArtifactPut, arguments, effect).await? {
            LocalAnswer::Uri(uri) => Ok(uri),
            other => Err(unexpected(Function::ArtifactPut, &other)),
        }
    }
}

impl wit::log::Host for Guest {
    async fn emit(
        &mut self,
        level: wit::log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let Some((message, fields)) = self.admit_log(message, fields) else {
            self.count(&Value::Null)?;
            return Ok(());
        };
        let level = convert::log_level(level);
        let arguments = json!({ "level": level, "message": message, "fields": fields });
        let log = self.offered(Function::LogEmit, &self.capabilities.log);
        let run = log.map(|log| async move {
            log.emit(level, &message, &fields);
            Ok(())
        });
        match self.observe(Function::LogEmit, arguments, run).await {
            // `emit` has no result: a log that was not granted swallows the record.
            Ok(()) | Err(CallError::Host(_)) => Ok(()),
            Err(CallError::Stop(stop)) => Err(stop.into()),
        }
    }
}

/// Bytes of an answer: the journal keeps their digest, because the artifact store has them.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Bytes {
    #[serde(skip)]
    Read(Vec<u8>),
    Recorded {
        sha256: Digest,
    },
}

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Read(bytes) => digest_of(bytes).serialize(serializer),
            Self::Recorded { sha256 } => serde_json::json!({ "sha256": sha256 }).serialize(serializer),
        }
    }
}

fn unexpected(function: Function, answer: &LocalAnswer) -> CallError {
    let text = format!("`{}` was answered with {answer:?}", function.name());
    CallError::from(Stop::from(JournalError::Unreadable(text)))
}
