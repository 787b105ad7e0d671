//! Which ready tasks start next: the ones that have waited longest, as many as there is room for.

use necro_sdk::scheduling::{Placement, Plan, Pool, ReadyTask, free_room};
use necro_sdk::{Failure, SchedulingPolicy, Settings};

struct Policy;

impl SchedulingPolicy for Policy {
    fn order(ready: &[ReadyTask], pools: &[Pool], _: &Settings, _: &str) -> Result<Plan, Failure> {
        let pool = pools.first().ok_or(Failure::Invalid("there is no pool".into()))?;
        let mut tasks: Vec<&ReadyTask> = ready.iter().collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.waiting_ms));
        let room = usize::try_from(free_room(pool)).unwrap_or(usize::MAX);
        let place = |task: &&ReadyTask| Placement {
            spec: task.spec.clone(),
            task: task.task.clone(),
            pool: pool.name.clone(),
        };
        Ok(Plan { placements: tasks.iter().take(room).map(place).collect(), state: String::new() })
    }
}

necro_sdk::export_scheduling!(Policy);
