//! The integration queue, killed at every step and with a full disk at every write, in a batch with a conflict and
//! three branches that break the gate together: the target is where it was, or where it is to be.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;

use necro_host::config::MergeStrategy;

use crate::cases::said;
use crate::job::fast;
use crate::sites::{Act, Census, Point, count_into};
use crate::world::plain;
use crate::yard::{Drained, Shell, Yard};

const TEST: &str = "queue::a_queue_that_is_killed_anywhere_leaves_the_target_before_or_after_a_step";
/// Names the folder for the process that is killed.
const YARD: &str = "NECRO_TEST_YARD";
const STRATEGY: &str = "NECRO_TEST_STRATEGY";
/// Branches: 4 conflicts with 1, and 2, 5 and 7 break the gate together.
const BRANCHES: usize = 8;
const GATE: &str = "! { test -f break-2.txt && test -f break-5.txt && test -f break-7.txt; }";
/// Cases at the same time.
const AT_ONCE: usize = 2;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn strategy(name: &str) -> MergeStrategy {
    match name {
        "squash" => MergeStrategy::Squash,
        "rebase" => MergeStrategy::Rebase,
        _ => MergeStrategy::Merge,
    }
}

/// The branches, in a folder of their own.
fn yard(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(fast()).unwrap();
    runtime().block_on(async {
        let yard = Yard::make(folder.path(), &[("list.txt", "to buy:\n")], BRANCHES, strategy(name)).await;
        for task in 1..=BRANCHES {
            let (path, text) = match task {
                1 | 4 => ("list.txt".to_owned(), format!("to buy:\nby {task}\n")),
                2 | 5 | 7 => (format!("break-{task}.txt"), "1\n".to_owned()),
                _ => (format!("own-{task}.txt"), "1\n".to_owned()),
            };
            yard.branch(task, &[(&path, &text)]).await;
        }
    });
    folder
}

/// What a process of its own does: whatever is not on the target yet is integrated.
fn work(folder: &Path, name: &str) -> Drained {
    runtime().block_on(async {
        let yard = Yard::at(folder, strategy(name)).await;
        let left = yard.left(1..=BRANCHES).await;
        yard.drain(&Shell::new(&yard, GATE), left, BRANCHES).await
    })
}

/// This test once more, as a process that works in `folder`.
fn process(folder: &Path, name: &str) -> Command {
    let mut command = plain(std::env::current_exe().unwrap().to_str().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(YARD, folder).env(STRATEGY, name);
    command
}

/// Where the target stands, and whether the gate is green there.
fn tip(folder: &Path, name: &str) -> (String, Result<(), String>) {
    runtime().block_on(async {
        let yard = Yard::at(folder, strategy(name)).await;
        let tip = yard.tip().await;
        let green = Shell::new(&yard, GATE).is_green(&tip);
        (tip.to_string(), green)
    })
}

/// Plays a case, and gives what is not as it should be. `steps`: where the target may stand.
fn play(point: &Point, name: &str, steps: &[String]) -> Vec<String> {
    let folder = yard(name);
    let mut command = process(folder.path(), name);
    point.put_into(&mut command);
    let output = command.output().unwrap();
    let mut found = Vec::new();
    if !met(point, &output) {
        found.push(format!("it was not met: {}", said(&output)));
    }
    let (at, green) = tip(folder.path(), name);
    if !steps.contains(&at) || green.is_err() {
        found.push(format!("the target is at {at} ({green:?}), not at one of {steps:?}"));
    }
    let again = process(folder.path(), name).output().unwrap();
    let (at, _) = tip(folder.path(), name);
    if !again.status.success() || steps.last() != Some(&at) {
        found.push(format!("it ended at {at}: {}", said(&again)));
    }
    found
}

fn met(point: &Point, output: &Output) -> bool {
    match point.act {
        Act::Kill => output.status.signal() == Some(9),
        Act::Full => !output.status.success(),
    }
}

fn sweep(name: &str) {
    // Undisturbed, in a process as well: all commits take their times from the record.
    let folder = yard(name);
    let (base, _) = tip(folder.path(), name);
    let log = folder.path().join("passed");
    let mut command = process(folder.path(), name);
    count_into(&mut command, &log);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let census = Census::read(&log);
    for step in ["merge.after", "gate.before", "gate.after", "land.before", "land.after"] {
        let site = format!("integration.{step}");
        assert!(census.sites().any(|(passed, _)| passed == site), "{site} was not passed");
    }
    let second = yard(name);
    let drained = work(second.path(), name);
    assert_eq!(drained.conflicts.keys().collect::<Vec<_>>(), ["4"], "{drained:#?}");
    assert_eq!(drained.returned.keys().collect::<Vec<_>>(), ["7"], "{drained:#?}");
    let steps: Vec<String> = std::iter::once(base).chain(drained.tips.iter().map(ToString::to_string)).collect();
    assert_eq!(tip(folder.path(), name).0, steps[steps.len() - 1], "the same is made of it each time");

    let own = |point: &Point| {
        let site = &point.site;
        ["integration.", "ref.", "git."].iter().any(|place| site.starts_with(place))
    };
    let points: Vec<Point> = census.kills(false).into_iter().chain(census.writes(false)).filter(own).collect();
    let (next, failed) = (Mutex::new(points.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(point) = next.lock().unwrap().next() else { return };
                    let found = play(point, name, &steps);
                    println!("{:<7} {name}: {point}", if found.is_empty() { "ok" } else { "FAILED" });
                    failed.lock().unwrap().extend(found.into_iter().map(|what| format!("{name}, {point}: {what}")));
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_queue_that_is_killed_anywhere_leaves_the_target_before_or_after_a_step() {
    if let (Some(folder), Ok(name)) = (std::env::var_os(YARD), std::env::var(STRATEGY)) {
        work(Path::new(&folder), &name);
        return;
    }
    ["merge", "squash", "rebase"].into_iter().for_each(sweep);
}
