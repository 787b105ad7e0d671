//! Lines of a file with their own endings, and what is common to every Markdown file here: BOM, code
//! fences, headings. Joining the lines again gives the same bytes.

use std::borrow::Cow;
use std::ops::Range;

use super::diagnostic::{Diagnostic, Severity};

/// Larger files are not read.
pub const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;

/// Files of more lines are not read.
pub const MAX_FILE_LINES: usize = 200_000;

/// Where a line stands in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) start: usize,
    /// End of the text, before `\n`, `\r\n` or `\r`.
    pub(crate) end: usize,
    /// Start of the next line.
    pub(crate) next: usize,
    /// Part of a code fence, its markers included.
    pub(crate) fenced: bool,
}

/// An ATX heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heading<'a> {
    pub(crate) level: usize,
    pub(crate) text: &'a str,
}

/// A file as lines.
#[derive(Debug, Clone)]
pub(crate) struct Document<'a> {
    pub(crate) bytes: &'a [u8],
    /// The same as text, when all of it is.
    whole: Option<&'a str>,
    pub(crate) lines: Vec<Line>,
    /// 0-based line of a fence that is never closed.
    pub(crate) unclosed: Option<usize>,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl<'a> Document<'a> {
    /// Splits `bytes`.
    ///
    /// # Errors
    /// A diagnostic for files that are too large to be read.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Diagnostic> {
        if bytes.len() > MAX_FILE_BYTES {
            let message = format!("the file has {} bytes; more than {MAX_FILE_BYTES} are not read", bytes.len());
            return Err(Diagnostic::new(Severity::Error, 1, "file/too-large", message));
        }
        let mut lines = Vec::with_capacity(bytes.len() / 32);
        let mut fences = Fences::default();
        let mut start = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
        while start < bytes.len() {
            if lines.len() == MAX_FILE_LINES {
                let message = format!("the file has more than {MAX_FILE_LINES} lines and is not read");
                return Err(Diagnostic::new(Severity::Error, 1, "file/too-large", message));
            }
            let (end, next) = line_end(bytes, start);
            let fenced = fences.step(&bytes[start..end], lines.len());
            lines.push(Line { start, end, next, fenced });
            start = next;
        }
        let whole = std::str::from_utf8(bytes).ok();
        Ok(Self { bytes, whole, lines, unclosed: fences.open.map(|open| open.line) })
    }

    pub(crate) fn raw(&self, index: usize) -> &'a [u8] {
        let line = self.lines[index];
        &self.bytes[line.start..line.end]
    }

    /// The text of a line; bytes that are not UTF-8 become `U+FFFD`.
    pub(crate) fn text(&self, index: usize) -> Cow<'a, str> {
        let line = self.lines[index];
        match self.whole.and_then(|text| text.get(line.start..line.end)) {
            Some(text) => Cow::Borrowed(text),
            None => String::from_utf8_lossy(self.raw(index)),
        }
    }

    /// Lines of the whole, or of `range`, as one text with `\n` between them.
    pub(crate) fn join(&self, range: Range<usize>) -> String {
        let mut out = String::new();
        for index in range {
            out.push_str(&self.text(index));
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out
    }

    /// Everything again, line by line: the same bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        out.extend_from_slice(&self.bytes[..self.lines.first().map_or(self.bytes.len(), |l| l.start)]);
        for line in &self.lines {
            out.extend_from_slice(&self.bytes[line.start..line.end]);
            out.extend_from_slice(&self.bytes[line.end..line.next]);
        }
        out
    }

    /// Findings that do not depend on the kind of file: encoding, conflict markers, an open fence.
    pub(crate) fn findings(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if self.bytes.starts_with(b"\xFF\xFE") || self.bytes.starts_with(b"\xFE\xFF") || self.bytes.contains(&0) {
            let message = "the file is UTF-16 or binary; save it as UTF-8";
            found.push(Diagnostic::new(Severity::Error, 1, "file/encoding", message));
            return found;
        }
        if self.whole.is_none() {
            let bad = (0..self.lines.len()).find(|i| std::str::from_utf8(self.raw(*i)).is_err()).unwrap_or(0);
            let message = "the line is not UTF-8; its bytes are kept, its text is read with gaps";
            found.push(Diagnostic::new(Severity::Warning, number(bad), "file/encoding", message));
        }
        for (index, line) in self.lines.iter().enumerate() {
            let text = &self.bytes[line.start..line.end];
            if !line.fenced && matches!(text.first(), Some(b'<' | b'>')) {
                let marker = text.starts_with(b"<<<<<<< ") || text.starts_with(b">>>>>>> ");
                if marker {
                    let message = "a merge conflict was committed; resolve it first";
                    found.push(Diagnostic::new(Severity::Error, number(index), "file/conflict-marker", message));
                }
            }
        }
        if let Some(open) = self.unclosed {
            let message = "the code fence that begins here is never closed; all that follows is read as code";
            found.push(Diagnostic::new(Severity::Warning, number(open), "file/unclosed-fence", message));
        }
        found
    }
}

/// Line number for people.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

fn line_end(bytes: &[u8], start: usize) -> (usize, usize) {
    match memchr::memchr2(b'\n', b'\r', &bytes[start..]) {
        None => (bytes.len(), bytes.len()),
        Some(at) => {
            let end = start + at;
            let crlf = bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n');
            (end, end + if crlf { 2 } else { 1 })
        }
    }
}

