//! The dispatcher's doing: it shows policies what is ready, claims, starts attempts, queues gated
//! commits for integration one at a time, and decides with `domain::dispatch` what comes next.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::assignment;
use super::error::{ServiceError, chain};
use super::integration::{self, Candidate, Integrated};
use super::necromancer::TaskCounts;
use super::plugins::PluginSet;
use super::policies;
use super::progress::Progress;
use super::push;
use super::reclaim;
use super::resume::{self, Place, Recorded};
use super::runner::{self, Ran, Work};
use super::slots::{self, LentSlot};
use super::workshop::{Workshop, stopped};
use crate::domain::assignment::{Spirit, WorkKind};
use crate::domain::dispatch::{self, AttemptEnd, NextStep, RunOutcome};
use crate::domain::event::{Body, Outcome};
use crate::domain::graph::Graph;
use crate::domain::id::{AttemptKey, CommitId, ExecutionId, Instance, Role, TaskId, TaskKey};
use crate::domain::policy::{Placement, Pool};
use crate::domain::protocol;
use crate::domain::task::{Assigned, Task, TaskState};
use crate::registry::{Claim, RegistryError};
use crate::workspace::SlotPool;

/// The one pool of this version: every spirit may use every slot.
const POOL: &str = "default";
/// How often a change of state is tried again because somebody else changed the task in between.
const MAX_CONFLICTS: u32 = 100;

/// Something that was started and has ended.
enum Ended {
    Attempt(Box<EndedAttempt>),
    Integration(Box<Candidate>, Result<Integrated, ServiceError>),
    /// It is told already what became of it.
    Push,
}

struct EndedAttempt {
    task: Task,
    instance: Instance,
    /// With the commit that it started from.
    result: Result<(Ran, CommitId), ServiceError>,
}

/// One run's dispatcher.
pub(crate) struct Dispatcher {
    shop: Arc<Workshop>,
    pool: SlotPool,
    team: Vec<Spirit>,
    max_parallel: u32,
    /// Asks everything that runs to stop.
    stop: watch::Sender<bool>,
    running: BTreeMap<TaskKey, Instance>,
    /// Tasks whose attempts were cut off, and go on as soon as there is room.
    cut_off: VecDeque<Task>,
    queue: VecDeque<Candidate>,
    integrating: bool,
    jobs: JoinSet<Ended>,
    trouble: Option<ServiceError>,
}

impl Dispatcher {
    /// A dispatcher over a pool that has one slot more than `max_parallel`, for integration.
    pub(crate) fn new(
        shop: Arc<Workshop>,
        pool: SlotPool,
        team: Vec<Spirit>,
        max_parallel: u32,
        stop: watch::Sender<bool>,
    ) -> Self {
        Self {
            shop,
            pool,
            team,
            max_parallel,
            stop,
            running: BTreeMap::new(),
            cut_off: VecDeque::new(),
            queue: VecDeque::new(),
            integrating: false,
            jobs: JoinSet::new(),
            trouble: None,
        }
    }

    /// Works until nothing is left to do, nothing can be done, or a stop was asked for.
    pub(crate) async fn run(mut self) -> Result<RunOutcome, ServiceError> {
        let mut told = false;
        self.cut_off = self.tasks().await?.into_iter().filter(|task| task.state == TaskState::Running).collect();
        loop {
            // Trouble of the host's own is told by its error; only a person can interrupt again.
            if self.shop.stopping() && self.trouble.is_none() && !told {
                told = true;
                self.shop.tell(&Progress::Stopping);
            }
            if let Err(error) = self.round().await {
                self.fail(error);
            }
            let tasks = self.tasks().await?;
            let wanted = dispatch::wanted(&tasks, self.shop.config.run.optional_tasks);
            let active = self.jobs.len() + self.queue.len() + self.cut_off.len();
            if let Some(outcome) = dispatch::run_outcome(&tasks, &wanted, active, self.shop.stopping()) {
                return self.trouble.map_or(Ok(outcome), Err);
            }
            let stopping = self.shop.stopping();
            if active == 0 && !stopping {
                self.fail(ServiceError::Usage(format!(
                    "tasks are ready, but nobody of the team ({}) takes them; see [team] in {}",
                    self.team.iter().map(|spirit| spirit.instance.as_str()).collect::<Vec<_>>().join(", "),
                    crate::config::FILE_NAME
                )));
                continue;
            }
            tokio::select! {
                ended = self.jobs.join_next(), if !self.jobs.is_empty() => {
                    let handled = match ended {
                        Some(Ok(ended)) => self.ended(ended).await,
                        Some(Err(error)) => Err(ServiceError::Internal(format!("a part of the run failed: {error}"))),
                        None => Ok(()),
                    };
                    if let Err(error) = handled {
                        self.fail(error);
                    }
                }
                () = stopped(self.shop.stop.clone()), if !stopping => {}
            }
        }
    }

