//! The one way to a model: alias to back end, budget before the call, retries, bill after it, and
//! failures in words that a spirit can act on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::backend::{Backend, BackendCall, CallPosition, LlmError, Spent};
use super::estimate;
use super::retry::{self, Decision};
use crate::domain::budget::{Amount, Budget, Exceeded, Reservation};
use crate::domain::call::{Cost, HostError, Refused};
use crate::domain::id::{Role, TaskId};
use crate::domain::llm::{Completion, Request, Usage};
use crate::failpoint::{self, Side};

/// How long a call waits for its turn among the concurrent ones.
pub const MAX_QUEUE_WAIT: Duration = Duration::from_secs(900);
/// Tokens that a price is for.
const PRICED_TOKENS: u128 = 1_000_000;

/// What a million tokens cost, in millionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Tokens sent.
    pub input_microusd: u64,
    /// Tokens sent that the provider had in its cache.
    pub cached_input_microusd: u64,
    /// Tokens received.
    pub output_microusd: u64,
}

impl Price {
    /// What this usage costs, in millionths of a US dollar, rounded up.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> u64 {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let parts = [
            (usage.input_tokens - cached, self.input_microusd),
            (cached, self.cached_input_microusd),
            (usage.output_tokens, self.output_microusd),
        ];
        let sum: u128 = parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
        u64::try_from(sum.div_ceil(PRICED_TOKENS)).unwrap_or(u64::MAX)
    }
}

/// What an alias leads to.
#[derive(Clone)]
pub struct Route {
    /// Who answers.
    pub backend: Arc<dyn Backend>,
    /// The back end's name for the model.
    pub model: String,
    /// What it costs; absent: unknown, which a money budget does not accept.
    pub price: Option<Price>,
    /// Limit on an answer's tokens.
    pub max_output_tokens: u32,
}

/// A budget that several sessions spend from.
pub type SharedBudget = Arc<Mutex<Budget>>;

/// All configured models.
pub struct Gateway {
    routes: BTreeMap<String, Route>,
    slots: Semaphore,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let routes: Vec<String> =
            self.routes.iter().map(|(alias, r)| format!("{alias} = {} ({})", r.model, r.backend.name())).collect();
        f.debug_struct("Gateway").field("routes", &routes).finish_non_exhaustive()
    }
}

impl Gateway {
    /// At most `max_concurrent` calls are under way at a time, at least one.
    #[must_use]
    pub fn new(routes: BTreeMap<String, Route>, max_concurrent: usize) -> Self {
        Self { routes, slots: Semaphore::new(max_concurrent.clamp(1, Semaphore::MAX_PERMITS)) }
    }

    /// Aliases with their routes.
    #[must_use]
    pub const fn routes(&self) -> &BTreeMap<String, Route> {
        &self.routes
    }

    /// Aliases without a price: to be refused before a run that has a money budget.
    #[must_use]
    pub fn unpriced(&self) -> Vec<&str> {
        self.routes.iter().filter(|(_, route)| route.price.is_none()).map(|(alias, _)| alias.as_str()).collect()
    }

    /// The calls of one attempt. Every call is paid out of each of `budgets` (the attempt's, the
    /// run's …).
    #[must_use]
    pub fn session(self: &Arc<Self>, role: Role, task: TaskId, attempt: u32, budgets: Vec<SharedBudget>) -> Session {
        let (answered, blocked) = (AtomicU32::new(0), OnceLock::new());
        Session { gateway: Arc::clone(self), role, task, attempt, budgets, answered, blocked }
    }

    async fn complete(
        &self,
        position: CallPosition,
        mut request: Request,
        budgets: &[SharedBudget],
    ) -> Result<(Completion, Cost), Unanswered> {
        let failed = |error, cost, blocks| Unanswered { refused: Refused { error, cost }, blocks };
        let route = self.route(&request.model).map_err(|error| failed(error, Cost::default(), false))?;
        let limit = request.max_output_tokens.unwrap_or(route.max_output_tokens);
        request.max_output_tokens = Some(limit.clamp(1, route.max_output_tokens.max(1)));
        let alias = std::mem::replace(&mut request.model, route.model.clone());
        let call = BackendCall { request, position };
        let mut cost = Cost { cost_microusd: route.price.map(|_| 0), ..Cost::default() };
        let (mut tries, mut waited) = (0, Duration::ZERO);
        loop {
            tries += 1;
            let failure = match self.one_try(route, &alias, &call, budgets).await {
                Ok(completion) => {
                    add(&mut cost, &completion.usage, route);
                    return Ok((completion, cost));
                }
                Err(failure) => failure,
            };
            let error = match failure {
                TryError::Host(error) => {
                    let blocks = matches!(error, HostError::BudgetExceeded(_));
                    return Err(failed(error, cost, blocks));
                }
                TryError::Backend(error, spent) => {
                    add(&mut cost, &spent, route);
                    error
                }
            };
            tracing::warn!(model = route.model, position = %call.position, tries, %error, "model call failed");
            match retry::decide(&error, tries, waited, retry::jitter(&call.position, tries)) {
                Decision::Retry(delay) => {
                    tokio::time::sleep(delay).await;
                    waited += delay;
                }
                Decision::Fail => return Err(failed(in_words(&error, route, tries), cost, error.needs_person())),
            }
        }
    }

