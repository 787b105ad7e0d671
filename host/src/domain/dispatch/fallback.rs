//! The built-in rules that decide when a policy traps, exceeds a limit or answers nonsense.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::domain::policy::{Candidate, Decision, Issue, Placement, Pool, ReadyTask};

use super::takes;

/// The role that takes what nobody else takes.
const LAST_RESORT: &str = "scrum_master";

/// Why a candidate is taken, and whether it is.
type Rule<'a> = (&'a str, &'a dyn Fn(&Candidate) -> bool);

/// Urgent first, then what most work hangs on, then what has waited longest, then by number; each
/// into the pool with the smallest share in use, as long as there is room.
#[must_use]
pub fn fallback_plan(ready: &[ReadyTask], pools: &[Pool]) -> Vec<Placement> {
    let mut order: Vec<&ReadyTask> = ready.iter().collect();
    order.sort_by_key(|t| (Reverse((t.priority, t.remaining_path, t.waiting_ms)), &t.spec, &t.task));
    let mut running: BTreeMap<&str, u32> = pools.iter().map(|p| (p.name.as_str(), p.running)).collect();
    let mut placements = Vec::new();
    for task in order {
        let free = pools
            .iter()
            .filter(|p| takes(p, task.skill.as_deref()))
            .filter(|p| running[p.name.as_str()] < p.capacity)
            // Shares of 10,000; the first of equal ones.
            .min_by_key(|p| u64::from(running[p.name.as_str()]) * 10_000 / u64::from(p.capacity.max(1)));
        if let Some(pool) = free {
            *running.entry(&pool.name).or_default() += 1;
            placements.push(Placement { spec: task.spec.clone(), task: task.task.clone(), pool: pool.name.clone() });
        }
    }
    placements
}

/// The least busy spirit of the role that a label names, else of those that have a labelled skill,
/// else a scrum master, else anyone. `None` only without candidates. Its state is empty and must not
/// replace the policy's.
#[must_use]
pub fn fallback_route(issue: &Issue, candidates: &[Candidate]) -> Option<Decision> {
    let labelled = |text: &str| issue.labels.iter().any(|l| l.eq_ignore_ascii_case(text));
    let rules: [Rule<'_>; 4] = [
        ("a label names its role", &|c| labelled(c.role.as_str())),
        ("a label names its skill", &|c| c.skills.iter().any(|s| labelled(s))),
        ("nothing matches, and the scrum master takes what is left", &|c| c.role.as_str() == LAST_RESORT),
        ("nothing matches, and there is no scrum master", &|_| true),
    ];
    rules.iter().find_map(|(why, fits)| {
        let chosen = candidates
            .iter()
            .filter(|c| fits(c))
            .min_by_key(|c| (c.load, c.last_assigned, c.instance.role(), c.instance.number()))?;
        Some(Decision {
            instance: chosen.instance.clone(),
            scores: Vec::new(),
            reason: format!("built-in rule: {why}; least busy"),
            state: String::new(),
        })
    })
}
