//! Reads tasks.md: numbered check boxes with what stands under them, in every shape that is in use.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use super::diagnostic::{Collector, Diagnostic};
use super::graph::{self, Graph};
use super::line::{Document, heading, indent, number};
use super::meta::{self, Fields};
use crate::domain::id::TaskId;

/// What a box says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxState {
    /// `[ ]`
    Open,
    /// `[-]`
    InProgress,
    /// `[~]`: waits for its turn in an IDE that runs all tasks.
    Queued,
    /// `[x]`, and `[X]` of other tools.
    Done,
    /// A character that no known tool defines; counts as open.
    Unknown,
}

impl BoxState {
    pub(super) fn of(text: &[u8]) -> Self {
        match text {
            b" " => Self::Open,
            b"-" => Self::InProgress,
            b"~" => Self::Queued,
            b"x" | b"X" => Self::Done,
            _ => Self::Unknown,
        }
    }
}

/// Check boxes of a file outside code fences, numbered or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BoxCounts {
    /// `[ ]`
    pub open: usize,
    /// `[x]`
    pub done: usize,
    /// `[-]`
    pub in_progress: usize,
    /// `[~]`
    pub queued: usize,
    /// Any other character, `X` included.
    pub other: usize,
    /// `[ ]*`
    pub optional_open: usize,
    /// `[x]*` and other states with a star.
    pub optional_other: usize,
    /// Boxes inside code fences; counted here only.
    pub fenced: usize,
    /// Boxes that Kiro's own linter would report, inside fences too, as it knows none.
    pub rejected_by_kiro: usize,
}

/// One numbered check box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskItem {
    /// Its number.
    pub id: TaskId,
    /// The rest of the line, without `(P)`.
    pub title: String,
    /// Its box.
    pub state: BoxState,
    /// Marked with `*`.
    pub optional: bool,
    /// Marked with cc-sdd's `(P)`: may run beside its neighbours that are marked too.
    pub parallel: bool,
    /// Line, from 1.
    pub line: u32,
    /// Columns of white space before it.
    pub indent: usize,
    /// What stands under it, without the metadata that `fields` has.
    pub text: String,
    /// Metadata lines.
    pub fields: Fields,
    /// Its number stood in the file before; such a task can be neither run nor ticked.
    pub duplicate: bool,
}

/// A heading of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadingLine {
    /// 1 to 6.
    pub level: usize,
    /// Its text.
    pub text: String,
    /// Line, from 1.
    pub line: u32,
}

/// A tasks.md as read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskFile {
    /// Tasks in file order, duplicates included.
    pub items: Vec<TaskItem>,
    /// Headings in file order.
    pub headings: Vec<HeadingLine>,
    /// Check boxes counted.
    pub boxes: BoxCounts,
    /// The wave graph, when one was found.
    pub graph: Option<Graph>,
    /// Findings about the file as such; those about dependencies come from [`super::plan`].
    pub diagnostics: Vec<Diagnostic>,
}

/// A check box, with positions inside its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckBox<'l> {
    pub(crate) bullet: u8,
    pub(crate) one_space: bool,
    pub(crate) state: Range<usize>,
    /// `*` or `\*`; empty when there is none.
    pub(crate) star: Range<usize>,
    pub(crate) rest: &'l [u8],
}

/// A numbered check box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskLine<'l> {
    pub(crate) check: CheckBox<'l>,
    pub(crate) id: &'l str,
    pub(crate) dot: bool,
    pub(crate) title: &'l [u8],
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The check box that begins on this line.
pub(crate) fn check_box(line: &[u8]) -> Option<CheckBox<'_>> {
    let start = line.iter().position(|b| !blank(*b))?;
    let bullet = line[start];
    if !matches!(bullet, b'-' | b'*' | b'+') {
        return None;
    }
    let gap = line[start + 1..].iter().take_while(|b| blank(**b)).count();
    let open = start + 1 + gap;
    if gap == 0 || line.get(open) != Some(&b'[') {
        return None;
    }
    let state_start = open + 1;
    let first = *line.get(state_start)?;
    let width = match first {
        b']' => return None,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    let state = state_start..state_start + width;
    if line.get(state.end) != Some(&b']') {
        return None;
    }
    let after = &line[state.end + 1..];
    let star_width = if after.starts_with(b"\\*") { 2 } else { usize::from(after.starts_with(b"*")) };
    let star = state.end + 1..state.end + 1 + star_width;
    let one_space = gap == 1 && line[start + 1] == b' ';
    Some(CheckBox { bullet, one_space, state, rest: &line[star.end..], star })
}

