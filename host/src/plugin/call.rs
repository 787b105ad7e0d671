//! Executions: one call of a plugin in a fresh store, under its limits, with what it used measured and
//! its end named.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};
use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use super::PluginKind;
use super::capability::{Capabilities, Journal, Unrecorded};
use super::convert;
use super::error::{ExecutionError, InvalidOutput, LoadError};
use super::host::Guest;
use super::limits::{GuestUsage, Limit, Limits, Meter, Stop};
use super::load::{Plugin, World, one_line};
use super::wasi::Seed;
use crate::domain::assignment::{Assignment, Report, RoleInfo};
use crate::domain::call::Failure;
use crate::domain::grant::Grant;
use crate::domain::id::ExecutionId;
use crate::domain::policy::{Candidate, Decision, Issue, MAX_STATE_BYTES, Plan, Pool, ReadyTask};
use crate::domain::review::{Change, Finding, HeuristicInfo};

/// Handles to host resources that a guest may hold at once.
const MAX_HANDLES: usize = 10_000;
/// A text for people in a result may have at most this many bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// A title may have at most this many bytes.
const MAX_TITLE_BYTES: usize = 4 * 1024;
/// Entries of a list in a result.
const MAX_ENTRIES: usize = 10_000;
/// Functions in a backtrace.
const MAX_FRAMES: usize = 20;

/// What one execution runs with.
#[derive(Clone)]
pub struct ExecutionContext {
    /// Its id; a spirit's randomness is a function of it.
    pub id: ExecutionId,
    /// What there is to be had.
    pub capabilities: Capabilities,
    /// What of it the component may have.
    pub grant: Arc<Grant>,
    /// Where its calls are recorded.
    pub journal: Arc<dyn Journal>,
    /// What it may use.
    pub limits: Limits,
    /// Where a spirit's or heuristic's clocks start. Policies have none.
    pub time: jiff::Timestamp,
    /// Becomes true, or is dropped while false without effect, to cancel it.
    pub cancel: watch::Receiver<bool>,
}

impl ExecutionContext {
    /// One in which nothing is granted, reached or recorded, at the beginning of time.
    #[must_use]
    pub fn apart(id: ExecutionId, limits: Limits) -> Self {
        let (_, cancel) = watch::channel(false);
        Self {
            id,
            capabilities: Capabilities::default(),
            grant: Arc::default(),
            journal: Arc::new(Unrecorded),
            limits,
            time: jiff::Timestamp::UNIX_EPOCH,
            cancel,
        }
    }
}

/// How an execution ended.
#[derive(Debug)]
pub struct Ended<T> {
    /// Its result, or why there is none.
    pub result: Result<T, ExecutionError>,
    /// What it used.
    pub usage: GuestUsage,
}

impl Plugin {
    /// Who the spirit is. Nothing is granted, nothing is recorded.
    pub async fn describe_role(&self) -> Ended<RoleInfo> {
        let World::Spirit(pre) = &self.world else { return self.wrong_kind("describe") };
        let (run, mut store) = Run::begin(self, Run::ungranted(self));
        let call = async {
            let world = pre.instantiate_async(&mut store).await?;
            world.necro_plugin_role().call_describe(&mut store).await
        };
        let ended = run.drive(call).await;
        run.finish(&store, ended, |info| {
            texts(info.skills.iter().chain([&info.title]))?;
            convert::role_info(info)
        })
    }

    /// What a spirit or a heuristic says of itself; null of a policy, which says nothing.
    pub async fn describe(&self) -> Ended<Value> {
        fn in_json<T: Serialize>(Ended { result, usage }: Ended<T>) -> Ended<Value> {
            Ended { result: result.map(|said| serde_json::to_value(said).unwrap_or_default()), usage }
        }
        match self.kind {
            PluginKind::Spirit => in_json(self.describe_role().await),
            PluginKind::Review => in_json(self.describe_heuristic().await),
            PluginKind::Routing | PluginKind::Scheduling => {
                Ended { result: Ok(Value::Null), usage: GuestUsage::default() }
            }
        }
    }

    /// Does an assignment.
    pub async fn perform(&self, context: ExecutionContext, assignment: Assignment, settings: &str) -> Ended<Report> {
        let World::Spirit(pre) = &self.world else { return self.wrong_kind("perform") };
        let assignment = convert::assignment(assignment);
        let (run, mut store) = Run::begin(self, context);
        let call = async {
            let world = pre.instantiate_async(&mut store).await?;
            world.necro_plugin_role().call_perform(&mut store, &assignment, settings).await
        };
        let ended = run.drive(call).await;
        run.finish_fallible(&store, ended, |report| {
            title("title", &report.title)?;
            texts([&report.summary])?;
            Ok(convert::report(report))
        })
    }

