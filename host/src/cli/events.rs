//! `events`: the event log as it is.

use super::args::EventsArgs;
use super::open::Records;
use super::style::Style;
use super::table::{Cell, Table};
use super::{open, out, words};
use crate::domain::event::{Body, Event, TaskChange};
use crate::domain::id::{Instance, SpecName};
use crate::domain::task::Attributes;
use crate::registry::EventFilter;
use crate::service::ServiceError;

/// Runs `events`.
pub(crate) async fn run(args: EventsArgs, style: Style) -> Result<(), ServiceError> {
    let EventsArgs { task, kind, after, limit, query } = args;
    let named = query.spec;
    let events = open::read(&query.place, move |records| {
        let spec = records.spec(named.as_deref())?;
        let task = task.map(|task| records.task(&spec, &task)).transpose()?;
        let filter = EventFilter {
            after,
            limit,
            spec: Some(spec.clone()),
            task: task.map(|key| key.task),
            kinds: kind.iter().cloned().collect(),
            ..EventFilter::default()
        };
        let events = pages(records, filter)?;
        if let (Some(kind), true) = (&kind, events.is_empty()) {
            known_kind(records, &spec, kind)?;
        }
        Ok(events)
    })
    .await?;
    if query.json {
        return out::json(&events);
    }
    let mut table = Table::new(&["#", "TIME", "EVENT", "TASK", "WHAT"]);
    for event in &events {
        let task = event.subject.task.as_ref().map_or_else(String::new, |task| match event.subject.attempt {
            Some(attempt) => format!("{task}#{attempt}"),
            None => task.to_string(),
        });
        table.row(vec![
            event.sequence.to_string().into(),
            Cell::painted(&words::when(event.time), Style::dim),
            event.body.name().into(),
            task.into(),
            what(&event.body).into(),
        ]);
    }
    out::print(&table.render(style, out::columns()))?;
    if let Some(last) = events.last().filter(|_| events.len() >= limit as usize) {
        out::tell(&format!("there may be more: --after {} goes on, --limit shows more at once", last.sequence));
    }
    Ok(())
}

/// The events of a filter whose limit may be above that of one answer.
fn pages(records: &Records, mut filter: EventFilter) -> Result<Vec<Event>, ServiceError> {
    let mut events: Vec<Event> = Vec::new();
    let mut left = filter.limit;
    while left > 0 {
        filter.limit = left.min(EventFilter::MAX);
        let page = records.reader.events(&filter)?;
        let Some(last) = page.last() else { break };
        filter.after = last.sequence;
        left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        events.extend(page);
    }
    Ok(events)
}

/// A kind that no event of the spec has is most likely a slip.
fn known_kind(records: &Records, spec: &SpecName, kind: &str) -> Result<(), ServiceError> {
    let filter = EventFilter { limit: u32::MAX, spec: Some(spec.clone()), ..EventFilter::default() };
    let mut known: Vec<&str> = pages(records, filter)?.iter().map(|event| event.body.name()).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&kind) {
        return Ok(());
    }
    Err(ServiceError::Usage(format!("the spec `{spec}` has no event `{kind}`; it has: {}", words::listing(known))))
}

/// An event's details in a few words.
fn what(body: &Body) -> String {
    match body {
        Body::RunStarted { title, llm, branch, .. } => format!("{title} · {llm} · {branch}"),
        Body::RunResumed { llm, .. } => llm.clone(),
        Body::TeamAssembled { team } => team.iter().map(Instance::as_str).collect::<Vec<_>>().join(", "),
        Body::RunFinished { outcome, commit, reason, .. } => {
            let at = commit.as_ref().map_or_else(String::new, |commit| format!(" at {}", words::short(commit)));
            format!("{outcome}{at}{}", reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")))
        }
        Body::TaskCreated { facts, state } => format!("{state}: {}", facts.title),
        Body::TaskUpdated { change } => change_in_words(change),
        Body::TaskReady { from, last_failure } => {
            let again = if last_failure.is_some() { ", to be tried again" } else { "" };
            format!("was {from}{again}")
        }
        Body::TaskBlocked { from, reason } | Body::TaskReopened { from, reason } => format!("was {from}: {reason}"),
        Body::TaskAssigned { instance, branch, reason, .. } => format!("{instance} on {branch}: {reason}"),
        Body::RunnerStarted { instance, slot, base, .. } => format!("{instance} in {slot} from {}", words::short(base)),
        Body::RunnerFinished { outcome, reason, cost, duration_ms, .. } => {
            let (how, _) = words::outcome(Some(*outcome));
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("{how} after {}, {}{reason}", words::took(*duration_ms), words::cost(cost))
        }
        Body::ReviewReported { findings, .. } => words::count(findings.len(), "finding"),
        Body::TaskCompleted { commit, reason } => match commit {
            Some(commit) => format!("{reason} as {}", words::short(commit)),
            None => reason.clone(),
        },
        Body::TaskFailed { reason } | Body::TaskCancelled { reason } => reason.clone(),
        Body::SlotAllocated { slot, holder } | Body::SlotReleased { slot, holder } => format!("{slot} for {holder}"),
        Body::PROpened { url } => url.clone(),
        Body::PRMerged { url, commit } => format!("{url} as {}", words::short(commit)),
        Body::SpecSynced { place, .. } => format!("in step with {place}"),
        Body::IssueAdded { issue, title, priority, .. } => format!("{issue} ({priority}): {title}"),
        Body::IssueRouted { issue, instance, reason, .. } => format!("{issue} to {instance}: {reason}"),
        Body::IssueTaken { issue } => format!("was {issue}"),
        Body::TasksetImported { version, .. } => format!("brought in as version {version}"),
        Body::TaskImported { facts, state, .. } => format!("{state}: {}", facts.title),
        Body::EventImported { kind, at, .. } => format!("{kind} of {}", words::when(*at)),
        Body::IssueClosed { issue, reason } => format!("{issue}: {reason}"),
    }
}

fn change_in_words(change: &TaskChange) -> String {
    match change {
        TaskChange::ArtifactAdded { artifact } => {
            format!("artifact {} ({}, {})", artifact.name, artifact.kind, words::size(artifact.size_bytes))
        }
        TaskChange::NoteAdded { author, text } => format!("note by {author}: {text}"),
        TaskChange::GateFinished { stage, checks } => {
            let checks: Vec<String> = checks
                .iter()
                .map(|(name, passed)| format!("{name} {}", if *passed { "passed" } else { "failed" }))
                .collect();
            format!(
                "gate of the {stage}: {}",
                if checks.is_empty() { "nothing to run".to_owned() } else { checks.join(", ") }
            )
        }
        TaskChange::AttributesSet { attributes } => {
            let Attributes { priority, skill, metadata } = attributes;
            let own = priority.map(|priority| format!("priority {priority}")).into_iter();
            let own = own.chain(skill.iter().map(|skill| format!("skill {skill}")));
            let all = own.chain(metadata.iter().map(|(key, value)| format!("{key} = {value}")));
            format!("set: {}", all.collect::<Vec<_>>().join(", "))
        }
        TaskChange::DefinitionChanged { facts } => format!("the spec changed: {}", facts.title),
    }
}