/// The numbered check box on this line. A whole number that is indented needs its dot: without one it
/// is a sub-item such as `- [ ] 5 files exist`.
pub(crate) fn task_line(line: &[u8]) -> Option<TaskLine<'_>> {
    let check = check_box(line)?;
    let rest = check.rest;
    let start = rest.iter().position(|b| !blank(*b))?;
    if start == 0 {
        return None;
    }
    let rest = &rest[start..];
    let mut end = 0;
    loop {
        let digits = rest[end..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        end += digits;
        let more = rest.get(end) == Some(&b'.') && rest.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !more {
            break;
        }
        end += 1;
    }
    let letter = rest.get(end).is_some_and(u8::is_ascii_lowercase);
    let end = end + usize::from(letter);
    let dot = rest.get(end) == Some(&b'.');
    let after = end + usize::from(dot);
    if rest.get(after).is_some_and(|b| !blank(*b)) {
        return None;
    }
    let id = std::str::from_utf8(&rest[..end]).ok()?;
    let whole = !id.contains('.');
    if whole && !dot && (letter || indent(line) > 0) {
        return None;
    }
    Some(TaskLine { check, id, dot, title: &rest[after..] })
}

pub(crate) fn is_task_line(line: &[u8]) -> bool {
    task_line(line).is_some()
}

impl TaskFile {
    /// Reads a file. Never fails: what cannot be used is in the diagnostics.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let document = match Document::new(bytes) {
            Ok(document) => document,
            Err(refused) => return Self { diagnostics: vec![refused], ..Self::default() },
        };
        let mut reader = Reader::new(&document);
        for index in 0..document.lines.len() {
            reader.line(index);
        }
        reader.finish()
    }

    /// The first heading of level 1.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.headings.iter().find(|h| h.level == 1).map(|h| h.text.as_str())
    }

    /// The task with this number, unless the number stands in the file more than once.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<&TaskItem> {
        let mut found = self.items.iter().filter(|item| item.id == *id);
        let first = found.next();
        if found.next().is_some() { None } else { first }
    }
}

/// Takes the file apart into lines with their endings and puts it together again. Every change is made
/// on that form, so what no change touches stays as it was.
///
/// # Errors
/// The diagnostic of a file that is too large to be read.
pub fn reassemble(bytes: &[u8]) -> Result<Vec<u8>, Diagnostic> {
    Document::new(bytes).map(|document| document.to_bytes())
}

struct Reader<'d, 'b> {
    document: &'d Document<'b>,
    file: TaskFile,
    found: Collector,
    /// Lines that stand under items: which item, which line.
    bodies: Vec<(usize, usize)>,
    /// Items that are open by indentation; the last is the current one.
    open: Vec<usize>,
    /// The item that the last line went to.
    owner: Option<usize>,
    first_line: HashMap<&'b str, u32>,
    spec_kit: bool,
}

impl<'d, 'b> Reader<'d, 'b> {
    fn new(document: &'d Document<'b>) -> Self {
        let mut found = Collector::default();
        found.extend(document.findings());
        Self {
            document,
            file: TaskFile::default(),
            found,
            bodies: Vec::new(),
            open: Vec::new(),
            owner: None,
            first_line: HashMap::new(),
            spec_kit: false,
        }
    }

