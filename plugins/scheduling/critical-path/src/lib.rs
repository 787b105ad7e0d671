//! Scheduling by the critical path: the task with the longest path of work behind it first, then the one
//! that more tasks wait for, then the more urgent. One that has waited very long goes before all.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use necro_sdk::scheduling::{Plan, Pool, ReadyTask, filled, has_starved, ordered};
use necro_sdk::{Failure, SchedulingPolicy, Settings};
use serde::Deserialize;

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// A task that has waited this long goes before all that have not; 0: never.
    starvation_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { starvation_ms: 30 * 60 * 1000 }
    }
}

/// The policy. It keeps no state.
#[derive(Debug)]
pub struct CriticalPath;

impl SchedulingPolicy for CriticalPath {
    fn order(ready: &[ReadyTask], pools: &[Pool], settings: &Settings, _: &str) -> Result<Plan, Failure> {
        let options: Options = settings.read()?;
        let tasks = ordered(ready, |task| {
            let starved = has_starved(task, options.starvation_ms);
            Reverse((starved, task.remaining_path, task.dependents, task.priority))
        });
        Ok(filled(tasks, pools))
    }
}

necro_sdk::export_scheduling!(CriticalPath);

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, remaining_path: u32, dependents: u32, priority: i32) -> ReadyTask {
        ReadyTask {
            spec: "s".into(),
            task: id.into(),
            title: id.into(),
            skill: None,
            priority,
            waiting_ms: 0,
            dependents,
            remaining_path,
            attempt: 1,
        }
    }

    fn order(ready: &[ReadyTask], settings: &str) -> Vec<String> {
        let pools = [Pool { name: "p".into(), capacity: 99, running: 0, skills: vec![] }];
        let plan = CriticalPath::order(ready, &pools, &Settings::new(settings), "").unwrap();
        plan.placements.into_iter().map(|p| p.task).collect()
    }

    #[test]
    fn the_path_decides_then_dependents_then_priority_then_number() {
        let tasks = [
            task("10", 1, 0, 0),
            task("2", 1, 0, 0),
            task("3", 1, 0, 5),
            task("4", 1, 7, 0),
            task("5", 3, 2, 0),
            task("6", 3, 4, 0),
        ];
        assert_eq!(order(&tasks, ""), ["6", "5", "4", "3", "2", "10"]);
    }

    #[test]
    fn a_task_at_the_end_of_its_path_is_not_kept_waiting_for_ever() {
        let starved = ReadyTask { waiting_ms: 1_800_000, ..task("9", 1, 0, 0) };
        let tasks = [task("1", 8, 8, 0), starved];
        assert_eq!(order(&tasks, ""), ["9", "1"]);
        assert_eq!(order(&tasks, r#"{"starvation_ms":1800001}"#), ["1", "9"]);
        assert_eq!(order(&tasks, r#"{"starvation_ms":0}"#), ["1", "9"]);
    }

    #[test]
    fn misspelt_settings_are_an_error() {
        assert!(CriticalPath::order(&[], &[], &Settings::new(r#"{"starvation":1}"#), "").is_err());
    }
}
