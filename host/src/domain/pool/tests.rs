//! The pool as a model: tables, and a property over everything that can happen to it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn lease(id: &str, process: Option<u32>, since: i64, until: i64) -> Lease {
    let process = process.map(|pid| Process { pid, began: 1, boot: String::new() });
    Lease { id: id.to_owned(), holder: format!("holder of {id}"), process, since: at(since), until: at(until) }
}

fn policy(warmest: bool) -> SlotChoice {
    if warmest { SlotChoice::Warmest } else { SlotChoice::LeastRecentlyUsed }
}

fn nobody(_: &Process) -> bool {
    false
}

fn everybody(_: &Process) -> bool {
    true
}

#[test]
fn a_lease_is_stale_when_its_process_is_gone_or_a_persons_time_is_over() {
    let rows = [
        // process, until, now, alive → stale
        (Some(1), 10, 5, true, false),
        (Some(1), 10, 20, true, false),
        (Some(1), 10, 5, false, true),
        (None, 10, 5, false, false),
        (None, 10, 10, true, true),
    ];
    for (process, until, now, alive, stale) in rows {
        let found = lease("a", process, 0, until).is_stale(at(now), &|_| alive);
        assert_eq!(found, stale, "{process:?} {until} {now} {alive}");
    }
}

#[test]
fn warmest_and_least_recently_used_choose_opposite_ends() {
    let mut records: Vec<SlotRecord> = (1..=4).map(|number| SlotRecord::new(number, at(0))).collect();
    for (record, used) in records.iter_mut().zip([Some(5), Some(9), None, Some(7)]) {
        record.last_used_at = used.map(at);
    }
    let pick = |records: &[SlotRecord], warmest| choose(records, policy(warmest), at(20), &everybody);
    assert_eq!((pick(&records, true), pick(&records, false)), (Some(2), Some(3)));
    // One that is held or isolated is not lent; one that broke is lent last.
    records[1].lend(lease("a", Some(1), 10, 20), at(10), &everybody).unwrap();
    records[2].isolate("it is full of holes", at(10));
    assert_eq!((pick(&records, true), pick(&records, false)), (Some(4), Some(1)));
    records[3].health = Health::Broken;
    assert_eq!((pick(&records, true), pick(&records, false)), (Some(1), Some(1)));
    records[0].isolate("so is this", at(11));
    assert_eq!(pick(&records, true), Some(4));
    records[3].isolate("and this", at(12));
    assert_eq!(pick(&records, true), None);
    // The holder of the second is gone.
    assert_eq!(choose(&records, SlotChoice::Warmest, at(20), &nobody), Some(2));
}

#[test]
fn giving_back_needs_the_lease_and_is_done_once() {
    let mut record = SlotRecord::new(1, at(0));
    record.lend(lease("a", Some(1), 0, 9), at(0), &everybody).unwrap();
    let held = Refused::Held { holder: "holder of a".to_owned(), until: at(9) };
    assert_eq!(record.lend(lease("b", Some(1), 1, 9), at(1), &everybody), Err(held));
    assert_eq!(record.begin_release("b"), Err(Refused::NotYours { lease: "b".to_owned() }));
    assert_eq!(record.begin_release("a"), Ok(Release::Begun));
    assert_eq!(record.state, SlotState::Cleaning);
    assert!(!record.is_free(at(2), &everybody), "not before it is clean (readings B19)");
    record.cleaned(None, true, at(4));
    assert_eq!((record.state, record.health), (SlotState::Available, Health::Clean));
    let before = record.clone();
    assert_eq!(record.begin_release("a"), Ok(Release::Before));
    assert_eq!(record, before, "usage is not counted twice (readings A14)");
    assert_eq!((record.metrics.held_ms, record.metrics.rescued), (4000, 1));
}

#[test]
fn what_cannot_be_cleaned_twice_is_isolated_until_it_is_repaired() {
    let mut record = SlotRecord::new(1, at(0));
    for (round, state) in [(0, SlotState::Available), (1, SlotState::Error)] {
        let id = round.to_string();
        record.lend(lease(&id, Some(1), round, 9), at(round), &everybody).unwrap();
        record.begin_release(&id).unwrap();
        record.clean_failed("a file differs", at(round));
        assert_eq!((record.state, record.health), (state, Health::Broken));
    }
    let refused = record.lend(lease("x", None, 3, 9), at(3), &everybody);
    assert_eq!(refused, Err(Refused::Isolated { reason: "a file differs".to_owned() }));
    assert!(!record.is_free(at(3), &nobody));
    record.repaired(None, false, at(4));
    assert!(record.is_free(at(4), &everybody));
    assert_eq!(record.failures, 0);
}

#[test]
fn one_that_is_isolated_while_it_is_held_stays_so_when_it_is_given_back() {
    let mut record = SlotRecord::new(1, at(0));
    record.lend(lease("a", Some(1), 0, 9), at(0), &everybody).unwrap();
    record.isolate("somebody saw a bad file", at(1));
    assert_eq!(record.begin_release("a"), Ok(Release::Begun));
    assert_eq!(record.state, SlotState::Error);
    record.cleaned(None, false, at(2));
    assert_eq!((record.state, record.lease.as_ref()), (SlotState::Error, None));
    assert!(!record.is_free(at(3), &nobody));
}

