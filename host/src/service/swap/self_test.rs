//! What a component has to do before it gets a seat: a spirit or heuristic says what it is, a policy decides
//! something small in a way that can be followed.

use crate::domain::assignment::RoleInfo;
use crate::domain::dispatch;
use crate::domain::id::{ExecutionId, Instance, InvalidId, Role, SpecName, TaskId};
use crate::domain::policy::{Candidate, Issue, Pool, ReadyTask};
use crate::plugin::{ExecutionContext, PluginKind};
use crate::service::error::{ServiceError, chain};
use crate::service::plugins::Seated;

/// Lets the component pass its test. Gives who a spirit is.
///
/// # Errors
/// [`ServiceError::Usage`] with what it did instead.
pub(super) async fn pass(seated: &Seated) -> Result<Option<RoleInfo>, ServiceError> {
    let plugin = &seated.plugin;
    let failed = |reason: String| {
        let (kind, name) = (plugin.kind, &plugin.name);
        ServiceError::Usage(format!("the {kind} plugin `{name}` does not pass its self-test: {reason}"))
    };
    let internal = |error: InvalidId| ServiceError::Internal(error.to_string());
    match plugin.kind {
        PluginKind::Spirit => {
            let described = plugin.describe_role().await.result;
            Ok(Some(described.map_err(|error| failed(chain(&error)))?))
        }
        PluginKind::Review => {
            plugin.describe_heuristic().await.result.map_err(|error| failed(chain(&error)))?;
            Ok(None)
        }
        PluginKind::Routing => {
            let (issue, candidates) = (issue(), candidates().map_err(internal)?);
            let settings = seated.settings.to_string();
            let routed = plugin.route(context(seated).map_err(internal)?, &issue, &candidates, &settings, "").await;
            let decision = routed.result.map_err(|error| failed(chain(&error)))?;
            dispatch::check_decision(decision, &candidates).map_err(|error| failed(error.to_string()))?;
            Ok(None)
        }
        PluginKind::Scheduling => {
            let (ready, pools) = (ready().map_err(internal)?, pools());
            let settings = seated.settings.to_string();
            let ordered = plugin.order(context(seated).map_err(internal)?, &ready, &pools, &settings, "").await;
            let plan = ordered.result.map_err(|error| failed(chain(&error)))?;
            let checked = dispatch::check_plan(plan.placements, &ready, &pools);
            match checked.refused.first() {
                Some(refused) => Err(failed(refused.to_string())),
                None if checked.placements.is_empty() => Err(failed("it starts nothing although all is free".into())),
                None => Ok(None),
            }
        }
    }
}

/// Nothing is reached and nothing recorded, under the limits that it will have.
fn context(seated: &Seated) -> Result<ExecutionContext, InvalidId> {
    let id = ExecutionId::new("self-test")?;
    Ok(ExecutionContext { grant: seated.granted(), ..ExecutionContext::apart(id, seated.limits) })
}

fn issue() -> Issue {
    Issue {
        id: "1".to_owned(),
        title: "Store the orders".to_owned(),
        text: "- a table for orders\n- a test".to_owned(),
        labels: vec!["database".to_owned()],
        priority: 0,
    }
}

fn candidates() -> Result<Vec<Candidate>, InvalidId> {
    let candidate = |name: &str, skill: &str| {
        let role = Role::new(name)?;
        Ok(Candidate {
            instance: Instance::of(&role, 1),
            role,
            skills: vec![skill.to_owned()],
            load: 0,
            capacity: 1,
            last_assigned: 0,
            price_microusd: None,
        })
    };
    [("backend", "api"), ("database", "schema"), ("scrum_master", "plan")]
        .into_iter()
        .map(|(name, skill)| candidate(name, skill))
        .collect()
}

fn ready() -> Result<Vec<ReadyTask>, InvalidId> {
    let task = |id: &str, priority: i32| {
        Ok(ReadyTask {
            spec: SpecName::new("self-test")?,
            task: TaskId::new(id)?,
            title: format!("Task {id}"),
            skill: None,
            priority,
            waiting_ms: 0,
            dependents: 0,
            remaining_path: 1,
            attempt: 1,
        })
    };
    vec![task("1", 0), task("2", 1)].into_iter().collect()
}

fn pools() -> Vec<Pool> {
    vec![Pool { name: "default".to_owned(), capacity: 2, running: 0, skills: Vec::new() }]
}
