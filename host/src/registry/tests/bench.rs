//! How much slower a durable append is than the bare insert of the same row. Not run with the tests;
//! by hand, in release:
//! `cargo test --release -p necro-host --lib registry::tests::bench -- --ignored --nocapture`.

use std::time::Duration;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::domain::event::{Body, Subject};
use crate::registry::schema;

const APPENDS: u32 = 3000;
const ROUNDS: usize = 5;

fn body(n: u32) -> Body {
    Body::SlotAllocated { slot: SlotId::new(format!("slot{n}")).unwrap(), holder: "x".repeat(200) }
}

/// The row that [`append`] writes, in its table with its index and triggers, one a transaction.
fn bare(clock: &SystemClock) -> Duration {
    let fixture = Fixture::new();
    let path = fixture.path();
    drop(fixture.registry);
    let conn = schema::open_writer(&path).unwrap();
    let start = clock.elapsed();
    for n in 1..=APPENDS {
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
    clock.elapsed() - start
}

fn append(clock: &SystemClock, runtime: &tokio::runtime::Runtime) -> Duration {
    let fixture = Fixture::new();
    let subject = Subject { attempt: None, ..Subject::attempt(&run(), &attempt("1", 1)) };
    runtime.block_on(fixture.create(vec![define("1", &[])]));
    let start = clock.elapsed();
    runtime.block_on(async {
        for n in 1..=APPENDS {
            fixture.registry.append(subject.clone(), vec![body(n)]).await.unwrap();
        }
    });
    clock.elapsed() - start
}

#[test]
#[ignore = "a bench"]
fn durable_append_against_the_bare_insert() {
    let clock = SystemClock::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (bare, append) = (bare(&clock), append(&clock, &runtime));
            println!("bare {:?}, append {:?} each", bare / APPENDS, append / APPENDS);
            bare.as_secs_f64() / append.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("append reaches {:.2} of the bare insert", ratios[ROUNDS / 2]);
}