    fn line(&mut self, index: usize) {
        let raw = self.document.raw(index);
        let check = check_box(raw).filter(|c| c.bullet == b'-' && c.one_space);
        if let Some(check) = &check {
            self.file.boxes.rejected_by_kiro += usize::from(!kiro_accepts(raw, check));
        }
        if self.document.lines[index].fenced {
            self.file.boxes.fenced += usize::from(check.is_some());
            self.attach_to_owner(index);
            return;
        }
        if let Some(check) = &check {
            self.count(raw, check);
        }
        if let Some(task) = task_line(raw) {
            self.task(index, raw, &task);
            return;
        }
        if raw.iter().all(|b| b.is_ascii_whitespace()) {
            self.attach_to_owner(index);
            return;
        }
        if let Some(first) = raw.iter().find(|b| **b != b' ')
            && *first == b'#'
            && let Some(found) = heading(&self.document.text(index))
        {
            let text = found.text.to_owned();
            self.file.headings.push(HeadingLine { level: found.level, text, line: number(index) });
            self.open.clear();
            self.owner = None;
            return;
        }
        self.unnumbered(index, raw);
        self.detail(index, raw);
    }

    fn count(&mut self, raw: &[u8], check: &CheckBox<'_>) {
        let boxes = &mut self.file.boxes;
        let state = &raw[check.state.clone()];
        *match state {
            b" " => &mut boxes.open,
            b"x" => &mut boxes.done,
            b"-" => &mut boxes.in_progress,
            b"~" => &mut boxes.queued,
            _ => &mut boxes.other,
        } += 1;
        if !check.star.is_empty() {
            *(if state == b" " { &mut boxes.optional_open } else { &mut boxes.optional_other }) += 1;
        }
    }

