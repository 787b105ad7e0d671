//! Metadata lines under a task: `_Key: value_`, `_Key:_ value`, `**Key:** value` and their relatives.

use std::collections::BTreeMap;

use super::line::{Document, indent, number};
use super::refs;

/// A wrapped value goes on over at most this many further lines.
const MAX_WRAPPED_LINES: usize = 4;

/// At most this many characters has a key.
const MAX_KEY_CHARS: usize = 40;

/// No key that means something here has more bytes.
const MAX_KNOWN_KEY_BYTES: usize = 24;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key as written.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// Line, from 1.
    pub line: u32,
}

/// Most unknown fields of a task that are kept as its metadata.
const MAX_METADATA: usize = 32;
/// Longest key of one, in bytes.
const MAX_KEY_BYTES: usize = 64;
/// Longest value of one, in bytes.
const MAX_VALUE_BYTES: usize = 1024;

/// Metadata of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    /// `_Depends:_` and its spellings.
    pub depends: Vec<Field>,
    /// `_Requirements:_`, `**Validates: …**` and their spellings.
    pub requirements: Vec<Field>,
    /// `_Skill:_`, `_Role:_`.
    pub skill: Option<Field>,
    /// `_Priority:_`.
    pub priority: Option<Field>,
    /// All other keys; they stay in the text too.
    pub other: Vec<Field>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Requirements,
    /// As requirements, but the line stays in the text.
    Validates,
    Depends,
    /// A word that is also used for packages: counts only when its value is a list of tasks.
    Dependencies,
    Skill,
    Priority,
    Other,
}

impl Key {
    fn of(text: &str) -> Self {
        let between = |c: char| c.is_whitespace() || matches!(c, '_' | '-');
        let text = text.trim_matches(between);
        if text.len() > MAX_KNOWN_KEY_BYTES {
            return Self::Other;
        }
        // Nearly every line that could be metadata comes by here: no key of ASCII is put on the heap.
        let mut short = [0; MAX_KNOWN_KEY_BYTES];
        let long;
        let plain = if text.is_ascii() {
            let short = &mut short[..text.len()];
            for (to, from) in short.iter_mut().zip(text.bytes()) {
                *to = if matches!(from, b'_' | b'-') { b' ' } else { from.to_ascii_lowercase() };
            }
            std::str::from_utf8(short).unwrap_or_default()
        } else {
            long = text.to_lowercase().replace(['_', '-'], " ");
            &long
        };
        match plain {
            "requirements"
            | "requirement"
            | "reqs"
            | "req"
            | "需求"
            | "要求"
            | "要件"
            | "対応要件"
            | "関連要件"
            | "要件番号"
            | "요구사항"
            | "требования"
            | "requisitos"
            | "anforderungen"
            | "exigences" => Self::Requirements,
            "validates" | "验证" | "検証" | "検証対象" => Self::Validates,
            "depends"
            | "depends on"
            | "blocked by"
            | "依存"
            | "依存タスク"
            | "依存関係"
            | "依赖"
            | "依赖任务"
            | "前置任务"
            | "의존성"
            | "зависимости"
            | "depende de" => Self::Depends,
            "dependencies" | "dependency" => Self::Dependencies,
            "skill" | "skills" | "role" | "スキル" | "役割" | "ロール" | "角色" | "技能" => Self::Skill,
            "priority" | "優先度" | "优先级" => Self::Priority,
            _ => Self::Other,
        }
    }
}

/// One `Key: value` of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment<'t> {
    key: &'t str,
    value: &'t str,
    bare: bool,
}

/// The text under a task and its metadata. `body` are indices of lines; up to `columns` of white space
/// are taken off each.
pub(super) fn split(document: &Document<'_>, body: &[usize], columns: usize) -> (String, Fields) {
    let mut fields = Fields::default();
    let mut text = String::with_capacity(body.iter().map(|index| document.raw(*index).len() + 1).sum());
    let mut at = 0;
    while at < body.len() {
        let index = body[at];
        if !document.lines[index].fenced
            && let Some(used) = metadata(document, &body[at..], &mut fields)
        {
            at += used;
            continue;
        }
        let line = document.text(index);
        text.push_str(line[strip(line.as_bytes(), columns)..].trim_end());
        text.push('\n');
        at += 1;
    }
    let mut kept = text.trim_end();
    while let Some(less) = kept.strip_suffix("---") {
        kept = less.trim_end();
    }
    let (start, end) = (kept.find(|c: char| c != '\n').unwrap_or(0), kept.len());
    text.truncate(end);
    text.drain(..start);
    (text, fields)
}