#[test]
fn a_record_is_read_back_as_it_was() {
    let mut record = SlotRecord::new(3, at(0));
    record.lend(lease("a", Some(7), 0, 9), at(0), &everybody).unwrap();
    let commit = CommitId::new("a".repeat(40)).unwrap();
    record.prepared(commit, Some(Duration::from_millis(12)));
    assert_eq!(record.metrics.mean_lend_ms(), Some(12));
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<SlotRecord>(&text).unwrap(), record);
    assert!(serde_json::from_str::<SlotRecord>(&text.replace("\"failures\"", "\"failuers\"")).is_err());
}

/// What can happen to a pool.
#[derive(Debug, Clone)]
enum Act {
    Acquire {
        process: u32,
        person: bool,
    },
    /// Which of the leases that were ever given, by position.
    Release {
        which: usize,
        clean: bool,
    },
    PutDown {
        which: usize,
    },
    /// The process ends without a word.
    Crash {
        process: u32,
    },
    Wait {
        seconds: i64,
    },
    Reclaim,
    Isolate {
        slot: usize,
    },
    Repair {
        slot: usize,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..4_u32, any::<bool>()).prop_map(|(process, person)| Act::Acquire { process, person }),
        4 => (0..40_usize, prop::bool::weighted(0.8)).prop_map(|(which, clean)| Act::Release { which, clean }),
        1 => (0..40_usize).prop_map(|which| Act::PutDown { which }),
        1 => (0..4_u32).prop_map(|process| Act::Crash { process }),
        2 => (1..30_i64).prop_map(|seconds| Act::Wait { seconds }),
        1 => Just(Act::Reclaim),
        1 => (0..3_usize).prop_map(|slot| Act::Isolate { slot }),
        1 => (0..3_usize).prop_map(|slot| Act::Repair { slot }),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    /// The model knows only who may still claim a slot. No slot has two of them, and a slot without one is lent
    /// again unless it is isolated.
    #[test]
    fn no_slot_is_held_twice_and_none_is_lost(acts in acts(), warmest in any::<bool>()) {
        const TTL: i64 = 20;
        let mut records: Vec<SlotRecord> = (1..=3).map(|number| SlotRecord::new(number, at(0))).collect();
        let mut given: Vec<(String, usize)> = Vec::new();
        let mut holders: BTreeMap<usize, (String, Option<u32>, i64)> = BTreeMap::new();
        let (mut gone, mut now, mut pids) = (BTreeSet::new(), 0, [0_u32, 1, 2, 3]);
        for act in acts {
            let ended = gone.clone();
            let alive = move |process: &Process| !ended.contains(&process.pid);
            let claims = |holder: &(String, Option<u32>, i64), now: i64, gone: &BTreeSet<u32>| match holder.1 {
                Some(pid) => !gone.contains(&pid),
                None => now < holder.2,
            };
            match act {
                Act::Acquire { process, person } => {
                    let pid = (!person).then(|| pids[process as usize]);
                    let Some(number) = choose(&records, policy(warmest), at(now), &alive) else {
                        for (slot, record) in records.iter().enumerate() {
                            let held = holders.get(&slot).is_some_and(|holder| claims(holder, now, &gone));
                            prop_assert!(held || record.isolated.is_some(), "slot {slot} is lost: {record:?}");
                        }
                        continue;
                    };
                    let slot = number as usize - 1;
                    let id = given.len().to_string();
                    records[slot].lend(lease(&id, pid, now, now + TTL), at(now), &alive).unwrap();
                    let before = holders.insert(slot, (id.clone(), pid, now + TTL));
                    prop_assert!(!before.is_some_and(|holder| claims(&holder, now, &gone)), "held twice");
                    given.push((id, slot));
                }
                Act::Release { which, clean } => {
                    let Some((id, slot)) = given.get(which) else { continue };
                    let current = holders.get(slot).is_some_and(|holder| holder.0 == *id);
                    match records[*slot].begin_release(id) {
                        Ok(Release::Begun) => {
                            prop_assert!(current);
                            holders.remove(slot);
                            if clean { records[*slot].cleaned(None, false, at(now)) }
                            else { records[*slot].clean_failed("no", at(now)) }
                        }
                        Ok(Release::Before) | Err(_) => prop_assert!(!current || !holders.contains_key(slot)),
                    }
                }
                Act::PutDown { which } => {
                    let Some((id, slot)) = given.get(which) else { continue };
                    if records[*slot].put_down(id, at(now)) == Ok(Release::Begun) { holders.remove(slot); }
                }
                Act::Crash { process } => {
                    gone.insert(pids[process as usize]);
                    pids[process as usize] += 10;
                }
                Act::Wait { seconds } => now += seconds,
                Act::Reclaim => {
                    for (slot, record) in records.iter_mut().enumerate() {
                        if record.reclaim(at(now), &alive) {
                            let holder = holders.remove(&slot).unwrap();
                            prop_assert!(!claims(&holder, now, &gone), "taken from one who lives");
                            prop_assert_eq!(record.health, Health::Dirty);
                        }
                    }
                }
                Act::Isolate { slot } => records[slot].isolate("asked for", at(now)),
                Act::Repair { slot } => {
                    if records[slot].check_unused(at(now), &alive).is_ok() {
                        records[slot].repaired(None, false, at(now));
                        holders.remove(&slot);
                    }
                }
            }
            for (slot, holder) in &holders {
                let lease = records[*slot].lease.as_ref().map(|lease| lease.id.as_str());
                prop_assert_eq!(lease, Some(holder.0.as_str()));
            }
        }
    }
}
