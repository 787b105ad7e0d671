//! Scheduling by skills: a task goes to a pool that is kept for its skill, the most specialised first, and
//! rather waits for it than take room that others could use. Among tasks, urgency decides.
#![forbid(unsafe_code)]

use necro_sdk::scheduling::{Placement, Plan, Pool, ReadyTask, Rooms, is_for, ordered, takes_all, urgency};
use necro_sdk::{Failure, SchedulingPolicy, Settings};
use serde::Deserialize;

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Whether a task whose specialised pools are full waits for them.
    wait: bool,
    /// A task that has waited this long takes general room all the same; milliseconds, 0: never.
    patience_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { wait: true, patience_ms: 10 * 60 * 1000 }
    }
}

/// The policy. It keeps no state.
#[derive(Debug)]
pub struct SkillBased;

impl SchedulingPolicy for SkillBased {
    fn order(ready: &[ReadyTask], pools: &[Pool], settings: &Settings, _: &str) -> Result<Plan, Failure> {
        let options: Options = settings.read()?;
        let mut rooms = Rooms::new(pools);
        let tasks = ordered(ready, urgency);
        let placements = tasks.into_iter().filter_map(|task| place(task, pools, &mut rooms, &options)).collect();
        Ok(Plan { placements, state: String::new() })
    }
}

/// The most specialised pool for the task's skill that has room, or general room where it may take that.
fn place(task: &ReadyTask, pools: &[Pool], rooms: &mut Rooms<'_>, options: &Options) -> Option<Placement> {
    let mut widths: Vec<usize> = pools.iter().filter(|pool| is_for(pool, task)).map(|pool| pool.skills.len()).collect();
    widths.sort_unstable();
    widths.dedup();
    for width in widths {
        let placed = rooms.place_where(task, |pool| is_for(pool, task) && pool.skills.len() == width);
        if placed.is_some() {
            return placed;
        }
    }
    // A pool that takes nothing at all is nothing to wait for.
    let has_own = pools.iter().any(|pool| is_for(pool, task) && pool.capacity > 0);
    let is_patient = options.patience_ms == 0 || task.waiting_ms < options.patience_ms;
    if has_own && options.wait && is_patient { None } else { rooms.place_where(task, takes_all) }
}

necro_sdk::export_scheduling!(SkillBased);

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, skill: &str, priority: i32) -> ReadyTask {
        ReadyTask {
            spec: "s".into(),
            task: id.into(),
            title: id.into(),
            skill: (!skill.is_empty()).then(|| skill.to_owned()),
            priority,
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
        let plan = SkillBased::order(ready, pools, &Settings::new(settings), "").unwrap();
        plan.placements.into_iter().map(|p| (p.task, p.pool)).collect()
    }

    fn pairs(placed: &[(&str, &str)]) -> Vec<(String, String)> {
        placed.iter().map(|(task, pool)| ((*task).to_owned(), (*pool).to_owned())).collect()
    }

    #[test]
    fn the_most_specialised_pool_is_filled_first() {
        let pools = [pool("all", 9, 0, &[]), pool("web", 2, 0, &["qa", "frontend"]), pool("qa", 1, 0, &["qa"])];
        let tasks = [task("1", "qa", 0), task("2", "qa", 0), task("3", "frontend", 0), task("4", "", 0)];
        assert_eq!(plan(&tasks, &pools, ""), pairs(&[("1", "qa"), ("2", "web"), ("3", "web"), ("4", "all")]));
    }

    #[test]
    fn a_task_waits_for_its_full_pool_as_far_as_settings_say() {
        let pools = [pool("all", 9, 0, &[]), pool("qa", 1, 1, &["qa"])];
        let waiting = ReadyTask { waiting_ms: 600_000, ..task("2", "qa", 0) };
        let tasks = [task("1", "qa", 0), waiting, task("3", "backend", 0)];
        assert_eq!(plan(&tasks, &pools, ""), pairs(&[("2", "all"), ("3", "all")]));
        assert_eq!(plan(&tasks, &pools, r#"{"patience_ms":0}"#), pairs(&[("3", "all")]));
        let all = pairs(&[("1", "all"), ("2", "all"), ("3", "all")]);
        assert_eq!(plan(&tasks, &pools, r#"{"wait":false}"#), all);
        let closed = [pool("all", 9, 0, &[]), pool("qa", 0, 0, &["qa"])];
        assert_eq!(plan(&tasks, &closed, ""), all);
    }

    #[test]
    fn urgency_decides_who_gets_the_specialised_room() {
        let pools = [pool("qa", 1, 0, &["qa"])];
        assert_eq!(plan(&[task("1", "qa", 0), task("2", "qa", 5)], &pools, ""), pairs(&[("2", "qa")]));
    }

    #[test]
    fn misspelt_settings_are_an_error() {
        assert!(SkillBased::order(&[], &[], &Settings::new(r#"{"waits":true}"#), "").is_err());
    }
}
