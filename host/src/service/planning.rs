//! Planning: the architect and the scrum master turn a job into a checked spec on the spec branch.
//! Both are attempts like any other, of the pseudo-tasks 0.1 and 0.2; their gate is the spec check.

use std::sync::Arc;

use super::assignment;
use super::error::ServiceError;
use super::plugins::lock::LOCK_FILE;
use super::progress::Progress;
use super::reclaim;
use super::resume::{self, Place};
use super::runner::{self, Ran, Work};
use super::slots;
use super::workshop::Workshop;
use crate::config::FILE_NAME;
use crate::domain::assignment::WorkKind;
use crate::domain::dispatch::{self, AttemptEnd, NextStep};
use crate::domain::event::Outcome;
use crate::domain::id::{AttemptKey, CommitId, Instance, Role, SpecName, TaskId, TaskKey};
use crate::domain::task::TaskDefinition;
use crate::domain::verdict::Verdict;
use crate::spec::diagnostic::render;
use crate::spec::plan as plan_of;
use crate::spec::{Diagnostic, Requirements, Rules, check_design, check_requirements, check_tasks};
use crate::workspace::{SlotPool, TreeId};

/// Files of a spec that planning writes.
const REQUIREMENTS: &str = "requirements.md";
const DESIGN: &str = "design.md";
const TASKS: &str = "tasks.md";

/// Documents that say what a task has to do.
const JUDGES: [&str; 4] = ["/requirements.md", "/bugfix.md", "/design.md", "/tasks.md"];

/// How planning ended.
pub(crate) enum Planned {
    /// The spec is on the spec branch.
    Done,
    /// The run was stopped.
    Stopped,
    /// Every attempt was used up; the last one's reason.
    Failed(String),
}

/// The pseudo-task of a planning step.
pub(crate) fn pseudo_task(kind: WorkKind) -> &'static str {
    match kind {
        WorkKind::Specify => "0.1",
        WorkKind::Plan => "0.2",
        WorkKind::Implement => "0",
    }
}

/// Who does a planning step.
fn planner(kind: WorkKind) -> &'static str {
    if kind == WorkKind::Specify { "architect" } else { "scrum_master" }
}

/// Paths that an attempt of this kind may not change: they are put back before its commit.
pub(crate) fn protected_paths(kind: WorkKind, spec: &SpecName) -> impl Fn(&str) -> bool + Send + use<> {
    let own = format!(".kiro/specs/{spec}/");
    move |path: &str| match kind {
        // The host alone ticks; and what later attempts are judged by is not the judged one's to change.
        WorkKind::Implement => {
            [FILE_NAME, LOCK_FILE].contains(&path)
                || path.starts_with(".kiro/steering/")
                || path.starts_with(".kiro/specs/") && JUDGES.iter().any(|file| path.ends_with(file))
        }
        WorkKind::Specify => ![REQUIREMENTS, DESIGN].iter().any(|file| path.strip_prefix(&own) == Some(*file)),
        WorkKind::Plan => path.strip_prefix(&own) != Some(TASKS),
    }
}

/// Makes requirements, design and tasks of `job`, as far as the spec branch does not have them.
pub(crate) async fn plan(shop: &Arc<Workshop>, pool: &SlotPool, job: &str) -> Result<Planned, ServiceError> {
    for (kind, file) in [(WorkKind::Specify, DESIGN), (WorkKind::Plan, TASKS)] {
        if assignment::spec_file(shop, file).await?.is_some() {
            continue;
        }
        match step(shop, pool, kind, job).await? {
            Planned::Done => {}
            ended => return Ok(ended),
        }
    }
    Ok(Planned::Done)
}

