//! A review heuristic over the changes that were reviewed: it joins those of the run, or takes the place of
//! the one with its name, and the verdict is made again.

use std::collections::BTreeMap;

use super::super::again::part;
use super::super::{Records, named};
use super::{Candidate, Changed, Comparison, ReviewChange};
use crate::domain::event::{Body, Event};
use crate::domain::id::ExecutionId;
use crate::domain::review::{Change, Finding, Severity, bounded};
use crate::domain::verdict::{self, line};
use crate::registry::{EventFilter, ExecutionRecord, Run};
use crate::service::error::{ServiceError, chain};

/// Tries the candidate over changes that were reviewed.
pub(super) async fn over(
    records: &Records,
    reviews: Vec<Event>,
    candidate: &mut Candidate,
    comparison: &mut Comparison,
) -> Result<(), ServiceError> {
    for event in reviews {
        let Body::ReviewReported { findings, executions } = event.body else { continue };
        let mut reviewed = Vec::with_capacity(executions.len());
        for id in executions {
            match record(records, &id).await {
                Ok(Some(found)) => reviewed.push(found),
                Ok(None) => {}
                Err(error) => comparison.skip(records.named(&id, chain(&error)).await),
            }
        }
        // Without any heuristic nobody wrote down what the change was.
        let Some(any) = reviewed.first() else { continue };
        let change: Change = match part(&any.input, "change") {
            Ok(change) => change,
            Err(reason) => {
                comparison.skip(named(any, reason));
                continue;
            }
        };
        candidate.tried.decisions += 1;
        let replaced = reviewed.iter().find(|record| record.plugin == candidate.plugin.name);
        let now = look(candidate, replaced.unwrap_or(any), &change).await;
        candidate.tried.failed += u64::from(now.is_err());
        let failed = now.is_err();
        let now = now.unwrap_or_else(|reason| vec![about(&candidate.plugin.name, reason)]);
        let before = replaced.map_or_else(Vec::new, found);
        let severities = severities(&reviewed, &findings);
        let review = judge(&change, &findings, &before, now, &severities);
        if review.added.is_empty() && review.removed.is_empty() && !failed {
            continue;
        }
        let changed = Changed {
            at: event.time,
            kind: "review",
            execution: replaced.map(|record| record.id.clone()),
            attempt: super::super::attempt_of(any),
            recorded: verdict_words(review.passed).to_owned(),
            new: verdict_words(review.would_pass).to_owned(),
            reason: reason(&review),
            estimate: false,
            failed,
            review: Some(review),
        };
        comparison.add(&mut candidate.tried, changed);
    }
    Ok(())
}

/// What the reviews of a run reported, page by page.
pub(super) async fn reviews(records: &Records, run: &Run) -> Result<Vec<Event>, ServiceError> {
    let mut filter =
        EventFilter { run: Some(run.id.clone()), kinds: vec!["ReviewReported".to_owned()], ..EventFilter::default() };
    let mut all: Vec<Event> = Vec::new();
    loop {
        let page = filter.clone();
        let next = records.read(move |reader| reader.events(&page)).await?;
        let Some(last) = next.last() else { return Ok(all) };
        filter.after = last.sequence;
        all.extend(next);
    }
}

async fn record(records: &Records, id: &ExecutionId) -> Result<Option<ExecutionRecord>, ServiceError> {
    let wanted = id.clone();
    Ok(records.read(move |reader| reader.record(&wanted)).await?.map(|record| record.execution))
}

async fn look(candidate: &Candidate, execution: &ExecutionRecord, change: &Change) -> Result<Vec<Finding>, String> {
    let (context, settings) = (candidate.context(execution), candidate.settings(execution));
    let ended = candidate.plugin.review(context, change, &settings).await;
    ended.result.map_err(|error| chain(&error))
}

/// What a heuristic found on record; one that failed left a warning.
fn found(record: &ExecutionRecord) -> Vec<Finding> {
    let outcome = record.outcome.clone().unwrap_or_default();
    match outcome.get("ok").cloned().and_then(|ok| serde_json::from_value(ok).ok()) {
        Some(findings) => findings,
        None => vec![about(&record.plugin, String::new())],
    }
}

fn about(plugin: &str, reason: String) -> Finding {
    let message = format!("the heuristic failed: {reason}");
    Finding { rule: format!("{plugin}/heuristic"), severity: Severity::Warn, file: None, line: None, message }
}

