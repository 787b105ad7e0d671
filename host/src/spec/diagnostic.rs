//! What is wrong with a file, where, and how bad it is.

use serde::{Deserialize, Serialize};

/// At most this many diagnostics does one check give; the last one says how many were left out.
pub const MAX_DIAGNOSTICS: usize = 1_000;

/// At most this many bytes does [`render`] give.
pub const MAX_RENDERED_BYTES: usize = 16 * 1024;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For information: something was read in a way that the writer may not expect.
    Note,
    /// Works, but probably not as meant.
    Warning,
    /// The file must not be run before this is mended.
    Error,
}

impl Severity {
    /// The one spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Line, from 1. Findings about the whole file name line 1.
    pub line: u32,
    /// Stable name of the rule, such as `tasks/unknown-dependency`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and, where possible, what to do.
    pub message: String,
}

impl Diagnostic {
    /// A finding at `line` (from 1).
    pub fn new(severity: Severity, line: u32, code: &str, message: impl Into<String>) -> Self {
        Self { line: line.max(1), code: code.to_owned(), severity, message: message.into() }
    }

    /// Whether the file must not be run.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Collects findings up to [`MAX_DIAGNOSTICS`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Collector {
    found: Vec<Diagnostic>,
    left_out: usize,
    left_out_error: bool,
}

impl Collector {
    pub(crate) fn error(&mut self, line: u32, code: &str, message: impl Into<String>) {
        self.add(Severity::Error, line, code, message);
    }

    pub(crate) fn warning(&mut self, line: u32, code: &str, message: impl Into<String>) {
        self.add(Severity::Warning, line, code, message);
    }

    pub(crate) fn note(&mut self, line: u32, code: &str, message: impl Into<String>) {
        self.add(Severity::Note, line, code, message);
    }

    pub(crate) fn add(&mut self, severity: Severity, line: u32, code: &str, message: impl Into<String>) {
        if self.found.len() < MAX_DIAGNOSTICS - 1 {
            self.found.push(Diagnostic::new(severity, line, code, message));
        } else {
            self.left_out += 1;
            self.left_out_error |= severity == Severity::Error;
        }
    }

    pub(crate) fn extend(&mut self, others: impl IntoIterator<Item = Diagnostic>) {
        for other in others {
            self.add(other.severity, other.line, &other.code, other.message);
        }
    }

    /// The findings in the order of their lines.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| d.line);
        if self.left_out > 0 {
            let severity = if self.left_out_error { Severity::Error } else { Severity::Note };
            let line = self.found.last().map_or(1, |d| d.line);
            let message = format!("{} more findings are not listed", self.left_out);
            self.found.push(Diagnostic::new(severity, line, "file/more", message));
        }
        self.found
    }
}

/// The findings as lines `file:line: severity code: message`, worst first, at most
/// [`MAX_RENDERED_BYTES`]: what a spirit gets to mend its document.
#[must_use]
pub fn render(file: &str, diagnostics: &[Diagnostic]) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| (std::cmp::Reverse(d.severity), d.line));
    let mut out = String::new();
    for (shown, d) in sorted.iter().enumerate() {
        let line = format!("{file}:{}: {} {}: {}\n", d.line, d.severity, d.code, d.message);
        if out.len() + line.len() > MAX_RENDERED_BYTES {
            out.push_str(&format!("… and {} more\n", sorted.len() - shown));
            break;
        }
        out.push_str(&line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_an_error_among_those_left_out_stays_an_error() {
        let mut all = Collector::default();
        for n in 0..MAX_DIAGNOSTICS as u32 + 5 {
            all.note(n, "x", "y");
        }
        all.error(3, "bad", "z");
        let all = all.finish();
        assert_eq!(all.len(), MAX_DIAGNOSTICS);
        assert!(all.last().is_some_and(Diagnostic::is_error));
    }

    #[test]
    fn errors_are_shown_first() {
        let text = render(
            "t.md",
            &[Diagnostic::new(Severity::Note, 1, "a", "first"), Diagnostic::new(Severity::Error, 9, "b", "second")],
        );
        assert_eq!(text, "t.md:9: error b: second\nt.md:1: note a: first\n");
    }
}
