//! A hundred branches that do not conflict, and a gate that takes a second: through the queue, and one by one.
//!
//! One by one takes minutes: ten branches are measured and reckoned up to a hundred, which is fair to that side,
//! because later merges are no faster. With `NECRO_BENCH_FULL` set, all hundred are measured.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "what a bench needs is there, or the bench fails")]

mod measure;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../support/yard.rs"]
mod yard;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock as _, SystemClock};
use necro_host::config::MergeStrategy;
use yard::{Shell, Yard};

/// Branches.
const BRANCHES: usize = 100;
/// Of these, so many are measured one by one.
const ONE_BY_ONE: usize = 10;
/// Files on the target.
const FILES: usize = 200;
/// The default of `integration.max_batch`.
const MAX_BATCH: usize = 32;
/// Rounds of the queue; the other side is so slow that its scatter does not count.
const ROUNDS: usize = 3;
/// How many times as fast the queue is.
const BOUND: Bound = Bound::AtLeast(5.0);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let full = std::env::var_os("NECRO_BENCH_FULL").is_some();
    let alone = if full { BRANCHES } else { ONE_BY_ONE };
    println!("{BRANCHES} branches without conflict on {FILES} files, a gate of 1 s");

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (took, gates) = integrate(BRANCHES, MAX_BATCH).await?;
        ensure!(gates == u32::try_from(BRANCHES.div_ceil(MAX_BATCH))?, "{gates} gates");
        times.push(took);
    }
    let queue = median(&times);
    row(&format!("through the queue, in batches of {MAX_BATCH}: median of {ROUNDS}"), shown(queue));
    row("of that, for a branch, without the gates", shown((queue - Duration::from_secs(4)) / 100));

    let (took, gates) = integrate(alone, 1).await?;
    ensure!(gates as usize == alone, "{gates} gates");
    let each = took / gates;
    let whole = each * u32::try_from(BRANCHES)?;
    row(&format!("one by one, {alone} measured: each"), shown(each));
    row(&format!("one by one, {BRANCHES}{}", if full { "" } else { ", reckoned" }), shown(whole));
    let ratio = whole.as_secs_f64() / queue.as_secs_f64();
    Ok(exit(&[verdict("one by one takes so many times as long", ratio, " x", BOUND)]))
}

/// Integrates so many branches in batches of `max`, and gives how long that took and how many gates ran.
async fn integrate(branches: usize, max: usize) -> Result<(Duration, u32)> {
    let texts: Vec<(String, String)> =
        (0..FILES).map(|n| (format!("src/{}/file-{n}.txt", n % 20), format!("{n}\n").repeat(20))).collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let yard = Yard::new(&files, branches, MergeStrategy::Merge).await;
    let mut candidates = Vec::new();
    for task in 1..=branches {
        candidates.push(yard.branch(task, &[(&format!("src/{}/new-{task}.txt", task % 20), "new\n")]).await);
    }
    let judge = Shell::new(&yard, "sleep 1");
    let clock = SystemClock::default();
    let begun = clock.elapsed();
    let drained = yard.drain(&judge, candidates, max).await;
    let took = clock.elapsed() - begun;
    ensure!(drained.landed.len() == branches, "{drained:#?}");
    Ok((took, drained.gates))
}
