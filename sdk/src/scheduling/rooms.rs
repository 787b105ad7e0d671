//! Room in the pools while a plan is made: what was given in this round is gone.

use std::cmp::{Ordering, Reverse};

use super::{Placement, Plan, Pool, ReadyTask, compare_task_ids, free_room};

/// The pools of one round with the room that is left in each.
#[derive(Debug, Clone)]
pub struct Rooms<'a>(Vec<(&'a Pool, u32)>);

impl<'a> Rooms<'a> {
    /// The room of all pools as a round begins.
    #[must_use]
    pub fn new(pools: &'a [Pool]) -> Self {
        Self(pools.iter().map(|pool| (pool, free_room(pool))).collect())
    }

    /// Puts a task into a pool that takes its skill, or else into one that takes all. `None`: it has to wait.
    pub fn place(&mut self, task: &ReadyTask) -> Option<Placement> {
        self.place_where(task, |pool| is_for(pool, task)).or_else(|| self.place_where(task, takes_all))
    }

    /// Puts a task into the pool with the most room among those that `takes` accepts, the first listed among
    /// equals. `None`: none of them has room.
    pub fn place_where(&mut self, task: &ReadyTask, takes: impl Fn(&Pool) -> bool) -> Option<Placement> {
        let fitting = self.0.iter_mut().enumerate().filter(|(_, (pool, room))| *room > 0 && takes(pool));
        let (_, (pool, room)) = fitting.min_by_key(|(index, (_, room))| (Reverse(*room), *index))?;
        *room -= 1;
        Some(Placement { spec: task.spec.clone(), task: task.task.clone(), pool: pool.name.clone() })
    }
}

/// Whether a pool is one for the task's skill.
#[must_use]
pub fn is_for(pool: &Pool, task: &ReadyTask) -> bool {
    task.skill.as_ref().is_some_and(|skill| pool.skills.contains(skill))
}

/// Whether a pool takes every skill.
#[must_use]
pub fn takes_all(pool: &Pool) -> bool {
    pool.skills.is_empty()
}

/// By spec, then by number as people read it: what decides where nothing else does.
#[must_use]
pub fn compare_tasks(left: &ReadyTask, right: &ReadyTask) -> Ordering {
    left.spec.cmp(&right.spec).then_with(|| compare_task_ids(&left.task, &right.task))
}

/// Tasks in the order of `rank`, the smallest first; equal ones by [`compare_tasks`].
#[must_use]
pub fn ordered<K: Ord>(ready: &[ReadyTask], rank: impl Fn(&ReadyTask) -> K) -> Vec<&ReadyTask> {
    let mut tasks: Vec<&ReadyTask> = ready.iter().collect();
    tasks.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| compare_tasks(a, b)));
    tasks
}

/// A plan without a state that gives room to `tasks` in their order, as far as there is some.
#[must_use]
pub fn filled(tasks: Vec<&ReadyTask>, pools: &[Pool]) -> Plan {
    let mut rooms = Rooms::new(pools);
    Plan { placements: tasks.into_iter().filter_map(|task| rooms.place(task)).collect(), state: String::new() }
}

/// A rank for [`ordered`]: the higher priority first, then the longest path of work behind a task, then the most
/// tasks that wait for it.
#[must_use]
pub fn urgency(task: &ReadyTask) -> impl Ord + use<> {
    Reverse((task.priority, task.remaining_path, task.dependents))
}

/// Whether a task has waited for `after_ms` milliseconds or longer; with 0 none ever has.
#[must_use]
pub fn has_starved(task: &ReadyTask, after_ms: u64) -> bool {
    after_ms > 0 && task.waiting_ms >= after_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(spec: &str, id: &str) -> ReadyTask {
        ReadyTask {
            spec: spec.into(),
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

    #[test]
    fn the_rank_decides_then_spec_and_number_whatever_the_order_of_the_input() {
        let mut tasks = vec![task("b", "1"), task("a", "10"), task("a", "2"), task("c", "1")];
        for _ in 0..tasks.len() {
            tasks.rotate_left(1);
            let order: Vec<String> =
                ordered(&tasks, |t| t.spec != "c").iter().map(|t| format!("{}{}", t.spec, t.task)).collect();
            assert_eq!(order, ["c1", "a2", "a10", "b1"]);
        }
    }

    #[test]
    fn room_is_given_once() {
        let pools = [Pool { name: "p".into(), capacity: 3, running: 2, skills: vec![] }];
        let mut rooms = Rooms::new(&pools);
        assert_eq!(rooms.place(&task("s", "1")).map(|p| p.pool), Some("p".to_owned()));
        assert_eq!(rooms.place(&task("s", "2")), None);
    }
}
