//! The only mapping between the WIT types and the domain's. Everything is taken apart without `..`: a
//! new field or case of the contract does not compile until it has its place here.

use super::InvalidOutput;
use super::bindings::imports::necro::plugin as wit;
use super::bindings::{
    review as review_world, routing as routing_world, scheduling as scheduling_world, spirit as spirit_world,
};
use crate::domain::assignment::{
    Assignment, BudgetLeft, Criterion, DependencyReport, Document, Envelope, NamedCommand, Report, RoleInfo,
    SpecDocument, WorkKind,
};
use crate::domain::call::{Failure, HostError};
use crate::domain::event::{Event, Subject};
use crate::domain::id::{Instance, InvalidId, Role, SpecName, TaskId};
use crate::domain::llm::{
    Completion, FinishReason, Message, Request, ResponseFormat, Speaker, Tool, ToolCall, ToolChoice, Usage,
};
use crate::domain::policy::{Candidate, Decision, Issue, Placement, Plan, Pool, ReadyTask, Score};
use crate::domain::review::{
    Change, ChangedFile, Check, DiffLine, Finding, HeuristicInfo, Hunk, LineKind, Rule, Severity,
};
use crate::domain::task::{Facts, Task};
use crate::domain::work::{
    ChangeKind, CommandOutcome, Edit, Entry, EntryKind, FileStatus, FileText, LineRange, SearchHit, SearchQuery,
};
use review_world::exports::necro::plugin::review;
use routing_world::exports::necro::plugin::routing;
use scheduling_world::exports::necro::plugin::scheduling;
use spirit_world::exports::necro::plugin::role;

/// A function that maps one plain enumeration to another, case by case.
macro_rules! cases {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($from:path => $to:path) { $($case:ident),* $(,)? }) => {
        $(#[$doc])*
        $vis fn $name(value: $from) -> $to {
            use $from as From;
            use $to as To;
            match value { $(From::$case => To::$case),* }
        }
    };
}

/// Maps the elements of a list.
fn all<T, U>(list: Vec<T>, one: fn(T) -> U) -> Vec<U> {
    list.into_iter().map(one).collect()
}

// Errors.

pub(crate) fn host_error(error: HostError) -> wit::types::HostError {
    use wit::types::HostError as To;
    match error {
        HostError::Denied(text) => To::Denied(text),
        HostError::NotFound(text) => To::NotFound(text),
        HostError::Conflict(text) => To::Conflict(text),
        HostError::BudgetExceeded(text) => To::BudgetExceeded(text),
        HostError::TimedOut(text) => To::TimedOut(text),
        HostError::Cancelled(text) => To::Cancelled(text),
        HostError::Invalid(text) => To::Invalid(text),
        HostError::Uncertain(text) => To::Uncertain(text),
        HostError::Other(text) => To::Other(text),
    }
}

fn host_error_in(error: wit::types::HostError) -> HostError {
    use wit::types::HostError as From;
    match error {
        From::Denied(text) => HostError::Denied(text),
        From::NotFound(text) => HostError::NotFound(text),
        From::Conflict(text) => HostError::Conflict(text),
        From::BudgetExceeded(text) => HostError::BudgetExceeded(text),
        From::TimedOut(text) => HostError::TimedOut(text),
        From::Cancelled(text) => HostError::Cancelled(text),
        From::Invalid(text) => HostError::Invalid(text),
        From::Uncertain(text) => HostError::Uncertain(text),
        From::Other(text) => HostError::Other(text),
    }
}

pub(crate) fn failure(failure: wit::types::Failure) -> Failure {
    use wit::types::Failure as From;
    match failure {
        From::Host(error) => Failure::Host(host_error_in(error)),
        From::Invalid(text) => Failure::Invalid(text),
        From::GaveUp(text) => Failure::GaveUp(text),
    }
}

// Envelopes and documents.

/// # Errors
/// [`HostError::Invalid`] when the payload is no JSON.
pub(crate) fn envelope_in(message: wit::types::Envelope) -> Result<Envelope, HostError> {
    let wit::types::Envelope { kind, agent_instance, issue_id, payload, spec_id, task_id, sender, message_id } =
        message;
    let payload = serde_json::from_str(&payload)
        .map_err(|e| HostError::Invalid(format!("the payload of a message must be JSON text: {e}")))?;
    Ok(Envelope { kind, agent_instance, issue_id, payload, spec_id, task_id, sender, message_id })
}

