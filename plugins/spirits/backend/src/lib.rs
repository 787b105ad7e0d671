//! The backend spirit: services, interfaces and the logic behind them.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Builds services, interfaces and logic.
#[derive(Debug)]
pub struct Backend;

impl Spirit for Backend {
    fn role() -> &'static str {
        "backend"
    }

    fn title() -> &'static str {
        "Backend engineer"
    }

    fn skills() -> &'static [&'static str] {
        &["api", "service", "authentication", "logic", "cli", "library"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        (kind == WorkKind::Implement)
            .then_some(Prompt { en: include_str!("prompt.en.md"), ja: include_str!("prompt.ja.md") })
    }
}

necro_sdk::export_spirit!(Backend);
