//! The DevOps spirit: builds, pipelines, packaging and deployment.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Builds pipelines, packaging and deployment.
#[derive(Debug)]
pub struct DevOps;

impl Spirit for DevOps {
    fn role() -> &'static str {
        "devops"
    }

    fn title() -> &'static str {
        "DevOps engineer"
    }

    fn skills() -> &'static [&'static str] {
        &["ci", "docker", "deployment", "build", "release"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        (kind == WorkKind::Implement)
            .then_some(Prompt { en: include_str!("prompt.en.md"), ja: include_str!("prompt.ja.md") })
    }
}

necro_sdk::export_spirit!(DevOps);
