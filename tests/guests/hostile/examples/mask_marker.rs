//! Reads a file with a masked secret and writes back what it read, marker and all.
#![forbid(unsafe_code)]

use necro_guest_hostile::line;
use necro_guest_hostile::necro_sdk::host::{workspace, workspace_edit};

necro_guest_hostile::spirit!(|path| {
    let text = workspace::read(path, None).map(|file| file.text).unwrap_or_default();
    vec![
        format!("seen: {text:?}"),
        line("write back", workspace_edit::write(path, &text)),
        line("write elsewhere", workspace_edit::write("src/copy.rs", &text)),
    ]
});
