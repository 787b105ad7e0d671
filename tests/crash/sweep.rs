//! Plays cases, a few at a time, and tells how they went.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cases::{Played, play, undisturbed};
use crate::left::Left;
use crate::sites::Point;

/// Cases at the same time.
const AT_ONCE: usize = 2;

/// Plays all `cases` and gives them back in their order.
fn play_all(cases: &[Vec<Point>], left: &Left) -> Vec<Played> {
    let next = AtomicUsize::new(0);
    let played = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(points) = cases.get(number) else { return };
                    let done = play(points, number % 2 == 0, left, false);
                    played.lock().unwrap().push((number, done));
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap();
    played.sort_by_key(|(number, _)| *number);
    played.into_iter().map(|(_, played)| played).collect()
}

/// Prints a table of the cases and fails when one of them did.
fn tell(played: &[Played]) {
    let mut failed = 0;
    for case in played {
        let met = if case.met == case.points.len() { "" } else { " (not met)" };
        match &case.kept {
            None => println!("ok      {}{met}", case.name()),
            Some(folder) => {
                failed += 1;
                println!("FAILED  {}{met}\n{}", case.name(), case.problems.join("\n"));
                println!(
                    "        kept in {}; again: NECRO_CRASH='{}' cargo test --test crash",
                    folder.display(),
                    case.name()
                );
            }
        }
    }
    println!("{} cases, {failed} failed", played.len());
    assert_eq!(failed, 0, "cases failed");
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

#[test]
fn a_run_that_is_killed_anywhere_ends_as_if_nothing_had_happened() {
    let (left, census) = undisturbed();
    for (site, passed) in census.sites() {
        println!("{:>6} {site}{}", passed.hits, if passed.is_write { " (write)" } else { "" });
    }
    tell(&play_all(&asked_for().unwrap_or_else(|| each_alone(census.kills(all()))), &left));
}

#[test]
fn a_disk_that_is_full_at_any_write_is_named_and_costs_nothing() {
    let (left, census) = undisturbed();
    tell(&play_all(&asked_for().unwrap_or_else(|| each_alone(census.writes(all()))), &left));
}
