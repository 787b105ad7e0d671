//! Asks a model what is wrong with a change. What it answers is a guess by a stranger: a strict form, at most
//! a warning unless an operator allows more, places only in files that changed, and one note when there is no
//! answer. Asking costs money, so it has to be granted.
#![forbid(unsafe_code)]

mod answer;
mod prompt;

use necro_sdk::host::{llm, workspace};
use necro_sdk::review::{Change, Finding, Grade, HeuristicInfo, Severity, finding, rule};
use necro_sdk::{Failure, HostError, ReviewHeuristic, Settings, error_text};
use serde::Deserialize;

const NOT_GRANTED: &str = "llm-critic/not-granted";
const NOT_ASKED: &str = "llm-critic/not-asked";
const UNUSABLE: &str = "llm-critic/unusable-answer";

/// Tokens of an answer; so many findings are no help.
const MAX_ANSWER_TOKENS: u32 = 4_000;

/// What an operator may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Model alias of the configuration.
    model: String,
    /// Findings of one change.
    max_findings: usize,
    /// The gravest that a finding may be.
    max_severity: Grade,
    /// Characters of the change and its files that the model is shown.
    max_chars: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { model: "fast".to_owned(), max_findings: 10, max_severity: Grade::Warn, max_chars: 60_000 }
    }
}

/// What is asked of the host, so that tests need none.
trait Host {
    fn complete(&self, request: &llm::Request) -> Result<llm::Completion, HostError>;
    fn read(&self, path: &str) -> Option<workspace::FileText>;
}

struct Imports;

impl Host for Imports {
    fn complete(&self, request: &llm::Request) -> Result<llm::Completion, HostError> {
        llm::complete(request)
    }

    /// A file as the change leaves it; none when it cannot be read, for the diff has the most of it.
    fn read(&self, path: &str) -> Option<workspace::FileText> {
        workspace::read(path, None).ok().filter(|file| !file.truncated)
    }
}

/// The heuristic.
#[derive(Debug)]
pub struct LlmCritic;

impl ReviewHeuristic for LlmCritic {
    fn describe() -> HeuristicInfo {
        let mut rules: Vec<_> =
            answer::CATEGORIES.iter().map(|(_, id, description)| rule(id, Severity::Warn, description)).collect();
        rules.extend([
            rule(NOT_GRANTED, Severity::Note, "asking a model is not granted"),
            rule(NOT_ASKED, Severity::Note, "the model could not be asked"),
            rule(UNUSABLE, Severity::Note, "the model's answer could not be used"),
        ]);
        HeuristicInfo { name: "llm-critic".to_owned(), rules }
    }

    fn review(change: &Change, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let options: Options = settings.read()?;
        Ok(judge(&Imports, change, &options))
    }
}

fn judge(host: &dyn Host, change: &Change, options: &Options) -> Vec<Finding> {
    let note = |rule, message: String| vec![finding(rule, Severity::Note, None, None, message)];
    if change.files.is_empty() {
        return Vec::new();
    }
    let answer = host.complete(&request(host, change, options));
    let completion = match answer {
        Ok(completion) => completion,
        Err(HostError::Denied(why)) => return note(NOT_GRANTED, format!("no model was asked: {why}")),
        Err(error) => return note(NOT_ASKED, format!("no model judged this change: {}", error_text(&error))),
    };
    if completion.finish_reason == llm::FinishReason::Length {
        return note(UNUSABLE, format!("the answer of `{}` was cut off", completion.model));
    }
    match answer::findings(&completion.text, change, options.max_severity, options.max_findings) {
        Ok(found) => found,
        Err(why) => note(UNUSABLE, format!("the answer of `{}` could not be used: {why}", completion.model)),
    }
}

fn request(host: &dyn Host, change: &Change, options: &Options) -> llm::Request {
    let read = |path: &str| host.read(path).map(|file| file.text);
    let message = |speaker, text: String| llm::Message {
        speaker,
        text,
        tool_calls: Vec::new(),
        tool_call_id: None,
        provider_state: None,
    };
    llm::Request {
        model: options.model.clone(),
        messages: vec![
            message(llm::Speaker::System, prompt::SYSTEM.to_owned()),
            message(llm::Speaker::User, prompt::change(change, options.max_chars, options.max_findings, &read)),
        ],
        tools: Vec::new(),
        tool_choice: llm::ToolChoice::None,
        response_format: llm::ResponseFormat::JsonSchema(llm::JsonSchema {
            name: "review".to_owned(),
            schema: answer::SCHEMA.to_owned(),
        }),
        max_output_tokens: Some(MAX_ANSWER_TOKENS),
    }
}

necro_sdk::export_review!(LlmCritic);

#[cfg(test)]
mod tests;