/// Bytes of white space to take off, at most `columns` wide.
fn strip(raw: &[u8], columns: usize) -> usize {
    let mut bytes = 0;
    while bytes < raw.len() && matches!(raw[bytes], b' ' | b'\t') && indent(&raw[..=bytes]) <= columns {
        bytes += 1;
    }
    bytes
}

/// Reads the metadata that begins on the first line of `body`. Gives the number of lines that are to
/// be left out of the text; `None`: the line stays (its fields may still have been noted).
fn metadata(document: &Document<'_>, body: &[usize], fields: &mut Fields) -> Option<usize> {
    let index = *body.first()?;
    let raw = document.raw(index).trim_ascii_start();
    if !may_be_metadata(raw) {
        return None;
    }
    let line = document.text(index);
    let mut joined = content(&line).to_owned();
    let mut used = 1;
    let segments = loop {
        let found = segments(&joined);
        if !found.is_empty() {
            break found;
        }
        let next = *body.get(used).filter(|_| used <= MAX_WRAPPED_LINES && opens_known_key(&joined))?;
        let more = document.text(next);
        if document.lines[next].fenced || more.trim().is_empty() || content(&more).len() != more.trim().len() {
            return None;
        }
        joined.push(' ');
        joined.push_str(more.trim());
        used += 1;
    };
    let mut leave_out = true;
    for segment in segments {
        leave_out &= note(&segment, number(index), fields);
    }
    leave_out.then_some(used)
}

/// A cheap look: only lines that begin like metadata are taken apart.
fn may_be_metadata(raw: &[u8]) -> bool {
    let rest = match raw {
        [b'-' | b'*' | b'+', b' ', rest @ ..] => rest.trim_ascii_start(),
        _ => raw,
    };
    match rest.first() {
        Some(b'_' | b'*') => true,
        Some(first) if first.is_ascii_alphabetic() || *first >= 0x80 => {
            let start = &rest[..rest.len().min(4 * MAX_KEY_CHARS)];
            memchr::memchr(b':', start).is_some() || memchr::memmem::find(start, "：".as_bytes()).is_some()
        }
        _ => false,
    }
}

/// The line without white space and list bullet.
fn content(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix("- ")
        .or_else(|| line.strip_prefix("* "))
        .or_else(|| line.strip_prefix("+ "))
        .unwrap_or(line)
        .trim()
}

fn opens_known_key(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('_') else { return false };
    colon(rest).is_some_and(|(key, value)| Key::of(key) != Key::Other && !value.starts_with('_'))
}

/// Splits at the first colon of either width, when what stands before can be a key.
fn colon(text: &str) -> Option<(&str, &str)> {
    let at = text.find([':', '：'])?;
    let key = text[..at].trim();
    let ok = !key.is_empty()
        && key.chars().count() <= MAX_KEY_CHARS
        && !key.contains(['`', '(', '[', '*', '/', '.', '"', '\\']);
    let width = text[at..].chars().next().map_or(1, char::len_utf8);
    ok.then(|| (key, &text[at + width..]))
}

/// All `Key: value` of a line; empty when it is ordinary text.
fn segments(text: &str) -> Vec<Segment<'_>> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let parsed = if let Some(inner) = rest.strip_prefix("**") {
            bold(inner)
        } else if let Some(inner) = rest.strip_prefix('_') {
            italic(inner, '_')
        } else if let Some(inner) = rest.strip_prefix('*') {
            italic(inner, '*')
        } else if out.is_empty() {
            bare(rest)
        } else {
            // A remark after the last field.
            return out;
        };
        let Some((segment, tail)) = parsed else { return out };
        out.push(segment);
        rest = separators(tail);
    }
    out
}

fn separators(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '|', '·', ',', ';', '、'])
}