    fn route(&self, alias: &str) -> Result<&Route, HostError> {
        self.routes.get(alias).ok_or_else(|| {
            let known: Vec<&str> = self.routes.keys().map(String::as_str).collect();
            let alias: String = alias.chars().take(100).collect();
            HostError::Invalid(format!("`{alias}` is no model alias; configured are {}", known.join(", ")))
        })
    }

    async fn slot(&self) -> Result<SemaphorePermit<'_>, HostError> {
        match tokio::time::timeout(MAX_QUEUE_WAIT, self.slots.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(HostError::Cancelled("the gateway is closed".to_owned())),
            Err(_) => {
                let wait_s = MAX_QUEUE_WAIT.as_secs();
                Err(HostError::TimedOut(format!("no model call became free within {wait_s} s; raise the concurrency")))
            }
        }
    }

    /// One exchange, with its reservation. Dropped in the middle, the reservation stays set aside: the answer
    /// may be charged.
    async fn one_try(
        &self,
        route: &Route,
        alias: &str,
        call: &BackendCall,
        budgets: &[SharedBudget],
    ) -> Result<Completion, TryError> {
        let _slot = self.slot().await.map_err(TryError::Host)?;
        let worst = worst(&call.request, route);
        let reservations = reserve(budgets, route, alias, &worst).map_err(TryError::Host)?;
        failpoint::reach("llm", "send", Side::Before);
        let result = route.backend.complete(call.clone()).await;
        failpoint::reach("llm", "send", Side::After);
        let (spent, calls) = match &result {
            Ok(completion) => (completion.usage, 1),
            Err(error) => match error.spent() {
                Spent::Nothing => (Usage::default(), 0),
                Spent::Unknown => (worst, 1),
                Spent::Usage(usage) => (usage, 1),
            },
        };
        let actual = Amount { calls, ..amount(&spent, route) };
        for (budget, reservation) in budgets.iter().zip(reservations) {
            lock(budget).settle(reservation, actual);
        }
        result.map_err(|error| TryError::Backend(error, spent))
    }
}

/// The most that a request can use.
fn worst(request: &Request, route: &Route) -> Usage {
    let most = route.max_output_tokens.max(1);
    Usage {
        input_tokens: estimate::request_tokens(request),
        cached_input_tokens: 0,
        output_tokens: u64::from(request.max_output_tokens.unwrap_or(most).clamp(1, most)),
        estimated: true,
    }
}

/// A call without an answer.
struct Unanswered {
    /// For the guest.
    refused: Refused,
    /// No further call can be answered either, until a person has changed something.
    blocks: bool,
}

/// Why one try gave no answer.
enum TryError {
    /// Before anything was sent.
    Host(HostError),
    /// The back end's failure, and what it used.
    Backend(LlmError, Usage),
}

fn lock(budget: &SharedBudget) -> std::sync::MutexGuard<'_, Budget> {
    // The sums inside are whole after every single statement, so a panic elsewhere spoils nothing.
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

fn amount(usage: &Usage, route: &Route) -> Amount {
    let cost_microusd = route.price.map_or(0, |price| price.of(usage));
    Amount { tokens: usage.input_tokens.saturating_add(usage.output_tokens), cost_microusd, calls: 1 }
}

fn add(cost: &mut Cost, usage: &Usage, route: &Route) {
    cost.input_tokens = cost.input_tokens.saturating_add(usage.input_tokens);
    cost.cached_input_tokens = cost.cached_input_tokens.saturating_add(usage.cached_input_tokens);
    cost.output_tokens = cost.output_tokens.saturating_add(usage.output_tokens);
    cost.cost_microusd = route.price.map(|price| cost.cost_microusd.unwrap_or(0).saturating_add(price.of(usage)));
}

/// Sets the worst case aside in every budget, or in none.
fn reserve(budgets: &[SharedBudget], route: &Route, alias: &str, worst: &Usage) -> Result<Vec<Reservation>, HostError> {
    let mut reservations = Vec::with_capacity(budgets.len());
    for budget in budgets {
        let mut guard = lock(budget);
        let failure = if route.price.is_none() && guard.left().cost_microusd.is_some() {
            let model = &route.model;
            Some(HostError::Invalid(format!(
                "model `{model}` of alias `{alias}` has no price, and a money budget is set: configure the price, or \
                 limit tokens instead"
            )))
        } else {
            match guard.reserve(amount(worst, route)) {
                Ok(reservation) => {
                    reservations.push(reservation);
                    None
                }
                Err(exceeded) => Some(exceeded_in_words(&exceeded)),
            }
        };
        drop(guard);
        if let Some(failure) = failure {
            for (budget, reservation) in budgets.iter().zip(reservations) {
                lock(budget).settle(reservation, Amount::default());
            }
            return Err(failure);
        }
    }
    Ok(reservations)
}

