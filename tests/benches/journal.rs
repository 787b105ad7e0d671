//! What the journal of an execution costs. In time: observations, local effects and external effects
//! against the same row by bare rusqlite, durable each. In bytes: a conversation of 50 turns against its
//! messages once.
//!
//! With `--rates DIR` it prints how many of each are recorded in a second below `DIR`, as one line of JSON:
//! `tests/peers/` puts other engines beside them.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

#[path = "journal/conversation.rs"]
mod conversation;
mod measure;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::call::{CallRequest, Cost, Function, LocalEffect};
use necro_host::domain::id::RunId;
use necro_host::domain::id::{AttemptKey, Digest, ExecutionId, Instance, SpecName, TaskId, TaskKey};
use necro_host::domain::task::TaskDefinition;
use necro_host::registry::{Execution, ExecutionKind, LocalContext, NewExecution, Registry};
use necro_host::store::{BlobStore, digest_of};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Rounds: in each, every side records [`CALLS`] calls.
const ROUNDS: u32 = 24;
const WARM_UP: u32 = 2;
/// Executions that work at the same time, each one call after the other.
const TOGETHER: u32 = 8;
/// As many as the registry collects before it writes observations by themselves: a round pays for all.
const CALLS: u32 = 256;
const OBSERVED: Bound = Bound::AtLeast(1.0);
const EXTERNAL: Bound = Bound::AtLeast(0.25);
/// Local effects are promised nothing; one takes one commit, as the bare row does.
const BYTES: Bound = Bound::AtMost(1.5);

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let arguments: Vec<String> = std::env::args().collect();
    let rates = arguments.iter().position(|argument| argument == "--rates");
    if let Some(place) = rates {
        let dir = arguments.get(place + 1).context("--rates needs a directory")?.clone();
        // On a worker, as in the host.
        return runtime.block_on(async { tokio::spawn(async move { print_rates(Path::new(&dir)).await }).await })?;
    }
    runtime.block_on(async { tokio::spawn(measure()).await })?
}

async fn measure() -> Result<ExitCode> {
    // A real disk, which the system's temporary folder need not be.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let times = record(dir.path()).await?;
    println!("calls of an execution, {CALLS} in a round; medians of {ROUNDS} rounds");
    row("durable insert of the row by bare rusqlite", shown(median(&times.bare)));
    row("an observation, durable with the 256th", shown(median(&times.observed)));
    row("a local effect (a note): effect and answer in one commit", shown(median(&times.local)));
    row("an external effect: intent, then answer, durable each", shown(median(&times.external)));
    row("the same of 8 executions at a time, which share commits", shown(median(&times.together)));
    row("local effects: speed compared", format!("{:.2}×", times.ratio(&times.local)));
    let observed = verdict("observations: speed compared", times.ratio(&times.observed), "×", OBSERVED);
    let external = verdict("external effects: speed compared", times.ratio(&times.external), "×", EXTERNAL);

    let conversation = conversation::record(dir.path()).await?;
    println!("journal of {} turns with a model", conversation::TURNS);
    row("its messages, once, as JSON", format!("{} B", conversation.messages));
    row("its requests as they were sent", format!("{} B", conversation.sent));
    row("added to the database and the blobs", format!("{} B", conversation.stored));
    let ratio = conversation.stored as f64 / conversation.messages as f64;
    let bytes = verdict("bytes compared", ratio, "×", BYTES);
    Ok(exit(&[observed, external, bytes]))
}

/// Calls a second, of each kind.
async fn print_rates(dir: &Path) -> Result<ExitCode> {
    let times = record(dir).await?;
    let rate = |times: &[Duration]| (1.0 / median(times).as_secs_f64()).round();
    println!(
        "{}",
        json!({ "bare": rate(&times.bare), "observed": rate(&times.observed), "local": rate(&times.local),
                "external": rate(&times.external), "together": rate(&times.together) })
    );
    Ok(ExitCode::SUCCESS)
}

