//! Other policies and heuristics over an old run: they see the recorded inputs, with a state of their own,
//! and what they would have decided is set beside what was decided.
//!
//! After the first decision that would change, later inputs are consequences of the old decisions: what is
//! said about those is an estimate.

mod decide;
mod review;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Archive, Listed, Named, Records, ReplayOptions};
use crate::domain::id::{Digest, ExecutionId, RunId, SpecName};
use crate::domain::review::Finding;
use crate::plugin::{ExecutionContext, Limits, Plugin, PluginKind};
use crate::registry::{ExecutionKind, ExecutionRecord, Registry, Run};
use crate::service::error::ServiceError;
use crate::service::plugins::{PluginChoice, Seated, Shelf};
use crate::service::{blocking, setup};

/// At most this many decisions that would change are listed; the rest is counted.
const MAX_CHANGED: usize = 10_000;
/// So many of the newest decisions are shown to a component before it is seated, unless somebody says another
/// number.
pub const SHADOWED: u32 = 100;
/// So many at most.
pub const MAX_SHADOWED: u32 = 10_000;
/// Of those that would change, so many are listed.
const MAX_SHOWN: usize = 100;
/// Bytes of each text in that list.
const MAX_SHOWN_BYTES: usize = 300;

/// What other policies and heuristics would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The run; absent when decisions of several were looked at.
    pub run: Option<RunId>,
    /// Its spec.
    pub spec: Option<SpecName>,
    /// What was tried.
    pub tried: Vec<Tried>,
    /// Decisions that would change, in order of time.
    pub changed: Vec<Changed>,
    /// How many of them are not listed.
    pub more_changed: u64,
    /// Decisions that could not be tried: their records cannot be read.
    pub not_tried: Listed,
}

/// A policy or heuristic that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// routing, scheduling or review.
    pub kind: &'static str,
    /// Its name.
    pub plugin: String,
    /// Digest of its component.
    pub digest: Digest,
    /// Decisions on record; for a heuristic, reviewed changes.
    pub decisions: u64,
    /// Those that would change.
    pub changed: u64,
    /// Those of them that are estimates.
    pub estimates: u64,
    /// Inputs on which it failed.
    pub failed: u64,
}

/// A decision that would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// When it was decided.
    pub at: Timestamp,
    /// routing, scheduling or review.
    pub kind: &'static str,
    /// The execution that decided it.
    pub execution: Option<ExecutionId>,
    /// The attempt that it is about.
    pub attempt: Option<String>,
    /// What was decided.
    pub recorded: String,
    /// What would be.
    pub new: String,
    /// Why, in the new policy's words.
    pub reason: String,
    /// Its input is a consequence of earlier decisions that would have been others.
    pub estimate: bool,
    /// The new policy failed on this input; the built-in rule would decide.
    pub failed: bool,
    /// For reviews: what changes.
    pub review: Option<ReviewChange>,
}

/// How a review would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReviewChange {
    /// Findings that would come.
    pub added: Vec<Finding>,
    /// Findings that would go.
    pub removed: Vec<Finding>,
    /// Whether the change passed gate and review.
    pub passed: bool,
    /// Whether it would.
    pub would_pass: bool,
}

/// A plugin that is tried, and what was found so far.
struct Candidate {
    plugin: Arc<Plugin>,
    /// Its settings and limits, where they are known; otherwise those on record, and those of its kind.
    seated: Option<Seated>,
    tried: Tried,
}

/// What a component would have decided otherwise, before it decides anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// Decisions that it was shown; for a heuristic, reviewed changes.
    pub decisions: u64,
    /// Those that would change.
    pub changed: u64,
    /// Those of them on which it failed.
    pub failed: u64,
    /// Those whose records cannot be read.
    pub not_tried: u64,
    /// The first that would change, at most 100, in order of time.
    pub first: Vec<ShadowChange>,
}

/// One of them, as far as a table shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowChange {
    /// When it was decided.
    pub at: Timestamp,
    /// The execution that decided it.
    pub execution: Option<ExecutionId>,
    /// The attempt that it is about.
    pub attempt: Option<String>,
    /// What was decided, at most 300 bytes.
    pub recorded: String,
    /// What would be, at most 300 bytes.
    pub new: String,
    /// Why, in the component's words, at most 300 bytes.
    pub reason: String,
    /// Its input is a consequence of earlier decisions that would have been others.
    pub estimate: bool,
    /// The component failed on this input; the built-in rule would decide.
    pub failed: bool,
}

