//! Steering documents: YAML front matter says when a document is given to a spirit.

mod files;

pub use files::{MAX_FILE_TEXT_BYTES, MAX_FILES, paths_in, with_files};

use globset::{GlobBuilder, GlobMatcher};

/// When a document is included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inclusion {
    /// In every assignment; also when nothing is said.
    Always,
    /// When a file of the work matches one of these globs.
    FileMatch(Vec<String>),
    /// Only when a person or a task names it as `#name`.
    Manual,
    /// When its description fits the work.
    Auto,
    /// `never` and values that are not known.
    Never,
}

/// A steering document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steering {
    /// `name` of the front matter, else the file's name without `.md`.
    pub name: String,
    /// `description` of the front matter.
    pub description: Option<String>,
    /// When it is included.
    pub inclusion: Inclusion,
    /// The text without its front matter.
    pub text: String,
}

/// Reads a document; `file` is its name in the steering folder.
#[must_use]
pub fn read(file: &str, text: &str) -> Steering {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (front, body) = front_matter(text);
    let keys = keys(front);
    let value = |key: &str| keys.iter().find(|(k, _)| k == key).map(|(_, v)| v);
    let single = |key: &str| value(key).and_then(|v| v.first()).cloned();
    let patterns = || {
        let all = value("fileMatchPattern").or_else(|| value("filePatterns")).cloned().unwrap_or_default();
        all.iter().flat_map(|p| comma_list(p)).collect::<Vec<_>>()
    };
    let inclusion = match single("inclusion").as_deref() {
        None | Some("always") => Inclusion::Always,
        Some("fileMatch") => Inclusion::FileMatch(patterns()),
        Some("manual") => Inclusion::Manual,
        Some("auto") => Inclusion::Auto,
        Some(_) => Inclusion::Never,
    };
    let stem = file.strip_suffix(".md").unwrap_or(file);
    Steering {
        name: single("name").unwrap_or_else(|| stem.to_owned()),
        description: single("description"),
        inclusion,
        text: body.to_owned(),
    }
}

impl Steering {
    /// Whether the document belongs to work on `files` that is described by `about` (title and text).
    /// An automatic document belongs to it when `about` has a word of four letters or more that stands in
    /// its name or description; a manual one when `about` names it as `#name`.
    #[must_use]
    pub fn applies(&self, files: &[&str], about: &str) -> bool {
        match &self.inclusion {
            Inclusion::Always => true,
            Inclusion::FileMatch(patterns) => {
                let globs: Vec<GlobMatcher> = patterns.iter().filter_map(|p| glob(p)).collect();
                files.iter().any(|file| globs.iter().any(|glob| glob.is_match(file)))
            }
            Inclusion::Manual => names(about, &self.name),
            Inclusion::Auto => {
                let own = format!("{} {}", self.name, self.description.as_deref().unwrap_or("")).to_lowercase();
                let words: Vec<&str> = own.split(|c: char| !c.is_alphanumeric()).filter(|w| w.len() >= 4).collect();
                let about = about.to_lowercase();
                names(&about, &self.name.to_lowercase())
                    || about.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word))
            }
            Inclusion::Never => false,
        }
    }
}

/// Whether `#name` stands in the text as a word.
fn names(about: &str, name: &str) -> bool {
    about.match_indices('#').any(|(at, _)| {
        about[at + 1..]
            .strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_'))
    })
}

/// A pattern without a folder in it means files of that name anywhere.
fn glob(pattern: &str) -> Option<GlobMatcher> {
    let anywhere;
    let pattern = if pattern.contains('/') {
        pattern.strip_prefix("./").unwrap_or(pattern)
    } else {
        anywhere = format!("**/{pattern}");
        &anywhere
    };
    GlobBuilder::new(pattern).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
}

fn front_matter(text: &str) -> (&str, &str) {
    let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else { return ("", text) };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if matches!(line.trim_end(), "---" | "...") {
            return (&rest[..at], rest[at + line.len()..].trim_start_matches(['\r', '\n']));
        }
        at += line.len();
    }
    ("", text)
}

