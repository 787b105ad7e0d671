//! Scheduling by urgency: higher priority first, then the task with the longest path of work behind it,
//! then the one that more tasks wait for, then spec and task number. Waiting time is a clock reading and
//! would make equal runs differ, so it counts only beyond a large threshold, against starvation.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use necro_sdk::scheduling::{Plan, Pool, ReadyTask, filled, has_starved, ordered, urgency};
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
pub struct Priority;

impl SchedulingPolicy for Priority {
    fn order(ready: &[ReadyTask], pools: &[Pool], settings: &Settings, _: &str) -> Result<Plan, Failure> {
        let options: Options = settings.read()?;
        let tasks = ordered(ready, |task| (Reverse(has_starved(task, options.starvation_ms)), urgency(task)));
        Ok(filled(tasks, pools))
    }
}

necro_sdk::export_scheduling!(Priority);

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str) -> ReadyTask {
        ReadyTask {
            spec: "s".into(),
            task: id.into(),
            title: id.into(),
            skill: None,
            priority: 0,
            waiting_ms: 0,
            dependents: 0,
            remaining_path: 1,
            attempt: 1,
        }
    }

    fn pool(name: &str, capacity: u32, running: u32, skills: &[&str]) -> Pool {
        Pool { name: name.into(), capacity, running, skills: skills.iter().map(|s| (*s).to_owned()).collect() }
    }

    fn plan(ready: &[ReadyTask], pools: &[Pool], settings: &str) -> Vec<(String, String)> {
        let plan = Priority::order(ready, pools, &Settings::new(settings), "").unwrap();
        plan.placements.into_iter().map(|p| (p.task, p.pool)).collect()
    }

    fn order(ready: &[ReadyTask], settings: &str) -> Vec<String> {
        plan(ready, &[pool("p", 99, 0, &[])], settings).into_iter().map(|(task, _)| task).collect()
    }

    #[test]
    fn urgency_then_path_then_dependents_then_number() {
        let tasks = [
            task("10"),
            task("2"),
            ReadyTask { dependents: 3, ..task("7") },
            ReadyTask { remaining_path: 4, ..task("8") },
            ReadyTask { priority: 1, ..task("9") },
        ];
        assert_eq!(order(&tasks, ""), ["9", "8", "7", "2", "10"]);
    }

    #[test]
    fn waiting_counts_only_beyond_the_threshold() {
        let waiting = |id: &str, waiting_ms| ReadyTask { waiting_ms, ..task(id) };
        assert_eq!(order(&[waiting("1", 5), waiting("2", 1_799_999)], ""), ["1", "2"]);
        assert_eq!(order(&[waiting("1", 5), waiting("2", 1_800_000)], ""), ["2", "1"]);
        assert_eq!(order(&[waiting("1", 5), waiting("2", 9)], r#"{"starvation_ms":9}"#), ["2", "1"]);
        assert_eq!(order(&[waiting("1", 5), waiting("2", u64::MAX)], r#"{"starvation_ms":0}"#), ["1", "2"]);
    }

    #[test]
    fn the_order_of_the_input_does_not_matter() {
        let mut tasks = [task("1"), task("2"), ReadyTask { spec: "a".into(), ..task("2") }];
        let forward = plan(&tasks, &[pool("p", 2, 0, &[])], "");
        tasks.reverse();
        assert_eq!(plan(&tasks, &[pool("p", 2, 0, &[])], ""), forward);
    }

    #[test]
    fn a_round_never_gives_more_than_the_free_room() {
        let tasks: Vec<ReadyTask> = (1..=10).map(|n| task(&n.to_string())).collect();
        let pools = [pool("full", 2, 5, &[]), pool("a", 3, 1, &[]), pool("b", 2, 0, &[])];
        let names: Vec<String> = plan(&tasks, &pools, "").into_iter().map(|(_, pool)| pool).collect();
        assert_eq!(names, ["a", "b", "a", "b"]);
    }

    #[test]
    fn a_pool_for_the_skill_comes_before_one_for_all() {
        let skilled = |id: &str| ReadyTask { skill: Some("qa".into()), ..task(id) };
        let pools = [pool("all", 9, 0, &[]), pool("qa", 1, 0, &["qa"]), pool("ops", 9, 0, &["devops"])];
        let placed = plan(&[skilled("1"), skilled("2"), task("3")], &pools, "");
        assert_eq!(placed.iter().map(|(_, p)| p.as_str()).collect::<Vec<_>>(), ["qa", "all", "all"]);
        assert_eq!(plan(&[task("1")], &pools[1..], ""), []);
    }

    #[test]
    fn misspelt_settings_are_an_error() {
        assert!(Priority::order(&[], &[], &Settings::new(r#"{"starvation":1}"#), "").is_err());
    }
}
