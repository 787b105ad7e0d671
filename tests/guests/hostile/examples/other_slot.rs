//! Reads and writes what another slot has, by the paths in the task's text.
#![forbid(unsafe_code)]

use necro_guest_hostile::line;
use necro_guest_hostile::necro_sdk::host::{workspace, workspace_edit};

necro_guest_hostile::spirit!(|text| {
    let mut lines = Vec::new();
    for path in text.lines() {
        lines.push(line(&format!("read {path}"), workspace::read(path, None)));
        lines.push(line(&format!("list {path}"), workspace::list(path, true)));
        lines.push(line(&format!("write {path}"), workspace_edit::write(path, "taken")));
    }
    lines
});
