//! One attempt: a spirit works in a slot, then the host judges what it left there, and writes down what
//! remains of it. An attempt that was cut off goes on from its record.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::breakers::{self, Pass, SwitchedOff};
use super::capabilities::Desk;
use super::error::{ServiceError, chain};
use super::executions::{Begun, Invocation, begin, go_on};
use super::journal::Arrival;
use super::judgement::{self, Judged};
use super::plugins::Seated;
use super::progress::Progress;
use super::tape::newest_tree;
use super::workshop::Workshop;
use super::{remains, slots};
use crate::domain::assignment::{Assignment, Report};
use crate::domain::call::{Cost, Function};
use crate::domain::dispatch;
use crate::domain::event::{Body, Outcome, Subject};
use crate::domain::id::{AttemptKey, CommitId, ExecutionId, Instance};
use crate::plugin::capability::JournalError;
use crate::plugin::{Ended, ExecutionContext, ExecutionError};
use crate::registry::{ExecutionKind, Record};
use crate::store::BlobError;
use crate::workspace::{Rescue, Slot, TreeId, WorkspaceError};

/// What an attempt has to work with.
pub(crate) struct Work {
    /// Which attempt.
    pub(crate) attempt: AttemptKey,
    /// Who.
    pub(crate) instance: Instance,
    /// Id of this attempt's runner.
    pub(crate) runner: String,
    /// Where.
    pub(crate) slot: Arc<Slot>,
    /// The task branch, without `refs/heads/`; planning steps have none.
    pub(crate) branch: Option<String>,
    /// What it starts from.
    pub(crate) base: CommitId,
    /// What the spirit is given.
    pub(crate) assignment: Assignment,
    /// What an earlier process has recorded of it.
    pub(crate) record: Option<Record>,
}

