//! Scheduling in turn: the task that has waited longest first, then spec and task number.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use necro_sdk::scheduling::{Plan, Pool, ReadyTask, filled, ordered};
use necro_sdk::{Failure, SchedulingPolicy, Settings};
use serde::Deserialize;

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Waiting times within the same span count as equal, so that tasks that became ready together go by
    /// their numbers; milliseconds, 0: every millisecond counts.
    same_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { same_ms: 1_000 }
    }
}

/// The policy. It keeps no state.
#[derive(Debug)]
pub struct Fifo;

impl SchedulingPolicy for Fifo {
    fn order(ready: &[ReadyTask], pools: &[Pool], settings: &Settings, _: &str) -> Result<Plan, Failure> {
        let options: Options = settings.read()?;
        let tasks = ordered(ready, |task| Reverse(task.waiting_ms / options.same_ms.max(1)));
        Ok(filled(tasks, pools))
    }
}

necro_sdk::export_scheduling!(Fifo);

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, waiting_ms: u64) -> ReadyTask {
        ReadyTask {
            spec: "s".into(),
            task: id.into(),
            title: id.into(),
            skill: None,
            priority: 0,
            waiting_ms,
            dependents: 0,
            remaining_path: 1,
            attempt: 1,
        }
    }

    fn order(ready: &[ReadyTask], capacity: u32, settings: &str) -> Vec<String> {
        let pools = [Pool { name: "p".into(), capacity, running: 0, skills: vec![] }];
        let plan = Fifo::order(ready, &pools, &Settings::new(settings), "").unwrap();
        plan.placements.into_iter().map(|p| p.task).collect()
    }

    #[test]
    fn who_waited_longest_goes_first_whatever_its_priority() {
        let urgent = ReadyTask { priority: 9, remaining_path: 9, ..task("1", 5_000) };
        assert_eq!(order(&[urgent, task("2", 9_000), task("3", 7_000)], 2, ""), ["2", "3"]);
        assert_eq!(order(&[task("2", u64::MAX), task("1", 0)], 2, ""), ["2", "1"]);
    }

    #[test]
    fn those_that_became_ready_together_go_by_number() {
        let tasks = [task("10", 1_900), task("2", 1_100), task("1", 900)];
        assert_eq!(order(&tasks, 9, ""), ["2", "10", "1"]);
        assert_eq!(order(&tasks, 9, r#"{"same_ms":0}"#), ["10", "2", "1"]);
    }

    #[test]
    fn misspelt_settings_are_an_error() {
        assert!(Fifo::order(&[], &[], &Settings::new(r#"{"same":1}"#), "").is_err());
    }
}