    /// Trouble of the host's own: nothing more is started, what runs is stopped and recorded.
    fn fail(&mut self, error: ServiceError) {
        tracing::error!("{}", chain(&error));
        self.trouble.get_or_insert(error);
        self.stop.send_replace(true);
    }

    async fn tasks(&self) -> Result<Vec<Task>, ServiceError> {
        let spec = self.shop.spec.clone();
        Ok(self.shop.registry.read(move |reader| reader.tasks(&spec)).await?)
    }

    /// Starts what can be started.
    async fn round(&mut self) -> Result<(), ServiceError> {
        if self.shop.stopping() {
            // What they are is on record: they go on with the run.
            self.queue.clear();
            self.cut_off.clear();
            return Ok(());
        }
        while self.running.len() < self.max_parallel as usize {
            let Some(task) = self.cut_off.pop_front() else { break };
            self.go_on(task).await?;
        }
        self.next_integration().await?;
        let tasks = self.tasks().await?;
        for key in dispatch::finished_containers(&tasks) {
            self.complete_container(&key).await?;
        }
        let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        if running >= self.max_parallel {
            return Ok(());
        }
        let wanted: HashSet<TaskId> = dispatch::wanted(&tasks, self.shop.config.run.optional_tasks);
        let weights = Graph::new(&tasks).map_err(|problems| ServiceError::Internal(problems.to_string()))?.weights();
        let open = tasks.iter().filter(|task| wanted.contains(&task.key.task));
        let ready = dispatch::ready_tasks(open, &weights, self.shop.clock.now());
        if ready.is_empty() {
            return Ok(());
        }
        let pools = vec![Pool { name: POOL.to_owned(), capacity: self.max_parallel, running, skills: Vec::new() }];
        let (mut placements, scheduling) = policies::schedule(&self.shop, &ready, &pools).await?;
        if self.shop.stopping() {
            // What stood in for a policy that was stopped starts nothing.
            return Ok(());
        }
        if placements.is_empty() && self.jobs.is_empty() && self.queue.is_empty() {
            let text = "the scheduling policy starts nothing although nothing runs; the built-in rule decides instead";
            self.shop.tell(&Progress::Warning { text: text.to_owned() });
            placements = dispatch::fallback_plan(&ready, &pools);
        }
        for placement in placements {
            self.start(&placement, &tasks, scheduling.as_ref()).await?;
        }
        Ok(())
    }

    async fn complete_container(&self, key: &TaskKey) -> Result<(), ServiceError> {
        let body = Body::TaskCompleted { commit: None, reason: "all sub-tasks are done".to_owned() };
        self.change(key, None, |task| (task.state != TaskState::Done).then(|| body.clone())).await?;
        Ok(())
    }

    /// Changes a task's state as `wanted` says of the task as it is; nothing when it wants nothing. A person
    /// may set the task's attributes, or sync its file, at the same moment: then it is looked at again.
    async fn change(
        &self,
        key: &TaskKey,
        attempt: Option<u32>,
        wanted: impl Fn(&Task) -> Option<Body>,
    ) -> Result<Option<Task>, ServiceError> {
        let mut tries = 0;
        loop {
            let task = self.task(key).await?;
            let Some(body) = wanted(&task) else { return Ok(None) };
            match self.shop.registry.transition(&self.shop.run, key, task.version, attempt, body).await {
                Err(RegistryError::Conflict { .. }) if tries < MAX_CONFLICTS => tries += 1,
                changed => return Ok(Some(changed?)),
            }
        }
    }

