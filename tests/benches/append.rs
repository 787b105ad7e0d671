//! A durable event, one a transaction, through the registry, against the same row by bare rusqlite
//! into an equal table with equal settings: what the queue, the checks, the end of the log, the time
//! and the body's JSON cost.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::event::{Body, Subject};
use necro_host::domain::id::{RunId, SlotId, SpecName, TaskId};
use necro_host::domain::task::TaskDefinition;
use necro_host::registry::Registry;
use necro_host::store::BlobStore;
use rusqlite::Connection;

/// Rounds: in each, both sides append one event.
const ROUNDS: u32 = 3_000;
const WARM_UP: u32 = 100;
/// Appends whose ratio is one figure of the median.
const GROUP: usize = 50;
const BOUND: Bound = Bound::AtLeast(0.6);

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // On a worker, as in the host.
    runtime.block_on(async { tokio::spawn(measure()).await })?
}

async fn measure() -> Result<ExitCode> {
    // A real disk, which the system's temporary folder need not be.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let clock = Arc::new(SystemClock::default());
    let open = |name: &str| {
        let blobs = BlobStore::open(dir.path().join(name).with_extension("blobs"))?;
        anyhow::Ok(Registry::open(&dir.path().join(name), clock.clone(), blobs)?)
    };
    let registry = open("registry.db")?;
    // The registry's own schema with its index and triggers, then nothing but rusqlite.
    drop(open("bare.db")?);
    let bare = Connection::open(dir.path().join("bare.db"))?;
    bare.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    bare.pragma_update(None, "synchronous", "FULL")?;

    let subject = subject()?;
    let (run, spec) = (RunId::new("run-1")?, SpecName::new("demo")?);
    registry.create_tasks(&run, &spec, vec![definition()?]).await?;
    let (mut bare_times, mut times) = (Vec::new(), Vec::new());
    for number in 1..=WARM_UP + ROUNDS {
        let body = body(number)?;
        let json = serde_json::to_string(&body)?;
        let start = clock.elapsed();
        insert(&bare, number, &json)?;
        let middle = clock.elapsed();
        registry.append(subject.clone(), vec![body]).await?;
        let end = clock.elapsed();
        if number > WARM_UP {
            bare_times.push(middle - start);
            times.push(end - middle);
        }
    }
    let ratios: Vec<f64> = bare_times
        .chunks(GROUP)
        .zip(times.chunks(GROUP))
        .map(|(bare, ours)| median(bare).as_secs_f64() / median(ours).as_secs_f64())
        .collect();
    println!("durable event append, one a transaction; medians of {ROUNDS} rounds");
    row("insert by bare rusqlite", shown(median(&bare_times)));
    row("append to the registry", shown(median(&times)));
    Ok(exit(&[verdict("speed compared", median(&ratios), "×", BOUND)]))
}

/// The same row, with its JSON ready.
fn insert(conn: &Connection, number: u32, body: &str) -> Result<()> {
    conn.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, NULL, ?7)")?.execute((
        number,
        "2026-01-02T03:04:05.123456Z",
        "SlotAllocated",
        "run-1",
        "demo",
        "1",
        body,
    ))?;
    Ok(())
}

/// About a task, so that its existence is checked, and without a projection, so that both sides write
/// the same.
fn body(number: u32) -> Result<Body> {
    Ok(Body::SlotAllocated { slot: SlotId::new(format!("slot{number}"))?, holder: "x".repeat(200) })
}

fn subject() -> Result<Subject> {
    Ok(Subject {
        run: Some(RunId::new("run-1")?),
        spec: Some(SpecName::new("demo")?),
        task: Some(TaskId::new("1")?),
        attempt: None,
    })
}

fn definition() -> Result<TaskDefinition> {
    Ok(TaskDefinition {
        id: TaskId::new("1")?,
        title: "a task".into(),
        text: String::new(),
        optional: false,
        done: false,
        depends: Vec::new(),
        skill: None,
        requirements: Vec::new(),
        priority: 0,
        metadata: std::collections::BTreeMap::new(),
        parent: None,
        container: false,
    })
}
