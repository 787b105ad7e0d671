//! Finds cycles among written dependencies and hierarchy, reports each with its path and line, and
//! leaves out the dependency that closes it.

use super::super::diagnostic::Collector;
use super::Net;

/// After this many cycles the written dependencies of the file are given up altogether.
const MAX_CYCLES: usize = 20;

/// At most this many tasks of a path are shown.
const MAX_SHOWN: usize = 12;

pub(super) fn break_cycles(net: &mut Net<'_>, found: &mut Collector) {
    for _ in 0..MAX_CYCLES {
        let Some(path) = find(&net.base_edges()) else { return };
        let (from, on, line) = removable(net, &path);
        let mut shown: Vec<String> = path.iter().take(MAX_SHOWN).map(|at| net.items[*at].id.to_string()).collect();
        if path.len() > MAX_SHOWN {
            shown.push("…".to_owned());
        }
        shown.push(net.items[path[0]].id.to_string());
        let message = format!("tasks wait for each other in a circle: {}", shown.join(" → "));
        found.error(line, "tasks/dependency-cycle", message);
        match from {
            Some(from) => {
                if let Some(gates) = &mut net.depends[from] {
                    gates.retain(|gate| gate.on != on);
                }
            }
            // Hierarchy alone has no cycle; should a circle ever name no written dependency, drop all.
            None => break,
        }
    }
    if find(&net.base_edges()).is_some() {
        let line = net.items.iter().find_map(|item| item.fields.depends.first()).map_or(1, |field| field.line);
        found.error(line, "tasks/dependency-cycle", "the dependencies have too many circles; none of them is used");
        net.depends.fill(None);
    }
}

/// The written dependency on the circle that is left out: (task that has it, task it names, line).
fn removable(net: &Net<'_>, path: &[usize]) -> (Option<usize>, usize, u32) {
    for (step, at) in path.iter().enumerate().rev() {
        let on = path[(step + 1) % path.len()];
        for owner in net.line_of(*at) {
            if let Some(gate) = net.depends[owner].iter().flatten().find(|gate| gate.on == on) {
                return (Some(owner), on, gate.line);
            }
        }
    }
    (None, 0, net.items.get(path[0]).map_or(1, |item| item.line))
}

/// The nodes of some circle, in the order of waiting.
pub(super) fn find(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    const NEW: u8 = 0;
    const OPEN: u8 = 1;
    const DONE: u8 = 2;
    let mut state = vec![NEW; edges.len()];
    for root in 0..edges.len() {
        if state[root] != NEW {
            continue;
        }
        let mut stack = vec![(root, 0)];
        state[root] = OPEN;
        while let Some((at, next)) = stack.last_mut() {
            let Some(to) = edges[*at].get(*next).copied() else {
                state[*at] = DONE;
                stack.pop();
                continue;
            };
            *next += 1;
            match state[to] {
                NEW => {
                    state[to] = OPEN;
                    stack.push((to, 0));
                }
                OPEN => {
                    let start = stack.iter().position(|(node, _)| *node == to).unwrap_or(0);
                    return Some(stack[start..].iter().map(|(node, _)| *node).collect());
                }
                _ => {}
            }
        }
    }
    None
}