    /// Orders ready tasks.
    pub async fn order(
        &self,
        context: ExecutionContext,
        ready: &[ReadyTask],
        pools: &[Pool],
        settings: &str,
        state: &str,
    ) -> Ended<Plan> {
        let World::Scheduling(pre) = &self.world else { return self.wrong_kind("order") };
        let ready: Vec<_> = ready.iter().cloned().map(convert::ready_task).collect();
        let pools: Vec<_> = pools.iter().cloned().map(convert::pool).collect();
        let (run, mut store) = Run::begin(self, context);
        let call = async {
            let world = pre.instantiate_async(&mut store).await?;
            world.necro_plugin_scheduling().call_order(&mut store, &ready, &pools, settings, state).await
        };
        let ended = run.drive(call).await;
        run.finish_fallible(&store, ended, |plan| {
            check_state(&plan.state)?;
            entries("placements", plan.placements.len())?;
            convert::plan(plan)
        })
    }

    /// Picks the instance for an issue.
    pub async fn route(
        &self,
        context: ExecutionContext,
        issue: &Issue,
        candidates: &[Candidate],
        settings: &str,
        state: &str,
    ) -> Ended<Decision> {
        let World::Routing(pre) = &self.world else { return self.wrong_kind("route") };
        let issue = convert::issue(issue.clone());
        let candidates: Vec<_> = candidates.iter().cloned().map(convert::candidate).collect();
        let (run, mut store) = Run::begin(self, context);
        let call = async {
            let world = pre.instantiate_async(&mut store).await?;
            world.necro_plugin_routing().call_route(&mut store, &issue, &candidates, settings, state).await
        };
        let ended = run.drive(call).await;
        run.finish_fallible(&store, ended, |decision| {
            check_state(&decision.state)?;
            texts([&decision.reason])?;
            entries("scores", decision.scores.len())?;
            if let Some(score) = decision.scores.iter().find(|score| !score.points.is_finite()) {
                return Err(InvalidOutput(format!("the score of `{}` is {}", score.role, score.points)));
            }
            convert::decision(decision)
        })
    }

    /// Which heuristic this is. Nothing is granted, nothing is recorded.
    pub async fn describe_heuristic(&self) -> Ended<HeuristicInfo> {
        let World::Review(pre) = &self.world else { return self.wrong_kind("describe") };
        let (run, mut store) = Run::begin(self, Run::ungranted(self));
        let call = async {
            let world = pre.instantiate_async(&mut store).await?;
            world.necro_plugin_review().call_describe(&mut store).await
        };
        let ended = run.drive(call).await;
        run.finish(&store, ended, |info| {
            entries("rules", info.rules.len())?;
            Ok(convert::heuristic_info(info))
        })
    }

    /// Judges a change.
    pub async fn review(&self, context: ExecutionContext, change: &Change, settings: &str) -> Ended<Vec<Finding>> {
        let World::Review(pre) = &self.world else { return self.wrong_kind("review") };
        let change = convert::change(change.clone());
        let (run, mut store) = Run::begin(self, context);
        let call = async {
            let world = pre.instantiate_async(&mut store).await?;
            world.necro_plugin_review().call_review(&mut store, &change, settings).await
        };
        let ended = run.drive(call).await;
        run.finish_fallible(&store, ended, |findings| {
            entries("findings", findings.len())?;
            texts(findings.iter().flat_map(|f| [&f.rule, &f.message].into_iter().chain(&f.file)))?;
            Ok(findings.into_iter().map(convert::finding).collect())
        })
    }

    fn wrong_kind<T>(&self, function: &'static str) -> Ended<T> {
        let error = ExecutionError::WrongKind { plugin: self.name.clone(), found: self.kind, function };
        Ended { result: Err(error), usage: GuestUsage::default() }
    }
}

/// Instantiates a plugin once, with nothing granted: changed records and a start that traps show only then.
pub(super) async fn trial(plugin: &Plugin) -> Result<(), LoadError> {
    let (run, mut store) = Run::begin(plugin, Run::ungranted(plugin));
    let ended = match &plugin.world {
        World::Spirit(pre) => run.drive(async { pre.instantiate_async(&mut store).await.map(drop) }).await,
        World::Scheduling(pre) => run.drive(async { pre.instantiate_async(&mut store).await.map(drop) }).await,
        World::Routing(pre) => run.drive(async { pre.instantiate_async(&mut store).await.map(drop) }).await,
        World::Review(pre) => run.drive(async { pre.instantiate_async(&mut store).await.map(drop) }).await,
    };
    let reason = match ended {
        Ok(()) => return Ok(()),
        // The words of the linker say more about a changed record than the name of a trap.
        Err(End::Guest(error)) if error.downcast_ref::<Trap>().is_none() && error.downcast_ref::<Stop>().is_none() => {
            one_line(&error)
        }
        Err(end) => run.explain(&store, end).to_string(),
    };
    Err(LoadError::Instantiate { plugin: plugin.name.clone(), reason })
}

