//! One file: read, decided, told to the registry in one transaction, written, and what was agreed on
//! recorded. Until the file is in place the record says that it may still be as it was, so that a process
//! that is killed in between leaves nothing that the next sync would take for a person's doing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::{Listed, SpecPlace, Synced};
use crate::domain::id::{Digest, SpecName, TaskId};
use crate::domain::task::{Facts, Task, TaskDefinition, TaskState};
use crate::failpoint::{self, Side};
use crate::registry::{Boxes, ELSEWHERE, Reader, Registry, RegistryError, SpecContent, facts_of};
use crate::service::error::{ServiceError, chain};
use crate::spec::replace::{EditError, edit};
use crate::spec::sync::{Base, Changes, States, changes, predict, write};
use crate::spec::tasks::BoxState;
use crate::spec::{Diagnostic, Severity, TaskFile, plan};
use crate::store::{BlobError, BlobStore};

/// Why a file was not brought in step.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the file has errors")]
    Spec(Vec<Diagnostic>),
    #[error(transparent)]
    Service(ServiceError),
}

impl<E: Into<ServiceError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Service(error.into())
    }
}

/// What is known before anything is changed.
struct Decision {
    definitions: Vec<TaskDefinition>,
    before: Vec<Task>,
    base: Option<Base>,
    changes: Changes,
    waiting: BTreeSet<TaskId>,
    removed: BTreeSet<TaskId>,
}

impl Decision {
    fn new(bytes: &[u8], before: Vec<Task>, base: Option<Base>, busy: bool) -> Result<Self, Stop> {
        let plan = plan(bytes);
        if plan.has_errors() {
            return Err(Stop::Spec(plan.diagnostics));
        }
        let definitions = plan.tasks;
        let states = states(&before);
        let mut changes = changes(base.as_ref(), bytes, &definitions, &states);
        if let Some(base) = &base {
            changes.opened.extend(reused(base, bytes, &definitions, &before));
        }
        let mut waiting = BTreeSet::new();
        // Workers go on whoever owns the state directory; attempts of a run only while it goes on.
        let is_at_work = |task: &&Task| {
            let by_worker = task.assigned.as_ref().is_some_and(|assigned| assigned.slot.as_str() == ELSEWHERE);
            task.state == TaskState::Running && (busy || by_worker)
        };
        let at_work: BTreeSet<&TaskId> = before.iter().filter(is_at_work).map(|task| &task.key.task).collect();
        waiting.extend(changes.ticked.extract_if(.., |id| at_work.contains(id)));
        let removed: BTreeSet<TaskId> = base.as_ref().map(|base| base.without(&definitions)).unwrap_or_default();
        if let Some(task) = before.iter().find(|t| t.state == TaskState::Running && removed.contains(&t.key.task)) {
            return Err(RegistryError::Running(task.key.clone()).into());
        }
        Ok(Self { definitions, before, base, changes, waiting, removed })
    }

    /// Where tasks will stand, and the file that says so.
    fn predicted(&self, bytes: &[u8]) -> (States, Vec<u8>) {
        let after = predict(&self.definitions, &states(&self.before), &self.changes);
        let file = write(self.base.as_ref(), bytes, &after);
        (after, file)
    }

    /// What the registry is told.
    fn content(&self, place: &str, base: Digest) -> SpecContent {
        let ticked = |definition: &TaskDefinition| {
            let done = self.changes.ticked.contains(&definition.id);
            TaskDefinition { done, ..definition.clone() }
        };
        SpecContent {
            definitions: self.definitions.iter().map(ticked).collect(),
            boxes: Boxes::Since { opened: self.changes.opened.clone(), removed: self.removed.clone() },
            place: Some((place.to_owned(), base)),
        }
    }

