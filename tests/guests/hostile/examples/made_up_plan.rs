//! Places a task that does not exist, one into a pool that does not exist, and one twice.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::scheduling::{Placement, Plan, Pool, ReadyTask};
use necro_guest_hostile::necro_sdk::{Failure, SchedulingPolicy, Settings};

/// Does it.
#[derive(Debug)]
pub struct Deed;

impl SchedulingPolicy for Deed {
    fn order(ready: &[ReadyTask], _: &[Pool], _: &Settings, _: &str) -> Result<Plan, Failure> {
        let first = ready.first().ok_or_else(|| Failure::GaveUp("nothing is ready".to_owned()))?;
        let place = |task: &str, pool: &str| Placement {
            spec: first.spec.clone(),
            task: task.to_owned(),
            pool: pool.to_owned(),
        };
        let placements =
            vec![place("99", "all"), place(&first.task, "vip"), place(&first.task, "all"), place(&first.task, "all")];
        Ok(Plan { placements, state: String::new() })
    }
}

necro_guest_hostile::necro_sdk::export_scheduling!(Deed);
