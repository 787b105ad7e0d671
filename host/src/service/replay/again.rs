//! One execution again, with the input, settings, limits, id and start that are on record.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::watched::Watched;
use crate::domain::grant::Grant;
use crate::plugin::capability::Capabilities;
use crate::plugin::{Ended, ExecutionContext, ExecutionError, Limits, is_replayable_on_record};
use crate::registry::{CUT_OFF, ExecutionKind, ExecutionRecord};
use crate::service::executions::outcome_of;
use crate::service::plugins::Seated;

/// Longer than anybody waits: time stops no replay.
const NO_TIME_LIMIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A repeated execution may use this much more fuel than twice what is on record, in units: an engine of
/// another version counts a little differently, and one that goes astray has to end.
const SPARE_FUEL: u64 = 1_000_000_000;

/// How a repeated execution ended.
pub(super) struct Repeated {
    /// As the record would have it.
    pub(super) outcome: Value,
    /// Why it has no result.
    pub(super) error: Option<ExecutionError>,
    /// What it used.
    pub(super) fuel: u64,
}

impl Repeated {
    fn of<T: Serialize>(ended: Ended<T>) -> Self {
        Self { outcome: as_read(&outcome_of(&ended.result)), fuel: ended.usage.fuel, error: ended.result.err() }
    }
}

/// The value as it comes back from a record: numbers with a fraction may lose their last bit on the way.
fn as_read(value: &Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or_default()
}

/// Runs the component of `execution` with `journal`; only `capabilities` can happen now.
///
/// # Errors
/// In words, when the input has another form than this host knows.
pub(super) async fn again(
    seated: &Seated,
    execution: &ExecutionRecord,
    journal: &Arc<Watched>,
    capabilities: Capabilities,
) -> Result<Repeated, String> {
    let context = ExecutionContext {
        id: execution.id.clone(),
        capabilities,
        grant: Arc::new(Grant::everything()),
        journal: journal.clone(),
        limits: limits(&seated.limits, execution.usage.as_ref()),
        time: execution.started_at,
        cancel: journal.cancelled(),
    };
    let (input, settings, plugin) = (&execution.input, seated.settings.to_string(), &seated.plugin);
    Ok(match execution.kind {
        ExecutionKind::Spirit => Repeated::of(plugin.perform(context, part(input, "assignment")?, &settings).await),
        ExecutionKind::Scheduling => {
            let (ready, pools): (Vec<_>, Vec<_>) = (part(input, "ready")?, part(input, "pools")?);
            Repeated::of(plugin.order(context, &ready, &pools, &settings, &state(input)?).await)
        }
        ExecutionKind::Routing => {
            let (issue, candidates): (_, Vec<_>) = (part(input, "issue")?, part(input, "candidates")?);
            Repeated::of(plugin.route(context, &issue, &candidates, &settings, &state(input)?).await)
        }
        ExecutionKind::Review => Repeated::of(plugin.review(context, &part(input, "change")?, &settings).await),
        ExecutionKind::Describe => return Err("what a component says of itself has no record".to_owned()),
    })
}

/// A part of a recorded input.
///
/// # Errors
/// In words, when it has another form.
pub(super) fn part<T: DeserializeOwned>(input: &Value, name: &str) -> Result<T, String> {
    let found = input.get(name).cloned().unwrap_or_default();
    serde_json::from_value(found).map_err(|error| format!("its input `{name}` has another form: {error}"))
}

fn state(input: &Value) -> Result<String, String> {
    part(input, "state")
}

/// The recorded limits without those that measure time, and no more fuel than the record can explain.
fn limits(recorded: &Limits, usage: Option<&Value>) -> Limits {
    let used = usage.and_then(|usage| usage.get("fuel")?.as_u64());
    let allowed = recorded.fuel.unwrap_or(u64::MAX);
    let fuel = used.map_or(allowed, |used| allowed.min(used.saturating_mul(2).saturating_add(SPARE_FUEL)));
    Limits { fuel: Some(fuel), wall: NO_TIME_LIMIT, guest_time: NO_TIME_LIMIT, ..*recorded }
}

/// How the recorded end can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordedEnd {
    /// Whole: every machine comes to it.
    Whole,
    /// Not at all, for this reason: only the calls before it can be.
    Open(String),
}

/// Looks at what is on record.
pub(super) fn recorded_end(outcome: Option<&Value>) -> RecordedEnd {
    let Some(outcome) = outcome else { return RecordedEnd::Open("it has no end on record".to_owned()) };
    let text = |key: &str| outcome.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("error"), text("message")) {
        ("", _) => RecordedEnd::Whole,
        (CUT_OFF, why) => RecordedEnd::Open(format!("nobody went on with it: {why}")),
        (name, message) if is_replayable_on_record(name, message) => RecordedEnd::Whole,
        (_, message) => RecordedEnd::Open(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::PluginKind;

    #[test]
    fn time_is_off_and_fuel_is_what_the_record_explains() {
        let recorded = Limits { fuel: Some(20_000_000_000), ..Limits::for_kind(PluginKind::Routing) };
        let fuel = |usage: Value| limits(&recorded, Some(&usage)).fuel.unwrap();
        assert_eq!(fuel(json!({ "fuel": 500 })), 1_000_001_000);
        assert_eq!(fuel(json!({ "fuel": 20_000_000_000_u64 })), 20_000_000_000, "its own limit is the same");
        assert_eq!(fuel(Value::Null), 20_000_000_000);
        let without = limits(&recorded, None);
        assert_eq!((without.wall, without.guest_time), (NO_TIME_LIMIT, NO_TIME_LIMIT));
        assert_eq!(without.memory_bytes, recorded.memory_bytes);
    }

    #[test]
    fn ends_that_another_machine_need_not_come_to_are_open() {
        let open = |outcome: Value| matches!(recorded_end(Some(&outcome)), RecordedEnd::Open(_));
        assert!(!open(json!({ "ok": { "title": "t" } })));
        assert!(!open(json!({ "error": "failure", "message": "spirit `qa` failed: gave up" })));
        assert!(open(json!({ "error": "cut-off", "message": "the host ended" })));
        assert!(open(json!({ "error": "diverged", "message": "call 3 …" })));
        assert!(matches!(recorded_end(None), RecordedEnd::Open(_)));
    }

    #[test]
    fn numbers_are_compared_as_they_come_back_from_a_record() {
        let value = json!({ "points": 0.1 + 0.2, "n": u64::MAX });
        assert_eq!(as_read(&value), as_read(&as_read(&value)));
    }
}