/// One execution under way.
struct Run<'a> {
    plugin: &'a Plugin,
    limits: Limits,
    cancel: watch::Receiver<bool>,
    meter: Meter,
    fuel: u64,
    /// One of the engine's instances; held until after the store is gone, because that has its memory.
    permit: OnceLock<OwnedSemaphorePermit>,
}

/// Why a call has no result.
enum End {
    Guest(wasmtime::Error),
    Wall,
    Cancelled,
}

impl<'a> Run<'a> {
    /// A context in which nothing is granted or recorded, and nothing is known but the plugin.
    fn ungranted(plugin: &Plugin) -> ExecutionContext {
        let id = ExecutionId::new("describe").expect("a plain word is an id");
        ExecutionContext::apart(id, Limits::for_kind(plugin.kind))
    }

    fn begin(plugin: &'a Plugin, context: ExecutionContext) -> (Self, Store<Guest>) {
        let ExecutionContext { id, capabilities, grant, journal, mut limits, time, cancel } = context;
        let inner = &plugin.engine.0;
        limits.memory_bytes = limits.memory_bytes.min(inner.max_memory_bytes as u64);
        let guest = Guest::new(&seed(plugin.kind, &id, time), (capabilities, grant), &plugin.name, journal, &limits);
        let mut store = Store::new(&inner.wasmtime, guest);
        let fuel = limits.fuel.unwrap_or(u64::MAX);
        store.set_fuel(fuel).expect("the engine is set to count fuel");
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.host_call_bytes).unwrap_or(usize::MAX));
        store.set_max_component_handles(MAX_HANDLES);
        let meter = Meter::default();
        let clock = meter.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if clock.used() > limits.guest_time {
                return Err(Stop::Limit(Limit::GuestTime).into());
            }
            // Every tick lets the executor do other work, cancel or run out of wall time.
            Ok(UpdateDeadline::Yield(1))
        });
        (Self { plugin, limits, cancel, meter, fuel, permit: OnceLock::new() }, store)
    }

    /// Runs a call to its end, its wall limit or its cancellation, within the bound on instances.
    async fn drive<T>(&self, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, End> {
        let mut cancel = self.cancel.clone();
        let cancelled = async move {
            if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
                // Nobody is left who could cancel.
                std::future::pending::<()>().await;
            }
        };
        let instances = Arc::clone(&self.plugin.engine.0.instances);
        let work = async {
            let permit = instances.acquire_owned().await.expect("the engine never closes its semaphore");
            // Set once: a run drives one call.
            let _ = self.permit.set(permit);
            self.meter.measure(call).await
        };
        tokio::select! {
            biased;
            () = cancelled => Err(End::Cancelled),
            result = work => result.map_err(End::Guest),
            () = tokio::time::sleep(self.limits.wall) => Err(End::Wall),
        }
    }

    fn finish<W, T>(
        &self,
        store: &Store<Guest>,
        ended: Result<W, End>,
        convert: impl FnOnce(W) -> Result<T, InvalidOutput>,
    ) -> Ended<T> {
        let result = match ended {
            Ok(value) => convert(value).map_err(|invalid| self.invalid(invalid)),
            Err(end) => Err(self.explain(store, end)),
        };
        // Unfinished lines of a guest that ended well belong to the log, too.
        store.data().inert.finish();
        Ended { result, usage: self.usage(store) }
    }

    fn finish_fallible<W, T>(
        &self,
        store: &Store<Guest>,
        ended: Result<Result<W, super::bindings::imports::necro::plugin::types::Failure>, End>,
        convert: impl FnOnce(W) -> Result<T, InvalidOutput>,
    ) -> Ended<T> {
        match ended {
            Ok(Err(failure)) => {
                let failure = convert::failure(failure);
                self.finish(store, Ok(()), |()| Ok(())).and_then(Err(self.failure(failure)))
            }
            Ok(Ok(value)) => self.finish(store, Ok(value), convert),
            Err(end) => self.finish(store, Err(end), convert),
        }
    }

    fn usage(&self, store: &Store<Guest>) -> GuestUsage {
        let guest = store.data();
        GuestUsage {
            fuel: self.fuel.saturating_sub(store.get_fuel().unwrap_or(self.fuel)),
            guest_time: self.meter.used(),
            peak_memory_bytes: guest.limiter.peak_memory,
            host_calls: guest.calls,
        }
    }

    fn failure(&self, failure: Failure) -> ExecutionError {
        ExecutionError::Failure { kind: self.plugin.kind, plugin: self.plugin.name.clone(), failure }
    }

    fn invalid(&self, InvalidOutput(reason): InvalidOutput) -> ExecutionError {
        ExecutionError::InvalidOutput { kind: self.plugin.kind, plugin: self.plugin.name.clone(), reason }
    }

    fn exceeded(&self, limit: Limit) -> ExecutionError {
        ExecutionError::LimitExceeded {
            kind: self.plugin.kind,
            plugin: self.plugin.name.clone(),
            limit,
            allowed: limit.value(&self.limits),
        }
    }

    /// Names the end of a call without a result.
    fn explain(&self, store: &Store<Guest>, end: End) -> ExecutionError {
        let (kind, plugin) = (self.plugin.kind, self.plugin.name.clone());
        let error = match end {
            End::Wall => return self.exceeded(Limit::Wall),
            End::Cancelled => return ExecutionError::Cancelled { kind, plugin },
            End::Guest(error) => error,
        };
        match error.downcast_ref::<Stop>() {
            Some(Stop::Limit(limit)) => return self.exceeded(*limit),
            Some(Stop::Journal(source)) => return ExecutionError::Journal { kind, plugin, source: source.clone() },
            None => {}
        }
        let trap = error.downcast_ref::<Trap>().copied();
        if trap == Some(Trap::OutOfFuel) {
            return self.exceeded(Limit::Fuel);
        }
        // wasmtime has no type for this one.
        if error.chain().any(|cause| cause.to_string().contains("too much data is being copied")) {
            return self.exceeded(Limit::HostCallBytes);
        }
        let cause = trap.map_or_else(|| error.root_cause().to_string(), |trap| trap.to_string());
        let last_words = store.data().inert.finish();
        let message = if last_words.is_empty() { cause } else { format!("{cause}; its last words: {last_words}") };
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames);
        ExecutionError::Trapped { kind, plugin, message, backtrace, replayable: trap != Some(Trap::StackOverflow) }
    }
}

