//! `events`: the event log as it is.

use std::time::Duration;

use super::args::EventsArgs;
use super::open::Records;
use super::out::Reading;
use super::style::Style;
use super::table::{Cell, Table};
use super::{neutral, open, out, words};
use crate::domain::event::{Body, Event, TaskChange};
use crate::domain::id::Instance;
use crate::domain::task::Attributes;
use crate::registry::EventFilter;
use crate::service::ServiceError;

/// How often is looked for new events.
const POLL: Duration = Duration::from_millis(200);

/// Runs `events`.
pub(crate) async fn run(args: EventsArgs, style: Style) -> Result<(), ServiceError> {
    let EventsArgs { task, attempt, kind, since, until, all_specs, follow, after, limit, query } = args;
    let (named, place, json) = (query.spec, query.place, query.json);
    let (mut records, mut filter, mut events) = open::blocking(move || {
        let records = Records::open(&place)?;
        let spec = if all_specs { None } else { Some(records.spec(named.as_deref())?) };
        let task = match (&spec, task) {
            (Some(spec), Some(task)) => Some(records.task(spec, &task)?.task),
            _ => None,
        };
        let kinds = kind.iter().map(|kind| one_name(kind)).collect();
        let filter = EventFilter { after, limit, run: None, spec, task, attempt, kinds, since, until };
        let events = pages(&records, filter.clone())?;
        if events.is_empty() && !follow && since.is_none() && until.is_none() && after == 0 {
            known_kinds(&records, &filter)?;
        }
        Ok((records, filter, events))
    })
    .await?;
    if !follow {
        return show(&events, limit, json, style);
    }
    loop {
        if let Some(last) = events.last() {
            filter.after = last.sequence;
        }
        if print(&events, json, style)? == Reading::No {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = out::unread() => return Ok(()),
        }
        let wanted = filter.clone();
        (records, events) = open::blocking(move || {
            let events = pages(&records, EventFilter { limit: u32::MAX, ..wanted })?;
            Ok((records, events))
        })
        .await?;
    }
}

/// One event a line, as far as anybody reads.
fn print(events: &[Event], json: bool, style: Style) -> Result<Reading, ServiceError> {
    for event in events {
        let reading = if json {
            out::json_line(event)?
        } else {
            let time = style.dim(&words::when(event.time));
            let what = neutral::line(&what(&event.body));
            let line = format!("{} {time} {} {}  {what}\n", event.sequence, event.body.name(), about(event));
            out::write(line.as_bytes())?
        };
        if reading == Reading::No {
            return Ok(Reading::No);
        }
    }
    Ok(Reading::Yes)
}

fn show(events: &[Event], limit: u32, json: bool, style: Style) -> Result<(), ServiceError> {
    if json {
        return out::json(&events);
    }
    let mut table = Table::new(&["#", "TIME", "EVENT", "TASK", "WHAT"]);
    for event in events {
        table.row(vec![
            event.sequence.to_string().into(),
            Cell::painted(&words::when(event.time), Style::dim),
            event.body.name().into(),
            about(event).into(),
            what(&event.body).into(),
        ]);
    }
    out::print(&table.render(style, out::columns()))?;
    if let Some(last) = events.last().filter(|_| events.len() >= limit as usize) {
        out::tell(&format!("there may be more: --after {} goes on, --limit shows more at once", last.sequence));
    }
    Ok(())
}

/// The task, and the attempt where there is one.
fn about(event: &Event) -> String {
    event.subject.task.as_ref().map_or_else(String::new, |task| match event.subject.attempt {
        Some(attempt) => format!("{task}#{attempt}"),
        None => task.to_string(),
    })
}

/// The log's name of a kind: other names that are in use mean the same (readings A19).
fn one_name(kind: &str) -> String {
    match kind {
        "RunnerCompleted" | "RunnerFailed" => "RunnerFinished".to_owned(),
        other => other.to_owned(),
    }
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
fn known_kinds(records: &Records, filter: &EventFilter) -> Result<(), ServiceError> {
    let all = EventFilter { limit: u32::MAX, spec: filter.spec.clone(), ..EventFilter::default() };
    let mut known: Vec<&str> = pages(records, all)?.iter().map(|event| event.body.name()).collect();
    known.sort_unstable();
    known.dedup();
    let Some(unknown) = filter.kinds.iter().find(|kind| !known.contains(&kind.as_str())) else { return Ok(()) };
    let whose = filter.spec.as_ref().map_or_else(|| "the log".to_owned(), |spec| format!("the spec `{spec}`"));
    Err(ServiceError::Usage(format!("{whose} has no event `{unknown}`; it has: {}", words::listing(known))))
}

/// An event's details in a few words.
fn what(body: &Body) -> String {
    match body {
        Body::RunStarted { title, llm, branch, .. } => format!("{title} · {llm} · {branch}"),
        Body::RunResumed { llm, .. } => llm.clone(),
        Body::TeamAssembled { team } => team.iter().map(Instance::as_str).collect::<Vec<_>>().join(", "),
        Body::PluginSeated { kind, name, digest, role, replaces, by, shadow } => {
            let role = role.as_ref().map_or_else(String::new, |role| format!(" for {role}"));
            let replaced = replaces.as_ref().map_or_else(String::new, |replaced| {
                format!(" in place of {} ({})", replaced.name, replaced.digest.short())
            });
            let shadow = shadow.map_or_else(String::new, |shadow| {
                format!("; {} of {} recorded decisions would change", shadow.changed, shadow.decisions)
            });
            let by = by.as_str();
            format!("{by}: {kind} {name} ({}){role}{replaced}{shadow}", digest.short())
        }
        Body::RunFinished { outcome, commit, reason, .. } => {
            let at = commit.as_ref().map_or_else(String::new, |commit| format!(" at {}", commit.short()));
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
        Body::RunnerStarted { instance, slot, base, .. } => format!("{instance} in {slot} from {}", base.short()),
        Body::RunnerFinished { outcome, reason, cost, duration_ms, .. } => {
            let (how, _) = words::outcome(Some(*outcome));
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("{how} after {}, {}{reason}", words::took(*duration_ms), words::cost(cost))
        }
        Body::ReviewReported { findings, .. } => words::count(findings.len(), "finding"),
        Body::TaskCompleted { commit, reason } => match commit {
            Some(commit) => format!("{reason} as {}", commit.short()),
            None => reason.clone(),
        },
        Body::TaskFailed { reason } | Body::TaskCancelled { reason } => reason.clone(),
        Body::SlotAllocated { slot, holder } | Body::SlotReleased { slot, holder } => format!("{slot} for {holder}"),
        Body::PROpened { url } => url.clone(),
        Body::PRMerged { url, commit } => format!("{url} as {}", commit.short()),
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
