//! The one way of a host call: every call of a guest is counted, run by its class and journaled here,
//! and its answer reaches the guest only after the journal has it. `host/calls.rs` names the calls.

mod calls;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::bindings::imports::necro::plugin::types as wit;
use super::capability::{Capabilities, Journal, JournalError, Recorded};
use super::convert;
use super::limits::{Limit, Limiter, Limits, Stop};
use super::wasi::{Inert, Seed};
use crate::domain::call::{CallRequest, Class, Cost, Function, HostError, LocalAnswer, LocalEffect, Refused};
use crate::domain::grant::Grant;
use crate::store;

/// Texts in the arguments of edits longer than this many bytes are journaled as their digest: the guest
/// produces them again when it is run again.
const MAX_INLINE_BYTES: usize = 16 * 1024;
/// At most this many log records of one execution are kept.
const MAX_LOG_RECORDS: u64 = 1_000;
/// At most this many bytes of log records of one execution are kept.
const MAX_LOG_BYTES: usize = 256 * 1024;
/// A longer log message or field is cut.
const MAX_LOG_TEXT_BYTES: usize = 4 * 1024;
/// Fields of one log record.
const MAX_LOG_FIELDS: usize = 32;

/// What the store of one execution holds.
pub(crate) struct Guest {
    pub(crate) inert: Inert,
    pub(crate) limiter: Limiter,
    capabilities: Capabilities,
    grant: Arc<Grant>,
    plugin: String,
    journal: Arc<dyn Journal>,
    /// Tokens that its model calls used, recalled ones included.
    llm_tokens: u64,
    calls_allowed: u64,
    pub(crate) calls: u64,
    journal_bytes_allowed: u64,
    journal_bytes: u64,
    log_records: u64,
    log_bytes: usize,
}

/// A lease that the guest holds; dropping the resource releases it.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Debug)]
pub struct Lease {
    id: String,
    name: String,
}

/// Why a host call gives the guest no value.
#[derive(Debug)]
pub(crate) enum CallError {
    /// An expected failure, which the guest may handle.
    Host(HostError),
    /// The execution ends here.
    Stop(Stop),
}

impl From<Stop> for CallError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// What the record says about a call, for the way on.
enum Recall<T> {
    /// This is its answer. `redo` is the effect that has to be made again first, if one has.
    Answered { result: Result<T, HostError>, redo: Option<Value> },
    /// It happens now; with the number of its intent, if that is recorded.
    Open(Option<u64>),
}

impl Guest {
    pub(crate) fn new(
        seed: &Seed,
        (capabilities, grant): (Capabilities, Arc<Grant>),
        plugin: &str,
        journal: Arc<dyn Journal>,
        limits: &Limits,
    ) -> Self {
        Self {
            inert: Inert::new(seed, capabilities.log.clone()),
            limiter: Limiter::new(limits),
            capabilities,
            grant,
            plugin: plugin.to_owned(),
            journal,
            llm_tokens: 0,
            calls_allowed: limits.host_calls,
            calls: 0,
            journal_bytes_allowed: limits.journal_bytes,
            journal_bytes: 0,
            log_records: 0,
            log_bytes: 0,
        }
    }

    /// What `function` works with, if it is granted and offered here.
    fn offered<C: Clone>(&self, function: Function, offer: &Option<C>) -> Result<C, HostError> {
        let name = function.name();
        if let Some(interface) = function.interface().filter(|interface| !self.grant.has(*interface)) {
            let plugin = &self.plugin;
            return Err(HostError::Denied(format!(
                "`{name}` is not granted to `{plugin}`: `necro-host plugin grant {plugin} --allow {interface}` allows it"
            )));
        }
        offer.clone().ok_or_else(|| HostError::Denied(format!("`{name}` is not to be had in this execution")))
    }

    /// Refuses a call that is granted, but not so far. One that is not granted has no bounds to be `within`.
    fn bounded(&self, function: Function, within: Result<(), String>) -> Result<(), HostError> {
        within.map_err(|reason| {
            let (name, plugin) = (function.name(), &self.plugin);
            HostError::Denied(format!(
                "`{name}` of `{plugin}`: {reason} (`necro-host plugin grant` sets what it may do)"
            ))
        })
    }

