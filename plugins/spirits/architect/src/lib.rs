//! The architect spirit: turns a job into requirements.md and design.md, and does tasks that are about
//! structure.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Turns a job into requirements and a design.
#[derive(Debug)]
pub struct Architect;

impl Spirit for Architect {
    fn role() -> &'static str {
        "architect"
    }

    fn title() -> &'static str {
        "Architect"
    }

    fn skills() -> &'static [&'static str] {
        &["requirements", "design", "architecture", "structure", "performance"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        match kind {
            WorkKind::Specify => Some(Prompt { en: include_str!("specify.en.md"), ja: include_str!("specify.ja.md") }),
            WorkKind::Plan => None,
            WorkKind::Implement => {
                Some(Prompt { en: include_str!("implement.en.md"), ja: include_str!("implement.ja.md") })
            }
        }
    }
}

necro_sdk::export_spirit!(Architect);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_its_own_planning_and_tasks_but_no_other_planning() {
        assert!(Architect::prompt(WorkKind::Specify).is_some_and(|p| p.ja.contains("#### Acceptance Criteria")));
        assert!(Architect::prompt(WorkKind::Implement).is_some());
        assert!(Architect::prompt(WorkKind::Plan).is_none());
    }
}
