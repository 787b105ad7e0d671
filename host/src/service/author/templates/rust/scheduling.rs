//! Which ready tasks start next: the ones that have waited longest, as many as there is room for.

use necro_sdk::scheduling::{Plan, Pool, ReadyTask, free_room};
use necro_sdk::{Failure, SchedulingPolicy, Settings};

struct Policy;

impl SchedulingPolicy for Policy {
    fn order(ready: &[ReadyTask], pools: &[Pool], _: &Settings, _: &str) -> Result<Plan, Failure> {
        let pool = pools.first().ok_or_else(|| Failure::invalid("there is no pool"))?;
        let mut tasks: Vec<&ReadyTask> = ready.iter().collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.waiting_ms));
        tasks.truncate(usize::try_from(free_room(pool)).unwrap_or(usize::MAX));
        Ok(Plan { placements: tasks.iter().map(|task| task.in_pool(pool)).collect(), state: String::new() })
    }
}

necro_sdk::export_scheduling!(Policy);
