//! The frontend spirit: what people see and touch.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Builds what people see and touch.
#[derive(Debug)]
pub struct Frontend;

impl Spirit for Frontend {
    fn role() -> &'static str {
        "frontend"
    }

    fn title() -> &'static str {
        "Frontend engineer"
    }

    fn skills() -> &'static [&'static str] {
        &["ui", "ux", "html", "css", "accessibility", "component"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        (kind == WorkKind::Implement)
            .then_some(Prompt { en: include_str!("prompt.en.md"), ja: include_str!("prompt.ja.md") })
    }
}

necro_sdk::export_spirit!(Frontend);