/// `value | _Next: …`: the value up to the next field on the line.
fn until_next(text: &str) -> (&str, &str) {
    for (at, _) in text.match_indices(" | ") {
        if text[at + 3..].trim_start().starts_with(['_', '*']) {
            return (text[..at].trim(), &text[at..]);
        }
    }
    for (at, _) in text.match_indices(" _") {
        let tail = &text[at + 2..];
        if colon(tail).is_some_and(|(key, _)| Key::of(key) != Key::Other) {
            return (text[..at].trim(), &text[at..]);
        }
    }
    (text.trim(), "")
}

/// After `**`: `Key:** value`, `Key: value**`, `Key**: value`.
fn bold(inner: &str) -> Option<(Segment<'_>, &str)> {
    let close = inner.find("**")?;
    let (label, after) = (&inner[..close], &inner[close + 2..]);
    if let Some((key, value)) = colon(label) {
        if !value.trim().is_empty() {
            return Some((Segment { key, value: value.trim(), bare: false }, after));
        }
        let (value, tail) = until_next(after);
        return Some((Segment { key, value, bare: false }, tail));
    }
    let value = after.strip_prefix(':').or_else(|| after.strip_prefix('：'))?;
    let (value, tail) = until_next(value);
    Some((Segment { key: label.trim(), value, bare: false }, tail))
}

/// After the opening mark: `Key: value_`, `Key:_ value`.
fn italic(inner: &str, mark: char) -> Option<(Segment<'_>, &str)> {
    let (key, after) = colon(inner)?;
    if let Some(value) = after.strip_prefix(mark) {
        let (value, tail) = until_next(value);
        return Some((Segment { key, value, bare: false }, tail));
    }
    let mut fallback = None;
    for (at, _) in after.match_indices(mark) {
        let tail = &after[at + 1..];
        let next = separators(tail);
        let goes_on = next.len() < tail.len() && next.starts_with(['_', '*']) && colon(&next[1..]).is_some();
        if next.is_empty() || goes_on {
            return Some((Segment { key, value: after[..at].trim(), bare: false }, tail));
        }
        if fallback.is_none() && tail.starts_with([' ', '.', ',', '(', '（', '。']) && !after[..at].ends_with(' ') {
            fallback = Some(at);
        }
    }
    // A remark follows the closing mark: allowed for keys that mean something.
    let at = fallback.filter(|_| Key::of(key) != Key::Other)?;
    Some((Segment { key, value: after[..at].trim(), bare: false }, &after[at + 1..]))
}

/// `Key: value` without any mark, for known keys only.
fn bare(text: &str) -> Option<(Segment<'_>, &str)> {
    let (key, value) = colon(text)?;
    let known = matches!(Key::of(key), Key::Requirements | Key::Validates | Key::Depends | Key::Dependencies);
    known.then(|| (Segment { key, value: value.trim(), bare: true }, ""))
}

/// Files a segment. True: its line is metadata only and need not stand in the text.
fn note(segment: &Segment<'_>, line: u32, fields: &mut Fields) -> bool {
    let field = Field { key: segment.key.to_owned(), value: segment.value.to_owned(), line };
    let lists_tasks = || !refs::task_refs(segment.value).iter().any(|r| matches!(r, refs::TaskRef::Unreadable(_)));
    let lists_requirements = || {
        let tokens = refs::requirement_tokens(segment.value);
        tokens.iter().any(|t| !matches!(refs::requirement_ref(t), refs::RequirementRef::Unreadable))
    };
    match Key::of(segment.key) {
        Key::Requirements if !segment.bare || lists_requirements() => fields.requirements.push(field),
        Key::Validates if lists_requirements() => {
            fields.requirements.push(field);
            return false;
        }
        Key::Depends if !segment.bare || lists_tasks() => fields.depends.push(field),
        Key::Dependencies if lists_tasks() => fields.depends.push(field),
        Key::Skill => fields.skill = Some(field),
        Key::Priority => fields.priority = Some(field),
        _ => {
            if !segment.bare {
                fields.other.push(field);
            }
            return false;
        }
    }
    true
}

impl Fields {
    /// References to requirements, cleaned, without repetition.
    #[must_use]
    pub fn requirement_refs(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for field in &self.requirements {
            for token in refs::requirement_tokens(&field.value) {
                if !out.contains(&token) {
                    out.push(token);
                }
            }
        }
        out
    }

