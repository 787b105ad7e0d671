//! Keeps a tasks.md and the registry in step, both ways (readings A8). The file decides what tasks say, and
//! that a newly ticked box is a done task; the registry decides every other state. What was agreed last, the
//! [`Base`], tells a person's box from ours: without it nothing can have been un-ticked. Pure decisions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::line::Document;
use super::tasks::BoxState;
use super::tick::{Spot, apply, spots};
use crate::domain::id::TaskId;
use crate::domain::task::{TaskDefinition, TaskState};

/// Where the tasks of the registry stand.
pub type States = BTreeMap<TaskId, TaskState>;

/// Version of a base's bytes.
const VERSION: u32 = 1;

/// What file and registry agreed on last: for each task what its box may say without a person having
/// changed it. That is what the box stood for, not what it said: a `[-]` that a person wrote beside a task
/// that does not run is not in it. While a file is being replaced a box may say either of two things, so
/// that it does not matter for the next sync whether the file was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base {
    boxes: BTreeMap<TaskId, Says>,
}

/// One or two states of a box, as their characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Says {
    now: char,
    before: Option<char>,
}

/// A base as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    boxes: BTreeMap<TaskId, String>,
}

/// What a person did to the boxes since the last sync. Parents whose parts decide are never in the first two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Ticked: done, whatever the registry has.
    pub ticked: BTreeSet<TaskId>,
    /// Un-ticked, or put in again after they were taken out: to be done again.
    pub opened: BTreeSet<TaskId>,
    /// Parents that were un-ticked although all their parts are done: they are ticked again.
    pub followed: BTreeSet<TaskId>,
}

const fn mark(state: BoxState) -> char {
    match state {
        BoxState::Open => ' ',
        BoxState::InProgress => '-',
        BoxState::Queued => '~',
        BoxState::Done => 'x',
        BoxState::Unknown => '?',
    }
}

impl Says {
    fn may(self, state: BoxState) -> bool {
        self.now == mark(state) || self.before == Some(mark(state))
    }

    /// Says that, and nothing else.
    fn is(self, state: BoxState) -> bool {
        self.now == mark(state) && self.before.is_none()
    }
}

impl Base {
    /// A base from its bytes. `None`: they are none, or of a later version.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(bytes).ok().filter(|kept: &Kept| kept.version == VERSION)?;
        let says = |text: String| {
            let mut chars = text.chars();
            let says = Says { now: chars.next()?, before: chars.next() };
            chars.next().is_none().then_some(says)
        };
        let boxes = kept.boxes.into_iter().map(|(id, text)| Some((id, says(text)?)));
        Some(Self { boxes: boxes.collect::<Option<_>>()? })
    }

    /// Tasks that it has and `definitions` have not: taken out of the file.
    #[must_use]
    pub fn without(&self, definitions: &[TaskDefinition]) -> BTreeSet<TaskId> {
        let there: BTreeSet<&TaskId> = definitions.iter().map(|definition| &definition.id).collect();
        self.boxes.keys().filter(|id| !there.contains(id)).cloned().collect()
    }

    /// Whether the task was in the file.
    #[must_use]
    pub fn knows(&self, task: &TaskId) -> bool {
        self.boxes.contains_key(task)
    }

    /// Its bytes; equal bases have equal ones.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |says: &Says| [Some(says.now), says.before].into_iter().flatten().collect();
        let boxes = self.boxes.iter().map(|(id, says)| (id.clone(), text(says))).collect();
        serde_json::to_vec(&Kept { version: VERSION, boxes }).unwrap_or_default()
    }

    /// What a file agrees on with the registry after [`write`] has made it.
    #[must_use]
    pub fn agreed(file: &[u8], states: &States) -> Self {
        let boxes = boxes(file).into_iter().filter_map(|(id, says)| {
            let now = match states.get(&id)? {
                TaskState::Done => BoxState::Done,
                TaskState::Running if says == BoxState::InProgress => BoxState::InProgress,
                _ => BoxState::Open,
            };
            Some((id, Says { now: mark(now), before: None }))
        });
        Self { boxes: boxes.collect() }
    }

    /// The same while `file` is being put in the place of `old`: its boxes may still say what they said.
    #[must_use]
    pub fn underway(old: &[u8], file: &[u8], states: &States) -> Self {
        let mut base = Self::agreed(file, states);
        let now = boxes(file);
        for (id, before) in boxes(old) {
            if let Some(says) = base.boxes.get_mut(&id)
                && now.get(&id) != Some(&before)
            {
                says.before = Some(mark(before));
            }
        }
        base
    }
}

/// Task lines whose number stands in the file once.
fn unique(document: &Document<'_>) -> Vec<Spot> {
    let all = spots(document);
    let mut count: BTreeMap<&TaskId, usize> = BTreeMap::new();
    for spot in &all {
        *count.entry(&spot.id).or_default() += 1;
    }
    let once: Vec<bool> = all.iter().map(|spot| count[&spot.id] == 1).collect();
    all.into_iter().zip(once).filter_map(|(spot, once)| once.then_some(spot)).collect()
}

