//! A writer that is killed at random moments, some hundred times: what it had said is written is there, in
//! order, and the projections are what the log says.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use necro_host::domain::event::{Body, Subject, TaskChange};
use necro_host::domain::id::{AttemptKey, RunId, TaskKey};
use necro_host::domain::task::TaskDefinition;
use necro_host::registry::{Boxes, EventFilter, Registry, SpecContent, WorkerClaim, WorkerReport, WorkerResult};

use crate::{open, part, player, runtime, say, spec, task};

const TEST: &str = "killed::a_writer_killed_at_random_moments_loses_nothing_that_it_had_acknowledged";
/// Kills in all, and of one directory before a new one is begun.
const KILLS: usize = 300;
const KILLS_OF_ONE: usize = 30;
/// Writers at the same time, so that commits have several requests.
const WRITERS: usize = 6;
const TASKS: usize = 40;

/// Writes for ever, and says after each acknowledgement what it was for.
fn write(state: &Path) {
    let registry = open(state);
    // The harness has begun a line of its own.
    say("");
    runtime().block_on(async {
        registry.sync(None, &spec(), content(0)).await.unwrap();
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write_as(registry.clone(), writer)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

/// What the file says at a turn: now and then it changes.
fn content(turn: usize) -> SpecContent {
    let priority = (turn % 5) as i32;
    let definitions = (1..=TASKS).map(|number| TaskDefinition { priority, ..task(number) });
    let opened = (1..=TASKS).map(|number| task(number).id).collect();
    let boxes = Boxes::Since { opened, removed: BTreeSet::new() };
    SpecContent { definitions: definitions.collect(), boxes, place: None }
}

async fn write_as(registry: Registry, writer: usize) {
    let worker = format!("writer-{writer}");
    for turn in 0.. {
        match (writer + turn) % 3 {
            0 => {
                let key = TaskKey { spec: spec(), task: task(1 + turn % TASKS).id };
                let change = TaskChange::NoteAdded { author: worker.clone(), text: turn.to_string() };
                let subject = Subject::task(&RunId::new("run-1").unwrap(), &key);
                let events = registry.append(subject, vec![Body::TaskUpdated { change }]).await.unwrap();
                say(&format!("event {} note {worker} {turn}", events[0].sequence));
            }
            1 => {
                let tasks = registry.sync(None, &spec(), content(turn)).await.unwrap();
                say(&format!("version {} {}", tasks[0].key.task, tasks[0].version));
            }
            _ => {
                let wanted = WorkerClaim { worker: worker.clone(), ..WorkerClaim::default() };
                let Some(claimed) = registry.claim_next(wanted).await.unwrap() else { continue };
                let attempt = AttemptKey { key: claimed.key, attempt: claimed.attempts };
                let result = match turn % 4 {
                    0 => WorkerResult::Done { commit: None, summary: None },
                    1 => WorkerResult::Released { reason: "random".to_owned() },
                    _ => continue,
                };
                let report = WorkerReport { attempt, worker: worker.clone(), result, max_attempts: 3 };
                let task = registry.report(report).await;
                // Another writer's sync may have re-opened it meanwhile.
                if let Ok(task) = task {
                    say(&format!("version {} {}", task.key.task, task.version));
                }
            }
        }
    }
}

/// A small generator: which moments are tried is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What it said, up to the line at which it was killed and whatever came before it died.
fn kill_after(state: &Path, lines: u64) -> Vec<String> {
    let mut writer = player(TEST, "writer", state).spawn().unwrap();
    let mut said = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
    let is_word = |line: &String| line.starts_with("event ") || line.starts_with("version ");
    let mut heard: Vec<String> = said.by_ref().filter(is_word).take(lines as usize).collect();
    writer.kill().unwrap();
    heard.extend(said.filter(is_word));
    writer.wait().unwrap();
    heard
}

#[test]
fn a_writer_killed_at_random_moments_loses_nothing_that_it_had_acknowledged() {
    if let Some((_, state)) = part() {
        return write(&state);
    }
    let mut random = Random(0x5eed_cafe);
    for _ in 0..KILLS / KILLS_OF_ONE {
        let folder = tempfile::tempdir().unwrap();
        let mut newest = 0;
        for kill in 0..KILLS_OF_ONE {
            // Also before it says anything: while it opens, upgrades or recovers.
            let heard = kill_after(folder.path(), random.below(40));
            let registry = open(folder.path());
            runtime().block_on(check(&registry, &heard, &mut newest, kill));
        }
    }
}

async fn check(registry: &Registry, heard: &[String], newest: &mut u64, kill: usize) {
    let filter = EventFilter { after: *newest, ..EventFilter::default() };
    let events = registry.read(move |reader| reader.events(&filter)).await.unwrap();
    for (event, expected) in events.iter().zip(*newest + 1..) {
        assert_eq!(event.sequence, expected, "the log has a gap");
    }
    let tasks = registry.read(|reader| reader.tasks(&spec())).await.unwrap();
    for line in heard {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["event", sequence, "note", author, text] => {
                let sequence: u64 = sequence.parse().unwrap();
                let found = events.iter().find(|event| event.sequence == sequence);
                let expected = TaskChange::NoteAdded { author: author.to_owned(), text: text.to_owned() };
                assert_eq!(found.map(|event| &event.body), Some(&Body::TaskUpdated { change: expected }), "{line}");
            }
            ["version", task, version] => {
                let found = tasks.iter().find(|found| found.key.task.as_str() == task).map(|found| found.version);
                assert!(found >= Some(version.parse().unwrap()), "{line}, but it has {found:?}");
            }
            _ => {}
        }
    }
    *newest = events.last().map_or(*newest, |event| event.sequence);
    if kill.is_multiple_of(5) {
        let report = registry.read(|reader| reader.verify()).await.unwrap();
        assert!(report.passed(), "{:?}", report.differences);
    }
}
