//! Changes the state of a box and nothing else: one byte of the task, and one of each parent whose
//! last required part is done by it.

use std::collections::HashMap;
use std::ops::Range;

use super::line::{Document, number};
use super::tasks::task_line;
use crate::domain::id::TaskId;

/// What a box shall say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TickState {
    /// `[ ]`
    Open,
    /// `[-]`
    InProgress,
    /// `[x]`
    Done,
}

impl TickState {
    /// The character in the box.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Open => b' ',
            Self::InProgress => b'-',
            Self::Done => b'x',
        }
    }
}

/// What becomes of the star of an optional task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Star {
    /// It stays: the default, because the task is still optional.
    #[default]
    Keep,
    /// It goes, as most IDE runs leave it.
    Drop,
}

/// Why a box was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TickError {
    /// No task has this number.
    #[error("there is no task {id} in the file")]
    Unknown {
        /// The number.
        id: TaskId,
    },
    /// Several tasks have this number.
    #[error("task {id} stands on lines {first} and {second}; give them different numbers first")]
    Ambiguous {
        /// The number.
        id: TaskId,
        /// Line of the first, from 1.
        first: u32,
        /// Line of the second, from 1.
        second: u32,
    },
    /// The box says so already.
    #[error("the box of task {id} says so already")]
    Already {
        /// The number.
        id: TaskId,
    },
    /// The file is too large to be read.
    #[error("{reason}")]
    TooLarge {
        /// Size and limit.
        reason: String,
    },
}

/// A task line: places are in the whole file.
pub(super) struct Spot {
    pub(super) id: TaskId,
    line: u32,
    pub(super) state: Range<usize>,
    star: Range<usize>,
}

/// Sets the box of task `id`. When that makes a required task done, parents whose required parts are
/// then all done are ticked too. Un-ticking changes no parent.
///
/// # Errors
/// When the number is unknown or not unique, or the box says so already; then nothing changes.
pub fn tick(bytes: &[u8], id: &TaskId, to: TickState) -> Result<Vec<u8>, TickError> {
    tick_with(bytes, id, to, Star::Keep)
}

/// As [`tick`], and says what becomes of the task's star.
///
/// # Errors
/// As [`tick`].
pub fn tick_with(bytes: &[u8], id: &TaskId, to: TickState, star: Star) -> Result<Vec<u8>, TickError> {
    let document = Document::new(bytes).map_err(|refused| TickError::TooLarge { reason: refused.message })?;
    let spots = spots(&document);
    let mut named = spots.iter().enumerate().filter(|(_, spot)| spot.id == *id);
    let (at, spot) = named.next().ok_or_else(|| TickError::Unknown { id: id.clone() })?;
    if let Some((_, second)) = named.next() {
        return Err(TickError::Ambiguous { id: id.clone(), first: spot.line, second: second.line });
    }
    if bytes[spot.state.clone()] == [to.byte()] {
        return Err(TickError::Already { id: id.clone() });
    }
    let mut changed = vec![at];
    if to == TickState::Done {
        parents_done(bytes, &spots, &mut changed);
    }
    let mut edits: Vec<(Range<usize>, &[u8])> = Vec::new();
    let state = [to.byte()];
    for at in &changed {
        edits.push((spots[*at].state.clone(), &state));
    }
    if star == Star::Drop && !spot.star.is_empty() {
        edits.push((spot.star.clone(), b""));
    }
    Ok(apply(bytes, edits))
}

/// All task lines, duplicates included.
pub(super) fn spots(document: &Document<'_>) -> Vec<Spot> {
    let mut out = Vec::new();
    for (index, line) in document.lines.iter().enumerate() {
        if line.fenced {
            continue;
        }
        let Some(task) = task_line(document.raw(index)) else { continue };
        let Ok(id) = TaskId::new(task.id) else { continue };
        let shift = |range: &Range<usize>| line.start + range.start..line.start + range.end;
        out.push(Spot { id, line: number(index), state: shift(&task.check.state), star: shift(&task.check.star) });
    }
    out
}

/// Goes up from the ticked task as long as the last required part of a parent was done.
fn parents_done(bytes: &[u8], spots: &[Spot], changed: &mut Vec<usize>) {
    let mut index: HashMap<&str, (usize, bool)> = HashMap::new();
    for (at, spot) in spots.iter().enumerate() {
        index.entry(spot.id.as_str()).and_modify(|(_, unique)| *unique = false).or_insert((at, true));
    }
    let parent_of = |id: &TaskId| {
        std::iter::successors(id.parent(), TaskId::parent).find_map(|parent| index.get(parent.as_str()).copied())
    };
    let is_done = |at: usize| matches!(&bytes[spots[at].state.clone()], b"x" | b"X");
    let mut at = changed[0];
    while spots[at].star.is_empty() {
        let Some((parent, unique)) = parent_of(&spots[at].id) else { return };
        let open = spots.iter().enumerate().any(|(part, spot)| {
            spot.star.is_empty()
                && !is_done(part)
                && !changed.contains(&part)
                && parent_of(&spot.id).is_some_and(|(above, _)| above == parent)
        });
        if !unique || open || is_done(parent) {
            return;
        }
        changed.push(parent);
        at = parent;
    }
}

