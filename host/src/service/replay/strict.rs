//! A run repeated strictly: every execution again from its record, call by call, with its outcome and, under
//! the same engine, its fuel.

use futures::StreamExt as _;
use serde::Serialize;
use serde_json::Value;

use super::again::{RecordedEnd, Repeated, again, recorded_end};
use super::watched::Watched;
use super::{Archive, Listed, Named, Passed, ReplayOptions, at_once, attempt_of, named};
use crate::domain::call::{Divergence, Function};
use crate::domain::id::{Digest, ExecutionId, RunId, SpecName};
use crate::plugin::capability::{Capabilities, JournalError};
use crate::plugin::{Engine, ExecutionError};
use crate::registry::{ExecutionKind, ExecutionRecord, Record};
use crate::service::error::{ServiceError, chain};
use crate::service::executions::comparable;
use crate::service::plugins::Seated;
use crate::store::BlobStore;

/// Why nothing is the same when an execution is stopped by its own record being unreadable.
const NO_RECORD: &str = "it is not in the registry any more";

/// What a strict replay found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StrictReport {
    /// The run.
    pub run: RunId,
    /// Its spec.
    pub spec: Option<SpecName>,
    /// How it ended; absent when it has no end.
    pub outcome: Option<String>,
    /// The engine that repeated it.
    pub engine: String,
    /// Executions of the run.
    pub executions: u64,
    /// Those that are the same from their beginning to their end.
    pub same: u64,
    /// Of these, those whose fuel was compared: it was recorded by the same engine.
    pub fuel_compared: u64,
    /// Calls that were repeated.
    pub calls: u64,
    /// Those that are the same as far as their record goes: they were ended by time, by a stop, or by the
    /// stack's depth, or have no end.
    pub partly: Listed,
    /// Those that cannot be repeated, such as without their component or with a damaged journal.
    pub not_repeatable: Listed,
    /// Those that are not as recorded.
    pub different: Listed,
    /// The first of them, with both sides.
    pub first_difference: Option<Difference>,
}

impl StrictReport {
    /// Whether everything could be repeated and nothing differs.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.not_repeatable.count == 0 && self.different.count == 0
    }
}

/// Where a repeated execution leaves its record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Which execution.
    pub execution: ExecutionId,
    /// What it was for.
    pub kind: ExecutionKind,
    /// Its plugin.
    pub plugin: String,
    /// Digest of its component.
    pub component: Digest,
    /// The attempt it belongs to.
    pub attempt: Option<String>,
    /// Number of the call; absent when the calls are the same and the end is not.
    pub call: Option<u64>,
    /// What the record says.
    pub recorded: Side,
    /// What happens now.
    pub now: Side,
}

/// One side of a difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// A call.
    Call {
        /// Which function.
        function: Function,
        /// What it is asked.
        arguments: Value,
    },
    /// The component ended, with this.
    End(Value),
    /// It used so much fuel.
    Fuel(u64),
}

impl Side {
    fn call((function, arguments): (Function, Value)) -> Self {
        Self::Call { function, arguments }
    }
}

/// What came of one execution.
pub(super) enum Found {
    Same { fuel_compared: bool },
    Partly(Named),
    Different(Box<Difference>),
    NotRepeatable(Named),
}

/// Repeats a run.
///
/// # Errors
/// When there is no such run, or no state directory; what is wrong with single executions is in the report.
pub async fn strict(options: ReplayOptions) -> Result<StrictReport, ServiceError> {
    let archive = Archive::open(&options).await?;
    let run = archive.run(options.run.as_ref()).await?;
    let ids = archive.records.executions(&run.id, None).await?;
    let mut report = StrictReport {
        run: run.id,
        spec: run.spec,
        outcome: run.outcome,
        engine: Engine::version().to_owned(),
        executions: ids.len() as u64,
        same: 0,
        fuel_compared: 0,
        calls: 0,
        partly: Listed::default(),
        not_repeatable: Listed::default(),
        different: Listed::default(),
        first_difference: None,
    };
    let repeating = futures::stream::iter(ids).map(|id| {
        let archive = archive.clone();
        tokio::spawn(async move { one(&archive, &id).await })
    });
    let mut repeating = repeating.buffered(at_once());
    let mut passed = Passed { executions: 0, of: report.executions, calls: 0 };
    while let Some(found) = repeating.next().await {
        let (found, calls) = found.map_err(|error| ServiceError::Internal(error.to_string()))?;
        report.calls += calls;
        report.add(found);
        passed = Passed { executions: passed.executions + 1, calls: report.calls, ..passed };
        if let Some(watching) = &options.watching {
            watching(passed);
        }
    }
    Ok(report)
}

impl StrictReport {
    fn add(&mut self, found: Found) {
        match found {
            Found::Same { fuel_compared } => {
                self.same += 1;
                self.fuel_compared += u64::from(fuel_compared);
            }
            Found::Partly(named) => self.partly.push(named),
            Found::NotRepeatable(named) => self.not_repeatable.push(named),
            Found::Different(difference) => {
                self.different.push(Named {
                    execution: difference.execution.clone(),
                    kind: Some(difference.kind),
                    plugin: Some(difference.plugin.clone()),
                    attempt: difference.attempt.clone(),
                    reason: match difference.call {
                        Some(call) => format!("call {call} is another one"),
                        None => "it ends in another way".to_owned(),
                    },
                });
                self.first_difference.get_or_insert(*difference);
            }
        }
    }
}

