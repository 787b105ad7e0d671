//! Order that nobody wrote down for a single task: waves, and file order where there is no graph.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::diagnostic::Collector;
use super::{MAX_DEPENDENCIES, Mode, Net};

/// Adds implicit dependencies to `depends`.
pub(super) fn add(
    net: &Net<'_>,
    mode: Mode,
    waves: Option<&[Vec<usize>]>,
    depends: &mut [Vec<usize>],
    found: &mut Collector,
) {
    let own;
    let waves = match (mode, waves) {
        (Mode::Depends, _) => return,
        (_, Some(waves)) => waves,
        (_, None) => {
            own = file_order(net);
            &own
        }
    };
    let mut rank: Vec<Option<usize>> = vec![None; net.items.len()];
    for (number, wave) in waves.iter().enumerate() {
        for at in wave {
            rank[*at] = Some(number);
        }
    }
    let place = places(net, &rank, depends);
    let mut out = Adder { net, place, edges: Vec::new(), full: false };
    out.waves(waves);
    out.unlisted(&rank);
    if out.full {
        let message = format!("the waves give more than {MAX_DEPENDENCIES} dependencies; tasks run one after another");
        found.warning(1, "tasks/too-many-dependencies", message);
        out.edges.clear();
        out.full = false;
        let single: Vec<Vec<usize>> = leaves(net).map(|at| vec![at]).collect();
        out.waves(&single);
    }
    for (at, on) in out.edges {
        depends[at].push(on);
    }
    for list in depends {
        list.sort_unstable();
        list.dedup();
    }
}

fn leaves<'n>(net: &'n Net<'_>) -> impl Iterator<Item = usize> + 'n {
    (0..net.items.len()).filter(|at| !net.container[*at])
}

/// Every task its own wave, neighbours marked `(P)` together.
fn file_order(net: &Net<'_>) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut together = false;
    for at in leaves(net) {
        let parallel = net.items[at].parallel;
        match waves.last_mut() {
            Some(last) if together && parallel => last.push(at),
            _ => waves.push(vec![at]),
        }
        together = parallel;
    }
    waves
}

/// An order of all tasks that keeps to `depends` and otherwise to waves and file. Implicit
/// dependencies point only backwards in it, so they never close a cycle.
fn places(net: &Net<'_>, rank: &[Option<usize>], depends: &[Vec<usize>]) -> Vec<usize> {
    let count = net.items.len();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waiting: Vec<usize> = vec![0; count];
    for (at, list) in depends.iter().enumerate() {
        waiting[at] = list.len();
        for on in list {
            dependents[*on].push(at);
        }
    }
    // A task in no wave comes after everything that stands before it in the file.
    let mut highest = 0;
    let keys: Vec<usize> = rank
        .iter()
        .map(|rank| {
            highest = highest.max(rank.unwrap_or(0));
            rank.unwrap_or(highest)
        })
        .collect();
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> =
        (0..count).filter(|at| waiting[*at] == 0).map(|at| Reverse((keys[at], at))).collect();
    let mut place = vec![usize::MAX; count];
    let mut next = 0;
    while let Some(Reverse((_, at))) = ready.pop() {
        place[at] = next;
        next += 1;
        for dependent in &dependents[at] {
            waiting[*dependent] -= 1;
            if waiting[*dependent] == 0 {
                ready.push(Reverse((keys[*dependent], *dependent)));
            }
        }
    }
    place
}

struct Adder<'n, 'f> {
    net: &'n Net<'f>,
    place: Vec<usize>,
    edges: Vec<(usize, usize)>,
    full: bool,
}

impl Adder<'_, '_> {
    fn edge(&mut self, at: usize, on: usize) {
        if self.edges.len() >= MAX_DEPENDENCIES {
            self.full = true;
        } else if self.place[on] < self.place[at] {
            self.edges.push((at, on));
        }
    }

    fn is_implicit(&self, at: usize) -> bool {
        self.net.depends[at].is_none()
    }

    /// Each task waits for the wave before its own. A wave whose tasks all say themselves what they
    /// wait for does not hold back what stands before it, so that is waited for as well.
    fn waves(&mut self, waves: &[Vec<usize>]) {
        let mut required: Vec<usize> = Vec::new();
        let mut optional: Vec<usize> = Vec::new();
        for wave in waves {
            for at in wave.iter().copied().filter(|at| self.net.depends[*at].is_none()) {
                for on in &required {
                    self.edge(at, *on);
                }
                if self.net.optional[at] {
                    for on in &optional {
                        self.edge(at, *on);
                    }
                }
            }
            let (stars, needed): (Vec<usize>, Vec<usize>) = wave.iter().partition(|at| self.net.optional[**at]);
            if needed.iter().any(|at| self.is_implicit(*at)) {
                required.clear();
            }
            if !needed.is_empty() {
                optional.clear();
            }
            required.extend(needed);
            if stars.iter().any(|at| self.is_implicit(*at)) {
                optional.clear();
            }
            optional.extend(stars);
            if self.full {
                return;
            }
        }
    }

    /// Tasks in no wave wait for all required tasks before them in the file.
    fn unlisted(&mut self, rank: &[Option<usize>]) {
        let mut seen: Vec<Vec<usize>> = Vec::new();
        let mut last: Option<usize> = None;
        for at in 0..rank.len() {
            if self.net.container[at] || self.full {
                continue;
            }
            match rank[at] {
                Some(_) if self.net.optional[at] => {}
                Some(rank) => {
                    if seen.len() <= rank {
                        seen.resize(rank + 1, Vec::new());
                    }
                    seen[rank].push(at);
                }
                None => {
                    if self.is_implicit(at) {
                        self.after(at, &seen);
                        if let Some(last) = last {
                            self.edge(at, last);
                        }
                    }
                    if !self.net.optional[at] && self.is_implicit(at) {
                        last = Some(at);
                    }
                }
            }
        }
    }

    fn after(&mut self, at: usize, seen: &[Vec<usize>]) {
        for wave in seen.iter().rev() {
            for on in wave {
                self.edge(at, *on);
            }
            if wave.iter().any(|on| self.is_implicit(*on)) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;

    #[test]
    fn two_very_large_waves_fall_back_to_one_after_another() {
        let mut text = String::from("# P\n## Tasks\n");
        for n in 1..=1_200 {
            text.push_str(&format!("- [ ] {n}. t\n"));
        }
        let list =
            |range: std::ops::RangeInclusive<u32>| range.map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
        text.push_str(&format!("```json\n{{\"waves\":[[{}],[{}]]}}\n```\n", list(1..=600), list(601..=1_200)));
        let plan = plan(text.as_bytes());
        let edges: usize = plan.tasks.iter().map(|t| t.depends.len()).sum();
        assert_eq!(edges, 1_199);
        assert!(plan.diagnostics.iter().any(|d| d.code == "tasks/too-many-dependencies"));
    }
}