    /// Counts a call and what is recorded of it.
    fn count(&mut self, arguments: &Value) -> Result<(), Stop> {
        if self.calls >= self.calls_allowed {
            return Err(Stop::Limit(Limit::HostCalls));
        }
        self.calls += 1;
        self.weigh(arguments)
    }

    fn weigh(&mut self, recorded: &Value) -> Result<(), Stop> {
        self.journal_bytes = self.journal_bytes.saturating_add(weight(recorded));
        if self.journal_bytes > self.journal_bytes_allowed {
            return Err(Stop::Limit(Limit::JournalBytes));
        }
        Ok(())
    }

    /// Asks the record about the next call, which has been counted already.
    async fn recall<T: DeserializeOwned>(&mut self, call: &CallRequest) -> Result<Recall<T>, CallError> {
        let recorded = self.journal.recorded(call).await.map_err(Stop::from)?;
        if let Some(log) = &self.capabilities.log {
            let answer = match &recorded {
                Recorded::Answered { answer, .. } => Some(answer),
                Recorded::New | Recorded::Begun { .. } => None,
            };
            log.called(call, answer);
        }
        match recorded {
            Recorded::New => Ok(Recall::Open(None)),
            Recorded::Begun { sequence } => Ok(Recall::Open(Some(sequence))),
            Recorded::Answered { answer, effect, redo } => {
                self.weigh(&answer)?;
                let result = serde_json::from_value(answer).map_err(|error| {
                    let name = call.function.name();
                    Stop::from(JournalError::Unreadable(format!("the answer to `{name}` has another form: {error}")))
                })?;
                Ok(Recall::Answered { result, redo: redo.then(|| effect.unwrap_or_default()) })
            }
        }
    }

    /// A call that reads or acts outside the registry. `run` says why it may not happen, if it may not.
    async fn call<T, E, F>(&mut self, call: CallRequest, run: Result<F, HostError>) -> Result<T, CallError>
    where
        T: Serialize + DeserializeOwned,
        E: Into<Refused>,
        F: Future<Output = Result<Done<T>, E>>,
    {
        self.count(&call.arguments)?;
        match self.recall(&call).await? {
            Recall::Answered { result, .. } => result.map_err(CallError::Host),
            Recall::Open(begun) => self.act(call, begun, run).await,
        }
    }

    /// Does what the record does not answer. `begun` is the number of an intent that stands already.
    async fn act<T, E, F>(
        &mut self,
        call: CallRequest,
        begun: Option<u64>,
        run: Result<F, HostError>,
    ) -> Result<T, CallError>
    where
        T: Serialize,
        E: Into<Refused>,
        F: Future<Output = Result<Done<T>, E>>,
    {
        let function = call.function;
        let run = match run {
            Ok(run) => run,
            Err(error) => return self.refused(call, begun, error).await,
        };
        let (result, answer) = match function.class() {
            Class::External => {
                let sequence = match begun {
                    Some(sequence) => sequence,
                    None => self.journal.intent(call).await.map_err(Stop::from)?,
                };
                let (result, cost, effect) = match run.await.map_err(Into::into) {
                    Ok(Done { value, cost, effect }) => (Ok(value), cost, effect),
                    Err(Refused { error, cost }) => (Err(error), cost, None),
                };
                let answer = as_recorded(&result)?;
                self.journal.answered(sequence, answer.clone(), cost, effect).await.map_err(Stop::from)?;
                (result, answer)
            }
            Class::Observe | Class::Local => {
                let result = run.await.map(|done| done.value).map_err(|refused| refused.into().error);
                let answer = as_recorded(&result)?;
                self.journal.observed(call, answer.clone()).await.map_err(Stop::from)?;
                (result, answer)
            }
        };
        // After the record: a repeated execution meets the limit at the same place.
        self.weigh(&answer)?;
        result.map_err(CallError::Host)
    }

    /// A call that only reads; it costs nothing.
    async fn observe<T, F>(
        &mut self,
        function: Function,
        arguments: Value,
        run: Result<F, HostError>,
    ) -> Result<T, CallError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, HostError>>,
    {
        self.call(CallRequest { function, arguments, effect: None }, run.map(free)).await
    }

