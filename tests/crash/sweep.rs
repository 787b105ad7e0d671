//! Plays cases, a few at a time, and tells how they went.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cases::{Played, play, undisturbed};
use crate::left::Left;
use crate::sites::Point;

/// Cases at the same time.
const AT_ONCE: usize = 2;

/// Plays all `cases` and gives them back in their order. The folder of one that is asked for is kept.
fn play_all(cases: &[Vec<Point>], left: &Left) -> Vec<Played> {
    let (next, keep) = (AtomicUsize::new(0), asked_for().is_some());
    let played = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(points) = cases.get(number) else { return };
                    let done = play(points, number.is_multiple_of(2), left, keep);
                    played.lock().unwrap().push((number, done));
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap();
    played.sort_by_key(|(number, _)| *number);
    played.into_iter().map(|(_, played)| played).collect()
}

/// Prints a table of the cases, those that failed first, and fails when one of them did.
fn tell(played: &[Played]) {
    let (failed, well): (Vec<_>, Vec<_>) = played.iter().partition(|case| !case.problems.is_empty());
    println!("{} cases, {} failed", played.len(), failed.len());
    for case in failed.iter().chain(&well) {
        let (name, how) = (case.name(), if case.problems.is_empty() { "ok" } else { "FAILED" });
        println!("{how:<7} {name}{}", if case.met == case.points.len() { "" } else { " (not met)" });
        case.problems.iter().for_each(|problem| println!("{problem}"));
        if let Some(folder) = &case.kept {
            let folder = folder.display();
            println!("        kept in {folder}; again: NECRO_CRASH='{name}' cargo test -p necro-host --test crash");
        }
    }
    assert!(failed.is_empty(), "cases failed");
}

/// The one case that is asked for, if one is.
fn asked_for() -> Option<Vec<Vec<Point>>> {
    let asked = std::env::var("NECRO_CRASH").ok().filter(|asked| asked != "all")?;
    Some(vec![asked.split(',').map(|text| Point::parse(text).expect("`kill SITE HIT`")).collect()])
}

/// Whether every hit is wanted.
fn all() -> bool {
    std::env::var("NECRO_CRASH").is_ok_and(|asked| asked == "all")
}

fn each_alone(points: Vec<Point>) -> Vec<Vec<Point>> {
    points.into_iter().map(|point| vec![point]).collect()
}

/// Steps of preparing, cleaning and integrating that must be among the sites.
const CLEANING_AND_INTEGRATION: &[&str] = &[
    "append.SlotAllocated.after",
    "append.SlotReleased.before",
    "file.write.before",
    "git.read-tree.before",
    "git.update-index.before",
    "git.write-tree.after",
    "slot.step.before",
    "slot.step.after",
    "slot.sweep.before",
    "slot.sweep.after",
    "slot.tool-repository.before",
    "slot.tool-repository.after",
    "git.merge-tree.before",
    "integration.merge.after",
    "integration.gate.before",
    "integration.gate.after",
    "integration.land.before",
    "integration.land.after",
    "ref.spec-branch.before",
    "ref.spec-branch.after",
    "transition.TaskCompleted.before",
];

#[test]
fn a_run_that_is_killed_anywhere_ends_as_if_nothing_had_happened() {
    let (left, census) = undisturbed();
    for site in CLEANING_AND_INTEGRATION {
        assert!(census.sites().any(|(passed, _)| passed == *site), "{site} was not passed: the sweep leaves it out");
    }
    let played = play_all(&asked_for().unwrap_or_else(|| each_alone(census.kills(all()))), &left);
    tell(&played);
    for (site, passed) in census.sites() {
        println!("{:>6} {site}{}", passed.hits, if passed.is_write { " (write)" } else { "" });
    }
}

/// Kills from which a run goes on in different ways: planning, a claim, a spirit, a command, a gate, a review,
/// a merge, and the records between them. Each with the passing that is meant.
const FIRST: &[(&str, u64)] = &[
    ("append.RunStarted.after", 1),
    ("llm.send.after", 3),
    ("registry.create-tasks.after", 1),
    ("registry.claim.after", 2),
    ("llm.send.after", 9),
    ("files.rename.after", 8),
    ("command.start.after", 1),
    ("journal.answered.after", 20),
    ("git.commit.after", 4),
    ("command.start.after", 3),
    ("begin.review.after", 6),
    ("ref.spec-branch.after", 4),
    ("transition.TaskCompleted.after", 1),
    ("llm.send.after", 14),
];

/// Killed there, and again, and once more; the last of them leaves a model call that is given up.
const THRICE: &[(&str, [u64; 3])] = &[
    ("files.rename.after", [1, 2, 3]),
    ("git.read-tree.before", [2, 1, 2]),
    ("registry.commit.after", [30, 20, 10]),
    ("journal.answered.before", [4, 1, 1]),
    ("llm.send.after", [1, 1, 1]),
];

/// Each site that is passed while a run goes on, behind a kill from which it is passed.
fn again(first: &[Played]) -> Vec<Vec<Point>> {
    let mut ways: BTreeMap<String, Vec<(Point, u64)>> = BTreeMap::new();
    for played in first {
        for (site, passed) in played.going_on.sites() {
            ways.entry(site.to_owned()).or_default().push((played.points[0].clone(), passed.hits));
        }
    }
    // Of every second pair of sites, the one before and the one after a write by turns; and not always behind the
    // same kill, nor at the same passing.
    let wanted = ways.into_iter().enumerate().filter(|(number, _)| all() || matches!(number % 4, 0 | 3));
    let cases = wanted.flat_map(|(number, (site, ways))| {
        let chosen = if all() { ways } else { vec![ways[number % ways.len()].clone()] };
        chosen.into_iter().map(move |(first, hits)| {
            let hit = if number % 8 < 4 { 1 } else { hits };
            vec![first, Point::kill(&site, hit)]
        })
    });
    let thrice = THRICE.iter().map(|(site, hits)| hits.map(|hit| Point::kill(site, hit)).to_vec());
    cases.chain(thrice).collect()
}

#[test]
fn a_run_that_is_killed_again_while_it_goes_on_ends_as_if_nothing_had_happened() {
    if asked_for().is_some() {
        return;
    }
    let (left, _) = undisturbed();
    let first = each_alone(FIRST.iter().map(|(site, hit)| Point::kill(site, *hit)).collect());
    let first = play_all(&first, &left);
    tell(&play_all(&again(&first), &left));
}

#[test]
fn a_disk_that_is_full_at_any_write_is_named_and_costs_nothing() {
    if asked_for().is_some() {
        return;
    }
    let (left, census) = undisturbed();
    tell(&play_all(&each_alone(census.writes(all())), &left));
}
