//! Recorded invocations: every call of a component begins and ends as an execution in the registry,
//! whatever it is for.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::breakers::Breakers;
use super::error::{ServiceError, chain};
use super::journal::{Arrival, ExecutionJournal, ReadJournal};
use super::plugins::Seated;
use super::progress::Observer;
use super::tape::Tape;
use crate::config::Uncertain;
use crate::domain::grant::Grant;
use crate::domain::id::{AttemptKey, ExecutionId, Instance, RunId, SpecName};
use crate::plugin::capability::{Capabilities, Journal};
use crate::plugin::{Ended, Engine, ExecutionContext, ExecutionError};
use crate::registry::{
    Execution, ExecutionKind, ExecutionRecord, LocalContext, NewExecution, PolicyState, Record, Registry,
};

/// Where and for what a component is invoked.
#[derive(Clone)]
pub(crate) struct Scene {
    /// The registry, owned by this process.
    pub(crate) registry: Registry,
    /// The run; absent outside of any.
    pub(crate) run: Option<RunId>,
    /// The spec; absent when it is about none.
    pub(crate) spec: Option<SpecName>,
    /// What becomes of a model call whose answer was lost.
    pub(crate) uncertain: Uncertain,
    /// Who listens.
    pub(crate) observer: Arc<dyn Observer>,
    /// Becomes true when this shall stop.
    pub(crate) stop: watch::Receiver<bool>,
    /// Which components are not called for now.
    pub(crate) breakers: Arc<Breakers>,
}

/// What is invoked, for whom.
pub(crate) struct Invocation<'a> {
    /// What for.
    pub(crate) kind: ExecutionKind,
    /// The component.
    pub(crate) seated: &'a Seated,
    /// The attempt it belongs to.
    pub(crate) attempt: Option<AttemptKey>,
    /// The spirit, for executions that have local effects.
    pub(crate) instance: Option<Instance>,
    /// What it is given, as recorded.
    pub(crate) input: Value,
    /// What it may do, decided once: its bounds are those by which `capabilities` were made.
    pub(crate) grant: Arc<Grant>,
    /// What it can reach.
    pub(crate) capabilities: Capabilities,
}

/// An execution under way.
pub(crate) struct Begun {
    id: ExecutionId,
    writing: Writing,
}

/// Where the record of an execution goes.
enum Writing {
    /// Its journal is open.
    Open(Execution, Arc<ExecutionJournal>),
    /// It has ended before, and only its work is done again.
    Ended(Arc<ReadJournal>, Box<ExecutionRecord>),
}

/// Begins an execution: after this its input is durable.
pub(crate) async fn begin(
    scene: &Scene,
    invocation: Invocation<'_>,
) -> Result<(Begun, ExecutionContext), ServiceError> {
    let id = scene.registry.ids().execution();
    let seated = invocation.seated;
    let execution = scene
        .registry
        .begin_execution(NewExecution {
            id: id.clone(),
            run: scene.run.clone(),
            kind: invocation.kind,
            attempt: invocation.attempt.clone(),
            spec: scene.spec.clone(),
            plugin: seated.plugin.name.clone(),
            component: seated.plugin.digest.clone(),
            engine: Engine::version().to_owned(),
            limits: serde_json::to_value(seated.limits).map_err(|error| ServiceError::Internal(error.to_string()))?,
            settings: seated.settings.clone(),
            input: invocation.input.clone(),
        })
        .await?;
    let time = execution.started_at();
    let journal = Arc::new(journal(scene, &execution, &invocation, (Tape::default(), Arc::default())));
    let context = context(scene, id.clone(), time, invocation, journal.clone());
    Ok((Begun { id, writing: Writing::Open(execution, journal) }, context))
}

/// Goes on with an execution of which `record` is left, in a work tree that is as it was after call
/// `restored_to`: the component is run again from its start. `arrival` is at the record's end.
pub(crate) async fn go_on(
    scene: &Scene,
    invocation: Invocation<'_>,
    record: Record,
    restored_to: u64,
    arrival: Arc<Arrival>,
) -> Result<(Begun, ExecutionContext), ServiceError> {
    let Record { execution: recorded, calls } = record;
    let (id, time, tape) = (recorded.id.clone(), recorded.started_at, Tape::new(calls, restored_to));
    if recorded.ended_at.is_some() {
        let journal = Arc::new(ReadJournal::new(tape, scene.registry.blobs().clone()));
        let context = context(scene, id.clone(), time, invocation, journal.clone());
        return Ok((Begun { id, writing: Writing::Ended(journal, Box::new(recorded)) }, context));
    }
    let execution = scene.registry.reopen_execution(&recorded).await?;
    let journal = Arc::new(journal(scene, &execution, &invocation, (tape, arrival)));
    let context = context(scene, id.clone(), time, invocation, journal.clone());
    Ok((Begun { id, writing: Writing::Open(execution, journal) }, context))
}