/// The operator's severities, as far as the reports show them: by rule, where a heuristic said another one.
fn severities(records: &[ExecutionRecord], reported: &[Finding]) -> BTreeMap<String, Severity> {
    let raw: BTreeMap<String, Severity> =
        records.iter().flat_map(found).map(|finding| (finding.rule, finding.severity)).collect();
    let set = reported.iter().filter(|finding| raw.get(&finding.rule).is_some_and(|raw| *raw != finding.severity));
    set.map(|finding| (finding.rule.clone(), finding.severity)).collect()
}

/// Whether two findings are about the same. Words are left out: secrets are masked in reports.
fn is_same(one: &Finding, other: &Finding) -> bool {
    (&one.rule, &one.file, one.line) == (&other.rule, &other.file, other.line)
}

/// The reported findings with those of one heuristic, `before`, replaced by `now`.
fn judge(
    change: &Change,
    reported: &[Finding],
    before: &[Finding],
    now: Vec<Finding>,
    severities: &BTreeMap<String, Severity>,
) -> ReviewChange {
    let now = verdict::with_severities(now, severities);
    let mut rest = reported.to_vec();
    let mut removed = Vec::new();
    for old in before {
        if let Some(position) = rest.iter().position(|finding| is_same(finding, old)) {
            removed.push(rest.remove(position));
        }
    }
    let mut added = Vec::new();
    let would_be: Vec<Finding> = rest.into_iter().chain(now.iter().cloned()).collect();
    for new in now {
        match removed.iter().position(|old| is_same(old, &new) && old.severity == new.severity) {
            Some(position) => drop(removed.remove(position)),
            None => added.push(new),
        }
    }
    ReviewChange {
        passed: verdict::decide(&change.checks, reported).passed(),
        would_pass: verdict::decide(&change.checks, &bounded(would_be)).passed(),
        added: bounded(added),
        removed,
    }
}

const fn verdict_words(passed: bool) -> &'static str {
    if passed { "passes" } else { "is blocked" }
}

/// The first finding that comes or goes, and how many there are.
fn reason(review: &ReviewChange) -> String {
    let ReviewChange { added, removed, .. } = review;
    let counted = |findings: &[Finding], verb: &str| {
        let first = findings.first()?;
        let more = if findings.len() > 1 { format!(" and {} more", findings.len() - 1) } else { String::new() };
        Some(format!("{verb} {}{more}", line(first)))
    };
    let parts = [counted(added, "finds"), counted(removed, "no longer finds")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::review::Check;

    fn finding(rule: &str, severity: Severity, line: u32) -> Finding {
        let message = format!("about {rule}");
        Finding { rule: rule.to_owned(), severity, file: Some("a.rs".to_owned()), line: Some(line), message }
    }

    fn change(passed: bool) -> Change {
        serde_json::from_value(serde_json::json!({ "spec": "s", "task": "1", "title": "", "text": "",
            "commit_title": "", "instance": "qa_spirit_1", "role": "qa", "attempt": 1, "files": [],
            "checks": [Check { name: "test".to_owned(), passed, output: String::new() }] }))
        .unwrap()
    }

    #[test]
    fn a_heuristic_takes_the_place_of_the_one_with_its_name_and_the_verdict_is_made_again() {
        let (block, warn) = (Severity::Block, Severity::Warn);
        let reported = [finding("secret", block, 1), finding("size", warn, 2), finding("secret", block, 3)];
        let before = [finding("secret", block, 1), finding("secret", block, 3)];
        let none = BTreeMap::new();
        let review = judge(&change(true), &reported, &before, vec![finding("secret", block, 3)], &none);
        assert_eq!((review.passed, review.would_pass), (false, false));
        assert_eq!((review.added, review.removed), (vec![], vec![finding("secret", block, 1)]));
        let review = judge(&change(true), &reported, &before, vec![finding("other", warn, 9)], &none);
        assert_eq!((review.would_pass, review.added.len(), review.removed.len()), (true, 1, 2));
        let joins = judge(&change(true), &[], &[], vec![finding("own", block, 1)], &none);
        assert_eq!((joins.passed, joins.would_pass), (true, false));
        assert!(reason(&joins).starts_with("finds a.rs:1: about own"), "{}", reason(&joins));
        let red = judge(&change(false), &reported, &before, vec![], &none);
        assert!(!red.would_pass, "a red gate stays red");
    }

    #[test]
    fn the_operators_severities_hold_for_the_new_findings_as_well() {
        let lowered = BTreeMap::from([("secret".to_owned(), Severity::Note)]);
        let review = judge(&change(true), &[], &[], vec![finding("secret", Severity::Block, 1)], &lowered);
        assert!(review.would_pass && review.added[0].severity == Severity::Note);
    }
}
