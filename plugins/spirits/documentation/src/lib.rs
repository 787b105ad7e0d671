//! The documentation spirit: what people need to read.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Writes documentation.
#[derive(Debug)]
pub struct Documentation;

impl Spirit for Documentation {
    fn role() -> &'static str {
        "documentation"
    }

    fn title() -> &'static str {
        "Technical writer"
    }

    fn skills() -> &'static [&'static str] {
        &["readme", "guide", "reference", "tutorial"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        (kind == WorkKind::Implement)
            .then_some(Prompt { en: include_str!("prompt.en.md"), ja: include_str!("prompt.ja.md") })
    }
}

necro_sdk::export_spirit!(Documentation);