/// The keys of flat YAML: texts, `[lists]` and `- items`.
fn keys(front: &str) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for line in front.lines() {
        let plain = line.trim();
        if plain.is_empty() || plain.starts_with('#') {
            continue;
        }
        if let Some(item) = plain.strip_prefix("- ") {
            if let Some((_, values)) = out.last_mut() {
                values.push(unquote(item));
            }
        } else if let Some((key, value)) = plain.split_once(':') {
            let value = value.trim();
            let values = match value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) {
                Some(list) => comma_list(list),
                None if value.is_empty() => Vec::new(),
                None => vec![unquote(value)],
            };
            out.push((key.trim().to_owned(), values));
        }
    }
    out
}

/// Splits at commas outside quotes and braces.
fn comma_list(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let (mut depth, mut quote) = (0_i32, None);
    for c in text.chars() {
        match c {
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth <= 0 && quote.is_none() {
            out.push(String::new());
        } else if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out.iter().map(|item| unquote(item)).filter(|item| !item.is_empty()).collect()
}

fn unquote(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rule_of_inclusion_is_read() {
        let table = [
            ("text", Inclusion::Always),
            ("---\ninclusion: always\n---\ntext", Inclusion::Always),
            ("---\r\ninclusion: manual\r\n---\r\ntext", Inclusion::Manual),
            (
                "---\ninclusion: fileMatch\nfileMatchPattern: \"**/*.{ts,tsx}\"\n---\n\ntext",
                Inclusion::FileMatch(vec!["**/*.{ts,tsx}".into()]),
            ),
            (
                "---\ninclusion: fileMatch\nfileMatchPattern: ['a/*', \"b\"]\n---\ntext",
                Inclusion::FileMatch(vec!["a/*".into(), "b".into()]),
            ),
            (
                "---\ninclusion: fileMatch\nfileMatchPattern:\n  - a/*\n  - b\n---\ntext",
                Inclusion::FileMatch(vec!["a/*".into(), "b".into()]),
            ),
            (
                "---\ninclusion: fileMatch\nfileMatchPattern: \"*.py,*.rs\"\n---\ntext",
                Inclusion::FileMatch(vec!["*.py".into(), "*.rs".into()]),
            ),
            ("\u{feff}---\ninclusion: never\n---\ntext", Inclusion::Never),
        ];
        for (text, inclusion) in table {
            let read = read("style.md", text);
            assert_eq!(read.inclusion, inclusion, "{text:?}");
            assert_eq!(read.text, "text");
            assert_eq!(read.name, "style");
        }
        assert_eq!(read("a.md", "---\nno end").text, "---\nno end");
    }

    #[test]
    fn documents_apply_by_their_rule() {
        let with = |front: &str| read("api.md", &format!("---\n{front}\n---\nx"));
        let matched = with("inclusion: fileMatch\nfileMatchPattern: \"src/**/*.rs\"");
        assert!(matched.applies(&["src/a/b.rs"], ""));
        assert!(!matched.applies(&["tests/b.rs"], ""));
        let anywhere = with("inclusion: fileMatch\nfileMatchPattern: \"*.rs\"");
        assert!(anywhere.applies(&["a.rs"], "") && anywhere.applies(&["src/a/b.rs"], ""));
        assert!(with("inclusion: fileMatch\nfileMatchPattern: ./src/*").applies(&["src/x"], ""));
        assert!(with("inclusion: manual").applies(&[], "see #api please"));
        assert!(!with("inclusion: manual").applies(&[], "see #api-v2"));
        let auto = with("inclusion: auto\nname: api\ndescription: rules for endpoints");
        assert!(auto.applies(&[], "Write the endpoints"));
        assert!(!auto.applies(&[], "Paint it"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(---|\n|inclusion: |fileMatch|[\\[\\],'\"{}:# -]|[a-z日]){0,40}") {
            let _ = read("x.md", &text).applies(&["a"], &text);
        }
    }
}
