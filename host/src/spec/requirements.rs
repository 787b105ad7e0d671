//! Reads requirements.md and bugfix.md down to numbered acceptance criteria, so that a task's
//! `_Requirements:_` become sentences.

use std::collections::HashSet;

use serde::Serialize;

use self::shape::{
    bugfix_section, bullet, is_criteria_label, is_sentence, is_story, ordered, requirement_heading, requirement_word,
    written_number,
};
use super::diagnostic::{Collector, Diagnostic};
use super::line::{Document, Heading, heading, indent, number};
use super::refs::{self, RequirementRef};
use crate::domain::assignment;

mod shape;

pub(super) use self::shape::obliges;

/// One numbered sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Criterion {
    /// Such as `2.1`: written, or made of the requirement's number and the place in its list.
    pub id: String,
    /// The sentence, its continuation lines joined.
    pub text: String,
    /// Line, from 1.
    pub line: u32,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// Such as `2`, `FR-1`, `4A`.
    pub id: String,
    /// May be empty.
    pub title: String,
    /// Line of its heading, from 1.
    pub line: u32,
    /// Has a `User Story` or objective line.
    pub story: bool,
    /// Its sentences.
    pub criteria: Vec<Criterion>,
}

/// A requirements.md or bugfix.md as read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Requirements {
    /// In file order.
    pub items: Vec<Requirement>,
    /// Headings: level, text, line.
    pub headings: Vec<(usize, String, u32)>,
    /// Written as a bug fix: current, expected and unchanged behaviour.
    pub bugfix: bool,
    /// Findings about the file as such.
    pub diagnostics: Vec<Diagnostic>,
}

/// Sentences for a list of references.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// In file order, without repetition.
    pub criteria: Vec<assignment::Criterion>,
    /// References that name nothing here.
    pub unknown: Vec<String>,
}

impl Requirements {
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

    /// All criteria in file order.
    pub fn criteria(&self) -> impl Iterator<Item = &Criterion> {
        self.items.iter().flat_map(|item| &item.criteria)
    }

    /// The sentences that `references` name: a criterion, a requirement with all its criteria, a range
    /// of either, or all.
    #[must_use]
    pub fn resolve(&self, references: &[String]) -> Resolved {
        let all: Vec<(&Requirement, &Criterion)> =
            self.items.iter().flat_map(|item| item.criteria.iter().map(move |c| (item, c))).collect();
        let mut chosen = vec![false; all.len()];
        let mut unknown = Vec::new();
        for reference in references {
            let mut hit = false;
            match refs::requirement_ref(reference) {
                RequirementRef::Nothing => hit = true,
                RequirementRef::Unreadable => {}
                RequirementRef::All => {
                    chosen.fill(true);
                    hit = true;
                }
                RequirementRef::One(id) => {
                    for (at, (item, criterion)) in all.iter().enumerate() {
                        if same(&criterion.id, id) || same(&item.id, id) {
                            chosen[at] = true;
                            hit = true;
                        }
                    }
                    hit |= self.items.iter().any(|item| same(&item.id, id));
                }
                RequirementRef::Range(from, to) => {
                    for (at, (item, criterion)) in all.iter().enumerate() {
                        if inside(&criterion.id, from, to) || inside(&item.id, from, to) {
                            chosen[at] = true;
                            hit = true;
                        }
                    }
                }
            }
            if !hit {
                unknown.push(reference.clone());
            }
        }
        let criteria = all
            .iter()
            .zip(&chosen)
            .filter(|(_, chosen)| **chosen)
            .map(|((_, c), _)| assignment::Criterion { id: c.id.clone(), text: c.text.clone() });
        Resolved { criteria: criteria.collect(), unknown }
    }
}

/// Letters that only say "requirement" do not count.
fn bare_number(id: &str) -> &str {
    for word in ["REQ-", "Req-", "req-", "REQ", "Req", "R-", "R", "r"] {
        if let Some(rest) = id.strip_prefix(word)
            && rest.starts_with(|c: char| c.is_ascii_digit())
        {
            return rest;
        }
    }
    id
}