/// Time of one call, in each round.
#[derive(Default)]
struct Times {
    bare: Vec<Duration>,
    observed: Vec<Duration>,
    local: Vec<Duration>,
    external: Vec<Duration>,
    together: Vec<Duration>,
}

impl Times {
    /// How much faster than bare rows.
    fn ratio(&self, ours: &[Duration]) -> f64 {
        let ratios: Vec<f64> =
            self.bare.iter().zip(ours).map(|(bare, ours)| bare.as_secs_f64() / ours.as_secs_f64()).collect();
        median(&ratios)
    }
}

async fn record(dir: &Path) -> Result<Times> {
    let clock = Arc::new(SystemClock::default());
    let registry = open(dir, "registry", clock.clone())?;
    begin(&registry, "warm-up").await?;
    let bare = bare(dir, clock.clone()).await?;
    let local = context(&registry).await?;
    let mut times = Times::default();
    for round in 0..WARM_UP + ROUNDS {
        // A journal a round and kind: an attempt's is not much longer.
        let [observed, noted, external] = ["observed", "local", "external"].map(|kind| format!("{kind}-{round}"));
        let [observed, noted, external] =
            [begin(&registry, &observed).await?, begin(&registry, &noted).await?, begin(&registry, &external).await?];
        let start = clock.elapsed();
        for number in 0..CALLS {
            insert(&bare, round * CALLS + number)?;
        }
        let bare_end = clock.elapsed();
        for number in 0..CALLS {
            observed.observed(read(number), file(number)).await?;
        }
        let observed_end = clock.elapsed();
        for number in 0..CALLS {
            let (call, effect) = note(number);
            noted.local(call, effect, &local).await??;
        }
        let local_end = clock.elapsed();
        effects(&external, CALLS).await?;
        let external_end = clock.elapsed();
        together(&registry, round).await?;
        let together_end = clock.elapsed();
        if round >= WARM_UP {
            times.bare.push((bare_end - start) / CALLS);
            times.observed.push((observed_end - bare_end) / CALLS);
            times.local.push((local_end - observed_end) / CALLS);
            times.external.push((external_end - local_end) / CALLS);
            times.together.push((together_end - external_end) / CALLS);
        }
    }
    Ok(times)
}

/// So many external effects, one after the other.
async fn effects(execution: &Execution, count: u32) -> Result<()> {
    for number in 0..count {
        let sequence = execution.intent(run(number)).await?;
        execution.answered(sequence, outcome(number), Cost::default(), Some(tree(number))).await?;
    }
    Ok(())
}

