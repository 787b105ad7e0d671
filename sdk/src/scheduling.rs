//! Scheduling policies: which ready tasks start next, and in which pool.

mod rooms;

use std::cmp::Ordering;
use std::marker::PhantomData;

use crate::bindings::scheduling_policy::exports::necro::plugin::scheduling::Guest;
pub use crate::bindings::scheduling_policy::exports::necro::plugin::scheduling::{Placement, Plan, Pool, ReadyTask};
use crate::{Failure, Settings};
pub use rooms::{Rooms, compare_tasks, filled, has_starved, is_for, ordered, takes_all, urgency};

/// Orders ready tasks and names a pool for each. The same input must give the same plan.
pub trait SchedulingPolicy {
    /// Placements in the order of starting; tasks that are left out wait for the next round. `state` is
    /// what the last plan returned, at most 4 KiB; it is empty at first.
    ///
    /// # Errors
    /// A [`Failure`] makes the host fall back to its built-in policy.
    fn order(ready: &[ReadyTask], pools: &[Pool], settings: &Settings, state: &str) -> Result<Plan, Failure>;
}

/// Attempts that still fit into a pool.
#[must_use]
pub fn free_room(pool: &Pool) -> u32 {
    pool.capacity.saturating_sub(pool.running)
}

/// Task numbers in reading order: 2, 2.2, 2.2a, 2.10, 10.
#[must_use]
pub fn compare_task_ids(left: &str, right: &str) -> Ordering {
    let mut left_parts = left.split('.').map(part);
    let mut right_parts = right.split('.').map(part);
    loop {
        match (left_parts.next(), right_parts.next()) {
            (None, None) => return left.cmp(right),
            (l, r) => match l.cmp(&r) {
                Ordering::Equal => {}
                different => return different,
            },
        }
    }
}

/// Number and rest of one part. The number is compared by length first, so that it may be of any size.
fn part(text: &str) -> (usize, &str, &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    let number = number.trim_start_matches('0');
    (number.len(), number, rest)
}

/// The generated interface over the trait.
#[doc(hidden)]
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: SchedulingPolicy> Guest for Adapter<T> {
    fn order(ready: Vec<ReadyTask>, pools: Vec<Pool>, settings: String, state: String) -> Result<Plan, Failure> {
        T::order(&ready, &pools, &Settings::new(settings), &state)
    }
}

/// Make a type that implements [`SchedulingPolicy`] the component's export.
#[macro_export]
macro_rules! export_scheduling {
    ($policy:ty) => {
        const _: () = {
            const fn implements<T: $crate::SchedulingPolicy>() {}
            implements::<$policy>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::scheduling::Adapter<$policy>;
    $crate::bindings::scheduling_policy::export!(Exported with_types_in $crate::bindings::scheduling_policy);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_numbers_are_ordered_as_people_read_them() {
        let mut ids = ["10", "2.10", "2", "99999999999999999999999", "2.2a", "2.2", "2.02"];
        ids.sort_by(|a, b| compare_task_ids(a, b));
        assert_eq!(ids, ["2", "2.02", "2.2", "2.2a", "2.10", "10", "99999999999999999999999"]);
    }
}