    /// Adds to `report` what the registry is told and what the file then says.
    fn report(&self, old: &[u8], new: &[u8], report: &mut Synced) -> Result<(), ServiceError> {
        let before: BTreeMap<&TaskId, &Task> = self.before.iter().map(|task| (&task.key.task, task)).collect();
        let is_open = |id: &&TaskId| before.get(id).is_some_and(|task| !task.state.is_final());
        let (old_ones, new_ones): (BTreeMap<_, _>, BTreeMap<_, _>) =
            facts_of(&self.definitions)?.into_iter().partition(|(id, _)| before.contains_key(id));
        let differs = |(id, facts): (TaskId, Facts)| {
            let task = before.get(&id)?;
            (task.set.over(facts) != task.definition).then_some(id)
        };
        report.added.add(new_ones.keys());
        report.changed.add(&old_ones.into_iter().filter_map(differs).collect::<Vec<_>>());
        report.removed.add(self.removed.iter().filter(is_open));
        report.ticked.add(&self.changes.ticked);
        report.opened.add(&self.changes.opened);
        report.followed.add(&self.changes.followed);
        report.waiting = Listed::default();
        report.waiting.add(&self.waiting);
        let (was, is) = (TaskFile::read(old).items, TaskFile::read(new).items);
        report.boxes = Listed::default();
        report.boxes.add(was.iter().zip(&is).filter(|(was, is)| was.state != is.state).map(|(_, is)| &is.id));
        Ok(())
    }
}

/// Done tasks whose numbers stand for others now: they were not in the file when both sides said the same, and
/// what is there now has another title and an open box.
fn reused(base: &Base, bytes: &[u8], definitions: &[TaskDefinition], before: &[Task]) -> BTreeSet<TaskId> {
    let done: BTreeMap<&TaskId, &Task> =
        before.iter().filter(|task| task.state == TaskState::Done).map(|task| (&task.key.task, task)).collect();
    let is_other = |definition: &&TaskDefinition| {
        let other = done.get(&definition.id).is_some_and(|task| task.definition.title != definition.title);
        other && !definition.container && !base.knows(&definition.id)
    };
    let mut reused: BTreeSet<TaskId> =
        definitions.iter().filter(is_other).map(|definition| definition.id.clone()).collect();
    if !reused.is_empty() {
        let file = TaskFile::read(bytes);
        reused.retain(|id| file.task(id).is_some_and(|item| item.state != BoxState::Done));
    }
    reused
}

fn states(tasks: &[Task]) -> States {
    tasks.iter().map(|task| (task.key.task.clone(), task.state)).collect()
}