    /// The role in lower case with `_` between words, as roles are spelled.
    #[must_use]
    pub fn role(&self) -> Option<String> {
        let value = self.skill.as_ref()?.value.trim().trim_matches('`');
        let first = value.split([',', '、', ';']).next()?.trim().to_lowercase().replace([' ', '-'], "_");
        (!first.is_empty() && !refs::says_none(&first)).then_some(first)
    }

    /// The fields that have no meaning here, by key; of a key that stands there twice the last one. They are
    /// bounded: what is more or longer stands in the text all the same.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let fits = |field: &&Field| field.key.len() <= MAX_KEY_BYTES && field.value.len() <= MAX_VALUE_BYTES;
        let kept = self.other.iter().filter(fits).take(MAX_METADATA);
        kept.map(|field| (field.key.clone(), field.value.clone())).collect()
    }

    /// The priority as a number: `critical` 20, `high` 10, `medium` 0, `low` -10, `P0` … `P3` the same;
    /// a number stands for itself. `None`: absent or none of these.
    #[must_use]
    pub fn priority_number(&self) -> Option<i32> {
        let value = self.priority.as_ref()?.value.trim().to_lowercase();
        match value.as_str() {
            "critical" | "urgent" | "highest" | "p0" | "緊急" | "最高" => Some(20),
            "high" | "p1" | "高" => Some(10),
            "medium" | "normal" | "p2" | "中" | "通常" => Some(0),
            "low" | "p3" | "低" => Some(-10),
            number => number.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (String, Fields) {
        let document = Document::new(text.as_bytes()).unwrap();
        let body: Vec<usize> = (0..document.lines.len()).collect();
        split(&document, &body, 2)
    }

    #[test]
    fn requirements_are_found_in_every_spelling() {
        for line in [
            "- _Requirements: 1.1, 2.3_",
            "  _Requirements: 1.1, 2.3_",
            "- _Requirements:_ 1.1, 2.3",
            "- **Requirements:** 1.1, 2.3",
            "- **Requirements**: 1.1, 2.3",
            "- Requirements: 1.1, 2.3",
            "- _需求：1.1, 2.3_",
            "- _需求: 1.1, 2.3_",
            "- **需求**：1.1, 2.3",
            "- _要件: 1.1, 2.3_",
            "- _요구사항: 1.1, 2.3_",
            "- _Requisitos: 1.1, 2.3_",
            "- _requirements: Requirements 1.1 and 2.3_",
            "- _Requirements: [1.1](../requirements.md#a), `2.3`._",
            "* _Requirements: 1.1, 2.3_",
            "\t- _Requirements: 1.1, 2.3_",
            "- _Требования: 1.1, 2.3_",
            "- *Requirements: 1.1, 2.3*",
            "- _Requirements: 1.1, 2.3_ (both)",
            "- _Requirements: 1.1,\n  2.3_",
        ] {
            let (text, fields) = read(line);
            assert_eq!(fields.requirement_refs(), ["1.1", "2.3"], "{line}");
            assert_eq!(text, "", "{line}");
        }
    }

    #[test]
    fn validates_counts_and_stays_in_the_text() {
        let (text, fields) = read("- **Property 1: Round trip**\n- **Validates: Requirements 1.1, 1.2**");
        assert_eq!(fields.requirement_refs(), ["1.1", "1.2"]);
        assert_eq!(text, "- **Property 1: Round trip**\n- **Validates: Requirements 1.1, 1.2**");
    }

    #[test]
    fn dependencies_are_found_in_every_spelling() {
        for line in [
            "- _Depends: 1, 2_",
            "- _Depends:_ 1, 2",
            "- _Depends on: 1, 2_",
            "- _depends_on: 1, 2_",
            "- _Dependencies: 1, 2_",
            "- **Dependencies**: 1, 2",
            "- Dependencies: 1, 2",
            "- _依存: 1, 2_",
            "- _依赖：1, 2_",
            "- _Blocked by: 1, 2_",
            "- **Depends on:** 1, 2",
            "  _Depends: 1, 2_",
        ] {
            let (text, fields) = read(line);
            assert_eq!(fields.depends.iter().map(|f| f.value.as_str()).collect::<Vec<_>>(), ["1, 2"], "{line}");
            assert_eq!(text, "", "{line}");
        }
    }

    #[test]
    fn packages_are_no_task_dependencies() {
        for line in
            ["- Dependencies: add serde to Cargo.toml", "- **Dependencies**: serde", "- Depends: on the weather"]
        {
            let (text, fields) = read(line);
            assert!(fields.depends.is_empty(), "{line}");
            assert_eq!(text, line);
        }
    }

    #[test]
    fn properties_and_their_proof_are_read_and_stay_in_the_text() {
        for line in [
            "- **Property 2 & 3: Round trip**\n- **Validates: Requirements 1.1, 1.2**",
            "- **属性 1: 往返**\n- **验证：Requirements 1.1, 1.2**",
            "- **プロパティ 1: 往復**\n- **検証: 要件 1.1, 1.2**",
        ] {
            let (text, fields) = read(line);
            assert_eq!(fields.requirement_refs(), ["1.1", "1.2"], "{line}");
            assert_eq!(text, line);
        }
    }

    #[test]
    fn keys_of_other_tools_are_kept_as_they_are() {
        let keys = [
            "Boundary",
            "Blocked",
            "Reads",
            "Writes",
            "Contracts",
            "Design refs",
            "Note",
            "Suggested commit",
            "Agent",
            "Model",
            "Bug_Condition",
            "Expected_Behavior",
            "Preservation",
        ];
        for key in keys {
            for line in [format!("- _{key}: some value, 1.1_"), format!("- _{key}:_ some value, 1.1")] {
                let (text, fields) = read(&line);
                let other: Vec<(&str, &str)> =
                    fields.other.iter().map(|f| (f.key.as_str(), f.value.as_str())).collect();
                assert_eq!(other, [(key, "some value, 1.1")], "{line}");
                assert_eq!((text, fields.depends.len(), fields.requirements.len()), (line, 0, 0));
            }
        }
    }

    #[test]
    fn several_fields_share_a_line() {
        for line in [
            "- _Requirements: 1.1_ | _Depends: 2_ | _Skill: Back-End_",
            "- _Requirements: 1.1_ _Depends: 2_ _Skill: back end_",
            "- _Requirements:_ 1.1 | _Depends:_ 2 | _Role:_ `back_end`",
        ] {
            let (_, fields) = read(line);
            assert_eq!(fields.requirement_refs(), ["1.1"], "{line}");
            assert_eq!(fields.depends[0].value, "2", "{line}");
            assert_eq!(fields.role().as_deref(), Some("back_end"), "{line}");
        }
    }

    #[test]
    fn text_that_only_starts_like_a_field_stays_text() {
        for line in [
            "- _filter_tasks()メソッド: 絞り込む",
            "- _private is fine",
            "- note: this is prose",
            "- https://example.org/x",
            "- `_Depends: 1_` is the syntax",
        ] {
            let (text, fields) = read(line);
            assert_eq!(fields, Fields::default(), "{line}");
            assert_eq!(text, line);
        }
    }

    #[test]
    fn unknown_keys_are_kept_in_the_text_and_noted() {
        let (text, fields) = read("- _Bug_Condition: isBugCondition(x) holds_\n- _Boundary:_ Api, Core");
        let other: Vec<(&str, &str)> = fields.other.iter().map(|f| (f.key.as_str(), f.value.as_str())).collect();
        assert_eq!(other, [("Bug_Condition", "isBugCondition(x) holds"), ("Boundary", "Api, Core")]);
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn priorities_are_words_or_numbers() {
        for (value, expected) in [("high", Some(10)), ("P0", Some(20)), ("-3", Some(-3)), ("soon", None)] {
            assert_eq!(read(&format!("- _Priority: {value}_")).1.priority_number(), expected, "{value}");
        }
    }

    #[test]
    fn text_is_taken_off_its_indentation_and_its_rule() {
        let (text, _) = read("\n  - a\n    - b\n\n\n  c\n\n---\n");
        assert_eq!(text, "- a\n  - b\n\n\nc");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "([-_*:：|, ]|[a-z]|Depends|Requirements|1\\.1|\n|日){0,40}") {
            let _ = read(&text);
        }
    }
}
