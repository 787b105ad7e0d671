//! A spirit: who it is, what it can do, and how it works, in words for a model. The coding loop of the SDK
//! does the rest.

use necro_sdk::Spirit;
use necro_sdk::spirit::{Prompt, WorkKind};

struct Worker;

impl Spirit for Worker {
    fn role() -> &'static str {
        "{{role}}"
    }

    fn title() -> &'static str {
        "{{title}}"
    }

    fn skills() -> &'static [&'static str] {
        &["{{role}}"]
    }

    fn prompt(kind: WorkKind) -> Option<Prompt> {
        let prompt = Prompt {
            en: "You make small, tested changes, and leave everything else as it is.",
            ja: "小さな変更をテストとともに行い、ほかはそのままにします。",
        };
        (kind == WorkKind::Implement).then_some(prompt)
    }
}

necro_sdk::export_spirit!(Worker);