/// One planning step with its attempts.
async fn step(shop: &Arc<Workshop>, pool: &SlotPool, kind: WorkKind, job: &str) -> Result<Planned, ServiceError> {
    let internal = |error: crate::domain::id::InvalidId| ServiceError::Internal(error.to_string());
    let key = TaskKey { spec: shop.spec.clone(), task: TaskId::new(pseudo_task(kind)).map_err(internal)? };
    let instance = Instance::of(&Role::new(planner(kind)).map_err(internal)?, 1);
    let wanted = key.clone();
    let mut before = shop.registry.read(move |reader| reader.attempts(&wanted)).await?;
    let mut number = before.iter().map(|attempt| attempt.key.attempt).max().unwrap_or(0);
    before.retain(|attempt| attempt.run.as_ref() == Some(&shop.run));
    let of_run = before.iter().filter(|attempt| attempt.outcome == Some(Outcome::Failed));
    let mut failed = u32::try_from(of_run.count()).unwrap_or(u32::MAX);
    let mut last_failure = before.iter().rfind(|a| a.outcome == Some(Outcome::Failed)).and_then(|a| a.failure.clone());
    let newest = before.pop();
    if let Some(commit) = newest.as_ref().filter(|a| a.outcome == Some(Outcome::Success)).and_then(|a| a.commit.clone())
        && advance(shop, commit).await?
    {
        return Ok(Planned::Done);
    }
    if let Some(spent) = newest.as_ref().filter(|a| a.outcome == Some(Outcome::Failed) && failed >= shop.max_attempts) {
        return Ok(Planned::Failed(spent.failure.clone().unwrap_or_default()));
    }
    let mut open = newest.filter(|attempt| attempt.outcome.is_none());
    loop {
        if shop.stopping() {
            return Ok(Planned::Stopped);
        }
        let going = match open.take() {
            Some(attempt) => resume::unfinished(shop, &attempt).await?,
            None => Place::Start,
        };
        if let Place::Lost(attempt, reason) = &going {
            reclaim::end_attempt(shop, (**attempt).clone(), reason).await?;
        }
        if !matches!(going, Place::Spirit(_)) {
            number += 1;
        }
        let attempt = AttemptKey { key: key.clone(), attempt: number };
        let attempted = match one(shop, pool, (kind, job), &attempt, &instance, last_failure.clone(), going).await? {
            Ran::Ended(attempted) => *attempted,
            Ran::Suspended => return Ok(Planned::Stopped),
        };
        if let Some(trouble) = attempted.trouble {
            return Err(trouble);
        }
        let end = match attempted.outcome {
            Outcome::Success if advance(shop, commit_of(attempted.commit)?).await? => return Ok(Planned::Done),
            // Not the attempt's failure: what it was made from is not the branch's end any more.
            Outcome::Success | Outcome::Interrupted => continue,
            Outcome::Failed => AttemptEnd::Failed { reason: attempted.reason.unwrap_or_default() },
        };
        match dispatch::after_attempt(failed, end, shop.max_attempts) {
            NextStep::Retry { reason } => {
                failed += 1;
                last_failure = Some(reason);
            }
            NextStep::Fail { reason } => return Ok(Planned::Failed(reason)),
            NextStep::Integrate | NextStep::Release => return Ok(Planned::Stopped),
        }
    }
}

/// One attempt at a planning step, from `going`.
async fn one(
    shop: &Arc<Workshop>,
    pool: &SlotPool,
    (kind, job): (WorkKind, &str),
    attempt: &AttemptKey,
    instance: &Instance,
    last_failure: Option<String>,
    going: Place,
) -> Result<Ran, ServiceError> {
    let lent = slots::lend(shop, pool, attempt).await?;
    let (base, assignment, record) = match going {
        Place::Spirit(recorded) => (recorded.base, recorded.assignment, Some(recorded.record)),
        _ => {
            let base = assignment::tip(shop).await?;
            (base, assignment::for_planning(shop, kind, job, attempt, instance, last_failure).await?, None)
        }
    };
    shop.tell(&Progress::AttemptStarted {
        attempt: attempt.clone(),
        kind,
        title: assignment.title.clone(),
        instance: instance.clone(),
        reason: String::new(),
    });
    let work = Work {
        attempt: attempt.clone(),
        instance: instance.clone(),
        runner: lent.holder.clone(),
        slot: Arc::clone(&lent.slot),
        branch: None,
        base,
        assignment,
        record,
    };
    let ran = runner::attempt(shop, work).await;
    slots::hand_back(shop, lent, &ran).await?;
    ran
}

fn commit_of(commit: Option<CommitId>) -> Result<CommitId, ServiceError> {
    commit.ok_or_else(|| ServiceError::Internal("a planning step passed without a commit".to_owned()))
}

/// Moves the spec branch to a planning step's commit. Nothing else moves it while planning goes on; when it
/// was moved while no run went on, the commit does not follow it, and the answer is false.
async fn advance(shop: &Arc<Workshop>, commit: CommitId) -> Result<bool, ServiceError> {
    let branch = shop.branch_ref();
    let moved = shop
        .mirror
        .objects(move |objects| {
            let before = objects.read_ref(&branch)?;
            let follows = match &before {
                Some(before) => objects.is_ancestor(before, &commit)?,
                None => true,
            };
            if follows {
                objects.update_ref(&branch, &commit, before.as_ref())?;
            }
            Ok(follows)
        })
        .await?;
    Ok(moved)
}

