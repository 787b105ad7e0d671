//! The registry among processes: workers that claim over the socket, and a writer that is killed. The
//! processes are this test program, started again with a part to play.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "registry/killed.rs"]
mod killed;
#[path = "registry/workers.rs"]
mod workers;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use necro_host::clock::SystemClock;
use necro_host::domain::id::{SpecName, TaskId};
use necro_host::domain::task::TaskDefinition;
use necro_host::registry::Registry;
use necro_host::store::BlobStore;

/// Names the part that a started process plays, and where.
const PART: &str = "NECRO_TEST_PART";
const PLACE: &str = "NECRO_TEST_PLACE";

/// This program, to play the part of the test `test` in `place`.
#[expect(clippy::disallowed_methods, reason = "a test that starts itself")]
fn player(test: &str, part: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(PART, part).env(PLACE, place);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// The part that this process was started for; none in a test itself.
fn part() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(PART).ok()?, std::env::var_os(PLACE)?.into()))
}

fn spec() -> SpecName {
    SpecName::new("shop").unwrap()
}

fn task(number: usize) -> TaskDefinition {
    TaskDefinition {
        id: TaskId::new(number.to_string()).unwrap(),
        title: format!("task {number}"),
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
    }
}

fn open(state: &Path) -> Registry {
    let blobs = BlobStore::open(state.join("blobs")).unwrap();
    Registry::open(&state.join("registry.db"), Arc::new(SystemClock::default()), blobs).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