/// How far an attempt came.
#[derive(Debug)]
pub(crate) enum Ran {
    /// To its end.
    Ended(Box<Attempted>),
    /// Not to its end, because the run is being stopped: it goes on from its record.
    Suspended,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Attempted {
    /// How.
    pub(crate) outcome: Outcome,
    /// What it failed on: text for the next attempt.
    pub(crate) reason: Option<String>,
    /// Its commit.
    pub(crate) commit: Option<CommitId>,
    /// Scope and spell of the commit.
    pub(crate) scope: String,
    /// What was done.
    pub(crate) spell: String,
    /// What no further attempt would be spared.
    pub(crate) trouble: Option<ServiceError>,
}

/// A spirit that has returned, or was ended.
struct Performed {
    execution: ExecutionId,
    /// When, as recorded.
    at: Timestamp,
    end: End,
}

/// How a spirit's part ended.
enum End {
    Report(Report),
    Failed(ExecutionError),
    /// As recorded, in these words.
    FailedBefore(String),
    /// Its record cannot be gone on from; why.
    Lost(String),
}

/// Runs one attempt to its end, or on to it. An error is trouble of the host's own: then the attempt has no
/// end, and goes on when the run does. Everything that a spirit can cause is an [`Attempted`].
pub(crate) async fn attempt(shop: &Arc<Workshop>, mut work: Work) -> Result<Ran, ServiceError> {
    let begun_at = shop.clock.elapsed();
    let record = work.record.take();
    let seated = match &record {
        Some(_) => None,
        None => {
            let seated = spirit(shop, &work)?;
            match shop.breakers.ask(&seated.plugin.digest) {
                Ok(pass) => Some((seated, pass)),
                // Before the slot is filled and a model is asked.
                Err(off) => return refused(shop, &work, &seated, off).await,
            }
        }
    };
    let base = work.base.clone();
    let base_tree = shop.mirror.objects(move |objects| objects.tree_of(&base)).await?;
    let answered = record.as_ref().map_or(0, answered_turns);
    let found = slots::clear(shop, &work.slot, &work.base).await?;
    if record.is_none() {
        slots::tell(shop, &work.slot, found.as_ref());
    }
    let desk = Desk::open(
        Arc::clone(shop),
        work.attempt.clone(),
        work.instance.clone(),
        Arc::clone(&work.slot),
        base_tree.clone(),
        answered,
    )
    .await?;
    let performed = match (record, seated) {
        (Some(record), _) => again(shop, &work, &desk, record, found).await?,
        (None, Some(seated)) => perform(shop, &work, &desk, seated).await?,
        (None, None) => return Err(ServiceError::Internal(format!("nobody plays in {}", work.attempt))),
    };
    let Some(Performed { execution, at, end }) = performed else { return Ok(Ran::Suspended) };
    let (mut judged, mut trouble, mut summary) = (Judged::default(), None, None);
    match end {
        End::Report(report) => {
            let ended = judgement::judge(shop, &work, &desk, &base_tree, (&report, at), &mut judged).await;
            judged.blame(ended, &work)?;
            if judged.stopped {
                return Ok(Ran::Suspended);
            }
            summary = Some(report.summary);
        }
        End::Failed(error) => trouble = unfinished(shop, &work, &desk, (&base_tree, at), error, &mut judged).await?,
        End::FailedBefore(reason) => {
            let kept = judgement::keep_unfinished(shop, &work, &base_tree, at, &mut judged).await;
            judged.blame(kept, &work)?;
            judged.fail(reason);
        }
        End::Lost(reason) => {
            shop.tell(&Progress::Warning { text: format!("{} begins anew: {reason}", work.attempt) });
            let kept = judgement::keep_unfinished(shop, &work, &base_tree, at, &mut judged).await;
            judged.blame(kept, &work)?;
            judged.interrupt(reason);
        }
    }
    if let Some((_, reason)) = &mut judged.failure {
        // Whatever a spirit says of its failure, it fits into an event.
        *reason = dispatch::bounded_reason(&shop.mask.apply(reason));
    }
    let took: Duration = shop.clock.elapsed().saturating_sub(begun_at);
    remains::finish(shop, &work, &desk, (execution, summary), &judged, took).await?;
    let (outcome, reason) = (judged.outcome(), judged.reason());
    let Judged { commit, scope, spell, .. } = judged;
    Ok(Ran::Ended(Box::new(Attempted { outcome, reason, commit, scope, spell, trouble })))
}

/// Model calls that were answered, as a session counts its turns.
fn answered_turns(record: &Record) -> u32 {
    let answered = record.calls.iter().filter(|call| {
        call.function == Function::LlmComplete && call.answer.as_ref().is_some_and(|answer| answer.get("Ok").is_some())
    });
    u32::try_from(answered.count()).unwrap_or(u32::MAX)
}

/// What is done about a spirit that gave no report.
async fn unfinished(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Desk,
    (base_tree, at): (&TreeId, Timestamp),
    error: ExecutionError,
    judged: &mut Judged,
) -> Result<Option<ServiceError>, ServiceError> {
    let kept = judgement::keep_unfinished(shop, work, base_tree, at, judged).await;
    judged.blame(kept, work)?;
    let reason = chain(&error);
    if let Some(blocked) = desk.blocked() {
        // Another attempt would end the same way: no task may fail by it.
        judged.interrupt(reason);
        return Ok(Some(ServiceError::Model(blocked.clone())));
    }
    judged.fail(reason);
    Ok(None)
}

/// The component that plays the attempt's role now. The attempt keeps it to its end.
fn spirit(shop: &Workshop, work: &Work) -> Result<Seated, ServiceError> {
    let role = work.instance.role();
    let found = shop.plugins.now().spirits.get(&role).map(|(seated, _)| seated.clone());
    found.ok_or_else(|| ServiceError::Internal(format!("no component plays the role {role}")))
}

/// Ends an attempt whose spirit is switched off. It counts: a component does the same again, so that waiting
/// would only hold up a run that nobody watches, while one that fails says so at once, costs nothing, and leaves
/// its tasks to the next run, or to another component in this one.
async fn refused(shop: &Arc<Workshop>, work: &Work, seated: &Seated, off: SwitchedOff) -> Result<Ran, ServiceError> {
    let reason = format!("the spirit `{}` is switched off: {off}", seated.plugin.name);
    // A planning step has no entry before its component starts.
    if work.branch.is_some() {
        let finished = Body::RunnerFinished {
            runner: work.runner.clone(),
            outcome: Outcome::Failed,
            reason: Some(reason.clone()),
            summary: None,
            commit: None,
            files: Vec::new(),
            more_files: 0,
            cost: Cost::default(),
            duration_ms: 0,
        };
        shop.registry.append(Subject::attempt(&shop.run, &work.attempt), vec![finished]).await?;
    }
    shop.tell(&Progress::AttemptFinished {
        attempt: work.attempt.clone(),
        instance: work.instance.clone(),
        outcome: Outcome::Failed,
        reason: Some(reason.clone()),
    });
    let (scope, spell) = (String::new(), String::new());
    let outcome = Outcome::Failed;
    Ok(Ran::Ended(Box::new(Attempted { outcome, reason: Some(reason), commit: None, scope, spell, trouble: None })))
}

/// Runs the spirit's component. Nothing comes back from one that was stopped with the run.
async fn perform(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
    (seated, pass): (Seated, Pass),
) -> Result<Option<Performed>, ServiceError> {
    let (begun, context) = begin(&shop.scene(), invocation(work, desk, &seated)).await?;
    let started = Body::RunnerStarted {
        runner: work.runner.clone(),
        instance: work.instance.clone(),
        slot: work.slot.id().clone(),
        execution: begun.id().clone(),
        component: seated.plugin.digest.clone(),
        base: work.base.clone(),
    };
    shop.registry.append(Subject::attempt(&shop.run, &work.attempt), vec![started]).await?;
    drive(shop, work, (&seated, Some(pass)), &begun, context).await
}

/// Runs the component of `record` again from its start, in a work tree that is restored as far as the record
/// has it as a whole; changes of files behind that are made again on the way.
async fn again(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
    record: Record,
    found: Option<Rescue>,
) -> Result<Option<Performed>, ServiceError> {
    let execution = record.execution.clone();
    let (host, slot) = (Arc::clone(shop), Arc::clone(&work.slot));
    let arrival = Arrival::new(async move {
        if let Some(found) = found {
            slots::explain(&host, &slot, found).await;
        }
    });
    let lost = async |reason: String| {
        shop.registry.cut_off(&execution.id, &reason).await?;
        let at = execution.ended_at.unwrap_or(execution.started_at);
        Ok(Some(Performed { execution: execution.id.clone(), at, end: End::Lost(reason) }))
    };
    let restored_to = match newest_tree(&record.calls) {
        Err(sequence) => {
            arrival.arrived().await;
            return lost(format!("no tree could hold what the command of call {sequence} left")).await;
        }
        Ok(None) => 0,
        Ok(Some((sequence, tree))) => match slots::restore(shop, &work.slot, &tree).await {
            Ok(()) => sequence,
            Err(error @ ServiceError::Workspace(WorkspaceError::Objects { .. } | WorkspaceError::NotAnId { .. })) => {
                arrival.arrived().await;
                return lost(format!("the work tree after call {sequence} cannot be restored: {}", chain(&error)))
                    .await;
            }
            Err(error) => return Err(error),
        },
    };
    let seated = match shop.plugins.now().recorded(&execution, shop.registry.blobs()).await {
        Ok(seated) => seated,
        Err(
            error @ (ServiceError::Component { source: BlobError::Missing { .. } | BlobError::Damaged { .. }, .. }
            | ServiceError::Plugin(_)),
        ) => {
            arrival.arrived().await;
            return lost(chain(&error)).await;
        }
        Err(error) => return Err(error),
    };
    let invocation = invocation(work, desk, &seated);
    let (begun, context) = go_on(&shop.scene(), invocation, record, restored_to, Arc::clone(&arrival)).await?;
    // What goes on was begun already, whether or not its component would be called now.
    let pass = shop.breakers.ask(&seated.plugin.digest).ok();
    let performed = drive(shop, work, (&seated, pass), &begun, context).await;
    arrival.arrived().await;
    performed
}

fn invocation<'a>(work: &Work, desk: &Arc<Desk>, seated: &'a Seated) -> Invocation<'a> {
    let grant = seated.granted();
    Invocation {
        kind: ExecutionKind::Spirit,
        seated,
        attempt: Some(work.attempt.clone()),
        instance: Some(work.instance.clone()),
        input: json!({ "assignment": work.assignment }),
        capabilities: desk.capabilities(&grant),
        grant,
    }
}

