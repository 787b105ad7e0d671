//! Finding lines in the files of a work tree.

use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};

use crate::domain::call::HostError;
use crate::domain::work::{SearchHit, SearchQuery};

/// Characters of a line that are given.
const MAX_LINE_CHARS: usize = 400;
/// Longest pattern or glob, in bytes.
const MAX_PATTERN_BYTES: usize = 4 * 1024;
/// Memory of a compiled pattern.
const MAX_COMPILED_BYTES: usize = 2 * 1024 * 1024;

/// A checked query.
#[derive(Debug)]
pub(crate) struct Finder {
    pattern: Regex,
    glob: Option<GlobMatcher>,
    /// How many hits are still wanted.
    left: usize,
    hits: Vec<SearchHit>,
}

impl Finder {
    /// Checks pattern and glob.
    pub(crate) fn new(query: &SearchQuery, max_hits: usize) -> Result<Self, HostError> {
        let invalid = |what: &str, why: &dyn std::fmt::Display| HostError::Invalid(format!("{what}: {why}"));
        if query.pattern.is_empty() || query.pattern.len() > MAX_PATTERN_BYTES {
            return Err(invalid("pattern", &"it is empty or longer than 4 KiB"));
        }
        let text = if query.regex { query.pattern.clone() } else { regex::escape(&query.pattern) };
        let pattern = RegexBuilder::new(&text)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|e| invalid("pattern", &e))?;
        let glob = match &query.glob {
            Some(glob) if glob.len() > MAX_PATTERN_BYTES => return Err(invalid("glob", &"it is longer than 4 KiB")),
            Some(glob) => {
                // As in a .gitignore: a name alone is meant at any depth.
                let anywhere = if glob.contains('/') { glob.clone() } else { format!("**/{glob}") };
                let built = GlobBuilder::new(&anywhere).literal_separator(true).build();
                Some(built.map_err(|e| invalid("glob", &e))?.compile_matcher())
            }
            None => None,
        };
        Ok(Self { pattern, glob, left: (query.max_hits as usize).min(max_hits), hits: Vec::new() })
    }

    /// Whether a file's lines are wanted.
    pub(crate) fn wants(&self, path: &str) -> bool {
        self.glob.as_ref().is_none_or(|glob| glob.is_match(path))
    }

    /// Whether there are as many hits as wanted.
    pub(crate) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Looks through one file.
    pub(crate) fn look(&mut self, path: &str, text: &str) {
        for (line, content) in (1..).zip(text.lines()) {
            if self.left == 0 {
                return;
            }
            if self.pattern.is_match(content) {
                self.left -= 1;
                let text = content.chars().take(MAX_LINE_CHARS).collect();
                self.hits.push(SearchHit { path: path.to_owned(), line, text });
            }
        }
    }

    /// The hits, in the order in which they were found.
    pub(crate) fn into_hits(self) -> Vec<SearchHit> {
        self.hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pattern: &str, regex: bool, glob: Option<&str>) -> SearchQuery {
        SearchQuery { pattern: pattern.into(), regex, glob: glob.map(str::to_owned), max_hits: 2 }
    }

    #[test]
    fn literals_are_no_expressions_and_hits_are_bounded() {
        let mut finder = Finder::new(&query("a.c", false, None), 10).unwrap();
        finder.look("f", "abc\na.c\nxa.cx\na.c\n");
        assert!(finder.is_full());
        let lines: Vec<u32> = finder.into_hits().iter().map(|h| h.line).collect();
        assert_eq!(lines, [2, 3]);
        let mut finder = Finder::new(&query("^a.c$", true, None), 1).unwrap();
        finder.look("f", "abc\na.c\n");
        assert_eq!(finder.into_hits().len(), 1);
    }

    #[test]
    fn globs_choose_files() {
        for (glob, path, wanted) in [
            ("*.rs", "src/a.rs", true),
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/b/a.rs", false),
            ("src/**/*.rs", "src/b/a.rs", true),
            ("src/**", "src/b/a.rs", true),
            ("*.{js,ts}", "x.ts", true),
            ("*.rs", "a.rsx", false),
        ] {
            assert_eq!(Finder::new(&query("x", false, Some(glob)), 1).unwrap().wants(path), wanted, "{glob} {path}");
        }
    }

    #[test]
    fn hostile_patterns_are_refused() {
        for bad in ["(", "(?:a{1000}){1000}", ""] {
            assert!(matches!(Finder::new(&query(bad, true, None), 1), Err(HostError::Invalid(_))), "{bad}");
        }
        assert!(Finder::new(&query("x", false, Some("{a")), 1).is_err());
    }
}
