//! What every attempt leaves, however it ended: diff, log and test result as artifacts, and its end in
//! the event log.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::capabilities::Desk;
use super::error::ServiceError;
use super::gate::GateRun;
use super::judgement::Judged;
use super::progress::Progress;
use super::runner::Work;
use super::workshop::Workshop;
use crate::domain::event::{Body, Outcome, Subject, TaskChange};
use crate::domain::excerpt::excerpt;
use crate::domain::id::{AttemptKey, ExecutionId};
use crate::domain::review::Check;

/// Of a log, so much is kept from its beginning and as much from its end, in bytes.
const LOG_HALF_BYTES: usize = 16 * 1024 * 1024;
/// Paths of changed files in an event; the diff has all of them.
const MAX_EVENT_FILES: usize = 1_000;
/// Bytes of the same.
const MAX_EVENT_FILES_BYTES: usize = 128 * 1024;

/// Writes the attempt's end down: diff, log, test result, what gate and review found, and how it ended. All
/// of it is recorded at once, or none; then the attempt gives back what it held.
pub(crate) async fn finish(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Desk,
    (execution, summary): (ExecutionId, Option<String>),
    judged: &Judged,
    took: Duration,
) -> Result<(), ServiceError> {
    let diff = judged.diff.as_ref().map_or("", |diff| diff.text.as_str());
    let log = format!("{}\n{}", desk.log_text(), String::from_utf8_lossy(&judged.gate.log));
    let (outcome, reason) = (judged.outcome(), judged.reason());
    let passed = judged.gate.passed() && outcome == Outcome::Success;
    let mut parts = vec![
        ("diff", "change.diff".to_owned(), "text/x-diff", diff.to_owned()),
        ("log", "attempt.log".to_owned(), TEXT, log),
        ("test", "gate.json".to_owned(), "application/json", result(passed, &judged.gate)),
    ];
    parts.extend(outputs("", &judged.gate));
    let cost = shop.registry.read(move |reader| reader.execution_cost(&execution)).await?.cost;
    let (files, more_files) = named(judged.diff.iter().flat_map(|diff| &diff.files).map(|file| &file.path));
    let finished = Body::RunnerFinished {
        runner: work.runner.clone(),
        outcome,
        reason: reason.clone(),
        summary,
        commit: judged.commit.clone(),
        files,
        more_files,
        cost,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    let mut bodies = put(shop, &work.attempt, parts).await?;
    bodies.extend(judged.found.iter().cloned());
    bodies.push(finished);
    shop.registry.append(Subject::attempt(&shop.run, &work.attempt), bodies).await?;
    // Locks belong to the attempt, not to its component.
    shop.registry.release_leases_of(&work.attempt.to_string()).await?;
    let (attempt, instance) = (work.attempt.clone(), work.instance.clone());
    shop.tell(&Progress::AttemptFinished { attempt, instance, outcome, reason });
    Ok(())
}

/// Kind, name, media type and text of an artifact.
type Part = (&'static str, String, &'static str, String);

/// What each step of a gate printed, for those that printed anything.
fn outputs(start: &str, gate: &GateRun) -> Vec<Part> {
    let printed = gate.outputs.iter().filter(|(_, output)| !output.is_empty());
    let part = |(step, output): &(String, Vec<u8>)| {
        ("log", format!("{start}output-{step}.txt"), TEXT, String::from_utf8_lossy(output).into_owned())
    };
    printed.map(part).collect()
}

const TEXT: &str = "text/plain; charset=utf-8";

fn result(passed: bool, gate: &GateRun) -> String {
    json!({ "passed": passed, "checks": gate.checks, "steps": gate.steps, "sandbox": gate.sandbox }).to_string()
}

/// Stores log and result of the gate over a merged tree, and says in the log that it ran.
pub(crate) async fn store_merge(
    shop: &Arc<Workshop>,
    attempt: &AttemptKey,
    gate: &GateRun,
) -> Result<(), ServiceError> {
    let mut parts = vec![
        ("log", "merge.log".to_owned(), TEXT, String::from_utf8_lossy(&gate.log).into_owned()),
        ("test", "merge-gate.json".to_owned(), "application/json", result(gate.passed(), gate)),
    ];
    parts.extend(outputs("merge-", gate));
    let mut bodies = put(shop, attempt, parts).await?;
    bodies.push(Body::TaskUpdated { change: TaskChange::gate("merge", &gate.checks) });
    shop.registry.append(Subject::attempt(&shop.run, attempt), bodies).await?;
    Ok(())
}

/// Says in the log that the gate over a merged tree has passed for this attempt too: its output stands with another.
pub(crate) async fn note_merge(
    shop: &Arc<Workshop>,
    attempt: &AttemptKey,
    checks: &[Check],
) -> Result<(), ServiceError> {
    let body = Body::TaskUpdated { change: TaskChange::gate("merge", checks) };
    shop.registry.append(Subject::attempt(&shop.run, attempt), vec![body]).await?;
    Ok(())
}

/// Puts texts into the artifact store, masked. Gives the events that put them on the task.
async fn put(shop: &Arc<Workshop>, attempt: &AttemptKey, parts: Vec<Part>) -> Result<Vec<Body>, ServiceError> {
    let start = format!("{}-{}", attempt.key.task, attempt.attempt);
    let (store, mask) = (shop.artifacts.clone(), Arc::clone(&shop.mask));
    let stored = tokio::task::spawn_blocking(move || {
        parts
            .into_iter()
            .map(|(kind, name, media_type, text)| {
                let text = excerpt(&mask.apply(&text), LOG_HALF_BYTES, LOG_HALF_BYTES);
                store.put(kind, &format!("{start}-{name}"), media_type, text.as_bytes())
            })
            .collect::<Result<Vec<_>, _>>()
    })
    .await
    .map_err(|error| ServiceError::Internal(error.to_string()))??;
    let added = |artifact| Body::TaskUpdated { change: TaskChange::ArtifactAdded { artifact } };
    Ok(stored.into_iter().map(added).collect())
}

/// The first paths, as many as an event holds, and how many there are besides.
fn named<'a>(paths: impl Iterator<Item = &'a String>) -> (Vec<String>, u64) {
    let (mut files, mut bytes, mut more) = (Vec::new(), 0, 0);
    for path in paths {
        bytes += path.len();
        if more == 0 && files.len() < MAX_EVENT_FILES && bytes <= MAX_EVENT_FILES_BYTES {
            files.push(path.clone());
        } else {
            more += 1;
        }
    }
    (files, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_so_many_files_and_counts_the_rest() {
        let (few, many): (Vec<String>, Vec<String>) =
            (vec!["a".to_owned()], (0..50_000).map(|n| format!("src/generated/file-{n}.rs")).collect());
        assert_eq!(named(few.iter()), (few.clone(), 0));
        let (files, more) = named(many.iter());
        assert_eq!((files.len(), more), (MAX_EVENT_FILES, 49_000));
        let long = vec!["x".repeat(4_000); 100];
        let (files, more) = named(long.iter());
        assert_eq!((files.len(), more), (32, 68));
    }
}
