//! The registry at size: durable changes by many writers at once against bare rusqlite alone, a set of a
//! thousand tasks changed once each, the ready tasks of ten thousand, and one task's events among a million.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::event::{Body, Subject, TaskChange};
use necro_host::domain::id::{SpecName, TaskId, TaskKey};
use necro_host::domain::task::{Attributes, TaskDefinition};
use necro_host::registry::{Boxes, EventFilter, Reader, Registry, SpecContent};
use necro_host::store::BlobStore;
use rusqlite::Connection;

/// Writers at the same time.
const WRITERS: usize = 64;
/// Appends of all writers together in a round, and rounds.
const APPENDS: u32 = 2_000;
const ROUNDS: u32 = 5;
/// Tasks of the set whose every task is changed once, and rounds.
const CHANGED: u32 = 1_000;
/// Tasks of the set whose ready ones are asked for.
const TASKS: u32 = 10_000;
/// Events of the long log, and of the task that is asked about.
const EVENTS: u32 = 1_000_000;
const OF_ONE: u32 = 100;
/// Questions whose median counts.
const QUESTIONS: u32 = 50;

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // On a worker, as in the host.
    runtime.block_on(async { tokio::spawn(measure()).await })?
}

async fn measure() -> Result<ExitCode> {
    // A real disk, which the system's temporary folder need not be.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let clock = Arc::new(SystemClock::default());
    let mut verdicts = writers(dir.path(), &clock).await?;
    verdicts.extend(thousand(dir.path(), &clock).await?);
    verdicts.extend(ready(dir.path(), &clock).await?);
    verdicts.extend(long_log(dir.path(), &clock).await?);
    Ok(exit(&verdicts))
}

fn open(dir: &Path, name: &str, clock: &Arc<SystemClock>) -> Result<Registry> {
    let blobs = BlobStore::open(dir.join(name).with_extension("blobs"))?;
    Ok(Registry::open(&dir.join(name), clock.clone(), blobs)?)
}

fn spec() -> Result<SpecName> {
    Ok(SpecName::new("demo")?)
}

fn key(number: u32) -> Result<TaskKey> {
    Ok(TaskKey { spec: spec()?, task: TaskId::new(number.to_string())? })
}

fn set(tasks: u32, depends: impl Fn(u32) -> Option<u32>) -> Result<SpecContent> {
    let definition = |number: u32| -> Result<TaskDefinition> {
        Ok(TaskDefinition {
            id: TaskId::new(number.to_string())?,
            title: format!("task {number} of a set that is larger than most"),
            text: "- what is to be done\n- and how it is seen that it was".into(),
            optional: false,
            done: false,
            depends: depends(number).map(|on| TaskId::new(on.to_string())).transpose()?.into_iter().collect(),
            skill: Some("backend".into()),
            requirements: vec!["1.1".into()],
            priority: i32::try_from(number % 3)?,
            metadata: std::collections::BTreeMap::new(),
            parent: None,
            container: false,
        })
    };
    let definitions = (1..=tasks).map(definition).collect::<Result<_>>()?;
    Ok(SpecContent { definitions, boxes: Boxes::AsTheyAre, place: None })
}

fn note(text: String) -> Body {
    Body::TaskUpdated { change: TaskChange::NoteAdded { author: "bench".into(), text } }
}

/// Appends with a row in a projection, by many at once, against one insert a transaction by one alone.
async fn writers(dir: &Path, clock: &Arc<SystemClock>) -> Result<Vec<bool>> {
    let registry = open(dir, "writers.db", clock)?;
    registry.sync(None, &spec()?, set(WRITERS as u32, |_| None)?).await?;
    drop(open(dir, "bare.db", clock)?);
    let bare = Connection::open(dir.join("bare.db"))?;
    bare.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    bare.pragma_update(None, "synchronous", "FULL")?;
    let (mut alone, mut together, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut sequence = 0;
    for _ in 0..ROUNDS {
        let start = clock.elapsed();
        for _ in 0..APPENDS / 4 {
            sequence += 1;
            let body = serde_json::to_string(&note("x".repeat(100)))?;
            bare.prepare_cached(
                "INSERT INTO events (seq, time, kind, body_version, spec, task, body)
                 VALUES (?1, '2026-01-02T03:04:05.123456Z', 'TaskUpdated', 2, 'demo', '1', ?2)",
            )?
            .execute((sequence, body))?;
        }
        let bare_each = (clock.elapsed() - start) / (APPENDS / 4);
        let start = clock.elapsed();
        let each = stream::iter(0..WRITERS as u32).map(|writer| {
            let registry = registry.clone();
            tokio::spawn(async move {
                let subject = Subject::task(None, &key(writer + 1)?);
                for _ in 0..APPENDS / WRITERS as u32 {
                    registry.append(subject.clone(), vec![note("x".repeat(100))]).await?;
                }
                anyhow::Ok(())
            })
        });
        each.buffer_unordered(WRITERS).map(|joined| joined?).try_collect::<Vec<()>>().await?;
        let our_each = (clock.elapsed() - start) / (APPENDS / WRITERS as u32 * WRITERS as u32);
        ratios.push(bare_each.as_secs_f64() / our_each.as_secs_f64());
        alone.push(bare_each);
        together.push(our_each);
    }
    println!("durable events, {WRITERS} writers at once; medians of {ROUNDS} rounds");
    row("insert by bare rusqlite, one a transaction, alone", shown(median(&alone)));
    row("append to the registry, with its projection", shown(median(&together)));
    Ok(vec![verdict("throughput compared", median(&ratios), "×", Bound::AtLeast(4.0))])
}

/// Each task of a set changed once, all durable.
async fn thousand(dir: &Path, clock: &Arc<SystemClock>) -> Result<Vec<bool>> {
    let registry = open(dir, "thousand.db", clock)?;
    registry.sync(None, &spec()?, set(CHANGED, |_| None)?).await?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let start = clock.elapsed();
        let changes = stream::iter(1..=CHANGED).map(|number| {
            let registry = registry.clone();
            tokio::spawn(async move {
                let attributes = Attributes { priority: Some(100 + i32::try_from(round)?), ..Attributes::default() };
                registry.set_task(&key(number)?, u64::from(round) + 1, attributes).await?;
                anyhow::Ok(())
            })
        });
        changes.buffer_unordered(WRITERS).map(|joined| joined?).try_collect::<Vec<()>>().await?;
        times.push(clock.elapsed() - start);
    }
    println!("each of {CHANGED} tasks changed once, durably, {WRITERS} at a time; median of {ROUNDS} rounds");
    row("all", shown(median(&times)));
    Ok(vec![verdict("time", median(&times).as_secs_f64() * 1e3, "ms", Bound::AtMost(100.0))])
}

