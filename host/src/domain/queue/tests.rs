use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A target that things are merged onto and gated on, without git and commands.
#[derive(Debug, Clone)]
struct Ground {
    /// Pairs that conflict.
    conflicts: Vec<(usize, usize)>,
    /// Those that conflict with what is on the target from the start.
    lost: BTreeSet<usize>,
    /// The gate is red where all of one of these are.
    breaks: Vec<BTreeSet<usize>>,
    /// Gates, by number, that are red for no reason. Never twice over the same tree.
    flakes: BTreeSet<u32>,
}

impl Ground {
    fn fits(&self, on: &BTreeSet<usize>, member: usize) -> bool {
        let with = |other: &usize| {
            self.conflicts.iter().any(|(a, b)| (*a, *b) == (member, *other) || (*b, *a) == (member, *other))
        };
        !self.lost.contains(&member) && !on.iter().any(with)
    }

    fn is_green(&self, tree: &BTreeSet<usize>) -> bool {
        !self.breaks.iter().any(|set| !set.is_empty() && set.is_subset(tree))
    }
}

/// What became of all members, and how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    landed: BTreeSet<usize>,
    conflicts: BTreeSet<usize>,
    red: BTreeSet<usize>,
}

/// One by one, in order, each gated alone: what a queue must come to.
fn one_by_one(ground: &Ground, members: usize) -> Outcome {
    let mut outcome = Outcome::default();
    for member in 0..members {
        if !ground.fits(&outcome.landed, member) {
            outcome.conflicts.insert(member);
            continue;
        }
        let mut tree = outcome.landed.clone();
        tree.insert(member);
        if ground.is_green(&tree) {
            outcome.landed = tree;
        } else {
            outcome.red.insert(member);
        }
    }
    outcome
}

/// The same through the queue, in batches; gives the gates and the rounds as well.
fn through_the_queue(ground: &Ground, members: usize, max_batch: usize) -> (Outcome, u32, u32) {
    let (mut waiting, mut outcome) = (Waiting::default(), Outcome::default());
    (0..members).for_each(|member| waiting.push(member, 0));
    let (mut gates, mut rounds) = (0, 0);
    let mut flaked: BTreeSet<Vec<usize>> = BTreeSet::new();
    while !waiting.is_empty() {
        let entries = waiting.take(max_batch);
        let mut batch = Batch::new(entries.len());
        let mut trees: Vec<BTreeSet<usize>> = Vec::new();
        loop {
            match batch.next() {
                Next::Merge { member } => {
                    let what = entries[member].what;
                    let below = trees.last().unwrap_or(&outcome.landed);
                    if ground.fits(below, what) {
                        let mut tree = below.clone();
                        tree.insert(what);
                        trees.push(tree);
                        batch.merged(false);
                    } else {
                        batch.conflicted(!ground.fits(&outcome.landed, what));
                    }
                }
                Next::Gate { link } => {
                    gates += 1;
                    let flake = ground.flakes.contains(&gates) && flaked.insert(trees[link].iter().copied().collect());
                    batch.gated(link, ground.is_green(&trees[link]) && !flake);
                }
                Next::End => break,
            }
        }
        let most = 2 * batch.chain_len().next_power_of_two().trailing_zeros() + 4;
        assert!(batch.gates() <= most, "{} gates for a chain of {}", batch.gates(), batch.chain_len());
        let ended = batch.ended();
        assert!(ended.landed.len() + ended.returned.len() > 0, "a round that decides nothing goes on for ever");
        if let Some(last) = ended.landed.len().checked_sub(1) {
            assert!(ground.is_green(&trees[last]), "a red tree landed");
            outcome.landed = trees[last].clone();
        }
        for (member, reason) in ended.returned {
            let list = if reason == Reason::Conflict { &mut outcome.conflicts } else { &mut outcome.red };
            list.insert(entries[member].what);
        }
        let mut entries: Vec<Option<Entry<usize>>> = entries.into_iter().map(Some).collect();
        ended.undecided.into_iter().filter_map(|member| entries[member].take()).for_each(|e| waiting.put_back(e));
        rounds += 1;
    }
    (outcome, gates, rounds)
}

impl Batch {
    fn chain_len(&self) -> usize {
        (0..).take_while(|link| self.member_of(*link).is_some()).count()
    }
}

fn green() -> Ground {
    Ground { conflicts: vec![], lost: BTreeSet::new(), breaks: vec![], flakes: BTreeSet::new() }
}

