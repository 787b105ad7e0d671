//! The scrum master spirit: turns requirements and a design into tasks.md, and does the tasks that no
//! other role fits.
#![forbid(unsafe_code)]

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

/// Turns requirements and a design into tasks.
#[derive(Debug)]
pub struct ScrumMaster;

impl Spirit for ScrumMaster {
    fn role() -> &'static str {
        "scrum_master"
    }

    fn title() -> &'static str {
        "Scrum master"
    }

    fn skills() -> &'static [&'static str] {
        &["planning", "coordination"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        match kind {
            WorkKind::Specify => None,
            WorkKind::Plan => Some(Prompt { en: include_str!("plan.en.md"), ja: include_str!("plan.ja.md") }),
            WorkKind::Implement => {
                Some(Prompt { en: include_str!("implement.en.md"), ja: include_str!("implement.ja.md") })
            }
        }
    }
}

necro_sdk::export_spirit!(ScrumMaster);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_its_own_planning_and_tasks_but_no_other_planning() {
        assert!(ScrumMaster::prompt(WorkKind::Plan).is_some_and(|p| p.ja.contains("_Skill")));
        assert!(ScrumMaster::prompt(WorkKind::Implement).is_some());
        assert!(ScrumMaster::prompt(WorkKind::Specify).is_none());
    }
}