    /// Routes, claims and starts one attempt.
    async fn start(
        &mut self,
        placement: &Placement,
        tasks: &[Task],
        scheduling: Option<&ExecutionId>,
    ) -> Result<(), ServiceError> {
        let Some(task) = tasks.iter().find(|task| task.key.task == placement.task) else { return Ok(()) };
        let attempt = AttemptKey { key: task.key.clone(), attempt: task.attempts + 1 };
        let last: HashMap<Instance, u64> =
            self.shop.registry.read(|reader| Ok(reader.last_assigned()?.into_iter().collect())).await?;
        let price = |_: &Role| self.shop.gateway.routes().get("default")?.price.map(|price| price.output_microusd);
        let set = self.shop.plugins.now();
        let candidates = dispatch::candidates(&team(&self.team, &set), self.running.values(), &last, 1, &price);
        let issue = dispatch::issue_of(task);
        let Some((decision, routing)) =
            policies::route(&self.shop.scene(), &set.routing, Some(&attempt), &issue, &candidates).await?
        else {
            return Ok(());
        };
        if self.shop.stopping() || dispatch::is_busy(&decision.instance, &candidates) {
            return Ok(());
        }
        let instance = decision.instance.clone();
        let branch = self.branch_of(task, &instance).await?;
        // Before a slot is filled and a model is asked.
        self.shop.mirror.check_task_branch(&branch, &task.key).await?;
        let lent = slots::lend(&self.shop, &self.pool, &attempt).await?;
        let claim = Claim {
            run: Some(self.shop.run.clone()),
            key: task.key.clone(),
            expected_version: task.version,
            assigned: Assigned {
                instance: instance.clone(),
                slot: lent.slot.id().clone(),
                branch: branch.clone(),
                runner: lent.holder.clone(),
            },
            reason: decision.reason.clone(),
            scheduling: scheduling.cloned(),
            routing,
        };
        match self.shop.registry.claim(claim).await {
            Ok(claimed) => {
                self.shop.tell(&Progress::AttemptStarted {
                    attempt: attempt.clone(),
                    kind: WorkKind::Implement,
                    title: task.definition.title.clone(),
                    instance: instance.clone(),
                    reason: decision.reason,
                });
                self.running.insert(claimed.key.clone(), instance.clone());
                self.spawn_attempt(claimed, instance, branch, lent, None);
                Ok(())
            }
            // Somebody else was quicker: the next round sees what is true now.
            Err(RegistryError::Conflict { .. } | RegistryError::IllegalTransition { .. }) => {
                slots::give_back(&self.shop, lent).await
            }
            Err(error) => {
                slots::give_back(&self.shop, lent).await?;
                Err(error.into())
            }
        }
    }

    /// The task's branch: fixed when it is claimed first.
    async fn branch_of(&self, task: &Task, instance: &Instance) -> Result<String, ServiceError> {
        let key = task.key.clone();
        let attempts = self.shop.registry.read(move |reader| reader.attempts(&key)).await?;
        if let Some(branch) = attempts.into_iter().map(|attempt| attempt.branch).find(|branch| !branch.is_empty()) {
            return Ok(branch);
        }
        let role = instance.role();
        let live = self.team.iter().filter(|spirit| spirit.instance.role() == role).count();
        Ok(protocol::task_branch(&task.key, &task.definition.title, instance, live))
    }

    /// Goes on with an attempt that was cut off.
    async fn go_on(&mut self, task: Task) -> Result<(), ServiceError> {
        let attempt = resume::running_attempt(&task);
        let Some(Assigned { instance, slot, branch, .. }) = task.assigned.clone() else {
            return self.settle(&task.key, task.attempts, AttemptEnd::Interrupted).await;
        };
        let recorded = match resume::place_of(&self.shop, &task).await? {
            Place::Start => None,
            Place::Spirit(recorded) => Some(*recorded),
            Place::Integration(candidate) => {
                self.push(&task, &candidate.commit);
                self.running.insert(task.key, instance);
                self.queue.push_back(*candidate);
                return Ok(());
            }
            Place::Merged(commit) => return self.merged(&attempt, commit).await,
            Place::Ended(end) => return self.settle(&task.key, task.attempts, end).await,
            Place::Lost(record, reason) => {
                self.shop.tell(&Progress::Warning { text: format!("{attempt} begins anew: {reason}") });
                reclaim::end_attempt(&self.shop, *record, &reason).await?;
                return self.settle(&task.key, task.attempts, AttemptEnd::Interrupted).await;
            }
        };
        let lent = slots::lend_again(&self.shop, &self.pool, &attempt, &slot).await?;
        self.shop.tell(&Progress::AttemptStarted {
            attempt,
            kind: WorkKind::Implement,
            title: task.definition.title.clone(),
            instance: instance.clone(),
            reason: "goes on where it was cut off".to_owned(),
        });
        self.running.insert(task.key.clone(), instance.clone());
        self.spawn_attempt(task, instance, branch, lent, recorded);
        Ok(())
    }