impl Shadow {
    fn of(comparison: Comparison) -> Self {
        let Comparison { run: _, spec: _, tried, changed, more_changed: _, not_tried } = comparison;
        let sum = |count: fn(&Tried) -> u64| tried.iter().map(count).sum();
        Self {
            decisions: sum(|tried| tried.decisions),
            changed: sum(|tried| tried.changed),
            failed: sum(|tried| tried.failed),
            not_tried: not_tried.count,
            first: changed.into_iter().take(MAX_SHOWN).map(ShadowChange::of).collect(),
        }
    }
}

impl ShadowChange {
    fn of(changed: Changed) -> Self {
        let Changed { at, kind: _, execution, attempt, recorded, new, reason, estimate, failed, review: _ } = changed;
        let (recorded, new, reason) = (short(recorded), short(new), short(reason));
        Self { at, execution, attempt, recorded, new, reason, estimate, failed }
    }
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_SHOWN_BYTES));
    text
}

/// Tries policies and heuristics over a run.
///
/// # Errors
/// [`ServiceError::Usage`] when a choice is a spirit, or two are for one place; when there is no such run, or
/// a plugin cannot be loaded.
pub async fn compare(options: ReplayOptions, with: Vec<PluginChoice>) -> Result<Comparison, ServiceError> {
    refuse(&with)?;
    let archive = Archive::open(&options).await?;
    let run = archive.run(options.run.as_ref()).await?;
    let (records, shelf) = (&archive.records, shelf(&options, archive.state.root()).await?);
    let mut comparison = Comparison::new(Some(&run));
    for choice in &with {
        let source = choice.source.clone().below(&options.cwd);
        let plugin = shelf.load(&archive.engine, choice.kind, &source).await?;
        let mut candidate = Candidate::new(plugin, None);
        match choice.kind {
            PluginKind::Review => {
                let reviews = review::reviews(records, &run).await?;
                review::over(records, reviews, &mut candidate, &mut comparison).await?;
            }
            kind => {
                let decisions = records.executions(&run.id, Some(execution_kind(kind))).await?;
                decide::over(records, decisions, &mut candidate, &mut comparison).await?;
            }
        }
        comparison.tried.push(candidate.tried);
    }
    comparison.mark_estimates();
    Ok(comparison)
}

/// The plugins that are installed beside the records in `state`.
async fn shelf(options: &ReplayOptions, state: &Path) -> Result<Shelf, ServiceError> {
    let (repository, cwd, state) = (options.repository.clone(), options.cwd.clone(), state.to_owned());
    blocking(move || Shelf::open(setup::root_of(&setup::source(&repository, &cwd)?, &cwd), &state)).await
}

/// What a component would change of the newest `last` decisions of its kind that `registry` has, those of all
/// runs, with the settings and limits that it would have. It runs in the engine that it was loaded in, beside
/// whatever else this process does.
///
/// # Errors
/// When the records cannot be read. A single one that cannot be is in the answer.
pub(crate) async fn shadow(registry: &Registry, seated: &Seated, last: u32) -> Result<Shadow, ServiceError> {
    let records = Records::Live(registry.clone());
    let (kind, last) = (seated.plugin.kind, last.min(MAX_SHADOWED));
    let mut comparison = Comparison::new(None);
    let mut candidate = Candidate::new(Arc::clone(&seated.plugin), Some(seated.clone()));
    match kind {
        PluginKind::Spirit => return Err(ServiceError::Internal("a spirit has no decisions".to_owned())),
        PluginKind::Review => {
            let reviews = records.read(move |reader| reader.newest_events("ReviewReported", last)).await?;
            review::over(&records, reviews, &mut candidate, &mut comparison).await?;
        }
        PluginKind::Routing | PluginKind::Scheduling => {
            let newest = records.read(move |reader| reader.newest_executions(execution_kind(kind), last)).await?;
            decide::over(&records, newest, &mut candidate, &mut comparison).await?;
        }
    }
    comparison.tried.push(candidate.tried);
    comparison.mark_estimates();
    Ok(Shadow::of(comparison))
}

fn refuse(with: &[PluginChoice]) -> Result<(), ServiceError> {
    for (position, choice) in with.iter().enumerate() {
        if choice.kind == PluginKind::Spirit {
            return Err(ServiceError::Usage(
                "a spirit cannot be tried over an old run: its model would have to be asked again; routing, \
                 scheduling and review can be"
                    .to_owned(),
            ));
        }
        let again = with[..position].iter().any(|other| other.kind == choice.kind);
        if again && choice.kind != PluginKind::Review {
            return Err(ServiceError::Usage(format!("two {} policies cannot be tried at once", choice.kind)));
        }
    }
    Ok(())
}

impl Comparison {
    fn new(run: Option<&Run>) -> Self {
        Self {
            run: run.map(|run| run.id.clone()),
            spec: run.and_then(|run| run.spec.clone()),
            tried: Vec::new(),
            changed: Vec::new(),
            more_changed: 0,
            not_tried: Listed::default(),
        }
    }