/// The gate of a planning step: what was written must be a spec that can be executed.
pub(crate) async fn check(shop: &Arc<Workshop>, kind: WorkKind, tree: &TreeId) -> Result<Verdict, ServiceError> {
    let (tree, paths) = (tree.clone(), [REQUIREMENTS, DESIGN, TASKS].map(|file| shop.spec_path(file)));
    let [requirements, design, tasks] = shop
        .mirror
        .objects(move |objects| {
            let mut texts = [None, None, None];
            for (text, path) in texts.iter_mut().zip(&paths) {
                *text = objects.read_file(&tree, path)?;
            }
            Ok(texts)
        })
        .await?;
    let set = shop.plugins.now();
    let roles: Vec<&str> = set.spirits.keys().map(Role::as_str).collect();
    let rules = Rules::own(Some(&roles));
    let mut report = String::new();
    let mut examine = |file: &str, bytes: Option<&[u8]>, check: &dyn Fn(&str) -> Vec<Diagnostic>| {
        let path = shop.spec_path(file);
        match bytes.map(std::str::from_utf8) {
            None => report.push_str(&format!("{path} is missing: write it\n")),
            Some(Err(_)) => report.push_str(&format!("{path} is not UTF-8: write it again\n")),
            Some(Ok(text)) => {
                let diagnostics = check(text);
                if diagnostics.iter().any(Diagnostic::is_error) {
                    report.push_str(&render(&path, &diagnostics));
                }
            }
        }
    };
    if kind == WorkKind::Specify {
        examine(REQUIREMENTS, requirements.as_deref(), &|text| check_requirements(text, rules));
        examine(DESIGN, design.as_deref(), &|text| check_design(text, rules));
    } else {
        let required = Requirements::read(requirements.as_deref().unwrap_or_default());
        examine(TASKS, tasks.as_deref(), &|text| check_tasks(text, Some(&required), rules));
    }
    if kind == WorkKind::Plan {
        let planned = tasks.as_deref().map(|bytes| plan_of(bytes).tasks).unwrap_or_default();
        report.push_str(&fresh_plan(&planned));
    }
    if report.is_empty() {
        Ok(Verdict::Pass)
    } else {
        let reason = format!("The spec check found errors; mend them and finish again:\n{report}");
        Ok(Verdict::Fail { reason: dispatch::bounded_reason(&reason) })
    }
}

/// What is wrong with tasks that a spirit has planned, a line each. A person's plan may be done in
/// part; a spirit's begins with everything to be done.
fn fresh_plan(tasks: &[TaskDefinition]) -> String {
    let mut report = String::new();
    if let Some(task) = tasks.iter().find(|task| task.id.is_planning_step()) {
        report
            .push_str(&format!("task {}: numbers that begin with 0. are the planning's own; begin with 1\n", task.id));
    }
    if let Some(task) = tasks.iter().find(|task| task.done) {
        report.push_str(&format!("task {}: its box is ticked; write `[ ]`, the host ticks what is merged\n", task.id));
    }
    if !tasks.is_empty() && tasks.iter().all(|task| task.optional) {
        report.push_str("every task is optional: take the `*` from those that the job asks for\n");
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spirit_cannot_tick_its_own_task() {
        let spec = SpecName::new("login").unwrap();
        let protected = protected_paths(WorkKind::Implement, &spec);
        assert!(protected(".kiro/specs/login/tasks.md"));
        assert!(protected(".kiro/specs/other/tasks.md"));
        assert!(protected(".kiro/specs/login/requirements.md") && protected(".kiro/steering/style.md"));
        assert!(protected("necro.toml") && !protected("docs/necro.toml"));
        assert!(protected("necro.lock"));
        assert!(!protected("src/tasks.md"));
        assert!(!protected(".kiro/specs/login/notes.md"));
    }

    #[test]
    fn a_planned_task_is_never_done_already() {
        let wrong = |plan: &str| fresh_plan(&plan_of(plan.as_bytes()).tasks);
        assert_eq!(wrong("- [ ] 1. A\n- [ ]* 2. B\n"), "");
        for (plan, part) in [
            ("- [ ] 1. A\n- [x] 2. B\n", "task 2: its box is ticked"),
            ("- [ ]* 1. A\n- [ ]* 2. B\n", "every task is optional"),
            ("- [ ] 0.1 A\n", "task 0.1: numbers that begin with 0."),
        ] {
            assert!(wrong(plan).contains(part), "{plan:?}: {}", wrong(plan));
        }
    }

    #[test]
    fn planning_changes_its_own_documents_only() {
        let spec = SpecName::new("login").unwrap();
        let specify = protected_paths(WorkKind::Specify, &spec);
        assert!(!specify(".kiro/specs/login/requirements.md") && !specify(".kiro/specs/login/design.md"));
        assert!(specify(".kiro/specs/login/tasks.md") && specify("src/lib.rs") && specify("necro.toml"));
        let plan = protected_paths(WorkKind::Plan, &spec);
        assert!(!plan(".kiro/specs/login/tasks.md") && plan(".kiro/specs/login/design.md"));
    }
}
