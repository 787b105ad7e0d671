//! Unified diffs and changes: what `workspace.diff` answers as files and hunks, and back as text to show.

use super::{Change, ChangedFile, DiffLine, FileChange, Hunk, LineKind};

const NOWHERE: &str = "/dev/null";

/// The files of a unified diff, with or without git's own header lines. Line numbers start at 1 where no
/// hunk header says otherwise; `size_bytes` counts the lines that are shown. What is no diff is passed over.
#[must_use]
pub fn read_diff(text: &str) -> Vec<ChangedFile> {
    let mut files: Vec<ChangedFile> = Vec::new();
    let mut old_path: Option<&str> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let header = line.strip_prefix("--- ").filter(|_| lines.peek().is_some_and(|next| next.starts_with("+++ ")));
        if let Some(path) = header {
            old_path = Some(path);
        } else if let (Some(old), Some(new)) = (old_path, line.strip_prefix("+++ ")) {
            files.push(begun(old, new));
            old_path = None;
        } else if let Some(paths) = line.strip_prefix("Binary files ") {
            let (old, new) = paths.trim_end_matches(" differ").split_once(" and ").unwrap_or((paths, paths));
            files.push(ChangedFile { binary: true, ..begun(old, new) });
        } else if let Some(file) = files.last_mut() {
            add(file, line);
        }
    }
    files
}

fn begun(old: &str, new: &str) -> ChangedFile {
    let (change, path) = match (old, new) {
        (NOWHERE, new) => (FileChange::Added, new.strip_prefix("b/").unwrap_or(new)),
        (old, NOWHERE) => (FileChange::Deleted, old.strip_prefix("a/").unwrap_or(old)),
        (_, new) => (FileChange::Modified, new.strip_prefix("b/").unwrap_or(new)),
    };
    ChangedFile { path: path.to_owned(), change, binary: false, size_bytes: 0, hunks: Vec::new() }
}

fn add(file: &mut ChangedFile, line: &str) {
    if let Some(header) = line.strip_prefix("@@ -") {
        let number = |part: Option<&str>| -> u32 {
            part.and_then(|p| p.trim_start_matches('+').split(',').next()).and_then(|n| n.parse().ok()).unwrap_or(1)
        };
        let mut parts = header.split(' ');
        let (old_start, new_start) = (number(parts.next()), number(parts.next()));
        file.hunks.push(Hunk { old_start, new_start, lines: Vec::new() });
        return;
    }
    let kind = match line.as_bytes().first() {
        Some(b'+') => LineKind::Added,
        Some(b'-') => LineKind::Removed,
        Some(b' ') | None => LineKind::Context,
        Some(_) => return,
    };
    if file.hunks.is_empty() {
        file.hunks.push(Hunk { old_start: 1, new_start: 1, lines: Vec::new() });
    }
    let text = line.get(1..).unwrap_or_default().to_owned();
    if kind != LineKind::Removed {
        file.size_bytes += text.len() as u64 + 1;
    }
    if let Some(hunk) = file.hunks.last_mut() {
        hunk.lines.push(DiffLine { kind, text });
    }
}

/// A file of a change as a unified diff.
#[must_use]
pub fn write_diff(file: &ChangedFile) -> String {
    let (old, new) = match file.change {
        FileChange::Added => (NOWHERE.to_owned(), format!("b/{}", file.path)),
        FileChange::Modified => (format!("a/{}", file.path), format!("b/{}", file.path)),
        FileChange::Deleted => (format!("a/{}", file.path), NOWHERE.to_owned()),
    };
    if file.binary {
        return format!("Binary files {old} and {new} differ\n");
    }
    let mut text = format!("--- {old}\n+++ {new}\n");
    for hunk in &file.hunks {
        let count = |kind| hunk.lines.iter().filter(|line| line.kind != kind).count();
        let (before, after) = (count(LineKind::Added), count(LineKind::Removed));
        text.push_str(&format!("@@ -{},{before} +{},{after} @@\n", hunk.old_start, hunk.new_start));
        for line in &hunk.lines {
            text.push(match line.kind {
                LineKind::Context => ' ',
                LineKind::Added => '+',
                LineKind::Removed => '-',
            });
            text.push_str(&line.text);
            text.push('\n');
        }
    }
    text
}

/// A change with the files of a unified diff, made by `role` in a task of no name: what tests start from.
#[must_use]
pub fn change_of(role: &str, diff: &str) -> Change {
    Change {
        spec: "a-spec".to_owned(),
        task: "1".to_owned(),
        title: "a task".to_owned(),
        text: String::new(),
        commit_title: "do the task".to_owned(),
        instance: format!("{role}_spirit_1"),
        role: role.to_owned(),
        attempt: 1,
        files: read_diff(diff),
        checks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "--- a/src/a.rs
+++ b/src/a.rs
@@ -3,3 +3,3 @@
 one
-two
+three

@@ -20,0 +20,1 @@
+four
--- /dev/null
+++ b/new.txt
@@ -0,0 +1,1 @@
+--- a sign
--- a/old.txt
+++ /dev/null
@@ -1,1 +0,0 @@
-gone
Binary files a/x.png and b/x.png differ
";

    #[test]
    fn files_hunks_and_kinds_are_read() {
        let files = read_diff(DIFF);
        let seen: Vec<(&str, FileChange, bool)> = files.iter().map(|f| (f.path.as_str(), f.change, f.binary)).collect();
        let expected = [
            ("src/a.rs", FileChange::Modified, false),
            ("new.txt", FileChange::Added, false),
            ("old.txt", FileChange::Deleted, false),
            ("x.png", FileChange::Modified, true),
        ];
        assert_eq!(seen, expected);
        assert_eq!(files[0].hunks[1].new_start, 20);
        assert_eq!(files[1].hunks[0].lines[0].text, "--- a sign");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let files = read_diff(DIFF);
        let text: String = files.iter().map(write_diff).collect();
        assert_eq!(read_diff(&text), files);
    }
}
