//! The QA spirit: tests for what others built, and the bugs that they show.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Tests what others built.
#[derive(Debug)]
pub struct Qa;

impl Spirit for Qa {
    fn role() -> &'static str {
        "qa"
    }

    fn title() -> &'static str {
        "Quality engineer"
    }

    fn skills() -> &'static [&'static str] {
        &["test", "bug", "coverage", "e2e", "fixture"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        (kind == WorkKind::Implement)
            .then_some(Prompt { en: include_str!("prompt.en.md"), ja: include_str!("prompt.ja.md") })
    }
}

necro_sdk::export_spirit!(Qa);