/// Runs the component and ends its execution, unless it shall go on later.
async fn drive(
    shop: &Workshop,
    work: &Work,
    (seated, pass): (&Seated, Option<Pass>),
    begun: &Begun,
    context: ExecutionContext,
) -> Result<Option<Performed>, ServiceError> {
    let settings = seated.settings.to_string();
    let ended: Ended<Report> = seated.plugin.perform(context, work.assignment.clone(), &settings).await;
    breakers::log_trap(seated, begun.id(), &ended);
    if let Some(pass) = pass {
        breakers::note(&shop.scene(), seated, pass, breakers::end_of(&ended.result));
    }
    let lost = match &ended.result {
        // Its journal stays open.
        Err(ExecutionError::Cancelled { .. }) => return Ok(None),
        Err(error @ ExecutionError::Journal { source: JournalError::Unwritable { .. }, .. }) => {
            return Err(ServiceError::Record(error.clone()));
        }
        Err(ExecutionError::Journal { source: JournalError::TooLarge(_), .. }) => None,
        // Its end is on record, and another machine or another day would not bring it about again.
        Err(ExecutionError::Journal { source: JournalError::RecordEnds, .. }) if begun.failed_before().is_some() => {
            None
        }
        Err(error @ ExecutionError::Journal { .. }) => Some(chain(error)),
        result => begun.divergence(result).await,
    };
    let at = match &lost {
        Some(reason) => begun.give_up(reason).await?,
        None => begun.end(&ended, None).await?,
    };
    let end = match (lost, ended.result) {
        (Some(reason), _) => End::Lost(reason),
        (None, Ok(report)) => End::Report(report),
        (None, Err(ExecutionError::Journal { source: JournalError::RecordEnds, .. })) => {
            End::FailedBefore(begun.failed_before().unwrap_or_default())
        }
        (None, Err(error)) => End::Failed(error),
    };
    Ok(Some(Performed { execution: begun.id().clone(), at, end }))
}
