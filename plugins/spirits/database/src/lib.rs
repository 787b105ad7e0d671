//! The database spirit: schemas, migrations and queries.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Builds schemas, migrations and queries.
#[derive(Debug)]
pub struct Database;

impl Spirit for Database {
    fn role() -> &'static str {
        "database"
    }

    fn title() -> &'static str {
        "Database engineer"
    }

    fn skills() -> &'static [&'static str] {
        &["schema", "migration", "query", "sql", "model"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        (kind == WorkKind::Implement)
            .then_some(Prompt { en: include_str!("prompt.en.md"), ja: include_str!("prompt.ja.md") })
    }
}

necro_sdk::export_spirit!(Database);
