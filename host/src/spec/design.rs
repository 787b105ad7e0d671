//! Reads design.md by its headings and picks the parts that help with one task.

use super::line::{Document, heading, number};

/// One heading and what stands below it, up to the next heading of any level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// 1 to 6; 0 for what stands before the first heading.
    pub level: usize,
    /// The heading's text.
    pub title: String,
    /// Line of the heading, from 1.
    pub line: u32,
    /// Heading and text, without blank lines at the end.
    pub text: String,
}

/// Sections in file order. Empty for a file that is too large to be read.
#[must_use]
pub fn sections(text: &str) -> Vec<Section> {
    let Ok(document) = Document::new(text.as_bytes()) else { return Vec::new() };
    let mut starts: Vec<(usize, usize, String)> = vec![(0, 0, String::new())];
    for (index, line) in document.lines.iter().enumerate() {
        if line.fenced {
            continue;
        }
        if let Some(found) = heading(&document.text(index)) {
            starts.push((index, found.level, found.text.to_owned()));
        }
    }
    let mut out = Vec::with_capacity(starts.len());
    for (place, (start, level, title)) in starts.iter().enumerate() {
        let end = starts.get(place + 1).map_or(document.lines.len(), |next| next.0);
        let text = document.join(*start..end);
        if *level > 0 || !text.trim().is_empty() {
            out.push(Section { level: *level, title: title.clone(), line: number(*start), text });
        }
    }
    out
}

/// Words that are too common to tell sections apart.
const COMMON: &[&str] =
    &["and", "the", "for", "with", "from", "into", "that", "this", "add", "write", "implement", "test", "tests"];

/// The parts of a design that matter for a task: the overview, then the sections that share most words
/// with `about` (the task's title and text), in file order, at most `budget_bytes` in all.
#[must_use]
pub fn extract(text: &str, about: &str, budget_bytes: usize) -> String {
    if text.len() <= budget_bytes {
        return text.to_owned();
    }
    let sections = sections(text);
    let words = words(about);
    let mut ranked: Vec<(usize, usize)> =
        sections.iter().enumerate().map(|(at, section)| (score(section, &words), at)).collect();
    ranked.sort_by_key(|(points, at)| (std::cmp::Reverse(*points), *at));
    let mut chosen = vec![false; sections.len()];
    let mut left = budget_bytes;
    for (points, at) in ranked {
        let size = sections[at].text.len() + 2;
        if points > 0 && size <= left {
            chosen[at] = true;
            left -= size;
        }
    }
    let parts: Vec<&str> = sections.iter().zip(chosen).filter(|(_, c)| *c).map(|(s, _)| s.text.as_str()).collect();
    if parts.is_empty() { cut(text, budget_bytes).to_owned() } else { parts.join("\n\n") }
}

/// The longest start of `text` that fits and ends between characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.len() >= 3)
        .map(str::to_lowercase)
        .filter(|word| !COMMON.contains(&word.as_str()))
        .collect();
    out.sort();
    out.dedup();
    out.truncate(200);
    out
}

fn score(section: &Section, words: &[String]) -> usize {
    let title = section.title.to_lowercase();
    let text = section.text.to_lowercase();
    let overview =
        usize::from(["overview", "概要", "architecture", "アーキテクチャ"].iter().any(|w| title.contains(w)));
    let hits: usize = words
        .iter()
        .map(|word| if title.contains(word.as_str()) { 5 } else { usize::from(text.contains(word.as_str())) })
        .sum();
    overview * 20 + hits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# Design\n\n## Overview\n\nShort.\n\n## Database\n\nA `users` table.\n\n```\n# no heading\n```\n\n## Colours\n\nBlue, and much more about it than anybody wants to know.\n";

    #[test]
    fn sections_end_at_the_next_heading_outside_fences() {
        let titles: Vec<(usize, String)> = sections(TEXT).into_iter().map(|s| (s.level, s.title)).collect();
        let expected = [(1, "Design"), (2, "Overview"), (2, "Database"), (2, "Colours")];
        assert_eq!(titles, expected.map(|(l, t)| (l, t.to_owned())));
        assert!(sections(TEXT)[2].text.ends_with("```"));
    }

    #[test]
    fn an_extract_has_the_overview_and_what_the_task_is_about() {
        let found = extract(TEXT, "Create the users table", 110);
        assert!(found.contains("Short.") && found.contains("users") && !found.contains("Blue"), "{found}");
        assert_eq!(extract(TEXT, "x", 10_000), TEXT);
    }

    proptest! {
        #[test]
        fn an_extract_keeps_to_its_budget(text in "(# [a-z]{1,5}\n|[a-z日 ]{0,20}\n){0,20}", about in "[a-z ]{0,20}", budget in 0_usize..200) {
            prop_assert!(extract(&text, &about, budget).len() <= budget);
        }
    }
}