    /// Notes what a candidate changes.
    fn add(&mut self, tried: &mut Tried, changed: Changed) {
        tried.changed += 1;
        self.changed.push(changed);
    }

    fn skip(&mut self, named: Named) {
        self.not_tried.push(named);
    }

    /// Every decision of a policy after the first change is an estimate. A review judges what is there,
    /// whoever made it.
    fn mark_estimates(&mut self) {
        self.changed.sort_by_key(|changed| changed.at);
        let mut first = true;
        for changed in &mut self.changed {
            let is_review = changed.kind == PluginKind::Review.as_str();
            changed.estimate = !is_review && !first;
            // A review that says the same with other findings changes nothing that follows.
            first &= is_review && changed.review.as_ref().is_some_and(|review| review.passed == review.would_pass);
        }
        for tried in &mut self.tried {
            let of_it = self.changed.iter().filter(|changed| changed.kind == tried.kind && changed.estimate);
            tried.estimates = of_it.count() as u64;
        }
        self.more_changed = self.changed.len().saturating_sub(MAX_CHANGED) as u64;
        self.changed.truncate(MAX_CHANGED);
    }
}

impl Candidate {
    fn new(plugin: Arc<Plugin>, seated: Option<Seated>) -> Self {
        let tried = Tried {
            kind: plugin.kind.as_str(),
            plugin: plugin.name.clone(),
            digest: plugin.digest.clone(),
            decisions: 0,
            changed: 0,
            estimates: 0,
            failed: 0,
        };
        Self { plugin, seated, tried }
    }

    /// What it runs with over one recorded input: nothing is granted, nothing is recorded.
    fn context(&self, execution: &ExecutionRecord) -> ExecutionContext {
        let limits = self.seated.as_ref().map_or_else(|| Limits::for_kind(self.plugin.kind), |seated| seated.limits);
        ExecutionContext { time: execution.started_at, ..ExecutionContext::apart(execution.id.clone(), limits) }
    }

    /// Settings: its own, or those on record when the plugin of this name had some, else none.
    fn settings(&self, execution: &ExecutionRecord) -> String {
        if let Some(seated) = &self.seated {
            return seated.settings.to_string();
        }
        if execution.plugin == self.plugin.name { execution.settings.to_string() } else { "{}".to_owned() }
    }
}

/// The kind of execution that a plugin's decisions are.
pub(super) const fn execution_kind(kind: PluginKind) -> ExecutionKind {
    match kind {
        PluginKind::Spirit => ExecutionKind::Spirit,
        PluginKind::Scheduling => ExecutionKind::Scheduling,
        PluginKind::Routing => ExecutionKind::Routing,
        PluginKind::Review => ExecutionKind::Review,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(second: i64, kind: &'static str, verdict: Option<(bool, bool)>) -> Changed {
        Changed {
            at: Timestamp::from_second(second).unwrap(),
            kind,
            execution: None,
            attempt: None,
            recorded: String::new(),
            new: String::new(),
            reason: String::new(),
            estimate: false,
            failed: false,
            review: verdict.map(|(passed, would_pass)| ReviewChange {
                added: Vec::new(),
                removed: Vec::new(),
                passed,
                would_pass,
            }),
        }
    }

    fn estimates(changed: Vec<Changed>) -> Vec<bool> {
        let mut comparison = Comparison { changed, ..Comparison::new(None) };
        comparison.mark_estimates();
        comparison.changed.iter().map(|changed| changed.estimate).collect()
    }

    #[test]
    fn what_comes_after_the_first_change_is_an_estimate_and_reviews_are_none() {
        let all = vec![changed(3, "scheduling", None), changed(1, "routing", None), changed(2, "routing", None)];
        assert_eq!(estimates(all), [false, true, true], "in order of time");
        let same_verdict = vec![changed(1, "review", Some((true, true))), changed(2, "routing", None)];
        assert_eq!(estimates(same_verdict), [false, false]);
        let other_verdict = vec![
            changed(1, "review", Some((true, false))),
            changed(2, "routing", None),
            changed(3, "review", Some((true, false))),
        ];
        assert_eq!(estimates(other_verdict), [false, true, false]);
    }

    #[test]
    fn spirits_and_two_policies_for_one_place_are_refused() {
        let choices = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<PluginChoice>>();
        for wrong in [&["spirit=qa"][..], &["routing=least-busy", "routing=a.wasm"]] {
            assert!(matches!(refuse(&choices(wrong)), Err(ServiceError::Usage(_))), "{wrong:?}");
        }
        refuse(&choices(&["routing=a.wasm", "scheduling=priority", "review=a.wasm", "review=b.wasm"])).unwrap();
    }
}