/// [`CALLS`] of them, shared out.
async fn together(registry: &Registry, round: u32) -> Result<()> {
    let mut running = JoinSet::new();
    for number in 0..TOGETHER {
        let execution = begin(registry, &format!("together-{round}-{number}")).await?;
        running.spawn(async move { effects(&execution, CALLS / TOGETHER).await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// A registry in a folder of its own.
fn open(dir: &Path, name: &str, clock: Arc<SystemClock>) -> Result<Registry> {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(Registry::open(&dir.join("registry.db"), clock, BlobStore::open(dir.join("blobs"))?)?)
}

async fn begin(registry: &Registry, id: &str) -> Result<Execution> {
    let new = NewExecution {
        id: ExecutionId::new(id)?,
        run: Some(RunId::new("run-1")?),
        kind: ExecutionKind::Spirit,
        spec: None,
        attempt: Some(attempt()?),
        plugin: "backend".to_owned(),
        component: digest_of(b"a component"),
        engine: "wasmtime 48.0.8".to_owned(),
        limits: json!({ "fuel": 50_000_000_000_u64, "memory_bytes": 268_435_456, "wall_ms": 1_800_000 }),
        settings: json!({}),
        input: json!({ "title": "Add the sign-in endpoint", "text": "POST /sessions takes a name and a password" }),
    };
    Ok(registry.begin_execution(new).await?)
}

/// The registry's own tables, then nothing but rusqlite.
async fn bare(dir: &Path, clock: Arc<SystemClock>) -> Result<Connection> {
    let registry = open(dir, "bare", clock)?;
    begin(&registry, "execution").await?;
    drop(registry);
    let bare = Connection::open(dir.join("bare/registry.db"))?;
    bare.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    bare.pragma_update(None, "synchronous", "FULL")?;
    Ok(bare)
}

/// The row that an observation becomes, with everything in it ready.
fn insert(conn: &Connection, number: u32) -> Result<()> {
    let digest: &str = "3b4c0f6f1d9f0a0e5d1a5c6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708";
    conn.prepare_cached(
        "INSERT INTO calls (execution, seq, function, digest, request, at, answer, answered_at, sum)
         VALUES (1, ?1, 'workspace.read', ?2, ?3, ?4, ?5, ?4, ?6)",
    )?
    .execute((
        number + 1,
        digest,
        read(number).arguments.to_string(),
        "2026-01-02T03:04:05.123456Z",
        file(number).to_string(),
        &digest[..32],
    ))?;
    Ok(())
}

/// Some lines of a file.
fn read(number: u32) -> CallRequest {
    let arguments =
        json!({ "path": format!("src/handlers/session_{number}.rs"), "lines": { "start": 1, "count": 20 } });
    CallRequest { function: Function::WorkspaceRead, arguments, effect: None }
}

fn file(number: u32) -> Value {
    let text = format!(
        "//! Signs people in and out.\n\nuse crate::store::Sessions;\n\n/// How long a session lasts, in seconds.\n\
         const LIFETIME: u64 = {number};\n\npub fn sign_in(sessions: &Sessions, name: &str) -> Result<Token, Refused> {{\n    \
         let person = sessions.person(name).ok_or(Refused::Unknown)?;\n    sessions.begin(person, LIFETIME)\n}}\n"
    );
    json!({ "Ok": { "text": text, "total_lines": 41, "truncated": true } })
}

fn note(number: u32) -> (CallRequest, LocalEffect) {
    let text = format!("Sessions end after {number} seconds; the requirement says nothing about it.");
    let call = CallRequest { function: Function::RegistryNote, arguments: json!({ "text": text }), effect: None };
    (call, LocalEffect::Note { text })
}

fn run(number: u32) -> CallRequest {
    let arguments = json!({ "name": "test", "args": [format!("session_{number}")] });
    CallRequest { function: Function::CommandRun, arguments, effect: None }
}

fn outcome(number: u32) -> Value {
    let stdout = format!(
        "running 3 tests\ntest session_{number}::a_name_and_a_password_open_a_session ... ok\n\
         test session_{number}::a_wrong_password_is_refused ... ok\n\
         test session_{number}::a_session_ends_after_its_time ... ok\n\n\
         test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 38 filtered out; finished in 0.03s\n"
    );
    json!({ "Ok": { "exit_code": 0, "stdout": stdout, "stderr": "", "elided_bytes": 0, "timed_out": false,
                    "duration_ms": 712 } })
}

fn tree(number: u32) -> Value {
    let digest: Digest = digest_of(number.to_string().as_bytes());
    json!({ "tree": &digest.as_str()[..40] })
}

/// Whose notes they are: an attempt that was claimed.
async fn context(registry: &Registry) -> Result<LocalContext> {
    let attempt = attempt()?;
    let task = TaskDefinition {
        id: attempt.key.task.clone(),
        title: "Add the sign-in endpoint".to_owned(),
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
    };
    registry.create_tasks(&RunId::new("run-1")?, &attempt.key.spec, vec![task]).await?;
    Ok(LocalContext { attempt, instance: Instance::new("backend_spirit_1")?, workspace: "demo".to_owned() })
}

fn attempt() -> Result<AttemptKey> {
    let key = TaskKey { spec: SpecName::new("demo")?, task: TaskId::new("1")? };
    Ok(AttemptKey { key, attempt: 1 })
}
