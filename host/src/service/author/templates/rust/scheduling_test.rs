//! The component plans, in the real host. Run these with `necro-host plugin test`.

use necro_sdk::Failure;
use necro_sdk::harness::{Harness, pool, ready};
use necro_sdk::scheduling::{Pool, ReadyTask};

#[test]
fn who_has_waited_longest_starts_first_and_only_as_many_as_fit() {
    let tasks = [
        ReadyTask { waiting_ms: 10, ..ready("1") },
        ReadyTask { waiting_ms: 30, ..ready("2") },
        ReadyTask { waiting_ms: 20, ..ready("3") },
    ];
    let plan = Harness::new().order(tasks, [Pool { capacity: 2, ..pool("default") }]);
    let order: Vec<&str> = plan.result().placements.iter().map(|placement| placement.task.as_str()).collect();
    assert_eq!(order, ["2", "3"]);
}

#[test]
fn without_a_pool_nothing_can_be_planned() {
    let plan = Harness::new().order([ready("1")], []);
    assert_eq!(plan.failure(), &Failure::invalid("there is no pool"));
}