pub(crate) fn envelope_out(message: Envelope) -> wit::types::Envelope {
    let Envelope { kind, agent_instance, issue_id, payload, spec_id, task_id, sender, message_id } = message;
    let payload = payload.to_string();
    wit::types::Envelope { kind, agent_instance, issue_id, payload, spec_id, task_id, sender, message_id }
}

fn document(document: Document) -> wit::types::Document {
    let Document { name, text } = document;
    wit::types::Document { name, text }
}

fn criterion(criterion: Criterion) -> wit::types::Criterion {
    let Criterion { id, text } = criterion;
    wit::types::Criterion { id, text }
}

// Model calls.

cases! { fn speaker(wit::llm::Speaker => Speaker) { System, User, Assistant, Tool } }
cases! {
    fn finish_reason(FinishReason => wit::llm::FinishReason) { Stop, Length, ToolCalls, ContentFilter, Other }
}

pub(crate) fn llm_request(request: wit::llm::Request) -> Request {
    let wit::llm::Request { model, messages, tools, tool_choice, response_format, max_output_tokens } = request;
    let tool_choice = match tool_choice {
        wit::llm::ToolChoice::Auto => ToolChoice::Auto,
        wit::llm::ToolChoice::Required => ToolChoice::Required,
        wit::llm::ToolChoice::None => ToolChoice::None,
        wit::llm::ToolChoice::Named(name) => ToolChoice::Named(name),
    };
    let response_format = match response_format {
        wit::llm::ResponseFormat::Text => ResponseFormat::Text,
        wit::llm::ResponseFormat::JsonObject => ResponseFormat::JsonObject,
        wit::llm::ResponseFormat::JsonSchema(wit::llm::JsonSchema { name, schema }) => {
            ResponseFormat::JsonSchema { name, schema }
        }
    };
    let messages = all(messages, message);
    Request { model, messages, tools: all(tools, tool), tool_choice, response_format, max_output_tokens }
}

fn message(message: wit::llm::Message) -> Message {
    let wit::llm::Message { speaker: who, text, tool_calls, tool_call_id, provider_state } = message;
    let tool_calls = all(tool_calls, |call| {
        let wit::llm::ToolCall { id, name, arguments } = call;
        ToolCall { id, name, arguments }
    });
    Message { speaker: speaker(who), text, tool_calls, tool_call_id, provider_state }
}

fn tool(tool: wit::llm::Tool) -> Tool {
    let wit::llm::Tool { name, description, parameters } = tool;
    Tool { name, description, parameters }
}

pub(crate) fn completion(completion: Completion) -> wit::llm::Completion {
    let Completion { text, tool_calls, finish_reason: reason, usage, model, provider_state } = completion;
    let tool_calls = all(tool_calls, |call| {
        let ToolCall { id, name, arguments } = call;
        wit::llm::ToolCall { id, name, arguments }
    });
    let Usage { input_tokens, cached_input_tokens, output_tokens, estimated } = usage;
    let usage = wit::llm::Usage { input_tokens, cached_input_tokens, output_tokens, estimated };
    wit::llm::Completion { text, tool_calls, finish_reason: finish_reason(reason), usage, model, provider_state }
}

// Work trees and commands.

cases! { fn entry_kind(EntryKind => wit::workspace::EntryKind) { File, Directory, Symlink } }
cases! { fn change_kind(ChangeKind => wit::workspace::ChangeKind) { Added, Modified, Deleted } }

pub(crate) fn line_range(range: wit::workspace::LineRange) -> LineRange {
    let wit::workspace::LineRange { start, count } = range;
    LineRange { start, count }
}

pub(crate) fn file_text(file: FileText) -> wit::workspace::FileText {
    let FileText { text, total_lines, truncated } = file;
    wit::workspace::FileText { text, total_lines, truncated }
}

pub(crate) fn entry(entry: Entry) -> wit::workspace::Entry {
    let Entry { path, kind, size_bytes } = entry;
    wit::workspace::Entry { path, kind: entry_kind(kind), size_bytes }
}