fn exceeded_in_words(exceeded: &Exceeded) -> HostError {
    HostError::BudgetExceeded(exceeded.to_string())
}

/// The failure for a spirit and for people: who said what, and what to do.
fn in_words(error: &LlmError, route: &Route, tries: u32) -> HostError {
    let who = format!("model `{}` ({})", route.model, route.backend.name());
    let after = if tries > 1 { format!(" after {tries} tries") } else { String::new() };
    let say = |advice: &str| format!("{who}: {error}{after}; {advice}");
    match error {
        LlmError::Status { status: 401 | 403, .. } => {
            HostError::Denied(say("check the API key and what its account may use"))
        }
        LlmError::Status { status: 404, .. } => {
            HostError::NotFound(say("check the model's name, the base URL and the dialect (`responses:` or `chat:`)"))
        }
        LlmError::Status { status, code, .. } if *status == 402 || code.as_deref() == Some("insufficient_quota") => {
            HostError::Other(say("the account has no credit left; add some and run again"))
        }
        LlmError::Status { code: Some(code), .. } if code == "context_length_exceeded" => {
            HostError::Invalid(say("the conversation is too long for this model; make it shorter"))
        }
        LlmError::Status { status: 400..=407 | 410..=424 | 426..=428 | 430..=499, .. } => {
            HostError::Invalid(say("the request has to change before it is sent again"))
        }
        LlmError::Status { .. } => HostError::Other(say("the server is busy or broken; try later")),
        LlmError::TimedOut { .. } => {
            HostError::TimedOut(say("the answer may be charged all the same; raise the time limit or ask for less"))
        }
        LlmError::Connect { .. } => HostError::Other(say("check the base URL, the network and the proxy settings")),
        LlmError::Cut { .. } => HostError::Uncertain(say("the answer may be charged all the same")),
        LlmError::Redirected { .. } => HostError::Other(say("set the base URL to where the API really is")),
        LlmError::TooLarge { .. } => HostError::Other(say("ask for a shorter answer")),
        LlmError::NotJson { .. } => HostError::Other(say("check that the base URL is an API, not a web page")),
        LlmError::Malformed { .. } => HostError::Other(say("check the dialect (`responses:` or `chat:`)")),
        LlmError::Unsendable { .. } => HostError::Invalid(format!("{who}: {error}")),
        LlmError::NoReply { .. } => HostError::NotFound(error.to_string()),
    }
}

/// The calls of one attempt, in order.
pub struct Session {
    gateway: Arc<Gateway>,
    role: Role,
    task: TaskId,
    attempt: u32,
    budgets: Vec<SharedBudget>,
    answered: AtomicU32,
    blocked: OnceLock<HostError>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("task", &self.task)
            .field("attempt", &self.attempt)
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Goes on after `answered` answered calls that came from a journal.
    #[must_use]
    pub fn after(self, answered: u32) -> Self {
        Self { answered: AtomicU32::new(answered), ..self }
    }

    /// One completion. `request.model` is an alias. Calls of one session are meant to follow one
    /// another; each answered one counts as a turn, refused ones do not.
    ///
    /// # Errors
    /// [`Refused`]: the words for the spirit, and what the tries cost.
    pub async fn complete(&self, request: Request) -> Result<(Completion, Cost), Refused> {
        let turn = self.answered.load(Ordering::Acquire).saturating_add(1);
        let position = CallPosition { role: self.role.clone(), task: self.task.clone(), attempt: self.attempt, turn };
        match self.gateway.complete(position, request, &self.budgets).await {
            Ok(answer) => {
                self.answered.store(turn, Ordering::Release);
                Ok(answer)
            }
            Err(Unanswered { refused, blocks }) => {
                if blocks {
                    self.blocked.get_or_init(|| refused.error.clone());
                }
                Err(refused)
            }
        }
    }

    /// The most that one sending of `request` can cost; nothing when its alias leads nowhere.
    #[must_use]
    pub fn worst(&self, request: &Request) -> Cost {
        let mut cost = Cost::default();
        if let Ok(route) = self.gateway.route(&request.model) {
            add(&mut cost, &worst(request, route), route);
        }
        cost
    }

    /// Why no further call can be answered until a person has changed something (the key, the model's
    /// name, the base URL, a budget), if a call has shown that.
    #[must_use]
    pub fn blocked(&self) -> Option<&HostError> {
        self.blocked.get()
    }
}

#[cfg(test)]
#[path = "gateway/tests.rs"]
mod tests;
