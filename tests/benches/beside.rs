//! Decisions beside guests that loop for ever: how long one takes with the answer of a thread that makes it
//! durable, at the worst hundredth, on the same two threads as its neighbours. They cannot be kept from the processor, but from holding it.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "what builds the guests is the tests' own")]

#[path = "../support/guests.rs"]
mod guests;
mod measure;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::cli::EVENT_INTERVAL;
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::grant::Grant;
use necro_host::domain::id::{ExecutionId, Instance, Role};
use necro_host::domain::policy::{Candidate, Issue};
use necro_host::plugin::{Engine, EngineOptions, ExecutionContext, Expectation, Limits, Plugin, PluginKind, builtin};
use tokio::sync::watch;

/// Decisions of one round; the worst hundredth of them is the worst.
const DECISIONS: usize = 100;
/// Rounds with each number of neighbours, in turn.
const ROUNDS: usize = 3;
/// Neighbours that loop; the host has two threads here, so that the last is twice as many as fit.
const NEIGHBOURS: [usize; 4] = [0, 1, 2, 4];
/// Of a median decision beside one neighbour, which leaves a thread free but shares the processor.
const BESIDE_ONE: Bound = Bound::AtMost(3.0);
/// Timers of one round.
const TIMERS: usize = 20;
/// Of a timer of one millisecond beside as many, in milliseconds: sockets and processes are heard as late.
const TIMER_MS: Bound = Bound::AtMost(150.0);
/// Of the worst hundredth beside twice as many neighbours as threads, in milliseconds: a few turns of each.
const WORST_MS: Bound = Bound::AtMost(250.0);

fn main() -> Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // Two threads, and otherwise as the host has it.
    let runtime = builder.worker_threads(2).event_interval(EVENT_INTERVAL).enable_all().build()?;
    runtime.block_on(async { tokio::spawn(measure()).await })?
}

async fn measure() -> Result<ExitCode> {
    let engine = Engine::new(EngineOptions::default())?;
    let policy = builtin::find(PluginKind::Routing, "least-busy").context("the built-in policy is gone")?;
    let plugin = engine.load(policy.name, policy.bytes, Expectation::Kind(PluginKind::Routing)).await?;
    let bytes = tokio::task::spawn_blocking(|| guests::guest_bytes("endless-loop")).await?;
    let looper = engine.load("endless-loop", bytes, Expectation::Kind(PluginKind::Routing)).await?;
    let mut timers = Vec::new();
    let mut times: Vec<Vec<Times>> = vec![Vec::new(); NEIGHBOURS.len()];
    for _ in 0..ROUNDS {
        for (at, count) in NEIGHBOURS.into_iter().enumerate() {
            let (decisions, timer) = round(&plugin, &looper, count).await?;
            times[at].push(decisions);
            timers.push((count, timer));
        }
    }
    println!("a decision beside guests that loop, two threads; medians of {ROUNDS} rounds of {DECISIONS}");
    let mut figures = Vec::new();
    for (count, rounds) in NEIGHBOURS.iter().zip(&times) {
        let typical = median(&rounds.iter().map(|(typical, _)| *typical).collect::<Vec<_>>());
        let worst = median(&rounds.iter().map(|(_, worst)| *worst).collect::<Vec<_>>());
        row(&format!("beside {count}: median, worst hundredth"), format!("{}, {}", shown(typical), shown(worst)));
        figures.push((typical, worst));
    }
    let most = NEIGHBOURS[NEIGHBOURS.len() - 1];
    let timers: Vec<Duration> =
        timers.into_iter().filter(|(count, _)| *count == most).map(|(_, timer)| timer).collect();
    let timer_ms = median(&timers).as_secs_f64() * 1_000.0;
    let ratio = figures[1].0.as_secs_f64() / figures[0].0.as_secs_f64();
    let worst_ms = figures[NEIGHBOURS.len() - 1].1.as_secs_f64() * 1_000.0;
    Ok(exit(&[
        verdict("median beside one, against alone", ratio, "×", BESIDE_ONE),
        verdict("worst hundredth beside four", worst_ms, " ms", WORST_MS),
        verdict("timer of one millisecond beside four", timer_ms, " ms", TIMER_MS),
    ]))
}

/// The median and the worst hundredth.
type Times = (Duration, Duration);

/// Some decisions beside so many guests that loop, and the median of timers.
async fn round(plugin: &Plugin, looper: &Arc<Plugin>, neighbours: usize) -> Result<(Times, Duration)> {
    let (stop, cancel) = watch::channel(false);
    let mut looping = tokio::task::JoinSet::new();
    for _ in 0..neighbours {
        let (looper, mut context) = (Arc::clone(looper), context(cancel.clone())?);
        context.limits.fuel = None;
        context.limits.guest_time = Duration::MAX;
        context.limits.wall = Duration::from_secs(3_600);
        looping.spawn(async move { looper.route(context, &issue(), &[], "", "").await.result.is_err() });
    }
    let (_never, quiet) = watch::channel(false);
    let (context, issue, candidates) = (context(quiet)?, issue(), [candidate()?]);
    let clock = SystemClock::default();
    let commits = writer()?;
    let mut times = Vec::new();
    for _ in 0..DECISIONS {
        let start = clock.elapsed();
        plugin.route(context.clone(), &issue, &candidates, "{}", "").await.result?;
        committed(&commits).await?;
        times.push(clock.elapsed() - start);
    }
    let mut timers = Vec::new();
    for _ in 0..TIMERS {
        let start = clock.elapsed();
        tokio::time::sleep(Duration::from_millis(1)).await;
        timers.push(clock.elapsed() - start);
    }
    stop.send(true)?;
    while let Some(ended) = looping.join_next().await {
        ensure!(ended?, "a guest that loops came to an end by itself");
    }
    times.sort_unstable();
    Ok(((times[DECISIONS / 2], times[DECISIONS - 1]), median(&timers)))
}

type Commit = tokio::sync::oneshot::Sender<()>;

/// A thread that answers, as the registry's writer does when something is durable.
fn writer() -> Result<std::sync::mpsc::Sender<Commit>> {
    let (commits, asked) = std::sync::mpsc::channel::<Commit>();
    let answer = move || {
        for commit in asked {
            // Whoever asked may be gone.
            let _ = commit.send(());
        }
    };
    std::thread::Builder::new().spawn(answer)?;
    Ok(commits)
}

async fn committed(commits: &std::sync::mpsc::Sender<Commit>) -> Result<()> {
    let (commit, durable) = tokio::sync::oneshot::channel();
    commits.send(commit)?;
    Ok(durable.await?)
}

fn context(cancel: watch::Receiver<bool>) -> Result<ExecutionContext> {
    Ok(ExecutionContext {
        grant: Arc::new(Grant::everything()),
        cancel,
        ..ExecutionContext::apart(ExecutionId::new("execution-1")?, Limits::for_kind(PluginKind::Routing))
    })
}

fn issue() -> Issue {
    Issue { id: "1".into(), title: "Add an endpoint".into(), text: String::new(), labels: vec![], priority: 0 }
}

fn candidate() -> Result<Candidate> {
    let role = Role::new("backend")?;
    Ok(Candidate {
        instance: Instance::of(&role, 1),
        role,
        skills: vec![],
        load: 0,
        capacity: 1,
        last_assigned: 0,
        price_microusd: None,
    })
}
