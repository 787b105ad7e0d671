//! Recorded decisions as files: written from a run, and replayed with whatever component an author has now.
//! A fixture has everything in it: input, settings, limits, each call with its answer, and the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::counterfactual::execution_kind;
use super::strict::{Difference, Found, Repetition, repeat_with};
use super::{Archive, ReplayOptions};
use crate::domain::call::{CallRequest, Cost, Function};
use crate::domain::grant::Grant;
use crate::domain::id::{Digest, ExecutionId};
use crate::plugin::{Plugin, PluginKind};
use crate::registry::{CallRecord, ExecutionKind, ExecutionRecord, Record, request_digest};
use crate::service::blocking::blocking;
use crate::service::error::{ServiceError, chain};
use crate::service::harness::{self, Call, CallMade, Facts};
use crate::service::plugins::{Granting, Seated, seat_recorded};
use crate::service::setup::temporary_dir;
use crate::store::BlobStore;

/// The version of the format.
const VERSION: u32 = 1;
/// Fixtures that one run leaves.
const MAX_FIXTURES: usize = 2_000;
/// Bytes of one fixture; larger ones are left out.
const MAX_FIXTURE_BYTES: usize = 8 << 20;
/// Bytes of one artifact that a fixture brings along.
const MAX_ARTIFACT_BYTES: usize = 256 * 1024;

/// A recorded execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// 1.
    pub version: u32,
    /// Which function was called.
    pub call: Call,
    /// Name of the plugin.
    pub plugin: String,
    /// Digest of its component.
    pub component: Digest,
    /// The engine that ran it.
    pub engine: String,
    /// Its id: a spirit's randomness is a function of it.
    pub execution: ExecutionId,
    /// When it began: a spirit's clock starts here.
    pub started_at: Timestamp,
    /// What it was given.
    pub input: Value,
    /// The plugin's settings.
    pub settings: Value,
    /// Where it was stopped.
    pub limits: Value,
    /// Its host calls, in order.
    pub calls: Vec<FixtureCall>,
    /// How it ended: `{"ok": result}` or `{"error": name, "message": words}`.
    pub outcome: Value,
    /// What it used.
    pub usage: Value,
    /// Texts of artifacts that were read, by digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<Digest, String>,
}

/// A host call of a fixture.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixtureCall {
    /// Which function.
    pub function: Function,
    /// What it was asked.
    pub arguments: Value,
    /// What the host found out of its effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Value>,
    /// `{"Ok": answer}` or `{"Err": error}`.
    pub answer: Option<Value>,
}

/// What a replay of a fixture shows.
#[derive(Debug, Serialize)]
pub struct FixtureAnswer {
    /// The component that was replayed.
    pub plugin: Facts,
    /// What was called.
    pub call: Call,
    /// Whether calls and end are the same as recorded.
    pub same: bool,
    /// How it ends now.
    pub outcome: Value,
    /// How it ended then.
    pub recorded: Value,
    /// Recorded calls that were made again, in order.
    pub calls: Vec<CallMade>,
    /// Fuel that it used now.
    pub fuel: u64,
    /// Where it leaves the record; absent when it does not.
    pub difference: Option<Difference>,
    /// Why it could not be compared to its end; absent when it was.
    pub reason: Option<String>,
}

/// What was written of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fixtures {
    /// Where.
    pub folder: PathBuf,
    /// How many.
    pub written: u64,
    /// Executions without one: too many, too large, without an end, or damaged.
    pub left_out: u64,
}

impl Fixture {
    /// Reads a fixture.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] when it is none of this host's.
    pub fn parse(text: &[u8], name: &str) -> Result<Self, ServiceError> {
        let wrong = |reason: String| ServiceError::Usage(format!("the fixture `{name}` cannot be used: {reason}"));
        let fixture: Self = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        if fixture.version != VERSION {
            return Err(wrong(format!("it has version {}, this host reads version {VERSION}", fixture.version)));
        }
        Ok(fixture)
    }

    /// A record as a fixture; none of what has no end yet or asks a component what it is.
    fn of(record: Record, blobs: &BlobStore) -> Option<Self> {
        let Record { execution, calls } = record;
        let call = match execution.kind {
            ExecutionKind::Spirit => Call::Perform,
            ExecutionKind::Scheduling => Call::Order,
            ExecutionKind::Routing => Call::Route,
            ExecutionKind::Review => Call::Review,
            ExecutionKind::Describe => return None,
        };
        let artifacts = calls.iter().filter_map(|call| artifact(call, blobs)).collect();
        let calls = calls.into_iter().map(|call| {
            let CallRecord { function, arguments, effect, answer, .. } = call;
            FixtureCall { function, arguments, effect, answer }
        });
        Some(Self {
            version: VERSION,
            call,
            plugin: execution.plugin,
            component: execution.component,
            engine: execution.engine,
            execution: execution.id,
            started_at: execution.started_at,
            input: execution.input,
            settings: execution.settings,
            limits: execution.limits,
            calls: calls.collect(),
            outcome: execution.outcome?,
            usage: execution.usage.unwrap_or_default(),
            artifacts,
        })
    }

    /// As it was recorded. The fuel counts only for the same component.
    fn record(&self, plugin: &Plugin) -> Record {
        let execution = ExecutionRecord {
            id: self.execution.clone(),
            run: None,
            kind: execution_kind(plugin.kind),
            spec: None,
            task: None,
            attempt: None,
            plugin: self.plugin.clone(),
            component: self.component.clone(),
            engine: self.engine.clone(),
            limits: self.limits.clone(),
            settings: self.settings.clone(),
            input: self.input.clone(),
            started_at: self.started_at,
            ended_at: Some(self.started_at),
            outcome: Some(self.outcome.clone()),
            usage: (plugin.digest == self.component).then(|| self.usage.clone()),
            pruned_at: None,
        };
        let calls = (1..).zip(&self.calls).map(|(sequence, call)| {
            let FixtureCall { function, arguments, effect, answer } = call.clone();
            let digest =
                request_digest(&CallRequest { function, arguments: arguments.clone(), effect: effect.clone() });
            CallRecord {
                sequence,
                function,
                digest,
                arguments,
                effect,
                at: self.started_at,
                answer,
                answered_at: Some(self.started_at),
                cost: Cost::default(),
                tries: 1,
            }
        });
        Record { execution, calls: calls.collect() }
    }

