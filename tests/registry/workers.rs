//! Sixteen processes claim two thousand tasks from one owner: each task is claimed exactly once.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use necro_host::domain::id::AttemptKey;
use necro_host::domain::task::TaskState;
use necro_host::registry::{Boxes, SpecContent, WorkerResult};
use necro_host::service::StateDir;
use necro_host::service::control::{Answer, Command, ask};
use necro_host::service::office::{Change, Changed};

use crate::{open, part, player, runtime, say, spec, task};

const WORKERS: usize = 16;
const TASKS: usize = 2_000;
const TEST: &str = "workers::sixteen_processes_claim_each_of_two_thousand_tasks_once";

/// Claims until nothing is left, and reports every seventh claim as done.
fn work(name: &str, state: &std::path::Path) {
    let state = StateDir::existing(state, None).unwrap();
    runtime().block_on(async {
        let change = async |change: Change| match ask(&state, &Command::Change(change)).await.unwrap() {
            Answer::Changed(Changed::Task(task)) => task,
            other => panic!("{other:?}"),
        };
        // The harness has begun a line of its own.
        say("");
        for turn in 0.. {
            let worker = name.to_owned();
            let claim =
                Change::Claim { worker: worker.clone(), spec: None, task: None, expected_version: None, skill: None };
            let Some(claimed) = change(claim).await else { return };
            say(&format!("claimed {} {}", claimed.key, claimed.attempts));
            if turn % 7 == 0 {
                let attempt = AttemptKey { key: claimed.key, attempt: claimed.attempts };
                let report = WorkerResult::Done { commit: None, summary: None };
                let done = change(Change::Report { attempt, worker, report }).await.unwrap();
                assert_eq!(done.state, TaskState::Done);
            }
        }
    });
}

struct Owner(Child);

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `necro-host serve`, as soon as it can be asked.
#[expect(clippy::disallowed_methods, reason = "a test that starts the program")]
fn serve(folder: &std::path::Path, state: &std::path::Path) -> Owner {
    let owner = std::process::Command::new(env!("CARGO_BIN_EXE_necro-host"))
        .args(["serve", "--state"])
        .arg(state)
        .arg("--repo")
        .arg(folder)
        .env("NECRO_CACHE", folder.join("cache"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whatever fails from here on, it is ended.
    let mut owner = Owner(owner);
    let told: Vec<String> =
        BufReader::new(owner.0.stderr.take().unwrap()).lines().map_while(Result::ok).take(1).collect();
    assert!(told[0].contains("makes changes for others"), "{told:?}");
    owner
}

#[test]
fn sixteen_processes_claim_each_of_two_thousand_tasks_once() {
    if let Some((name, state)) = part() {
        return work(&name, &state);
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    StateDir::create(&state, None).unwrap();
    runtime().block_on(async {
        let definitions = (1..=TASKS).map(task).collect();
        let content = SpecContent { definitions, boxes: Boxes::AsTheyAre, place: None };
        open(&state).sync(None, &spec(), content).await.unwrap();
    });
    let owner = serve(folder.path(), &state);
    let workers: Vec<Child> =
        (0..WORKERS).map(|n| player(TEST, &format!("worker-{n}"), &state).spawn().unwrap()).collect();
    let mut claimed: BTreeMap<String, usize> = BTreeMap::new();
    let mut busy = 0;
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "a worker failed");
        let text = String::from_utf8(output.stdout).unwrap();
        let own: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("claimed ")).collect();
        busy += usize::from(!own.is_empty());
        for line in own {
            *claimed.entry(line.to_owned()).or_default() += 1;
        }
    }
    drop(owner);
    assert_eq!(claimed.len(), TASKS);
    assert!(claimed.values().all(|times| *times == 1), "{claimed:?}");
    assert!(busy > WORKERS / 2, "only {busy} workers got anything: they did not compete");
    let registry = open(&state);
    runtime().block_on(async {
        let tasks = registry.read(|reader| reader.tasks(&spec())).await.unwrap();
        let over = |task: &&necro_host::domain::task::Task| task.state == TaskState::Done;
        assert!(tasks.iter().all(|task| task.attempts == 1));
        assert!(tasks.iter().filter(over).count() > TASKS / 10);
        assert!(registry.read(|reader| reader.verify()).await.unwrap().passed());
    });
}