fn same(a: &str, b: &str) -> bool {
    bare_number(a).eq_ignore_ascii_case(bare_number(b))
}

/// Whether `id` lies between two numbers that have as many parts as it has.
fn inside(id: &str, from: &str, to: &str) -> bool {
    let (id, from, to) = (bare_number(id), bare_number(from), bare_number(to));
    let parts = |text: &str| text.split('.').count();
    parts(id) == parts(from) && refs::natural(from, id).is_le() && refs::natural(id, to).is_le()
}

/// What ordered list items mean at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Below a requirement's heading, before any label.
    Requirement,
    /// Below "Acceptance Criteria".
    Criteria,
    /// Anywhere else.
    Outside,
}

struct Reader<'d, 'b> {
    document: &'d Document<'b>,
    file: Requirements,
    found: Collector,
    place: Place,
    /// Level of the current requirement's heading.
    level: usize,
    /// Where the last criterion stands, for its continuation lines: its columns.
    last: Option<usize>,
    criteria: HashSet<String>,
    /// Bullets right below a requirement: its criteria, should it have no others.
    loose: Vec<(String, u32)>,
    /// For each item: whether its heading says "requirement" or has a labelled number.
    said: Vec<bool>,
}

impl<'d, 'b> Reader<'d, 'b> {
    fn new(document: &'d Document<'b>) -> Self {
        let mut found = Collector::default();
        found.extend(document.findings());
        Self {
            document,
            file: Requirements::default(),
            found,
            place: Place::Outside,
            level: 0,
            last: None,
            criteria: HashSet::new(),
            loose: Vec::new(),
            said: Vec::new(),
        }
    }

    fn line(&mut self, index: usize) {
        if self.document.lines[index].fenced {
            return;
        }
        let text = self.document.text(index);
        if text.trim().is_empty() {
            // A criterion goes on after a blank line only when what follows is indented.
            self.last = self.last.map(|columns| columns.max(1));
            return;
        }
        if let Some(found) = heading(&text) {
            self.heading(index, found);
            return;
        }
        let plain = text.trim();
        if is_criteria_label(plain) {
            self.place = if self.file.items.is_empty() { Place::Outside } else { Place::Criteria };
            self.last = None;
        } else if is_story(plain) {
            if let Some(item) = self.file.items.last_mut() {
                item.story = true;
            }
            self.last = None;
        } else if !self.criterion(index, &text) {
            self.go_on(&text);
        }
    }

    fn heading(&mut self, index: usize, found: Heading<'_>) {
        let line = number(index);
        self.last = None;
        self.file.headings.push((found.level, found.text.to_owned(), line));
        if let Some(section) = bugfix_section(found.text) {
            self.file.bugfix = true;
            self.start(section.to_owned(), found.text.to_owned(), line, found.level, true);
        } else if is_criteria_label(found.text) {
            self.place = if self.file.items.is_empty() { Place::Outside } else { Place::Criteria };
        } else if let Some((id, title)) = requirement_heading(found) {
            let nested = found.level > self.level && id.contains('.') && is_sentence(title);
            if nested && self.place != Place::Outside {
                // `#### 1.1 WHEN …`: a criterion written as a heading.
                self.add(id.to_owned(), title.to_owned(), line);
                self.last = Some(0);
            } else {
                let said = requirement_word(found.text).is_some() || id.starts_with(|c: char| c.is_ascii_alphabetic());
                self.start(id.to_owned(), title.to_owned(), line, found.level, said);
            }
        } else if found.level <= self.level {
            self.place = Place::Outside;
        }
    }

    fn start(&mut self, id: String, title: String, line: u32, level: usize, said: bool) {
        self.settle();
        self.place = Place::Requirement;
        self.level = level;
        self.said.push(said);
        self.file.items.push(Requirement { id, title, line, story: false, criteria: Vec::new() });
    }

