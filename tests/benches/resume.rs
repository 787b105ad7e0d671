//! Going on from records. Resume: 1,000 executions of 100 calls each, without slots, from opening the state
//! directory until the first, and until all, make their first call that is on no record; all are alive at
//! the same time then. Strict replay: calls a second of `necro-host replay`, its start included.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "the guests are built by what the tests share")]

#[path = "../support/guests.rs"]
mod guests;
mod measure;
#[path = "resume/world.rs"]
mod world;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::service::go_on_alone;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use world::{CALLS, Host, World};

/// Executions that were cut off.
const OPEN: usize = 1_000;
/// Of them, so many are under way between their beginning and their first live call.
const AT_ONCE: usize = 8;
/// Resumes; each finds the executions as a crash left them.
const ROUNDS: usize = 3;
/// Executions that have ended, for the replay, with a call each that the others wait in.
const ENDED: usize = 300;
const FIRST: Bound = Bound::AtMost(1_000.0);
const ALL: Bound = Bound::AtMost(10_000.0);
const REPLAYED: Bound = Bound::AtLeast(5_000.0);

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // On a worker, as in the host.
    runtime.block_on(async { tokio::spawn(measure()).await })?
}

async fn measure() -> Result<ExitCode> {
    let clock = Arc::new(SystemClock::default());
    let (mut firsts, mut alls) = (Vec::new(), Vec::new());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let world = World::make(dir.path(), clock.clone())?;
    world.record(OPEN, "open", false).await?;
    for _ in 0..ROUNDS {
        let (first, all) = resume(&world, clock.clone()).await?;
        firsts.push(first);
        alls.push(all);
    }
    println!("resume of {OPEN} executions, {CALLS} calls on record each; medians of {ROUNDS} rounds");
    let first = verdict("first live call", median(&firsts).as_secs_f64() * 1000.0, " ms", FIRST);
    let all = verdict("all live", median(&alls).as_secs_f64() * 1000.0, " ms", ALL);

    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let world = World::make(dir.path(), clock.clone())?;
    world.record(ENDED, "ended", true).await?;
    let replays = (0..ROUNDS).map(|_| replay(&world, &*clock)).collect::<Result<Vec<_>>>()?;
    let times: Vec<Duration> = replays.iter().map(|(_, time)| *time).collect();
    let rates: Vec<f64> = replays.iter().map(|(calls, time)| *calls as f64 / time.as_secs_f64()).collect();
    println!("strict replay of {ENDED} executions, as a process of its own; medians of {ROUNDS} replays");
    row("until it has ended", shown(median(&times)));
    let replayed = verdict("calls a second", median(&rates), "", REPLAYED);
    Ok(exit(&[first, all, replayed]))
}

/// Until the first and until all executions are live. They stay where they were cut off.
async fn resume(world: &World, clock: Arc<SystemClock>) -> Result<(Duration, Duration)> {
    let start = clock.elapsed();
    let registry = world.registry()?;
    let plugin = world.plugin().await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    // Never opened: the executions end with the process that this round stands for.
    let (_gate, gate) = watch::channel(false);
    let free = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for number in 0..OPEN {
        let id = world::id("open", number)?;
        let (registry, plugin, free) = (registry.clone(), plugin.clone(), free.clone());
        let (arrived, gate) = (arrived.clone(), gate.clone());
        running.spawn(async move {
            let permit = free.acquire_owned().await?;
            let host = Host::new(gate, move || {
                drop(permit);
                let _ = arrived.send(());
            });
            anyhow::Ok(go_on_alone(&registry, &plugin, &id, host.capabilities()).await?)
        });
    }
    drop(arrived);
    let mut first = None;
    for _ in 0..OPEN {
        tokio::select! {
            arrival = arrivals.recv() => arrival.context("an execution ended before its live call")?,
            ended = running.join_next() => anyhow::bail!("an execution ended before its live call: {ended:?}"),
        }
        first.get_or_insert(clock.elapsed());
    }
    let all = clock.elapsed() - start;
    running.shutdown().await;
    Ok((first.context("there are executions")? - start, all))
}

/// Calls that were repeated, and how long the process took.
#[expect(clippy::disallowed_methods, reason = "a bench of the binary starts it")]
fn replay(world: &World, clock: &dyn Clock) -> Result<(u64, Duration)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_necro-host"));
    command.env_clear().env("NECRO_CACHE", world.cache()).current_dir(world.dir());
    command.args(["replay", "--json", "--color", "never", "--state"]).arg(world.state()).stdin(Stdio::null());
    let start = clock.elapsed();
    let output = command.output()?;
    let time = clock.elapsed() - start;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["same"] == ENDED, "{report}");
    Ok((report["calls"].as_u64().context("it says how many calls there were")?, time))
}
