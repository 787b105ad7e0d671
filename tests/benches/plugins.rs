//! How soon plugins are ready when they have been compiled before: the engine with twenty of them, and one of an
//! interpreted language from its file to an instance, its digests checked.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "the Python guests are built as in the tests")]

#[path = "../support/python_guests.rs"]
mod python_guests;

mod measure;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::plugin::builtin::{self, Builtin};
use necro_host::plugin::{Engine, EngineOptions, Expectation};
use tokio::task::JoinSet;

const ROUNDS: usize = 25;
/// Rounds that are thrown away: the first one compiles.
const WARM_UP: usize = 2;
const PLUGINS: usize = 20;
const READY_BOUND: Bound = Bound::AtMost(50.0);
const PYTHON_BOUND: Bound = Bound::AtMost(60.0);

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let cache = tempfile::tempdir()?;
        let mut verdicts = vec![many(&cache.path().join("cache")).await?];
        // Built before, or built now, with what the tests install.
        match python_guests::python_guest("the bench of a Python component", "observer", "spirit") {
            Some(bytes) => verdicts.push(python(&cache.path().join("cache"), bytes).await?),
            None => row("a Python component", "skipped"),
        }
        Ok(exit(&verdicts))
    })
}

fn engine(cache: &Path) -> Result<Engine> {
    Ok(Engine::new(EngineOptions { cache_dir: Some(cache.to_owned()), ..EngineOptions::default() })?)
}

async fn many(cache: &Path) -> Result<bool> {
    let plugins: Vec<&'static Builtin> = builtin::ALL.iter().take(PLUGINS).collect();
    ensure!(plugins.len() == PLUGINS, "there are fewer built-in plugins");
    let clock = SystemClock::default();
    let mut times = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let begun = clock.elapsed();
        let engine = engine(cache)?;
        let mut loading = JoinSet::new();
        for plugin in plugins.iter().copied() {
            let engine = engine.clone();
            loading.spawn(async move { engine.load(plugin.name, plugin.bytes, Expectation::Kind(plugin.kind)).await });
        }
        let mut loaded = Vec::new();
        while let Some(plugin) = loading.join_next().await {
            loaded.push(plugin??);
        }
        let time = clock.elapsed() - begun;
        ensure!(loaded.len() == PLUGINS, "not all were loaded");
        if round >= WARM_UP {
            times.push(time);
        }
    }
    println!("{PLUGINS} built-in plugins from a warm cache, with the engine; medians of {ROUNDS} rounds");
    Ok(ms("ready", &times, READY_BOUND))
}

async fn python(cache: &Path, bytes: Vec<u8>) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("python.wasm");
    std::fs::write(&file, &bytes)?;
    let (engine, clock) = (engine(cache)?, SystemClock::default());
    let mut times = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let begun = clock.elapsed();
        let read = tokio::fs::read(&file).await?;
        // Loading ends with an instance on trial.
        let plugin = engine.load("python", read, Expectation::Any).await.context("the Python component")?;
        let time = clock.elapsed() - begun;
        drop(plugin);
        if round >= WARM_UP {
            times.push(time);
        }
    }
    println!("a component of {} MB from Python, from its file to an instance", bytes.len() >> 20);
    Ok(ms("ready", &times, PYTHON_BOUND))
}

fn ms(what: &str, times: &[Duration], bound: Bound) -> bool {
    row("median", shown(median(times)));
    verdict(what, median(times).as_secs_f64() * 1000.0, " ms", bound)
}
