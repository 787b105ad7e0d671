//! Which run goes on, and where: an attempt that was cut off is found in its spirit, in the hands of the
//! integration, or between two records.

use std::sync::Arc;

use super::assignment;
use super::error::{ServiceError, chain};
use super::integration::{self, Candidate};
use super::necromancer::{Extent, Goal, RunOptions};
use super::specname;
use super::workshop::Workshop;
use crate::domain::assignment::Assignment;
use crate::domain::budget::Amount;
use crate::domain::dispatch::AttemptEnd;
use crate::domain::event::{Body, Outcome, RunRequest};
use crate::domain::id::{AttemptKey, CommitId, Digest, RunId, SpecName};
use crate::domain::protocol;
use crate::domain::task::{Task, TaskState};
use crate::llm::config::LlmChoice;
use crate::registry::{Attempt, Record, Registry, RegistryError, Run};
use crate::store::{BlobStore, digest_of};
use crate::workspace::without_credentials;

/// Whether a run may go on with an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Going {
    /// With the newest run on the same job or spec, if that has no end.
    #[default]
    OnIfOpen,
    /// With this one.
    On(RunId),
    /// It begins anew: what an earlier run left open gets an end.
    Anew,
}

/// Whether a run can be gone on with: it was cut off, or stopped.
#[must_use]
pub fn is_open(run: &Run) -> bool {
    run.finished_at.is_none() || run.outcome.as_deref() == Some("interrupted")
}

/// The spec of a run, what it works on, and the earlier run that it goes on with, if there is one.
pub(crate) async fn begin(
    options: &RunOptions,
    registry: &Registry,
    existing: &[SpecName],
) -> Result<(SpecName, Goal, Option<Run>), ServiceError> {
    let runs = registry.read(|reader| reader.runs()).await?;
    if let Going::On(id) = &options.going {
        let run = openable(runs, Some(id))?;
        let spec = run.spec.clone().ok_or_else(|| ServiceError::Internal(format!("run {id} has no spec")))?;
        let goal = goal_of(&run, &spec, registry.blobs()).await?;
        return Ok((spec, goal, Some(run)));
    }
    let spec = specname::choose(&options.goal, registry, existing).await?;
    let job = match &options.goal {
        Goal::Job(text) => Some(digest_of(text.as_bytes())),
        Goal::Spec(_) => None,
    };
    match choose(runs, &spec, job.as_ref()).filter(|_| options.going == Going::OnIfOpen) {
        Some(run) => {
            let goal = goal_of(&run, &spec, registry.blobs()).await?;
            Ok((spec, goal, Some(run)))
        }
        None => Ok((spec, options.goal.clone(), None)),
    }
}

/// The newest open run on `spec` with the same `job`; a goal that is a spec fits every run on it.
fn choose(runs: Vec<Run>, spec: &SpecName, job: Option<&Digest>) -> Option<Run> {
    let newest = runs.into_iter().rev().find(|run| run.spec.as_ref() == Some(spec))?;
    let fits = is_open(&newest) && (job.is_none() || newest.job.as_ref() == job);
    fits.then_some(newest)
}

/// The run that is named, or the newest that is open.
///
/// # Errors
/// [`ServiceError::Usage`] when there is none, or when it has an end.
pub fn openable(runs: Vec<Run>, named: Option<&RunId>) -> Result<Run, ServiceError> {
    let refuse = |text: String| Err(ServiceError::Usage(text));
    let newest_on = |spec: &Option<SpecName>| runs.iter().rev().find(|run| run.spec == *spec).map(|run| run.id.clone());
    let Some(named) = named else {
        let newest = runs.iter().rev().find(|run| is_open(run) && newest_on(&run.spec).as_ref() == Some(&run.id));
        return match (newest, runs.last()) {
            (Some(run), _) => Ok(run.clone()),
            (None, Some(last)) => refuse(format!(
                "there is nothing to go on with: the last run, {}, ended with `{}`; `necro-host run` begins a new one",
                last.id,
                last.outcome.as_deref().unwrap_or_default()
            )),
            (None, None) => refuse("nothing was run yet: `necro-host run` begins a run".to_owned()),
        };
    };
    let Some(run) = runs.iter().find(|run| run.id == *named) else {
        return refuse(format!("there is no run {named}; `necro-host status` names the newest"));
    };
    if !is_open(run) {
        let outcome = run.outcome.as_deref().unwrap_or_default();
        return refuse(format!("run {named} ended with `{outcome}`: there is nothing to go on with"));
    }
    match newest_on(&run.spec) {
        Some(newest) if newest != *named => {
            refuse(format!("run {newest} has taken over the spec of run {named}: go on with that one"))
        }
        _ => Ok(run.clone()),
    }
}

