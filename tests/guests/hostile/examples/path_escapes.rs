//! Tries every way out of the work tree, with every call that takes a path.
#![forbid(unsafe_code)]

use necro_guest_hostile::line;
use necro_guest_hostile::necro_sdk::host::{workspace, workspace_edit};

/// Ways out of the work tree, into `.git`, and names that no file can have.
const ESCAPES: &[&str] = &[
    "../secret.txt",
    "src/../../secret.txt",
    "./../secret.txt",
    "src/./../../secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "a\0b",
    "src/a.rs\0.txt",
    ".git",
    ".git/config",
    ".GIT/config",
    "src/.git/hooks/pre-commit",
    ".git/../src/a.rs",
    "..",
    "a//../../../b",
    "/proc/self/environ",
    "/dev/zero",
];

necro_guest_hostile::spirit!(|_| {
    let long = format!("{}x", "d/".repeat(5_000));
    let mut lines = Vec::new();
    for path in ESCAPES.iter().copied().chain([long.as_str(), &"n".repeat(300)]) {
        let short: String = path.chars().take(40).collect();
        let edit = workspace_edit::Edit { path: path.to_owned(), old_text: "a".to_owned(), new_text: "b".to_owned() };
        lines.push(line(&format!("read {short}"), workspace::read(path, None)));
        lines.push(line(&format!("list {short}"), workspace::list(path, false)));
        lines.push(line(&format!("write {short}"), workspace_edit::write(path, "x")));
        lines.push(line(&format!("apply {short}"), workspace_edit::apply(&[edit])));
        lines.push(line(&format!("remove {short}"), workspace_edit::remove(path)));
    }
    lines
});
