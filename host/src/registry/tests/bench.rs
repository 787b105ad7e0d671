//! How much slower a durable append is than the bare insert of the same row. Not run with the tests;
//! by hand, in release:
//! `cargo test --release -p necro-host --lib registry::tests::bench -- --ignored --nocapture`.

use std::time::Duration;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::domain::event::{Body, Subject};
use crate::registry::schema;

const APPENDS: u32 = 4000;

fn body(n: u32) -> Body {
    Body::SlotAllocated { slot: SlotId::new(format!("slot{n}")).unwrap(), holder: "x".repeat(200) }
}

/// The row that an append writes, in its table with its index and triggers.
fn bare(conn: &rusqlite::Connection, n: u32) {
    conn.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, NULL, ?7)")
        .unwrap()
        .execute((
            n,
            "2026-01-02T03:04:05.123456Z",
            "SlotAllocated",
            "run-1",
            "demo",
            "1",
            serde_json::to_string(&body(n)).unwrap(),
        ))
        .unwrap();
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * percent / 100]
}

/// One after the other, so that both meet the same load; compared by medians. The event has no
/// projection, so both sides write the same row and index entry; what is measured is the queue, the
/// transaction, the end of the log read back, the time and the body's JSON.
#[test]
#[ignore = "a bench"]
fn durable_append_against_the_bare_insert() {
    let clock = SystemClock::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let closed = Fixture::new();
    let path = closed.path();
    let (_dir, _) = (closed.dir, drop(closed.registry));
    let conn = schema::open_writer(&path).unwrap();
    let fixture = Fixture::new();
    let subject = Subject { attempt: None, ..Subject::attempt(&run(), &attempt("1", 1)) };
    let (mut bare_times, mut append_times, mut spawned_times) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        fixture.create(vec![define("1", &[])]).await;
        for n in 1..=APPENDS {
            let start = clock.elapsed();
            bare(&conn, n);
            bare_times.push(clock.elapsed() - start);
            let start = clock.elapsed();
            fixture.registry.append(subject.clone(), vec![body(n)]).await.unwrap();
            append_times.push(clock.elapsed() - start);
        }
    });
    let clock = Arc::new(clock);
    for n in 1..=APPENDS / 10 {
        let (registry, subject, clock) = (fixture.registry.clone(), subject.clone(), clock.clone());
        let task = runtime.spawn(async move {
            let start = clock.elapsed();
            registry.append(subject, vec![body(n)]).await.unwrap();
            clock.elapsed() - start
        });
        spawned_times.push(runtime.block_on(task).unwrap());
    }
    for percent in [10, 50, 90] {
        let bare = percentile(&mut bare_times, percent);
        let append = percentile(&mut append_times, percent);
        let spawned = percentile(&mut spawned_times, percent);
        let ratio = bare.as_secs_f64() / append.as_secs_f64();
        println!("p{percent}: bare {bare:?}, append {append:?} ({ratio:.2}), append in a task {spawned:?}");
    }
}
