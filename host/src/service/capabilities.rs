//! What an attempt's spirit can reach: the capability traits of `plugin`, over the adapters and
//! bound to one slot, one task and one budget.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::error::{ServiceError, chain};
use super::progress::Progress;
use super::workshop::{SpiritCommand, Workshop};
use crate::domain::assignment::{DependencyReport, SpecDocument};
use crate::domain::call::{CallRequest, Cost, Function, HostError, Refused};
use crate::domain::event::Event;
use crate::domain::excerpt::excerpt;
use crate::domain::grant::Grant;
use crate::domain::id::{ArtifactUri, AttemptKey, Instance, Role, SpecName, TaskId, TaskKey};
use crate::domain::llm::{Completion, Request};
use crate::domain::mask::Mask;
use crate::domain::task::Task;
use crate::domain::work::{Edit, Entry, FileStatus, FileText, LineRange, PlannedWrite, SearchHit, SearchQuery};
use crate::llm::gateway::Session;
use crate::plugin::Plugin;
use crate::plugin::capability::{
    Artifacts, Capabilities, Command, CommandRun, Llm, Log, Registry as RegistryCapability, Workspace, WorkspaceEdit,
};
use crate::registry::{EventFilter, Reader, RegistryError};
use crate::workspace::{Slot, TreeId, WorkFiles};

/// At most this many events does one call answer.
const MAX_EVENTS: u32 = 500;
/// Bytes of their bodies.
const MAX_EVENTS_BYTES: usize = 2 * 1024 * 1024;
/// Events that are read at once.
const EVENTS_PAGE: u32 = 50;

/// What one attempt works with.
pub(crate) struct Desk {
    shop: Arc<Workshop>,
    attempt: AttemptKey,
    instance: Instance,
    slot: Arc<Slot>,
    files: WorkFiles,
    base: TreeId,
    llm: Session,
    log: std::sync::Mutex<AttemptLog>,
    written: std::sync::Mutex<BTreeSet<String>>,
    /// Files that the spirit wrote before it was cut off. What git ignores of them is in no tree that was
    /// restored, so that they need not be there.
    recalled: std::sync::Mutex<BTreeSet<String>>,
}

/// The value behind a lock. What a thread that panicked left of these is still what it says.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Bytes of an attempt's log.
const MAX_LOG_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one of its lines; of a longer one the middle is left out.
const MAX_LOG_LINE_BYTES: usize = 4 * 1024;

/// The lines of an attempt's log, within bounds whatever a spirit asks for.
#[derive(Debug, Default)]
struct AttemptLog {
    text: String,
    full: bool,
}

impl AttemptLog {
    fn push(&mut self, line: &str) {
        if self.full {
            return;
        }
        let line = short(line);
        if self.text.len() + line.len() + 1 > MAX_LOG_BYTES {
            self.full = true;
            self.text.push_str("… later lines are left out\n");
            return;
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }
}

fn short(line: &str) -> String {
    excerpt(line, MAX_LOG_LINE_BYTES / 2, MAX_LOG_LINE_BYTES / 2)
}

impl Desk {
    /// A desk for `attempt` over `slot`, whose work tree started as `base`. So many model calls were
    /// `answered` already, according to its record.
    pub(crate) async fn open(
        shop: Arc<Workshop>,
        attempt: AttemptKey,
        instance: Instance,
        slot: Arc<Slot>,
        base: TreeId,
        answered: u32,
    ) -> Result<Arc<Self>, ServiceError> {
        let files = WorkFiles::open(&slot, Mask::clone(&shop.mask)).await?;
        let log = std::sync::Mutex::default();
        let (written, recalled) = (std::sync::Mutex::default(), std::sync::Mutex::default());
        let (role, task) = (instance.role(), attempt.key.task.clone());
        let llm = shop.gateway.session(role, task, attempt.attempt, vec![Arc::clone(&shop.budget)]);
        let llm = llm.after(answered);
        Ok(Arc::new(Self { shop, attempt, instance, slot, files, base, llm, log, written, recalled }))
    }

    /// Why no model call can be answered any more, if one has shown that.
    pub(crate) fn blocked(&self) -> Option<&HostError> {
        self.llm.blocked()
    }

    /// Everything that the world `spirit` may import; files within `grant`.
    pub(crate) fn capabilities(self: &Arc<Self>, grant: &Grant) -> Capabilities {
        let files = self.files(grant);
        Capabilities {
            llm: Some(Arc::clone(self) as Arc<dyn Llm>),
            workspace: Some(Arc::clone(&files) as Arc<dyn Workspace>),
            workspace_edit: Some(files as Arc<dyn WorkspaceEdit>),
            command: Some(Arc::clone(self) as Arc<dyn Command>),
            registry: Some(Arc::clone(self) as Arc<dyn RegistryCapability>),
            artifacts: Some(Arc::clone(self) as Arc<dyn Artifacts>),
            log: Some(Arc::clone(self) as Arc<dyn Log>),
            local: true,
        }
    }

