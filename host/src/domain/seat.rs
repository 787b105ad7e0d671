//! Seats: the places that components take, who sat there before whom, and how far back one can go.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Body;
use super::id::{Digest, Role};

/// Of each seat so many components can be seated again: as many are kept whatever is pruned.
pub const REACHABLE: usize = 5;

/// A component by its name and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// The plugin's name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// What seated a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeatedBy {
    /// The beginning of a run, by configuration or command line.
    Start,
    /// A swap.
    Swap,
    /// A rollback.
    Rollback,
}

impl SeatedBy {
    /// The spelling in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Swap => "swap",
            Self::Rollback => "rollback",
        }
    }
}

/// What a shadow replay came to: recorded decisions that the component was shown before it decided any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowCounts {
    /// Decisions that it was shown.
    pub decisions: u64,
    /// Those that would have been others.
    pub changed: u64,
    /// Those of them on which it failed.
    pub failed: u64,
}

/// A place: that of a policy, of a role's spirit, or of a heuristic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// spirit, routing, scheduling or review.
    pub kind: String,
    /// The role of a spirit, the name of a heuristic; nothing for policies, of which there is one.
    pub of: Option<String>,
}

impl Seat {
    /// The seat of a component of `kind`.
    #[must_use]
    pub fn new(kind: &str, role: Option<&Role>, name: &str) -> Self {
        let of = match kind {
            "spirit" => role.map(ToString::to_string),
            "review" => Some(name.to_owned()),
            _ => None,
        };
        Self { kind: kind.to_owned(), of }
    }

    /// Whether `text` means it: its kind alone, or its whole name.
    #[must_use]
    pub fn is_meant_by(&self, text: &str) -> bool {
        text == self.kind || text == self.to_string()
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Some(of) => write!(f, "{}/{of}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

/// A component took a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seating {
    /// Which seat.
    pub seat: Seat,
    /// Who sits there.
    pub component: Component,
    /// Who sat there.
    pub replaces: Option<Component>,
    /// By what.
    pub by: SeatedBy,
}

impl Seating {
    /// What a [`Body::PluginSeated`] says; nothing of other bodies.
    #[must_use]
    pub fn of(body: &Body) -> Option<Self> {
        let Body::PluginSeated { kind, name, digest, role, replaces, by, shadow: _ } = body else { return None };
        Some(Self {
            seat: Seat::new(kind, role.as_ref(), name),
            component: Component { name: name.clone(), digest: digest.clone() },
            replaces: replaces.clone(),
            by: *by,
        })
    }
}

/// Who sat in a seat before the one who sits there, by its history in one run, oldest first. Going back twice
/// leads to the one before that: a rollback takes back what it undoes. Who sat there again without an event, as
/// after the start of a process that runs no run, is seen by whom the next one replaces, and by `sitting`.
#[must_use]
pub fn before<'h>(history: &'h [Seating], sitting: &Digest) -> Option<&'h Component> {
    let mut sat: Vec<&Component> = Vec::new();
    let place = |sat: &[&Component], digest: &Digest| sat.iter().rposition(|earlier| earlier.digest == *digest);
    for Seating { component, replaces, by, .. } in history {
        match replaces.as_ref().filter(|_| *by != SeatedBy::Start) {
            Some(replaced) => match place(&sat, &replaced.digest) {
                Some(place) => sat.truncate(place + 1),
                None => sat = vec![replaced],
            },
            None => sat = replaces.iter().collect(),
        }
        match place(&sat, &component.digest).filter(|_| *by == SeatedBy::Rollback) {
            Some(place) => sat.truncate(place + 1),
            None => sat.push(component),
        }
    }
    place(&sat, sitting)?.checked_sub(1).map(|place| sat[place])
}

