//! A routing decision as the host makes it, against the bare call of the same component in the same
//! engine: what limits, metering, conversion and checks cost; and with its grant looked up and its record made,
//! everything but the commit.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::grant::{Grant, Scopes};
use necro_host::domain::id::{ExecutionId, Instance, Role};
use necro_host::domain::policy::{Candidate, Issue};
use necro_host::plugin::bare::BareRouting;
use necro_host::plugin::{Engine, EngineOptions, ExecutionContext, Expectation, Limits, Plugin, PluginKind, builtin};
use necro_host::store::digest_of;
use serde_json::json;
use tokio::sync::watch;

/// Rounds: in each, both sides are measured, one right after the other.
const ROUNDS: usize = 401;
/// Calls of each side in a round; short enough that most rounds see no other process.
const CALLS: u32 = 40;
/// Rounds that are thrown away.
const WARM_UP: usize = 20;
const BOUND: Bound = Bound::AtMost(1.3);
/// Of the same with the grant and the record.
const WHOLE_BOUND: Bound = Bound::AtMost(1.5);

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // On a worker, as in the host.
    runtime.block_on(async { tokio::spawn(measure()).await })?
}

async fn measure() -> Result<ExitCode> {
    let engine = Engine::new(EngineOptions::default())?;
    let policy = builtin::find(PluginKind::Routing, "least-busy").context("the built-in policy is gone")?;
    let plugin = engine.load(policy.name, policy.bytes, Expectation::Kind(PluginKind::Routing)).await?;
    let (issue, candidates) = (issue(), candidates()?);
    let bare = BareRouting::new(&plugin, &issue, &candidates).map_err(Error::msg)?.context("it is a routing policy")?;
    let (_cancel, cancel) = watch::channel(false);
    let context = ExecutionContext {
        grant: Arc::new(Grant::everything()),
        cancel,
        ..ExecutionContext::apart(ExecutionId::new("execution-1")?, Limits::for_kind(PluginKind::Routing))
    };
    let picked = decide(&plugin, &context, &issue, &candidates).await?;
    ensure!(picked == bare.call().await.map_err(Error::msg)?, "both sides decide the same");

    let clock = SystemClock::default();
    let (mut bare_times, mut times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut whole_ratios = Vec::new();
    let approved = plugin.asks();
    for round in 0..WARM_UP + ROUNDS {
        let start = clock.elapsed();
        for _ in 0..CALLS {
            bare.call().await.map_err(Error::msg)?;
        }
        let middle = clock.elapsed();
        for _ in 0..CALLS {
            decide(&plugin, &context, &issue, &candidates).await?;
        }
        let decided = clock.elapsed();
        for _ in 0..CALLS {
            whole(&plugin, &context, &approved, &issue, &candidates).await?;
        }
        let whole = (clock.elapsed() - decided) / CALLS;
        let (bare, ours) = ((middle - start) / CALLS, (decided - middle) / CALLS);
        if round >= WARM_UP {
            bare_times.push(bare);
            times.push(ours);
            ratios.push(ours.as_secs_f64() / bare.as_secs_f64());
            whole_ratios.push(whole.as_secs_f64() / bare.as_secs_f64());
        }
    }
    println!("policy decision: fresh store, typed call, 8 candidates; medians of {ROUNDS} rounds");
    row("bare fresh-instance call", shown(median(&bare_times)));
    row("the host's call", shown(median(&times)));
    Ok(exit(&[
        verdict("ratio", median(&ratios), "×", BOUND),
        verdict("with grant and record, without the commit", median(&whole_ratios), "×", WHOLE_BOUND),
    ]))
}

/// A decision with what stands before and after it: the grant of its digest, the record of its input, and that of
/// its outcome, as the bytes that are stored by their digest.
async fn whole(
    plugin: &Plugin,
    context: &ExecutionContext,
    approved: &Scopes,
    issue: &Issue,
    candidates: &[Candidate],
) -> Result<usize> {
    let grant = Arc::new(Grant::of(&plugin.asks(), approved));
    let input = serde_json::to_vec(&json!({ "issue": issue, "candidates": candidates, "state": "" }))?;
    let began = digest_of(&input);
    let context = ExecutionContext { grant, ..context.clone() };
    let ended = plugin.route(context, issue, candidates, "{}", "").await;
    let usage = serde_json::to_value(ended.usage)?;
    let outcome = serde_json::to_vec(&json!({ "ok": ended.result? }))?;
    Ok(input.len()
        + outcome.len()
        + began.as_str().len()
        + digest_of(&outcome).as_str().len()
        + usage.to_string().len())
}

async fn decide(
    plugin: &Plugin,
    context: &ExecutionContext,
    issue: &Issue,
    candidates: &[Candidate],
) -> Result<String> {
    let decision = plugin.route(context.clone(), issue, candidates, "{}", "").await.result?;
    Ok(decision.instance.to_string())
}

fn issue() -> Issue {
    Issue {
        id: "2.1".into(),
        title: "Add the sign-in endpoint".into(),
        text: "- POST /sessions takes a name and a password\n- wrong ones are answered with 401\n- tests".into(),
        labels: vec![],
        priority: 3,
    }
}

/// Two instances of four roles.
fn candidates() -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for (name, skill) in [("backend", "api"), ("frontend", "view"), ("database", "schema"), ("qa", "tests")] {
        for number in [1, 2] {
            let role = Role::new(name)?;
            candidates.push(Candidate {
                instance: Instance::of(&role, number),
                role,
                skills: vec![skill.into()],
                load: number - 1,
                capacity: 1,
                last_assigned: u64::from(number),
                price_microusd: None,
            });
        }
    }
    Ok(candidates)
}