async fn goal_of(run: &Run, spec: &SpecName, blobs: &BlobStore) -> Result<Goal, ServiceError> {
    let Some(job) = run.job.clone() else { return Ok(Goal::Spec(spec.clone())) };
    let blobs = blobs.clone();
    let bytes = tokio::task::spawn_blocking(move || blobs.get(&job)).await;
    let bytes = bytes.map_err(|error| ServiceError::Internal(error.to_string()))??;
    Ok(Goal::Job(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What the run has spent, uncertain calls included.
pub(crate) async fn spent(registry: &Registry, run: &RunId) -> Result<Amount, ServiceError> {
    registry.charge_uncertain(run).await?;
    let id = run.clone();
    let spent = registry.read(move |reader| reader.cost(&id)).await?;
    // One without an answer counts by its sendings.
    let calls = spent.calls.saturating_sub(spent.unanswered_calls).saturating_add(spent.uncertain_sendings);
    Ok(Amount { calls, ..Amount::of_call(&spent.cost) })
}

/// How a run was asked for, for its record.
pub(crate) fn request(options: &RunOptions) -> RunRequest {
    let llm = options.llm.as_ref().map(|choice| match choice {
        LlmChoice::Scripted(path) => LlmChoice::Scripted(options.cwd.join(path)).to_string(),
        choice => choice.to_string(),
    });
    RunRequest {
        llm,
        base_url: options.base_url.as_deref().map(without_credentials),
        max_parallel: options.max_parallel,
        plan_only: options.extent == Extent::Plan,
        allow_dirty: options.allow_dirty,
        sandbox_off: false,
    }
}

/// Where an attempt goes on.
pub(crate) enum Place {
    /// At its beginning: nothing is recorded of it.
    Start,
    /// In its spirit, or behind it in its judgement.
    Spirit(Box<Recorded>),
    /// In the queue of those that passed.
    Integration(Box<Candidate>),
    /// It was merged, and nobody wrote that down.
    Merged(CommitId),
    /// It has ended, and what follows was not written down.
    Ended(AttemptEnd),
    /// Its record cannot be read, for this reason.
    Lost(Box<Attempt>, String),
}

/// What is recorded of an attempt that goes on in its spirit.
pub(crate) struct Recorded {
    /// What it started from.
    pub(crate) base: CommitId,
    /// What the spirit was given.
    pub(crate) assignment: Assignment,
    /// The journal.
    pub(crate) record: Record,
}

/// Where the running attempt of `task` goes on.
pub(crate) async fn place_of(shop: &Arc<Workshop>, task: &Task) -> Result<Place, ServiceError> {
    let (key, number) = (task.key.clone(), task.attempts);
    let attempts = shop.registry.read(move |reader| reader.attempts(&key)).await?;
    let Some(attempt) = attempts.into_iter().find(|attempt| attempt.key.attempt == number) else {
        return Ok(Place::Start);
    };
    match attempt.outcome {
        None => unfinished(shop, &attempt).await,
        Some(Outcome::Interrupted) => Ok(Place::Ended(AttemptEnd::Interrupted)),
        Some(Outcome::Failed) => Ok(Place::Ended(AttemptEnd::Failed { reason: attempt.failure.unwrap_or_default() })),
        Some(Outcome::Success) => passed(shop, attempt).await,
    }
}

/// Where an attempt without an end goes on.
pub(crate) async fn unfinished(shop: &Arc<Workshop>, attempt: &Attempt) -> Result<Place, ServiceError> {
    let (Some(id), Some(base)) = (attempt.execution.clone(), attempt.base.clone()) else { return Ok(Place::Start) };
    let record = match shop.registry.read(move |reader| reader.record(&id)).await {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Place::Start),
        Err(error @ (RegistryError::DamagedRecord { .. } | RegistryError::Pruned(_))) => {
            return Ok(Place::Lost(Box::new(attempt.clone()), chain(&error)));
        }
        Err(error) => return Err(error.into()),
    };
    match serde_json::from_value(record.execution.input["assignment"].clone()) {
        Ok(assignment) => Ok(Place::Spirit(Box::new(Recorded { base, assignment, record }))),
        Err(error) => Ok(Place::Lost(Box::new(attempt.clone()), format!("its input has another form: {error}"))),
    }
}

/// A judged attempt: merged already, or still to be.
async fn passed(shop: &Arc<Workshop>, attempt: Attempt) -> Result<Place, ServiceError> {
    let (Some(commit), Some(base)) = (attempt.commit, attempt.base) else {
        return Ok(Place::Ended(AttemptEnd::Interrupted));
    };
    let (tip, wanted, since) = (assignment::tip(shop).await?, commit.clone(), base.clone());
    let key = attempt.key.clone();
    let (merge, message) = shop
        .mirror
        .objects(move |objects| {
            let merge = integration::brought_in(objects, &tip, &since, &wanted, &key)?;
            let own = objects.log(&wanted, None, 1)?;
            Ok((merge, own.into_iter().next().map(|entry| entry.message)))
        })
        .await?;
    if let Some(merge) = merge {
        return Ok(Place::Merged(merge));
    }
    match message.map(|message| protocol::parse_commit(&message)) {
        Some(Ok(form)) => Ok(Place::Integration(Box::new(Candidate {
            attempt: attempt.key,
            instance: attempt.instance,
            commit,
            base,
            scope: form.scope().to_owned(),
            spell: form.spell().to_owned(),
            judged_at: attempt.finished_at.unwrap_or_else(|| shop.clock.now()),
        }))),
        _ => Ok(Place::Ended(AttemptEnd::Interrupted)),
    }
}

/// Tasks whose merge is on the spec branch and not in the registry are done: the files of the spec say so
/// already, and must not say it first.
pub(crate) async fn complete_merged(shop: &Arc<Workshop>) -> Result<(), ServiceError> {
    let spec = shop.spec.clone();
    let (tasks, attempts) =
        shop.registry.read(move |reader| Ok((reader.tasks(&spec)?, reader.attempts_of_spec(&spec)?))).await?;
    for task in tasks.into_iter().filter(|task| task.state == TaskState::Running) {
        let key = running_attempt(&task);
        let judged = attempts.iter().find(|attempt| attempt.key == key && attempt.outcome == Some(Outcome::Success));
        let Some(judged) = judged else { continue };
        if let Place::Merged(commit) = passed(shop, judged.clone()).await? {
            let body = Body::TaskCompleted { commit: Some(commit), reason: "merged".to_owned() };
            shop.registry.transition(&shop.run, &task.key, task.version, Some(task.attempts), body).await?;
        }
    }
    Ok(())
}

/// The key of a task's running attempt.
pub(crate) fn running_attempt(task: &Task) -> AttemptKey {
    AttemptKey { key: task.key.clone(), attempt: task.attempts }
}