    fn spawn_attempt(
        &mut self,
        task: Task,
        instance: Instance,
        branch: String,
        lent: LentSlot,
        recorded: Option<Recorded>,
    ) {
        let shop = Arc::clone(&self.shop);
        self.jobs.spawn(async move {
            let attempt = resume::running_attempt(&task);
            let worked = async {
                let (base, assignment, record) = match recorded {
                    Some(Recorded { base, assignment, record }) => (base, assignment, Some(record)),
                    None => {
                        let tip = assignment::tip(&shop).await?;
                        (tip, assignment::for_task(&shop, &task, &attempt, &instance).await?, None)
                    }
                };
                let work = Work {
                    attempt,
                    instance: instance.clone(),
                    runner: lent.holder.clone(),
                    slot: Arc::clone(&lent.slot),
                    branch: Some(branch),
                    base: base.clone(),
                    assignment,
                    record,
                };
                Ok((runner::attempt(&shop, work).await, base))
            }
            .await;
            let (ran, base) = match worked {
                Ok((ran, base)) => (ran, Some(base)),
                Err(error) => (Err(error), None),
            };
            let returned = slots::hand_back(&shop, lent, &ran).await;
            let result = match (ran, base, returned) {
                (Ok(ran), Some(base), Ok(())) => Ok((ran, base)),
                (Err(error), ..) | (Ok(_), _, Err(error)) => Err(error),
                (Ok(_), None, Ok(())) => Err(ServiceError::Internal("an attempt ran without a base".to_owned())),
            };
            Ended::Attempt(Box::new(EndedAttempt { task, instance, result }))
        });
    }

    /// Takes the next gated commit off the queue; one is integrated at a time.
    async fn next_integration(&mut self) -> Result<(), ServiceError> {
        if self.integrating {
            return Ok(());
        }
        let Some(candidate) = self.queue.pop_front() else { return Ok(()) };
        let lent = slots::lend(&self.shop, &self.pool, &candidate.attempt).await?;
        self.integrating = true;
        let shop = Arc::clone(&self.shop);
        self.jobs.spawn(async move {
            let merged = integration::integrate(&shop, &lent.slot, &candidate).await;
            if let Ok(Integrated::Merged(_)) = &merged {
                lent.keep_caches(&shop).await;
            }
            let returned = slots::give_back(&shop, lent).await;
            let result = merged.and_then(|merged| returned.map(|()| merged));
            Ended::Integration(Box::new(candidate), result)
        });
        Ok(())
    }

    async fn ended(&mut self, ended: Ended) -> Result<(), ServiceError> {
        match ended {
            Ended::Attempt(ended) => self.attempted(*ended).await,
            Ended::Push => Ok(()),
            Ended::Integration(candidate, result) => {
                self.integrating = false;
                self.running.remove(&candidate.attempt.key);
                self.integrated(*candidate, result).await
            }
        }
    }

    /// A gated commit is queued, and its spirit stays on the task until it is merged; everything else
    /// ends the attempt here.
    async fn attempted(&mut self, ended: EndedAttempt) -> Result<(), ServiceError> {
        let EndedAttempt { task, instance, result } = ended;
        // An attempt that was suspended, or met trouble of the host's, has no end: it goes on with the run.
        let (mut attempted, base) = match result {
            Ok((Ran::Ended(attempted), base)) => (*attempted, base),
            Ok((Ran::Suspended, _)) => {
                self.running.remove(&task.key);
                return Ok(());
            }
            Err(error) => {
                self.running.remove(&task.key);
                return Err(error);
            }
        };
        let trouble = attempted.trouble.take();
        let end = match (attempted.outcome, attempted.commit) {
            (Outcome::Success, Some(commit)) => {
                self.push(&task, &commit);
                self.queue.push_back(Candidate {
                    attempt: resume::running_attempt(&task),
                    instance,
                    commit,
                    base,
                    scope: attempted.scope,
                    spell: attempted.spell,
                });
                return Ok(());
            }
            (Outcome::Interrupted, _) => AttemptEnd::Interrupted,
            _ => AttemptEnd::Failed { reason: attempted.reason.unwrap_or_default() },
        };
        self.running.remove(&task.key);
        self.settle(&task.key, task.attempts, end).await?;
        trouble.map_or(Ok(()), Err)
    }

