//! Recorded invocations: every call of a component begins and ends as an execution in the registry,
//! whatever it is for.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::error::{ServiceError, chain};
use super::journal::ExecutionJournal;
use super::plugins::Seated;
use super::workshop::Workshop;
use crate::domain::id::{AttemptKey, ExecutionId, Instance};
use crate::plugin::capability::Capabilities;
use crate::plugin::{Ended, Engine, ExecutionContext};
use crate::registry::{Execution, ExecutionKind, LocalContext, NewExecution, PolicyState};

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
    /// What it can reach.
    pub(crate) capabilities: Capabilities,
}

/// A begun execution.
pub(crate) struct Begun {
    execution: Execution,
}

/// Begins an execution: after this its input is durable.
pub(crate) async fn begin(
    shop: &Workshop,
    invocation: Invocation<'_>,
) -> Result<(Begun, ExecutionContext), ServiceError> {
    let id = shop.registry.ids().execution();
    let seated = invocation.seated;
    let time = shop.clock.now();
    let execution = shop
        .registry
        .begin_execution(NewExecution {
            id: id.clone(),
            run: Some(shop.run.clone()),
            kind: invocation.kind,
            attempt: invocation.attempt.clone(),
            spec: Some(shop.spec.clone()),
            plugin: seated.plugin.name.clone(),
            component: seated.plugin.digest.clone(),
            engine: Engine::version().to_owned(),
            limits: serde_json::to_value(seated.limits).map_err(|error| ServiceError::Internal(error.to_string()))?,
            settings: seated.settings.clone(),
            input: invocation.input,
        })
        .await?;
    let context = invocation.attempt.zip(invocation.instance).map(|(attempt, instance)| LocalContext {
        attempt,
        instance,
        workspace: shop.spec.to_string(),
    });
    let context = ExecutionContext {
        id,
        capabilities: invocation.capabilities,
        journal: Arc::new(ExecutionJournal::new(execution.clone(), context)),
        limits: seated.limits,
        time,
        cancel: shop.stop.clone(),
    };
    Ok((Begun { execution }, context))
}

impl Begun {
    /// The execution's id.
    pub(crate) fn id(&self) -> &ExecutionId {
        self.execution.id()
    }

    /// Ends the execution with what the component gave, and keeps a policy's state with it. Gives the
    /// recorded time of the end.
    pub(crate) async fn end<T: Serialize>(
        &self,
        ended: &Ended<T>,
        policy: Option<PolicyState>,
    ) -> Result<jiff::Timestamp, ServiceError> {
        let outcome = match &ended.result {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error.name(), "message": chain(error) }),
        };
        let usage = serde_json::to_value(ended.usage).map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok(self.execution.end(outcome, usage, policy).await?)
    }
}
