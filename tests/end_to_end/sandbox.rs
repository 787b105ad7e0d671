//! A sandbox that is switched off is said wherever somebody reads about the run.

use serde_json::Value;

use crate::replies::Replies;
use crate::world::{SETTINGS, World, finish};

const PLAN: &str = "# Plan\n\n- [ ] 1. Buy bread\n  - _Skill: backend_\n";

#[test]
fn every_report_says_that_the_sandbox_is_off_and_none_says_so_when_it_is_on() {
    for (setting, word) in [("[run]\nsandbox = \"off\"\n\n", "off"), ("", "on")] {
        let settings = format!("{setting}{SETTINGS}");
        let world = World::new(&[("necro.toml", &settings), (".kiro/specs/list/tasks.md", PLAN)]);
        let replies = Replies::default().writes("backend", "1", None, "bread.txt", "rye\n");
        let run = world.run(&replies.text(), &["--spec", "list"]);
        assert_eq!(run.done()["sandbox"], word);
        let told = |name: &str, args: &[&str]| finish(&mut world.command(name, args)).stdout;
        let reports = [run.stderr.clone(), told("status", &[]), told("show", &["1"])];
        for report in &reports {
            let says = report.lines().any(|line| line.contains("sandbox") && line.contains("off"));
            assert_eq!(says, word == "off", "{report}");
        }
        let shown: Value = serde_json::from_str(&told("show", &["1", "--json"])).unwrap();
        // As the artifact of the gate's results has it.
        assert_eq!(shown["attempts"][0]["sandbox"], word, "{shown:#}");
    }
}
