//! Paths as spirits name them: relative, with `/`, inside the work tree, and never git's own.

use crate::domain::call::HostError;

/// Longest path, in bytes.
pub(crate) const MAX_PATH_BYTES: usize = 1024;
/// Longest part of a path, in bytes: what file systems take.
const MAX_PART_BYTES: usize = 255;

/// Most parts of a path: folders that deep are still easily walked and removed.
const MAX_PARTS: usize = 64;

/// A checked path, without `.` parts; empty for the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkPath(String);

impl WorkPath {
    /// Checks a path. `.` and the empty path are the root.
    pub(crate) fn parse(text: &str) -> Result<Self, HostError> {
        let shown: String = text.chars().take(100).collect();
        let denied = |why: &str| Err(HostError::Denied(format!("`{shown}`: {why}")));
        let invalid = |why: &str| Err(HostError::Invalid(format!("`{shown}`: {why}")));
        if text.len() > MAX_PATH_BYTES {
            return invalid("the path is longer than 1,024 bytes");
        }
        if text.contains(|c: char| c.is_control()) {
            return invalid("the path has control characters");
        }
        if text.starts_with('/') || text.starts_with('~') && (text.len() == 1 || text[1..].starts_with('/')) {
            return denied("paths are relative to the root of the work tree");
        }
        if text.contains('\\') {
            return invalid("write `/` between the parts of a path");
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return denied("`..` is not allowed"),
                part if part.len() > MAX_PART_BYTES => return invalid("a part of it is longer than 255 bytes"),
                part if is_reserved(part) => return denied("git's own files are not part of the work tree"),
                part => parts.push(part),
            }
        }
        if parts.len() > MAX_PARTS {
            return invalid("it is more than 64 folders deep");
        }
        Ok(Self(parts.join("/")))
    }

    /// The same, for a path that must name a file.
    pub(crate) fn parse_file(text: &str) -> Result<Self, HostError> {
        let path = Self::parse(text)?;
        if path.0.is_empty() || text.ends_with('/') {
            return Err(HostError::Invalid(format!("`{text}` is a folder; name a file")));
        }
        Ok(path)
    }

    /// The text; empty for the root.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// For functions that need some name: `.` for the root.
    pub(crate) fn or_dot(&self) -> &str {
        if self.0.is_empty() { "." } else { &self.0 }
    }
}

/// Whether one part of a path is `.git` on some system: in any case, with the characters that HFS+
/// ignores, or in the short and trimmed forms of NTFS.
pub(crate) fn is_reserved(part: &str) -> bool {
    let bare: String = part.chars().filter(|c| !is_ignored_by_hfs(*c)).flat_map(char::to_lowercase).collect();
    let bare = bare.split([':', '\\']).next().unwrap_or_default().trim_end_matches([' ', '.']);
    bare == ".git"
        || bare.strip_prefix("git~").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        || part.contains('\\')
}

const fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_the_work_tree_pass() {
        let long = "a/".repeat(600);
        let wide = "a".repeat(256);
        let deep = "a/".repeat(65);
        let deepest = vec!["a"; 64].join("/");
        for bad in [
            "..",
            "a/../b",
            "../x",
            "a/..",
            "/etc/passwd",
            "~",
            "~/x",
            "a\0b",
            "a\nb",
            ".git",
            ".git/config",
            "a/.git",
            ".GIT/hooks",
            "a/.Git/x",
            ".git ",
            ".git.",
            ".git. .",
            "git~1",
            "GIT~2/x",
            ".git::$INDEX_ALLOCATION",
            ".g\u{200c}it",
            "\u{feff}.git",
            "a\\b",
            "..\\x",
            ".git\\config",
            &long,
            &wide,
            &deep,
        ] {
            assert!(WorkPath::parse(bad).is_err(), "{bad:?} passed");
        }
        for (good, expected) in [
            ("", ""),
            (".", ""),
            ("./", ""),
            ("a", "a"),
            ("./a//b/", "a/b"),
            (".gitignore", ".gitignore"),
            (".github/x", ".github/x"),
            ("git", "git"),
            ("git~x", "git~x"),
            ("a..b/...c", "a..b/...c"),
            ("日本/語 x", "日本/語 x"),
            ("~a/b", "~a/b"),
            (&deepest, &deepest),
        ] {
            assert_eq!(WorkPath::parse(good).unwrap().as_str(), expected, "{good:?}");
        }
        assert!(WorkPath::parse_file("a/").is_err());
        assert!(WorkPath::parse_file(".").is_err());
    }
}
