//! Reads and writes files that its scopes leave out.
#![forbid(unsafe_code)]

use necro_guest_hostile::line;
use necro_guest_hostile::necro_sdk::host::{workspace, workspace_edit};

necro_guest_hostile::spirit!(|_| {
    vec![
        line("read", workspace::read("private/key.txt", None)),
        line("read through a folder", workspace::read("src/../private/key.txt", None)),
        line("write", workspace_edit::write(".github/workflows/ci.yml", "on: push")),
        line("remove", workspace_edit::remove("private/key.txt")),
    ]
});
