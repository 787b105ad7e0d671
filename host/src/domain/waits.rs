//! Who waits for whom: finds the circle that a further waiter would close. A circle of waiters never ends
//! by itself, so the one who would close it is refused.

use std::collections::HashSet;

/// Somebody waits for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wait {
    /// Who.
    pub holder: String,
    /// For which lock.
    pub lock: String,
}

impl Wait {
    /// `holder` waits for `lock`.
    #[must_use]
    pub fn new(holder: impl Into<String>, lock: impl Into<String>) -> Self {
        Self { holder: holder.into(), lock: lock.into() }
    }
}

/// The circle that `new` would close: it first, then whoever has the lock that the one before waits for, and
/// so on; the last one waits for a lock that `new`'s holder has. `None` when there is no circle. A holder that
/// asks for what it has itself is a circle of one.
///
/// # Errors
/// Those of `holder_of`, which tells who has a lock.
pub fn circle<E>(
    new: &Wait,
    waits: &[Wait],
    mut holder_of: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<Option<Vec<Wait>>, E> {
    // Waits that were reached, each with the one that led to it.
    let mut reached: Vec<(Wait, Option<usize>)> = vec![(new.clone(), None)];
    let mut seen: HashSet<Wait> = HashSet::from([new.clone()]);
    let mut next = 0;
    while let Some((wait, _)) = reached.get(next).cloned() {
        if let Some(holder) = holder_of(&wait.lock)? {
            if holder == new.holder {
                let mut path = Vec::new();
                let mut at = Some(next);
                while let Some((wait, before)) = at.and_then(|at| reached.get(at)) {
                    path.push(wait.clone());
                    at = *before;
                }
                path.reverse();
                return Ok(Some(path));
            }
            for further in waits.iter().filter(|wait| wait.holder == holder) {
                if seen.insert(further.clone()) {
                    reached.push((further.clone(), Some(next)));
                }
            }
        }
        next += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn find(new: (&str, &str), waits: &[(&str, &str)], held: &[(&str, &str)]) -> Option<String> {
        let held: BTreeMap<&str, &str> = held.iter().copied().collect();
        let waits: Vec<Wait> = waits.iter().map(|(holder, lock)| Wait::new(*holder, *lock)).collect();
        let holder_of = |lock: &str| Ok::<_, Infallible>(held.get(lock).map(|&holder| holder.to_owned()));
        let found = circle(&Wait::new(new.0, new.1), &waits, holder_of).unwrap();
        found.map(|path| path.iter().map(|wait| format!("{}:{}", wait.holder, wait.lock)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn only_a_path_that_leads_back_is_a_circle() {
        let held = [("x", "a"), ("y", "b"), ("z", "c")];
        for (new, waits, expected) in [
            (("a", "free"), &[][..], None),
            (("a", "x"), &[], Some("a:x")),
            (("a", "y"), &[], None),
            (("a", "y"), &[("b", "x")], Some("a:y b:x")),
            (("a", "y"), &[("b", "z"), ("c", "x")], Some("a:y b:z c:x")),
            (("a", "y"), &[("b", "z"), ("c", "free")], None),
            // Somebody else's circle is not this waiter's.
            (("d", "y"), &[("b", "z"), ("c", "y")], None),
            // Waits of somebody who holds nothing lead nowhere.
            (("a", "y"), &[("d", "x")], None),
            // It waits for two things at once.
            (("a", "y"), &[("b", "free"), ("b", "x")], Some("a:y b:x")),
        ] {
            assert_eq!(find(new, waits, &held).as_deref(), expected, "{new:?} {waits:?}");
        }
    }

    /// Whether some way of at most `depth` steps from `lock` leads to `holder`, tried out step by step.
    fn leads(lock: u8, holder: u8, waits: &[(u8, u8)], held: &BTreeMap<u8, u8>, depth: usize) -> bool {
        let Some(&at) = held.get(&lock) else { return false };
        at == holder
            || (depth > 0 && waits.iter().any(|&(who, next)| who == at && leads(next, holder, waits, held, depth - 1)))
    }

    proptest! {
        #[test]
        fn a_circle_is_found_exactly_when_a_search_of_all_ways_finds_one(
            new in (0_u8..6, 0_u8..6),
            waits in proptest::collection::vec((0_u8..6, 0_u8..6), 0..6),
            held in proptest::collection::btree_map(0_u8..6, 0_u8..6, 0..6),
        ) {
            let named: Vec<Wait> = waits.iter().map(|(h, l)| Wait::new(h.to_string(), l.to_string())).collect();
            let holder_of = |lock: &str| {
                Ok::<_, Infallible>(held.get(&lock.parse::<u8>().unwrap()).map(ToString::to_string))
            };
            let asked = Wait::new(new.0.to_string(), new.1.to_string());
            let found = circle(&asked, &named, holder_of).unwrap();
            prop_assert_eq!(found.is_some(), leads(new.1, new.0, &waits, &held, 6));
            let Some(path) = found else { return Ok(()) };
            prop_assert_eq!(&path[0], &asked);
            for (at, wait) in path.iter().enumerate() {
                let next = &path[(at + 1) % path.len()];
                prop_assert_eq!(held.get(&wait.lock.parse::<u8>().unwrap()).map(ToString::to_string), Some(next.holder.clone()));
                prop_assert!(at == 0 || named.contains(wait));
            }
        }
    }
}
