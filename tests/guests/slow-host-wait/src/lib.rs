//! Asks a model once and reports its answer: as slow as the host that answers.
#![forbid(unsafe_code)]

use necro_sdk::host::llm::{Message, Request, ResponseFormat, Speaker, ToolChoice, complete};
use necro_sdk::spirit::{Assignment, Prompt, Report, WorkKind};
use necro_sdk::{Failure, Settings, Spirit};

/// Waits.
#[derive(Debug)]
pub struct SlowHostWait;

impl Spirit for SlowHostWait {
    fn role() -> &'static str {
        "waiter"
    }

    fn title() -> &'static str {
        "Waiter"
    }

    fn skills() -> &'static [&'static str] {
        &["waiting"]
    }

    fn prompt(_: WorkKind) -> Option<Prompt> {
        None
    }

    fn perform(assignment: &Assignment, _: &Settings) -> Result<Report, Failure> {
        let question = Message {
            speaker: Speaker::User,
            text: assignment.text.clone(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            provider_state: None,
        };
        let request = Request {
            model: "default".to_owned(),
            messages: vec![question],
            tools: Vec::new(),
            tool_choice: ToolChoice::None,
            response_format: ResponseFormat::Text,
            max_output_tokens: Some(100),
        };
        let answer = complete(&request).map_err(Failure::Host)?;
        Ok(Report { title: assignment.title.clone(), summary: answer.text })
    }
}

necro_sdk::export_spirit!(SlowHostWait);