    /// A call whose effect is inside the registry; the journal commits both together.
    async fn local(
        &mut self,
        function: Function,
        arguments: Value,
        effect: Result<LocalEffect, HostError>,
    ) -> Result<LocalAnswer, CallError> {
        let call = CallRequest { function, arguments, effect: None };
        self.count(&call.arguments)?;
        if let Recall::Answered { result, .. } = self.recall(&call).await? {
            return result.map_err(CallError::Host);
        }
        let offered = self.capabilities.local.then_some(());
        match self.offered(function, &offered).and(effect) {
            Ok(effect) => {
                let result = self.journal.local(call, effect).await.map_err(Stop::from)?;
                self.weigh(&as_recorded(&result)?)?;
                result.map_err(CallError::Host)
            }
            Err(error) => self.refused(call, None, error).await,
        }
    }

    /// Journals a call that was not tried; it only tells the guest something.
    async fn refused<T>(&mut self, call: CallRequest, begun: Option<u64>, error: HostError) -> Result<T, CallError> {
        let answer = json!({ "Err": error });
        let recorded = match begun {
            Some(sequence) => self.journal.answered(sequence, answer.clone(), Cost::default(), None).await,
            None => self.journal.observed(call, answer.clone()).await,
        };
        recorded.map_err(Stop::from)?;
        self.weigh(&answer)?;
        Err(CallError::Host(error))
    }

    /// Takes one record's share of the log's bounds: `None` when they are used up.
    fn admit_log(&mut self, message: String, fields: Vec<(String, String)>) -> Option<(String, Vec<(String, String)>)> {
        if self.log_records >= MAX_LOG_RECORDS || self.log_bytes >= MAX_LOG_BYTES {
            return None;
        }
        self.log_records += 1;
        let message = cut(message);
        let fields: Vec<_> = fields.into_iter().take(MAX_LOG_FIELDS).map(|(k, v)| (cut(k), cut(v))).collect();
        self.log_bytes += message.len() + fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        if self.log_records == MAX_LOG_RECORDS || self.log_bytes >= MAX_LOG_BYTES {
            return Some((format!("{message} (further log records are dropped)"), fields));
        }
        Some((message, fields))
    }
}

impl wit::Host for Guest {
    fn convert_host_error(&mut self, error: CallError) -> wasmtime::Result<wit::HostError> {
        match error {
            CallError::Host(error) => Ok(convert::host_error(error)),
            CallError::Stop(stop) => Err(stop.into()),
        }
    }
}

/// What a call gave.
pub(super) struct Done<T> {
    value: T,
    cost: Cost,
    effect: Option<Value>,
}

impl<T> Done<T> {
    /// A value that cost nothing.
    fn free(value: T) -> Self {
        Self { value, cost: Cost::default(), effect: None }
    }
}

/// Roughly how many bytes a record takes, before equal parts are stored once.
fn weight(value: &Value) -> u64 {
    /// Quotes, colon, comma; a number.
    const EACH: u64 = 8;
    EACH + match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() as u64 + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The answer as the journal keeps it: `{"Ok": value}` or `{"Err": error}`.
fn as_recorded<T: Serialize>(result: &Result<T, HostError>) -> Result<Value, CallError> {
    serde_json::to_value(result).map_err(|e| CallError::Host(HostError::Other(format!("the answer is no JSON: {e}"))))
}

/// Arguments or a part of them as JSON.
fn to_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_else(|e| json!({ "not-json": e.to_string() }))
}

async fn free<T, F: Future<Output = Result<T, HostError>>>(run: F) -> Result<Done<T>, HostError> {
    run.await.map(Done::free)
}

/// What the journal keeps of bytes.
fn digest_of(bytes: &[u8]) -> Value {
    json!({ "sha256": store::digest_of(bytes), "size_bytes": bytes.len() })
}

/// A text itself while it is short, else its digest.
fn inline(text: &str) -> Value {
    if text.len() <= MAX_INLINE_BYTES { Value::from(text) } else { digest_of(text.as_bytes()) }
}

/// Cuts a text of the log to its bound, at a character.
fn cut(mut text: String) -> String {
    if text.len() > MAX_LOG_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_LOG_TEXT_BYTES));
        text.push('…');
    }
    text
}