/// The components that can be seated again: the last [`REACHABLE`] of each seat. Takes seatings newest first.
pub fn reachable(newest_first: impl IntoIterator<Item = Seating>) -> BTreeMap<Seat, Vec<Component>> {
    let mut found: BTreeMap<Seat, Vec<Component>> = BTreeMap::new();
    for Seating { seat, component, replaces, .. } in newest_first {
        let of_seat = found.entry(seat).or_default();
        for component in std::iter::once(component).chain(replaces) {
            if of_seat.len() < REACHABLE && of_seat.iter().all(|known| known.digest != component.digest) {
                of_seat.push(component);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use SeatedBy::{Rollback, Start, Swap};

    fn component(number: usize) -> Component {
        Component { name: format!("p{number}"), digest: Digest::new(format!("{number:064x}")).unwrap() }
    }

    fn seating((by, now, replaces): (SeatedBy, usize, Option<usize>)) -> Seating {
        let seat = Seat::new("routing", None, "x");
        Seating { seat, component: component(now), replaces: replaces.map(component), by }
    }

    #[test]
    fn the_one_before_is_the_one_that_sat_there_before() {
        for (history, sitting, expected) in [
            (&[][..], 1, None),
            (&[(Swap, 2, Some(1))][..], 2, Some(1)),
            (&[(Swap, 2, None)][..], 2, None),
            (&[(Start, 2, Some(1))][..], 2, Some(1)),
            (&[(Start, 2, None)][..], 2, None),
            (&[(Swap, 2, Some(1)), (Swap, 3, Some(2))][..], 3, Some(2)),
            (&[(Swap, 2, Some(1)), (Swap, 3, Some(2)), (Rollback, 2, Some(3))][..], 2, Some(1)),
            (&[(Swap, 2, Some(1)), (Rollback, 1, Some(2))][..], 1, None),
            (&[(Swap, 2, Some(1)), (Rollback, 1, Some(2)), (Swap, 3, Some(1))][..], 3, Some(1)),
            // Further back than the run: it is a step like any other.
            (&[(Swap, 2, Some(1)), (Rollback, 9, Some(2))][..], 9, Some(2)),
            (&[(Swap, 2, Some(1)), (Start, 5, Some(4))][..], 5, Some(4)),
            // Another process began with the first one again.
            (&[(Swap, 2, Some(1))][..], 1, None),
            (&[(Swap, 2, Some(1)), (Swap, 2, Some(1))][..], 2, Some(1)),
            (&[(Swap, 2, Some(1)), (Swap, 4, Some(3))][..], 4, Some(3)),
            (&[(Swap, 2, Some(1))][..], 7, None),
        ] {
            let seatings: Vec<Seating> = history.iter().copied().map(seating).collect();
            let found = before(&seatings, &component(sitting).digest);
            assert_eq!(found, expected.map(component).as_ref(), "{history:?}");
        }
    }

    #[test]
    fn a_seat_is_meant_by_its_kind_or_by_its_name() {
        let role = Role::new("backend").unwrap();
        let spirit = Seat::new("spirit", Some(&role), "mine");
        assert_eq!(spirit.to_string(), "spirit/backend");
        assert!(spirit.is_meant_by("spirit") && spirit.is_meant_by("spirit/backend"));
        assert!(!spirit.is_meant_by("spirit/qa") && !spirit.is_meant_by("routing"));
        assert_eq!(Seat::new("review", None, "size").to_string(), "review/size");
        assert_eq!(Seat::new("scheduling", None, "x").to_string(), "scheduling");
    }

    proptest! {
        #[test]
        fn the_newest_of_each_seat_can_be_reached(numbers in prop::collection::vec((0_usize..9, 0_usize..2), 1..60)) {
            let seatings: Vec<Seating> = numbers
                .iter()
                .map(|(number, seat)| Seating {
                    seat: Seat::new(["routing", "scheduling"][*seat], None, "x"),
                    ..seating((Swap, *number, None))
                })
                .collect();
            let found = reachable(seatings.iter().rev().cloned());
            for (seat, components) in &found {
                prop_assert!(components.len() <= REACHABLE);
                let newest = seatings.iter().rev().find(|seating| seating.seat == *seat).unwrap();
                prop_assert_eq!(&components[0], &newest.component);
                let mut distinct: Vec<&Component> = Vec::new();
                for seating in seatings.iter().rev().filter(|seating| seating.seat == *seat) {
                    if !distinct.contains(&&seating.component) {
                        distinct.push(&seating.component);
                    }
                }
                distinct.truncate(REACHABLE);
                prop_assert_eq!(components.iter().collect::<Vec<_>>(), distinct);
            }
        }
    }
}
