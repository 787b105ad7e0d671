//! What of a state directory may go when it is too large or too old: things that can be made again and that nobody
//! uses. Pure; who calls has found out that a thing is clean and idle.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

/// A kind of thing that may go. Of equally old things, those of an earlier kind go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evictable {
    /// Dependencies that can be built or fetched again.
    Cache,
    /// A slot that was proven clean and that nobody had since.
    Slot,
}

/// A thing that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// What it is.
    pub kind: Evictable,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it takes on disk, in bytes.
    pub bytes: u64,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// Which bounds hold. Without any, nothing goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// What was not used since goes.
    pub before: Option<Timestamp>,
    /// The oldest go until the whole takes no more than this, in bytes.
    pub keep_bytes: Option<u64>,
}

/// What goes, the oldest first; `total` is the size of the whole, in bytes.
#[must_use]
pub fn choose(mut candidates: Vec<Candidate>, total: u64, bounds: Bounds) -> Vec<Candidate> {
    candidates.sort_by(|one, other| (one.used_at, one.kind, &one.name).cmp(&(other.used_at, other.kind, &other.name)));
    let mut left = total;
    candidates
        .into_iter()
        .filter(|candidate| {
            let is_old = bounds.before.is_some_and(|before| candidate.used_at < before);
            let is_too_much = bounds.keep_bytes.is_some_and(|keep| left > keep);
            if is_old || is_too_much {
                left = left.saturating_sub(candidate.bytes);
                return true;
            }
            false
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn candidate(kind: Evictable, name: &str, bytes: u64, used: i64) -> Candidate {
        Candidate { kind, name: name.to_owned(), path: PathBuf::from(name), bytes, used_at: at(used) }
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_have_to() {
        let all = || {
            vec![
                candidate(Evictable::Slot, "b", 10, 5),
                candidate(Evictable::Cache, "c", 10, 5),
                candidate(Evictable::Slot, "a", 10, 1),
                candidate(Evictable::Cache, "d", 10, 9),
            ]
        };
        let rows = [
            (None, None, ""),
            (Some(5), None, "a"),
            (Some(100), None, "a c b d"),
            (None, Some(100), ""),
            (None, Some(85), "a c"),
            (None, Some(0), "a c b d"),
            (Some(5), Some(85), "a c"),
        ];
        for (before, keep_bytes, expected) in rows {
            let bounds = Bounds { before: before.map(at), keep_bytes };
            let chosen = choose(all(), 100, bounds);
            let names: Vec<&str> = chosen.iter().map(|candidate| candidate.name.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{before:?} {keep_bytes:?}");
        }
    }

    proptest! {
        /// Nothing that stays is older than something that goes, and without the last one that goes it would be too
        /// much.
        #[test]
        fn what_stays_is_newer_and_nothing_goes_in_vain(
            sizes in prop::collection::vec((0..50_u64, 0..20_i64), 0..20),
            other in 0..100_u64,
            keep in 0..500_u64,
        ) {
            let all: Vec<Candidate> = sizes.iter().enumerate()
                .map(|(at, (bytes, used))| candidate(Evictable::Slot, &at.to_string(), *bytes, *used)).collect();
            let total = other + sizes.iter().map(|(bytes, _)| bytes).sum::<u64>();
            let chosen = choose(all.clone(), total, Bounds { before: None, keep_bytes: Some(keep) });
            let newest = chosen.iter().map(|candidate| candidate.used_at).max();
            for stays in all.iter().filter(|candidate| !chosen.contains(candidate)) {
                prop_assert!(newest.is_none_or(|newest| newest <= stays.used_at));
            }
            let freed: u64 = chosen.iter().map(|candidate| candidate.bytes).sum();
            if let Some(last) = chosen.last() {
                prop_assert!(total - (freed - last.bytes) > keep);
            }
            prop_assert!(total - freed <= keep || chosen.len() == all.len());
        }
    }
}