fn journal(
    scene: &Scene,
    execution: &Execution,
    invocation: &Invocation<'_>,
    tape: (Tape, Arc<Arrival>),
) -> ExecutionJournal {
    let context = invocation.attempt.clone().zip(invocation.instance.clone()).map(|(attempt, instance)| LocalContext {
        attempt,
        instance,
        workspace: scene.spec.as_ref().map(ToString::to_string).unwrap_or_default(),
    });
    ExecutionJournal::new(scene.registry.clone(), execution.clone(), context, tape, scene.uncertain)
}

fn context(
    scene: &Scene,
    id: ExecutionId,
    time: Timestamp,
    invocation: Invocation<'_>,
    journal: Arc<dyn Journal>,
) -> ExecutionContext {
    let Invocation { seated, capabilities, grant, .. } = invocation;
    let limits = seated.limits;
    ExecutionContext { id, capabilities, grant, journal, limits, time, cancel: scene.stop.clone() }
}

/// A result as the record has it.
pub(crate) fn outcome_of<T: Serialize>(result: &Result<T, ExecutionError>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(error @ ExecutionError::Trapped { backtrace: Some(backtrace), .. }) => {
            json!({ "error": error.name(), "message": chain(error), "backtrace": backtrace })
        }
        Err(error) => json!({ "error": error.name(), "message": chain(error) }),
    }
}

/// An outcome without what need not come about again: earlier records have no backtrace of a crash, and another
/// engine may name functions in another way.
pub(crate) fn comparable(mut outcome: Value) -> Value {
    if let Some(object) = outcome.as_object_mut().filter(|object| object.contains_key("error")) {
        object.remove("backtrace");
    }
    outcome
}

impl Begun {
    /// The execution's id.
    pub(crate) fn id(&self) -> &ExecutionId {
        &self.id
    }

    /// Why the repeated part of an execution is not what its record says, now that the component has
    /// returned with `result`.
    pub(crate) async fn divergence<T: Serialize>(&self, result: &Result<T, ExecutionError>) -> Option<String> {
        let left_over = match &self.writing {
            Writing::Open(_, journal) => journal.left_over().await,
            Writing::Ended(journal, _) => journal.left_over().await,
        };
        if let (Some(divergence), Ok(_)) = (left_over, result) {
            return Some(divergence.to_string());
        }
        let Writing::Ended(_, recorded) = &self.writing else { return None };
        let (now, then) = (comparable(outcome_of(result)), comparable(recorded.outcome.clone()?));
        (now != then).then(|| format!("it ends in another way than on record: recorded {then}, now {now}"))
    }

    /// How the execution failed, if it had ended before and what ended it need not do so again: time, a stop,
    /// or the machine.
    pub(crate) fn failed_before(&self) -> Option<String> {
        let Writing::Ended(_, recorded) = &self.writing else { return None };
        let outcome = recorded.outcome.as_ref()?;
        outcome.get("error")?;
        outcome["message"].as_str().map(str::to_owned)
    }

    /// Ends an execution that does not repeat what its record says. Gives the recorded time of the end.
    pub(crate) async fn give_up(&self, reason: &str) -> Result<Timestamp, ServiceError> {
        match &self.writing {
            Writing::Open(execution, _) => {
                let outcome = json!({ "error": "diverged", "message": reason });
                Ok(execution.end(outcome, Value::Null, None).await?)
            }
            Writing::Ended(_, recorded) => Ok(recorded.ended_at.unwrap_or(recorded.started_at)),
        }
    }

    /// Ends the execution with what the component gave, and keeps a policy's state with it. Gives the
    /// recorded time of the end.
    pub(crate) async fn end<T: Serialize>(
        &self,
        ended: &Ended<T>,
        policy: Option<PolicyState>,
    ) -> Result<Timestamp, ServiceError> {
        let execution = match &self.writing {
            Writing::Open(execution, _) => execution,
            Writing::Ended(_, recorded) => return Ok(recorded.ended_at.unwrap_or(recorded.started_at)),
        };
        let usage = serde_json::to_value(ended.usage).map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok(execution.end(outcome_of(&ended.result), usage, policy).await?)
    }
}