    /// Pushes a gated commit beside everything else, when that is asked for.
    fn push(&mut self, task: &Task, commit: &CommitId) {
        let Some(branch) = task.assigned.as_ref().map(|assigned| assigned.branch.clone()) else { return };
        if let Some(job) = push::job(&self.shop, resume::running_attempt(task), branch, commit.clone()) {
            self.jobs.spawn(async move {
                job.await;
                Ended::Push
            });
        }
    }

    async fn integrated(
        &mut self,
        candidate: Candidate,
        result: Result<Integrated, ServiceError>,
    ) -> Result<(), ServiceError> {
        let AttemptKey { key, attempt } = &candidate.attempt;
        match result? {
            Integrated::Merged(commit) => self.merged(&candidate.attempt, commit).await,
            Integrated::Returned(reason) => self.settle(key, *attempt, AttemptEnd::Failed { reason }).await,
            // It goes on with the run.
            Integrated::Stopped => Ok(()),
        }
    }

    /// Writes down that an attempt's commit is on the spec branch.
    async fn merged(&self, attempt: &AttemptKey, commit: CommitId) -> Result<(), ServiceError> {
        let body = Body::TaskCompleted { commit: Some(commit.clone()), reason: "merged".to_owned() };
        let merged = self.change(&attempt.key, Some(attempt.attempt), |_| Some(body.clone())).await?;
        let Some(task) = merged else { return Ok(()) };
        let TaskCounts { done, total, .. } = TaskCounts::of(&self.tasks().await?);
        self.shop.tell(&Progress::Merged {
            task: attempt.key.task.clone(),
            title: task.definition.title,
            commit: commit.to_string(),
            done,
            total,
        });
        Ok(())
    }

    async fn task(&self, key: &TaskKey) -> Result<Task, ServiceError> {
        let wanted = key.clone();
        let task = self.shop.registry.read(move |reader| reader.task(&wanted)).await?;
        task.ok_or_else(|| ServiceError::Internal(format!("the task {key} is gone")))
    }

    /// Writes down what comes after an attempt that was not merged.
    async fn settle(&mut self, key: &TaskKey, number: u32, end: AttemptEnd) -> Result<(), ServiceError> {
        let task = self.task(key).await?;
        if task.state != TaskState::Running {
            return Ok(());
        }
        let wanted = key.clone();
        let attempts = self.shop.registry.read(move |reader| reader.attempts(&wanted)).await?;
        let failed_before = attempts
            .iter()
            .filter(|attempt| attempt.key.attempt < number && attempt.run.as_ref() == Some(&self.shop.run))
            // One without an end was cut off with its process: that is nobody's failure.
            .filter(|attempt| matches!(attempt.outcome, Some(Outcome::Failed | Outcome::Success)))
            .count();
        let failed_before = u32::try_from(failed_before).unwrap_or(u32::MAX);
        let body = match dispatch::after_attempt(failed_before, end, self.shop.max_attempts) {
            NextStep::Integrate => return Ok(()),
            NextStep::Retry { reason } => Body::TaskReady { from: TaskState::Running, last_failure: Some(reason) },
            NextStep::Release => Body::TaskReady { from: TaskState::Running, last_failure: task.last_failure.clone() },
            NextStep::Fail { reason } => {
                self.shop.tell(&Progress::Failed {
                    task: key.task.clone(),
                    title: task.definition.title.clone(),
                    reason: reason.clone(),
                });
                Body::TaskFailed { reason }
            }
        };
        let running = |task: &Task| task.state == TaskState::Running && task.attempts == number;
        self.change(key, Some(number), |task| running(task).then(|| body.clone())).await?;
        Ok(())
    }
}

/// The team with the skills that its spirits have now: another component may have others.
fn team(team: &[Spirit], set: &PluginSet) -> Vec<Spirit> {
    let skills = |spirit: &Spirit| set.spirits.get(&spirit.instance.role()).map(|(_, info)| info.skills.clone());
    team.iter()
        .map(|spirit| Spirit {
            instance: spirit.instance.clone(),
            skills: skills(spirit).unwrap_or_else(|| spirit.skills.clone()),
        })
        .collect()
}
