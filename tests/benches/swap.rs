//! Decisions at a steady pace while the policy is swapped again and again in the same process: what the pointer
//! step costs a decision, and what compiling the next component beside them costs.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::grant::Grant;
use necro_host::domain::id::{ExecutionId, Instance, Role};
use necro_host::domain::policy::{Candidate, Issue};
use necro_host::plugin::{Engine, EngineOptions, ExecutionContext, Expectation, Limits, Plugin, PluginKind, builtin};
use necro_host::service::Exchange;
use tokio::sync::watch;

/// Between two decisions: 100 in a second.
const PACE: Duration = Duration::from_millis(10);
/// Between two swaps.
const SWAP_EVERY: Duration = Duration::from_millis(25);
/// Decisions of each phase.
const DECISIONS: usize = 500;
/// Swaps in the time that they take.
const SWAPS: usize = 200;
/// How long a swap may hold up a decision, in milliseconds.
const BOUND: Bound = Bound::AtMost(10.0);

/// What decisions took, and how long they waited for the pointer of that.
struct Latencies {
    whole: Vec<Duration>,
    pointer: Vec<Duration>,
}

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::spawn(measure()).await })?
}

async fn measure() -> Result<ExitCode> {
    let engine = Engine::new(EngineOptions::default())?;
    let (first, second) = (load(&engine, None).await?, load(&engine, Some(b'x')).await?);
    let seat = Arc::new(Exchange::new(Arc::clone(&first)));
    decide(&seat, DECISIONS / 10).await?;
    let still = decide(&seat, DECISIONS).await?;

    let (swapping, both) = (Arc::clone(&seat), [second, first]);
    let swaps = tokio::spawn(async move {
        let clock = SystemClock::default();
        let (mut tick, mut steps) = (tokio::time::interval(SWAP_EVERY), Vec::new());
        loop {
            for next in &both {
                tick.tick().await;
                let begun = clock.elapsed();
                drop(swapping.exchange(Arc::clone(next)));
                steps.push(clock.elapsed() - begun);
                if steps.len() == SWAPS {
                    return steps;
                }
            }
        }
    });
    let swapped = decide(&seat, DECISIONS).await?;
    let steps = swaps.await?;

    let (stop, mut stopping) = watch::channel(false);
    let compiling = tokio::spawn(async move {
        let mut compiled = 0_u8;
        while !*stopping.borrow_and_update() {
            load(&engine, Some(compiled)).await?;
            compiled = compiled.wrapping_add(1);
        }
        anyhow::Ok(compiled)
    });
    let beside = decide(&seat, DECISIONS).await?;
    stop.send_replace(true);
    let compiled = compiling.await??;

    println!("100 decisions a second, {} swaps meanwhile", steps.len());
    row("a decision without swaps: median", shown(median(&still.whole)));
    row("a decision without swaps: longest", shown(longest(&still.whole)));
    row("a decision with swaps: longest", shown(longest(&swapped.whole)));
    row("a decision waits for the pointer: longest", shown(longest(&swapped.pointer)));
    row("the pointer step itself: longest", shown(longest(&steps)));
    row(&format!("a decision while {compiled} components are compiled: longest"), shown(longest(&beside.whole)));
    let delay = longest(&swapped.whole).saturating_sub(median(&still.whole));
    Ok(exit(&[verdict("longest delay of a decision by swaps", delay.as_secs_f64() * 1e3, " ms", BOUND)]))
}

fn longest(times: &[Duration]) -> Duration {
    times.iter().copied().max().unwrap_or_default()
}

/// The built-in policy, or with a mark another component that does the same.
async fn load(engine: &Engine, mark: Option<u8>) -> Result<Arc<Plugin>> {
    let policy = builtin::find(PluginKind::Routing, "least-busy").context("the built-in policy is gone")?;
    let section = mark.map_or_else(Vec::new, |mark| vec![0, 3, 1, b'a' + mark % 26, mark]);
    let bytes = [policy.bytes, &section].concat();
    Ok(engine.load(policy.name, bytes, Expectation::Kind(PluginKind::Routing)).await?)
}

/// Decides at a steady pace with whoever sits there.
async fn decide(seat: &Exchange<Plugin>, count: usize) -> Result<Latencies> {
    let (issue, candidates) = (issue(), candidates()?);
    let (_cancel, cancel) = watch::channel(false);
    let context = ExecutionContext {
        grant: Arc::new(Grant::everything()),
        cancel,
        ..ExecutionContext::apart(ExecutionId::new("execution-1")?, Limits::for_kind(PluginKind::Routing))
    };
    let (clock, mut tick) = (SystemClock::default(), tokio::time::interval(PACE));
    let mut latencies = Latencies { whole: Vec::with_capacity(count), pointer: Vec::with_capacity(count) };
    for _ in 0..count {
        tick.tick().await;
        let begun = clock.elapsed();
        let plugin = seat.now();
        latencies.pointer.push(clock.elapsed() - begun);
        plugin.route(context.clone(), &issue, &candidates, "{}", "").await.result?;
        latencies.whole.push(clock.elapsed() - begun);
    }
    Ok(latencies)
}

fn issue() -> Issue {
    Issue {
        id: "2.1".into(),
        title: "Add the sign-in endpoint".into(),
        text: "- POST /sessions takes a name and a password".into(),
        labels: vec![],
        priority: 3,
    }
}

fn candidates() -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for (name, skill) in [("backend", "api"), ("frontend", "view"), ("database", "schema"), ("qa", "tests")] {
        let role = Role::new(name)?;
        candidates.push(Candidate {
            instance: Instance::of(&role, 1),
            role,
            skills: vec![skill.into()],
            load: 0,
            capacity: 1,
            last_assigned: 1,
            price_microusd: None,
        });
    }
    Ok(candidates)
}
