//! The registry against real SQLite files in temporary directories.

mod backup;
mod damage;
mod exchange;
mod files;
mod find;
mod issues;
mod journal;
mod locks;
mod log;
mod model;
mod seats;
mod sync;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::domain::id::{AttemptKey, Digest, Instance, RunId, SlotId, SpecName, TaskId, TaskKey};
use crate::domain::task::{Assigned, Task, TaskDefinition};
use crate::store::{BlobStore, digest_of};

use super::{Claim, Registry, RegistryError};

/// A state directory with a registry in it and a clock that stands still.
struct Fixture {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    registry: Registry,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at("2026-01-02T03:04:05.123456789Z".parse().unwrap()));
        let registry = open(dir.path(), &clock).unwrap();
        Self { dir, clock, registry }
    }

    fn path(&self) -> PathBuf {
        database(self.dir.path())
    }

    fn reopen(self) -> Self {
        let Self { dir, clock, registry } = self;
        drop(registry);
        let registry = open(dir.path(), &clock).unwrap();
        Self { dir, clock, registry }
    }

    async fn create(&self, definitions: Vec<TaskDefinition>) -> Vec<Task> {
        self.registry.create_tasks(&run(), &spec(), definitions).await.unwrap()
    }

    async fn task(&self, id: &str) -> Task {
        let key = key(id);
        self.registry.read(move |r| r.task(&key)).await.unwrap().unwrap()
    }

    async fn claim(&self, id: &str) -> Result<Task, RegistryError> {
        let version = self.task(id).await.version;
        self.registry.claim(claim(id, version)).await
    }

    /// Names of the events after `after`, with their tasks.
    async fn events(&self, after: u64) -> Vec<String> {
        let filter = super::EventFilter { after, ..Default::default() };
        let events = self.registry.read(move |r| r.events(&filter)).await.unwrap();
        events
            .iter()
            .map(|e| match &e.subject.task {
                Some(task) => format!("{} {task}", e.body.name()),
                None => e.body.name().to_owned(),
            })
            .collect()
    }

    async fn newest(&self) -> u64 {
        *self.registry.subscribe().borrow()
    }

    async fn verified(&self) {
        let report = self.registry.read(|r| r.verify()).await.unwrap();
        assert!(report.passed(), "{:?}", report.differences);
    }
}

fn database(dir: &Path) -> PathBuf {
    dir.join("registry.db")
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> Result<Registry, RegistryError> {
    let blobs = BlobStore::open(dir.join("blobs")).unwrap();
    Registry::open(&database(dir), clock.clone(), blobs)
}

fn run() -> RunId {
    RunId::new("run-1").unwrap()
}

fn spec() -> SpecName {
    SpecName::new("demo").unwrap()
}

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn key(text: &str) -> TaskKey {
    TaskKey { spec: spec(), task: id(text) }
}

fn attempt(text: &str, attempt: u32) -> AttemptKey {
    AttemptKey { key: key(text), attempt }
}

fn spirit() -> Instance {
    Instance::new("backend_spirit_1").unwrap()
}

fn digest() -> Digest {
    digest_of(b"component")
}

/// A definition without a parent.
fn define(text: &str, depends: &[&str]) -> TaskDefinition {
    TaskDefinition {
        id: id(text),
        title: format!("task {text}"),
        text: String::new(),
        optional: false,
        done: false,
        depends: depends.iter().map(|d| id(d)).collect(),
        skill: None,
        requirements: vec!["1.1".to_owned()],
        priority: 0,
        metadata: std::collections::BTreeMap::new(),
        parent: None,
        container: false,
    }
}

fn assigned(text: &str) -> Assigned {
    Assigned {
        instance: spirit(),
        slot: SlotId::new("workspace-repo-slot1").unwrap(),
        branch: format!("feature/task-demo-{text}-x"),
        runner: "runner".to_owned(),
    }
}

fn claim(text: &str, expected_version: u64) -> Claim {
    Claim {
        run: Some(run()),
        key: key(text),
        expected_version,
        assigned: assigned(text),
        reason: "least busy".to_owned(),
        scheduling: None,
        routing: None,
    }
}