/// Width of the leading white space; a tab goes to the next multiple of 4.
pub(crate) fn indent(line: &[u8]) -> usize {
    let mut width = 0;
    for byte in line {
        match byte {
            b' ' => width += 1,
            b'\t' => width += 4 - width % 4,
            _ => break,
        }
    }
    width
}

/// The heading on this line, if it is one.
pub(crate) fn heading(text: &str) -> Option<Heading<'_>> {
    let trimmed = text.trim_start_matches(' ');
    if text.len() - trimmed.len() > 3 {
        return None;
    }
    let level = trimmed.bytes().take_while(|b| *b == b'#').count();
    let rest = &trimmed[level..];
    if level == 0 || level > 6 || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    Some(Heading { level, text: rest.trim().trim_end_matches('#').trim_end() })
}

#[derive(Debug, Clone, Copy)]
struct Fence {
    marker: u8,
    length: usize,
    indent: usize,
    line: usize,
}

/// CommonMark's fences, with any indentation, because they stand inside list items.
#[derive(Debug, Default)]
struct Fences {
    open: Option<Fence>,
}

impl Fences {
    /// Whether this line belongs to a fence.
    fn step(&mut self, line: &[u8], index: usize) -> bool {
        if let Some(open) = self.open {
            // A list item ends where something stands at column 0, and its fence with it. Only a task
            // line is taken as such: code inside an indented fence is often not indented.
            if open.indent >= 2 && line.starts_with(b"- [") && super::tasks::is_task_line(line) {
                self.open = None;
                return false;
            }
            if let Some((marker, length, info)) = fence_marker(line) {
                let bare = info.iter().all(|b| matches!(b, b' ' | b'\t'));
                if marker == open.marker && length >= open.length && bare {
                    self.open = None;
                }
            }
            return true;
        }
        let Some((marker, length, info)) = fence_marker(line) else { return false };
        if marker == b'`' && info.contains(&b'`') {
            return false;
        }
        self.open = Some(Fence { marker, length, indent: indent(line), line: index });
        true
    }
}

fn fence_marker(line: &[u8]) -> Option<(u8, usize, &[u8])> {
    let start = line.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
    let marker = line[start];
    if !matches!(marker, b'`' | b'~') {
        return None;
    }
    let length = line[start..].iter().take_while(|b| **b == marker).count();
    (length >= 3).then(|| (marker, length, &line[start + length..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fenced(text: &str) -> Vec<bool> {
        Document::new(text.as_bytes()).unwrap().lines.iter().map(|l| l.fenced).collect()
    }

    #[test]
    fn fences_follow_commonmark() {
        let table: &[(&str, &[bool])] = &[
            ("```\na\n```\nb", &[true, true, true, false]),
            ("~~~\n```\n~~~\nb", &[true, true, true, false]),
            ("````\n```\n````\nb", &[true, true, true, false]),
            ("```json\n``` x\n```\nb", &[true, true, true, false]),
            // An info string with a backtick makes no fence: wrapped prose must not swallow the file.
            ("```a`b\nc", &[false, false]),
            ("~~~a`b\nc", &[true, true]),
            ("  ```\n  x\n- [ ] 1. a", &[true, true, false]),
            ("```\n- [ ] 1. a", &[true, true]),
            ("``\na", &[false, false]),
        ];
        for (text, expected) in table {
            assert_eq!(fenced(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn headings_are_atx() {
        assert_eq!(heading("## A b ##"), Some(Heading { level: 2, text: "A b" }));
        assert_eq!(heading("   # A"), Some(Heading { level: 1, text: "A" }));
        for none in ["#A", "####### a", "    # a", "a # b"] {
            assert_eq!(heading(none), None, "{none}");
        }
    }

    #[test]
    fn too_many_lines_are_refused_with_a_reason() {
        let many = "\n".repeat(MAX_FILE_LINES + 1);
        assert_eq!(Document::new(many.as_bytes()).unwrap_err().code, "file/too-large");
        assert!(Document::new(&many.as_bytes()[1..]).is_ok());
        assert!(Document::new(&vec![b'a'; MAX_FILE_BYTES + 1]).is_err());
    }

    #[test]
    fn committed_conflicts_and_other_encodings_are_errors() {
        for (bytes, code) in [
            (&b"a\n<<<<<<< HEAD\nb\n"[..], "file/conflict-marker"),
            (b"\xFF\xFE-\0 \0", "file/encoding"),
            (b"a\xFFb\n", "file/encoding"),
            (b"a\n```\nb", "file/unclosed-fence"),
        ] {
            let found = Document::new(bytes).unwrap().findings();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].code, code);
        }
    }

    proptest! {
        #[test]
        fn lines_join_to_the_same_bytes(bytes in prop::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'`'), Just(0xEF), Just(0xBB), Just(0xBF), any::<u8>()], 0..200)) {
            let document = Document::new(&bytes).unwrap();
            prop_assert_eq!(document.to_bytes(), &bytes[..]);
        }

        #[test]
        fn a_bom_is_kept_apart(text in "[a\n\r]{0,40}") {
            let mut bytes = BOM.to_vec();
            bytes.extend_from_slice(text.as_bytes());
            let document = Document::new(&bytes).unwrap();
            prop_assert_eq!(document.to_bytes(), &bytes[..]);
            prop_assert!(document.lines.first().is_none_or(|l| l.start == BOM.len()));
        }
    }
}