    fn files(self: &Arc<Self>, grant: &Grant) -> Arc<DeskFiles> {
        Arc::new(DeskFiles { desk: Arc::clone(self), files: self.files.within(grant.paths()) })
    }

    /// What a review heuristic may import: reads of the same work tree, and models, asked in its own name.
    pub(crate) fn reading(self: &Arc<Self>, plugin: &Plugin, grant: &Grant) -> Capabilities {
        let (shop, AttemptKey { key, attempt }) = (&self.shop, &self.attempt);
        let role = Role::new(plugin.name.replace('-', "_")).unwrap_or_else(|_| self.instance.role());
        let session = shop.gateway.session(role, key.task.clone(), *attempt, vec![Arc::clone(&shop.budget)]);
        Capabilities {
            llm: Some(Arc::new(Critic(session))),
            workspace: Some(self.files(grant)),
            log: Some(Arc::clone(self) as Arc<dyn Log>),
            ..Capabilities::default()
        }
    }

    /// The attempt's log so far.
    pub(crate) fn log_text(&self) -> String {
        locked(&self.log).text.clone()
    }

    /// Files that the spirit wrote with its tools and that are still there, or would be.
    pub(crate) async fn written(&self) -> Result<Vec<String>, HostError> {
        let written = locked(&self.written).clone();
        let recalled = locked(&self.recalled).clone();
        let present = self.files.present(written.into_iter().collect()).await?;
        Ok(recalled.into_iter().chain(present).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn wrote(&self, paths: impl Iterator<Item = String>) {
        locked(&self.written).extend(paths);
    }

    /// Adds a line to the attempt's log.
    pub(crate) fn note(&self, line: &str) {
        let line = self.shop.mask.apply(line);
        locked(&self.log).push(&line);
    }

    /// Tells what the spirit does at the moment, and keeps it in the attempt's log.
    pub(crate) fn says(&self, text: String) {
        self.note(&text);
        self.shop.tell(&Progress::Activity { instance: self.instance.clone(), text: short(&text) });
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, HostError> {
        self.shop.registry.read(query).await.map_err(|error| HostError::Other(chain(&error)))
    }

    fn command(&self, name: &str) -> Result<&SpiritCommand, HostError> {
        self.shop.commands.iter().find(|entry| entry.command.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.shop.commands.iter().map(|entry| entry.command.name.as_str()).collect();
            HostError::NotFound(format!("there is no command `{name}`; there are: {}", known.join(", ")))
        })
    }
}

#[async_trait]
impl Llm for Desk {
    fn worst(&self, request: &Request) -> Cost {
        self.llm.worst(request)
    }

    async fn complete(&self, request: Request) -> Result<(Completion, Cost), Refused> {
        self.llm.complete(request).await
    }
}

/// A heuristic's access to models.
struct Critic(Session);

#[async_trait]
impl Llm for Critic {
    fn worst(&self, request: &Request) -> Cost {
        self.0.worst(request)
    }

    async fn complete(&self, request: Request) -> Result<(Completion, Cost), Refused> {
        self.0.complete(request).await
    }
}

/// The work tree as far as one component may see and change it.
struct DeskFiles {
    desk: Arc<Desk>,
    files: WorkFiles,
}

#[async_trait]
impl Workspace for DeskFiles {
    async fn read(&self, path: String, lines: Option<LineRange>) -> Result<FileText, HostError> {
        self.files.read(path, lines).await
    }

    async fn list(&self, path: String, recursive: bool) -> Result<Vec<Entry>, HostError> {
        self.files.list(path, recursive).await
    }

    async fn search(&self, query: SearchQuery) -> Result<Vec<SearchHit>, HostError> {
        self.files.search(query).await
    }

    async fn status(&self) -> Result<Vec<FileStatus>, HostError> {
        self.files.status(&self.desk.base).await
    }

    async fn diff(&self) -> Result<String, HostError> {
        self.files.diff(&self.desk.base).await
    }
}

#[async_trait]
impl WorkspaceEdit for DeskFiles {
    async fn plan_write(&self, path: String, text: String) -> Result<Vec<PlannedWrite>, HostError> {
        Ok(vec![self.files.plan_write(path, text).await?])
    }

    async fn plan_apply(&self, edits: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError> {
        self.files.plan_apply(edits).await
    }

    async fn perform(&self, planned: Vec<PlannedWrite>) -> Result<(), HostError> {
        let paths: Vec<String> = planned.iter().map(|write| write.path.clone()).collect();
        self.files.perform(planned).await?;
        self.desk.wrote(paths.into_iter());
        Ok(())
    }

    async fn remove(&self, path: String) -> Result<(), HostError> {
        self.files.remove(path).await
    }
}

#[async_trait]
impl Command for Desk {
    async fn run(&self, name: String, args: Vec<String>) -> Result<CommandRun, HostError> {
        // A stop drops the whole execution. An answer that says so would stand in the record, and be taken
        // for the command's own when the run goes on.
        let (_ask, never) = watch::channel(false);
        let entry = self.command(&name)?;
        if !args.is_empty() && !entry.extra_args {
            return Err(HostError::Denied(format!("`{name}` takes no further arguments")));
        }
        let finished = self
            .shop
            .gate
            .command(&entry.command, args, &self.slot, &never)
            .await
            .map_err(|error| HostError::Other(chain(&error)))?;
        // What cannot be made into a tree now is said when the attempt is judged.
        let snapshot = self.slot.snapshot().await.ok().filter(|snapshot| snapshot.skipped.is_empty());
        let tree = snapshot.map(|snapshot| snapshot.tree.to_string());
        Ok(CommandRun { outcome: finished.outcome, tree })
    }
}

#[async_trait]
impl RegistryCapability for Desk {
    async fn task(&self, id: String) -> Result<Task, HostError> {
        let task = TaskId::new(id).map_err(|error| HostError::Invalid(error.to_string()))?;
        let key = TaskKey { spec: self.shop.spec.clone(), task };
        let wanted = key.clone();
        self.read(move |reader| reader.task(&key))
            .await?
            .ok_or_else(|| HostError::NotFound(format!("there is no task {wanted}")))
    }

    async fn spec_document(&self, kind: SpecDocument) -> Result<String, HostError> {
        let file = match kind {
            SpecDocument::Requirements => "requirements.md",
            SpecDocument::Design => "design.md",
            SpecDocument::Tasks => "tasks.md",
        };
        let path = self.shop.spec_path(file);
        let tree = self.base.clone();
        let wanted = path.clone();
        let bytes = self
            .shop
            .mirror
            .objects(move |objects| objects.read_file(&tree, &path))
            .await
            .map_err(|error| HostError::Other(chain(&error)))?
            .ok_or_else(|| HostError::NotFound(format!("there is no {wanted}")))?;
        let text = String::from_utf8(bytes).map_err(|_| HostError::Invalid(format!("{wanted} is not UTF-8")))?;
        Ok(self.shop.mask.apply(&text))
    }

    async fn dependency_reports(&self) -> Result<Vec<DependencyReport>, HostError> {
        let key = self.attempt.key.clone();
        self.read(move |reader| dependency_reports(reader, &key)).await
    }

    async fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, HostError> {
        let spec = self.shop.spec.clone();
        self.read(move |reader| events_within(reader, &spec, after, limit.min(MAX_EVENTS))).await
    }
}

/// At most `limit` events, and no more of them than fit into one answer; the guest asks on from the last.
fn events_within(reader: &Reader, spec: &SpecName, after: u64, limit: u32) -> Result<Vec<Event>, RegistryError> {
    let (mut events, mut bytes, mut left) = (Vec::<Event>::new(), 0, limit);
    while left > 0 {
        let page = left.min(EVENTS_PAGE);
        let after = events.last().map_or(after, |event| event.sequence);
        let filter = EventFilter { after, limit: page, spec: Some(spec.clone()), ..EventFilter::default() };
        let found = reader.events(&filter)?;
        left = if found.len() < page as usize { 0 } else { left - page };
        for event in found {
            bytes += serde_json::to_vec(&event.body).map_or(0, |body| body.len());
            if !events.is_empty() && bytes > MAX_EVENTS_BYTES {
                return Ok(events);
            }
            events.push(event);
        }
    }
    Ok(events)
}

/// Reports of the tasks that `key` depends on, as far as they were done by a spirit.
pub(crate) fn dependency_reports(reader: &Reader, key: &TaskKey) -> Result<Vec<DependencyReport>, RegistryError> {
    let Some(task) = reader.task(key)? else { return Ok(Vec::new()) };
    let mut reports = Vec::new();
    for id in task.definition.depends {
        let dependency = TaskKey { spec: key.spec.clone(), task: id };
        let Some(done) = reader.task(&dependency)? else { continue };
        let last = reader.attempts(&dependency)?.into_iter().rev().find(|attempt| attempt.summary.is_some());
        if let Some(attempt) = last {
            reports.push(DependencyReport {
                task: dependency.task,
                title: done.definition.title,
                summary: attempt.summary.unwrap_or_default(),
                files: attempt.files,
            });
        }
    }
    Ok(reports)
}

#[async_trait]
impl Artifacts for Desk {
    async fn get(&self, uri: String) -> Result<Vec<u8>, HostError> {
        let spec = self.shop.spec.clone();
        let parsed = ArtifactUri::new(uri.clone()).map_err(|error| HostError::Invalid(error.to_string()))?;
        let found = self
            .read(move |reader| {
                // A spirit reads only its own spec's artifacts.
                Ok(reader.artifacts_of_spec(&spec)?.into_iter().find(|row| row.artifact.uri == parsed.as_str()))
            })
            .await?
            .ok_or_else(|| HostError::NotFound(format!("this spec has no artifact {uri}")))?;
        let store = self.shop.artifacts.clone();
        tokio::task::spawn_blocking(move || store.get(&found.artifact))
            .await
            .map_err(|error| HostError::Other(error.to_string()))?
            .map_err(|error| HostError::Other(chain(&error)))
    }
}

impl Log for Desk {
    fn called(&self, call: &CallRequest, recalled: Option<&serde_json::Value>) {
        match words(call) {
            Some(text) if recalled.is_some() => self.note(&text),
            Some(text) => self.says(text),
            None => {}
        }
        if call.function == Function::WorkspaceRemove {
            let path = call.arguments["path"].as_str().unwrap_or_default();
            locked(&self.recalled).remove(path);
        }
        let Some(answer) = recalled else { return };
        // A write that was refused has left no file.
        if answer.get("Ok").is_some() {
            locked(&self.recalled).extend(paths(call).map(ToOwned::to_owned));
        }
        if call.function == Function::LogEmit
            && let Ok(Emitted { level, message, fields }) = serde_json::from_value(call.arguments.clone())
        {
            self.emit(&level, &message, &fields);
        }
    }

    fn emit(&self, level: &str, message: &str, fields: &[(String, String)]) {
        let mut line = format!("{level} {message}");
        for (key, value) in fields {
            line.push_str(&format!(" {key}={value}"));
        }
        let line = self.shop.mask.apply(&line);
        tracing::debug!(spirit = %self.instance, task = %self.attempt, "{line}");
        self.note(&line);
    }
}

/// Arguments of `log.emit`.
#[derive(serde::Deserialize)]
struct Emitted {
    level: String,
    message: String,
    fields: Vec<(String, String)>,
}

/// What a spirit does with a call, for people; nothing for calls that they need not see.
fn words(call: &CallRequest) -> Option<String> {
    let text = |key: &str| call.arguments[key].as_str().unwrap_or_default();
    Some(match call.function {
        Function::LlmComplete => {
            let messages = call.arguments["messages"].as_array().map_or(&[][..], Vec::as_slice);
            let turn = 1 + messages.iter().filter(|message| message["speaker"] == "assistant").count();
            format!("asks the model (turn {turn})")
        }
        Function::WorkspaceRead => format!("reads {}", text("path")),
        Function::WorkspaceSearch => format!("searches for {}", text("pattern")),
        Function::WorkspaceWrite => format!("writes {}", text("path")),
        Function::WorkspaceApply => {
            let mut paths: Vec<&str> = paths(call).collect();
            paths.dedup();
            format!("edits {}", paths.join(", "))
        }
        Function::WorkspaceRemove => format!("removes {}", text("path")),
        Function::CommandRun => format!("runs {}", text("name")),
        _ => return None,
    })
}

/// Files that a call writes.
fn paths(call: &CallRequest) -> impl Iterator<Item = &str> {
    let edits = match call.function {
        Function::WorkspaceApply => call.arguments["edits"].as_array().map_or(&[][..], Vec::as_slice),
        Function::WorkspaceWrite => std::slice::from_ref(&call.arguments),
        _ => &[],
    };
    edits.iter().filter_map(|edit| edit["path"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempts_log_is_bounded_whatever_a_spirit_asks_for() {
        let mut log = AttemptLog::default();
        for _ in 0..10_000 {
            log.push(&"a".repeat(1024 * 1024));
        }
        assert!(log.text.len() < MAX_LOG_BYTES + 100);
        assert!(log.text.ends_with("… later lines are left out\n"));
        let mut log = AttemptLog::default();
        log.push("reads a");
        log.push("writes b");
        assert_eq!(log.text, "reads a\nwrites b\n");
    }
}