pub(crate) fn search_query(query: wit::workspace::SearchQuery) -> SearchQuery {
    let wit::workspace::SearchQuery { pattern, regex, glob, max_hits } = query;
    SearchQuery { pattern, regex, glob, max_hits }
}

pub(crate) fn search_hit(hit: SearchHit) -> wit::workspace::SearchHit {
    let SearchHit { path, line, text } = hit;
    wit::workspace::SearchHit { path, line, text }
}

pub(crate) fn file_status(status: FileStatus) -> wit::workspace::FileStatus {
    let FileStatus { path, change } = status;
    wit::workspace::FileStatus { path, change: change_kind(change) }
}

pub(crate) fn edit(edit: wit::workspace_edit::Edit) -> Edit {
    let wit::workspace_edit::Edit { path, old_text, new_text } = edit;
    Edit { path, old_text, new_text }
}

pub(crate) fn command_outcome(outcome: CommandOutcome) -> wit::command::Outcome {
    let CommandOutcome { exit_code, stdout, stderr, elided_bytes, timed_out, duration_ms } = outcome;
    wit::command::Outcome { exit_code, stdout, stderr, elided_bytes, timed_out, duration_ms }
}

// The registry and the log.

cases! {
    pub(crate) fn document_kind(wit::registry::DocumentKind => SpecDocument) { Requirements, Design, Tasks }
}

pub(crate) fn task_info(task: Task) -> wit::registry::TaskInfo {
    // What a guest does not see is named here all the same, so that leaving it out is a decision.
    let Task {
        key,
        definition,
        set: _,
        state,
        version: _,
        attempts: _,
        assigned: _,
        last_failure: _,
        merged_commit: _,
        created_at: _,
        updated_at: _,
    } = task;
    let Facts { title, text, optional, depends, skill, requirements: _, priority: _, metadata: _, container: _ } =
        definition;
    wit::registry::TaskInfo {
        id: key.task.into(),
        title,
        text,
        state: state.as_str().to_owned(),
        skill,
        optional,
        depends: all(depends, String::from),
    }
}

pub(crate) fn dependency_report(report: DependencyReport) -> wit::registry::DependencyReport {
    let DependencyReport { task, title, summary, files } = report;
    wit::registry::DependencyReport { task: task.into(), title, summary, files }
}

pub(crate) fn event(event: Event) -> wit::registry::Event {
    let Event { sequence, time, subject, body } = event;
    let Subject { run: _, spec: _, task, attempt: _ } = subject;
    let details = serde_json::to_value(&body).ok().and_then(|mut value| value.get_mut("details").map(|d| d.take()));
    wit::registry::Event {
        sequence,
        kind: body.name().to_owned(),
        task: task.map(String::from),
        time: time.to_string(),
        details: details.unwrap_or_default().to_string(),
    }
}

pub(crate) const fn log_level(level: wit::log::Level) -> &'static str {
    match level {
        wit::log::Level::Trace => "trace",
        wit::log::Level::Debug => "debug",
        wit::log::Level::Info => "info",
        wit::log::Level::Warn => "warn",
        wit::log::Level::Error => "error",
    }
}

// Spirits.

cases! { fn work_kind(WorkKind => role::WorkKind) { Specify, Plan, Implement } }

pub(crate) fn assignment(assignment: Assignment) -> role::Assignment {
    let Assignment {
        kind,
        envelope,
        spec,
        task,
        title,
        text,
        language,
        acceptance_criteria,
        documents,
        steering,
        dependency_reports,
        attempt,
        max_attempts,
        last_failure,
        commands,
        budget_left,
    } = assignment;
    let BudgetLeft { tokens, cost_microusd, calls } = budget_left;
    role::Assignment {
        kind: work_kind(kind),
        envelope: envelope_out(envelope),
        spec: spec.into(),
        task: task.into(),
        title,
        text,
        language,
        acceptance_criteria: all(acceptance_criteria, criterion),
        documents: all(documents, document),
        steering: all(steering, document),
        dependency_reports: all(dependency_reports, dependency_report),
        attempt,
        max_attempts,
        last_failure,
        commands: all(commands, |NamedCommand { name, description }| role::NamedCommand { name, description }),
        budget_left: role::Budget { tokens, cost_microusd, calls },
    }
}