fn asked<T>(clock: &SystemClock, ask: impl Fn() -> Result<T>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..QUESTIONS {
        let start = clock.elapsed();
        std::hint::black_box(ask()?);
        times.push(clock.elapsed() - start);
    }
    Ok(median(&times))
}

/// The ready ones of a large set: of one in which a tenth is ready, and of one in which all are.
async fn ready(dir: &Path, clock: &Arc<SystemClock>) -> Result<Vec<bool>> {
    let mut verdicts = Vec::new();
    println!("ready tasks of {TASKS}; medians of {QUESTIONS} questions");
    for (name, chain) in [("a hundredth of them ready", 100), ("all of them ready", 1)] {
        let file = format!("ready-{chain}.db");
        let registry = open(dir, &file, clock)?;
        registry.sync(None, &spec()?, set(TASKS, |n| (n % chain != 1 && chain > 1).then(|| n - 1))?).await?;
        drop(registry);
        let reader = Reader::open(&dir.join(&file), BlobStore::open(dir.join("blobs"))?)?;
        let spec = spec()?;
        let count = reader.ready_ids(&spec)?.len();
        let ids = asked(clock, || Ok(reader.ready_ids(&spec)?))?;
        row(&format!("{name}: {count} ids"), shown(ids));
        verdicts.push(verdict("time of all ids", ids.as_secs_f64() * 1e3, "ms", Bound::AtMost(1.0)));
        let first = asked(clock, || Ok(reader.first_ready(&spec, 100)?))?;
        row(&format!("{name}: the first 100, whole"), shown(first));
        verdicts.push(verdict("time of the first 100", first.as_secs_f64() * 1e3, "ms", Bound::AtMost(1.0)));
    }
    Ok(verdicts)
}

/// One task's events among a million.
async fn long_log(dir: &Path, clock: &Arc<SystemClock>) -> Result<Vec<bool>> {
    let registry = open(dir, "long.db", clock)?;
    registry.sync(None, &spec()?, set(100, |_| None)?).await?;
    for request in 0..EVENTS / 1000 {
        let number = request % 99 + 2;
        let bodies: Vec<Body> = (0..1000).map(|n| note(format!("note {n}"))).collect();
        registry.append(Subject::task(None, &key(number)?), bodies).await?;
        if request % (EVENTS / 1000 / OF_ONE) == 0 {
            registry.append(Subject::task(None, &key(1)?), vec![note("of the one".into())]).await?;
        }
    }
    drop(registry);
    let reader = Reader::open(&dir.join("long.db"), BlobStore::open(dir.join("blobs"))?)?;
    let filter = EventFilter::task(&key(1)?);
    let count = reader.events(&filter)?.len();
    let all = asked(clock, || Ok(reader.events(&filter)?))?;
    let middle = reader.events(&EventFilter { after: u64::from(EVENTS / 2), limit: 1, ..EventFilter::default() })?;
    let since = EventFilter { since: middle.first().map(|event| event.time), limit: 100, ..EventFilter::default() };
    println!("events among {EVENTS}; medians of {QUESTIONS} questions");
    row(&format!("one task's {count}"), shown(all));
    row("the first 100 after a time", shown(asked(clock, || Ok(reader.events(&since)?))?));
    let mut rare = EventFilter { kinds: vec!["TaskCreated".into()], ..EventFilter::default() };
    row("all of a rare kind", shown(asked(clock, || Ok(reader.events(&rare)?))?));
    rare.kinds.clear();
    Ok(vec![verdict("time of one task's events", all.as_secs_f64() * 1e3, "ms", Bound::AtMost(5.0))])
}