/// What the boxes of a file say; those of numbers that stand there twice are left out.
fn boxes(file: &[u8]) -> BTreeMap<TaskId, BoxState> {
    let Ok(document) = Document::new(file) else { return BTreeMap::new() };
    unique(&document).into_iter().map(|spot| (spot.id, BoxState::of(&file[spot.state]))).collect()
}

/// What a person did to the boxes of `file`, whose tasks are `definitions`. `states` are those of the
/// registry before it is told.
#[must_use]
pub fn changes(base: Option<&Base>, file: &[u8], definitions: &[TaskDefinition], states: &States) -> Changes {
    let boxes = boxes(file);
    let mut changes = Changes::default();
    for TaskDefinition { id, container, .. } in definitions {
        let Some(now) = boxes.get(id).copied() else { continue };
        let (said, state) = (base.map(|base| base.boxes.get(id)), states.get(id).copied());
        let over = matches!(state, Some(TaskState::Done | TaskState::Cancelled));
        if now == BoxState::Done {
            let new = state.is_none() || !said.flatten().is_some_and(|said| said.may(now));
            if new && !container && state != Some(TaskState::Done) {
                changes.ticked.insert(id.clone());
            }
            continue;
        }
        let opened = match said {
            None => false,
            // A task that the run has added and finished is not to be done again for being new here.
            Some(None) => state == Some(TaskState::Cancelled),
            Some(Some(said)) => said.is(BoxState::Done) && over,
        };
        if opened {
            let list = if *container { &mut changes.followed } else { &mut changes.opened };
            list.insert(id.clone());
        }
    }
    // A parent with a part that is open now is not done any more: nothing is ticked again.
    let Changes { opened, followed, .. } = &mut changes;
    followed.retain(|parent| !opened.iter().any(|id| above(id, parent)));
    changes
}

fn above(id: &TaskId, parent: &TaskId) -> bool {
    std::iter::successors(id.parent(), TaskId::parent).any(|above| above == *parent)
}

/// Where the registry's tasks will stand, as far as the boxes are concerned, when it has been told of
/// `changes`. What comes from dependencies is left out: it only says which boxes are about to change.
#[must_use]
pub fn predict(definitions: &[TaskDefinition], states: &States, changes: &Changes) -> States {
    let mut after = states.clone();
    for TaskDefinition { id, .. } in definitions {
        let state = after.entry(id.clone()).or_insert(TaskState::Ready);
        if changes.ticked.contains(id) {
            *state = TaskState::Done;
        } else if changes.opened.contains(id) {
            *state = TaskState::Ready;
        }
    }
    let mut parts: BTreeMap<&TaskId, Vec<&TaskDefinition>> = BTreeMap::new();
    for definition in definitions {
        if let Some(parent) = &definition.parent {
            parts.entry(parent).or_default().push(definition);
        }
    }
    let mut containers: Vec<&TaskDefinition> = definitions.iter().filter(|d| d.container).collect();
    containers.sort_by_key(|d| std::cmp::Reverse(d.id.as_str().matches('.').count()));
    for TaskDefinition { id, optional, .. } in containers {
        let awaited = parts.get(id).into_iter().flatten().filter(|part| *optional || !part.optional);
        let done = awaited.into_iter().all(|part| after.get(&part.id) == Some(&TaskState::Done));
        let state = if done { TaskState::Done } else { TaskState::Blocked };
        if done || after.get(id) == Some(&TaskState::Done) {
            after.insert(id.clone(), state);
        }
    }
    after
}

/// The file with the boxes as the registry has them: done tasks ticked, running ones `[-]`, and a `[x]` or
/// `[-]` of ours cleared where it is not true any more. Every other byte stays, and so do boxes of tasks that
/// the registry does not know or whose number is not unique, a tick that was not agreed on, and stars.
/// `states` are those after the registry was told of [`changes`].
#[must_use]
pub fn write(base: Option<&Base>, file: &[u8], states: &States) -> Vec<u8> {
    let Ok(document) = Document::new(file) else { return file.to_owned() };
    let mut edits: Vec<(std::ops::Range<usize>, &[u8])> = Vec::new();
    for spot in unique(&document) {
        let Some(state) = states.get(&spot.id) else { continue };
        let now = BoxState::of(&file[spot.state.clone()]);
        let ours = base.and_then(|base| base.boxes.get(&spot.id)).is_some_and(|says| says.may(now));
        let new: &[u8] = match (state, now) {
            (TaskState::Done, BoxState::Done) | (TaskState::Running, BoxState::InProgress) => continue,
            (TaskState::Done, _) => b"x",
            (TaskState::Running, BoxState::Open | BoxState::Queued) => b"-",
            (TaskState::Running, BoxState::Done) if ours => b"-",
            (_, BoxState::Done | BoxState::InProgress) if ours => b" ",
            _ => continue,
        };
        edits.push((spot.state, new));
    }
    apply(file, edits)
}

#[cfg(test)]
#[path = "sync/tests.rs"]
mod tests;