pub(crate) fn role_info(info: role::RoleInfo) -> Result<RoleInfo, InvalidOutput> {
    let role::RoleInfo { role, title, skills } = info;
    Ok(RoleInfo { role: id(Role::new(role))?, title, skills })
}

pub(crate) fn report(report: role::Report) -> Report {
    let role::Report { title, summary } = report;
    Report { title, summary }
}

// Policies.

fn id<T>(id: Result<T, InvalidId>) -> Result<T, InvalidOutput> {
    id.map_err(|e| InvalidOutput(e.to_string()))
}

pub(crate) fn ready_task(task: ReadyTask) -> scheduling::ReadyTask {
    let ReadyTask { spec, task, title, skill, priority, waiting_ms, dependents, remaining_path, attempt } = task;
    let (spec, task) = (spec.into(), task.into());
    scheduling::ReadyTask { spec, task, title, skill, priority, waiting_ms, dependents, remaining_path, attempt }
}

pub(crate) fn pool(pool: Pool) -> scheduling::Pool {
    let Pool { name, capacity, running, skills } = pool;
    scheduling::Pool { name, capacity, running, skills }
}

pub(crate) fn plan(plan: scheduling::Plan) -> Result<Plan, InvalidOutput> {
    let scheduling::Plan { placements, state } = plan;
    let placements = placements.into_iter().map(|placement| {
        let scheduling::Placement { spec, task, pool } = placement;
        Ok(Placement { spec: id(SpecName::new(spec))?, task: id(TaskId::new(task))?, pool })
    });
    Ok(Plan { placements: placements.collect::<Result<_, InvalidOutput>>()?, state })
}

pub(crate) fn issue(issue: Issue) -> routing::Issue {
    let Issue { id, title, text, labels, priority } = issue;
    routing::Issue { id, title, text, labels, priority }
}

pub(crate) fn candidate(candidate: Candidate) -> routing::Candidate {
    let Candidate { instance, role, skills, load, capacity, last_assigned, price_microusd } = candidate;
    let (instance, role) = (instance.into(), role.into());
    routing::Candidate { instance, role, skills, load, capacity, last_assigned, price_microusd }
}

pub(crate) fn decision(decision: routing::Decision) -> Result<Decision, InvalidOutput> {
    let routing::Decision { instance, scores, reason, state } = decision;
    let scores = all(scores, |routing::Score { role, points, matched }| Score { role, points, matched });
    Ok(Decision { instance: id(Instance::new(instance))?, scores, reason, state })
}

// Reviews.

cases! { fn severity(review::Severity => Severity) { Note, Warn, Block } }
cases! { fn line_kind(LineKind => review::LineKind) { Context, Added, Removed } }
cases! { fn file_change(ChangeKind => review::FileChange) { Added, Modified, Deleted } }

pub(crate) fn change(change: Change) -> review::Change {
    let Change { spec, task, title, text, commit_title, instance, role, attempt, files, checks } = change;
    review::Change {
        spec: spec.into(),
        task: task.into(),
        title,
        text,
        commit_title,
        instance,
        role: role.into(),
        attempt,
        files: all(files, changed_file),
        checks: all(checks, |Check { name, passed, output }| review::Check { name, passed, output }),
    }
}

fn changed_file(file: ChangedFile) -> review::ChangedFile {
    let ChangedFile { path, change, binary, size_bytes, hunks } = file;
    let hunks = all(hunks, |Hunk { old_start, new_start, lines }| {
        let lines = all(lines, |DiffLine { kind, text }| review::DiffLine { kind: line_kind(kind), text });
        review::Hunk { old_start, new_start, lines }
    });
    review::ChangedFile { path, change: file_change(change), binary, size_bytes, hunks }
}

pub(crate) fn finding(finding: review::Finding) -> Finding {
    let review::Finding { rule, severity: grave, file, line, message } = finding;
    Finding { rule, severity: severity(grave), file, line, message }
}

pub(crate) fn heuristic_info(info: review::HeuristicInfo) -> HeuristicInfo {
    let review::HeuristicInfo { name, rules } = info;
    let rules = all(rules, |review::Rule { id, severity: grave, description }| Rule {
        id,
        severity: severity(grave),
        description,
    });
    HeuristicInfo { name, rules }
}