    fn task(&mut self, index: usize, raw: &[u8], task: &TaskLine<'b>) {
        let line = number(index);
        let width = indent(raw);
        let Ok(id) = TaskId::new(task.id) else {
            self.found.error(line, "tasks/bad-id", format!("`{:.20}…` is too long for a task number", task.id));
            self.attach_to_owner(index);
            return;
        };
        let state_text = &raw[task.check.state.clone()];
        self.shape(line, width, state_text, task);
        let duplicate = match self.first_line.get(task.id) {
            Some(first) => {
                let message =
                    format!("task {id} stands on line {first} already; a number must be unique to be run or ticked");
                self.found.error(line, "tasks/duplicate-id", message);
                true
            }
            None => {
                self.first_line.insert(task.id, line);
                false
            }
        };
        let title = String::from_utf8_lossy(task.title);
        let title = title.trim();
        let (parallel, title) = match title.strip_prefix("(P)") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, title),
        };
        if title.is_empty() {
            self.found.warning(line, "tasks/no-title", format!("task {id} has no title"));
        }
        while self.open.last().is_some_and(|item| self.file.items[*item].indent >= width) {
            self.open.pop();
        }
        let item = self.file.items.len();
        self.open.push(item);
        self.owner = Some(item);
        self.file.items.push(TaskItem {
            id,
            title: title.to_owned(),
            state: BoxState::of(state_text),
            optional: !task.check.star.is_empty(),
            parallel,
            line,
            indent: width,
            text: String::new(),
            fields: Fields::default(),
            duplicate,
        });
    }

    /// Findings about the spelling of a task line.
    fn shape(&mut self, line: u32, width: usize, state: &[u8], task: &TaskLine<'_>) {
        let id = task.id;
        match state {
            b" " | b"x" | b"-" | b"~" => {}
            b"X" => self.found.warning(line, "tasks/malformed-checkbox", "`[X]` is read as done; Kiro writes `[x]`"),
            _ => {
                let message = format!(
                    "`[{}]` is no state (they are ` `, `x`, `-`, `~`); read as open",
                    String::from_utf8_lossy(state)
                );
                self.found.warning(line, "tasks/malformed-checkbox", message);
            }
        }
        if task.check.bullet != b'-' || !task.check.one_space {
            let message = format!("Kiro sees a task only after `- `, so it does not see task {id}");
            self.found.warning(line, "tasks/bullet", message);
        }
        if !id.contains('.') {
            if width > 0 {
                let message = format!("an indented task needs a number such as 1.{id}; Kiro refuses `{id}.` here");
                self.found.warning(line, "tasks/indented-number", message);
            } else if !task.dot {
                self.found.note(line, "tasks/number-dot", format!("Kiro expects `{id}.` with a dot"));
            }
        }
    }

    fn unnumbered(&mut self, index: usize, raw: &[u8]) {
        let line = number(index);
        if let Some(check) = check_box(raw) {
            let rest = check.rest.trim_ascii_start();
            let kit = rest.len() >= 4 && rest[0] == b'T' && rest[1..4].iter().all(u8::is_ascii_digit);
            if kit && !self.spec_kit {
                self.spec_kit = true;
                let message =
                    "tasks numbered T001, T002 … are spec-kit's format, which is not read; number them 1., 1.1";
                self.found.warning(line, "tasks/spec-kit", message);
            } else if !kit && indent(raw) == 0 {
                self.found.note(line, "tasks/unnumbered", "this check box has no number, so it is no task");
            }
        } else if raw.trim_ascii_start().starts_with(b"- []") {
            self.found.note(line, "tasks/malformed-checkbox", "`[]` is no check box; write `[ ]`");
        }
    }

    /// A line that is no task: under which item it stands. A bullet belongs to the item that it is
    /// indented below; other text goes on with the last item.
    fn detail(&mut self, index: usize, raw: &[u8]) {
        let bullet = raw.trim_ascii_start();
        if bullet.starts_with(b"- ") || bullet.starts_with(b"* ") || bullet.starts_with(b"+ ") {
            let width = indent(raw);
            let items = &self.file.items;
            let below = self.open.iter().rev().find(|item| items[**item].indent < width);
            self.owner = below.or(self.open.last()).copied();
        }
        self.attach_to_owner(index);
    }

    fn attach_to_owner(&mut self, index: usize) {
        if let Some(owner) = self.owner {
            self.bodies.push((owner, index));
        }
    }

    fn finish(mut self) -> TaskFile {
        // Stable, and in order but for text that goes back to a parent.
        self.bodies.sort_by_key(|(owner, _)| *owner);
        let lines: Vec<usize> = self.bodies.iter().map(|(_, line)| *line).collect();
        let mut from = 0;
        for body in self.bodies.chunk_by(|(a, _), (b, _)| a == b) {
            let item = &mut self.file.items[body[0].0];
            (item.text, item.fields) = meta::split(self.document, &lines[from..from + body.len()], item.indent + 2);
            from += body.len();
        }
        self.file.graph = graph::find(self.document, &self.file.headings, &mut self.found);
        for h in &self.file.headings {
            let rest = h.text.strip_prefix("Task ").unwrap_or("");
            if matches!(h.level, 2 | 3) && rest.starts_with(|c: char| c.is_ascii_digit()) {
                let message = "a heading is no task; write `- [ ] 1. Title` below `## Tasks`";
                self.found.note(h.line, "tasks/task-heading", message);
            }
        }
        if self.file.items.is_empty() {
            let message = "the file has no task; a task is a line such as `- [ ] 1. Title` or `- [ ] 1.1 Title`";
            self.found.error(1, "tasks/none", message);
        }
        self.file.diagnostics = self.found.finish();
        self.file
    }
}

/// Kiro's own two forms of a task line: `- [x] 1.` at column 0, `- [x] 1.1` anywhere.
fn kiro_accepts(line: &[u8], check: &CheckBox<'_>) -> bool {
    let known = matches!(&line[check.state.clone()], b" " | b"x" | b"-" | b"~");
    let Some(number) = check.rest.strip_prefix(b" ") else { return false };
    let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
    let dot = digits > 0 && number.get(digits) == Some(&b'.');
    let sub = dot && number.get(digits + 1).is_some_and(u8::is_ascii_digit);
    known && (sub || (dot && !line.first().copied().is_some_and(blank)))
}

#[cfg(test)]
#[path = "tasks/tests.rs"]
mod tests;