/// Repeats one execution. Gives how many of its calls were repeated, too.
async fn one(archive: &Archive, id: &ExecutionId) -> (Found, u64) {
    let wanted = id.clone();
    let record = match archive.records.read(move |reader| reader.record(&wanted)).await {
        Ok(Some(record)) => record,
        Ok(None) => return (Found::NotRepeatable(archive.records.named(id, NO_RECORD.to_owned()).await), 0),
        Err(error) => return (Found::NotRepeatable(archive.records.named(id, chain(&error)).await), 0),
    };
    repeat(archive, record).await
}

async fn repeat(archive: &Archive, record: Record) -> (Found, u64) {
    let end = recorded_end(record.execution.outcome.as_ref());
    if let (RecordedEnd::Open(why), true) = (&end, record.calls.is_empty()) {
        return (Found::Partly(named(&record.execution, why.clone())), 0);
    }
    match archive.seated(&record.execution).await {
        Ok(seated) => {
            let Repetition { found, played, .. } = repeat_with(&seated, record, &archive.blobs).await;
            (found, played)
        }
        Err(reason) => (Found::NotRepeatable(named(&record.execution, reason)), 0),
    }
}

/// An execution that was repeated.
pub(super) struct Repetition {
    /// What came of the comparison.
    pub(super) found: Found,
    /// Calls that were repeated.
    pub(super) played: u64,
    /// How it ends now.
    pub(super) outcome: Value,
    /// What it used.
    pub(super) fuel: u64,
}

/// Repeats an execution with a component that need not be the one that is on record.
pub(super) async fn repeat_with(seated: &Seated, record: Record, blobs: &BlobStore) -> Repetition {
    let Record { execution, calls } = record;
    let end = recorded_end(execution.outcome.as_ref());
    // What comes after an open record is on no record: nothing is learned from waiting for it.
    let journal = Watched::new(calls, u64::MAX, blobs, end != RecordedEnd::Whole);
    let repeated = match again(seated, &execution, &journal, Capabilities::default()).await {
        Ok(repeated) => repeated,
        Err(reason) => {
            let found = Found::NotRepeatable(named(&execution, reason));
            return Repetition { found, played: 0, outcome: Value::Null, fuel: 0 };
        }
    };
    let (outcome, fuel) = (repeated.outcome.clone(), repeated.fuel);
    let found = compare(&execution, end, &journal, repeated).await;
    Repetition { found, played: journal.played(), outcome, fuel }
}

/// What the repetition of `execution` says beside its record.
async fn compare(execution: &ExecutionRecord, end: RecordedEnd, journal: &Watched, now: Repeated) -> Found {
    let differs = |call: Option<u64>, recorded: Side, now: Side| {
        Found::Different(Box::new(Difference {
            execution: execution.id.clone(),
            kind: execution.kind,
            plugin: execution.plugin.clone(),
            component: execution.component.clone(),
            attempt: attempt_of(execution),
            call,
            recorded,
            now,
        }))
    };
    let recorded = execution.outcome.clone().unwrap_or_default();
    let journal_error = match &now.error {
        Some(ExecutionError::Journal { source, .. }) => Some(source),
        _ => None,
    };
    match (journal_error, &end) {
        // It did not repeat itself before: that it does not now is nothing new.
        (_, RecordedEnd::Open(why)) if recorded["error"] == "diverged" => {
            return Found::Partly(named(execution, why.clone()));
        }
        (Some(JournalError::Diverged(divergence)), _) => {
            let Divergence { sequence, recorded, now: asked } = (**divergence).clone();
            let asked = asked.map_or_else(|| Side::End(now.outcome), Side::call);
            return differs(Some(sequence), Side::call(recorded), asked);
        }
        (Some(JournalError::RecordEnds), RecordedEnd::Whole) => {
            let asked = journal.beyond().map(|call| Side::call((call.function, call.arguments)));
            let call = journal.played() + 1;
            return differs(Some(call), Side::End(recorded), asked.unwrap_or(Side::End(now.outcome)));
        }
        (Some(JournalError::RecordEnds), RecordedEnd::Open(why)) => {
            return Found::Partly(named(execution, why.clone()));
        }
        (Some(error), _) => return Found::NotRepeatable(named(execution, chain(error))),
        (None, _) => {}
    }
    if let Some(Divergence { sequence, recorded, .. }) = journal.left_over().await {
        return differs(Some(sequence), Side::call(recorded), Side::End(now.outcome));
    }
    if let RecordedEnd::Open(why) = end {
        return Found::Partly(named(execution, why));
    }
    if now.outcome != recorded && comparable(now.outcome.clone()) != comparable(recorded.clone()) {
        return differs(None, Side::End(recorded), Side::End(now.outcome));
    }
    let fuel = execution.usage.as_ref().and_then(|usage| usage.get("fuel")?.as_u64());
    match fuel.filter(|_| execution.engine == Engine::version()) {
        Some(fuel) if fuel != now.fuel => differs(None, Side::Fuel(fuel), Side::Fuel(now.fuel)),
        fuel => Found::Same { fuel_compared: fuel.is_some() },
    }
}