fn grounds(members: usize) -> impl Strategy<Value = Ground> {
    let some = move |most: usize| prop::collection::btree_set(0..members, 0..=most);
    (
        prop::collection::vec((0..members, 0..members), 0..=members / 3),
        some(2),
        prop::collection::vec(prop::collection::btree_set(0..members, 1..=4), 0..4),
        prop::collection::btree_set(1..80_u32, 0..6),
    )
        .prop_map(|(conflicts, lost, breaks, flakes)| Ground {
            conflicts: conflicts.into_iter().filter(|(a, b)| a != b).collect(),
            lost,
            breaks,
            flakes,
        })
}

#[test]
fn branches_that_do_not_conflict_take_one_gate_for_each_batch() {
    let (outcome, gates, rounds) = through_the_queue(&green(), 100, 32);
    assert_eq!((outcome.landed.len(), gates, rounds), (100, 4, 4));
}

#[test]
fn of_those_that_break_only_together_the_last_is_returned() {
    let ground = Ground { breaks: vec![BTreeSet::from([3, 17, 30])], ..green() };
    let (outcome, gates, _) = through_the_queue(&ground, 32, 32);
    assert_eq!(outcome.red, BTreeSet::from([30]));
    assert_eq!(outcome.landed.len(), 31);
    // The tip twice, five halvings, the culprit once more, and the one behind it.
    assert!(gates <= 9, "{gates}");
}

#[test]
fn a_flake_returns_nobody_and_costs_one_gate() {
    let ground = Ground { flakes: BTreeSet::from([1]), ..green() };
    let (outcome, gates, rounds) = through_the_queue(&ground, 20, 32);
    assert_eq!((outcome.landed.len(), gates, rounds), (20, 2, 1));
}

#[test]
fn a_tree_that_is_known_to_be_green_lands_without_a_gate() {
    let mut batch = Batch::new(2);
    assert_eq!(batch.next(), Next::Merge { member: 0 });
    batch.merged(false);
    batch.merged(true);
    assert_eq!(batch.next(), Next::End);
    assert_eq!(batch.ended(), Ended { landed: vec![0, 1], ..Ended::default() });
}

#[test]
fn what_conflicts_with_another_member_waits_for_that_one() {
    // The first breaks the gate, so the second, which conflicts with it, must land.
    let ground = Ground { conflicts: vec![(0, 1)], breaks: vec![BTreeSet::from([0])], ..green() };
    let (outcome, ..) = through_the_queue(&ground, 2, 32);
    assert_eq!((outcome.landed, outcome.red), (BTreeSet::from([1]), BTreeSet::from([0])));
}

#[test]
fn nobody_is_decided_about_before_the_gate_has_spoken() {
    let mut batch = Batch::new(2);
    batch.merged(false);
    batch.merged(false);
    batch.gated(1, false);
    assert_eq!(batch.ended(), Ended { undecided: vec![0, 1], ..Ended::default() });
}

#[test]
fn returns_move_a_candidate_forward_and_arrival_decides_between_equals() {
    let mut waiting = Waiting::default();
    (0..20).for_each(|n| waiting.push(n, 0));
    waiting.push(100, 1);
    waiting.push(101, 1);
    let order: Vec<i32> = waiting.take(100).into_iter().map(|entry| entry.what).collect();
    let at = |what: i32| order.iter().position(|other| *other == what).unwrap();
    assert_eq!((at(100), at(101)), (5, 7), "{order:?}");
    assert!(waiting.is_empty());
}

proptest! {
    #[test]
    fn a_queue_comes_to_what_one_by_one_comes_to(
        (members, ground) in (1..40_usize).prop_flat_map(|members| (Just(members), grounds(members))),
        max_batch in 1..40_usize,
    ) {
        let (outcome, ..) = through_the_queue(&ground, members, max_batch);
        prop_assert!(ground.is_green(&outcome.landed));
        prop_assert_eq!(outcome, one_by_one(&ground, members));
    }

    #[test]
    fn no_stream_of_others_keeps_one_from_its_turn(
        others in prop::collection::vec(0..100_u32, 0..600),
        before in 0..5_usize,
        taken in 1..4_usize,
    ) {
        // As many arrive as are taken, each with as many returns as it likes.
        let mut waiting = Waiting::default();
        (0..before).for_each(|_| waiting.push(false, 0));
        waiting.push(true, 0);
        let mut served = 0_u64;
        for chunk in others.chunks(taken) {
            chunk.iter().for_each(|returns| waiting.push(false, *returns));
            let turn = waiting.take(taken);
            if turn.iter().any(|entry| entry.what) {
                return Ok(());
            }
            served += turn.len() as u64;
            let most = PLACES_PER_RETURN * u64::from(MAX_COUNTED_RETURNS) + before as u64;
            prop_assert!(served <= most, "{} were served before it", served);
        }
    }
}