    /// Ends a requirement: without criteria of any form, its bullets are its criteria.
    fn settle(&mut self) {
        let loose = std::mem::take(&mut self.loose);
        let Some(item) = self.file.items.last().filter(|item| item.criteria.is_empty()) else { return };
        let id = item.id.clone();
        if self.said.last() == Some(&true) {
            for (number, (text, line)) in loose.into_iter().enumerate() {
                self.add(format!("{id}.{}", number + 1), text, line);
            }
        }
    }

    /// Reads a line as a criterion: with a written number, or as an item of a list.
    fn criterion(&mut self, index: usize, text: &str) -> bool {
        let columns = indent(text.as_bytes());
        let plain = text.trim();
        let line = number(index);
        let bulleted = bullet(plain);
        let body = bulleted.unwrap_or(plain);
        if let Some((id, rest)) = written_number(body) {
            let labelled = id.starts_with(|c: char| c.is_ascii_alphabetic());
            if labelled || self.place != Place::Outside {
                self.place_for(&id, line);
                self.add(id, rest, line);
                self.last = Some(columns);
                return true;
            }
        }
        if self.place == Place::Outside || columns > 3 {
            return false;
        }
        let item = ordered(plain).or(bulleted.filter(|_| self.place == Place::Criteria && columns < 2));
        let Some(rest) = item else {
            if let Some(text) = bulleted.filter(|_| columns < 2) {
                self.loose.push((text.to_owned(), line));
            }
            return false;
        };
        let Some(requirement) = self.file.items.last() else { return false };
        if self.place == Place::Requirement && !is_sentence(rest) {
            return false;
        }
        let id = format!("{}.{}", requirement.id, requirement.criteria.len() + 1);
        self.add(id, rest.to_owned(), line);
        self.last = Some(columns);
        true
    }

    /// A labelled number such as `FR-2.1.1` outside any requirement opens one of its own.
    fn place_for(&mut self, id: &str, line: u32) {
        if self.place == Place::Outside {
            let parent = id.rsplit_once('.').map_or(id, |(parent, _)| parent).to_owned();
            if self.file.items.last().is_none_or(|item| item.id != parent) {
                let level = self.level;
                self.start(parent, String::new(), line, level, false);
                self.place = Place::Outside;
            }
        }
    }

    fn add(&mut self, id: String, text: String, line: u32) {
        if !self.criteria.insert(id.clone()) {
            let message = format!("criterion {id} stands in the file already");
            self.found.warning(line, "requirements/duplicate-criterion", message);
        }
        if let Some(item) = self.file.items.last_mut() {
            item.criteria.push(Criterion { id, text: text.trim().to_owned(), line });
        }
    }

    /// A line that goes on with the last criterion.
    fn go_on(&mut self, text: &str) {
        let Some(columns) = self.last else { return };
        let deeper = columns == 0 || indent(text.as_bytes()) >= columns;
        let item = self.file.items.last_mut().and_then(|item| item.criteria.last_mut());
        if let Some(criterion) = item.filter(|_| deeper) {
            if !criterion.text.is_empty() {
                criterion.text.push(' ');
            }
            criterion.text.push_str(text.trim());
        } else {
            self.last = None;
        }
    }

    fn finish(mut self) -> Requirements {
        self.settle();
        // The sentence may begin on the line after its number; here it never did.
        for item in &mut self.file.items {
            for Criterion { id, line, .. } in item.criteria.extract_if(.., |criterion| criterion.text.is_empty()) {
                let message = format!("criterion {id} has no sentence");
                self.found.warning(line, "requirements/empty-criterion", message);
            }
        }
        let mut seen: HashSet<&str> = HashSet::new();
        for item in self.file.items.iter().filter(|item| !item.title.is_empty()) {
            if !seen.insert(&item.id) {
                let message = format!("requirement {} stands in the file already", item.id);
                self.found.warning(item.line, "requirements/duplicate-requirement", message);
            }
        }
        // Headings such as `## 1. Overview` look like requirements until nothing stands below them.
        let mut said = self.said.iter();
        self.file.items.retain(|item| said.next() == Some(&true) || !item.criteria.is_empty());
        self.file.diagnostics = self.found.finish();
        self.file
    }
}

#[cfg(test)]
#[path = "requirements/tests.rs"]
mod tests;
