//! A heuristic that asks a model without being granted one.
#![forbid(unsafe_code)]

use necro_guest_hostile::line;
use necro_guest_hostile::necro_sdk::host::llm;
use necro_guest_hostile::necro_sdk::review::{Change, Finding, HeuristicInfo, Severity, finding};
use necro_guest_hostile::necro_sdk::{Failure, ReviewHeuristic, Settings};

/// Does it.
#[derive(Debug)]
pub struct Deed;

impl ReviewHeuristic for Deed {
    fn describe() -> HeuristicInfo {
        HeuristicInfo { name: "hostile".to_owned(), rules: Vec::new() }
    }

    fn review(_: &Change, _: &Settings) -> Result<Vec<Finding>, Failure> {
        let request = llm::Request {
            model: "strong".to_owned(),
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: llm::ToolChoice::None,
            response_format: llm::ResponseFormat::Text,
            max_output_tokens: None,
        };
        let answer = line("llm", llm::complete(&request));
        Ok(vec![finding("hostile/asked", Severity::Note, None, None, answer)])
    }
}

necro_guest_hostile::necro_sdk::export_review!(Deed);