    /// Such as `0007-routing-least-busy-1.2.json`.
    fn file_name(&self, number: usize, task: Option<&str>) -> String {
        let kind = self.call.kind().map_or("describe", PluginKind::as_str);
        let plain =
            |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'), "-");
        let task = task.map(|task| format!("-{}", plain(task))).unwrap_or_default();
        format!("{number:04}-{kind}-{}{task}.json", plain(&self.plugin))
    }
}

/// The text of an artifact that a call has read, if it is a short one.
fn artifact(call: &CallRecord, blobs: &BlobStore) -> Option<(Digest, String)> {
    if call.function != Function::ArtifactGet {
        return None;
    }
    let digest = Digest::new(call.answer.as_ref()?["Ok"]["sha256"].as_str()?).ok()?;
    let bytes = blobs.get(&digest).ok()?;
    (bytes.len() <= MAX_ARTIFACT_BYTES).then_some(())?;
    Some((digest, String::from_utf8(bytes).ok()?))
}

/// Replays `fixture` with the component at `path`.
///
/// # Errors
/// When the component cannot be loaded, or is of another kind. A difference is in the answer.
pub async fn replay_fixture(
    fixture: &Fixture,
    path: &Path,
    cache: Option<PathBuf>,
) -> Result<FixtureAnswer, ServiceError> {
    let plugin = harness::load(path, cache).await?;
    if fixture.call.kind() != Some(plugin.kind) {
        return Err(ServiceError::Usage(format!(
            "`{}` is a {} plugin, and the fixture is of `{}`",
            plugin.name,
            plugin.kind,
            fixture.call.as_str()
        )));
    }
    let dir = temporary_dir()?;
    let blobs = BlobStore::own(dir.path().join("blobs"))?;
    for text in fixture.artifacts.values() {
        blobs.put(text.as_bytes())?;
    }
    let record = fixture.record(&plugin);
    let seated: Seated = seat_recorded(plugin, &record.execution, Granting::Fixed(Arc::new(Grant::everything())))?;
    let calls = record.calls.clone();
    let Repetition { found, played, outcome, fuel } = repeat_with(&seated, record, &blobs).await;
    let (same, difference, reason) = match found {
        Found::Same { .. } => (true, None, None),
        Found::Partly(named) => (true, None, Some(named.reason)),
        Found::Different(difference) => (false, Some(*difference), None),
        Found::NotRepeatable(named) => (false, None, Some(named.reason)),
    };
    let made = usize::try_from(played).unwrap_or(usize::MAX);
    Ok(FixtureAnswer {
        plugin: Facts::of(&seated.plugin),
        call: fixture.call,
        same,
        outcome,
        recorded: fixture.outcome.clone(),
        calls: calls.into_iter().take(made).map(CallMade::from).collect(),
        fuel,
        difference,
        reason,
    })
}

/// Makes the folder for the fixtures of a run, before there is one.
///
/// # Errors
/// [`ServiceError::Usage`] when something is in it, [`ServiceError::Io`] when it cannot be made.
pub fn prepare_fixtures(folder: &Path) -> Result<(), ServiceError> {
    let fail = |source| ServiceError::Io { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(fail)?;
    match std::fs::read_dir(folder).map_err(fail)?.next() {
        None => Ok(()),
        Some(_) => Err(ServiceError::Usage(format!(
            "`{}` is not empty: name a new folder for the fixtures of this run",
            folder.display()
        ))),
    }
}

/// Writes one file for each execution of a run into `folder`.
///
/// # Errors
/// When there is no such run, or the folder cannot be written. Executions that cannot be written are counted.
pub async fn write_fixtures(options: ReplayOptions, folder: PathBuf) -> Result<Fixtures, ServiceError> {
    let archive = Archive::open(&options).await?;
    let run = archive.run(options.run.as_ref()).await?;
    let ids = archive.records.executions(&run.id, None).await?;
    let left_out = ids.len().saturating_sub(MAX_FIXTURES) as u64;
    let mut fixtures = Fixtures { folder: folder.clone(), left_out, ..Fixtures::default() };
    for (number, id) in (1..).zip(ids).take(MAX_FIXTURES) {
        let wanted = id.clone();
        let record = match archive.records.read(move |reader| reader.record(&wanted)).await {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(execution = %id, "no fixture: {}", chain(&error));
                None
            }
        };
        let (blobs, folder) = (archive.blobs.clone(), folder.clone());
        let written = blocking(move || {
            let Some(record) = record else { return Ok(false) };
            let task = record.execution.task.as_ref().map(ToString::to_string);
            let Some(fixture) = Fixture::of(record, &blobs) else { return Ok(false) };
            let text = serde_json::to_string_pretty(&fixture).unwrap_or_default();
            if text.len() > MAX_FIXTURE_BYTES {
                return Ok(false);
            }
            let path = folder.join(fixture.file_name(number, task.as_deref()));
            std::fs::write(&path, text + "\n").map_err(|source| ServiceError::Io { path, source })?;
            Ok(true)
        });
        if written.await? {
            fixtures.written += 1;
        } else {
            fixtures.left_out += 1;
        }
    }
    Ok(fixtures)
}