/// The base that is recorded. Without its bytes nothing counts as un-ticked.
fn base_of(blobs: &BlobStore, digest: Option<&Digest>) -> Result<Option<Base>, ServiceError> {
    let Some(digest) = digest else { return Ok(None) };
    match blobs.get(digest) {
        Ok(bytes) => Ok(Base::read(&bytes)),
        Err(error @ (BlobError::Missing { .. } | BlobError::Damaged { .. })) => {
            tracing::warn!("boxes that were cleared since the last sync are not seen: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What [`sync`] would do; nothing is changed.
pub(super) fn look(reader: &Reader, blobs: PathBuf, place: &SpecPlace, busy: bool) -> Result<Synced, ServiceError> {
    let mut report = Synced::nothing(place, true);
    let digest = reader.base(&place.spec, &key(&place.path)?)?;
    let base = base_of(&BlobStore::open(blobs)?, digest.as_ref())?;
    let before = reader.tasks(&place.spec)?;
    let looked = edit(&place.path, |bytes| {
        let decision = Decision::new(bytes, before.clone(), base.clone(), busy)?;
        let (_, new) = decision.predicted(bytes);
        decision.report(bytes, &new, &mut report)?;
        Ok(None)
    });
    finish(looked.map(drop).map_err(|error| stopped(error, &place.path)), report)
}

/// Brings one file in step. `meanwhile` is called whenever the registry was told and the file was not
/// written yet: a place for the edits of others in tests. Blocking.
pub(super) fn sync(
    registry: &Registry,
    runtime: &Handle,
    place: &SpecPlace,
    busy: bool,
    mut meanwhile: impl FnMut(),
) -> Result<Synced, ServiceError> {
    let mut report = Synced::nothing(place, false);
    let work = Work { registry, runtime, spec: &place.spec, place: key(&place.path)?, busy };
    let mut last = None;
    let edited = edit(&place.path, |bytes| {
        let (told, new) = work.tell(bytes, &mut report)?;
        last = Some(told);
        failpoint::reach("spec-sync", "file", Side::Before);
        meanwhile();
        Ok(Some(new))
    });
    let done = match (edited, last) {
        (Ok(outcome), Some(told)) => {
            failpoint::reach("spec-sync", "file", Side::After);
            work.agree(told, &outcome.bytes).map_err(Stop::from)
        }
        (Ok(_), None) => Ok(()),
        (Err(error), _) => Err(stopped(error, &place.path)),
    };
    finish(done, report)
}

fn stopped(error: EditError<Stop>, path: &Path) -> Stop {
    let source = match error {
        EditError::Change(stop) => return stop,
        EditError::Io { source, .. } => source,
        other => std::io::Error::other(chain(&other)),
    };
    Stop::Service(ServiceError::Io { path: path.to_owned(), source })
}

/// What the registry was told in one step.
struct Told {
    decision: Decision,
    /// The base that was recorded.
    base: Digest,
    /// Where its tasks stand then.
    states: States,
}

/// One file and the registry.
struct Work<'w> {
    registry: &'w Registry,
    runtime: &'w Handle,
    spec: &'w SpecName,
    place: String,
    busy: bool,
}

impl Work<'_> {
    /// Tells the registry what the file says; gives what the file has to say.
    fn tell(&self, bytes: &[u8], report: &mut Synced) -> Result<(Told, Vec<u8>), Stop> {
        let (spec, place) = (self.spec.clone(), self.place.clone());
        let read = self.registry.read(move |reader| Ok((reader.tasks(&spec)?, reader.base(&spec, &place)?)));
        let (before, digest) = self.runtime.block_on(read)?;
        let base = base_of(self.registry.blobs(), digest.as_ref())?;
        let decision = Decision::new(bytes, before, base, self.busy)?;
        let (predicted, expected) = decision.predicted(bytes);
        let base = self.keep(&Base::underway(bytes, &expected, &predicted))?;
        let content = decision.content(&self.place, base.clone());
        let after = self.runtime.block_on(self.registry.sync(None, self.spec, content))?;
        let states = states(&after);
        let new = write(decision.base.as_ref(), bytes, &states);
        decision.report(bytes, &new, report)?;
        Ok((Told { decision, base, states }, new))
    }

    /// Records what is agreed on now that the file says `bytes`, unless that is recorded already.
    fn agree(&self, told: Told, bytes: &[u8]) -> Result<(), ServiceError> {
        let Told { mut decision, base, states } = told;
        let agreed = self.keep(&Base::agreed(bytes, &states))?;
        if agreed != base {
            (decision.changes, decision.removed) = Default::default();
            self.runtime.block_on(self.registry.sync(None, self.spec, decision.content(&self.place, agreed)))?;
        }
        Ok(())
    }

    /// Puts a base where it can be found again.
    fn keep(&self, base: &Base) -> Result<Digest, ServiceError> {
        Ok(self.registry.blobs().put(&base.to_bytes())?)
    }
}

fn finish(done: Result<(), Stop>, mut report: Synced) -> Result<Synced, ServiceError> {
    match done {
        Ok(()) => Ok(report),
        Err(Stop::Spec(diagnostics)) => {
            (report.refused, report.diagnostics) = (true, diagnostics);
            Ok(report)
        }
        // What is about this file alone keeps no other from being brought in step.
        Err(Stop::Service(error @ (ServiceError::Registry(RegistryError::Running(_)) | ServiceError::Io { .. }))) => {
            let failed = Diagnostic::new(Severity::Error, 1, "sync/failed", chain(&error));
            (report.refused, report.diagnostics) = (true, vec![failed]);
            Ok(report)
        }
        Err(Stop::Service(error)) => Err(error),
    }
}

/// By what name a place is recorded.
fn key(path: &Path) -> Result<String, ServiceError> {
    let real = path.canonicalize().map_err(|source| ServiceError::Io { path: path.to_owned(), source })?;
    match real.to_str() {
        Some(text) if real == path => Ok(text.to_owned()),
        _ => Err(ServiceError::Usage(format!("`{}` is no place of a file: it has links in it", path.display()))),
    }
}
