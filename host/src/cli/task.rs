//! `task set`, and what workers say: `task claim`, `done`, `fail`, `release`.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Held, Place, TaskAt, TaskCommand};
use super::report::WORK_FAILED;
use super::run::cache_dir;
use super::style::Style;
use super::{neutral, open, out};
use crate::clock::SystemClock;
use crate::domain::id::{AttemptKey, SpecName, TaskId, TaskKey};
use crate::domain::task::{Attributes, Task};
use crate::registry::WorkerResult;
use crate::service::office::{self, Change, Changed, OfficeRequest};
use crate::service::{ServiceError, Silent};

/// What `task claim --json` prints.
#[derive(Debug, Serialize)]
struct Claimed<'a> {
    #[serde(flatten)]
    task: &'a Task,
    attempt: u32,
    branch: Option<&'a str>,
}

/// Runs `task …`.
pub(crate) async fn run(command: TaskCommand, style: Style) -> Result<ExitCode, ServiceError> {
    match command {
        TaskCommand::Set { at, priority, skill, meta, expect_version } => {
            let attributes = Attributes {
                priority,
                skill: skill.map(|role| role.to_string()),
                metadata: meta.into_iter().collect(),
            };
            if attributes == Attributes::default() {
                let text = "say what to set: --priority, --skill or --meta KEY=VALUE";
                return Err(ServiceError::Usage(text.to_owned()));
            }
            let key = key(&at).await?;
            let change = Change::Set { key, expected_version: expect_version, attributes };
            told(make(&at.place, change).await?, at.json, style)
        }
        TaskCommand::Claim { task, spec, worker, skill, expect_version, place, json } => {
            claim((task, spec), (worker, skill, expect_version), &place, json).await
        }
        TaskCommand::Done { held, commit, summary } => {
            report(held, WorkerResult::Done { commit, summary }, style).await
        }
        TaskCommand::Fail { held, reason } => report(held, WorkerResult::Failed { reason }, style).await,
        TaskCommand::Release { held, reason } => report(held, WorkerResult::Released { reason }, style).await,
    }
}

async fn claim(
    (named, spec): (Option<String>, Option<SpecName>),
    (worker, skill, expected_version): (String, Option<String>, Option<u64>),
    place: &Place,
    json: bool,
) -> Result<ExitCode, ServiceError> {
    let (spec, task) = match named {
        Some(task) => {
            let at = TaskAt { task, spec: spec.map(|spec| spec.to_string()), place: place.clone(), json };
            let TaskKey { spec, task } = key(&at).await?;
            (Some(spec), Some(task))
        }
        None => (spec, None),
    };
    let Some(task) = make(place, Change::Claim { worker, spec, task, expected_version, skill }).await? else {
        if json {
            out::json(&())?;
        } else {
            out::tell("no task of that kind is ready");
        }
        return Ok(ExitCode::from(WORK_FAILED));
    };
    let branch = task.assigned.as_ref().map(|assigned| assigned.branch.as_str());
    if json {
        out::json(&Claimed { attempt: task.attempts, branch, task: &task })?;
    } else {
        out::print(&format!(
            "{} attempt {}: {}\nbranch: {}\n",
            task.key,
            task.attempts,
            neutral::line(&task.definition.title),
            neutral::line(branch.unwrap_or_default())
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn report(held: Held, report: WorkerResult, style: Style) -> Result<ExitCode, ServiceError> {
    let Held { at, worker, attempt } = held;
    let key = key(&at).await?;
    let attempt = match attempt {
        Some(attempt) => attempt,
        None => {
            let wanted = key.clone();
            let task = open::read(&at.place, move |records| Ok(records.reader.task(&wanted)?)).await?;
            task.map_or(0, |task| task.attempts)
        }
    };
    let change = Change::Report { attempt: AttemptKey { key, attempt }, worker, report };
    told(make(&at.place, change).await?, at.json, style)
}

fn told(task: Option<Box<Task>>, json: bool, style: Style) -> Result<ExitCode, ServiceError> {
    let Some(task) = task else { return Ok(ExitCode::SUCCESS) };
    if json {
        out::json(&task)?;
    } else {
        let facts = &task.definition;
        let mut line = format!("{} is {}", task.key, style.bold(task.state.as_str()));
        line.push_str(&format!(", priority {}", facts.priority));
        if let Some(skill) = &facts.skill {
            line.push_str(&format!(", for {}", neutral::line(skill)));
        }
        line.push_str(&format!(" (version {})\n", task.version));
        out::print(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The task that is meant; one that the registry does not have is answered with those that it has.
async fn key(at: &TaskAt) -> Result<TaskKey, ServiceError> {
    let (named, task) = match at.task.rsplit_once('/') {
        Some((spec, task)) => (Some(spec.to_owned()), task.to_owned()),
        None => (at.spec.clone(), at.task.clone()),
    };
    let task = TaskId::new(task)?;
    open::read(&at.place, move |records| {
        let spec = records.spec(named.as_deref())?;
        records.task(&spec, task.as_str())
    })
    .await
}

async fn make(place: &Place, change: Change) -> Result<Option<Box<Task>>, ServiceError> {
    match office::change(&request(place)?, change).await? {
        Changed::Task(task) => Ok(task),
        other => Err(ServiceError::Internal(format!("the change came to {other:?}"))),
    }
}

/// Where a change is made.
pub(crate) fn request(place: &Place) -> Result<OfficeRequest, ServiceError> {
    Ok(OfficeRequest {
        repository: place.repo.clone(),
        cwd: open::cwd()?,
        state: place.state.clone(),
        cache: cache_dir(),
        clock: Arc::new(SystemClock::default()),
        observer: Arc::new(Silent),
    })
}