/// `bytes` with other bytes in places that do not overlap.
pub(super) fn apply(bytes: &[u8], mut edits: Vec<(Range<usize>, &[u8])>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for (range, new) in edits {
        out.extend_from_slice(&bytes[from..range.start]);
        out.extend_from_slice(new);
        from = range.end;
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> TaskId {
        TaskId::new(text).unwrap()
    }

    fn done(text: &str, number: &str) -> String {
        String::from_utf8(tick(text.as_bytes(), &id(number), TickState::Done).unwrap()).unwrap()
    }

    const FILE: &str = "\u{feff}# P\r\n- [ ] 1. a\r\n  - [x] 1.1 b\n  - [ ]* 1.2 c\r  - [-] 1.3 d\n- [~] 2. e";

    #[test]
    fn the_last_required_part_ticks_its_parent_too() {
        let after = done(FILE, "1.3");
        let expected = FILE.replace("- [ ] 1. a", "- [x] 1. a").replace("[-] 1.3", "[x] 1.3");
        assert_eq!(after, expected);
    }

    #[test]
    fn an_optional_part_ticks_only_itself_and_keeps_its_star() {
        assert_eq!(done(FILE, "1.2"), FILE.replace("[ ]* 1.2", "[x]* 1.2"));
        let dropped = tick_with(FILE.as_bytes(), &id("1.2"), TickState::Done, Star::Drop).unwrap();
        assert_eq!(String::from_utf8(dropped).unwrap(), FILE.replace("[ ]* 1.2", "[x] 1.2"));
    }

    #[test]
    fn ticking_goes_up_more_than_one_level_and_past_missing_ones() {
        let deep = "- [ ] 1. a\n- [ ] 1.1 b\n- [ ] 1.1.1 c\n";
        assert_eq!(done(deep, "1.1.1"), deep.replace("[ ]", "[x]"));
        let gap = "- [ ] 1. a\n- [ ] 1.1.1 c\n";
        assert_eq!(done(gap, "1.1.1"), gap.replace("[ ]", "[x]"));
    }

    #[test]
    fn un_ticking_changes_one_box() {
        let text = "- [x] 1. a\n- [x] 1.1 b\n";
        let open = tick(text.as_bytes(), &id("1.1"), TickState::Open).unwrap();
        assert_eq!(open, b"- [x] 1. a\n- [ ] 1.1 b\n");
    }

    #[test]
    fn fenced_task_lines_are_not_tasks() {
        let text = "```\n- [ ] 1. a\n```\n";
        assert_eq!(tick(text.as_bytes(), &id("1"), TickState::Done), Err(TickError::Unknown { id: id("1") }));
    }

    #[test]
    fn unknown_ambiguous_and_already_are_told_apart() {
        let text = "- [ ] 1. a\n- [x] 2. b\n- [ ] 1. c\n";
        let ambiguous = tick(text.as_bytes(), &id("1"), TickState::Done).unwrap_err();
        assert_eq!(ambiguous, TickError::Ambiguous { id: id("1"), first: 1, second: 3 });
        assert_eq!(tick(text.as_bytes(), &id("2"), TickState::Done), Err(TickError::Already { id: id("2") }));
        assert_eq!(tick(text.as_bytes(), &id("3"), TickState::Done), Err(TickError::Unknown { id: id("3") }));
    }

    proptest! {
        /// Any file made of tasks and noise: only state bytes change, and only those that should.
        #[test]
        fn a_tick_changes_only_state_bytes(
            lines in prop::collection::vec(prop_oneof![
                "(  )?- \\[[ x~-]\\]\\*? [1-3]\\. t", "  - \\[[ x~-]\\]\\*? [1-3]\\.[1-3] t", "[a-z` #-]{0,8}",
            ], 1..14),
            ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            number in "[1-3](\\.[1-3])?",
            to in prop_oneof![Just(TickState::Open), Just(TickState::InProgress), Just(TickState::Done)],
        ) {
            let text = lines.join(ending);
            let Ok(after) = tick(text.as_bytes(), &id(&number), to) else { return Ok(()) };
            prop_assert_eq!(after.len(), text.len());
            let parent = number.split('.').next().unwrap_or_default().to_owned();
            for (at, (a, b)) in text.bytes().zip(after.iter().copied()).enumerate() {
                if a != b {
                    prop_assert!(b == to.byte());
                    let start = text[..at].rfind(['\n', '\r']).map_or(0, |n| n + 1);
                    let line = task_line(text[start..].lines().next().unwrap_or_default().as_bytes());
                    let changed = line.map(|l| l.id.to_owned()).unwrap_or_default();
                    prop_assert!(changed == number || (changed == parent && to == TickState::Done));
                }
            }
            let back = tick(&after, &id(&number), to);
            prop_assert_eq!(back, Err(TickError::Already { id: id(&number) }));
        }

        #[test]
        fn any_bytes_are_ticked_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = tick(&bytes, &id("1"), TickState::Done);
        }
    }
}