impl<T> Ended<T> {
    /// Keeps what was used, with another result.
    fn and_then<U>(self, result: Result<U, ExecutionError>) -> Ended<U> {
        Ended { result, usage: self.usage }
    }
}

fn frames(backtrace: &WasmBacktrace) -> String {
    let names = backtrace.frames().iter().take(MAX_FRAMES).map(|frame| {
        let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), ToOwned::to_owned);
        name.chars().take(200).collect::<String>()
    });
    names.collect::<Vec<_>>().join("\n")
}

/// Policies are functions of their inputs alone: no time, and always the same randomness.
fn seed(kind: PluginKind, id: &ExecutionId, time: jiff::Timestamp) -> Seed {
    use sha2::{Digest as _, Sha256};
    match kind {
        PluginKind::Scheduling | PluginKind::Routing => Seed { time: jiff::Timestamp::UNIX_EPOCH, random: [0; 32] },
        PluginKind::Spirit | PluginKind::Review => Seed { time, random: Sha256::digest(id.as_str()).into() },
    }
}

fn check_state(state: &str) -> Result<(), InvalidOutput> {
    if state.len() > MAX_STATE_BYTES {
        return Err(InvalidOutput(format!("its state has {} bytes, {MAX_STATE_BYTES} are allowed", state.len())));
    }
    Ok(())
}

fn entries(what: &str, count: usize) -> Result<(), InvalidOutput> {
    if count > MAX_ENTRIES {
        return Err(InvalidOutput(format!("{count} {what}, {MAX_ENTRIES} are allowed")));
    }
    Ok(())
}

fn title(what: &str, text: &str) -> Result<(), InvalidOutput> {
    if text.len() > MAX_TITLE_BYTES {
        return Err(InvalidOutput(format!("a {what} of {} bytes, {MAX_TITLE_BYTES} are allowed", text.len())));
    }
    Ok(())
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<(), InvalidOutput> {
    match texts.into_iter().find(|text| text.len() > MAX_TEXT_BYTES) {
        Some(text) => Err(InvalidOutput(format!("a text of {} bytes, {MAX_TEXT_BYTES} are allowed", text.len()))),
        None => Ok(()),
    }
}
